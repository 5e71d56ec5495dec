"""Every fault, as a script: what would go out, when, and how it would end."""

import gzip
import re
from typing import Any

import orjson
import pytest

from workers.simulator.answers import Stamp, answer
from workers.simulator.dialect import Answer, Ask, Dialect, Event, Failure
from workers.simulator.faults import KINDS, parse_fault
from workers.simulator.knobs import Knobs
from workers.simulator.openai import OpenAIDialect
from workers.simulator.script import Ending, Scene, Script, compose

DIALECT = OpenAIDialect()


def script(fault: str | None = None, *, stream: bool = True, knobs: Knobs | None = None) -> Script:
    knobs = knobs or Knobs(gap_ms=0)
    ask = Ask(model="m", said="hello", stream=stream, include_usage=True, prompt_tokens=9)
    scene = Scene(
        dialect=DIALECT,
        provider="openai",
        ask=ask,
        answer=answer(ask, knobs, Stamp(serial=1, created=1, body_sha256="ab" * 32)),
        knobs=knobs,
        fault=parse_fault(fault) if fault else None,
    )
    return compose(scene)


def scene(fault: str | None, ask: Ask, dialect: Dialect) -> Scene:
    return Scene(
        dialect=dialect,
        provider="openai",
        ask=ask,
        answer=answer(ask, Knobs(), Stamp(serial=1, created=1, body_sha256="ab" * 32)),
        knobs=Knobs(gap_ms=0),
        fault=parse_fault(fault) if fault else None,
    )


class Told(OpenAIDialect):
    """Keeps the answer it was told to render."""

    def __init__(self) -> None:
        self.answer: Answer | None = None

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        self.answer = answer
        return super().events(provider, ask, answer)


class Binary(OpenAIDialect):
    """Has a framing of its own."""

    stream_type = "application/octet-stream"

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        return [Event(b"one"), Event(b"two", "end")]

    def frame(self, event: Event) -> bytes:
        return b"<%b>" % event.data


class Named(OpenAIDialect):
    """Has one event with a name, and an end mark without."""

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        return [Event(b'{"x": 1}', "start", "a"), Event(b"[DONE]", "end")]

    def failure_event(self, provider: str, failure: Failure) -> Event:
        return Event(b"{}", "error", "error")


def sent(played: Script) -> tuple[bytes, bytes]:
    head, _, body = b"".join(step.data for step in played.steps).partition(b"\r\n\r\n")
    return head, body


def streamed(played: Script) -> bytes:
    """Undo the chunked encoding."""
    _, body = sent(played)
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        whole += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return whole


def events(played: Script) -> list[Any]:
    lines = streamed(played).decode().split("\n\n")
    data = [line.removeprefix("data: ") for line in lines if line]
    return [line if line == "[DONE]" else orjson.loads(line) for line in data]


def test_stream_without_gaps_is_one_write():
    played = script()

    assert len(played.steps) == 1
    assert played.ending is Ending.KEEP
    assert events(played)[-1] == "[DONE]"
    assert sum(step.events for step in played.steps) == len(events(played)) - 1


def test_stream_is_paced_between_pieces_only():
    played = script(knobs=Knobs(chunks=5, gap_ms=50, first_ms=7))

    assert [step.wait_ms for step in played.steps] == [0, 7, 50, 50, 50, 50]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_every_fault_has_a_script(name: str, stream: bool):
    played = script(f"{name}:1" if KINDS[name].most else name, stream=stream)

    assert played.steps or played.ending is not Ending.KEEP


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("429", 429),
        ("429_retry_after:7", 429),
        ("500_once", 500),
        ("503", 503),
        ("529", 503),
        ("401", 401),
        ("402", 402),
        ("403", 403),
        ("context_400", 400),
        ("content_filter_400", 400),
        ("redirect", 302),
        ("html_200", 200),
        ("empty_200", 200),
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_status(fault: str, status: int, stream: bool):
    played = script(fault, stream=stream)

    assert played.status == status
    assert sent(played)[0].startswith(b"HTTP/1.1 %d " % status)


def test_retry_after_only_where_asked():
    assert b"retry-after: 7" in sent(script("429_retry_after:7"))[0]
    assert b"retry-after" not in sent(script("429"))[0]


@pytest.mark.parametrize(
    ("fault", "ending"),
    [("cut_after", Ending.CLOSE), ("rst_after", Ending.RESET), ("stall_after", Ending.STALL)],
)
@pytest.mark.parametrize("count", [0, 3, 9999])
def test_breaks_send_exactly_so_many_events_and_no_end(fault: str, ending: Ending, count: int):
    played = script(f"{fault}:{count}")
    whole = sum(step.events for step in script().steps)

    assert played.ending is ending
    assert sum(step.events for step in played.steps) == min(count, whole)
    assert b"[DONE]" not in sent(played)[1]
    assert not sent(played)[1].endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("fault", ["cut_after", "rst_after", "stall_after", "wrong_length"])
def test_broken_plain_answers_promise_more_than_they_send(fault: str):
    head, body = sent(script(fault, stream=False))
    promised = re.search(rb"content-length: (\d+)", head)

    assert promised is not None
    assert int(promised[1]) > len(body)


def test_malformed_event_stands_between_good_ones():
    lines = streamed(script("malformed_after:2")).split(b"\n\n")[:-1]

    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(lines[2].removeprefix(b"data: "))
    assert orjson.loads(lines[3].removeprefix(b"data: "))
    assert lines[-1] == b"data: [DONE]"


def test_error_mid_is_the_last_event():
    *before, error = events(script("error_mid:4"))

    assert len(before) == 4
    assert error["error"]["type"] == "server_error"


def test_error_200_comes_first():
    assert "error" in events(script("error_200"))[0]
    assert "error" in orjson.loads(sent(script("error_200", stream=False))[1])


def test_ends_that_are_missing():
    without_done = events(script("no_done"))
    without_finish = events(script("no_finish"))

    assert "[DONE]" not in without_done
    assert without_finish[-1] == "[DONE]"
    reasons = [c["finish_reason"] for e in without_finish[:-1] for c in e["choices"]]
    assert set(reasons) == {None}


def test_null_finish_zero_says_nothing_and_counts_nothing():
    *chunks, usage, _done = events(script("null_finish_zero"))

    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] is None
    assert usage["usage"]["completion_tokens"] == 0


def test_usage_oddities():
    absent = events(script("no_usage"))
    odd = {
        word: events(script(f"absurd_usage:{word}"))[-2]["usage"]["completion_tokens"]
        for word in ("negative", "huge", "string", "float")
    }

    assert all("usage" not in event for event in absent[:-1])
    assert odd == {"negative": -7, "huge": 10**15, "string": "many", "float": 7.25}


def test_content_filter_is_the_reason():
    assert events(script("content_filter"))[-3]["choices"][0]["finish_reason"] == "content_filter"


def test_a_refusal_says_nothing_else():
    ask = Ask(model="m", said="hello", stream=True, reasoning=True, images=1, prompt_tokens=9)
    told = Told()
    compose(scene("refusal", ask, told))

    assert told.answer is not None
    (choice,) = told.answer.choices
    assert choice.refusal
    assert (choice.pieces, choice.reasoning, choice.images) == ((), (), ())
    assert told.answer.usage is not None
    assert told.answer.usage.completion == -(-len(choice.refusal) // 4)


@pytest.mark.parametrize("fault", ["crlf", "comments", "bom", "no_space", "split_utf8", None])
def test_binary_framing_is_left_alone(fault: str | None):
    ask = Ask(model="m", said="hello", stream=True, prompt_tokens=9)
    played = compose(scene(fault, ask, Binary()))

    assert b"content-type: application/octet-stream" in sent(played)[0]
    assert streamed(played) == b"<one><two>"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (None, b'event: a\ndata: {"x": 1}\n\ndata: [DONE]\n\n'),
        ("crlf", b'event: a\r\ndata: {"x": 1}\r\n\r\ndata: [DONE]\r\n\r\n'),
        ("no_space", b'event:a\ndata:{"x": 1}\n\ndata:[DONE]\n\n'),
        ("bom", b'\xef\xbb\xbfevent: a\ndata: {"x": 1}\n\ndata: [DONE]\n\n'),
        ("error_200", b"event: error\ndata: {}\n\ndata: [DONE]\n\n"),
    ],
)
def test_named_events(fault: str | None, expected: bytes):
    ask = Ask(model="m", said="hello", stream=True, prompt_tokens=9)

    assert streamed(compose(scene(fault, ask, Named()))) == expected


def test_huge_event_is_huge():
    sizes = [len(line) for line in streamed(script("huge_event:2")).split(b"\n\n")]

    assert max(sizes) > 2 * 1024 * 1024


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_invalid_utf8_cannot_be_decoded(stream: bool):
    _, body = sent(script("invalid_utf8", stream=stream))

    with pytest.raises(UnicodeDecodeError):
        body.decode()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_split_utf8_splits_characters_and_loses_none(stream: bool):
    played = script("split_utf8", stream=stream)

    split = [step for step in played.steps if step.wait_ms]
    assert split
    text = streamed(played) if stream else sent(played)[1]
    assert "é🚂" in text.decode()


@pytest.mark.parametrize(
    ("fault", "mark"),
    [
        ("crlf", b"\r\n\r\ndata: "),
        ("no_space", b'\n\ndata:{"'),
        ("comments", b"\n\n: keep-alive\n\n\n: still here\ndata: "),
        ("bom", b"\xef\xbb\xbfdata: "),
    ],
)
def test_framing(fault: str, mark: bytes):
    assert mark in streamed(script(fault))


def test_gzip_unpacks_to_the_same_answer():
    assert gzip.decompress(streamed(script("gzip"))) == streamed(script())
    assert gzip.decompress(sent(script("gzip", stream=False))[1]) == sent(script(stream=False))[1]
    assert b"content-encoding: gzip" in sent(script("gzip"))[0]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_slow_headers_and_slow_first(stream: bool):
    headers, first = (
        script(f"{name}:30", stream=stream) for name in ("slow_headers", "slow_first")
    )

    assert [step.wait_ms for step in headers.steps] == [30]
    assert [step.wait_ms for step in first.steps] == [0, 30]
    assert first.steps[0].data.endswith(b"\r\n\r\n")


def test_late_close_holds_back_the_end_of_the_body():
    played = script("late_close:40")

    assert [step.wait_ms for step in played.steps] == [0, 40]
    assert played.steps[-1].data == b"0\r\n\r\n"
    assert b"[DONE]" in played.steps[0].data
