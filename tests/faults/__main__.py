"""The command: `python -m tests.faults [--n 20] [--only worker,redis] [--seed 1] [--write]`."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from api.cli.procfile import root
from tests.cluster import Cluster, ClusterError
from tests.faults import client_rows, redis_rows, settle_rows, table, worker_rows
from tests.faults.books import Row
from tests.faults.trial import Trial

ROWS: dict[str, Callable[[Trial], Row]] = {
    "worker-early": worker_rows.before_first_byte,
    "worker-mid": worker_rows.mid_stream,
    "web": client_rows.front_door_killed,
    "redis": redis_rows.redis_restarted,
    "redis-kill": redis_rows.redis_killed,
    "redis-stall": redis_rows.redis_stalled,
    "bell-thrice": redis_rows.doorbell_repeated,
    "bell-lost": redis_rows.doorbell_lost,
    "settle": settle_rows.killed_after_commit,
    "rolling": worker_rows.rolling_restart,
    "client": client_rows.client_leaves,
    "channel": redis_rows.channel_cut,
}
LEAST_TRIES = 20
#: Sentences shown of one row; the rest is more of the same.
PROBLEMS_SHOWN = 5


def main() -> int:
    """Run the rows in order; 0 when nothing was lost."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    lines = [table.head(options.seed, options.n, root()), "", table.heads()]
    print("\n".join(lines), flush=True)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pointsman-faults-") as folder:
        rows = _run(options, Path(folder), lines)
    took_s = time.monotonic() - started_s
    sound = all(row.sound for row in rows)
    print(f"\n{'Nothing was lost.' if sound else 'See above.'} It took {took_s:.0f} s.")
    if options.write and sound and options.only == list(ROWS):
        table.write(root() / "docs" / "faults.md", lines)
    return 0 if sound else 1


def _run(options: argparse.Namespace, folder: Path, lines: list[str]) -> list[Row]:
    rows = []
    rng = random.Random(options.seed)  # noqa: S311 - a mix of calls, repeatable
    with Cluster(folder / "home", workers=2, web=2) as cluster:
        for name in options.only:
            trial = Trial.begin(cluster, rng, options.n, name)
            try:
                row = ROWS[name](trial)
            except ClusterError as error:
                row = Row(fault=name, tried=len(trial.hit), recovery_s=(), lost=1)
                row.problems.append(str(error))
            rows.append(row)
            lines.append(table.line(row))
            print(lines[-1], flush=True)
            _explain(row.problems)
    return rows


def _explain(problems: Sequence[str]) -> None:
    for problem in problems[:PROBLEMS_SHOWN]:
        print(f"  ! {problem}", flush=True)
    if len(problems) > PROBLEMS_SHOWN:
        print(f"  ! and {len(problems) - PROBLEMS_SHOWN} more", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--n", type=int, default=LEAST_TRIES, help="calls hit by each fault")
    parser.add_argument("--seed", type=int, default=1, help="of the mix of calls")
    parser.add_argument("--only", type=_names, default=list(ROWS), help="rows, as in web,redis")
    parser.add_argument("--write", action="store_true", help="put the table into docs/faults.md")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        message = f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}"
        raise argparse.ArgumentTypeError(message)
    return names


if __name__ == "__main__":
    sys.exit(main())
