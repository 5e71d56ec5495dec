"""What a conversation must look like beyond its shape: turns, tool results, names, signatures."""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from workers.simulator.bedrock_model import DOCUMENT_TYPES
from workers.simulator.bedrock_shapes import Refused, decoded, dotted_of
from workers.simulator.signatures import is_signed

IMAGES_MAX: Final = 20
DOCUMENTS_MAX: Final = 5
IMAGE_BYTES_MAX: Final = 3_932_160  # 3.75 MB
DOCUMENT_BYTES_MAX: Final = 4_718_592  # 4.5 MB

_DOCUMENT_NAME: Final = re.compile(r"[A-Za-z0-9\-()\[\]]+(?:\s[A-Za-z0-9\-()\[\]]+)*")
# Blocks that only one of the two roles may say.
_USER_ONLY: Final = frozenset({"toolResult", "image", "document", "video", "audio", "guardContent"})
_ASSISTANT_ONLY: Final = frozenset({"toolUse", "reasoningContent"})

Blocks = list[dict[str, Any]]


def check_messages(messages: list[dict[str, Any]]) -> None:
    """Check the turns, and what is in them.

    Raises:
        Refused: The service would not take them.
    """
    if messages[0]["role"] != "user":
        raise Refused(
            "A conversation must start with a user message. Try again with a conversation that "
            "starts with a user message."
        )
    pending: list[str] = []
    before = ""
    for index, message in enumerate(messages):
        if message["role"] == before:
            raise Refused(
                "A conversation must alternate between user and assistant roles. Make sure the "
                "conversation alternates between user and assistant roles and try again."
            )
        before = message["role"]
        _check_blocks(index, before, message["content"])
        pending = _check_tools(index, before, message["content"], pending)
    if pending:
        raise _expected(len(messages), pending)
    _check_media(messages)


def _check_blocks(index: int, role: str, blocks: Blocks) -> None:
    if not blocks:
        raise Refused(
            f"The content field in the Message object at {dotted_of(index)} is empty. Add a "
            "ContentBlock object to the content field and try again."
        )
    banned = _USER_ONLY if role == "assistant" else _ASSISTANT_ONLY
    for place, block in enumerate(blocks):
        kind, value = next(iter(block.items()))
        where = dotted_of(index, "content", place)
        if kind in banned:
            raise Refused(
                f"The {role} role does not support {kind} blocks: {where}. Remove the block and "
                "try again."
            )
        if kind == "text" and not value.strip():
            raise Refused(
                f"The text field in the ContentBlock object at {where} is blank. Add text to the "
                "text field, and try again."
            )
        if kind == "reasoningContent":
            _check_reasoning(where, value)


def _check_reasoning(where: str, value: dict[str, Any]) -> None:
    """Thoughts must come back as they went out; those of other models carry no signature."""
    thought = value.get("reasoningText")
    if thought is None:
        return
    signature = thought.get("signature")
    if signature is None:
        raise Refused(
            "The model returned the following errors: "
            f"{where.replace('.reasoningContent', '')}.thinking.signature: Field required"
        )
    if not is_signed(thought["text"], signature):
        raise Refused(
            f"The model returned the following errors: {where}: Invalid `signature` in `thinking` "
            "block"
        )


def _check_tools(index: int, role: str, blocks: Blocks, pending: list[str]) -> list[str]:
    """Check the results against the calls before, and return the calls of this message."""
    if role == "assistant":
        calls = [block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block]
        if len(set(calls)) != len(calls):
            raise Refused(
                f"The toolUse blocks at {dotted_of(index, 'content')} contain duplicate Ids."
            )
        return calls
    results = [block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block]
    if missing := [tag for tag in pending if tag not in results]:
        raise _expected(index, missing)
    if len(results) > len(pending):
        raise Refused(
            f"The number of toolResult blocks at {dotted_of(index, 'content')} exceeds the number "
            "of toolUse blocks of previous turn."
        )
    return []


def _expected(index: int, tags: list[str]) -> Refused:
    return Refused(
        f"Expected toolResult blocks at {dotted_of(index, 'content')} for the following Ids: "
        f"{', '.join(tags)}"
    )


def media_blocks(messages: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the kind and the value of every block of media, those in tool results included."""
    for message in messages:
        for block in message["content"]:
            inner = block.get("toolResult")
            for candidate in inner["content"] if inner else (block,):
                for kind in ("image", "document", "video", "audio"):
                    if kind in candidate:
                        yield kind, candidate[kind]


def mime_type(kind: str, value: dict[str, Any]) -> str:
    """Return the MIME type of a block of media."""
    form = value.get("format", "txt")
    if kind == "document":
        return DOCUMENT_TYPES[form]
    return f"{kind}/{ {'three_gp': '3gpp', 'mp3': 'mpeg'}.get(form, form) }"


def _check_media(messages: list[dict[str, Any]]) -> None:
    counts = {"image": 0, "document": 0, "video": 0, "audio": 0}
    names: set[str] = set()
    for kind, value in media_blocks(messages):
        counts[kind] += 1
        if kind == "image":
            _check_image(value)
        if kind == "document":
            _check_document(value, names)
    if counts["image"] > IMAGES_MAX:
        raise Refused(f"The number of images exceeds the limit of {IMAGES_MAX}.")
    if counts["document"] > DOCUMENTS_MAX:
        raise Refused(f"The number of documents exceeds the limit of {DOCUMENTS_MAX}.")


def _check_image(value: dict[str, Any]) -> None:
    text = value["source"].get("bytes")
    if text is None:
        return
    data = decoded(text)
    if len(data) > IMAGE_BYTES_MAX:
        raise Refused(
            "The model returned the following errors: image exceeds 5 MB maximum: "
            f"{len(data)} bytes > {IMAGE_BYTES_MAX} bytes"
        )


def _check_document(value: dict[str, Any], names: set[str]) -> None:
    name = value["name"]
    if not _DOCUMENT_NAME.fullmatch(name):
        raise Refused(
            "The model returned the following errors: The document file name can only contain "
            "alphanumeric characters, whitespace characters, hyphens, parentheses, and square "
            "brackets. The name can't contain more than one consecutive whitespace character."
        )
    if name in names:
        raise Refused("Duplicate document names are not supported. Use unique names and try again.")
    names.add(name)
    text = value["source"].get("bytes")
    if text is not None and len(decoded(text)) > DOCUMENT_BYTES_MAX:
        raise Refused("The document exceeds the maximum size of 4.5 MB.")


def said_in(messages: list[dict[str, Any]]) -> str:
    """Return the words of the last user message that has any."""
    for message in reversed(messages):
        if message["role"] == "user":
            texts = [block["text"] for block in message["content"] if "text" in block]
            if texts:
                return "\n".join(texts)
    return ""


def tool_results(messages: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the texts of the tool results since the last message in the user's own words."""
    found: list[list[str]] = []
    for message in reversed(messages):
        if message["role"] != "user":
            continue
        results = [block["toolResult"] for block in message["content"] if "toolResult" in block]
        if not results:
            break
        found.append([_result_text(result) for result in results])
    return tuple(text for texts in reversed(found) for text in texts)


def _result_text(result: dict[str, Any]) -> str:
    return "\n".join(
        block["text"] if "text" in block else orjson.dumps(block["json"]).decode()
        for block in result["content"]
        if "text" in block or "json" in block
    )
