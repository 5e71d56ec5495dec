"""The operator's commands on a real ledger, while Redis is away."""

from __future__ import annotations

import json
import socket

import pytest
from click.testing import CliRunner

from api.cli.main import pointsman
from billing.api_keys import hash_key

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


@pytest.fixture
def run(monkeypatch, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = probe.getsockname()[1]
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POINTSMAN_REDIS_URL", f"redis://127.0.0.1:{nobody}/0")
    monkeypatch.delenv("POINTSMAN_DATABASE_URL", raising=False)

    def command(*arguments, code=0):
        result = CliRunner().invoke(pointsman, arguments)
        assert result.exit_code == code, result.output
        return result

    command("migrate")
    return command


def listed(run, *arguments):
    return json.loads(run(*arguments, "--json").stdout)


def test_an_account_is_found_by_name_and_by_id(run):
    account_id = run("accounts", "create", "acme").stdout.strip()

    run("credits", "grant", "acme", "10.5")
    run("credits", "grant", account_id, "0.5", "--gift")

    (account,) = listed(run, "accounts", "list")
    assert account["id"] == account_id
    assert account["balance_nano"] == 11_000_000_000
    assert account["purchased_nano"] == 10_500_000_000


def test_credit_is_kept_though_redis_is_away(run):
    run("accounts", "create", "acme")

    result = run("credits", "grant", "acme", "5")

    assert "has $5.00 now." in result.stdout
    assert "Redis is away; the credit is in the ledger" in result.stderr


def test_a_payment_counts_once(run):
    run("accounts", "create", "acme")

    for _ in range(2):
        run("credits", "grant", "acme", "5", "--reference", "invoice 7")

    assert listed(run, "accounts", "list")[0]["granted_nano"] == 5_000_000_000
    refused = run("credits", "grant", "acme", "6", "--reference", "invoice 7", code=1)
    assert refused.stderr == "Error: The reference invoice 7 was used for another grant\n"


@pytest.mark.parametrize("amount", ["0", "five", "0.0000000001"])
def test_an_amount_that_cannot_be_granted_is_refused(run, amount):
    run("accounts", "create", "acme")

    result = CliRunner().invoke(pointsman, ["credits", "grant", "acme", amount])

    assert result.exit_code in {1, 2}
    assert listed(run, "accounts", "list")[0]["granted_nano"] == 0


def test_a_key_is_printed_alone_once_and_listed_without_its_secret(run):
    run("accounts", "create", "acme")

    made = run("keys", "create", "acme", "ci", "--limit", "2.5", "--reset", "daily")

    text = made.stdout.strip()
    (key,) = listed(run, "keys", "list", "acme")
    assert key["hash"] == hash_key(text)
    assert (key["limit_nano"], key["limit_reset"], key["kind"]) == (
        2_500_000_000,
        "daily",
        "inference",
    )
    assert text not in json.dumps(key)
    assert text not in made.stderr


def test_a_key_can_be_shut_by_its_hash(run):
    run("accounts", "create", "acme")
    run("keys", "create", "acme", "boss", "--management")
    (key,) = listed(run, "keys", "list", "acme")

    run("keys", "disable", key["hash"])

    (key,) = listed(run, "keys", "list", "acme")
    assert key["kind"] == "management"
    assert key["disabled"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("keys", "list", "nobody"), "No account has the id or name nobody."),
        (("credits", "grant", "nobody", "1"), "No account has the id or name nobody."),
        (("keys", "disable", "00"), "No key has the hash 00."),
        (("catalog", "reload"), "The queue is not available. Try again shortly."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, arguments, sentence):
    assert run(*arguments, code=1).stderr == f"Error: {sentence}\n"


def test_two_accounts_of_one_name_are_told_apart_by_id(run):
    ids = sorted(run("accounts", "create", "acme").stdout.strip() for _ in range(2))

    result = run("keys", "list", "acme", code=1)

    assert f"use an id: {', '.join(ids)}." in result.stderr


def test_a_ledger_that_was_not_migrated_says_how(run, monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")

    assert "run `pointsman migrate`" in run("accounts", "list", code=2).stderr


def test_the_doctor_reports_what_is_away_and_fails(run):
    result = run("doctor", code=1)

    assert "FAIL  redis       No Redis answers at redis://127.0.0.1:" in result.stdout
    assert "ok    books       The ledger adds up." in result.stdout


def test_an_empty_installation_says_what_to_do_next(run):
    assert run("accounts", "list").stdout == ("No account yet: pointsman accounts create NAME\n")


def test_an_accounts_policy_is_shown_and_changed_piece_by_piece(run):
    account_id = run("accounts", "create", "acme").stdout.strip()
    run("keys", "create", account_id, "k")

    result = run("accounts", "policy", account_id, "--only", "DeepInfra, together", "--zdr")
    assert "front doors follow within a minute" in result.stderr
    run("accounts", "policy", account_id, "--sort", "price", "--default-model", "openai/gpt-4o")

    (policy,) = listed(run, "accounts", "policy", account_id)
    assert policy["only"] == ["deepinfra", "together"]
    assert (policy["zdr"], policy["sort"]) == (True, "price")
    assert policy["default_model"] == "openai/gpt-4o"
    assert policy["deny_paid_training"] is False

    run("accounts", "policy", account_id, "--only", "", "--no-zdr", "--sort", "balanced")
    (policy,) = listed(run, "accounts", "policy", account_id)
    assert (policy["only"], policy["zdr"], policy["sort"]) == ([], False, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only", "deepinfa"), "called 'deepinfa'"),
        (("--default-model", "a/b"), "a/b is not a valid model ID"),
    ],
)
def test_a_policy_names_only_what_exists(run, options, words):
    account_id = run("accounts", "create", "acme").stdout.strip()

    assert words in run("accounts", "policy", account_id, *options, code=1).stderr


def test_an_unknown_account_has_no_policy(run):
    assert "No account nobody" in run("accounts", "policy", "nobody", code=1).stderr


def test_how_fast_an_account_may_ask(run):
    run("accounts", "create", "acme")

    (first,) = listed(run, "accounts", "limits", "acme", "--rpm", "60", "--parallel", "5")
    (second,) = listed(run, "accounts", "limits", "acme", "--rpm", "", "--tpm", "1000")

    assert first == {"rpm": 60, "tpm": None, "parallel": 5}
    assert second == {"rpm": None, "tpm": 1_000, "parallel": 5}
    for wrong in ("0", "-1", "x", "6000001", "1.5"):
        refused = run("accounts", "limits", "acme", f"--rpm={wrong}", code=2)
        assert "--rpm" in refused.stderr


def test_no_account_is_closed_while_front_doors_cannot_be_told(run):
    run("accounts", "create", "acme")

    run("accounts", "close", "acme", "--yes", code=1)

    assert len(listed(run, "accounts", "list")) == 1
