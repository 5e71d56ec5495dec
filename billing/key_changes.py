"""Making, changing and deleting keys. Front doors cache them: do it through `api.office`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import delete as delete_rows
from sqlalchemy import select, update

from billing.api_keys import KeyTerms, columns_of, mint_key
from billing.db import Ledger
from billing.key_list import KeyEntry, find_entry, manageable
from billing.spend import key_limits, window_budgets
from billing.tables import api_keys, budgets
from routing.budgets import key_owner
from routing.errors import NotFound
from routing.wire.account import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A key after a change.

    Attributes:
        budget: what is left of its limit now, for the caches; None without a limit.
    """

    entry: KeyEntry
    budget: Budget | None


def make(ledger: Ledger, account_id: str, terms: KeyTerms, now_ms: int) -> tuple[str, KeyEntry]:
    """Make a key, as `api_keys.mint` does; returns its full text and how it is listed."""
    with ledger.writing() as connection:
        text, record = mint_key(connection, account_id, terms, now_ms)
        entry = find_entry(connection, None, record.key_hash, now_ms)
    if entry is None:
        raise RuntimeError("a key was not there right after it was made")
    return text, entry


def change(
    ledger: Ledger,
    account_id: str | None,
    key_hash: str,
    edit: Callable[[KeyTerms], KeyTerms],
    now_ms: int,
) -> Changed:
    """Give a key other terms; changes made at once come one after the other.

    Its kind, its maker and its application stay as they are.

    Args:
        ledger: may be written.
        account_id: as `key_list.manageable` takes it.
        key_hash: which key.
        edit: from the terms as they are to those that are wanted.
        now_ms: the moment of the change.

    Raises:
        BadRequest: terms beyond reason, as for a new key.
        NotFound: no such key that may be managed.
        Unavailable: the database is away.
    """
    mine = (api_keys.c.hash == key_hash, *manageable(account_id))
    with ledger.writing() as connection:
        connection.execute(select(api_keys.c.hash).where(*mine).with_for_update())
        before = find_entry(connection, account_id, key_hash, now_ms)
        if before is None:
            raise not_found(key_hash)
        kept = before.terms
        wanted = replace(
            edit(kept), kind=kept.kind, creator_user_id=kept.creator_user_id, app_id=kept.app_id
        )
        connection.execute(
            update(api_keys)
            .where(api_keys.c.hash == key_hash)
            .values(**columns_of(wanted), updated_ms=now_ms, version=api_keys.c.version + 1)
        )
        limit = key_limits(connection, {key_hash})[key_hash]
        left = window_budgets(connection, [(limit, now_ms)])
        after = replace(before, terms=wanted, updated_ms=now_ms)
    return Changed(entry=after, budget=next(iter(left), None))


def delete(ledger: Ledger, account_id: str | None, key_hash: str, now_ms: int) -> None:
    """Take a key away for good, and its budgets. What is under way with it is still settled.

    Args:
        ledger: may be written.
        account_id: as `key_list.manageable` takes it.
        key_hash: which key.
        now_ms: the moment of the change.

    Raises:
        NotFound: no such key that may be managed.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        gone = connection.execute(
            update(api_keys)
            .where(api_keys.c.hash == key_hash, *manageable(account_id))
            .values(deleted_ms=now_ms, updated_ms=now_ms, version=api_keys.c.version + 1)
        )
        if gone.rowcount != 1:
            raise not_found(key_hash)
        connection.execute(delete_rows(budgets).where(budgets.c.owner == key_owner(key_hash)))


def not_found(key_hash: str) -> NotFound:
    """For a key that is not there, or not the caller's."""
    return NotFound(f"No key has the hash {key_hash}.")
