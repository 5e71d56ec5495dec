"""Anthropic's Messages API: what is refused, what answers look like, at home and on Vertex."""

from base64 import b64encode
from typing import Any

import orjson
import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from pydantic import TypeAdapter

from tests.unit.workers.simulator.talk import Reply, call, simulator
from workers.simulator.faults import KINDS
from workers.simulator.google_token import issue, now_seconds
from workers.simulator.media import png
from workers.simulator.signatures import sign

PATH = "/p/anthropic/v1/messages"
MODEL = "claude-sonnet-4-5"
HEADERS = {
    "x-api-key": "k",
    "anthropic-version": "2023-06-01",
    "content-type": "application/json",
}
HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"location": {"type": "string"}},
    "required": ["location"],
    "additionalProperties": False,
}
WEATHER = {"name": "get_weather", "description": "w", "input_schema": SCHEMA}
TIME = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
THINK = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
PIXEL = b64encode(png("1:1", 1)).decode()
EVENTS = TypeAdapter(RawMessageStreamEvent)
LONG = "word " * 2000


def ask(
    extra: dict[str, Any] | None = None,
    *,
    fault: str = "",
    beta: str = "",
    to: Any = None,
) -> Reply:
    body = {"model": MODEL, "max_tokens": 500, "messages": HELLO, **(extra or {})}
    headers = {**HEADERS, "anthropic-beta": beta} if beta else HEADERS
    path = PATH.replace("anthropic", f"anthropic/f/{fault}") if fault else PATH
    return call(path, body, headers, to=to)


def message(extra: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    reply = ask(extra, **options)
    assert reply.status == 200, reply.body
    Message.model_validate(reply.json, strict=True)
    return reply.json


def refused(extra: dict[str, Any], **options: Any) -> str:
    reply = ask(extra, **options)
    assert reply.status == 400, reply.body
    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.json["request_id"] == reply.headers["request-id"]
    return reply.json["error"]["message"]


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def image(source: dict[str, Any]) -> dict[str, Any]:
    return user({"type": "image", "source": source})


def agent(*assistant: dict[str, Any], result: Any = None) -> list[dict[str, Any]]:
    """A conversation in which a tool was called and has answered."""
    given = result or {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}
    return [
        {"role": "user", "content": "the weather?"},
        {"role": "assistant", "content": list(assistant)},
        {"role": "user", "content": [given]},
    ]


def use(tag: str = "t1") -> dict[str, Any]:
    return {"type": "tool_use", "id": tag, "name": "get_weather", "input": {}}


def thought(signature: str | None = None) -> dict[str, Any]:
    text = "Hm."
    return {"type": "thinking", "thinking": text, "signature": signature or sign(text)}


def test_message():
    body = message({"system": "Be short.", "metadata": {"user_id": "u"}, "service_tier": "auto"})

    assert body["id"].startswith("msg_01")
    assert (body["role"], body["model"], body["stop_reason"]) == ("assistant", MODEL, "end_turn")
    (block,) = body["content"]
    assert "“hello”" in block["text"]
    assert body["usage"]["input_tokens"] > 0
    assert body["usage"]["cache_creation_input_tokens"] == 0


def test_stream_has_named_events_that_add_up():
    whole = message({"tools": [WEATHER]})
    events = ask({"tools": [WEATHER], "stream": True}).events()

    names = [name for name, _ in events]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert all(name == data["type"] for name, data in events)
    for name, data in events:
        if name != "ping":
            EVENTS.validate_python(data, strict=True)
    text = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
    assert text.split("”")[0] == whole["content"][0]["text"].split("”")[0]
    assert events[0][1]["message"]["content"] == []
    assert events[0][1]["message"]["usage"]["output_tokens"] == 1
    assert events[-2][1]["usage"]["output_tokens"] == -(-len(text) // 4)


def test_thoughts_come_first_with_their_signature():
    whole = message(THINK)
    events = ask({**THINK, "stream": True}).events()

    thinking, text = whole["content"]
    assert (thinking["type"], text["type"]) == ("thinking", "text")
    assert thinking["signature"] == sign(thinking["thinking"])
    deltas = [data["delta"] for name, data in events if name == "content_block_delta"]
    kinds = list(dict.fromkeys(delta["type"] for delta in deltas))
    assert kinds == ["thinking_delta", "signature_delta", "text_delta"]
    thoughts = "".join(delta.get("thinking", "") for delta in deltas)
    (signature,) = [delta["signature"] for delta in deltas if "signature" in delta]
    assert signature == sign(thoughts)
    assert whole["usage"]["output_tokens_details"]["thinking_tokens"] > 0


def test_newer_models_hide_their_thoughts_unless_asked():
    adaptive = {"model": "claude-opus-4-8", "thinking": {"type": "adaptive"}}
    shown = {**adaptive, "thinking": {"type": "adaptive", "display": "summarized"}}

    assert message(adaptive)["content"][0]["thinking"] == ""
    assert message(shown)["content"][0]["thinking"]


def test_tool_use_whole_and_in_fragments():
    extra = {"tools": [WEATHER, TIME], "tool_choice": {"type": "any"}}
    whole = message(extra)
    events = ask({**extra, "stream": True}).events()

    (block,) = whole["content"]
    assert whole["stop_reason"] == "tool_use"
    assert block["id"].startswith("toolu_01")
    assert block["input"] == {"location": "Paris, France"}
    starts = [data["content_block"] for name, data in events if name == "content_block_start"]
    assert [start["input"] for start in starts] == [{}]
    fragments = [
        data["delta"]["partial_json"] for name, data in events if name == "content_block_delta"
    ]
    assert fragments[0] == ""
    assert orjson.loads("".join(fragments)) == block["input"]


@pytest.mark.parametrize(
    ("said", "choice", "names"),
    [
        pytest.param("hello", None, [], id="nobody asked"),
        pytest.param("use a tool", None, ["get_weather"], id="asked"),
        pytest.param("use a tool", {"type": "none"}, [], id="none"),
        pytest.param("hello", {"type": "any"}, ["get_weather"], id="any"),
        pytest.param("hello", {"type": "tool", "name": "get_time"}, ["get_time"], id="named"),
        pytest.param("tools in parallel", None, ["get_weather", "get_time"], id="parallel"),
        pytest.param(
            "tools in parallel",
            {"type": "auto", "disable_parallel_tool_use": True},
            ["get_weather"],
            id="not in parallel",
        ),
    ],
)
def test_which_tools_are_called(said: str, choice: Any, names: list[str]):
    extra = {"messages": [{"role": "user", "content": said}], "tools": [WEATHER, TIME]}
    if choice:
        extra["tool_choice"] = choice

    blocks = message(extra)["content"]

    assert [block["name"] for block in blocks if block["type"] == "tool_use"] == names


def test_after_a_result_the_model_speaks_of_it():
    body = message({"messages": agent(use()), "tools": [WEATHER]})

    assert body["stop_reason"] == "end_turn"
    assert "The tool returned: sunny." in body["content"][0]["text"]


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PIXEL}, "image/png"),
        ({"type": "url", "url": "https://example.com/x.png"}, "image/url"),
    ],
)
def test_images_arrive(source: dict[str, Any], seen: str):
    assert f"I see: {seen}." in message(image(source))["content"][0]["text"]


def test_documents_arrive():
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    body = message(user({"type": "document", "source": pdf, "title": "t"}))

    assert "I see: application/pdf." in body["content"][0]["text"]


def test_stop_sequences_and_length():
    stopped = message({"stop_sequences": ["Pointsman"]})
    cut = message({"max_tokens": 5})

    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "Pointsman")
    assert cut["stop_reason"] == "max_tokens"
    assert cut["usage"]["output_tokens"] == 5


@pytest.mark.parametrize(
    ("extra", "beta"),
    [
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, ""),
        (
            {"output_format": {"type": "json_schema", "schema": SCHEMA}},
            "structured-outputs-2025-11-13",
        ),
    ],
    ids=["config", "beta"],
)
def test_structured_outputs(extra: dict[str, Any], beta: str):
    text = message(extra, beta=beta)["content"][0]["text"]

    assert orjson.loads(text) == {"location": "Paris, France"}


def test_marked_prompts_are_written_then_read():
    to = simulator()
    marked = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    first = message({"system": [marked]}, to=to)["usage"]
    second = message({"system": [marked]}, to=to)["usage"]
    other = {**marked, "text": LONG + "x"}
    third = message({"system": [other]}, to=to)["usage"]

    assert first["cache_creation"] == {
        "ephemeral_5m_input_tokens": 0,
        "ephemeral_1h_input_tokens": 2500,
    }
    assert (first["cache_creation_input_tokens"], first["cache_read_input_tokens"]) == (2500, 0)
    assert (second["cache_creation_input_tokens"], second["cache_read_input_tokens"]) == (0, 2500)
    assert first["input_tokens"] == second["input_tokens"] < 20
    assert third["cache_creation_input_tokens"] > 0


def test_a_longer_marked_prompt_reads_the_shorter_one():
    to = simulator()
    mark = {"cache_control": {"type": "ephemeral"}}
    blocks = [{"type": "text", "text": LONG, **mark}, {"type": "text", "text": LONG + "b", **mark}]
    message({"system": blocks[:1]}, to=to)

    usage = message({"system": blocks}, to=to)["usage"]

    assert usage["cache_read_input_tokens"] == 2500
    assert usage["cache_creation"]["ephemeral_5m_input_tokens"] == 2501


def test_short_or_unmarked_prompts_are_not_cached():
    short = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}

    assert message({"system": [short]})["usage"]["cache_creation_input_tokens"] == 0
    assert message({"system": LONG})["usage"]["cache_read_input_tokens"] == 0


def test_count_tokens():
    reply = call(f"{PATH}/count_tokens", {"model": MODEL, "messages": HELLO}, HEADERS)

    counted = MessageTokensCount.model_validate(reply.json, strict=True)
    assert counted.input_tokens == message()["usage"]["input_tokens"]


@pytest.mark.parametrize(
    ("drop", "status", "kind"),
    [
        ("x-api-key", 401, "authentication_error"),
        ("anthropic-version", 400, "invalid_request_error"),
    ],
)
def test_headers_are_required(drop: str, status: int, kind: str):
    headers = {name: value for name, value in HEADERS.items() if name != drop}
    reply = call(PATH, {"model": MODEL, "max_tokens": 5, "messages": HELLO}, headers)

    assert (reply.status, reply.json["error"]["type"]) == (status, kind)


def test_a_bearer_token_will_do():
    headers = {**HEADERS, "authorization": "Bearer t"}
    del headers["x-api-key"]

    assert call(PATH, {"model": "m", "max_tokens": 5, "messages": HELLO}, headers).status == 200


def drop(name: str) -> bytes:
    body = {"model": MODEL, "max_tokens": 5, "messages": HELLO}
    del body[name]
    return orjson.dumps(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"{", "not valid JSON", id="no JSON"),
        pytest.param(b"[]", "valid dictionary", id="no object"),
        *(
            pytest.param(drop(n), f"{n}: Field required", id=n)
            for n in ("model", "max_tokens", "messages")
        ),
    ],
)
def test_what_is_required(body: bytes, words: str):
    reply = call(PATH, body, HEADERS)

    assert reply.status == 400
    assert words in reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        pytest.param({"n": 2}, "n: Extra inputs are not permitted", id="unknown field"),
        pytest.param({"max_tokens": 0}, "max_tokens: Input should be greater", id="no tokens"),
        pytest.param({"temperature": 1.5}, "temperature: range: 0..1", id="temperature"),
        pytest.param(
            {"temperature": 0.5, "top_p": 0.9}, "cannot both be specified", id="two samplers"
        ),
        pytest.param(
            {"model": "claude-opus-4-8", "temperature": 0.5}, "deprecated", id="no samplers"
        ),
        pytest.param({"stop_sequences": [" "]}, "non-whitespace", id="blank stop"),
        pytest.param({"metadata": {"x": 1}}, "metadata.x: Extra inputs", id="metadata"),
        pytest.param({"service_tier": "flex"}, "'auto' or 'standard_only'", id="tier"),
        pytest.param({"system": [{"type": "image"}]}, "Input tag 'image'", id="system image"),
        pytest.param({"messages": []}, "at least one message", id="no messages"),
        pytest.param(
            {"messages": [{"role": "assistant", "content": "x"}]}, '"user" role', id="first role"
        ),
        pytest.param(
            {"messages": [{"role": "system", "content": "x"}]}, 'role "system"', id="system role"
        ),
        pytest.param({"messages": [{"role": "user", "content": ""}]}, "non-empty", id="empty"),
        pytest.param(user({"type": "text", "text": " "}), "non-whitespace", id="blank"),
        pytest.param(user({"type": "text"}), "messages.0.content.0.text.text: Field", id="no text"),
        pytest.param(user({"type": "image_url"}), "Input tag 'image_url'", id="OpenAI's image"),
        pytest.param(user(use()), "only be in `assistant`", id="call by the user"),
        pytest.param(
            {"messages": [*HELLO, {"role": "assistant", "content": "Well "}]},
            "trailing whitespace",
            id="prefill ends in a space",
        ),
        pytest.param(
            {
                "model": "claude-sonnet-4-6",
                "messages": [*HELLO, {"role": "assistant", "content": "Well"}],
            },
            "prefill",
            id="no prefill",
        ),
        pytest.param(
            image({"type": "base64", "media_type": "image/bmp", "data": PIXEL}),
            "image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', "
            "'image/gif' or 'image/webp'",
            id="media type",
        ),
        pytest.param(
            image({"type": "base64", "media_type": "image/png", "data": "data:image/png;base64,"}),
            "base64",
            id="data URL",
        ),
        pytest.param(
            image({"type": "base64", "media_type": "image/jpeg", "data": PIXEL}),
            "appears to be a image/png image",
            id="wrong media type",
        ),
        pytest.param(image({"type": "url", "url": "http://x/y"}), "HTTPS", id="plain HTTP"),
        pytest.param({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field", id="tool"),
        pytest.param(
            {"tools": [{**WEATHER, "name": "a b"}]}, "should match pattern", id="tool's name"
        ),
        pytest.param({"tools": [WEATHER, WEATHER]}, "must be unique", id="tools alike"),
        pytest.param({"tool_choice": {"type": "auto"}}, "while providing tools", id="no tools"),
        pytest.param(
            {"tools": [WEATHER], "tool_choice": "auto"}, "valid dictionary", id="OpenAI's choice"
        ),
        pytest.param(
            {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}},
            "not found in provided tools",
            id="unknown tool",
        ),
        pytest.param({"output_format": {}}, "output_format", id="format without the beta"),
        pytest.param(
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "'additionalProperties' must be explicitly set to false",
            id="open schema",
        ),
        pytest.param({"output_config": {"effort": "high"}}, "effort parameter", id="effort"),
    ],
)
def test_refused(extra: dict[str, Any], words: str):
    assert words in refused(extra)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        pytest.param({"thinking": {"type": "enabled"}}, "budget_tokens: Field", id="no budget"),
        pytest.param(
            {"thinking": {"type": "enabled", "budget_tokens": 100}}, "equal to 1024", id="small"
        ),
        pytest.param({**THINK, "max_tokens": 1024}, "must be greater than", id="budget too large"),
        pytest.param({**THINK, "temperature": 0.5}, "may only be set to 1", id="temperature"),
        pytest.param({**THINK, "top_k": 5}, "`top_k` must be unset", id="top_k"),
        pytest.param({**THINK, "top_p": 0.5}, "or equal to 0.95", id="top_p"),
        pytest.param(
            {**THINK, "tools": [WEATHER], "tool_choice": {"type": "any"}}, "forces", id="forced"
        ),
        pytest.param({"thinking": {"type": "adaptive"}}, "not supported on this", id="adaptive"),
        pytest.param({**THINK, "model": "claude-opus-4-7"}, "thinking.type.adaptive", id="budget"),
        pytest.param(
            {**THINK, "model": "claude-3-5-haiku-latest"}, "not support", id="thoughtless"
        ),
        pytest.param({**THINK, "messages": agent(use())}, "found `tool_use`", id="thought missing"),
        pytest.param(
            {**THINK, "messages": agent(thought("nonsense"), use())},
            "messages.1.content.0: Invalid `signature` in `thinking` block",
            id="wrong signature",
        ),
        pytest.param(
            {**THINK, "messages": agent({"type": "thinking", "thinking": "Hm."}, use())},
            "signature: Field required",
            id="no signature",
        ),
    ],
)
def test_thinking_refused(extra: dict[str, Any], words: str):
    assert words in refused(extra)


@pytest.mark.parametrize(
    "first",
    [thought(), {"type": "redacted_thinking", "data": "opaque"}],
    ids=["thinking", "redacted"],
)
def test_thoughts_may_come_back(first: dict[str, Any]):
    assert message({**THINK, "messages": agent(first, use()), "tools": [WEATHER]})


def test_its_own_answer_may_come_back():
    extra = {**THINK, "tools": [WEATHER], "messages": [{"role": "user", "content": "weather?"}]}
    content = message(extra)["content"]
    result = {"type": "tool_result", "tool_use_id": content[-1]["id"], "content": "rain"}

    assert message({**extra, "messages": agent(*content, result=result)})


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        pytest.param(agent(use("t2")), "unexpected `tool_use_id`", id="another id"),
        pytest.param(agent(use(), use("t2")), "without `tool_result` blocks", id="one missing"),
        pytest.param(agent(use(), use()), "must be unique", id="same id twice"),
        pytest.param(agent(use())[:2], "without `tool_result` blocks", id="no result at all"),
        pytest.param(
            [
                *agent(use())[:2],
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "So:"}, agent(use())[2]["content"][0]],
                },
            ],
            "without `tool_result` blocks",
            id="result after text",
        ),
        pytest.param(
            agent({**use(), "input": "{}"}), "input: Input should be a valid dict", id="JSON text"
        ),
    ],
)
def test_results_must_answer_calls(messages: list[dict[str, Any]], words: str):
    assert words in refused({"messages": messages, "tools": [WEATHER]})


def test_cache_marks_are_limited_and_ordered():
    def block(ttl: str) -> dict[str, Any]:
        return {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": ttl}}

    assert "maximum of 4 blocks" in refused({"system": [block("5m")] * 5})
    assert "must not come after" in refused({"system": [block("5m"), block("1h")]})


def test_unknown_betas_are_refused():
    assert "anthropic-beta" in refused({}, beta="nonsense")


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("429", 429, "rate_limit_error"),
        ("500_once", 500, "api_error"),
        ("503", 529, "overloaded_error"),
        ("529", 529, "overloaded_error"),
        ("401", 401, "authentication_error"),
        ("402", 402, "billing_error"),
        ("403", 403, "permission_error"),
        ("context_400", 400, "invalid_request_error"),
    ],
)
def test_failures(fault: str, status: int, kind: str):
    reply = ask(fault=fault)

    assert (reply.status, reply.json["error"]["type"]) == (status, kind)
    assert ("retry-after" in reply.headers) == (status == 429)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("silence", "reset")])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_every_fault_can_be_played(name: str, stream: bool):
    assert ask({"stream": stream}, fault=name).status


def test_faults_in_a_stream():
    stream = {"stream": True}

    error = ask(stream, fault="error_mid:4").events()[-1]
    assert (error[0], error[1]["error"]["type"]) == ("error", "api_error")
    assert [name for name, _ in ask(stream, fault="error_200").events()] == ["error"]
    assert ask(stream, fault="no_done").events()[-1][0] == "message_delta"
    unfinished = [name for name, _ in ask(stream, fault="no_finish").events()]
    assert "message_delta" not in unfinished
    assert unfinished[-1] == "message_stop"
    assert b"event: ping\r\ndata: " in ask(stream, fault="crlf").body
    assert b'event:ping\ndata:{"' in ask(stream, fault="no_space").body


@pytest.mark.parametrize("fault", ["refusal", "content_filter"])
def test_refusal(fault: str):
    whole = message(fault=fault)
    events = ask({"stream": True}, fault=fault).events()

    assert whole["stop_reason"] == "refusal"
    assert events[-2][1]["delta"]["stop_reason"] == "refusal"


VERTEX = "/p/google-vertex/v1/projects/p/locations/l/publishers/anthropic/models"


def vertex(extra: dict[str, Any], *, model: str = MODEL, stream: bool = False) -> Reply:
    body = {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 100,
        "messages": HELLO,
        **({"stream": True} if stream else {}),
        **extra,
    }
    method = "streamRawPredict" if stream else "rawPredict"
    headers = {"authorization": f"Bearer {issue(now_seconds())}"}
    return call(f"{VERTEX}/{model}:{method}", body, headers)


def test_vertex():
    whole = vertex({}, model="claude-sonnet-4-5@20250929")
    streamed = vertex({}, stream=True).events()

    assert whole.json["model"] == "claude-sonnet-4-5@20250929"
    assert whole.json["id"].startswith("msg_vrtx_")
    assert streamed[-1][0] == "message_stop"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"anthropic_version": "2023-06-01"}, "anthropic_version: Input should be"),
        ({"model": MODEL}, "model: Extra inputs are not permitted"),
        (image({"type": "url", "url": "https://x/y"}), "URL sources are not supported"),
    ],
)
def test_vertex_refuses(extra: dict[str, Any], words: str):
    reply = vertex(extra)

    assert reply.status == 400
    assert words in reply.json["error"]["message"]


def test_vertex_wants_its_own_token():
    reply = call(f"{VERTEX}/{MODEL}:rawPredict", {}, {"authorization": "Bearer other"})

    assert (reply.status, reply.json["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_vertex_counts_tokens():
    body = {"model": MODEL, "messages": HELLO, "anthropic_version": "vertex-2023-10-16"}
    headers = {"authorization": f"Bearer {issue(now_seconds())}"}

    assert call(f"{VERTEX}/count-tokens:rawPredict", body, headers).json["input_tokens"] > 0
