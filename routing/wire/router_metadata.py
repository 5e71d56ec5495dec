"""How a request was routed, for a caller who asked: `openrouter_metadata` (contract 13.14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routing.catalog.shapes import Endpoint
from routing.errors import Failure
from routing.wire.job import AttemptRecord, JobSpec, PlanEntry

#: The status of errors that tell nothing of the inside.
INTERNAL = 500
_WHY: Mapping[str, str] = {
    "direct": "as requested",
    "fallback": "as a fallback",
    "auto": "chosen by the prompt",
    "free": "chosen among the free models",
}


class Noted:
    """What a renderer shows of the routing, once somebody told it."""

    def __init__(self) -> None:
        self._noted: dict[str, Any] = {}

    def note(self, metadata: Mapping[str, Any]) -> None:
        """Show this in what `end`, `broken` or `body` makes next; empty shows nothing."""
        self._noted = {"openrouter_metadata": metadata} if metadata else {}

    def _noted_beside(self, failure: Failure) -> dict[str, Any]:
        """What a broken answer shows: an internal error tells nothing of the inside."""
        return {} if failure.status == INTERNAL else self._noted


def router_metadata(
    spec: JobSpec,
    endpoints: Mapping[str, Endpoint],
    attempts: Sequence[AttemptRecord],
    selected: PlanEntry | None,
) -> dict[str, Any]:
    """The object of the answer or the error envelope; empty when the caller did not ask for it.

    Args:
        spec: the job; its plan is what was available.
        endpoints: of the catalog, by id, for the names of providers.
        attempts: the calls made, in order, the one that answered included.
        selected: the entry that answered; None when none did.
    """
    route = spec.route
    if route is None:
        return {}
    return {
        "requested": route.requested,
        "strategy": route.strategy,
        "region": None,
        "summary": _summary(spec, endpoints, attempts, selected),
        "attempt": _number(attempts, selected),
        "is_byok": selected is not None and bool(selected.byok),
        "endpoints": {
            "total": max(route.total, len(spec.entries)),
            "available": [
                {
                    "provider": _provider(entry.endpoint_id, endpoints),
                    "model": entry.model_id,
                    "selected": entry == selected,
                }
                for entry in spec.entries
            ],
        },
        "attempts": [
            {
                "provider": attempt.provider,
                "model": _model(spec, attempt, selected),
                "status": attempt.status,
                "latency": attempt.latency_ms,
            }
            for attempt in attempts
        ],
    }


def _number(attempts: Sequence[AttemptRecord], selected: PlanEntry | None) -> int:
    """Which attempt answered, counted from 1; the last one when none did."""
    if selected is not None:
        for number in range(len(attempts), 0, -1):
            if attempts[number - 1].endpoint_id == selected.endpoint_id:
                return number
    return len(attempts)


def _summary(
    spec: JobSpec,
    endpoints: Mapping[str, Endpoint],
    attempts: Sequence[AttemptRecord],
    selected: PlanEntry | None,
) -> str:
    if selected is None:
        if not attempts:
            return f"No provider was called, of {_counted(len(spec.entries), 'endpoint')}."
        last, counted = attempts[-1], _counted(len(attempts), "attempt")
        return f"No answer after {counted}; {last.provider} was last, with status {last.status}."
    strategy = spec.route.strategy if spec.route else ""
    first = selected.model_id == spec.entries[0].model_id
    why = _WHY.get("direct" if strategy == "fallback" and first else strategy, strategy)
    provider = _provider(selected.endpoint_id, endpoints)
    number = _number(attempts, selected)
    return f"{provider} answered with {selected.model_id}, {why}, at attempt {number}."


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _provider(endpoint_id: str, endpoints: Mapping[str, Endpoint]) -> str:
    """Its display name; the slug of one that has left the catalog since the plan was made."""
    endpoint = endpoints.get(endpoint_id)
    if endpoint is not None:
        return endpoint.provider.name
    return endpoint_id.partition(":")[0].partition("/")[0]


def _model(spec: JobSpec, attempt: AttemptRecord, selected: PlanEntry | None) -> str:
    """As the plan names it: a variant shares the endpoints of the model it is a variant of."""
    entries = spec.entries if selected is None else (selected, *spec.entries)
    for entry in entries:
        if entry.endpoint_id == attempt.endpoint_id:
            return entry.model_id
    return attempt.endpoint_id.partition(":")[2]
