"""What an account did: sums of its days, and its generations one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from billing.db import Ledger
from billing.tables import activity_days, api_keys, generations
from routing.errors import BadRequest
from routing.wire.job import Api, Outcome

#: Rows told at once; an account with more of them asks for one day, or one key, at a time.
ROWS_MAX = 20_000
#: Generations on one page.
PAGE_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What one model at one endpoint did on one day.

    Attributes:
        day: days since 1970-01-01 UTC; a generation belongs to the day it was admitted.
        usage_nano: paid with credit, fees included.
        byok_usage_nano: paid to the provider by the account's own key.
    """

    day: int
    model_id: str
    endpoint_id: str
    provider: str
    usage_nano: int
    byok_usage_nano: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One generation in a list.

    Attributes:
        cost_nano: what was paid with credit.
        upstream_cost_nano: what the provider is owed, by whoever's key it was.
        user_id: who made the key it was asked with.
    """

    id: str
    created_ms: int
    key_hash: str
    request_id: str
    api: Api
    stream: bool
    outcome: Outcome
    insured: bool
    byok: bool
    model_id: str
    endpoint_id: str
    provider: str
    finish_reason: str | None
    latency_ms: int | None
    generation_ms: int | None
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    cost_nano: int
    upstream_cost_nano: int
    app_id: int | None
    app_title: str | None
    external_user: str | None
    session_id: str | None
    user_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which generations of an account; newest first.

    Attributes:
        start_ms: admitted at this moment or later.
        end_ms: admitted before it.
        after: the page begins behind this generation.
    """

    account_id: str
    start_ms: int = 0
    end_ms: int | None = None
    key_hash: str | None = None
    user_id: str | None = None
    model_id: str | None = None
    session_id: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a list; `after` is what the next one begins behind, None when this is the last."""

    rows: tuple[Listed, ...]
    after: str | None


def days_of(
    ledger: Ledger,
    account_id: str,
    days: range,
    key_hash: str | None = None,
    user_id: str | None = None,
) -> tuple[Day, ...]:
    """What an account did on some days, newest first.

    Args:
        ledger: read only.
        account_id: whose.
        days: since 1970-01-01 UTC, one after the other.
        key_hash: only of this key.
        user_id: only of keys that this person made.

    Raises:
        BadRequest: there are more than `ROWS_MAX` rows.
        Unavailable: the database is away.
    """
    table = activity_days
    sums = (
        "usage_nano", "byok_usage_nano", "requests", "prompt_tokens", "completion_tokens",
        "reasoning_tokens", "cached_tokens",
    )  # fmt: skip
    groups = (table.c.day, table.c.model_id, table.c.endpoint_id)
    query = (
        select(
            *groups,
            func.max(table.c.provider).label("provider"),
            *(func.sum(table.c[name]).label(name) for name in sums),
        )
        .where(
            table.c.account_id == account_id,
            table.c.day >= days.start,
            table.c.day < days.stop,
            *_of(table.c.key_hash, account_id, key_hash, user_id),
        )
        .group_by(*groups)
        .order_by(table.c.day.desc(), table.c.model_id, table.c.endpoint_id)
        .limit(ROWS_MAX + 1)
    )
    with ledger.reading() as connection:
        rows = connection.execute(query).mappings().all()
    if len(rows) > ROWS_MAX:
        raise BadRequest(
            f"More than {ROWS_MAX:,} rows. Ask for one day, as ?date=YYYY-MM-DD, or one key.",
            param="date",
        )
    return tuple(Day(**{**row, **{name: int(row[name]) for name in sums}}) for row in rows)


def page_of(ledger: Ledger, wanted: Wanted, size: int) -> Page:
    """A page of at most `size` generations.

    Raises:
        BadRequest: `after` is no generation of this account.
        Unavailable: the database is away.
    """
    size = min(size, PAGE_MAX)
    table = generations
    columns = [table.c[name] for name in Listed.__dataclass_fields__]
    with ledger.reading() as connection:
        query = (
            select(*columns)
            .where(*_conditions(connection, wanted))
            .order_by(table.c.created_ms.desc(), table.c.id.desc())
            .limit(size + 1)
        )
        found = connection.execute(query).mappings().all()
    rows = tuple(Listed(**row) for row in found[:size])
    return Page(rows=rows, after=rows[-1].id if len(found) > size else None)


def _conditions(connection: Connection, wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    table = generations
    yield table.c.account_id == wanted.account_id
    yield table.c.created_ms >= wanted.start_ms
    if wanted.end_ms is not None:
        yield table.c.created_ms < wanted.end_ms
    for name in ("key_hash", "user_id", "model_id", "session_id"):
        value = getattr(wanted, name)
        if value is not None:
            yield table.c[name] == value
    if wanted.after is not None:
        yield _behind(connection, wanted.account_id, wanted.after)


def _behind(connection: Connection, account_id: str, name: str) -> ColumnElement[bool]:
    """Older than a generation; ids decide between those of one millisecond."""
    table = generations
    query: Select[Any] = select(table.c.created_ms).where(
        table.c.id == name, table.c.account_id == account_id
    )
    moment_ms = connection.execute(query).scalar_one_or_none()
    if moment_ms is None:
        raise BadRequest("after: must be the id of one of your generations", param="after")
    return or_(
        table.c.created_ms < moment_ms, and_(table.c.created_ms == moment_ms, table.c.id < name)
    )


def _of(
    column: ColumnElement[str], account_id: str, key_hash: str | None, user_id: str | None
) -> Iterator[ColumnElement[bool]]:
    if key_hash is not None:
        yield column == key_hash
    if user_id is not None:
        made = select(api_keys.c.hash).where(
            api_keys.c.account_id == account_id, api_keys.c.creator_user_id == user_id
        )
        yield column.in_(made)
