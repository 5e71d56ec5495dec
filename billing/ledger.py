"""Double entry: every movement of money is a transaction whose entries sum to zero.

Customer credit is what we owe, so a grant adds to it and usage takes from it. Ledger accounts:

    acct:<account id>   credit of a customer
    funding             the other side of grants: money that came in
    revenue             what customers were charged
    byok_fees           what they were charged for use of their own provider keys
    purchase_fees       what they were charged for buying credit
    expired             credit that was not used in time
    forfeited           credit that was left in closed accounts
    inference_cost      what served generations cost us
    payable:<provider>  what we owe a provider
    insured_loss        what generations that were not charged cost us
    suspense            charges whose account or key nobody knows: for an operator to sort out

Append-only, and idempotent: a reference is posted once per kind, however often it is delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, select

from billing.db import change_rows, insert_rows
from billing.tables import entries, ledger_accounts, transactions

Kind = Literal["grant", "usage", "insured", "refund", "purchase_refund", "expiry", "forfeit"]

REVENUE = "revenue"
INFERENCE_COST = "inference_cost"
INSURED_LOSS = "insured_loss"
FUNDING = "funding"
SUSPENSE = "suspense"
BYOK_FEES = "byok_fees"
PURCHASE_FEES = "purchase_fees"
EXPIRED = "expired"
FORFEITED = "forfeited"
#: Made by the first migration; customers and providers come as they are met.
SYSTEM_ACCOUNTS = (REVENUE, INFERENCE_COST, INSURED_LOSS, FUNDING, SUSPENSE)

#: The most one entry may move: Redis scripts compare balances as doubles, exact to 9.0e15, which
#: is nine million dollars. A charge above it is an error upstream, not a charge.
AMOUNT_MAX_NANO = 9_000_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One transaction to be.

    Attributes:
        reference: what it is for: a generation id, a payment. Unique together with `kind`.
        lines: ledger account id and amount; sums to zero.
    """

    reference: str
    kind: Kind
    lines: tuple[tuple[str, int], ...]
    note: str = ""

    def __post_init__(self) -> None:
        if sum(amount for _, amount in self.lines) != 0:
            raise ValueError(f"{self.kind} {self.reference} does not sum to zero")
        if any(not 0 < abs(amount) <= AMOUNT_MAX_NANO for _, amount in self.lines):
            raise ValueError(f"{self.kind} {self.reference} moves nothing, or too much")


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """Balance of a ledger account, and which change of it this is."""

    posted_nano: int
    version: int


def payable(provider: str) -> str:
    """The ledger account of what we owe a provider."""
    return f"payable:{provider}"


def account_kind(ledger_account_id: str) -> str:
    """What sort of ledger account an id names: `acct:…` is a customer, others say it themselves."""
    head = ledger_account_id.partition(":")[0]
    return "customer" if head == "acct" else head


def post(
    connection: Connection, postings: Sequence[Posting], now_ms: int
) -> frozenset[tuple[str, Kind]]:
    """Append transactions; return the (reference, kind) of those that were not there yet.

    Balances move with them, in one order for all callers (by account id), so that two batches
    never wait for each other in a circle.

    Raises:
        ValueError: two postings of one batch have the same reference and kind.
    """
    if not postings:
        return frozenset()
    if len({(posting.reference, posting.kind) for posting in postings}) != len(postings):
        raise ValueError("one batch posts the same reference twice")
    ids = _append_transactions(connection, postings, now_ms)
    new = [posting for posting in postings if (posting.reference, posting.kind) in ids]
    deltas: dict[str, int] = {}
    rows: list[dict[str, object]] = []
    for posting in new:
        transaction_id = ids[posting.reference, posting.kind]
        for account, amount in posting.lines:
            deltas[account] = deltas.get(account, 0) + amount
            rows.append(
                {
                    "transaction_id": transaction_id,
                    "ledger_account_id": account,
                    "amount_nano": amount,
                }
            )
    if rows:
        open_accounts(connection, deltas)
        insert_rows(connection, entries, rows, returning=("id",))
        _move(connection, deltas)
    return frozenset(ids)


def open_accounts(connection: Connection, ids: Collection[str]) -> None:
    """Make the ledger accounts that do not exist yet, with a balance of zero."""
    missing = sorted(set(ids) - balances(connection, ids).keys())
    if missing:
        insert_rows(
            connection,
            ledger_accounts,
            [
                {"id": name, "kind": account_kind(name), "posted_nano": 0, "version": 0}
                for name in missing
            ],
            unique=("id",),
            returning=("id",),
        )


def balances(connection: Connection, ids: Collection[str]) -> dict[str, Posted]:
    """Posted balance and version of the ledger accounts that exist."""
    table = ledger_accounts
    rows = connection.execute(
        select(table.c.id, table.c.posted_nano, table.c.version).where(table.c.id.in_(sorted(ids)))
    )
    return {name: Posted(posted_nano=posted, version=version) for name, posted, version in rows}


def _append_transactions(
    connection: Connection, postings: Sequence[Posting], now_ms: int
) -> dict[tuple[str, Kind], int]:
    returned = insert_rows(
        connection,
        transactions,
        [
            {
                "reference": posting.reference,
                "kind": posting.kind,
                "created_ms": now_ms,
                "note": posting.note,
            }
            for posting in postings
        ],
        unique=("reference", "kind"),
        returning=("id", "reference", "kind"),
    )
    return {(row.reference, row.kind): row.id for row in returned}


def _move(connection: Connection, deltas: Mapping[str, int]) -> None:
    table = ledger_accounts
    change_rows(
        connection,
        table,
        "id",
        [{"id": name, "delta": deltas[name]} for name in sorted(deltas)],
        lambda given: {
            "posted_nano": table.c.posted_nano + given("delta"),
            "version": table.c.version + 1,
        },
    )
