from __future__ import annotations

import pytest
from sqlalchemy import delete, insert, select, text, update

from billing import invariants
from billing.db import Ledger, open_ledger
from billing.invariants import OFFENDERS_MAX, TRUTHS
from billing.ledger import AMOUNT_MAX_NANO
from billing.settlement import settle
from billing.tables import (
    accounts,
    activity_days,
    entries,
    generations,
    key_usage_days,
    ledger_accounts,
    payments,
    spend_days,
    transactions,
)
from tests.fixtures.charges import NOW_MS, generation_id
from tests.fixtures.customers import Customer, make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

DONE, INSURED = generation_id(1), generation_id(2)
PAID = select(transactions.c.id).where(transactions.c.reference == DONE).scalar_subquery()
BORNE = select(transactions.c.id).where(transactions.c.reference == INSURED).scalar_subquery()
CREDIT = ledger_accounts.c.id.startswith("acct:")


def one_entry_more(transaction, name: str, amount_nano: int):
    return insert(entries).values(
        transaction_id=transaction, ledger_account_id=name, amount_nano=amount_nano
    )


@pytest.fixture
def customer(ledger: Ledger) -> Customer:
    """Someone with one charged and one insured generation."""
    made = make_customer(ledger, limit_nano=10**9)
    own = made.charge(3, byok="own", fee_ppm=50_000)
    cheaper = made.charge(4, discount_ppm=10_000)
    settle(ledger, [made.charge(1), made.charge(2, outcome="failed"), own, cheaper], NOW_MS)
    return made


@pytest.mark.usefixtures("customer")
def test_a_sound_ledger_has_nothing_to_report(ledger: Ledger):
    assert invariants.check(ledger, NOW_MS) == ()
    assert invariants.drift_nano(ledger) == 0


def test_an_empty_ledger_has_nothing_to_report(ledger: Ledger):
    assert invariants.check(ledger, NOW_MS) == ()
    assert invariants.drift_nano(ledger) == 0


TAMPERING = {
    "transactions_balance": one_entry_more(PAID, "revenue", 1),
    "transactions_have_entries": insert(transactions).values(
        reference="hollow", kind="refund", created_ms=0, note=""
    ),
    "ledger_sums_to_zero": update(ledger_accounts)
    .where(ledger_accounts.c.id == "revenue")
    .values(posted_nano=ledger_accounts.c.posted_nano + 1),
    "balances_are_sums": update(ledger_accounts)
    .where(CREDIT)
    .values(posted_nano=ledger_accounts.c.posted_nano + 1),
    "charged_once": update(generations)
    .where(generations.c.id == DONE)
    .values(cost_nano=generations.c.cost_nano + 1),
    "usage_has_generation": delete(generations).where(generations.c.id == DONE),
    "insured_is_free": one_entry_more(BORNE, "suspense", -1),
    "providers_are_owed": update(generations).values(upstream_cost_nano=1),
    "grants_are_counted": update(accounts).values(granted_nano=accounts.c.granted_nano + 1),
    "purchased_is_granted": update(accounts).values(purchased_nano=-1),
    "payments_are_credited": insert(payments).values(
        id="pay_1",
        account_id=select(accounts.c.id).scalar_subquery(),
        processor="stripe",
        status="paid",
        automatic=False,
        crypto=False,
        credit_nano=1,
        fee_nano=0,
        refunded_nano=0,
        created_ms=0,
        paid_ms=0,
    ),
    "key_days_are_sums": update(key_usage_days).values(requests=key_usage_days.c.requests + 1),
    "owner_days_are_sums": update(spend_days).values(usage_nano=spend_days.c.usage_nano + 1),
    "activity_days_are_sums": update(activity_days).values(
        cached_tokens=activity_days.c.cached_tokens + 1
    ),
    "costs_follow_their_terms": update(generations)
    .where(generations.c.byok)
    .values(fee_nano=generations.c.fee_nano + 1),
    "amounts_are_whole": one_entry_more(PAID, "revenue", AMOUNT_MAX_NANO + 1),
    "nothing_from_the_future": update(generations).values(settled_ms=NOW_MS + 10**9),
}


def test_each_truth_has_its_tampering():
    assert set(TAMPERING) == {truth.name for truth in TRUTHS}


@pytest.mark.usefixtures("customer")
@pytest.mark.parametrize("name", sorted(TAMPERING))
def test_tampering_is_reported(ledger: Ledger, name: str):
    # Given a ledger someone changed by hand
    with ledger.writing() as connection:
        connection.execute(TAMPERING[name])
    # Then the truth it breaks says so, in a sentence and with the rows
    found = {violation.name: violation for violation in invariants.check(ledger, NOW_MS)}
    assert name in found
    assert found[name].sentence.endswith(".")
    assert found[name].ids


@pytest.mark.usefixtures("customer")
@pytest.mark.parametrize(
    ("statement", "drift_nano"),
    [
        (TAMPERING["balances_are_sums"], 1),
        (TAMPERING["transactions_balance"], 2),
        (TAMPERING["key_days_are_sums"], 0),
    ],
    ids=["a balance moved", "an entry too much", "no money"],
)
def test_drift_is_what_balances_and_entries_disagree_by(ledger: Ledger, statement, drift_nano: int):
    with ledger.writing() as connection:
        connection.execute(statement)
    assert invariants.drift_nano(ledger) == drift_nano


@pytest.mark.usefixtures("customer")
@pytest.mark.parametrize(
    ("statement", "name"),
    [
        pytest.param(
            update(spend_days).values(byok_requests=spend_days.c.byok_requests - 1),
            "owner_days_are_sums",
            id="free requests with own keys",
        ),
        pytest.param(
            update(activity_days).values(usage_nano=0), "activity_days_are_sums", id="activity"
        ),
        pytest.param(
            update(generations)
            .where(generations.c.discount_nano > 0)
            .values(discount_nano=generations.c.discount_nano - 1),
            "costs_follow_their_terms",
            id="a discount",
        ),
        pytest.param(
            update(generations).where(generations.c.insured).values(fee_nano=1),
            "costs_follow_their_terms",
            id="a fee of an insured one",
        ),
    ],
)
def test_every_figure_that_is_told_or_decides_is_checked(ledger: Ledger, statement, name: str):
    with ledger.writing() as connection:
        connection.execute(statement)
    assert name in {violation.name for violation in invariants.check(ledger, NOW_MS)}


@pytest.mark.usefixtures("customer")
def test_a_lost_transaction_is_reported(ledger: Ledger):
    with ledger.writing() as connection:
        connection.execute(delete(entries).where(entries.c.transaction_id == PAID))
        connection.execute(delete(transactions).where(transactions.c.reference == DONE))
    names = {violation.name for violation in invariants.check(ledger, NOW_MS)}
    assert {"charged_once", "providers_are_owed", "balances_are_sums"} <= names


@pytest.mark.usefixtures("customer")
def test_a_charge_under_another_payer_is_reported(ledger: Ledger):
    # Given a usage transaction whose customer entry was moved to another ledger account
    with ledger.writing() as connection:
        connection.execute(
            update(entries)
            .where(entries.c.transaction_id == PAID, entries.c.ledger_account_id.startswith("acct"))
            .values(ledger_account_id="funding")
        )
    names = {violation.name for violation in invariants.check(ledger, NOW_MS)}
    assert "charged_once" in names


def test_a_float_in_a_column_of_money_is_reported(sqlite_url: str):
    # Given SQLite, which keeps what it is given
    ledger = open_ledger(sqlite_url)
    customer = make_customer(ledger)
    settle(ledger, [customer.charge()], NOW_MS)
    with ledger.writing() as connection:
        connection.execute(text("UPDATE entries SET amount_nano = amount_nano + 0.5"))
    names = {violation.name for violation in invariants.check(ledger, NOW_MS)}
    ledger.close()
    assert "amounts_are_whole" in names


def test_offenders_are_named_to_a_bound(ledger: Ledger):
    customer = make_customer(ledger)
    settle(ledger, [customer.charge(n) for n in range(OFFENDERS_MAX * 2)], NOW_MS)
    with ledger.writing() as connection:
        connection.execute(update(generations).values(cost_nano=1))
    found = {violation.name: violation for violation in invariants.check(ledger, NOW_MS)}
    assert len(found["charged_once"].ids) == OFFENDERS_MAX
