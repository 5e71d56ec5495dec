"""`pointsman credits`: giving credit and taking it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from api.amounts import iso
from api.cli.accounts import account_of
from api.cli.ledger import opened, settings_of_shell
from api.cli.money import dollars, usd
from api.cli.table import json_option, show
from api.counter import Counter
from api.office import Office
from billing import expiry, payments
from billing.accounts import Grant, grant
from billing.api_keys import hashes_of
from billing.db import Ledger
from billing.payments import PurchaseTerms
from billing.restitution import refund_generation
from routing import ids
from routing.budgets import MS_PER_DAY
from routing.clock import SystemClock
from routing.errors import BadRequest, NotFound, Unavailable
from routing.processors import desk_of
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import Budget

_STATES = ("pending", "paid", "refunding", "refunded", "failed", "unclaimed")
#: Of a refund that an operator gives: no payment is older.
_EVER_MS = 2**53


@click.group("credits")
def credits_group() -> None:
    """Credit of accounts."""


@credits_group.command("grant")
@click.argument("account")
@click.argument("amount", type=usd, metavar="AMOUNT_USD")
@click.option("--reference", default="", help="Names the payment; granting it again does nothing.")
@click.option("--note", default="", help="Kept in the ledger.")
@click.option("--gift", is_flag=True, help="Not bought: free-tier limits stay as they are.")
def grant_command(
    account: str,
    amount: int,
    reference: str,
    note: str,
    gift: bool,  # noqa: FBT001 - click passes options so
) -> None:
    """Add AMOUNT_USD dollars of credit to ACCOUNT (id or name)."""
    settings, now_ms = settings_of_shell(), SystemClock().now_ms()
    wanted = Grant(
        amount_nano=amount,
        reference=reference or f"cli:{ids.request_id(now_ms)}",
        note=note,
        purchased=not gift,
    )
    with opened(settings) as ledger:
        owner = account_of(ledger, account)
        budget = grant(ledger, owner.id, wanted, now_ms)
        hashes = hashes_of(ledger, owner.id)
    click.echo(f"{owner.name} ({owner.id}) has {dollars(budget.available_nano)} now.")
    click.echo(f"Reference: {wanted.reference}")
    _publish(settings, budget, hashes)


@credits_group.command("payments")
@click.argument("account", required=False)
@click.option("--status", type=click.Choice(_STATES), help="Only those in this state.")
@json_option
def payments_command(account: str | None, status: Any, as_json: bool) -> None:  # noqa: FBT001
    """List the newest payments, of all accounts or of ACCOUNT (id or name).

    `unclaimed` are those whose account was closed before the money came.
    """
    with opened(settings_of_shell()) as ledger:
        owner = None if account is None else account_of(ledger, account).id
        found = payments.every(ledger, owner, status)
    rows = [
        {
            "id": one.id,
            "account": one.account_id,
            "status": one.status,
            "by": one.processor + (" (automatic)" if one.automatic else ""),
            "credit": dollars(one.credit_nano),
            "fee": dollars(one.fee_nano),
            "refunded": dollars(one.refunded_nano),
            "created": iso(one.created_ms),
            "note": one.note,
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="No payment.")


@credits_group.command("refund")
@click.argument("payment")
@click.option("--any-age", is_flag=True, help="Although the time for refunds is over.")
def refund_command(payment: str, any_age: bool) -> None:  # noqa: FBT001
    """Give back what is unused of a PAYMENT (its id), through its processor.

    All of it where its account was closed before the money came.
    """
    with _counter(any_age=any_age) as counter:
        found = counter.office.do(lambda ledger: payments.find(ledger, payment))
        if found is None:
            raise NotFound(f"No payment {payment}")
        if found.paid_ms is None:
            done = counter.return_unclaimed(payment)
        else:
            done = counter.refund(found.account_id, payment)
    click.echo(f"{dollars(done.back_nano)} of payment {done.id} went back.")


@credits_group.command("refund-generation")
@click.argument("generation")
@click.option("--note", default="", help="Kept in the ledger.")
def refund_generation_command(generation: str, note: str) -> None:
    """Give an account back what a GENERATION (its id) cost it, once."""
    settings, now_ms = settings_of_shell(), SystemClock().now_ms()
    with opened(settings) as ledger:
        done = refund_generation(ledger, generation, now_ms, note)
    if done.nano:
        click.echo(f"{dollars(done.nano)} went back to account {done.account_id}.")
    else:
        click.echo("It was given back before.")
    _publish(settings, done.budget)


@credits_group.command("expire")
@click.option("--days", type=click.IntRange(1, 36_500), help="Age; usual is the setting.")
@click.option("--dry-run", is_flag=True, help="Only show what is too old.")
@json_option
def expire_command(days: int | None, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001
    """Take unused credit that is too old, as the sweep does by itself where it is set."""
    settings, now_ms = settings_of_shell(), SystemClock().now_ms()
    age = days or settings.credits_expire_days
    if not age:
        raise BadRequest(
            "Credit does not expire here: give --days or POINTSMAN_CREDITS_EXPIRE_DAYS"
        )
    before_ms = now_ms - age * MS_PER_DAY
    with opened(settings) as ledger:
        rows = list(_would_expire(ledger, before_ms))
        if not dry_run:
            _expire(settings, ledger, before_ms, now_ms)
    show(rows, as_json=as_json, empty="Nothing is too old.")


def _would_expire(ledger: Ledger, before_ms: int) -> Iterator[dict[str, Any]]:
    after, more = "", True
    while more:
        found, after = expiry.preview(ledger, before_ms, after=after)
        yield from ({"account": name, "unused": dollars(nano)} for name, nano in found.items())
        more = bool(after)


def _expire(settings: Settings, ledger: Ledger, before_ms: int, now_ms: int) -> None:
    """Needs Redis: what requests under way hold is left for them."""
    budgets = Budgets.at(settings.redis_url)
    after, more = "", True
    while more:
        told, after = expiry.expire(
            ledger, before_ms, now_ms, after=after, held_nano=budgets.held_nano
        )
        budgets.post(told)
        more = bool(after)


@contextmanager
def _counter(*, any_age: bool) -> Iterator[Counter]:
    settings = settings_of_shell()
    terms = PurchaseTerms.of(settings)
    with opened(settings) as ledger:
        yield Counter(
            office=Office(
                ledger=ledger,
                keys=KeyCache.at(settings.redis_url),
                budgets=Budgets.at(settings.redis_url),
                clock=SystemClock(),
            ),
            desk=desk_of(settings),
            terms=replace(terms, refund_ms=_EVER_MS) if any_age else terms,
        )


def _publish(settings: Settings, budget: Budget, hashes: tuple[str, ...] = ()) -> None:
    """Tell the front doors. The ledger is the truth, so their cache being away is no failure."""
    try:
        Budgets.at(settings.redis_url).post((budget,))
        KeyCache.at(settings.redis_url).drop(*hashes)
    except Unavailable:
        click.echo(
            "Redis is away; the credit is in the ledger and counts when Redis is back.", err=True
        )
