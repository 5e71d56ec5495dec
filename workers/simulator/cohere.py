"""Cohere's second API: chat, plain and streamed, and embeddings."""

import base64
import struct
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from workers.simulator.cohere_fields import Refused
from workers.simulator.cohere_request import read_chat, read_embed
from workers.simulator.dialect import Answer, Ask, Choice, Dialect, Direct, Event, Failure, Usage
from workers.simulator.text import CHARACTERS_PER_TOKEN, estimate_tokens
from workers.simulator.wire import Request

CHAT: Final = "/v2/chat"
EMBED: Final = "/v2/embed"
# Arguments come in fragments about this long.
FRAGMENT_CHARACTERS: Final = 8
# How much of an answer a citation is about.
CITED_CHARACTERS: Final = 5
PLAN: Final = "I will use a tool to find that out."

Kind = Literal["start", "piece", "finish", "usage", "end", "error"]

_ERROR_ID: Final = "00000000-0000-4000-8000-000000000000"
_REASONS: Final = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}
_FAILURES: Final[dict[Failure, tuple[int, str]]] = {
    Failure.RATE_LIMITED: (
        429,
        "You are past the per minute request limit, please wait and try again later.",
    ),
    Failure.BROKEN: (500, "internal server error, this has been reported to our developers."),
    Failure.OVERLOADED: (503, "the service is currently unavailable, please try again later"),
    Failure.UNAUTHORIZED: (401, "invalid api token"),
    Failure.UNPAID: (402, "Please add or update your payment method."),
    Failure.FORBIDDEN: (403, "you do not have access to this model"),
    Failure.CONTEXT: (
        400,
        (
            "too many tokens: total number of tokens in the prompt cannot exceed 8192 - received "
            "9001. Try using a shorter prompt."
        ),
    ),
    Failure.FILTERED: (400, "blocked input: please adjust your prompt and try again"),
}


class CohereDialect(Dialect):
    """Chat and embeddings as Cohere speaks them; see ``Dialect`` for the methods."""

    id_header = "x-debug-trace-id"

    def claims(self, path: str) -> bool:
        """Whether the path is one of the two operations."""
        return path in (CHAT, EMBED)

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check the key, the method and the body, in that order."""
        del provider
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            return _error(401, "no api key supplied")
        if request.method != "POST":
            return _error(405, "method not allowed")
        try:
            return read_chat(request.body) if path == CHAT else read_embed(request.body)
        except Refused as refused:
            return _error(refused.status, str(refused))

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render one body."""
        del provider
        if ask.kind == "embeddings":
            return _embeddings(ask, answer)
        choice = answer.choices[0]
        message: dict[str, Any] = {"role": "assistant"}
        if choice.calls:
            if not choice.reasoning:
                message["tool_plan"] = PLAN
            message["tool_calls"] = [
                {**_call(call.tag, call.name), "function": _function(call.name, call.arguments)}
                for call in choice.calls
            ]
        if content := _content(choice):
            message["content"] = content
        if citations := _citations(ask, choice):
            message["citations"] = citations
        body: dict[str, Any] = {"id": _id(answer), "message": message, **_end(choice)}
        if answer.usage is not None:
            body["usage"] = _usage(answer.usage)
        if ask.extras.get("logprobs"):
            body["logprobs"] = [_logprob("".join(choice.pieces))]
        return orjson.dumps(body)

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render a stream; ``message-end`` is its end mark."""
        del provider
        choice = answer.choices[0]
        message = {
            "role": "assistant",
            "content": [],
            "tool_plan": "",
            "tool_calls": [],
            "citations": [],
        }
        events = [
            _event("message-start", "start", id=_id(answer), delta={"message": message}),
            *_content_events(ask, choice),
            *_tool_events(choice),
        ]
        if answer.says_finish:
            end: dict[str, Any] = _end(choice)
            if answer.usage is not None:
                end["usage"] = _usage(answer.usage)
            events.append(_event("message-end", "end", delta=end))
        return events

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error."""
        del provider
        return _error(*_FAILURES[failure])

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an error inside a stream: an end of the message that says so."""
        del provider
        delta = {"finish_reason": "ERROR", "error": _FAILURES[failure][1]}
        return _event("message-end", "error", delta=delta)


def _error(status: int, message: str) -> Direct:
    return Direct(status=status, body=orjson.dumps({"id": _ERROR_ID, "message": message}))


def _event(name: str, kind: Kind = "piece", **members: Any) -> Event:
    return Event(data=orjson.dumps({"type": name, **members}), kind=kind, name=name)


def _id(answer: Answer) -> str:
    return str(UUID(answer.tag[:32]))


def _end(choice: Choice) -> dict[str, Any]:
    """Return how the answer ended; a refusal is an error with a reason."""
    if choice.refusal:
        return {"finish_reason": "ERROR", "error": choice.refusal}
    if choice.finish_reason is None:
        return {}
    if choice.stopped_by and choice.finish_reason == "stop":
        return {"finish_reason": "STOP_SEQUENCE"}
    return {"finish_reason": _REASONS.get(choice.finish_reason, "ERROR")}


def _usage(usage: Usage) -> dict[str, Any]:
    counts = {"input_tokens": usage.prompt, "output_tokens": usage.completion}
    return {"billed_units": counts, "tokens": counts, "cached_tokens": usage.cached}


def _content(choice: Choice) -> list[dict[str, str]]:
    content: list[dict[str, str]] = []
    if choice.reasoning:
        content.append({"type": "thinking", "thinking": "".join(choice.reasoning)})
    if choice.pieces:
        content.append({"type": "text", "text": "".join(choice.pieces)})
    return content


def _citations(ask: Ask, choice: Choice) -> list[dict[str, Any]]:
    """Cite all sources for the first word of the answer."""
    sources = ask.extras.get("sources")
    text = "".join(choice.pieces)[:CITED_CHARACTERS]
    if not sources or not text:
        return []
    return [
        {
            "start": 0,
            "end": len(text),
            "text": text,
            "sources": sources,
            "content_index": 1 if choice.reasoning else 0,
            "type": "TEXT_CONTENT",
        }
    ]


def _call(tag: str, name: str) -> dict[str, Any]:
    return {"id": f"{name}_{tag[:12]}", "type": "function"}


def _function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


def _logprob(text: str) -> dict[str, Any]:
    count = max(1, estimate_tokens(text[:CHARACTERS_PER_TOKEN]))
    return {
        "token_ids": list(range(count)),
        "text": text[:CHARACTERS_PER_TOKEN],
        "logprobs": [-0.5] * count,
    }


def _content_events(ask: Ask, choice: Choice) -> list[Event]:
    events: list[Event] = []
    index = 0
    for kind, pieces in (("thinking", choice.reasoning), ("text", choice.pieces)):
        if not pieces:
            continue
        start = {"message": {"content": {"type": kind, kind: ""}}}
        events.append(_event("content-start", "start", index=index, delta=start))
        for place, piece in enumerate(pieces):
            delta = {"message": {"content": {kind: piece}}}
            members: dict[str, Any] = {"index": index, "delta": delta}
            if ask.extras.get("logprobs"):
                members["logprobs"] = _logprob(piece)
            events.append(_event("content-delta", "piece", **members))
            if kind == "text" and place == 0:
                events.extend(_citation_events(ask, choice))
        events.append(_event("content-end", "start", index=index))
        index += 1
    return events


def _citation_events(ask: Ask, choice: Choice) -> list[Event]:
    events: list[Event] = []
    for index, citation in enumerate(_citations(ask, choice)):
        delta = {"message": {"citations": citation}}
        events.append(_event("citation-start", "start", index=index, delta=delta))
        events.append(_event("citation-end", "start", index=index))
    return events


def _tool_events(choice: Choice) -> list[Event]:
    events: list[Event] = []
    if choice.calls and not choice.reasoning:
        words = PLAN.split(" ")
        events.extend(
            _event(
                "tool-plan-delta",
                delta={"message": {"tool_plan": f" {word}" if place else word}},
            )
            for place, word in enumerate(words)
        )
    for index, call in enumerate(choice.calls):
        start = {**_call(call.tag, call.name), "function": _function(call.name, "")}
        events.append(
            _event(
                "tool-call-start", "start", index=index, delta={"message": {"tool_calls": start}}
            )
        )
        text = call.arguments
        for at in range(0, len(text), FRAGMENT_CHARACTERS):
            piece = {"function": {"arguments": text[at : at + FRAGMENT_CHARACTERS]}}
            delta = {"message": {"tool_calls": piece}}
            events.append(_event("tool-call-delta", index=index, delta=delta))
        events.append(_event("tool-call-end", "start", index=index))
    return events


# Embeddings


def _embeddings(ask: Ask, answer: Answer) -> bytes:
    billed: dict[str, Any] = {}
    if answer.usage is not None:
        billed["input_tokens"] = answer.usage.prompt
    if ask.media:
        billed["images"] = len(ask.media)
    return orjson.dumps(
        {
            "id": _id(answer),
            "embeddings": {
                kind: [_as_type(vector, kind) for vector in answer.vectors]
                for kind in ask.extras["embedding_types"]
            },
            "texts": ask.extras["texts"],
            "meta": {"api_version": {"version": "2"}, "billed_units": billed},
            "response_type": "embeddings_by_type",
        }
    )


def _as_type(vector: tuple[float, ...], kind: str) -> Any:
    match kind:
        case "int8":
            return [round(value * 127) for value in vector]
        case "uint8":
            return [round(value * 127) + 128 for value in vector]
        case "ubinary":
            return _bits(vector)
        case "binary":
            return [byte - 128 for byte in _bits(vector)]
        case "base64":
            return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        case _:
            return vector


def _bits(vector: tuple[float, ...]) -> list[int]:
    """Return one bit for the sign of every value, eight to a byte, the first one highest."""
    signs = ["1" if value > 0 else "0" for value in vector]
    return [int("".join(signs[at : at + 8]), 2) for at in range(0, len(signs), 8)]
