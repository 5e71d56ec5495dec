"""Tables: every cell, and how Pointsman compares with LiteLLM against the targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.bench.cells import Cell, percentile

HEADINGS: Final = (
    "system",
    "kind",
    "clients",
    "req/s",
    "p50 ms",
    "p99 ms",
    "first p50",
    "first p99",
    "added p50",
    "added p99",
    "CPU ms",
    "sim CPU",
    "others",
    "peak MB",
    "PSS MB",
    "answers",
    "errors",
)
RATIO_HEADINGS: Final = ("kind", "clients", "figure", "Pointsman", "LiteLLM", "ratio", "verdict")
#: A 99th percentile of fewer answers is an accident.
ANSWERS_MIN: Final = 50
#: (target, design goal), as parts of LiteLLM's figure.
CPU_PLAIN: Final = (1 / 4, 1 / 8)
CPU_STREAM: Final = (1 / 10, 1 / 15)
FIRST_BYTE: Final = (1 / 3, 1 / 5)
#: Latency is judged where no queue is the whole of it; 200 clients wait for a core.
FIRST_BYTE_CLIENTS_MAX: Final = 32
#: Cores kept busy by others, above which a comparison is marked.
OTHERS_MAX: Final = 0.25
#: Less than a timer tick above the simulator: a ratio of it would be noise.
ADDED_MIN_MS: Final = 0.05

_WIDTHS: Final = tuple(max(len(heading), 7) for heading in HEADINGS)


class Table:
    """Every cell measured so far, by system, kind and clients."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str, int], Cell] = {}

    def add(self, cell: Cell) -> tuple[str, ...]:
        """Take a cell; its row."""
        self._cells[cell.system, cell.kind, cell.clients] = cell
        return self.row(cell)

    def rows(self) -> list[tuple[str, ...]]:
        """All rows."""
        return [self.row(cell) for cell in self._cells.values()]

    def row(self, cell: Cell) -> tuple[str, ...]:
        """One cell's figures as text."""
        return (
            cell.system,
            cell.kind,
            str(cell.clients),
            f"{cell.per_second:.1f}",
            f"{percentile(cell.total_ms, 0.5):.1f}",
            f"{percentile(cell.total_ms, 0.99):.1f}",
            f"{percentile(cell.first_ms, 0.5):.1f}",
            f"{percentile(cell.first_ms, 0.99):.1f}",
            self._added_text(cell, 0.5),
            self._added_text(cell, 0.99),
            f"{cell.cpu_all_ms:.2f}",
            f"{cell.simulator_ms:.2f}",
            f"{cell.others_cores:.2f}",
            f"{cell.peak_mb:.0f}",
            f"{cell.shared_mb:.0f}",
            str(len(cell.total_ms)),
            str(sum(cell.errors.values())),
        )

    def added_ms(self, cell: Cell, part: float) -> float | None:
        """First byte, minus the simulator's own in the same cell; None when that is unknown."""
        own = self._cells.get(("simulator", cell.kind, cell.clients))
        if own is None or cell.system == "simulator":
            return None
        return percentile(cell.first_ms, part) - percentile(own.first_ms, part)

    def _added_text(self, cell: Cell, part: float) -> str:
        added_ms = self.added_ms(cell, part)
        return "-" if added_ms is None else f"{added_ms:.1f}"

    def ratios(self) -> list[tuple[str, ...]]:
        """Pointsman beside LiteLLM, in every cell that both have."""
        found: list[tuple[str, ...]] = []
        for (system, kind, clients), ours in self._cells.items():
            theirs = self._cells.get(("litellm", kind, clients))
            if system == "pointsman" and theirs is not None:
                found.extend(self._compared(ours, theirs))
        return found

    def _compared(self, ours: Cell, theirs: Cell) -> Iterable[tuple[str, ...]]:
        def row(figure: str, pair: tuple[float, float], verdict: str) -> tuple[str, ...]:
            ratio = pair[0] / pair[1] if pair[1] > 0 else float("nan")
            texts = (f"{pair[0]:.2f}", f"{pair[1]:.2f}", f"{ratio:.3f}")
            mark = " (others were busy)" if noisy else ""
            return (ours.kind, str(ours.clients), figure, *texts, verdict + mark)

        noisy = max(ours.others_cores, theirs.others_cores) > OTHERS_MAX

        cpu = (ours.cpu_all_ms, theirs.cpu_all_ms)
        yield row("CPU ms", cpu, _verdict(cpu, CPU_PLAIN if ours.kind == "plain" else CPU_STREAM))
        for name, part in (("p50", 0.5), ("p99", 0.99)):
            if part > 0.5 and min(len(ours.first_ms), len(theirs.first_ms)) < ANSWERS_MIN:
                continue
            mine, other = self.added_ms(ours, part), self.added_ms(theirs, part)
            if mine is None or other is None:
                continue
            pair = (max(mine, ADDED_MIN_MS), max(other, ADDED_MIN_MS))
            judged = ours.clients <= FIRST_BYTE_CLIENTS_MAX
            yield row(f"added {name} ms", pair, _verdict(pair, FIRST_BYTE) if judged else "-")
        yield row("req/s", (ours.per_second, theirs.per_second), "-")
        yield row("peak MB", (ours.peak_mb, theirs.peak_mb), "-")


def _verdict(pair: tuple[float, float], aims: tuple[float, float]) -> str:
    target, goal = aims
    ratio = pair[0] / pair[1] if pair[1] > 0 else float("inf")
    wanted = f"1/{1 / target:.0f} (goal 1/{1 / goal:.0f})"
    if ratio <= goal:
        return f"goal met: {wanted}"
    return f"target met: {wanted}" if ratio <= target else f"MISSED: {wanted}"


def line(row: Sequence[str]) -> str:
    """One row of the table of cells in a terminal."""
    return " ".join(
        text.ljust(9) if at < 2 else text.rjust(width)
        for at, (text, width) in enumerate(zip(row, _WIDTHS, strict=True))
    )


def ratio_line(row: Sequence[str]) -> str:
    """One row of the ratios in a terminal."""
    kind, clients, figure, ours, theirs, ratio, verdict = row
    return f"{kind:6} {clients:>7} {figure:13} {ours:>10} {theirs:>10} {ratio:>7}  {verdict}"


def details(cell: Cell) -> str:
    """CPU per answer by process, and what went wrong."""
    parts = sorted(cell.cpu_ms.items(), key=lambda part: -part[1])
    text = "    CPU ms: " + ", ".join(f"{name} {value:.2f}" for name, value in parts)
    if cell.connections > cell.clients:
        text += f"; {cell.connections} connections"
    for name, count in cell.errors.items():
        text += f"\n    ERROR {count} x {name}"
    return text


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a page."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
