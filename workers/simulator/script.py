"""Turns an answer and a fault into a script: which bytes go out when, and how it ends.

A script is a value, so that every fault can be tested without a socket; the server only plays it.
"""

import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, NamedTuple

from workers.simulator.dialect import (
    SSE,
    Answer,
    Ask,
    Choice,
    Dialect,
    Direct,
    Event,
    Failure,
    Usage,
)
from workers.simulator.faults import Fault
from workers.simulator.knobs import Knobs
from workers.simulator.text import CLOSING, REFUSAL, estimate_tokens
from workers.simulator.wire import chunk, head, response

MEGABYTE: Final = 1024 * 1024
# Long enough for the halves of a character to arrive in two reads.
SPLIT_MS: Final = 5
# A reset throws away what the peer has not read yet; this lets it read.
RESET_MS: Final = 20
# Bytes that a Content-Length promises and that never come.
MISSING_BYTES: Final = 64

_OK: Final = 200
_HUGE: Final = 10**15
_EMOJI: Final = CLOSING.strip()
_BROKEN_UTF8: Final = b"\xff\xfe\xf0\x9f"
_LAST_CHUNK: Final = chunk(b"")


class Ending(Enum):
    """What happens to the connection when all steps are played."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    STALL = auto()


class Step(NamedTuple):
    """Bytes to write, the time to wait before, and how many events they hold.

    A tuple, as ``Event`` is: there is one for every chunk of every stream.
    """

    data: bytes
    wait_ms: float = 0
    events: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """All that goes out for one request."""

    steps: tuple[Step, ...]
    ending: Ending = Ending.KEEP
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One call, ready to be answered."""

    dialect: Dialect
    provider: str
    ask: Ask
    answer: Answer
    knobs: Knobs
    fault: Fault | None

    @property
    def fault_name(self) -> str:
        """The name of the fault, empty for none."""
        return self.fault.name if self.fault else ""

    @property
    def fault_number(self) -> int:
        """The number the fault carries."""
        return self.fault.number if self.fault else 0


def say(direct: Direct) -> Script:
    """Return the script for a response that is whole already."""
    data = response(direct.status, direct.body, headers=direct.headers)
    return Script(steps=(Step(data=data),), status=direct.status)


def compose(scene: Scene) -> Script:
    """Return the script for one call."""
    if scene.fault is None:
        return _stream(scene) if scene.ask.stream else _plain(scene)
    name = scene.fault.name
    if name in _FAILURES:
        return _failure(scene, _FAILURES[name])
    if name in _INSTEAD:
        return _INSTEAD[name](scene)
    if name in _ALTERED:
        scene = replace(scene, answer=_ALTERED[name](scene))
    return _stream(scene) if scene.ask.stream else _plain(scene)


# Instead of an answer


_FAILURES: Final = {
    "429": Failure.RATE_LIMITED,
    "429_retry_after": Failure.RATE_LIMITED,
    "500_once": Failure.BROKEN,
    "503": Failure.OVERLOADED,
    # Anthropic's own status for it; the others answer 503 to both.
    "529": Failure.OVERLOADED,
    "401": Failure.UNAUTHORIZED,
    "402": Failure.UNPAID,
    "403": Failure.FORBIDDEN,
    "context_400": Failure.CONTEXT,
    "content_filter_400": Failure.FILTERED,
}


def _failure(scene: Scene, failure: Failure) -> Script:
    direct = scene.dialect.failure(scene.provider, failure)
    if scene.fault_name == "429_retry_after":
        headers = {**direct.headers, "retry-after": str(scene.fault_number)}
        direct = replace(direct, headers=headers)
    if direct.status == _OK and scene.ask.stream:  # a blocked prompt is an answer, at Google
        return _play_events(scene, [Event(data=direct.body, kind="error")])
    return say(direct)


def _html(_scene: Scene) -> Script:
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"
    return Script(steps=(Step(data=response(200, page, "text/html; charset=utf-8")),))


def _empty(_scene: Scene) -> Script:
    return Script(steps=(Step(data=response(200, b"")),))


def _redirect(_scene: Scene) -> Script:
    headers = {"location": "http://elsewhere.invalid/v1/chat/completions"}
    data = response(302, b"", "text/html", headers)
    return Script(steps=(Step(data=data),), status=302)


def _error_200(scene: Scene) -> Script:
    if not scene.ask.stream:
        body = scene.dialect.failure(scene.provider, Failure.BROKEN).body
        return say(Direct(status=200, body=body))
    error = scene.dialect.failure_event(scene.provider, Failure.BROKEN)
    events = scene.dialect.events(scene.provider, scene.ask, scene.answer)
    # A bare mark may follow an error; an end that is a message would claim success.
    marks = [event for event in events if _ends(event) and not event.name]
    return _play_events(scene, [error, *marks])


_INSTEAD: Final[dict[str, Callable[[Scene], Script]]] = {
    "html_200": _html,
    "empty_200": _empty,
    "redirect": _redirect,
    "error_200": _error_200,
    "reset": lambda _scene: Script(steps=(), ending=Ending.RESET, status=0),
    "silence": lambda _scene: Script(steps=(), ending=Ending.STALL, status=0),
}


# A whole answer that says something odd


def _absurd(scene: Scene) -> Answer:
    usages = {
        "negative": Usage(prompt=-5, completion=-7, total=-12),
        "huge": Usage(prompt=_HUGE, completion=_HUGE, total=2 * _HUGE),
        "string": Usage(prompt="17", completion="many", total="n/a"),
        "float": Usage(prompt=12.5, completion=7.25, total=19.75),
    }
    word = scene.fault.word if scene.fault else ""
    return replace(scene.answer, usage=usages[word])


def _filtered(scene: Scene) -> Answer:
    choices = tuple(replace(c, finish_reason="content_filter") for c in scene.answer.choices)
    return replace(scene.answer, choices=choices)


def _refusing(scene: Scene) -> Answer:
    choices = tuple(
        replace(_emptied(c), refusal=REFUSAL, finish_reason="stop") for c in scene.answer.choices
    )
    prompt = scene.ask.prompt_tokens
    words = estimate_tokens(REFUSAL) * len(choices)
    usage = Usage(prompt=prompt, completion=words, total=prompt + words)
    return replace(scene.answer, choices=choices, usage=usage)


def _emptied(choice: Choice) -> Choice:
    return replace(choice, pieces=(), reasoning=(), calls=(), images=(), audio=b"", transcript="")


def _blank(scene: Scene) -> Answer:
    choices = tuple(replace(_emptied(c), finish_reason=None) for c in scene.answer.choices)
    prompt = scene.ask.prompt_tokens
    usage = Usage(prompt=prompt, completion=0, total=prompt)
    return replace(scene.answer, choices=choices, usage=usage)


def _endless(scene: Scene) -> Answer:
    choices = tuple(replace(c, finish_reason=None) for c in scene.answer.choices)
    return replace(scene.answer, choices=choices, says_finish=False)


def _with_piece(scene: Scene, piece: str) -> Answer:
    """Put a piece in second place, in the stream and so in the text."""
    choices = tuple(
        replace(c, pieces=(*c.pieces[:1], piece, *c.pieces[1:]), calls=(), finish_reason="stop")
        for c in scene.answer.choices
    )
    return replace(scene.answer, choices=choices)


_ALTERED: Final[dict[str, Callable[[Scene], Answer]]] = {
    "absurd_usage": _absurd,
    "no_usage": lambda scene: replace(scene.answer, usage=None),
    "content_filter": _filtered,
    "refusal": _refusing,
    "null_finish_zero": _blank,
    "no_finish": _endless,
    "huge_event": lambda scene: _with_piece(scene, "x" * (scene.fault_number * MEGABYTE)),
    "invalid_utf8": lambda scene: _with_piece(scene, _EMOJI),
    "split_utf8": lambda scene: _with_piece(scene, f"é{_EMOJI}"),
}


# Plain answers


def _plain(scene: Scene) -> Script:
    body = scene.dialect.plain(scene.provider, scene.ask, scene.answer)
    first_ms = float(scene.knobs.first_ms)
    if scene.fault is None:
        return _whole(scene, body, first_ms)
    render = _PLAIN.get(scene.fault.name, _whole)
    return render(scene, _plain_body(scene, body), first_ms)


def _whole(scene: Scene, body: bytes, first_ms: float) -> Script:
    data = response(200, body, headers=_request_id(scene))
    return Script(steps=(Step(data, first_ms),))


def _plain_body(scene: Scene, body: bytes) -> bytes:
    match scene.fault_name:
        case "malformed_after":
            return body[: len(body) * 2 // 3]
        case "error_mid":
            return scene.dialect.failure(scene.provider, Failure.BROKEN).body
        case "invalid_utf8":
            return body.replace(_EMOJI.encode(), _BROKEN_UTF8, 1)
        case "bom":
            return b"\xef\xbb\xbf" + body
        case _:
            return body


def _plain_broken(scene: Scene, body: bytes, first_ms: float) -> Script:
    endings = {
        "cut_after": Ending.CLOSE,
        "rst_after": Ending.RESET,
        "stall_after": Ending.STALL,
        "wrong_length": Ending.CLOSE,
    }
    ending = endings[scene.fault_name]
    sent = body if scene.fault_name == "wrong_length" else body[: len(body) // 2]
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body) + MISSING_BYTES),
        **_request_id(scene),
    }
    steps = [Step(data=head(200, headers) + sent, wait_ms=first_ms)]
    return Script(steps=_with_reset_pause(steps, ending), ending=ending)


def _plain_late(scene: Scene, body: bytes, first_ms: float) -> Script:
    data = response(200, body, headers=_request_id(scene))
    wait_ms = first_ms + scene.fault_number
    if scene.fault_name == "slow_headers":
        return Script(steps=(Step(data=data, wait_ms=wait_ms),))
    cut = len(data) - len(body)
    return Script(steps=(Step(data=data[:cut]), Step(data=data[cut:], wait_ms=wait_ms)))


def _plain_split(scene: Scene, body: bytes, first_ms: float) -> Script:
    data = response(200, body, headers=_request_id(scene))
    parts = _split_characters(data)
    steps = [
        Step(data=part, wait_ms=SPLIT_MS if index else first_ms) for index, part in enumerate(parts)
    ]
    return Script(steps=tuple(steps))


def _plain_gzip(scene: Scene, body: bytes, first_ms: float) -> Script:
    headers = {"content-encoding": "gzip", **_request_id(scene)}
    data = response(200, gzip.compress(body, mtime=0), headers=headers)
    return Script(steps=(Step(data=data, wait_ms=first_ms),))


_PLAIN: Final[dict[str, Callable[[Scene, bytes, float], Script]]] = {
    "cut_after": _plain_broken,
    "rst_after": _plain_broken,
    "stall_after": _plain_broken,
    "wrong_length": _plain_broken,
    "slow_first": _plain_late,
    "slow_headers": _plain_late,
    "split_utf8": _plain_split,
    "gzip": _plain_gzip,
}


# Streams


def _stream(scene: Scene) -> Script:
    events = scene.dialect.events(scene.provider, scene.ask, scene.answer)
    if scene.fault_name == "malformed_after":
        whole = events[0].data
        broken = Event(data=whole[: len(whole) * 2 // 3], name=events[0].name)
        events.insert(min(scene.fault_number, len(events) - 1), broken)
    elif scene.fault_name == "error_mid":
        place = min(scene.fault_number, len(events) - 1)
        ending = scene.dialect.broken_off(scene.provider, scene.ask, scene.answer, place)
        events = [*events[:place], *ending]
    elif scene.fault_name == "no_done":
        events = [event for event in events if not _ends(event)]
    return _play_events(scene, events)


_BREAKS: Final = {
    "cut_after": Ending.CLOSE,
    "rst_after": Ending.RESET,
    "stall_after": Ending.STALL,
}


def _play_events(scene: Scene, events: Sequence[Event]) -> Script:
    """Time and frame the events; breaks, odd ends and odd encodings happen here."""
    name = scene.fault_name
    ending = _BREAKS.get(name, Ending.KEEP)
    if name in _BREAKS:
        events = [event for event in events if not _ends(event)][: scene.fault_number]
    body = _timed(scene, events)
    if name == "gzip":
        body = _gzipped(body)
    if name == "wrong_length":
        size = sum(len(step.data) for step in body) + MISSING_BYTES
        framing = {"content-length": str(size)}
        ending = Ending.CLOSE
    else:
        framing = {"transfer-encoding": "chunked"}
        body = [Step(chunk(data), wait_ms, events) for data, wait_ms, events in body]
    if ending is Ending.KEEP:
        wait_ms = scene.fault_number if name == "late_close" else 0
        body.append(Step(data=_LAST_CHUNK, wait_ms=wait_ms))
    first = Step(
        data=head(200, _stream_headers(scene, framing)),
        wait_ms=scene.fault_number if name == "slow_headers" else 0,
    )
    steps = _with_reset_pause(_joined([first, *body]), ending)
    return Script(steps=steps, ending=ending)


def _timed(scene: Scene, events: Sequence[Event]) -> list[Step]:
    """Give every event its wait: the first one, the gaps between pieces, nothing for the rest."""
    slow_ms = scene.fault_number if scene.fault_name == "slow_first" else 0
    frame = _framing(scene.dialect)
    alter = _FRAMINGS.get(scene.fault_name) if scene.dialect.stream_type == SSE else None
    splits = scene.fault_name == "split_utf8" and scene.dialect.stream_type == SSE
    steps: list[Step] = []
    pieces = 0
    for event in events:
        wait_ms = float(scene.knobs.gap_ms if event.kind == "piece" and pieces else 0)
        pieces += event.kind == "piece"
        if not steps:
            wait_ms = float(scene.knobs.first_ms + slow_ms)
        data = frame(event)
        if alter is not None:
            data = alter(data, len(steps))
        counted = not _ends(event)
        parts = _split_characters(data) if splits else [data]
        steps.append(Step(data=parts[0], wait_ms=wait_ms, events=counted))
        steps.extend(Step(data=part, wait_ms=SPLIT_MS) for part in parts[1:])
    return steps


def _framing(dialect: Dialect) -> Callable[[Event], bytes]:
    """Return the dialect's own framing, or the usual one without asking it for every event."""
    if type(dialect).frame is Dialect.frame:
        return _sse

    def framed(event: Event) -> bytes:
        data = dialect.frame(event)
        return _sse(event) if data is None else data

    return framed


def _sse(event: Event) -> bytes:
    if event.name:
        return b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data)
    return b"data: %b\n\n" % event.data


def _without_spaces(framed: bytes, _index: int) -> bytes:
    *names, data = framed.split(b"data: ", 1)
    return b"data:".join([*(name.replace(b": ", b":") for name in names), data])


# What a fault makes of one framed event. JSON has no line ends of its own.
_FRAMINGS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "crlf": lambda framed, _index: framed.replace(b"\n", b"\r\n"),
    "no_space": _without_spaces,
    "comments": lambda framed, _index: b": keep-alive\n\n\n: still here\n" + framed,
    "bom": lambda framed, index: framed if index else b"\xef\xbb\xbf" + framed,
    "invalid_utf8": lambda framed, _index: framed.replace(_EMOJI.encode(), _BROKEN_UTF8),
}


def _gzipped(steps: list[Step]) -> list[Step]:
    """Compress the body, flushed after each step so that a client can read along."""
    compressor = zlib.compressobj(wbits=31)
    packed = [
        Step(compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH), wait_ms, events)
        for data, wait_ms, events in steps
    ]
    return [*packed, Step(data=compressor.flush())]


def _joined(steps: list[Step]) -> list[Step]:
    """Join what goes out at once into one write: a write is a system call."""
    joined: list[Step] = []
    run: list[Step] = []
    for step in steps:
        if step.wait_ms and run:
            joined.append(_merge(run))
            run = []
        run.append(step)
    if run:
        joined.append(_merge(run))
    return joined


def _merge(run: list[Step]) -> Step:
    return Step(
        data=b"".join([step.data for step in run]),
        wait_ms=run[0].wait_ms,
        events=sum(step.events for step in run),
    )


def _with_reset_pause(steps: list[Step], ending: Ending) -> tuple[Step, ...]:
    if ending is Ending.RESET:
        return (*steps, Step(data=b"", wait_ms=RESET_MS))
    return tuple(steps)


def _split_characters(data: bytes) -> list[bytes]:
    """Cut after the first byte of every character that has more than one."""
    parts: list[bytes] = []
    start = 0
    for position, byte in enumerate(data):
        if byte >= 0xC0:  # noqa: PLR2004 - the first byte of a longer character
            parts.append(data[start : position + 1])
            start = position + 1
    return [*parts, data[start:]]


def _ends(event: Event) -> bool:
    return event.kind == "end"


def _request_id(scene: Scene) -> dict[str, str]:
    return {scene.dialect.id_header: f"req_{scene.answer.tag[:32]}"}


def _stream_headers(scene: Scene, framing: dict[str, str]) -> dict[str, str]:
    headers = {
        "content-type": scene.dialect.stream_type,
        "cache-control": "no-cache",
        **framing,
        **_request_id(scene),
    }
    if scene.fault_name == "gzip":
        headers["content-encoding"] = "gzip"
    return headers
