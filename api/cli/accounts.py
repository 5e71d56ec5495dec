"""`pointsman accounts` and `credits`: what an operator does with customers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import click

from api.cli.catalog import catalog_of
from api.cli.ledger import opened, settings_of_shell
from api.cli.money import dollars, usd
from api.cli.table import json_option, show
from billing.accounts import (
    Account,
    AccountKind,
    Grant,
    budget_of,
    change_policy,
    create_account,
    get,
    grant,
    list_accounts,
)
from billing.api_keys import hashes_of
from billing.db import Ledger
from routing import ids
from routing.catalog.shapes import Catalog
from routing.clock import SystemClock
from routing.errors import BadRequest, NotFound, Unavailable
from routing.plan import resolve
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import Budget, RoutingPolicy


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
        _check_names(RoutingPolicy(**changes), catalog_of(settings))
        policy = change_policy(ledger, account, lambda found: replace(found, **changes))
        hashes = hashes_of(ledger, account)
    try:
        KeyCache.at(settings.redis_url).drop(*hashes)
    except Unavailable:
        click.echo(
            "Redis does not answer: front doors follow within a minute of its return.", err=True
        )
    show([asdict(policy)], as_json=as_json, empty="")


def _check_names(policy: RoutingPolicy, catalog: Catalog) -> None:
    """A slug nobody has would shut out every provider, or none."""
    known = {each.tag.lower() for each in catalog.endpoints.values()}
    for provider in catalog.providers.values():
        known |= {provider.slug.lower(), provider.name.lower()}
    for slug in (*policy.only, *policy.ignore):
        if slug not in known:
            raise BadRequest(f"No provider or endpoint is called {slug!r}")
    if policy.default_model:
        resolve(policy.default_model, catalog)


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
    click.echo(f"{owner.name} ({owner.id}) has {dollars(budget.available_nano)} now.")
    click.echo(f"Reference: {wanted.reference}")
    _publish(settings, budget)


def _publish(settings: Settings, budget: Budget) -> None:
    """Tell the front doors. The ledger is the truth, so their cache being away is no failure."""
    try:
        Budgets.at(settings.redis_url).post((budget,))
    except Unavailable:
        click.echo(
            "Redis is away; the credit is in the ledger and counts when Redis is back.", err=True
        )


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
