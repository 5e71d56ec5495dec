"""A client that leaves a stream, at every provider and through every inbound API.

Where closing the call stops a provider's bill it is closed at once and what came is paid; elsewhere
it runs to its end and is paid in full, as the provider bills it.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from routing.catalog.load import load
from tests.fixtures.cluster import eventually, new_marker
from tests.matrix.rows import ROWS

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

#: Of the answer, and the time between two: some 1.5 s, if nobody closes the call.
PIECES, GAP_MS = 30, 50
OTHER_APIS = ("/responses", "/messages", "/completions")
OTHER_PROVIDERS = ("anthropic", "google-ai-studio", "amazon-bedrock")
CLOSES = {
    "openai", "azure", "anthropic", "cohere", "xai", "together", "fireworks", "deepinfra",
    "deepseek", "novita", "friendli", "chutes", "openrouter",
}  # fmt: skip


def bodies(marker):
    said = f"Say something long. {marker}"
    chat = {"messages": [{"role": "user", "content": said}]}
    return {
        "/chat/completions": chat,
        "/responses": {"input": said},
        "/messages": {**chat, "max_tokens": 1_000},
        "/completions": {"prompt": said},
    }


def leave(sandbox, path, row, marker):
    """Ask for a stream, read the first event that is no comment, and go."""
    body = bodies(marker)[path] | {
        "model": row.models["chat"],
        "stream": True,
        "provider": {"only": [row.slug], "allow_fallbacks": False},
    }
    with sandbox.system.client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        next(line for line in response.iter_lines() if line.startswith("data: "))
    return response.headers["X-Generation-Id"]


@pytest.fixture(scope="module")
def left(sandbox):
    """All of them at once: by path and provider, the marker and the generation that was left."""
    asked = [("/chat/completions", row) for row in ROWS]
    asked += [(path, row) for path in OTHER_APIS for row in ROWS if row.slug in OTHER_PROVIDERS]
    sandbox.cluster.knobs(chunks=PIECES, gap_ms=GAP_MS)
    try:
        with ThreadPoolExecutor(len(asked)) as pool:
            markers = [new_marker() for _ in asked]
            calls = [
                pool.submit(leave, sandbox, path, row, marker)
                for (path, row), marker in zip(asked, markers, strict=True)
            ]
            return {
                (path, row.name): (marker, call.result())
                for (path, row), marker, call in zip(asked, markers, calls, strict=True)
            }
    finally:
        sandbox.cluster.knobs()


def check(sandbox, row, marker, generation_id):
    def ended():
        (call,) = sandbox.upstream(marker)
        return call if call["outcome"] != "open" else None

    call = eventually(ended, 10, "the end of the upstream call")
    found = sandbox.system.settled(generation_id)

    closes = row.slug in CLOSES
    assert call["outcome"] == ("closed_by_client" if closes else "finished")
    assert found.outcome == "cancelled"
    assert not found.insured
    assert 0 < found.cost_nano <= found.hold_nano
    # A provider reports at the end; what was cut off is counted by us.
    assert found.usage.estimated is closes


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_stream_of_every_provider(sandbox, left, row):
    check(sandbox, row, *left["/chat/completions", row.name])


@pytest.mark.parametrize("path", OTHER_APIS)
@pytest.mark.parametrize("slug", OTHER_PROVIDERS)
def test_a_stream_of_every_inbound_api(sandbox, left, path, slug):
    row = next(row for row in ROWS if row.slug == slug)
    check(sandbox, row, *left[path, row.name])


def test_the_catalog_says_the_same_as_the_public_list():
    providers = load((), environ={}, sandbox_url="").providers.values()

    assert {provider.slug for provider in providers if provider.cancellation} == CLOSES
