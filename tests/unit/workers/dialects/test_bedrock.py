"""The Bedrock dialect: what is sent and signed, the binary stream, and all that may come back."""

from __future__ import annotations

import base64
import struct
import zlib
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import botocore.session
import orjson
import pytest
from botocore.validate import ParamValidator
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
from workers.dialects.bedrock import BedrockDialect
from workers.dialects.bedrock_frames import BedrockReader
from workers.dialects.bedrock_media import Names
from workers.simulator.bedrock import BedrockDialect as Simulated
from workers.simulator.bedrock_auth import ACCESS_KEY, SECRET_KEY
from workers.simulator.dialect import Ask
from workers.simulator.wire import Request

DIALECT = BedrockDialect()
KEYS = AwsKeys(access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY)
NOW_MS = 1_764_806_400_000
USER = {"role": "user", "content": "Hi"}
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-2-lite-v1:0"
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
CALL = {
    "id": "toolu_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bonn"}'},
}
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJ"
    "RU5ErkJggg=="
)
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF").decode()
SHAPE = (
    botocore.session.get_session()
    .get_service_model("bedrock-runtime")
    .operation_model("Converse")
    .input_shape
)


def place_of(endpoint: Any, model: str = CLAUDE, **changes: Any) -> Any:
    known = {
        "upstream_id": model,
        "supported_parameters": ALL,
        "max_completion_tokens": 8_000,
        "context_length": 200_000,
        "provider": {"base_url": "https://bedrock-runtime.{region}.amazonaws.com"},
    }
    return endpoint(**(known | changes))


def ask(**fields: Any) -> Any:
    return parse_chat(orjson.dumps({"model": "a/m", "messages": [USER]} | fields))


def sent(place: Any, **fields: Any) -> dict[str, Any]:
    """A body, after Amazon's own description of the service accepted it."""
    upstream = DIALECT.encode(ask(**fields), place, KEYS, stream=False)
    body: dict[str, Any] = orjson.loads(upstream.body)
    report = ParamValidator().validate({"modelId": "x"} | body, SHAPE)
    assert not report.has_errors(), report.generate_report()
    return body


# where it goes, and how it is let in


def test_the_model_is_in_the_address_and_the_request_is_signed(endpoint):
    keys = AwsKeys(
        access_key_id="AK",
        secret_access_key="SK",  # noqa: S106
        session_token="ST",  # noqa: S106
        region="eu-west-1",
    )

    upstream = DIALECT.encode(ask(), place_of(endpoint, region="us-east-1"), keys, stream=True)

    assert upstream.url == (
        "https://bedrock-runtime.eu-west-1.amazonaws.com/model/"
        "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    )
    assert upstream.headers["accept"] == "application/vnd.amazon.eventstream"
    assert upstream.headers["x-amz-security-token"] == "ST"
    assert upstream.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AK/")
    assert "/eu-west-1/bedrock/aws4_request" in upstream.headers["authorization"]
    assert all(name == name.lower() for name in upstream.headers)


def test_an_api_key_is_a_bearer_token(endpoint):
    place = place_of(endpoint, region="us-west-2")

    upstream = DIALECT.encode(ask(), place, ApiKey("k"), stream=False)

    assert upstream.url.startswith("https://bedrock-runtime.us-west-2.amazonaws.com/")
    assert upstream.headers["authorization"] == "Bearer k"
    assert "x-amz-date" not in upstream.headers
    none = DIALECT.encode(ask(), place, ApiKey(""), stream=False)
    assert "authorization" not in none.headers


def test_a_key_cannot_change_the_address(endpoint):
    keys = AwsKeys(access_key_id="a", secret_access_key="b", region="evil.test/#")  # noqa: S106
    token = GoogleToken(token="t", project="p")  # noqa: S106
    for credential in (keys, token):
        with pytest.raises(UpstreamDenied):
            DIALECT.encode(ask(), place_of(endpoint), credential, stream=False)


# parameters and thinking


def test_parameters_of_claude(endpoint):
    body = sent(
        place_of(endpoint),
        max_tokens=50,
        temperature=1.7,
        top_p=0.9,
        top_k=40,
        stop=["END"],
        anthropic_betas=["interleaved-thinking-2025-05-14"],
        seed=3,
    )

    assert body == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"temperature": 1.0, "maxTokens": 50, "stopSequences": ["END"]},
        "additionalModelRequestFields": {
            "top_k": 40,
            "anthropic_beta": ["interleaved-thinking-2025-05-14"],
        },
    }


@pytest.mark.parametrize(
    ("model", "efforts", "fields", "more"),
    [
        (
            CLAUDE,
            (),
            {"reasoning": {"effort": "high"}},
            {"thinking": {"type": "enabled", "budget_tokens": 6_400}},
        ),
        (
            "anthropic.claude-opus-4-6-v1",
            ("low", "medium", "high"),
            {"reasoning": {"effort": "low"}},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (
            NOVA,
            (),
            {"reasoning": {"effort": "xhigh"}, "top_k": 5},
            {
                "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"},
                "inferenceConfig": {"topK": 5},
            },
        ),
        (NOVA, (), {"reasoning": {"enabled": False}}, {"reasoningConfig": {"type": "disabled"}}),
        ("openai.gpt-oss-120b-1:0", (), {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ("mistral.mistral-large-2407-v1:0", (), {"top_k": 5}, {"top_k": 5}),
        (
            "meta.llama4-maverick-17b-instruct-v1:0",
            (),
            {"top_k": 5, "reasoning_effort": "low"},
            None,
        ),
    ],
)
def test_each_makers_own_fields(
    endpoint, model: str, efforts: tuple[str, ...], fields: Any, more: Any
):
    body = sent(place_of(endpoint, model, efforts=efforts), **fields)

    assert body.get("additionalModelRequestFields") == more


def test_parameters_of_others(endpoint):
    body = sent(place_of(endpoint, NOVA), temperature=1.5, top_p=0.9, max_tokens=99_999)

    assert body["inferenceConfig"] == {"temperature": 1.0, "topP": 0.9, "maxTokens": 8_000}
    assert "inferenceConfig" not in sent(place_of(endpoint, NOVA))


def test_thinking_needs_room_and_forces_nothing(endpoint):
    body = sent(
        place_of(endpoint), reasoning={"effort": "low"}, tools=[TOOL], tool_choice="required"
    )

    assert body["inferenceConfig"] == {"maxTokens": 8_000}
    assert body["toolConfig"]["toolChoice"] == {"auto": {}}


# messages


def test_a_conversation(endpoint):
    thought = {
        "type": "reasoning.text",
        "text": "Hm.",
        "signature": "sig",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    hidden = {"type": "reasoning.encrypted", "data": "AAAA", "format": "anthropic-claude-v1"}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    body = sent(
        place_of(endpoint),
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Hi", "name": "ada"},
            {
                "role": "assistant",
                "content": "",
                "reasoning_details": [thought, hidden],
                "tool_calls": [CALL, CALL | {"id": "x/2"}],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": [image]},
            {"role": "user", "content": "So?"},
            {"role": "tool", "tool_call_id": "x/2", "content": ""},
        ],
        tools=[TOOL],
        reasoning={"effort": "low"},
    )

    first, _, second, third, fourth = body["messages"]
    assert body["system"] == [{"text": "Be kind."}]
    assert first == {"role": "user", "content": [{"text": "."}]}
    assert second["content"] == [{"text": "ada: Hi"}]
    assert third["content"][:2] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "AAAA"}},
    ]
    uses = [block["toolUse"] for block in third["content"][2:]]
    assert [use["input"] for use in uses] == [{"city": "Bonn"}] * 2
    results = [block["toolResult"] for block in fourth["content"][:2]]
    assert [result["toolUseId"] for result in results] == [use["toolUseId"] for use in uses]
    assert results[0]["content"][0]["image"]["format"] == "png"
    assert results[1]["content"] == [{"text": "."}]
    assert fourth["content"][2] == {"text": "So?"}


def test_a_client_that_lost_the_thoughts_is_answered_without_thinking(endpoint):
    body = sent(
        place_of(endpoint),
        messages=[
            USER,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."},
        ],
        tools=[TOOL],
        reasoning={"effort": "low"},
    )

    assert "additionalModelRequestFields" not in body


def test_thoughts_go_back_as_far_as_they_are_taken(endpoint):
    """One per turn is enough, none may end a turn, and none goes where nothing is thought."""
    thought = {
        "type": "reasoning.text",
        "text": "Hm.",
        "signature": "sig",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    history = [
        USER,
        {"role": "assistant", "reasoning_details": [thought]},
        USER,
        {"role": "assistant", "reasoning_details": [thought], "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."},
        {"role": "assistant", "tool_calls": [CALL | {"id": "toolu_2"}]},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Sun."},
    ]

    def kinds(body: Any) -> list[list[str]]:
        return [[next(iter(block)) for block in turn["content"]] for turn in body["messages"]]

    thinking = sent(place_of(endpoint), messages=history, tools=[TOOL], reasoning={"effort": "low"})
    plain = sent(place_of(endpoint), messages=history, tools=[TOOL])

    assert thinking["additionalModelRequestFields"]["thinking"]["type"] == "enabled"
    assert kinds(thinking)[:2] == [["text", "text"], ["reasoningContent", "toolUse"]]
    assert kinds(plain)[:2] == [["text", "text"], ["toolUse"]]


def test_a_bare_prompt_and_a_lone_system_message_are_user_messages(endpoint):
    request = parse_chat(b'{"model":"a/m","prompt":"Once"}')
    body = orjson.loads(DIALECT.encode(request, place_of(endpoint), KEYS, stream=False).body)
    lone = sent(place_of(endpoint), messages=[{"role": "system", "content": "Do."}])

    assert body["messages"] == [{"role": "user", "content": [{"text": "Once"}]}]
    assert lone == {"messages": [{"role": "user", "content": [{"text": "Do."}]}]}


def test_media(endpoint):
    pdf = {"filename": "Q1_report!.v2.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
    csv = {"filename": "Q1 report  v2.csv", "file_data": "data:text/csv;base64,YTti"}
    content = [
        {"type": "file", "file": pdf},
        {"type": "file", "file": csv},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": f"data:image/png;base64,{PNG}"}},
    ]  # fmt: skip

    request = ask(messages=[{"role": "user", "content": content}])
    found = orjson.loads(DIALECT.encode(request, place_of(endpoint), KEYS, stream=False).body)[
        "messages"
    ][0]["content"]

    assert [next(iter(block)) for block in found] == [
        "document", "document", "video", "audio", "image", "text",
    ]  # fmt: skip
    assert [block["document"]["name"] for block in found[:2]] == ["Q1 report v2", "Q1 report v2 2"]
    assert [block["document"]["format"] for block in found[:2]] == ["pdf", "csv"]
    assert found[5] == {"text": "."}


@given(st.lists(st.text(max_size=300), max_size=5))
def test_names_of_documents_are_such_as_are_taken(filenames: list[str]):
    names = Names()
    found = [names(filename) for filename in filenames]

    assert len(set(found)) == len(found)
    for name in found:
        assert 1 <= len(name) <= 200
        assert "  " not in name
        assert all(character.isascii() for character in name)


@pytest.mark.parametrize(
    ("part", "match"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            r"messages\[0\]\.content\[0\]\.image_url\.url: .*takes no URLs",
        ),
        ({"type": "file", "file": {"file_id": "f"}}, "send file_data"),
        ({"type": "file", "file": {"file_data": "data:application/zip;base64,AA=="}}, "zip"),
    ],
)
def test_parts_without_a_form_are_refused_with_the_fix(endpoint, part: Any, match: str):
    with pytest.raises(UpstreamRejected, match=match):
        sent(place_of(endpoint), messages=[{"role": "user", "content": [part]}])


def test_an_answer_that_was_begun(endpoint):
    begun = {"role": "assistant", "content": "The answer is \n"}

    body = sent(place_of(endpoint), messages=[USER, begun])
    assert body["messages"][1]["content"] == [{"text": "The answer is"}]
    with pytest.raises(UpstreamRejected, match="does not continue"):
        sent(place_of(endpoint, NOVA), messages=[USER, begun])


# tools, the form of the answer, caching


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "weather"}}, {"tool": {"name": "weather"}}),
    ],
)
def test_tools(endpoint, choice: Any, expected: Any):
    strict = {"type": "function", "function": {"name": "a.b", "strict": True}}

    config = sent(place_of(endpoint), tools=[TOOL, strict], tool_choice=choice)["toolConfig"]

    assert config.get("toolChoice") == expected
    assert config["tools"][0]["toolSpec"] == {
        "name": "weather",
        "description": "Looks outside.",
        "inputSchema": {"json": TOOL["function"]["parameters"]},
    }
    assert config["tools"][1]["toolSpec"] == {
        "name": "a_x2e_b",
        "inputSchema": {
            "json": {"type": "object", "properties": {}, "additionalProperties": False}
        },
        "strict": True,
    }


def test_tools_that_may_not_be_called_are_sent_only_for_the_history(endpoint):
    history = [
        USER,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."},
    ]

    assert "toolConfig" not in sent(place_of(endpoint), tools=[TOOL], tool_choice="none")
    for fields in ({}, {"tools": [TOOL], "tool_choice": "none"}):
        config = sent(place_of(endpoint), messages=history, **fields)["toolConfig"]
        assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["weather"]
        assert "toolChoice" not in config


def test_a_schema(endpoint):
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}}
    form = {
        "type": "json_schema",
        "json_schema": {"name": "x", "description": "d", "schema": schema},
    }

    definition = sent(place_of(endpoint), response_format=form)["outputConfig"]["textFormat"][
        "structure"
    ]["jsonSchema"]

    assert (definition["name"], definition["description"]) == ("x", "d")
    assert orjson.loads(definition["schema"]) == {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "additionalProperties": False,
    }


def test_cache_points_follow_what_is_marked(endpoint):
    mark = {"type": "ephemeral", "ttl": "1h"}
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    fields = {
        "tools": [TOOL | {"cache_control": mark}],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": mark}]},
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": mark}]},
            {"role": "assistant", "tool_calls": [CALL]},
            {
                "role": "tool",
                "tool_call_id": "toolu_1",
                "content": [{"type": "text", "text": "Rain.", "cache_control": mark}],
            },
            {"role": "user", "content": "So?"},
        ],
        "cache_control": {"type": "ephemeral"},
    }

    body = sent(place_of(endpoint), **fields)

    # Four at most: the earliest, on the tools, is gone.
    assert [next(iter(tool)) for tool in body["toolConfig"]["tools"]] == ["toolSpec"]
    assert body["system"] == [{"text": "s"}, point]
    assert body["messages"][0]["content"] == [{"text": "a"}, point]
    assert [next(iter(block)) for block in body["messages"][2]["content"]] == [
        "toolResult", "cachePoint", "text", "cachePoint",
    ]  # fmt: skip
    older = sent(place_of(endpoint, "us.anthropic.claude-sonnet-4-20250514-v1:0"), **fields)
    assert older["system"] == [{"text": "s"}, {"cachePoint": {"type": "default"}}]
    llama = sent(place_of(endpoint, "meta.llama4-maverick-17b-instruct-v1:0"), **fields)
    assert "cachePoint" not in orjson.dumps(llama).decode()


# the binary stream


def frame(name: str, payload: Any, *, kind: str = "event") -> bytes:
    data = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    headers = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    if kind == "error":
        headers = {":message-type": "error", ":error-code": name, ":error-message": "Broken."}
    packed = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for key, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(data), len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + data
    return message + struct.pack("!I", zlib.crc32(message))


def piece(index: int, **delta: Any) -> bytes:
    return frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "abc"})


def ended(index: int) -> bytes:
    return frame("contentBlockStop", {"contentBlockIndex": index})


def tool_start(index: int, call_id: str, name: str) -> bytes:
    use = {"toolUse": {"toolUseId": call_id, "name": name}}
    return frame("contentBlockStart", {"contentBlockIndex": index, "start": use})


STREAM = b"".join(
    [
        frame("messageStart", {"role": "assistant"}),
        piece(0, reasoningContent={"text": "Let me "}),
        piece(0, reasoningContent={"text": "sée."}),
        piece(0, reasoningContent={"signature": "sig"}),
        ended(0),
        piece(1, reasoningContent={"redactedContent": "AAAA"}),
        ended(1),
        piece(2, text="Hällo"),
        ended(2),
        tool_start(3, "t1", "a_x2e_b"),
        piece(3, toolUse={"input": '{"city":'}),
        piece(3, toolUse={"input": '"Bonn"}'}),
        ended(3),
        tool_start(4, "t2", "now"),
        ended(4),
        frame("messageStop", {"stopReason": "tool_use"}),
        frame(
            "metadata",
            {
                "usage": {
                    "inputTokens": 10,
                    "outputTokens": 42,
                    "totalTokens": 64,
                    "cacheReadInputTokens": 5,
                    "cacheWriteInputTokens": 7,
                    "cacheDetails": [
                        {"ttl": "1h", "inputTokens": 4},
                        {"ttl": "5m", "inputTokens": 3},
                    ],
                },
                "metrics": {"latencyMs": 5},
            },
        ),
    ]
)


def detail(index: int, kind: str = "reasoning.text", **fields: Any) -> dict[str, Any]:
    form = {"format": "anthropic-claude-v1", "index": index}
    return {"reasoning_details": [{"type": kind} | fields | form]}


EVENTS = [
    Delta(reasoning="Let me ", extra=detail(0, text="Let me ")),
    Delta(reasoning="sée.", extra=detail(0, text="sée.")),
    Delta(extra=detail(0, signature="sig")),
    Delta(extra=detail(1, "reasoning.encrypted", data="AAAA")),
    Delta(content="Hällo"),
    call_piece(0, id="t1", type="function", function={"name": "a.b", "arguments": ""}),
    call_piece(0, function={"arguments": '{"city":'}),
    call_piece(0, function={"arguments": '"Bonn"}'}),
    call_piece(1, id="t2", type="function", function={"name": "now", "arguments": ""}),
    call_piece(1, function={"arguments": "{}"}),
    Finish(0, "tool_calls", "tool_use"),
    Used(
        Usage(
            prompt_tokens=22,
            completion_tokens=42,
            cached_tokens=5,
            cache_write_tokens=7,
            cache_write_1h_tokens=4,
        )
    ),
    End(),
]


def test_a_stream():
    assert DIALECT.streams("application/vnd.amazon.eventstream")
    assert not DIALECT.streams("application/json")
    assert events_of(DIALECT, [STREAM]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_chopping_gives_the_same_events(places: list[int]):
    assert events_of(DIALECT, cut(STREAM, places)) == EVENTS


@given(st.binary(max_size=300), st.integers(0, len(STREAM) - 1), st.integers(0, 255))
def test_a_damaged_stream_is_the_providers_fault(noise: bytes, place: int, byte: int):
    damaged = STREAM[:place] + bytes([byte]) + STREAM[place + 1 :]
    for data in (noise, damaged, STREAM[:place] + noise):
        with suppress(UpstreamDown):
            events_of(DIALECT, [data])


def test_a_message_over_the_bound():
    reader = BedrockReader(max_bytes=1_000)
    big = frame("contentBlockDelta", {"delta": {"text": "x" * 2_000}})

    assert len(reader.feed(frame("messageStop", {}) * 40)) == 40
    with pytest.raises(UpstreamDown, match="more than 1000 bytes"):
        reader.feed(big)


def test_a_message_nobody_can_frame():
    with pytest.raises(UpstreamDown, match="cannot be read"):
        BedrockReader().feed(b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("throttlingException", UpstreamLimited),
        ("validationException", UpstreamRejected),
        ("internalServerException", UpstreamDown),
        ("serviceUnavailableException", UpstreamDown),
        ("modelStreamErrorException", UpstreamDown),
        ("modelTimeoutException", UpstreamDown),
        ("whimException", UpstreamDown),
    ],
)
def test_an_exception_in_the_stream(name: str, expected: type):
    (found,) = events_of(DIALECT, [frame(name, {"message": "No."}, kind="exception")])

    assert isinstance(found, Broken)
    assert type(found.error) is expected
    if expected is UpstreamRejected:
        assert found.error.message == "No."


def test_an_error_of_the_framing_itself():
    (found,) = events_of(DIALECT, [frame("500", b"", kind="error")])

    assert isinstance(found, Broken)
    assert isinstance(found.error, UpstreamDown)


# plain answers


def test_a_plain_answer():
    content = [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "AAAA"}},
        {"text": "Hi"},
        {
            "citationsContent": {
                "content": [{"text": " there"}],
                "citations": [
                    {
                        "title": "Example",
                        "location": {"web": {"url": "https://example.com"}},
                        "sourceContent": [{"text": "words"}],
                    },
                    {"location": {"documentChar": {"documentIndex": 0}}},
                ],
            }
        },
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
    ]
    answer = DIALECT.answer(
        orjson.dumps(
            {
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": "tool_use",
                "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
            }
        )
    )

    message = answer.choices[0].message
    assert answer.usage == Usage(prompt_tokens=3, completion_tokens=4)
    assert answer.choices[0].finish == Finish(0, "tool_calls", "tool_use")
    assert (message["content"], message["reasoning"]) == ("Hi there", "Hm.")
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert message["reasoning_details"] == (
        detail(0, text="Hm.", signature="sig")["reasoning_details"]
        + detail(1, "reasoning.encrypted", data="AAAA")["reasoning_details"]
    )
    assert message["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"url": "https://example.com", "title": "Example", "content": "words"},
        }
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("content_filtered", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("malformed_tool_use", "error"),
        ("whim", "stop"),
    ],
)
def test_reasons_to_stop(reason: str, finish: str):
    body = {"output": {"message": {"content": []}}, "stopReason": reason}

    assert DIALECT.answer(orjson.dumps(body)).choices[0].finish.reason == finish


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message":"No."}', b"<html>"])
def test_an_answer_nobody_can_read(body: bytes):
    with pytest.raises(UpstreamDown):
        DIALECT.answer(body)


@pytest.mark.parametrize(
    ("status", "name", "message", "expected"),
    [
        (429, "ThrottlingException", "Too many requests", UpstreamLimited),
        (429, "ModelNotReadyException:http://x", "", UpstreamLimited),
        (400, "ValidationException", "prompt is too long", UpstreamRejected),
        (400, "ValidationException", "The provided model identifier is invalid.", UpstreamDenied),
        (400, "ValidationException", "Operation not allowed", UpstreamDenied),
        (400, "ServiceQuotaExceededException", "", UpstreamDenied),
        (403, "AccessDeniedException", "", UpstreamDenied),
        (404, "ResourceNotFoundException", "", UpstreamDenied),
        (408, "ModelTimeoutException", "", UpstreamDown),
        (424, "ModelErrorException", "", UpstreamDown),
        (500, "InternalServerException", "", UpstreamDown),
        (503, "ServiceUnavailableException", "", UpstreamDown),
    ],
)
def test_errors(status: int, name: str, message: str, expected: type):
    headers = {"x-amzn-errortype": name}

    found = DIALECT.error(status, headers, orjson.dumps({"message": message}), NOW_MS)

    assert type(found) is expected
    if expected is UpstreamRejected:
        assert (found.message, found.told_status) == (message, status)


_WORDS = st.sampled_from(
    ["output", "message", "content", "text", "toolUse", "input", "reasoningContent", "usage",
     "reasoningText", "citationsContent", "citations", "stopReason", "contentBlockIndex", "delta",
     "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata",
     "start", "inputTokens", "cacheDetails", "throttlingException", "location", "web", "url"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**60) | _WORDS,
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


@pytest.mark.parametrize("model", [CLAUDE, "anthropic.claude-opus-4-6-v1", NOVA])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 1.5, "top_p": 0.5, "top_k": 3, "stop": "x"},
        {"reasoning": {"effort": "high"}, "tools": [TOOL], "tool_choice": "required"},
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
                    ],
                },
                {"role": "assistant", "tool_calls": [CALL, CALL | {"id": "x/2"}]},
                {"role": "tool", "tool_call_id": "x/2", "content": ""},
                {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."},
            ],
        },
    ],
)
def test_the_simulated_provider_takes_it(endpoint, model: str, fields: dict[str, Any]):
    efforts = ("low", "medium", "high") if "4-6" in model else ()
    place = place_of(
        endpoint,
        model,
        efforts=efforts,
        provider={"base_url": "http://127.0.0.1:8099/p/amazon-bedrock"},
    )
    upstream = DIALECT.encode(ask(**fields), place, KEYS, stream=False)
    target = upstream.url.removeprefix("http://127.0.0.1:8099")
    request = Request(
        method="POST",
        target=target,
        headers=upstream.headers | {"host": "127.0.0.1:8099"},
        body=upstream.body,
        keep_alive=True,
    )

    path = unquote(target.removeprefix("/p/amazon-bedrock"))
    found = Simulated().read("amazon-bedrock", path, request)

    assert isinstance(found, Ask), found.body
