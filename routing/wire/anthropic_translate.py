"""Anthropic's blocks in chat's words: what each becomes, and how much of it there may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from routing.errors import BadRequest
from routing.wire.anthropic_blocks import (
    AssistantBlock,
    AssistantMessage,
    Base64Image,
    Base64Pdf,
    CompactionBlock,
    ContentSource,
    CustomTool,
    DocumentBlock,
    ImageBlock,
    RedactedThinkingBlock,
    SearchFailed,
    SearchResultBlock,
    SystemMessage,
    TextBlock,
    Texts,
    TextSource,
    ThinkingBlock,
    ToolReference,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    UrlSource,
    UserMessage,
    WebSearchResultBlock,
)
from routing.wire.anthropic_thoughts import SEAL, UnsealError, redacted_item, thinking_item
from routing.wire.messages import (
    MESSAGES_MAX,
    PARTS_MAX,
    REPLAYED_MAX,
    TOOLS_MAX,
    CacheControl,
)
from routing.wire.validate import MAX_VALUES

#: Characters of a document's title that become its file name; what chat takes.
FILENAME_MAX = 512

_Part = dict[str, Any]


def conversation(system: Texts | None, turns: tuple[Turn, ...]) -> list[dict[str, Any]]:
    """All messages, the system prompt first; results of tools before what a user says with them.

    Raises:
        BadRequest: a thought was changed, or there is more of something than chat takes.
    """
    messages: list[dict[str, Any]] = []
    if system:
        messages.append({"role": "system", "content": _texts(system)})
    unsealer = _Unsealer()
    for index, turn in enumerate(turns):
        path = f"messages[{index}]"
        match turn:
            case UserMessage():
                messages += _user(turn, path)
            case AssistantMessage():
                messages += _assistant(turn, path, unsealer)
            case SystemMessage():
                messages.append({"role": "system", "content": _texts(turn.content)})
        _bounded(len(messages), MESSAGES_MAX, path, "messages, each tool result being one")
    return messages


def tool(custom: CustomTool) -> dict[str, Any]:
    """A function."""
    function: dict[str, Any] = {"name": custom.name, "parameters": custom.input_schema}
    if custom.description is not None:
        function["description"] = custom.description
    if custom.strict is not None:
        function["strict"] = custom.strict
    return {"type": "function", "function": function, **_mark(custom.cache_control)}


class _Unsealer:
    """Reads sealed thoughts of one request; together they may hold no more than a body may."""

    def __init__(self) -> None:
        self._values = 0

    def thinking(self, block: ThinkingBlock, path: str, index: int) -> dict[str, Any]:
        return self._read(
            lambda: thinking_item(block.thinking, block.signature, index),
            block.signature,
            f"{path}.signature",
        )

    def redacted(self, block: RedactedThinkingBlock, path: str, index: int) -> dict[str, Any]:
        return self._read(lambda: redacted_item(block.data, index), block.data, f"{path}.data")

    def _read(self, read: Callable[[], dict[str, Any]], sealed: str, path: str) -> dict[str, Any]:
        try:
            item = read()
        except UnsealError:
            raise BadRequest(
                f"{path}: is not what came with this thought; send thinking blocks back as they"
                " were, or leave them out",
                param=path,
            ) from None
        if sealed.startswith(SEAL):
            raw = orjson.dumps(item)
            self._values += raw.count(b",") + raw.count(b"[") + raw.count(b"{")
            _bounded(self._values, MAX_VALUES, path, "values in thoughts")
        return item


def _user(turn: UserMessage, path: str) -> Iterator[dict[str, Any]]:
    if isinstance(turn.content, str):
        yield {"role": "user", "content": turn.content}
        return
    parts: list[_Part] = []
    for place, block in enumerate(turn.content):
        at = f"{path}.content[{place}]"
        if isinstance(block, ToolResultBlock):
            content = _result(block)
            _bounded(len(content) if isinstance(content, list) else 1, PARTS_MAX, at, "parts")
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}
        else:
            parts += _parts(block)
            _bounded(len(parts), PARTS_MAX, at, "parts")
    if parts:
        yield {"role": "user", "content": _simple(parts)}


def _assistant(turn: AssistantMessage, path: str, unsealer: _Unsealer) -> Iterator[dict[str, Any]]:
    """One message, or none when nothing of it can go on."""
    blocks = (
        (TextBlock(type="text", text=turn.content),)
        if isinstance(turn.content, str)
        else turn.content
    )
    parts: list[_Part] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for place, block in enumerate(blocks):
        at = f"{path}.content[{place}]"
        match block:
            case ThinkingBlock():
                details.append(unsealer.thinking(block, at, len(details)))
            case RedactedThinkingBlock():
                details.append(unsealer.redacted(block, at, len(details)))
            case ToolUseBlock():
                calls.append(_call(block))
                _mark_last(parts, block.cache_control)
            case _:
                parts += _said(block)
    _bounded(len(details), REPLAYED_MAX, path, "thoughts")
    _bounded(len(calls), TOOLS_MAX, path, "calls")
    found: dict[str, Any] = {}
    if parts:
        marked = any("cache_control" in part for part in parts)
        found["content"] = parts if marked else "".join(part["text"] for part in parts)
    if details:
        found["reasoning_details"] = details
    if calls:
        found["tool_calls"] = calls
    if found:
        yield {"role": "assistant", **found}


def _said(block: AssistantBlock) -> list[_Part]:
    """Text of an assistant, and what is kept of blocks that only Anthropic can read."""
    match block:
        case TextBlock() if block.text:
            return [_text(block.text, block.cache_control)]
        case CompactionBlock() if block.content:
            return [_text(block.content)]
        case WebSearchResultBlock() if not isinstance(block.content, SearchFailed):
            pages = "".join(f"- {page.title or page.url} ({page.url})\n" for page in block.content)
            return [_text(f"Pages found by a web search:\n{pages}\n")] if pages else []
        case _:
            return []


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = orjson.dumps(block.input or {}).decode()
    function = {"name": block.name, "arguments": arguments}
    return {"id": block.id, "type": "function", "function": function}


def _result(block: ToolResultBlock) -> str | list[_Part]:
    content = block.content or ""
    if isinstance(content, str):
        parts = [_text(content)] if content else []
    else:
        parts = [part for inner in content for part in _parts(inner)]
    if block.is_error:
        parts = _as_error(parts)
    _mark_last(parts, block.cache_control)
    return _simple(parts) if parts else ""


def _as_error(parts: list[_Part]) -> list[_Part]:
    """Chat has no field for it, and a model should still know."""
    if parts and parts[0]["type"] == "text":
        return [{**parts[0], "text": "Error: " + parts[0]["text"]}, *parts[1:]]
    return [_text("Error"), *parts]


def _parts(
    block: TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReference,
) -> list[_Part]:
    match block:
        case TextBlock():
            return [_text(block.text, block.cache_control)] if block.text else []
        case ImageBlock():
            return [_image(block)]
        case SearchResultBlock():
            texts = "\n".join(text.text for text in block.content)
            found = f"Search result: {block.title} ({block.source})\n{texts}"
            return [_text(found, block.cache_control)]
        case ToolReference():
            return [_text(block.tool_name)]
        case DocumentBlock():
            parts = _document(block)
            _mark_last(parts, block.cache_control)
            return parts


def _image(block: ImageBlock) -> _Part:
    source = block.source
    if isinstance(source, Base64Image):
        url = f"data:{source.media_type};base64,{source.data}"
    else:
        url = source.url if isinstance(source, UrlSource) else ""
    return {"type": "image_url", "image_url": {"url": url}, **_mark(block.cache_control)}


def _document(block: DocumentBlock) -> list[_Part]:
    source = block.source
    context = [_text(block.context)] if block.context else []
    match source:
        case Base64Pdf():
            return [*context, _file(block, f"data:{source.media_type};base64,{source.data}")]
        case UrlSource():
            return [*context, _file(block, source.url)]
        case TextSource():
            inner = [_text(source.data)]
        case ContentSource(content=str(text)):
            inner = [_text(text)]
        case ContentSource(content=tuple(blocks)):
            inner = [part for one in blocks for part in _parts(one)]
        case _:
            inner = []
    title = (block.title or "").replace('"', "'")
    head = f'<document title="{title}">' if title else "<document>"
    return _joined([_text(head + "\n"), *context, *inner, _text("\n</document>")])


def _joined(parts: Iterable[_Part]) -> list[_Part]:
    """Neighbouring unmarked texts as one."""
    joined: list[_Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if last is not None and last.keys() == part.keys() == {"type", "text"}:
            last["text"] += part["text"]
        else:
            joined.append(part)
    return joined


def _file(block: DocumentBlock, data: str) -> _Part:
    name = (block.title or "document.pdf")[:FILENAME_MAX]
    return {"type": "file", "file": {"filename": name, "file_data": data}}


def _texts(content: Texts) -> str | list[_Part]:
    if isinstance(content, str):
        return content
    return _simple([_text(block.text, block.cache_control) for block in content])


def _text(text: str, cache: CacheControl | None = None) -> _Part:
    return {"type": "text", "text": text, **_mark(cache)}


def _simple(parts: list[_Part]) -> str | list[_Part]:
    """A single unmarked text as a string, which every provider takes."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _mark(cache: CacheControl | None) -> dict[str, Any]:
    return {} if cache is None else {"cache_control": cache.model_dump(exclude_none=True)}


def _mark_last(parts: list[_Part], cache: CacheControl | None) -> None:
    """A mark where chat has no place of its own for it: on the last part so far."""
    if parts and cache is not None:
        parts[-1] = {**parts[-1], **_mark(cache)}


def _bounded(count: int, maximum: int, path: str, what: str) -> None:
    if count > maximum:
        raise BadRequest(f"{path}: comes to more than {maximum} {what}; send fewer", param=path)
