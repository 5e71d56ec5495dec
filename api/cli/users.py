"""`pointsman users` and `members`: who may log in to the pages, and for which accounts."""

from __future__ import annotations

import secrets
import sys
from typing import Any

import click

from api.cli.accounts import account_of
from api.cli.ledger import opened, settings_of_shell
from api.cli.table import json_option, show
from billing import members, people
from billing.db import Ledger
from billing.passwords import hash_password
from billing.people import NewUser, Role, User
from routing.clock import SystemClock
from routing.errors import NotFound, Unavailable
from routing.settings import Settings
from routing.store.budgets import KeyCache

#: Of a password made here: 128 bits, printed as 22 characters.
_RANDOM_BYTES = 16
#: Longest line read as a password.
_LINE_MAX = 1_024

_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of stdin."
)


@click.group("users")
def users_group() -> None:
    """People who log in to the pages."""


@users_group.command("create")
@click.argument("email")
@click.option("--first-name", default="")
@click.option("--last-name", default="")
@click.option("--site-admin", is_flag=True, help="May run this installation.")
@click.option("--no-password", is_flag=True, help="Logs in with the identity provider only.")
@_stdin
def create_command(email: str, **wanted: Any) -> None:
    """Add a person, print their id, and the password that was made for them."""
    text = "" if wanted["no_password"] else _password(from_stdin=wanted["password_stdin"])
    new = NewUser(
        email=email,
        first_name=wanted["first_name"],
        last_name=wanted["last_name"],
        password_hash=hash_password(text) if text else None,
        site_admin=wanted["site_admin"],
    )
    with opened(settings_of_shell()) as ledger:
        user = people.create_user(ledger, new, SystemClock().now_ms())
    click.echo(user.id)
    _tell(text, shown=not wanted["password_stdin"])


@users_group.command("list")
@json_option
def list_command(as_json: bool) -> None:  # noqa: FBT001 - click passes options so
    """List the people who may log in."""
    found: list[User] = []
    with opened(settings_of_shell()) as ledger:
        while page := people.list_users(ledger, after=found[-1].email if found else ""):
            found += page
    rows = [
        {
            "id": user.id,
            "email": user.email,
            "name": user.name,
            "site_admin": user.site_admin,
            "disabled": user.disabled,
            "password": user.has_password,
            "created_ms": user.created_ms,
        }
        for user in found
    ]
    show(rows, as_json=as_json, empty="Nobody yet: pointsman users create EMAIL")


@users_group.command("password")
@click.argument("email")
@_stdin
def password_command(email: str, password_stdin: bool) -> None:  # noqa: FBT001 - as above
    """Set somebody's password; their browsers are logged out."""
    text = _password(from_stdin=password_stdin)
    with opened(settings_of_shell()) as ledger:
        user = _user(ledger, email)
        now_ms = SystemClock().now_ms()
        people.set_password(ledger, user.id, hash_password(text), now_ms)
    _tell(text, shown=not password_stdin)


@users_group.command("disable")
@click.argument("email")
@click.option("--keep-keys", is_flag=True, help="The API keys they made go on working.")
def disable_command(email: str, keep_keys: bool) -> None:  # noqa: FBT001 - as above
    """Lock somebody out at once, and disable the keys they made."""
    settings = settings_of_shell()
    with opened(settings) as ledger:
        user, now_ms = _user(ledger, email), SystemClock().now_ms()
        people.set_disabled(ledger, user.id, now_ms, disabled=True)
        hashes = () if keep_keys else members.keys_of(ledger, user.id)
        count = 0 if keep_keys else members.disable_keys(ledger, user.id, now_ms)
    _drop(settings, hashes)
    click.echo(f"{user.email} is locked out. Keys disabled: {count}.")


@users_group.command("enable")
@click.argument("email")
def enable_command(email: str) -> None:
    """Let somebody log in again. Keys that were disabled stay so."""
    with opened(settings_of_shell()) as ledger:
        user = _user(ledger, email)
        people.set_disabled(ledger, user.id, SystemClock().now_ms(), disabled=False)
    click.echo(f"{user.email} may log in.")


@users_group.command("site-admin")
@click.argument("email")
@click.option("--no", "takes", is_flag=True, help="No more.")
def site_admin_command(email: str, takes: bool) -> None:  # noqa: FBT001 - as above
    """Let somebody run this installation."""
    with opened(settings_of_shell()) as ledger:
        user = _user(ledger, email)
        people.set_site_admin(ledger, user.id, SystemClock().now_ms(), site_admin=not takes)
    click.echo(f"{user.email} runs this installation{' no more' if takes else ''}.")


@click.group("members")
def members_group() -> None:
    """Who belongs to which account. ACCOUNT is an id or a name."""


@members_group.command("list")
@click.argument("account")
@json_option
def members_command(account: str, as_json: bool) -> None:  # noqa: FBT001 - as above
    """List the members of ACCOUNT."""
    found: list[members.Member] = []
    with opened(settings_of_shell()) as ledger:
        owner = account_of(ledger, account)
        while page := members.members_of(ledger, owner.id, offset=len(found))[0]:
            found += page
    rows = [
        {
            "id": one.user.id,
            "email": one.user.email,
            "name": one.user.name,
            "role": one.role,
            "since_ms": one.since_ms,
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="Nobody yet: pointsman members add ACCOUNT EMAIL")


@members_group.command("add")
@click.argument("account")
@click.argument("email")
@click.option("--admin", is_flag=True, help="May run the account.")
def add_command(account: str, email: str, admin: bool) -> None:  # noqa: FBT001 - as above
    """Let somebody into ACCOUNT; the first one of an account of nobody becomes its admin."""
    role: Role = "admin" if admin else "member"
    now_ms = SystemClock().now_ms()
    with opened(settings_of_shell()) as ledger:
        owner, user = account_of(ledger, account), _user(ledger, email)
        if members.adopt(ledger, owner.id, user.id, now_ms):
            role = "admin"
        else:
            members.add_member(ledger, owner.id, user.id, role, now_ms)
    click.echo(f"{user.email} is {role} of {owner.name} ({owner.id}).")


@members_group.command("remove")
@click.argument("account")
@click.argument("email")
def remove_command(account: str, email: str) -> None:
    """Take somebody out of ACCOUNT; the keys of it that they made are disabled."""
    settings = settings_of_shell()
    with opened(settings) as ledger:
        owner, user = account_of(ledger, account), _user(ledger, email)
        hashes = members.keys_of(ledger, user.id, owner.id)
        members.remove_member(ledger, owner.id, user.id, SystemClock().now_ms())
    _drop(settings, hashes)
    click.echo(f"{user.email} has left {owner.name} ({owner.id}). Keys disabled: {len(hashes)}.")


def _user(ledger: Ledger, email: str) -> User:
    user = people.user_by_email(ledger, email)
    if user is None:
        raise NotFound(f"Nobody has the address {email}: pointsman users create {email}")
    return user


def _password(*, from_stdin: bool) -> str:
    if not from_stdin:
        return secrets.token_urlsafe(_RANDOM_BYTES)
    return sys.stdin.readline(_LINE_MAX).rstrip("\r\n")


def _tell(password: str, *, shown: bool) -> None:
    if password and shown:
        click.echo(f"Password: {password}")
        click.echo("Keep it now, it cannot be shown again.", err=True)


def _drop(settings: Settings, hashes: tuple[str, ...]) -> None:
    """The ledger is the truth, so a cache that is away is no failure."""
    try:
        KeyCache.at(settings.redis_url).drop(*hashes)
    except Unavailable:
        click.echo(
            "Redis does not answer: front doors follow within a minute of its return.", err=True
        )
