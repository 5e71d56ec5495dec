"""What a system's processes took, as /proc counts it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
_GONE: Final = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of a system and what it is called."""

    pid: int
    name: str


def tree(root: int) -> tuple[Process, ...]:
    """A process and all that descend from it.

    Named by `POINTSMAN_PROCESS`, which `pointsman up` gives each child and forks inherit.
    """
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            fields = _stat(int(folder.name))
        except _GONE:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, ahead = [], [root]
    while ahead:
        pid = ahead.pop()
        found.append(Process(pid=pid, name=_name(pid)))
        ahead.extend(children.get(pid, ()))
    return tuple(found)


def cpu_s(processes: Iterable[Process]) -> dict[str, float]:
    """CPU seconds by name, user and system, with children that have ended and were waited for."""
    used: dict[str, float] = {}
    for process in processes:
        try:
            fields = _stat(process.pid)
        except _GONE:
            continue
        ticks = sum(int(field) for field in fields[11:15])
        used[process.name] = used.get(process.name, 0.0) + ticks / _TICKS
    return used


def machine_cpu_s() -> float:
    """CPU seconds all processes of the machine have taken, and what a host took from it."""
    line = (_PROC / "stat").read_text(encoding="ascii").partition("\n")[0]
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(int, line.split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / _TICKS


def reset_peaks(processes: Iterable[Process]) -> None:
    """Let the peak of memory start over at what is in use now."""
    for process in processes:
        try:
            (_PROC / str(process.pid) / "clear_refs").write_text("5", encoding="ascii")
        except _GONE:
            continue


def peak_mb(processes: Iterable[Process]) -> float:
    """The sum of the processes' peaks of resident memory; shared pages count for each."""
    return sum(_status_kb(process.pid, "VmHWM") for process in processes) / 1024


def proportional_mb(processes: Iterable[Process]) -> float:
    """Resident memory now, shared pages divided among those who share them."""
    total = 0
    for process in processes:
        try:
            text = (_PROC / str(process.pid) / "smaps_rollup").read_text(encoding="ascii")
        except _GONE:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def _stat(pid: int) -> list[str]:
    """The fields after the program's name, so that index 0 is the state."""
    text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def _name(pid: int) -> str:
    try:
        variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        program = (_PROC / str(pid) / "comm").read_text(encoding="utf-8").strip()
    except _GONE:
        return "gone"
    mark = b"POINTSMAN_PROCESS="
    given = [entry[len(mark) :].decode() for entry in variables if entry.startswith(mark)]
    return given[0] if given else program


def _status_kb(pid: int, field: str) -> int:
    try:
        text = (_PROC / str(pid) / "status").read_text(encoding="utf-8")
    except _GONE:
        return 0
    return next(
        (int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field}:")), 0
    )
