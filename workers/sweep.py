"""Periodic work: jobs nobody holds any more, holds nobody gave back, truths that must stay true."""

from __future__ import annotations

from typing import Any

import orjson
import structlog

from billing import generations
from billing.closing import forfeit_left
from billing.db import Ledger
from billing.figures import KEPT_HOURS, forget_hours, store_hour, stored_hours
from billing.invariants import check
from routing.clock import Clock
from routing.errors import Failure
from routing.settings import Settings
from routing.store.budgets import Budgets
from routing.store.connect import RedisClient
from routing.store.figures import HOUR_LIFE_MS, HOUR_S, Figures
from routing.store.jobs import HOLD_GRACE_MS, Jobs, Snapshot
from routing.store.outbox import Outbox
from routing.wire.frames import Frame, Kind
from routing.wire.job import Charge, JobSpec
from routing.wire.render import renderer
from workers.contents import forget_old
from workers.pools import SWEEP_QUEUE, batch_queue, doorbell, interactive_queue
from workers.trail import Trail, told_after

log = structlog.get_logger("pointsman.sweep")

REAP_TASK = "sweep.reap.v1"
HOLDS_TASK = "sweep.holds.v1"
INVARIANTS_TASK = "sweep.invariants.v1"
FIGURES_TASK = "sweep.figures.v1"
CONTENTS_TASK = "sweep.contents.v1"
CLOSED_TASK = "sweep.closed.v1"
#: A message older than its next one is worthless.
SCHEDULE: dict[str, Any] = {
    REAP_TASK: {
        "task": REAP_TASK,
        "schedule": 1.0,
        "options": {"queue": SWEEP_QUEUE, "expires": 2},
    },
    HOLDS_TASK: {
        "task": HOLDS_TASK,
        "schedule": 30.0,
        "options": {"queue": SWEEP_QUEUE, "expires": 30},
    },
    INVARIANTS_TASK: {
        "task": INVARIANTS_TASK,
        "schedule": 60.0,
        "options": {"queue": SWEEP_QUEUE, "expires": 60},
    },
    FIGURES_TASK: {
        "task": FIGURES_TASK,
        "schedule": 300.0,
        "options": {"queue": SWEEP_QUEUE, "expires": 300},
    },
    CLOSED_TASK: {
        "task": CLOSED_TASK,
        "schedule": 300.0,
        "options": {"queue": SWEEP_QUEUE, "expires": 300},
    },
    CONTENTS_TASK: {
        "task": CONTENTS_TASK,
        "schedule": 600.0,
        "options": {"queue": SWEEP_QUEUE, "expires": 600},
    },
}
#: Overdue jobs looked at per round; more wait for the next second.
REAP_MAX = 500
#: A job taken in hand is hidden from other reapers for so long.
HIDE_MS = 5_000
#: One reaper at a time; if it dies another takes over after this.
LOCK_MS = 3_000
HOLDS_MAX = 500
#: Charges that wait no longer are of jobs that ended just now, not of those with an overdue hold.
YOUNG_MS = HOLD_GRACE_MS // 2
#: A job nobody claimed for this long fails: there is no worker for its pool.
UNCLAIMED_MAX_MS = 60_000
#: A front door without a heartbeat is looked for again before its jobs are ended: after an absence
#: of Redis all of them look dead until their next beat.
MISSING_MIN_MS = 2_000
#: Jobs noted as waited for by nobody; beyond it the oldest are looked at anew.
MISSING_MAX = 10_000


class Sweeper:
    """What the sweep process does."""

    def __init__(
        self, ledger: Ledger, redis: RedisClient, settings: Settings, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._jobs = Jobs(redis)
        self._budgets = Budgets(redis)
        self._outbox = Outbox(redis, "sweep")
        self._figures = Figures(redis)
        self._missing: dict[str, int] = {}

    def reap(self) -> int:
        """Look after overdue jobs; returns how many.

        Raises:
            Unavailable: Redis is away; the next round tries again.
        """
        if not self._jobs.begin_reaping(LOCK_MS):
            return 0
        try:
            overdue = self._jobs.due(REAP_MAX, HIDE_MS)
            for job_id in overdue:
                try:
                    self._look_after(job_id)
                except (ValueError, KeyError, TypeError):
                    # Written by another release: it must not keep all others from being seen.
                    log.exception("job cannot be read", action="job.unreadable", job=job_id)
                    self._jobs.bury(job_id, "its record cannot be read")
                    self._jobs.forget(job_id)
        finally:
            self._jobs.end_reaping()
        return len(overdue)

    def check_holds(self) -> int:
        """Give back holds whose job is long over; returns how many there were.

        A hold still here ten minutes after its job's deadline means a charge that never reached the
        outbox, or one that waits there because the ledger is away. The first is voided, the
        second left alone.
        """
        now_ms = self._clock.now_ms()
        stale = self._budgets.overdue_holds(now_ms, HOLDS_MAX)
        for job_id in stale:
            job = self._jobs.look(job_id)
            # After the job: its charge was in the outbox before it counted as ended.
            oldest_ms = self._outbox.oldest_ms()
            settled = generations.exists(self._ledger, job_id)
            if settled or (
                # There are always some where there is traffic: of so late a job none is that young.
                (oldest_ms is None or now_ms - oldest_ms < YOUNG_MS)
                and (job is None or job.state not in {"queued", "running", "streaming"})
            ):
                self._budgets.post((), [job_id])
                log.error(
                    "stale hold given back", action="hold.voided", job=job_id, settled=settled
                )
        return len(stale)

    def check_invariants(self) -> int:
        """Check the books; returns how many truths are broken. Each is an error in the log."""
        violations = check(self._ledger, self._clock.now_ms())
        for violation in violations:
            log.error(str(violation), action="invariant.broken")
        return len(violations)

    def keep_figures(self) -> int:
        """Write figures of hours that are over into the ledger; returns how many hours.

        By Redis's clock, by which they were counted: such an hour never changes any more.
        """
        current = self._figures.now_s() // HOUR_S
        since = current - HOUR_LIFE_MS // (HOUR_S * 1000)
        kept, written = stored_hours(self._ledger, since), 0
        for hour in range(since, current):
            period = self._figures.hours([hour])[0] if hour not in kept else {}
            if period:
                store_hour(self._ledger, hour, period)
                written += 1
        forget_hours(self._ledger, current - KEPT_HOURS)
        return written

    def forget_contents(self) -> int:
        """Forget prompts and answers that were kept long enough; returns how many."""
        return forget_old(self._ledger, self._settings.content_days, self._clock.now_ms())

    def settle_closed(self) -> int:
        """Take what requests under way left of closed accounts; returns of how many accounts."""
        taken = 0
        while left := forfeit_left(self._ledger, self._clock.now_ms()):
            self._budgets.post(left)
            taken += len(left)
        return taken

    def _look_after(self, job_id: str) -> None:
        job = self._jobs.look(job_id)
        if job is None:
            self._jobs.forget(job_id)
        elif job.state == "queued":
            self._look_after_queued(job_id, job)
        elif job.state == "running":
            self._take_back(job_id, job)
        elif job.state == "streaming":
            self._end(job_id, job, "The connection to the worker was lost", 502)
        # else it ended between the two looks; its own end has taken it off the list

    def _look_after_queued(self, job_id: str, job: Snapshot) -> None:
        """Its doorbell was lost, its workers are busy or gone, it slept, or nobody waits for it."""
        now_ms = self._clock.now_ms()
        late = now_ms > job.deadline_ms
        if late or now_ms - job.waiting_since_ms > UNCLAIMED_MAX_MS:
            why = "No worker took the request in time. Try again shortly."
            self._end(job_id, job, why, 503, last=late)
            return
        missing_ms = self._missing_for(job_id, job.front_door, now_ms)
        if missing_ms is not None:
            # Not rung for meanwhile: it would be served for nobody. It comes up again by itself.
            if missing_ms >= MISSING_MIN_MS:
                self._end(job_id, job, "Client closed the request", 499)
            return
        queue = _queue(job)
        self._jobs.ring(
            job_id,
            job.epoch,
            queue=queue,
            envelope=doorbell(job_id, queue),
            queue_timeout_ms=self._settings.queue_timeout_ms,
        )

    def _missing_for(self, job_id: str, front_door: str, now_ms: int) -> int | None:
        """Since which look nobody has waited for this job, in ms; None when somebody does.

        A job without a front door is waited for by nobody on purpose.
        """
        since_ms = self._missing.pop(job_id, now_ms)
        if not front_door or self._jobs.waited_for(front_door):
            return None
        while len(self._missing) >= MISSING_MAX:
            self._missing.pop(next(iter(self._missing)))
        self._missing[job_id] = since_ms
        return now_ms - since_ms

    def _take_back(self, job_id: str, job: Snapshot) -> None:
        """Its worker died before a byte was sent: another starts it again, unseen by the client."""
        queue = _queue(job)
        told = self._jobs.requeue(
            job_id,
            job.epoch,
            attempt=job.attempt,
            pool=job.pool,
            queue=queue,
            envelope=doorbell(job_id, queue),
            queue_timeout_ms=self._settings.queue_timeout_ms,
            crashed=True,
        )
        log.warning("job taken back", action="job.taken_back", job=job_id, told=told)
        if told == "poison":
            self._jobs.bury(job_id, "its workers died")
            self._end(job_id, job, "The request could not be served", 502)
        elif told == "cancelled":
            self._end(job_id, job, "Client closed the request", 499)

    def _end(
        self, job_id: str, job: Snapshot, message: str, status: int, *, last: bool = False
    ) -> None:
        """Fence whoever may still hold it, then end it: nothing is charged.

        `last` tells the last failure of a provider instead, if there was one.
        """
        epoch = self._jobs.fence(job_id, job.epoch, job.state)
        if not epoch:
            return  # it moved on meanwhile
        self._missing.pop(job_id, None)
        spec = JobSpec.from_json(job.spec)
        trail = Trail.read(job.history, job.trail, spec)
        failure = Failure(
            status=status,
            message=message,
            retryable=True,
            blame="router",
            retry_after_ms=1_000 if status == 503 else None,  # noqa: PLR2004
        )
        if last and trail.last is not None:
            failure = trail.last
        entry = spec.entries[job.attempt]
        if job.state == "streaming":
            render = renderer(spec.api, job_id, spec.created_ms // 1000, entry.model_id, "")
            frame = Frame(job_id, epoch, 1, Kind.END, 200, render.broken(failure))
        else:
            body = orjson.dumps(told_after(failure, trail.attempts))
            wait_s = max(1, -(-(failure.retry_after_ms or 0) // 1000))
            frame = Frame(job_id, epoch, 1, Kind.ERROR, failure.status, body, wait_s)
        charge = Charge.unserved(spec, "failed", self._clock.now_ms(), tuple(trail.attempts))
        told = self._jobs.finish(job.front_door, frame, "failed", charge.to_json())
        log.warning(
            "job ended by the reaper", action="job.reaped", job=job_id, told=told, was=job.state
        )


def _queue(job: Snapshot) -> str:
    """Where the workers that may take this job listen: batch work stays with those of batch work.

    The pool is the newer truth: the release before changes it without the queue.
    """
    batch = job.queue.startswith(batch_queue(""))
    return batch_queue(job.pool) if batch else interactive_queue(job.pool)
