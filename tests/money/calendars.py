"""Windows reset once, at midnight UTC, whatever the machine's time zone says.

Run as a child: `python -m tests.money.calendars LEDGER REDIS CATALOG` tries every zone and prints
what it found as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from billing import accounts, api_keys
from billing.accounts import Grant
from billing.api_keys import KeyTerms
from routing.budgets import Interval, organisation
from routing.clock import FixedClock
from routing.errors import RouterError
from routing.wire.account import KeyRecord
from routing.wire.job import JobSpec
from tests.money.ground import FIXED_NANO, Ground, Place, bound, call, ending, give_provider_key
from tests.money.table import Row

#: As POSIX writes them, so that no time zone database is needed: offsets of both signs and of
#: parts of an hour, changes of clocks in the north and the south, one by half an hour.
ZONES = (
    "EST5EDT,M3.2.0,M11.1.0",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "LHST-10:30LHDT-11,M10.1.0,M4.1.0",
    "NPT-5:45",
)
#: Moments before and at which something is asked for: midnights UTC of years, months, leap days
#: and weeks, and moments at which only local clocks change or strike twelve.
MOMENTS = (
    "2027-12-31T23:00", "2028-01-01T00:00", "2028-02-29T00:00", "2028-03-01T00:00",
    "2027-03-01T00:00", "2027-03-14T07:00", "2027-03-28T01:00", "2027-10-31T01:00",
    "2027-11-01T00:00", "2027-04-03T15:00", "2027-06-01T04:00", "2027-06-07T00:00",
)  # fmt: skip
INTERVALS: tuple[Interval, ...] = ("daily", "weekly", "monthly")
CHILD_S = 300
HOUR_MS = 3_600_000


def run(place: Place, row: Row, *, zones: Sequence[str] = ZONES) -> None:
    """Try it all in a process of its own, whose time zone may be changed."""
    urls = (place.ledger_url, place.redis_url, place.catalog)
    child = subprocess.run(
        [sys.executable, "-m", "tests.money.calendars", *urls, *zones],
        capture_output=True,
        text=True,
        check=False,
        timeout=CHILD_S,
    )
    if child.returncode:
        row.broken.append(child.stderr[-500:])
        return
    told = json.loads(child.stdout)
    row.tried += told["tried"]
    row.broken += told["broken"]


def resets(interval: Interval, moment_ms: int) -> bool:
    """Whether a window begins at a moment, by the calendar alone."""
    at = datetime.fromtimestamp(moment_ms / 1000, tz=UTC)
    if (at.hour, at.minute, at.second) != (0, 0, 0):
        return False
    return {"daily": True, "weekly": at.weekday() == 0, "monthly": at.day == 1}[interval]


class _Trial:
    """All cases in one zone."""

    def __init__(self, ground: Ground, clock: FixedClock, row: Row) -> None:
        self._ground, self._clock, self._row = ground, clock, row

    def all(self, zone: str) -> None:
        """Each moment, each interval."""
        for place, text in enumerate(MOMENTS):
            moment_ms = int(datetime.fromisoformat(text + "+00:00").timestamp()) * 1000
            for interval in INTERVALS:
                terms = KeyTerms(name="k", limit_nano=FIXED_NANO, limit_reset=interval)
                self._limit(f"{zone} {text} {interval}", moment_ms, interval, terms)
            interval = INTERVALS[place % len(INTERVALS)]
            self._limit(f"{zone} {text} {interval} budget", moment_ms, interval, None)
            self._free(f"{zone} {text} free", moment_ms)

    def _limit(self, name: str, moment_ms: int, interval: Interval, terms: KeyTerms | None) -> None:
        """A key, or without its terms an organisation, that is worth one request in each window."""
        self._at(moment_ms - 1)
        account, key_hash = self._customer(terms or KeyTerms(name="k"))
        if terms is None:
            owner = organisation(account)
            bound(self._ground.ledger, account, owner, interval, FIXED_NANO, moment_ms)
        key = self._known(key_hash)
        specs = [self._asked(key), self._asked(key)]
        self._at(moment_ms)
        specs.append(self._asked(key))
        # The first ends only now: it belongs to the window it was let in.
        self._end(specs[0])
        specs.append(self._asked(key))
        self._end(specs[2])
        specs.append(self._asked(key))
        self._at(moment_ms + HOUR_MS)
        specs.append(self._asked(key))
        self._end(*specs[3:])
        now, later = (resets(interval, ms) for ms in (moment_ms, moment_ms + HOUR_MS))
        found = [spec is not None for spec in specs]
        self._judge(name, found, [True, False, now, False, False, later])

    def _free(self, name: str, moment_ms: int) -> None:
        """One request with an own provider key is free in each month."""
        self._at(moment_ms - 1)
        account, key_hash = self._customer(KeyTerms(name="k"))
        give_provider_key(self._ground.ledger, account, moment_ms, always_use=True)
        key = self._known(key_hash)
        specs = [self._asked(key), self._asked(key)]
        self._at(moment_ms)
        specs += [self._asked(key), self._asked(key)]
        self._end(*specs)
        specs.append(self._asked(key))
        self._end(specs[-1])
        fees = [spec is not None and spec.fee_ppm > 0 for spec in specs]
        self._judge(name, fees, [False, True, not resets("monthly", moment_ms), True, True])

    def _judge(self, name: str, found: list[bool], expected: list[bool]) -> None:
        self._row.tried += 1
        self._row.wants(name, found, expected)

    def _at(self, moment_ms: int) -> None:
        self._clock.advance(moment_ms - self._clock.now_ms())

    def _customer(self, terms: KeyTerms) -> tuple[str, str]:
        ledger, now_ms = self._ground.ledger, self._clock.now_ms()
        account = accounts.create_account(ledger, "Ada", now_ms)
        grant = Grant(amount_nano=10**12, reference=f"grant {account.id}")
        accounts.grant(ledger, account.id, grant, now_ms)
        return account.id, api_keys.mint(ledger, account.id, terms, now_ms)[1].key_hash

    def _known(self, key_hash: str) -> KeyRecord:
        record = api_keys.find(self._ground.ledger, key_hash, self._clock.now_ms())
        assert record is not None
        return record

    def _asked(self, key: KeyRecord) -> JobSpec | None:
        try:
            return self._ground.accept(call(key))
        except RouterError:
            return None

    def _end(self, *specs: JobSpec | None) -> None:
        for spec in specs:
            if spec is not None:
                self._ground.finish(ending(spec, self._clock.now_ms()))
        self._ground.settle()


def main(place: Place, zones: list[str]) -> Row:
    """Every zone in turn."""
    row, clock = Row(fault=""), FixedClock()
    ground = Ground(place, clock, free_requests=1)
    trial = _Trial(ground, clock, row)
    offsets = set()
    for zone in zones:
        os.environ["TZ"] = zone  # noqa: TID251 - this process is there for it
        time.tzset()
        offsets.add(time.localtime(0).tm_gmtoff)
        trial.all(zone)
    row.wants("zones that took effect", len(offsets), len(set(zones)))
    clock.advance(400 * 24 * HOUR_MS)
    row.broken += ground.broken()
    ground.close()
    return row


if __name__ == "__main__":
    ledger_url, redis_url, catalog, *names = sys.argv[1:]
    done = main(Place(ledger_url, redis_url, catalog), names)
    json.dump({"tried": done.tried, "broken": done.broken}, sys.stdout)
