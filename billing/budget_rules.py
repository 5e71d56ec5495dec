"""Budgets besides a key's own limit: of a key, of a member, or of a whole account.

Front doors cache them with keys: change them through `api.office`, then post what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from billing.db import Ledger
from billing.key_changes import not_found
from billing.key_list import manageable
from billing.ledger import AMOUNT_MAX_NANO
from billing.spend import rule_budgets, rules_of, spent_by
from billing.tables import accounts, api_keys, budgets, members
from routing import ids
from routing.budgets import Interval, key_owner, member, organisation
from routing.catalog.pricing import usd
from routing.errors import BadRequest, Forbidden, NotFound
from routing.wire.account import Budget

#: From the shortest to the longest: each must allow less than the next.
INTERVALS: tuple[Interval, ...] = get_args(Interval)
#: Of one account: as many as it may have keys, each in every interval.
BUDGETS_MAX = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """Whose spend a budget bounds: of one key, of one member's keys, or else all of the account."""

    account_id: str
    key_hash: str = ""
    user_id: str = ""

    @property
    def owner(self) -> str:
        """As the tables name it."""
        if self.key_hash:
            return key_owner(self.key_hash)
        if self.user_id:
            return member(self.account_id, self.user_id)
        return organisation(self.account_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A budget as it shall be.

    Attributes:
        include_byok: whether use of the account's own provider keys counts too, in this and all
            other budgets of the owner; None leaves that as it is.
    """

    interval: Interval
    limit_nano: int
    include_byok: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A budget as it is written down."""

    id: str
    account_id: str
    owner: str
    interval: Interval
    limit_nano: int
    include_byok: bool
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A budget after a change.

    Attributes:
        left: what is left of all budgets of its owner now, for the caches.
    """

    budget: Kept
    left: tuple[Budget, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A budget with what counts against it in its current window."""

    budget: Kept
    spent_nano: int


def listed(ledger: Ledger, whose: Whose) -> tuple[Kept, ...]:
    """The budgets of one owner, the shortest interval first.

    Raises:
        NotFound: no such account, key or member of it.
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        _check_account(connection, whose.account_id)
        _check_owner(connection, whose)
        return _of(connection, whose.owner)


def put(ledger: Ledger, whose: Whose, wanted: Wanted, now_ms: int) -> Changed:
    """Make a budget, or give the one of this interval another limit.

    Raises:
        BadRequest: a limit beyond reason, or not between those of the owner's other intervals.
        Forbidden: the account has `BUDGETS_MAX` budgets.
        NotFound: no such account, key or member of it.
        Unavailable: the database is away.
    """
    if not 0 < wanted.limit_nano <= AMOUNT_MAX_NANO:
        raise BadRequest(
            "limit_usd: must be more than 0 and at most 9,000,000 USD", param="limit_usd"
        )
    with ledger.writing() as connection:
        _check_account(connection, whose.account_id, lock=True)
        _check_owner(connection, whose)
        before = {one.interval: one for one in _of(connection, whose.owner)}
        limits = {one.interval: one.limit_nano for one in before.values()}
        _check_order(limits | {wanted.interval: wanted.limit_nano})
        if wanted.interval not in before:
            _check_room(connection, whose.account_id)
        _write(connection, whose, wanted, before, now_ms)
        _bump(connection, whose.account_id)
        after = {one.interval: one for one in _of(connection, whose.owner)}
        rules = rules_of(connection, {whose.owner})[whose.owner]
        left = rule_budgets(connection, [(rule, now_ms) for rule in rules])
    return Changed(budget=after[wanted.interval], left=left)


def drop(ledger: Ledger, whose: Whose, interval: Interval) -> bool:
    """Take a budget away; False when there was none.

    Raises:
        NotFound: no such account, key or member of it.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        _check_account(connection, whose.account_id, lock=True)
        _check_owner(connection, whose)
        gone = connection.execute(
            delete(budgets).where(budgets.c.owner == whose.owner, budgets.c.interval == interval)
        )
        if gone.rowcount:
            _bump(connection, whose.account_id)
        return gone.rowcount == 1


def standing(ledger: Ledger, owners: tuple[str, ...], now_ms: int) -> tuple[Standing, ...]:
    """The budgets of some owners and what was spent of them, in the order they are checked.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        found = _of(connection, *owners)
        spent = {
            interval: spent_by(connection, owners, interval, now_ms)
            for interval in {one.interval for one in found}
        }
    return tuple(
        Standing(budget=one, spent_nano=_counted(one, spent[one.interval]))
        for one in sorted(found, key=lambda one: -INTERVALS.index(one.interval))
    )


def no_member() -> NotFound:
    """For a person who is not in the account, or nowhere."""
    return NotFound("No such member")


def _counted(budget: Kept, spent: dict[str, tuple[int, int]]) -> int:
    usage_nano, byok_nano = spent.get(budget.owner, (0, 0))
    return usage_nano + (byok_nano if budget.include_byok else 0)


def _check_account(connection: Connection, account_id: str, *, lock: bool = False) -> None:
    """Changes come one after the other: two of them together could break the order of limits."""
    query = select(accounts.c.id).where(accounts.c.id == account_id, accounts.c.closed_ms.is_(None))
    if lock:
        query = query.with_for_update()
    if connection.execute(query).one_or_none() is None:
        raise NotFound(f"No account {account_id}")


def _check_owner(connection: Connection, whose: Whose) -> None:
    if whose.key_hash:
        mine = (api_keys.c.hash == whose.key_hash, *manageable(whose.account_id))
        if connection.execute(select(api_keys.c.hash).where(*mine)).one_or_none() is None:
            raise not_found(whose.key_hash)
    elif whose.user_id:
        query = select(members.c.user_id).where(
            members.c.account_id == whose.account_id, members.c.user_id == whose.user_id
        )
        if connection.execute(query).one_or_none() is None:
            raise no_member()


def _check_order(limits: dict[Interval, int]) -> None:
    known = [interval for interval in INTERVALS if interval in limits]
    for shorter, longer in pairwise(known):
        if limits[shorter] >= limits[longer]:
            raise BadRequest(
                f"limit_usd: the {shorter} budget (${usd(limits[shorter]):,.2f}) must be less "
                f"than the {longer} budget (${usd(limits[longer]):,.2f})",
                param="limit_usd",
            )


def _check_room(connection: Connection, account_id: str) -> None:
    count = select(func.count()).where(budgets.c.account_id == account_id)
    if connection.execute(count).scalar_one() >= BUDGETS_MAX:
        raise Forbidden(f"An account may have {BUDGETS_MAX:,} budgets; take some away first.")


def _write(
    connection: Connection,
    whose: Whose,
    wanted: Wanted,
    before: dict[Interval, Kept],
    now_ms: int,
) -> None:
    include_byok = wanted.include_byok
    if include_byok is None:
        include_byok = any(one.include_byok for one in before.values())
    if wanted.interval not in before:
        row = {
            "id": ids.new("bud"),
            "account_id": whose.account_id,
            "owner": whose.owner,
            "interval": wanted.interval,
            "limit_nano": wanted.limit_nano,
            "include_byok": include_byok,
            "created_ms": now_ms,
            "updated_ms": now_ms,
        }
        connection.execute(insert(budgets), row)
    for one in before.values():
        limit_nano = wanted.limit_nano if one.interval == wanted.interval else one.limit_nano
        if (limit_nano, include_byok) != (one.limit_nano, one.include_byok):
            connection.execute(
                update(budgets)
                .where(budgets.c.id == one.id)
                .values(limit_nano=limit_nano, include_byok=include_byok, updated_ms=now_ms)
            )


def _bump(connection: Connection, account_id: str) -> None:
    """What caches know of the account's budgets is older than this."""
    connection.execute(
        update(accounts).where(accounts.c.id == account_id).values(version=accounts.c.version + 1)
    )


def _of(connection: Connection, *owners: str) -> tuple[Kept, ...]:
    query = select(budgets).where(budgets.c.owner.in_(owners)).order_by(budgets.c.owner)
    found = [_kept(row) for row in connection.execute(query).mappings()]
    return tuple(sorted(found, key=lambda one: INTERVALS.index(one.interval)))


def _kept(row: RowMapping) -> Kept:
    return Kept(**row)
