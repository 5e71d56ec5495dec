"""An operator's catalog directory, written line by line."""

from pathlib import Path
from textwrap import dedent

import pytest

MODEL = """\
models:
  - id: acme/rocket
    name: 'Acme: Rocket'
    created: 2025-01-02
"""
PROVIDER = """\
slug: lab
name: Lab
dialect: openai
base_url: http://10.0.0.5:8000/v1
endpoints:
  - model: acme/rocket
    upstream_id: rocket-7b
    context_length: 8192
    prices:
      - from: 2025-01-01
        prompt: 0.15
        completion: 0.60
        source: https://lab.example/prices
"""


class Directory:
    """Files of one catalog directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)

    def provider(self, text: str = PROVIDER, name: str = "lab.yml") -> Path:
        return self._write("providers", name, text)

    def models(self, text: str = MODEL, name: str = "acme.yml") -> Path:
        return self._write("models", name, text)

    def _write(self, folder: str, name: str, text: str) -> Path:
        file = self.root / folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(text))
        return file


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """A directory that holds one good model and one good provider."""
    made = Directory(tmp_path / "mine")
    made.models()
    made.provider()
    return made


@pytest.fixture
def second(tmp_path: Path) -> Directory:
    """Another directory, still without files, read after the first."""
    return Directory(tmp_path / "second")
