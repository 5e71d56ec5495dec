"""The ledger's schema: migrated in an explicit step, only checked by everything that runs."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from billing.db import Ledger, open_ledger, parse_url
from routing.errors import ConfigError, ConfigProblem

#: A migration may rewrite a large table; nothing else may take so long.
MIGRATION_TIMEOUT_MS = 600_000
#: Any fixed number: releases started at once on PostgreSQL take turns by it.
_MIGRATION_LOCK = 4_735_220_701


def migrate(url: str) -> str:
    """Bring the schema to this release's revision, in one transaction; returns the revision.

    Makes the directory of a SQLite file. Harmless when there is nothing to do.

    Raises:
        ConfigError: the URL is of no use.
        Unavailable: the database is away.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database is not None:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    ledger = open_ledger(url, statement_timeout_ms=MIGRATION_TIMEOUT_MS)
    try:
        with ledger.writing() as connection:
            _upgrade(connection)
    finally:
        ledger.close()
    return head()


def check(ledger: Ledger) -> None:
    """Refuse to run on a schema of another release.

    Raises:
        ConfigError: a migration is missing, or the database is newer than this release.
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        found = current(connection)
    needed = head()
    if found != needed:
        raise ConfigError(
            (
                ConfigProblem(
                    where="POINTSMAN_DATABASE_URL",
                    message=f"the ledger's schema is at {found or 'nothing'}, "
                    f"this release needs {needed}: run `pointsman migrate`.",
                ),
            )
        )


def current(connection: Connection) -> str | None:
    """The revision a database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The revision this release needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the package has lost its migrations")
    return revision


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = 0"))  # the statement's bound still holds
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _MIGRATION_LOCK})
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    location = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", location.replace("%", "%%"))
    return config
