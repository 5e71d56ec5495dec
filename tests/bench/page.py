"""The figures in `docs/benchmarks.md`: everything between two marks is replaced."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.bench import report
from tests.bench.systems import ROOT

PAGE: Final = ROOT / "docs" / "benchmarks.md"
BEGIN: Final = "<!-- figures: written by `python -m tests.bench --write` -->\n"
END: Final = "<!-- end of the figures -->\n"


def machine() -> str:
    """Processor, cores and memory."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{models[0] if models else 'unknown'}, {os.cpu_count()} cores, {memory:.0f} GiB"


def write(facts: Mapping[str, str], table: report.Table) -> None:
    """Replace the figures; what people wrote around them stays."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    cells = report.markdown(report.HEADINGS, table.rows())
    ratios = report.markdown(report.RATIO_HEADINGS, table.ratios())
    figures = f"\n{lines}\n\n### Cells\n\n{cells}\n\n### Against the targets\n\n{ratios}\n\n"
    PAGE.write_text(f"{before}{BEGIN}{figures}{END}{after}", encoding="utf-8")
