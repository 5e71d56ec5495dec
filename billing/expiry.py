"""Credit that was not used in time. Off unless the operator gives it an age.

The oldest credit counts as used first. So what is too old is what is left beyond all credit that
was given since.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, select

from billing.db import Ledger
from billing.ledger import EXPIRED, Posting, balances
from billing.payments import budget_of, given_since, move_credit
from billing.tables import accounts, ledger_accounts, transactions
from routing.budgets import account_scope, day_of
from routing.wire.account import Budget

#: Accounts looked at in one transaction.
EXPIRE_MAX = 100


def expire(
    ledger: Ledger, given_before_ms: int, now_ms: int, *, after: str = ""
) -> tuple[tuple[Budget, ...], str]:
    """Take credit that was given before a moment and is not used, in a page of accounts.

    Safe to repeat: a day's expiry is taken once.

    Args:
        ledger: where to.
        given_before_ms: what was given earlier is too old.
        now_ms: the moment.
        after: the page begins behind this account; "" for the first.

    Returns:
        The new balances, and `after` of the next page; "" when this was the last one.

    Raises:
        Unavailable: the database is away; nothing of this page was taken.
    """
    with ledger.writing() as connection:
        page = _page(connection, after)
        taken = [
            account_id
            for account_id in page
            if _expire(connection, account_id, given_before_ms, now_ms)
        ]
        told = tuple(budget_of(connection, account_id) for account_id in taken)
    return told, page[-1] if len(page) == EXPIRE_MAX else ""


def _page(connection: Connection, after: str) -> list[str]:
    """Open accounts with credit, their balances locked, in the order of settlement."""
    scope: ColumnElement[str] = "acct:" + accounts.c.id
    query = (
        select(accounts.c.id)
        .join(ledger_accounts, ledger_accounts.c.id == scope)
        .where(
            accounts.c.id > after,
            accounts.c.closed_ms.is_(None),
            ledger_accounts.c.posted_nano > 0,
        )
        .order_by(ledger_accounts.c.id)
        .limit(EXPIRE_MAX)
        .with_for_update(of=ledger_accounts)
    )
    return list(connection.execute(query).scalars())


def _expire(connection: Connection, account_id: str, given_before_ms: int, now_ms: int) -> bool:
    scope = account_scope(account_id)
    since = transactions.c.created_ms >= given_before_ms
    young_nano = max(0, given_since(connection, account_id, since))
    left_nano = balances(connection, {scope})[scope].posted_nano
    old_nano = left_nano - young_nano
    if old_nano <= 0:
        return False
    posting = Posting(
        reference=f"{account_id} {day_of(now_ms)}",
        kind="expiry",
        lines=((scope, -old_nano), (EXPIRED, old_nano)),
    )
    return move_credit(connection, account_id, posting, now_ms)
