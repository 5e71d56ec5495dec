"""Prompts and answers of accounts that chose to have them kept: sealed in, sealed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from billing.db import Ledger, insert_rows
from billing.tables import accounts, generation_contents

#: Rows forgotten in one transaction, so that no settler waits long.
FORGET_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What one generation was asked and answered.

    Attributes:
        sealed: JSON, encrypted for its row; billing never opens it.
        created_ms: admission; it is forgotten so long after.
    """

    generation_id: str
    account_id: str
    sealed: str
    created_ms: int


def store(ledger: Ledger, contents: Sequence[Kept]) -> int:
    """Keep contents; returns how many were new.

    Harmless when repeated. Of an account that was closed meanwhile nothing is kept.

    Raises:
        Unavailable: the database is away; nothing was kept.
    """
    if not contents:
        return 0
    ids = sorted({one.account_id for one in contents})
    with ledger.writing() as connection:
        found = connection.execute(
            # Locked as closing does: what is kept here is either erased by it, or comes after it.
            select(accounts.c.id)
            .where(accounts.c.id.in_(ids), accounts.c.closed_ms.is_(None))
            .order_by(accounts.c.id)
            .with_for_update()
        )
        living = set(found.scalars())
        rows = {
            one.generation_id: {
                "generation_id": one.generation_id,
                "account_id": one.account_id,
                "sealed": one.sealed,
                "created_ms": one.created_ms,
            }
            for one in contents
            if one.account_id in living
        }
        if not rows:
            return 0
        new = insert_rows(
            connection,
            generation_contents,
            [rows[name] for name in sorted(rows)],
            unique=("generation_id",),
            returning=("generation_id",),
        )
    return len(new)


def sealed_of(ledger: Ledger, generation_id: str, account_id: str) -> str | None:
    """What is kept of a generation of an account, as it was sealed; None for nothing.

    Raises:
        Unavailable: the database is away.
    """
    table = generation_contents
    query = select(table.c.sealed).where(
        table.c.generation_id == generation_id, table.c.account_id == account_id
    )
    with ledger.reading() as connection:
        return connection.execute(query).scalar_one_or_none()


def forget(ledger: Ledger, before_ms: int) -> int:
    """Forget contents of generations admitted before a moment; returns how many.

    At most `FORGET_MAX` of them: call it again until it returns fewer.

    Raises:
        Unavailable: the database is away.
    """
    table = generation_contents
    old = (
        select(table.c.generation_id)
        .where(table.c.created_ms < before_ms)
        .order_by(table.c.created_ms)
        .limit(FORGET_MAX)
    )
    with ledger.writing() as connection:
        return connection.execute(delete(table).where(table.c.generation_id.in_(old))).rowcount
