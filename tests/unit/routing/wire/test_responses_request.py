"""`/responses` requests → chat requests."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.errors import BadRequest
from routing.wire.chat import ChatRequest, parse_chat
from routing.wire.responses_request import ECHO_MAX_BYTES, parse_responses

PNG = "data:image/png;base64,AA=="
CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}


def parsed(given: Any = "hello", **fields: Any) -> ChatRequest:
    return parse_responses(orjson.dumps({"model": "a/m", "input": given} | fields))


def sent(given: Any = "hello", **fields: Any) -> dict[str, Any]:
    """What was understood, as JSON, without what the answer repeats."""
    request = orjson.loads(parsed(given, **fields).to_json())
    request.pop("responses_echo")
    return request


def messages(*items: Any, **fields: Any) -> list[dict[str, Any]]:
    return sent(list(items), **fields)["messages"]


def refusal(given: Any = "hello", **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parsed(given, **fields)
    return caught.value


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def test_a_text_and_instructions_are_two_messages():
    assert sent("hello", instructions="Be brief.") == {
        "model": "a/m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
        ],
    }


def test_empty_instructions_are_none():
    assert messages(user(), instructions="") == [{"role": "user", "content": []}]


def test_messages_of_every_role():
    assert messages(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "input_text", "text": "b"}]},
        {"type": "message", "role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "e"}]},
        {"role": "user", "content": "f"},
    ) == [
        {"role": "system", "content": "a"},
        {"role": "developer", "content": "b"},
        {"role": "user", "content": "c"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "d"}, {"type": "refusal", "refusal": "e"}],
        },
        {"role": "user", "content": "f"},
    ]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        ),
        (
            {"type": "input_text", "text": "a", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        ),
        (
            {"type": "input_image", "image_url": PNG, "detail": "low", "file_id": None},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        ),
        (
            {"type": "input_image", "image_url": "https://x.test/a.png"},
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        ),
        (
            {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": "data:application/pdf;base64,JVBERi0=",
            },
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
            },
        ),
        (
            {"type": "input_file", "file_url": "https://x.test/a.pdf"},
            {"type": "file", "file": {"file_data": "https://x.test/a.pdf"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        ),
        (
            {"type": "input_video", "video_url": "https://x.test/v.mp4"},
            {"type": "video_url", "video_url": {"url": "https://x.test/v.mp4"}},
        ),
    ],
)
def test_parts(part: dict[str, Any], expected: dict[str, Any]):
    assert messages(user(part)) == [{"role": "user", "content": [expected]}]


def test_a_turn_is_one_message_and_outputs_are_tool_messages():
    assert messages(
        {"role": "user", "content": "Weather in Bern and Rome?"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Look it up."}],
            "encrypted_content": "gAAAAAB",
            "status": "completed",
        },
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "One moment.",
                    "annotations": [
                        {
                            "type": "url_citation",
                            "url": "https://x.test",
                            "title": "X",
                            "start_index": 0,
                            "end_index": 3,
                        },
                        {"type": "file_citation", "file_id": "f", "index": 0, "filename": "f"},
                    ],
                    "logprobs": [],
                }
            ],
        },
        {**CALL, "id": "fc_1", "status": "completed"},
        {**CALL, "call_id": "c2"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [
                {"type": "input_text", "text": "sun"},
                {"type": "input_image", "image_url": PNG},
            ],
        },
        {**CALL, "call_id": "c3"},
        {"type": "function_call_output", "call_id": "c3", "output": [], "status": "completed"},
    ) == [
        {"role": "user", "content": "Weather in Bern and Rome?"},
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            ],
            "reasoning_details": [
                {
                    "type": "reasoning.summary",
                    "summary": "Look it up.",
                    "format": "openai-responses-v1",
                    "index": 0,
                    "id": "rs_1",
                },
                {
                    "type": "reasoning.encrypted",
                    "data": "gAAAAAB",
                    "format": "openai-responses-v1",
                    "index": 1,
                    "id": "rs_1",
                },
            ],
            "annotations": [
                {
                    "type": "url_citation",
                    "url_citation": {
                        "url": "https://x.test",
                        "title": "X",
                        "start_index": 0,
                        "end_index": 3,
                    },
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {
            "role": "tool",
            "tool_call_id": "c2",
            "content": [
                {"type": "text", "text": "sun"},
                {"type": "image_url", "image_url": {"url": PNG}},
            ],
        },
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c3", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c3", "content": []},
    ]


def test_thoughts_that_name_their_format_and_signature():
    (message,) = messages(
        {
            "type": "reasoning",
            "id": "rs_tmp_abcdefghijk",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
            "format": "anthropic-claude-v1",
            "signature": "sig",
        }
    )
    assert message == {
        "role": "assistant",
        "content": "",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "text": "Hm.",
                "signature": "sig",
                "format": "anthropic-claude-v1",
                "index": 0,
            }
        ],
    }


@pytest.mark.parametrize(
    ("result", "url"),
    [
        ("AA==", "data:image/webp;base64,AA=="),
        (PNG, PNG),
        ("https://x.test/a.png", "https://x.test/a.png"),
    ],
)
def test_drawn_images_come_back(result: str, url: str):
    item = {"type": "image_generation_call", "id": "ig_1", "status": "completed"}
    (message,) = messages(
        {**item, "result": result, "output_format": "webp"}, {**item, "result": None}
    )
    assert message["images"] == [{"type": "image_url", "image_url": {"url": url}}]


TOOL = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object"},
    "strict": True,
}
CHAT_TOOL = {"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_output_tokens": 5}, {"max_tokens": 5}),
        ({"safety_identifier": "s"}, {"user": "s"}),
        ({"safety_identifier": "s", "user": "u"}, {"user": "u"}),
        ({"top_logprobs": 2}, {"top_logprobs": 2, "logprobs": True}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"include": ["reasoning.encrypted_content"]}, {}),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {
                "text": {
                    "format": {"type": "json_schema", "name": "a", "schema": {}, "strict": True}
                }
            },
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {}, "strict": True},
                }
            },
        ),
        ({"tools": [TOOL]}, {"tools": [CHAT_TOOL]}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "look"}},
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        ),
        (
            {
                "tools": [TOOL, {**TOOL, "name": "leap"}],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "required",
                    "tools": [{"type": "function", "name": "look"}],
                },
            },
            {"tools": [CHAT_TOOL], "tool_choice": "required"},
        ),
        (
            {
                "store": False,
                "background": False,
                "previous_response_id": None,
                "conversation": None,
                "prompt": None,
                "truncation": "auto",
                "max_tool_calls": 3,
                "include": None,
                "stream_options": {"include_obfuscation": False},
            },
            {},
        ),
    ],
)
def test_what_differs_from_chat(fields: dict[str, Any], expected: dict[str, Any]):
    found = sent(**fields)
    assert expected.items() <= found.items()
    if not expected:
        assert found.keys() == {"model", "messages"}


SHARED = {
    "models": ["a/n"],
    "provider": {"sort": "price"},
    "plugins": [{"id": "web"}],
    "route": "fallback",
    "stream": True,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 3,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low", "summary": "auto", "enabled": True},
    "modalities": ["text", "image"],
    "user": "u",
    "session_id": "s",
    "metadata": {"a": "b"},
    "trace": {"a": 1},
    "service_tier": "flex",
    "cache_control": {"type": "ephemeral"},
    "prompt_cache_key": "k",
}


def test_what_is_the_same_in_chat_stays_as_it_is():
    found = sent(**SHARED)
    assert SHARED.items() <= found.items()
    chat = {"model": "a/m", "messages": [{"role": "user", "content": "hello"}], **SHARED}
    assert found == orjson.loads(parse_chat(orjson.dumps(chat)).to_json())


def test_fields_of_chat_alone_are_not_taken():
    found = sent(messages=[], responses_echo={"a": 1}, anthropic_betas=[], n=5, junk=True)
    assert found.keys() == {"model", "messages"}


def test_what_the_answer_repeats_is_kept_as_it_was_sent():
    fields = {
        "instructions": "Be brief.",
        "tools": [TOOL],
        "tool_choice": {"type": "function", "name": "look"},
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low"},
        "temperature": 0.5,
        "metadata": {"a": "b"},
        "max_output_tokens": 5,
        "user": "u",
    }
    request = parsed(**fields, top_p=None, stream=True)
    assert request.responses_echo == fields
    assert ChatRequest.from_trusted_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": None}, "input: must be a string or an array of input items"),
        ({"input": 5}, "input: must be a string or an array of input items"),
        ({"input": []}, "input: must have 1 or more items"),
        ({"store": True}, "store: must be false: nothing is stored here; leave it out or"),
        ({"background": True}, "background: must be false"),
        ({"previous_response_id": "resp_1"}, "previous_response_id: must be null: nothing is"),
        ({"conversation": "conv_1"}, "conversation: must be null"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt: must be null"),
        ({"instructions": 5}, "instructions: must be a string, not a number"),
        ({"max_output_tokens": 0}, "max_output_tokens: must be at least 1, not 0"),
        ({"truncation": "middle"}, "truncation: must be 'auto' or 'disabled', not 'middle'"),
        ({"include": ["all"]}, "include[0]: must be"),
        ({"modalities": ["audio"]}, "modalities[0]: must be 'text' or 'image', not 'audio'"),
        ({"text": {"format": {"type": "xml"}}}, "text.format: must be an object whose type is"),
        (
            {"text": {"format": {"type": "json_schema", "name": "a"}}},
            "text.format.schema: is required",
        ),
        (
            {"tools": [TOOL, {"type": "web_search_preview"}]},
            "tools[1].type: must be 'function', not 'web_search_preview': the router runs no tools",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].name: is required"),
        (
            {"tools": [{**TOOL, "parameters": {"type": "strin"}}]},
            "tools[0].parameters: is not a valid JSON schema: at /type: ",
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": 5}}}},
            "text.format.schema: is not a valid JSON schema: at /type: ",
        ),
        ({"tool_choice": "required"}, "tool_choice: needs 'tools'"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice: must be 'none', 'auto', 'required' or"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "leap"}},
            "tool_choice.name: must be the name of one of 'tools'",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "leap"}],
                },
            },
            "tool_choice.tools[0].name: must be the name of one of 'tools'",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []},
            },
            "tool_choice.tools: must have 1 or more items",
        ),
        ({"temperature": 3}, "temperature: must be at most 2, not 3"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort: must be"),
        ({"reasoning": {"effort": "low", "max_tokens": 5}}, "reasoning: takes 'effort' or"),
        ({"models": ["a", "b", "c", "d"]}, "'models' array must have 3 items or fewer."),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], message: str):
    error = refusal(**fields) if "input" not in fields else refusal(fields["input"])
    assert error.message.startswith(message)
    assert error.param is not None or message.startswith("'")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([5], "input[0]: must be a message, or an item whose type is one of 'message', 'reaso"),
        ([{"type": "web_search_call", "id": "w"}], "input[0]: must be a message, or an item"),
        ([{"type": "item_reference", "id": "m"}], "input[0]: is an id of a stored item, but not"),
        ([{"id": "msg_1"}], "input[0]: is an id of a stored item, but nothing is stored here;"),
        ([{"role": "tool", "content": ""}], "input[0].role: must be 'user', 'assistant', 'sys"),
        ([{"role": "user"}], "input[0].content: is required with role 'user'"),
        ([{"role": "user", "content": 5}], "input[0].content: must be a string or an array of"),
        (
            [user({"type": "text", "text": "a"})],
            "input[0].content[0]: must be an object whose type is one of 'input_text', ",
        ),
        (
            [user({"type": "input_text", "text": 5})],
            "input[0].content[0].text: must be a string, not a number",
        ),
        (
            [user({"type": "output_text", "text": "a"})],
            "input[0].content[0].type: must be one of 'input_audio', 'input_file', 'input_image'",
        ),
        (
            [{"role": "system", "content": [{"type": "input_image", "image_url": PNG}]}],
            "input[0].content[0].type: must be one of 'input_text' with role 'system', not 'inp",
        ),
        (
            [user({"type": "input_image", "file_id": "f"})],
            "input[0].content[0].file_id: is an id of a stored file, but nothing is stored here;",
        ),
        (
            [user({"type": "input_image", "image_url": "ftp://x"})],
            "input[0].content[0].image_url: must be an http(s) URL or data:image/",
        ),
        ([user({"type": "input_image"})], "input[0].content[0].image_url: is required"),
        (
            [user({"type": "input_file", "filename": "a"})],
            "input[0].content[0]: must have either file_data or file_url",
        ),
        (
            [user({"type": "input_audio", "input_audio": {"data": "AA==", "format": "x"}})],
            "input[0].content[0].input_audio.format: must be ",
        ),
        (
            [user({"type": "input_video", "video_url": "x"})],
            "input[0].content[0].video_url: must be an http(s) URL or data:video/",
        ),
        ([{**CALL, "name": None}], "input[0].name: must be a string, not null"),
        (
            [CALL, {"type": "function_call_output", "call_id": "c2", "output": ""}],
            "input[1].call_id: must be the call_id of a 'function_call' item before it",
        ),
        (
            [CALL, {"type": "function_call_output", "call_id": "c1"}],
            "input[1].output: is required",
        ),
        (
            [{"type": "reasoning", "summary": [{"type": "text", "text": ""}]}],
            "input[0].summary[0].type: must be 'summary_text', not 'text'",
        ),
        (
            [{"type": "reasoning", "encrypted_content": "details-v1.*"}],
            "input[0].encrypted_content: is damaged; send it back as it came",
        ),
        (
            [{"type": "reasoning", "encrypted_content": "details-v1.W10="}],
            "input[0].encrypted_content: is damaged",
        ),
        (
            [{"type": "reasoning", "encrypted_content": "details-v1.é"}],
            "input[0].encrypted_content: is damaged",
        ),
    ],
)
def test_a_bad_item_is_named_by_its_place(items: list[Any], message: str):
    error = refusal(items)
    assert error.message.startswith(message)
    assert error.message.count("; input") == 0
    assert error.param is not None
    assert message.startswith(error.param)


def test_a_turn_has_a_bound():
    error = refusal([{**CALL, "call_id": f"c{n}"} for n in range(600)])
    assert error.message == (
        "input[512]: with the items before it makes a turn of more than 512 function calls"
    )


def test_the_body_is_read_as_everywhere():
    with pytest.raises(BadRequest, match="The request body is empty"):
        parse_responses(b"")
    with pytest.raises(BadRequest, match="input: is required"):
        parse_responses(b"{}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
TEXT = st.text(max_size=10)
USER_PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("input_text"), "text": TEXT}),
    st.just({"type": "input_image", "image_url": PNG}),
    st.just({"type": "input_file", "file_url": "https://x.test"}),
    st.just({"type": "input_video", "video_url": "data:video/mp4;base64,AA=="}),
)
SAID_PART = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("output_text"), "text": TEXT},
        optional={"annotations": st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2)},
    ),
    st.fixed_dictionaries({"type": st.just("refusal"), "refusal": TEXT}),
)
ITEM = st.one_of(
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": TEXT | st.lists(USER_PART, max_size=3)}
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.none() | TEXT | st.lists(SAID_PART)}
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("reasoning"),
            "summary": st.lists(
                st.fixed_dictionaries({"type": st.just("summary_text"), "text": TEXT}), max_size=2
            ),
        },
        optional={"encrypted_content": TEXT, "id": st.text(min_size=1, max_size=5)},
    ),
    st.just(CALL),
    st.builds(lambda text: [CALL, {**OUTPUT, "output": text}], TEXT),
    st.fixed_dictionaries({"type": st.just("image_generation_call"), "result": st.none() | TEXT}),
)
OUTPUT = {"type": "function_call_output", "call_id": "c1"}


@given(st.lists(ITEM, min_size=1, max_size=8))
@settings(max_examples=200)
def test_what_is_valid_here_is_valid_in_chat(items: list[Any]):
    flat = [one for item in items for one in (item if isinstance(item, list) else [item])]
    request = parsed(flat)
    assert request.messages
    assert ChatRequest.from_trusted_json(request.to_json()) == request


@given(
    st.dictionaries(
        st.sampled_from(["input", "tools", "tool_choice", "text", "reasoning", "include", "store"]),
        JSON | st.lists(ITEM, max_size=2),
    )
)
@settings(max_examples=300)
def test_anything_else_is_a_bad_request(fields: dict[str, Any]):
    with suppress(BadRequest):
        parse_responses(orjson.dumps({"model": "a/m", "input": "x", **fields}))


def test_long_instructions_are_not_repeated_in_every_event():
    """They would be in a stream three times, at megabytes each."""
    long = "x" * (ECHO_MAX_BYTES + 1)

    request = parsed(instructions=long, temperature=0.5)

    assert request.responses_echo == {"temperature": 0.5}
    assert request.messages is not None
    assert request.messages[0].content == long
    assert parsed(instructions="short").responses_echo == {"instructions": "short"}
