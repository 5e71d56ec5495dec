"""Frames to bytes for the client: order, gaps, silences, failures before and after the headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import orjson
import pytest

from api import stream as module
from routing.errors import Failure, Unavailable
from routing.store import redis_keys as keys
from routing.store.jobs import Jobs
from routing.wire.frames import Frame, Kind
from routing.wire.render import COMMENT

ERROR = Failure(
    status=502, message="Provider returned error", retryable=False, blame="provider", provider="P"
)


def later(seconds: float, work: Callable[[], None]) -> None:
    """From now on, not from when the event loop last looked at the clock."""
    gevent.sleep(0)
    gevent.spawn_later(seconds, work)


def streamed(site, **options: Any) -> Any:
    return site.ask({"stream": True}, **options)


def in_band(data: bytes) -> dict[str, Any]:
    """The error chunk a stream ended with."""
    last, done = data.rstrip().split(b"\n\n")[-2:]
    assert done == b"data: [DONE]"
    chunk: dict[str, Any] = orjson.loads(last.removeprefix(b"data: "))
    assert chunk["choices"][0]["finish_reason"] == "error"
    return chunk["error"]


def state(site) -> str:
    job = Jobs(site.redis).look(site.door.opened[0])
    return job.state if job else "gone"


def test_frames_are_passed_on_as_they_are(site):
    for payload in (b"data: a\n\n", b"data: b\n\n"):
        site.door.plays(Kind.DATA, payload)
    site.door.plays(Kind.END, b"data: [DONE]\n\n")

    response = streamed(site)

    assert response.status_code == 200
    assert response.mimetype == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.data == b"data: a\n\ndata: b\n\ndata: [DONE]\n\n"
    assert state(site) == "queued"  # nobody cancelled it
    assert len(site.door) == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_failure_before_the_first_byte_is_a_real_status(site, stream: bool):
    site.door.plays(Kind.ERROR, orjson.dumps(ERROR.body()), status=429, retry_s=7)

    response = site.ask({"stream": stream})

    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert orjson.loads(response.data) == ERROR.body()
    assert len(site.door) == 0


def test_after_the_first_byte_it_is_said_in_band(site):
    site.door.plays(Kind.DATA, b"data: a\n\n")
    site.door.plays(Kind.ERROR, orjson.dumps(ERROR.body()), status=502)

    response = streamed(site)

    assert response.status_code == 200
    assert response.data.startswith(b"data: a\n\n")
    assert in_band(response.data)["message"] == ERROR.message


def test_headers_wait_for_the_first_frame_only_so_long_and_the_silence_is_commented(site):
    def late() -> None:
        (box,) = site.door.boxes.values()
        box.put(Frame(box.job_id, 1, 1, Kind.END, 200, b"data: [DONE]\n\n"))

    later(0.5, late)

    assert streamed(site).data == COMMENT + b"data: [DONE]\n\n"


def test_a_failure_that_comes_after_the_comment_is_in_band(site):
    def late() -> None:
        (box,) = site.door.boxes.values()
        box.put(Frame(box.job_id, 1, 1, Kind.ERROR, 502, orjson.dumps(ERROR.body())))

    later(2, late)

    response = streamed(site)

    assert response.data.startswith(COMMENT)
    assert in_band(response.data)["code"] == 502


def test_how_it_was_routed_is_told_in_band_too(site):
    site.door.plays(Kind.DATA, b"data: a\n\n")
    told = ERROR.body() | {"openrouter_metadata": {"attempt": 2}}
    site.door.plays(Kind.ERROR, orjson.dumps(told), status=502)

    last = streamed(site).data.split(b"\n\n")[-3]

    assert orjson.loads(last.removeprefix(b"data: "))["openrouter_metadata"] == {"attempt": 2}


def test_silences_are_commented(site):
    object.__setattr__(site.parts.settings, "comment_every_ms", 100)
    site.door.plays(Kind.DATA, b"data: a\n\n")

    def late() -> None:
        (box,) = site.door.boxes.values()
        box.put(Frame(box.job_id, 1, 2, Kind.END, 200, b"data: [DONE]\n\n"))

    later(0.35, late)

    data = streamed(site).data

    assert data.startswith(b"data: a\n\n" + COMMENT)
    assert data.endswith(COMMENT + b"data: [DONE]\n\n")
    assert 2 <= data.count(COMMENT) <= 4


def test_a_gap_is_filled_from_the_store(site, monkeypatch):
    frames = [(Kind.DATA, b"1"), (Kind.DATA, b"2"), (Kind.END, b"3")]

    def with_a_gap(box: Any) -> None:
        jobs = Jobs(site.redis)
        claim: Any = jobs.claim(box.job_id, "w1", 1_000)
        made = [
            Frame(box.job_id, claim.epoch, seq, kind, 200, payload)
            for seq, (kind, payload) in enumerate(frames, start=1)
        ]
        jobs.emit([("", frame) for frame in made])
        box.put(made[0])
        box.put(made[2])

    monkeypatch.setattr(type(site.door), "_play", lambda _, box: with_a_gap(box))
    assert streamed(site).data == b"123"
    assert "router_stream_gaps_total 1.0" in site.client.get("/metrics").text


def test_an_answer_the_store_has_lost_ends_in_an_error_and_its_job_is_let_go(site):
    site.door.plays(Kind.DATA, b"data: a\n\n")

    def lose() -> None:
        (box,) = site.door.boxes.values()
        box.refill([Frame(box.job_id, 1, 9, Kind.DATA, 200, b"x")])

    later(0.1, lose)

    response = streamed(site)

    assert "read too slowly" in in_band(response.data)["message"]
    assert state(site) == "cancelled"


@pytest.mark.parametrize("sent", [True, False], ids=["after the first byte", "before it"])
def test_redis_away_for_too_long_ends_the_request(site, monkeypatch, sent: bool):
    monkeypatch.setattr(module, "REDIS_PATIENCE_S", 0.0)
    monkeypatch.setattr(module, "CHECK_EVERY_S", 0.05)

    def away(*_: Any) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(type(site.door), "refill", away)
    if sent:
        site.door.plays(Kind.DATA, b"data: a\n\n")

    response = streamed(site)

    if sent:
        assert in_band(response.data)["code"] == 503
    else:
        assert response.status_code == 503


def test_a_request_that_nobody_ends_is_ended_after_its_deadline(site):
    def pass_time() -> None:
        site.clock.advance(66_000)
        (box,) = site.door.boxes.values()
        box.wake()

    later(0.05, pass_time)

    response = site.ask()

    assert response.status_code == 504
    assert state(site) == "cancelled"


def test_a_process_on_its_way_out_ends_its_streams(site, monkeypatch):
    monkeypatch.setattr(module, "CHECK_EVERY_S", 0.05)
    site.parts.drain.since_s = -1_000.0

    assert site.ask().status_code == 503


def test_a_client_that_leaves_takes_its_job_with_it(site):
    site.door.plays(Kind.DATA, b"data: a\n\n")
    response = site.client.post(
        "/api/v1/chat/completions",
        json={
            "model": "openai/gpt-4o-mini",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
        },
        headers=site.headers,
        buffered=False,
    )
    assert next(response.response) == b"data: a\n\n"

    response.close()

    assert state(site) == "cancelled"
    assert site.redis.xlen(keys.OUTBOX) == 1
    assert len(site.door) == 0
    assert "router_clients_gone_total 1.0" in site.client.get("/metrics").text
