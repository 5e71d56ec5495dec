"""Amazon Bedrock's Converse and ConverseStream."""

import re
from string import ascii_letters
from typing import Any, Final, Literal

import orjson

from workers.simulator import bedrock_auth, bedrock_frames
from workers.simulator.bedrock_request import read_converse
from workers.simulator.bedrock_shapes import SERIALIZATION, Refused
from workers.simulator.dialect import (
    Answer,
    Ask,
    Choice,
    Dialect,
    Direct,
    Event,
    Failure,
    ToolCall,
    Usage,
)
from workers.simulator.signatures import sign
from workers.simulator.wire import Request

# Arguments come in fragments about this long.
FRAGMENT_CHARACTERS: Final = 12
LATENCY_MS: Final = 7

# The service pads its events, so that their length does not tell what is in them.
PADDED: Final = 30

Kind = Literal["start", "piece", "finish", "usage", "end", "error"]

_PADDING: Final = ascii_letters
_PATH: Final = re.compile(r"/model/(?P<model>.+)/converse(?P<stream>-stream)?")
_STOP_REASONS: Final[dict[str | None, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "guardrail_intervened",
}

# status, exception, message
_FAILURES: Final[dict[Failure, tuple[int, str, str]]] = {
    Failure.RATE_LIMITED: (
        429,
        "ThrottlingException",
        "Too many requests, please wait before trying again.",
    ),
    Failure.BROKEN: (
        500,
        "InternalServerException",
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    Failure.OVERLOADED: (
        503,
        "ServiceUnavailableException",
        "Bedrock is unable to process your request.",
    ),
    Failure.UNAUTHORIZED: (
        403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    ),
    Failure.UNPAID: (
        403,
        "AccessDeniedException",
        "INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided.",
    ),
    Failure.FORBIDDEN: (
        403,
        "AccessDeniedException",
        "You don't have access to the model with the specified model ID.",
    ),
    Failure.CONTEXT: (
        400,
        "ValidationException",
        ("The model returned the following errors: prompt is too long: 9001 tokens > 8192 maximum"),
    ),
    Failure.FILTERED: (
        400,
        "ValidationException",
        ("The model returned the following errors: Output blocked by content filtering policy"),
    ),
}
# What ConverseStream may say in the middle of a stream.
_EXCEPTIONS: Final = {
    Failure.RATE_LIMITED: "throttlingException",
    Failure.BROKEN: "internalServerException",
    Failure.OVERLOADED: "serviceUnavailableException",
    Failure.CONTEXT: "validationException",
    Failure.FILTERED: "modelStreamErrorException",
}
_EXCEPTION_NAMES: Final = frozenset(_EXCEPTIONS.values())


class BedrockDialect(Dialect):
    """Chat as Amazon Bedrock speaks it; see ``Dialect`` for the methods."""

    stream_type = bedrock_frames.STREAM_TYPE
    id_header = "x-amzn-requestid"

    def claims(self, path: str) -> bool:
        """Whether the path is one of the two operations."""
        return _PATH.fullmatch(path) is not None

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check the signature, the method and the body, in that order."""
        del provider
        found = _PATH.fullmatch(path)
        if found is None or request.method != "POST":
            return _error(405, "UnsupportedOperationException", "The operation is not supported.")
        try:
            bedrock_auth.check(request)
            if request.headers.get("content-type", "").partition(";")[0] != "application/json":
                return _error(400, SERIALIZATION, "The content type must be application/json.")
            return read_converse(found["model"], request.body, stream=found["stream"] is not None)
        except bedrock_auth.Denied as denied:
            return _error(denied.status, denied.kind, str(denied))
        except Refused as refused:
            return _error(refused.status, refused.kind, str(refused))

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render one body."""
        del provider
        choice = answer.choices[0]
        body: dict[str, Any] = {
            "metrics": {"latencyMs": LATENCY_MS},
            "output": {"message": {"role": "assistant", "content": _content(choice)}},
        }
        reason = _stop_reason(choice)
        if reason is not None:
            body["stopReason"] = reason
        if answer.usage is not None:
            body["usage"] = _usage(answer.usage)
        return orjson.dumps({**body, **_echoed(ask)})

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render a stream; the message's stop is the end mark, the metadata come after it."""
        del provider
        choice = answer.choices[0]
        events = [_event("messageStart", {"role": "assistant"}, "start")]
        for index, (start, deltas) in enumerate(_deltas(choice)):
            events.extend(_block_events(index, start, deltas))
        if answer.says_finish:
            reason = _stop_reason(choice)
            stop = {} if reason is None else {"stopReason": reason}
            events.append(_event("messageStop", stop, "end"))
        if answer.usage is not None:
            metadata = {
                "usage": _usage(answer.usage),
                "metrics": {"latencyMs": LATENCY_MS},
                **_echoed(ask),
            }
            events.append(_event("metadata", metadata, "usage"))
        return events

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error with its name in a header, as the service does."""
        del provider
        return _error(*_FAILURES[failure])

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an exception message; what has none of its own is an internal error."""
        del provider
        name = _EXCEPTIONS.get(failure, "internalServerException")
        return Event(data=orjson.dumps({"message": _FAILURES[failure][2]}), kind="error", name=name)

    def frame(self, event: Event) -> bytes:
        """Frame an event in binary."""
        if event.name in _EXCEPTION_NAMES:
            return bedrock_frames.exception(event.name, event.data)
        return bedrock_frames.event(event.name, event.data)


def _error(status: int, kind: str, message: str) -> Direct:
    return Direct(
        status=status,
        body=orjson.dumps({"message": message}),
        headers={
            "x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"
        },
    )


def _event(name: str, body: dict[str, Any], kind: Kind = "piece") -> Event:
    data = orjson.dumps({**body, "p": _PADDING[: PADDED - len(name)]})
    return Event(data=data, kind=kind, name=name)


def _stop_reason(choice: Choice) -> str | None:
    if choice.refusal:
        return "content_filtered"
    if choice.stopped_by and choice.finish_reason == "stop":
        return "stop_sequence"
    return _STOP_REASONS.get(choice.finish_reason)


def _content(choice: Choice) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if choice.reasoning:
        text = "".join(choice.reasoning)
        thought = {"text": text, "signature": sign(text)}
        blocks.append({"reasoningContent": {"reasoningText": thought}})
    if choice.pieces:
        blocks.append({"text": "".join(choice.pieces)})
    blocks.extend(
        {"toolUse": {**_tool_use(call), "input": orjson.loads(call.arguments)}}
        for call in choice.calls
    )
    return blocks


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"toolUseId": f"tooluse_{call.tag[:22]}", "name": call.name}


def _deltas(choice: Choice) -> list[tuple[dict[str, Any] | None, list[dict[str, Any]]]]:
    """Return what opens each block, where anything does, and its deltas."""
    blocks: list[tuple[dict[str, Any] | None, list[dict[str, Any]]]] = []
    if choice.reasoning:
        thoughts: list[dict[str, Any]] = [
            {"reasoningContent": {"text": piece}} for piece in choice.reasoning
        ]
        signature = {"reasoningContent": {"signature": sign("".join(choice.reasoning))}}
        blocks.append((None, [*thoughts, signature]))
    if choice.pieces:
        blocks.append((None, [{"text": piece} for piece in choice.pieces]))
    for call in choice.calls:
        text = call.arguments
        starts = range(0, len(text), FRAGMENT_CHARACTERS)
        fragments = [text[start : start + FRAGMENT_CHARACTERS] for start in starts]
        blocks.append(
            (
                {"toolUse": _tool_use(call)},
                [{"toolUse": {"input": fragment}} for fragment in fragments],
            )
        )
    return blocks


def _block_events(
    index: int, start: dict[str, Any] | None, deltas: list[dict[str, Any]]
) -> list[Event]:
    place = {"contentBlockIndex": index}
    events = [_event("contentBlockDelta", {**place, "delta": delta}) for delta in deltas]
    if start is not None:
        events.insert(0, _event("contentBlockStart", {**place, "start": start}))
    # No pause before a stop: the service sends it with the last delta.
    return [*events, _event("contentBlockStop", place, "start")]


def _usage(usage: Usage) -> dict[str, Any]:
    fresh = usage.prompt
    counts = (usage.prompt, usage.cached, usage.cache_write)
    if all(isinstance(count, int) for count in counts):
        fresh = int(usage.prompt) - int(usage.cached) - int(usage.cache_write)
    return {
        "inputTokens": fresh,
        "outputTokens": usage.completion,
        "totalTokens": usage.total,
        "cacheReadInputTokens": usage.cached,
        "cacheWriteInputTokens": usage.cache_write,
    }


def _echoed(ask: Ask) -> dict[str, Any]:
    config = ask.extras.get("performanceConfig")
    return {} if config is None else {"performanceConfig": config}
