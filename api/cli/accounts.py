"""`pointsman accounts`: what an operator does with customers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import click

from api.cli.catalog import catalog_of
from api.cli.ledger import opened, settings_of_shell
from api.cli.table import json_option, show
from api.closing import close
from api.office import Office
from api.preferences import check_names
from billing import choices
from billing.accounts import (
    Account,
    AccountKind,
    budget_of,
    change_policy,
    create_account,
    get,
    list_accounts,
)
from billing.api_keys import RATE_MAX, hashes_of
from billing.db import Ledger
from routing.catalog.pricing import usd
from routing.clock import SystemClock
from routing.errors import BadRequest, NotFound, Unavailable
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import RoutingPolicy


@click.group("accounts")
def accounts_group() -> None:
    """Customer accounts."""


@accounts_group.command("create")
@click.argument("name")
@click.option("--organization", is_flag=True, help="It has members: pointsman members add.")
def create_account_command(name: str, organization: bool) -> None:  # noqa: FBT001 - as below
    """Open an account and print its id."""
    kind: AccountKind = "organization" if organization else "personal"
    with opened(settings_of_shell()) as ledger:
        click.echo(create_account(ledger, name, SystemClock().now_ms(), kind).id)


@accounts_group.command("list")
@json_option
def list_accounts_command(as_json: bool) -> None:  # noqa: FBT001 - click passes options so
    """List the accounts with their balances (holds are not subtracted)."""
    with opened(settings_of_shell()) as ledger:
        rows = [
            {
                "id": account.id,
                "name": account.name,
                "balance_nano": budget_of(ledger, account.id).available_nano,
                "granted_nano": account.granted_nano,
                "purchased_nano": account.purchased_nano,
                "created_ms": account.created_ms,
            }
            for account in _all_accounts(ledger)
        ]
    show(rows, as_json=as_json, empty="No account yet: pointsman accounts create NAME")


_SORTS = ("price", "throughput", "latency", "balanced")
_SWITCHES = (
    ("zdr", "Only endpoints that keep no prompts."),
    ("deny-paid-training", "No paid endpoint that trains on prompts."),
    ("deny-free-training", "No free endpoint that trains on prompts."),
    ("deny-free-publication", "No free endpoint that may publish prompts."),
)


def _switches(command: Callable[..., None]) -> Callable[..., None]:
    for name, text in reversed(_SWITCHES):
        command = click.option(f"--{name}/--no-{name}", default=None, help=text)(command)
    return command


@accounts_group.command("policy")
@click.argument("account")
@click.option("--only", metavar="SLUGS", help="Providers allowed, with commas; '' for all.")
@click.option("--ignore", metavar="SLUGS", help="Providers never used, with commas; '' for none.")
@click.option("--sort", type=click.Choice(_SORTS), help="How endpoints are ordered by default.")
@click.option("--default-model", metavar="MODEL", help="For requests that name none; '' for none.")
@_switches
@json_option
def policy_command(account: str, as_json: bool, **wanted: Any) -> None:  # noqa: FBT001
    """Show where an account's requests may go, after changing what is given.

    A request can narrow this, never widen it. Running front doors follow within a second.
    """
    settings = settings_of_shell()
    with opened(settings) as ledger:
        changes = _changes(wanted)
        check_names(RoutingPolicy(**changes), catalog_of(settings))
        policy = change_policy(ledger, account, lambda found: replace(found, **changes))
        _tell(settings, hashes_of(ledger, account))
    show([asdict(policy)], as_json=as_json, empty="")


@accounts_group.command("limits")
@click.argument("account")
@click.option("--rpm", metavar="N", help="Requests a minute of all its keys; '' for any.")
@click.option("--tpm", metavar="N", help="Tokens a minute; '' for any.")
@click.option("--parallel", metavar="N", help="Requests at once; '' for any.")
@json_option
def limits_command(account: str, as_json: bool, **wanted: str | None) -> None:  # noqa: FBT001
    """Show how fast an account's keys may ask together, after changing what is given."""
    settings = settings_of_shell()
    changes = {name: _rate(name, text) for name, text in wanted.items() if text is not None}
    with opened(settings) as ledger:
        owner = account_of(ledger, account)
        chosen = choices.change(
            ledger,
            owner.id,
            lambda found: replace(
                found,
                settings=replace(found.settings, rates=replace(found.settings.rates, **changes)),
            ),
        )
        _tell(settings, hashes_of(ledger, owner.id))
    show([asdict(chosen.settings.rates)], as_json=as_json, empty="")


def _rate(name: str, text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= RATE_MAX:
        raise click.BadParameter(
            f"{text!r} is no whole number from 1 to {RATE_MAX:,}.", param_hint=f"--{name}"
        )
    return int(text)


def _tell(settings: Settings, hashes: tuple[str, ...]) -> None:
    """Drop what front doors have cached of keys."""
    try:
        KeyCache.at(settings.redis_url).drop(*hashes)
    except Unavailable:
        click.echo(
            "Redis does not answer: front doors follow within a minute of its return.", err=True
        )


@accounts_group.command("close")
@click.argument("account")
@click.confirmation_option(prompt="Its credit, keys and members are lost for good. Close it?")
def close_command(account: str) -> None:
    """Close ACCOUNT for ever: no key of it works, its credit is forfeited; the books stay."""
    settings = settings_of_shell()
    with opened(settings) as ledger:
        office = Office(
            ledger=ledger,
            keys=KeyCache.at(settings.redis_url),
            budgets=Budgets.at(settings.redis_url),
            clock=SystemClock(),
        )
        closed = close(office, account_of(ledger, account).id)
    click.echo(f"Closed; {usd(closed.forfeited_nano):.6f} USD forfeited.")


def _changes(wanted: dict[str, Any]) -> dict[str, Any]:
    """Options given, as fields of the policy."""
    changes = {name: value for name, value in wanted.items() if value is not None}
    for name in ("only", "ignore"):
        if name in changes:
            slugs = (slug.strip().lower() for slug in changes[name].split(","))
            changes[name] = tuple(dict.fromkeys(slug for slug in slugs if slug))
    if changes.get("sort") == "balanced":
        changes["sort"] = None
    return changes


def account_of(ledger: Ledger, name_or_id: str) -> Account:
    """The account an operator means, by id or by name."""
    if (account := get(ledger, name_or_id)) is not None:
        return account
    named = [account for account in _all_accounts(ledger) if account.name == name_or_id]
    if len(named) > 1:
        listed = ", ".join(account.id for account in named)
        raise BadRequest(f"Several accounts are named {name_or_id}; use an id: {listed}.")
    if not named:
        raise NotFound(f"No account has the id or name {name_or_id}.")
    return named[0]


def _all_accounts(ledger: Ledger) -> list[Account]:
    found: list[Account] = []
    while page := list_accounts(ledger, after=found[-1].id if found else ""):
        found += page
    return found
