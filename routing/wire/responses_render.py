"""Our events as `/responses` tells them (contract 6): numbered events, then the whole response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from routing.catalog.pricing import Cost, usd
from routing.errors import Failure, error_type
from routing.usage import Usage
from routing.wire.events import Answer, Choice, Delta, Finish
from routing.wire.responses_output import (
    CallOutput,
    Events,
    ImageOutput,
    MessageOutput,
    OutputItem,
    ReasoningOutput,
    Status,
    citation,
)
from routing.wire.responses_reasoning import group
from routing.wire.router_metadata import Noted
from routing.wire.thoughts import READABLE, UNKNOWN

_DONE = b"data: [DONE]\n\n"
#: What a response says of its request where that said nothing.
_DEFAULTS: Mapping[str, Any] = {
    "instructions": None,
    "metadata": {},
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "temperature": None,
    "top_p": None,
    "top_logprobs": 0,
    "frequency_penalty": None,
    "presence_penalty": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
    "service_tier": "auto",
    "prompt_cache_key": None,
    "safety_identifier": None,
    "user": None,
}
_STOPPED: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
#: This API's error codes for typed reasons (contract 11.9); what is not here is `server_error`.
_CODES: Mapping[str, str] = {
    "rate_limit_exceeded": "rate_limit_exceeded",
    "context_length_exceeded": "invalid_prompt",
    "invalid_request": "invalid_prompt",
    "content_policy_violation": "image_content_policy_violation",
}


class ResponsesRenderer(Noted):
    """`/responses`. Only the first choice is told: this API has no others."""

    def __init__(
        self,
        generation_id: str,
        created: int,
        model: str,
        provider: str,
        echo: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self._fixed: dict[str, Any] = {
            "id": generation_id,
            "object": "response",
            "created_at": created,
            "model": model,
            "provider": provider,
        }
        self._echo = {**_DEFAULTS, **_completed(echo or {})}
        self._events = Events()
        self._items: list[OutputItem] = []
        self._open: MessageOutput | ReasoningOutput | None = None
        self._calls: dict[int, CallOutput] = {}
        self._thoughts: ReasoningOutput | None = None
        self._own_ids: set[str] = set()
        self._reason: str | None = None
        self._started = False

    def delta(self, delta: Delta) -> bytes:
        """A piece of content."""
        plain = delta.reasoning is None and delta.extra is None and delta.logprobs is None
        if plain and delta.index == 0 and isinstance(self._open, MessageOutput):
            told = self._open.more(delta.content)
            if told is not None:
                return told
        if delta.index == 0:
            self._start()
            self._take(delta, whole=False)
        return self._events.take()

    def finish(self, finish: Finish) -> bytes:
        """Closes all items."""
        if finish.index == 0:
            self._start()
            self._reason = finish.reason
            self._close()
        return self._events.take()

    def end(self, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """The whole response, with usage, and the end mark."""
        self._start()
        self._close()
        response = self._ended(_usage(usage, cost, charged=charged)) | self._noted
        self._events.add(f"response.{response['status']}", response=response)
        return self._events.take() + _DONE

    def broken(self, failure: Failure) -> bytes:
        """The failed response, as far as it came, and the error by itself.

        A renderer that told nothing yet does not know what was told by another: the error alone.
        """
        reason = error_type(failure.status)
        error = {"code": _CODES.get(reason, "server_error"), "message": failure.message}
        noted = self._noted_beside(failure)
        if self._started:
            response = self._response("failed", None) | {"error": error, "error_type": reason}
            self._events.add("response.failed", response=response | noted)
            noted = {}
        self._events.add("error", **error, param=None, **noted)
        return self._events.take() + _DONE

    def body(self, answer: Answer, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """The whole response."""
        for choice in answer.choices:
            if choice.finish.index == 0:
                self._take(_whole(choice), whole=True)
                self._reason = choice.finish.reason
                self._close()
        return orjson.dumps(self._ended(_usage(usage, cost, charged=charged)) | self._noted)

    def moved(self, model: str, provider: str) -> None:
        """What is told of the response from here on names these."""
        self._fixed |= {"model": model, "provider": provider}

    def rescued(self, rescue: object) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Nothing: this API's clients take only the events they know."""
        return b""

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        response = self._response("in_progress", None)
        self._events.add("response.created", response=response)
        self._events.add("response.in_progress", response=response)

    def _take(self, delta: Delta, *, whole: bool) -> None:
        extra = delta.extra or {}
        details = _objects(extra.get("reasoning_details"))
        details = [each for each in details if isinstance(each.get("type"), str)]
        self._think(delta.reasoning, details, whole=whole)
        logprobs = _objects((delta.logprobs or {}).get("content"))
        if delta.content or logprobs:
            self._message().text(delta.content, logprobs)
        for each in _objects(extra.get("annotations")):
            if (found := citation(each)) is not None:
                self._message().annotate(found)
        refusal = extra.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._message().refusal(refusal)
        for each in _objects(extra.get("images")):
            self._draw(each)
        for place, each in enumerate(_objects(extra.get("tool_calls"))):
            self._call(each, place)

    def _think(self, text: str | None, details: list[dict[str, Any]], *, whole: bool) -> None:
        if text and not any(each.get(READABLE.get(each["type"], "")) for each in details):
            bare = {"type": "reasoning.text", "text": text, "format": UNKNOWN}
            details = [bare | {"index": self._thought(None).before}, *details]
        for each in details:
            self._thought(group(each)).take(each, whole=whole)

    def _thought(self, own_id: str | None) -> ReasoningOutput:
        """The open reasoning item; another one where the provider began another."""
        found = self._open
        if isinstance(found, ReasoningOutput) and found.belongs(own_id):
            return found
        self._shut()
        before = self._thoughts.after if self._thoughts else 0
        if own_id in self._own_ids:
            own_id = None  # two items of one id would be one to a client
        elif own_id is not None:
            self._own_ids.add(own_id)
        begun = ReasoningOutput(self._events, len(self._items), before, own_id)
        self._items.append(begun)
        self._open = self._thoughts = begun
        return begun

    def _message(self) -> MessageOutput:
        if isinstance(self._open, MessageOutput):
            return self._open
        self._shut()
        begun = MessageOutput(self._events, len(self._items))
        self._items.append(begun)
        self._open = begun
        return begun

    def _draw(self, image: Mapping[str, Any]) -> None:
        nested = image.get("image_url")
        url = nested.get("url") if isinstance(nested, dict) else None
        if isinstance(url, str) and url:
            self._shut()
            self._items.append(ImageOutput(self._events, len(self._items), url))

    def _call(self, call: Mapping[str, Any], place: int) -> None:
        """A call or a piece of one. Calls stay open until the end: their pieces may alternate."""
        index = call.get("index")
        index = index if isinstance(index, int) else place
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        call_id, name = _text(call.get("id")), _text(function.get("name"))
        found = self._calls.get(index)
        if found is None or found.closed or (call_id and call_id != found.call_id):
            self._shut()
            found = CallOutput(self._events, len(self._items), call_id, name or "")
            self._calls[index] = found
            self._items.append(found)
        if arguments := _text(function.get("arguments")):
            found.arguments(arguments)

    def _shut(self) -> None:
        """Close the item that others now follow."""
        if self._open is not None:
            self._open.close("completed")
            self._open = None

    def _close(self) -> None:
        status: Status = "incomplete" if self._reason in _STOPPED else "completed"
        for item in self._items:
            item.close(status)
        self._open = None

    def _ended(self, usage: dict[str, Any]) -> dict[str, Any]:
        if self._reason == "error":
            error = {"code": "server_error", "message": "Provider returned error"}
            failed = self._response("failed", usage)
            return failed | {"error": error, "error_type": "provider_unavailable"}
        stopped = _STOPPED.get(self._reason or "")
        if stopped is None:
            return self._response("completed", usage)
        return self._response("incomplete", usage) | {"incomplete_details": {"reason": stopped}}

    def _response(self, status: str, usage: dict[str, Any] | None) -> dict[str, Any]:
        return {
            **self._fixed,
            "completed_at": None,
            "status": status,
            "output": [item.value() for item in self._items],
            "error": None,
            "incomplete_details": None,
            **self._echo,
            "store": False,
            "background": False,
            "previous_response_id": None,
            "usage": usage,
        }


def _completed(echo: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent, with the fields that clients expect in it and callers may leave out."""
    told = dict(echo)
    if "tools" in told:
        told["tools"] = [{"parameters": None, "strict": None, **tool} for tool in told["tools"]]
    if "text" in told:
        told["text"] = {**_DEFAULTS["text"], **told["text"]}
    return told


def _whole(choice: Choice) -> Delta:
    message = choice.message
    content, reasoning = _text(message.get("content")), _text(message.get("reasoning"))
    return Delta(0, content or "", reasoning, message, choice.logprobs)


def _objects(value: object) -> list[dict[str, Any]]:
    """The objects of a field that a provider filled; anything else in it is dropped."""
    found: Iterable[object] = value if isinstance(value, list | tuple) else ()
    return [each for each in found if isinstance(each, dict)]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _usage(usage: Usage, cost: Cost, *, charged: bool) -> dict[str, Any]:
    upstream = usd(cost.total_nano)
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": usd(cost.charged_nano) if charged else 0,
        "is_byok": cost.terms.byok,
        "cost_details": {
            "upstream_inference_cost": upstream,
            "upstream_inference_input_cost": usd(cost.prompt_nano + cost.request_nano),
            "upstream_inference_output_cost": usd(cost.completion_nano),
        },
    }
