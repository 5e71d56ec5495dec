"""Frames out, coalesced: a stream's first piece at once, then at most one trip per 20 ms or 2 KB.

One greenlet per process sends what all streams have in one round trip. A first piece or a large one
goes at once and takes the others along; otherwise a trip follows the one before by 20 ms, so a
piece waits only when the process is busy, and the busier it is the cheaper each frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gevent.event import Event

from routing.errors import Unavailable
from routing.store.jobs import Jobs, State
from routing.wire.frames import Frame, Kind

#: Shortest time between two trips: below what a reader perceives as stutter.
FLUSH_EVERY_S = 0.020
#: A frame this large goes at once.
FLUSH_BYTES = 2_048
#: Frames in one round trip; a bound on how long one script may block Redis.
BATCH_MAX = 128
#: How long frames are kept while Redis is away; then the streams are given up and end in an error.
REDIS_PATIENCE_S = 10.0
RETRY_PAUSE_S = 0.1
#: What `emit.lua` answers for a frame of an old claim, and what we say of frames given up.
FENCED = -1
DROPPED = -2


class Stream:
    """One job's frames under one epoch. Written by its attempt, flushed by the emitter."""

    __slots__ = (
        "_emitter", "dropped", "epoch", "fenced", "front_door", "idle", "job_id", "pending",
        "pending_bytes", "queued", "seq",
    )  # fmt: skip

    def __init__(self, emitter: Emitter, job_id: str, epoch: int, front_door: str) -> None:
        self._emitter = emitter
        self.job_id = job_id
        self.epoch = epoch
        self.front_door = front_door
        self.seq = 0
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        self.queued = False
        #: A newer claim owns the job: nothing of this stream counts any more.
        self.fenced = False
        #: Redis stayed away for too long and frames were given up: the stream has a hole.
        self.dropped = False
        self.idle = Event()
        self.idle.set()

    def write(self, payload: bytes) -> None:
        """Add bytes for the client; returns at once."""
        self.pending.append(payload)
        self.pending_bytes += len(payload)
        self._emitter.schedule(self)

    def next_frame(
        self, kind: Kind, tail: bytes = b"", *, status: int = 200, retry_after_s: int = 0
    ) -> Frame:
        """Everything pending, and `tail`, as the next frame."""
        self.seq += 1
        payload = b"".join((*self.pending, tail))
        self.pending.clear()
        self.pending_bytes = 0
        return Frame(self.job_id, self.epoch, self.seq, kind, status, payload, retry_after_s)


class Emitter:
    """Sends the frames of all streams of this process.

    Args:
        on_batch: told how many frames went in one trip, for the metric.
    """

    def __init__(self, jobs: Jobs, on_batch: Callable[[int], None] = lambda _: None) -> None:
        self._jobs = jobs
        self._on_batch = on_batch
        self._due: list[Stream] = []
        self._next_trip_s = 0.0
        self._wake = Event()

    def open(self, job_id: str, epoch: int, front_door: str) -> Stream:
        """A stream for a claimed job."""
        return Stream(self, job_id, epoch, front_door)

    def schedule(self, stream: Stream) -> None:
        """Have pending bytes sent with the next trip; a first or large piece makes one."""
        if not stream.queued:
            stream.queued = True
            self._due.append(stream)
        if stream.seq == 0 or stream.pending_bytes >= FLUSH_BYTES:
            self._next_trip_s = 0.0
        self._wake.set()

    def finish(
        self, stream: Stream, frame: Frame, state: State, charge: bytes, tokens: int = 0
    ) -> str:
        """End a job with its last frame: `ok`, `fenced` or `already`. `tokens` is what it used.

        Raises:
            Unavailable: Redis stayed away for longer than its patience; the reaper ends the job.
        """
        give_up_at = time.monotonic() + REDIS_PATIENCE_S
        while True:
            try:
                return self._jobs.finish(stream.front_door, frame, state, charge, tokens)
            except Unavailable:
                if time.monotonic() > give_up_at:
                    raise
                Event().wait(RETRY_PAUSE_S)

    @staticmethod
    def settled(stream: Stream) -> None:
        """Wait until nothing of this stream is on its way any more."""
        while not stream.idle.is_set():  # the next batch may have taken it before we woke
            stream.idle.wait()

    def last_frame(
        self,
        stream: Stream,
        kind: Kind,
        tail: bytes,
        *,
        status: int = 200,
        retry_after_s: int = 0,
    ) -> Frame:
        """The final frame, with everything that was still pending."""
        self.settled(stream)
        return stream.next_frame(kind, tail, status=status, retry_after_s=retry_after_s)

    def run(self) -> None:
        """The emitter's greenlet; never returns."""
        while True:
            self._wake.clear()
            if not self._due:
                self._wake.wait()
            elif (pause_s := self._next_trip_s - time.monotonic()) > 0:
                self._wake.wait(pause_s)
            else:
                self._next_trip_s = time.monotonic() + FLUSH_EVERY_S
                batch = self._take()
                if batch:
                    self._send(batch)

    def _take(self) -> list[tuple[Stream, Frame]]:
        """One frame of each stream that has something, oldest first, up to the bound."""
        due, self._due = self._due[:BATCH_MAX], self._due[BATCH_MAX:]
        if self._due:
            self._next_trip_s = 0.0
        batch = []
        for stream in due:
            stream.queued = False
            if stream.pending and not stream.fenced and not stream.dropped:
                stream.idle.clear()
                batch.append((stream, stream.next_frame(Kind.DATA)))
        return batch

    def _send(self, batch: list[tuple[Stream, Frame]]) -> None:
        self._on_batch(len(batch))
        results = self._emitted([(stream.front_door, frame) for stream, frame in batch])
        for (stream, _), result in zip(batch, results, strict=True):
            stream.fenced = stream.fenced or result == FENCED
            stream.dropped = stream.dropped or result == DROPPED
            stream.idle.set()

    def _emitted(self, frames: list[tuple[str, Frame]]) -> list[int]:
        """Send until Redis answers; what it may have taken already is harmless to repeat."""
        give_up_at = time.monotonic() + REDIS_PATIENCE_S
        while True:
            try:
                return self._jobs.emit(frames)
            except Unavailable:
                if time.monotonic() > give_up_at:
                    return [DROPPED] * len(frames)
                Event().wait(RETRY_PAUSE_S)
