"""Figures of the whole fleet in Redis: hashes per minute and per hour.

A field is `<endpoint id>|<counter>`. Which minute it is says Redis's clock alone, so a minute that
is over by it never changes and is read once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

from routing.figures import HOURS, MINUTES, Counts, History, Past, Period, merged
from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.scripts import Scripts, translated

#: Ten minutes and two hours longer than they are looked at.
MINUTE_LIFE_MS = 40 * 60_000
HOUR_LIFE_MS = 26 * 3_600_000
#: Longer than a batch is ever tried: a worker gives it up after a minute of flushes, each of which
#: may take a command's time-out and a connection's.
MARK_LIFE_MS = 5 * 60_000
#: Counters for one run of the script, which keeps Redis busy for about a millisecond.
BATCH_MAX = 1_000
#: Fields parsed between two pauses: about a millisecond.
FIELDS_MAX = 500
MINUTE_S, HOUR_S = 60, 3_600


def new_batch_id() -> str:
    """A name for a batch that may have to be sent again."""
    return secrets.token_hex(8)


class Figures:
    """Adds counts and reads them.

    Raises:
        Unavailable: from every call, when Redis does not answer.

    Args:
        pause: called between bounded pieces of work, so that others get their turn.
    """

    def __init__(self, redis: RedisClient, pause: Callable[[], None] = lambda: None) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self.pause = pause

    def add(self, batch: Mapping[tuple[str, str], int], batch_id: str | None = None) -> None:
        """Add counts, by endpoint id and counter, to the current minute and hour as one.

        Give at most `BATCH_MAX` of them. A batch that is sent again under its id, because nobody
        knows whether it arrived, is counted once.
        """
        arguments: list[str | int] = [MINUTE_LIFE_MS, HOUR_LIFE_MS, MARK_LIFE_MS]
        for (endpoint_id, what), count in batch.items():
            arguments += (f"{endpoint_id}|{what}", count)
        self._scripts.run("figures", (keys.figures_batch(batch_id or new_batch_id()),), arguments)

    def now_s(self) -> int:
        """Seconds since 1970 by Redis's clock."""
        with translated():
            return int(self._redis.time()[0])

    def minutes(self, numbers: Iterable[int]) -> list[Period]:
        """What was counted in each of these minutes (since 1970)."""
        return [self._read(keys.figures_of_minute(number)) for number in numbers]

    def totals(self, numbers: Iterable[int]) -> list[Period]:
        """What was counted in each of these hours (since 1970), without histograms."""
        return [self._read(keys.figures_of_hour(number)) for number in numbers]

    def hours(self, numbers: Sequence[int]) -> list[Period]:
        """What was counted in each of these hours (since 1970)."""
        return [
            merged((self._read(keys.values_of_hour(number)), totals), self.pause)
            for number, totals in zip(numbers, self.totals(numbers), strict=True)
        ]

    def _read(self, name: str) -> Period:
        with translated():
            fields = self._redis.hgetall(name)
        self.pause()
        return period_of(fields, self.pause)


def period_of(fields: Mapping[bytes, bytes], pause: Callable[[], None] = lambda: None) -> Period:
    """One hash, by endpoint."""
    found: dict[bytes, Counts] = {}
    for number, (name, count) in enumerate(fields.items(), 1):
        endpoint_id, _, what = name.rpartition(b"|")
        counts = found.get(endpoint_id)
        if counts is None:
            counts = found[endpoint_id] = Counts()
        counts.count(what.decode(), int(count))
        if number % FIELDS_MAX == 0:
            pause()
    return {endpoint_id.decode(): counts for endpoint_id, counts in found.items()}


class FiguresReader:
    """The last 30 minutes and 24 hours; what is over is kept, only the current is read again."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._minutes: dict[int, Period] = {}
        self._hours: dict[int, Period] = {}
        self._past = Past()
        self._past_of = (0, 0)

    def read(self) -> History:
        """What is known now.

        Raises:
            Unavailable: Redis is away; what was read before is kept.
        """
        figures, now_s = self._figures, self._figures.now_s()
        minute, hour = now_s // MINUTE_S, now_s // HOUR_S
        minutes = _read(figures.minutes, self._minutes, minute, MINUTES)
        hours = _read(figures.totals, self._hours, hour, HOURS)
        self._minutes, self._hours = _over(minutes), _over(hours)
        if self._past_of != (minute, hour):
            self._past = Past.of(
                list(self._minutes.values()), list(self._hours.values()), figures.pause
            )
            self._past_of = (minute, hour)
        return History([minutes[minute]], [hours[hour]], self._past)


def _read(
    read: Callable[[Sequence[int]], list[Period]],
    known: Mapping[int, Period],
    current: int,
    count: int,
) -> dict[int, Period]:
    """The last periods, the current one first; only those not known are asked for."""
    numbers = range(current, current - count, -1)
    missing = [number for number in numbers if number not in known]
    fresh = dict(zip(missing, read(missing), strict=True))
    return {number: fresh[number] if number in fresh else known[number] for number in numbers}


def _over(periods: dict[int, Period]) -> dict[int, Period]:
    """All but the first, which is the current one and still grows."""
    current = next(iter(periods))
    return {number: period for number, period in periods.items() if number != current}
