"""Credit that was not used in time. Off unless the operator gives it an age.

The oldest credit counts as used first. So what is too old is what is left beyond all credit that
was given since.
"""

from __future__ import annotations

from collections.abc import Callable

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
    ledger: Ledger,
    given_before_ms: int,
    now_ms: int,
    *,
    after: str = "",
    held_nano: Callable[[str], int] | None = None,
) -> tuple[tuple[Budget, ...], str]:
    """Take credit that was given before a moment and is not used, in a page of accounts.

    Safe to repeat: a day's expiry is taken once.

    Args:
        ledger: where to.
        given_before_ms: what was given earlier is too old.
        now_ms: the moment.
        after: the page begins behind this account; "" for the first.
        held_nano: what requests under way hold of a scope; it is left for them.

    Returns:
        The new balances, and `after` of the next page; "" when this was the last one.

    Raises:
        Unavailable: the database is away; nothing of this page was taken.
    """
    with ledger.writing() as connection:
        page = _page(connection, after)
        taken = []
        for account_id in page:
            old_nano = _old(connection, account_id, given_before_ms)
            if held_nano is not None and old_nano > 0:
                left_nano = budget_of(connection, account_id).available_nano
                old_nano = min(old_nano, left_nano - held_nano(account_scope(account_id)))
            if old_nano > 0 and _take(connection, account_id, old_nano, now_ms):
                taken.append(account_id)
        told = tuple(budget_of(connection, account_id) for account_id in taken)
    return told, page[-1] if len(page) == EXPIRE_MAX else ""


def _page(connection: Connection, after: str, *, lock: bool = True) -> list[str]:
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
    )
    if lock:
        query = query.with_for_update(of=ledger_accounts)
    return list(connection.execute(query).scalars())


def preview(ledger: Ledger, given_before_ms: int, *, after: str = "") -> tuple[dict[str, int], str]:
    """What `expire` would take, by account, and `after` of the next page.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        page = _page(connection, after, lock=False)
        found = {name: _old(connection, name, given_before_ms) for name in page}
    old = {name: nano for name, nano in found.items() if nano > 0}
    return old, page[-1] if len(page) == EXPIRE_MAX else ""


def _old(connection: Connection, account_id: str, given_before_ms: int) -> int:
    """What is left beyond all that was given since; not positive when nothing is."""
    scope = account_scope(account_id)
    since = transactions.c.created_ms >= given_before_ms
    young_nano = max(0, given_since(connection, account_id, since))
    return balances(connection, {scope})[scope].posted_nano - young_nano


def _take(connection: Connection, account_id: str, nano: int, now_ms: int) -> bool:
    posting = Posting(
        reference=f"{account_id} {day_of(now_ms)}",
        kind="expiry",
        lines=((account_scope(account_id), -nano), (EXPIRED, nano)),
    )
    return move_credit(connection, account_id, posting, now_ms)
