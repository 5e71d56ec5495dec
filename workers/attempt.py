"""The attempt loop: claim → gate → call → decide → hand on or finish. One run per doorbell."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace

import gevent

from routing.catalog.shapes import Endpoint, Limits
from routing.decide import (
    AttemptState,
    Busy,
    Fallback,
    GiveUp,
    Retry,
    Wait,
    after,
    another_may_answer,
    decide,
    not_tried,
    noted,
)
from routing.errors import Failure, UpstreamError
from routing.store.health import Verdict
from routing.store.jobs import NotClaimed
from routing.wire.chat import ChatRequest, Reasoning
from routing.wire.envelope import told_to
from routing.wire.events import Answer, Finish
from routing.wire.job import AttemptRecord, JobSpec, PlanEntry
from routing.wire.render import Renderer, renderer
from routing.wire.request import InferenceRequest, request_from_json
from workers.call import Bounds, Call, Interrupted, Tally
from workers.emitter import Stream
from workers.ending import Ending
from workers.held import Held
from workers.inline import Inliner
from workers.keyring import OwnKey
from workers.lessons import judge_of, learn, remember, used_tokens
from workers.pools import batch_queue, doorbell, interactive_queue
from workers.refusal import Refused
from workers.rescue import BrokenOff, Onward
from workers.runtime import Runtime
from workers.trail import Trail

_rng = random.Random()  # noqa: S311 - jitter, not a secret


def run(runtime: Runtime, job_id: str) -> None:
    """Serve one doorbell: nothing happens unless the job is still queued."""
    claim = runtime.jobs.claim(job_id, runtime.name, runtime.settings.lease_ms)
    if isinstance(claim, NotClaimed):
        runtime.metrics.not_claimed(claim.why)
        return
    spec = JobSpec.from_json(claim.spec)
    runtime.metrics.claimed(spec.entries[claim.attempt].pool, claim.waited_ms)
    trail = Trail.read(claim.history, claim.trail, spec)
    endpoints = runtime.catalog.current.endpoints
    with runtime.held.holding(claim) as held:
        Attempts(
            runtime=runtime,
            held=held,
            spec=spec,
            request=request_from_json(spec.api, claim.request),
            out=runtime.emitter.open(job_id, claim.epoch, claim.front_door),
            history=trail.attempts,
            inliner=Inliner(runtime.fetcher),
            state=trail.state(spec, claim.attempt, endpoints, runtime.settings.max_attempts),
            forced=trail.forced,
            refused=trail.refused,
        ).run()


@dataclass(slots=True, kw_only=True)
class Attempts:
    """The attempts this process makes for one claimed job.

    Attributes:
        history: calls made so far, by this process or by those before it.
        inliner: fetches the request's media where a provider takes no URLs.
        forced: the next endpoint is called even if its breaker is open: all are.
        broken: an answer that broke off after its first byte and looks for an endpoint to go on.
        refused: an answer that a content filter emptied; the client's if nobody else answers.
    """

    runtime: Runtime
    held: Held
    spec: JobSpec
    request: InferenceRequest
    out: Stream
    history: list[AttemptRecord]
    state: AttemptState
    inliner: Inliner
    forced: bool = False
    broken: BrokenOff | None = None
    refused: Refused | None = None

    def run(self) -> None:
        """Try endpoints until one answers, another pool must go on, or nothing is left."""
        going = True
        while going:
            failure = self._attempt(self.spec.entries[self.state.index])
            going = failure is not None and self._go_on(failure)

    @property
    def _token(self) -> str:
        """Unique to one call of one claim."""
        state = self.state
        claim = self.held.claim
        return f"{self.spec.generation_id}:{claim.epoch}:{state.index}:{state.calls}"

    @property
    def _remaining_ms(self) -> int:
        return self.held.claim.deadline_ms - self.runtime.clock.now_ms()

    @property
    def _ending(self) -> Ending:
        return Ending(
            self.runtime, self.spec, self.request, self.held, self.out, tuple(self.history)
        )

    def _attempt(self, entry: PlanEntry) -> Failure | None:
        """One entry of the plan; None when the job has ended here, or is no longer ours."""
        endpoint = self.runtime.catalog.current.endpoints.get(entry.endpoint_id)
        if endpoint is None:
            return self._passed_over(0, "unfit")
        onward = None
        if self.broken is not None:
            onward = self.broken.onward(self.spec.api, self._asked(entry), entry, endpoint)
            if onward is None:
                return self._passed_over(0, "unfit")
            if onward.full:
                self._full(self.broken)
                return None
        verdict = self._verdict(entry, endpoint)
        match verdict.state:
            case "go" | "probe":
                token = self._token
                try:
                    return self._try(entry, endpoint, onward)
                finally:  # whatever happened; a call that was made has left already
                    self.runtime.gates.left(entry.gate, token)
            case busy:
                return self._passed_over(verdict.wait_ms, busy)

    def _verdict(self, entry: PlanEntry, endpoint: Endpoint) -> Verdict:
        forced, self.forced = self.forced, False
        # A customer's key has limits of its own, and a bad one is no outage for anybody else.
        gated = replace(endpoint, id=entry.gate, limits=Limits()) if entry.byok else endpoint
        return self.runtime.gates.ask(
            gated,
            self._token,
            time.monotonic(),
            tokens=self.spec.prompt_tokens_max,
            forced=forced,
        )

    def _passed_over(self, wait_ms: int, why: Busy) -> Failure:
        failure = not_tried(wait_ms, why)
        self.state = noted(self._current(), failure, why)
        return failure

    def _current(self) -> AttemptState:
        """The state as of now."""
        entry = self.spec.entries[self.state.index]
        pool = entry.pool
        return replace(
            self.state,
            now_ms=self.runtime.clock.now_ms(),
            remaining_ms=self._remaining_ms,
            bytes_sent=self.held.sent,
            rescuing=self.broken is not None,
            # What fails with a customer's own key is not a sign of a provider in trouble.
            budget_left=bool(entry.byok) or self.runtime.budget.left(pool, time.monotonic()),
        )

    def _try(self, entry: PlanEntry, endpoint: Endpoint, onward: Onward | None) -> Failure | None:
        """One call; None when the job has ended here, or is no longer ours."""
        token = self._token
        if not entry.byok and all(call.byok for call in self.history):
            self.runtime.budget.first(entry.pool, time.monotonic())
        self.held.cancellable = endpoint.provider.cancellation and self.spec.stream
        made = _Made(token, entry.gate, self._render(entry, endpoint, onward), time.monotonic())
        call = self._call(entry, endpoint, made, onward)
        try:
            answer = self._carry_out(call, made.render)
        except Interrupted:
            self._interrupted(entry, call, made)
            return None
        except UpstreamError as error:
            failure = error.failure(endpoint.provider.name)
            failure = replace(failure, message=told_to(self.spec.api, failure.message))
            return self._failed(entry, call, made, failure)
        else:
            self._answered(entry, call, made, answer)
            return None

    def _carry_out(self, call: Call, render: Renderer) -> Answer | None:
        """Make the call; the answer of a plain one, None for a stream, which is passed on."""
        if not self.spec.stream:
            return call.plain()
        call.streamed(render, self.out)
        return None

    def _call(
        self, entry: PlanEntry, endpoint: Endpoint, made: _Made, onward: Onward | None
    ) -> Call:
        request = self._asked(entry) if onward is None else onward.request
        name = endpoint.provider.name

        def on_first() -> None:
            self.runtime.gates.succeeded(entry.gate, made.token)
            if onward is not None and self.held.order is None:
                onward.announce(made.render, self.out)

        return Call(
            on_first=on_first,
            moves_on=lambda refused: another_may_answer(self._current(), refused.failure(name)),
            judge=judge_of(request),
            connections=self.runtime.connections,
            clock=self.runtime.clock,
            keyring=self.runtime.keyring,
            own=self._own_key(entry, endpoint),
            inliner=self.inliner,
            api=self.spec.api,
            endpoint=endpoint,
            held=self.held,
            request=request,
            bounds=Bounds(endpoint, max(self._remaining_ms, 1), stream=self.spec.stream),
            tally=Tally(before=None if onward is None else onward.before),
        )

    def _own_key(self, entry: PlanEntry, endpoint: Endpoint) -> OwnKey | None:
        """The customer's key this entry is called with."""
        if not entry.byok:
            return None
        return OwnKey(
            id=entry.byok,
            account_id=self.spec.caller.account_id,
            provider=endpoint.provider.slug,
            sealed=self.spec.sealed[entry.byok],
        )

    def _asked(self, entry: PlanEntry) -> InferenceRequest:
        """The request as this model gets it: a thinking one thinks unless it is told otherwise."""
        request = self.request
        model = self.runtime.catalog.current.models.get(entry.model_id)
        if model is None or not model.thinking or not isinstance(request, ChatRequest):
            return request
        if request.reasoning is not None or request.reasoning_effort is not None:
            return request
        return request.model_copy(update={"reasoning": Reasoning(enabled=True)})

    def _render(self, entry: PlanEntry, endpoint: Endpoint, onward: Onward | None) -> Renderer:
        """One for the whole answer: some inbound APIs number their events."""
        if onward is not None and self.broken is not None:
            return self.broken.render
        return renderer(
            self.spec.api,
            self.spec.generation_id,
            self.spec.created_ms // 1000,
            entry.model_id,
            endpoint.provider.name,
            self.request,
        )

    def _answered(self, entry: PlanEntry, call: Call, made: _Made, answer: Answer | None) -> None:
        endpoint, tally = call.endpoint, call.tally
        first_byte_ms, elapsed_ms = self._first_byte_ms(call, made), made.elapsed_ms
        if tally.first_ms is None:  # a proper end without a piece
            self.runtime.gates.succeeded(entry.gate, made.token)
        self._left(call, made)
        self._note(entry, endpoint, 200, "", elapsed_ms if first_byte_ms is None else first_byte_ms)
        if answer is None:
            usage = self._ending.streamed(entry, endpoint, tally, made.render)
        else:
            usage = self._ending.plain(entry, endpoint, tally, made.render, answer)
            first_byte_ms = None  # it comes in one piece: its time says nothing about the first
        remember(self.runtime, self.spec, entry, endpoint, usage)
        learn(self.runtime, endpoint, tally, None, first_byte_ms, elapsed_ms, call.judge)

    def _failed(
        self, entry: PlanEntry, call: Call, made: _Made, failure: Failure
    ) -> Failure | None:
        endpoint, tally = call.endpoint, call.tally
        first_byte_ms, elapsed_ms = self._first_byte_ms(call, made), made.elapsed_ms
        self.runtime.gates.failed(entry.gate, made.token, failure)
        self._left(call, made)
        self.runtime.metrics.attempt_failed(endpoint.provider.slug, failure.status)
        if not entry.byok:  # whose key was refused, or is used up, says nothing of the endpoint
            learn(self.runtime, endpoint, tally, failure, first_byte_ms, elapsed_ms)
        waited_ms = elapsed_ms if first_byte_ms is None else first_byte_ms
        self._note(entry, endpoint, failure.status, failure.message, waited_ms)
        if self.held.sent and tally.first_ms is not None:
            broken = BrokenOff(
                entry=entry, endpoint=endpoint, tally=tally, render=made.render, failure=failure
            )
            if not self.spec.rescue or failure.blame != "provider" or self.held.order is not None:
                self._end_in_band(broken)
                return None
            self.broken = broken
        elif call.refused is not None:
            self.refused = replace(call.refused, entry=self.state.index)
        self.state = noted(self._current(), failure)
        return failure

    def _interrupted(self, entry: PlanEntry, call: Call, made: _Made) -> None:
        endpoint, tally = call.endpoint, call.tally
        if tally.first_ms is None:  # nobody knows whether it would have answered
            self.runtime.gates.abandoned(made.token)
        else:
            learn(
                self.runtime, endpoint, tally, None, self._first_byte_ms(call, made),
                made.elapsed_ms,
            )  # fmt: skip
        self._left(call, made)
        if self.held.order == "cancel":
            self._ending.cancelled(entry, endpoint, tally)
        elif self.held.order == "stop" or (
            # A piece may have gone out between the order and its execution.
            self.held.order == "hand_over" and self._requeue(self.state.index) == "sent"
        ):
            self._stopped(entry, endpoint, tally, made.render)
        # else it is handed over or lost: whoever owns the job now ends it

    def _stopped(
        self, entry: PlanEntry, endpoint: Endpoint, tally: Tally, render: Renderer
    ) -> None:
        failure = Failure(
            status=503,
            message="The router is restarting. Try again.",
            retryable=True,
            blame="router",
            provider=endpoint.provider.name,
        )
        if self.held.sent:
            self._ending.broken(entry, endpoint, tally, render, failure)
        else:
            self._ending.refused(failure)

    def _end_in_band(self, broken: BrokenOff) -> None:
        self._ending.broken(
            broken.entry, broken.endpoint, broken.tally, broken.render, broken.failure
        )

    def _full(self, broken: BrokenOff) -> None:
        """The answer broke off where it would have been cut anyway: that is its proper end."""
        tally = broken.whole()
        tally.finish = Finish(0, "length", None)
        self.out.write(broken.render.finish(tally.finish))
        self._ending.streamed(broken.entry, broken.endpoint, tally, broken.render)

    def _go_on(self, failure: Failure) -> bool:
        """Carry out what `decide` says; False when this process is done with the job."""
        if not self._still_asked_for():
            return False
        before, entry = self.state, self.spec.entries[self.state.index]
        pool = entry.pool
        decision = decide(before, failure, _rng.random())
        self.state = after(before, decision, failure)
        if self.state.tries_total > before.tries_total and not entry.byok:
            self.runtime.budget.spend(pool, time.monotonic())
        match decision:
            case GiveUp():
                self._give_up(decision)
                return False
            case Retry():
                gevent.sleep(decision.delay_ms / 1000)
                return self._still_asked_for()
            case Wait():
                self._park(decision)
                return False
            case Fallback():
                return self._fall_back(decision, pool)

    def _still_asked_for(self) -> bool:
        """Whether there is any point in going on; if not, the job ends here or is somebody else's.

        Comes before every call: one whose bill runs on is not made for a client that has left.
        """
        if self.held.order == "cancel":
            self._ending.left()
        return self.held.order not in {"cancel", "lost"}

    def _give_up(self, decision: GiveUp) -> None:
        if self.broken is not None:
            self._end_in_band(self.broken)
        elif self.refused is None or not self._pass_on(self.refused):
            self._ending.refused(decision.failure)

    def _pass_on(self, refused: Refused) -> bool:
        """Give the client a refusal as its provider gave it; False if that one is gone."""
        entry = self.spec.entries[refused.entry]
        endpoint = self.runtime.catalog.current.endpoints.get(entry.endpoint_id)
        if endpoint is None:
            return False
        render, tally = self._render(entry, endpoint, None), Tally(usage=refused.usage)
        if not self.spec.stream:
            self._ending.plain(entry, endpoint, tally, render, refused.answer())
            return True
        self.held.sent = True
        for event in refused.events():
            if isinstance(event, Finish):
                tally.finish = tally.finish or event
                self.out.write(render.finish(event))
            else:
                self.out.write(render.delta(event))
        self._ending.streamed(entry, endpoint, tally, render)
        return True

    def _fall_back(self, decision: Fallback, pool: str) -> bool:
        """Go on here, or leave it to the workers of another pool."""
        self.forced = decision.forced
        # Another provider's endpoint is another pool's work, unless the client has half an answer.
        if self.broken is not None or self.spec.entries[decision.index].pool == pool:
            return True
        self._requeue(decision.index)
        return False

    def _requeue(self, index: int) -> str:
        entry, claim = self.spec.entries[index], self.held.claim
        queue = self._queue(entry.pool)
        trail = Trail.of(self.history, self.state, forced=self.forced, refused=self.refused)
        told = self.runtime.jobs.requeue(
            claim.job_id,
            claim.epoch,
            attempt=index,
            pool=entry.pool,
            queue=queue,
            envelope=doorbell(claim.job_id, queue),
            queue_timeout_ms=self.runtime.settings.queue_timeout_ms,
            history=trail.history,
            trail=trail.rest,
        )
        if told == "cancelled":
            self._ending.left()
        return told

    def _park(self, decision: Wait) -> None:
        claim, pool = self.held.claim, self.spec.entries[decision.index].pool
        trail = Trail.of(self.history, self.state, refused=self.refused)
        told = self.runtime.jobs.park(
            claim.job_id,
            claim.epoch,
            attempt=decision.index,
            pool=pool,
            queue=self._queue(pool),
            wait_ms=decision.delay_ms,
            history=trail.history,
            trail=trail.rest,
        )
        if told == "cancelled":
            self._ending.left()

    def _queue(self, pool: str) -> str:
        return batch_queue(pool) if self.runtime.batch else interactive_queue(pool)

    def _left(self, call: Call, made: _Made) -> None:
        """The call is over; harmless twice."""
        self.runtime.gates.left(made.gate, made.token, tokens=used_tokens(call.tally))

    def _note(
        self, entry: PlanEntry, endpoint: Endpoint, status: int, message: str, latency_ms: int
    ) -> None:
        self.history.append(
            AttemptRecord(
                endpoint_id=endpoint.id,
                provider=endpoint.provider.name,
                status=status,
                latency_ms=latency_ms,
                message=message,
                byok=bool(entry.byok),
            )
        )

    def _first_byte_ms(self, call: Call, made: _Made) -> int | None:
        first_ms = call.tally.first_ms
        if first_ms is None:
            return None
        return max(0, made.elapsed_ms - (self.runtime.clock.now_ms() - first_ms))


@dataclass(frozen=True, slots=True)
class _Made:
    """One call under way: its token at its gate, its renderer, when it began (monotonic)."""

    token: str
    gate: str
    render: Renderer
    started_s: float

    @property
    def elapsed_ms(self) -> int:
        return int((time.monotonic() - self.started_s) * 1000)
