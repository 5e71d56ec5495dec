"""What must come of each verb, in so few lines that it can be read at once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple


class Limit(NamedTuple):
    """So much in each window, own provider keys counted or not."""

    interval: str
    nano: int
    with_byok: bool


class Model:
    """One account: its credit, what is held and spent, and every limit by whose it is."""

    def __init__(self, free: int) -> None:
        self.credit, self.free = 0, free
        self.limits: dict[str, Limit] = {}
        self.spent: list[tuple[tuple[str, ...], int, int, int, int]] = []
        self.held: dict[str, Counter[Any]] = {}

    def window(self, interval: str, ms: int) -> Any:
        at = datetime.fromtimestamp(ms / 1000, tz=UTC)
        spans: dict[str, Any] = {"daily": at.date(), "weekly": at.isocalendar()[:2]}
        return interval, (spans | {"monthly": (at.year, at.month)}).get(interval)

    def left(self, who: str, limit: Limit, ms: int) -> int:
        return limit.nano - sum(
            cost + byok * limit.with_byok
            for whose, at, cost, byok, _ in self.spent
            if who in whose and self.window(limit.interval, at) == self.window(limit.interval, ms)
        )

    def free_left(self, ms: int) -> int:
        month = self.window("monthly", ms)
        used = sum(own for *_, at, _, _, own in self.spent if self.window("monthly", at) == month)
        return self.free - used - self.on_hold(("free", month))

    def on_hold(self, pot: Any) -> int:
        return sum(draws[pot] for draws in self.held.values())

    def admit(self, job: str, whose: tuple[str, ...], ms: int, tries: list[Any]) -> Any:
        for fee, shared, own, terms in tries:  # the first that there is money for, on its terms
            draws, fits = Counter({"credit": max(shared, fee)}), self.credit >= 0
            for who in self.limits.keys() & set(whose):
                limit = self.limits[who]
                pot = who, self.window(limit.interval, ms)
                draws[pot] = max(shared, fee + own * limit.with_byok)
                left = self.left(who, limit, ms)
                fits = fits and left >= 0 and left - self.on_hold(pot) >= draws[pot]
            fits = fits and self.credit - self.on_hold("credit") >= draws["credit"]
            if own and not fee and (fits := fits and self.free_left(ms) >= 1):
                draws["free", self.window("monthly", ms)] = 1
            if fits:
                self.held[job] = draws
                return terms
        return None

    def end(
        self, job: str, whose: tuple[str, ...], ms: int, cost: int, byok: int, own: int
    ) -> None:
        self.held.pop(job, None)
        self.credit -= cost
        self.spent.append((whose, ms, cost, byok, own))
