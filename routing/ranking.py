"""In which order endpoints are tried. Pure: health and randomness are passed in.

Without `sort` and `order` the load is balanced by price: the first endpoint is drawn among the
stable ones with weight 1 / price², the other stable ones follow by price, the unstable ones come
last by price. `sort` and `order` are strict: nothing is drawn and health is not looked at, since
the breaker still keeps a dead endpoint from being called.

The price compared is that of a typical request of 750 prompt and 250 completion tokens, request
and image prices included: chat is about three parts prompt to one part answer. Equal ones are
ordered by endpoint id, so that every process makes the same plan from the same draw.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType

from routing.catalog.shapes import Price
from routing.preferences import Candidate, Preferences, SortBy, matches

_PROMPT_SHARE = 750
_COMPLETION_SHARE = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the fleet has lately seen of endpoints, by endpoint id.

    Attributes:
        unstable: significant outages within the last 30 seconds.
        throughput: tokens per second, median.
        latency: milliseconds to the first token, median.
    """

    unstable: frozenset[str] = frozenset()
    throughput: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    latency: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


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
    """Everything ranking depends on, for one request."""

    preferences: Preferences
    health: Health
    rng: random.Random
    images: int = 0

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

    def preferred_first(self, candidates: list[Candidate]) -> list[Candidate]:
        """Those that meet the preferred throughput and latency first; nothing is dropped.

        An endpoint without figures is not known to meet them.
        """
        wanted = self.preferences
        if wanted.order or (wanted.min_throughput is None and wanted.max_latency_ms is None):
            return candidates
        return sorted(candidates, key=lambda c: not self._meets(c.endpoint.id))

    def _meets(self, endpoint_id: str) -> bool:
        wanted = self.preferences
        fast = self.health.throughput.get(endpoint_id, 0.0) >= (wanted.min_throughput or 0.0)
        latency_ms = self.health.latency.get(endpoint_id, inf)
        return fast and (wanted.max_latency_ms is None or latency_ms <= wanted.max_latency_ms)

    def _sorted(self, candidates: list[Candidate], sort: SortBy) -> list[Candidate]:
        return sorted(candidates, key=self._key(sort))

    def _key(self, sort: SortBy) -> Callable[[Candidate], tuple[float, str]]:
        match sort:
            case "price":
                return lambda c: (typical_pico(c.price, self.images), c.endpoint.id)
            case "throughput":
                figures = self.health.throughput
                return lambda c: (-figures.get(c.endpoint.id, -1.0), c.endpoint.id)
            case "latency":
                figures = self.health.latency
                return lambda c: (figures.get(c.endpoint.id, inf), c.endpoint.id)

    def _balanced(self, candidates: list[Candidate]) -> list[Candidate]:
        by_price = self._sorted(candidates, "price")
        if len(by_price) == 1:
            return by_price
        unstable = self.health.unstable
        stable = [c for c in by_price if c.endpoint.id not in unstable]
        if len(stable) > 1:
            stable.insert(0, stable.pop(self._draw(stable)))
        return stable + [c for c in by_price if c.endpoint.id in unstable]

    def _draw(self, stable: list[Candidate]) -> int:
        """Draw one, cheapest first in the list, with weight 1 / price²."""
        prices = [typical_pico(c.price, self.images) for c in stable]
        cheapest = prices[0]
        if cheapest == 0:
            return self.rng.randrange(prices.count(0))
        # Relative to the cheapest, so that every weight is in (0, 1] whatever the unit.
        weights = [(cheapest / price) ** 2 for price in prices]
        left = self.rng.random() * sum(weights)
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        return 0
