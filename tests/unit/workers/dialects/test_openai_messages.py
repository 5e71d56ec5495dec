"""Messages and tools in the OpenAI format: what each provider gets, and what none of them does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from routing.credentials import ApiKey
from routing.errors import UpstreamRejected
from routing.wire.chat import parse_chat
from workers.dialects.openai import OpenAIDialect

OPENAI = frozenset({"developer_role", "strict_fields", "max_completion_tokens"})
STRICT = frozenset({"strict_fields"})
PDF = "data:application/pdf;base64,JVBERg=="
PNG = "data:image/png;base64,iVBORw0="
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
DETAILS = [
    {"type": "reasoning.text", "text": "let ", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.text", "text": "me", "format": "anthropic-claude-v1", "index": 0},
]
MARK = {"type": "ephemeral"}
USER = {"role": "user", "content": "Hi"}


def body(endpoint: Any, quirks: frozenset[str], messages: list[Any], **more: Any) -> dict[str, Any]:
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": messages} | more))
    place = endpoint(provider={"quirks": quirks})
    upstream = OpenAIDialect().encode(request, place, ApiKey(""), stream=False)
    found: dict[str, Any] = orjson.loads(upstream.body)
    return found


def encoded(endpoint: Any, quirks: frozenset[str], message: Any) -> Any:
    return body(endpoint, quirks, [message])["messages"][0]


@pytest.mark.parametrize(
    ("quirks", "role"), [(OPENAI, "developer"), (STRICT, "system"), (frozenset(), "system")]
)
def test_developers_are_the_system_where_they_are_not_known(endpoint, quirks, role):
    sent = encoded(endpoint, quirks, {"role": "developer", "content": "Be brief"})

    assert sent == {"role": role, "content": "Be brief"}


@pytest.mark.parametrize(
    ("quirks", "name", "sent"),
    [
        pytest.param(OPENAI, "ada", {"content": "Hi", "name": "ada"}, id="OpenAI"),
        pytest.param(OPENAI, "Ada L", {"content": "Ada L: Hi"}, id="what OpenAI refuses"),
        pytest.param(frozenset(), "Ada L", {"content": "Hi", "name": "Ada L"}, id="lenient"),
        pytest.param(STRICT, "ada", {"content": "ada: Hi"}, id="strict"),
    ],
)
def test_a_name_is_a_field_or_part_of_the_text(endpoint, quirks, name, sent):
    assert encoded(endpoint, quirks, USER | {"name": name}) == {"role": "user", **sent}


def test_parts_are_one_text_where_there_are_no_parts(endpoint):
    quirks = frozenset({"plain_content"})
    texts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    image = {"type": "image_url", "image_url": {"url": PNG}}

    assert encoded(endpoint, quirks, USER | {"content": texts})["content"] == "one\ntwo"
    with pytest.raises(UpstreamRejected, match=r"messages\[0\]\.content\[1\]: .*text only"):
        encoded(endpoint, quirks, USER | {"content": [texts[0], image]})


def test_a_name_is_the_users_alone_where_others_may_have_none(endpoint):
    quirks = frozenset({"user_names"})

    for role in ("system", "assistant"):
        sent = encoded(endpoint, quirks, {"role": role, "content": "Hi", "name": "ada"})
        assert sent == {"role": role, "content": "Hi"}
    assert encoded(endpoint, quirks, USER | {"name": "ada"})["name"] == "ada"


def test_a_name_goes_before_the_first_text_part(endpoint):
    text = {"type": "text", "text": "Hi"}
    image = {"type": "image_url", "image_url": {"url": PNG}}

    first = encoded(endpoint, STRICT, {"role": "user", "name": "ada", "content": [text, image]})
    second = encoded(endpoint, STRICT, {"role": "user", "name": "ada", "content": [image]})

    assert first["content"] == [{"type": "text", "text": "ada: Hi"}, image]
    assert second["content"] == [{"type": "text", "text": "ada:"}, image]


def test_what_only_we_replay_is_taken_out_of_an_assistants_message(endpoint):
    sent = encoded(
        endpoint,
        frozenset(),
        {
            "role": "assistant",
            "content": "Hello",
            "reasoning": "hm",
            "reasoning_content": "hm",
            "reasoning_details": DETAILS,
            "images": [{"image_url": {"url": PNG}}],
            "annotations": [{"type": "file"}],
            "audio": {"id": "audio_1", "data": "AAAA"},
            "refusal": None,
            "model": "x/y",
            "cache_control": MARK,
        },
    )

    assert sent == {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize(
    ("quirks", "kept"),
    [
        ({"replays_reasoning"}, {"reasoning_content": "let me"}),
        (
            {"reasoning_details"},
            {
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "let me",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    }
                ]
            },
        ),
    ],
)
def test_thoughts_go_back_in_the_form_a_provider_wants(endpoint, quirks, kept):
    message = {"role": "assistant", "content": "Hello", "reasoning_details": DETAILS}

    sent = encoded(endpoint, frozenset(quirks), message)

    assert sent == {"role": "assistant", "content": "Hello", **kept}


def test_bare_thoughts_go_back_too(endpoint):
    message = {"role": "assistant", "content": "Hello", "reasoning": "hm"}
    details = frozenset({"reasoning_details", "reasoning_object"})

    replayed = encoded(endpoint, frozenset({"replays_reasoning"}), message)

    assert replayed["reasoning_content"] == "hm"
    assert encoded(endpoint, details, message)["reasoning"] == "hm"


def test_thoughts_without_a_form_go_back_as_bare_ones(endpoint):
    details = [detail | {"format": "unknown"} for detail in DETAILS]
    message = {"role": "assistant", "content": "Hello", "reasoning_details": details}
    quirks = frozenset({"reasoning_details", "reasoning_object"})

    sent = encoded(endpoint, quirks, message)

    assert sent == {"role": "assistant", "content": "Hello", "reasoning": "let me"}


def test_turns_are_taken_where_they_must(endpoint):
    part = {"type": "text", "text": "c"}
    messages = [
        {"role": "system", "content": "a"},
        {"role": "system", "content": "b"},
        USER,
        {"role": "user", "content": [part]},
        {"role": "assistant", "content": "Hello"},
        {"role": "system", "content": "d"},
        USER,
    ]

    sent = body(endpoint, frozenset({"alternating"}), messages)["messages"]

    assert sent == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, part]},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "d\n\nHi"},
    ]


def test_sound_goes_back_by_its_id_or_as_its_words(endpoint):
    message = {
        "role": "assistant",
        "audio": {"id": "audio_1", "data": "AAAA", "transcript": "Hello there"},
    }

    assert encoded(endpoint, OPENAI, message) == {"role": "assistant", "audio": {"id": "audio_1"}}
    assert encoded(endpoint, STRICT, message) == {"role": "assistant", "content": "Hello there"}


def test_a_refusal_goes_back_as_one_or_as_text(endpoint):
    message = {"role": "assistant", "refusal": "I cannot"}
    part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}

    assert encoded(endpoint, OPENAI, message) == message
    assert encoded(endpoint, STRICT, message) == {"role": "assistant", "content": "I cannot"}
    assert encoded(endpoint, OPENAI, part) == part
    assert encoded(endpoint, STRICT, part)["content"] == [{"type": "text", "text": "No"}]


def test_an_assistants_message_is_never_left_empty(endpoint):
    assert encoded(endpoint, STRICT, {"role": "assistant", "tool_calls": []}) == {
        "role": "assistant",
        "content": "",
    }


def test_tool_calls_and_their_results(endpoint):
    sent = body(
        endpoint,
        OPENAI,
        [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "call_1", "index": 0, "function": {"name": "f", "arguments": ""}}
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees", "name": "f"},
        ],
    )["messages"]  # fmt: skip

    assert sent[1] == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert sent[2] == {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"}


def test_ids_are_short_where_only_short_ones_are_taken(endpoint):
    messages = [
        USER,
        {"role": "assistant", "tool_calls": [CALL, CALL | {"id": "abcDEF123"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a"},
        {"role": "tool", "tool_call_id": "abcDEF123", "content": "b"},
    ]

    sent = body(endpoint, frozenset({"short_call_ids"}), messages)["messages"]

    short, kept = (call["id"] for call in sent[1]["tool_calls"])
    assert short.isalnum()
    assert len(short) == 9
    assert [sent[2]["tool_call_id"], sent[3]["tool_call_id"]] == [short, kept]
    assert kept == "abcDEF123"


def test_a_last_assistant_message_says_so_where_it_must(endpoint):
    messages = [USER, {"role": "assistant", "content": "It is"}]

    assert body(endpoint, frozenset(), messages)["messages"] == messages
    sent = body(endpoint, frozenset({"prefix"}), messages)["messages"]
    assert sent == [USER, {"role": "assistant", "content": "It is", "prefix": True}]


def test_pictures_in_tool_results_are_told_to_be_impossible(endpoint):
    content = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": PNG}},
    ]
    messages = [
        USER,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": content},
    ]

    with pytest.raises(UpstreamRejected, match=r"messages\[2\]\.content\[1\]: .*send the image"):
        body(endpoint, STRICT, messages)
    assert body(endpoint, frozenset(), messages)["messages"][2]["content"] == content


@pytest.mark.parametrize(
    ("quirks", "part", "sent"),
    [
        pytest.param(
            frozenset(),
            {"type": "file", "file": {"file_data": PDF}},
            {"type": "file", "file": {"file_data": PDF, "filename": "document.pdf"}},
            id="a document without a name",
        ),
        pytest.param(
            frozenset(),
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            id="a document with a name",
        ),
        pytest.param(
            frozenset(),
            {"type": "file", "file": {"file_data": "https://x.test/a.pdf"}},
            {"type": "file", "file": {"file_data": "https://x.test/a.pdf"}},
            id="a document by address",
        ),
        pytest.param(
            frozenset(),
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "file", "file": {"file_id": "file-1"}},
            id="an upload",
        ),
        pytest.param(
            frozenset({"document_url"}),
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            {"type": "document_url", "document_url": PDF, "document_name": "a.pdf"},
            id="Mistral's documents",
        ),
        pytest.param(
            frozenset({"document_url"}),
            {"type": "file", "file": {"file_data": "https://x.test/a.pdf"}},
            {"type": "document_url", "document_url": "https://x.test/a.pdf"},
            id="Mistral's documents by address",
        ),
        pytest.param(
            frozenset(),
            {"type": "input_video", "video_url": {"url": "https://x.test/v.mp4"}},
            {"type": "video_url", "video_url": {"url": "https://x.test/v.mp4"}},
            id="the older name of a video",
        ),
        pytest.param(
            frozenset(),
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            id="an image",
        ),
        pytest.param(
            frozenset(),
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            id="sound",
        ),
        pytest.param(
            frozenset(),
            {"type": "text", "text": "x", "cache_control": MARK},
            {"type": "text", "text": "x"},
            id="a cache mark",
        ),
        pytest.param(
            frozenset({"cache_control"}),
            {"type": "text", "text": "x", "cache_control": MARK},
            {"type": "text", "text": "x", "cache_control": MARK},
            id="a cache mark that is known",
        ),
    ],
)
def test_parts(endpoint, quirks, part, sent):
    assert encoded(endpoint, quirks, {"role": "user", "content": [part]})["content"] == [sent]


def test_unknown_fields_of_messages_pass_unless_the_provider_is_strict(endpoint):
    message = USER | {"weight": 1}

    assert encoded(endpoint, frozenset(), message) == message
    assert encoded(endpoint, STRICT, message) == USER


def test_tools_lose_their_cache_marks_and_get_their_parameters(endpoint):
    tools = [{"type": "function", "function": {"name": "f", "strict": True}, "cache_control": MARK}]
    function = {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}}

    plain = body(endpoint, STRICT, [USER], tools=tools, tool_choice="required")
    marked = body(endpoint, frozenset({"cache_control"}), [USER], tools=tools)

    assert plain["tools"] == [{"type": "function", "function": function}]
    assert plain["tool_choice"] == "required"
    assert marked["tools"][0]["cache_control"] == MARK


def test_automatic_caching_marks_the_last_message(endpoint):
    known = frozenset({"cache_control"})
    whole = frozenset({"cache_control", "reasoning_object"})

    sent = body(endpoint, known, [USER], cache_control={"type": "ephemeral", "ttl": "1h"})

    assert sent["messages"][0]["content"] == [
        {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    assert body(endpoint, whole, [USER], cache_control=MARK)["cache_control"] == MARK
    assert body(endpoint, frozenset(), [USER], cache_control=MARK)["messages"] == [USER]
