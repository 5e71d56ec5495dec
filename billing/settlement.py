"""SETTLE: what a batch of ended generations cost, booked once, however often it is delivered.

| generation                | customer | other entries                                           |
|---------------------------|----------|---------------------------------------------------------|
| done, cancelled           | -cost    | revenue +cost, inference_cost -cost, payable:… +cost     |
| insured, provider took it | none     | insured_loss -cost, payable:… +cost                      |
| cost of zero              | none     | no transaction: the generation's row is the whole record |

A charge for an account or key that nobody knows is booked to `suspense` instead of the customer and
flagged, so that one odd charge never blocks the batch it came in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from billing.bill import Bill, bill
from billing.db import Ledger, insert_rows, upsert
from billing.ledger import balances, post
from billing.spend import KeyLimit, key_limits, window_budgets
from billing.tables import accounts, api_keys, generations, key_usage_days
from routing.budgets import account_scope, day_of
from routing.wire.account import Budget
from routing.wire.job import Charge

#: Charges in one transaction: long enough to share one fsync, short enough to keep no one waiting.
BATCH_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a batch did.

    Attributes:
        budgets: fresh balance of every known account and limited key of the batch, duplicates
            included, so that a replay after a crash can still release its holds.
        new: the generations that moved money now; the others were settled before.
    """

    budgets: tuple[Budget, ...]
    new: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The accounts and keys of a batch that exist."""

    accounts: frozenset[str]
    keys: Mapping[str, KeyLimit]

    def strange(self, charge: Charge) -> tuple[str, ...]:
        """Why this charge cannot be booked to its customer; empty when it can."""
        key = self.keys.get(charge.caller.key_hash)
        flags = []
        if charge.caller.account_id not in self.accounts:
            flags.append("unknown_account")
        if key is None or key.account_id != charge.caller.account_id:
            flags.append("unknown_key")
        return tuple(flags)


def settle(ledger: Ledger, charges: Sequence[Charge], now_ms: int) -> Settled:
    """Book a batch in one transaction: all of it, or none of it.

    Of several charges for one generation the first that is committed counts, for ever.

    Args:
        ledger: where to.
        charges: at most `BATCH_MAX`, in any order, with any repetition.
        now_ms: the moment of settlement. Spend belongs to the day a generation was admitted.

    Raises:
        Unavailable: nothing was booked; the same batch may be tried again.
    """
    if len(charges) > BATCH_MAX:
        raise ValueError(f"a batch has at most {BATCH_MAX} charges, not {len(charges)}")
    if not charges:
        return Settled(budgets=(), new=frozenset())
    first: dict[str, Charge] = {}
    for charge in charges:
        first.setdefault(charge.generation_id, charge)
    with ledger.writing() as connection:
        known = _look_up(connection, first.values())
        # In order of id: two settlers with the same charges then wait for each other in turn.
        bills = [bill(first[name], known.strange(first[name]), now_ms) for name in sorted(first)]
        new = _insert_generations(connection, bills)
        booked = [one for one in bills if one.generation_id in new]
        post(connection, [one.posting for one in booked if one.posting is not None], now_ms)
        _count_spend(connection, booked)
        budgets = _budgets(connection, known, bills)
    return Settled(budgets=budgets, new=new)


def _look_up(connection: Connection, charges: Collection[Charge]) -> _Known:
    ids = sorted({charge.caller.account_id for charge in charges})
    rows = connection.execute(select(accounts.c.id).where(accounts.c.id.in_(ids)))
    return _Known(
        accounts=frozenset(rows.scalars()),
        keys=key_limits(connection, {charge.caller.key_hash for charge in charges}),
    )


def _insert_generations(connection: Connection, bills: Sequence[Bill]) -> frozenset[str]:
    """Write down what is new. Whose row this inserts is who may move the money."""
    rows = [one.row for one in bills]
    returned = insert_rows(connection, generations, rows, unique=("id",), returning=("id",))
    return frozenset(row.id for row in returned)


def _count_spend(connection: Connection, booked: Sequence[Bill]) -> None:
    """Add to each key's days, and tell caches of the key that it changed."""
    days: dict[tuple[str, int], tuple[int, int]] = {}
    for one in booked:
        slot = (one.key_hash, day_of(one.created_ms))
        usage_nano, requests = days.get(slot, (0, 0))
        days[slot] = (usage_nano + one.cost_nano, requests + 1)
    if not days:
        return
    connection.execute(
        upsert(connection, key_usage_days, "usage_nano", "byok_usage_nano", "requests"),
        [
            {
                "key_hash": key_hash,
                "day": day,
                "usage_nano": usage_nano,
                "byok_usage_nano": 0,
                "requests": requests,
            }
            for (key_hash, day), (usage_nano, requests) in sorted(days.items())
        ],
    )
    connection.execute(
        update(api_keys)
        .where(api_keys.c.hash == bindparam("key"))
        .values(version=api_keys.c.version + 1),
        [{"key": key_hash} for key_hash in sorted({one.key_hash for one in booked})],
    )


def _budgets(connection: Connection, known: _Known, bills: Sequence[Bill]) -> tuple[Budget, ...]:
    """Read again what was just written: only now do versions and sums belong together."""
    scopes = {account_scope(name) for name in known.accounts}
    credit = tuple(
        Budget(scope=scope, available_nano=posted.posted_nano, version=posted.version)
        for scope, posted in balances(connection, scopes).items()
    )
    limits = key_limits(connection, known.keys)
    moments = [(limits[one.key_hash], one.created_ms) for one in bills if one.key_hash in limits]
    return credit + window_budgets(connection, moments)
