"""Frames out: coalesced, in order, kept while Redis is away, dropped when fenced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from routing.errors import Unavailable
from routing.wire.frames import Frame, Kind
from workers import emitter as module
from workers.emitter import FLUSH_BYTES, FLUSH_EVERY_S, Emitter

PATIENCE_S = 5


class FakeJobs:
    """Takes frames; can be away, slow, or say that a job is another's."""

    def __init__(self) -> None:
        self.batches: list[list[Frame]] = []
        self.times: list[float] = []
        self.fenced: set[str] = set()
        self.failures = 0
        self.came = Event()
        self.open = Event()
        self.open.set()

    def emit(self, frames: list[tuple[str, Frame]]) -> list[int]:
        self.came.set()
        self.open.wait()
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        self.batches.append([frame for _, frame in frames])
        self.times.append(time.monotonic())
        return [-1 if frame.job_id in self.fenced else 1 for _, frame in frames]

    def finish(
        self, front_door: str, frame: Frame, state: str, charge: bytes, tokens: int = 0
    ) -> str:
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        self.batches.append([frame])
        return "ok"

    @property
    def frames(self) -> list[Frame]:
        return [frame for batch in self.batches for frame in batch]

    def wait(self, count: int) -> None:
        until = time.monotonic() + PATIENCE_S
        while len(self.frames) < count:
            assert time.monotonic() < until, f"{len(self.frames)} of {count} frames"
            gevent.sleep(0.001)


@pytest.fixture
def jobs() -> FakeJobs:
    return FakeJobs()


@pytest.fixture
def emitter(jobs: FakeJobs) -> Iterator[Emitter]:
    made = Emitter(as_jobs(jobs))
    greenlet = gevent.spawn(made.run)
    yield made
    greenlet.kill()


def as_jobs(fake: FakeJobs) -> Any:
    return fake


def test_the_first_piece_goes_at_once_and_the_next_ones_together(jobs: FakeJobs, emitter: Emitter):
    stream = emitter.open("gen-1", 3, "web1")
    stream.write(b"a")
    jobs.wait(1)
    for piece in (b"b", b"c", b"d"):
        stream.write(piece)
    jobs.wait(2)

    assert [(f.epoch, f.seq, f.payload, f.kind) for f in jobs.frames] == [
        (3, 1, b"a", Kind.DATA),
        (3, 2, b"bcd", Kind.DATA),
    ]
    assert jobs.times[1] - jobs.times[0] >= FLUSH_EVERY_S * 0.9


def test_a_large_piece_does_not_wait(jobs: FakeJobs, emitter: Emitter, monkeypatch):
    monkeypatch.setattr(module, "FLUSH_EVERY_S", 60.0)
    stream = emitter.open("gen-1", 1, "web1")
    stream.write(b"a")
    jobs.wait(1)
    stream.write(b"b")
    stream.write(b"c" * FLUSH_BYTES)

    jobs.wait(2)

    assert jobs.frames[1].payload == b"b" + b"c" * FLUSH_BYTES


def test_streams_share_a_trip_and_a_trip_is_bounded(jobs: FakeJobs, emitter: Emitter):
    streams = [emitter.open(f"gen-{n}", 1, "web1") for n in range(module.BATCH_MAX + 5)]
    for stream in streams:
        stream.write(b"x")

    jobs.wait(len(streams))

    assert [len(batch) for batch in jobs.batches] == [module.BATCH_MAX, 5]


def test_while_a_trip_is_under_way_the_next_one_gathers(jobs: FakeJobs, emitter: Emitter):
    jobs.open.clear()
    first, second = emitter.open("gen-1", 1, "web1"), emitter.open("gen-2", 1, "web1")
    first.write(b"a")
    jobs.came.wait(PATIENCE_S)
    for piece in (b"b", b"c"):
        second.write(piece)
    jobs.open.set()
    jobs.wait(2)

    assert [frame.payload for frame in jobs.frames] == [b"a", b"bc"]


def test_what_is_pending_goes_with_the_last_frame_in_order(jobs: FakeJobs, emitter: Emitter):
    stream = emitter.open("gen-1", 1, "web1")
    stream.write(b"a")
    jobs.wait(1)
    stream.write(b"b")

    last = emitter.last_frame(stream, Kind.END, b"z")
    assert emitter.finish(stream, last, "done", b"c") == "ok"
    gevent.sleep(FLUSH_EVERY_S * 2)

    assert [(f.seq, f.payload, f.kind) for f in jobs.frames] == [
        (1, b"a", Kind.DATA),
        (2, b"bz", Kind.END),
    ]


def test_the_end_waits_for_a_frame_that_is_on_its_way(jobs: FakeJobs, emitter: Emitter):
    jobs.open.clear()
    stream = emitter.open("gen-1", 1, "web1")
    stream.write(b"a")
    jobs.came.wait(PATIENCE_S)
    ending = gevent.spawn(emitter.last_frame, stream, Kind.END, b"z")
    gevent.sleep(0.01)
    assert not ending.ready()

    jobs.open.set()

    assert ending.get(timeout=PATIENCE_S).seq == 2
    assert [frame.seq for frame in jobs.frames] == [1]


def test_frames_of_a_fenced_stream_are_dropped_and_others_go_on(jobs: FakeJobs, emitter: Emitter):
    jobs.fenced.add("zombie")
    zombie, good = emitter.open("zombie", 1, "web1"), emitter.open("good", 2, "web1")
    zombie.write(b"a")
    good.write(b"a")
    jobs.wait(2)
    assert zombie.fenced

    zombie.write(b"b")
    good.write(b"b")
    jobs.wait(3)
    gevent.sleep(FLUSH_EVERY_S * 2)

    assert [(f.job_id, f.payload) for f in jobs.frames[2:]] == [("good", b"b")]


def test_redis_away_and_back_loses_nothing(jobs: FakeJobs, emitter: Emitter, monkeypatch):
    monkeypatch.setattr(module, "RETRY_PAUSE_S", 0.001)
    jobs.failures = 3
    stream = emitter.open("gen-1", 1, "web1")
    stream.write(b"a")
    gevent.sleep(0)
    stream.write(b"b")
    jobs.wait(2)

    assert [(frame.seq, frame.payload) for frame in jobs.frames] == [(1, b"a"), (2, b"b")]

    jobs.failures = 3
    last = emitter.last_frame(stream, Kind.END, b"z")
    assert emitter.finish(stream, last, "done", b"c") == "ok"


def test_redis_away_for_too_long_gives_the_streams_up(
    jobs: FakeJobs, emitter: Emitter, monkeypatch
):
    monkeypatch.setattr(module, "RETRY_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "REDIS_PATIENCE_S", 0.01)
    jobs.failures = 10**9
    stream = emitter.open("gen-1", 1, "web1")
    stream.write(b"a")

    last = emitter.last_frame(stream, Kind.END, b"z") if stream.idle.wait(PATIENCE_S) else None
    gevent.sleep(0.05)

    assert last is not None
    with pytest.raises(Unavailable):
        emitter.finish(stream, last, "done", b"c")
    assert jobs.frames == []
