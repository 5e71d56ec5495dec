"""The Anthropic dialect: what is sent to it and to Vertex AI, and everything that may come back."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.credentials import ApiKey, AwsKeys, GoogleToken
from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
)
from routing.usage import Usage
from routing.wire.chat import parse_chat
from routing.wire.events import Broken, Delta, End, Finish, Used
from tests.unit.workers.dialects.streams import call_piece, cut, events_of
from workers.dialects.anthropic import AnthropicDialect, VertexAnthropicDialect
from workers.dialects.claude import enforced
from workers.simulator.anthropic import AnthropicDialect as Simulated
from workers.simulator.dialect import Ask
from workers.simulator.wire import Request

DIALECT = AnthropicDialect()
VERTEX = VertexAnthropicDialect()
KEY = ApiKey("secret")
NOW_MS = 1_764_806_400_000
USER = {"role": "user", "content": "Hi"}
ALL = frozenset(
    {
        "temperature", "top_p", "top_k", "stop", "tools", "tool_choice", "reasoning",
        "response_format", "structured_outputs", "verbosity",
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
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJ"
    "RU5ErkJggg=="
)
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01").decode()
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF").decode()


def claude(endpoint: Any, model: str = "claude-sonnet-4-5", **changes: Any) -> Any:
    known = {
        "upstream_id": model,
        "supported_parameters": ALL,
        "max_completion_tokens": 8_000,
        "context_length": 200_000,
    }
    return endpoint(**(known | changes))


def ask(**fields: Any) -> Any:
    return parse_chat(orjson.dumps({"model": "a/m", "messages": [USER]} | fields))


def sent(place: Any, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    upstream = DIALECT.encode(ask(**fields), place, KEY, stream=stream)
    body: dict[str, Any] = orjson.loads(upstream.body)
    return body


def turns(place: Any, *messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(place, messages=list(messages), **fields)["messages"]
    return found


def call(
    name: str = "weather", call_id: str = "toolu_1", arguments: str = '{"city":"Bonn"}'
) -> Any:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def thought(text: str = "Hm.", signature: str = "sig") -> dict[str, Any]:
    return {
        "type": "reasoning.text",
        "text": text,
        "signature": signature,
        "format": "anthropic-claude-v1",
        "index": 0,
    }


# where it goes


def test_the_request_goes_to_messages_with_key_and_version(endpoint):
    request = ask(anthropic_betas=["interleaved-thinking-2025-05-14"])

    upstream = DIALECT.encode(request, claude(endpoint), KEY, stream=True)

    assert upstream.url == "https://acme.test/v1/messages"
    assert upstream.headers["x-api-key"] == "secret"
    assert upstream.headers["anthropic-version"] == "2023-06-01"
    assert upstream.headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    assert upstream.headers["accept"] == "text/event-stream"
    assert orjson.loads(upstream.body) == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 8_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("region", "host", "method"),
    [
        ("", "us-east5-aiplatform.googleapis.com", "rawPredict"),
        ("global", "aiplatform.googleapis.com", "streamRawPredict"),
        ("eu", "aiplatform.eu.rep.googleapis.com", "rawPredict"),
    ],
)
def test_at_vertex_the_model_is_in_the_address(endpoint, region: str, host: str, method: str):
    place = claude(
        endpoint,
        "claude-sonnet-4-5@20250929",
        region="us-east5",
        provider={"base_url": "https://{region}-aiplatform.googleapis.com/v1"},
    )
    token = GoogleToken(token="t", project="p-1", region=region)  # noqa: S106
    stream = method == "streamRawPredict"

    upstream = VERTEX.encode(ask(), place, token, stream=stream)

    body = orjson.loads(upstream.body)
    assert upstream.url == (
        f"https://{host}/v1/projects/p-1/locations/{region or 'us-east5'}/publishers/anthropic"
        f"/models/claude-sonnet-4-5@20250929:{method}"
    )
    assert upstream.headers["authorization"] == "Bearer t"
    assert "x-api-key" not in upstream.headers
    assert body["anthropic_version"] == "vertex-2023-10-16"
    assert "model" not in body
    assert body.get("stream", False) is stream


@pytest.mark.parametrize(("project", "region"), [("p", "evil.test/#"), ("../x", ""), ("p/q", "")])
def test_a_key_cannot_change_the_address(endpoint, project: str, region: str):
    with pytest.raises(UpstreamDenied):
        VERTEX.encode(
            ask(),
            claude(endpoint),
            GoogleToken(token="t", project=project, region=region),  # noqa: S106
            stream=False,
        )


def test_a_key_of_another_kind_is_refused(endpoint):
    keys = AwsKeys(access_key_id="a", secret_access_key="b")  # noqa: S106
    for dialect, credential in ((DIALECT, keys), (VERTEX, KEY)):
        with pytest.raises(UpstreamDenied):
            dialect.encode(ask(), claude(endpoint), credential, stream=False)


# parameters


def test_parameters(endpoint):
    body = sent(
        claude(endpoint),
        max_tokens=50,
        temperature=1.7,
        top_p=0.9,
        top_k=40,
        stop=["END"],
        user="ada",
        seed=7,
        frequency_penalty=1,
        logit_bias={"1": 2},
    )

    # 4.5 takes temperature or top_p, not both.
    assert body.pop("metadata")["user_id"] != "ada"
    assert body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "temperature": 1.0,
        "top_k": 40,
        "stop_sequences": ["END"],
    }


def test_generations_differ_in_what_they_sample(endpoint):
    fields = {"temperature": 0.5, "top_p": 0.9, "top_k": 5}

    old = sent(claude(endpoint, "claude-3-5-haiku-20241022"), **fields)
    new = sent(claude(endpoint, "claude-opus-4-7"), **fields)

    assert {name: old[name] for name in fields} == fields
    assert not fields.keys() & new.keys()


def test_a_bare_prompt_is_a_user_message(endpoint):
    request = parse_chat(b'{"model":"a/m","prompt":"Once"}')

    body = orjson.loads(DIALECT.encode(request, claude(endpoint), KEY, stream=False).body)

    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Once"}]}]


# thinking


@pytest.mark.parametrize(
    ("model", "efforts", "fields", "thinking", "effort"),
    [
        pytest.param("claude-sonnet-4-5", (), {}, None, None, id="unasked"),
        pytest.param(
            "claude-sonnet-4-5",
            (),
            {"reasoning": {"effort": "high"}},
            {"type": "enabled", "budget_tokens": 6_400},
            None,
            id="a share of the cap",
        ),
        pytest.param(
            "claude-3-7-sonnet-20250219",
            (),
            {"reasoning": {"max_tokens": 10}},
            {"type": "enabled", "budget_tokens": 1_024},
            None,
            id="at least the minimum",
        ),
        pytest.param(
            "claude-opus-4-6",
            ("low", "medium", "high", "max"),
            {"reasoning": {"effort": "xhigh"}},
            {"type": "adaptive"},
            "high",
            id="4.6 by effort",
        ),
        pytest.param(
            "claude-opus-4-6",
            ("low", "medium", "high", "max"),
            {"reasoning": {"max_tokens": 2_000}},
            {"type": "enabled", "budget_tokens": 2_000},
            None,
            id="4.6 by budget",
        ),
        pytest.param(
            "claude-opus-4-7",
            ("low", "medium", "high", "xhigh", "max"),
            {"reasoning": {"max_tokens": 6_400}},
            {"type": "adaptive", "display": "summarized"},
            "high",
            id="4.7 has no budget",
        ),
        pytest.param(
            "claude-opus-5",
            ("none", "low", "medium", "high"),
            {"reasoning": {"enabled": False}},
            {"type": "disabled"},
            None,
            id="off",
        ),
        pytest.param(
            "claude-sonnet-4-5",
            (),
            {"reasoning": {"enabled": False}},
            None,
            None,
            id="off by default",
        ),
        pytest.param(
            "claude-opus-4-6",
            ("low", "high"),
            {"verbosity": "max"},
            None,
            "high",
            id="verbosity is effort",
        ),
        pytest.param(
            "claude-opus-4-6",
            ("low", "medium", "high"),
            {"verbosity": "low", "reasoning": {"effort": "high"}},
            {"type": "adaptive"},
            "low",
            id="verbosity goes over effort",
        ),
        pytest.param(
            "claude-mythos-preview",
            ("low", "high"),
            {"reasoning_effort": "low"},
            {"type": "adaptive", "display": "summarized"},
            "low",
            id="no version in the name",
        ),
    ],
)
def test_thinking(
    endpoint, model: str, efforts: tuple[str, ...], fields: Any, thinking: Any, effort: str | None
):
    body = sent(claude(endpoint, model, efforts=efforts), temperature=0.5, **fields)

    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    if thinking and thinking["type"] != "disabled":
        assert "temperature" not in body


def test_a_budget_that_does_not_fit_is_refused_with_the_fix(endpoint):
    with pytest.raises(UpstreamRejected, match=r"max_tokens: must be more than the 1024") as caught:
        sent(claude(endpoint), max_tokens=500, reasoning={"effort": "low"})

    assert caught.value.told_status == 400


def test_nothing_is_forced_while_it_thinks(endpoint):
    fields = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}

    plain = sent(claude(endpoint), **fields)
    thinking = sent(claude(endpoint), reasoning={"effort": "high"}, **fields)

    assert plain["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert thinking["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_thoughts_come_back_signed_and_first(endpoint):
    hidden = {"type": "reasoning.encrypted", "data": "blob", "format": "anthropic-claude-v1"}
    foreign = {
        "type": "reasoning.text",
        "text": "x",
        "signature": "y",
        "format": "google-gemini-v1",
    }
    unsigned = thought("Unsigned.", "")
    answer = {
        "role": "assistant",
        "content": "Looking.",
        "reasoning_details": [thought(), hidden, foreign, unsigned],
        "tool_calls": [call()],
    }
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."}

    body = sent(
        claude(endpoint), messages=[USER, answer, result], tools=[TOOL], reasoning={"effort": "low"}
    )

    assert body["thinking"] == {"type": "enabled", "budget_tokens": 1_600}
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "blob"},
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}},
    ]


def test_a_client_that_lost_the_thoughts_is_answered_without_thinking(endpoint):
    answer = {"role": "assistant", "content": None, "tool_calls": [call()]}
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."}
    fields = {"tools": [TOOL], "reasoning": {"effort": "low"}}

    lost = sent(claude(endpoint), messages=[USER, answer, result], **fields)
    over = [USER, answer, result, {"role": "assistant", "content": "It rains."}, USER]

    assert "thinking" not in lost
    assert sent(claude(endpoint), messages=over, **fields)["thinking"]["type"] == "enabled"


def test_one_thought_is_enough_for_a_turn_of_many_calls(endpoint):
    """Without interleaved thinking a model thinks once, then calls tools as often as it needs."""
    history = [
        USER,
        {"role": "assistant", "reasoning_details": [thought()], "tool_calls": [call()]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."},
        {"role": "assistant", "tool_calls": [call(call_id="toolu_2")]},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Sun."},
    ]

    body = sent(claude(endpoint), messages=history, tools=[TOOL], reasoning={"effort": "low"})

    assert body["thinking"]["type"] == "enabled"
    assert [turn["content"][0]["type"] for turn in body["messages"]] == [
        "text", "thinking", "tool_result", "tool_use", "tool_result",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "fields", "replayed"),
    [
        ("claude-sonnet-4-5", {"reasoning": {"effort": "low"}}, True),
        ("claude-opus-4-7", {"reasoning": {"effort": "low"}}, True),
        ("claude-sonnet-4-5", {}, False),
        ("claude-opus-4-7", {}, False),
        ("claude-sonnet-5", {}, True),
        ("claude-sonnet-5", {"reasoning": {"enabled": False}}, False),
    ],
)
def test_thoughts_go_back_only_where_the_model_thinks(
    endpoint, model: str, fields: Any, replayed: bool
):
    """A request without thinking is refused when its last turn holds a thought."""
    history = [
        USER,
        {"role": "assistant", "reasoning_details": [thought()], "tool_calls": [call()]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."},
    ]

    found = turns(claude(endpoint, model), *history, tools=[TOOL], **fields)

    kinds = [block["type"] for block in found[1]["content"]]
    assert kinds == (["thinking", "tool_use"] if replayed else ["tool_use"])


def test_a_thought_that_led_to_nothing_is_left_out(endpoint):
    """An answer that was cut while the model thought: the last block must not be a thought."""
    cut_off = {"role": "assistant", "reasoning_details": [thought()]}
    spoken = {"role": "assistant", "content": "Yes."}
    fields = {"reasoning": {"effort": "low"}}

    alone = turns(claude(endpoint), USER, cut_off, USER, **fields)
    after = turns(claude(endpoint), USER, spoken, cut_off, USER, **fields)
    before = turns(claude(endpoint), USER, cut_off, spoken, USER, **fields)
    last = turns(claude(endpoint), USER, cut_off, **fields)

    hi = {"type": "text", "text": "Hi"}
    yes = {"type": "text", "text": "Yes."}
    assert alone == [{"role": "user", "content": [hi, hi]}]
    assert [turn["content"] for turn in after] == [[hi], [yes], [hi]]
    assert [block["type"] for block in before[1]["content"]] == ["thinking", "text"]
    assert last == [{"role": "user", "content": [hi]}]


# messages


def test_system_messages_and_later_ones(endpoint):
    body = sent(
        claude(endpoint),
        messages=[
            {"role": "system", "content": "One."},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
            {"role": "user", "content": "Hi", "name": "ada"},
            {"role": "system", "content": "Later."},
        ],
    )

    assert body["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert body["messages"] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "ada: Hi"}, {"type": "text", "text": "Later."}],
        }
    ]


def test_turns_alternate_begin_with_the_user_and_are_never_empty(endpoint):
    found = turns(
        claude(endpoint),
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": ""},
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "b"}]},
    )

    assert [turn["role"] for turn in found] == ["user", "assistant", "user"]
    assert found[2]["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    only = sent(claude(endpoint), messages=[{"role": "system", "content": "Do."}])
    assert only["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Do."}]}]
    assert "system" not in only


def test_an_answer_that_was_begun(endpoint):
    begun = {"role": "assistant", "content": "The answer is \n"}

    assert turns(claude(endpoint), USER, begun)[-1]["content"][0]["text"] == "The answer is"
    with pytest.raises(UpstreamRejected, match=r"messages\[1\]\.role: this model does not"):
        sent(claude(endpoint, "claude-opus-4-6"), messages=[USER, begun])


def test_media(endpoint):
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{JPEG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        },
        {"type": "file", "file": {"file_data": "https://example.com/a.pdf"}},
        {"type": "file", "file": {"file_data": "data:text/markdown;base64,SGk="}},
        {"type": "file", "file": {"file_data": f"data:image/png;base64,{PNG}"}},
    ]

    found = turns(claude(endpoint), {"role": "user", "content": content})[0]["content"]

    assert [block["type"] for block in found] == ["image", "image"] + ["document"] * 3 + ["image"]
    assert [block["source"] for block in found] == [
        {"type": "base64", "media_type": "image/jpeg", "data": JPEG},
        {"type": "url", "url": "https://example.com/a.png"},
        {"type": "base64", "media_type": "application/pdf", "data": PDF},
        {"type": "url", "url": "https://example.com/a.pdf"},
        {"type": "text", "media_type": "text/plain", "data": "Hi"},
        {"type": "base64", "media_type": "image/png", "data": PNG},
    ]
    assert found[2]["title"] == "a.pdf"


@pytest.mark.parametrize(
    ("part", "match"),
    [
        (
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            r"messages\[0\]\.content\[0\]: this provider takes no input_audio",
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
            "takes no video_url",
        ),
        ({"type": "file", "file": {"file_id": "f"}}, r"file\.file_id: .*send file_data"),
        ({"type": "file", "file": {"file_data": "data:application/zip;base64,AA=="}}, "zip"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}, "UTF-8"),
    ],
)
def test_parts_without_a_form_are_refused_with_the_fix(endpoint, part: Any, match: str):
    with pytest.raises(UpstreamRejected, match=match) as caught:
        sent(claude(endpoint), messages=[{"role": "user", "content": [part]}])

    assert caught.value.told_status == 400


def test_titles_are_as_long_as_they_may_be(endpoint):
    file = {"filename": "x" * 512, "file_data": f"data:application/pdf;base64,{PDF}"}

    found = turns(claude(endpoint), {"role": "user", "content": [{"type": "file", "file": file}]})

    assert found[0]["content"][0]["title"] == "x" * 500


def test_results_of_tools_share_one_turn_and_come_first(endpoint):
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    found = turns(
        claude(endpoint),
        USER,
        {"role": "assistant", "tool_calls": [call(call_id="a:1"), call(call_id="b", arguments="")]},
        {"role": "system", "content": "Be quick."},
        {"role": "tool", "tool_call_id": "a:1", "content": "Rain."},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "See:"}, image]},
        {"role": "user", "content": "So?"},
        tools=[TOOL],
    )

    uses, answers = found[1]["content"], found[2]["content"]
    assert [use["input"] for use in uses] == [{"city": "Bonn"}, {}]
    assert [block["type"] for block in answers] == ["tool_result"] * 2 + ["text"] * 2
    assert [block["tool_use_id"] for block in answers[:2]] == [use["id"] for use in uses]
    assert [part["type"] for part in answers[1]["content"]] == ["text", "image"]


# tools


def test_tools(endpoint):
    bare = {"type": "function", "function": {"name": "no.parameters"}}
    strict = {"type": "function", "function": TOOL["function"] | {"strict": True}}

    body = sent(
        claude(endpoint),
        tools=[TOOL | {"cache_control": {"type": "ephemeral"}}, bare, strict],
        tool_choice={"type": "function", "function": {"name": "no.parameters"}},
    )

    assert body["tools"][0] == {
        "name": "weather",
        "description": "Looks outside.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        "cache_control": {"type": "ephemeral"},
    }
    assert body["tools"][1] == {
        "name": "no_x2e_parameters",
        "input_schema": {"type": "object", "properties": {}},
    }
    assert body["tools"][2]["strict"] is True
    assert body["tools"][2]["input_schema"]["additionalProperties"] is False
    assert body["tool_choice"] == {"type": "tool", "name": "no_x2e_parameters"}


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
    ],
)
def test_the_choice_of_tools(endpoint, fields: Any, choice: Any):
    assert sent(claude(endpoint), tools=[TOOL], **fields).get("tool_choice") == choice


def test_a_history_of_calls_brings_its_tools(endpoint):
    body = sent(
        claude(endpoint),
        messages=[
            USER,
            {"role": "assistant", "tool_calls": [call()]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."},
        ],
    )

    assert body["tools"] == [
        {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
    ]
    assert body["tool_choice"] == {"type": "none"}


# the form of the answer, and caching


def test_a_schema_is_sent_in_the_form_that_is_enforced(endpoint):
    schema = {
        "type": "object",
        "properties": {
            "minimum": {"type": "integer", "minimum": 1},
            "list": {"type": "array", "minItems": 3, "items": {"oneOf": [{"type": "string"}]}},
        },
        "required": ["minimum"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    body = sent(claude(endpoint), response_format=form)

    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "minimum": {"type": "integer"},
                "list": {"type": "array", "items": {"anyOf": [{"type": "string"}]}},
            },
            "required": ["minimum"],
            "additionalProperties": False,
        },
    }
    assert "output_config" not in sent(claude(endpoint), response_format={"type": "json_object"})
    old = claude(endpoint, "claude-3-7-sonnet-20250219")
    assert "output_config" not in sent(old, response_format=form)
    for model, follows in (("claude-opus-4-20250514", False), ("claude-opus-4-1-20250805", True)):
        asked = sent(claude(endpoint, model), response_format=form)
        assert ("output_config" in asked) is follows


def test_a_schema_without_end_is_refused():
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"items": deep}

    with pytest.raises(UpstreamRejected, match="nested too deeply"):
        enforced(deep)


def test_cache_marks_stay_where_they_are_and_the_last_four_count(endpoint):
    mark = {"type": "ephemeral", "ttl": "1h"}

    def text(word: str) -> dict[str, Any]:
        return {"type": "text", "text": word, "cache_control": mark}

    body = sent(
        claude(endpoint),
        tools=[TOOL | {"cache_control": mark}],
        messages=[
            {"role": "system", "content": [text("s")]},
            {"role": "user", "content": [text("a"), text("b")]},
            {"role": "assistant", "content": "c", "cache_control": {"type": "ephemeral"}},
            {"role": "user", "content": "d"},
        ],
        cache_control={"type": "ephemeral"},
    )

    assert "cache_control" not in body["tools"][0]
    assert "cache_control" not in body["system"][0]
    assert [
        block.get("cache_control") for turn in body["messages"] for block in turn["content"]
    ] == [mark, mark, {"type": "ephemeral"}, {"type": "ephemeral"}]


# streams


def event(kind: str, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind} | fields)
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def delta(index: int, kind: str, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind} | fields)


def start(index: int, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


STREAM = b"".join(
    [
        event(
            "message_start",
            message={
                "id": "msg_1",
                "usage": {
                    "input_tokens": 10,
                    "cache_read_input_tokens": 5,
                    "cache_creation_input_tokens": 7,
                    "cache_creation": {
                        "ephemeral_5m_input_tokens": 3,
                        "ephemeral_1h_input_tokens": 4,
                    },
                    "output_tokens": 1,
                },
            },
        ),
        event("ping"),
        start(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="Let me "),
        delta(0, "thinking_delta", thinking="sée."),
        delta(0, "signature_delta", signature="sig"),
        event("content_block_stop", index=0),
        start(1, type="redacted_thinking", data="blob"),
        event("content_block_stop", index=1),
        start(2, type="text", text=""),
        delta(2, "text_delta", text="Hällo"),
        delta(
            2,
            "citations_delta",
            citation={
                "type": "web_search_result_location",
                "url": "https://example.com",
                "title": "Example",
                "cited_text": "words",
                "encrypted_index": "x",
            },
        ),
        event("content_block_stop", index=2),
        start(3, type="tool_use", id="toolu_1", name="a_x2e_b", input={}),
        delta(3, "input_json_delta", partial_json=""),
        delta(3, "input_json_delta", partial_json='{"city":'),
        delta(3, "input_json_delta", partial_json='"Bonn"}'),
        event("content_block_stop", index=3),
        start(4, type="tool_use", id="toolu_2", name="now", input={}),
        event("content_block_stop", index=4),
        event(
            "message_delta",
            delta={"stop_reason": "tool_use", "stop_sequence": None},
            usage={"output_tokens": 42, "output_tokens_details": {"thinking_tokens": 9}},
        ),
        event("message_stop"),
    ]
)


def detail(index: int, **fields: Any) -> dict[str, Any]:
    form = {"format": "anthropic-claude-v1", "index": index}
    return {"reasoning_details": [{"type": "reasoning.text"} | fields | form]}


EVENTS = [
    Delta(reasoning="Let me ", extra=detail(0, text="Let me ")),
    Delta(reasoning="sée.", extra=detail(0, text="sée.")),
    Delta(extra=detail(0, signature="sig")),
    Delta(
        extra={
            "reasoning_details": [
                {
                    "type": "reasoning.encrypted",
                    "data": "blob",
                    "format": "anthropic-claude-v1",
                    "index": 1,
                }
            ]
        }
    ),
    Delta(content="Hällo"),
    Delta(
        extra={
            "annotations": [
                {
                    "type": "url_citation",
                    "url_citation": {
                        "url": "https://example.com",
                        "title": "Example",
                        "content": "words",
                    },
                }
            ]
        }
    ),
    call_piece(0, id="toolu_1", type="function", function={"name": "a.b", "arguments": ""}),
    call_piece(0, function={"arguments": '{"city":'}),
    call_piece(0, function={"arguments": '"Bonn"}'}),
    call_piece(1, id="toolu_2", type="function", function={"name": "now", "arguments": ""}),
    call_piece(1, function={"arguments": "{}"}),
    Finish(0, "tool_calls", "tool_use"),
    Used(
        Usage(
            prompt_tokens=22,
            completion_tokens=42,
            cached_tokens=5,
            cache_write_tokens=7,
            cache_write_1h_tokens=4,
            reasoning_tokens=9,
        )
    ),
    End(),
]


def test_a_stream():
    assert DIALECT.streams("text/event-stream; charset=utf-8")
    assert not DIALECT.streams("application/json")
    assert events_of(DIALECT, [STREAM]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_chopping_gives_the_same_events(places: list[int]):
    assert events_of(DIALECT, cut(STREAM, places)) == EVENTS


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "tool_calls"),
        ("whim", "stop"),
    ],
)
def test_reasons_to_stop(reason: str, finish: str):
    found = events_of(DIALECT, [event("message_delta", delta={"stop_reason": reason})])

    assert found == [Finish(0, finish, reason)]  # type: ignore[arg-type]


def test_a_refusal_with_its_reason():
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}

    found = events_of(
        DIALECT, [event("message_delta", delta={"stop_reason": "refusal", "stop_details": details})]
    )

    assert found == [
        Delta(extra={"refusal": "Not this."}),
        Finish(0, "content_filter", "refusal"),
    ]


@pytest.mark.parametrize(
    ("kind", "expected", "status"),
    [
        ("overloaded_error", UpstreamLimited, 529),
        ("rate_limit_error", UpstreamLimited, 429),
        ("invalid_request_error", UpstreamRejected, 400),
        ("authentication_error", UpstreamDenied, 502),
        ("api_error", UpstreamDown, 502),
        ("whim", UpstreamDown, 502),
    ],
)
def test_an_error_in_the_stream(kind: str, expected: type, status: int):
    (found,) = events_of(DIALECT, [event("error", error={"type": kind, "message": "No."})])

    assert isinstance(found, Broken)
    assert type(found.error) is expected
    assert found.error.told_status == status


# plain answers


def test_a_plain_answer():
    answer = DIALECT.answer(
        orjson.dumps(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "blob"},
                    {"type": "text", "text": "Hi"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                ],
                "stop_reason": "tool_use",
                "usage": {"input_tokens": 3, "output_tokens": 4},
            }
        )
    )

    assert answer.upstream_id == "msg_1"
    assert answer.usage == Usage(prompt_tokens=3, completion_tokens=4)
    assert answer.choices[0].finish == Finish(0, "tool_calls", "tool_use")
    assert answer.choices[0].message == {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "reasoning": "Hm.",
        "tool_calls": [
            {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        ],
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "text": "Hm.",
                "signature": "sig",
                "format": "anthropic-claude-v1",
                "index": 0,
            },
            {
                "type": "reasoning.encrypted",
                "data": "blob",
                "format": "anthropic-claude-v1",
                "index": 1,
            },
        ],
    }


def test_an_error_inside_a_200():
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'

    with pytest.raises(UpstreamLimited):
        DIALECT.answer(body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"content":7}', b"<html>"])
def test_an_answer_nobody_can_read(body: bytes):
    with pytest.raises(UpstreamDown):
        DIALECT.answer(body)


# errors


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (400, "invalid_request_error", "prompt is too long", UpstreamRejected),
        (400, "invalid_request_error", "Your credit balance is too low", UpstreamDenied),
        (
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access on 1 May.",
            UpstreamDenied,
        ),
        (400, "invalid_request_error", "This organization has been disabled.", UpstreamDenied),
        (401, "authentication_error", "invalid x-api-key", UpstreamDenied),
        (403, "permission_error", "", UpstreamDenied),
        (404, "not_found_error", "model: x", UpstreamDenied),
        (413, "request_too_large", "", UpstreamRejected),
        (429, "rate_limit_error", "", UpstreamLimited),
        (500, "api_error", "", UpstreamDown),
        (529, "overloaded_error", "", UpstreamLimited),
        (503, "", "", UpstreamDown),
    ],
)
def test_errors(status: int, kind: str, message: str, expected: type):
    body = orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})

    found = DIALECT.error(status, {}, body, NOW_MS)

    assert type(found) is expected
    if expected is UpstreamRejected:
        assert found.message == (message or "Provider returned error")


def test_vertex_has_errors_of_its_own():
    body = b'[{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}]'

    assert isinstance(VERTEX.error(429, {}, body, NOW_MS), UpstreamLimited)
    rejected = VERTEX.error(400, {}, b'{"error":{"message":"Bad"}}', NOW_MS)
    assert (type(rejected), rejected.message) == (UpstreamRejected, "Bad")


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({"retry-after": "3"}, 3_000),
        (
            {
                "anthropic-ratelimit-requests-remaining": "9",
                "anthropic-ratelimit-requests-reset": "2025-12-04T00:01:00Z",
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2025-12-04T00:00:07Z",
            },
            7_000,
        ),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "soon",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], wait_ms: int | None):
    assert DIALECT.error(429, headers, b"{}", NOW_MS).retry_after_ms == wait_ms


# whatever comes


_WORDS = st.sampled_from(
    ["type", "error", "message", "content", "usage", "delta", "index", "content_block", "text",
     "thinking", "tool_use", "input", "citations", "citation", "stop_reason", "refusal", "id",
     "message_start", "content_block_start", "content_block_delta", "content_block_stop",
     "message_delta", "input_json_delta", "partial_json", "stop_details", "name"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**60) | _WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(_JSON, max_size=4), st.binary(max_size=60))
def test_no_answer_of_a_provider_is_a_defect_of_ours(values: list[Any], noise: bytes):
    decoder = DIALECT.decoder()
    for data in [*map(orjson.dumps, values), noise]:
        with suppress(UpstreamError):
            decoder.decode(data)
        with suppress(UpstreamError):
            DIALECT.answer(data)
        assert isinstance(DIALECT.error(400, {}, data, NOW_MS), UpstreamError)


# the simulator, which was written from the provider's documentation alone


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 1.5, "top_p": 0.5, "top_k": 3, "stop": "x", "user": "ada"},
        {
            "reasoning": {"effort": "high"},
            "temperature": 0.3,
            "tools": [TOOL],
            "tool_choice": "required",
        },
        {"reasoning": {"max_tokens": 2_000}, "max_tokens": 4_000},
        {
            "tools": [TOOL | {"function": TOOL["function"] | {"strict": True}}],
            "tool_choice": "none",
        },
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "x",
                    "schema": {
                        "type": "object",
                        "properties": {"a": {"type": "integer", "minimum": 3}},
                    },
                },
            }
        },
        {
            "messages": [
                {"role": "system", "content": "Be kind.", "cache_control": {"type": "ephemeral"}},
                {"role": "assistant", "content": "Hello."},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                        {
                            "type": "file",
                            "file": {"file_data": f"data:application/pdf;base64,{PDF}"},
                        },
                        {"type": "text", "text": ""},
                    ],
                },
                {"role": "assistant", "tool_calls": [call(), call(call_id="x:2", name="a.b")]},
                {"role": "tool", "tool_call_id": "x:2", "content": ""},
                {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."},
            ],
            "reasoning": {"effort": "low"},
        },
    ],
)
def test_the_simulated_provider_takes_it(endpoint, model: str, fields: dict[str, Any]):
    efforts = () if model == "claude-sonnet-4-5" else ("low", "medium", "high", "max")
    upstream = DIALECT.encode(
        ask(**fields), claude(endpoint, model, efforts=efforts), KEY, stream=False
    )
    request = Request(
        method="POST",
        target="/v1/messages",
        headers=upstream.headers,
        body=upstream.body,
        keep_alive=True,
    )

    found = Simulated().read("anthropic", "/v1/messages", request)

    assert isinstance(found, Ask), found.body
