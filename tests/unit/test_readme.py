"""The README's promises that a machine can check."""

import re
from pathlib import Path

from routing.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_every_setting_stands_in_the_table_with_its_default():
    for name, field in Settings.model_fields.items():
        default = f"`{field.default}`" if str(field.default) else ""
        assert f"| `POINTSMAN_{name.upper()}` | {default} | {field.description} |" in README, name


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
