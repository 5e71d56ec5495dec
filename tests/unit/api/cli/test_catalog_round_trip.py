"""What our own models API prints, read as a price list, agrees with the catalog it came from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from routing.catalog.import_files import Shelf, read_shelf
from routing.catalog.import_formats import read_list
from routing.catalog.import_match import match
from routing.catalog.import_merge import merge
from routing.catalog.live import LiveCatalog
from routing.catalog.price_diff import differences, start_ms


@pytest.fixture
def lists(site, tmp_path: Path):
    """Our answers as files: the list of models, and the endpoints of a model."""

    def fetch(path: str) -> Path:
        answer = site.client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.get_data(as_text=True)
        file = tmp_path / "answer.json"
        file.write_bytes(answer.get_data())
        return file

    return fetch


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    """The shipped files; nothing changes them here."""
    return read_shelf(())


def agreed(file: Path, live: LiveCatalog, shelf: Shelf, now_ms: int) -> int:
    """How many prices there were to compare; fails on the first that differs."""
    catalog, day = live.current, datetime.fromtimestamp(now_ms / 1_000, tz=UTC).date()
    matched = match(read_list("openrouter-json", file, day), catalog, frozenset(), start_ms(day))
    assert list(differences(matched, day)) == []
    assert not matched.nameless
    assert not matched.unmatched
    made = merge(matched, catalog, shelf, day)
    assert not made.changes
    assert {skip.reason for skip in made.skips} <= {"has no price of its own: it varies"}
    return made.same


def test_the_list_of_models_shows_no_difference(lists, live, shelf, site):
    file = lists("models?output_modalities=all")

    assert agreed(file, live, shelf, site.clock.now_ms()) >= len(live.current.by_model)


def test_the_endpoints_of_no_model_show_a_difference(lists, live, shelf, site):
    for model_id, endpoints in live.current.by_model.items():
        file = lists(f"models/{model_id}/endpoints")
        found = agreed(file, live, shelf, site.clock.now_ms())
        assert found == len(endpoints)
