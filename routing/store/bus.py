"""The front door's end of the stream: one subscription per process, one mailbox per open request.

Pub/sub loses messages when a connection drops or a buffer overflows, so every frame is numbered
and also stored: a gap, a reconnect or a long silence is filled from the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from gevent.event import Event
from redis.exceptions import RedisError

from routing.errors import Unavailable
from routing.store import redis_keys as keys
from routing.store.connect import connect
from routing.store.jobs import REPLAY_MAX, Jobs
from routing.store.mux import RawConnection, pack
from routing.wire.frames import Frame

#: Content waiting for a slow client; beyond it frames are read back from the store later.
MAILBOX_MAX_BYTES = 1024 * 1024
#: A front door is taken for dead when its heartbeat is this old; its streams are then let go of.
HEARTBEAT_TTL_MS = 6_000
HEARTBEAT_EVERY_S = 2.0
#: First pause before the subscription is tried again; doubles up to the second figure.
RECONNECT_MIN_S = 0.05
RECONNECT_MAX_S = 1.0
#: One read of the subscription; short enough that shutdown and reconnect are prompt.
READ_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Mailbox:
    """Frames of one job, in order, without repeats, handed to one reader.

    The subscriber puts, the request handler takes. Order is decided by `(epoch, seq)`: within an
    epoch frames are consecutive; a newer epoch replaces an older one.
    """

    job_id: str
    _frames: deque[Frame] = field(default_factory=deque)
    _cursor: tuple[int, int] = (0, 0)
    _bytes: int = 0
    _ready: Event = field(default_factory=Event)
    #: Something is missing: read the store before trusting the channel again.
    behind: bool = False
    #: The store no longer has what is missing: the stream cannot go on.
    lost: bool = False
    gaps: int = 0

    @property
    def cursor(self) -> tuple[int, int]:
        """`(epoch, seq)` of the last frame taken in."""
        return self._cursor

    def put(self, frame: Frame) -> None:
        """Take in a frame from the channel; a gap or a full box only marks the box as behind."""
        if not self.behind:
            self._accept(frame)
        self._ready.set()

    def refill(self, frames: list[Frame], *, more: bool = False) -> None:
        """Take in what the store has after the cursor; `more` when it may have still more."""
        self.behind = False
        for frame in frames:
            if self.behind:
                break
            self._accept(frame, stored=True)
        self.behind = self.behind or more
        self._ready.set()

    def _accept(self, frame: Frame, *, stored: bool = False) -> None:
        epoch, seq = self._cursor
        if (frame.epoch, frame.seq) <= self._cursor:
            return
        expected = frame.seq == (seq + 1 if frame.epoch == epoch else 1)
        # The reaper ends a dead worker's stream under a new epoch, from seq 1.
        if not expected:
            self.behind = True
            self.lost = stored
            self.gaps += 1
            return
        if self._bytes + len(frame.payload) > MAILBOX_MAX_BYTES and self._frames:
            self.behind = True
            return
        self._cursor = (frame.epoch, frame.seq)
        self._frames.append(frame)
        self._bytes += len(frame.payload)

    def wake(self) -> None:
        """Make a waiting reader look again (client gone, shutdown, reconnect)."""
        self._ready.set()

    def take(self, timeout_s: float) -> list[Frame]:
        """Everything there is; waits for the first frame or a wake-up. Empty after the time-out."""
        if not self._frames and not self.behind:
            self._ready.wait(timeout_s)
        self._ready.clear()
        taken = list(self._frames)
        self._frames.clear()
        self._bytes = 0
        return taken


class FrontDoor:
    """One process's subscription, its mailboxes and its heartbeat.

    Start it before accepting traffic: `start` returns once Redis has confirmed the subscription.

    Args:
        url: of Redis.
        name: unique to this process and boot.
        spawn: runs a function in the background (a greenlet or a thread).
        on_reconnect: told after each lost subscription, for the metric.
        on_change: told how many mailboxes are open, likewise.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        spawn: Callable[[Callable[[], None]], object],
        on_reconnect: Callable[[], None] = lambda: None,
        on_change: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._url = url
        self._redis = connect(url, "front-door")
        self._jobs = Jobs(self._redis)
        self._spawn = spawn
        self._on_reconnect = on_reconnect
        self._on_change = on_change
        self._boxes: dict[str, Mailbox] = {}
        self._subscribed = Event()
        self._stopping = Event()

    def start(self, timeout_s: float = 10.0) -> None:
        """Subscribe and begin to beat.

        Raises:
            Unavailable: Redis did not confirm in time.
        """
        self._spawn(self._listen)
        self._spawn(self._beat)
        if not self._subscribed.wait(timeout_s):
            raise Unavailable("The queue is not available: no subscription to the answer channel.")

    @property
    def connected(self) -> bool:
        """Whether the subscription stands right now."""
        return bool(self._subscribed.is_set())

    def stop(self) -> None:
        """Unsubscribe; open mailboxes are woken."""
        self._stopping.set()
        for box in list(self._boxes.values()):
            box.wake()

    def open(self, job_id: str) -> Mailbox:
        """A mailbox for a job; must exist before the job is admitted, or early frames are lost."""
        box = Mailbox(job_id)
        self._boxes[job_id] = box
        self._on_change(len(self._boxes))
        return box

    def close(self, box: Mailbox) -> None:
        """Forget a mailbox; later frames of its job are dropped."""
        self._boxes.pop(box.job_id, None)
        self._on_change(len(self._boxes))

    def refill(self, box: Mailbox) -> None:
        """Fill a mailbox from the store.

        Raises:
            Unavailable: Redis does not answer.
        """
        frames = self._jobs.replay(box.job_id, box.cursor)
        box.refill(frames, more=len(frames) == REPLAY_MAX)

    def __len__(self) -> int:
        return len(self._boxes)

    def _beat(self) -> None:
        key = keys.front_door_heartbeat(self.name)
        while not self._stopping.is_set():
            with suppress(RedisError):  # the next beat tries again; workers give us the TTL
                self._redis.set(key, "1", px=HEARTBEAT_TTL_MS)
            self._stopping.wait(HEARTBEAT_EVERY_S)

    def _listen(self) -> None:
        pause_s = RECONNECT_MIN_S
        first = True
        while not self._stopping.is_set():
            try:
                for message in self._messages():
                    pause_s = RECONNECT_MIN_S
                    if message is None:
                        if not first:
                            self._on_reconnect()
                            self._mark_behind()
                        first = False
                    else:
                        self._deliver(message)
            except RedisError:
                self._subscribed.clear()
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, RECONNECT_MAX_S)

    def _messages(self) -> Iterator[bytes | None]:
        """None once subscribed, then each message."""
        connection = RawConnection(self._url, "front-door-channel")
        connection.sock.settimeout(READ_TIMEOUT_S)
        try:
            channel = keys.front_door_channel(self.name)
            connection.send(pack("SUBSCRIBE", channel))
            while not self._stopping.is_set():
                reply = connection.read()
                if isinstance(reply, Exception):
                    raise reply
                if reply[0] == b"subscribe":
                    self._redis.set(keys.front_door_heartbeat(self.name), "1", px=HEARTBEAT_TTL_MS)
                    self._subscribed.set()
                    yield None
                elif reply[0] == b"message":
                    yield reply[2]
        finally:
            connection.close()

    def _mark_behind(self) -> None:
        for box in list(self._boxes.values()):
            box.behind = True
            box.wake()

    def _deliver(self, message: bytes) -> None:
        for frame in Frame.decode_all(message):
            box = self._boxes.get(frame.job_id)
            if box is not None:
                box.put(frame)
