"""Cohere: what is refused, and what answers, streams and embeddings look like."""

import base64
import struct
from typing import Any

import orjson
import pytest

from workers.simulator.answers import Stamp, answer
from workers.simulator.cohere import CHAT, EMBED, CohereDialect
from workers.simulator.dialect import Ask, Direct, Failure
from workers.simulator.exchange import Simulator
from workers.simulator.faults import KINDS
from workers.simulator.knobs import Knobs
from workers.simulator.script import Ending
from workers.simulator.text import digest
from workers.simulator.wire import Request

DIALECT = CohereDialect()
HELLO = [{"role": "user", "content": "hello"}]
ASKED = [{"role": "user", "content": "the weather?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}
CALL = {
    "role": "assistant",
    "tool_plan": "I will look.",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    ],
}
RESULT = {
    "role": "tool",
    "tool_call_id": "c1",
    "content": [{"type": "document", "document": {"data": {"sky": "blue"}}}],
}
PNG = "data:image/png;base64,iVBORw0KGgo="


def request(body: Any, path: str = CHAT, *, key: str = "Bearer k") -> Request:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {"authorization": key} if key else {}
    return Request(method="POST", target=path, headers=headers, body=data, keep_alive=True)


def read(body: Any, path: str = CHAT) -> Ask | Direct:
    if isinstance(body, dict):
        body = {"model": "command-a-03-2025", **body}
    return DIALECT.read("cohere", path, request(body, path))


def accepted(body: Any, path: str = CHAT) -> Ask:
    ask = read(body, path)
    assert isinstance(ask, Ask), ask
    return ask


def said(ask: Ask) -> Any:
    stamp = Stamp(serial=1, created=1000, body_sha256=digest(ask.said.encode()))
    return answer(ask, Knobs(), stamp)


def plain(body: Any, path: str = CHAT) -> Any:
    ask = accepted({"messages": HELLO, **body} if path == CHAT else body, path)
    return orjson.loads(DIALECT.plain("cohere", ask, said(ask)))


def stream(body: Any) -> list[Any]:
    ask = accepted({"messages": HELLO, "stream": True, **body})
    events = DIALECT.events("cohere", ask, said(ask))
    bodies = [orjson.loads(event.data) for event in events]
    assert [body["type"] for body in bodies] == [event.name for event in events]
    return bodies


def test_plain_answer():
    body = plain({})

    (part,) = body["message"]["content"]
    assert part["type"] == "text"
    assert "hello" in part["text"]
    assert (body["finish_reason"], body["message"]["role"]) == ("COMPLETE", "assistant")
    assert set(body["usage"]) == {"billed_units", "tokens", "cached_tokens"}
    assert body["usage"]["tokens"]["output_tokens"] > 0


def test_stream_says_the_same():
    first, start, *deltas, stop, end = stream({})

    assert (first["type"], start["type"], stop["type"]) == (
        "message-start",
        "content-start",
        "content-end",
    )
    assert start["delta"]["message"]["content"] == {"type": "text", "text": ""}
    text = "".join(delta["delta"]["message"]["content"]["text"] for delta in deltas)
    assert text == plain({})["message"]["content"][0]["text"]
    assert end["delta"] == {"finish_reason": "COMPLETE", "usage": plain({})["usage"]}


def test_tool_calls_come_with_a_plan():
    body = {"messages": ASKED, "tools": [WEATHER]}

    message = plain(body)["message"]
    events = stream(body)

    (call,) = message["tool_calls"]
    assert plain(body)["finish_reason"] == "TOOL_CALL"
    assert orjson.loads(call["function"]["arguments"]) == {"location": "Paris, France"}
    plan = "".join(e["delta"]["message"]["tool_plan"] for e in events if "plan" in e["type"])
    assert plan == message["tool_plan"]
    (start,) = (e for e in events if e["type"] == "tool-call-start")
    assert start["delta"]["message"]["tool_calls"]["id"] == call["id"]
    arguments = "".join(
        e["delta"]["message"]["tool_calls"]["function"]["arguments"]
        for e in events
        if e["type"] == "tool-call-delta"
    )
    assert arguments == call["function"]["arguments"]
    assert [e["type"] for e in events[-2:]] == ["tool-call-end", "message-end"]


@pytest.mark.parametrize(
    ("choice", "count"), [("REQUIRED", 1), ("NONE", 0)], ids=["required", "none"]
)
def test_tool_choice(choice: str, count: int):
    messages = HELLO if choice == "REQUIRED" else ASKED

    ask = accepted({"messages": messages, "tools": [WEATHER], "tool_choice": choice})

    assert len(ask.calls) == count


def test_tool_results_are_heard_and_cited():
    body = {"messages": [*ASKED, CALL, RESULT], "tools": [WEATHER]}

    message = plain(body)["message"]
    events = stream(body)

    assert accepted(body).tool_results == ('{"sky":"blue"}',)
    assert 'The tool returned: {"sky":"blue"}.' in message["content"][0]["text"]
    (citation,) = message["citations"]
    assert citation["sources"][0]["id"] == "c1:0"
    (start,) = (e for e in events if e["type"] == "citation-start")
    assert start["delta"]["message"]["citations"] == citation
    assert any(e["type"] == "citation-end" for e in events)


def test_thoughts_are_content_of_their_own():
    body = {"thinking": {"type": "enabled", "token_budget": 100}}

    content = plain(body)["message"]["content"]
    starts = [e for e in stream(body) if e["type"] == "content-start"]

    assert [part["type"] for part in content] == ["thinking", "text"]
    assert [start["index"] for start in starts] == [0, 1]
    assert accepted({"messages": HELLO, "model": "command-a-reasoning-08-2025"}).reasoning
    off = {"messages": HELLO, "model": "command-a-reasoning-08-2025"}
    assert not accepted({**off, "thinking": {"type": "disabled"}}).reasoning


def test_pictures_are_seen():
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]

    ask = accepted({"messages": [{"role": "user", "content": content}]})

    assert ask.media == ("image/png", "image/url")


@pytest.mark.parametrize(
    ("body", "reason"),
    [({"max_tokens": 3}, "MAX_TOKENS"), ({"stop_sequences": ["Pointsman"]}, "STOP_SEQUENCE")],
)
def test_finish_reasons(body: dict[str, Any], reason: str):
    assert plain(body)["finish_reason"] == reason


@pytest.mark.parametrize("name", ["schema", "json_schema"])
def test_structured_output(name: str):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}

    text = plain({"response_format": {"type": "json_object", name: schema}})["message"]["content"]

    assert orjson.loads(text[0]["text"]) == {"city": "Paris"}


def test_logprobs():
    assert plain({"logprobs": True})["logprobs"][0]["logprobs"]
    deltas = [e for e in stream({"logprobs": True}) if e["type"] == "content-delta"]
    assert all(delta["logprobs"]["token_ids"] for delta in deltas)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param({"messages": []}, 400, "at least one", id="no messages"),
        pytest.param({"messages": "hi"}, 400, "type string", id="a string"),
        pytest.param({"top_p": 0.5}, 422, "top_p", id="another dialect's field"),
        pytest.param({"p": 1}, 400, "between", id="p"),
        pytest.param({"k": 501}, 400, "between", id="k"),
        pytest.param({"temperature": -1}, 400, "between", id="temperature"),
        pytest.param({"frequency_penalty": 1.5}, 400, "between", id="penalty"),
        pytest.param({"max_tokens": True}, 400, "boolean", id="max_tokens"),
        pytest.param({"stop_sequences": ["a"] * 6}, 400, "at most 5", id="stops"),
        pytest.param({"safety_mode": "NONE"}, 400, "safety_mode", id="safety mode"),
        pytest.param({"tool_choice": "REQUIRED"}, 400, "requires tools", id="no tools"),
        pytest.param(
            {"tools": [WEATHER], "tool_choice": "auto"}, 400, "tool_choice", id="choice in OpenAI's"
        ),
        pytest.param({"tools": [{"name": "f"}]}, 400, "tools[0]", id="a bare tool"),
        pytest.param(
            {"tools": [WEATHER], "response_format": {"type": "json_object"}},
            400,
            "not supported",
            id="JSON with tools",
        ),
        pytest.param(
            {"response_format": {"type": "json_schema"}}, 400, "response_format", id="json_schema"
        ),
        pytest.param({"thinking": {"type": "on"}}, 400, "thinking", id="thinking"),
        pytest.param(
            {"thinking": {"type": "enabled", "budget_tokens": 5}}, 422, "thinking", id="b"
        ),
        pytest.param({"messages": [{"role": "model", "content": "x"}]}, 400, "role", id="role"),
        pytest.param({"messages": [{"role": "user", "content": ""}]}, 400, "non-empty", id="blank"),
        pytest.param({"messages": [{"role": "assistant"}]}, 400, "either", id="empty turn"),
        pytest.param(
            {"messages": [{**HELLO[0], "name": "ada"}]}, 422, "name", id="unknown message field"
        ),
        pytest.param({"messages": [*HELLO, RESULT]}, 400, "not found", id="nobody called"),
        pytest.param({"messages": [*HELLO, CALL]}, 400, "missing: c1", id="no result"),
        pytest.param({"messages": [*HELLO, CALL, *HELLO]}, 400, "missing: c1", id="words instead"),
        pytest.param(
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:x"}}],
                    }
                ]
            },
            400,
            "image",
            id="bad image",
        ),
    ],
)
def test_what_is_refused(body: dict[str, Any], status: int, words: str):
    direct = read({"messages": HELLO, **body})

    assert isinstance(direct, Direct)
    error = orjson.loads(direct.body)
    assert (direct.status, set(error)) == (status, {"id", "message"})
    assert words in error["message"]


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}"])
def test_broken_bodies(data: bytes):
    direct = read(data)

    assert isinstance(direct, Direct)
    assert direct.status == 400


@pytest.mark.parametrize("key", ["", "Bearer ", "Basic abc"])
def test_a_key_is_wanted(key: str):
    direct = DIALECT.read("cohere", CHAT, request({"messages": HELLO}, key=key))

    assert isinstance(direct, Direct)
    assert direct.status == 401


# Embeddings


def embed(**body: Any) -> dict[str, Any]:
    return {"input_type": "search_query", "output_dimension": 256, **body}


def test_embeddings_of_every_type():
    types = ["float", "int8", "uint8", "binary", "ubinary", "base64"]

    body = plain(embed(texts=["a", "b"], embedding_types=types), EMBED)

    vectors = body["embeddings"]
    assert list(vectors) == types
    assert [len(vectors[kind][1]) for kind in types[:5]] == [256, 256, 256, 32, 32]
    assert all(-128 <= value <= 127 for value in vectors["int8"][0] + vectors["binary"][0])
    assert all(0 <= value <= 255 for value in vectors["uint8"][0] + vectors["ubinary"][0])
    unpacked = struct.unpack("<256f", base64.b64decode(vectors["base64"][0]))
    assert unpacked == pytest.approx(vectors["float"][0], rel=1e-6)
    assert body["texts"] == ["a", "b"]
    assert body["meta"]["billed_units"] == {"input_tokens": 2}
    assert body["response_type"] == "embeddings_by_type"


def test_embeddings_of_pictures_and_of_mixed_inputs():
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": PNG}}]

    picture = plain(embed(images=[PNG], input_type="image"), EMBED)
    mixed = accepted(embed(inputs=[{"content": parts}]), EMBED)

    assert picture["meta"]["billed_units"]["images"] == 1
    assert (len(mixed.inputs), mixed.media) == (1, ("image/png",))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"texts": ["a"]}, "input_type", id="no input type"),
        pytest.param(embed(), "exactly one", id="no input"),
        pytest.param(embed(texts=["a"], images=[PNG]), "exactly one", id="two inputs"),
        pytest.param(embed(texts=["a"] * 97), "at most 96", id="too many"),
        pytest.param(embed(texts=[""]), "not empty", id="blank"),
        pytest.param(embed(texts=["a"], embedding_types=["int4"]), "int4", id="type"),
        pytest.param(embed(texts=["a"], output_dimension=7), "output_dimension", id="dimension"),
        pytest.param(embed(texts=["a"], encoding_format="float"), "encoding_format", id="field"),
        pytest.param(embed(inputs=[{"content": [{"type": "file"}]}]), "inputs[0]", id="part"),
    ],
)
def test_embeddings_that_are_refused(body: dict[str, Any], words: str):
    direct = read(body, EMBED)

    assert isinstance(direct, Direct)
    assert words in orjson.loads(direct.body)["message"]


# Faults


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_a_body_and_an_event(failure: Failure):
    direct = DIALECT.failure("cohere", failure)
    event = orjson.loads(DIALECT.failure_event("cohere", failure).data)

    error = orjson.loads(direct.body)
    assert str(direct.status) in failure.value
    assert set(error) == {"id", "message"}
    assert event["delta"] == {"finish_reason": "ERROR", "error": error["message"]}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", KINDS)
def test_every_fault_can_be_played(fault: str, *, streamed: bool):
    exchange = played(fault, streamed=streamed)

    assert exchange.call is not None
    assert exchange.script.steps or exchange.script.ending is not Ending.KEEP


def played(fault: str, *, streamed: bool = True) -> Any:
    simulator = Simulator(lambda: 0.0, lambda: 1000, dialects=(DIALECT,))
    body = {"model": "m", "messages": HELLO, "stream": streamed}
    return simulator.receive(request(body, f"/p/cohere/f/{fault}{CHAT}"), "127.0.0.1")


def lines(fault: str) -> bytes:
    data: bytes = b"".join(step.data for step in played(fault).script.steps)
    return data


def test_events_are_named():
    assert b'event: message-start\ndata: {"type":"message-start"' in lines("late_close:1")


@pytest.mark.parametrize("fault", ["no_done", "no_finish"])
def test_a_stream_without_its_end(fault: str):
    assert b"message-end" not in lines(fault)


@pytest.mark.parametrize("fault", ["refusal", "error_mid", "error_200", "content_filter"])
def test_what_ends_in_an_error(fault: str):
    data = lines(fault)

    assert data.count(b"event: message-end") == 1
    assert b'"finish_reason":"ERROR"' in data
