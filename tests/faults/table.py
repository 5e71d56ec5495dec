"""The table, its head, and its place in the documentation."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.books import Row

_HEADS = ("fault", "tried", "lost", "charged twice", "silent ends", "p50 s", "p99 s")
_BEGIN, _END = "<!-- table -->\n", "<!-- end of table -->\n"
_GIT_S = 10


def head(seed: int, count: int, folder: Path) -> str:
    """Where, when and of what this run was made."""
    memory = next(
        line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line
    )
    gigabytes = int(memory.split()[1]) / 1024**2
    now = datetime.now(UTC)  # noqa: TID251 - a date on a report
    return (
        f"commit {_commit(folder)}, {now:%Y-%m-%d %H:%M} UTC, seed {seed}, N {count}, "
        f"{_cores()} cores {platform.machine()}, {gigabytes:.0f} GB, "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )


def heads() -> str:
    """The two lines a Markdown table begins with."""
    return _line(_HEADS) + "\n" + _line(["-" * len(name) for name in _HEADS])


def line(row: Row) -> str:
    """One row."""
    ordered = sorted(row.recovery_s)
    return _line(
        [
            row.fault,
            row.tried,
            row.lost,
            row.twice,
            row.silent,
            _percentile(ordered, 50),
            _percentile(ordered, 99),
        ]
    )


def write(path: Path, lines: Sequence[str]) -> None:
    """Put a new table in the place of the old one."""
    before, _, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    text = before + _BEGIN + "\n" + "\n".join(lines) + "\n\n" + _END + after
    path.write_text(text, encoding="utf-8")


def _percentile(ordered: Sequence[float], percent: int) -> str:
    if not ordered:
        return "-"
    # The nearest rank: a figure that was measured, not one between two.
    return f"{ordered[-(-len(ordered) * percent // 100) - 1]:.2f}"


def _line(cells: Sequence[object]) -> str:
    first, *others = cells
    return (
        f"| {first!s:<40} | "
        + " | ".join(
            f"{cell!s:>{len(name)}}" for cell, name in zip(others, _HEADS[1:], strict=True)
        )
        + " |"
    )


def _commit(folder: Path) -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=_GIT_S
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _cores() -> int:
    return Path("/proc/cpuinfo").read_text().count("processor\t")
