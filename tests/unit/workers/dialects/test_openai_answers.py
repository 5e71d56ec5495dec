"""The rarer things in answers of the OpenAI format, and streams chopped anyhow."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import UpstreamDown, UpstreamError, UpstreamRejected
from routing.wire.events import Broken, Delta, End, Event, Finish
from tests.unit.workers.dialects.streams import cut, events_of
from workers.dialects.openai import OpenAIDialect

DIALECT = OpenAIDialect()
PNG = "data:image/png;base64,iVBORw0="
IMAGE = {"type": "image_url", "image_url": {"url": PNG}}


def choice(index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index} | fields]}


def streamed(*chunks: Any) -> list[Event]:
    decoder = DIALECT.decoder()
    return [event for chunk in chunks for event in decoder.decode(orjson.dumps(chunk))]


def message(answer: Any) -> dict[str, Any]:
    return dict(DIALECT.answer(orjson.dumps(answer)).choices[0].message)


def extras(events: list[Event], name: str) -> list[Any]:
    found = [event.extra[name] for event in events if isinstance(event, Delta) and event.extra]
    return [item for items in found for item in items]


@pytest.mark.parametrize(
    ("delta", "extra"),
    [
        pytest.param(
            {"images": [IMAGE | {"index": 0}]}, {"images": [IMAGE | {"index": 0}]}, id="image"
        ),
        pytest.param({"images": [{"image_url": PNG}]}, {"images": [IMAGE]}, id="bare image"),
        pytest.param({"images": [{"b64": "x"}, 7]}, None, id="no image"),
        pytest.param({"content": [IMAGE]}, {"images": [IMAGE]}, id="image part"),
        pytest.param(
            {"audio": {"id": "a", "data": "AA"}}, {"audio": {"id": "a", "data": "AA"}}, id="sound"
        ),
        pytest.param({"audio": "odd"}, None, id="odd sound"),
        pytest.param({"refusal": "No"}, {"refusal": "No"}, id="refusal"),
        pytest.param({"refusal": None, "tool_calls": None, "audio": None}, None, id="nulls"),
        pytest.param(
            {"annotations": [{"type": "url_citation"}]},
            {"annotations": [{"type": "url_citation"}]},
            id="annotation",
        ),
    ],
)
def test_rare_fields_of_a_delta(delta, extra):
    events = streamed(choice(delta=delta))

    assert events == ([Delta(0, "", None, extra)] if extra else [])


def test_details_a_provider_gives_are_kept_and_read():
    details = [{"type": "reasoning.summary", "summary": "hm", "format": "x", "index": 0}]

    events = streamed(choice(delta={"reasoning_details": details}))

    assert events == [Delta(0, "", "hm", {"reasoning_details": details})]
    assert message(choice(message={"reasoning_details": details}))["reasoning"] == "hm"


def test_a_call_in_fragments_keeps_its_index():
    events = streamed(
        choice(delta={"tool_calls": [
            {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
        ]}),
        choice(delta={"tool_calls": [{"index": 1, "id": None, "function": {"arguments": "{}"}}]}),
    )  # fmt: skip

    assert extras(events, "tool_calls") == [
        {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]


def test_calls_without_an_index_get_one_each():
    def call(name: str, call_id: str) -> dict[str, Any]:
        return {"id": call_id, "function": {"name": name, "arguments": {"a": 1}}}

    events = streamed(
        choice(delta={"tool_calls": [call("f", "c1"), call("g", "c2")]}),
        choice(delta={"tool_calls": [call("h", "c3")]}),
        choice(delta={"tool_calls": [{"function": {"arguments": " "}}]}),
    )

    found = extras(events, "tool_calls")
    assert [item["index"] for item in found] == [0, 1, 2, 2]
    assert found[0]["function"] == {"name": "f", "arguments": '{"a":1}'}


def test_the_older_function_call_is_a_tool_call():
    events = streamed(
        choice(delta={"function_call": {"name": "f", "arguments": ""}}),
        choice(delta={"function_call": {"arguments": "{}"}}),
        choice(delta={}, finish_reason="function_call"),
    )

    head, tail = extras(events[:2], "tool_calls")
    assert head["id"].startswith("call_")
    assert head | {"id": "x"} == {
        "index": 0,
        "id": "x",
        "type": "function",
        "function": {"name": "f", "arguments": ""},
    }
    assert tail == {"index": 0, "function": {"arguments": "{}"}}
    assert events[2] == Finish(0, "tool_calls", "function_call")


def test_calls_of_a_whole_answer():
    calls = [
        {"id": "c1", "index": 0, "function": {"name": "f", "arguments": {"a": 1}}},
        {"function": {"name": "g"}},
        {"id": "c3", "function": {}},
        "odd",
    ]

    first, second = message(choice(message={"content": None, "tool_calls": calls}))["tool_calls"]
    (older,) = message(choice(message={"function_call": {"name": "f"}}))["tool_calls"]

    assert first == {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a":1}'},
    }
    assert second["function"] == {"name": "g", "arguments": ""}
    assert second["id"].startswith("call_")
    assert older["function"]["name"] == "f"


def test_a_refusal_ends_as_filtered_content():
    events = streamed(choice(delta={"refusal": "No"}), choice(delta={}, finish_reason="stop"))
    answer = DIALECT.answer(
        orjson.dumps(choice(message={"content": None, "refusal": "No"}, finish_reason="stop"))
    )

    assert events[-1] == Finish(0, "content_filter", "stop")
    assert answer.choices[0].finish == Finish(0, "content_filter", "stop")
    assert answer.choices[0].message["refusal"] == "No"
    assert answer.choices[0].message["content"] == ""


def test_sources_come_once_at_the_end_of_a_stream():
    sources = {
        "citations": ["https://a.test", "https://b.test", 7],
        "search_results": [
            {"title": "B", "url": "https://b.test", "snippet": "bees", "date": None},
            {"title": "C", "url": "https://c.test"},
            {"title": "no address"},
        ],
    }
    annotations = [
        {"type": "url_citation", "url_citation": {"url": "https://a.test"}},
        {
            "type": "url_citation",
            "url_citation": {"url": "https://b.test", "title": "B", "content": "bees"},
        },
        {"type": "url_citation", "url_citation": {"url": "https://c.test", "title": "C"}},
    ]

    events = streamed(
        choice(delta={"content": "x"}) | sources,
        choice(delta={"content": "y"}) | sources,
        choice(delta={}, finish_reason="stop") | sources,
        {"choices": []} | sources,
    )

    assert events == [
        Delta(0, "x"),
        Delta(0, "y"),
        Delta(0, "", None, {"annotations": annotations}),
        Finish(0, "stop", "stop"),
    ]
    assert message(choice(message={"content": "x"}) | sources)["annotations"] == annotations


def test_sources_after_the_finish_are_not_lost():
    events = streamed(
        choice(delta={"content": "x"}, finish_reason="stop"),
        {"choices": [], "citations": ["https://a.test"]},
    )

    assert extras(events, "annotations")[0]["url_citation"] == {"url": "https://a.test"}


def test_azures_first_chunk_says_nothing():
    assert streamed({"choices": [], "id": "", "prompt_filter_results": [{"prompt_index": 0}]}) == []
    assert streamed(choice(content_filter_results={}, content_filter_offsets={})) == []


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("model_length", "length"),
        ("function_call", "tool_calls"),
        ("sensitive", "content_filter"),
        ("network_error", "error"),
        ("insufficient_system_resource", "error"),
        ("tool_use", "tool_calls"),
    ],
)
def test_finish_reasons_by_other_names(native, reason):
    assert streamed(choice(delta={}, finish_reason=native)) == [Finish(0, reason, native)]


def test_fields_nested_deeper_than_can_be_written_are_an_error():
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    for body in (
        b'{"choices":[{"delta":{"annotations":' + b"[" * 300 + b"]" * 300 + b"}}]}",
        b'{"choices":[{"message":{"annotations":' + b"[" * 300 + b"]" * 300 + b"}}]}",
        b'{"error":' + b"[" * 900 + b"]" * 900 + b"}",
    ):
        for read in (DIALECT.decoder().decode, DIALECT.answer):
            with suppress(UpstreamError):
                read(body)
    with pytest.raises(UpstreamDown):
        DIALECT.answer(
            b'{"choices":[{"message":{"annotations":' + b"[" * 300 + b"]" * 300 + b"}}]}"
        )


def test_mistrals_errors_have_no_wrapper():
    body = {"object": "error", "message": "too long", "type": "invalid_request_error", "code": None}

    (event,) = streamed(body)
    assert isinstance(event, Broken)
    assert isinstance(event.error, UpstreamRejected)
    with pytest.raises(UpstreamRejected, match="too long"):
        DIALECT.answer(orjson.dumps(body))


STREAM = b"".join(
    b"data: " + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"\n\n"
    for data in (
        choice(delta={"role": "assistant", "content": ""}),
        choice(delta={"reasoning": "hm \u2026"}),
        choice(delta={"content": "Gr\u00fc\u00dfe \U0001f600"}),
        choice(delta={"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}),
        choice(delta={"tool_calls": [{"function": {"arguments": "}"}}]}),
        choice(delta={}, finish_reason="tool_calls") | {"citations": ["https://a.test"]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        b"[DONE]",
    )
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_chopping_gives_the_same_events(cuts: list[int]):
    events = events_of(DIALECT, cut(STREAM, cuts))

    assert events == events_of(DIALECT, [STREAM])
    assert len(events) == 8
    assert events[-1] == End()


@given(st.binary(max_size=200))
def test_random_bytes_are_no_defect_of_ours(data: bytes):
    for read in (DIALECT.decoder().decode, DIALECT.answer):
        with suppress(UpstreamError):
            read(data)
    assert isinstance(DIALECT.error(400, {}, data, 0), UpstreamError)
