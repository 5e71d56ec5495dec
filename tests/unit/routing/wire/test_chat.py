from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.errors import BadRequest
from routing.wire.chat import ChatRequest, checked, parse_chat

HELLO = [{"role": "user", "content": "hello"}]
LONG = "x" * 1_000


def chat(**fields: Any) -> bytes:
    return orjson.dumps({"model": "a/m", "messages": HELLO} | fields)


def refusal(body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse_chat(body)
    return caught.value


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def test_a_typical_request_keeps_what_was_sent():
    request = parse_chat(chat(stream=True, temperature=0.5, safe_prompt=True))

    assert request.messages is not None
    assert request.messages[0].content == "hello"
    assert request.stream is True
    assert request.model_extra == {"safe_prompt": True}


def test_null_is_the_same_as_absent():
    names = [name for name in ChatRequest.model_fields if name not in ("messages", "model")]

    request = parse_chat(chat(**dict.fromkeys(names)))

    assert all(getattr(request, name) is None for name in names)


FULL = {
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What?", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://x.test/a"}},
                {"type": "video_url", "video_url": {"url": "https://x.test/v.mp4"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
            "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
        },
        {"role": "tool", "content": "42\x00", "tool_call_id": "1"},
    ],
    "models": ["a/n", "a/m"],
    "provider": {
        "order": ["p"],
        "sort": {"by": "price", "partition": "none"},
        "max_price": {"prompt": 0.1, "completion": "2.50"},
        "preferred_max_latency": {"p50": 2},
        "quantizations": ["fp8"],
    },
    "plugins": [{"id": "web", "max_results": 3}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}}},
    "reasoning": {"effort": "high"},
    "stop": ["a", "b"],
    "logit_bias": {"50256": -100},
    "metadata": {"k": "v"},
    "unknown": {"deep": [1, {"x": None}]},
}


def test_the_record_for_the_worker_reads_back_as_the_same_request():
    request = parse_chat(orjson.dumps(FULL))

    again = ChatRequest.from_trusted_json(request.to_json())

    assert again == request
    assert again.model_extra == {"unknown": {"deep": [1, {"x": None}]}}
    assert b'"schema":{"a":1}' in request.to_json()
    assert b'"max_price":{"prompt":"0.1","completion":"2.50"}' in request.to_json()


TEXT = {"type": "text", "text": "x"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
BAD_CALL: dict[str, Any] = {"name": "f", "arguments": {}}
BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("messages", "hi", "messages"),
    ("messages", [], "messages"),
    ("messages", [1], "messages[0]"),
    ("messages", [1] * 100_000, "messages[0]"),
    ("messages", [{}] * 11_000, "messages[0].role"),
    ("messages", HELLO * 10_001, "messages"),
    ("messages", [{"role": "robot", "content": "x"}], "messages[0].role"),
    ("messages", [{"role": "user"}], "messages[0].content"),
    ("messages", [{"role": "user", "content": 1}], "messages[0].content"),
    ("messages", [{"role": "user", "content": {}}], "messages[0].content"),
    ("messages", [{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
    ("messages", [*HELLO, {"role": "assistant", "tool_calls": {}}], "messages[1].tool_calls"),
    (
        "messages",
        [{"role": "assistant", "tool_calls": [{"id": "1", "function": BAD_CALL}]}],
        "messages[0].tool_calls[0].function.arguments",
    ),
    ("messages", user("x"), "messages[0].content[0]"),
    ("messages", user({"type": []}), "messages[0].content[0]"),
    ("messages", user({"type": "hologram"}), "messages[0].content[0]"),
    ("messages", user({"type": "text"}), "messages[0].content[0].text"),
    ("messages", user({"type": "image_url"}), "messages[0].content[0].image_url"),
    (
        "messages",
        [*HELLO, *HELLO, *user({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})],
        "messages[2].content[0].image_url.url",
    ),
    (
        "messages",
        user({"type": "image_url", "image_url": {"url": "https://x.test/" + "y" * 9_000}}),
        "messages[0].content[0].image_url.url",
    ),
    (
        "messages",
        user({"type": "input_audio", "input_audio": {"data": "https://x", "format": "wav"}}),
        "messages[0].content[0].input_audio.data",
    ),
    ("messages", user({"type": "file", "file": {}}), "messages[0].content[0].file"),
    (
        "messages",
        [{"role": "system", "content": [TEXT, IMAGE]}],
        "messages[0].content[1].type",
    ),
    ("prompt", "both", "prompt"),
    ("prompt", ["x"], "prompt"),
    ("model", 1, "model"),
    ("model", "", "model"),
    ("model", "a/m\x00", "model"),
    ("model", "a b", "model"),
    ("model", LONG, "model"),
    ("models", "a/m", "models"),
    ("models", ["a/m\x00"], "models[0]"),
    ("models", ["a", "b", "c", "d"], "models"),
    ("route", "anywhere", "route"),
    ("preset", "x\x00", "preset"),
    ("transforms", ["inside-out"], "transforms[0]"),
    ("stream", "true", "stream"),
    ("stream", 1, "stream"),
    ("stream_options", [], "stream_options"),
    ("usage", {"include": 1}, "usage.include"),
    ("max_tokens", 0, "max_tokens"),
    ("max_tokens", 1.5, "max_tokens"),
    ("max_tokens", 10.0, "max_tokens"),
    ("max_tokens", "10", "max_tokens"),
    ("max_tokens", True, "max_tokens"),
    ("max_tokens", 2**63, "max_tokens"),
    ("max_completion_tokens", -1, "max_completion_tokens"),
    ("temperature", 2.1, "temperature"),
    ("temperature", -0.1, "temperature"),
    ("temperature", "hot", "temperature"),
    ("temperature", True, "temperature"),
    ("top_p", 0, "top_p"),
    ("top_p", 1.01, "top_p"),
    ("top_k", -1, "top_k"),
    ("top_k", 0.5, "top_k"),
    ("frequency_penalty", 3, "frequency_penalty"),
    ("presence_penalty", -3, "presence_penalty"),
    ("repetition_penalty", 0, "repetition_penalty"),
    ("min_p", 2, "min_p"),
    ("top_a", -1, "top_a"),
    ("seed", 2**53, "seed"),
    ("seed", 1.5, "seed"),
    ("stop", 5, "stop"),
    ("stop", ["a"] * 5, "stop"),
    ("stop", ["a", 1], "stop[1]"),
    ("logit_bias", {"1": 101}, "logit_bias.1"),
    ("logit_bias", {str(i): "x" for i in range(2_000)}, "logit_bias"),
    ("logit_bias", [1], "logit_bias"),
    ("logprobs", 1, "logprobs"),
    ("top_logprobs", 21, "top_logprobs"),
    ("top_logprobs", 5, "top_logprobs"),
    ("n", 2, "n"),
    ("n", 0, "n"),
    ("n", "1", "n"),
    ("response_format", "json", "response_format"),
    ("response_format", {"type": "xml"}, "response_format.type"),
    ("response_format", {"type": "json_schema"}, "response_format.json_schema"),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "a b"}},
        "response_format.json_schema.name",
    ),
    ("structured_outputs", "yes", "structured_outputs"),
    ("tools", {}, "tools"),
    ("tools", [{"type": "openrouter:web_search"}], "tools[0].type"),
    ("tools", [{"type": "function"}], "tools[0].function"),
    ("tools", [{"type": "function", "function": {"name": "x" * 65}}], "tools[0].function.name"),
    ("tool_choice", "maybe", "tool_choice"),
    ("tool_choice", 1, "tool_choice"),
    ("tool_choice", "required", "tool_choice"),
    ("parallel_tool_calls", "no", "parallel_tool_calls"),
    ("reasoning", True, "reasoning"),
    ("reasoning", {"effort": "extreme"}, "reasoning.effort"),
    ("reasoning", {"max_tokens": 0}, "reasoning.max_tokens"),
    ("reasoning", {"effort": "low", "max_tokens": 5}, "reasoning"),
    ("reasoning_effort", "extreme", "reasoning_effort"),
    ("include_reasoning", "yes", "include_reasoning"),
    ("verbosity", "loud", "verbosity"),
    ("web_search_options", {"search_context_size": "xl"}, "web_search_options.search_context_size"),
    ("modalities", ["smell"], "modalities[0]"),
    ("modalities", [], "modalities"),
    ("image_config", [], "image_config"),
    ("audio", {"format": "midi"}, "audio.format"),
    ("prediction", {"type": "content"}, "prediction.content"),
    ("user", 5, "user"),
    ("user", "u\x00", "user"),
    ("user", "u" * 257, "user"),
    ("session_id", "s\x00", "session_id"),
    ("session_id", "", "session_id"),
    ("metadata", {"k": 1}, "metadata.k"),
    ("metadata", {"k": "v\x00"}, "metadata.k"),
    ("metadata", {"k\x00": "v"}, "metadata.k\\x00"),
    ("metadata", {"[k]": "v"}, "metadata.[k]"),
    ("metadata", {"k": "v" * 513}, "metadata.k"),
    ("metadata", {str(i): "v" for i in range(17)}, "metadata"),
    ("trace", "t", "trace"),
    ("service_tier", "gold", "service_tier"),
    ("cache_control", {"type": "forever"}, "cache_control.type"),
    ("plugins", {"id": "web"}, "plugins"),
    ("plugins", [{"id": "teleport"}], "plugins[0].id"),
    ("plugins", [{"id": "web", "max_results": 0}], "plugins[0].max_results"),
    ("debug", {"echo_upstream_body": 1}, "debug.echo_upstream_body"),
    ("provider", "openai", "provider"),
    ("provider", {"order": "openai"}, "provider.order"),
    ("provider", {"order": [1]}, "provider.order[0]"),
    ("provider", {"only": ["p\x00"]}, "provider.only[0]"),
    ("provider", {"ignore": [""]}, "provider.ignore[0]"),
    ("provider", {"ignore": ["p"] * 257}, "provider.ignore"),
    ("provider", {"allow_fallbacks": "no"}, "provider.allow_fallbacks"),
    ("provider", {"require_parameters": 1}, "provider.require_parameters"),
    ("provider", {"data_collection": "maybe"}, "provider.data_collection"),
    ("provider", {"zdr": "yes"}, "provider.zdr"),
    ("provider", {"quantizations": ["int3"]}, "provider.quantizations[0]"),
    ("provider", {"sort": "beauty"}, "provider.sort"),
    ("provider", {"sort": {"by": "beauty"}}, "provider.sort.by"),
    ("provider", {"sort": 1}, "provider.sort"),
    ("provider", {"max_price": 1}, "provider.max_price"),
    ("provider", {"max_price": {"prompt": -1}}, "provider.max_price.prompt"),
    ("provider", {"max_price": {"prompt": True}}, "provider.max_price.prompt"),
    ("provider", {"max_price": {"prompt": "cheap"}}, "provider.max_price.prompt"),
    ("provider", {"max_price": {"prompt": "NaN"}}, "provider.max_price.prompt"),
    ("provider", {"max_price": {"image": "1e999999999"}}, "provider.max_price.image"),
    ("provider", {"max_price": {"request": 1e300}}, "provider.max_price.request"),
    ("provider", {"preferred_min_throughput": 0}, "provider.preferred_min_throughput"),
    ("provider", {"preferred_max_latency": {"p50": "1"}}, "provider.preferred_max_latency.p50"),
    ("provider", {"options": {"openai": 1}}, "provider.options.openai"),
    ("provider", {"options": {str(i): 1 for i in range(1_000)}}, "provider.options"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [pytest.param(*case, id=f"{index}-{case[2]}") for index, case in enumerate(BAD_FIELDS)],
)
def test_a_bad_field_is_a_bad_request_that_names_it(field: str, value: Any, param: str):
    error = refusal(chat(**{field: value}))

    assert error.param == param
    assert param in error.message
    assert "~" not in error.message
    assert len(error.message) < 1_000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"", "empty", id="nothing"),
        pytest.param(b" \n", "empty", id="only spaces"),
        pytest.param(b'{"model":}', "line 1, column 10", id="malformed"),
        pytest.param(b"[]", "must be a JSON object, not an array", id="an array"),
        pytest.param(b"null", "must be a JSON object, not null", id="null"),
        pytest.param(b'{"x":NaN}', "not valid JSON", id="NaN"),
        pytest.param(b'{"x":-Infinity}', "not valid JSON", id="infinity"),
        pytest.param(b'{"x":1e999}', "not valid JSON", id="overflow"),
        pytest.param(b'{"n":' + b"1" * 1_000_000 + b"}", "not valid JSON", id="a million digits"),
        pytest.param(b'{"x":"\\ud800"}', "not valid JSON", id="lone surrogate"),
        pytest.param(b'{"x":"\xff"}', "UTF-8", id="not UTF-8"),
        pytest.param(b'{"x":' + b"[" * 100_000, "240 levels", id="100,000 levels"),
        pytest.param(b'{"x":' + b"[" * 300 + b"]" * 300 + b"}", "240 levels", id="300 levels"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_says_where(body: bytes, words: str):
    assert words in refusal(body).message


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(b"[" + b"1," * 300_000 + b"1]", id="numbers"),
        pytest.param(b"[" + b"[]," * 150_000 + b"1]", id="arrays"),
        pytest.param(b'["' + b'\\",' * 9 + b'",' + b"{}," * 150_000 + b"1]", id="after a text"),
    ],
)
def test_a_body_of_countless_values_is_refused_before_it_is_built(values: bytes):
    assert "more than 250000 values" in refusal(b'{"x":' + values + b"}").message


def test_a_text_may_hold_any_number_of_commas_and_brackets():
    text = 'f(a, {b: [1, 2]}, "c\\")\n' * 50_000

    request = parse_chat(chat(messages=[{"role": "user", "content": text}]))

    assert request.messages is not None
    assert request.messages[0].content == text


def test_what_can_be_read_can_be_written_again():
    deep = orjson.loads(b"[" * 239 + b"]" * 239)

    request = parse_chat(chat(unknown=deep))

    assert ChatRequest.from_trusted_json(request.to_json()) == request


def test_one_message_tells_three_problems_and_counts_the_rest():
    error = refusal(chat(temperature=9, top_p=9, min_p=9, top_a=9))

    assert error.message == (
        "temperature: must be at most 2, not 9; top_p: must be at most 1, not 9;"
        " min_p: must be at most 1, not 9 (and 1 more)"
    )
    assert error.param == "temperature"


def test_four_models_are_told_in_the_words_clients_know():
    assert refusal(chat(models=list("abcd"))).message == (
        "'models' array must have 3 items or fewer."
    )


def test_input_is_cut_before_it_is_echoed():
    error = refusal(chat(verbosity="sk-or-v1-" + LONG))

    assert len(error.message) < 200


def test_a_refusal_carries_no_prompt():
    error = refusal(chat(messages=[{"role": "user", "content": "secret"}], temperature="x"))

    assert "secret" not in error.message
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_unknown_fields_with_unlucky_names_are_only_data():
    names = ["model_config", "model_fields_set", "__pydantic_extra__", "__class__", "to_json"]

    request = parse_chat(chat(**dict.fromkeys(names, 1)))

    assert ChatRequest.from_trusted_json(request.to_json()) == request
    assert request.model_extra == dict.fromkeys(names, 1)


def test_neither_messages_nor_prompt_is_refused():
    assert refusal(b"{}").param == "messages"


def test_the_last_of_duplicate_keys_counts():
    body = b'{"prompt":"x","temperature":9,"temperature":1}'

    assert parse_chat(body).temperature == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "url", "by", "id", "name", "function", "p50"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(list(ChatRequest.model_fields)), JSON, max_size=5))
def test_any_json_is_a_request_or_a_bad_request(fields: dict[str, Any]):
    try:
        request = parse_chat(chat(**fields))
    except BadRequest:
        return
    assert ChatRequest.from_trusted_json(request.to_json()) == request


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | JSON.map(orjson.dumps))
def test_any_bytes_are_a_request_or_a_bad_request(body: bytes):
    with suppress(BadRequest):
        parse_chat(body)


@pytest.mark.parametrize(
    "result", [["Ulysses", "Dubliners"], [{"id": 1, "title": "Ulysses"}], {"a": 1}]
)
def test_a_tools_result_that_is_plain_json_is_text(result):
    """Clients append what their tool returned; the guides do."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = checked(
        {
            "model": "a/b",
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": result},
            ],
        }
    )
    assert request.messages is not None
    assert orjson.loads(str(request.messages[2].content)) == result


def test_a_tools_name_has_openais_bound():
    tools = [{"type": "function", "function": {"name": "x" * 65}}]
    with pytest.raises(BadRequest, match=r"tools\[0\].function.name: must have 64 characters"):
        checked({"model": "a/b", "messages": [{"role": "user", "content": "hi"}], "tools": tools})
