"""The OpenAI dialect: what is sent, and everything that may come back."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.credentials import ApiKey
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
from workers.dialects.common import RAW_MAX_CHARS, loads
from workers.dialects.openai import OpenAIDialect

DIALECT = OpenAIDialect()
MESSAGES = [{"role": "user", "content": "Hi"}]
NOW_MS = 1_764_806_400_000
DETAIL = {"type": "reasoning.text", "text": "hm", "format": "unknown", "index": 0}
THOUGHT = {"reasoning_details": [DETAIL]}


def sent(endpoint: Any, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": MESSAGES} | fields))
    body: dict[str, Any] = orjson.loads(
        DIALECT.encode(request, endpoint, ApiKey("k"), stream=stream).body
    )
    return body


def decoded(chunk: Any) -> list[Any]:
    data = chunk if isinstance(chunk, bytes) else orjson.dumps(chunk)
    return list(DIALECT.decoder().decode(data))


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0} | fields]}


# encode


def test_the_request_goes_to_the_providers_own_model_with_its_key(endpoint):
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": MESSAGES}))

    upstream = DIALECT.encode(request, endpoint(), ApiKey("secret"), stream=True)

    assert upstream.url == "https://acme.test/v1/chat/completions"
    assert upstream.headers["authorization"] == "Bearer secret"
    assert upstream.headers["accept"] == "text/event-stream"
    assert orjson.loads(upstream.body) == {
        "model": "m-1",
        "messages": MESSAGES,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_an_endpoint_without_a_key_gets_no_header(endpoint):
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": MESSAGES}))

    assert (
        "authorization" not in DIALECT.encode(request, endpoint(), ApiKey(""), stream=False).headers
    )


def test_a_bare_prompt_goes_to_completions_where_they_are_served(endpoint):
    request = parse_chat(b'{"model":"a/m","prompt":"Once"}')
    served = endpoint(provider={"quirks": frozenset({"text_completions"})})

    upstream = DIALECT.encode(request, served, ApiKey(""), stream=False)

    assert upstream.url.endswith("/v1/completions")
    assert orjson.loads(upstream.body) == {"model": "m-1", "prompt": "Once"}


def test_elsewhere_it_is_what_a_user_says(endpoint):
    request = parse_chat(b'{"model":"a/m","prompt":"Once"}')

    upstream = DIALECT.encode(request, endpoint(), ApiKey(""), stream=False)

    assert upstream.url.endswith("/v1/chat/completions")
    messages = [{"role": "user", "content": "Once"}]
    assert orjson.loads(upstream.body) == {"model": "m-1", "messages": messages}


def test_parameters_the_endpoint_does_not_list_are_left_out(endpoint):
    body = sent(
        endpoint(),
        temperature=0.5,
        top_p=0.9,
        seed=7,
        logprobs=True,
        top_logprobs=2,
        parallel_tool_calls=False,
        stop=["x"],
    )

    assert body == {
        "model": "m-1",
        "messages": MESSAGES,
        "temperature": 0.5,
        "logprobs": True,
        "top_logprobs": 2,
        "parallel_tool_calls": False,
        "stop": ["x"],
    }


def test_what_is_for_the_router_never_leaves_it(endpoint):
    body = sent(
        endpoint(),
        models=["b/n"],
        provider={"sort": "price"},
        route="fallback",
        transforms=["middle-out"],
        usage={"include": True},
        session_id="s",
        metadata={"a": "b"},
        trace={"a": 1},
        plugins=[{"id": "web"}],
        debug={"echo_upstream_body": True},
    )

    assert body == {"model": "m-1", "messages": MESSAGES}


def test_options_for_this_provider_are_merged_but_never_what_is_asked_or_what_it_costs(endpoint):
    body = sent(
        endpoint(tag="acme/turbo"),
        provider={
            "options": {
                "acme": {"guided": 1, "model": "x", "stream": True, "messages": [], "n": 9},
                "acme/turbo": {"guided": 2, "max_tokens": 99_999},
                "other": {"unguided": 1},
            }
        },
    )

    assert body == {"model": "m-1", "messages": MESSAGES, "guided": 2}


@pytest.mark.parametrize(
    ("quirks", "field"),
    [
        ({"developer_role", "strict_fields"}, "safety_identifier"),
        (set(), "user"),
        ({"strict_fields"}, None),
    ],
)
def test_a_user_is_named_by_a_hash_where_there_is_a_field_for_it(endpoint, quirks, field):
    body = sent(endpoint(provider={"quirks": frozenset(quirks)}), user="ada")

    found = {name: value for name, value in body.items() if name in ("user", "safety_identifier")}
    assert list(found) == ([field] if field else [])
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in found.values())


def test_what_openai_alone_knows_is_not_sent_to_other_strict_providers(endpoint):
    fields = {"service_tier": "fast", "prompt_cache_key": "k", "image_config": {"a": 1}}
    openai = endpoint(provider={"quirks": frozenset({"developer_role", "strict_fields"})})
    strict = endpoint(provider={"quirks": frozenset({"strict_fields"})})

    assert sent(openai, **fields) == {
        "model": "m-1",
        "messages": MESSAGES,
        "service_tier": "priority",
        "prompt_cache_key": "k",
    }
    assert sent(strict, **fields) == {"model": "m-1", "messages": MESSAGES}
    assert sent(endpoint(), **fields)["image_config"] == {"a": 1}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"modalities": ["text"]}, {}),
        (
            {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
            {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
        ),
        ({"verbosity": "low"}, {"verbosity": "low"}),
        ({"verbosity": "max"}, {"verbosity": "high"}),
        (
            {"prediction": {"type": "content", "content": "x"}},
            {"prediction": {"type": "content", "content": "x"}},
        ),
        (
            {"web_search_options": {"search_context_size": "low"}},
            {"web_search_options": {"search_context_size": "low"}},
        ),
        ({"logit_bias": {"50256": -100}}, {"logit_bias": {"50256": -100}}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "strict": True, "schema": {"type": "object"}},
                }
            },
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "strict": True, "schema": {"type": "object"}},
                }
            },
        ),
    ],
)
def test_listed_parameters_are_sent(endpoint, fields, expected):
    listed = frozenset(
        {"verbosity", "prediction", "web_search_options", "logit_bias", "response_format"}
    )
    strict = frozenset({"strict_fields"})

    body = sent(endpoint(supported_parameters=listed, provider={"quirks": strict}), **fields)

    assert body == {"model": "m-1", "messages": MESSAGES, **expected}


def test_a_seed_goes_by_the_name_the_provider_knows(endpoint):
    seeded = endpoint(
        supported_parameters=frozenset({"seed"}), provider={"quirks": frozenset({"random_seed"})}
    )

    assert sent(seeded, seed=7) == {"model": "m-1", "messages": MESSAGES, "random_seed": 7}


def test_stop_is_left_out_where_reasoning_models_refuse_it(endpoint):
    quirks = {"quirks": frozenset({"no_stop_with_reasoning"})}
    plain = endpoint(supported_parameters=frozenset({"stop"}), provider=quirks)

    assert "stop" not in sent(endpoint(provider=quirks), stop="x")
    assert sent(plain, stop="x")["stop"] == "x"


def test_unknown_fields_pass_unless_the_provider_is_strict(endpoint):
    strict = endpoint(provider={"quirks": frozenset({"strict_fields"})})

    assert sent(endpoint(), chat_template_kwargs={"a": 1})["chat_template_kwargs"] == {"a": 1}
    assert "chat_template_kwargs" not in sent(strict, chat_template_kwargs={"a": 1})


@pytest.mark.parametrize(
    ("quirks", "fields", "expected"),
    [
        pytest.param(set(), {"max_tokens": 50}, {"max_tokens": 50}, id="old name"),
        pytest.param(set(), {"max_completion_tokens": 50}, {"max_tokens": 50}, id="new name"),
        pytest.param(set(), {"max_tokens": 5_000}, {"max_tokens": 1_000}, id="capped"),
        pytest.param(set(), {}, {}, id="no limit"),
        pytest.param(
            {"max_completion_tokens"}, {"max_tokens": 50}, {"max_completion_tokens": 50}, id="quirk"
        ),
    ],
)
def test_the_limit_goes_by_the_name_the_provider_knows(endpoint, quirks, fields, expected):
    body = sent(endpoint(provider={"quirks": frozenset(quirks)}), **fields)

    assert {name: value for name, value in body.items() if name.startswith("max_")} == expected


def test_a_provider_that_sends_usage_unasked_is_not_asked(endpoint):
    body = sent(endpoint(provider={"quirks": frozenset({"usage_always"})}), stream=True)

    assert body["stream"] is True
    assert "stream_options" not in body


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning": {"effort": "high"}}, "high"),
        ({"reasoning": {"enabled": True}}, "medium"),
        ({"reasoning_effort": "low"}, "low"),
        ({"reasoning": {"enabled": False}}, "none"),
        ({"reasoning": {"effort": "none"}}, "none"),
        ({"reasoning": {"max_tokens": 800}}, "high"),
        ({"reasoning": {"max_tokens": 200}}, "low"),
        ({"reasoning": {"exclude": True}, "reasoning_effort": "low"}, "low"),
        ({}, None),
    ],
)
def test_how_much_to_think(endpoint, fields: dict[str, Any], expected: str | None):
    assert sent(endpoint(), **fields).get("reasoning_effort") == expected


def test_effort_is_not_sent_where_it_is_not_known(endpoint):
    for place in (
        endpoint(supported_parameters=frozenset()),
        endpoint(provider={"quirks": frozenset({"no_reasoning_effort"})}),
    ):
        assert "reasoning_effort" not in sent(place, reasoning_effort="low")


@pytest.mark.parametrize(
    ("efforts", "fields", "expected"),
    [
        (("low", "medium", "high"), {"effort": "max"}, "high"),
        (("low", "medium", "high"), {"effort": "minimal"}, "low"),
        (("low", "high"), {"effort": "medium"}, "low"),
        (("none", "low"), {"effort": "none"}, "none"),
        (("none",), {"effort": "high"}, None),
    ],
)
def test_the_nearest_effort_the_endpoint_knows(endpoint, efforts, fields, expected):
    assert sent(endpoint(efforts=efforts), reasoning=fields).get("reasoning_effort") == expected


def test_a_model_that_lists_an_effort_takes_one_where_others_do_not(endpoint):
    listed = frozenset({"reasoning", "reasoning_effort"})
    quirks = frozenset({"no_reasoning_effort", "reasoning_switch"})
    place = endpoint(
        supported_parameters=listed, efforts=("low", "high"), provider={"quirks": quirks}
    )

    body = sent(place, reasoning={"effort": "medium"})

    assert body["reasoning_effort"] == "low"
    assert "reasoning" not in body


@pytest.mark.parametrize(("asked", "word"), [("low", "default"), ("none", "none")])
def test_a_model_that_thinks_or_does_not_has_two_words_for_it(endpoint, asked, word):
    place = endpoint(
        upstream_id="qwen/qwen3-32b", provider={"quirks": frozenset({"reasoning_parsed"})}
    )

    assert sent(place, reasoning_effort=asked)["reasoning_effort"] == word


@pytest.mark.parametrize("seed", [5, -3, 2**40 + 1])
def test_mistrals_seed_is_never_negative_nor_long(endpoint, seed: int):
    place = endpoint(
        supported_parameters=frozenset({"seed"}), provider={"quirks": frozenset({"random_seed"})}
    )

    found = sent(place, seed=seed)["random_seed"]

    assert found == seed % 2**31


@pytest.mark.parametrize(("asked", "told"), [(2, 1.5), (1.5, 1.5), (0, 0)])
def test_a_temperature_beyond_the_providers_is_its_highest(endpoint, asked, told):
    place = endpoint(provider={"quirks": frozenset({"mild_temperature"})})

    assert sent(place, temperature=asked)["temperature"] == told


def test_calls_of_another_model_have_thoughts_where_they_are_missed(endpoint):
    quirks = frozenset({"thinking_switch", "no_reasoning_effort", "replays_reasoning"})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ]
    place = endpoint(provider={"quirks": quirks})

    on = sent(place, messages=messages, reasoning={"enabled": True})["messages"][1]
    off = sent(place, messages=messages, reasoning={"enabled": False})["messages"][1]

    assert on["reasoning_content"] == " "
    assert "reasoning_content" not in off


@pytest.mark.parametrize(
    ("quirks", "listed", "kept"),
    [
        ({"developer_role", "strict_fields"}, {"tools"}, False),
        ({"developer_role", "strict_fields"}, {"tools", "parallel_tool_calls"}, True),
        (set(), {"tools"}, True),
        (set(), set(), False),
    ],
)
def test_parallel_calls_are_named_where_they_are_known(endpoint, quirks, listed, kept):
    place = endpoint(supported_parameters=frozenset(listed), provider={"quirks": frozenset(quirks)})

    assert ("parallel_tool_calls" in sent(place, parallel_tool_calls=False)) is kept


def test_a_model_that_always_thinks_cannot_be_told_not_to(endpoint):
    with pytest.raises(UpstreamRejected, match="cannot be switched off"):
        sent(endpoint(efforts=("low", "high")), reasoning={"enabled": False})


@pytest.mark.parametrize(
    ("quirks", "reasoning", "expected"),
    [
        (
            {"thinking_switch", "no_reasoning_effort"},
            {"enabled": True},
            {"thinking": {"type": "enabled"}},
        ),
        ({"thinking_switch"}, {"effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            {"thinking_switch"},
            {"effort": "high"},
            {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
        ),
        ({"enable_thinking", "no_reasoning_effort"}, {"enabled": True}, {"enable_thinking": True}),
        ({"enable_thinking"}, {"enabled": False}, {"enable_thinking": False}),
        (
            {"enable_thinking", "no_reasoning_effort"},
            {"max_tokens": 500},
            {"enable_thinking": True, "thinking_budget": 500},
        ),
        ({"prompt_mode", "no_reasoning_effort"}, {"effort": "low"}, {"prompt_mode": "reasoning"}),
        (
            {"reasoning_switch", "no_reasoning_effort"},
            {"effort": "low"},
            {"reasoning": {"enabled": True}},
        ),
        (
            {"reasoning_switch", "no_reasoning_effort"},
            {"enabled": False},
            {"reasoning": {"enabled": False}},
        ),
        ({"prompt_mode", "no_reasoning_effort"}, {"enabled": False}, {"prompt_mode": None}),
        (
            {"reasoning_parsed"},
            {"effort": "low"},
            {"reasoning_format": "parsed", "reasoning_effort": "low"},
        ),
        ({"reasoning_parsed"}, None, {"reasoning_format": "parsed"}),
        (
            {"reasoning_object"},
            {"enabled": True, "exclude": True},
            {"reasoning": {"effort": "medium"}},
        ),
        ({"reasoning_object"}, {"max_tokens": 300}, {"reasoning": {"max_tokens": 300}}),
        (
            {"reasoning_object"},
            {"effort": "low", "summary": "concise"},
            {"reasoning": {"effort": "low", "summary": "concise"}},
        ),
        ({"reasoning_object"}, {"enabled": False}, {"reasoning": {"effort": "none"}}),
        ({"thinking_switch", "enable_thinking", "prompt_mode", "reasoning_object"}, None, {}),
    ],
)
def test_thinking_is_asked_for_in_the_providers_own_fields(endpoint, quirks, reasoning, expected):
    fields = {} if reasoning is None else {"reasoning": reasoning}

    body = sent(endpoint(provider={"quirks": frozenset(quirks)}), **fields)

    assert body == {"model": "m-1", "messages": MESSAGES, **expected}


def test_models_that_show_their_thoughts_apart_need_no_word_for_it(endpoint):
    place = endpoint(
        upstream_id="openai/gpt-oss-120b", provider={"quirks": frozenset({"reasoning_parsed"})}
    )

    assert "reasoning_format" not in sent(place)


# what comes back as a stream


@pytest.mark.parametrize(
    ("chunk", "events"),
    [
        pytest.param(b"[DONE]", [End()], id="end mark"),
        pytest.param(choice(delta={"content": "Hi"}), [Delta(0, "Hi")], id="text"),
        pytest.param(choice(delta={"role": "assistant", "content": ""}), [], id="bare role"),
        pytest.param(choice(delta={"content": None}), [], id="null content"),
        pytest.param(choice(delta={}), [], id="empty delta"),
        pytest.param(choice(text="Once"), [Delta(0, "Once")], id="legacy completions"),
        pytest.param(
            choice(delta={"reasoning": "hm"}), [Delta(0, "", "hm", THOUGHT)], id="reasoning"
        ),
        pytest.param(
            choice(delta={"reasoning_content": "hm"}),
            [Delta(0, "", "hm", THOUGHT)],
            id="reasoning_content",
        ),
        pytest.param(
            choice(
                delta={
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                        {"type": "text", "text": "so"},
                        {"type": "reference", "ids": [1]},
                        "odd",
                    ]
                }
            ),
            [Delta(0, "so", "hm", THOUGHT)],
            id="Mistral's parts",
        ),
        pytest.param(
            choice(delta={"tool_calls": [{"index": 0, "id": "c"}]}),
            [Delta(0, "", None, {"tool_calls": [{"index": 0, "id": "c", "type": "function"}]})],
            id="a tool call",
        ),
        pytest.param(
            choice(delta={"content": "x"}, logprobs={"content": []}),
            [Delta(0, "x", None, None, {"content": []})],
            id="log probabilities",
        ),
        pytest.param(
            choice(delta={}, finish_reason="stop"), [Finish(0, "stop", "stop")], id="finish"
        ),
        pytest.param(
            choice(delta={"content": "x"}, finish_reason="max_tokens"),
            [Delta(0, "x"), Finish(0, "length", "max_tokens")],
            id="text and finish",
        ),
        pytest.param(
            choice(delta={}, finish_reason="eos"), [Finish(0, "stop", "eos")], id="another name"
        ),
        pytest.param(
            choice(delta={}, finish_reason="whim"), [Finish(0, "stop", "whim")], id="unknown finish"
        ),
        pytest.param(choice(delta={}, finish_reason=None), [], id="null finish"),
        pytest.param(
            choice(delta={}, finish_reason=7), [Finish(0, None, None)], id="finish as a number"
        ),
        pytest.param(
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
            [Used(Usage(prompt_tokens=3, completion_tokens=2))],
            id="usage",
        ),
        pytest.param(
            {"choices": [], "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}},
            [Used(Usage(prompt_tokens=3, completion_tokens=2))],
            id="Groq's usage",
        ),
        pytest.param({"choices": [], "x_groq": "odd"}, [], id="Groq's field as text"),
        pytest.param({"choices": [], "usage": "odd"}, [], id="usage as text"),
        pytest.param({"choices": None}, [], id="null choices"),
        pytest.param({"choices": 5}, [], id="choices as a number"),
        pytest.param({"choices": {"a": 1}}, [], id="choices as an object"),
        pytest.param({"choices": [None, 1, "x", []]}, [], id="odd choices"),
        pytest.param({"object": "ping"}, [], id="something else"),
        pytest.param(
            {"choices": [{"index": "odd", "delta": {"content": "x"}}]}, [Delta(0, "x")], id="index"
        ),
        pytest.param(choice(delta="odd"), [], id="delta as text"),
        pytest.param(choice(delta={"content": 5}), [], id="content as a number"),
    ],
)
def test_chunks_as_providers_send_them(chunk: Any, events: list[Any]):
    assert decoded(chunk) == events


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b"5", b'"x"', b"[1]", b"<html>", b'{"a":NaN}']
)
def test_a_chunk_nobody_can_read_is_an_error(data: bytes):
    with pytest.raises(UpstreamDown):
        decoded(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b'"a\xffb"', "a\ufffdb", id="invalid UTF-8"),
        pytest.param(rb'"a\ud83db"', "a\ufffdb", id="lone high surrogate"),
        pytest.param(rb'"a\ude00b"', "a\ufffdb", id="lone low surrogate"),
        pytest.param(rb'"\ud83d\ude00 \ud83d"', "\U0001f600 \ufffd", id="a pair stays"),
        pytest.param(rb'"\uD83D\uD83D\uDE00"', "\ufffd\U0001f600", id="upper case"),
    ],
)
def test_broken_text_is_replaced_and_the_rest_kept(data: bytes, text: str):
    assert loads(data) == text


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "delta", "message", "content", "usage", "error", "code", "status", "index",
             "finish_reason", "x_groq", "prompt_tokens", "thinking", "type", "text", "logprobs",
             "tool_calls", "function_call", "function", "name", "arguments", "id", "images",
             "image_url", "url", "audio", "citations", "search_results", "annotations", "refusal",
             "reasoning_details", "detail", "loc", "msg", "reasoning"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
))  # fmt: skip
def test_no_json_of_a_provider_is_a_defect_of_ours(value: Any):
    data = orjson.dumps(value)
    for read in (DIALECT.decoder().decode, DIALECT.answer):
        with suppress(UpstreamError):
            read(data)
    assert isinstance(DIALECT.error(500, {}, data, NOW_MS), UpstreamError)


# what comes back whole


def test_a_plain_answer_keeps_what_the_contract_names():
    answer = DIALECT.answer(
        orjson.dumps(
            {
                "id": "chatcmpl-1",
                "system_fingerprint": "fp",
                "choices": [
                    {
                        "index": 0,
                        "message": {"content": "Hi", "reasoning_content": "hm", "odd": 1},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 5, "completion_tokens": 2},
            }
        )
    )

    assert (answer.upstream_id, answer.system_fingerprint) == ("chatcmpl-1", "fp")
    assert answer.usage == Usage(prompt_tokens=5, completion_tokens=2)
    assert answer.choices[0].finish == Finish(0, "stop", "stop")
    assert answer.choices[0].message == {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "reasoning": "hm",
        "reasoning_details": [DETAIL],
    }


def test_a_tool_call_has_null_content():
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    body = {"choices": [{"message": {"content": "", "tool_calls": calls}, "finish_reason": None}]}

    answer = DIALECT.answer(orjson.dumps(body))

    assert answer.choices[0].message["content"] is None
    assert answer.choices[0].message["tool_calls"] == calls
    assert answer.choices[0].finish == Finish(0, "tool_calls", None)
    assert answer.usage is None


@pytest.mark.parametrize("reason", ["", None])
def test_calls_end_a_stream_without_a_finish_reason(reason: str | None):
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    decoder = DIALECT.decoder()

    first = decoder.decode(orjson.dumps(choice(delta={"tool_calls": [call]}, finish_reason=reason)))

    assert len(first) == 1
    assert decoder.decode(b"[DONE]") == [Finish(0, "tool_calls", None), End()]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":{}}', b'{"choices":[7]}', b"<html></html>"],
)
def test_an_answer_nobody_can_read_is_an_error(body: bytes):
    with pytest.raises(UpstreamDown):
        DIALECT.answer(body)


# errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param({"code": 429}, UpstreamLimited, id="code 429"),
        pytest.param({"code": "rate_limit_exceeded"}, UpstreamLimited, id="its word"),
        pytest.param({"status": 529}, UpstreamLimited, id="overloaded"),
        pytest.param({"code": 400}, UpstreamRejected, id="code 400"),
        pytest.param({"type": "invalid_request_error"}, UpstreamRejected, id="its word for that"),
        pytest.param({"code": "429"}, UpstreamLimited, id="as digits"),
        pytest.param({"code": "content_filter"}, UpstreamRejected, id="content filter"),
        pytest.param({"code": "context_length_exceeded"}, UpstreamRejected, id="too long"),
        pytest.param({"code": "insufficient_quota"}, UpstreamDenied, id="our quota"),
        pytest.param({"code": 401}, UpstreamDenied, id="our key"),
        pytest.param({"code": ["x"]}, UpstreamDown, id="code as a list"),
        pytest.param({"code": 500, "message": "x"}, UpstreamDown, id="code 500"),
        pytest.param({"message": "x"}, UpstreamDown, id="no code"),
        pytest.param({"code": None, "status": {"a": 1}}, UpstreamDown, id="odd status"),
        pytest.param("overloaded", UpstreamDown, id="a string"),
        pytest.param(["x"], UpstreamDown, id="a list"),
    ],
)
def test_an_error_object_where_an_answer_should_be(error: Any, kind: type[UpstreamError]):
    body = orjson.dumps({"error": error})

    (event,) = decoded(body)
    assert isinstance(event, Broken)
    assert type(event.error) is kind
    with pytest.raises(kind):
        DIALECT.answer(body)


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        pytest.param(400, {"error": {"message": "too long"}}, UpstreamRejected, 400, id="400"),
        pytest.param(413, {}, UpstreamRejected, 413, id="413"),
        pytest.param(422, {"detail": "x"}, UpstreamRejected, 422, id="422"),
        pytest.param(401, {}, UpstreamDenied, 502, id="our key"),
        pytest.param(402, {}, UpstreamDenied, 502, id="our money"),
        pytest.param(403, {}, UpstreamDenied, 502, id="our account"),
        pytest.param(404, {}, UpstreamDown, 502, id="its model is gone"),
        pytest.param(429, {}, UpstreamLimited, 429, id="429"),
        pytest.param(
            429, {"error": {"code": "insufficient_quota"}}, UpstreamDenied, 502, id="our quota"
        ),
        pytest.param(
            400, {"error": "Incorrect API key provided"}, UpstreamDenied, 502, id="xAI's bad key"
        ),
        pytest.param(
            400, {"error": {"code": "billing_hard_limit_reached"}}, UpstreamDenied, 502, id="bill"
        ),
        pytest.param(529, {}, UpstreamLimited, 529, id="529"),
        pytest.param(500, {}, UpstreamDown, 502, id="500"),
        pytest.param(503, {}, UpstreamDown, 502, id="503"),
        pytest.param(302, {}, UpstreamDown, 502, id="a redirect"),
    ],
)
def test_what_a_status_means(status: int, body: Any, kind: type[UpstreamError], told: int):
    error = DIALECT.error(status, {"retry-after": "2"}, orjson.dumps(body), NOW_MS)

    assert type(error) is kind
    assert error.told_status == told
    assert error.raw == orjson.dumps(body).decode()
    if kind in (UpstreamLimited, UpstreamDown):
        assert error.retry_after_ms == 2_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"OpenAI says"}}', "OpenAI says"),
        (b'{"message":"Mistral says"}', "Mistral says"),
        (b'{"error":"plain"}', "plain"),
        (
            b'{"error":{"code":"content_filter","message":"Filtered","innererror":{}}}',
            "Filtered",
        ),
        (
            b'{"object":"error","message":{"detail":[{"loc":["body","n"],"msg":"too big"}]}}',
            "body.n: too big",
        ),
        (b'{"detail":[{"msg":"bad"}]}', "bad"),
        (b'{"detail":"no"}', "no"),
        (b'{"detail":[{"msg":7}]}', "Provider returned error"),
        (b'{"code":["x"],"error":"xAI says"}', "xAI says"),
        (b'{"error":{"message":""}}', "Provider returned error"),
        (b'{"error":{"message":{"odd":1}}}', "Provider returned error"),
        (b"<html>Bad Request</html>", "Provider returned error"),
        (b"", "Provider returned error"),
        (b"[]", "Provider returned error"),
    ],
)
def test_the_callers_mistake_is_told_in_the_providers_words(body: bytes, message: str):
    assert DIALECT.error(400, {}, body, NOW_MS).message == message


def test_a_providers_words_are_bounded():
    error = DIALECT.error(500, {}, b"\xff" * 100_000, NOW_MS)

    assert error.raw == "\ufffd" * RAW_MAX_CHARS


@pytest.mark.parametrize(
    ("status", "error", "kind", "told"),
    [
        pytest.param(
            403,
            {"code": "denied", "error": "Content violates usage guidelines. Failed check: X"},
            UpstreamRejected,
            403,
            id="xAI's filter",
        ),
        pytest.param(
            403,
            {"error": {"code": 403, "message": "... and your input was flagged"}},
            UpstreamRejected,
            403,
            id="OpenRouter's moderation",
        ),
        pytest.param(
            403,
            {"error": {"message": "the maximum context length is 8 tokens"}},
            UpstreamRejected,
            400,
            id="Together's context length",
        ),
        pytest.param(403, {"error": {"message": "No access"}}, UpstreamDenied, 502, id="no access"),
        pytest.param(412, {"error": {"message": "Account is suspended"}}, UpstreamDenied, 502,
                     id="Fireworks' bills"),
        pytest.param(
            413,
            {"error": {"code": "rate_limit_exceeded", "message": "Request too large"}},
            UpstreamLimited,
            429,
            id="Groq's tokens of a minute",
        ),
        pytest.param(
            400,
            {"error": {"code": "tool_use_failed", "message": "Failed to call a function"}},
            UpstreamDown,
            502,
            id="the model's own failure",
        ),
        pytest.param(
            400,
            {"error": {"message": "Your organization must be verified to stream this model."}},
            UpstreamDenied,
            502,
            id="our account",
        ),
        pytest.param(
            429,
            {"error": {"code": "project_spend_limit_exceeded", "message": "Spent"}},
            UpstreamDenied,
            502,
            id="our limit",
        ),
    ],
)  # fmt: skip
def test_whose_doing_it_is(status: int, error: Any, kind: type[UpstreamError], told: int):
    found = DIALECT.error(status, {}, orjson.dumps(error), NOW_MS)

    assert type(found) is kind
    assert found.told_status == told


def test_whose_doing_it_is_inside_an_answer():
    flagged = {"error": {"code": 403, "message": "your input was flagged"}}
    failed = {"error": {"code": "json_validate_failed", "type": "invalid_request_error"}}

    [refused], [down] = decoded(flagged), decoded(failed)

    assert type(refused.error) is UpstreamRejected
    assert type(down.error) is UpstreamDown
