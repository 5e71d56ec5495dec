"""`pointsman users` and `members` on a real ledger, without Redis."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from api.cli.main import pointsman
from api.cli.users import members_group, users_group
from billing import api_keys, people
from billing.api_keys import KeyTerms
from billing.db import open_ledger
from billing.passwords import is_password
from tests.fixtures.charges import NOW_MS

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

TYPED = "typed horse battery"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{(tmp_path / 'home' / 'ledger.db').resolve()}"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"redis://127.0.0.1:{probe.getsockname()[1]}/0"
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POINTSMAN_REDIS_URL", nowhere)
    monkeypatch.delenv("POINTSMAN_DATABASE_URL", raising=False)
    commands = type(pointsman)(commands=pointsman.commands)
    commands.add_command(users_group)
    commands.add_command(members_group)

    def command(*arguments: str, code: int = 0, stdin: str | None = None) -> Any:
        result = CliRunner().invoke(commands, arguments, input=stdin)
        assert result.exit_code == code, result.output
        return result

    command("migrate")
    return command


def _kept(url: str, email: str) -> str | None:
    ledger = open_ledger(url)
    try:
        return people.password_of(ledger, email)[1]
    finally:
        ledger.close()


def _rows(run: Any, *command: str) -> Any:
    return json.loads(run(*command, "--json").stdout)


def test_a_person_gets_a_password_once(run: Any, url: str):
    out = run("users", "create", "Ada@example.com", "--first-name", "Ada").stdout
    user_id, line = out.splitlines()

    assert user_id.startswith("user_")
    assert is_password(line.removeprefix("Password: "), _kept(url, "ada@example.com"))
    (row,) = _rows(run, "users", "list")
    assert (row["email"], row["name"], row["password"]) == ("ada@example.com", "Ada", True)
    assert "ada@example.com" in run("users", "list").stdout
    assert "already" in run("users", "create", "ada@example.com", code=1).output


def test_a_password_is_typed_or_left_out(run: Any, url: str):
    out = run("users", "create", "a@b.c", "--password-stdin", stdin=f"{TYPED}\n").stdout
    assert "Password" not in out
    assert is_password(TYPED, _kept(url, "a@b.c"))
    short = run("users", "create", "b@b.c", "--password-stdin", stdin="short\n", code=1)
    assert "12 to 256" in short.output

    run("users", "create", "c@b.c", "--no-password")
    assert _kept(url, "c@b.c") is None
    run("users", "password", "c@b.c", "--password-stdin", stdin=TYPED)
    assert is_password(TYPED, _kept(url, "c@b.c"))
    assert "Password: " in run("users", "password", "c@b.c").stdout
    assert "users create" in run("users", "password", "d@b.c", code=1).output


def test_an_account_of_nobody_gets_an_admin_then_members(run: Any):
    run("accounts", "create", "acme")
    for name in ("ada", "bob"):
        run("users", "create", f"{name}@example.com")

    assert "is admin of acme" in run("members", "add", "acme", "ada@example.com").stdout
    assert "is member of acme" in run("members", "add", "acme", "bob@example.com").stdout
    found = {row["email"]: row["role"] for row in _rows(run, "members", "list", "acme")}
    assert found == {"ada@example.com": "admin", "bob@example.com": "member"}
    assert "already" in run("members", "add", "acme", "bob@example.com", code=1).output
    assert "admin" in run("members", "remove", "acme", "ada@example.com", code=1).output


def test_whoever_goes_takes_no_key_along(run: Any, url: str):
    account = run("accounts", "create", "acme").stdout.strip()
    for name in ("ada", "bob"):
        run("users", "create", f"{name}@example.com")
        run("members", "add", "acme", f"{name}@example.com")
    ids = {row["email"][:3]: row["id"] for row in _rows(run, "users", "list")}
    ledger = open_ledger(url)

    def key(name: str) -> str:
        terms = KeyTerms(name="k", creator_user_id=ids[name])
        return api_keys.mint(ledger, account, terms, NOW_MS)[1].key_hash

    def disabled(key_hash: str) -> bool:
        record = api_keys.find(ledger, key_hash, NOW_MS)
        assert record is not None
        return record.disabled

    of_ada, of_bob = key("ada"), key("bob")
    left = run("members", "remove", "acme", "bob@example.com")
    assert "Keys disabled: 1" in left.stdout
    assert "Redis does not answer" in left.output
    assert (disabled(of_ada), disabled(of_bob)) == (False, True)

    run("users", "disable", "ada@example.com", "--keep-keys")
    assert not disabled(of_ada)
    assert "Keys disabled: 1" in run("users", "disable", "ada@example.com").stdout
    assert disabled(of_ada)
    run("users", "enable", "ada@example.com")
    assert not _rows(run, "users", "list")[0]["disabled"]
    ledger.close()


def test_operators_are_named(run: Any):
    run("users", "create", "ada@example.com", "--site-admin")
    assert _rows(run, "users", "list")[0]["site_admin"]
    run("users", "site-admin", "ada@example.com", "--no")
    assert not _rows(run, "users", "list")[0]["site_admin"]
