"""The command: `python -m tests.money [--seed 1] [--only key,machine] [--share 100]`.

On SQLite and on PostgreSQL, each with a Redis of its own; all of it on this machine.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from routing.clock import FixedClock, SystemClock
from tests.money import calendars, machine, races, settlings
from tests.money.ground import DATABASES, Ground, Place, grounds
from tests.money.table import Row, heads, line

REQUESTS = 1_000
GENERATIONS = 10_000
#: That are asked for: Hypothesis plays a fifth more, so that over 10,000 are played.
SEQUENCES = 8_800
STEPS = 6
RELOADS, DAYS = 8, 100
#: By scene: what its row is called, and how many rounds it has.
SCENES: dict[str, tuple[races.Scene, str, int]] = {
    "key": (races.of_key, "1,000 at once, key worth 10", 20),
    "account": (races.of_account, "1,000 at once, account worth 10, 5 keys", 20),
    "all": (races.of_all, "1,000 at once, organization, member and key", 20),
    "streams": (races.of_streams, "1,000 streams of unknown length at once", 5),
    "own": (races.of_own_keys, "1,000 at once, own keys count to the limit", 5),
}
#: The command ends itself after this, whatever hangs.
LONGEST_S = 1_200
PROBLEMS_SHOWN = 5

Part = Callable[[Place, Row], None]


def main() -> int:
    """Run all rows; 0 when nobody overspent, nothing was doubled and nothing broke."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, lambda *_: sys.exit(1))
    signal.alarm(LONGEST_S)
    started_s = time.monotonic()
    _tell(heads())
    with grounds() as fresh:
        rows = _races(options, fresh) + _rest(options, fresh)
    sound = all(row.sound for row in rows)
    told = "All is as it must be." if sound else "See above."
    _tell(f"\n{told} It took {time.monotonic() - started_s:.0f} s.")
    return 0 if sound else 1


def _races(options: argparse.Namespace, fresh: Callable[[str], Place]) -> list[Row]:
    scenes = [name for name in SCENES if name in options.only]
    if not scenes:
        return []
    rows = []
    with races.callers(requests=REQUESTS) as callers:
        for name in scenes:
            scene, fault, rounds = SCENES[name]
            play = partial(_race, callers=callers, scene=scene, rounds=_part(rounds, options.share))
            rows += [_row(fault, play, options.seed, fresh, database) for database in DATABASES]
    return rows


def _race(
    place: Place, row: Row, *, callers: races.Callers, scene: races.Scene, rounds: int
) -> None:
    ground = Ground(place, SystemClock())
    races.run(ground, callers, scene, row, rounds=rounds, requests=REQUESTS)
    ground.close()


def _rest(options: argparse.Namespace, fresh: Callable[[str], Place]) -> list[Row]:
    """The rows that need one core: both databases at a time."""
    share = options.share
    parts: dict[str, tuple[str, Part]] = {
        "duplicates": (
            "each settlement delivered 4 times or more",
            partial(_duplicates, count=_part(GENERATIONS, share)),
        ),
        "prices": (
            "price changed under way",
            partial(_prices, reloads=_part(RELOADS, share), days=_part(DAYS, share)),
        ),
        "calendars": ("months, leap days, clock changes, 4 time zones", calendars.run),
        "machine": (
            "any sequence of all verbs, against a model",
            partial(machine.run, count=_part(SEQUENCES // len(DATABASES), share), steps=STEPS),
        ),
    }
    rows: list[Row] = []
    with ThreadPoolExecutor(len(DATABASES)) as pool:
        for name, (fault, part) in parts.items():
            if name in options.only:
                one = partial(_row, fault, part, options.seed, fresh)
                rows += pool.map(one, DATABASES)
    return rows


def _duplicates(place: Place, row: Row, *, count: int) -> None:
    ground = Ground(place, FixedClock())
    settlings.duplicates(ground, row, count=count)
    ground.close()


def _prices(place: Place, row: Row, *, reloads: int, days: int) -> None:
    clock = FixedClock()
    ground = Ground(place, clock)
    settlings.price_changes(ground, clock, row, reloads=reloads, days=days)
    ground.close()


def _row(fault: str, part: Part, seed: int, fresh: Callable[[str], Place], database: str) -> Row:
    row = Row(fault=f"{fault} ({database})", seed=seed)
    place = fresh(database)
    started_s = time.monotonic()
    part(place, row)
    row.seconds = time.monotonic() - started_s
    problems = [f"  ! {problem}" for problem in row.broken[:PROBLEMS_SHOWN]]
    _tell("\n".join([line(row), *problems]))
    return row


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _part(whole: int, percent: int) -> int:
    return max(1, whole * percent // 100)


def _options() -> argparse.Namespace:
    names = [*SCENES, "duplicates", "prices", "calendars", "machine"]
    parser = argparse.ArgumentParser(prog="python -m tests.money", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of mixes and sequences")
    parser.add_argument("--share", type=int, default=100, help="percent of the full numbers")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=names, help=f"of {', '.join(names)}"
    )
    options = parser.parse_args()
    if unknown := set(options.only) - set(names):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
