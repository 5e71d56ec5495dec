"""What a call teaches for later ones: the figures of its endpoint, and who holds which prompt."""

from __future__ import annotations

from contextlib import suppress

from routing.catalog.shapes import Endpoint
from routing.errors import Failure, Unavailable
from routing.figures import Seen, outcome_of
from routing.sticky import SESSION, saves
from routing.tokens import count_tokens
from routing.usage import Usage
from routing.wire.chat import ChatRequest
from routing.wire.job import JobSpec, PlanEntry
from routing.wire.request import InferenceRequest
from workers.call import Tally
from workers.runtime import Runtime
from workers.tool_quality import Judge

#: The shortest prompt providers cache by themselves.
CACHED_TOKENS_MIN = 1_024


def judge_of(request: InferenceRequest) -> Judge | None:
    """Who hears the tool calls; None for a request without tools."""
    if not isinstance(request, ChatRequest) or not request.tools:
        return None
    return Judge([tool.model_dump(exclude_unset=True) for tool in request.tools])


def used_tokens(tally: Tally) -> int:
    """What a call took of a rate of tokens; 0 when the provider did not say."""
    usage = tally.usage
    return 0 if usage is None else usage.prompt_tokens + usage.completion_tokens


def learn(  # noqa: PLR0913, PLR0917 - one call in figures
    runtime: Runtime,
    endpoint: Endpoint,
    tally: Tally,
    failure: Failure | None,
    first_byte_ms: int | None,
    elapsed_ms: int,
    judge: Judge | None = None,
) -> None:
    """Count a call that is over. Judges tools, so it comes after the last frame."""
    outcome = outcome_of(failure, tally.finish.reason if tally.finish is not None else None)
    if outcome is None:
        return
    answered = failure is None
    runtime.figures.seen(
        Seen(
            endpoint_id=endpoint.id,
            outcome=outcome,
            first_byte_ms=first_byte_ms,
            completion_tokens=_completion_tokens(tally) if answered else 0,
            elapsed_ms=elapsed_ms,
            tools=judge.tally() if judge is not None and answered else None,
        )
    )


def remember(
    runtime: Runtime, spec: JobSpec, entry: PlanEntry, endpoint: Endpoint, usage: Usage
) -> None:
    """Send the next turn of this conversation to the endpoint that has its prompt cached."""
    if not spec.sticky or not saves(entry.price):
        return
    cached = usage.cached_tokens or usage.cache_write_tokens
    by_itself = endpoint.implicit_caching and usage.prompt_tokens >= CACHED_TOKENS_MIN
    if cached or by_itself or spec.sticky.startswith(SESSION):
        with suppress(Unavailable):
            runtime.sticky.remember(spec.sticky, endpoint.id)


def _completion_tokens(tally: Tally) -> int:
    if tally.usage is not None:
        return tally.usage.completion_tokens
    return count_tokens("".join(tally.texts))
