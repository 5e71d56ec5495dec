from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from api.cli.banner import EXAMPLE_MODEL, Banner, Sandbox, curl, render, sandbox_line
from api.cli.home import Keys

BANNER = Banner(
    base_url="http://127.0.0.1:8080/api/v1",
    keys=Keys(inference="sk-or-v1-in", management="sk-or-v1-man"),
    sandbox=Sandbox(real=(), simulated=True),
    flower_url="http://127.0.0.1:5555",
    home=Path("/srv/my data"),
    logs=Path("/srv/my data/logs"),
)


def test_the_banner_shows_everything_one_needs_first():
    text = render(BANNER)

    for part in (
        "API             http://127.0.0.1:8080/api/v1\n",
        "Key             sk-or-v1-in\n",
        "Management key  sk-or-v1-man\n",
        "Flower          http://127.0.0.1:5555\n",
        "Logs            /srv/my data/logs\n",
        "sandbox: answers come from the bundled simulator",
        ". '/srv/my data/env'",
    ):
        assert part in text


def test_flower_is_left_out_when_it_does_not_run():
    assert "Flower" not in render(replace(BANNER, flower_url=None))


def test_the_curl_is_one_valid_shell_command_with_valid_json():
    words = shlex.split(curl("http://127.0.0.1:8080/api/v1", "sk-or-v1-in"))

    assert words[:2] == ["curl", "http://127.0.0.1:8080/api/v1/chat/completions"]
    assert "Authorization: Bearer sk-or-v1-in" in words
    assert json.loads(words[-1])["model"] == EXAMPLE_MODEL


@pytest.mark.parametrize(
    ("sandbox", "line"),
    [
        (
            Sandbox(real=(), simulated=True),
            "sandbox: answers come from the bundled simulator, no provider key is set",
        ),
        (
            Sandbox(real=("OpenAI",), simulated=True),
            "mixed: OpenAI for real, the bundled simulator plays the others",
        ),
        (
            Sandbox(real=("Anthropic", "OpenAI"), simulated=False),
            "real providers: Anthropic, OpenAI",
        ),
        (
            Sandbox(real=(), simulated=False),
            "no provider key is set and no simulator runs: inference requests will fail",
        ),
        (
            Sandbox(real=tuple("ABCDEFGHIJ"), simulated=False),
            "real providers: A, B, C, D, E, F, G, H and 2 more",
        ),
    ],
)
def test_the_mode_says_who_answers(sandbox, line):
    assert sandbox_line(sandbox) == line
