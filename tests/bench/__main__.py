"""Cost and latency of a request, beside LiteLLM's proxy and the provider called directly.

`make bench` runs it all. For profiling one path:
`python -m tests.bench --system pointsman --kind plain --clients 32 --seconds 10`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.bench import page, procs, report, systems
from tests.bench.answers import KINDS
from tests.bench.cells import Bench, idle_ms

CLIENTS: Final = (1, 32, 200)
SYSTEMS: Final = ("simulator", "pointsman", "litellm")
#: For each of 27 cells; with warm-ups, starts and drains the run stays under six minutes.
SECONDS: Final = 5.0
IDLE_S: Final = 3.0
#: More than this was running before we began: somebody else's work is in the figures.
LOAD_MAX: Final = 0.5


def main() -> None:
    """Run what was asked for; exit 1 when an answer of ours was wrong or missing."""
    options = _arguments()
    facts = _facts(options)
    begun_s = time.monotonic()
    for name, value in facts.items():
        print(f"{name}: {value}")
    table, idle, wrong = report.Table(), {}, 0
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        systems.simulator(Path(folder)) as provider,
    ):
        bench = Bench(provider, options.seconds)
        print(report.line(report.HEADINGS))
        for name in options.systems:
            with _system(name, provider, Path(folder), options) as system:
                idle[name] = idle_ms(system, IDLE_S)
                wrong += _measure(system, bench, table, options) * (name != "litellm")
    facts["Took"] = f"{time.monotonic() - begun_s:.0f} s"
    facts["Idle CPU"] = ", ".join(f"{name} {ms:.0f} ms/s" for name, ms in idle.items())
    print(f"Idle CPU: {facts['Idle CPU']}")
    if ratios := table.ratios():
        print(report.ratio_line(report.RATIO_HEADINGS))
        print("\n".join(report.ratio_line(row) for row in ratios))
    if options.write:
        page.write(facts, table)
    sys.exit(1 if wrong else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="See the module.")
    names = [kind.name for kind in KINDS]
    parser.add_argument("--system", dest="systems", choices=SYSTEMS, action="append")
    parser.add_argument("--kind", dest="kinds", choices=names, action="append")
    parser.add_argument("--clients", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each cell")
    parser.add_argument(
        "--litellm-venv",
        type=Path,
        default=systems.LITELLM_VENV,
        help="an environment with litellm[proxy]; made when the default one is missing",
    )
    parser.add_argument("--write", action="store_true", help="put the figures into the page")
    options = parser.parse_args()
    options.systems = [name for name in SYSTEMS if name in (options.systems or SYSTEMS)]
    options.kinds = options.kinds or names
    options.clients = options.clients or list(CLIENTS)
    return options


def _facts(options: argparse.Namespace) -> dict[str, str]:
    """What a reader must know to compare."""
    facts = {
        "Machine": page.machine(),
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Python": platform.python_version(),
        "Pointsman": version("pointsman"),
        "Seconds per cell": f"{options.seconds:g}",
    }
    if "litellm" in options.systems:
        if systems.litellm_version(options.litellm_venv) is None:
            if options.litellm_venv != systems.LITELLM_VENV:
                sys.exit(f"there is no litellm in {options.litellm_venv}")
            systems.install_litellm(options.litellm_venv)
        facts["LiteLLM"] = str(systems.litellm_version(options.litellm_venv))
    load = os.getloadavg()[0]
    facts["Load before"] = f"{load:.2f}"
    if load > LOAD_MAX:
        print(f"This machine is busy (load {load:.2f}): the figures will be worse than they are.")
    return facts


def _system(
    name: str, provider: systems.System, folder: Path, options: argparse.Namespace
) -> AbstractContextManager[systems.System]:
    port = provider.target.port
    if name == "pointsman":
        return systems.pointsman(folder, port)
    if name == "litellm":
        return systems.litellm(folder, port, options.litellm_venv)
    return systems.given(provider)


def _measure(
    system: systems.System, bench: Bench, table: report.Table, options: argparse.Namespace
) -> int:
    """All cells of one system; the number of errors."""
    errors = 0
    parts = ", ".join(f"{part.name} {part.pid}" for part in procs.tree(system.pid))
    print(f"{system.name}: {parts}", flush=True)
    for kind in (kind for kind in KINDS if kind.name in options.kinds):
        for clients in options.clients:
            cell = bench.cell(system, kind, clients)
            print(report.line(table.add(cell)), report.details(cell), sep="\n", flush=True)
            errors += sum(cell.errors.values())
    return errors


if __name__ == "__main__":
    main()
