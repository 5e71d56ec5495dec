"""In which order endpoints are tried. Pure: health and randomness are passed in.

Without `sort` and `order` the load is balanced by price: the first endpoint is drawn among the
stable ones with weight 1 / price², the other stable ones follow by price, the unstable ones come
last by price. The endpoint whose prompt cache holds the conversation goes before the draw, as long
as it is stable. `sort` and `order` are strict: nothing is drawn or sticky and outages are not
looked at, since the breaker still keeps a dead endpoint from being called.

The price compared is that of a typical request of 750 prompt and 250 completion tokens, request
and image prices included: chat is about three parts prompt to one part answer. Throughput and
latency are compared by their medians; endpoints without figures follow those that have some, by
price. Equal ones are ordered by price, then by endpoint id, so that every process makes the same
plan from the same draw.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType

from routing.catalog.shapes import Price
from routing.figures import Percentiles
from routing.preferences import Candidate, Preferences, SortBy, matches

_PROMPT_SHARE = 750
_COMPLETION_SHARE = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the fleet has lately seen of endpoints, by endpoint id.

    Attributes:
        unstable: significant outages within the last 30 seconds.
        throughput: tokens per second.
        latency: milliseconds to the first token.
    """

    unstable: frozenset[str] = frozenset()
    throughput: Mapping[str, Percentiles] = field(default_factory=lambda: MappingProxyType({}))
    latency: Mapping[str, Percentiles] = field(default_factory=lambda: MappingProxyType({}))


def typical_pico(price: Price, images: int = 0) -> int:
    """The price of a typical request, for comparing endpoints."""
    return (
        _PROMPT_SHARE * price.prompt_pico
        + _COMPLETION_SHARE * price.completion_pico
        + price.request_pico
        + images * price.image_pico
    )


@dataclass(frozen=True, slots=True)
class Ranking:
    """Everything ranking depends on, for one request.

    Attributes:
        sticky: the endpoint that cached this conversation; "" for none.
    """

    preferences: Preferences
    health: Health
    rng: random.Random
    images: int = 0
    sticky: str = ""

    def rank(self, candidates: list[Candidate], sort: SortBy | None) -> list[Candidate]:
        """All candidates, best first."""
        order = self.preferences.order
        if not order:
            return self._sorted(candidates, sort) if sort else self._balanced(candidates)
        # Without a sort the rest is not balanced either, but outages still count there.
        ranked = self._sorted(candidates, sort or "price")
        listed: dict[str, Candidate] = {}
        for slug in order:
            for candidate in ranked:
                if matches(slug, candidate.endpoint):
                    listed.setdefault(candidate.endpoint.id, candidate)
        rest = [c for c in ranked if c.endpoint.id not in listed]
        if sort is None:
            rest.sort(key=lambda c: c.endpoint.id in self.health.unstable)
        return [*listed.values(), *rest]

    def preferred_first(
        self, candidates: list[Candidate], *, balanced: bool = False
    ) -> list[Candidate]:
        """Those that meet the preferred throughput and latency first; nothing is dropped.

        An endpoint without figures is not known to meet them. Where the load is balanced the
        unstable ones stay last.
        """
        wanted = self.preferences
        if wanted.order or not (wanted.min_throughput or wanted.max_latency_ms):
            return candidates
        unstable = self.health.unstable if balanced else frozenset[str]()
        return sorted(
            candidates, key=lambda c: (c.endpoint.id in unstable, not self.meets(c.endpoint.id))
        )

    def meets(self, endpoint_id: str) -> bool:
        """Whether every preferred percentile of an endpoint is met."""
        wanted = self.preferences
        fast, late = self.health.throughput.get(endpoint_id), self.health.latency.get(endpoint_id)
        return all(
            fast is not None and fast.at(percent) >= least
            for percent, least in wanted.min_throughput
        ) and all(
            late is not None and late.at(percent) <= most for percent, most in wanted.max_latency_ms
        )

    def weights(self, stable: list[Candidate]) -> list[float]:
        """Of the draw among stable endpoints, cheapest first in the list: 1 / price².

        Relative to the cheapest, so that every weight is in [0, 1] whatever the unit. Free ones
        share all the draws among them.
        """
        prices = [typical_pico(c.rates, self.images) for c in stable]
        cheapest = prices[0]
        if cheapest == 0:
            return [float(price == 0) for price in prices]
        return [(cheapest / price) ** 2 for price in prices]

    def by_price(self, candidates: list[Candidate]) -> list[Candidate]:
        """Cheapest first."""
        return self._sorted(candidates, "price")

    def _sorted(self, candidates: list[Candidate], sort: SortBy) -> list[Candidate]:
        return sorted(candidates, key=self._key(sort))

    def _key(self, sort: SortBy) -> Callable[[Candidate], tuple[float, int, str]]:
        def key(c: Candidate) -> tuple[float, int, str]:
            return figure(c.endpoint.id), typical_pico(c.rates, self.images), c.endpoint.id

        def figure(endpoint_id: str) -> float:
            if sort == "price":
                return 0.0
            if sort == "latency":
                found = self.health.latency.get(endpoint_id)
                return inf if found is None else found.p50
            found = self.health.throughput.get(endpoint_id)
            return inf if found is None else -found.p50

        return key

    def _balanced(self, candidates: list[Candidate]) -> list[Candidate]:
        by_price = self.by_price(candidates)
        if len(by_price) == 1:
            return by_price
        unstable = self.health.unstable
        stable = [c for c in by_price if c.endpoint.id not in unstable]
        # Who wants one endpoint only is to get the cheapest, not any.
        if len(stable) > 1 and self.preferences.allow_fallbacks:
            stable.insert(0, stable.pop(self._first(stable)))
        return stable + [c for c in by_price if c.endpoint.id in unstable]

    def _first(self, stable: list[Candidate]) -> int:
        """The one that cached the conversation, else one drawn by weight."""
        if self.sticky:
            for index, candidate in enumerate(stable):
                if candidate.endpoint.id == self.sticky:
                    return index
        weights = self.weights(stable)
        left = self.rng.random() * sum(weights)
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        return 0
