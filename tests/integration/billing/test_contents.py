"""Kept prompts and answers: one row each, of the living, for a while."""

from __future__ import annotations

import pytest

from billing import closing, contents
from billing.contents import Kept
from billing.db import Ledger
from tests.fixtures.charges import NOW_MS, generation_id
from tests.fixtures.customers import make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def kept(account_id: str, number: int = 1, sealed: str = "s", created_ms: int = NOW_MS) -> Kept:
    return Kept(
        generation_id=generation_id(number),
        account_id=account_id,
        sealed=sealed,
        created_ms=created_ms,
    )


def test_the_first_content_of_a_generation_is_kept_however_often_it_comes(ledger: Ledger):
    ada = make_customer(ledger)
    one = kept(ada.account_id)
    assert contents.store(ledger, [one, one]) == 1
    assert contents.store(ledger, [kept(ada.account_id, sealed="other")]) == 0
    assert contents.sealed_of(ledger, generation_id(1), ada.account_id) == "s"
    assert contents.store(ledger, []) == 0


def test_it_is_read_by_its_own_account_alone(ledger: Ledger):
    ada, eve = make_customer(ledger), make_customer(ledger)
    contents.store(ledger, [kept(ada.account_id)])
    assert contents.sealed_of(ledger, generation_id(1), eve.account_id) is None


def test_nothing_is_kept_of_accounts_that_are_closed_or_unknown(ledger: Ledger):
    ada, eve = make_customer(ledger), make_customer(ledger)
    contents.store(ledger, [kept(ada.account_id, 1)])
    closing.close(ledger, ada.account_id, NOW_MS)
    assert contents.sealed_of(ledger, generation_id(1), ada.account_id) is None
    late = [kept(ada.account_id, 2), kept("user_gone", 3), kept(eve.account_id, 4)]
    assert contents.store(ledger, late) == 1
    assert contents.sealed_of(ledger, generation_id(2), ada.account_id) is None
    assert contents.store(ledger, late[:1]) == 0


def test_old_contents_are_forgotten_in_pieces(ledger: Ledger, monkeypatch):
    monkeypatch.setattr(contents, "FORGET_MAX", 2)
    ada = make_customer(ledger)
    contents.store(ledger, [kept(ada.account_id, n, created_ms=NOW_MS + n) for n in range(4)])
    assert [contents.forget(ledger, NOW_MS + 3) for _ in range(3)] == [2, 1, 0]
    assert contents.sealed_of(ledger, generation_id(3), ada.account_id) == "s"
