"""`pointsman credits` on a real ledger and a real Redis, with a processor on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli.main import pointsman
from billing import accounts, closing, payments
from billing.db import Ledger, open_ledger
from billing.payments import Order, PurchaseTerms
from billing.settlement import settle
from routing.clock import SystemClock
from routing.payments import Payment, Receipt, Ways
from routing.stripe_desk import StripeDesk
from tests.fixtures.charges import COST_NANO
from tests.fixtures.customers import Customer, make_customer
from tests.fixtures.stripe_server import KEY, Stripe, stripe_server

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

USD = 1_000_000_000
Run = Callable[..., Result]


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    with stripe_server() as server:
        yield server


@pytest.fixture
def ledger(sqlite_url: str) -> Iterator[Ledger]:
    opened = open_ledger(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, sqlite_url: str, redis_url: str, stripe: Stripe
) -> Run:
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POINTSMAN_REDIS_URL", redis_url)
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("POINTSMAN_STRIPE_SECRET_KEY", KEY)
    monkeypatch.setenv("POINTSMAN_STRIPE_API_BASE", stripe.url)

    def command(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(pointsman, ["credits", *arguments])
        assert result.exit_code == code, result.output
        return result

    return command


def pay(ledger: Ledger, stripe: Stripe, customer: Customer, *, paid_ms: int = 0) -> Payment:
    """Ten dollars, paid."""
    now_ms = paid_ms or SystemClock().now_ms()
    order = Order(credit_nano=10 * USD, processor="stripe")
    made = payments.open_payment(ledger, customer.account_id, order, PurchaseTerms(), now_ms)
    ways = Ways(success_url="https://a.example", cancel_url="https://a.example")
    session = StripeDesk(KEY, url=stripe.url).checkout(made, ways).processor_id
    stripe.pay(session)
    payments.bind(ledger, made.id, session)
    return made


def credit(ledger: Ledger, made: Payment, paid_ms: int = 0) -> Payment:
    receipt = Receipt(
        processor="stripe", payment_id=made.id, total_nano=made.total_nano, currency="usd"
    )
    return payments.credit(ledger, receipt, "", paid_ms or SystemClock().now_ms()).payment


def balance(ledger: Ledger, customer: Customer) -> int:
    return accounts.budget_of(ledger, customer.account_id).available_nano


def test_payments_are_listed_and_refunded(run: Run, ledger: Ledger, stripe: Stripe):
    customer = make_customer(ledger, granted_nano=0)
    made = credit(ledger, pay(ledger, stripe, customer))
    (row,) = json.loads(run("payments", customer.account_id, "--json").stdout)
    assert (row["id"], row["status"], row["credit"], row["fee"]) == (
        made.id, "paid", "$10.00", "$0.80",
    )  # fmt: skip
    assert json.loads(run("payments", "--status", "failed", "--json").stdout) == []
    assert run("refund", made.id).stdout == f"$10.00 of payment {made.id} went back.\n"
    assert balance(ledger, customer) == 0
    assert "is refunded" in run("refund", made.id, code=1).stderr
    assert "No payment" in run("refund", "pay_x", code=1).stderr


def test_an_operator_may_refund_what_is_old(run: Run, ledger: Ledger, stripe: Stripe):
    customer = make_customer(ledger, granted_nano=0)
    long_ago_ms = SystemClock().now_ms() - 90 * 86_400_000
    made = credit(ledger, pay(ledger, stripe, customer, paid_ms=long_ago_ms), long_ago_ms)
    assert "within 24 hours" in run("refund", made.id, code=1).stderr
    assert balance(ledger, customer) == 10 * USD
    run("refund", made.id, "--any-age")
    assert balance(ledger, customer) == 0


def test_what_came_for_a_closed_account_goes_back(run: Run, ledger: Ledger, stripe: Stripe):
    customer = make_customer(ledger, granted_nano=0)
    made = pay(ledger, stripe, customer)
    closing.close(ledger, customer.account_id, SystemClock().now_ms())
    assert credit(ledger, made).status == "unclaimed"
    (row,) = json.loads(run("payments", "--status", "unclaimed", "--json").stdout)
    assert row["note"] == "its account was closed"
    assert run("refund", made.id).stdout == f"$10.80 of payment {made.id} went back.\n"


def test_a_generation_is_given_back(run: Run, ledger: Ledger):
    customer = make_customer(ledger)
    charge = customer.charge(1)
    settle(ledger, [charge], charge.created_ms)
    before = balance(ledger, customer)
    assert "went back to account" in run("refund-generation", charge.generation_id).stdout
    assert "given back before" in run("refund-generation", charge.generation_id).stdout
    assert balance(ledger, customer) == before + COST_NANO
    assert "is settled" in run("refund-generation", "gen-x", code=1).stderr


def test_old_credit_is_shown_then_taken(run: Run, ledger: Ledger):
    customer = make_customer(ledger, granted_nano=7 * USD)
    assert "does not expire" in run("expire", code=1).stderr
    shown = json.loads(run("expire", "--days", "1", "--dry-run", "--json").stdout)
    assert shown == [{"account": customer.account_id, "unused": "$7.00"}]
    assert balance(ledger, customer) == 7 * USD
    run("expire", "--days", "1")
    assert balance(ledger, customer) == 0
    assert "Nothing" in run("expire", "--days", "1", "--dry-run").output
