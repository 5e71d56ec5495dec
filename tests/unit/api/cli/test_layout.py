from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.cli.layout import Choice, plan
from routing.errors import ConfigError
from routing.settings import Settings, insecure

PROCFILE = {
    "release": "pointsman migrate",
    "redis": "pointsman redis",
    "simulator": "python -m workers.simulator",
    "web": "gunicorn",
    "worker": "celery worker",
    "flower": "celery flower",
}


def settings(tmp_path, **changes):
    return Settings(home=tmp_path, **changes)


def test_everything_but_the_release_step_is_started(tmp_path):
    layout = plan(settings(tmp_path), {}, PROCFILE, Choice())

    assert list(layout.commands) == ["redis", "simulator", "web", "worker", "flower"]
    assert layout.settings.redis_url == "redis://127.0.0.1:6390/0"
    assert layout.settings.sandbox_url == "http://127.0.0.1:8099"
    assert layout.base_url == "http://127.0.0.1:8080/api/v1"
    assert layout.flower_url == "http://127.0.0.1:5555"


def test_a_redis_of_the_operators_is_used_and_none_is_started(tmp_path):
    url = "redis://cache:6379/1"

    layout = plan(
        settings(tmp_path, redis_url=url), {"POINTSMAN_REDIS_URL": url}, PROCFILE, Choice()
    )

    assert "redis" not in layout.commands
    assert layout.settings.redis_url == url


def test_only_chooses_processes_and_redis_comes_along(tmp_path):
    layout = plan(settings(tmp_path), {}, PROCFILE, Choice(only=("web", "worker")))

    assert list(layout.commands) == ["redis", "web", "worker"]
    assert layout.settings.sandbox_url == ""
    assert layout.flower_url is None


def test_only_with_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no process wbe.*Known are redis, simulator"):
        plan(settings(tmp_path), {}, PROCFILE, Choice(only=("wbe",)))


def test_without_the_simulator_nothing_is_simulated(tmp_path):
    layout = plan(settings(tmp_path), {}, PROCFILE, Choice(simulator=False))

    assert "simulator" not in layout.commands
    assert layout.settings.sandbox_url == ""


def test_a_simulator_elsewhere_is_used(tmp_path):
    layout = plan(settings(tmp_path, sandbox_url="http://sim:1"), {}, PROCFILE, Choice())

    assert "simulator" not in layout.commands
    assert layout.settings.sandbox_url == "http://sim:1"


def test_the_ports_are_those_of_what_is_started(tmp_path):
    changes = {"port": 1, "redis_port": 2, "flower_port": 3, "simulator_port": 4}

    everything = plan(settings(tmp_path, **changes), {}, PROCFILE, Choice()).ports()
    front_door = plan(settings(tmp_path, **changes), {}, PROCFILE, Choice(only=("web",))).ports()

    assert {(port.number, port.variable) for port in everything} == {
        (1, "PORT"),
        (2, "POINTSMAN_REDIS_PORT"),
        (3, "POINTSMAN_FLOWER_PORT"),
        (4, "POINTSMAN_SIMULATOR_PORT"),
    }
    assert [port.number for port in front_door] == [1, 2]


def test_children_get_the_resolved_settings_and_our_programs_first(tmp_path):
    given = {"PATH": "/usr/bin", "OPENAI_API_KEY": "sk-real"}
    layout = plan(settings(tmp_path), given, PROCFILE, Choice())

    web = next(c for c in layout.children(given, Path("/checkout")) if c.name == "web")

    assert web.environment["PATH"] == f"{sys.prefix}/bin:/usr/bin"
    assert web.environment["OPENAI_API_KEY"] == "sk-real"
    assert web.environment["POINTSMAN_HOME"] == str(tmp_path)
    assert web.environment["POINTSMAN_DATABASE_URL"] == f"sqlite:///{tmp_path}/ledger.db"
    assert web.environment["POINTSMAN_REDIS_URL"] == "redis://127.0.0.1:6390/0"
    assert web.environment["PROMETHEUS_MULTIPROC_DIR"] == str(tmp_path / "metrics")
    assert web.folder == Path("/checkout")
    assert web.log == tmp_path / "logs" / "web.log"


def test_several_workers_have_names_of_their_own(tmp_path):
    layout = plan(settings(tmp_path, worker_processes=2), {}, PROCFILE, Choice(only=("worker",)))

    names = [(c.name, c.environment["POINTSMAN_PROCESS"]) for c in layout.children({}, tmp_path)]

    assert names == [("redis", "redis"), ("worker.1", "worker.1"), ("worker.2", "worker.2")]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104 - an address, nobody binds it
        ("::", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("10.0.0.5", "http://10.0.0.5:8080"),
    ],
)
def test_the_printed_address_is_one_that_can_be_called(tmp_path, host, url):
    assert plan(settings(tmp_path, host=host), {}, PROCFILE, Choice()).root_url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6390/0",
        "redis://localhost/0",
        "redis://[::1]:6379",
        "unix:///run/redis.sock",
        "redis://:secret@cache:6379/0",
        "rediss://user:secret@cache/0",
    ],
)
def test_a_redis_nobody_else_reaches_or_with_a_password_is_fine(tmp_path, url):
    assert insecure(settings(tmp_path, redis_url=url)) is None


@pytest.mark.parametrize(
    "url", ["redis://cache:6379/0", "redis://user@cache/0", "redis://10.0.0.5"]
)
def test_an_open_redis_elsewhere_is_refused_unless_permitted(tmp_path, url):
    problem = insecure(settings(tmp_path, redis_url=url))

    assert problem is not None
    assert "without a password" in problem.message
    assert insecure(settings(tmp_path, redis_url=url, allow_insecure=True)) is None


def test_a_secret_is_handed_to_every_process(tmp_path):
    without = plan(settings(tmp_path), {}, PROCFILE, Choice())
    having = plan(settings(tmp_path, secret=SecretStr("s")), {}, PROCFILE, Choice())

    assert "POINTSMAN_SECRET" not in without.environment({})
    assert having.environment({}).get("POINTSMAN_SECRET") == "s"
