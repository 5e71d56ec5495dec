"""A conversation as Bedrock's Converse takes it: system, turns, tools, cache points."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from routing.catalog.shapes import Endpoint
from routing.wire.chat import ChatRequest
from routing.wire.messages import CacheControl, Message, NamedTool
from workers.dialects.bedrock_media import Names, block_of
from workers.dialects.claude import FORMAT, Mind, claude, enforced, forced, trimmed
from workers.dialects.claude_turns import Block, Is, Turns
from workers.dialects.common import (
    BLANK,
    cannot,
    leading_system,
    message_mark,
    named,
    parse_arguments,
    parts_of,
    said_of,
    supports,
)
from workers.dialects.reasoning import own_details
from workers.dialects.tool_names import called_names, safe_id, safe_name

#: Longest name of a tool.
TOOL_NAME_MAX = 64
_TOOL_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_POINT = "cachePoint"
_EMPTY_SCHEMA = {"type": "object", "properties": {}}


@dataclass(slots=True, kw_only=True)
class Conversation(Turns):
    """What is being built.

    A cache point is a block of its own that follows the marked one. Until `finished` it is a second
    field of the marked block, so that the two cannot be parted.
    """

    caches: bool
    signed: bool
    hours: bool
    replays: bool
    names: Names = field(default_factory=Names)
    is_thought: Is = lambda block: "reasoningContent" in block
    is_call: Is = lambda block: "toolUse" in block
    is_result: Is = lambda block: "toolResult" in block
    system: list[Block] = field(default_factory=list)
    tools: list[Block] = field(default_factory=list)
    tool_choice: Block | None = None
    marked: list[Block] = field(default_factory=list)

    def mark(self, block: Block, control: CacheControl | None) -> Block:
        """The block with a cache point, if there is one to set and the model can cache."""
        if control is not None and self.caches and _POINT not in block:
            point = {"type": "default"}
            if control.ttl == "1h" and self.hours:
                point["ttl"] = "1h"
            block[_POINT] = point
            self.marked.append(block)
        return block

    def finished(self) -> None:
        """Trim the cache points and give each its own block; a document needs a text beside it."""
        trimmed(self.marked, _POINT)
        self.system, self.tools = _exploded(self.system), _exploded(self.tools)
        for turn in self.turns:
            content = turn["content"]
            if any("document" in block for block in content) and not any(
                "text" in block for block in content
            ):
                content.append({"text": BLANK})
            turn["content"] = _exploded(content)


def conversation(request: ChatRequest, endpoint: Endpoint, thought: Mind) -> Conversation:
    """A request's system prompt, turns and tools.

    Raises:
        UpstreamRejected: a part has no form here.
    """
    family = endpoint.upstream_id
    told = Conversation(
        caches="claude" in family or "nova" in family,
        signed="claude" in family,
        # Earlier models refuse to be told how long to keep it.
        hours="claude" in family and claude(endpoint).hourly,
        replays="claude" in family and thought.replays,
    )
    messages = request.messages
    if messages is None:
        told.say("user", [{"text": request.prompt or BLANK}])
        told.mark(told.turns[-1]["content"][-1], request.cache_control)
        told.finished()
        return told
    _tools(told, request, endpoint, thinks=thought.on)
    leading = leading_system(messages)
    for place, message in enumerate(leading):
        blocks = _blocks(told, message, place)
        if blocks:
            told.mark(blocks[-1], message_mark(message))
        told.system += blocks
    for place, message in enumerate(messages[len(leading) :], len(leading)):
        _turn(told, message, place)
    told.close()
    _opened_and_closed(told, endpoint, len(messages), thinks=thought.on)
    told.mark(told.turns[-1]["content"][-1], request.cache_control)
    told.finished()
    return told


def _exploded(blocks: list[Block]) -> list[Block]:
    found: list[Block] = []
    for block in blocks:
        point = block.pop(_POINT, None)
        found.append(block)
        if point is not None:
            found.append({_POINT: point})
    return found


def _turn(told: Conversation, message: Message, place: int) -> None:
    match message.role:
        case "assistant":
            told.say("assistant", _assistant(told, message, place))
        case "tool":
            told.say("user", [_result(told, message, place)])
        case _:
            blocks = _blocks(told, message, place)
            if message.name and message.role == "user":
                first = next((block for block in blocks if "text" in block), None)
                if first is None:
                    blocks.insert(0, {"text": f"{message.name}:"})
                else:
                    first["text"] = named(message, first["text"])
            if blocks:
                told.mark(blocks[-1], message_mark(message))
            told.say("user", blocks)


def _assistant(told: Conversation, message: Message, place: int) -> list[Block]:
    """Thoughts, then text, then calls: the order they were made in."""
    details = own_details(message.reasoning_details, {FORMAT}) if told.replays else []
    thoughts = [{"reasoningContent": found} for item in details if (found := _thought(item))]
    said_of(message, f"messages[{place}]")
    blocks = _blocks(told, message, place)
    if not blocks and message.refusal:
        blocks = [{"text": message.refusal}]
    for number, call in enumerate(message.tool_calls or ()):
        where = f"messages[{place}].tool_calls[{number}].function.name"
        use = {
            "toolUseId": safe_id(call.id, _TOOL_ID),
            "name": safe_name(call.function.name, TOOL_NAME_MAX, where),
            "input": parse_arguments(call.function.arguments),
        }
        blocks.append({"toolUse": use})
    if blocks:
        told.mark(blocks[-1], message_mark(message))
    return thoughts + blocks


def _thought(item: dict[str, Any]) -> Block | None:
    """A block that was signed; an unsigned one is refused, so it is left out."""
    kind, signature, text = item.get("type"), item.get("signature"), item.get("text")
    if kind == "reasoning.encrypted" and isinstance(item.get("data"), str):
        return {"redactedContent": item["data"]}
    if kind != "reasoning.text" or not isinstance(signature, str) or not signature:
        return None
    return {
        "reasoningText": {"text": text if isinstance(text, str) else "", "signature": signature}
    }


def _result(told: Conversation, message: Message, place: int) -> Block:
    content = _blocks(told, message, place)
    if any("audio" in block for block in content):
        raise cannot(f"messages[{place}].content", "this provider takes no sound from a tool")
    points = [block.pop(_POINT) for block in content if _POINT in block]
    result = {
        "toolUseId": safe_id(message.tool_call_id or "", _TOOL_ID),
        "content": content or [{"text": BLANK}],
    }
    block: Block = {"toolResult": result}
    if points:
        # Inside a result there is no place for a cache point: it goes behind it.
        told.marked = [known for known in told.marked if known not in content]
        block[_POINT] = points[-1]
        told.marked.append(block)
    return told.mark(block, message_mark(message))


def _blocks(told: Conversation, message: Message, place: int) -> list[Block]:
    blocks = []
    for number, part in enumerate(parts_of(message.content)):
        block = block_of(part, f"messages[{place}].content[{number}]", told.names)
        if block is not None:
            blocks.append(told.mark(block, getattr(part, "cache_control", None)))
    return blocks


def _tools(told: Conversation, request: ChatRequest, endpoint: Endpoint, *, thinks: bool) -> None:
    """Converse has no way to forbid tools: they are left out, unless the history needs them."""
    called = called_names(request.messages or ())
    listed = request.tools if request.tools and supports(endpoint, "tools") else ()
    if request.tool_choice == "none" and not called:
        return
    strict = claude(endpoint).structured and supports(endpoint, "structured_outputs")
    for number, tool in enumerate(listed):
        function = tool.function
        schema = {"type": "object"} | (function.parameters or _EMPTY_SCHEMA)
        spec: Block = {
            "name": safe_name(function.name, TOOL_NAME_MAX, f"tools[{number}].function.name"),
            "inputSchema": {"json": schema},
        }
        if function.description:
            spec["description"] = function.description
        if function.strict and strict:
            spec |= {"strict": True, "inputSchema": {"json": enforced(schema)}}
        # Only Claude caches tools.
        told.tools.append(
            told.mark({"toolSpec": spec}, tool.cache_control if told.signed else None)
        )
    if listed:
        told.tool_choice = _choice(request, endpoint, thinks=thinks)
        return
    for name in called:
        safe = safe_name(name, TOOL_NAME_MAX, "messages: the name of a called tool")
        told.tools.append({"toolSpec": {"name": safe, "inputSchema": {"json": _EMPTY_SCHEMA}}})


def _choice(request: ChatRequest, endpoint: Endpoint, *, thinks: bool) -> Block | None:
    asked = request.tool_choice
    if asked is None or asked == "none" or not supports(endpoint, "tool_choice"):
        return None
    if isinstance(asked, NamedTool):
        kind = forced("tool", thinks=thinks)
        name = safe_name(asked.function.name, TOOL_NAME_MAX, "tool_choice.function.name")
        return {kind: {"name": name} if kind == "tool" else {}}
    return {forced("any" if asked == "required" else "auto", thinks=thinks): {}}


def _opened_and_closed(told: Conversation, endpoint: Endpoint, count: int, *, thinks: bool) -> None:
    """The first turn is the user's, and the last one too unless the model continues it."""
    if not told.turns:
        told.say("user", told.system or [{"text": BLANK}])
        told.system = []
    if told.turns[0]["role"] != "user":
        told.turns.insert(0, {"role": "user", "content": [{"text": BLANK}]})
    last = told.turns[-1]
    if last["role"] != "assistant":
        return
    if thinks or not told.signed or not claude(endpoint).prefill:
        raise cannot(
            f"messages[{count - 1}].role",
            "this model does not continue a message of the assistant; end with a user message",
        )
    block = last["content"][-1]
    if "text" in block:
        # A prefilled answer must not end in white space.
        block["text"] = block["text"].rstrip()
