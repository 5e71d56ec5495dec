"""After a change of secret: what was sealed with an earlier one is wrapped anew."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, func, select, update
from sqlalchemy.sql.elements import SQLColumnExpression

from billing.db import Ledger
from billing.tables import byok_keys, generation_contents
from routing.sealing import Sealer, SealError, sealed_by

#: Rows in one transaction: so few that nobody waits for it.
BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """What came of it.

    Attributes:
        done: rows under the new secret now; those that were before are not counted.
        lost: rows whose secret is not among those given, by table and id.
    """

    done: int = 0
    lost: tuple[str, ...] = ()


def reseal(ledger: Ledger, sealer: Sealer, batch: int = BATCH) -> Resealed:
    """Wrap the data key of every row anew; cut off half-way, it goes on where it was.

    Requests in flight and cached records bring what was sealed before: keep the earlier secret in
    POINTSMAN_SECRETS_BEFORE until the longest request is over.

    Raises:
        Unavailable: the database is away, or this installation has no secret.
    """
    keys = _reseal(ledger, sealer, byok_keys.c.id, batch)
    contents = _reseal(ledger, sealer, generation_contents.c.generation_id, batch)
    return Resealed(done=keys.done + contents.done, lost=keys.lost + contents.lost)


def secrets_in_use(ledger: Ledger) -> dict[str, int]:
    """How many provider keys each secret has sealed, by its id.

    Raises:
        Unavailable: the database is away.
    """
    column = byok_keys.c.kek_id
    query = select(column, func.count()).group_by(column).order_by(column)
    with ledger.reading() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def _reseal(ledger: Ledger, sealer: Sealer, key: Column[str], batch: int) -> Resealed:
    table, done, after = key.table, 0, ""
    lost: list[str] = []
    while True:
        with ledger.writing() as connection:
            rows = connection.execute(
                select(key, table.c.sealed)
                .where(key > after, _not_current(table.c.sealed, sealer))
                .order_by(key)
                .limit(batch)
            ).all()
            for name, sealed in rows:
                try:
                    fresh = sealer.rewrap(sealed)
                except SealError:
                    lost.append(f"{table.name}/{name}")
                    continue
                values = {"sealed": fresh}
                if "kek_id" in table.c:
                    values["kek_id"] = sealer.kek_id
                # Somebody may have stored another key meanwhile.
                changed = connection.execute(
                    update(table).where(key == name, table.c.sealed == sealed).values(**values)
                )
                done += changed.rowcount
        if len(rows) < batch:
            return Resealed(done=done, lost=tuple(lost))
        after = rows[-1][0]


def _not_current(sealed: SQLColumnExpression[str], sealer: Sealer) -> ColumnElement[bool]:
    start = sealed_by(sealer.kek_id)
    return func.substr(sealed, 1, len(start)) != start
