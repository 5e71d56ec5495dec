"""Azure OpenAI: deployments, versions, keys, and what its filters say."""

from typing import Any

import orjson
import pytest

from workers.simulator.answers import Stamp, answer
from workers.simulator.azure import AzureDialect
from workers.simulator.dialect import Ask, Direct, Failure
from workers.simulator.exchange import Simulator
from workers.simulator.faults import KINDS
from workers.simulator.knobs import Knobs
from workers.simulator.script import Ending
from workers.simulator.wire import Request

DIALECT = AzureDialect()
CHAT = "/openai/deployments/gpt-4o-eu/chat/completions"
EMBEDDINGS = "/openai/deployments/ada/embeddings"
VERSION = "?api-version=2024-10-21"
HELLO = [{"role": "user", "content": "hello"}]
CATEGORIES = {"hate", "self_harm", "sexual", "violence"}


def request(
    body: Any, path: str = CHAT, *, query: str = VERSION, headers: dict[str, str] | None = None
) -> Request:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Request(
        method="POST",
        target=f"{path}{query}",
        headers={"api-key": "k"} if headers is None else headers,
        body=data,
        keep_alive=True,
    )


def read(body: Any, path: str = CHAT) -> Ask:
    ask = DIALECT.read("azure", path, request(body, path))
    assert isinstance(ask, Ask), ask
    return ask


def said(ask: Ask) -> Any:
    return answer(ask, Knobs(), Stamp(serial=1, created=1000, body_sha256="ab" * 32))


def plain(body: Any, path: str = CHAT) -> Any:
    ask = read(body, path)
    return orjson.loads(DIALECT.plain("azure", ask, said(ask)))


def stream(body: Any) -> list[Any]:
    ask = read({"stream": True, **body})
    *events, done = DIALECT.events("azure", ask, said(ask))
    assert done.data == b"[DONE]"
    return [orjson.loads(event.data) for event in events]


def test_the_deployment_is_the_model():
    assert read({"messages": HELLO}).model == "gpt-4o-eu"
    assert read({"messages": HELLO, "model": "other"}).model == "gpt-4o-eu"


def test_plain_answer_says_what_the_filters_saw():
    body = plain({"messages": HELLO})

    (choice,) = body["choices"]
    (prompt,) = body["prompt_filter_results"]
    assert set(choice["content_filter_results"]) == CATEGORIES
    assert prompt["prompt_index"] == 0
    assert set(prompt["content_filter_results"]) == CATEGORIES | {"jailbreak"}


def test_stream_begins_with_a_chunk_without_choices():
    first, second, third, *_, last = stream(
        {"messages": HELLO, "stream_options": {"include_usage": True}}
    )

    assert (first["choices"], first["id"], first["object"]) == ([], "", "")
    assert first["prompt_filter_results"]
    assert second["choices"][0]["delta"]["role"] == "assistant"
    assert second["choices"][0]["content_filter_results"] == {}
    assert set(third["choices"][0]["content_filter_results"]) == CATEGORIES
    assert last["usage"]["total_tokens"] > 0


def test_embeddings():
    body = plain({"input": ["a", "b"], "dimensions": 4}, EMBEDDINGS)

    assert [len(item["embedding"]) for item in body["data"]] == [4, 4]


@pytest.mark.parametrize(
    "headers", [{"api-key": "k"}, {"authorization": "Bearer token"}], ids=["key", "entra"]
)
def test_who_is_let_in(headers: dict[str, str]):
    asked = request({"messages": HELLO}, headers=headers)

    assert isinstance(DIALECT.read("azure", CHAT, asked), Ask)


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        pytest.param({"headers": {}}, 401, "401", id="no key"),
        pytest.param({"query": ""}, 404, "404", id="no version"),
        pytest.param({"query": "?api-version=2024"}, 404, "404", id="a strange version"),
    ],
)
def test_who_is_not(changed: dict[str, Any], status: int, code: str):
    direct = DIALECT.read("azure", CHAT, request({"messages": HELLO}, **changed))

    assert isinstance(direct, Direct)
    assert (direct.status, orjson.loads(direct.body)["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", {"messages": []}, {"messages": HELLO, "top_k": 5}],
    ids=["no JSON", "no object", "no messages", "unknown field"],
)
def test_what_is_refused(body: Any):
    direct = DIALECT.read("azure", CHAT, request(body))

    assert isinstance(direct, Direct)
    assert direct.status == 400
    assert {"message", "code"} <= set(orjson.loads(direct.body)["error"])


def test_a_filtered_prompt():
    direct = DIALECT.failure("azure", Failure.FILTERED)

    error = orjson.loads(direct.body)["error"]
    assert (direct.status, error["code"]) == (400, "content_filter")
    assert error["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert error["innererror"]["content_filter_result"]["violence"]["filtered"] is True


def test_a_limit_says_when_to_come_back():
    assert DIALECT.failure("azure", Failure.RATE_LIMITED).headers["retry-after"] == "1"


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_a_body_and_an_event(failure: Failure):
    direct = DIALECT.failure("azure", failure)

    assert str(direct.status) in failure.value
    assert orjson.loads(direct.body)["error"]["message"]
    assert DIALECT.failure_event("azure", failure).data == direct.body


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", KINDS)
def test_every_fault_can_be_played(fault: str, *, streamed: bool):
    simulator = Simulator(lambda: 0.0, lambda: 1000, dialects=(DIALECT,))
    asked = request({"messages": HELLO, "stream": streamed}, f"/p/azure/f/{fault}{CHAT}")

    exchange = simulator.receive(asked, "127.0.0.1")

    assert exchange.call is not None
    assert exchange.script.steps or exchange.script.ending is not Ending.KEEP


def test_a_filtered_answer():
    simulator = Simulator(lambda: 0.0, lambda: 1000, dialects=(DIALECT,))
    asked = request({"messages": HELLO}, f"/p/azure/f/content_filter{CHAT}")

    (step,) = simulator.receive(asked, "127.0.0.1").script.steps

    (choice,) = orjson.loads(step.data.partition(b"\r\n\r\n")[2])["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["content_filter_results"]["violence"]["filtered"] is True
