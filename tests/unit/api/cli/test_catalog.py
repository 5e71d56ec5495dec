"""`pointsman catalog import` and `check --against`, as an operator types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.cli.main import pointsman
from routing.catalog.import_files import MARK
from tests.fixtures.priced import LISTS, put_models, put_shelf

pytestmark = pytest.mark.usefixtures("mine")


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """The operator's directory, and instead of the shipped catalog five models' rows."""
    base = put_models(tmp_path / "shipped")
    monkeypatch.setattr("routing.catalog.load.SHIPPED", base)
    monkeypatch.setattr("routing.catalog.import_files.SHIPPED", base)
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POINTSMAN_CATALOG", str(put_shelf(tmp_path / "mine")))
    return tmp_path / "mine"


def catalog(*words):
    return CliRunner().invoke(pointsman, ["catalog", *map(str, words)])


def models(*more):
    file = LISTS / "openrouter-models.json"
    return catalog("import", "--from", "openrouter-json", file, "--provider", "openrouter", *more)


def files(directory):
    return {file: file.read_text() for file in directory.rglob("*.yml")}


def test_a_dry_run_tells_and_writes_nothing(mine):
    before = files(mine)

    result = models("--dry-run", "--date", "2026-06-01")

    assert result.exit_code == 0
    assert "prompt 0.6 -> 0.45, completion 2.5 -> 2.35 from 2026-06-01" in result.stdout
    assert "2 new models, 2 new endpoints, 1 new prices, 0 as they are here; 3 left out." in (
        result.stdout
    )
    assert "  1: has no price of its own: it varies: openrouter/auto" in result.stdout
    assert files(mine) == before


def test_an_import_goes_into_a_directory_of_its_own(mine, tmp_path, monkeypatch):
    before, other = files(mine), tmp_path / "imported"

    result = models("--into", other)

    assert result.exit_code == 0
    assert f"Wrote {other / 'providers' / 'openrouter.yml'}." in result.stdout
    assert f"Name {other} in POINTSMAN_CATALOG" in result.stdout
    assert files(mine) == before
    assert {file.name for file in files(other)} == {"openrouter.yml", "acme.yml"}
    assert all(text.startswith(MARK) for text in files(other).values())
    assert not [file for file in other.rglob("*") if file.name.startswith(".")]

    monkeypatch.setenv("POINTSMAN_CATALOG", f"{mine}:{other}")
    assert "3 providers, 7 models, 7 endpoints" in catalog("check").stdout
    assert "3 as they are here" in models().stdout


def test_files_written_by_hand_are_kept_unless_forced(mine):
    before = files(mine)

    refused = models()

    assert refused.exit_code == 2
    assert "openrouter.yml: was not written by an import" in refused.stderr
    assert files(mine) == before
    assert models("--force").exit_code == 0
    assert files(mine).keys() > before.keys()
    # What was forced once is ours.
    assert models("--date", "2030-01-01").exit_code == 0


def test_without_a_directory_the_operator_is_asked_for_one(monkeypatch):
    monkeypatch.setenv("POINTSMAN_CATALOG", "")

    result = catalog("import", "--from", "litellm-json", LISTS / "litellm.json")

    assert result.exit_code == 2
    assert "Say --into DIR" in result.stderr


def test_only_named_providers_are_looked_at():
    result = catalog(
        "import",
        "--dry-run",
        "--from",
        "litellm-json",
        LISTS / "litellm.json",
        "--provider",
        "anthropic",
    )

    assert "0 new models, 0 new endpoints, 0 new prices, 1 as they are here" in result.stdout
    assert "heroku" not in result.stdout


def test_an_unknown_provider_is_a_sentence():
    result = catalog(
        "import", "--dry-run", "--from", "litellm-json", LISTS / "litellm.json", "--provider", "x"
    )

    assert result.exit_code == 2
    assert "unknown provider 'x'" in result.stderr


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"7"])
def test_a_list_that_is_none_is_a_sentence(tmp_path, content):
    file = tmp_path / "list.json"
    file.write_bytes(content)

    result = catalog("import", "--dry-run", "--from", "genai-prices", file)

    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert "Traceback" not in result.output


def test_a_list_that_is_not_there_is_a_sentence(tmp_path):
    result = catalog("import", "--dry-run", "--from", "genai-prices", tmp_path / "none.json")

    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def against(*more):
    return catalog("check", "--against", f"litellm-json:{LISTS / 'litellm.json'}", *more)


def test_a_check_prints_what_differs():
    result = against()

    assert result.exit_code == 0
    assert "The catalog is valid: 3 providers" in result.stdout
    head, row = result.stdout.splitlines()[-2:]
    assert head.split() == ["model", "provider", "what", "ours", "theirs", "percent"]
    assert row.split() == ["openai/gpt-4o-mini", "openai", "completion", "0.6", "0.5", "-16.7"]


def test_a_check_against_several_lists_adds_them_up_as_json():
    result = against(
        "--against", f"openrouter-json:{LISTS / 'openrouter-endpoints.json'}", "--json"
    )

    assert [(row["model"], row["percent"]) for row in json.loads(result.stdout)] == [
        ("openai/gpt-4o-mini", "-16.7"),
        ("openai/gpt-4o", "-20.0"),
    ]


@pytest.mark.parametrize(("percent", "code"), [("16", 1), ("17", 0), ("0", 1)])
def test_a_check_can_fail(percent, code):
    assert against("--fail-over", percent).exit_code == code


def test_where_nothing_differs_a_check_says_so():
    result = against("--provider", "anthropic", "--fail-over", "0")

    assert result.exit_code == 0
    assert result.stdout.endswith("No price differs.\n")


@pytest.mark.parametrize("said", ["litellm.json", "csv:file", "litellm-json:"])
def test_a_list_needs_its_format(said):
    result = catalog("check", "--against", said)

    assert result.exit_code == 2
    assert "is not one of openrouter-json, litellm-json, genai-prices" in result.stderr
