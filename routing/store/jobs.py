"""The job record and its life: admit, claim, emit, finish, requeue, park, cancel, renew, reap.

    queued ──claim──▶ running ──first frame──▶ streaming ──▶ done | failed | cancelled
       ▲                 │ requeue, park (nothing sent yet)
       └─────────────────┘

Every claim, requeue and park raises the epoch; whoever writes with an older one is told `fenced`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.scripts import Arg, Commands, Scripts, translated
from routing.wire.frames import Frame

#: A record outlives its deadline by this, so that late workers and the reaper still find it.
JOB_GRACE_MS = 600_000
#: Frames stay for replay this long after the end: a front door reconnects within seconds.
KEEP_MS = 120_000
#: A hold this much older than its job's deadline is looked into by the sweep.
HOLD_GRACE_MS = 600_000
#: Frames kept per job; beyond it a lagging reader gets an error instead of a gap.
MAX_FRAMES = 2_048
#: Frames read back at a time: a slow client takes them in pieces of a mailbox's size anyway.
REPLAY_MAX = 64
US_PER_MINUTE = 60_000_000
#: A job that killed this many workers is poison and goes to the dead letters.
MAX_CRASHES = 3
#: Rings wait 1, 2, 4, 8 times the queue timeout: a long queue is not made longer by us.
MAX_RING_DOUBLINGS = 3

State = Literal["queued", "running", "streaming", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedWindow:
    """A limit counted in a fixed window; `key` names the window, so it starts anew by itself."""

    key: str
    maximum: int
    ttl_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A rate for the whole fleet: a minute's worth at once, refilled evenly (GCRA).

    Attributes:
        key: of the record in Redis.
        a_minute: how many units.
        units: of this request; no more than fit into a minute, or it could never be let in.
        tokens: counted in tokens, so put right when it is known how many were used.
    """

    key: str
    a_minute: int
    units: int = 1
    tokens: bool = False


@dataclass(frozen=True, slots=True)
class Slots:
    """A bound on requests at once."""

    key: str
    maximum: int


@dataclass(frozen=True, slots=True)
class Draw:
    """What a request takes from one budget until it is settled; 0 checks that it is not overdrawn.

    `scope` is that of `routing.wire.account.Budget`.
    """

    scope: str
    hold_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Everything one round trip needs to let a request in.

    Attributes:
        draws: budgets drawn on, all of them or none.
        stream: whether the answer is streamed; decides what a repeated call may attach to.
        fingerprint: digest of the body under an idempotency key; "" without one.
        front_door: whose channel the frames go to; "" for nobody waiting.
        latest_ms: by Redis's clock; run later than this it admits nothing. None: always.
    """

    job_id: str
    pool: str
    queue: str
    envelope: str
    front_door: str
    spec: bytes
    request: bytes
    account_id: str
    draws: tuple[Draw, ...]
    stream: bool = False
    limits: tuple[FixedWindow, ...] = ()
    paces: tuple[Pace, ...] = ()
    slots: tuple[Slots, ...] = ()
    idempotency_key: str = ""
    fingerprint: str = ""
    deadline_ms: int
    queue_timeout_ms: int
    latest_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """The job exists, its money is held and its doorbell rang."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The idempotency key stands for this job already; nothing was held."""

    job_id: str


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """The idempotency key was used with another body."""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A fixed window is full; it reopens in `retry_after_ms`."""

    limit: FixedWindow
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class TooFast:
    """A rate is used up; it has room for this request again in `retry_after_ms`."""

    pace: Pace
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class TooMany:
    """As many requests as are allowed at once are under way."""

    slots: Slots


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """The balance of this scope is not cached: load it from SQL and admit again."""

    scope: str


@dataclass(frozen=True, slots=True)
class Late:
    """It was run after `latest_ms`; `now_ms` is the time by Redis's clock."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class CannotPay:
    """This scope has too little left."""

    scope: str
    available_nano: int
    held_nano: int


AdmissionResult = (
    Admitted
    | Replay
    | KeyConflict
    | LimitReached
    | TooFast
    | TooMany
    | NotLoaded
    | Late
    | CannotPay
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job in our hands, as long as `epoch` is the newest."""

    job_id: str
    epoch: int
    front_door: str
    spec: bytes
    attempt: int
    deadline_ms: int
    history: bytes
    waited_ms: int
    request: bytes
    trail: bytes = b""


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Why a doorbell led to nothing: another state, gone, cancelled or late."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A job as the reaper and the front door's watchdog see it.

    Attributes:
        queue: the list its doorbell was last pushed to, or is to be; "" of the release before.
    """

    state: State
    epoch: int
    attempt: int
    front_door: str
    pool: str
    deadline_ms: int
    spec: bytes
    waiting_since_ms: int
    queue: str = ""
    history: bytes = b""
    trail: bytes = b""


class Jobs:
    """All job scripts behind typed calls.

    Args:
        redis: for look-ups.
        commands: what runs the scripts; a `Mux` on the hot path, by default the same client.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient, commands: Commands | None = None) -> None:
        self._redis = redis
        self._scripts = Scripts(commands or redis)

    def admit(self, a: Admission) -> AdmissionResult:
        """One round trip: idempotency, limits, hold, record, doorbell. Safe to send twice."""
        names = [
            keys.job(a.job_id),
            keys.request(a.job_id),
            keys.JOBS_DUE,
            keys.hold(a.job_id),
            keys.HOLDS_DUE,
            a.queue,
            keys.idempotency(a.account_id, a.idempotency_key),
            *(limit.key for limit in a.limits),
            *(keys.budget(draw.scope) for draw in a.draws),
            *(pace.key for pace in a.paces),
            *(slots.key for slots in a.slots),
        ]
        args: list[Arg] = [
            a.job_id,
            a.deadline_ms + JOB_GRACE_MS,
            a.deadline_ms + HOLD_GRACE_MS,
            a.queue_timeout_ms,
            a.deadline_ms + JOB_GRACE_MS,
            a.front_door,
            a.spec,
            a.request,
            a.envelope,
            a.fingerprint,
            a.deadline_ms,
            a.pool,
            int(a.stream),
            "" if a.latest_ms is None else a.latest_ms,
            len(a.limits),
            len(a.draws),
            len(a.paces),
            len(a.slots),
        ]
        for limit in a.limits:
            args += (limit.maximum, limit.ttl_ms)
        for draw in a.draws:
            args += (draw.scope, draw.hold_nano)
        for pace in a.paces:
            args += (*_cost_and_burst_us(pace), pace.a_minute, "t" if pace.tokens else "r")
        args += (slots.maximum for slots in a.slots)
        reply = self._scripts.run("admit", names, args)
        if reply[0] == b"LATE":
            return Late(reply[1])
        return self._admission(a, reply)

    @staticmethod
    def _admission(  # noqa: PLR0911 - one per answer of the script
        a: Admission, reply: list[bytes | int]
    ) -> AdmissionResult:
        match reply:
            case [b"OK"] | [b"EXISTS"]:
                return Admitted()
            case [b"REPLAY", bytes(job_id)]:
                return Replay(job_id.decode())
            case [b"CONFLICT", *_]:
                return KeyConflict()
            case [b"LIMIT", int(index), int(ttl_ms)]:
                return LimitReached(a.limits[index - 1], max(ttl_ms, 0))
            case [b"RATE", int(index), int(wait_ms)]:
                return TooFast(a.paces[index - 1], wait_ms)
            case [b"FULL", int(index)]:
                return TooMany(a.slots[index - 1])
            case [b"LOAD", int(index)]:
                return NotLoaded(a.draws[index - 1].scope)
            case [b"PAY", int(index), bytes(available), bytes(held)]:
                return CannotPay(a.draws[index - 1].scope, int(available), int(held))
            case _:
                raise ValueError(f"admit.lua answered {reply!r}")

    def claim(self, job_id: str, worker: str, lease_ms: int) -> Claim | NotClaimed:
        """Take a queued job; the answer carries all a worker needs."""
        reply = self._scripts.run(
            "claim",
            (keys.job(job_id), keys.request(job_id), keys.JOBS_DUE),
            (job_id, worker, lease_ms),
        )
        if reply[0] == 0:
            return NotClaimed(reply[1].decode())
        _, epoch, front_door, spec, attempt, deadline, history, waited, request, trail = reply
        return Claim(
            job_id=job_id,
            epoch=epoch,
            front_door=front_door.decode(),
            spec=spec,
            attempt=int(attempt),
            deadline_ms=int(deadline),
            history=history,
            waited_ms=max(0, waited),  # a stray doorbell wakes a parked job early
            request=request or b"",
            trail=trail,
        )

    def emit(self, frames: Sequence[tuple[str, Frame]]) -> list[int]:
        """Publish `(front door, frame)` pairs of any number of jobs in one trip.

        Returns:
            Per frame 1, or -1 when its job has a newer owner. Sending the same frame twice is
            harmless: its place in the stream is taken and readers drop repeats.
        """
        names: list[str] = []
        args: list[Arg] = [MAX_FRAMES]
        for front_door, frame in frames:
            names += (keys.job(frame.job_id), keys.events(frame.job_id))
            args += (frame.epoch, frame.seq, front_door, frame.encoded())
        reply: list[int] = self._scripts.run("emit", names, args)
        return reply

    def finish(
        self, front_door: str, frame: Frame, state: State, charge: bytes, tokens: int = 0
    ) -> str:
        """End a job with its last frame and its charge, once.

        `tokens` is what it used, for the rates of its key and account.

        Returns:
            `ok`, `fenced` or `already`.
        """
        job_id = frame.job_id
        reply = self._scripts.run(
            "finish",
            (
                keys.job(job_id),
                keys.request(job_id),
                keys.JOBS_DUE,
                keys.events(job_id),
                keys.OUTBOX,
            ),
            (
                job_id,
                frame.epoch,
                state,
                charge,
                frame.seq,
                frame.encoded(),
                front_door,
                KEEP_MS,
                tokens,
            ),
        )
        return _text(reply)

    def requeue(  # noqa: PLR0913 - the parts of one atomic hand-over
        self,
        job_id: str,
        epoch: int,
        *,
        attempt: int,
        pool: str,
        queue: str,
        envelope: str,
        queue_timeout_ms: int,
        history: bytes = b"",
        trail: bytes = b"",
        crashed: bool = False,
    ) -> str:
        """Hand a job on before any byte was sent.

        Returns:
            `ok`, `fenced`, `sent`, `poison` (too many dead workers), `cancelled` (its client left;
            the caller ends it) or the state it is in.
        """
        reply = self._scripts.run(
            "requeue",
            (keys.job(job_id), keys.JOBS_DUE, queue),
            (
                job_id,
                epoch,
                attempt,
                pool,
                queue_timeout_ms,
                envelope,
                history,
                int(crashed),
                MAX_CRASHES,
                trail,
            ),
        )
        return _text(reply)

    def park(  # noqa: PLR0913 - the parts of one atomic step
        self,
        job_id: str,
        epoch: int,
        *,
        attempt: int,
        pool: str,
        queue: str,
        wait_ms: int,
        history: bytes = b"",
        trail: bytes = b"",
    ) -> str:
        """Lay a job down before any byte was sent; the reaper rings for it after `wait_ms`.

        Returns:
            `ok`, `fenced`, `sent`, `cancelled` (its client left; the caller ends it) or the state
            it is in.
        """
        reply = self._scripts.run(
            "park",
            (keys.job(job_id), keys.JOBS_DUE),
            (job_id, epoch, attempt, pool, wait_ms, history, trail, queue),
        )
        return _text(reply)

    def ring(
        self, job_id: str, epoch: int, *, queue: str, envelope: str, queue_timeout_ms: int
    ) -> str:
        """Ring again for a job nobody claimed; `ok`, `fenced` or the state it is in."""
        reply = self._scripts.run(
            "ring",
            (keys.job(job_id), keys.JOBS_DUE, queue),
            (job_id, epoch, queue_timeout_ms, envelope, MAX_RING_DOUBLINGS),
        )
        return _text(reply)

    def fence(self, job_id: str, epoch: int, state: State) -> int:
        """Take a job from its holder; the new epoch, or 0 when it has moved on meanwhile."""
        reply: int = self._scripts.run("fence", (keys.job(job_id),), (epoch, state))
        return reply

    def cancel(self, job_id: str, charge: bytes) -> str:
        """The client is gone: end a queued job, tell the worker of a running one.

        Returns:
            `ended`, `asked`, `gone` or the state it is in.
        """
        reply = self._scripts.run(
            "cancel",
            (keys.job(job_id), keys.request(job_id), keys.JOBS_DUE, keys.OUTBOX),
            (job_id, charge, KEEP_MS),
        )
        return _text(reply)

    def renew(self, worker: str, lease_ms: int, held: Sequence[tuple[str, int]]) -> list[str]:
        """Heartbeat and leases of one worker; per job `ok`, `lost`, `cancel` or `orphan`."""
        args: list[Arg] = [worker, lease_ms]
        for job_id, epoch in held:
            args += (job_id, epoch)
        reply = self._scripts.run("renew", (keys.JOBS_DUE, keys.WORKERS), args)
        return [_text(item) for item in reply]

    def due(self, most: int, hide_ms: int) -> list[str]:
        """Overdue job ids, hidden from other reapers for `hide_ms`."""
        return [_text(item) for item in self._scripts.run("due", (keys.JOBS_DUE,), (most, hide_ms))]

    def look(self, job_id: str) -> Snapshot | None:
        """A job as it stands, or None when its record is gone."""
        with translated():
            raw = self._redis.hmget(
                keys.job(job_id),
                ["st", "ep", "att", "fd", "pool", "dl", "spec", "at", "q", "hist", "trail"],
            )
        state, epoch, attempt, front_door, pool, deadline, spec, since, *rest = raw
        queue, history, trail = (field or b"" for field in rest)
        if state is None:
            return None
        return Snapshot(
            state=state.decode(),
            epoch=int(epoch),
            attempt=int(attempt),
            front_door=front_door.decode(),
            pool=pool.decode(),
            deadline_ms=int(deadline),
            spec=spec,
            waiting_since_ms=int(since),
            queue=queue.decode(),
            history=history,
            trail=trail,
        )

    def waited_for(self, front_door: str) -> bool:
        """Whether the process that waits for a job's answer is alive."""
        with translated():
            return bool(self._redis.exists(keys.front_door_heartbeat(front_door)))

    def begin_reaping(self, lock_ms: int) -> bool:
        """Become the active reaper; False while another is. The lock ends by itself."""
        with translated():
            return bool(self._redis.set(keys.REAPER_LOCK, "1", nx=True, px=lock_ms))

    def end_reaping(self) -> None:
        """Let the next reaper have its turn."""
        with translated():
            self._redis.delete(keys.REAPER_LOCK)

    def workers_alive(self, now_ms: int) -> int:
        """Attempt workers whose heartbeat stands."""
        with translated():
            return int(self._redis.zcount(keys.WORKERS, now_ms, "+inf"))

    def forget(self, job_id: str) -> None:
        """Drop what is left of a job whose record is gone."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zrem(keys.JOBS_DUE, job_id)
            pipe.delete(keys.events(job_id), keys.request(job_id))
            pipe.execute()

    def bury(self, job_id: str, why: str) -> None:
        """Note a poison job among the dead letters."""
        with translated():
            self._redis.xadd(
                keys.DEAD_LETTERS, {"job": job_id, "why": why}, maxlen=10_000, approximate=True
            )

    def replay(self, job_id: str, after: tuple[int, int]) -> list[Frame]:
        """Frames stored after `(epoch, seq)`, in order, up to `REPLAY_MAX`; empty for none."""
        with translated():
            rows = self._redis.xrange(
                keys.events(job_id), min=f"({after[0]}-{after[1]}", count=REPLAY_MAX
            )
        return [Frame.decode_all(row[1][b"d"])[0] for row in rows]


def _cost_and_burst_us(pace: Pace) -> tuple[int, int]:
    """What a request takes of a rate, and how much that may be at once; rounded up, never down."""
    cost_us = -(-US_PER_MINUTE * pace.units // pace.a_minute)
    if pace.tokens:
        return cost_us, US_PER_MINUTE
    # Not the minute where it does not divide: the last request of it must still fit.
    return cost_us, cost_us // pace.units * pace.a_minute


def _text(reply: bytes | str) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply
