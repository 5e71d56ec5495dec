from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import insert, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from billing import accounts
from billing.db import Ledger, open_ledger
from billing.tables import entries
from routing.errors import Unavailable
from tests.fixtures.charges import NOW_MS

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def test_an_exception_rolls_the_whole_block_back(ledger: Ledger):
    def half_done() -> None:
        with ledger.writing() as connection:
            connection.execute(
                text("INSERT INTO accounts (id, name, created_ms) VALUES ('user_a', 'a', 0)")
            )
            raise KeyError("user_a")

    with pytest.raises(KeyError):
        half_done()
    assert accounts.get(ledger, "user_a") is None


def test_a_reader_sees_one_moment_and_blocks_nobody(ledger: Ledger):
    # Given a reader that has begun
    with ledger.reading() as connection:
        before = connection.execute(text("SELECT count(*) FROM accounts")).scalar_one()
        # When someone writes meanwhile
        accounts.create_account(ledger, "Ada", NOW_MS)
        # Then the reader does not see it
        assert connection.execute(text("SELECT count(*) FROM accounts")).scalar_one() == before
    with ledger.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM accounts")).scalar_one() == before + 1


def test_a_ledger_opened_for_reading_cannot_write(ledger_url: str):
    ledger = open_ledger(ledger_url, readonly=True)
    with pytest.raises(RuntimeError, match="reading only"):
        accounts.create_account(ledger, "Ada", NOW_MS)
    # Not even by a statement that does not ask
    with pytest.raises(Unavailable), ledger.reading() as connection:
        connection.execute(text("DELETE FROM accounts"))
    ledger.close()


def test_readers_cannot_write_by_accident_on_postgresql(postgres_url: str):
    ledger = open_ledger(postgres_url)
    with pytest.raises(Unavailable), ledger.reading() as connection:
        connection.execute(text("DELETE FROM accounts"))
    ledger.close()


def test_mistakes_in_statements_are_not_outages(ledger: Ledger):
    with pytest.raises(SQLAlchemyError), ledger.reading() as connection:
        connection.execute(text("SELECT nonsense"))
    stranger = {"transaction_id": 1, "ledger_account_id": "nobody", "amount_nano": 1}
    with pytest.raises(IntegrityError), ledger.writing() as connection:
        connection.execute(insert(entries), stranger)


def test_sqlite_is_durable_and_guarded(sqlite_url: str):
    ledger = open_ledger(sqlite_url)
    with ledger.reading() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    ledger.close()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5_000,
    }


def test_a_writer_that_keeps_the_file_makes_others_unavailable(sqlite_url: str, monkeypatch):
    # Given a writer that does not end, and others that wait only a moment
    monkeypatch.setattr("billing.db.LOCK_TIMEOUT_MS", 20)
    first, second = open_ledger(sqlite_url), open_ledger(sqlite_url)
    with first.writing():
        # Then the others are told to come back, with no word about the database
        with pytest.raises(Unavailable) as caught:
            accounts.create_account(second, "Ada", NOW_MS)
        assert caught.value.retry_after_ms
        assert "sqlite" not in caught.value.message.lower()
        # And readers are not held up
        assert accounts.list_accounts(second) == ()
    first.close()
    second.close()


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("sqlite:////nowhere/at/all/ledger.db", id="no such directory"),
        pytest.param("postgresql://u:secret@127.0.0.1:1/db", id="nobody listens"),
    ],
)
def test_a_database_that_is_away_is_unavailable(url: str):
    ledger = open_ledger(url)
    with pytest.raises(Unavailable) as caught:
        accounts.list_accounts(ledger)
    assert "secret" not in caught.value.message
    ledger.close()


def test_the_pool_recovers_after_postgresql_dropped_its_connections(
    postgres_url: str, postgres_server: str
):
    # Given a ledger with a warm connection
    ledger = open_ledger(postgres_url)
    accounts.create_account(ledger, "Ada", NOW_MS)
    # When the server ends it, as in a restart
    database = make_url(postgres_url).database
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
        )
    # Then the next call works
    assert len(accounts.list_accounts(ledger)) == 1
    ledger.close()


def test_a_connection_lost_inside_a_transaction_is_unavailable(
    postgres_url: str, postgres_server: str
):
    ledger = open_ledger(postgres_url)

    def cut_off() -> None:
        with ledger.writing() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with psycopg.connect(postgres_server, autocommit=True) as admin:
                admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            connection.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        cut_off()
    assert accounts.list_accounts(ledger) == ()
    ledger.close()


def test_a_statement_that_takes_too_long_is_ended(postgres_url: str):
    ledger = open_ledger(postgres_url, statement_timeout_ms=50)
    with pytest.raises(Unavailable), ledger.reading() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    ledger.close()


def test_paths_with_odd_characters_work(tmp_path: Path, sqlite_template: Path):
    odd = tmp_path / "a b#c.db"
    odd.write_bytes(sqlite_template.read_bytes())
    ledger = open_ledger(f"sqlite:///{odd}")
    assert accounts.list_accounts(ledger) == ()
    ledger.close()
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()} == {
        odd.name
    }
