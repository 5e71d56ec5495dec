from __future__ import annotations

from typing import Any

import pytest

from api import office as module
from api.office import Office
from billing.db import open_ledger
from routing.clock import FixedClock
from routing.store.budgets import Budgets, KeyCache
from tests.fixtures.customers import make_customer


def test_many_keys_are_dropped_a_few_at_a_time(
    fake_redis: Any, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    # Given more cached keys than are dropped in one go
    monkeypatch.setattr(module, "DROPPED_AT_ONCE", 2)
    ledger, keys = open_ledger(sqlite_url), KeyCache(fake_redis)
    key = make_customer(ledger).key
    hashes = [f"{number:064}" for number in range(5)]
    for name in hashes:
        assert keys.put(type(key)(key_hash=name, account_id="a", kind="inference", label="l"), b"")
    at_once: list[int] = []
    drop = keys.drop

    def counted(*names: str) -> None:
        at_once.append(len(names))
        drop(*names)

    monkeypatch.setattr(keys, "drop", counted)
    office = Office(ledger=ledger, keys=keys, budgets=Budgets(fake_redis), clock=FixedClock())
    # When something changes for all of them
    assert office.change_keys(hashes, lambda _: "done") == "done"
    # Then each is dropped before and after, and front doors had a breath in between
    assert at_once == [2, 2, 1, 2, 2, 1]
    assert [keys.get(name).record for name in hashes] == [None] * 5
    ledger.close()
