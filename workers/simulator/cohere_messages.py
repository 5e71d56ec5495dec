"""Checks the messages of a Cohere chat."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Final

import orjson

from workers.simulator.cohere_fields import Refused, choose

IMAGES_MAX: Final = 20

_FIELDS: Final = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "tool_plan", "citations"},
    "tool": {"role", "content", "tool_call_id"},
}
_PARTS: Final = {
    "system": ("text",),
    "user": ("text", "image_url"),
    "assistant": ("text", "thinking"),
    "tool": ("text", "document"),
}
_DATA_URL: Final = re.compile(r"data:(image/(?:png|jpeg|webp|gif));base64,(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages, and the MIME types of the pictures in them."""

    messages: list[dict[str, Any]]
    media: tuple[str, ...]


def read_messages(body: dict[str, Any]) -> Conversation:
    """Check all messages, and that calls and results belong together.

    Raises:
        Refused: Cohere would not take them.
    """
    messages = body.get("messages")
    if not messages:
        raise Refused("invalid request: at least one message is required")
    media: list[str] = []
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = _role(message, where)
        if role != "tool" and open_calls:
            raise _unanswered(open_calls)
        media.extend(_check_content(message, role, where))
        if role == "assistant":
            open_calls = _calls(message, where)
        if role == "tool":
            _answer(message, where, open_calls)
    if open_calls:
        raise _unanswered(open_calls)
    if len(media) > IMAGES_MAX:
        raise Refused(f"invalid request: too many images, at most {IMAGES_MAX} are allowed.")
    return Conversation(messages, tuple(media))


def _role(message: Any, where: str) -> str:
    if not isinstance(message, dict):
        raise Refused(f"invalid type: {where} should be of type object.")
    role = message.get("role")
    if not isinstance(role, str) or role not in _FIELDS:
        raise Refused(
            f"invalid request: {where}.role must be one of system, user, assistant, tool - "
            f"received {role!r}"
        )
    for name in message:
        if name not in _FIELDS[role]:
            raise Refused(
                f"unknown field: parameter '{where}.{name}' is not a valid field", status=422
            )
    return role


def _check_content(message: dict[str, Any], role: str, where: str) -> list[str]:
    content = message.get("content")
    if role == "assistant" and not content:
        if message.get("tool_calls"):
            return []
        raise Refused(f"invalid request: {where} must have either content or tool_calls, or both.")
    if isinstance(content, str) and content:
        return []
    if not isinstance(content, list) or not content:
        raise Refused(f"invalid request: {where} must have non-empty content.")
    found = [_check_part(part, role, f"{where}.content[{i}]") for i, part in enumerate(content)]
    return [kind for kind in found if kind is not None]


def _check_part(part: Any, role: str, where: str) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    choose(f"{where}.type", kind, *_PARTS[role])
    if kind is None or set(part) != {"type", kind}:
        raise Refused(f"invalid request: {where} must be an object with 'type' and its content.")
    value = part[kind]
    if kind == "image_url":
        return _image(value, where)
    if kind == "document":
        _check_document(value, where)
    elif not isinstance(value, str) or not value:
        raise Refused(f"invalid request: {where}.{kind} must be a string that is not empty.")
    return None


def _image(value: Any, where: str) -> str:
    url = value.get("url") if isinstance(value, dict) else None
    if not isinstance(url, str):
        raise Refused(f"invalid type: parameter '{where}.image_url' should be of type object.")
    choose(f"{where}.image_url.detail", value.get("detail"), "auto", "low", "high")
    return image_type(url)


def image_type(url: str) -> str:
    """Return the MIME type of a picture given as URL or data URL.

    Raises:
        Refused: It is neither.
    """
    if url.startswith(("https://", "http://")):
        return "image/url"
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise Refused(
            "invalid request: image must be a valid data URI of type png, jpeg, webp or gif, or a "
            "web URL."
        )
    try:
        base64.b64decode(found[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("invalid request: image is not valid base64.") from error
    return found[1]


def _check_document(value: Any, where: str) -> None:
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, dict | str) or not set(value) <= {"data", "id"}:
        raise Refused(f"invalid request: {where}.document must have data.")


def _calls(message: dict[str, Any], where: str) -> set[str]:
    calls = message.get("tool_calls")
    if calls is None:
        return set()
    if not isinstance(calls, list):
        raise Refused(f"invalid type: parameter '{where}.tool_calls' should be of type array.")
    return {_call(call, f"{where}.tool_calls[{index}]") for index, call in enumerate(calls)}


def _call(call: Any, where: str) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    tag = call.get("id") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type") != "function":
        raise Refused(f"invalid request: {where} must be of type function.")
    if not isinstance(tag, str) or not isinstance(function.get("name"), str):
        raise Refused(f"invalid request: {where} must have an id and a function name.")
    try:
        arguments = orjson.loads(function.get("arguments") or "")
    except (orjson.JSONDecodeError, TypeError) as error:
        raise Refused(f"invalid request: {where}.function.arguments must be JSON.") from error
    if not isinstance(arguments, dict):
        raise Refused(f"invalid request: {where}.function.arguments must be a JSON object.")
    return tag


def _answer(message: dict[str, Any], where: str, open_calls: set[str]) -> None:
    tag = message.get("tool_call_id")
    if not isinstance(tag, str) or tag not in open_calls:
        raise Refused(
            f"invalid request: {where}.tool_call_id {tag!r} not found in previous tool calls."
        )
    open_calls.discard(tag)


def _unanswered(tags: set[str]) -> Refused:
    return Refused(
        "invalid request: all tool calls must be followed by tool messages, missing: "
        f"{', '.join(sorted(tags))}."
    )


def said_in(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last user message."""
    for message in reversed(messages):
        if message["role"] == "user":
            return content_text(message)
    return ""


def content_text(message: dict[str, Any]) -> str:
    """Return the text of a message, documents as JSON, pictures left out."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(map(_part_text, content))


def _part_text(part: dict[str, Any]) -> str:
    if part["type"] != "document":
        return str(part.get("text", ""))
    data = part["document"]["data"]
    return data if isinstance(data, str) else orjson.dumps(data).decode()


def tool_results(messages: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Return ids and texts of the tool results since the last user message."""
    found: list[tuple[str, str]] = []
    for message in reversed(messages):
        if message["role"] == "user":
            break
        if message["role"] == "tool":
            found.append((message["tool_call_id"], content_text(message)))
    return tuple(reversed(found))
