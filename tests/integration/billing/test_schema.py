from __future__ import annotations

import logging
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text

from billing import schema
from billing.db import Ledger, open_ledger
from billing.ledger import SYSTEM_ACCOUNTS
from billing.tables import ledger_accounts, metadata
from routing.errors import ConfigError

MIGRATIONS = str(Path(schema.__file__).parent / "migrations")

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def test_an_empty_database_becomes_this_releases_schema(empty_url):
    # Given a database with nothing in it (for SQLite not even its directory)
    # When it is migrated, twice
    assert schema.migrate(empty_url) == schema.head()
    assert schema.migrate(empty_url) == schema.head()
    # Then the check passes and the system accounts are there
    ledger = open_ledger(empty_url)
    schema.check(ledger)
    with ledger.reading() as connection:
        found = set(connection.execute(select(ledger_accounts.c.id)).scalars())
    ledger.close()
    assert found == set(SYSTEM_ACCOUNTS)


def test_the_migrations_make_the_tables_the_code_uses(ledger: Ledger):
    with ledger.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_database_without_a_schema_is_refused(empty_postgres_url):
    ledger = open_ledger(empty_postgres_url)
    with pytest.raises(ConfigError, match=r"schema is at nothing, this release needs .*: run"):
        schema.check(ledger)
    ledger.close()


def test_a_schema_of_another_release_is_refused(ledger: Ledger):
    # Given a database a newer release has migrated
    with ledger.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    # Then this one does not touch it
    with pytest.raises(ConfigError, match="schema is at 9999, this release needs"):
        schema.check(ledger)


def test_migrating_leaves_logging_as_it_is(empty_url):
    before = (logging.root.level, list(logging.root.handlers), logging.getLogger("api").disabled)
    schema.migrate(empty_url)
    assert before == (
        logging.root.level,
        list(logging.root.handlers),
        logging.getLogger("api").disabled,
    )


def test_a_migration_can_be_taken_back(ledger: Ledger):
    # Given a migrated ledger
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    # When it is taken all the way back
    with ledger.writing() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    # Then nothing is left but Alembic's own table
    with ledger.reading() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_the_migrations_may_not_be_run_past_the_release_step():
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    with pytest.raises(SystemExit, match="pointsman migrate"):
        command.upgrade(config, "head")
