"""The table `make money` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_HEADS = ("fault", "tried", "overspent", "doubled", "broken", "seed", "seconds")
_WIDTH = 58


@dataclass(slots=True, kw_only=True)
class Row:
    """One line, and the sentences behind its figures.

    Attributes:
        tried: requests, deliveries or sequences.
        overspent: accounts, keys and budgets that spent more than they had.
        doubled: generations that moved money more than once.
        broken: anything else that is not as it must be.
    """

    fault: str
    tried: int = 0
    overspent: int = 0
    doubled: int = 0
    seed: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether all is as it must be."""
        return not (self.overspent or self.doubled or self.broken)

    def wants(self, what: str, found: object, expected: object) -> None:
        """Note what is not as expected."""
        if found != expected:
            self.broken.append(f"{what}: {found}, not {expected}")


def heads() -> str:
    """The two lines a Markdown table begins with."""
    return _line(_HEADS) + "\n" + _line(["-" * len(name) for name in _HEADS])


def line(row: Row) -> str:
    """One row."""
    broken = len(row.broken)
    figures = (row.tried, row.overspent, row.doubled, broken, row.seed)
    return _line([row.fault, *(f"{figure:,}" for figure in figures), f"{row.seconds:.1f}"])


def _line(cells: Sequence[object]) -> str:
    first, *others = cells
    padded = (f"{cell!s:>9}" for cell in others)
    return f"| {first!s:<{_WIDTH}} | " + " | ".join(padded) + " |"
