"""Output items of `/responses` while they are being made, and the events that tell of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

import orjson

from routing.wire.responses_reasoning import TEMPORARY, merged, sealed
from routing.wire.thoughts import READABLE

Status = Literal["in_progress", "completed", "incomplete"]

_ID_BYTES = 8
_DATA_URL = "data:image/"


class Events:
    """Numbered server-sent events; these have no `event:` line."""

    def __init__(self) -> None:
        self._number = 0
        self._written: list[bytes] = []

    def add(self, kind: str, **fields: Any) -> None:
        """One more event."""
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        self._written.append(b"data: " + orjson.dumps(event) + b"\n\n")

    def spliced(self, kind: bytes, rest: bytes) -> bytes:
        """One more event out of serialised fields; it is not among those of `take`."""
        number = b"%d" % self._number
        self._number += 1
        return (
            b'data: {"type":"response.' + kind + b'","sequence_number":' + number + rest + b"\n\n"
        )

    def take(self) -> bytes:
        """The bytes of all events since the last time."""
        written = b"".join(self._written)
        self._written.clear()
        return written


class OutputItem(Protocol):
    """An item of the answer."""

    def close(self, status: Status) -> None:
        """Nothing more comes; harmless twice."""
        ...

    def value(self) -> dict[str, Any]:
        """The item as it is now."""
        ...


class _Item:
    """What all items have in common."""

    def __init__(self, events: Events, place: int, item_id: str) -> None:
        self._events = events
        self._place = place
        self._id = item_id
        self._status: Status = "in_progress"

    @property
    def closed(self) -> bool:
        """Whether nothing more may be added."""
        return self._status != "in_progress"

    def _tell(self, kind: str, **fields: Any) -> None:
        self._events.add(f"response.{kind}", item_id=self._id, output_index=self._place, **fields)

    def _added(self, value: Mapping[str, Any]) -> None:
        self._events.add("response.output_item.added", output_index=self._place, item=value)

    def _done(self, value: Mapping[str, Any]) -> None:
        self._events.add("response.output_item.done", output_index=self._place, item=value)


class MessageOutput(_Item):
    """What the model says: text and refusals."""

    def __init__(self, events: Events, place: int) -> None:
        super().__init__(events, place, _new_id("msg_tmp_"))
        self._parts: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._fields: bytes | None = None
        self._added(self.value())

    def text(self, text: str, logprobs: Iterable[Mapping[str, Any]]) -> None:
        """A piece of text; it may be empty where only its probabilities came."""
        part = self._part("output_text")
        told = [_logprob(each) for each in logprobs]
        part["logprobs"] += told
        if text:
            self._pieces.append(text)
            self._tell("output_text.delta", content_index=self._at, delta=text, logprobs=told)

    def more(self, text: str) -> bytes | None:
        """What `text` tells, for the usual piece that goes on with open text; None for others.

        A stream is mostly this, so the fields that stay are serialised once.
        """
        if self._fields is None or not text:
            return None
        self._pieces.append(text)
        delta = self._fields + orjson.dumps(text) + b',"logprobs":[]}'
        return self._events.spliced(b"output_text.delta", delta)

    def refusal(self, text: str) -> None:
        """A piece of a refusal."""
        self._part("refusal")
        self._pieces.append(text)
        self._tell("refusal.delta", content_index=self._at, delta=text)

    def annotate(self, annotation: Mapping[str, Any]) -> None:
        """A source of what was said."""
        part = self._part("output_text")
        self._tell(
            "output_text.annotation.added",
            content_index=self._at,
            annotation_index=len(part["annotations"]),
            annotation=annotation,
        )
        part["annotations"].append(annotation)

    def close(self, status: Status) -> None:
        """Nothing more comes; harmless twice."""
        if self.closed:
            return
        self._end_part()
        self._status = status
        self._done(self.value())

    def value(self) -> dict[str, Any]:
        """The item as it is now."""
        return {
            "type": "message",
            "id": self._id,
            "status": self._status,
            "role": "assistant",
            "content": [dict(part) for part in self._so_far()],
        }

    @property
    def _at(self) -> int:
        return len(self._parts) - 1

    def _so_far(self) -> list[dict[str, Any]]:
        if self._pieces:
            part = self._parts[-1]
            part[_TEXT_OF[part["type"]]] = "".join(self._pieces)
        return self._parts

    def _part(self, kind: str) -> dict[str, Any]:
        """The open part; another one is begun where the kind changes."""
        if self._parts and self._parts[-1]["type"] == kind:
            return self._parts[-1]
        self._end_part()
        part: dict[str, Any] = {"type": kind, _TEXT_OF[kind]: ""}
        self._parts.append(part)
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
            common = {"item_id": self._id, "output_index": self._place, "content_index": self._at}
            self._fields = b"," + orjson.dumps(common)[1:-1] + b',"delta":'
        self._tell("content_part.added", content_index=self._at, part=part)
        return part

    def _end_part(self) -> None:
        if not self._parts:
            return
        part = self._so_far()[-1]
        self._pieces.clear()
        self._fields = None
        if part["type"] == "refusal":
            self._tell("refusal.done", content_index=self._at, refusal=part["refusal"])
        else:
            self._tell(
                "output_text.done",
                content_index=self._at,
                text=part["text"],
                logprobs=part["logprobs"],
            )
        self._tell("content_part.done", content_index=self._at, part=part)


_TEXT_OF: Mapping[str, str] = {"output_text": "text", "refusal": "refusal"}


class ReasoningOutput(_Item):
    """What the model thinks.

    Attributes:
        before: how many details of the answer come before it.
    """

    def __init__(self, events: Events, place: int, before: int, own_id: str | None) -> None:
        super().__init__(events, place, own_id or _new_id(TEMPORARY))
        self.before = before
        self._group = own_id
        self._details: list[dict[str, Any]] = []
        self._shown: dict[str, list[str]] = {"reasoning.text": [], "reasoning.summary": []}
        self._open: str | None = None
        self._pieces: list[str] = []
        self._sealed: str | None = None
        self._added(self.value())

    @property
    def after(self) -> int:
        """How many there are with its own."""
        return self.before + len(self._details)

    def belongs(self, own_id: str | None) -> bool:
        """Whether a detail of the provider's item of this id goes in here; None goes anywhere."""
        self._group = self._group or own_id
        return own_id in {None, self._group}

    def take(self, detail: Mapping[str, Any], *, whole: bool) -> None:
        """One more detail, or a fragment of one.

        Args:
            detail: in the contract's form; its type is a string.
            whole: it is no fragment, so it never continues the one before.
        """
        if whole:
            self._details.append(dict(detail))
            goes_on = False
        else:
            goes_on = merged(self._details, detail)
        kind: str = detail["type"]
        text = detail.get(READABLE.get(kind, ""))
        if not isinstance(text, str) or not text:
            return
        if not goes_on or self._open != kind:
            self._end_part()
            self._begin_part(kind)
        self._pieces.append(text)
        event, index = _REASONING_EVENTS[kind]
        self._tell(f"{event}.delta", **{index: len(self._shown[kind])}, delta=text)

    def close(self, status: Status) -> None:
        """Nothing more comes; harmless twice."""
        if self.closed:
            return
        self._end_part()
        self._sealed = sealed(self.value(), self.before, self._details)
        self._status = status
        self._done(self.value())

    def value(self) -> dict[str, Any]:
        """The item as it is now."""
        value: dict[str, Any] = {
            "type": "reasoning",
            "id": self._id,
            "status": self._status,
            "summary": [
                {"type": "summary_text", "text": text} for text in self._shown["reasoning.summary"]
            ],
        }
        texts = self._shown["reasoning.text"]
        if texts:
            value["content"] = [{"type": "reasoning_text", "text": text} for text in texts]
        if self._sealed is not None:
            value["encrypted_content"] = self._sealed
        return value | self._marks()

    def _marks(self) -> dict[str, Any]:
        """Whose thoughts they are, and their signature, where there is but one."""
        marks = {}
        for name in ("format", "signature"):
            found = {each[name] for each in self._details if isinstance(each.get(name), str)}
            if len(found) == 1:
                marks[name] = found.pop()
        return marks

    def _begin_part(self, kind: str) -> None:
        self._open = kind
        place = len(self._shown[kind])
        if kind == "reasoning.summary":
            part = {"type": "summary_text", "text": ""}
            self._tell("reasoning_summary_part.added", summary_index=place, part=part)
        else:
            part = {"type": "reasoning_text", "text": ""}
            self._tell("content_part.added", content_index=place, part=part)

    def _end_part(self) -> None:
        kind, self._open = self._open, None
        if kind is None:
            return
        text = "".join(self._pieces)
        self._pieces.clear()
        place = len(self._shown[kind])
        self._shown[kind].append(text)
        event, index = _REASONING_EVENTS[kind]
        self._tell(f"{event}.done", **{index: place}, text=text)
        if kind == "reasoning.summary":
            part = {"type": "summary_text", "text": text}
            self._tell("reasoning_summary_part.done", summary_index=place, part=part)
        else:
            part = {"type": "reasoning_text", "text": text}
            self._tell("content_part.done", content_index=place, part=part)


_REASONING_EVENTS: Mapping[str, tuple[str, str]] = {
    "reasoning.text": ("reasoning_text", "content_index"),
    "reasoning.summary": ("reasoning_summary_text", "summary_index"),
}


class CallOutput(_Item):
    """A function the model wants called.

    Attributes:
        call_id: the provider's id of the call.
    """

    def __init__(self, events: Events, place: int, call_id: str | None, name: str) -> None:
        super().__init__(events, place, _new_id("fc_tmp_"))
        self.call_id = call_id or _new_id("call_")
        self._name = name
        self._pieces: list[str] = []
        self._added(self.value())

    def arguments(self, text: str) -> None:
        """A piece of the arguments."""
        self._pieces.append(text)
        self._tell("function_call_arguments.delta", delta=text)

    def close(self, status: Status) -> None:
        """Nothing more comes; harmless twice."""
        if self.closed:
            return
        self._tell("function_call_arguments.done", name=self._name, arguments="".join(self._pieces))
        self._status = status
        self._done(self.value())

    def value(self) -> dict[str, Any]:
        """The item as it is now."""
        return {
            "type": "function_call",
            "id": self._id,
            "status": self._status,
            "call_id": self.call_id,
            "name": self._name,
            "arguments": "".join(self._pieces),
        }


class ImageOutput(_Item):
    """An image the model drew; it comes whole."""

    def __init__(self, events: Events, place: int, url: str) -> None:
        super().__init__(events, place, _new_id("ig_tmp_"))
        self._result: str | None = None
        self._format: str | None = None
        self._added(self.value())
        self._tell("image_generation_call.in_progress")
        self._tell("image_generation_call.generating")
        head, comma, data = url.partition(";base64,")
        if comma and head.startswith(_DATA_URL):
            self._result, self._format = data, head.removeprefix(_DATA_URL)
        else:
            self._result = url
        self._tell("image_generation_call.completed")
        self._status = "completed"
        self._done(self.value())

    def close(self, status: Status) -> None:
        """It is closed from the start."""

    def value(self) -> dict[str, Any]:
        """The item as it is now."""
        value = {
            "type": "image_generation_call",
            "id": self._id,
            "status": self._status,
            "result": self._result,
        }
        return value if self._format is None else value | {"output_format": self._format}


def citation(annotation: object) -> dict[str, Any] | None:
    """A source in this API's flat form; None for anything else."""
    nested = annotation.get("url_citation") if isinstance(annotation, dict) else None
    if not isinstance(nested, dict):
        return None
    found: dict[str, Any] = {"type": "url_citation"}
    for name, kind, default in _CITATION:
        value = nested.get(name)
        found[name] = value if type(value) is kind else default
    if isinstance(nested.get("content"), str):
        found["content"] = nested["content"]
    return found


_CITATION: tuple[tuple[str, type, str | int], ...] = (
    ("url", str, ""),
    ("title", str, ""),
    ("start_index", int, 0),
    ("end_index", int, 0),
)


def _logprob(found: Mapping[str, Any]) -> dict[str, Any]:
    tops = found.get("top_logprobs")
    return _token(found) | {
        "top_logprobs": [
            _token(each)
            for each in (tops if isinstance(tops, list) else ())
            if isinstance(each, dict)
        ]
    }


def _token(found: Mapping[str, Any]) -> dict[str, Any]:
    token, logprob, octets = found.get("token"), found.get("logprob"), found.get("bytes")
    text = token if isinstance(token, str) else ""
    if not isinstance(octets, list) or not all(type(each) is int for each in octets):
        octets = list(text.encode())
    return {
        "token": text,
        "logprob": logprob if isinstance(logprob, int | float) else 0.0,
        "bytes": octets,
    }


def _new_id(prefix: str) -> str:
    """In the contract's form: eleven characters after the prefix."""
    return prefix + secrets.token_urlsafe(_ID_BYTES)
