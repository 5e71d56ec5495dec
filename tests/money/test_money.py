"""`make money` in short: a round of each race, some duplicates, some months."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from routing.clock import FixedClock, SystemClock
from tests.money import calendars, races, settlings
from tests.money.ground import Ground, Place, write_catalog
from tests.money.races import Callers, Scene, callers
from tests.money.table import Row

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

REQUESTS = 200


@pytest.fixture
def place(ledger_url: str, redis_url: str, tmp_path: Path) -> Place:
    """Once on each database."""
    write_catalog(tmp_path / "catalog")
    return Place(ledger_url=ledger_url, redis_url=redis_url, catalog=str(tmp_path / "catalog"))


@pytest.fixture(scope="module")
def crowd() -> Iterator[Callers]:
    """Processes of callers; starting them takes the longest."""
    with callers(processes=2, requests=REQUESTS) as found:
        yield found


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(races.of_key, id="a key worth ten"),
        pytest.param(races.of_account, id="an account worth ten over five keys"),
        pytest.param(races.of_all, id="an organization, its members and their keys"),
        pytest.param(races.of_streams, id="streams of unknown length"),
        pytest.param(races.of_own_keys, id="own provider keys that count to the limit"),
    ],
)
def test_nobody_overspends_however_many_ask_at_once(place: Place, crowd: Callers, scene: Scene):
    ground, row = Ground(place, SystemClock()), Row(fault="race", seed=1)

    races.run(ground, crowd, scene, row, rounds=2, requests=REQUESTS)

    ground.close()
    assert row.sound, row


def test_several_settlers_with_the_same_charges_book_each_once(place: Place):
    ground, row = Ground(place, FixedClock()), Row(fault="duplicates", seed=1)

    settlings.duplicates(ground, row, count=600)

    ground.close()
    assert row.sound, row


def test_the_price_of_admission_is_charged(place: Place):
    clock, row = FixedClock(), Row(fault="prices")
    ground = Ground(place, clock)

    settlings.price_changes(ground, clock, row, reloads=2, days=10)

    ground.close()
    assert row.sound, row


def test_windows_reset_once_at_midnight_utc_in_any_time_zone(place: Place):
    row = Row(fault="calendars")

    calendars.run(place, row, zones=calendars.ZONES[2:3])

    assert row.sound, row
    assert row.tried == len(calendars.MOMENTS) * (len(calendars.INTERVALS) + 2)
