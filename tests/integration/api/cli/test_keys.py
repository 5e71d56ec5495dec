"""`pointsman keys` on a real ledger, without Redis and with it."""

from __future__ import annotations

import json
import socket

import pytest
from click.testing import CliRunner

from api.cli.main import pointsman
from billing.api_keys import budget_of, find, hash_key
from billing.db import open_ledger
from routing.store import redis_keys
from routing.store.budgets import Budgets, KeyCache

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


def make(run, *options) -> str:
    """The hash of a new key."""
    return hash_key(run("keys", "create", "acme", "ci", *options).stdout.strip())


def only(run):
    (key,) = json.loads(run("keys", "list", "acme", "--json").stdout)
    return key


TERMS = ("limit_nano", "limit_reset", "rpm", "tpm", "parallel", "expires_ms")


def test_terms_are_set_when_a_key_is_made_and_changed_later(run):
    key = make(
        run, "--limit", "2.5", "--reset", "daily", "--rpm", "60", "--tpm", "1000",
        "--parallel", "5", "--expires", "2027-12-31", "--byok-counts",
    )  # fmt: skip
    assert [only(run)[name] for name in TERMS] == [
        2_500_000_000, "daily", 60, 1000, 5, 1_830_211_200_000,
    ]  # fmt: skip

    run("keys", "update", key, "--name", "robot", "--limit", "3", "--rpm", "none")
    row = only(run)
    assert row["name"] == "robot"
    assert [row[name] for name in TERMS] == [
        3_000_000_000, "daily", None, 1000, 5, 1_830_211_200_000,
    ]  # fmt: skip

    wide = [part for name in ("limit", "reset", "tpm", "parallel", "expires")
            for part in (f"--{name}", "none")]  # fmt: skip
    run("keys", "update", key, *wide)
    assert [only(run)[name] for name in TERMS] == [None] * 6


@pytest.mark.parametrize(
    "options",
    [
        ("--limit", "much"),
        ("--reset", "yearly"),
        ("--rpm", "0"),
        ("--rpm", "-1"),
        ("--tpm", "1.5"),
        ("--parallel", "1000000001"),
        ("--expires", "someday"),
    ],
)
def test_terms_that_cannot_be_are_refused(run, options):
    key = make(run)
    run("keys", "update", key, *options, code=2)
    run("keys", "create", "acme", "ci", *options, code=2)
    assert only(run)["limit_nano"] is None


def test_a_key_is_shut_opened_and_deleted_although_redis_is_away(run):
    key = make(run)

    shut = run("keys", "disable", key)
    assert shut.stdout == "Disabled.\n"
    assert "Redis is away" in shut.stderr
    assert only(run)["disabled"]

    run("keys", "enable", key)
    assert not only(run)["disabled"]

    run("keys", "delete", key)
    assert "No key yet" in run("keys", "list", "acme").stdout
    for command in ("disable", "enable", "delete", "update"):
        refused = run("keys", command, key, code=1)
        assert refused.stderr == f"Error: No key has the hash {key}.\n"


def test_front_doors_are_told(run, monkeypatch, tmp_path, redis_url):
    monkeypatch.setenv("POINTSMAN_REDIS_URL", redis_url)
    key = make(run, "--limit", "10")
    ledger = open_ledger(f"sqlite:///{tmp_path}/home/ledger.db")
    cache, budgets = KeyCache.at(redis_url), Budgets.at(redis_url)
    record, before = find(ledger, key, 1), budget_of(ledger, key, 1)
    assert cache.put(record, cache.get(key).mark)
    budgets.post((before,))

    changed = run("keys", "update", key, "--limit", "4")

    assert changed.stderr == ""
    assert cache.get(key).record is None
    budgets.post((before,))  # somebody is late
    known = budgets._redis.hgetall(redis_keys.budget(before.scope))
    assert b"4000000000" in known.values()
    ledger.close()
