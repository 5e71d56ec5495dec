"""How much is tried: enough for every change, or all that the promises name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Numbers of one run.

    Attributes:
        rounds: of a thousand requests at once.
        deliveries: of charges that were settled before.
        sequences: of money verbs, on SQLite; PostgreSQL gets a tenth.
        steps: of one sequence.
    """

    rounds: int
    deliveries: int
    sequences: int
    steps: int


SHORT = Size(rounds=1, deliveries=600, sequences=40, steps=25)
FULL = Size(rounds=20, deliveries=10_000, sequences=10_000, steps=50)


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> Size:
    """Short, unless the full size was asked for."""
    return FULL if pytestconfig.pluginmanager.has_plugin("tests.money.full") else SHORT
