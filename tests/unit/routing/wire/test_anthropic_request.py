"""Anthropic's requests in chat's words, and refusals in Anthropic's."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.counting import count_answer
from routing.errors import BadRequest
from routing.wire.anthropic_request import parse_count_tokens, parse_messages
from routing.wire.anthropic_thoughts import SEAL, block
from routing.wire.chat import ChatRequest
from routing.wire.validate import MAX_VALUES

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
MARK = {"type": "ephemeral", "ttl": "1h"}


def body(**fields: Any) -> bytes:
    return orjson.dumps({"model": "a/m", "messages": HELLO} | fields)


def chat(**fields: Any) -> dict[str, Any]:
    """The translated request as it goes on."""
    found: dict[str, Any] = orjson.loads(parse_messages(body(**fields)).to_json())
    return found


def messages(*turns: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chat(messages=list(turns), **fields)["messages"]
    return found


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said} | more


def call(name: str = "toolu_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "look", "input": {"at": "x"}}


def result(name: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name} | more


def refusal(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse_messages(body(**fields))
    return caught.value


def test_a_typical_request():
    assert chat(
        max_tokens=100, system="Be brief.", stream=True, temperature=0.5, top_p=0.9, top_k=5
    ) == {
        "model": "a/m",
        "stream": True,
        "max_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
        ],
    }


def test_null_is_the_same_as_absent_and_unknown_fields_have_no_effect():
    names = ("max_tokens", "system", "tools", "thinking", "output_config", "metadata", "user",
             "models", "fallbacks", "provider", "plugins", "stop_sequences", "tool_choice",
             "cache_control", "service_tier", "speed")  # fmt: skip

    assert chat(
        **dict.fromkeys(names), context_management={"edits": []}, responses_echo={"x": 1}
    ) == {"model": "a/m", "messages": HELLO}


def test_our_own_extras_go_through():
    extras: dict[str, Any] = {
        "models": ["a/n"],
        "provider": {"order": ["acme"], "max_price": {"prompt": 1}},
        "plugins": [{"id": "web", "max_results": 3}],
        "route": "fallback",
        "user": "u-1",
        "session_id": "s-1",
        "trace": {"trace_id": "t"},
        "cache_control": MARK,
    }
    found = chat(**extras)

    assert {name: found[name] for name in extras if name != "provider"} == {
        name: value for name, value in extras.items() if name != "provider"
    }
    assert found["provider"]["order"] == ["acme"]


def test_fallbacks_become_models():
    assert chat(fallbacks=[{"model": "a/n"}, {"model": "a/o"}])["models"] == ["a/n", "a/o"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"fallbacks": [{"model": "a/n", "max_tokens": 3}]}, "fallbacks[0].max_tokens"),
        ({"fallbacks": [{"model": "a/n"}], "models": ["a/o"]}, "fallbacks"),
        ({"fallbacks": [{"model": "a/n"}] * 4}, "fallbacks"),
        ({"fallbacks": [{}]}, "fallbacks[0].model"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop_sequences": ["a", "b", "c", "d", "e"]}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"metadata": {"user_id": "x" * 257}}, "metadata.user_id"),
        ({"service_tier": "best"}, "service_tier"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1_000}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "much"}}, "thinking"),
        ({"output_config": {"effort": "some"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"provider": {"order": "acme"}}, "provider.order"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"system": [text("")]}, "system[0].text"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "x" * 129, "input_schema": {}}]}, "tools[0].name"),
        ({"tools": [TOOL | {"input_schema": {"type": 7}}]}, "tools[0].input_schema"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"$ref": "x"}}}},
            "output_config.format.schema",
        ),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "x"}, "tools": [TOOL]}, "tool_choice.name"),
        ({"tool_choice": {"type": "tool"}, "tools": [TOOL]}, "tool_choice.name"),
        ({"tool_choice": {"type": "required"}, "tools": [TOOL]}, "tool_choice.type"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str):
    assert refusal(**fields).param == param
    assert refusal(**fields).message.startswith(param)


@pytest.mark.parametrize(
    ("turns", "param"),
    [
        ([{"role": "tool", "content": "x"}], "messages[0]"),
        ([{"role": "user", "content": ""}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "assistant", "content": ""}, *HELLO], "messages[0].content"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([user(text(""))], "messages[0].content[0].text"),
        ([user({"type": "hologram"})], "messages[0].content[0]"),
        ([user({"type": "thinking", "thinking": "x", "signature": "y"})], "messages[0].content[0]"),
        ([user(call())], "messages[0].content[0]"),
        ([assistant(result())], "messages[0].content[0]"),
        ([user(result())], "messages[0].content[0].tool_use_id"),
        (
            [*HELLO, assistant(call()), user(result("toolu_2"))],
            "messages[2].content[0].tool_use_id",
        ),
        (
            [*HELLO, assistant(call()), user(result(), result())],
            "messages[2].content[1].tool_use_id",
        ),
        (
            [*HELLO, assistant(call()), user(result()), assistant(text("k")), user(result())],
            "messages[4].content[0].tool_use_id",
        ),
        ([*HELLO, assistant(call()), *HELLO], "messages[1].content[0]"),
        ([*HELLO, assistant(call())], "messages[1].content[0]"),
        ([*HELLO, assistant(call()), *HELLO, assistant(text("k"))], "messages[1].content[0]"),
        ([*HELLO, assistant(call(), call()), user(result())], "messages[1].content[1].id"),
        (
            [user({"type": "image", "source": {"type": "base64", "media_type": "image/bmp",
                                                "data": "AA=="}})],
            "messages[0].content[0].source.media_type",
        ),
        (
            [user({"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                                "data": "data:image/png;base64,AA=="}})],
            "messages[0].content[0].source.data",
        ),
        (
            [user({"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                                "data": "A A"}})],
            "messages[0].content[0].source.data",
        ),
        (
            [user({"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                                "data": "R0lGODlhAAAA"}})],
            "messages[0].content[0].source.data",
        ),
        (
            [user({"type": "image", "source": {"type": "url", "url": "ftp://x.test/a"}})],
            "messages[0].content[0].source.url",
        ),
        (
            [user({"type": "image", "source": {"type": "file", "file_id": "f"}})],
            "messages[0].content[0].source.type",
        ),
        (
            [user({"type": "document", "source": {"type": "base64", "media_type": "text/html",
                                                   "data": "AA=="}})],
            "messages[0].content[0].source.media_type",
        ),
        (
            [*HELLO, assistant(call()), user(result(content=[{"type": "audio"}]))],
            "messages[2].content[0].content[0]",
        ),
        (
            [assistant({"type": "thinking", "thinking": "x", "signature": SEAL + "!"}), *HELLO],
            "messages[0].content[0].signature",
        ),
        (
            [assistant({"type": "redacted_thinking", "data": SEAL + "WzFd"}), *HELLO],
            "messages[0].content[0].data",
        ),
    ],
)  # fmt: skip
def test_a_wrong_block_is_named(turns: list[dict[str, Any]], param: str):
    assert refusal(messages=turns).param == param


def test_too_many_models_are_refused_in_the_contracts_words():
    assert refusal(models=["a/n"] * 4).message == "'models' array must have 3 items or fewer."


@pytest.mark.parametrize("kind", ["web_search_20250305", "bash_20250124", "openrouter:datetime"])
def test_tools_that_run_on_the_server_are_refused_by_name(kind: str):
    told = refusal(tools=[TOOL, {"type": kind, "name": "web_search"}])

    assert told.param == "tools[1].type"
    assert kind in told.message
    assert "not part of this release" in told.message


def test_an_error_does_not_repeat_what_was_said():
    told = refusal(messages=[user({"type": "secret-type", "text": "secret-text"})])

    assert "secret" not in told.message


def test_system_blocks_keep_their_marks():
    system = [text("One."), text("Two.", cache_control=MARK)]

    assert messages(*HELLO, system=system)[0] == {"role": "system", "content": system}


def test_a_system_message_between_the_others():
    found = messages(*HELLO, {"role": "system", "content": [text("Be kind.")]}, *HELLO)

    assert [(one["role"], one["content"]) for one in found] == [
        ("user", "hello"),
        ("system", "Be kind."),
        ("user", "hello"),
    ]


def test_images_and_documents():
    found = messages(
        user(
            text("What?"),
            {"type": "image", "source": {"type": "url", "url": "https://x.test/i.png"}},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/gif", "data": "AA=="},
                "cache_control": MARK,
            },
            {
                "type": "document",
                "title": "T",
                "context": "Old.",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
                "cache_control": MARK,
            },
            {"type": "document", "source": {"type": "url", "url": "https://x.test/d.pdf"}},
        )
    )

    assert found[0]["content"] == [
        text("What?"),
        {"type": "image_url", "image_url": {"url": "https://x.test/i.png"}},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/gif;base64,AA=="},
            "cache_control": MARK,
        },
        text("Old."),
        {
            "type": "file",
            "file": {"filename": "T", "file_data": "data:application/pdf;base64,AA=="},
            "cache_control": MARK,
        },
        {
            "type": "file",
            "file": {"filename": "document.pdf", "file_data": "https://x.test/d.pdf"},
        },
    ]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            {
                "type": "document",
                "title": 'A "B"',
                "source": {"type": "text", "media_type": "text/plain", "data": "Hi"},
            },
            "<document title=\"A 'B'\">\nHi\n</document>",
        ),
        (
            {"type": "document", "source": {"type": "content", "content": "Hi"}},
            "<document>\nHi\n</document>",
        ),
        (
            {"type": "search_result", "title": "T", "source": "s", "content": [text("Hi")]},
            "Search result: T (s)\nHi",
        ),
    ],
)
def test_documents_of_text_become_text(block: dict[str, Any], expected: str):
    assert messages(user(block))[0]["content"] == expected


def test_a_document_of_blocks_keeps_its_pictures():
    picture = {"type": "image", "source": {"type": "url", "url": "https://x.test/i.png"}}
    source = {"type": "content", "content": [text("See:"), picture]}

    found = messages(user({"type": "document", "source": source}))[0]["content"]

    assert [part["type"] for part in found] == ["text", "image_url", "text"]
    assert found[0]["text"] == "<document>\nSee:"


def test_calls_and_results():
    found = messages(
        *HELLO,
        assistant(text("Let me "), text("look."), call("a"), call("b")),
        user(
            result("a", content="Sunny", cache_control=MARK),
            result("b", content=[text("No.")], is_error=True),
            text("And now?"),
        ),
    )

    assert found[1] == {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [
            {
                "id": name,
                "type": "function",
                "function": {"name": "look", "arguments": '{"at":"x"}'},
            }
            for name in ("a", "b")
        ],
    }
    assert found[2:] == [
        {"role": "tool", "tool_call_id": "a", "content": [text("Sunny", cache_control=MARK)]},
        {"role": "tool", "tool_call_id": "b", "content": "Error: No."},
        {"role": "user", "content": "And now?"},
    ]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ""),
        ({"content": ""}, ""),
        ({"content": [text("")]}, ""),
        ({"is_error": True}, "Error"),
        ({"content": [{"type": "tool_reference", "tool_name": "x"}]}, "x"),
        (
            {
                "content": [
                    text("A"),
                    {"type": "image", "source": {"type": "url", "url": "https://x.test/i"}},
                ]
            },
            [text("A"), {"type": "image_url", "image_url": {"url": "https://x.test/i"}}],
        ),
    ],
)
def test_what_a_result_may_be(more: dict[str, Any], expected: object):
    found = messages(*HELLO, assistant(call()), user(result(**more)))

    assert found[-1] == {"role": "tool", "tool_call_id": "toolu_1", "content": expected}


def test_results_may_come_in_several_messages_of_the_user():
    found = messages(*HELLO, assistant(call("a"), call("b")), user(result("a")), user(result("b")))

    assert [one["role"] for one in found] == ["user", "assistant", "tool", "tool"]


def test_a_mark_on_a_call_goes_to_the_text_before_it():
    found = messages(
        *HELLO, assistant(text("Let me."), call() | {"cache_control": MARK}), user(result())
    )

    assert found[1]["content"] == [text("Let me.", cache_control=MARK)]


def test_blocks_only_anthropic_can_read():
    found = messages(
        *HELLO,
        assistant(
            text(""),
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {
                "type": "web_search_tool_result",
                "tool_use_id": "s",
                "content": [
                    {
                        "type": "web_search_result",
                        "url": "https://x.test",
                        "title": "X",
                        "encrypted_content": "…",
                    }
                ],
            },
            {
                "type": "web_search_tool_result",
                "tool_use_id": "s",
                "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
            },
            text("It says."),
        ),
        assistant({"type": "openrouter_bash_tool_result", "tool_use_id": "s", "content": {}}),
        assistant(
            {"type": "web_fetch_tool_result", "tool_use_id": "s", "content": {}},
            {"type": "tool_search_tool_result", "tool_use_id": "s", "content": {}},
            {"type": "code_execution_tool_result", "tool_use_id": "s", "content": {}},
            {"type": "mcp_tool_use", "id": "m", "name": "x", "server_name": "y", "input": {}},
            {"type": "mcp_tool_result", "tool_use_id": "m", "content": []},
        ),
        assistant({"type": "compaction", "content": "Earlier: …"}),
    )

    assert found[1:] == [
        {
            "role": "assistant",
            "content": "Pages found by a web search:\n- X (https://x.test)\n\nIt says.",
        },
        {"role": "assistant", "content": "Earlier: …"},
    ]


def test_an_empty_last_message_of_the_assistant_is_no_prefill():
    assert messages(*HELLO, {"role": "assistant", "content": ""}) == HELLO
    assert messages(*HELLO, {"role": "assistant", "content": "I"})[1]["content"] == "I"


def test_tools():
    found = chat(
        tools=[
            TOOL | {"description": "Looks.", "strict": True, "cache_control": MARK},
            {"name": "b", "type": "custom", "input_schema": {}},
        ]
    )["tools"]

    assert found == [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "Looks.",
                "parameters": TOOL["input_schema"],
                "strict": True,
            },
            "cache_control": MARK,
        },
        {"type": "function", "function": {"name": "b", "parameters": {}}},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        (
            {"type": "tool", "name": "look"},
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_tool_choices(choice: dict[str, Any], expected: dict[str, Any]):
    found = chat(tools=[TOOL], tool_choice=choice)

    assert {name: found[name] for name in found if name.endswith(("choice", "calls"))} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2_048}},
            {"reasoning": {"max_tokens": 2_048}},
        ),
        ({"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}),
        ({"thinking": {"type": "adaptive"}}, {"reasoning": {"enabled": True}}),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            {"reasoning": {"effort": "max"}, "verbosity": "max"},
        ),
        ({"output_config": {"effort": "low"}}, {"verbosity": "low"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "answer",
                        "schema": {"type": "object"},
                        "strict": True,
                    },
                }
            },
        ),
        ({"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"metadata": {"user_id": "u"}, "user": "v"}, {"user": "v"}),
        ({"metadata": {"user_id": ""}}, {}),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}),
        (
            {"thinking": {"type": "adaptive", "display": "updates"}},
            {"reasoning": {"enabled": True}},
        ),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            {"reasoning": {"enabled": True}, "responses_echo": {"thinking_display": "omitted"}},
        ),
    ],
)
def test_options(fields: dict[str, Any], expected: dict[str, Any]):
    assert chat(**fields) == {"model": "a/m", "messages": HELLO} | expected


SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FORMATS = st.sampled_from(
    ["unknown", "openai-responses-v1", "google-gemini-v1", "anthropic-claude-v1", None]
)
DETAILS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "reasoning.text",
                "reasoning.summary",
                "reasoning.encrypted",
                "reasoning.server_tool_call",
                "reasoning.new",
            ]
        )
    },
    optional={
        "text": st.none() | st.text(),
        "summary": st.text(),
        "data": st.text(),
        "signature": st.none() | st.text(),
        "format": FORMATS,
        "index": st.integers(0, 9),
        "id": st.none() | st.text(max_size=8),
        "extra": JSON,
    },
)


def claude(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it comes back from Claude's own block: its place is that among the thoughts."""
    kept = {name: value for name, value in item.items() if value is not None and name != "index"}
    return kept | ({"text": item.get("text") or ""} if item["type"] == "reasoning.text" else {})


@settings(max_examples=200)
@given(st.lists(DETAILS, min_size=1, max_size=6), st.booleans())
def test_thoughts_of_any_provider_come_back_unmodified(items: list[dict[str, Any]], hidden: bool):
    blocks = [block(item, hidden=hidden) for item in items]
    found = messages(*HELLO, assistant(*blocks), *HELLO)[1]["reasoning_details"]

    for item, made, back in zip(items, blocks, found, strict=True):
        opaque = made.get("signature", made.get("data"))
        assert isinstance(opaque, str)
        if opaque.startswith(SEAL):
            assert back == item
        else:
            assert item["format"] == "anthropic-claude-v1"
            assert opaque == item["signature" if item["type"] == "reasoning.text" else "data"]
            assert claude(back) == claude(item)


def test_thoughts_of_claude_keep_their_place():
    found = messages(
        assistant(
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZGF0YQ=="},
            {"type": "thinking", "thinking": "Bare.", "signature": ""},
            text("So."),
        ),
        *HELLO,
    )[0]["reasoning_details"]

    assert found == [
        {
            "type": "reasoning.text",
            "text": "Hm.",
            "signature": "c2ln",
            "format": "anthropic-claude-v1",
            "index": 0,
        },
        {
            "type": "reasoning.encrypted",
            "data": "ZGF0YQ==",
            "format": "anthropic-claude-v1",
            "index": 1,
        },
        {"type": "reasoning.text", "text": "Bare.", "format": "unknown", "index": 2},
    ]


def test_sealed_thoughts_hold_no_more_values_than_a_body():
    item = {"type": "reasoning.new", "values": [0] * (MAX_VALUES // 4)}
    turn = assistant(*[block(item, hidden=False)] * 5)

    assert refusal(messages=[turn, *HELLO]).param == "messages[0].content[3].data"


def test_more_than_chat_takes_is_refused_here():
    source = {"type": "content", "content": [text("x", cache_control=MARK)] * 1_500}
    turn = user(*[{"type": "document", "source": source}] * 2)

    assert refusal(messages=[turn]).param == "messages[0].content[1]"


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'{"model":1}', b'{"messages":"x"}', b'{"messages":[null]}']
)
def test_what_is_no_request_is_refused(raw: bytes):
    with pytest.raises(BadRequest):
        parse_messages(raw)


BLOCKS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["text", "image", "document", "tool_use", "tool_result", "thinking", "compaction",
             "redacted_thinking", "web_search_tool_result", "search_result"]
        )
    },
    optional={
        "text": JSON, "source": JSON, "id": JSON, "name": JSON, "input": JSON, "content": JSON,
        "thinking": JSON, "signature": JSON, "data": JSON, "tool_use_id": JSON,
        "cache_control": JSON,
    },
)  # fmt: skip


@settings(max_examples=300)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(["user", "assistant", "system"]),
                "content": st.lists(BLOCKS, max_size=3) | JSON,
            }
        ),
        max_size=3,
    ),
    st.dictionaries(
        st.sampled_from(["system", "tools", "tool_choice", "thinking", "output_config", "stop",
                         "metadata", "fallbacks", "models", "cache_control"]),
        JSON,
        max_size=3,
    ),
)  # fmt: skip
def test_anything_is_a_request_or_a_refusal(turns: list[Any], fields: dict[str, Any]):
    try:
        found = parse_messages(body(messages=turns, **fields))
    except BadRequest:
        return
    assert ChatRequest.from_trusted_json(found.to_json()) == found


def test_counting_tokens():
    prose = "The quick brown fox jumps over the lazy dog. " * 100
    plain = count_answer(parse_count_tokens(body(messages=[{"role": "user", "content": prose}])))
    more = count_answer(parse_count_tokens(body(messages=[user(text(prose))], tools=[TOOL])))

    assert 900 <= plain <= 1_300  # 1,001 by o200k
    assert more > plain


@pytest.mark.parametrize(
    ("block", "least"),
    [
        ({"type": "image", "source": {"type": "url", "url": "https://x.test/i"}}, 200),
        ({"type": "document", "source": {"type": "url", "url": "https://x.test/d"}}, 10_000),
        (
            {
                "type": "document",
                "source": {
                    "type": "base64",
                    "media_type": "application/pdf",
                    "data": "A" * 80_000,
                },
            },
            10_000,
        ),
    ],
)
def test_media_count_too(block: dict[str, Any], least: int):
    assert count_answer(parse_count_tokens(body(messages=[user(block)]))) >= least


def test_one_fault_is_told_as_one():
    """Reading stops at the first bad message; that none was read is no fault of the caller's."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!"}}
    body = {"model": "a/m", "messages": [{"role": "user", "content": [image]}]}

    with pytest.raises(BadRequest) as caught:
        parse_messages(orjson.dumps(body))

    assert ";" not in caught.value.message
    assert caught.value.message.startswith("messages[0].content[0].source.data: must be base64")
