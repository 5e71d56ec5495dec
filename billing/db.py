"""The ledger's database: SQLite or PostgreSQL behind the same two transactions, read and write.

Nothing above this file sees a driver's exception: a database that is away is `Unavailable`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    Text,
    bindparam,
    cast,
    column,
    create_engine,
    event,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeout,
)
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine

from routing.errors import ConfigError, ConfigProblem, Unavailable

#: How long one statement may take: a settlement batch needs well under a second.
STATEMENT_TIMEOUT_MS = 30_000
#: How long to wait for another writer. SQLite has one at a time, each done in milliseconds.
LOCK_TIMEOUT_MS = 5_000
#: Seconds to reach PostgreSQL; libpq knows whole seconds and takes 1 as 2.
CONNECT_TIMEOUT_S = 3
#: Connections a process may open; a front door reads a little, a settler uses one.
POOL_SIZE = 5
#: Seconds to wait for one of them; longer and the request is better told 503.
POOL_TIMEOUT_S = 3
#: Seconds after which an idle connection is replaced, before a firewall forgets it.
POOL_RECYCLE_S = 600
#: What callers are told: a database restart takes about so long.
RETRY_AFTER_MS = 2_000

_AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeout)

Insert = postgresql.Insert | sqlite.Insert
_Insert = TypeVar("_Insert", postgresql.Insert, sqlite.Insert)
#: What was given for the row at hand, by name.
Given = Callable[[str], ColumnElement[Any]]


class Ledger:
    """An open ledger. Safe to share between threads; each block below is one transaction."""

    def __init__(self, engine: Engine, *, writer: Engine | None, reader: Engine) -> None:
        self._engine = engine
        self._writer = writer
        self._reader = reader

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that may write: committed at the end, rolled back by any exception.

        Raises:
            Unavailable: the database is away, or another writer kept it for too long.
            RuntimeError: the ledger was opened for reading only.
        """
        if self._writer is None:
            raise RuntimeError("this ledger was opened for reading only")
        with _translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that sees a single moment and blocks no writer.

        Raises:
            Unavailable: the database is away.
        """
        with _translated(), self._reader.begin() as connection:
            yield connection

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()


def open_ledger(
    url: str, *, readonly: bool = False, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
) -> Ledger:
    """Open the ledger at a URL; connects on first use.

    Args:
        url: `sqlite:///path`, or `postgresql://…` (spoken through psycopg 3).
        readonly: the database refuses writes, whatever the code does.
        statement_timeout_ms: bound of one statement; PostgreSQL only.

    Raises:
        ConfigError: a URL of another kind of database, or of none.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, readonly=readonly)
    return _open_postgresql(parsed, readonly=readonly, statement_timeout_ms=statement_timeout_ms)


def parse_url(url: str) -> URL:
    """Check a database URL and name its driver.

    Raises:
        ConfigError: not SQLite in a file, and not PostgreSQL. Never repeats the URL: it may hold a
            password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _unusable("is not a database URL") from error
    backend = parsed.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise _unusable("is neither SQLite nor PostgreSQL")
    if not parsed.database or parsed.database == ":memory:":
        raise _unusable("names no file: a ledger in memory is lost with its process")
    return parsed.set(drivername="sqlite+pysqlite")


def insert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    unique: tuple[str, ...] = (),
    returning: tuple[str, ...],
) -> Sequence[Row[Any]]:
    """Insert many rows, in order, in one statement; give back columns of those that went in.

    Args:
        connection: a writing transaction.
        table: where to.
        rows: at least one, all with the same columns.
        unique: columns of a unique constraint. Rows that clash on it are left out: of several
            equal deliveries the first counts. Without it a clash is an error.
        returning: names of the columns to give back.
    """
    columns = [table.c[name] for name in returning]
    if connection.dialect.name == "sqlite":
        into_file = sqlite.insert(table)
        if unique:
            into_file = into_file.on_conflict_do_nothing(index_elements=unique)
        return connection.execute(into_file.returning(*columns), list(rows)).all()
    source, records = _recordset({name: table.c[name].type for name in rows[0]}, rows)
    into_server = postgresql.insert(table).from_select(list(rows[0]), select(*source.c))
    if unique:
        into_server = into_server.on_conflict_do_nothing(index_elements=unique)
    return connection.execute(into_server.returning(*columns), records).all()


def add_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *add: str
) -> None:
    """Insert many rows, in order, in one statement.

    Where a row with the same primary key is there already, the columns `add` are added onto it.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(_adding(sqlite.insert(table), table, add), list(rows))
        return
    source, records = _recordset({name: table.c[name].type for name in rows[0]}, rows)
    into_server = postgresql.insert(table).from_select(list(rows[0]), select(*source.c))
    connection.execute(_adding(into_server, table, add), records)


def change_rows(
    connection: Connection,
    table: Table,
    key: str,
    rows: Sequence[Mapping[str, Any]],
    change: Callable[[Given], Mapping[str, ColumnElement[Any]]],
) -> None:
    """Update many rows, locked in the order of their key: two writers never wait in a circle.

    Args:
        connection: a writing transaction.
        table: where.
        key: name of the text column that names a row.
        rows: at least one; the key, and integers that `change` uses by name.
        change: new values of columns, from the old ones and from what was given for the row.
    """
    if connection.dialect.name == "sqlite":
        given: dict[str, BindParameter[Any]] = {
            name: bindparam(f"given_{name}") for name in rows[0]
        }
        statement = update(table).where(table.c[key] == given[key])
        connection.execute(
            statement.values(change(lambda name: given[name])),
            [{f"given_{name}": value for name, value in row.items()} for row in rows],
        )
        return
    types = {name: Text() if name == key else BigInteger() for name in rows[0]}
    source, records = _recordset(types, rows)
    same = table.c[key] == source.c[key]
    locked = select(table.c[key]).where(same).order_by(table.c[key])
    # As an UPDATE locks: rows that refer to these may be written meanwhile.
    connection.execute(locked.with_for_update(of=table, key_share=True), records)
    statement = update(table).where(same)
    connection.execute(statement.values(change(lambda name: source.c[name])), records)


def _recordset(
    types: Mapping[str, TypeEngine[Any]], rows: Sequence[Mapping[str, Any]]
) -> tuple[TableValuedAlias, dict[str, str]]:
    """Rows as PostgreSQL takes them best: one parameter. It takes 160 ms to read 18,000 of them."""
    records = func.json_to_recordset(cast(bindparam("records", type_=Text), JSON))
    typed = records.table_valued(*(column(name, kind) for name, kind in types.items()))
    source = typed.render_derived(name="records", with_types=True)
    return source, {"records": orjson.dumps(list(rows)).decode()}


def _adding(insert: _Insert, table: Table, add: Sequence[str]) -> _Insert:
    return insert.on_conflict_do_update(
        index_elements=[key.name for key in table.primary_key],
        set_={name: table.c[name] + insert.excluded[name] for name in add},
    )


def _unusable(message: str) -> ConfigError:
    return ConfigError(
        (
            ConfigProblem(
                where="POINTSMAN_DATABASE_URL",
                message=message,
                hint="Use sqlite:///file.db or postgresql://user:password@host/database.",
            ),
        )
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        if _is_defect(error):
            raise
        raise Unavailable(
            "The ledger is not available at the moment. Please try again.",
            retry_after_ms=RETRY_AFTER_MS,
        ) from error


def _is_defect(error: Exception) -> bool:
    """SQLite files mistakes in a statement under the same class as a locked or missing database."""
    origin = getattr(error, "orig", None)
    return getattr(origin, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _open_sqlite(url: URL, *, readonly: bool) -> Ledger:
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={"timeout": LOCK_TIMEOUT_MS / 1000, "check_same_thread": False},
    )

    def prepare(connection: Any, _record: object) -> None:
        # The driver must not open transactions by itself: `BEGIN` below decides their kind.
        connection.isolation_level = None
        for name, value in _pragmas(readonly=readonly).items():
            connection.execute(f"PRAGMA {name}={value}")

    event.listen(engine, "connect", prepare)
    # A deferred transaction that turns writer half-way gets SQLITE_BUSY at once, without waiting.
    # Options live on a copy of the engine, so each kind of transaction has its own BEGIN.
    writer = engine.execution_options(begin="BEGIN IMMEDIATE")
    event.listen(engine, "begin", _begin)
    return Ledger(engine, writer=None if readonly else writer, reader=engine)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _pragmas(*, readonly: bool) -> Mapping[str, str | int]:
    pragmas: dict[str, str | int] = {
        "busy_timeout": LOCK_TIMEOUT_MS,
        "journal_mode": "WAL",
        # NORMAL may roll back the last commits after a power loss: those are charges.
        "synchronous": "FULL",
        "foreign_keys": "ON",
    }
    return pragmas | {"query_only": "ON"} if readonly else pragmas


def _open_postgresql(url: URL, *, readonly: bool, statement_timeout_ms: int) -> Ledger:
    server = {
        "statement_timeout": statement_timeout_ms,
        "lock_timeout": LOCK_TIMEOUT_MS,
        # A process that stops inside a transaction must not keep everyone else's rows locked.
        "idle_in_transaction_session_timeout": statement_timeout_ms,
        "default_transaction_read_only": "on" if readonly else "off",
        # An operator's default of `off` would lose the last charges in a crash.
        "synchronous_commit": "on",
    }
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_recycle=POOL_RECYCLE_S,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "pointsman",
            "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
        },
    )
    writer = engine.execution_options(isolation_level="READ COMMITTED")
    reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Ledger(engine, writer=None if readonly else writer, reader=reader)
