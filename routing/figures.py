"""Figures of endpoints from our own attempts: what is counted, how it is kept, what it says.

Latency and throughput are kept as histograms with logarithmic buckets, so that those of many
processes and minutes are added up without losing their percentiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Percent = Literal["p50", "p75", "p90", "p99"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Four percentiles; a higher one is always the worse figure.

    So `p90` of a latency is what 90 % of the calls stay below, and `p90` of a throughput what 90 %
    of them reach.
    """

    p50: float
    p75: float
    p90: float
    p99: float

    def at(self, percent: Percent) -> float:
        """One of them by name."""
        value: float = getattr(self, percent)
        return value
