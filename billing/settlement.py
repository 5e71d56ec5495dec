"""SETTLE: what a batch of ended generations cost, booked once, however often it is delivered.

| generation                | customer | other entries                                           |
|---------------------------|----------|---------------------------------------------------------|
| done, cancelled           | -cost    | revenue +cost, inference_cost -cost, payable:… +cost     |
| own provider key          | -fee     | byok_fees +fee; the customer owes the provider           |
| insured, provider took it | none     | insured_loss -cost, payable:… +cost                      |
| cost of zero              | none     | no transaction: the generation's row is the whole record |

What an account that keeps its prompts saves is taken off its entry and off revenue, not off cost.

A charge for an account or key that nobody knows is booked to `suspense` instead of the customer and
flagged, so that one odd charge never blocks the batch it came in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    case,
    func,
    select,
)

from billing.apps import app_ids
from billing.bill import Bill, bill
from billing.db import Ledger, add_rows, change_rows, insert_rows
from billing.ledger import balances, post
from billing.spend import (
    KeyLimit,
    free_byok_budgets,
    key_limits,
    owners_of,
    rule_budgets,
    rules_of,
    window_budgets,
)
from billing.tables import (
    accounts,
    activity_days,
    api_keys,
    generations,
    key_usage_days,
    spend_days,
)
from routing.budgets import account_scope, day_of, member, organisation
from routing.wire.account import Budget
from routing.wire.job import Charge

#: Requests a month with own provider keys that no fee is taken for, unless a setting says so.
BYOK_FREE_REQUESTS = 1_000_000
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


def settle(
    ledger: Ledger,
    charges: Sequence[Charge],
    now_ms: int,
    byok_free_requests: int = BYOK_FREE_REQUESTS,
) -> Settled:
    """Book a batch in one transaction: all of it, or none of it.

    Of several charges for one generation the first that is committed counts, for ever.

    Args:
        ledger: where to.
        charges: at most `BATCH_MAX`, in any order, with any repetition.
        now_ms: the moment of settlement. Spend belongs to the day a generation was admitted.
        byok_free_requests: what an account may do with its own provider keys in a month.

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
        apps = app_ids(connection, list(first.values()), now_ms)
        for one in bills:
            one.row["app_id"] = apps.get(one.row["app_url"])
        new = _insert_generations(connection, bills)
        booked = [one for one in bills if one.generation_id in new]
        post(connection, [one.posting for one in booked if one.posting is not None], now_ms)
        _count_spend(connection, booked)
        _count_activity(connection, booked)
        budgets = _budgets(connection, known, bills, byok_free_requests)
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
    """Add to the days of keys, members and accounts, and tell caches of them that they changed."""
    if not booked:
        return
    of_keys: _Sums = {}
    of_owners: _Sums = {}
    for one in booked:
        day = day_of(one.created_ms)
        spent = (one.cost_nano, one.byok_nano, 1, int(one.byok))
        _add(of_keys, (one.key_hash, day), spent[:3])
        _add(of_owners, (organisation(one.account_id), day), spent)
        if one.member:
            _add(of_owners, (member(one.account_id, one.member), day), spent)
    _upsert(connection, key_usage_days, ("key_hash", "day"), of_keys)
    _upsert(connection, spend_days, ("owner", "day"), of_owners)
    used = {one.key_hash: one.created_ms for one in sorted(booked, key=lambda one: one.created_ms)}
    change_rows(
        connection,
        api_keys,
        "hash",
        [{"hash": key_hash, "used": used[key_hash]} for key_hash in sorted(used)],
        lambda given: {
            "version": api_keys.c.version + 1,
            "last_used_ms": _later(api_keys.c.last_used_ms, given("used")),
        },
    )
    change_rows(
        connection,
        accounts,
        "id",
        [{"id": name} for name in sorted({one.account_id for one in booked})],
        lambda _given: {"version": accounts.c.version + 1},
    )


def _later(known: ColumnElement[Any], used: ColumnElement[Any]) -> ColumnElement[Any]:
    """A straggler takes nothing back."""
    return case((func.coalesce(known, 0) > used, known), else_=used)


def _count_activity(connection: Connection, booked: Sequence[Bill]) -> None:
    """Add to what accounts are told of their days."""
    sums: _Sums = {}
    names: dict[tuple[str | int, ...], str] = {}
    for one in booked:
        row = one.row
        slot = (
            one.account_id, day_of(one.created_ms), one.key_hash, row["model_id"],
            row["endpoint_id"],
        )  # fmt: skip
        counts = (
            one.cost_nano,
            one.byok_nano,
            1,
            *(row[f"{kind}_tokens"] for kind in ("prompt", "completion", "reasoning", "cached")),
        )
        names[slot] = row["provider"]
        _add(sums, slot, counts)
    if sums:
        keys = ("account_id", "day", "key_hash", "model_id", "endpoint_id")
        _upsert(connection, activity_days, keys, sums, {"provider": names})


_Sums = dict[tuple[str | int, ...], tuple[int, ...]]


def _add(sums: _Sums, slot: tuple[str | int, ...], counts: tuple[int, ...]) -> None:
    known = sums.get(slot)
    sums[slot] = (
        counts if known is None else tuple(a + b for a, b in zip(known, counts, strict=True))
    )


def _upsert(
    connection: Connection,
    table: Table,
    keys: tuple[str, ...],
    sums: _Sums,
    labels: Mapping[str, Mapping[tuple[str | int, ...], str]] = MappingProxyType({}),
) -> None:
    """Add counts to a table's rows, in the order of its columns and of its keys."""
    names = [str(c.name) for c in table.columns]
    counted = [name for name in names if name not in keys and name not in labels]
    rows = [
        dict(zip((*keys, *counted), (*slot, *counts), strict=True))
        | {label: texts[slot] for label, texts in labels.items()}
        for slot, counts in sorted(sums.items())
    ]
    add_rows(connection, table, rows, *counted)


def _budgets(
    connection: Connection, known: _Known, bills: Sequence[Bill], byok_free_requests: int
) -> tuple[Budget, ...]:
    """Read again what was just written: only now do versions and sums belong together."""
    scopes = {account_scope(name) for name in known.accounts}
    credit = tuple(
        Budget(scope=scope, available_nano=posted.posted_nano, version=posted.version)
        for scope, posted in balances(connection, scopes).items()
    )
    limits = key_limits(connection, known.keys)
    moments = [(limits[one.key_hash], one.created_ms) for one in bills if one.key_hash in limits]
    owned = [
        (owner, one.created_ms)
        for one in bills
        for owner in owners_of(one.account_id, one.key_hash, one.member)
    ]
    rules = rules_of(connection, {owner for owner, _ in owned})
    bounded = [(rule, created_ms) for owner, created_ms in owned for rule in rules.get(owner, ())]
    free = [(one.account_id, one.created_ms) for one in bills if one.row["byok"]]
    return (
        credit
        + window_budgets(connection, moments)
        + rule_budgets(connection, bounded)
        + free_byok_budgets(connection, free, byok_free_requests)
    )
