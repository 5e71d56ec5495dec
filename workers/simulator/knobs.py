"""How long an answer is and how fast it comes."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

CHUNKS_MAX: Final = 100_000
TOKENS_MAX: Final = 100_000
MS_MAX: Final = 3_600_000

_BURST: Final = re.compile(r"sim-burst-(\d{1,5})")
_PACED: Final = re.compile(r"sim-paced-(\d{1,5})x(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The pace of all answers, unless the model id says otherwise.

    Attributes:
        chunks: Pieces of text in a stream; 0 for a natural number of them (12 to 20).
        gap_ms: Time between two pieces. Not 0, so that a newcomer's first stream looks alive.
        first_ms: Time to the first byte of the body.
        tokens: Length of the text; 0 for a short greeting.
    """

    chunks: int = 0
    gap_ms: int = 10
    first_ms: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        limits = {
            "chunks": CHUNKS_MAX,
            "gap_ms": MS_MAX,
            "first_ms": MS_MAX,
            "tokens": TOKENS_MAX,
        }
        for name, most in limits.items():
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= most:
                raise ValueError(f"{name} must be a whole number from 0 to {most}")

    def for_model(self, model: str) -> "Knobs":
        """Return the pace for one model.

        ``sim-burst-20`` is 20 pieces at once, ``sim-paced-20x50`` is 20 pieces 50 ms apart,
        ``sim-plain`` is the default text without any wait. A benchmark needs no other channel:
        the model id is what a router always hands on.
        """
        return _for_model(self, model) if "sim-" in model else self


@lru_cache(maxsize=1024)
def _for_model(knobs: Knobs, model: str) -> Knobs:
    if paced := _PACED.search(model):
        gap_ms = min(int(paced[2]), MS_MAX)
        return replace(knobs, chunks=int(paced[1]), gap_ms=gap_ms, first_ms=0)
    if burst := _BURST.search(model):
        return replace(knobs, chunks=int(burst[1]), gap_ms=0, first_ms=0)
    return Knobs(gap_ms=0) if "sim-plain" in model else knobs
