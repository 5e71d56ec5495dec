"""How a job ends: the charge, the last frame, the canonical log line. All in one atomic step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog

from routing.catalog.pricing import usd
from routing.catalog.shapes import Endpoint
from routing.contents import NOTHING, Said
from routing.errors import AnswerLost, Failure
from routing.estimate import MESSAGE_TOKENS, image_count, spoken_text, tally_inputs
from routing.store.jobs import State
from routing.tokens import count_tokens
from routing.usage import PROMPT_BOUND_FACTOR, Usage, bounded
from routing.wire.embeddings import EmbeddingsRequest, embedded_text, numbered_tokens
from routing.wire.events import Answer, Finish
from routing.wire.frames import Kind
from routing.wire.job import AttemptRecord, Charge, JobSpec, Outcome, PlanEntry
from routing.wire.render import Renderer
from routing.wire.request import InferenceRequest
from routing.wire.router_metadata import router_metadata
from workers.call import Tally, called
from workers.contents import said_by, said_in
from workers.emitter import Stream
from workers.held import Held
from workers.rescue import with_part
from workers.runtime import Runtime
from workers.trail import told_after

log = structlog.get_logger("pointsman.generation")

_STATES: dict[Outcome, State] = {"done": "done", "cancelled": "cancelled", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class Ending:
    """Ends one claimed job, in one of its six ways."""

    runtime: Runtime
    spec: JobSpec
    request: InferenceRequest
    held: Held
    out: Stream
    attempts: tuple[AttemptRecord, ...]

    def plain(
        self,
        entry: PlanEntry,
        endpoint: Endpoint,
        tally: Tally,
        render: Renderer,
        answer: Answer,
    ) -> Usage:
        """A whole answer came; returns what it used."""
        # Vectors have no finish reason; that they are here is their proper end.
        finish = answer.choices[0].finish if answer.choices else Finish(0, "stop", None)
        usage = self._usage(tally, entry, [] if tally.usage else _texts(answer))
        charge = self._charge(entry, endpoint, tally, usage, finish, "done", answer.upstream_id)
        shown = _without_thoughts(answer) if self.request.hides_reasoning else answer
        charge = self._kept(charge, said_in(answer, thoughts=self._thoughts))
        self._note(render, entry)
        body = render.body(shown, usage, charge.cost, charged=not charge.insured)
        self._finish(Kind.BODY, body, charge)
        return usage

    def streamed(
        self, entry: PlanEntry, endpoint: Endpoint, tally: Tally, render: Renderer
    ) -> Usage:
        """A stream came to its proper end; if a part of it was given up, it did not.

        Returns what it used.
        """
        self.runtime.emitter.settled(self.out)
        if self.out.dropped:
            lost = AnswerLost().failure(endpoint.provider.name)
            return self.broken(entry, endpoint, tally, render, lost)
        usage = self._usage(tally, entry, tally.texts)
        outcome: Outcome = "cancelled" if self.held.order == "cancel" else "done"
        charge = self._charge(entry, endpoint, tally, usage, tally.finish, outcome, None)
        charge = self._kept(charge, said_by(tally, thoughts=self._thoughts))
        self._note(render, entry)
        tail = render.end(usage, charge.cost, charged=not charge.insured)
        self._finish(Kind.END, tail, charge)
        return usage

    def broken(
        self,
        entry: PlanEntry,
        endpoint: Endpoint,
        tally: Tally,
        render: Renderer,
        failure: Failure,
    ) -> Usage:
        """A stream broke after its first byte: an in-band error, and nothing is charged.

        Returns what it used all the same.
        """
        usage = self._usage(tally, entry, tally.texts)
        finish = Finish(0, "error", None)
        charge = self._charge(entry, endpoint, tally, usage, finish, "failed", None)
        charge = self._kept(charge, said_by(tally, thoughts=self._thoughts), failure)
        self._note(render, None)
        self._finish(Kind.END, render.broken(failure), charge)
        return usage

    def cancelled(self, entry: PlanEntry, endpoint: Endpoint, tally: Tally) -> None:
        """The client left and the call was closed: charged for what was produced."""
        # A picture or a sound has no text, and hidden thoughts are not passed on.
        continues = tally.before is not None and bool(tally.before.text)
        produced = bool(tally.texts) or tally.first_ms is not None or continues
        usage = self._usage(tally, entry, tally.texts) if produced else Usage()
        charge = self._charge(entry, endpoint, tally, usage, tally.finish, "cancelled", None)
        charge = self._kept(charge, said_by(tally, thoughts=self._thoughts))
        self._finish(Kind.END, b"", charge)

    def left(self) -> None:
        """The client left before anything was produced, and nothing more will be tried."""
        charge = Charge.unserved(self.spec, "cancelled", self.runtime.clock.now_ms(), self.attempts)
        charge = self._kept(charge, NOTHING)
        self._finish(Kind.END, b"", charge)

    def refused(self, failure: Failure) -> None:
        """Nothing was sent and nothing can be: a real HTTP status and the contract's envelope."""
        charge = Charge.unserved(self.spec, "failed", self.runtime.clock.now_ms(), self.attempts)
        charge = self._kept(charge, NOTHING, failure)
        told = told_after(failure, self.attempts)
        if self.spec.route is not None:
            told["openrouter_metadata"] = self._route(None)
        body = orjson.dumps(told)
        retry_after_s = -(-(failure.retry_after_ms or 0) // 1000)
        self._finish(Kind.ERROR, body, charge, failure.status, retry_after_s)

    @property
    def _thoughts(self) -> bool:
        return not self.request.hides_reasoning

    def _kept(self, charge: Charge, said: Said, failure: Failure | None = None) -> Charge:
        """The charge, with prompt and answer on their way if the account keeps them."""
        keeper = self.runtime.keeper
        if not self.spec.logs or keeper is None:
            return charge
        logged = keeper.keep(
            self.spec, self.out.epoch, self.request, said, failure, charge.attempts
        )
        return replace(charge, logged=logged)

    def _note(self, render: Renderer, selected: PlanEntry | None) -> None:
        if self.spec.route is not None:
            render.note(self._route(selected))

    def _route(self, selected: PlanEntry | None) -> dict[str, Any]:
        """How it was routed, for a caller who asked."""
        endpoints = self.runtime.catalog.current.endpoints
        return router_metadata(self.spec, endpoints, self.attempts, selected)

    def _usage(self, tally: Tally, entry: PlanEntry, texts: list[str]) -> Usage:
        """What is billed: the provider's figures within reason, else our own count."""
        reported = tally.usage
        if reported is None:
            reported = Usage(
                prompt_tokens=_prompt_tokens(self.request),
                completion_tokens=count_tokens("".join(texts)),
                estimated=True,
                flags=("usage_estimated",),
            )
        if isinstance(self.request, EmbeddingsRequest):
            if reported.images:  # some providers count them; more than were sent is not held for
                sent = tally_inputs(self.request).images
                reported = replace(reported, images=min(reported.images, sent))
        elif entry.price.image_pico:
            reported = replace(reported, images=image_count(self.request))
        prompt_max = self.spec.prompt_tokens_max * PROMPT_BOUND_FACTOR
        # One call gives no more than its endpoint can, whatever the longest of the plan is: that,
        # at its own price, is what was held.
        alone = bounded(reported, prompt_max, self._longest(entry))
        whole = with_part(alone, tally.before, entry.byok)
        return bounded(whole, prompt_max, self.spec.completion_tokens_max)

    def _longest(self, entry: PlanEntry) -> int:
        endpoint = self.runtime.catalog.current.endpoints.get(entry.endpoint_id)
        most = self.spec.completion_tokens_max
        return most if endpoint is None else min(most, endpoint.completion_cap)

    def _charge(  # noqa: PLR0913, PLR0917 - the parts of a bill
        self,
        entry: PlanEntry,
        endpoint: Endpoint,
        tally: Tally,
        usage: Usage,
        finish: Finish | None,
        outcome: Outcome,
        upstream_id: str | None,
    ) -> Charge:
        now_ms = self.runtime.clock.now_ms()
        terms = self.spec.terms(entry)
        first_ms = tally.first_ms if tally.before is None else tally.before.first_ms
        return Charge(
            generation_id=self.spec.generation_id,
            outcome=outcome,
            api=self.spec.api,
            stream=self.spec.stream,
            created_ms=self.spec.created_ms,
            finished_ms=now_ms,
            caller=self.spec.caller,
            model_id=entry.model_id,
            endpoint_id=entry.endpoint_id,
            provider=endpoint.provider.name,
            upstream_id=upstream_id,
            usage=usage,
            price=entry.price,
            finish_reason=finish.reason if finish else None,
            native_finish_reason=finish.native if finish else None,
            latency_ms=first_ms - self.spec.created_ms if first_ms else None,
            generation_ms=now_ms - first_ms if first_ms else None,
            hold_nano=self.spec.hold_nano,
            attempts=self.attempts,
            byok=entry.byok,
            fee_ppm=terms.fee_ppm,
            discount_ppm=terms.discount_ppm,
        )

    def _finish(
        self, kind: Kind, tail: bytes, charge: Charge, status: int = 200, retry_after_s: int = 0
    ) -> None:
        frame = self.runtime.emitter.last_frame(
            self.out, kind, tail, status=status, retry_after_s=retry_after_s
        )
        used = charge.usage.prompt_tokens + charge.usage.completion_tokens
        told = self.runtime.emitter.finish(
            self.out, frame, _STATES[charge.outcome], charge.to_json(), used
        )
        self.runtime.metrics.finished(charge, told)
        _log(charge, told, status)


def _texts(answer: Answer) -> list[str]:
    """All that the model wrote, for counting it when the provider did not."""
    texts = []
    for choice in answer.choices:
        texts += [str(choice.message.get(name) or "") for name in ("content", "reasoning")]
        texts += called(choice.message)
    return texts


def _prompt_tokens(request: InferenceRequest) -> int:
    """Our own count of a prompt, for calls whose provider reported none."""
    if isinstance(request, EmbeddingsRequest):
        return count_tokens(embedded_text(request)) + numbered_tokens(request)
    return count_tokens(spoken_text(request)) + MESSAGE_TOKENS * len(request.messages or ())


def _without_thoughts(answer: Answer) -> Answer:
    """For a caller who wants no thinking shown."""
    thoughts = {"reasoning", "reasoning_details"}
    return replace(
        answer,
        choices=tuple(
            replace(
                choice,
                message={name: v for name, v in choice.message.items() if name not in thoughts},
            )
            for choice in answer.choices
        ),
    )


def _log(charge: Charge, told: str, status: int) -> None:
    """The canonical line: one per generation, no prompt, no key."""
    log.info(
        "generation",
        action="generation.finished",
        told=told,
        generation_id=charge.generation_id,
        request_id=charge.caller.request_id,
        account=charge.caller.account_id,
        model=charge.model_id,
        endpoint=charge.endpoint_id,
        provider=charge.provider,
        outcome=charge.outcome,
        status=status,
        finish_reason=charge.finish_reason,
        ttft_ms=charge.latency_ms,
        ms=charge.finished_ms - charge.created_ms,
        tokens_in=charge.usage.prompt_tokens,
        tokens_out=charge.usage.completion_tokens,
        cost_usd=0 if charge.insured else usd(charge.cost.charged_nano),
        attempts=len(charge.attempts),
        flags=list(charge.usage.flags),
    )
