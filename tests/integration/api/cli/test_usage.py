"""`pointsman receipt` and `pointsman reconcile` on a real ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from api.cli.main import pointsman
from billing import tables
from billing.db import open_ledger
from billing.settlement import settle
from tests.fixtures.charges import NOW_MS, generation_id
from tests.fixtures.customers import make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


@pytest.fixture
def run(monkeypatch, sqlite_url: str):
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", sqlite_url)

    def command(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(pointsman, arguments)
        assert result.exit_code == code, result.output
        return result

    return command


@pytest.fixture
def ledger(sqlite_url: str):
    opened = open_ledger(sqlite_url)
    yield opened
    opened.close()


def test_a_receipt_shows_lines_terms_and_every_entry(run, ledger):
    settle(ledger, [make_customer(ledger).charge(discount_ppm=10_000)], NOW_MS)
    shown = run("receipt", generation_id(1)).stdout
    for words in ("completion", "list price: $0.0002", "charged: $0.000198", "payable:Acme"):
        assert words in shown
    told = json.loads(run("receipt", generation_id(1), "--json").stdout)
    assert {one["account"] for one in told["ledger"]} >= {"revenue", "payable:Acme"}
    assert told["adds_up"] is True


def test_a_receipt_that_does_not_add_up_fails(run, ledger):
    settle(ledger, [make_customer(ledger).charge()], NOW_MS)
    with ledger.writing() as connection:
        connection.execute(update(tables.generations).values(cost_nano=7))
    assert "does not add up" in run("receipt", generation_id(1), code=1).output
    assert "No generation" in run("receipt", "gen-nobody", code=1).output


def test_an_invoice_is_compared_under_the_names_of_both_sides(run, ledger, tmp_path: Path):
    # Given two models of OpenAI's that were used, and its invoice with names and heads of its own
    ada = make_customer(ledger)
    models = ["openai/gpt-4o-mini", "openai/gpt-4o"]
    settle(
        ledger,
        [ada.charge(n, model_id=name, provider="OpenAI") for n, name in enumerate(models)],
        NOW_MS,
    )
    invoice = tmp_path / "invoice.csv"
    good = "Date,Model,Cost USD\n2025-12-04,gpt-4o-mini-2024-07-18,0.0002\n"
    invoice.write_text("\ufeff" + good + "2025-12-04,gpt-4o,0.0002\n", encoding="utf-8")
    # When they agree, that is said
    assert "Every line agrees" in run("reconcile", str(invoice), "--provider", "openai").stdout
    everything = run("reconcile", str(invoice), "--provider", "openai", "--all", "--json").stdout
    assert [one["gap_nano"] for one in json.loads(everything)] == [0, 0]
    # When they do not, the line is shown and the command fails
    invoice.write_text(good + "2025-12-04,gpt-4o,0.5\n", encoding="utf-8")
    output = run("reconcile", str(invoice), "--provider", "OpenAI", code=1).output
    assert "2025-12-04 gpt-4o" in output
    assert "1 of 2 lines differ" in output
    run("reconcile", str(invoice), "--provider", "OpenAI", "--floor", "1")
    run("reconcile", str(invoice), "--provider", "OpenAI", "--tolerance", "100")


def test_an_invoice_that_cannot_be_read_fails_with_a_sentence(run, tmp_path: Path):
    invoice = tmp_path / "invoice.csv"
    invoice.write_bytes(b"date,model,cost\n2025-12-04,\xff,1\n")
    result = run("reconcile", str(invoice), "--provider", "OpenAI", code=1)
    assert "Line" in result.output
    assert "Traceback" not in result.output
    run("reconcile", str(tmp_path / "nothing.csv"), "--provider", "OpenAI", code=2)
