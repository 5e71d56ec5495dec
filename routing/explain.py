"""Why a request would go where: every candidate, what removed it, its share of the draw, its place.

Planning's own functions do the work, so what is told is what would be done with the same draw.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routing.catalog.shapes import Catalog, Price
from routing.errors import CallerError
from routing.plan import Group, Health, Plan, funnel_of, plan, strategy_of, survey
from routing.preferences import Candidate, PlanRequest, SortBy
from routing.ranking import Ranking


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One candidate.

    Attributes:
        removed_by: the demand it did not meet; "" if it met them all.
        share: its chance of being drawn first among its model's; None where nothing is drawn.
        unstable: it had outages within the last 30 seconds.
        meets: whether it meets the preferred throughput and latency.
        breaker: `closed`, or why it would not be called now.
        place: in the plan, 1 first; None if it is not in it.
    """

    endpoint_id: str
    provider: str
    price: Price
    removed_by: str
    share: float | None
    unstable: bool
    meets: bool
    breaker: str
    place: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLines:
    """One model a request may go to, and its candidates."""

    model_id: str
    sort: SortBy | None
    funnel: list[dict[str, Any]]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The whole of it.

    Attributes:
        plan: None when it would be refused.
        refusal: with what.
    """

    models: tuple[ModelLines, ...]
    plan: Plan | None
    refusal: CallerError | None


def explain(  # noqa: PLR0913 - planning's own arguments
    request: PlanRequest,
    catalog: Catalog,
    health: Health,
    seed: int,
    now_ms: int,
    *,
    sticky: str = "",
    breakers: Mapping[str, str] | None = None,
) -> Explanation:
    """Plan a request and tell how; calls nobody.

    Args:
        request: what it demands.
        catalog: all there is.
        health: what the fleet has lately seen.
        seed: of the draw; the same one explains the same plan.
        now_ms: which prices are in force.
        sticky: the endpoint that cached this conversation.
        breakers: state of those that are not closed, by endpoint id.

    Raises:
        BadRequest: an unknown model.
    """
    groups = survey(request, catalog, _draw(seed), now_ms)
    ranking = Ranking(request.preferences, health, _draw(seed), request.images, sticky)
    try:
        made = plan(request, catalog, health, _draw(seed), now_ms, sticky=sticky)
    except CallerError as error:
        return Explanation(
            models=tuple(_model(group, ranking, {}, breakers or {}) for group in groups),
            plan=None,
            refusal=error,
        )
    places = {(e.model_id, e.endpoint_id): place for place, e in enumerate(made.entries, start=1)}
    return Explanation(
        models=tuple(_model(group, ranking, places, breakers or {}) for group in groups),
        plan=made,
        refusal=None,
    )


def refused_metadata(request: PlanRequest, catalog: Catalog, now_ms: int) -> dict[str, Any]:
    """`openrouter_metadata` of a request that was refused before any provider was asked.

    Raises:
        BadRequest: an unknown model.
    """
    groups = survey(request, catalog, _draw(0), now_ms)
    left = [c for group in groups for c in group.left]
    return {
        "requested": request.models[0],
        "strategy": strategy_of(request, catalog),
        "region": None,
        "summary": "No provider was asked.",
        "attempt": 0,
        "is_byok": False,
        "endpoints": {
            "total": sum(group.total for group in groups),
            "available": [
                {"provider": c.endpoint.provider.name, "model": c.model.id, "selected": False}
                for c in left
            ],
        },
        "attempts": [],
        "routing_funnel": [
            {"model": group.model.id, "steps": funnel_of(group)} for group in groups
        ],
    }


def _draw(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable on purpose


def _model(
    group: Group,
    ranking: Ranking,
    places: Mapping[tuple[str, str], int],
    breakers: Mapping[str, str],
) -> ModelLines:
    removed = _removed(group)
    shares = _shares(group, ranking)
    return ModelLines(
        model_id=group.model.id,
        sort=group.sort,
        funnel=funnel_of(group),
        lines=tuple(
            Line(
                endpoint_id=c.endpoint.id,
                provider=c.endpoint.provider.name,
                price=c.price,
                removed_by=removed.get(c.endpoint.id, ""),
                share=shares.get(c.endpoint.id),
                unstable=c.endpoint.id in ranking.health.unstable,
                meets=ranking.meets(c.endpoint.id),
                breaker=breakers.get(c.endpoint.id, "closed"),
                place=places.get((group.model.id, c.endpoint.id)),
            )
            for c in group.funnel[0][1]
        ),
    )


def _removed(group: Group) -> dict[str, str]:
    """The demand each removed candidate failed first."""
    removed: dict[str, str] = {}
    for (_, before), (step, after) in zip(group.funnel, group.funnel[1:], strict=False):
        kept = {c.endpoint.id for c in after}
        removed |= {c.endpoint.id: step for c in before if c.endpoint.id not in kept}
    kept = {c.endpoint.id for c in group.left}
    for c in group.funnel[-1][1]:
        if c.endpoint.id not in kept:
            removed.setdefault(c.endpoint.id, "Others follow the requested form")
    return removed


def _shares(group: Group, ranking: Ranking) -> dict[str, float]:
    """Each candidate's chance of being first in a balanced group; empty where order is strict."""
    wanted = ranking.preferences
    strict = group.sort is not None or wanted.order or not wanted.allow_fallbacks
    # With these the first of a model is not the first that was drawn.
    mixed = wanted.partition == "none" or wanted.min_throughput or wanted.max_latency_ms
    if not group.left or strict or mixed:
        return {}
    stable: list[Candidate] = [
        c for c in ranking.by_price(group.left) if c.endpoint.id not in ranking.health.unstable
    ]
    if not stable:
        return {}
    if any(c.endpoint.id == ranking.sticky for c in stable):
        return {c.endpoint.id: float(c.endpoint.id == ranking.sticky) for c in stable}
    weights = ranking.weights(stable)
    return {c.endpoint.id: w / sum(weights) for c, w in zip(stable, weights, strict=True)}
