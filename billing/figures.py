"""Figures of endpoints per hour, kept for more than a year."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from billing.db import Insert, Ledger
from billing.tables import endpoint_hours
from routing.figures import OUTCOMES, TOOL_COUNTERS, Counts, Histogram, Period

#: A year, and a month to compare it with the one before.
KEPT_HOURS = 400 * 24
#: Rows per statement: within any driver's bound of parameters.
_ROWS_MAX = 500


def store_hour(ledger: Ledger, hour: int, period: Period) -> None:
    """Keep an hour that is over (numbered since 1970); doing it again changes nothing.

    Raises:
        Unavailable: the database is away.
    """
    rows = [_row(endpoint_id, hour, counts) for endpoint_id, counts in period.items()]
    if not rows:
        return
    with ledger.writing() as connection:
        statement = _replacing(connection.dialect.name)
        for start in range(0, len(rows), _ROWS_MAX):
            connection.execute(statement, rows[start : start + _ROWS_MAX])


def stored_hours(ledger: Ledger, since_hour: int) -> frozenset[int]:
    """The hours from `since_hour` on that are kept already.

    Raises:
        Unavailable: the database is away.
    """
    hour = endpoint_hours.c.hour
    with ledger.reading() as connection:
        found = connection.execute(select(hour).where(hour >= since_hour).distinct())
        return frozenset(found.scalars())


def hours_of(ledger: Ledger, endpoint_id: str, since_hour: int) -> dict[int, Counts]:
    """What was counted of one endpoint, by hour.

    Raises:
        Unavailable: the database is away.
    """
    table = endpoint_hours
    query = select(table).where(table.c.endpoint_id == endpoint_id, table.c.hour >= since_hour)
    with ledger.reading() as connection:
        rows = connection.execute(query.order_by(table.c.hour)).mappings().all()
    return {row["hour"]: _counts(row) for row in rows}


def totals(ledger: Ledger, since_hour: int) -> dict[str, Counts]:
    """What was counted of each endpoint from an hour on, all hours together.

    Raises:
        Unavailable: the database is away.
    """
    table = endpoint_hours
    found: dict[str, Counts] = {}
    with ledger.reading() as connection:
        rows = connection.execute(select(table).where(table.c.hour >= since_hour)).mappings()
        for row in rows:
            found.setdefault(row["endpoint_id"], Counts()).add(_counts(row))
    return found


def forget_hours(ledger: Ledger, before_hour: int) -> int:
    """Delete older rows; returns how many.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        result = connection.execute(
            delete(endpoint_hours).where(endpoint_hours.c.hour < before_hour)
        )
        return result.rowcount


def _replacing(dialect: str) -> Insert:
    into = sqlite.insert if dialect == "sqlite" else postgresql.insert
    insert: Insert = into(endpoint_hours)
    keys = [key.name for key in endpoint_hours.primary_key]
    return insert.on_conflict_do_update(
        index_elements=keys,
        set_={
            column.name: insert.excluded[column.name]
            for column in endpoint_hours.columns
            if column.name not in keys
        },
    )


def _row(endpoint_id: str, hour: int, counts: Counts) -> dict[str, Any]:
    return {
        "endpoint_id": endpoint_id,
        "hour": hour,
        **{outcome: counts.plain[outcome] for outcome in OUTCOMES},
        "latency": _json(counts.latency),
        "throughput": _json(counts.throughput),
        **{f"tool_{name}": counts.plain[short] for short, name in TOOL_COUNTERS.items()},
    }


def _json(histogram: Histogram) -> str:
    counts = sorted(histogram.counts.items())
    return orjson.dumps(dict(counts), option=orjson.OPT_NON_STR_KEYS).decode()


def _counts(row: Mapping[Any, Any]) -> Counts:
    plain: dict[str, int] = {outcome: row[outcome] for outcome in OUTCOMES}
    plain |= {short: row[f"tool_{name}"] for short, name in TOOL_COUNTERS.items()}
    return Counts(
        plain=Counter({name: count for name, count in plain.items() if count}),
        latency=_histogram(row["latency"]),
        throughput=_histogram(row["throughput"]),
    )


def _histogram(text: str) -> Histogram:
    return Histogram(Counter({int(name): count for name, count in orjson.loads(text).items()}))
