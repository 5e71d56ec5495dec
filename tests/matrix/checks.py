"""What must be true of the answer in a cell."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping

import jsonschema_rs

from tests.matrix.asking import FOREIGN_RESULT, SCHEMA, TIME, WEATHER, Fields
from tests.matrix.cells import Cell, marked
from tests.matrix.hearing import Counts, Heard
from tests.matrix.media import PNG_MAGIC
from tests.matrix.rows import BAD_GATEWAY, BAD_REQUEST, NOT_FOUND, OK, Cannot
from tests.matrix.trial import Outcome

NANO_PER_USD = 10**9
#: Most of the long prompt is cached where the whole of it is marked.
MARKED_TOKENS = 6_000
#: More than any answer in words has; a picture has over a thousand.
WORDS_TOKENS = 500
#: Nobody's samples are shorter than the simulator's.
AUDIO_BYTES = 1_000
_STOPPED = {
    "chat": {"stop"},
    "completions": {"stop"},
    "responses": {"completed"},
    "messages": {"end_turn"},
}
_CALLED = {"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}
_REFUSED = {"content_filter", "refusal"}
_ANTHROPIC_TYPES = {
    BAD_REQUEST: "invalid_request_error",
    NOT_FOUND: "not_found_error",
    BAD_GATEWAY: "api_error",
}
_MEDIA = {
    "image": "image/png",
    "audio": "audio/wav",
    "file": "application/pdf",
    "video": "video/mp4",
}


def check(cell: Cell, outcome: Outcome) -> None:
    """Everything about a cell.

    Raises:
        AssertionError: says what came instead.
    """
    if cell.cannot is not None:
        _check_empty(cell, outcome, cell.cannot)
    elif cell.feature.name == "error":
        check_error(cell, outcome.last, BAD_REQUEST, "token")
    else:
        _CHECKS[cell.feature.name](cell, outcome)
    check_charges(outcome)


def check_charges(outcome: Outcome) -> None:
    """The ledger has what the client was told, and nothing for a failure."""
    for heard in outcome.answers:
        found = outcome.charged_nano.get(heard.generation_id)
        if heard.error is not None:
            assert not found, outcome.told
        else:
            assert heard.usage is not None, outcome.told
            assert found == round(heard.usage.cost * NANO_PER_USD), outcome.told


def check_error(cell: Cell, heard: Heard, status: int, says: str) -> None:
    """A refused call: status and envelope of the inbound API."""
    assert heard.status == status
    error = heard.error
    assert error is not None
    assert says in error["message"]
    if cell.api == "messages":
        assert heard.envelope["type"] == "error"
        assert error["type"] == _ANTHROPIC_TYPES[status]
        assert "request_id" in heard.envelope
    else:
        assert error["code"] == status


def _check_empty(cell: Cell, outcome: Outcome, cannot: Cannot) -> None:
    heard = outcome.last
    if cannot.status != OK:
        check_error(cell, heard, cannot.status, cannot.says)
        return
    # What was asked for is left out, and the rest is answered as ever.
    _check_spoken(cell, outcome)
    assert not heard.calls, outcome.told
    assert not heard.images, outcome.told
    assert not heard.audio, outcome.told
    assert heard.usage is not None
    assert heard.usage.completion < WORDS_TOKENS, outcome.told


def _check_whole(outcome: Outcome) -> Counts:
    heard = outcome.last
    assert heard.status == OK, outcome.told
    assert heard.error is None, outcome.told
    assert heard.ended, outcome.told
    assert heard.generation_id, outcome.told
    usage = heard.usage
    assert usage is not None, outcome.told
    assert usage.prompt > 0, outcome.told
    assert usage.cost > 0, outcome.told
    return usage


def _check_spoken(cell: Cell, outcome: Outcome) -> None:
    """Words came, about what was said."""
    usage = _check_whole(outcome)
    heard = outcome.last
    assert usage.completion > 0, outcome.told
    assert heard.finish in _STOPPED[cell.api], outcome.told
    assert "Pointsman simulator" in heard.text, outcome.told


def _text(cell: Cell, outcome: Outcome) -> None:
    _check_spoken(cell, outcome)
    assert outcome.marker[:20] in outcome.last.text, outcome.told
    if cell.api == "completions":
        bare = outcome.upstream["path"].endswith("/completions")
        bare = bare and not outcome.upstream["path"].endswith("/chat/completions")
        assert bare is cell.row.completes, outcome.upstream["path"]


def _tools(cell: Cell, outcome: Outcome) -> None:
    _check_called(cell, outcome, WEATHER)


def _parallel(cell: Cell, outcome: Outcome) -> None:
    _check_called(cell, outcome, WEATHER, TIME)


def _check_called(cell: Cell, outcome: Outcome, *tools: Fields) -> None:
    _check_whole(outcome)
    heard = outcome.last
    assert heard.finish == _CALLED[cell.api], outcome.told
    assert [call.name for call in heard.calls] == [tool["name"] for tool in tools], outcome.told
    assert len({call.id for call in heard.calls}) == len(tools), outcome.told
    for call, tool in zip(heard.calls, tools, strict=True):
        assert call.id
        jsonschema_rs.validate(tool["parameters"], json.loads(call.arguments))


def _results(cell: Cell, outcome: Outcome) -> None:
    assert len(outcome.answers) == 2, outcome.told
    _check_spoken(cell, outcome)
    text = outcome.last.text
    for tool in (WEATHER, TIME):
        assert f"The tool returned: done: {tool['name']}." in text, outcome.told


def _reasoning(cell: Cell, outcome: Outcome) -> None:
    _check_spoken(cell, outcome)
    _check_thought(cell, outcome.last, outcome)


def _check_thought(cell: Cell, heard: Heard, outcome: Outcome) -> None:
    usage = heard.usage
    assert usage is not None
    if cell.row.hides:
        assert usage.reasoning > 0, outcome.told
        assert not heard.reasoning, outcome.told
    else:
        assert "Someone asks" in heard.reasoning, outcome.told


def _thoughts(cell: Cell, outcome: Outcome) -> None:
    assert len(outcome.answers) == 2, outcome.told
    first = outcome.answers[0]
    _check_thought(cell, first, outcome)
    _check_spoken(cell, outcome)
    assert f"The tool returned: done: {WEATHER['name']}." in outcome.last.text, outcome.told
    # That the simulator answered says the signatures are whole; here, that they were there at all.
    upstream = json.dumps(outcome.upstream["body"], separators=(",", ":"), ensure_ascii=False)
    if cell.row.replays:
        assert cell.row.replays in upstream, upstream
    elif first.reasoning:
        assert first.reasoning not in upstream, upstream


def _foreign(cell: Cell, outcome: Outcome) -> None:
    _check_spoken(cell, outcome)
    assert f"The tool returned: {FOREIGN_RESULT}." in outcome.last.text, outcome.told


def _schema(cell: Cell, outcome: Outcome) -> None:
    _check_whole(outcome)
    heard = outcome.last
    assert heard.finish in _STOPPED[cell.api], outcome.told
    jsonschema_rs.validate(SCHEMA, json.loads(heard.text))


def _seen(cell: Cell, outcome: Outcome) -> None:
    _check_spoken(cell, outcome)
    (kind,) = cell.feature.media
    assert f"I see: {_MEDIA[kind]}." in outcome.last.text, outcome.told


def _drawn(cell: Cell, outcome: Outcome) -> None:
    _check_spoken(cell, outcome)
    (image,) = outcome.last.images
    head, _, data = image.partition(";base64,")
    assert head == "data:image/png", head
    assert base64.b64decode(data, validate=True).startswith(PNG_MAGIC)
    assert outcome.last.usage is not None
    assert outcome.last.usage.completion > WORDS_TOKENS, outcome.told


def _spoken(cell: Cell, outcome: Outcome) -> None:
    _check_whole(outcome)
    heard = outcome.last
    assert heard.finish in _STOPPED[cell.api], outcome.told
    assert len(heard.audio) > AUDIO_BYTES, outcome.told
    assert heard.audio.startswith(b"RIFF") is not cell.stream, outcome.told
    assert "Pointsman simulator" in heard.transcript, outcome.told


def _cache(cell: Cell, outcome: Outcome) -> None:
    _check_spoken(cell, outcome)
    first, last = (heard.usage for heard in outcome.answers)
    assert first is not None
    assert last is not None
    upstream = json.dumps(outcome.upstream["body"])
    if marked(cell.api, cell.row):
        assert cell.row.marks in upstream, upstream[-500:]
        assert first.written > MARKED_TOKENS, outcome.told
        assert last.cached > MARKED_TOKENS, outcome.told
        assert last.cost < first.cost
    else:
        assert "cache_control" not in upstream
        assert last.cached > 0, outcome.told
    assert last.cached <= last.prompt, outcome.told


def _refusal(cell: Cell, outcome: Outcome) -> None:
    heard = outcome.last
    assert heard.status == OK, outcome.told
    assert heard.ended, outcome.told
    assert "simulator" not in heard.text, outcome.told
    if cell.api == "completions" and cell.row.completes:
        assert "can't help" in heard.text, outcome.told  # all a text completion can say
        return
    assert heard.finish in _REFUSED, outcome.told


def _broken(cell: Cell, outcome: Outcome) -> None:
    """What came before it stands, the error is in the stream, and nothing claims to be whole."""
    heard = outcome.last
    assert heard.status == OK, outcome.told
    assert not heard.ended, outcome.told
    assert heard.usage is None, outcome.told
    error = heard.error
    assert error is not None, outcome.told
    assert error["message"] == "Provider returned error", outcome.told
    match cell.api:
        case "messages":
            assert error["type"] == "api_error", outcome.told
        case "responses":
            assert error["code"] == "server_error", outcome.told
        case _:
            assert error["code"] == BAD_GATEWAY, outcome.told
            assert heard.finish == "error", outcome.told
    assert heard.text or heard.reasoning or cell.api == "responses", outcome.told


def _vectors(_cell: Cell, outcome: Outcome) -> None:
    heard = outcome.last
    usage = _check_whole(outcome)
    assert usage.completion == 0
    first, second = heard.vectors
    assert len(first) == len(second) > 1, outcome.told
    assert first != second
    assert all(isinstance(number, float) for number in first)


_CHECKS: Mapping[str, Callable[[Cell, Outcome], None]] = {
    "text": _text,
    "tools": _tools,
    "parallel": _parallel,
    "results": _results,
    "reasoning": _reasoning,
    "thoughts": _thoughts,
    "foreign": _foreign,
    "schema": _schema,
    "image": _seen,
    "audio": _seen,
    "file": _seen,
    "video": _seen,
    "draw": _drawn,
    "speak": _spoken,
    "cache": _cache,
    "refusal": _refusal,
    "broken": _broken,
    "vectors": _vectors,
}
