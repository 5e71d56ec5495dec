"""Frames of a mailbox → the HTTP answer: status and headers first, then bytes as they come.

The first frame is awaited before headers are sent, up to a cap, so that early failures are real
HTTP statuses. After that a failure is an in-band error chunk.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import gevent
import orjson
from flask import Response

from api.accept import Accepted
from routing.clock import Clock
from routing.errors import Failure, Unavailable
from routing.settings import Settings
from routing.store.bus import FrontDoor
from routing.store.jobs import Jobs
from routing.wire.envelope import shaped
from routing.wire.frames import Frame, Kind
from routing.wire.job import Api, JobSpec
from routing.wire.render import COMMENT, renderer

SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
#: After so much silence the store is asked whether something was missed.
CHECK_EVERY_S = 3.0
#: An earlier call's answer is read from the store this often: nobody publishes it to us.
REPLAY_EVERY_S = 0.2
#: How long a stream goes on without Redis before it ends in an error.
REDIS_PATIENCE_S = 10.0
#: Added to the job's deadline before the front door ends a request that nobody else ended.
DEADLINE_GRACE_MS = 5_000
#: A client that takes nothing for so long is gone, whatever its connection says.
CLIENT_STALL_S = 60.0
#: Before the server kills what is left of a drain, streams are told so in band.
DRAIN_NOTICE_S = 5.0


@dataclass(slots=True)
class Drain:
    """Whether this process is on its way out, and since when (monotonic seconds)."""

    since_s: float | None = None

    def over(self, limit_ms: int) -> bool:
        """Whether streams must end now."""
        if self.since_s is None:
            return False
        return time.monotonic() - self.since_s > limit_ms / 1000 - DRAIN_NOTICE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamer:
    """Turns accepted jobs into answers. Built once per process."""

    settings: Settings
    clock: Clock
    jobs: Jobs
    front_door: FrontDoor
    drain: Drain
    let_go: Callable[[JobSpec], None]
    on_gap: Callable[[], None]
    on_gone: Callable[[], None]

    def respond(self, accepted: Accepted, connection: Any) -> Response:
        """The answer to one accepted call.

        Args:
            accepted: the job; its mailbox is closed when the answer ends, however it ends.
            connection: the client's socket, watched for its end; None when there is none to watch.
        """
        reading = Reading(self, accepted, Watch(connection))
        if not accepted.spec.stream:
            return self._plain(reading)
        cap_s = self.settings.first_frame_wait_ms / 1000
        first = reading.next_frames(cap_s)
        if first and first[0].kind is Kind.ERROR:
            reading.close()
            return _error(first[0], accepted.spec.api)
        if reading.failure is not None and not first:  # nothing was sent: still a real status
            reading.close()
            return _error(reading.ending(), accepted.spec.api)
        return Response(
            reading.events(first),
            mimetype="text/event-stream",
            headers=SSE_HEADERS,
            direct_passthrough=True,
        )

    def _plain(self, reading: Reading) -> Response:
        """Wait for the one frame of a plain answer; the client's leaving is noticed meanwhile."""
        try:
            while not reading.over:
                frames = reading.next_frames(CHECK_EVERY_S)
                for frame in frames:
                    if frame.kind is Kind.ERROR:
                        return _error(frame, reading.accepted.spec.api)
                    if frame.kind is Kind.BODY:
                        return Response(frame.payload, mimetype="application/json")
            return _error(reading.ending(), reading.accepted.spec.api)
        finally:
            reading.close()


class Watch:
    """Notices at once that a client has gone: the socket becomes readable with nothing to read.

    Without it a WSGI server learns of it from the second failed write, seconds later.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._watcher: Any = None
        self._told: Callable[[], None] = lambda: None
        self.gone = False

    def start(self, told: Callable[[], None]) -> None:
        """Begin to watch; `told` runs inside the event hub, so it must not block."""
        self._told = told
        if self._connection is not None:
            self._connection.settimeout(CLIENT_STALL_S)
            self._watcher = gevent.get_hub().loop.io(self._connection.fileno(), 1)
            self._watcher.start(self._readable)

    def stop(self) -> None:
        """Stop watching; harmless twice."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()

    def free(self) -> None:
        """Give the connection back to the server as it was."""
        if self._connection is not None:
            self._connection.settimeout(None)

    def _readable(self) -> None:
        try:
            data = self._connection.recv(1, socket.MSG_PEEK)
        except OSError:
            data = b""
        # Anything else is a pipelined request: this client is there, and is watched no longer.
        self.stop()
        if not data:
            self.gone = True
            self._told()


@dataclass(slots=True)
class Reading:
    """One answer on its way: reads the mailbox, fills its gaps, knows when to stop."""

    streamer: Streamer
    accepted: Accepted
    watch: Watch
    failure: Failure | None = None
    ended: bool = False
    _checked_s: float = field(default_factory=time.monotonic)
    _redis_away_s: float | None = None
    _closed: bool = False

    def __post_init__(self) -> None:
        self.watch.start(self.accepted.mailbox.wake)

    @property
    def over(self) -> bool:
        """Whether reading on is pointless: the client left, or the answer cannot come any more."""
        return self.watch.gone or self.failure is not None or self.ended

    def next_frames(self, wait_s: float) -> list[Frame]:
        """The next frames, in order; empty after `wait_s` of silence, or when it is over."""
        until_s = time.monotonic() + wait_s
        box = self.accepted.mailbox
        while not self.over:
            left_s = until_s - time.monotonic()
            pause_s = REPLAY_EVERY_S if self.accepted.replay else CHECK_EVERY_S
            frames = box.take(max(0.0, min(left_s, pause_s)))
            if frames:
                self._checked_s = time.monotonic()
                self.ended = frames[-1].last
                return frames
            if box.behind or time.monotonic() - self._checked_s >= pause_s:
                self._refill()
            self._give_up_if_hopeless()
            if left_s <= 0 and not box.behind:
                break
        return []

    def events(self, frames: list[Frame]) -> Iterator[bytes]:
        """The bytes of the stream, comments in its silences, an in-band error if it must stop."""
        comment_s = self.streamer.settings.comment_every_ms / 1000
        try:
            if not frames:
                yield COMMENT
            while True:
                payload = b"".join(self._bytes(frame) for frame in frames)
                if payload:
                    yield payload
                if self.over:
                    break
                frames = self.next_frames(comment_s)
                if not frames and not self.over:
                    yield COMMENT
            if self.failure is not None and not self.ended and not self.watch.gone:
                yield self._in_band(self.failure)
        finally:
            self.close()

    def close(self) -> None:
        """Forget the mailbox; if the answer has not ended, let its job go. Harmless twice."""
        if self._closed:
            return
        self._closed = True
        self.watch.stop()
        self.watch.free()
        if self.accepted.replay:
            return
        self.streamer.front_door.close(self.accepted.mailbox)
        if self.accepted.mailbox.gaps:
            self.streamer.on_gap()
        if not self.ended:
            if self.failure is None:
                self.streamer.on_gone()
            self.streamer.let_go(self.accepted.spec)

    def ending(self) -> Frame:
        """What to tell a waiting plain client when no frame will come."""
        failure = self.failure or Failure(
            status=499, message="Client closed the request", retryable=False, blame="caller"
        )
        job_id = self.accepted.mailbox.job_id
        return Frame(job_id, 0, 0, Kind.ERROR, failure.status, orjson.dumps(failure.body()), 1)

    def _bytes(self, frame: Frame) -> bytes:
        if frame.kind is Kind.ERROR:
            routed = orjson.loads(frame.payload).get("openrouter_metadata") or {}
            return self._in_band(_failure(frame), routed)
        return frame.payload

    def _in_band(self, failure: Failure, routed: Mapping[str, Any] = MappingProxyType({})) -> bytes:
        spec = self.accepted.spec
        render = renderer(
            spec.api,
            self.accepted.mailbox.job_id,
            spec.created_ms // 1000,
            spec.entries[0].model_id,
            failure.provider or "",
        )
        render.note(routed)
        return render.broken(failure)

    def _refill(self) -> None:
        """Ask the store for what the channel did not bring."""
        self._checked_s = time.monotonic()
        try:
            self.streamer.front_door.refill(self.accepted.mailbox)
            self._redis_away_s = None
        except Unavailable:
            self._redis_away_s = self._redis_away_s or time.monotonic()
            gevent.sleep(0.1)

    def _give_up_if_hopeless(self) -> None:
        """End a request that nothing else will end."""
        box, streamer = self.accepted.mailbox, self.streamer
        now_ms = streamer.clock.now_ms()
        deadline_ms = self.accepted.spec.created_ms + streamer.settings.deadline_ms
        away_s = self._redis_away_s
        if box.lost:
            self.failure = _fault(
                502, "Part of the answer was lost because the client read too slowly"
            )
        elif away_s is not None and time.monotonic() - away_s > REDIS_PATIENCE_S:
            self.failure = _fault(503, "The queue is not available. Try again shortly.")
        elif self._replay_is_gone():
            self.failure = _fault(
                409,
                f"This Idempotency-Key was used for {box.job_id}; its answer is gone. "
                "Use a new key to ask again.",
            )
        elif now_ms > deadline_ms + DEADLINE_GRACE_MS:
            self.failure = _fault(504, "The request took too long")
        elif streamer.drain.over(streamer.settings.drain_hard_ms):
            self.failure = _fault(503, "The router is restarting. Try again.")

    def _replay_is_gone(self) -> bool:
        """An earlier call's answer is kept for some minutes; its key lives a day."""
        if not self.accepted.replay or self.accepted.mailbox.cursor != (0, 0):
            return False
        with suppress(Unavailable):
            return self.streamer.jobs.look(self.accepted.mailbox.job_id) is None
        return False


def _fault(status: int, message: str) -> Failure:
    return Failure(status=status, message=message, retryable=True, blame="router")


def _failure(frame: Frame) -> Failure:
    """A worker's error envelope as a value again, to be told in band."""
    error = orjson.loads(frame.payload)["error"]
    metadata = error.get("metadata") or {}
    return Failure(
        status=frame.status,
        message=error["message"],
        retryable=False,
        blame="router",
        raw=metadata.get("raw"),
        provider=metadata.get("provider_name"),
    )


def _error(frame: Frame, api: Api) -> Response:
    body = shaped(api, frame.status, orjson.loads(frame.payload), frame.job_id)
    response = Response(orjson.dumps(body), status=frame.status, mimetype="application/json")
    if frame.retry_after_s:
        response.headers["Retry-After"] = str(frame.retry_after_s)
    return response
