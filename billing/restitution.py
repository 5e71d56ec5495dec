"""Giving back what a generation cost, by an operator, because something was wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from billing.db import Ledger
from billing.ledger import BYOK_FEES, REVENUE, Posting, post
from billing.payments import budget_of, locked_balance
from billing.tables import accounts, entries, generations, transactions
from routing.budgets import account_scope
from routing.errors import Conflict, NotFound
from routing.wire.account import Budget

#: What customers were charged goes here; what we owe the provider stays as it is.
_OURS = (REVENUE, BYOK_FEES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was given back.

    Attributes:
        nano: 0 when it was given back before.
    """

    account_id: str
    nano: int
    budget: Budget


def refund_generation(ledger: Ledger, generation_id: str, now_ms: int, note: str = "") -> Restored:
    """Give back what a generation took from its account, once.

    What counts as spent of limits and budgets stays: they are about use.

    Raises:
        NotFound: no such generation is settled.
        Conflict: it cost nothing, nobody was charged, or its account was closed.
        Unavailable: the database is away; trying again cannot give it back twice.
    """
    with ledger.writing() as connection:
        account_id = _payer(connection, generation_id)
        lines = _reversed(connection, generation_id, account_scope(account_id))
        posting = Posting(reference=generation_id, kind="refund", lines=lines, note=note[:256])
        new = post(connection, [posting], now_ms)
        return Restored(
            account_id=account_id,
            nano=lines[0][1] if new else 0,
            budget=budget_of(connection, account_id),
        )


def _payer(connection: Connection, generation_id: str) -> str:
    """The account of a generation; open until this transaction ends."""
    query = select(generations.c.account_id).where(generations.c.id == generation_id)
    account_id = connection.execute(query).scalar_one_or_none()
    if account_id is None:
        raise NotFound(f"No generation {generation_id} is settled")
    known = select(accounts.c.closed_ms).where(accounts.c.id == account_id)
    if connection.execute(known).one_or_none() is None:
        raise Conflict("Nobody was charged: its account is not known")
    # In the order of closing: the balance first.
    locked_balance(connection, account_scope(account_id))
    if connection.execute(known.with_for_update()).scalar_one() is not None:
        raise Conflict("Its account was closed")
    return str(account_id)


def _reversed(
    connection: Connection, generation_id: str, scope: str
) -> tuple[tuple[str, int], ...]:
    """What was taken from the account and what became of it, the other way round."""
    query = (
        select(entries.c.ledger_account_id, entries.c.amount_nano)
        .join(transactions, transactions.c.id == entries.c.transaction_id)
        .where(
            transactions.c.reference == generation_id,
            transactions.c.kind == "usage",
            entries.c.ledger_account_id.in_((scope, *_OURS)),
        )
    )
    booked: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    if scope not in booked:
        raise Conflict("It cost its account nothing")
    others = tuple((name, -booked[name]) for name in _OURS if name in booked)
    return ((scope, -booked[scope]), *others)
