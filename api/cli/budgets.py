"""`pointsman budgets`: what bounds the spend of keys, members and whole accounts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from api.cli.accounts import account_of
from api.cli.ledger import opened, settings_of_shell
from api.cli.money import usd
from api.cli.table import json_option, show
from billing import budget_rules
from billing.api_keys import hashes_of
from billing.budget_rules import INTERVALS, Wanted, Whose
from billing.db import Ledger
from routing.budgets import Interval
from routing.clock import SystemClock
from routing.errors import Unavailable
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache

_AWAY = (
    "Redis is away: front doors go on with the budgets they know until it is back, and for at most "
    "a minute after."
)


def _owner(command: Callable[..., None]) -> Callable[..., None]:
    """Options of whose budget it is, after the account's argument."""
    options = (
        click.argument("account"),
        click.option("--key", "key_hash", metavar="HASH", default="", help="Of this key."),
        click.option("--member", metavar="USER", default="", help="Of all keys this member made."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group("budgets")
def budgets_group() -> None:
    """Budgets of an account, of one of its keys or of one of its members.

    They bound spend besides the limits of keys, and start anew each UTC day, week or month.
    """


@budgets_group.command("set")
@_owner
@click.argument("interval", type=click.Choice(INTERVALS))
@click.argument("limit", type=usd, metavar="LIMIT_USD")
@click.option(
    "--byok-counts/--no-byok-counts",
    default=None,
    help="Whether use of the account's own provider keys counts, in all budgets of this owner.",
)
def set_command(
    account: str,
    interval: Interval,
    limit: int,
    byok_counts: bool | None,  # noqa: FBT001 - click passes options so
    **owner: str,
) -> None:
    """Bound what ACCOUNT (id or name) spends in each INTERVAL to LIMIT_USD.

    A shorter interval must be given less than a longer one. Running front doors follow within a
    second.
    """
    settings, now_ms = settings_of_shell(), SystemClock().now_ms()
    wanted = Wanted(interval=interval, limit_nano=limit, include_byok=byok_counts)
    with opened(settings) as ledger:
        whose = _whose(ledger, account, **owner)
        hashes = _cached_with(ledger, whose)
        told = _drop(settings, hashes)
        done = budget_rules.put(ledger, whose, wanted, now_ms)
    told &= _drop(settings, hashes) and _told(
        lambda: Budgets.at(settings.redis_url).post(done.left)
    )
    click.echo("Set.")
    _warn(told=told)


@budgets_group.command("unset")
@_owner
@click.argument("interval", type=click.Choice(INTERVALS))
def unset_command(account: str, interval: Interval, **owner: str) -> None:
    """Take the budget of an INTERVAL away again."""
    settings = settings_of_shell()
    with opened(settings) as ledger:
        whose = _whose(ledger, account, **owner)
        hashes = _cached_with(ledger, whose)
        _drop(settings, hashes)
        there = budget_rules.drop(ledger, whose, interval)
    click.echo("Taken away." if there else "There was none.")
    _warn(told=_drop(settings, hashes))


@budgets_group.command("list")
@_owner
@json_option
def list_command(account: str, as_json: bool, **owner: str) -> None:  # noqa: FBT001
    """List the budgets of one owner, with what was spent of them in their present window."""
    now_ms = SystemClock().now_ms()
    with opened(settings_of_shell()) as ledger:
        whose = _whose(ledger, account, **owner)
        budget_rules.listed(ledger, whose)  # says so when there is no such owner
        found = budget_rules.standing(ledger, (whose.owner,), now_ms)
    rows: list[dict[str, Any]] = [
        {
            "interval": one.budget.interval,
            "limit_nano": one.budget.limit_nano,
            "spent_nano": one.spent_nano,
            "include_byok": one.budget.include_byok,
            "updated_ms": one.budget.updated_ms,
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="No budget: pointsman budgets set ACCOUNT INTERVAL LIMIT_USD")


def _whose(ledger: Ledger, account: str, key_hash: str, member: str) -> Whose:
    if key_hash and member:
        raise click.UsageError("Give --key or --member, not both.")
    owner = account_of(ledger, account)
    return Whose(account_id=owner.id, key_hash=key_hash, user_id=member)


def _cached_with(ledger: Ledger, whose: Whose) -> Sequence[str]:
    return (whose.key_hash,) if whose.key_hash else hashes_of(ledger, whose.account_id)


def _drop(settings: Settings, hashes: Sequence[str]) -> bool:
    return _told(lambda: KeyCache.at(settings.redis_url).drop(*hashes))


def _told(tell: Callable[[], object]) -> bool:
    try:
        tell()
    except Unavailable:
        return False
    return True


def _warn(*, told: bool) -> None:
    """The ledger is the truth, so their cache being away is no failure."""
    if not told:
        click.echo(_AWAY, err=True)
