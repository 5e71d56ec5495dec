"""The OpenAI dialect: what is refused, and what answers and streams look like."""

from typing import Any

import orjson
import pytest

from workers.simulator.answers import Stamp, answer
from workers.simulator.dialect import Ask, Direct, Failure
from workers.simulator.knobs import Knobs
from workers.simulator.openai import CHAT, MODELS, TEXT, OpenAIDialect
from workers.simulator.text import digest
from workers.simulator.wire import Request

DIALECT = OpenAIDialect()
HELLO = [{"role": "user", "content": "hello"}]
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
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}


def request(body: Any, *, method: str = "POST", key: str | None = "Bearer k") -> Request:
    headers = {"authorization": key} if key else {}
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Request(method=method, target="/", headers=headers, body=data, keep_alive=True)


def read(body: dict[str, Any], provider: str = "openai", path: str = CHAT) -> Ask:
    ask = DIALECT.read(provider, path, request({"model": "gpt-4o", **body}))
    assert isinstance(ask, Ask), ask
    return ask


def refused(body: Any, provider: str = "openai") -> tuple[int, dict[str, Any]]:
    direct = DIALECT.read(provider, CHAT, request(body))
    assert isinstance(direct, Direct)
    return direct.status, orjson.loads(direct.body)


def stamp(ask: Ask) -> Stamp:
    return Stamp(serial=1, created=1000, body_sha256=digest(ask.said.encode()))


def plain(body: dict[str, Any], provider: str = "openai", path: str = CHAT) -> dict[str, Any]:
    ask = read(body, provider, path)
    return orjson.loads(DIALECT.plain(provider, ask, answer(ask, Knobs(), stamp(ask))))


def stream(
    body: dict[str, Any], provider: str = "openai", *, path: str = CHAT, knobs: Knobs | None = None
) -> list[dict[str, Any]]:
    ask = read({"stream": True, **body}, provider, path)
    said = answer(ask, knobs or Knobs(), stamp(ask))
    *events, done = DIALECT.events(provider, ask, said)
    assert done.data == b"[DONE]"
    return [orjson.loads(event.data) for event in events]


def test_plain_answer_has_the_whole_shape():
    body = plain({"messages": HELLO})

    assert body["id"].startswith("chatcmpl-")
    assert (body["object"], body["created"], body["model"]) == ("chat.completion", 1000, "gpt-4o")
    choice = body["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert "hello" in choice["message"]["content"]
    assert choice["message"]["refusal"] is None
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_stream_begins_with_the_role_and_ends_with_an_empty_delta():
    chunks = stream({"messages": HELLO})

    first, *middle, last = (chunk["choices"][0] for chunk in chunks)
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert 12 <= len(middle) <= 20
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")
    assert all("usage" not in chunk for chunk in chunks)
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    text = "".join(choice["delta"]["content"] for choice in middle)
    assert text == plain({"messages": HELLO})["choices"][0]["message"]["content"]


def test_usage_chunk_only_when_asked():
    *chunks, last = stream({"messages": HELLO, "stream_options": {"include_usage": True}})

    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in chunks)


@pytest.mark.parametrize(
    ("model", "pieces"),
    [pytest.param("x/sim-burst-20", 20), pytest.param("sim-paced-7x50", 7)],
    ids=["burst", "paced"],
)
def test_model_id_sets_the_number_of_pieces(model: str, pieces: int):
    chunks = stream({"messages": HELLO}, knobs=Knobs().for_model(model))

    assert len(chunks) == pieces + 2


@pytest.mark.parametrize(
    ("model", "gap_ms"),
    [("gpt-4o", 10), ("sim-plain", 0), ("sim-burst-20", 0), ("sim-paced-20x50", 50)],
)
def test_model_id_sets_the_gap(model: str, gap_ms: int):
    assert Knobs().for_model(model).gap_ms == gap_ms


def test_mistral_puts_usage_on_the_finish_chunk_and_whole_tool_calls():
    chunks = stream(
        {"messages": HELLO, "tools": [WEATHER], "tool_choice": "any"}, provider="mistral"
    )

    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    (call,) = chunks[1]["choices"][0]["delta"]["tool_calls"]
    assert len(call["id"]) == 9
    assert orjson.loads(call["function"]["arguments"]) == {"location": "Paris, France"}


def test_groq_reports_in_x_groq():
    chunks = stream({"messages": HELLO}, provider="groq")

    assert chunks[0]["x_groq"]["id"].startswith("req_")
    assert chunks[-1]["x_groq"]["usage"]["completion_tokens"] > 0
    assert "usage" not in chunks[-1]


def test_together_has_text_beside_delta():
    chunks = stream({"messages": HELLO}, provider="together")

    assert all(chunk["choices"][0]["text"] is not None for chunk in chunks)
    assert chunks[-1]["usage"]["completion_tokens"] > 0


def test_deepseek_counts_cache_hits_and_misses():
    long = [{"role": "user", "content": "x" * 8192}]

    usage = stream({"messages": long}, provider="deepseek")[-1]["usage"]

    assert usage["prompt_cache_hit_tokens"] % 128 == 0
    assert usage["prompt_cache_hit_tokens"] > 0
    assert (
        usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"]
        == usage["prompt_tokens"]
    )


def test_tool_call_is_streamed_name_first():
    chunks = stream({"messages": HELLO, "tools": [WEATHER], "tool_choice": "required"})

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": None}
    first = deltas[1]["tool_calls"][0]
    assert (first["function"], first["type"]) == (
        {"name": "get_weather", "arguments": ""},
        "function",
    )
    assert first["id"].startswith("call_")
    arguments = "".join(d["tool_calls"][0]["function"]["arguments"] for d in deltas[2:-1])
    assert orjson.loads(arguments) == {"location": "Paris, France"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("said", "extra", "names"),
    [
        pytest.param("hello", {}, [], id="nobody asked"),
        pytest.param("the weather?", {}, ["get_weather"], id="the word weather"),
        pytest.param("the weather?", {"tool_choice": "none"}, [], id="forbidden"),
        pytest.param(
            "hello",
            {"tool_choice": {"type": "function", "function": {"name": "get_time"}}},
            ["get_time"],
            id="named",
        ),
        pytest.param("use tools in parallel", {}, ["get_weather", "get_time"], id="parallel"),
        pytest.param(
            "use tools in parallel",
            {"parallel_tool_calls": False},
            ["get_weather"],
            id="parallel forbidden",
        ),
    ],
)
def test_which_tools_are_called(said: str, extra: dict[str, Any], names: list[str]):
    messages = [{"role": "user", "content": said}]
    body = plain({"messages": messages, "tools": [WEATHER, TIME], **extra})

    calls = body["choices"][0]["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == names


def test_after_the_result_of_a_tool_the_model_speaks():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "the weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]

    body = plain({"messages": messages, "tools": [WEATHER]})

    assert body["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        pytest.param("deepseek", "reasoning_content"),
        pytest.param("xai", "reasoning_content"),
        pytest.param("groq", "reasoning"),
    ],
)
def test_reasoning_comes_first_and_is_counted(provider: str, field: str):
    body = {"model": "deepseek-r1", "messages": HELLO}

    message = plain(body, provider)["choices"][0]["message"]
    fields = [list(c["choices"][0]["delta"]) for c in stream(body, provider)[1:-1]]

    assert message[field]
    assert fields[0] == [field]
    assert fields[-1] == ["content"]
    assert plain(body, provider)["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


def test_openai_counts_reasoning_and_hides_it():
    body = plain({"messages": HELLO, "reasoning_effort": "high"})

    assert set(body["choices"][0]["message"]) == {"role", "content", "refusal"}
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


def test_mistral_thinks_in_parts():
    content = plain({"messages": HELLO, "reasoning_effort": "high"}, "mistral")["choices"][0][
        "message"
    ]["content"]

    assert [part["type"] for part in content] == ["thinking", "text"]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_cuts(field: str):
    body = plain({"messages": HELLO, field: 5})

    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 5


def test_stop_n_and_response_format():
    stopped = plain({"messages": HELLO, "stop": ["Pointsman"]})
    several = plain({"messages": HELLO, "n": 3})
    described = {"name": "s", "schema": {"properties": {"city": {"type": "string"}}}}
    form = {"type": "json_schema", "json_schema": described}
    structured = plain({"messages": HELLO, "response_format": form})

    assert stopped["choices"][0]["message"]["content"] == "Hello from the "
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]
    assert orjson.loads(structured["choices"][0]["message"]["content"]) == {"city": "Paris"}


def test_text_completions():
    body = plain({"prompt": "Once"}, path=TEXT)
    chunks = stream({"prompt": "Once"}, path=TEXT)

    assert body["object"] == "text_completion"
    assert "Once" in body["choices"][0]["text"]
    assert "".join(c["choices"][0]["text"] for c in chunks) == body["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param(b"{", "body", id="no JSON"),
        pytest.param([], "body", id="no object"),
        pytest.param({"messages": HELLO}, "model", id="no model"),
        pytest.param({"model": 4, "messages": HELLO}, "model", id="model is a number"),
        pytest.param({"model": "m"}, "messages", id="no messages"),
        pytest.param({"model": "m", "messages": []}, "messages", id="empty messages"),
        pytest.param({"model": "m", "messages": ["hi"]}, "messages", id="messages of strings"),
        pytest.param(
            {"model": "m", "messages": [{"role": "model", "content": "x"}]},
            "messages.0.role",
            id="unknown role",
        ),
        pytest.param(
            {"model": "m", "messages": [{"role": "user", "content": None}]},
            "messages.0.content",
            id="user without content",
        ),
        pytest.param(
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages.0.content.0.type",
            id="unknown part",
        ),
        pytest.param(
            {"model": "m", "messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]},
            "messages.0.role",
            id="a tool's result nobody called for",
        ),
        pytest.param({"model": "m", "messages": HELLO, "stream": "yes"}, "stream", id="stream"),
        pytest.param(
            {"model": "m", "messages": HELLO, "stream_options": {}},
            "stream_options",
            id="stream options without stream",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "temperature": 3}, "temperature", id="temperature"
        ),
        pytest.param({"model": "m", "messages": HELLO, "n": 0}, "n", id="no choices"),
        pytest.param(
            {"model": "m", "messages": HELLO, "max_tokens": 1.5}, "max_tokens", id="max_tokens"
        ),
        pytest.param({"model": "m", "messages": HELLO, "stop": 1}, "stop", id="stop"),
        pytest.param(
            {"model": "m", "messages": HELLO, "tools": [{"name": "f"}]},
            "tools.0.function",
            id="a tool in another provider's form",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "tools": [TIME], "tool_choice": "sometimes"},
            "tool_choice",
            id="unknown tool choice",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "response_format": {"type": "xml"}},
            "response_format",
            id="unknown format",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "transforms": []}, "transforms", id="unknown field"
        ),
        pytest.param(
            {"model": "o3", "messages": HELLO, "max_tokens": 9}, "max_tokens", id="o3 max_tokens"
        ),
    ],
)
def test_openai_refuses(body: Any, param: str):
    status, error = refused(body)

    assert status == 400
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert (error["error"]["type"], error["error"]["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    ("extra", "location"),
    [
        pytest.param({"max_completion_tokens": 5}, ["max_completion_tokens"], id="newer limit"),
        pytest.param({"seed": 5}, ["seed"], id="seed is called random_seed"),
        pytest.param(
            {"stream": True, "stream_options": {"include_usage": True}},
            ["stream_options", "include_usage"],
            id="usage is always there",
        ),
    ],
)
def test_mistral_refuses_extra_fields(extra: dict[str, Any], location: list[str]):
    status, error = refused({"model": "m", "messages": HELLO, **extra}, "mistral")

    assert (status, error["object"], error["type"]) == (422, "error", "invalid_request_error")
    (detail,) = error["message"]["detail"]
    assert (detail["type"], detail["loc"]) == ("extra_forbidden", ["body", *location])


def test_mistral_refuses_long_tool_call_ids():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}]

    status, error = refused({"model": "m", "messages": messages}, "mistral")

    assert (status, error["code"]) == (400, "3280")


def test_xai_errors_are_flat():
    status, error = refused({"model": "m", "messages": []}, "xai")

    assert status == 400
    assert isinstance(error["error"], str)


def test_other_providers_ignore_unknown_fields():
    assert read({"messages": HELLO, "top_k": 5, "transforms": []}, "fireworks").model == "gpt-4o"


@pytest.mark.parametrize("key", [None, "Basic abc"])
def test_a_key_is_wanted(key: str | None):
    direct = DIALECT.read("openai", CHAT, request({"model": "m", "messages": HELLO}, key=key))

    assert isinstance(direct, Direct)
    assert direct.status == 401


def test_models():
    direct = DIALECT.read("groq", MODELS, request(b"", method="GET"))

    assert isinstance(direct, Direct)
    body = orjson.loads(direct.body)
    assert body["object"] == "list"
    assert {"id", "object", "created", "owned_by"} == set(body["data"][0])


@pytest.mark.parametrize("failure", Failure)
@pytest.mark.parametrize("provider", ["openai", "mistral", "xai"])
def test_every_failure_has_a_body(provider: str, failure: Failure):
    direct = DIALECT.failure(provider, failure)

    assert str(direct.status) in failure.value
    assert orjson.loads(direct.body)
