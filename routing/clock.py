"""Time as a parameter, so that no rule reads the wall clock by itself and no test sleeps."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the code may ask of time."""

    def now_ms(self) -> int:
        """Wall clock, in milliseconds since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Wall clock, in milliseconds since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class FixedClock:
    """A clock that moves only when told to; it ships so that tests need no patching."""

    def __init__(self, now_ms: int = 1_764_806_400_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The moment it was set to."""
        return self._now_ms

    def monotonic(self) -> float:
        """The same moment, in seconds."""
        return self._now_ms / 1000

    def advance(self, ms: int) -> None:
        """Move on by `ms` milliseconds."""
        self._now_ms += ms
