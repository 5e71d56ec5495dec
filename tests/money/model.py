"""What money ought to do, in the fewest words: the other side of `test_verbs`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Model:
    """Pots by scope. `cap` is what a window may spend; of credit, what was ever given."""

    cap: dict[str, int] = field(default_factory=dict)
    spent: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    open: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def left(self, scope: str) -> int:
        """Posted balance."""
        return self.cap[scope] - self.spent[scope]

    def admit(self, job: str, draws: Mapping[str, int]) -> bool:
        """All draws or none."""
        for scope, need in draws.items():
            if self.left(scope) < 0 or self.left(scope) - self.held[scope] < need:
                return False
        self.open[job] = draws
        self.held.update(draws)
        return True

    def settle(self, job: str, paid: Mapping[str, int]) -> None:
        """The hold goes back, what was used is spent; a second time nothing happens."""
        if job in self.open:
            self.held.subtract(self.open.pop(job))
            self.spent.update(paid)
