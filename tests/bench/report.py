"""Tables."""

from __future__ import annotations

from tests.bench.cells import Cell, percentile

HEAD = (
    f"{'system':10} {'kind':6} {'clients':>7} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8}"
    f" {'first p50':>9} {'first p99':>9} {'CPU ms':>8} {'sim CPU':>8} {'peak MB':>8}"
    f" {'answers':>8} {'errors':>6}"
)


def line(cell: Cell) -> str:
    """One cell in one line."""
    return (
        f"{cell.system:10} {cell.kind:6} {cell.clients:7} {cell.per_second:8.1f}"
        f" {percentile(cell.total_ms, 0.5):8.1f} {percentile(cell.total_ms, 0.99):8.1f}"
        f" {percentile(cell.first_ms, 0.5):9.1f} {percentile(cell.first_ms, 0.99):9.1f}"
        f" {cell.cpu_all_ms:8.2f} {cell.simulator_ms:8.2f} {cell.peak_mb:8.0f}"
        f" {len(cell.total_ms):8} {sum(cell.errors.values()):6}"
    )


def details(cell: Cell) -> str:
    """CPU per answer by process, and what went wrong."""
    parts = sorted(cell.cpu_ms.items(), key=lambda part: -part[1])
    text = "           " + "  ".join(f"{name} {value:.2f}" for name, value in parts)
    if cell.connections > cell.clients:
        text += f"  ({cell.connections} connections)"
    for name, count in cell.errors.items():
        text += f"\n           ERROR {count} x {name}"
    return text
