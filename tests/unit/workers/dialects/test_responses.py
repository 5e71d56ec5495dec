"""The Responses API as an upstream: chat in its form, and its answers in ours."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.credentials import ApiKey, AzureKey
from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
)
from routing.usage import Usage
from routing.wire.chat import parse_chat
from routing.wire.events import Broken, Delta, End, Event, Finish, Used
from tests.unit.workers.dialects.streams import cut, events_of
from workers.dialects.responses import ResponsesDialect

DIALECT = ResponsesDialect()
FORMAT = "openai-responses-v1"
PDF = "data:application/pdf;base64,JVBERg=="
PNG = "data:image/png;base64,iVBORw0="
USER = {"role": "user", "content": "Hi"}
SAID = {"type": "message", "role": "user", "content": "Hi"}
PLAIN = frozenset({"tools", "tool_choice", "temperature", "response_format", "logprobs"})
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 16,
}
USED = Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=7, reasoning_tokens=5)


def sent(endpoint: Any, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    """What is asked, without what every request has."""
    asked = {"model": "a/m", **fields}
    if "prompt" not in asked:
        asked.setdefault("messages", [USER])
    request = parse_chat(orjson.dumps(asked))
    upstream = DIALECT.encode(request, endpoint, ApiKey("k"), stream=stream)
    body: dict[str, Any] = orjson.loads(upstream.body)
    assert body.pop("model") == "m-1"
    assert body.pop("store") is False
    return body


def items(endpoint: Any, *messages: Any) -> Any:
    return sent(endpoint(supported_parameters=PLAIN), messages=messages)["input"]


# encode


def test_the_request_goes_to_responses(endpoint):
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": [USER]}))
    place = endpoint(supported_parameters=PLAIN)

    upstream = DIALECT.encode(request, place, ApiKey("secret"), stream=True)

    assert upstream.url == "https://acme.test/v1/responses"
    assert upstream.headers["authorization"] == "Bearer secret"
    assert upstream.headers["accept"] == "text/event-stream"
    assert orjson.loads(upstream.body) == {
        "model": "m-1",
        "input": [SAID],
        "store": False,
        "stream": True,
    }
    key = AzureKey(value="k", endpoint_url="https://x.test", model_id="m")
    with pytest.raises(UpstreamDenied):
        DIALECT.encode(request, place, key, stream=False)


def test_a_bare_prompt_is_the_input(endpoint):
    assert sent(endpoint(supported_parameters=PLAIN), prompt="Once") == {"input": "Once"}


def test_the_leading_system_messages_are_the_instructions(endpoint):
    body = sent(
        endpoint(supported_parameters=PLAIN),
        messages=[
            {"role": "system", "content": "Be brief"},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind"}]},
            USER,
            {"role": "system", "content": "Be quick"},
        ],
    )

    assert body == {
        "instructions": "Be brief\n\nBe kind",
        "input": [SAID, {"type": "message", "role": "system", "content": "Be quick"}],
    }


def test_instructions_alone_are_the_input(endpoint):
    body = sent(
        endpoint(supported_parameters=PLAIN), messages=[{"role": "system", "content": "Say hello"}]
    )

    assert body == {"input": "Say hello"}


def test_a_conversation_with_tools(endpoint):
    found = items(
        endpoint,
        USER | {"name": "ada"},
        {"role": "assistant", "content": "Let me see", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"},
        {"role": "assistant", "content": [{"type": "text", "text": "It is warm"}]},
    )

    assert found == [
        {"type": "message", "role": "user", "content": "ada: Hi"},
        {"type": "message", "role": "assistant", "content": "Let me see"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "21 degrees"},
        {"type": "message", "role": "assistant", "content": "It is warm"},
    ]


def test_ids_too_long_for_it_stay_the_same_for_call_and_result(endpoint):
    long = "call_" + "x" * 100
    found = items(
        endpoint,
        USER,
        {"role": "assistant", "tool_calls": [CALL | {"id": long}]},
        {"role": "tool", "tool_call_id": long, "content": [{"type": "text", "text": "a"}]},
    )

    assert found[1]["call_id"] == found[2]["call_id"]
    assert len(found[1]["call_id"]) <= 64
    assert found[2]["output"] == [{"type": "input_text", "text": "a"}]


def test_refusals_and_sound_go_back_as_text(endpoint):
    found = items(
        endpoint,
        USER,
        {"role": "assistant", "refusal": "No"},
        {"role": "assistant", "audio": {"id": "a", "transcript": "Hello"}},
        {"role": "assistant", "content": ""},
    )

    assert [item["content"] for item in found[1:]] == ["No", "Hello", ""]


@pytest.mark.parametrize(
    ("part", "item"),
    [
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
         {"type": "input_text", "text": "a"}),
        ({"type": "image_url", "image_url": {"url": PNG}},
         {"type": "input_image", "image_url": PNG, "detail": "auto"}),
        ({"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
         {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"}),
        ({"type": "file", "file": {"file_data": PDF}},
         {"type": "input_file", "filename": "document.pdf", "file_data": PDF}),
        ({"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
         {"type": "input_file", "filename": "a.pdf", "file_data": PDF}),
        ({"type": "file", "file": {"file_data": "https://x.test/a.pdf", "filename": "a.pdf"}},
         {"type": "input_file", "file_url": "https://x.test/a.pdf"}),
        ({"type": "file", "file": {"file_id": "file-1"}},
         {"type": "input_file", "file_id": "file-1"}),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
         {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
    ],
)  # fmt: skip
def test_parts(endpoint, part, item):
    (found,) = items(endpoint, {"role": "user", "content": [part]})
    (named,) = items(endpoint, {"role": "user", "content": [part], "name": "ada"})

    assert found["content"] == [item]
    assert named["content"] == [{"type": "input_text", "text": "ada:"}, item]


def test_what_has_no_form_is_told_with_the_fix(endpoint):
    video = {"type": "video_url", "video_url": {"url": "https://x.test/v.mp4"}}
    image = {"type": "image_url", "image_url": {"url": PNG}}

    with pytest.raises(UpstreamRejected, match=r"messages\[0\]\.content\[0\]: .*no video"):
        items(endpoint, {"role": "user", "content": [video]})
    with pytest.raises(UpstreamRejected, match=r"messages\[1\]\.content\[0\]: .*as the user"):
        items(endpoint, USER, {"role": "assistant", "content": [image]})


def test_its_own_thinking_goes_back_as_it_was(endpoint):
    def own(kind: str, index: int, item_id: str, **fields: str) -> dict[str, Any]:
        return {
            "type": f"reasoning.{kind}",
            "format": FORMAT,
            "index": index,
            "id": item_id,
        } | fields

    details = [
        own("summary", 0, "rs_1", summary="First"),
        own("summary", 0, "rs_1", summary=" part"),
        own("summary", 1, "rs_1", summary="Second"),
        own("encrypted", 2, "rs_1", data="AAA"),
        own("text", 3, "rs_2", text="hm"),
        own("encrypted", 4, "rs_2", data="BBB"),
        own("summary", 5, "rs_3", summary="lost"),
        {"type": "reasoning.text", "text": "x", "format": "anthropic-claude-v1", "index": 6},
        {"type": "reasoning.text", "text": "x", "format": "unknown", "index": 7},
    ]

    found = items(endpoint, USER, {"role": "assistant", "reasoning_details": details})

    assert found[1:] == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [
                {"type": "summary_text", "text": "First part"},
                {"type": "summary_text", "text": "Second"},
            ],
            "encrypted_content": "AAA",
        },
        {
            "type": "reasoning",
            "id": "rs_2",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
            "encrypted_content": "BBB",
        },
    ]


def test_tools_are_flat_and_lenient_unless_asked_otherwise(endpoint):
    body = sent(
        endpoint(supported_parameters=PLAIN | {"web_search_options"}),
        tools=[
            {"type": "function", "function": {"name": "f", "description": "d", "strict": True,
                                              "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "g"},
             "cache_control": {"type": "ephemeral"}},
        ],
        tool_choice={"type": "function", "function": {"name": "g"}},
        parallel_tool_calls=False,
        web_search_options={"search_context_size": "low"},
    )  # fmt: skip

    assert body["tools"] == [
        {
            "type": "function",
            "name": "f",
            "description": "d",
            "parameters": {"type": "object"},
            "strict": True,
        },
        {
            "type": "function",
            "name": "g",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
        {"type": "web_search", "search_context_size": "low"},
    ]
    assert body["tool_choice"] == {"type": "function", "name": "g"}
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"response_format": {"type": "json_object"}}, {"format": {"type": "json_object"}}),
        ({"response_format": {"type": "text"}}, None),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": {"type": "array"}, "strict": True},
                }
            },
            {
                "format": {
                    "type": "json_schema",
                    "name": "s",
                    "schema": {"type": "array"},
                    "strict": True,
                }
            },
        ),
        ({"verbosity": "low"}, {"verbosity": "low"}),
        ({"verbosity": "xhigh"}, {"verbosity": "high"}),
    ],
)
def test_the_form_of_the_answer(endpoint, fields, text):
    body = sent(endpoint(supported_parameters=PLAIN | {"verbosity"}), **fields)

    assert body.get("text") == text


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({}, {"summary": "auto"}),
        ({"reasoning": {"effort": "max"}}, {"effort": "high", "summary": "auto"}),
        ({"reasoning_effort": "low"}, {"effort": "low", "summary": "auto"}),
        ({"reasoning": {"enabled": False}}, {"effort": "none"}),
        (
            {"reasoning": {"summary": "detailed", "context": "all_turns", "mode": "pro"}},
            {"summary": "detailed", "context": "all_turns", "mode": "pro"},
        ),
    ],
)
def test_reasoning_is_asked_for_with_its_summary_and_its_secret(endpoint, fields, reasoning):
    body = sent(endpoint(efforts=("none", "low", "medium", "high")), **fields)

    assert body["reasoning"] == reasoning
    assert body["include"] == ["reasoning.encrypted_content"]


def test_limits_sampling_and_service(endpoint):
    body = sent(
        endpoint(supported_parameters=PLAIN),
        max_tokens=5_000,
        temperature=0.5,
        top_p=0.5,
        stop="x",
        seed=1,
        logprobs=True,
        top_logprobs=3,
        user="ada",
        prompt_cache_key="k",
        service_tier="fast",
        metadata={"a": "b"},
        unknown=1,
        provider={"options": {"acme": {"truncation": "auto", "store": True}}},
    )

    assert len(body.pop("user")) == 32
    assert body == {
        "input": [SAID],
        "max_output_tokens": 1_000,
        "temperature": 0.5,
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 3,
        "prompt_cache_key": "k",
        "service_tier": "priority",
        "truncation": "auto",
    }


def test_openai_knows_users_by_another_name(endpoint):
    place = endpoint(provider={"quirks": frozenset({"developer_role", "strict_fields"})})

    assert len(sent(place, user="ada")["safety_identifier"]) == 32


# what comes back whole


def response(*output: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "output": output} | more


def reasoning_item(**fields: Any) -> dict[str, Any]:
    return {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [
            {"type": "summary_text", "text": "First"},
            {"type": "summary_text", "text": "Second"},
        ],
        "encrypted_content": "AAA",
    } | fields


def message_item(*parts: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": parts}


def text_part(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []} | fields


CITATION = {
    "type": "url_citation",
    "url": "https://a.test",
    "title": "A",
    "start_index": 0,
    "end_index": 5,
}
CITED = {
    "type": "url_citation",
    "url_citation": {"url": "https://a.test", "title": "A", "start_index": 0, "end_index": 5},
}
DETAILS = [
    {"type": "reasoning.summary", "summary": "First", "format": FORMAT, "index": 0, "id": "rs_1"},
    {"type": "reasoning.summary", "summary": "Second", "format": FORMAT, "index": 1, "id": "rs_1"},
    {"type": "reasoning.encrypted", "data": "AAA", "format": FORMAT, "index": 2, "id": "rs_1"},
]
FUNCTION_CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a":1}',
}


def test_a_plain_answer():
    answer = DIALECT.answer(
        orjson.dumps(
            response(
                reasoning_item(),
                {"type": "web_search_call", "id": "ws_1"},
                message_item(
                    text_part(
                        "Hello",
                        annotations=[CITATION, {"type": "file_citation", "file_id": "f"}],
                        logprobs=[{"token": "Hello", "logprob": -0.1}],
                    )
                ),
                usage=USAGE,
            )
        )
    )

    (choice,) = answer.choices
    assert answer.upstream_id == "resp_1"
    assert answer.usage == USED
    assert choice.finish == Finish(0, "stop", "completed")
    assert choice.logprobs == {"content": [{"token": "Hello", "logprob": -0.1}]}
    assert choice.message == {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "reasoning": "First\n\nSecond",
        "reasoning_details": DETAILS,
        "annotations": [CITED],
    }


def test_a_tool_call():
    answer = DIALECT.answer(orjson.dumps(response(FUNCTION_CALL)))

    assert answer.choices[0].message["content"] is None
    assert answer.choices[0].message["tool_calls"] == [CALL]
    assert answer.choices[0].finish == Finish(0, "tool_calls", "completed")
    assert answer.usage is None


def test_a_refusal():
    answer = DIALECT.answer(
        orjson.dumps(response(message_item({"type": "refusal", "refusal": "No"})))
    )

    assert answer.choices[0].message["refusal"] == "No"
    assert answer.choices[0].finish == Finish(0, "content_filter", "completed")


def test_a_drawn_picture():
    item = {"type": "image_generation_call", "result": "iVBORw0=", "output_format": "png"}

    answer = DIALECT.answer(orjson.dumps(response(item)))

    assert answer.choices[0].message["images"] == [{"type": "image_url", "image_url": {"url": PNG}}]


@pytest.mark.parametrize(
    ("why", "finish"),
    [
        ({"reason": "max_output_tokens"}, Finish(0, "length", "max_output_tokens")),
        ({"reason": "content_filter"}, Finish(0, "content_filter", "content_filter")),
        ({"reason": "steered"}, Finish(0, "stop", "steered")),
        (None, Finish(0, "stop", "incomplete")),
    ],
)
def test_an_answer_cut_short(why, finish):
    body = response(message_item(text_part("He")), status="incomplete", incomplete_details=why)

    assert DIALECT.answer(orjson.dumps(body)).choices[0].finish == finish


FAILURES = [
    ({"code": "server_error", "message": "x"}, UpstreamDown),
    ({"code": "rate_limit_exceeded", "message": "x"}, UpstreamLimited),
    ({"code": "invalid_prompt", "message": "x"}, UpstreamRejected),
    ({"code": "image_too_large", "message": "x"}, UpstreamRejected),
    ({"code": "insufficient_quota", "message": "x"}, UpstreamDenied),
    (None, UpstreamDown),
]


@pytest.mark.parametrize(("error", "kind"), FAILURES)
def test_an_answer_that_failed(error: Any, kind: type[UpstreamError]):
    failed = response(status="failed", error=error)

    with pytest.raises(kind):
        DIALECT.answer(orjson.dumps(failed))
    (event,) = decoded({"type": "response.failed", "response": failed})
    assert isinstance(event, Broken)
    assert type(event.error) is kind


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"output":{}}', b"<html>"])
def test_an_answer_nobody_can_read_is_an_error(body: bytes):
    with pytest.raises(UpstreamDown):
        DIALECT.answer(body)


# what comes back as a stream


def decoded(*events: Any) -> list[Event]:
    decoder = DIALECT.decoder()
    return [found for event in events for found in decoder.decode(orjson.dumps(event))]


def event(kind: str, output: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": output, "sequence_number": 1} | fields


def done(output: int, item: Any) -> dict[str, Any]:
    return event("output_item.done", output, item=item)


ENDED = event("completed", response=response(usage=USAGE))


def test_a_stream_with_thoughts_text_and_sources():
    events = decoded(
        event("created", response={}),
        event("in_progress", response={}),
        event("output_item.added", 0, item={"type": "reasoning", "id": "rs_1", "summary": []}),
        event("reasoning_summary_part.added", 0, item_id="rs_1", summary_index=0),
        event("reasoning_summary_text.delta", 0, item_id="rs_1", summary_index=0, delta="Fi"),
        event("reasoning_summary_text.delta", 0, item_id="rs_1", summary_index=0, delta="rst"),
        event("reasoning_summary_text.done", 0, item_id="rs_1", summary_index=0, text="First"),
        event("reasoning_summary_text.delta", 0, item_id="rs_1", summary_index=1, delta="Second"),
        done(0, reasoning_item()),
        event("output_item.added", 1, item={"type": "message", "content": []}),
        event("output_text.delta", 1, delta="Hel", logprobs=[{"token": "Hel"}]),
        event("output_text.delta", 1, delta="lo", logprobs=[]),
        event("output_text.annotation.added", 1, annotation=CITATION),
        event("output_text.annotation.added", 1, annotation=None),
        event("output_text.done", 1, text="Hello"),
        done(1, message_item(text_part("Hello", annotations=[CITATION]))),
        ENDED,
    )

    def part(index: int, summary: str) -> dict[str, Any]:
        detail = DETAILS[index] | {"summary": summary}
        return {"reasoning_details": [detail]}

    assert events == [
        Delta(0, "", "Fi", part(0, "Fi")),
        Delta(0, "", "rst", part(0, "rst")),
        Delta(0, "", "\n\nSecond", part(1, "Second")),
        Delta(0, "", None, {"reasoning_details": [DETAILS[2]]}),
        Delta(0, "Hel", None, None, {"content": [{"token": "Hel"}]}),
        Delta(0, "lo"),
        Delta(0, "", None, {"annotations": [CITED]}),
        Finish(0, "stop", "completed"),
        Used(USED),
        End(),
    ]


def test_a_stream_of_calls():
    head = FUNCTION_CALL | {"arguments": ""}
    events = decoded(
        event("output_item.added", 1, item=head),
        event("function_call_arguments.delta", 1, item_id="fc_1", delta='{"a":'),
        event("function_call_arguments.delta", 1, item_id="fc_1", delta="1}"),
        event("function_call_arguments.done", 1, item_id="fc_1", arguments='{"a":1}'),
        done(1, FUNCTION_CALL),
        event("output_item.added", 2, item=head | {"call_id": "call_2"}),
        done(2, FUNCTION_CALL | {"call_id": "call_2"}),
        done(3, FUNCTION_CALL | {"call_id": "call_3"}),
        ENDED,
    )

    def fragment(index: int, arguments: str) -> Delta:
        called = {"index": index, "function": {"arguments": arguments}}
        return Delta(0, "", None, {"tool_calls": [called]})

    def first(index: int, call_id: str, arguments: str = "") -> Delta:
        function = {"name": "f", "arguments": arguments}
        called = {"index": index, "id": call_id, "type": "function", "function": function}
        return Delta(0, "", None, {"tool_calls": [called]})

    assert events[:-3] == [
        first(0, "call_1"),
        fragment(0, '{"a":'),
        fragment(0, "1}"),
        first(1, "call_2"),
        fragment(1, '{"a":1}'),
        first(2, "call_3", '{"a":1}'),
    ]
    assert events[-3] == Finish(0, "tool_calls", "completed")


def test_a_streamed_refusal():
    events = decoded(event("refusal.delta", delta="No"), ENDED)

    assert events[:2] == [
        Delta(0, "", None, {"refusal": "No"}),
        Finish(0, "content_filter", "completed"),
    ]


def test_a_stream_cut_short():
    end = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})

    assert decoded(event("incomplete", response=end)) == [
        Finish(0, "length", "max_output_tokens"),
        End(),
    ]


def test_what_only_comes_with_the_end_of_an_item_is_not_lost():
    text = event("reasoning_text.delta", 2, item_id="rs_2", content_index=0, delta="hm")
    raw = reasoning_item(id="rs_2", summary=[], encrypted_content=None)
    picture = {"type": "image_generation_call", "result": "iVBORw0="}

    events = decoded(
        done(0, reasoning_item()),
        done(1, message_item(text_part("Hello", annotations=[CITATION]))),
        text,
        done(2, raw | {"content": [{"type": "reasoning_text", "text": "hm"}]}),
        done(3, picture),
        done(4, {"type": "web_search_call"}),
        done(5, None),
    )

    details = [item for item in events if isinstance(item, Delta) and item.reasoning]
    assert [item.reasoning for item in details] == ["First", "\n\nSecond", "\n\nhm"]
    assert Delta(0, "Hello", None, {"annotations": [CITED]}) in events
    image = {"type": "image_url", "image_url": {"url": PNG}}
    assert events[-1] == Delta(0, "", None, {"images": [image]})


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "x"}, UpstreamLimited),
        ({"type": "error", "code": None, "message": "x"}, UpstreamDown),
        ({"type": "error", "error": {"code": "invalid_prompt"}}, UpstreamRejected),
        ({"error": {"code": 400, "message": "x"}}, UpstreamRejected),
    ],
)
def test_an_error_inside_a_stream(data: Any, kind: type[UpstreamError]):
    (found,) = decoded(data)

    assert isinstance(found, Broken)
    assert type(found.error) is kind


def test_what_says_nothing_is_passed_over():
    assert decoded({"type": "response.queued"}, {"type": 7}, {"type": "response.new.kind"}) == []
    assert DIALECT.decoder().decode(b"[DONE]") == [End()]
    assert decoded(event("function_call_arguments.delta", 9, delta="x")) == []
    assert DIALECT.streams("text/event-stream; charset=utf-8")


def test_an_error_status_is_read_as_for_chat():
    error = DIALECT.error(400, {}, b'{"error":{"message":"bad"}}', 0)

    assert isinstance(error, UpstreamRejected)
    assert error.message == "bad"


STREAM = b"".join(
    b"event: " + item["type"].encode() + b"\ndata: " + orjson.dumps(item) + b"\n\n"
    for item in (
        event("created", response={}),
        event("reasoning_summary_text.delta", 0, item_id="rs_1", summary_index=0, delta="h\u00fcm"),
        done(0, reasoning_item()),
        event("output_text.delta", 1, delta="Gr\u00fc\u00dfe \U0001f600"),
        event("output_item.added", 2, item=FUNCTION_CALL | {"arguments": ""}),
        event("function_call_arguments.delta", 2, delta="{}"),
        ENDED,
    )
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_chopping_gives_the_same_events(cuts: list[int]):
    events = events_of(DIALECT, cut(STREAM, cuts))

    assert events == events_of(DIALECT, [STREAM])
    assert len(events) == 8
    assert events[-1] == End()


NAMES = [
    "type", "output", "output_index", "item", "content", "summary", "text", "encrypted_content",
    "id", "call_id", "name", "arguments", "delta", "annotations", "annotation", "url", "title",
    "logprobs", "usage", "input_tokens", "input_tokens_details", "error", "code", "status",
    "response", "incomplete_details", "reason", "result", "refusal", "summary_index", "item_id",
]  # fmt: skip
KINDS = [
    "response.output_text.delta", "response.output_item.added", "response.output_item.done",
    "response.completed", "response.failed", "response.reasoning_summary_text.delta", "reasoning",
    "response.refusal.delta", "response.function_call_arguments.delta", "message", "function_call",
    "response.output_text.annotation.added", "url_citation", "image_generation_call", "refusal",
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | st.text(max_size=3) | st.sampled_from(KINDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
def test_no_json_of_a_provider_is_a_defect_of_ours(kind: str, fields: dict[str, Any]):
    data = orjson.dumps(fields | {"type": kind})
    for read in (DIALECT.decoder().decode, DIALECT.answer):
        with suppress(UpstreamError):
            assert read(data) is not None


@given(st.binary(max_size=200))
def test_random_bytes_are_no_defect_of_ours(data: bytes):
    for read in (DIALECT.decoder().decode, DIALECT.answer):
        with suppress(UpstreamError):
            read(data)


@pytest.mark.parametrize(("asked", "told"), [(1, 16), (16, 16), (300, 300), (5_000, 1_000)])
def test_the_limit_is_never_below_what_the_api_takes(endpoint, asked: int, told: int):
    assert sent(endpoint(), max_tokens=asked)["max_output_tokens"] == told


def test_parallel_calls_are_not_named_to_openais_models_that_refuse_it(endpoint):
    tool = {"type": "function", "function": {"name": "f"}}
    quirks = {"quirks": frozenset({"developer_role", "strict_fields"})}
    older = endpoint(supported_parameters=PLAIN, provider=quirks)
    newer = endpoint(supported_parameters=PLAIN | {"parallel_tool_calls"}, provider=quirks)

    assert "parallel_tool_calls" not in sent(older, tools=[tool], parallel_tool_calls=False)
    assert sent(newer, tools=[tool], parallel_tool_calls=False)["parallel_tool_calls"] is False
