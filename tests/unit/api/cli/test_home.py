from __future__ import annotations

import stat
import subprocess

import pytest
from pydantic import SecretStr

from api.cli.home import Home, Keys
from routing.errors import ConfigError
from routing.sealing import secret_of
from routing.settings import Settings

KEYS = Keys(inference="sk-or-v1-" + "a" * 64, management="sk-or-v1-" + "b" * 64)
URL = "http://127.0.0.1:8080/api/v1"


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "data")
    home.prepare()
    return home


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_and_the_env_file_are_the_owners_alone(home):
    home.write_env(URL, KEYS)

    assert mode(home.path) == 0o700
    assert mode(home.env) == 0o600


def test_an_open_folder_is_closed_again(home):
    home.path.chmod(0o755)

    home.prepare()

    assert mode(home.path) == 0o700


def test_a_shell_that_sources_the_env_file_gets_all_three_values(home):
    home.write_env(URL, KEYS)

    script = '. "$0" && echo $POINTSMAN_BASE_URL $POINTSMAN_API_KEY $POINTSMAN_MANAGEMENT_KEY'
    shell = subprocess.run(
        ["/bin/sh", "-c", script, str(home.env)], capture_output=True, text=True, check=True
    )

    assert shell.stdout.split() == [URL, KEYS.inference, KEYS.management]


def test_keys_are_found_again_and_survive_a_new_base_url(home):
    home.write_env(URL, KEYS)
    home.write_env("http://127.0.0.1:9000/api/v1", home.read_keys())

    assert home.read_keys() == KEYS
    assert "9000" in home.env.read_text()


@pytest.mark.parametrize("text", ["", "export POINTSMAN_API_KEY=x\n", "nonsense"])
def test_a_torn_env_file_counts_as_none(home, text):
    home.env.write_text(text)

    assert home.read_keys() is None


def test_without_an_env_file_there_are_no_keys(home):
    assert home.read_keys() is None


def test_a_second_start_on_the_same_folder_is_refused(home):
    with (
        home.lock(),
        pytest.raises(ConfigError, match=r"is in use by a running Pointsman \(process \d+\)"),
        home.lock(),
    ):
        pytest.fail("the lock was given twice")


def test_the_folder_is_free_again_after_the_first_one_ended(home):
    with home.lock():
        pass

    with home.lock():
        assert (home.path / "lock").read_text().strip().isdigit()


def test_counters_of_dead_processes_are_removed(home):
    home.empty_metrics()
    (home.metrics / "counter_1.db").touch()

    home.empty_metrics()

    assert list(home.metrics.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"POINTSMAN_HOME: .* cannot be used"):
        Home(tmp_path / "file" / "data").prepare()


def test_the_secret_is_made_once_and_is_the_owners_alone(home):
    assert home.read_secret() == ""

    secret = home.secret()

    assert mode(home.secret_file) == 0o600
    assert secret_of(Settings(secret=SecretStr(secret)))
    assert home.secret() == home.read_secret() == secret
    assert Home(home.path).secret() == secret
