from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from api.cli import doctor
from api.cli.doctor import Finding
from api.cli.main import pointsman
from routing.errors import Unavailable
from routing.sealing import Sealer
from routing.settings import Settings


def good(_settings):
    return Finding(ok=True, sentence="Fine.")


def bad(_settings):
    return Finding(ok=False, sentence="Not fine; do this.")


def away(_settings):
    raise Unavailable("The queue is not available.")


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run_doctor(checks, *arguments):
        monkeypatch.setattr(doctor, "CHECKS", checks)
        monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
        return CliRunner().invoke(pointsman, ["doctor", *arguments])

    return run_doctor


def test_all_well_exits_with_zero(run):
    result = run({"one": good})

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "ok    settings  The settings are valid.",
        "ok    one       Fine.",
    ]


def test_one_bad_finding_exits_with_one_and_the_others_are_still_run(run):
    result = run({"one": bad, "two": away, "three": good})

    assert result.exit_code == 1
    assert result.output.splitlines()[1:] == [
        "FAIL  one       Not fine; do this.",
        "FAIL  two       The queue is not available.",
        "ok    three     Fine.",
    ]


def test_programs_get_the_findings_as_json(run):
    result = run({"one": bad}, "--json")

    assert result.exit_code == 1
    assert json.loads(result.output)[1] == {
        "check": "one",
        "ok": False,
        "sentence": "Not fine; do this.",
    }


def test_settings_that_cannot_be_read_are_a_sentence_with_exit_code_two(run, monkeypatch):
    monkeypatch.setenv("POINTSMAN_REDIS_PORT", "none")

    result = run({"one": good})

    assert result.exit_code == 2
    assert result.output.startswith("Error: POINTSMAN_REDIS_PORT: ")


def test_an_open_home_is_found(tmp_path):
    tmp_path.chmod(0o755)

    assert doctor.home(Settings(home=tmp_path)) == Finding(
        ok=False, sentence=f"Others may read {tmp_path}; run chmod go-rwx on it."
    )


def test_a_closed_home_with_an_open_env_file_is_found(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "env").touch(mode=0o644)

    assert "env; run chmod" in doctor.home(Settings(home=tmp_path)).sentence


def test_a_redis_open_to_others_is_found():
    assert not doctor.exposure(Settings(redis_url="redis://cache/0")).ok


def test_a_foreign_distribution_with_one_of_our_names_is_found():
    finding = doctor.package_clash({"routing": ["routing", "pointsman"], "api": ["pointsman"]})

    assert not finding.ok
    assert finding.sentence.startswith("routing also installs a package `routing`")


def test_our_own_distribution_does_not_clash_with_itself():
    assert doctor.package_clash({"routing": ["pointsman", "pointsman"], "flask": ["flask"]}).ok


def test_every_check_says_what_it_is_for():
    assert all(check.__doc__ for check in doctor.CHECKS.values())


OLD, NEW = Sealer(b"o" * 32).kek_id, Sealer(b"n" * 32).kek_id


@pytest.mark.parametrize(
    ("in_use", "sealer", "ok", "words"),
    [
        ({}, Sealer(b""), True, "POINTSMAN_SECRET is not set"),
        ({}, Sealer(b"n" * 32), True, "POINTSMAN_SECRET is set"),
        ({NEW: 2}, Sealer(b"n" * 32), True, f"2 with {NEW}, the present secret"),
        ({OLD: 1, NEW: 2}, Sealer(b"n" * 32, [b"o" * 32]), True, "run `pointsman secrets reseal`"),
        ({OLD: 1, NEW: 2}, Sealer(b"n" * 32), False, f"lack {OLD}"),
        ({OLD: 1}, Sealer(b""), False, f"lack {OLD}"),
    ],
)
def test_secrets_in_use_are_told(in_use, sealer, ok, words):
    found = doctor.sealed_by_whom(in_use, sealer)

    assert found.ok is ok
    assert words in found.sentence
