"""OpenAI's Responses API: what is refused, and what responses and their events look like."""

from base64 import b64encode
from typing import Any

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.unit.workers.simulator.talk import Reply, call
from workers.simulator.faults import KINDS
from workers.simulator.media import png

PATH = "/p/openai/v1/responses"
MODEL = "gpt-4.1"
HEADERS = {"authorization": "Bearer k", "content-type": "application/json"}
SCHEMA = {
    "type": "object",
    "properties": {"location": {"type": "string"}},
    "required": ["location"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}
TIME = {"type": "function", "name": "get_time", "parameters": {"type": "object"}}
PIXEL = "data:image/png;base64," + b64encode(png("1:1", 1)).decode()
SEALED = {"include": ["reasoning.encrypted_content"], "store": False, "model": "gpt-5"}
EVENTS = TypeAdapter(ResponseStreamEvent)


def ask(extra: dict[str, Any] | None = None, *, fault: str = "") -> Reply:
    path = PATH.replace("openai", f"openai/f/{fault}") if fault else PATH
    return call(path, {"model": MODEL, "input": "hello", **(extra or {})}, HEADERS)


def response(extra: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    reply = ask(extra, **options)
    assert reply.status == 200, reply.body
    Response.model_validate(reply.json)
    return reply.json


def stream(extra: dict[str, Any] | None = None, **options: Any) -> list[dict[str, Any]]:
    """Return the events of a stream, each of them valid, named as its type and numbered."""
    events = ask({"stream": True, **(extra or {})}, **options).events()
    for number, (name, data) in enumerate(events):
        EVENTS.validate_python(data)
        assert (name, number) == (data["type"], data["sequence_number"])
    return [data for _, data in events]


def refused(extra: dict[str, Any], status: int = 400) -> dict[str, Any]:
    reply = ask(extra)
    assert reply.status == status, reply.body
    assert set(reply.json["error"]) == {"message", "type", "param", "code"}
    return reply.json["error"]


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(parts)}]}


def agent(*between: dict[str, Any], output: Any = "sunny") -> list[dict[str, Any]]:
    """A conversation in which a function was called and has answered."""
    return [
        {"role": "user", "content": "the weather?"},
        *between,
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": output},
    ]


def test_response():
    body = response({"instructions": "Be short.", "metadata": {"a": "b"}})

    assert body["id"].startswith("resp_")
    assert (body["object"], body["status"], body["model"]) == ("response", "completed", MODEL)
    assert (body["instructions"], body["metadata"]) == ("Be short.", {"a": "b"})
    (message,) = body["output"]
    assert (message["type"], message["role"], message["status"]) == (
        "message",
        "assistant",
        "completed",
    )
    assert "“hello”" in message["content"][0]["text"]
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"]["cached_tokens"] == 0
    assert usage["output_tokens_details"]["reasoning_tokens"] == 0


def test_stream_has_every_step_in_order():
    events = stream()

    kinds = [event["type"] for event in events]
    assert list(dict.fromkeys(kinds)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    text = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    whole = events[-1]["response"]
    assert whole["output"][0]["content"][0]["text"] == text
    assert whole["usage"]["output_tokens"] == -(-len(text) // 4)
    assert (events[0]["response"]["status"], events[0]["response"]["output"]) == ("in_progress", [])


def test_reasoning_is_counted_summarised_and_sealed_when_asked():
    bare = response({"model": "gpt-5"})
    shown = response({**SEALED, "reasoning": {"effort": "high", "summary": "auto"}})

    thought, message = bare["output"]
    assert (thought["type"], thought["summary"], message["type"]) == ("reasoning", [], "message")
    assert "encrypted_content" not in thought
    assert bare["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    assert shown["output"][0]["summary"][0]["text"]
    assert shown["output"][0]["encrypted_content"]
    assert shown["reasoning"] == {"effort": "high", "summary": "auto"}


def test_reasoning_in_a_stream():
    events = stream({**SEALED, "reasoning": {"summary": "auto"}})

    kinds = list(dict.fromkeys(event["type"] for event in events))
    assert kinds[2:7] == [
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
    ]
    summary = "".join(
        e["delta"] for e in events if e["type"] == "response.reasoning_summary_text.delta"
    )
    assert events[-1]["response"]["output"][0]["summary"][0]["text"] == summary


def test_function_call():
    extra = {"tools": [WEATHER, TIME], "tool_choice": "required"}
    (item,) = response(extra)["output"]
    events = stream(extra)

    assert item["call_id"].startswith("call_")
    assert item["id"].startswith("fc_")
    assert orjson.loads(item["arguments"]) == {"location": "Paris, France"}
    deltas = [e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == item["arguments"]
    assert events[2]["item"]["arguments"] == ""


@pytest.mark.parametrize(
    ("said", "extra", "names"),
    [
        pytest.param("hello", {}, [], id="nobody asked"),
        pytest.param("use a tool", {}, ["get_weather"], id="asked"),
        pytest.param("use a tool", {"tool_choice": "none"}, [], id="none"),
        pytest.param(
            "hello",
            {"tool_choice": {"type": "function", "name": "get_time"}},
            ["get_time"],
            id="named",
        ),
        pytest.param("tools in parallel", {}, ["get_weather", "get_time"], id="parallel"),
        pytest.param(
            "tools in parallel", {"parallel_tool_calls": False}, ["get_weather"], id="one"
        ),
    ],
)
def test_which_functions_are_called(said: str, extra: dict[str, Any], names: list[str]):
    body = response({"input": said, "tools": [WEATHER, TIME], **extra})

    assert [i["name"] for i in body["output"] if i["type"] == "function_call"] == names


def test_after_an_output_the_model_speaks_of_it():
    text = response({"input": agent(), "tools": [WEATHER]})["output"][0]["content"][0]["text"]

    assert "The tool returned: sunny." in text


def test_its_own_items_may_come_back():
    extra = {**SEALED, "tools": [WEATHER], "input": "the weather?"}
    items = response(extra)["output"]
    result = {"type": "function_call_output", "call_id": items[-1]["call_id"], "output": "rain"}
    history = [{"role": "user", "content": "the weather?"}, *items, result]

    again = response({**extra, "input": history})
    told = response({**SEALED, "input": [*history, *again["output"], history[0]]})

    assert [item["type"] for item in again["output"]] == ["reasoning", "message"]
    assert told["status"] == "completed"


def changed(**fields: Any) -> list[dict[str, Any]]:
    """A conversation with a thought that is not the one that was given out."""
    thought = response({**SEALED, "input": "the weather?", "tools": [WEATHER]})["output"][0]
    return agent({**thought, **fields})


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"encrypted_content": "gAAAnonsense"}, 400, "could not be verified"),
        ({"id": "rs_other"}, 400, "could not be verified"),
        ({"encrypted_content": None}, 404, "Items are not persisted when `store`"),
    ],
)
def test_thoughts_are_verified(fields: dict[str, Any], status: int, words: str):
    assert words in refused({**SEALED, "input": changed(**fields)}, status)["message"]


def test_thoughts_need_what_came_of_them():
    items = changed()

    error = refused({**SEALED, "input": [items[1], items[0]]})

    assert "without its required following item" in error["message"]


@pytest.mark.parametrize(
    ("part", "seen"),
    [
        ({"type": "input_image", "image_url": PIXEL}, "image/png"),
        ({"type": "input_image", "image_url": "https://example.com/x.png"}, "image/url"),
        (
            {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": "data:application/pdf;base64,JVBERg==",
            },
            "application/pdf",
        ),
        ({"type": "input_file", "file_url": "https://example.com/a.pdf"}, "file/url"),
    ],
)
def test_media_arrive(part: dict[str, Any], seen: str):
    text = response(user(part))["output"][0]["content"][0]["text"]

    assert f"I see: {seen}." in text


def test_length():
    body = response({"max_output_tokens": 16})
    last = stream({"max_output_tokens": 16})[-1]

    assert body["status"] == last["response"]["status"] == "incomplete"
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["usage"]["output_tokens"] == 16
    assert last["type"] == "response.incomplete"


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True},
        {"type": "json_object"},
    ],
    ids=["schema", "object"],
)
def test_formats(form: dict[str, Any]):
    body = response({"input": "as JSON", "text": {"format": form}})

    assert isinstance(orjson.loads(body["output"][0]["content"][0]["text"]), dict)
    assert body["text"]["format"] == form


@pytest.mark.parametrize(
    ("extra", "param", "code"),
    [
        pytest.param({"n": 1}, "n", "unknown_parameter", id="unknown"),
        pytest.param({"messages": []}, "messages", "unsupported_parameter", id="moved"),
        pytest.param({"max_tokens": 5}, "max_tokens", "unsupported_parameter", id="limit moved"),
        pytest.param({"input": None}, "input", "missing_required_parameter", id="no input"),
        pytest.param({"input": 4}, "input", "invalid_type", id="input is a number"),
        pytest.param({"model": 4}, "model", "invalid_type", id="model is a number"),
        pytest.param(
            {"max_output_tokens": 5}, "max_output_tokens", "integer_below_min_value", id="too few"
        ),
        pytest.param({"temperature": 3}, "temperature", "decimal_above_max_value", id="too hot"),
        pytest.param(
            {"model": "o3", "temperature": 0.5}, "temperature", "unsupported_parameter", id="o3"
        ),
        pytest.param(
            {"reasoning": {"effort": "high"}}, "reasoning.effort", "unsupported_parameter", id="4.1"
        ),
        pytest.param(
            {"model": "o3", "reasoning": {"effort": "much"}},
            "reasoning.effort",
            "invalid_value",
            id="effort",
        ),
        pytest.param({"include": ["x"]}, "include[0]", "invalid_value", id="include"),
        pytest.param({"include": ["reasoning.encrypted_content"]}, "include", None, id="seal 4.1"),
        pytest.param(
            {"previous_response_id": "resp_1"},
            "previous_response_id",
            "previous_response_not_found",
            id="previous response",
        ),
        pytest.param(
            user({"type": "text", "text": "x"}),
            "input[0].content[0].type",
            "invalid_value",
            id="chat part",
        ),
        pytest.param(
            {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
            "input[0].content[0].type",
            "invalid_value",
            id="assistant hears",
        ),
        pytest.param(
            {"input": [{"role": "tool", "content": "x"}]},
            "input[0].role",
            "invalid_value",
            id="role",
        ),
        pytest.param(
            {"input": [{"role": "assistant", "content": "x", "tool_calls": []}]},
            "input[0].tool_calls",
            "unknown_parameter",
            id="chat calls",
        ),
        pytest.param(
            user({"type": "input_image", "image_url": {"url": PIXEL}}),
            "input[0].content[0].image_url",
            "invalid_type",
            id="chat image",
        ),
        pytest.param(
            user({"type": "input_image", "image_url": "data:image/bmp;base64,AAAA"}),
            "input[0].content[0].image_url",
            "invalid_value",
            id="media type",
        ),
        pytest.param(
            user({"type": "input_image", "image_url": "data:image/png;base64,!"}),
            "input[0].content[0].image_url",
            "invalid_value",
            id="not base64",
        ),
        pytest.param(
            user({"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}),
            "input[0].content[0].filename",
            "missing_required_parameter",
            id="file without a name",
        ),
        pytest.param(
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            "tools[0].name",
            "missing_required_parameter",
            id="chat tool",
        ),
        pytest.param(
            {"tools": [{**WEATHER, "parameters": {"type": "object"}}]},
            "tools[0].parameters",
            "invalid_function_parameters",
            id="open strict schema",
        ),
        pytest.param(
            {"tools": [TIME], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function",
            "unknown_parameter",
            id="chat tool choice",
        ),
        pytest.param(
            {"tools": [TIME], "tool_choice": {"type": "function", "name": "x"}},
            "tool_choice",
            None,
            id="unknown tool",
        ),
        pytest.param({"tool_choice": "required"}, "tool_choice", None, id="no tools"),
        pytest.param(
            {"text": {"format": {"type": "json_schema", "json_schema": {"name": "s"}}}},
            "text.format.name",
            "missing_required_parameter",
            id="chat format",
        ),
        pytest.param({"text": {"format": {"type": "json_object"}}}, "input", None, id="not said"),
        pytest.param({"input": agent()[:2]}, "input", None, id="no output"),
        pytest.param({"input": agent()[2:]}, "input", None, id="no call"),
        pytest.param(
            {"input": [{**agent()[1], "id": "call_1"}]}, "input[0].id", "invalid_value", id="id"
        ),
    ],
)
def test_refused(extra: dict[str, Any], param: str, code: str | None):
    error = refused(extra)

    assert (error["param"], error["code"]) == (param, code), error
    assert error["type"] == "invalid_request_error"


def test_a_key_is_wanted():
    assert call(PATH, {"model": MODEL, "input": "x"}, {}).status == 401
    assert call(PATH, {"model": MODEL, "input": "x"}, {"api-key": "k"}).status == 200


@pytest.mark.parametrize(
    ("fault", "status"), [("429", 429), ("503", 503), ("529", 503), ("401", 401), ("402", 402)]
)
def test_failures(fault: str, status: int):
    reply = ask(fault=fault)

    assert reply.status == status
    assert reply.json["error"]["message"]
    assert ("retry-after" in reply.headers) == (status == 429)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("silence", "reset")])
@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_every_fault_can_be_played(name: str, streams: bool):
    assert ask({"stream": streams}, fault=name).status


def test_a_stream_that_breaks_off_says_so_twice():
    *before, error, failed = stream(fault="error_mid:4")

    assert len(before) == 4
    assert (error["type"], error["code"]) == ("error", "server_error")
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"]["code"] == "server_error"


def test_faults_in_a_stream():
    assert [event["type"] for event in stream(fault="error_200")] == ["error"]
    for fault in ("no_done", "no_finish", "cut_after:999"):
        assert stream(fault=fault)[-1]["type"] == "response.output_item.done"
    filtered = stream(fault="content_filter")[-1]["response"]
    assert filtered["incomplete_details"] == {"reason": "content_filter"}
    assert response(fault="no_usage")["usage"] is None
    assert stream(fault="null_finish_zero")[-1]["response"]["output"] == []


def test_refusal():
    whole = response(fault="refusal")["output"][0]["content"][0]
    events = stream(fault="refusal")

    assert whole["type"] == "refusal"
    deltas = [event["delta"] for event in events if event["type"] == "response.refusal.delta"]
    assert "".join(deltas) == whole["refusal"]
