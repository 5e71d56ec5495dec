"""`pointsman keys`: what an operator does with API keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from api.cli.accounts import account_of
from api.cli.ledger import opened, settings_of_shell
from api.cli.money import usd
from api.cli.table import json_option, show
from billing import key_changes
from billing.api_keys import RATE_MAX, KeyTerms, mint
from billing.db import Ledger
from billing.key_list import ListedKey, list_keys
from routing.budgets import LimitReset
from routing.clock import SystemClock
from routing.errors import Unavailable
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import RateLimits

Result = TypeVar("Result")

_RESETS: tuple[LimitReset, ...] = ("daily", "weekly", "monthly")
_RATES = ("rpm", "tpm", "parallel")
#: How an option says that there shall be no limit; None says that it was not given.
_NONE = "none"
_AWAY = (
    "Redis is away: front doors go on with what they know of the key until it is back, and for at "
    "most a minute after."
)


def _whole(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= RATE_MAX:
        raise click.BadParameter(f"{text!r} is no whole number from 1 to {RATE_MAX:,}.")
    return number


def _day(text: str) -> int:
    """The start of a UTC day, or a moment in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no day, such as 2027-12-31.") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _or_none(convert: Callable[[str], int]) -> Callable[[str], int | str]:
    """A type of option that also takes `none`."""

    def converted(text: str) -> int | str:
        return _NONE if text == _NONE else convert(text)

    return converted


#: Option, type and help of what is said of a new key and of one that is changed.
_TERMS: tuple[tuple[str, str, Any, str], ...] = (
    ("--limit", "USD", _or_none(usd), "Most it may spend, or none."),
    (
        "--reset",
        "",
        click.Choice((*_RESETS, _NONE)),
        "When the limit starts anew (UTC), or none.",
    ),
    ("--expires", "DAY", _or_none(_day), "When it ends (UTC), or none."),
    ("--rpm", "N", _or_none(_whole), "Requests a minute, or none."),
    ("--tpm", "N", _or_none(_whole), "Tokens a minute, or none."),
    ("--parallel", "N", _or_none(_whole), "Requests at once, or none."),
)


def _terms(command: Callable[..., None]) -> Callable[..., None]:
    for name, metavar, kind, text in reversed(_TERMS):
        command = click.option(name, metavar=metavar or None, type=kind, help=text)(command)
    return click.option(
        "--byok-counts/--no-byok-counts",
        default=None,
        help="Whether use of the account's own provider keys counts against the limit.",
    )(command)


def _edited(terms: KeyTerms, wanted: dict[str, Any]) -> KeyTerms:
    """Terms with the options that were given."""
    given = {name: value for name, value in wanted.items() if value is not None}
    plain = {name: None if value == _NONE else value for name, value in given.items()}
    rates: dict[str, int | None] = {name: plain.pop(name) for name in _RATES if name in plain}
    fields = {
        "limit": "limit_nano",
        "reset": "limit_reset",
        "expires": "expires_ms",
        "byok_counts": "include_byok_in_limit",
    }
    changes: dict[str, Any] = {fields.get(name, name): value for name, value in plain.items()}
    return replace(terms, **changes, rates=RateLimits(**(asdict(terms.rates) | rates)))


@click.group("keys")
def keys_group() -> None:
    """API keys."""


@keys_group.command("create")
@click.argument("account")
@click.argument("name")
@click.option("--management", is_flag=True, help="A key for administration, not for inference.")
@click.option("--creator", metavar="USER", default="", help="The member whose budgets bound it.")
@_terms
def create_key_command(
    account: str,
    name: str,
    management: bool,  # noqa: FBT001 - click passes options so
    creator: str,
    **wanted: Any,
) -> None:
    """Make a key for ACCOUNT (id or name) and print it. It is shown this once."""
    kind = KeyTerms(
        name=name, kind="management" if management else "inference", creator_user_id=creator
    )
    with opened(settings_of_shell()) as ledger:
        owner = account_of(ledger, account)
        text, record = mint(ledger, owner.id, _edited(kind, wanted), SystemClock().now_ms())
    click.echo(text)
    click.echo(f"Keep it now, it cannot be shown again. Its hash: {record.key_hash}", err=True)


@keys_group.command("list")
@click.argument("account")
@json_option
def list_keys_command(account: str, as_json: bool) -> None:  # noqa: FBT001 - click passes options so
    """List the keys of ACCOUNT (id or name), without their secrets."""
    with opened(settings_of_shell()) as ledger:
        keys = _all_keys(ledger, account_of(ledger, account).id)
    rows = [asdict(key) for key in keys]
    show(rows, as_json=as_json, empty="No key yet: pointsman keys create ACCOUNT NAME")


@keys_group.command("update")
@click.argument("key_hash", metavar="HASH")
@click.option("--name", help="What it is called.")
@_terms
def update_key_command(key_hash: str, **wanted: Any) -> None:
    """Change what the key with this HASH may do. Running front doors follow within a second."""
    _change(key_hash, lambda terms: _edited(terms, wanted))
    click.echo("Changed.")


@keys_group.command("disable")
@click.argument("key_hash", metavar="HASH")
def disable_key_command(key_hash: str) -> None:
    """Shut the key with this HASH. What is under way with it is still settled."""
    _change(key_hash, lambda terms: replace(terms, disabled=True))
    click.echo("Disabled.")


@keys_group.command("enable")
@click.argument("key_hash", metavar="HASH")
def enable_key_command(key_hash: str) -> None:
    """Open the key with this HASH again."""
    _change(key_hash, lambda terms: replace(terms, disabled=False))
    click.echo("Enabled.")


@keys_group.command("delete")
@click.argument("key_hash", metavar="HASH")
def delete_key_command(key_hash: str) -> None:
    """Take the key with this HASH away for good. What is under way with it is still settled."""
    now_ms = SystemClock().now_ms()
    _done(
        settings_of_shell(),
        key_hash,
        lambda ledger: key_changes.delete(ledger, None, key_hash, now_ms),
    )
    click.echo("Deleted.")


def _change(key_hash: str, edit: Callable[[KeyTerms], KeyTerms]) -> None:
    settings, now_ms = settings_of_shell(), SystemClock().now_ms()
    changed = _done(
        settings,
        key_hash,
        lambda ledger: key_changes.change(ledger, None, key_hash, edit, now_ms),
    )
    if changed.budget is not None:
        budget = changed.budget
        _told(lambda: Budgets.at(settings.redis_url).post((budget,)))


def _done(settings: Settings, key_hash: str, work: Callable[[Ledger], Result]) -> Result:
    """Change a key, whether or not Redis is there: a key that leaked must be shut at once."""

    def drop() -> None:
        KeyCache.at(settings.redis_url).drop(key_hash)

    with opened(settings) as ledger:
        _told(drop)
        result = work(ledger)
    if not _told(drop):
        click.echo(_AWAY, err=True)
    return result


def _told(tell: Callable[[], object]) -> bool:
    try:
        tell()
    except Unavailable:
        return False
    return True


def _all_keys(ledger: Ledger, account_id: str) -> list[ListedKey]:
    found: list[ListedKey] = []
    while page := list_keys(ledger, account_id, after=found[-1].hash if found else ""):
        found += page
    return found
