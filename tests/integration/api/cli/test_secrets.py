"""`pointsman secrets` on a real ledger."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from api.cli.main import pointsman
from api.cli.secrets import secrets_group
from billing import api_keys, byok
from billing.accounts import create_account
from billing.api_keys import KeyTerms
from billing.byok import UseTerms
from billing.db import open_ledger
from routing.errors import ConfigError
from routing.own_keys import CheckedKey
from routing.sealing import Place, Sealer
from routing.settings import Settings
from tests.fixtures.charges import NOW_MS

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("home")]


def run(*arguments: str, code: int = 0):
    result = CliRunner().invoke(secrets_group, arguments)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("POINTSMAN_DATABASE_URL", raising=False)
    result = CliRunner().invoke(pointsman, ["migrate"])
    assert result.exit_code == 0, result.output


def test_a_change_of_secret(monkeypatch):
    old, new = (run("new").stdout.strip() for _ in range(2))
    monkeypatch.setenv("POINTSMAN_SECRET", old)
    ledger = open_ledger(Settings.from_env().sql_url)
    account = create_account(ledger, "acme", NOW_MS).id
    _, key = api_keys.mint(ledger, account, KeyTerms(name="k"), NOW_MS)
    sealer = Sealer.of(Settings.from_env())
    given = CheckedKey(provider="openai", text="mine", label="...")
    for _ in range(2):
        byok.create(ledger, sealer, account, given, UseTerms(), NOW_MS)
    assert run("reseal").stdout.startswith("0 wrapped with secret")

    monkeypatch.setenv("POINTSMAN_SECRET", new)
    found = run("reseal", code=1)
    assert found.stdout.startswith("0 wrapped")
    assert "No secret opens byok_keys/" in found.stderr

    monkeypatch.setenv("POINTSMAN_SECRETS_BEFORE", old)
    found = run("reseal")
    assert found.stdout.startswith("2 wrapped with secret")
    assert new not in found.output

    monkeypatch.delenv("POINTSMAN_SECRETS_BEFORE")
    sealer = Sealer.of(Settings.from_env())
    record = api_keys.find(ledger, key.key_hash, NOW_MS)
    ledger.close()
    assert record is not None
    for own in record.byok:
        assert sealer.open(own.sealed, Place.of_provider_key(own.id, account, "openai")) == "mine"


def test_without_a_secret(monkeypatch):
    monkeypatch.delenv("POINTSMAN_SECRET", raising=False)

    found = run("reseal", code=1)
    assert isinstance(found.exception, ConfigError)
    assert "POINTSMAN_SECRET: is not set" in str(found.exception)
