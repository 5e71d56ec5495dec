"""Messages as the input items of the Responses API."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from routing.wire.messages import (
    AudioPart,
    Content,
    FilePart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    TextPart,
)
from workers.dialects.common import (
    cannot,
    data_url,
    leading_system,
    named,
    system_texts,
    text_of,
    text_or_none,
)
from workers.dialects.openai_messages import default_filename
from workers.dialects.reasoning import own_details

Fields = dict[str, Any]

#: The thinking this API gave; no other provider's can be decrypted.
FORMAT = "openai-responses-v1"
#: Longest `call_id` it takes; another provider's may be longer.
CALL_ID_MAX = 64


def instructions(messages: Sequence[Message]) -> str:
    """The leading system messages as one text; "" for none."""
    return "\n\n".join(system_texts(messages))


def input_items(messages: Sequence[Message]) -> list[Fields]:
    """Everything after the leading system messages.

    Raises:
        UpstreamRejected: a part has no form in this API.
    """
    items: list[Fields] = []
    start = len(leading_system(messages))
    for place, message in enumerate(messages[start:], start):
        where = f"messages[{place}]"
        match message.role:
            case "assistant":
                items += _assistant(message, where)
            case "tool":
                items.append(_tool_result(message, where))
            case _:
                items.append(_spoken(message, where))
    return items


def _spoken(message: Message, where: str) -> Fields:
    """A message of the user, or of the system between others."""
    content = message.content
    if isinstance(content, str):
        return {"type": "message", "role": message.role, "content": named(message, content)}
    parts = _parts(content, where)
    if named(message, ""):
        parts.insert(0, {"type": "input_text", "text": named(message, "").rstrip()})
    return {"type": "message", "role": message.role, "content": parts}


def _assistant(message: Message, where: str) -> list[Fields]:
    """Thinking, then what was said, then what was called: the order the model had."""
    for place, part in enumerate(message.content if isinstance(message.content, tuple) else ()):
        if not isinstance(part, TextPart | RefusalPart):
            raise cannot(
                f"{where}.content[{place}]",
                f"this provider takes only text from the assistant; send the {part.type} as the "
                "user",
            )
    items = _thoughts(own_details(message.reasoning_details, (FORMAT,)))
    sound = text_or_none((message.audio or {}).get("transcript"))
    text = text_of(message.content) or message.refusal or sound or ""
    if text or not (items or message.tool_calls):
        items.append({"type": "message", "role": "assistant", "content": text})
    items += (
        {
            "type": "function_call",
            "call_id": _call_id(call.id),
            "name": call.function.name,
            "arguments": call.function.arguments or "{}",
        }
        for call in message.tool_calls or ()
    )
    return items


def _thoughts(details: Iterable[Fields]) -> list[Fields]:
    """Reasoning items as they were given, by their ids.

    Without its encrypted content an item is unknown to a provider that keeps nothing.
    """
    items: list[Fields] = []
    for detail in details:
        item_id = text_or_none(detail.get("id"))
        if not items or (item_id is not None and items[-1].get("id", item_id) != item_id):
            items.append({"type": "reasoning", "summary": []})
        item = items[-1]
        if item_id is not None:
            item["id"] = item_id
        _remember(item, detail)
    return [item for item in items if item.get("encrypted_content")]


def _remember(item: Fields, detail: Fields) -> None:
    match detail:
        case {"type": "reasoning.summary", "summary": str() as text}:
            item["summary"].append({"type": "summary_text", "text": text})
        case {"type": "reasoning.text", "text": str() as text}:
            item.setdefault("content", []).append({"type": "reasoning_text", "text": text})
        case {"type": "reasoning.encrypted", "data": str() as data}:
            item["encrypted_content"] = data
        case _:
            pass


def _tool_result(message: Message, where: str) -> Fields:
    content = message.content
    return {
        "type": "function_call_output",
        "call_id": _call_id(message.tool_call_id or ""),
        "output": content if isinstance(content, str) else _parts(content, where),
    }


def _call_id(call_id: str) -> str:
    """The same id, or always the same short one for a long one."""
    if len(call_id) <= CALL_ID_MAX:
        return call_id
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"


def _parts(content: Content | None, where: str) -> list[Fields]:
    if content is None or isinstance(content, str):
        return [{"type": "input_text", "text": content or ""}]
    return [_part(part, f"{where}.content[{place}]") for place, part in enumerate(content)]


def _part(part: Part, where: str) -> Fields:
    match part:
        case TextPart():
            return {"type": "input_text", "text": part.text}
        case RefusalPart():
            return {"type": "input_text", "text": part.refusal}
        case ImagePart():
            image = part.image_url
            return {
                "type": "input_image",
                "image_url": image.url,
                "detail": image.detail or "auto",
            }
        case FilePart():
            return {"type": "input_file", **_file(part)}
        case AudioPart():
            sound = part.input_audio
            return {
                "type": "input_audio",
                "input_audio": {"data": sound.data, "format": sound.format},
            }
        case _:
            raise cannot(where, "this provider takes no video; leave it out or name another model")


def _file(part: FilePart) -> Fields:
    """A document inline, by address, or by the id of an upload."""
    file = part.file
    if not file.file_data:
        return {"file_id": file.file_id}
    inline = data_url(file.file_data)
    if inline is None and not file.file_data.startswith("data:"):
        return {"file_url": file.file_data}
    name = file.filename or default_filename(inline[0] if inline is not None else "")
    return {"filename": name, "file_data": file.file_data}
