"""The OpenAI chat dialect, as OpenAI and the providers that took it over speak it."""

from functools import lru_cache
from typing import Any, Final

import orjson

from workers.simulator.dialect import (
    Answer,
    Ask,
    Choice,
    Direct,
    Event,
    Failure,
    ToolCall,
    Usage,
)
from workers.simulator.openai_fields import Invalid
from workers.simulator.openai_request import parse, read_chat, read_text
from workers.simulator.providers import Errors, Manner, Reasoning, manner_of
from workers.simulator.wire import Request

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"
MODELS: Final = "/v1/models"
# Arguments come in fragments about this long.
FRAGMENT_CHARACTERS: Final = 8
REMEMBERED_BYTES_MAX: Final = 16 * 1024
CREATED: Final = 1_735_689_600  # 2025-01-01, when the listed models were "made"
LISTED_MODELS: Final = ("sim-plain", "sim-burst-20", "sim-paced-20x50", "sim-reasoning")

# status, message, type, code
_FAILURES: Final[dict[Failure, tuple[int, str, str, str | None]]] = {
    Failure.RATE_LIMITED: (
        429,
        "Rate limit reached. Please try again later.",
        "requests",
        "rate_limit_exceeded",
    ),
    Failure.BROKEN: (
        500,
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
        None,
    ),
    Failure.OVERLOADED: (
        503,
        "The engine is currently overloaded, please try again later.",
        "server_error",
        "service_unavailable",
    ),
    Failure.UNAUTHORIZED: (
        401,
        "Incorrect API key provided.",
        "invalid_request_error",
        "invalid_api_key",
    ),
    Failure.UNPAID: (402, "Insufficient Balance", "insufficient_quota", "insufficient_quota"),
    Failure.FORBIDDEN: (
        403,
        "Your project does not have access to this model.",
        "invalid_request_error",
        "model_not_found",
    ),
    Failure.CONTEXT: (
        400,
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted "
            "in 9001 tokens. Please reduce the length of the messages."
        ),
        "invalid_request_error",
        "context_length_exceeded",
    ),
    Failure.FILTERED: (
        400,
        (
            "The response was filtered due to the prompt triggering content management policy. "
            "Please modify your prompt and retry."
        ),
        "invalid_request_error",
        "content_filter",
    ),
}
_FAILURE_PARAMS: Final = {Failure.CONTEXT: "messages", Failure.FILTERED: "prompt"}


class OpenAIDialect:
    """Chat and text completions in the OpenAI format; see ``Dialect`` for the methods."""

    def claims(self, path: str) -> bool:
        """Whether the path is one of the three this dialect serves."""
        return path in (CHAT, TEXT, MODELS)

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check the key, the method and the body, in that order."""
        manner = manner_of(provider)
        if not request.headers.get("authorization", "").startswith("Bearer "):
            return _unauthorized(manner)
        if path == MODELS:
            return Direct(status=200, body=_models(provider))
        if request.method != "POST":
            return Direct(
                status=405,
                body=_error(manner, "Not allowed to GET on this path.", "invalid_request_error"),
            )
        try:
            if len(request.body) <= REMEMBERED_BYTES_MAX:
                return _read_remembered(path, request.body, manner)
            return _read(path, request.body, manner)
        except Invalid as invalid:
            return _refusal(manner, invalid)

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render one body."""
        manner = manner_of(provider)
        render = _text_choice if ask.kind == "text" else _chat_choice
        body: dict[str, Any] = {
            "id": _id(ask, answer, manner),
            "object": "text_completion" if ask.kind == "text" else "chat.completion",
            "created": answer.created,
            "model": answer.model,
            "choices": [
                render(choice, index, manner) for index, choice in enumerate(answer.choices)
            ],
            "system_fingerprint": _fingerprint(answer),
        }
        if answer.usage is not None:
            body["usage"] = _usage(answer.usage, manner)
        if manner.service_tier:
            body["service_tier"] = "default"
        if manner.x_groq:
            body["x_groq"] = {"id": _groq_id(answer)}
        return orjson.dumps(body)

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render a stream, ``[DONE]`` included."""
        return _Stream(manner_of(provider), ask, answer).events()

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error the way this provider words it."""
        status, message, kind, code = _FAILURES[failure]
        body = _error(
            manner_of(provider), message, kind, param=_FAILURE_PARAMS.get(failure), code=code
        )
        return Direct(status=status, body=body)

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an error inside a stream: the same object as in a body."""
        return Event(data=self.failure(provider, failure).body, kind="error")


def _read(path: str, data: bytes, manner: Manner) -> Ask:
    body = parse(data)
    return read_chat(body, manner) if path == CHAT else read_text(body, manner)


# A benchmark sends the same body again and again, and it always means the same.
_read_remembered = lru_cache(maxsize=512)(_read)


class _Stream:
    """Renders one answer as events; holds what every chunk repeats."""

    def __init__(self, manner: Manner, ask: Ask, answer: Answer) -> None:
        self._manner = manner
        self._ask = ask
        self._answer = answer
        self._usage = None if answer.usage is None else _usage(answer.usage, manner)
        self._frame: dict[str, Any] = {
            "id": _id(ask, answer, manner),
            "object": "text_completion" if ask.kind == "text" else "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model,
            "system_fingerprint": _fingerprint(answer),
        }
        if manner.service_tier:
            self._frame["service_tier"] = "default"
        if manner.usage_null or (ask.include_usage and self._usage is not None):
            self._frame["usage"] = None

    def events(self) -> list[Event]:
        render = self._text_choice if self._ask.kind == "text" else self._chat_choice
        events: list[Event] = []
        for index, choice in enumerate(self._answer.choices):
            render(events, choice, index)
        # Usage of its own comes once, after all choices; on the finish chunk it is already out.
        if self._ask.include_usage and self._usage is not None and not self._manner.usage_on_finish:
            data = orjson.dumps({**self._frame, "choices": [], "usage": self._usage})
            events.append(Event(data=data, kind="usage"))
        events.append(Event(data=b"[DONE]", kind="end"))
        return events

    def _chat_choice(self, events: list[Event], choice: Choice, index: int) -> None:
        start = {"role": "assistant", "content": None if choice.calls else ""}
        events.append(Event(data=self._chunk(index, start, first=True), kind="start"))
        for thought in choice.reasoning:
            delta = _thought(thought, self._manner)
            if delta is not None:
                events.append(Event(data=self._chunk(index, delta)))
        events.extend(Event(data=self._chunk(index, {"content": piece})) for piece in choice.pieces)
        for position, call in enumerate(choice.calls):
            events.extend(
                Event(data=self._chunk(index, {"tool_calls": [fragment]}))
                for fragment in _fragments(call, position, self._manner)
            )
        if self._answer.says_finish:
            events.append(Event(data=self._finish(index, choice), kind="finish"))

    def _text_choice(self, events: list[Event], choice: Choice, index: int) -> None:
        for piece in choice.pieces:
            body = {"text": piece, "index": index, "logprobs": None, "finish_reason": None}
            events.append(Event(data=orjson.dumps({**self._frame, "choices": [body]})))
        if self._answer.says_finish:
            body = {
                "text": "",
                "index": index,
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            data = orjson.dumps({**self._frame, "choices": [body], **self._last(index)})
            events.append(Event(data=data, kind="finish"))

    def _chunk(self, index: int, delta: dict[str, Any], *, first: bool = False) -> bytes:
        body = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        if self._manner.text_beside_delta:
            body["text"] = delta.get("content") or ""
        chunk = {**self._frame, "choices": [body]}
        if first and self._manner.x_groq:
            chunk["x_groq"] = {"id": _groq_id(self._answer)}
        return orjson.dumps(chunk)

    def _finish(self, index: int, choice: Choice) -> bytes:
        body = {
            "index": index,
            "delta": {},
            "logprobs": None,
            "finish_reason": choice.finish_reason,
        }
        if self._manner.usage_on_finish or self._manner.text_beside_delta:
            body["delta"] = {"role": "assistant", "content": ""}
        if self._manner.text_beside_delta:
            body["text"] = ""
        return orjson.dumps({**self._frame, "choices": [body], **self._last(index)})

    def _last(self, index: int) -> dict[str, Any]:
        """Return what only the very last finish chunk carries."""
        if index + 1 < len(self._answer.choices) or self._usage is None:
            return {}
        if self._manner.x_groq:
            return {"x_groq": {"id": _groq_id(self._answer), "usage": self._usage}}
        return {"usage": self._usage} if self._manner.usage_on_finish else {}


def _id(ask: Ask, answer: Answer, manner: Manner) -> str:
    if manner.errors is Errors.MISTRAL:
        return answer.tag[:32]
    return f"{'cmpl' if ask.kind == 'text' else 'chatcmpl'}-{answer.tag[:29]}"


def _groq_id(answer: Answer) -> str:
    return f"req_{answer.tag[:26]}"


def _fingerprint(answer: Answer) -> str:
    return f"fp_{answer.tag[-10:]}"


def _chat_choice(choice: Choice, index: int, manner: Manner) -> dict[str, Any]:
    content: Any = None if choice.calls else "".join(choice.pieces)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    thought = "".join(choice.reasoning)
    if thought:
        message.update(_thought(thought, manner) or {})
        if manner.reasoning is Reasoning.PARTS and content is not None:
            message["content"] = [*message["content"], {"type": "text", "text": content}]
    if choice.calls:
        message["tool_calls"] = [_tool_call(call, manner) for call in choice.calls]
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": choice.finish_reason,
    }


def _text_choice(choice: Choice, index: int, _manner: Manner) -> dict[str, Any]:
    return {
        "text": "".join(choice.pieces),
        "index": index,
        "logprobs": None,
        "finish_reason": choice.finish_reason,
    }


def _thought(text: str, manner: Manner) -> dict[str, Any] | None:
    match manner.reasoning:
        case Reasoning.HIDDEN:
            return None
        case Reasoning.REASONING:
            return {"reasoning": text}
        case Reasoning.REASONING_CONTENT:
            return {"reasoning_content": text}
        case Reasoning.PARTS:
            part = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            return {"content": [part]}


def _tool_call_id(call: ToolCall, manner: Manner) -> str:
    return call.tag[:9] if manner.bare_tool_call_ids else f"call_{call.tag}"


def _tool_call(call: ToolCall, manner: Manner) -> dict[str, Any]:
    return {
        "id": _tool_call_id(call, manner),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _fragments(call: ToolCall, position: int, manner: Manner) -> list[dict[str, Any]]:
    """Return a call as a stream has it: id and name first, then the arguments bit by bit."""
    whole = {"index": position, **_tool_call(call, manner)}
    if manner.whole_tool_calls:
        return [whole]
    text = call.arguments
    starts = range(0, len(text), FRAGMENT_CHARACTERS)
    return [
        {**whole, "function": {"name": call.name, "arguments": ""}},
        *(
            {
                "index": position,
                "function": {"arguments": text[start : start + FRAGMENT_CHARACTERS]},
            }
            for start in starts
        ),
    ]


def _usage(usage: Usage, manner: Manner) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    if manner.cache_hit_tokens and isinstance(usage.prompt, int) and isinstance(usage.cached, int):
        body["prompt_cache_hit_tokens"] = usage.cached
        body["prompt_cache_miss_tokens"] = usage.prompt - usage.cached
    return body


def _models(provider: str) -> bytes:
    return orjson.dumps(
        {
            "object": "list",
            "data": [
                {"id": model, "object": "model", "created": CREATED, "owned_by": provider}
                for model in LISTED_MODELS
            ],
        }
    )


def _unauthorized(manner: Manner) -> Direct:
    message = (
        "You didn't provide an API key. You need to provide your API key in an Authorization "
        "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    )
    if manner.errors is Errors.MISTRAL:
        return Direct(status=401, body=b'{"message":"Unauthorized","request_id":"simulator"}')
    return Direct(status=401, body=_error(manner, message, "invalid_request_error"))


def _refusal(manner: Manner, invalid: Invalid) -> Direct:
    message = str(invalid)
    if manner.errors is not Errors.MISTRAL:
        body = _error(
            manner, message, "invalid_request_error", param=invalid.param, code=invalid.code
        )
        return Direct(status=400, body=body)
    if invalid.kind == "invalid_function_call":
        return Direct(status=400, body=_error(manner, message, invalid.kind, code=invalid.code))
    where = [int(part) if part.isdigit() else part for part in invalid.param.split(".")]
    detail = {"type": invalid.kind, "loc": ["body", *where], "msg": message, "input": None}
    return Direct(status=422, body=_error(manner, {"detail": [detail]}, "invalid_request_error"))


def _error(
    manner: Manner,
    message: str | dict[str, Any],
    kind: str,
    *,
    param: str | None = None,
    code: str | None = None,
) -> bytes:
    match manner.errors:
        case Errors.NESTED:
            error = {"message": message, "type": kind, "param": param, "code": code}
            return orjson.dumps({"error": error})
        case Errors.MISTRAL:
            return orjson.dumps(
                {"object": "error", "message": message, "type": kind, "param": param, "code": code}
            )
        case Errors.FLAT:
            return orjson.dumps(
                {"code": code or "Client specified an invalid argument", "error": message}
            )
