from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from api.cli.main import pointsman
from api.cli.procfile import root
from routing.settings import Settings


def commands(group, path=()):
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands(pointsman))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(path):
    result = CliRunner().invoke(pointsman, [*path, "--help"])

    assert result.exit_code == 0
    assert ALL[path].help


def test_the_commands_are_those_the_procfile_and_the_readme_name():
    assert {" ".join(path) for path in ALL} >= {
        "up",
        "run",
        "redis",
        "migrate",
        "pools",
        "doctor",
        "accounts create",
        "accounts list",
        "keys create",
        "keys list",
        "keys disable",
        "credits grant",
        "catalog check",
        "catalog reload",
        "figures",
    }


def test_a_wrong_setting_is_one_sentence_with_exit_code_two(monkeypatch):
    monkeypatch.setenv("POINTSMAN_WORKER_CONCURRENCY", "5000")

    result = CliRunner().invoke(pointsman, ["pools"])

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: POINTSMAN_WORKER_CONCURRENCY: ")
    assert "Traceback" not in result.output


def test_pools_names_a_queue_for_each_pool(monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))

    interactive = CliRunner().invoke(pointsman, ["pools"]).stdout.strip().split(",")
    batch = CliRunner().invoke(pointsman, ["pools", "--batch"]).stdout.strip().split(",")

    assert "pool.openai" in interactive
    assert [name.replace("batch.", "pool.") for name in batch] == interactive


def test_a_bad_catalog_is_reported_line_by_line(monkeypatch, tmp_path):
    (tmp_path / "providers").mkdir()
    (tmp_path / "providers" / "mine.yml").write_text("slug: mine\nnonsense: 1\n")
    monkeypatch.setenv("POINTSMAN_CATALOG", str(tmp_path))

    result = CliRunner().invoke(pointsman, ["catalog", "check"])

    assert result.exit_code == 2
    assert "mine.yml:2: unknown key 'nonsense'" in result.stderr
    assert len(result.stderr.splitlines()) > 1


def test_an_unknown_process_lists_the_known_ones():
    result = CliRunner().invoke(pointsman, ["run", "wbe"])

    assert result.exit_code == 2
    assert "there is no process wbe. Known are release, redis" in result.stderr


def test_every_environment_variable_of_the_example_exists():
    example = (root() / "deploy" / "env.example").read_text()
    known = {f"POINTSMAN_{name.upper()}" for name in Settings.model_fields}

    named = {line.lstrip("# ").partition("=")[0] for line in example.splitlines() if "=" in line}

    assert {name for name in named if name.startswith("POINTSMAN_")} <= known
