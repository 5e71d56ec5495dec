"""Cohere's answers, whole and in pieces, as our events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routing.errors import UpstreamDenied, UpstreamDown, UpstreamError
from routing.usage import Usage, count, usage_from
from routing.wire.events import Answer, Broken, Choice, Delta, End, Event, FinishReason, Used
from workers.dialects.cohere_messages import PLAN_ID
from workers.dialects.common import (
    by_status,
    cut,
    dict_or_empty,
    dicts,
    index_or_zero,
    load_object,
    loads,
    text_or_empty,
    text_or_none,
)
from workers.dialects.pieces import call_fragment, call_start, finish_of, whole_message
from workers.dialects.reasoning import text_detail
from workers.dialects.tool_names import own_name

FINISH: Mapping[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR": "error",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "length",
    "TIMEOUT": "error",
}
# Cohere's own status for a key it does not know.
_UNKNOWN_KEY = 498
# Where a thought belongs: the plan before tool calls first, then the thinking.
_PLAN, _THINKING = 0, 1


def answer_of(body: bytes) -> Answer:
    """A plain answer."""
    data = load_object(body)
    if not isinstance(data.get("message"), dict):
        raise UpstreamDown("Provider sent an answer without a message", raw=cut(body))
    if FINISH.get(text_or_empty(data.get("finish_reason"))) == "error":
        raise UpstreamDown("Provider returned error", raw=cut(body))
    return Answer(
        choices=(
            Choice(
                index=0,
                message=_message(data["message"]),
                finish=finish_of(data.get("finish_reason"), FINISH),
            ),
        ),
        usage=usage_of_cohere(data.get("usage")),
        upstream_id=text_or_none(data.get("id")),
    )


def usage_of_cohere(usage: object) -> Usage | None:
    """What is billed, which leaves Cohere's own instructions out; else all tokens."""
    fields = dict_or_empty(usage)
    for place in ("billed_units", "tokens"):
        counts = dict_or_empty(fields.get(place))
        if count(counts.get("input_tokens")) is not None:
            return usage_from(
                prompt=counts["input_tokens"],
                completion=counts.get("output_tokens", 0),
                cached=fields.get("cached_tokens"),
            )
    return None


def error_of(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> UpstreamError:
    """What an answer with a status other than 2xx means; the body is a bare message."""
    raw = cut(body)
    if status == _UNKNOWN_KEY:
        return UpstreamDenied(raw=raw)
    try:
        message = text_or_empty(dict_or_empty(loads(body)).get("message"))
    except UpstreamDown:
        message = ""
    return by_status(status, headers, raw, message, now_ms)


class CohereStream:
    """Events of one stream to ours."""

    def __init__(self) -> None:
        self._open: int | None = None
        self._calls = 0

    def decode(self, data: bytes) -> list[Event]:
        """Our events for one event; those nobody knows yet are left out."""
        if data == b"[DONE]":
            return [End()]
        event = load_object(data)
        delta = dict_or_empty(event.get("delta"))
        message = dict_or_empty(delta.get("message"))
        match event.get("type"):
            case "content-start" | "content-delta":
                return _content(dict_or_empty(message.get("content")))
            case "tool-plan-delta":
                return _thought(_PLAN, text_or_empty(message.get("tool_plan")))
            case "citation-start":
                notes = _notes([message.get("citations")])
                return [Delta(extra={"annotations": notes})] if notes else []
            case "message-end":
                return _ended(delta)
            case _:
                return self._call(event, dict_or_empty(message.get("tool_calls")))

    def _call(self, event: Mapping[str, Any], call: dict[str, Any]) -> list[Event]:
        """Calls come one after the other; their index counts other things too."""
        function = dict_or_empty(call.get("function"))
        arguments = text_or_empty(function.get("arguments"))
        match event.get("type"):
            case "tool-call-start":
                number, self._calls = self._calls, self._calls + 1
                self._open = None if arguments else number
                first = call_start(
                    number, text_or_empty(call.get("id")), text_or_empty(function.get("name"))
                )
                return [first, call_fragment(number, arguments)] if arguments else [first]
            case "tool-call-delta" if arguments and self._calls:
                self._open = None
                return [call_fragment(self._calls - 1, arguments)]
            case "tool-call-end" if self._open is not None:
                # A tool called without arguments gets an empty object: `""` is no JSON.
                number, self._open = self._open, None
                return [call_fragment(number, "{}")]
            case _:
                return []


def _content(content: dict[str, Any]) -> list[Event]:
    text = text_or_empty(content.get("text"))
    thoughts = _thought(_THINKING, text_or_empty(content.get("thinking")))
    return [*thoughts, Delta(content=text)] if text else thoughts


def _thought(place: int, text: str) -> list[Event]:
    if not text:
        return []
    return [Delta(reasoning=text, extra={"reasoning_details": [_detail(place, text)]})]


def _detail(place: int, text: str) -> dict[str, Any]:
    detail = text_detail(place, "unknown", text=text)
    return detail | {"id": PLAN_ID} if place == _PLAN else detail


def _ended(delta: dict[str, Any]) -> list[Event]:
    if delta.get("error"):
        return [Broken(UpstreamDown(raw=cut(str(delta["error"]).encode("utf-8", "replace"))))]
    events: list[Event] = [finish_of(delta.get("finish_reason"), FINISH)]
    found = usage_of_cohere(delta.get("usage"))
    if found is not None:
        events.append(Used(found))
    return [*events, End()]


def _message(message: dict[str, Any]) -> dict[str, Any]:
    parts = list(dicts(message.get("content")))
    plan = text_or_empty(message.get("tool_plan"))
    thinking = "".join(text_or_empty(part.get("thinking")) for part in parts)
    calls = [
        {
            "id": text_or_empty(call.get("id")),
            "type": "function",
            "function": {
                "name": own_name(text_or_empty(function.get("name"))),
                "arguments": text_or_empty(function.get("arguments")) or "{}",
            },
        }
        for call in dicts(message.get("tool_calls"))
        for function in (dict_or_empty(call.get("function")),)
    ]
    return whole_message(
        text="".join(text_or_empty(part.get("text")) for part in parts),
        calls=calls,
        details=[
            _detail(place, text) for place, text in ((_PLAN, plan), (_THINKING, thinking)) if text
        ],
        notes=_notes(message.get("citations")),
    )


def _notes(citations: object) -> list[dict[str, Any]]:
    """Citations of pages a tool found; a source without an address has no form in the contract."""
    notes = []
    for citation in dicts(citations):
        for source in dicts(citation.get("sources")):
            page = dict_or_empty(source.get("tool_output")) or dict_or_empty(source.get("document"))
            url = page.get("url")
            if not isinstance(url, str) or not url.startswith(("http://", "https://")):
                continue
            found: dict[str, Any] = {"url": url}
            if isinstance(page.get("title"), str):
                found["title"] = page["title"]
            if isinstance(citation.get("text"), str):
                found["content"] = citation["text"]
            if citation.get("type") in (None, "TEXT_CONTENT"):
                found["start_index"] = index_or_zero(citation.get("start"))
                found["end_index"] = index_or_zero(citation.get("end"))
            notes.append({"type": "url_citation", "url_citation": found})
    return notes
