"""Answers of each inbound API, read as its clients read them, into one form.

A reader raises (KeyError, ValueError, AssertionError) where an answer has not the API's form.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]

DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Call:
    """A tool the model wants called; `arguments` as they came."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The `usage` of an answer."""

    prompt: int
    completion: int
    cached: int
    written: int
    reasoning: int
    cost: float


@dataclass(slots=True)
class Heard:
    """One answer.

    Attributes:
        error: the error object of the API's envelope, of a refused call or inside a stream.
        envelope: the whole body or event it was in.
        finish: why it stopped, in the API's own word.
        turn: what a client appends to its conversation.
        ended: whether the answer claims to be whole.
    """

    status: int
    generation_id: str = ""
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    transcript: str = ""
    audio: bytes = b""
    finish: str | None = None
    usage: Counts | None = None
    error: Fields | None = None
    envelope: Fields = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    turn: list[Fields] = field(default_factory=list)
    vectors: list[list[float]] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Raw:
    """What came over HTTP."""

    status: int
    content_type: str
    generation_id: str
    text: str


def read(api: str, raw: Raw) -> Heard:
    """One answer, plain or streamed."""
    heard = Heard(raw.status, raw.generation_id)
    if "event-stream" in raw.content_type:
        _STREAMS[api](list(events(raw.text)), heard)
        return heard
    found = json.loads(raw.text)
    if raw.status != 200:
        heard.envelope, heard.error = found, found["error"]
    else:
        _PLAIN[api](found, heard)
        heard.ended = True
    return heard


def events(text: str) -> Iterable[tuple[str, Fields | str]]:
    """Names and data of server-sent events; comments are left out."""
    for block in text.split("\n\n"):
        name, data = "", []
        for line in block.split("\n"):
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data.append(line.removeprefix("data: "))
            else:
                assert not line or line.startswith(":"), line
        if data:
            joined = "\n".join(data)
            yield name, joined if joined == DONE else json.loads(joined)


def answered(api: str, calls: Iterable[Call], results: Iterable[str]) -> list[Fields]:
    """What a client sends back for tool calls."""
    pairs = list(zip(calls, results, strict=True))
    match api:
        case "responses":
            return [
                {"type": "function_call_output", "call_id": call.id, "output": result}
                for call, result in pairs
            ]
        case "messages":
            blocks = [
                {"type": "tool_result", "tool_use_id": call.id, "content": result}
                for call, result in pairs
            ]
            return [{"role": "user", "content": blocks}]
        case _:
            return [
                {"role": "tool", "tool_call_id": call.id, "content": result}
                for call, result in pairs
            ]


# Chat and completions.


def _plain_chat(found: Fields, heard: Heard) -> None:
    assert found["object"] == "chat.completion"
    (choice,) = found["choices"]
    _message(choice["message"], heard)
    heard.finish = choice["finish_reason"]
    heard.usage = _openai_usage(found["usage"])


def _message(message: Fields, heard: Heard) -> None:
    assert message["role"] == "assistant"
    heard.text = message.get("content") or ""
    heard.reasoning = message.get("reasoning") or ""
    heard.refusal = message.get("refusal") or ""
    heard.images = [image["image_url"]["url"] for image in message.get("images") or ()]
    sound = message.get("audio") or {}
    heard.audio = base64.b64decode(sound.get("data") or "")
    heard.transcript = sound.get("transcript") or ""
    for call in message.get("tool_calls") or ():
        assert call["type"] == "function"
        heard.calls.append(
            Call(call["id"], call["function"]["name"], call["function"]["arguments"])
        )
    heard.turn = [message]


def _streamed_chat(found: list[tuple[str, Any]], heard: Heard) -> None:
    message: Fields = {"role": "assistant", "content": ""}
    sound: Fields = {}
    pieces: list[str] = []
    for _, chunk in _openai_chunks(found, heard):
        for choice in chunk["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            for name in ("reasoning", "refusal"):
                if delta.get(name):
                    message[name] = message.get(name, "") + delta[name]
            for name in ("reasoning_details", "images"):
                if delta.get(name):
                    message.setdefault(name, []).extend(delta[name])
            for fragment in delta.get("tool_calls") or ():
                _add_call(message.setdefault("tool_calls", []), fragment)
            piece = delta.get("audio") or {}
            pieces.append(piece.get("data") or "")
            if piece.get("transcript"):
                sound["transcript"] = sound.get("transcript", "") + piece["transcript"]
            heard.finish = choice["finish_reason"] or heard.finish
    _message(message, heard)
    heard.audio = b"".join(base64.b64decode(piece) for piece in pieces)
    heard.transcript = sound.get("transcript", "")


def _add_call(calls: list[Fields], fragment: Fields) -> None:
    index = fragment["index"]
    if index == len(calls):
        calls.append({"id": fragment["id"], "type": "function"})
        calls[index]["function"] = {"name": fragment["function"]["name"], "arguments": ""}
    function = fragment.get("function") or {}
    calls[index]["function"]["arguments"] += function.get("arguments") or ""


def _openai_chunks(found: list[tuple[str, Any]], heard: Heard) -> Iterable[tuple[str, Fields]]:
    assert [name for name, data in found if data == DONE] == [""], "no single end mark"
    assert found[-1][1] == DONE
    for name, chunk in found[:-1]:
        assert name == ""
        if "error" in chunk:
            heard.envelope, heard.error = chunk, chunk["error"]
        if "usage" in chunk:
            assert heard.usage is None, "usage came twice"
            heard.usage = _openai_usage(chunk["usage"])
        yield name, chunk
    heard.ended = heard.error is None and heard.usage is not None


def _plain_text(found: Fields, heard: Heard) -> None:
    assert found["object"] == "text_completion"
    (choice,) = found["choices"]
    heard.text = choice["text"]
    heard.reasoning = choice.get("reasoning") or ""
    heard.finish = choice["finish_reason"]
    heard.usage = _openai_usage(found["usage"])


def _streamed_text(found: list[tuple[str, Any]], heard: Heard) -> None:
    for _, chunk in _openai_chunks(found, heard):
        assert chunk["object"] == "text_completion"
        for choice in chunk["choices"]:
            heard.text += choice["text"]
            heard.reasoning += choice.get("reasoning") or ""
            heard.finish = choice["finish_reason"] or heard.finish


def _openai_usage(usage: Fields) -> Counts:
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    assert usage["total_tokens"] == prompt + completion
    details = usage["prompt_tokens_details"]
    return Counts(
        prompt=prompt,
        completion=completion,
        cached=details["cached_tokens"],
        written=details["cache_write_tokens"],
        reasoning=usage["completion_tokens_details"]["reasoning_tokens"],
        cost=usage["cost"],
    )


# Responses.


def _plain_response(found: Fields, heard: Heard) -> None:
    assert found["object"] == "response"
    heard.finish = found["status"]
    if found["incomplete_details"]:
        heard.finish = found["incomplete_details"]["reason"]
    heard.turn = found["output"]
    for item in found["output"]:
        _OUTPUTS[item["type"]](item, heard)
    usage = found["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    heard.usage = Counts(
        prompt=usage["input_tokens"],
        completion=usage["output_tokens"],
        cached=usage["input_tokens_details"]["cached_tokens"],
        written=usage["input_tokens_details"]["cache_write_tokens"],
        reasoning=usage["output_tokens_details"]["reasoning_tokens"],
        cost=usage["cost"],
    )


def _said(item: Fields, heard: Heard) -> None:
    assert item["role"] == "assistant"
    for part in item["content"]:
        if part["type"] == "refusal":
            heard.refusal += part["refusal"]
        else:
            assert part["type"] == "output_text"
            heard.text += part["text"]


def _thought(item: Fields, heard: Heard) -> None:
    for part in (*item.get("summary", ()), *item.get("content", ())):
        heard.reasoning += part["text"]


def _called(item: Fields, heard: Heard) -> None:
    heard.calls.append(Call(item["call_id"], item["name"], item["arguments"]))


def _drew(item: Fields, heard: Heard) -> None:
    heard.images.append(f"data:image/{item['output_format']};base64,{item['result']}")


_OUTPUTS: Mapping[str, Callable[[Fields, Heard], None]] = {
    "message": _said,
    "reasoning": _thought,
    "function_call": _called,
    "image_generation_call": _drew,
}
_ENDS = {"response.completed", "response.incomplete"}


def _streamed_response(found: list[tuple[str, Any]], heard: Heard) -> None:
    assert found[-1] == ("", DONE)
    told = [data for _, data in found[:-1]]
    assert [data["sequence_number"] for data in told] == list(range(len(told)))
    kinds = [data["type"] for data in told]
    ends = [data for data in told if data["type"] in _ENDS]
    for data in told:
        if data["type"] == "error":
            heard.envelope, heard.error = data, data
    if heard.error is not None:
        assert not ends
        assert "response.failed" in kinds
        return
    (end,) = ends
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == end["type"]
    _plain_response(end["response"], heard)
    # The pieces are the whole.
    assert heard.text == _pieces(told, "response.output_text.delta")
    thoughts = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
    assert heard.reasoning == _pieces(told, *thoughts)
    arguments = _pieces(told, "response.function_call_arguments.delta")
    assert "".join(call.arguments for call in heard.calls) == arguments
    done = [data["item"] for data in told if data["type"] == "response.output_item.done"]
    assert sorted(map(json.dumps, done)) == sorted(map(json.dumps, heard.turn))
    heard.ended = True


def _pieces(told: list[Fields], *kinds: str) -> str:
    return "".join(data["delta"] for data in told if data["type"] in kinds)


# Messages.


def _plain_message(found: Fields, heard: Heard) -> None:
    assert (found["type"], found["role"]) == ("message", "assistant")
    _blocks(found["content"], heard)
    heard.finish = found["stop_reason"]
    heard.usage = _anthropic_usage(found["usage"])


def _blocks(blocks: list[Fields], heard: Heard) -> None:
    for block in blocks:
        match block["type"]:
            case "text":
                heard.text += block["text"]
            case "thinking":
                heard.reasoning += block["thinking"]
                assert isinstance(block["signature"], str)
            case "redacted_thinking":
                assert block["data"]
            case "tool_use":
                heard.calls.append(Call(block["id"], block["name"], json.dumps(block["input"])))
            case other:
                raise ValueError(other)
    heard.turn = [{"role": "assistant", "content": blocks}]


def _streamed_message(found: list[tuple[str, Any]], heard: Heard) -> None:
    blocks: list[Fields] = []
    inputs: dict[int, str] = {}
    open_blocks: set[int] = set()
    for name, event in found:
        assert name == event["type"]
        match name:
            case "message_start":
                assert event["message"]["content"] == []
            case "content_block_start":
                assert event["index"] == len(blocks)
                open_blocks.add(event["index"])
                blocks.append(event["content_block"])
            case "content_block_delta":
                assert event["index"] in open_blocks
                _add_piece(blocks[event["index"]], event["delta"], inputs, event["index"])
            case "content_block_stop":
                open_blocks.remove(event["index"])
            case "message_delta":
                heard.finish = event["delta"]["stop_reason"]
                heard.usage = _anthropic_usage(event["usage"])
            case "message_stop":
                heard.ended = True
                assert not open_blocks
            case "error":
                heard.envelope, heard.error = event, event["error"]
            case _:
                assert name == "ping", name
    for index, text in inputs.items():
        blocks[index]["input"] = json.loads(text)
    assert found[0][0] in {"message_start", "error"}
    assert found[-1][0] in {"message_stop", "error"}
    _blocks(blocks, heard)


def _add_piece(block: Fields, delta: Fields, inputs: dict[int, str], index: int) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]
        case "citations_delta":
            assert block["type"] == "text"
        case other:
            raise ValueError(other)


def _anthropic_usage(usage: Fields) -> Counts:
    cached, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    return Counts(
        prompt=usage["input_tokens"] + cached + written,
        completion=usage["output_tokens"],
        cached=cached,
        written=written,
        reasoning=usage["output_tokens_details"]["thinking_tokens"],
        cost=usage["cost"],
    )


# Embeddings.


def _plain_vectors(found: Fields, heard: Heard) -> None:
    assert found["object"] == "list"
    for index, item in enumerate(found["data"]):
        assert (item["object"], item["index"]) == ("embedding", index)
        heard.vectors.append(item["embedding"])
    usage = found["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"]
    heard.usage = Counts(usage["prompt_tokens"], 0, 0, 0, 0, usage["cost"])


_PLAIN: Mapping[str, Callable[[Fields, Heard], None]] = {
    "chat": _plain_chat,
    "completions": _plain_text,
    "responses": _plain_response,
    "messages": _plain_message,
    "embeddings": _plain_vectors,
}
_STREAMS: Mapping[str, Callable[[list[tuple[str, Any]], Heard], None]] = {
    "chat": _streamed_chat,
    "completions": _streamed_text,
    "responses": _streamed_response,
    "messages": _streamed_message,
}
