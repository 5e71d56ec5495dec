"""`/responses` as clients read it: the official client, and the other SDK's models."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx2
import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response
from openrouter import components
from pydantic import TypeAdapter

from routing.catalog.pricing import Cost
from routing.errors import Failure
from routing.usage import Usage
from routing.wire.chat import ChatRequest
from routing.wire.events import Answer, Choice, Delta, Finish
from routing.wire.render import DONE, renderer
from routing.wire.responses_reasoning import PACKED
from routing.wire.responses_render import ResponsesRenderer
from routing.wire.responses_request import parse_responses

USAGE = Usage(
    prompt_tokens=9,
    completion_tokens=3,
    cached_tokens=4,
    cache_write_tokens=2,
    reasoning_tokens=1,
)
COST = Cost(prompt_nano=9_000, completion_nano=6_000)
FAILURE = Failure(status=502, message="cut", retryable=True, blame="provider", provider="Acme")
STOP = Finish(0, "stop", "end_turn")


def render(echo: dict[str, Any] | None = None) -> ResponsesRenderer:
    return ResponsesRenderer("gen-1", 1_764_806_400, "a/m", "Acme", echo)


def stream(*deltas: Delta, finish: Finish = STOP, echo: dict[str, Any] | None = None) -> bytes:
    renderer = render(echo)
    told = [renderer.delta(delta) for delta in deltas]
    return b"".join([*told, renderer.finish(finish), renderer.end(USAGE, COST, charged=True)])


def extra(**fields: Any) -> Delta:
    return Delta(0, "", None, fields)


def thought(*details: Any) -> Delta:
    return extra(reasoning_details=list(details))


def call(index: int, arguments: str | None = None, **fields: str) -> dict[str, Any]:
    function = {"arguments": arguments} if arguments is not None else {}
    if "name" in fields:
        function["name"] = fields.pop("name")
    return {"index": index, "type": "function", "function": function, **fields}


def events(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream; checks their frames, numbers and end mark."""
    assert data.endswith(DONE)
    found = []
    for frame in data.removesuffix(DONE).split(b"\n\n")[:-1]:
        assert frame.startswith(b"data: {")
        assert b"\n" not in frame
        found.append(orjson.loads(frame[6:]))
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def kinds(data: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events(data)]


def completed(data: bytes) -> dict[str, Any]:
    """The whole response at the end of a stream."""
    *_, last = events(data)
    response: dict[str, Any] = last["response"]
    assert last["type"] == f"response.{response['status']}"
    return response


def plain(message: dict[str, Any], finish: Finish = STOP, **fields: Any) -> dict[str, Any]:
    answer = Answer(
        choices=(Choice(index=0, message=message, finish=finish, **fields),), usage=USAGE
    )
    body: dict[str, Any] = orjson.loads(render().body(answer, USAGE, COST, charged=True))
    Response.model_validate(body)
    return body


def client(answer: bytes, content_type: str, sent: list[Any] | None = None) -> openai.OpenAI:
    """The official client, whose server gives this answer."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        if sent is not None:
            sent.append(request.content)
        return httpx2.Response(200, content=answer, headers={"content-type": content_type})

    return openai.OpenAI(
        base_url="http://router.test/v1",
        api_key="k",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handle)),
    )


def accumulated(data: bytes) -> Response:
    with (
        client(data, "text/event-stream") as caller,
        caller.responses.stream(model="a/m", input="x") as stream,
    ):
        return stream.get_final_response()


SIGNED = [
    {"type": "reasoning.text", "text": "I ", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.text", "text": "think", "format": "anthropic-claude-v1", "index": 0},
    {
        "type": "reasoning.text",
        "signature": "c2ln",
        "format": "anthropic-claude-v1",
        "index": 0,
    },
]
WHOLE = {
    "type": "reasoning.text",
    "text": "I think",
    "format": "anthropic-claude-v1",
    "index": 0,
    "signature": "c2ln",
}


def test_the_order_of_a_reasoning_models_events():
    data = stream(*(thought(each) for each in SIGNED), Delta(0, "Hel"), Delta(0, "lo"))

    assert kinds(data) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    created, in_progress, *_ = events(data)
    assert created["response"] == in_progress["response"]
    assert created["response"]["status"] == "in_progress"
    assert created["response"]["output"] == []
    assert created["response"]["usage"] is None


def test_the_whole_response():
    echo = {
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "look"}],
        "temperature": 0.5,
        "text": {"verbosity": "low"},
        "metadata": {"a": "b"},
    }
    response = completed(stream(Delta(0, "Hello"), echo=echo))

    (message,) = response.pop("output")
    assert message.pop("id").startswith("msg_tmp_")
    assert message == {
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
    }
    assert response == {
        "id": "gen-1",
        "object": "response",
        "created_at": 1_764_806_400,
        "completed_at": None,
        "model": "a/m",
        "provider": "Acme",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "tools": [{"type": "function", "name": "look", "parameters": None, "strict": None}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "temperature": 0.5,
        "top_p": None,
        "top_logprobs": 0,
        "frequency_penalty": None,
        "presence_penalty": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "reasoning": {"effort": None, "summary": None},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "truncation": "disabled",
        "service_tier": "auto",
        "prompt_cache_key": None,
        "safety_identifier": None,
        "user": None,
        "store": False,
        "background": False,
        "previous_response_id": None,
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 12,
            "cost": 0.000015,
            "is_byok": False,
            "cost_details": {
                "upstream_inference_cost": 0.000015,
                "upstream_inference_input_cost": 0.000009,
                "upstream_inference_output_cost": 0.000006,
            },
        },
    }


def test_the_quick_form_of_a_piece_has_the_fields_of_the_full_form():
    data = stream(Delta(0, "a"), Delta(0, 'b"\n'), Delta(0, "c", logprobs={"content": []}))
    pieces = [event for event in events(data) if event["type"] == "response.output_text.delta"]
    assert [piece.pop("delta") for piece in pieces] == ["a", 'b"\n', "c"]
    assert [piece.pop("sequence_number") for piece in pieces] == [4, 5, 6]
    assert pieces[0] == pieces[1] == pieces[2]
    assert list(pieces[0]) == list(pieces[1])
    assert completed(data)["output"][0]["content"][0]["text"] == 'ab"\nc'


def test_text_goes_on_after_a_refusal_as_another_part():
    data = stream(Delta(0, "a"), extra(refusal="no"), Delta(0, "b"), Delta(0, "c"))
    (message,) = completed(data)["output"]
    assert [part.get("text", part.get("refusal")) for part in message["content"]] == [
        "a",
        "no",
        "bc",
    ]
    indexes = [e["content_index"] for e in events(data) if "delta" in e]
    assert indexes == [0, 1, 2, 2]


def test_what_is_not_charged_costs_nothing():
    answer = Answer(choices=(), usage=USAGE)
    usage = orjson.loads(render().body(answer, USAGE, COST, charged=False))["usage"]
    assert usage["cost"] == 0
    assert usage["cost_details"]["upstream_inference_cost"] == 0.000015


SOURCE = {"url": "https://x.test", "title": "X", "start_index": 0, "end_index": 2, "content": "…"}
PNG = "data:image/png;base64,iVBORw0K"
LOGPROB = {
    "token": "Hi",
    "logprob": -0.1,
    "bytes": [72, 105],
    "top_logprobs": [{"token": "Hi", "logprob": -0.1, "bytes": None}],
}
EVERYTHING = (
    Delta(0, "", "Hm. ", {"reasoning_details": [SIGNED[0]]}),
    thought(SIGNED[2]),
    thought({"type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1"}),
    Delta(0, "Hi", logprobs={"content": [LOGPROB]}),
    extra(annotations=[{"type": "url_citation", "url_citation": SOURCE}]),
    extra(refusal="No, "),
    extra(refusal="sorry."),
    extra(images=[{"type": "image_url", "image_url": {"url": PNG}}]),
    extra(tool_calls=[call(0, "", id="c1", name="look"), call(1, "", id="c2", name="leap")]),
    extra(tool_calls=[call(1, '{"a"')]),
    extra(tool_calls=[call(0, "{}")]),
    extra(tool_calls=[call(1, ":1}")]),
)


def test_everything_at_once():
    data = stream(*EVERYTHING, finish=Finish(0, "tool_calls", "tool_use"))
    thoughts, message, image, look, leap = completed(data)["output"]

    assert thoughts["content"] == [{"type": "reasoning_text", "text": "I "}]
    assert thoughts["signature"] == "c2ln"
    assert thoughts["format"] == "anthropic-claude-v1"
    assert message["content"] == [
        {
            "type": "output_text",
            "text": "Hi",
            "annotations": [{"type": "url_citation", **SOURCE}],
            "logprobs": [
                LOGPROB | {"top_logprobs": [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}]}
            ],
        },
        {"type": "refusal", "refusal": "No, sorry."},
    ]
    assert (image["type"], image["result"]) == ("image_generation_call", "iVBORw0K")
    assert image["output_format"] == "png"
    assert look["id"] != leap["id"]
    assert [(each["call_id"], each["name"], each["arguments"]) for each in (look, leap)] == [
        ("c1", "look", "{}"),
        ("c2", "leap", '{"a":1}'),
    ]
    assert {each["status"] for each in completed(data)["output"]} == {"completed"}


def test_events_add_up_to_the_items():
    data = stream(*EVERYTHING, finish=Finish(0, "tool_calls", "tool_use"))
    output = completed(data)["output"]
    for event in events(data):
        if "item_id" in event:
            assert output[event["output_index"]]["id"] == event["item_id"]
        match event["type"]:
            case "response.output_item.added":
                assert event["item"]["status"] == "in_progress"
                assert event["item"]["id"] == output[event["output_index"]]["id"]
            case "response.output_item.done":
                assert event["item"] == output[event["output_index"]]
            case "response.function_call_arguments.done":
                assert event["arguments"] == output[event["output_index"]]["arguments"]
    pieces = [e for e in events(data) if e["type"] == "response.function_call_arguments.delta"]
    assert [(e["output_index"], e["delta"]) for e in pieces] == [(4, '{"a"'), (3, "{}"), (4, ":1}")]


def test_the_official_client_reads_everything():
    data = stream(*EVERYTHING, finish=Finish(0, "tool_calls", "tool_use"))
    response = accumulated(data)
    assert response.status == "completed"
    assert response.output_text == "Hi"
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "image_generation_call",
        "function_call",
        "function_call",
    ]
    Response.model_validate(completed(data))


def test_every_event_is_one_of_the_clients_types():
    adapter: TypeAdapter[Any] = TypeAdapter(openai.types.responses.ResponseStreamEvent)
    for event in events(stream(*EVERYTHING)):
        assert adapter.validate_python(event).type == event["type"]
    for event in events(broken(Delta(0, "Hi"))):
        assert adapter.validate_python(event).type == event["type"]


def test_the_other_sdk_reads_the_whole_response():
    read = components.OpenResponsesResult.model_validate(completed(stream(*EVERYTHING)))
    assert read.usage is not None
    assert read.usage.cost == 0.000015
    assert [item.type for item in read.output][:2] == ["reasoning", "message"]


def test_a_plain_answer_is_the_same_response():
    message = {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "reasoning": "I think",
        "reasoning_details": [WHOLE],
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        ],
    }
    streamed = completed(
        stream(
            *(thought(each) for each in SIGNED),
            Delta(0, "Hel"),
            Delta(0, "lo"),
            extra(tool_calls=[call(0, "{}", id="c1", name="look")]),
            extra(tool_calls=[call(1, "{}", id="c2", name="look")]),
        )
    )

    def without_ids(response: dict[str, Any]) -> dict[str, Any]:
        items = [{k: v for k, v in item.items() if k != "id"} for item in response["output"]]
        return response | {"output": items}

    assert without_ids(plain(message)) == without_ids(streamed)


def test_the_official_client_reads_a_plain_answer():
    message = {"role": "assistant", "content": "Hello"}
    answer = Answer(choices=(Choice(index=0, message=message, finish=STOP),), usage=USAGE)
    body = render().body(answer, USAGE, COST, charged=True)
    with client(body, "application/json") as caller:
        response = caller.responses.create(model="a/m", input="x")
    assert response.output_text == "Hello"
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 4


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        (None, "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_how_it_ended(reason: Any, status: str, why: dict[str, str] | None):
    finish = Finish(0, reason, None)
    for response in (
        completed(stream(thought(WHOLE), Delta(0, "Hi"), finish=finish)),
        plain({"content": "Hi", "reasoning_details": [WHOLE]}, finish),
    ):
        assert response["status"] == status
        assert response["incomplete_details"] == why
        # What was finished before the end came is whole.
        assert [item["status"] for item in response["output"]] == ["completed", status]


def test_an_end_with_an_error_is_a_failure():
    for response in (
        completed(stream(Delta(0, "Hi"), finish=Finish(0, "error", "error"))),
        plain({"content": "Hi"}, Finish(0, "error", "error")),
    ):
        assert response["status"] == "failed"
        assert response["error"] == {"code": "server_error", "message": "Provider returned error"}
        assert response["error_type"] == "provider_unavailable"


def test_a_stream_without_a_piece_or_a_finish_still_is_whole():
    data = render().end(USAGE, COST, charged=True)
    assert kinds(data) == ["created", "in_progress", "completed"]
    assert completed(data)["output"] == []


def test_other_choices_are_not_told():
    assert render().delta(Delta(1, "Hi")) == b""
    assert render().finish(Finish(1, "stop", None)) == b""


def broken(*deltas: Delta, failure: Failure = FAILURE) -> bytes:
    renderer = render()
    return b"".join([*map(renderer.delta, deltas), renderer.broken(failure)])


def test_a_broken_stream_tells_how_far_it_came_and_why():
    *_, failed, error = events(broken(Delta(0, "Hi"), extra(tool_calls=[call(0, id="c")])))
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": "cut"}
    assert failed["response"]["error_type"] == "provider_unavailable"
    message, function_call = failed["response"]["output"]
    assert message["content"][0]["text"] == "Hi"
    assert function_call["status"] == "in_progress"
    Response.model_validate(failed["response"])
    assert error == {
        "type": "error",
        "sequence_number": failed["sequence_number"] + 1,
        "code": "server_error",
        "message": "cut",
        "param": None,
    }


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_prompt"),
        (429, "rate_limit_exceeded"),
        (500, "server_error"),
        (504, "server_error"),
        (529, "server_error"),
    ],
)
def test_a_renderer_that_told_nothing_tells_only_the_error(status: int, code: str):
    failure = Failure(status=status, message="no", retryable=False, blame="router")
    (error,) = events(renderer("responses", "gen-1", 1, "a/m", "").broken(failure))
    assert (error["type"], error["code"], error["message"]) == ("error", code, "no")


def test_the_official_client_gets_the_error():
    data = broken(Delta(0, "Hi"))
    with client(data, "text/event-stream") as caller:
        *_, failed, error = caller.responses.create(model="a/m", input="x", stream=True)
    assert failed.type == "response.failed"
    assert failed.response.error is not None
    assert failed.response.error.message == "cut"
    assert error.type == "error"
    assert error.message == "cut"


# --- tool calls as providers send them -----------------------------------------------------------


def test_a_provider_that_gives_every_call_the_same_index():
    output = completed(
        stream(
            extra(tool_calls=[call(0, '{"a":1}', id="c1", name="look")]),
            extra(tool_calls=[call(0, '{"a":2}', id="c2", name="look")]),
        )
    )["output"]
    assert [(each["call_id"], each["arguments"]) for each in output] == [
        ("c1", '{"a":1}'),
        ("c2", '{"a":2}'),
    ]


def test_a_provider_that_repeats_the_id_in_every_piece():
    (item,) = completed(
        stream(
            extra(tool_calls=[call(0, '{"a"', id="c1", name="look")]),
            extra(tool_calls=[call(0, ":1}", id="c1")]),
        )
    )["output"]
    assert item["arguments"] == '{"a":1}'


def test_a_call_without_an_id_gets_one():
    (item,) = completed(stream(extra(tool_calls=[call(0, "{}", name="look")])))["output"]
    assert item["call_id"].startswith("call_")


def test_text_after_a_call_is_a_message_of_its_own():
    output = completed(
        stream(Delta(0, "a"), extra(tool_calls=[call(0, "{}", id="c", name="f")]), Delta(0, "b"))
    )["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]


# --- thoughts come back as they were -------------------------------------------------------------


def summary(text: str, index: int, own_id: str = "rs_1") -> dict[str, Any]:
    form = "openai-responses-v1"
    return {"type": "reasoning.summary", "summary": text, "format": form, "index": index} | {
        "id": own_id
    }


def encrypted(data: str, index: int, own_id: str = "rs_1") -> dict[str, Any]:
    form = "openai-responses-v1"
    return {"type": "reasoning.encrypted", "data": data, "format": form, "index": index} | {
        "id": own_id
    }


def replayed(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The details of the turn when a client sends the items back."""
    request = parse_responses(orjson.dumps({"model": "a/m", "input": output}))
    assert request.messages is not None
    (message,) = request.messages
    return [dict(detail) for detail in message.reasoning_details or ()]


def test_summaries_have_events_of_their_own():
    data = stream(
        thought(summary("One", 0)), thought(summary("Two", 1)), thought(encrypted("gAAA", 2))
    )
    assert kinds(data)[2:-1] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert [e["summary_index"] for e in events(data) if "summary_index" in e] == [0] * 4 + [1] * 4
    (item,) = completed(data)["output"]
    assert item == {
        "type": "reasoning",
        "id": "rs_1",
        "status": "completed",
        "summary": [
            {"type": "summary_text", "text": "One"},
            {"type": "summary_text", "text": "Two"},
        ],
        "encrypted_content": "gAAA",
        "format": "openai-responses-v1",
    }


def test_openais_own_items_stay_as_they_are_even_several():
    details = [
        summary("One", 0),
        encrypted("gAAA", 1),
        summary("Two", 2, "rs_2"),
        encrypted("gBBB", 3, "rs_2"),
    ]
    output = completed(stream(*map(thought, details)))["output"]
    assert [(item["id"], item["encrypted_content"]) for item in output] == [
        ("rs_1", "gAAA"),
        ("rs_2", "gBBB"),
    ]
    assert replayed(output) == details


def test_two_items_never_share_an_id():
    details = [summary("One", 0), summary("Two", 1)]
    output = completed(stream(thought(details[0]), Delta(0, "and"), thought(details[1])))["output"]
    assert len({item["id"] for item in output}) == 3
    assert replayed(output) == details


def test_an_item_of_which_a_client_keeps_only_what_openai_documents():
    (item,) = completed(stream(*(thought(each) for each in SIGNED)))["output"]
    assert item["encrypted_content"].startswith(PACKED)
    kept = {name: item[name] for name in ("type", "id", "summary", "encrypted_content")}
    assert replayed([kept]) == [WHOLE]


def test_bare_reasoning_is_shown_and_comes_back():
    data = stream(Delta(0, "", "Hm, "), Delta(0, "", "yes"), Delta(0, "Yes."))
    item, _ = output = completed(data)["output"]
    assert item["content"] == [{"type": "reasoning_text", "text": "Hm, yes"}]
    assert replayed(output) == [
        {"type": "reasoning.text", "text": "Hm, yes", "format": "unknown", "index": 0}
    ]


def test_the_official_client_carries_thoughts_from_one_turn_to_the_next():
    details = [WHOLE, {**encrypted("zzz", 7), "format": "google-gemini-v1", "id": "c1"}]
    message = {"role": "assistant", "content": "Let me look.", "reasoning_details": details}
    message["tool_calls"] = [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ]
    answer = Answer(choices=(Choice(index=0, message=message, finish=STOP),), usage=USAGE)
    body, sent = render().body(answer, USAGE, COST, charged=True), []
    with client(body, "application/json", sent) as caller:
        first = caller.responses.create(model="a/m", input="x")
        caller.responses.create(
            model="a/m",
            input=[
                {"role": "user", "content": "x"},
                *first.output,
                {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            ],
        )
    again: ChatRequest = parse_responses(sent[1])
    assert again.messages is not None
    assert [each.role for each in again.messages] == ["user", "assistant", "tool"]
    turn = again.messages[1]
    assert turn.content == "Let me look."
    assert list(turn.reasoning_details or ()) == details
    assert [each.id for each in turn.tool_calls or ()] == ["c1"]


TEXTS = st.text(max_size=8)
FORMATS = st.sampled_from(
    ["anthropic-claude-v1", "google-gemini-v1", "openai-responses-v1", "unknown", None]
)
COMMON = {"format": FORMATS, "index": st.integers(0, 3), "id": st.none() | TEXTS}
DETAIL = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("reasoning.text"), "text": TEXTS},
        optional={"signature": st.none() | TEXTS, **COMMON},
    ),
    st.fixed_dictionaries(
        {"type": st.just("reasoning.summary"), "summary": TEXTS}, optional=COMMON
    ),
    st.fixed_dictionaries({"type": st.just("reasoning.encrypted"), "data": TEXTS}, optional=COMMON),
    st.fixed_dictionaries({"type": st.just("reasoning.server_tool_call"), "result": TEXTS}),
)


@given(st.lists(DETAIL, max_size=6), TEXTS)
@settings(max_examples=300)
def test_any_details_of_a_plain_answer_come_back_unmodified(
    details: list[dict[str, Any]], text: str
):
    response = plain({"content": text, "reasoning_details": details})
    if response["output"]:
        assert replayed(response["output"]) == details


def distinct(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbours that are no pieces of one. A null field tells nothing, so it may go."""
    return [
        {key: value for key, value in each.items() if value is not None} | {"index": index}
        for index, each in enumerate(details)
    ]


@given(st.lists(DETAIL, min_size=1, max_size=6).map(distinct), st.data())
@settings(max_examples=200)
def test_any_details_of_a_stream_come_back_however_it_was_cut(
    details: list[dict[str, Any]], data: st.DataObject
):
    deltas = []
    for detail in details:
        deltas += [thought(piece) for piece in pieces(detail, data)]
        if data.draw(st.booleans()):
            deltas.append(Delta(0, "and"))
    output = completed(stream(*deltas))["output"]
    assert replayed(output) == details


def pieces(detail: dict[str, Any], data: st.DataObject) -> Iterator[dict[str, Any]]:
    """A detail as a stream brings it: its text in pieces, its signature by itself."""
    name = {"reasoning.text": "text", "reasoning.summary": "summary"}.get(detail["type"])
    if name is None:
        yield detail
        return
    text = detail[name]
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=2))})
    bare = {key: value for key, value in detail.items() if key != "signature"}
    for start, end in pairwise(cuts) if len(cuts) > 1 else [(0, 0)]:
        yield bare | {name: text[start:end]}
    if "signature" in detail:
        same = {key: value for key, value in detail.items() if key != name}
        yield same


# --- whatever a provider's fields hold -----------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
FIELD = st.sampled_from(["type", "text", "id", "index", "function", "url_citation", "image_url"])
WILD = st.one_of(JUNK, st.lists(st.dictionaries(FIELD, JUNK, max_size=4), max_size=3))


@given(
    st.lists(
        st.builds(
            Delta,
            st.just(0),
            TEXTS,
            st.none() | TEXTS,
            st.dictionaries(
                st.sampled_from(
                    ["tool_calls", "reasoning_details", "refusal", "images", "audio", "annotations"]
                ),
                WILD,
            ),
            st.none() | st.dictionaries(st.just("content"), WILD),
        ),
        max_size=5,
    )
)
@settings(max_examples=60)
def test_odd_fields_never_break_the_stream(deltas: list[Delta]):
    data = stream(*deltas)
    Response.model_validate(completed(data))
    assert accumulated(data).output_text == "".join(delta.content for delta in deltas)
