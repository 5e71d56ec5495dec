"""What a Claude model takes, read from its name."""

import re
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(r"claude-(?:[a-z]+-)?(?P<major>\d)(?:[-.](?P<minor>\d)(?!\d))?")

_THINKS: Final = (3, 7)
_ONE_SAMPLER: Final = (4, 1)
_EFFORT: Final = (4, 5)
_ADAPTIVE: Final = (4, 6)
_ADAPTIVE_ONLY: Final = (4, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """The rules of a generation of models.

    Attributes:
        thinks: Whether it thinks at all.
        budgets: Whether its thinking takes a budget.
        adaptive: Whether it can decide itself how long it thinks.
        effort: Whether it takes an effort.
        samples: Whether it takes ``temperature``, ``top_p`` and ``top_k``.
        both_samplers: Whether ``temperature`` and ``top_p`` may be set together.
        prefill: Whether the last message may be the assistant's.
        shows: Whether its thoughts are shown unless they are omitted by request.
    """

    thinks: bool = True
    budgets: bool = True
    adaptive: bool = True
    effort: bool = True
    samples: bool = True
    both_samplers: bool = True
    prefill: bool = True
    shows: bool = True


def manners_of(model: str) -> Manners:
    """Return the rules for a model; a name that is not Claude's may do everything."""
    found = _NAME.search(model)
    if found is None:
        return Manners()
    generation = (int(found["major"]), int(found["minor"] or 0))
    return Manners(
        thinks=generation >= _THINKS,
        budgets=generation < _ADAPTIVE_ONLY,
        adaptive=generation >= _ADAPTIVE,
        effort=generation >= _ADAPTIVE or (generation == _EFFORT and "opus" in model),
        samples=generation < _ADAPTIVE_ONLY,
        both_samplers=generation < _ONE_SAMPLER,
        prefill=generation < _ADAPTIVE,
        shows=generation < _ADAPTIVE_ONLY,
    )
