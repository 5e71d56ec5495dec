"""`pointsman figures` on a real Redis."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from api.cli.main import pointsman
from routing.figures import Seen, ToolTally
from routing.store.connect import connect
from routing.store.figures import Figures
from routing.store.health import Health
from workers.figures import Recorder

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
E = "openai:openai/gpt-4o-mini"
STREAM = Seen(
    endpoint_id=E,
    outcome="ok",
    first_byte_ms=200,
    completion_tokens=100,
    elapsed_ms=1_000,
    tools=ToolTally(requests=1, with_calls=1, calls=1, valid=1),
)


@pytest.fixture
def redis(redis_url, monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POINTSMAN_REDIS_URL", redis_url)
    with connect(redis_url, "test") as client:
        yield client


def record(redis, *calls):
    recorder = Recorder(Figures(redis))
    for call in calls:
        recorder.seen(call)
    recorder.flush()


def run(*arguments, code=0):
    result = CliRunner().invoke(pointsman, ["figures", *arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.usefixtures("redis")
def test_nothing_was_called():
    assert run().stdout == "No endpoint was called within 24 hours.\n"
    assert json.loads(run("--json").stdout) == []


def test_a_row_for_each_endpoint(redis):
    record(redis, *[STREAM] * 19, Seen(endpoint_id=E, outcome="fault"))
    record(redis, Seen(endpoint_id="other:x/y", outcome="limited"))

    mine, other = json.loads(run("--json").stdout)

    assert mine["endpoint"] == E
    assert (mine["status"], mine["attempts"]) == ("normal", 20)
    assert mine["uptime_5m"] == mine["uptime_30m"] == mine["uptime_1d"] == 95.0
    assert mine["latency_p50"] == pytest.approx(200, rel=0.05)
    assert mine["throughput_p90"] == pytest.approx(100, rel=0.05)
    assert (mine["tool_calls"], mine["tool_success"]) == (19, 1.0)
    assert other == {
        "endpoint": "other:x/y",
        "status": "normal",
        "attempts": 1,
        **dict.fromkeys(mine.keys() - {"endpoint", "status", "attempts"}),
    }
    head, first, second = run().stdout.splitlines()
    assert head.split()[:3] == ["endpoint", "status", "attempts"]
    assert first.startswith(E)
    assert second.split()[3:] == ["-"] * 9


def test_only_one_model(redis):
    record(redis, STREAM, Seen(endpoint_id="other:x/y", outcome="ok"))
    rows = json.loads(run("--model", "openai/gpt-4o-mini", "--json").stdout)
    assert [row["endpoint"] for row in rows] == [E]


@pytest.mark.usefixtures("redis")
def test_a_model_that_does_not_exist():
    assert "No model has the id x/y." in run("--model", "x/y", code=1).stderr


def test_a_broken_endpoint_is_down(redis):
    record(redis, STREAM)
    for _ in range(10):
        Health(redis).outcome(E, "", "err")
    assert json.loads(run("--json").stdout)[0]["status"] == "down"
