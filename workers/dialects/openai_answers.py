"""Answers in the OpenAI chat format: whole ones, and the chunks of a stream."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import orjson

from routing.errors import UpstreamDown
from routing.usage import usage_of
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
from workers.dialects.common import (
    cut,
    dict_or_empty,
    dicts,
    dumped,
    index_or_zero,
    load_object,
    loads,
    text_or_none,
)
from workers.dialects.openai_errors import in_band
from workers.dialects.reasoning import joined, text_detail

Fields = dict[str, Any]

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
    "refusal": "content_filter",
    "error": "error",
    "network_error": "error",
    "insufficient_system_resource": "error",
}
#: Fields of a delta or a message beyond text and reasoning; most have none of them.
_RARE = frozenset({
    "tool_calls", "function_call", "reasoning_details", "refusal", "images", "audio",
    "annotations",
})  # fmt: skip
#: Sources of one answer; a search gives a few dozen.
CITATIONS_MAX = 200


def whole_answer(body: bytes) -> Answer:
    """A plain answer; an error object inside a 200 is the error it says.

    Raises:
        UpstreamError: the body is an error, or cannot be read.
    """
    data = load_object(body)
    error = _error(data)
    if error:
        raise in_band(error)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UpstreamDown("Provider sent an answer without choices", raw=cut(body))
    sources = _citations(data)
    return Answer(
        choices=tuple(_choice(item, place, sources) for place, item in enumerate(choices)),
        usage=usage_of(_usage_field(data)),
        upstream_id=text_or_none(data.get("id")),
        system_fingerprint=text_or_none(data.get("system_fingerprint")),
    )


class OpenAIStream:
    """Chunks of one stream to events. Empty deltas (the bare role chunk) are dropped."""

    def __init__(self) -> None:
        self._calls = _Calls()
        self._refused: set[int] = set()
        self._sources: list[Fields] = []
        self._cited = False
        self._called = False
        self._finished = False

    def decode(self, data: bytes) -> list[Event]:
        """Our events for one chunk."""
        if data == b"[DONE]":
            # xAI ends calls with an empty finish reason.
            called = self._called and not self._finished
            return [Finish(0, "tool_calls", None), End()] if called else [End()]
        chunk = loads(data)
        if not isinstance(chunk, dict):
            raise UpstreamDown("Provider sent a chunk that is not an object", raw=cut(data))
        error = _error(chunk)
        if error:
            return [Broken(in_band(error))]
        if "citations" in chunk or "search_results" in chunk:
            self._sources = _citations(chunk) or self._sources
        events: list[Event] = []
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._choice(choice, events)
        if self._sources and self._finished:
            self._cite(0, events)
        usage = _usage_field(chunk)
        if usage is not None and (found := usage_of(usage)) is not None:
            events.append(Used(found))
        return events

    def _choice(self, choice: Mapping[str, Any], events: list[Event]) -> None:
        index = index_or_zero(choice.get("index"))
        fields = choice.get("delta")
        if not isinstance(fields, dict):
            fields = {"content": choice.get("text")}  # legacy completions
        content, reasoning = fields.get("content"), _reasoning(fields)
        rare = _RARE & fields.keys() or isinstance(content, list)
        extra = self._extra(index, fields, reasoning) if rare or reasoning else None
        if extra and reasoning is None:
            reasoning = joined(extra.get("reasoning_details", ()))
        text = content if isinstance(content, str) else _content(content)
        if text or reasoning or extra:
            events.append(Delta(index, text, reasoning, extra, _logprobs(choice)))
        if choice.get("finish_reason"):
            self._finish(index, choice["finish_reason"], events)

    def _extra(self, index: int, fields: Mapping[str, Any], reasoning: str | None) -> Fields | None:
        found = _extras(fields, reasoning)
        if "refusal" in found:
            self._refused.add(index)
        calls = self._calls.fragments(index, fields)
        if calls:
            self._called = True
            found["tool_calls"] = calls
        return writable(found) if found else None

    def _finish(self, index: int, native: object, events: list[Event]) -> None:
        if self._sources:
            self._cite(index, events)
        self._finished = True
        events.append(_finish(index, native, refused=index in self._refused))

    def _cite(self, index: int, events: list[Event]) -> None:
        """The sources of the answer, once."""
        if not self._cited:
            self._cited = True
            events.append(Delta(index, "", None, writable({"annotations": self._sources})))


class _Calls:
    """Tool calls of a stream: gives an index to those that came without one."""

    def __init__(self) -> None:
        self._ids: dict[int, list[str]] = {}

    def fragments(self, choice: int, fields: Mapping[str, Any]) -> list[Fields]:
        """Fragments in the contract's form; `function_call` is the older form of the same."""
        found = [self._fragment(choice, call) for call in dicts(fields.get("tool_calls"))]
        older = fields.get("function_call")
        if not found and isinstance(older, dict):
            named = {"id": _new_id()} if older.get("name") else {}
            found.append(_call_fields({"function": older, **named}) | {"index": 0})
        return found

    def _fragment(self, choice: int, call: Fields) -> Fields:
        index, call_id = call.get("index"), text_or_none(call.get("id"))
        known = self._ids.setdefault(choice, [])
        if not isinstance(index, int) or isinstance(index, bool):
            if call_id and call_id not in known:
                known.append(call_id)
            index = known.index(call_id) if call_id else max(len(known) - 1, 0)
        return {"index": index, **_call_fields(call)}


def _call_fields(call: Mapping[str, Any]) -> Fields:
    """Id, type and function of a call or a fragment, as far as they are there."""
    function = dict_or_empty(call.get("function"))
    name, call_id = text_or_none(function.get("name")), text_or_none(call.get("id"))
    found: Fields = {"id": call_id, "type": "function"} if call_id else {}
    called: Fields = {"name": name} if name else {}
    arguments = function.get("arguments")
    if isinstance(arguments, dict | list):
        called["arguments"] = dumped(arguments)
    elif isinstance(arguments, str) or name:
        called["arguments"] = text_or_none(arguments) or ""
    if called:
        found["function"] = called
    return found


def _new_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def _whole_calls(fields: Mapping[str, Any]) -> list[Fields]:
    calls = list(dicts(fields.get("tool_calls")))
    older = fields.get("function_call")
    if not calls and isinstance(older, dict):
        calls = [{"function": older}]
    return [
        {
            "id": _new_id(),
            "type": "function",
            **_call_fields(call),
        }
        for call in calls
        if text_or_none(dict_or_empty(call.get("function")).get("name"))
    ]


def _error(data: Mapping[str, Any]) -> object:
    """The error object, which is the whole of it at Mistral; nothing for an answer."""
    return data if data.get("object") == "error" else data.get("error")


def _usage_field(data: Mapping[str, Any]) -> object:
    """`usage`, or Groq's `x_groq.usage`; None when the provider reported none."""
    usage = data.get("usage")
    if usage is None and isinstance(data.get("x_groq"), dict):
        usage = data["x_groq"].get("usage")
    return usage


def _finish(index: int, native: object, *, refused: bool = False) -> Finish:
    """An unknown finish reason still is an end: `stop`, with the provider's word beside it."""
    if not isinstance(native, str) or not native:
        return Finish(index, None, None)
    reason = _FINISH.get(native, "stop")
    return Finish(index, "content_filter" if refused and reason == "stop" else reason, native)


def _content(value: object) -> str:
    """Text of a content field: a string, or Mistral's list of parts."""
    if isinstance(value, str):
        return value
    return "".join(
        part["text"]
        for part in dicts(value)
        if part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _reasoning(fields: Mapping[str, Any]) -> str | None:
    """Thinking under any name: `reasoning`, `reasoning_content`, Mistral's thinking parts."""
    for name in ("reasoning", "reasoning_content"):
        found = fields.get(name)
        if found and isinstance(found, str):
            return str(found)
    content = fields.get("content")
    if not isinstance(content, list):
        return None
    thoughts = [
        _content(part.get("thinking")) for part in dicts(content) if part.get("type") == "thinking"
    ]
    return "".join(thoughts) or None


def _extras(fields: Mapping[str, Any], reasoning: str | None) -> Fields:
    """The rarer fields except tool calls, in the contract's form."""
    found: Fields = {}
    details = list(dicts(fields.get("reasoning_details")))
    if not details and reasoning:
        details = [text_detail(0, "unknown", text=reasoning)]
    if details:
        found["reasoning_details"] = details
    refusal = fields.get("refusal")
    if refusal and isinstance(refusal, str):
        found["refusal"] = refusal
    images = _images(fields)
    if images:
        found["images"] = images
    for name in ("audio", "annotations"):
        value = fields.get(name)
        if value and isinstance(value, dict if name == "audio" else list):
            found[name] = value
    return found


def _images(fields: Mapping[str, Any]) -> list[Fields]:
    """Pictures beside the text, or as parts of it."""
    found = []
    for item in (*dicts(fields.get("images")), *dicts(fields.get("content"))):
        holder = item.get("image_url")
        url = holder.get("url") if isinstance(holder, dict) else holder
        if isinstance(url, str) and url:
            place = {"index": item["index"]} if isinstance(item.get("index"), int) else {}
            found.append({"type": "image_url", "image_url": {"url": url}, **place})
    return found


def _citations(data: Mapping[str, Any]) -> list[Fields]:
    """Perplexity's sources, and xAI's, as annotations: with titles where there are some."""
    titled = {
        item["url"]: item
        for item in dicts(data.get("search_results"))
        if isinstance(item.get("url"), str)
    }
    listed = data.get("citations")
    urls = [url for url in listed if isinstance(url, str)] if isinstance(listed, list) else []
    return [_citation(url, titled.get(url, {})) for url in dict.fromkeys((*urls, *titled)) if url][
        :CITATIONS_MAX
    ]


def _citation(url: str, result: Mapping[str, Any]) -> Fields:
    citation: Fields = {"url": url}
    for name, theirs in (("title", "title"), ("content", "snippet")):
        text = text_or_none(result.get(theirs))
        if text:
            citation[name] = text
    return {"type": "url_citation", "url_citation": citation}


def _logprobs(choice: Mapping[str, Any]) -> Fields | None:
    found = choice.get("logprobs")
    return writable(found) if isinstance(found, dict) else None


def writable(fields: Fields) -> Fields:
    """Fields that are passed on as they are must be such as can be written again.

    orjson reads deeper nesting than it writes.
    """
    try:
        orjson.dumps(fields)
    except TypeError as error:
        raise UpstreamDown("Provider sent fields nested too deeply") from error
    return fields


def _choice(item: object, place: int, sources: list[Fields]) -> Choice:
    if not isinstance(item, dict):
        raise UpstreamDown("Provider sent a choice that is not an object")
    index = item.get("index")
    index = index if isinstance(index, int) else place
    fields = item.get("message")
    if not isinstance(fields, dict):
        fields = {"content": item.get("text")}  # legacy completions
    reasoning = _reasoning(fields)
    extras = _extras(fields, reasoning)
    calls = _whole_calls(fields)
    if calls:
        extras["tool_calls"] = calls
    if sources:
        extras.setdefault("annotations", sources)
    writable(extras)
    refusal = extras.pop("refusal", None)
    content = _content(fields.get("content"))
    message = {
        "role": "assistant",
        "content": None if not content and "tool_calls" in extras else content,
        "refusal": refusal,
        "reasoning": reasoning or joined(extras.get("reasoning_details", ())),
        **extras,
    }
    finish = _finish(index, item.get("finish_reason"), refused=refusal is not None)
    if finish.reason is None and calls:
        finish = Finish(index, "tool_calls", None)
    return Choice(index=index, message=message, finish=finish, logprobs=_logprobs(item))
