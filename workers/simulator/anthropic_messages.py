"""Checks how the messages of an Anthropic request hang together, and finds what was said."""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any, Final

from workers.simulator.anthropic_shapes import Invalid
from workers.simulator.signatures import is_signed

Block = dict[str, Any]

_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_DOCS: Final = "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
_MAGIC: Final = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
# Enough base64 to see what a file is.
_MAGIC_CHARACTERS: Final = 16


def blocks_of(message: dict[str, Any]) -> list[Block]:
    """Return the content of a message as blocks, a bare text as one of them."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def check_messages(messages: list[dict[str, Any]], *, thinks: bool, prefill: bool) -> None:
    """Check order, tool results and signatures.

    Args:
        messages: The messages, each of the right shape.
        thinks: Whether thinking is on with a budget.
        prefill: Whether the model continues an answer that was begun for it.

    Raises:
        Invalid: The provider would refuse them.
    """
    if not messages:
        raise Invalid("messages: at least one message is required")
    if messages[0]["role"] != "user":
        raise Invalid('messages: first message must use the "user" role')
    for index, message in enumerate(messages):
        _check_content(messages, index, message)
    _check_results(messages)
    if thinks:
        _check_thought_first(messages)
    if messages[-1]["role"] == "assistant":
        _check_prefill(messages[-1], prefill=prefill)


def _check_content(messages: list[dict[str, Any]], index: int, message: dict[str, Any]) -> None:
    blocks = blocks_of(message)
    last_of_assistant = index == len(messages) - 1 and message["role"] == "assistant"
    if not message["content"] and not last_of_assistant:
        raise Invalid(
            f"messages.{index}: all messages must have non-empty content except for the optional "
            "final assistant message"
        )
    for position, block in enumerate(blocks):
        _check_block(block, message["role"], f"messages.{index}.content.{position}")


def _check_block(block: Block, role: str, where: str) -> None:
    kind = block["type"]
    if kind == "text" and not block["text"]:
        raise Invalid("messages: text content blocks must be non-empty")
    if kind == "text" and not block["text"].strip():
        raise Invalid("messages: text content blocks must contain non-whitespace text")
    if role == "user" and (kind in _THOUGHTS or kind == "tool_use"):
        raise Invalid(f"{where}: `{kind}` blocks can only be in `assistant` messages")
    if role == "assistant" and kind in ("tool_result", "image", "document"):
        raise Invalid(f"{where}: `{kind}` blocks can only be in `user` messages")
    if kind == "thinking" and not is_signed(block["thinking"], block["signature"]):
        raise Invalid(f"{where}: Invalid `signature` in `thinking` block")
    if kind == "image":
        _check_image(block["source"], f"{where}.image.source.base64.data")


def _check_image(source: Block, where: str) -> None:
    if source["type"] != "base64":
        return
    start = b64decode(source["data"][:_MAGIC_CHARACTERS])
    for magic, media_type in _MAGIC:
        if start.startswith(magic) and media_type != source["media_type"]:
            raise Invalid(
                f"{where}: The image was specified using the {source['media_type']} media type, "
                f"but the image appears to be a {media_type} image"
            )


def _check_results(messages: list[dict[str, Any]]) -> None:
    """Check that calls and results follow each other; turns of one role in a row are one turn."""
    called: list[str] = []
    for index, role, blocks in _turns(messages):
        if role == "user":
            _check_answers(blocks, called, index)
            called = []
            continue
        called = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len(set(called)) < len(called):
            raise Invalid(f"messages.{index}: `tool_use` ids must be unique")
    if called:
        raise _unanswered(called, len(messages) - 1)


def _turns(messages: list[dict[str, Any]]) -> Iterator[tuple[int, str, list[Block]]]:
    start, role, blocks = 0, "", list[Block]()
    for index, message in enumerate(messages):
        if message["role"] != role:
            if blocks:
                yield start, role, blocks
            start, role, blocks = index, message["role"], []
        blocks = [*blocks, *blocks_of(message)]
    if blocks:
        yield start, role, blocks


def _check_answers(blocks: list[Block], called: list[str], index: int) -> None:
    leading: list[str] = []
    for position, block in enumerate(blocks):
        if block["type"] != "tool_result":
            continue
        tag = block["tool_use_id"]
        if tag not in called:
            raise Invalid(
                f"messages.{index}.content.{position}: unexpected `tool_use_id` found in "
                f"`tool_result` blocks: {tag}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message."
            )
        if tag in leading:
            raise Invalid(
                f"messages.{index}.content.{position}: each tool_use must have a single result. "
                f"Found multiple `tool_result` blocks with id: {tag}"
            )
        # Results come first; one after other content does not count as an answer.
        if position == len(leading):
            leading.append(tag)
    missing = [tag for tag in called if tag not in leading]
    if missing:
        raise _unanswered(missing, index - 1)


def _unanswered(tags: list[str], index: int) -> Invalid:
    return Invalid(
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately "
        f"after: {', '.join(tags)}. Each `tool_use` block must have a corresponding `tool_result` "
        "block in the next message."
    )


def _check_thought_first(messages: list[dict[str, Any]]) -> None:
    """Check that the tool loop under way began with a thought; one is enough for all its calls."""
    bare: tuple[int, str] | None = None
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        blocks = blocks_of(message)
        if message["role"] == "user":
            if any(block["type"] != "tool_result" for block in blocks):
                break
            continue
        if not blocks or blocks[0]["type"] in _THOUGHTS:
            return
        last = index == len(messages) - 1
        if bare is None and (last or any(block["type"] == "tool_use" for block in blocks)):
            bare = (index, blocks[0]["type"])
    if bare is not None:
        raise Invalid(
            f"messages.{bare[0]}.content.0.type: Expected `thinking` or `redacted_thinking`, "
            f"but found `{bare[1]}`. When `thinking` is enabled, a final `assistant` "
            "message must start with a thinking block (preceeding the lastmost set of "
            "`tool_use` and `tool_result` blocks). To avoid this requirement, disable "
            f"`thinking`. Please consult our documentation at {_DOCS}"
        )


def _check_prefill(message: dict[str, Any], *, prefill: bool) -> None:
    if not prefill:
        raise Invalid(
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message."
        )
    blocks = blocks_of(message)
    text = blocks[-1].get("text", "") if blocks else ""
    if text != text.rstrip():
        raise Invalid("messages: final assistant content cannot end with trailing whitespace")


def said_in(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last user message that has any."""
    return next((text for message in reversed(messages) if (text := _said(message))), "")


def _said(message: dict[str, Any]) -> str:
    if message["role"] != "user":
        return ""
    return "\n".join(block["text"] for block in blocks_of(message) if block["type"] == "text")


def results_in(messages: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the texts of the tool results since the last user message in words, in order."""
    found: list[str] = []
    for message in reversed(messages):
        if message["role"] == "user":
            results = [b for b in blocks_of(message) if b["type"] == "tool_result"]
            found = [*(_result(block) for block in results), *found]
            if _said(message):
                break
    return tuple(found)


def _result(block: Block) -> str:
    content = block.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def ends_with_result(messages: list[dict[str, Any]]) -> bool:
    """Whether the last message brings a tool's result."""
    return any(block["type"] == "tool_result" for block in blocks_of(messages[-1]))


def media_in(messages: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the types of all media, those in tool results included."""
    return tuple(_media([block for message in messages for block in blocks_of(message)]))


def _media(blocks: list[Block]) -> Iterator[str]:
    for block in blocks:
        content = block.get("content")
        if block["type"] in ("image", "document"):
            source = block["source"]
            yield source.get("media_type") or f"{block['type']}/{source['type']}"
        elif block["type"] == "tool_result" and isinstance(content, list):
            yield from _media(content)
