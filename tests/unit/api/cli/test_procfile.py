from __future__ import annotations

import pytest

from api.cli import procfile
from routing.errors import ConfigError


def test_commands_are_read_in_order_and_comments_are_skipped():
    text = "# all of it\n\nweb: gunicorn -b :80 app\n  worker:  celery worker  \n"

    commands = procfile.parse(text)

    assert list(commands.items()) == [("web", "gunicorn -b :80 app"), ("worker", "celery worker")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("web gunicorn", "Procfile:1: is not of the form `name: command`."),
        ("web:", "Procfile:1: is not of the form `name: command`."),
        ("web: a\nweb: b", "Procfile:2: names the process web a second time."),
    ],
)
def test_a_bad_line_is_named(text, sentence):
    with pytest.raises(ConfigError) as caught:
        procfile.parse(text)

    assert caught.value.message == sentence


def test_a_missing_file_says_that_a_checkout_is_needed(tmp_path):
    with pytest.raises(ConfigError, match="runs from a checkout"):
        procfile.read(tmp_path / "Procfile")


def test_our_own_procfile_has_every_process_of_the_design():
    commands = procfile.read(procfile.root() / "Procfile")

    assert list(commands) == [
        "release",
        "redis",
        "simulator",
        "web",
        "worker",
        "batch",
        "settle",
        "sweep",
        "flower",
    ]
    assert "--enable_events=False" in commands["flower"]
