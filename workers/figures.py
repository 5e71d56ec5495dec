"""Figures as one process counts them: added up here, told to the fleet once a second."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress

from routing.errors import Unavailable
from routing.figures import Seen, counters
from routing.store.figures import BATCH_MAX, Figures, new_batch_id

#: Batches, so about seconds, kept while Redis is away; the oldest are given up first.
PENDING_MAX = 60


class Recorder:
    """Counts what calls came to. `flush` once a second; nothing here ever raises or waits."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._counted: Counter[tuple[str, str]] = Counter()
        self._pending: deque[tuple[str, dict[tuple[str, str], int]]] = deque(maxlen=PENDING_MAX)

    def seen(self, what: Seen) -> None:
        """Count one call; costs no round trip."""
        for counter, count in counters(what):
            self._counted[what.endpoint_id, counter] += count

    def flush(self) -> None:
        """Tell what was counted since the last time, and what could not be told then."""
        if self._counted:
            counted, self._counted = self._counted, Counter()
            items = list(counted.items())
            for start in range(0, len(items), BATCH_MAX):
                self._pending.append((new_batch_id(), dict(items[start : start + BATCH_MAX])))
        with suppress(Unavailable):
            while self._pending:
                batch_id, batch = self._pending[0]
                self._figures.add(batch, batch_id)
                self._pending.popleft()
