"""The attempt loop: claim → gate → call → decide → hand on or finish. One run per doorbell."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace

import gevent
import orjson

from routing.catalog.shapes import Endpoint
from routing.decide import AttemptState, GiveUp, Retry, after, decide, not_tried
from routing.errors import Failure, UpstreamError
from routing.store.health import Verdict
from routing.store.jobs import NotClaimed
from routing.wire.envelope import told_to
from routing.wire.events import Answer
from routing.wire.job import (
    AttemptRecord,
    JobSpec,
    PlanEntry,
    attempts_from_list,
    attempts_to_list,
)
from routing.wire.render import Renderer, renderer
from routing.wire.request import InferenceRequest, request_from_json
from workers.call import Bounds, Call, Interrupted
from workers.emitter import Stream
from workers.ending import Ending, failed_before
from workers.held import Held
from workers.inline import Inliner
from workers.pools import batch_queue, doorbell, interactive_queue
from workers.runtime import Runtime

#: The request itself was refused; other endpoints of the same model would refuse it too.
_REFUSED = frozenset({400, 413, 422})
_rng = random.Random()  # noqa: S311 - jitter, not a secret


def run(runtime: Runtime, job_id: str) -> None:
    """Serve one doorbell: nothing happens unless the job is still queued."""
    claim = runtime.jobs.claim(job_id, runtime.name, runtime.settings.lease_ms)
    if isinstance(claim, NotClaimed):
        runtime.metrics.not_claimed(claim.why)
        return
    spec = JobSpec.from_json(claim.spec)
    runtime.metrics.claimed(spec.entries[claim.attempt].pool, claim.waited_ms)
    history = list(attempts_from_list(orjson.loads(claim.history))) if claim.history else []
    with runtime.held.holding(claim) as held:
        Attempts(
            runtime=runtime,
            held=held,
            spec=spec,
            request=request_from_json(spec.api, claim.request),
            out=runtime.emitter.open(job_id, claim.epoch, claim.front_door),
            history=history,
            inliner=Inliner(runtime.fetcher),
            state=_state(spec, claim.attempt, history, runtime.settings.max_attempts),
        ).run()


@dataclass(slots=True, kw_only=True)
class Attempts:
    """The attempts this process makes for one claimed job.

    Attributes:
        history: calls made so far, by this process or by those before it.
        inliner: fetches the request's media where a provider takes no URLs.
        skipped: verdicts on the endpoints that were passed over.
    """

    runtime: Runtime
    held: Held
    spec: JobSpec
    request: InferenceRequest
    out: Stream
    history: list[AttemptRecord]
    state: AttemptState
    inliner: Inliner
    skipped: list[Verdict] = field(default_factory=list)

    def run(self) -> None:
        """Try endpoints until one answers, another pool must go on, or nothing is left."""
        going = True
        while going:
            entry = self.spec.entries[self.state.index]
            endpoint = self.runtime.catalog.current.endpoints.get(entry.endpoint_id)
            verdict = self._verdict(entry)
            if endpoint is None or verdict.state in {"open", "parked"}:
                self.skipped.append(verdict)
                failure: Failure | None = _passed_over(self.skipped)
            else:
                failure = self._try(entry, endpoint)
            going = failure is not None and self._go_on(failure)

    @property
    def _token(self) -> str:
        return f"{self.spec.generation_id}:{self.held.claim.epoch}:{self.state.index}"

    @property
    def _remaining_ms(self) -> int:
        return self.held.claim.deadline_ms - self.runtime.clock.now_ms()

    @property
    def _ending(self) -> Ending:
        return Ending(
            self.runtime, self.spec, self.request, self.held, self.out, tuple(self.history)
        )

    def _verdict(self, entry: PlanEntry) -> Verdict:
        verdict = self.runtime.gates.ask(entry.endpoint_id, self._token, time.monotonic())
        last = self.state.index + 1 >= len(self.spec.entries)
        if verdict.state == "open" and last and not self.history:
            # Everything else was passed over: the least bad endpoint gets through, never none.
            return Verdict("go", 0)
        return verdict

    def _try(self, entry: PlanEntry, endpoint: Endpoint) -> Failure | None:
        """One call; None when the job has ended here, or is no longer ours."""
        started = time.monotonic()
        self.held.cancellable = endpoint.provider.cancellation and self.spec.stream
        if not self.history:
            self.runtime.budget.first(entry.pool, started)
        call = self._call(entry, endpoint)
        render = self._renderer(endpoint)
        try:
            answer = self._carry_out(call, render)
        except Interrupted:
            self._interrupted(entry, call, render)
            return None
        except UpstreamError as error:
            failure = error.failure(endpoint.provider.name)
            failure = replace(failure, message=told_to(self.spec.api, failure.message))
            return self._failed(entry, call, render, failure, started)
        self._succeeded(entry, call, started)
        if answer is None:
            self._ending.streamed(entry, endpoint, call.tally, render)
        else:
            self._ending.plain(entry, endpoint, call.tally, render, answer)
        return None

    def _carry_out(self, call: Call, render: Renderer) -> Answer | None:
        """Make the call; the answer of a plain one, None for a stream, which is passed on."""
        if not self.spec.stream:
            return call.plain()
        call.streamed(render, self.out)
        return None

    def _call(self, entry: PlanEntry, endpoint: Endpoint) -> Call:
        token = self._token
        return Call(
            on_first=lambda: self.runtime.gates.succeeded(entry.endpoint_id, token),
            connections=self.runtime.connections,
            clock=self.runtime.clock,
            keyring=self.runtime.keyring,
            inliner=self.inliner,
            api=self.spec.api,
            endpoint=endpoint,
            held=self.held,
            request=self.request,
            bounds=Bounds(endpoint, max(self._remaining_ms, 1), stream=self.spec.stream),
        )

    def _renderer(self, endpoint: Endpoint) -> Renderer:
        """One for the whole answer: some inbound APIs number their events."""
        return renderer(
            self.spec.api,
            self.spec.generation_id,
            self.spec.created_ms // 1000,
            endpoint.model_id,
            endpoint.provider.name,
            self.request,
        )

    def _succeeded(self, entry: PlanEntry, call: Call, started: float) -> None:
        if call.tally.first_ms is None:  # a proper end without a piece
            self.runtime.gates.succeeded(entry.endpoint_id, self._token)
        self._note(call.endpoint, 200, "", self._first_byte_ms(call, started))

    def _failed(
        self, entry: PlanEntry, call: Call, render: Renderer, failure: Failure, started: float
    ) -> Failure | None:
        endpoint = call.endpoint
        self.runtime.gates.failed(entry.endpoint_id, self._token, failure)
        self.runtime.metrics.attempt_failed(endpoint.provider.slug, failure.status)
        self._note(endpoint, failure.status, failure.message, self._first_byte_ms(call, started))
        if self.held.sent:
            self._ending.broken(entry, endpoint, call.tally, render, failure)
            return None
        return failure

    def _interrupted(self, entry: PlanEntry, call: Call, render: Renderer) -> None:
        endpoint = call.endpoint
        if call.tally.first_ms is None:  # nobody knows whether it would have answered
            self.runtime.gates.abandoned(self._token)
        match self.held.order:
            case "cancel":
                self._ending.cancelled(entry, endpoint, call.tally)
            case "hand_over":
                self._requeue(self.state.index)
            case "stop":
                failure = Failure(
                    status=503,
                    message="The router is restarting. Try again.",
                    retryable=True,
                    blame="router",
                    provider=endpoint.provider.name,
                )
                if self.held.sent:
                    self._ending.broken(entry, endpoint, call.tally, render, failure)
                else:
                    self._ending.refused(failure)
            case _:
                pass  # lost: whoever owns the job now ends it

    def _go_on(self, failure: Failure) -> bool:
        """Carry out what `decide` says; False when this process is done with the job."""
        if self.held.order == "cancel":
            self._ending.left()
            return False
        pool = self.spec.entries[self.state.index].pool
        self.state = replace(
            self.state,
            bytes_sent=self.held.sent,
            remaining_ms=self._remaining_ms,
            budget_left=self.runtime.budget.left(pool, time.monotonic()),
        )
        decision = decide(self.state, failure, _rng.random())
        if isinstance(decision, GiveUp):
            self._ending.refused(decision.failure)
            return False
        self.state = after(self.state, decision, failure)
        if failure.blame != "router":
            self.runtime.budget.spend(pool, time.monotonic())
        if isinstance(decision, Retry):
            gevent.sleep(decision.delay_ms / 1000)
            return True
        # Another provider's endpoint is another pool's work.
        if self.spec.entries[decision.index].pool != pool:
            self._requeue(decision.index)
            return False
        return True

    def _requeue(self, index: int) -> None:
        entry, claim = self.spec.entries[index], self.held.claim
        queue = batch_queue(entry.pool) if self.runtime.batch else interactive_queue(entry.pool)
        told = self.runtime.jobs.requeue(
            claim.job_id,
            claim.epoch,
            attempt=index,
            pool=entry.pool,
            queue=queue,
            envelope=doorbell(claim.job_id, queue),
            queue_timeout_ms=self.runtime.settings.queue_timeout_ms,
            history=orjson.dumps(attempts_to_list(self.history)),
        )
        if told == "cancelled":
            self._ending.left()

    def _note(self, endpoint: Endpoint, status: int, message: str, latency_ms: int) -> None:
        self.history.append(
            AttemptRecord(
                endpoint_id=endpoint.id,
                provider=endpoint.provider.name,
                status=status,
                latency_ms=latency_ms,
                message=message,
            )
        )

    def _first_byte_ms(self, call: Call, started: float) -> int:
        elapsed_ms = int((time.monotonic() - started) * 1000)
        if call.tally.first_ms is None:
            return elapsed_ms
        return max(0, elapsed_ms - (self.runtime.clock.now_ms() - call.tally.first_ms))


def _passed_over(skipped: list[Verdict]) -> Failure:
    """No endpoint could be called: 503, or 429 when all of them only asked us to wait."""
    failure = not_tried(min(verdict.wait_ms for verdict in skipped))
    if any(verdict.state != "parked" for verdict in skipped):
        return failure
    return replace(failure, status=429, message="Rate limited upstream. Retry shortly.")


def _state(
    spec: JobSpec, index: int, history: list[AttemptRecord], max_attempts: int
) -> AttemptState:
    """Where the request stands when it is claimed: nowhere yet, or after calls made elsewhere."""
    models = {entry.endpoint_id: entry.model_id for entry in spec.entries}
    refused = {models[a.endpoint_id] for a in history if a.status in _REFUSED}
    return AttemptState(
        entries=spec.entries,
        remaining_ms=0,
        index=index,
        tries_total=len(history) + 1,
        allow_fallbacks=spec.allow_fallbacks,
        max_attempts=max_attempts,
        refused_models=frozenset(refused),
        last=failed_before(history[-1]) if history else None,
    )
