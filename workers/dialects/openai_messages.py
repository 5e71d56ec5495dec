"""Messages and tools of a chat request in the OpenAI format, and its variants by quirk.

Works on the dumped request, which is the dialect's own copy: it may be changed in place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from workers.dialects.common import cannot, data_url, text_or_none
from workers.dialects.reasoning import joined, whole_details

Quirks = frozenset[str]
Fields = dict[str, Any]

#: What OpenAI takes as a `name`; others go into the text.
_NAME = re.compile(r"[^\s<|\\/>]{1,64}")
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")
_SHORT_ID_CHARS = 9
#: Fields of a message that are written anew; the rest goes to lenient providers as it is.
_KNOWN = frozenset({
    "role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning",
    "reasoning_content", "reasoning_details", "images", "annotations", "audio", "cache_control",
    "model",
})  # fmt: skip
_PLAIN_FIELDS = 2
_OPENAI = frozenset({"developer_role", "strict_fields"})
_FILENAMES: Mapping[str, str] = {"application/pdf": "document.pdf", "text/plain": "document.txt"}
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def is_openai(quirks: Quirks) -> bool:
    """Whether the provider is OpenAI's own service, here or at Azure: no other is so strict."""
    return quirks >= _OPENAI


def encode_messages(messages: Iterable[Fields], quirks: Quirks) -> list[Fields]:
    """All messages as this provider takes them; plain ones are passed on as they are.

    Raises:
        UpstreamRejected: one holds what this provider has no way to take.
    """
    found = [
        message
        if len(message) == _PLAIN_FIELDS
        and type(message.get("content")) is str
        and message["role"] != "developer"
        else _message(message, f"messages[{place}]", quirks)
        for place, message in enumerate(messages)
    ]
    return _alternating(found) if "alternating" in quirks else found


def encode_tools(tools: Iterable[Fields], quirks: Quirks) -> list[Fields]:
    """Tool definitions; a function without parameters takes none."""
    found = []
    for tool in tools:
        if "cache_control" not in quirks:
            tool.pop("cache_control", None)
        tool["function"].setdefault("parameters", _NO_PARAMETERS)
        found.append(tool)
    return found


def mark_last(messages: list[Fields], mark: Fields) -> None:
    """Put a cache mark on the last message that can bear one."""
    for message in reversed(messages):
        content = message.get("content")
        if isinstance(content, str) and content:
            content = message["content"] = [{"type": "text", "text": content}]
        if isinstance(content, list) and content:
            content[-1].setdefault("cache_control", mark)
            return


def fill_thoughts(messages: Iterable[Fields]) -> None:
    """Give another model's calls the thoughts DeepSeek wants with them; "" would not do."""
    for message in messages:
        if message.get("tool_calls"):
            message.setdefault("reasoning_content", " ")


def default_filename(mime: str) -> str:
    """A name for a document that came without one: providers read its ending."""
    return _FILENAMES.get(mime, "document")


def _alternating(messages: list[Fields]) -> list[Fields]:
    """Neighbours of one role as one message, and the system only at the beginning."""
    found: list[Fields] = []
    for message in messages:
        role = message["role"]
        if role == "system" and found and found[-1]["role"] != "system":
            role = "user"
        last = found[-1] if found else {}
        both = last.keys() & message.keys()
        if last.get("role") == role and both == {"role", "content"}:
            found[-1] = last | {"content": _merged(last["content"], message["content"])}
        else:
            found.append(message | {"role": role})
    return found


def _merged(one: str | list[Fields], other: str | list[Fields]) -> str | list[Fields]:
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}\n\n{other}"
    first, second = (
        [{"type": "text", "text": content}] if isinstance(content, str) else content
        for content in (one, other)
    )
    return [*first, *second]


def _message(message: Fields, where: str, quirks: Quirks) -> Fields:
    role = message["role"]
    if role == "developer" and "developer_role" not in quirks:
        role = "system"
    kept: Fields = {"role": role}
    content = message.get("content")
    if content is not None:
        parts = (
            content
            if isinstance(content, str)
            else [
                _part(part, f"{where}.content[{place}]", role, quirks)
                for place, part in enumerate(content)
            ]
        )
        kept["content"] = _plain(parts, where) if "plain_content" in quirks else parts
    if role == "assistant":
        kept |= _assistant(message, content, quirks)
    elif role == "tool":
        kept["tool_call_id"] = _call_id(message["tool_call_id"], quirks)
    _name(message, kept, quirks)
    if "cache_control" in quirks and "cache_control" in message:
        kept["cache_control"] = message["cache_control"]
    if "strict_fields" not in quirks:
        kept |= {name: message[name] for name in message.keys() - _KNOWN}
    return kept


def _plain(content: str | list[Fields], where: str) -> str:
    """Content as one text, for a provider that takes no parts."""
    if isinstance(content, str):
        return content
    for place, part in enumerate(content):
        if part["type"] != "text":
            raise cannot(f"{where}.content[{place}]", "this provider takes text only; leave it out")
    return "\n".join(part["text"] for part in content)


def _name(message: Fields, kept: Fields, quirks: Quirks) -> None:
    """The speaker's name where there is a field for it, else in front of a user's text."""
    name, role = message.get("name"), kept["role"]
    if not name or ("user_names" in quirks and role != "user"):
        return
    if "strict_fields" not in quirks or (is_openai(quirks) and _NAME.fullmatch(name)):
        if role != "tool" or "strict_fields" not in quirks:
            kept["name"] = name
    elif role == "user":
        kept["content"] = _prefixed(kept["content"], f"{name}: ")


def _prefixed(content: str | list[Fields], prefix: str) -> str | list[Fields]:
    if isinstance(content, str):
        return prefix + content
    if content and content[0].get("type") == "text":
        return [content[0] | {"text": prefix + content[0]["text"]}, *content[1:]]
    return [{"type": "text", "text": prefix.rstrip()}, *content]


def _assistant(message: Fields, content: Any, quirks: Quirks) -> Fields:
    """What an assistant's message has beside its text. A message is never left empty."""
    found: Fields = _thoughts(message, quirks)
    calls = [_tool_call(call, quirks) for call in message.get("tool_calls") or ()]
    if calls:
        found["tool_calls"] = calls
        if content is None:
            found["content"] = None  # DeepSeek misses the field if it is left out
    if "reasoning_object" in quirks:
        found |= {name: message[name] for name in ("images", "annotations") if name in message}
    refusal, sound = message.get("refusal"), message.get("audio") or {}
    sound_id = text_or_none(sound.get("id")) if is_openai(quirks) else None
    if refusal and is_openai(quirks):
        found["refusal"] = refusal
    if sound_id:
        found["audio"] = {"id": sound_id}
    if not content and not {"tool_calls", "refusal", "audio"} & found.keys():
        found["content"] = refusal or text_or_none(sound.get("transcript")) or ""
    return found


def _thoughts(message: Fields, quirks: Quirks) -> Fields:
    """Earlier thinking, in the form a provider wants it back; nothing for most."""
    details = whole_details(message.get("reasoning_details") or ())
    text = message.get("reasoning_content") or message.get("reasoning") or joined(details)
    # Those without a form are made by us of bare text, and go back as such.
    formed = [detail for detail in details if detail.get("format") not in (None, "unknown")]
    if "reasoning_details" in quirks and formed:
        return {"reasoning_details": formed}
    if not text:
        return {}
    if "replays_reasoning" in quirks:
        return {"reasoning_content": text}
    return {"reasoning": text} if "reasoning_object" in quirks else {}


def _tool_call(call: Fields, quirks: Quirks) -> Fields:
    function = call["function"]
    return {
        "id": _call_id(call["id"], quirks),
        "type": "function",
        "function": {"name": function["name"], "arguments": function.get("arguments") or "{}"},
    }


def _call_id(call_id: str, quirks: Quirks) -> str:
    """The same id, or where only short ones are taken always the same short one for it."""
    if "short_call_ids" not in quirks or _SHORT_ID.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:_SHORT_ID_CHARS]


def _part(part: Fields, where: str, role: str, quirks: Quirks) -> Fields:
    kind = part["type"]
    if "cache_control" not in quirks:
        part.pop("cache_control", None)
    if role == "tool" and kind != "text" and "strict_fields" in quirks:
        raise cannot(
            where, f"this provider takes only text in tool results; send the {kind} as the user"
        )
    match kind:
        case "input_video":
            part["type"] = "video_url"
        case "refusal" if not is_openai(quirks):
            return {"type": "text", "text": part["refusal"]}
        case "file":
            return _file(part, quirks)
        case _:
            pass
    return part


def _file(part: Fields, quirks: Quirks) -> Fields:
    """A document, with a name if it is inline."""
    file = part["file"]
    url = file.get("file_data")
    if url and "document_url" in quirks:
        document = {"type": "document_url", "document_url": url}
        return document | ({"document_name": file["filename"]} if file.get("filename") else {})
    if url and not file.get("filename") and (inline := data_url(url)) is not None:
        file["filename"] = default_filename(inline[0])
    return part
