"""The Cohere dialect: chat and embeddings, what is sent and everything that may come back."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.credentials import ApiKey, AwsKeys
from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
)
from routing.usage import Usage
from routing.wire.chat import parse_chat
from routing.wire.embeddings import parse_embeddings
from routing.wire.events import Broken, Delta, End, Finish, Used
from tests.unit.workers.dialects.streams import call_piece, cut, events_of
from workers.dialects import UpstreamRequest
from workers.dialects.cohere import CohereDialect
from workers.dialects.cohere_embeddings import CohereEmbeddings
from workers.simulator.cohere import CohereDialect as Simulated
from workers.simulator.dialect import Ask
from workers.simulator.wire import Request

DIALECT = CohereDialect()
EMBEDDINGS = CohereEmbeddings()
KEY = ApiKey("secret")
NOW_MS = 1_764_806_400_000
USER = {"role": "user", "content": "Hi"}
ALL = frozenset(
    {
        "temperature", "top_p", "top_k", "stop", "tools", "tool_choice", "reasoning", "seed",
        "response_format", "frequency_penalty", "presence_penalty",
    }
)  # fmt: skip
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Looks outside.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
OTHER = {"type": "function", "function": {"name": "now", "strict": True}}
CALL = {
    "id": "weather_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bonn"}'},
}


def place_of(endpoint: Any, **changes: Any) -> Any:
    known = {
        "upstream_id": "command-a-reasoning-08-2025",
        "supported_parameters": ALL,
        "max_completion_tokens": 32_000,
        "context_length": 256_000,
        "provider": {"base_url": "https://api.cohere.test/v2"},
    }
    return endpoint(**(known | changes))


def ask(**fields: Any) -> Any:
    return parse_chat(orjson.dumps({"model": "a/m", "messages": [USER]} | fields))


def sent(place: Any, **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(
        DIALECT.encode(ask(**fields), place, KEY, stream=False).body
    )
    return body


# what is sent


def test_the_request_goes_to_chat_with_its_key(endpoint):
    upstream = DIALECT.encode(ask(), place_of(endpoint), KEY, stream=True)

    assert upstream.url == "https://api.cohere.test/v2/chat"
    assert upstream.headers["authorization"] == "Bearer secret"
    assert orjson.loads(upstream.body) == {
        "model": "command-a-reasoning-08-2025",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }
    with pytest.raises(UpstreamDenied):
        DIALECT.encode(
            ask(),
            place_of(endpoint),
            AwsKeys(access_key_id="a", secret_access_key="b"),  # noqa: S106
            stream=False,
        )


def test_parameters_by_their_names_here_and_within_bounds(endpoint):
    body = sent(
        place_of(endpoint),
        max_tokens=99_999,
        temperature=0.5,
        top_p=1.0,
        top_k=900,
        frequency_penalty=-1.5,
        presence_penalty=1.5,
        seed=-3,
        stop="END",
        user="ada",
        logit_bias={"1": 1},
    )

    assert body == {
        "model": "command-a-reasoning-08-2025",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "max_tokens": 32_000,
        "temperature": 0.5,
        "p": 0.99,
        "k": 500,
        "frequency_penalty": 0.0,
        "presence_penalty": 1.0,
        "seed": 0,
        "stop_sequences": ["END"],
    }


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, None),
        ({"reasoning": {"enabled": False}}, {"type": "disabled"}),
        ({"reasoning": {"effort": "low"}}, {"type": "enabled", "token_budget": 6_400}),
        ({"reasoning": {"max_tokens": 10}}, {"type": "enabled", "token_budget": 10}),
        (
            {"reasoning": {"effort": "high"}, "max_tokens": 1_000},
            {"type": "enabled", "token_budget": 800},
        ),
    ],
)
def test_thinking(endpoint, fields: Any, thinking: Any):
    assert sent(place_of(endpoint), **fields).get("thinking") == thinking


def test_a_conversation(endpoint):
    details = [
        {
            "type": "reasoning.text",
            "text": "Plan.",
            "format": "unknown",
            "index": 0,
            "id": "tool_plan",
        },
        {"type": "reasoning.text", "text": "Hm.", "format": "unknown", "index": 1},
        {"type": "reasoning.text", "text": "No.", "format": "anthropic-claude-v1", "index": 2},
    ]
    image = {
        "type": "image_url",
        "image_url": {"url": "https://example.com/a.png", "detail": "low"},
    }
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "Hi", "name": "ada"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "See:"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_details": details},
        {"role": "tool", "tool_call_id": "weather_1", "content": "Rain."},
    ]

    assert sent(place_of(endpoint), messages=messages)["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "ada: Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "."}]},
        {"role": "user", "content": [{"type": "text", "text": "See:"}, image]},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Hm."}],
            "tool_calls": [CALL],
            "tool_plan": "Plan.",
        },
        {
            "role": "tool",
            "tool_call_id": "weather_1",
            "content": [{"type": "text", "text": "Rain."}],
        },
    ]


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([USER, {"role": "assistant", "content": "The"}], r"messages\[1\]\.role"),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}],
            r"messages\[0\]\.content\[0\]: this provider takes no file",
        ),
        (
            [
                USER,
                {"role": "assistant", "tool_calls": [CALL]},
                {
                    "role": "tool",
                    "tool_call_id": "weather_1",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
                    ],
                },
            ],
            r"messages\[2\]\.content\[0\]: .* with role 'tool'",
        ),
    ],
)
def test_what_has_no_form_here_is_refused(endpoint, messages: Any, match: str):
    with pytest.raises(UpstreamRejected, match=match):
        sent(place_of(endpoint), messages=messages)


@pytest.mark.parametrize(
    ("choice", "names", "expected"),
    [
        (None, ["weather", "now"], None),
        ("auto", ["weather", "now"], None),
        ("none", ["weather", "now"], "NONE"),
        ("required", ["weather", "now"], "REQUIRED"),
        ({"type": "function", "function": {"name": "now"}}, ["now"], "REQUIRED"),
    ],
)
def test_tools(endpoint, choice: Any, names: list[str], expected: str | None):
    body = sent(place_of(endpoint), tools=[TOOL, OTHER], tool_choice=choice)

    functions = [tool["function"] for tool in body["tools"]]
    assert [function["name"] for function in functions] == names
    assert functions[-1]["parameters"] == {"type": "object", "properties": {}}
    assert body.get("tool_choice") == expected
    assert body.get("strict_tools", False) is (names == ["now"])


def test_the_form_of_the_answer(endpoint):
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    place = place_of(endpoint)

    assert sent(place, response_format=form)["response_format"] == {
        "type": "json_object",
        "json_schema": schema,
    }
    assert sent(place, response_format={"type": "json_object"})["response_format"] == {
        "type": "json_object"
    }
    assert "response_format" not in sent(place, response_format={"type": "text"})
    with pytest.raises(UpstreamRejected, match="without tools"):
        sent(place, response_format=form, tools=[TOOL])


# streams


def event(kind: str, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind} | fields)
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def message(**fields: Any) -> dict[str, Any]:
    return {"message": fields}


STREAM = b"".join(
    [
        event("message-start", id="m1", delta=message(role="assistant", content=[])),
        event("tool-plan-delta", delta=message(tool_plan="Plan.")),
        event(
            "content-start", index=0, delta=message(content={"type": "thinking", "thinking": ""})
        ),
        event("content-delta", index=0, delta=message(content={"thinking": "Hm."})),
        event("content-end", index=0),
        event("content-start", index=1, delta=message(content={"type": "text", "text": ""})),
        event("content-delta", index=1, delta=message(content={"text": "Hällo"})),
        event(
            "citation-start",
            index=0,
            delta=message(
                citations={
                    "start": 0,
                    "end": 5,
                    "text": "Hällo",
                    "type": "TEXT_CONTENT",
                    "sources": [
                        {
                            "type": "tool",
                            "id": "t:0",
                            "tool_output": {"url": "https://example.com", "title": "Example"},
                        },
                        {"type": "document", "id": "d:0", "document": {"text": "no address"}},
                    ],
                }
            ),
        ),
        event("citation-end", index=0),
        event("content-end", index=1),
        event(
            "tool-call-start",
            index=0,
            delta=message(
                tool_calls={
                    "id": "a_1",
                    "type": "function",
                    "function": {"name": "a_x2e_b", "arguments": ""},
                }
            ),
        ),
        event(
            "tool-call-delta",
            index=0,
            delta=message(tool_calls={"function": {"arguments": '{"city":'}}),
        ),
        event(
            "tool-call-delta",
            index=0,
            delta=message(tool_calls={"function": {"arguments": '"Bonn"}'}}),
        ),
        event("tool-call-end", index=0),
        event(
            "tool-call-start",
            index=1,
            delta=message(
                tool_calls={"id": "now_1", "type": "function", "function": {"name": "now"}}
            ),
        ),
        event("tool-call-end", index=1),
        event(
            "message-end",
            delta={
                "finish_reason": "TOOL_CALL",
                "usage": {
                    "billed_units": {"input_tokens": 7.0, "output_tokens": 5.0},
                    "tokens": {"input_tokens": 480.0, "output_tokens": 9.0},
                    "cached_tokens": 3.0,
                },
            },
        ),
    ]
)


def thought(index: int, text: str, **fields: Any) -> Delta:
    item = {"type": "reasoning.text", "text": text, "format": "unknown", "index": index} | fields
    return Delta(reasoning=text, extra={"reasoning_details": [item]})


EVENTS = [
    thought(0, "Plan.", id="tool_plan"),
    thought(1, "Hm."),
    Delta(content="Hällo"),
    Delta(
        extra={
            "annotations": [
                {
                    "type": "url_citation",
                    "url_citation": {
                        "url": "https://example.com",
                        "title": "Example",
                        "content": "Hällo",
                        "start_index": 0,
                        "end_index": 5,
                    },
                }
            ]
        }
    ),
    call_piece(0, id="a_1", type="function", function={"name": "a.b", "arguments": ""}),
    call_piece(0, function={"arguments": '{"city":'}),
    call_piece(0, function={"arguments": '"Bonn"}'}),
    call_piece(1, id="now_1", type="function", function={"name": "now", "arguments": ""}),
    call_piece(1, function={"arguments": "{}"}),
    Finish(0, "tool_calls", "TOOL_CALL"),
    Used(Usage(prompt_tokens=7, completion_tokens=5, cached_tokens=3)),
    End(),
]


def test_a_stream():
    assert DIALECT.streams("text/event-stream")
    assert not DIALECT.streams("application/json")
    assert events_of(DIALECT, [STREAM]) == EVENTS
    assert events_of(DIALECT, [b"data: [DONE]\n\n"]) == [End()]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_chopping_gives_the_same_events(places: list[int]):
    assert events_of(DIALECT, cut(STREAM, places)) == EVENTS


def test_an_error_at_the_end_of_a_stream():
    (found,) = events_of(
        DIALECT, [event("message-end", delta={"finish_reason": "ERROR", "error": "Boom"})]
    )

    assert isinstance(found, Broken)
    assert isinstance(found.error, UpstreamDown)
    assert found.error.raw == "Boom"


# plain answers


def test_a_plain_answer():
    answer = DIALECT.answer(
        orjson.dumps(
            {
                "id": "m1",
                "finish_reason": "TOOL_CALL",
                "message": {
                    "role": "assistant",
                    "tool_plan": "Plan.",
                    "content": [
                        {"type": "thinking", "thinking": "Hm."},
                        {"type": "text", "text": "Hi"},
                    ],
                    "tool_calls": [CALL | {"function": {"name": "now"}}],
                },
                "usage": {"tokens": {"input_tokens": 480.0, "output_tokens": 9.0}},
            }
        )
    )

    found = answer.choices[0].message
    assert (answer.upstream_id, answer.usage) == (
        "m1",
        Usage(prompt_tokens=480, completion_tokens=9),
    )
    assert answer.choices[0].finish == Finish(0, "tool_calls", "TOOL_CALL")
    assert (found["content"], found["reasoning"]) == ("Hi", "Plan.Hm.")
    assert found["tool_calls"][0]["function"] == {"name": "now", "arguments": "{}"}
    assert [item.get("id") for item in found["reasoning_details"]] == ["tool_plan", None]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("ERROR_TOXIC", "content_filter"),
        ("WHIM", "stop"),
    ],
)
def test_reasons_to_stop(reason: str, finish: str):
    body = {"message": {"content": []}, "finish_reason": reason}

    assert DIALECT.answer(orjson.dumps(body)).choices[0].finish.reason == finish


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT"])
def test_an_answer_that_was_broken_off_is_a_failure(reason: str):
    body = {"message": {"content": [{"type": "text", "text": "Hal"}]}, "finish_reason": reason}

    with pytest.raises(UpstreamDown, match="Provider returned error"):
        DIALECT.answer(orjson.dumps(body))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message":"No."}', b"<html>"])
def test_an_answer_nobody_can_read(body: bytes):
    with pytest.raises(UpstreamDown):
        DIALECT.answer(body)
    with pytest.raises(UpstreamDown):
        EMBEDDINGS.answer(body)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, UpstreamRejected),
        (401, UpstreamDenied),
        (404, UpstreamDenied),
        (422, UpstreamRejected),
        (429, UpstreamLimited),
        (498, UpstreamDenied),
        (500, UpstreamDown),
        (503, UpstreamDown),
    ],
)
def test_errors(status: int, expected: type):
    for dialect in (DIALECT, EMBEDDINGS):
        found = dialect.error(status, {}, b'{"id":"x","message":"No."}', NOW_MS)

        assert type(found) is expected
        if expected is UpstreamRejected:
            assert found.message == "No."


# embeddings


def embedded(place: Any, **fields: Any) -> dict[str, Any]:
    request = parse_embeddings(orjson.dumps({"model": "a/m"} | fields))
    upstream = EMBEDDINGS.encode(request, place, KEY, stream=False)
    assert upstream.url == "https://api.cohere.test/v2/embed"
    body: dict[str, Any] = orjson.loads(upstream.body)
    return body


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"input": "a"}, {"texts": ["a"]}),
        ({"input": ["a", "b"], "input_type": "query"}, {"texts": ["a", "b"]}),
        ({"input": ["a"], "encoding_format": "base64", "dimensions": 256}, {"texts": ["a"]}),
        (
            {
                "input": [
                    {
                        "content": [
                            {"type": "text", "text": "a"},
                            {
                                "type": "image_url",
                                "image_url": {"url": "https://example.com/a.png"},
                            },
                        ]
                    }
                ]
            },
            {
                "inputs": [
                    {
                        "content": [
                            {"type": "text", "text": "a"},
                            {
                                "type": "image_url",
                                "image_url": {"url": "https://example.com/a.png"},
                            },
                        ]
                    }
                ]
            },
        ),
    ],
)
def test_inputs(endpoint, fields: Any, expected: Any):
    body = embedded(place_of(endpoint), **fields)

    assert {name: body[name] for name in expected} == expected
    assert body["input_type"] == ("search_query" if "input_type" in fields else "search_document")
    assert body["embedding_types"] == [fields.get("encoding_format", "float")]
    assert body.get("output_dimension") == fields.get("dimensions")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"input": [1, 2, 3]}, "numbers of tokens"),
        ({"input": [[1], [2]]}, "numbers of tokens"),
        ({"input": ["a"] * 97}, "96"),
        ({"input": "a", "input_type": "whim"}, "input_type"),
    ],
)
def test_inputs_without_a_form_are_refused(endpoint, fields: Any, match: str):
    with pytest.raises(UpstreamRejected, match=match):
        embedded(place_of(endpoint), **fields)


@pytest.mark.parametrize(
    ("embeddings", "meta", "vectors", "usage"),
    [
        (
            {"float": [[0.5, 1]]},
            {"billed_units": {"input_tokens": 3.0}},
            ([0.5, 1],),
            Usage(prompt_tokens=3),
        ),
        (
            {"base64": ["AAAAPwAAgD8="]},
            {"billed_units": {"image_tokens": 9, "images": 1}},
            ("AAAAPwAAgD8=",),
            Usage(prompt_tokens=9, images=1),
        ),
        ({"float": []}, {}, (), None),
    ],
)
def test_vectors(embeddings: Any, meta: Any, vectors: Any, usage: Usage | None):
    answer = EMBEDDINGS.answer(orjson.dumps({"id": "e", "embeddings": embeddings, "meta": meta}))

    assert (answer.vectors, answer.usage, answer.choices) == (vectors, usage, ())


@pytest.mark.parametrize(
    "embeddings",
    [
        {"float": [["x"]]},
        {"float": [[True]]},
        {"base64": [1]},
        {"base64": ["AAAAPwA"]},
        {"base64": ["AAAA"]},
        {"base64": [""]},
        [],
        {"float": {}},
    ],
)
def test_vectors_nobody_can_read(embeddings: Any):
    with pytest.raises(UpstreamDown):
        EMBEDDINGS.answer(orjson.dumps({"embeddings": embeddings}))


def test_embeddings_do_not_stream():
    assert not EMBEDDINGS.streams("text/event-stream")
    for make in (EMBEDDINGS.reader, EMBEDDINGS.decoder):
        with pytest.raises(UpstreamDown):
            make()


# whatever comes


_WORDS = st.sampled_from(
    ["type", "delta", "message", "content", "text", "thinking", "tool_calls", "function", "id",
     "arguments", "citations", "sources", "tool_output", "url", "usage", "billed_units", "tokens",
     "input_tokens", "finish_reason", "content-delta", "tool-call-start", "tool-call-delta",
     "tool-call-end", "citation-start", "message-end", "error", "embeddings", "float", "meta"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**60) | _WORDS | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(_JSON, max_size=4), st.binary(max_size=60))
def test_no_answer_of_a_provider_is_a_defect_of_ours(values: list[Any], noise: bytes):
    decoder = DIALECT.decoder()
    for data in [*map(orjson.dumps, values), noise]:
        for read in (decoder.decode, DIALECT.answer, EMBEDDINGS.answer):
            with suppress(UpstreamError):
                read(data)
        assert isinstance(DIALECT.error(400, {}, data, NOW_MS), UpstreamError)


# the simulator, which was written from the provider's documentation alone


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.5, "top_p": 1.0, "top_k": 3, "stop": "x", "max_tokens": 50, "seed": 1},
        {"reasoning": {"effort": "high"}, "tools": [TOOL], "tool_choice": "required"},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "x",
                    "schema": {
                        "type": "object",
                        "properties": {"a": {"type": "string"}},
                        "required": ["a"],
                    },
                },
            }
        },
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "weather_1", "content": ""},
            ],
            "tools": [TOOL],
        },
    ],
)
def test_the_simulated_provider_takes_it(endpoint, fields: dict[str, Any]):
    upstream = DIALECT.encode(ask(**fields), place_of(endpoint), KEY, stream=False)

    found = simulated("/v2/chat", upstream)

    assert isinstance(found, Ask), found.body


@pytest.mark.parametrize("fields", [{"input": ["a", "b"]}, {"input": "a", "dimensions": 256}])
def test_the_simulated_provider_takes_inputs(endpoint, fields: dict[str, Any]):
    request = parse_embeddings(orjson.dumps({"model": "a/m"} | fields))
    place = place_of(endpoint, upstream_id="embed-v4.0")

    found = simulated("/v2/embed", EMBEDDINGS.encode(request, place, KEY, stream=False))

    assert isinstance(found, Ask), found.body


def simulated(path: str, upstream: UpstreamRequest) -> Any:
    request = Request(
        method="POST", target=path, headers=upstream.headers, body=upstream.body, keep_alive=True
    )
    return Simulated().read("cohere", path, request)
