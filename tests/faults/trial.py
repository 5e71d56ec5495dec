"""One row while it runs: its own key, its calls, and what can be seen of them in Redis."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from routing.store.redis_keys import JOB_PREFIX, hold
from routing.wire.job import JobSpec
from tests.cluster import Cluster, NewKey, wait_until
from tests.faults.calls import CALL_S, Call, Pace

#: Served by one pool, and its provider stops the bill when a call is closed.
ONE_POOL = "openai/gpt-4o-mini"
#: Served by several pools.
MANY_POOLS = "meta-llama/llama-3.3-70b-instruct"
CREDIT_USD = Decimal(100)
#: From the start of a call to the moment the next part of a row can go on.
STEP_S = 20.0


@dataclass(slots=True, kw_only=True)
class Trial:
    """A row in progress.

    Attributes:
        n: how many calls the fault must hit.
        hit: those it did hit.
        fault_s: when (monotonic).
    """

    cluster: Cluster
    rng: random.Random
    n: int
    key: NewKey
    name: str
    pace: Pace = field(default_factory=Pace)
    calls: list[Call] = field(default_factory=list)
    hit: list[Call] = field(default_factory=list)
    fault_s: float = 0.0

    @classmethod
    def begin(cls, cluster: Cluster, rng: random.Random, n: int, name: str) -> Trial:
        """A clean simulator and a new account."""
        cluster.clear_faults()
        cluster.forget_calls()
        key = cluster.new_key(CREDIT_USD, name=name)
        trial = cls(cluster=cluster, rng=rng, n=n, key=key, name=name)
        trial.set_pace(trial.pace)
        return trial

    def set_pace(self, pace: Pace) -> None:
        """For calls from now on."""
        self.pace = pace
        self.cluster.knobs(**pace.knobs())

    def call(
        self,
        count: int,
        *,
        models: Sequence[str] = (ONE_POOL,),
        stream: bool | None = None,
        doors: Sequence[str] = (),
        leave_after: int = 0,
    ) -> list[Call]:
        """Start calls; plain and streamed at random when `stream` is None, doors in turn."""
        new = []
        for _ in range(count):
            number = len(self.calls)
            streamed = self.rng.random() < 0.5 if stream is None else stream
            urls = doors or self.cluster.base_urls
            call = Call(
                base_url=urls[number % len(urls)],
                key=self.key.text,
                model=models[number % len(models)],
                marker=f"marker-{self.name}-{number}",
                stream=streamed,
                pace=self.pace,
                leave_after=leave_after,
            )
            self.calls.append(call)
            new.append(call.start())
        return new

    def damage(self) -> None:
        """Note the moment of the fault."""
        self.fault_s = time.monotonic()

    def wait_upstream(self) -> None:
        """Until the simulator has got every call."""
        wait_until(self._all_upstream, STEP_S, "all calls at the simulator")

    def wait_pieces(self, calls: Iterable[Call], count: int) -> None:
        """Until each of these streams has brought so many pieces."""
        waiting = list(calls)
        wait_until(
            lambda: all(len(call.pieces) >= count or call.ended_s for call in waiting),
            STEP_S,
            f"{count} pieces in each stream",
        )

    def wait_queued(self) -> None:
        """Until each call is a job that nobody has claimed."""
        wait_until(lambda: len(self.jobs(b"queued")) == len(self.calls), STEP_S, "all jobs queued")

    def wait_ended(self) -> None:
        """Until every call has ended, or is lost."""
        until_s = time.monotonic() + CALL_S
        for call in self.calls:
            call.wait(until_s)

    def jobs(self, state: bytes = b"", worker_pid: int = 0) -> dict[str, str]:
        """This row's jobs: pool by id; only those in a state, or held by a process."""
        redis, found = self.cluster.redis, {}
        for name in list(redis.scan_iter(f"{JOB_PREFIX}*", count=1_000)):
            st, spec, pool, worker = redis.hmget(name, "st", "spec", "pool", "wk")
            if spec is None or JobSpec.from_json(spec).caller.key_hash != self.key.key_hash:
                continue
            held = f"-{worker_pid}-" in worker.decode() if worker_pid else True
            if held and state in {b"", st}:
                found[name.decode().removeprefix(JOB_PREFIX)] = pool.decode()
        return found

    def held(self, generation_id: str) -> bool:
        """Whether money is still held for a job."""
        return bool(self.cluster.redis.exists(hold(generation_id)))

    def until_ended(self) -> list[float]:
        """Recovery: from the fault to the end of each call it hit."""
        return [call.ended_s - self.fault_s for call in self.hit if call.ended_s is not None]

    def until_next_piece(self) -> list[float]:
        """Recovery: from the fault to the next piece of content, or to the end without one."""
        found = []
        for call in self.hit:
            moments = [moment for moment in (*call.arrivals, call.ended_s) if moment is not None]
            found += [min(m for m in moments if m > self.fault_s) - self.fault_s]
        return found

    def _all_upstream(self) -> bool:
        arrived = {call["marker"] for call in self.cluster.calls()}
        return all(call.marker in arrived or call.ended_s for call in self.calls)
