"""A conversation as Anthropic's Messages API takes it: system, turns, tools, cache marks."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

from routing.catalog.shapes import Endpoint
from routing.wire.chat import ChatRequest
from routing.wire.messages import (
    CacheControl,
    FilePart,
    ImagePart,
    Message,
    NamedTool,
    Part,
    RefusalPart,
    TextPart,
)
from workers.dialects.claude import FORMAT, Mind, claude, enforced, forced, trimmed
from workers.dialects.claude_turns import Block, Is, Turns
from workers.dialects.common import (
    BLANK,
    cannot,
    data_url,
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
TOOL_NAME_MAX = 128
#: Longest title of a document.
TITLE_MAX = 500
_TOOL_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
#: Documents that are text under another name.
_TEXTS = frozenset({"application/json", "application/xml", "application/x-yaml"})
_UNMARKABLE = frozenset({"thinking", "redacted_thinking"})


@dataclass(slots=True, kw_only=True)
class Conversation(Turns):
    """What is being built; `marked` are the blocks with a cache mark, in the prompt's order."""

    replays: bool = True
    is_thought: Is = lambda block: block["type"] in _UNMARKABLE
    is_call: Is = lambda block: block["type"] == "tool_use"
    is_result: Is = lambda block: block["type"] == "tool_result"
    system: list[Block] = field(default_factory=list)
    tools: list[Block] = field(default_factory=list)
    tool_choice: Block | None = None
    marked: list[Block] = field(default_factory=list)

    def mark(self, block: Block, control: CacheControl | None) -> Block:
        """The block with a cache mark, if there is one to set."""
        if control is not None and "cache_control" not in block:
            block["cache_control"] = control.model_dump(include={"type", "ttl"}, exclude_none=True)
            self.marked.append(block)
        return block


def conversation(request: ChatRequest, endpoint: Endpoint, thought: Mind) -> Conversation:
    """A request's system prompt, turns and tools.

    Raises:
        UpstreamRejected: a part has no form here.
    """
    told = Conversation(replays=thought.replays)
    messages = request.messages
    if messages is None:
        told.say("user", [{"type": "text", "text": request.prompt or BLANK}])
        _automatic(told, request.cache_control)
        return told
    _tools(told, request, endpoint, thinks=thought.on)
    leading = leading_system(messages)
    for place, message in enumerate(leading):
        told.system += _texts(told, message, place)
    for place, message in enumerate(messages[len(leading) :], len(leading)):
        _turn(told, message, place)
    told.close()
    _opened_and_closed(told, endpoint, len(messages), thinks=thought.on)
    _automatic(told, request.cache_control)
    trimmed(told.marked)
    return told


def _turn(told: Conversation, message: Message, place: int) -> None:
    match message.role:
        case "assistant":
            told.say("assistant", _assistant(told, message, place))
        case "tool":
            told.say("user", [_result(told, message, place)])
        case "system" | "developer":
            told.say("user", _texts(told, message, place))
        case "user":
            told.say("user", _user(told, message, place))


def _texts(told: Conversation, message: Message, place: int) -> list[Block]:
    return _marked_last(told, message, _blocks(told, message, f"messages[{place}].content"))


def _user(told: Conversation, message: Message, place: int) -> list[Block]:
    blocks = _blocks(told, message, f"messages[{place}].content")
    if message.name:
        first = next((block for block in blocks if block["type"] == "text"), None)
        if first is None:
            blocks.insert(0, {"type": "text", "text": f"{message.name}:"})
        else:
            first["text"] = named(message, first["text"])
    return _marked_last(told, message, blocks)


def _assistant(told: Conversation, message: Message, place: int) -> list[Block]:
    """Thoughts, then text, then calls: the order they were made in."""
    thoughts = [
        block
        for item in own_details(message.reasoning_details, {FORMAT})
        if told.replays
        if (block := _thought(item)) is not None
    ]
    said_of(message, f"messages[{place}]")
    blocks = _blocks(told, message, f"messages[{place}].content")
    if not blocks and message.refusal:
        blocks = [{"type": "text", "text": message.refusal}]
    for number, call in enumerate(message.tool_calls or ()):
        where = f"messages[{place}].tool_calls[{number}].function.name"
        blocks.append(
            {
                "type": "tool_use",
                "id": safe_id(call.id, _TOOL_ID),
                "name": safe_name(call.function.name, TOOL_NAME_MAX, where),
                "input": parse_arguments(call.function.arguments),
            }
        )
    return thoughts + _marked_last(told, message, blocks)


def _thought(item: dict[str, Any]) -> Block | None:
    """A block that was signed; an unsigned one is refused, so it is left out."""
    kind = item.get("type")
    if kind == "reasoning.encrypted" and isinstance(item.get("data"), str):
        return {"type": "redacted_thinking", "data": item["data"]}
    signature, text = item.get("signature"), item.get("text")
    if kind != "reasoning.text" or not isinstance(signature, str) or not signature:
        return None
    return {
        "type": "thinking",
        "thinking": text if isinstance(text, str) else "",
        "signature": signature,
    }


def _result(told: Conversation, message: Message, place: int) -> Block:
    block: Block = {
        "type": "tool_result",
        "tool_use_id": safe_id(message.tool_call_id or "", _TOOL_ID),
    }
    content = _blocks(told, message, f"messages[{place}].content")
    if content:
        block["content"] = content
    _marked_last(told, message, [block])
    return block


def _marked_last(told: Conversation, message: Message, blocks: list[Block]) -> list[Block]:
    if blocks:
        told.mark(blocks[-1], message_mark(message))
    return blocks


def _blocks(told: Conversation, message: Message, place: str) -> list[Block]:
    """The parts of a content; empty texts are refused, so they are left out."""
    blocks = []
    for number, part in enumerate(parts_of(message.content)):
        block = _block(part, f"{place}[{number}]")
        if block is not None:
            blocks.append(told.mark(block, getattr(part, "cache_control", None)))
    return blocks


def _block(part: Part, place: str) -> Block | None:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case RefusalPart():
            return {"type": "text", "text": part.refusal} if part.refusal.strip() else None
        case ImagePart():
            return _image(part.image_url.url, place)
        case FilePart():
            return _document(part, place)
        case _:
            raise cannot(place, f"this provider takes no {part.type}; send text, images or PDF")


def _image(url: str, place: str) -> Block:
    inline = data_url(url)
    if inline is None:
        return {"type": "image", "source": {"type": "url", "url": url}}
    kind = "image/jpeg" if inline[0] == "image/jpg" else inline[0]
    if kind not in _IMAGES:
        raise cannot(place, f"this provider takes no {kind}; send PNG, JPEG, GIF or WebP")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": inline[1]}}


def _document(part: FilePart, place: str) -> Block:
    data = part.file.file_data
    if data is None:
        raise cannot(f"{place}.file.file_id", "this provider knows no such file; send file_data")
    inline = data_url(data)
    if inline is None:
        source = {"type": "url", "url": data}
    elif inline[0].startswith("image/"):
        return _image(data, place)
    else:
        source = _inline_document(*inline, place)
    block: Block = {"type": "document", "source": source}
    if part.file.filename:
        block["title"] = part.file.filename[:TITLE_MAX]
    return block


def _inline_document(kind: str, data: str, place: str) -> Block:
    if kind == "application/pdf":
        return {"type": "base64", "media_type": kind, "data": data}
    if not kind.startswith("text/") and kind not in _TEXTS:
        raise cannot(f"{place}.file", f"this provider takes no {kind}; send PDF or plain text")
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise cannot(f"{place}.file.file_data", "must be UTF-8 text in base64") from None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _tools(told: Conversation, request: ChatRequest, endpoint: Endpoint, *, thinks: bool) -> None:
    if request.tools and supports(endpoint, "tools"):
        strict = claude(endpoint).structured and supports(endpoint, "structured_outputs")
        for number, tool in enumerate(request.tools):
            function = tool.function
            schema = function.parameters or {"type": "object", "properties": {}}
            block: Block = {
                "name": safe_name(function.name, TOOL_NAME_MAX, f"tools[{number}].function.name"),
                "input_schema": {"type": "object"} | schema,
            }
            if function.description:
                block["description"] = function.description
            if function.strict and strict:
                block |= {"strict": True, "input_schema": enforced(block["input_schema"])}
            told.tools.append(told.mark(block, tool.cache_control))
        told.tool_choice = _choice(request, endpoint, thinks=thinks)
        return
    for name in called_names(request.messages or ()):
        told.tools.append(
            {
                "name": safe_name(name, TOOL_NAME_MAX, "messages: the name of a called tool"),
                "input_schema": {"type": "object", "properties": {}},
            }
        )
    if told.tools:
        told.tool_choice = {"type": "none"}


def _choice(request: ChatRequest, endpoint: Endpoint, *, thinks: bool) -> Block | None:
    asked = request.tool_choice if supports(endpoint, "tool_choice") else None
    single = request.parallel_tool_calls is False
    if asked is None and not single:
        return None
    name = asked.function.name if isinstance(asked, NamedTool) else None
    word = asked if isinstance(asked, str) else "auto"
    kind = "tool" if name else {"required": "any"}.get(word, word)
    kind = forced(kind, thinks=thinks)
    choice: Block = {"type": kind}
    if kind == "tool":
        choice["name"] = safe_name(name or "", TOOL_NAME_MAX, "tool_choice.function.name")
    if single and kind != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _opened_and_closed(told: Conversation, endpoint: Endpoint, count: int, *, thinks: bool) -> None:
    """The first turn is the user's, and the last one too unless the model continues it."""
    if not told.turns:
        told.say("user", told.system or [{"type": "text", "text": BLANK}])
        told.system = []
    if told.turns[0]["role"] != "user":
        told.turns.insert(0, {"role": "user", "content": [{"type": "text", "text": BLANK}]})
    last = told.turns[-1]
    if last["role"] != "assistant":
        return
    if thinks or not claude(endpoint).prefill:
        raise cannot(
            f"messages[{count - 1}].role",
            "this model does not continue a message of the assistant; end with a user message",
        )
    block = last["content"][-1]
    if block["type"] == "text":
        # A prefilled answer must not end in white space.
        block["text"] = block["text"].rstrip()


def _automatic(told: Conversation, control: CacheControl | None) -> None:
    """A mark without a place goes on the last block that can be cached."""
    if control is None:
        return
    for block in reversed(told.turns[-1]["content"]):
        if block["type"] not in _UNMARKABLE:
            told.mark(block, control)
            return
