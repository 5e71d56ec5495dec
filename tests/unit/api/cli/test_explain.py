"""`pointsman explain` on the shipped catalog, without a fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from api.cli.main import pointsman

LLAMA = "meta-llama/llama-3.3-70b-instruct"


@pytest.fixture
def explained(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("POINTSMAN_REDIS_URL", raising=False)

    def run(body: Any, *options: str, code: int = 0) -> Any:
        file = tmp_path / "request.json"
        file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        arguments = ["explain", str(file), "--offline", *options]
        result = CliRunner().invoke(pointsman, arguments)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in options else result.output

    return run


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": LLAMA, "messages": [{"role": "user", "content": "Hi"}]} | fields


def test_the_same_seed_explains_the_same_plan(explained):
    first, again = (explained(asking(), "--json", "--seed", "7") for _ in range(2))

    assert first == again
    assert first["order"]
    candidates = first["models"][0]["candidates"]
    assert abs(sum(c["share"] for c in candidates if c["share"] is not None) - 1) < 1e-9
    placed = sorted((c["place"], c["endpoint"]) for c in candidates if c["place"])
    assert [endpoint for _, endpoint in placed] == first["order"]


def test_a_filter_names_whom_it_removes(explained):
    told = explained(asking(provider={"ignore": ["deepinfra"]}), "--json")

    removed = {
        c["endpoint"].split(":")[0]: c["removed_by"]
        for c in told["models"][0]["candidates"]
        if c["removed_by"]
    }
    assert removed["deepinfra"] == "Filter by Allowed Providers"
    assert removed["deepinfra/turbo"] == "Filter by Allowed Providers"


def test_people_read_a_table_the_order_and_the_hold(explained):
    told = explained(asking(provider={"sort": "price"}, max_tokens=100), "--seed", "1")

    assert told.startswith(f"{LLAMA}, sorted by price\n")
    assert "Initial Endpoints: " in told
    assert "Order of this draw (--seed 1): " in told
    assert "Held before it is let in: 0.000" in told


def test_a_refusal_is_explained_too(explained):
    told = explained(asking(provider={"max_price": {"prompt": 0}}))

    assert "Filter by Max Price: 0" in told
    assert "Refused (404): No endpoints found that satisfy the max price" in told


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("messages", asking(max_tokens=5)),
        ("responses", {"model": LLAMA, "input": "Hi"}),
        ("completions", {"model": LLAMA, "prompt": "Hi"}),
        ("embeddings", {"model": "openai/text-embedding-3-small", "input": "Hi"}),
    ],
)
def test_every_inbound_api_is_read(explained, api: str, body: dict[str, Any]):
    assert explained(body, "--api", api, "--json")["order"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "JSON"),
        (asking(model="a/b"), "a/b is not a valid model ID"),
        ({"model": LLAMA}, "messages"),
    ],
)
def test_a_bad_request_is_a_sentence(explained, body: Any, words: str):
    assert words in explained(body, code=1)


@pytest.mark.enable_socket
def test_without_redis_it_says_so_and_goes_on(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POINTSMAN_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("POINTSMAN_SANDBOX_URL", "http://127.0.0.1:9")
    file = tmp_path / "request.json"
    file.write_text(json.dumps(asking()))

    result = CliRunner().invoke(pointsman, ["explain", str(file)])

    assert result.exit_code == 0, result.output
    assert "Redis does not answer" in result.stderr
    assert "Order of this draw" in result.stdout
