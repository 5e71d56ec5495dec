"""Checks the messages of a request in the OpenAI dialect."""

import re
from dataclasses import dataclass
from typing import Any, Final

from workers.simulator.openai_fields import Invalid
from workers.simulator.openai_media import read_part
from workers.simulator.openai_thinking import check_message_fields
from workers.simulator.providers import Manner

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

_BARE_ID: Final = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages, and the MIME types of the media in them."""

    messages: list[dict[str, Any]]
    media: tuple[str, ...]


def read_messages(body: dict[str, Any], manner: Manner) -> Conversation:
    """Check all messages, and that every tool result answers a call.

    Raises:
        Invalid: The provider would refuse one of them.
    """
    messages = body.get("messages")
    if messages is None:
        raise Invalid(
            "Missing required parameter: 'messages'.",
            "messages",
            code="missing_required_parameter",
            kind="missing",
        )
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise Invalid(
            "Invalid type for 'messages': expected an array of objects.",
            "messages",
            code="invalid_type",
            kind="list_type",
        )
    if not messages:
        raise Invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            "messages",
            code="empty_array",
            kind="too_short",
        )
    called: set[str] = set()
    media: list[str] = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        _check_message(message, where, called, manner)
        check_message_fields(message, where, manner)
        optional = message["role"] == "assistant"
        media.extend(_read_content(message, f"{where}.content", manner, optional=optional))
    return Conversation(messages, tuple(media))


def _check_message(message: dict[str, Any], where: str, called: set[str], manner: Manner) -> None:
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise Invalid(
            f"Invalid value: {role!r}. Supported values are: 'system', 'assistant', 'user', "
            "'function', 'tool', and 'developer'.",
            f"{where}.role",
            code="invalid_value",
            kind="literal_error",
        )
    if role == "assistant":
        called.update(_tool_call_ids(message, where, manner))
    if role == "tool":
        _check_tool_result(message, where, called)


def _tool_call_ids(message: dict[str, Any], where: str, manner: Manner) -> list[str]:
    calls = message.get("tool_calls")
    if calls is None:
        return []
    where = f"{where}.tool_calls"
    if not isinstance(calls, list) or not calls:
        raise Invalid(f"Invalid '{where}': expected a non-empty array.", where, code="empty_array")
    return [_tool_call_id(call, f"{where}.{index}", manner) for index, call in enumerate(calls)]


def _tool_call_id(call: Any, where: str, manner: Manner) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(call.get("id"), str):
        raise Invalid(
            f"Missing required parameter: '{where}'.", where, code="missing_required_parameter"
        )
    if not isinstance(function.get("name"), str) or not isinstance(function.get("arguments"), str):
        raise Invalid(
            f"Invalid type for '{where}.function': expected a name and arguments as strings.",
            f"{where}.function",
            code="invalid_type",
            kind="string_type",
        )
    tag: str = call["id"]
    if manner.bare_tool_call_ids and not _BARE_ID.fullmatch(tag):
        raise Invalid(
            f"Tool call id was {tag} but must be a-z, A-Z, 0-9, with a length of 9.",
            where,
            code="3280",
            kind="invalid_function_call",
        )
    return tag


def _check_tool_result(message: dict[str, Any], where: str, called: set[str]) -> None:
    tag = message.get("tool_call_id")
    if not isinstance(tag, str):
        raise Invalid(
            f"Missing required parameter: '{where}.tool_call_id'.",
            f"{where}.tool_call_id",
            code="missing_required_parameter",
            kind="missing",
        )
    if tag not in called:
        raise Invalid(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
            "message with 'tool_calls'.",
            f"{where}.role",
        )


def _read_content(
    message: dict[str, Any], where: str, manner: Manner, *, optional: bool
) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return []
    if content is None:
        if optional:
            return []
        raise Invalid(
            f"Invalid value for '{where}': expected a string, got null.",
            where,
            code="invalid_type",
            kind="string_type",
        )
    if not isinstance(content, list):
        raise Invalid(
            f"Invalid type for '{where}': expected a string or an array of objects.",
            where,
            code="invalid_type",
            kind="string_type",
        )
    types = (read_part(part, f"{where}.{index}", manner) for index, part in enumerate(content))
    return [kind for kind in types if kind is not None]


def said_in(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last user message, empty when there is none."""
    for message in reversed(messages):
        if message["role"] == "user":
            return content_text(message)
    return ""


def content_text(message: dict[str, Any]) -> str:
    """Return the text of a message, without its pictures and sounds."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in content or () if part["type"] == "text")
    return "\n".join(part for part in texts if isinstance(part, str))


def tool_results(messages: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the texts of the tool results since the last user message."""
    found: list[str] = []
    for message in reversed(messages):
        if message["role"] == "user":
            break
        if message["role"] == "tool":
            found.append(content_text(message))
    return tuple(reversed(found))
