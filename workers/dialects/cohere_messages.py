"""A conversation as Cohere's `/v2/chat` takes it: messages and tools."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from routing.catalog.shapes import Endpoint
from routing.wire.chat import ChatRequest
from routing.wire.messages import ImagePart, Message, NamedTool, Part, RefusalPart, TextPart, Tool
from workers.dialects.common import (
    BLANK,
    cannot,
    named,
    parts_of,
    said_of,
    supports,
    text_of,
    text_or_empty,
)
from workers.dialects.reasoning import own_details
from workers.dialects.tool_names import safe_id, safe_name

#: Longest name of a tool.
TOOL_NAME_MAX = 64
#: `id` of thoughts that came as the plan before a tool call, and go back as that.
PLAN_ID = "tool_plan"
_TOOL_ID = re.compile(r"[A-Za-z0-9_.:-]{1,256}")
_EMPTY_SCHEMA = {"type": "object", "properties": {}}


def messages_of(request: ChatRequest, endpoint: Endpoint) -> list[dict[str, Any]]:
    """The conversation.

    Raises:
        UpstreamRejected: a part has no form here, or the last word is the assistant's.
    """
    if request.messages is None:
        return [{"role": "user", "content": request.prompt or BLANK}]
    thinks = supports(endpoint, "reasoning")
    found = [
        _message(message, f"messages[{place}]", thinks=thinks)
        for place, message in enumerate(request.messages)
    ]
    if found[-1]["role"] == "assistant":
        raise cannot(
            f"messages[{len(found) - 1}].role",
            "this provider does not continue a message of the assistant; end with a user message",
        )
    if found[-1]["role"] == "system":
        found[-1]["role"] = "user"
    return found


def _message(message: Message, place: str, *, thinks: bool) -> dict[str, Any]:
    match message.role:
        case "system" | "developer":
            return {"role": "system", "content": text_of(message.content)}
        case "assistant":
            return _assistant(message, place, thinks=thinks)
        case "tool":
            return {
                "role": "tool",
                "tool_call_id": safe_id(message.tool_call_id or "", _TOOL_ID),
                "content": [
                    {"type": "text", "text": text_of(said_of(message, place)) or BLANK},
                ],
            }
        case "user":
            return {"role": "user", "content": _user(message, place)}


def _user(message: Message, place: str) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return named(message, message.content)
    parts = [
        _part(part, f"{place}.content[{number}]")
        for number, part in enumerate(parts_of(message.content))
    ]
    if message.name:
        parts.insert(0, {"type": "text", "text": f"{message.name}:"})
    return parts


def _part(part: Part, place: str) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case RefusalPart():
            return {"type": "text", "text": part.refusal}
        case ImagePart():
            image: dict[str, Any] = {"url": part.image_url.url}
            if part.image_url.detail in ("auto", "low", "high"):
                image["detail"] = part.image_url.detail
            return {"type": "image_url", "image_url": image}
        case _:
            raise cannot(place, f"this provider takes no {part.type}; send text or images")


def _assistant(message: Message, place: str, *, thinks: bool) -> dict[str, Any]:
    text = text_of(said_of(message, place)) or message.refusal or ""
    calls = [
        {
            "id": safe_id(call.id, _TOOL_ID),
            "type": "function",
            "function": {
                "name": safe_name(
                    call.function.name,
                    TOOL_NAME_MAX,
                    f"{place}.tool_calls[{number}].function.name",
                ),
                "arguments": call.function.arguments or "{}",
            },
        }
        for number, call in enumerate(message.tool_calls or ())
    ]
    plan, thoughts = _thoughts(own_details(message.reasoning_details, {None, "unknown"}))
    content: list[dict[str, Any]] = []
    if thoughts and thinks:
        content.append({"type": "thinking", "thinking": thoughts})
    if text or not calls:
        content.append({"type": "text", "text": text or BLANK})
    found: dict[str, Any] = {"role": "assistant"}
    optional = {"content": content, "tool_calls": calls, "tool_plan": plan if calls else ""}
    return found | {name: value for name, value in optional.items() if value}


def _thoughts(details: Iterable[dict[str, Any]]) -> tuple[str, str]:
    """The plan and the other thoughts of a replayed message."""
    plan, thoughts = "", ""
    for item in details:
        if item.get("id") == PLAN_ID:
            plan += text_or_empty(item.get("text"))
        else:
            thoughts += text_or_empty(item.get("text"))
    return plan, thoughts


def tools_of(request: ChatRequest, endpoint: Endpoint) -> dict[str, Any]:
    """The fields about tools; a tool that is forced by name is the only one offered."""
    if not request.tools or not supports(endpoint, "tools"):
        return {}
    choice = request.tool_choice if supports(endpoint, "tool_choice") else None
    offered: list[tuple[int, Tool]] = list(enumerate(request.tools))
    if isinstance(choice, NamedTool):
        offered = [item for item in offered if item[1].function.name == choice.function.name]
    found: dict[str, Any] = {"tools": [_tool(tool, place) for place, tool in offered]}
    if choice == "none":
        found["tool_choice"] = "NONE"
    elif choice == "required" or isinstance(choice, NamedTool):
        found["tool_choice"] = "REQUIRED"
    if all(tool.function.strict for _, tool in offered):
        found["strict_tools"] = True
    return found


def _tool(tool: Tool, place: int) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": safe_name(tool.function.name, TOOL_NAME_MAX, f"tools[{place}].function.name"),
        "parameters": tool.function.parameters or _EMPTY_SCHEMA,
    }
    if tool.function.description:
        function["description"] = tool.function.description
    return {"type": "function", "function": function}
