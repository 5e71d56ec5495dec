"""The OpenAI chat dialect, as most providers and any vLLM or Ollama speak it.

Their differences are quirks in the catalog:

    max_completion_tokens   takes that name instead of `max_tokens` (OpenAI's newer models)
    usage_always            sends usage unasked and knows no `stream_options` (Mistral)
    no_reasoning_effort     takes no `reasoning_effort`
    strict_fields           answers 400 to fields it does not know, so only known ones are sent
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from routing.catalog.shapes import Endpoint
from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
)
from routing.usage import usage_of
from routing.wire.chat import ChatRequest
from routing.wire.events import (
    Answer,
    Broken,
    Choice,
    Delta,
    End,
    Event,
    Finish,
    FinishReason,
    Used,
)
from workers.dialects import UpstreamRequest
from workers.dialects.retry_after import retry_after_ms

#: A provider's own words are kept for the caller, but not by the megabyte.
RAW_MAX_CHARS = 2_000
#: Ours alone, or translated below: never copied upstream.
ROUTER_FIELDS = {
    "model", "models", "route", "provider", "plugins", "preset", "transforms", "usage", "stream",
    "stream_options", "include_reasoning", "reasoning", "reasoning_effort", "max_tokens",
    "max_completion_tokens", "trace", "debug", "session_id", "metadata", "structured_outputs",
    "image_config", "cache_control", "prompt_cache_options", "user", "n",
}  # fmt: skip
#: Sent only where the endpoint lists them; the contract drops the others silently.
OPTIONAL_PARAMETERS = frozenset(
    {
        "temperature", "top_p", "top_k", "min_p", "top_a", "frequency_penalty", "presence_penalty",
        "repetition_penalty", "seed", "stop", "logit_bias", "logprobs", "top_logprobs",
        "response_format", "tools", "tool_choice", "parallel_tool_calls", "verbosity",
        "web_search_options", "prediction",
    }
)  # fmt: skip
#: What every server of this dialect knows, listed or not.
_COMMON = frozenset({"messages", "prompt", "modalities", "audio", "suffix", "echo"})
#: Parameters that belong to another one in an endpoint's list.
_LISTED_AS = {"parallel_tool_calls": "tools", "top_logprobs": "logprobs"}
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}
_EXTRAS = ("tool_calls", "reasoning_details", "refusal", "images", "audio", "annotations")
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_OVERLOADED = 529
_STATUS_REJECTED = frozenset({400, 413, 422})
_STATUS_DENIED = frozenset({401, 402, 403})
_STATUS_LIMITED = frozenset({429, _OVERLOADED})


class OpenAIDialect:
    """See the module; stateless."""

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, key: str, *, stream: bool
    ) -> UpstreamRequest:
        """The body of `/chat/completions`, or of `/completions` for a bare prompt."""
        provider = endpoint.provider
        supported, quirks = endpoint.supported_parameters, provider.quirks
        body: dict[str, Any] = {"model": endpoint.upstream_id}
        for name, value in request.model_dump(
            exclude_unset=True, exclude_none=True, by_alias=True, exclude=ROUTER_FIELDS
        ).items():
            if name in OPTIONAL_PARAMETERS:
                wanted = _LISTED_AS.get(name, name) in supported
            else:
                wanted = name in _COMMON or "strict_fields" not in quirks
            if wanted:
                body[name] = value
        limit = request.completion_limit
        if limit is not None:
            cap = min(limit, endpoint.completion_cap)
            name = "max_completion_tokens" if "max_completion_tokens" in quirks else "max_tokens"
            body[name] = cap
        effort = _effort(request)
        if effort is not None and "reasoning" in supported and "no_reasoning_effort" not in quirks:
            body["reasoning_effort"] = effort
        if stream:
            body["stream"] = True
            if "usage_always" not in quirks:
                body["stream_options"] = {"include_usage": True}
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "pointsman",
        }
        if key:
            headers["authorization"] = f"Bearer {key}"
        path = "/chat/completions" if request.messages is not None else "/completions"
        return UpstreamRequest(
            url=provider.base_url + path, headers=headers, body=orjson.dumps(body)
        )

    def answer(self, body: bytes) -> Answer:
        """A plain answer; an error object inside a 200 is the error it says."""
        data = loads(body)
        if not isinstance(data, dict):
            raise UpstreamDown("Provider sent an answer that is not an object", raw=cut(body))
        if data.get("error"):
            raise in_band(data["error"])
        choices = data.get("choices")
        if not isinstance(choices, list) or not choices:
            raise UpstreamDown("Provider sent an answer without choices", raw=cut(body))
        return Answer(
            choices=tuple(_choice(item, place) for place, item in enumerate(choices)),
            usage=usage_of(_usage_field(data)),
            upstream_id=text_or_none(data.get("id")),
            system_fingerprint=text_or_none(data.get("system_fingerprint")),
        )

    def decoder(self) -> OpenAIStream:
        """For one stream."""
        return OpenAIStream()

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """By status, and by code where providers put several meanings behind one status."""
        raw = cut(body)
        code, message = _error_detail(body)
        if status in _STATUS_LIMITED and code != "insufficient_quota":
            return UpstreamLimited(
                raw=raw, status=status, retry_after_ms=retry_after_ms(headers, now_ms)
            )
        if status in _STATUS_REJECTED:
            return UpstreamRejected(message, raw=raw, status=status)
        if status in _STATUS_DENIED or status in _STATUS_LIMITED:
            return UpstreamDenied(raw=raw)
        return UpstreamDown(raw=raw, retry_after_ms=retry_after_ms(headers, now_ms))


class OpenAIStream:
    """Chunks of one stream to events. Empty deltas (the bare role chunk) are dropped."""

    def decode(self, data: bytes) -> list[Event]:
        """Our events for one chunk."""
        if data == b"[DONE]":
            return [End()]
        chunk = loads(data)
        if not isinstance(chunk, dict):
            raise UpstreamDown("Provider sent a chunk that is not an object", raw=cut(data))
        if chunk.get("error"):
            return [Broken(in_band(chunk["error"]))]
        events: list[Event] = []
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                _choice_events(choice, events)
        usage = _usage_field(chunk)
        if usage is not None and (found := usage_of(usage)) is not None:
            events.append(Used(found))
        return events


def _effort(request: ChatRequest) -> str | None:
    """How much to think, by whichever of its names it was asked; `enabled` alone means medium."""
    if request.reasoning is not None:
        if request.reasoning.effort is not None:
            return request.reasoning.effort
        if request.reasoning.enabled:
            return "medium"
    return request.reasoning_effort


def loads(data: bytes) -> Any:
    """JSON as providers send it: invalid UTF-8 and lone surrogates become U+FFFD.

    Raises:
        UpstreamDown: not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data.decode("utf-8", "replace").encode()
        try:
            return orjson.loads(_LONE_SURROGATE.sub(rb"\\ufffd", text))
        except orjson.JSONDecodeError as error:
            raise UpstreamDown("Provider sent something that is not JSON", raw=cut(data)) from error


def cut(body: bytes) -> str:
    """A provider's words, readable and bounded."""
    return body[: RAW_MAX_CHARS * 4].decode("utf-8", "replace")[:RAW_MAX_CHARS]


def in_band(error: object) -> UpstreamError:
    """An error object where an answer should be."""
    raw = cut(json.dumps(error).encode())
    if not isinstance(error, dict):
        return UpstreamDown(raw=raw)
    code = error.get("code")
    status = code if isinstance(code, int) else error.get("status")
    if not isinstance(status, int):
        status = None
    if status in _STATUS_LIMITED or code == "rate_limit_exceeded":
        return UpstreamLimited(raw=raw, status=_status_limited(status))
    if status in _STATUS_REJECTED or error.get("type") == "invalid_request_error":
        return UpstreamRejected(str(error.get("message") or "Provider returned error"), raw=raw)
    return UpstreamDown(raw=raw)


def text_or_none(value: object) -> str | None:
    """A string, or None for anything else."""
    return value if isinstance(value, str) else None


def _status_limited(status: object) -> int:
    return status if isinstance(status, int) and status in _STATUS_LIMITED else 429


def _usage_field(data: Mapping[str, Any]) -> object:
    """`usage`, or Groq's `x_groq.usage`; None when the provider reported none."""
    usage = data.get("usage")
    if usage is None and isinstance(data.get("x_groq"), dict):
        usage = data["x_groq"].get("usage")
    return usage


def _finish(index: int, native: object) -> Finish:
    """An unknown finish reason still is an end: `stop`, with the provider's word beside it."""
    if not isinstance(native, str) or not native:
        return Finish(index, None, None)
    return Finish(index, _FINISH.get(native, "stop"), native)


def _content(value: object) -> str:
    """Text of a content field: a string, or Mistral's list of parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    return "".join(
        part["text"]
        for part in value
        if isinstance(part, dict)
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
    )


def _reasoning(fields: Mapping[str, Any]) -> str | None:
    """Thinking under any name: `reasoning`, `reasoning_content`, Mistral's thinking parts."""
    for name in ("reasoning", "reasoning_content"):
        if isinstance(fields.get(name), str) and fields[name]:
            return str(fields[name])
    content = fields.get("content")
    if not isinstance(content, list):
        return None
    thoughts = [
        _content(part.get("thinking"))
        for part in content
        if isinstance(part, dict) and part.get("type") == "thinking"
    ]
    return "".join(thoughts) or None


def _extras(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    found = {name: fields[name] for name in _EXTRAS if fields.get(name)}
    return _writable(found) if found else None


def _logprobs(choice: Mapping[str, Any]) -> dict[str, Any] | None:
    found = choice.get("logprobs")
    return _writable(found) if isinstance(found, dict) else None


def _writable(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields that are passed on as they are must be such as can be written again.

    orjson reads deeper nesting than it writes.
    """
    try:
        orjson.dumps(fields)
    except TypeError as error:
        raise UpstreamDown("Provider sent fields nested too deeply") from error
    return fields


def _choice_events(choice: Mapping[str, Any], events: list[Event]) -> None:
    index = choice.get("index")
    index = index if isinstance(index, int) else 0
    fields = choice.get("delta")
    if not isinstance(fields, dict):
        fields = {"content": choice.get("text")}  # legacy completions
    content, reasoning, extra = _content(fields.get("content")), _reasoning(fields), _extras(fields)
    if content or reasoning or extra:
        events.append(Delta(index, content, reasoning, extra, _logprobs(choice)))
    if choice.get("finish_reason"):
        events.append(_finish(index, choice["finish_reason"]))


def _choice(item: object, place: int) -> Choice:
    if not isinstance(item, dict):
        raise UpstreamDown("Provider sent a choice that is not an object")
    index = item.get("index")
    index = index if isinstance(index, int) else place
    fields = item.get("message")
    if not isinstance(fields, dict):
        fields = {"content": item.get("text")}  # legacy completions
    extras = _extras(fields) or {}
    content = _content(fields.get("content"))
    message = {
        "role": "assistant",
        "content": None if not content and "tool_calls" in extras else content,
        "refusal": text_or_none(fields.get("refusal")),
        "reasoning": _reasoning(fields),
        **{name: value for name, value in extras.items() if name != "refusal"},
    }
    return Choice(
        index=index,
        message=message,
        finish=_finish(index, item.get("finish_reason")),
        logprobs=_logprobs(item),
    )


def _error_detail(body: bytes) -> tuple[object, str]:
    """Code and message, whatever the shape: OpenAI's, Mistral's, FastAPI's, or no JSON."""
    unknown = "Provider returned error"
    try:
        data = loads(body)
    except UpstreamDown:
        return None, unknown
    if not isinstance(data, dict):
        return None, unknown
    error = data.get("error")
    if isinstance(error, str):
        return None, error
    fields = error if isinstance(error, dict) else data
    message = fields.get("message")
    return fields.get("code"), message if isinstance(message, str) and message else unknown
