"""Cost and latency of a request, beside LiteLLM's proxy: `python -m tests.bench`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.bench import report, systems
from tests.bench.answers import KINDS
from tests.bench.cells import Bench, Cell, idle_ms

CLIENTS = (1, 32, 200)
SYSTEMS = ("simulator", "pointsman", "litellm")
SECONDS = 4.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [kind.name for kind in KINDS]
    parser.add_argument("--system", choices=SYSTEMS, action="append")
    parser.add_argument("--kind", choices=names, action="append")
    parser.add_argument("--clients", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each cell")
    parser.add_argument("--litellm-venv", type=Path, default=systems.LITELLM_VENV)
    return parser.parse_args()


def run(system: systems.System, bench: Bench, options: argparse.Namespace) -> list[Cell]:
    print(f"# {system.name}: idle {idle_ms(system, 3.0):.1f} ms CPU per second", flush=True)
    found = []
    for kind in KINDS:
        if options.kind and kind.name not in options.kind:
            continue
        for clients in options.clients or CLIENTS:
            cell = bench.cell(system, kind, clients)
            print(report.line(cell), report.details(cell), sep="\n", flush=True)
            found.append(cell)
    return found


def main() -> None:
    options = arguments()
    wanted = options.system or SYSTEMS
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with systems.simulator(folder) as provider:
            bench = Bench(provider, options.seconds)
            print(report.HEAD)
            if "simulator" in wanted:
                run(provider, bench, options)
            if "pointsman" in wanted:
                with systems.pointsman(folder, provider.target.port) as system:
                    run(system, bench, options)
            if "litellm" in wanted:
                venv = options.litellm_venv
                with systems.litellm(folder, provider.target.port, venv) as system:
                    run(system, bench, options)


if __name__ == "__main__":
    main()
