"""The Celery tasks: thin doors into the use-cases. Names bear versions."""

from __future__ import annotations

import structlog
from celery import Celery

from routing.errors import Unavailable
from workers import attempt, cashier, sweep
from workers.pools import ATTEMPT_TASK
from workers.process import Process

log = structlog.get_logger("pointsman.tasks")


def register(celery: Celery, process: Process) -> None:
    """Add our tasks to an application; they find their runtime in `process`."""

    # Heartbeats keep the event dispatcher on; without this every task would still ask it.
    @celery.task(name=ATTEMPT_TASK, ignore_result=True, send_events=False)
    def run_attempt(job_id: str) -> None:
        try:
            attempt.run(process.runtime, job_id)
        except Unavailable as error:
            # Redis is away: the job's lease runs out and the reaper takes it from there.
            log.warning("job left to the reaper", action="attempt.left", job=job_id, why=str(error))

    @celery.task(name=sweep.REAP_TASK, ignore_result=True)
    def reap() -> None:
        process.sweeper.reap()

    @celery.task(name=sweep.HOLDS_TASK, ignore_result=True)
    def check_holds() -> None:
        process.sweeper.check_holds()

    @celery.task(name=sweep.INVARIANTS_TASK, ignore_result=True)
    def check_invariants() -> None:
        process.sweeper.check_invariants()

    @celery.task(name=sweep.FIGURES_TASK, ignore_result=True)
    def keep_figures() -> None:
        process.sweeper.keep_figures()

    @celery.task(name=sweep.CONTENTS_TASK, ignore_result=True)
    def forget_contents() -> None:
        process.sweeper.forget_contents()

    @celery.task(name=sweep.CLOSED_TASK, ignore_result=True)
    def settle_closed() -> None:
        process.sweeper.settle_closed()

    _register_cashier(celery, process)

    # Task.backend is looked up per thread, so under gevent every task would build a new (disabled)
    # result backend: a tenth of a worker's time.
    run_attempt.backend = celery.backend


def _register_cashier(celery: Celery, process: Process) -> None:
    @celery.task(name=cashier.PAYMENTS_TASK, ignore_result=True)
    def look_after_payments() -> None:
        process.cashier.start()
