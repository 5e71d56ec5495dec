"""Answers of the Responses API: whole ones, and the events of a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from routing.errors import UpstreamDown, UpstreamError
from routing.usage import Usage, usage_from
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
    index_or_zero,
    load_object,
    text_or_empty,
    text_or_none,
)
from workers.dialects.openai_answers import writable
from workers.dialects.openai_errors import in_band
from workers.dialects.reasoning import (
    encrypted_detail,
    summary_detail,
    text_detail,
)

Fields = dict[str, Any]

#: Between the parts of a summary, which have headings of their own.
_BREAK = "\n\n"
_CITATION_FIELDS = {"url": str, "title": str, "start_index": int, "end_index": int}
_INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
}


def whole_response(body: bytes) -> Answer:
    """A plain answer.

    Raises:
        UpstreamError: the response failed, the body is an error, or it cannot be read.
    """
    data = load_object(body)
    _check(data)
    output = data.get("output")
    if not isinstance(output, list):
        raise UpstreamDown("Provider sent an answer without output", raw=cut(body))
    said = _Said()
    for item in dicts(output):
        said.take(item)
    finish = _finish(data, called=bool(said.calls), refused=bool(said.refusal))
    return Answer(
        choices=(Choice(index=0, message=said.message(), finish=finish, logprobs=said.logprobs()),),
        usage=_usage(data.get("usage")),
        upstream_id=text_or_none(data.get("id")),
    )


class _Said:
    """The output items of a plain answer, gathered into one message."""

    def __init__(self) -> None:
        self.content = ""
        self.refusal = ""
        self.thoughts: list[str] = []
        self.details: list[Fields] = []
        self.calls: list[Fields] = []
        self.annotations: list[Fields] = []
        self.images: list[Fields] = []
        self._logprobs: list[Fields] = []

    def take(self, item: Fields) -> None:
        """Add one item; kinds that are not for the caller are passed over."""
        match item.get("type"):
            case "message":
                for part in dicts(item.get("content")):
                    self._part(part)
            case "function_call":
                self.calls.append(_call(item))
            case "reasoning":
                self._reasoning(item)
            case "image_generation_call":
                self.images += _images(item)
            case _:
                pass

    def message(self) -> Fields:
        """The message in the contract's form."""
        rare = {
            "tool_calls": self.calls,
            "reasoning_details": self.details,
            "annotations": self.annotations,
            "images": self.images,
        }
        found = writable({name: value for name, value in rare.items() if value})
        return {
            "role": "assistant",
            "content": None if not self.content and self.calls else self.content,
            "refusal": self.refusal or None,
            "reasoning": _BREAK.join(self.thoughts) or None,
            **found,
        }

    def logprobs(self) -> Fields | None:
        """Log probabilities of the text, if there are any."""
        return writable({"content": self._logprobs}) if self._logprobs else None

    def _part(self, part: Fields) -> None:
        if part.get("type") == "refusal":
            self.refusal += text_or_empty(part.get("refusal"))
            return
        self.content += text_or_empty(part.get("text"))
        self.annotations += _annotations(dicts(part.get("annotations")))
        self._logprobs += dicts(part.get("logprobs"))

    def _reasoning(self, item: Fields) -> None:
        for part in dicts(item.get("summary")):
            text = text_or_empty(part.get("text"))
            self.thoughts.append(text)
            self._detail(summary_detail(len(self.details), "openai-responses-v1", text), item)
        for part in dicts(item.get("content")):
            text = text_or_empty(part.get("text"))
            self.thoughts.append(text)
            self._detail(text_detail(len(self.details), "openai-responses-v1", text=text), item)
        data = text_or_none(item.get("encrypted_content"))
        if data:
            self._detail(encrypted_detail(len(self.details), "openai-responses-v1", data), item)

    def _detail(self, detail: Fields, item: Fields) -> None:
        self.details.append(_identified(detail, item.get("id")))


class ResponsesStream:
    """Events of one stream to ours.

    Deltas are passed on as they come; what a provider sends only with an item's end is passed on
    then, once.
    """

    def __init__(self) -> None:
        self._call_index: dict[int, int] = {}
        self._arguments: set[int] = set()
        self._spoken: set[int] = set()
        self._detail_index: dict[tuple[int, str, int], int] = {}
        self._thought = False
        self._refused = False

    def decode(self, data: bytes) -> list[Event]:
        """Our events for one of theirs."""
        if data == b"[DONE]":
            return [End()]
        event = load_object(data)
        kind = event.get("type")
        take = self._takers.get(kind) if isinstance(kind, str) else None
        if take is not None:
            return take(self, event)
        if event.get("error") or kind == "error":
            return [Broken(_failure(event))]
        return []

    def _text(self, event: Fields) -> list[Event]:
        text = text_or_empty(event.get("delta"))
        self._spoken.add(index_or_zero(event.get("output_index")))
        tokens = list(dicts(event.get("logprobs")))
        logprobs = writable({"content": tokens}) if tokens else None
        return [Delta(0, text, None, None, logprobs)] if text else []

    def _refusal(self, event: Fields) -> list[Event]:
        text = text_or_empty(event.get("delta"))
        self._spoken.add(index_or_zero(event.get("output_index")))
        self._refused = self._refused or bool(text)
        return [_rare("refusal", text)] if text else []

    def _annotation(self, event: Fields) -> list[Event]:
        found = _annotations([dict_or_empty(event.get("annotation"))])
        return [_rare("annotations", found)] if found else []

    def _summary(self, event: Fields) -> list[Event]:
        place = index_or_zero(event.get("summary_index"))
        return self._thinking(event, "summary", place, text_or_empty(event.get("delta")))

    def _reasoning(self, event: Fields) -> list[Event]:
        place = index_or_zero(event.get("content_index"))
        return self._thinking(event, "text", place, text_or_empty(event.get("delta")))

    def _thinking(self, event: Fields, kind: str, place: int, text: str) -> list[Event]:
        """A piece of a summary or of the thinking itself."""
        if not text:
            return []
        output = index_or_zero(event.get("output_index"))
        index, first = self._index(output, kind, place)
        self._spoken.add(output)
        if kind == "summary":
            detail = summary_detail(index, "openai-responses-v1", text)
        else:
            detail = text_detail(index, "openai-responses-v1", text=text)
        shown = _BREAK + text if first and self._thought else text
        self._thought = True
        extra = {"reasoning_details": [_identified(detail, event.get("item_id"))]}
        return [Delta(0, "", shown, extra)]

    def _index(self, output: int, kind: str, place: int) -> tuple[int, bool]:
        """The place of a detail among all of the answer, and whether it is new."""
        key = (output, kind, place)
        first = key not in self._detail_index
        return self._detail_index.setdefault(key, len(self._detail_index)), first

    def _added(self, event: Fields) -> list[Event]:
        item = dict_or_empty(event.get("item"))
        if item.get("type") != "function_call":
            return []
        return self._called(index_or_zero(event.get("output_index")), item)

    def _called(self, output: int, item: Fields) -> list[Event]:
        """The head of a call, with the arguments that are there already."""
        index = self._call_index.setdefault(output, len(self._call_index))
        call = _call(item)
        if call["function"]["arguments"]:
            self._arguments.add(output)
        return [_rare("tool_calls", [{"index": index, **call}])]

    def _argument(self, event: Fields) -> list[Event]:
        output = index_or_zero(event.get("output_index"))
        text = text_or_empty(event.get("delta"))
        if not text or output not in self._call_index:
            return []
        self._arguments.add(output)
        return [self._fragment(output, text)]

    def _fragment(self, output: int, text: str) -> Event:
        fragment = {"index": self._call_index[output], "function": {"arguments": text}}
        return _rare("tool_calls", [fragment])

    def _done(self, event: Fields) -> list[Event]:
        """The end of an item: what only comes now, and what was not told piece by piece."""
        item, output = dict_or_empty(event.get("item")), index_or_zero(event.get("output_index"))
        match item.get("type"):
            case "function_call":
                return self._call_done(output, item)
            case "reasoning":
                return self._reasoning_done(output, item)
            case "message" if output not in self._spoken:
                return self._message_done(output, item)
            case "image_generation_call":
                images = _images(item)
                return [_rare("images", images)] if images else []
            case _:
                return []

    def _call_done(self, output: int, item: Fields) -> list[Event]:
        if output not in self._call_index:
            return self._called(output, item)
        arguments = text_or_empty(item.get("arguments"))
        if not arguments or output in self._arguments:
            return []
        self._arguments.add(output)
        return [self._fragment(output, arguments)]

    def _reasoning_done(self, output: int, item: Fields) -> list[Event]:
        events: list[Event] = []
        place = {"output_index": output, "item_id": item.get("id")}
        if output not in self._spoken:
            for kind, field in (("summary", "summary"), ("text", "content")):
                for index, part in enumerate(dicts(item.get(field))):
                    text = text_or_empty(part.get("text"))
                    events += self._thinking(place, kind, index, text)
        data = text_or_none(item.get("encrypted_content"))
        if data:
            index, first = self._index(output, "encrypted", 0)
            detail = encrypted_detail(index, "openai-responses-v1", data)
            if first:
                events.append(_rare("reasoning_details", [_identified(detail, item.get("id"))]))
        return events

    def _message_done(self, output: int, item: Fields) -> list[Event]:
        self._spoken.add(output)
        said = _Said()
        said.take(item)
        extra: Fields = {"refusal": said.refusal} if said.refusal else {}
        if said.annotations:
            extra["annotations"] = said.annotations
        self._refused = self._refused or bool(said.refusal)
        if not said.content and not extra:
            return []
        return [Delta(0, said.content, None, writable(extra) or None, said.logprobs())]

    def _ended(self, event: Fields) -> list[Event]:
        response = dict_or_empty(event.get("response"))
        finish = _finish(response, called=bool(self._call_index), refused=self._refused)
        usage = _usage(response.get("usage"))
        return [finish, *([Used(usage)] if usage is not None else []), End()]

    def _failed(self, event: Fields) -> list[Event]:
        return [Broken(_failure(dict_or_empty(event.get("response"))))]

    _takers: ClassVar[Mapping[str, Callable[[Any, Fields], list[Event]]]] = {
        "response.output_text.delta": _text,
        "response.refusal.delta": _refusal,
        "response.output_text.annotation.added": _annotation,
        "response.reasoning_summary_text.delta": _summary,
        "response.reasoning_text.delta": _reasoning,
        "response.output_item.added": _added,
        "response.function_call_arguments.delta": _argument,
        "response.output_item.done": _done,
        "response.completed": _ended,
        "response.incomplete": _ended,
        "response.failed": _failed,
        "response.cancelled": _failed,
    }


def _check(data: Fields) -> None:
    if data.get("error") or data.get("status") in ("failed", "cancelled"):
        raise _failure(data)


def _failure(data: Mapping[str, Any]) -> UpstreamError:
    """The error of a response, of an error event, or of a bare error object."""
    error = data.get("error")
    if not error and data.get("type") == "error":
        error = {name: data.get(name) for name in ("code", "message")}
    return in_band(error or {"message": text_or_none(data.get("status"))})


def _finish(response: Fields, *, called: bool, refused: bool) -> Finish:
    """Why it ended: in its own word, and in the contract's."""
    status = text_or_none(response.get("status")) or "completed"
    if status == "incomplete":
        why = text_or_none(dict_or_empty(response.get("incomplete_details")).get("reason"))
        return Finish(0, _INCOMPLETE.get(why or "", "stop"), why or status)
    if refused:
        return Finish(0, "content_filter", status)
    return Finish(0, "tool_calls" if called else "stop", status)


def _usage(raw: object) -> Usage | None:
    if not isinstance(raw, dict):
        return None
    inputs = dict_or_empty(raw.get("input_tokens_details"))
    outputs = dict_or_empty(raw.get("output_tokens_details"))
    return usage_from(
        prompt=raw.get("input_tokens"),
        completion=raw.get("output_tokens"),
        cached=inputs.get("cached_tokens"),
        cache_write=inputs.get("cache_write_tokens"),
        reasoning=outputs.get("reasoning_tokens"),
    )


def _call(item: Mapping[str, Any]) -> Fields:
    call_id = text_or_none(item.get("call_id")) or text_or_empty(item.get("id"))
    called = {
        "name": text_or_empty(item.get("name")),
        "arguments": text_or_empty(item.get("arguments")),
    }
    return {"id": call_id, "type": "function", "function": called}


def _annotations(found: Any) -> list[Fields]:
    """Links to sources; citations of uploaded files name nothing a caller has."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                name: item[name]
                for name, kind in _CITATION_FIELDS.items()
                if isinstance(item.get(name), kind)
            },
        }
        for item in found
        if item.get("type") == "url_citation" and isinstance(item.get("url"), str)
    ]


def _images(item: Mapping[str, Any]) -> list[Fields]:
    data = text_or_none(item.get("result"))
    if not data:
        return []
    form = text_or_none(item.get("output_format")) or "png"
    return [{"type": "image_url", "image_url": {"url": f"data:image/{form};base64,{data}"}}]


def _identified(detail: Fields, item_id: object) -> Fields:
    return detail | {"id": item_id} if isinstance(item_id, str) else detail


def _rare(name: str, value: object) -> Delta:
    return Delta(0, "", None, writable({name: value}))
