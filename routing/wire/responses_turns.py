"""Checked items of `/responses` → chat messages; items of one turn become one message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from routing.errors import BadRequest
from routing.wire.messages import PARTS_MAX, REPLAYED_MAX, TOOLS_MAX, AudioPart
from routing.wire.responses_items import (
    FunctionCallItem,
    FunctionOutputItem,
    ImageCallItem,
    InputFile,
    InputImage,
    InputText,
    InputVideo,
    Item,
    MessageItem,
    OutputRefusal,
    OutputText,
    ReasoningItem,
)
from routing.wire.responses_reasoning import details_of
from routing.wire.validate import Wire

_CITATION_FIELDS = ("url", "title", "content", "start_index", "end_index")


def messages_of(given: str | tuple[Item, ...], instructions: str | None) -> list[dict[str, Any]]:
    """The conversation as chat messages.

    Raises:
        BadRequest: thoughts were changed on their way, or one turn is beyond all bounds.
    """
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
        return messages
    turn: _Turn | None = None
    for index, item in enumerate(given):
        message = _spoken(item)
        if message is None:
            if turn is None:
                turn = _Turn()
            turn.add(item, f"input[{index}]")
            continue
        if turn is not None:
            messages.append(turn.message())
            turn = None
        messages.append(message)
    if turn is not None:
        messages.append(turn.message())
    return messages


def _spoken(item: Item) -> dict[str, Any] | None:
    """The message of an item that is one by itself; None for a piece of an assistant's turn."""
    match item:
        case MessageItem() if item.role != "assistant":
            return {"role": item.role, "content": _content(item.content)}
        case FunctionOutputItem():
            return {
                "role": "tool",
                "tool_call_id": item.call_id,
                "content": _content(item.output),
            }
        case _:
            return None


class _Turn:
    """One assistant message in the making."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._details: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, item: Item, where: str) -> None:
        """Take one more item, in order."""
        match item:
            case MessageItem():
                self._say(item)
            case ReasoningItem():
                self._details += details_of(item.model_dump(), len(self._details), where)
            case FunctionCallItem():
                function = {"name": item.name, "arguments": item.arguments}
                self._calls.append({"id": item.call_id, "type": "function", "function": function})
            case ImageCallItem() if item.result:
                self._images.append(_image(item))
            case _:
                pass  # an image that never came
        self._check(where)

    def message(self) -> dict[str, Any]:
        """The whole turn."""
        message: dict[str, Any] = {"role": "assistant"}
        if self._parts or not self._calls:
            message["content"] = _plainest(self._parts) if self._parts else ""
        others = {
            "tool_calls": self._calls,
            "reasoning_details": self._details,
            "images": self._images,
            "annotations": self._annotations,
        }
        return message | {name: value for name, value in others.items() if value}

    def _say(self, item: MessageItem) -> None:
        if isinstance(item.content, str):
            self._parts.append({"type": "text", "text": item.content})
            return
        for part in item.content or ():
            self._parts.append(_part(part))
            if isinstance(part, OutputText):
                self._annotations += _citations(part.annotations or ())

    def _check(self, where: str) -> None:
        for found, most, what in (
            (self._parts, PARTS_MAX, "content parts"),
            (self._calls, TOOLS_MAX, "function calls"),
            (self._details, REPLAYED_MAX, "pieces of reasoning"),
            (self._images, REPLAYED_MAX, "images"),
            (self._annotations, REPLAYED_MAX, "annotations"),
        ):
            if len(found) > most:
                raise BadRequest(
                    f"{where}: with the items before it makes a turn of more than {most} {what}",
                    param=where,
                )


def _content(content: str | tuple[Wire, ...] | None) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return _plainest([_part(part) for part in content or ()])


def _plainest(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A lone text as a string: some servers take no parts."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _part(part: Wire) -> dict[str, Any]:
    match part:
        case InputText():
            return {"type": "text", "text": part.text, **_mark(part)}
        case OutputText():
            return {"type": "text", "text": part.text}
        case OutputRefusal():
            return {"type": "refusal", "refusal": part.refusal}
        case AudioPart():
            return {"type": "input_audio", "input_audio": part.input_audio.model_dump()}
        case _:
            return _linked(part)


def _linked(part: Wire) -> dict[str, Any]:
    """The parts that are a URL here and an object in chat."""
    match part:
        case InputImage():
            image = {"url": part.image_url, "detail": part.detail}
            return {"type": "image_url", "image_url": _given(image), **_mark(part)}
        case InputFile():
            file = {"filename": part.filename, "file_data": part.file_data or part.file_url}
            return {"type": "file", "file": _given(file), **_mark(part)}
        case InputVideo():
            return {"type": "video_url", "video_url": {"url": part.video_url}}
        case _:
            raise AssertionError(type(part))


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _mark(part: InputText | InputImage | InputFile) -> dict[str, Any]:
    """Where a prompt cache may end, in chat's form."""
    if part.cache_control is not None:
        return {"cache_control": part.cache_control.model_dump(exclude_none=True)}
    if part.prompt_cache_breakpoint is not None:
        return {"cache_control": {"type": "ephemeral"}}
    return {}


def _image(item: ImageCallItem) -> dict[str, Any]:
    result = item.result or ""
    if not result.startswith(("data:", "http://", "https://")):
        result = f"data:image/{item.output_format or 'png'};base64,{result}"
    return {"type": "image_url", "image_url": {"url": result}}


def _citations(annotations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Citations in chat's nested form; it has no other kind that a model's answer could bear."""
    return [
        {
            "type": "url_citation",
            "url_citation": {name: each[name] for name in _CITATION_FIELDS if name in each},
        }
        for each in annotations
        if each.get("type") == "url_citation"
    ]
