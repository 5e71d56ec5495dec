"""Every verb that moves money in any order, against a model that can be read at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import seed

from routing.clock import FixedClock
from tests.money.ground import Ground, Place, write_catalog
from tests.money.machine import FREE_REQUESTS, machine, play

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

#: On each database; `make money` plays a hundred times as many.
SEQUENCES = 50
STEPS = 20


def test_any_sequence_of_all_verbs_comes_to_what_the_model_says(
    ledger_url: str, redis_url: str, tmp_path: Path
):
    write_catalog(tmp_path / "catalog")
    place = Place(ledger_url=ledger_url, redis_url=redis_url, catalog=str(tmp_path / "catalog"))
    clock = FixedClock()
    ground = Ground(place, clock, free_requests=FREE_REQUESTS)
    type_of = machine(ground, clock, every=5)

    play(seed(1)(type_of), count=SEQUENCES, steps=STEPS)

    assert type_of.played >= SEQUENCES
    ground.close()
