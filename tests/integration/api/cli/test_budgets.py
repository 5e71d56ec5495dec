"""`pointsman budgets` on a real ledger, without Redis and with it."""

from __future__ import annotations

import json
import socket

import pytest
from click.testing import CliRunner

from api.cli.main import pointsman
from billing.accounts import list_accounts
from billing.api_keys import find, hash_key
from billing.db import open_ledger
from routing.budgets import key_owner, organisation, owner_scope
from routing.clock import SystemClock
from routing.store import redis_keys
from routing.store.budgets import KeyCache
from routing.store.connect import connect

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


@pytest.fixture
def nowhere() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{probe.getsockname()[1]}/0"


@pytest.fixture
def run(monkeypatch, tmp_path, nowhere):
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POINTSMAN_REDIS_URL", nowhere)
    monkeypatch.delenv("POINTSMAN_DATABASE_URL", raising=False)

    def command(*arguments, code=0):
        result = CliRunner().invoke(pointsman, arguments)
        assert result.exit_code == code, result.output
        return result

    command("migrate")
    command("accounts", "create", "acme")
    return command


def make(run) -> str:
    """The hash of a new key."""
    return hash_key(run("keys", "create", "acme", "ci").stdout.strip())


def rows(run, *owner):
    found = json.loads(run("budgets", "list", "acme", *owner, "--json").stdout)
    return [(row["interval"], row["limit_nano"], row["include_byok"]) for row in found]


def test_budgets_are_set_listed_and_taken_away(run):
    key = make(run)
    run("budgets", "set", "acme", "monthly", "500")
    run("budgets", "set", "acme", "daily", "2.50", "--key", key, "--byok-counts")

    assert rows(run) == [("monthly", 500_000_000_000, False)]
    assert rows(run, "--key", key) == [("daily", 2_500_000_000, True)]
    shown = run("budgets", "list", "acme").stdout
    assert "monthly" in shown
    assert "500" in shown

    assert run("budgets", "unset", "acme", "monthly").stdout == "Taken away.\n"
    assert run("budgets", "unset", "acme", "monthly").stdout == "There was none.\n"
    assert run("budgets", "list", "acme").stdout.startswith("No budget: ")


def test_a_shorter_interval_must_allow_less(run):
    run("budgets", "set", "acme", "weekly", "10")
    told = run("budgets", "set", "acme", "daily", "10", code=1)
    assert "the daily budget ($10.00) must be less than the weekly budget ($10.00)" in told.stderr
    assert rows(run) == [("weekly", 10_000_000_000, False)]


def test_what_cannot_be_is_refused(run):
    run("budgets", "set", "acme", "yearly", "1", code=2)
    run("budgets", "set", "acme", "daily", "much", code=2)
    run("budgets", "set", "acme", "daily", "1", "--key", "a", "--member", "b", code=2)
    run("budgets", "set", "nobody", "daily", "1", code=1)
    for command in (("set", "acme", "daily", "1"), ("unset", "acme", "daily"), ("list", "acme")):
        told = run("budgets", *command, "--key", "0" * 64, code=1)
        assert told.stderr == f"Error: No key has the hash {'0' * 64}.\n"
        told = run("budgets", *command, "--member", "usr_nobody", code=1)
        assert told.stderr == "Error: No such member\n"


def test_it_is_said_when_front_doors_cannot_be_told(run):
    make(run)
    told = run("budgets", "set", "acme", "daily", "1")
    assert told.stdout == "Set.\n"
    assert "Redis is away" in told.stderr
    assert "Redis is away" in run("budgets", "unset", "acme", "daily").stderr


def test_front_doors_are_told(run, monkeypatch, tmp_path, redis_url):
    monkeypatch.setenv("POINTSMAN_REDIS_URL", redis_url)
    books = open_ledger(f"sqlite:///{tmp_path}/home/ledger.db")
    key, now_ms = make(run), SystemClock().now_ms()
    (account,) = [one.id for one in list_accounts(books) if one.name == "acme"]
    cache, redis = KeyCache.at(redis_url), connect(redis_url, "test")

    for owner, options in ((organisation(account), ()), (key_owner(key), ("--key", key))):
        record = find(books, key, now_ms)
        assert record is not None
        assert cache.put(record, cache.get(key).mark)

        told = run("budgets", "set", "acme", "lifetime", "3", *options)

        assert told.stderr == ""
        assert cache.get(key).record is None
        left = redis.hgetall(redis_keys.budget(owner_scope(owner, "lifetime", now_ms)))
        assert b"3000000000" in left.values()
    books.close()
