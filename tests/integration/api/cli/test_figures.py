"""`pointsman figures` on a real Redis."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from api.cli.ledger import opened, settings_of_shell
from api.cli.main import pointsman
from billing.figures import store_hour
from routing.clock import SystemClock
from routing.figures import Counts, Seen, ToolTally
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


@pytest.mark.usefixtures("redis")
def test_days_are_read_from_the_ledger():
    assert CliRunner().invoke(pointsman, ["migrate"]).exit_code == 0
    assert run("--days", "7").stdout == "No hour of these days is kept yet.\n"
    hour = SystemClock().now_ms() // 3_600_000
    many, few = Counts(), Counts()
    for _ in range(20):
        for counts in (many, few):
            counts.count("ok", 1)
            counts.count("T40", 1)
    many.count("fault", 5)
    with opened(settings_of_shell()) as ledger:
        store_hour(ledger, hour - 1, {E: many})
        store_hour(ledger, hour - 30, {E: few})

    (day,) = json.loads(run("--days", "1", "--json").stdout)
    (week,) = json.loads(run("--days", "7", "--json").stdout)

    assert (day["endpoint"], day["attempts"], day["uptime"]) == (E, 25, 80.0)
    assert (week["attempts"], week["uptime"]) == (45, round(100 * 40 / 45, 2))
    assert week["throughput_p50"] == pytest.approx(2 ** (40 / 8), rel=0.1)
    assert run("--days", "401", code=2).stderr
