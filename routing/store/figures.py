"""Figures of the whole fleet in Redis: one hash per minute and one per hour.

A field is `<endpoint id>|<counter>`. Which minute it is says Redis's clock alone, so a minute that
is over by it never changes and is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from routing.figures import HOURS, MINUTES, Counts, History, Period
from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.scripts import Scripts, translated

#: Ten minutes and two hours longer than they are looked at.
MINUTE_LIFE_MS = 40 * 60_000
HOUR_LIFE_MS = 26 * 3_600_000
#: Counters for one run of the script, which keeps Redis busy for about a millisecond.
BATCH_MAX = 1_000
MINUTE_S, HOUR_S = 60, 3_600


class Figures:
    """Adds counts and reads them.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    def add(self, batch: Mapping[tuple[str, str], int]) -> None:
        """Add counts, by endpoint id and counter, to the current minute and hour as one.

        Give at most `BATCH_MAX` of them.
        """
        arguments: list[str | int] = [MINUTE_LIFE_MS, HOUR_LIFE_MS]
        for (endpoint_id, what), count in batch.items():
            arguments += (f"{endpoint_id}|{what}", count)
        self._scripts.run("figures", (), arguments)

    def now_s(self) -> int:
        """Seconds since 1970 by Redis's clock."""
        with translated():
            return int(self._redis.time()[0])

    def minutes(self, numbers: Sequence[int]) -> list[Period]:
        """What was counted in each of these minutes (since 1970)."""
        return self._read([keys.figures_of_minute(number) for number in numbers])

    def hours(self, numbers: Sequence[int]) -> list[Period]:
        """What was counted in each of these hours (since 1970)."""
        return self._read([keys.figures_of_hour(number) for number in numbers])

    def _read(self, names: Sequence[str]) -> list[Period]:
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(name)
            return [period_of(fields) for fields in pipe.execute()]


def period_of(fields: Mapping[bytes, bytes]) -> Period:
    """One hash, by endpoint."""
    found: dict[str, Counts] = {}
    for name, count in fields.items():
        endpoint_id, _, what = name.decode().rpartition("|")
        if endpoint_id not in found:
            found[endpoint_id] = Counts()
        found[endpoint_id].count(what, int(count))
    return found


class FiguresReader:
    """The last 30 minutes and 24 hours; what is over is kept, only the current is read again."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._minutes: dict[int, Period] = {}
        self._hours: dict[int, Period] = {}

    def read(self) -> History:
        """What is known now.

        Raises:
            Unavailable: Redis is away; what was read before is kept.
        """
        now_s = self._figures.now_s()
        minutes = _read(self._figures.minutes, self._minutes, now_s // MINUTE_S, MINUTES)
        hours = _read(self._figures.hours, self._hours, now_s // HOUR_S, HOURS)
        self._minutes, self._hours = _over(minutes), _over(hours)
        return History(list(minutes.values()), list(hours.values()))


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
