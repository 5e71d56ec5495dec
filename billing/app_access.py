"""Applications that an account gave keys to, and how it takes them back."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, literal, select, update

from billing.db import Ledger
from billing.key_list import manageable
from billing.tables import api_keys, apps, auth_codes, budgets
from routing.budgets import key_owner
from routing.errors import NotFound

#: Applications listed at once: those that got a key last.
LIST_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AppEntry:
    """An application with keys of an account.

    Attributes:
        keys: those that are not deleted.
        last_used_ms: when the last settled request of one of them came; None before the first.
        created_ms: when it got the first of them.
    """

    id: int
    origin: str
    title: str
    keys: int
    last_used_ms: int | None
    created_ms: int


def list_apps(ledger: Ledger, account_id: str, *, maker: str | None = None) -> tuple[AppEntry, ...]:
    """At most `LIST_MAX` of them, those that got a key last first.

    Args:
        ledger: read only.
        account_id: whose.
        maker: only keys that this member gave, as a member who is no admin sees them.

    Raises:
        Unavailable: the database is away.
    """
    query = (
        select(
            apps.c.id,
            apps.c.origin,
            apps.c.title,
            func.count().label("keys"),
            func.max(api_keys.c.last_used_ms).label("last_used_ms"),
            func.min(api_keys.c.created_ms).label("created_ms"),
        )
        .join(api_keys, api_keys.c.app_id == apps.c.id)
        .where(*_given(account_id, maker))
        .group_by(apps.c.id, apps.c.origin, apps.c.title)
        .order_by(func.max(api_keys.c.created_ms).desc(), apps.c.id)
        .limit(LIST_MAX)
    )
    with ledger.reading() as connection:
        return tuple(AppEntry(**row) for row in connection.execute(query).mappings())


def keys_of(
    ledger: Ledger, account_id: str, app_id: int, *, maker: str | None = None
) -> tuple[str, ...]:
    """Hashes of the keys an application has; the arguments are those of `list_apps`.

    Raises:
        Unavailable: the database is away.
    """
    query = select(api_keys.c.hash).where(*_given(account_id, maker), api_keys.c.app_id == app_id)
    with ledger.reading() as connection:
        return tuple(connection.execute(query).scalars())


def revoke(
    ledger: Ledger, account_id: str, app_id: int, now_ms: int, *, maker: str | None = None
) -> tuple[str, ...]:
    """Delete every key an application has of an account, and the codes that wait to become one.

    Front doors cache keys: do it through `Office.change_keys`.

    Args:
        ledger: may be written.
        account_id: whose.
        app_id: which application.
        now_ms: the moment of it.
        maker: only keys and codes that this member gave.

    Returns:
        Hashes of the keys.

    Raises:
        NotFound: it has neither keys nor codes of this account.
        Unavailable: the database is away; nothing was changed.
    """
    mine = (*_given(account_id, maker), api_keys.c.app_id == app_id)
    codes = [
        auth_codes.c.account_id == account_id,
        auth_codes.c.app_id == app_id,
        auth_codes.c.used_ms.is_(None),
    ]
    if maker is not None:
        codes.append(auth_codes.c.user_id == maker)
    with ledger.writing() as connection:
        # Codes first: one that is exchanged just now is waited for, and its key is found below.
        waiting = connection.execute(delete(auth_codes).where(*codes)).rowcount
        # In the order in which settlement locks keys.
        connection.execute(
            select(api_keys.c.hash).where(*mine).order_by(api_keys.c.hash).with_for_update()
        )
        owners = select(literal(key_owner("")) + api_keys.c.hash).where(*mine)
        connection.execute(delete(budgets).where(budgets.c.owner.in_(owners)))
        gone = connection.execute(
            update(api_keys)
            .where(*mine)
            .values(deleted_ms=now_ms, updated_ms=now_ms, version=api_keys.c.version + 1)
            .returning(api_keys.c.hash)
        )
        hashes = tuple(gone.scalars())
        if not hashes and not waiting:
            raise not_found(app_id)
    return hashes


def not_found(app_id: int | str) -> NotFound:
    """For an application that has nothing of the caller's account."""
    return NotFound(f"No application with keys of this account has the id {app_id}.")


def _given(account_id: str, maker: str | None) -> tuple[ColumnElement[bool], ...]:
    """Keys that somebody gave to an application."""
    wanted = (*manageable(account_id), api_keys.c.app_id.is_not(None))
    return wanted if maker is None else (*wanted, api_keys.c.creator_user_id == maker)
