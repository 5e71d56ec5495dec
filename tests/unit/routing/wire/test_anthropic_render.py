"""Our events as Anthropic's own client reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import orjson
import pytest
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.catalog.pricing import Cost
from routing.errors import Failure
from routing.usage import Usage
from routing.wire.anthropic_request import parse_messages
from routing.wire.anthropic_thoughts import SEAL
from routing.wire.chat import ChatRequest
from routing.wire.events import Answer, Choice, Delta, Finish
from routing.wire.render import COMMENT, Renderer, renderer

USAGE = Usage(
    prompt_tokens=100,
    completion_tokens=30,
    cached_tokens=40,
    cache_write_tokens=20,
    cache_write_1h_tokens=5,
    reasoning_tokens=7,
)
COST = Cost(prompt_nano=9_000, completion_nano=6_000)
FAILURE = Failure(
    status=529, message="Busy", retryable=True, blame="provider", provider="Acme", raw="boom"
)
STOP = Finish(0, "stop", "end_turn")
TOLD_USAGE = {
    "input_tokens": 40,
    "output_tokens": 30,
    "output_tokens_details": {"thinking_tokens": 7},
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 40,
    "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
    "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
    "service_tier": None,
    "inference_geo": None,
    "cost": 0.000015,
    "is_byok": False,
    "cost_details": {
        "upstream_inference_cost": 0.000015,
        "upstream_inference_prompt_cost": 0.000009,
        "upstream_inference_completions_cost": 0.000006,
    },
}


def render(request: ChatRequest | None = None) -> Renderer:
    return renderer("messages", "gen-1", 1_764_806_400, "a/m", "Acme", request)


def client(raw: bytes, content_type: str = "text/event-stream") -> anthropic.Anthropic:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=raw)

    return anthropic.Anthropic(
        api_key="k",
        base_url="http://x.test",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )


def streamed(
    *deltas: Delta, finish: Finish = STOP, request: ChatRequest | None = None, charged: bool = True
) -> bytes:
    out = render(request)
    pieces = [out.delta(delta) for delta in deltas]
    return b"".join([*pieces, out.finish(finish), out.end(USAGE, COST, charged=charged)])


def read(raw: bytes) -> Message:
    """What the SDK makes of a stream, which it must read without a complaint."""
    asked: Any = [{"role": "user", "content": "x"}]
    with client(raw).messages.stream(model="a/m", max_tokens=9, messages=asked) as stream:
        for _ in stream:
            pass
        found: Message = stream.get_final_message()
    strict(found)
    return found


def strict(message: Message) -> None:
    """The SDK builds without checking; here its types are checked."""
    Message.model_validate(orjson.loads(message.model_dump_json(warnings=False)))


def content(message: Message) -> list[dict[str, Any]]:
    return [block.model_dump(exclude_none=True) for block in message.content]


def events(raw: bytes) -> list[dict[str, Any]]:
    """The frames, each with its name; blocks must be opened, filled and closed by their index."""
    found = []
    for frame in raw.split(b"\n\n")[:-1]:
        name, data = frame.split(b"\n")
        parsed = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + parsed["type"].encode()
        found.append(parsed)
    return found


def blocks_are_whole(raw: bytes) -> None:
    opened: list[int] = []
    closed: set[int] = set()
    for event in events(raw):
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(opened)
                opened.append(event["index"])
            case "content_block_delta":
                assert event["index"] in opened
                assert event["index"] not in closed
            case "content_block_stop":
                assert event["index"] in opened
                assert event["index"] not in closed
                closed.add(event["index"])
            case "message_delta":
                assert closed == set(opened)
            case _:
                pass


def plain(message: dict[str, Any], finish: Finish = STOP, request: Any = None) -> dict[str, Any]:
    """A plain body, as the SDK reads it and as it is."""
    answer = Answer(choices=(Choice(index=0, message=message, finish=finish),), usage=USAGE)
    raw = render(request).body(answer, USAGE, COST, charged=True)
    asked: Any = [{"role": "user", "content": "x"}]
    read_back = client(raw, "application/json").messages.create(
        model="a/m", max_tokens=9, messages=asked
    )
    strict(read_back)
    found: dict[str, Any] = orjson.loads(raw)
    Message.model_validate(found)
    return found


def tool(index: int | None, name: str = "", arguments: str = "", **more: Any) -> Delta:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    fields = {"type": "function", "function": function} | more
    return Delta(extra={"tool_calls": [fields if index is None else fields | {"index": index}]})


def thought(kind: str = "reasoning.text", **fields: Any) -> Delta:
    text = fields.get("text", fields.get("summary"))
    return Delta(reasoning=text, extra={"reasoning_details": [{"type": kind} | fields]})


def test_text():
    raw = streamed(Delta(content="Hi "), Delta(content='"there"\n\n'))
    found = read(raw)

    assert (found.id, found.model, found.role) == ("gen-1", "a/m", "assistant")
    assert content(found) == [{"type": "text", "text": 'Hi "there"\n\n'}]
    assert (found.stop_reason, found.stop_sequence) == ("end_turn", None)
    assert found.usage.input_tokens == 40
    assert found.usage.output_tokens == 30
    assert found.usage.cache_read_input_tokens == 40
    assert found.usage.cache_creation_input_tokens == 20
    assert [event["type"] for event in events(raw)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_the_start_says_who_answers_and_the_end_what_it_cost():
    start, *_, delta, _ = events(streamed(Delta(content="Hi")))

    assert start["message"] | {"usage": None} == {
        "id": "gen-1",
        "type": "message",
        "role": "assistant",
        "model": "a/m",
        "provider": "Acme",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": None,
    }
    assert start["message"]["usage"]["input_tokens"] == 0
    assert delta["usage"] == TOLD_USAGE
    assert delta["delta"] == {
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
    }


def test_what_is_not_charged_costs_nothing():
    assert events(streamed(Delta(content="Hi"), charged=False))[-2]["usage"]["cost"] == 0


def test_comments_between_events_do_no_harm():
    out = render()
    raw = COMMENT + out.delta(Delta(content="Hi")) + COMMENT + out.finish(STOP)

    assert content(read(raw + out.end(USAGE, COST, charged=True)))[0]["text"] == "Hi"


def test_a_stream_without_a_piece_is_still_a_message():
    found = read(render().end(USAGE, COST, charged=True))

    assert (found.content, found.stop_reason) == ([], None)


def test_thoughts_of_claude_keep_their_signature():
    claude = {"format": "anthropic-claude-v1", "index": 0}
    raw = streamed(
        thought(text="Let ", **claude),
        thought(text="me.", **claude),
        thought(signature="c2lnbg==", **claude),
        Delta(content="So."),
    )

    assert content(read(raw)) == [
        {"type": "thinking", "thinking": "Let me.", "signature": "c2lnbg=="},
        {"type": "text", "text": "So."},
    ]
    kinds = [
        event["delta"]["type"] for event in events(raw) if "index" in event and "delta" in event
    ]
    assert kinds == ["thinking_delta", "thinking_delta", "signature_delta", "text_delta"]


def test_redacted_thoughts_of_claude_keep_their_data():
    item = {
        "type": "reasoning.encrypted",
        "data": "ZGF0YQ==",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    raw = streamed(Delta(extra={"reasoning_details": [item]}), Delta(content="So."))

    assert content(read(raw))[0] == {"type": "redacted_thinking", "data": "ZGF0YQ=="}


def replayed(blocks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reasoning details a provider gets when a client sends these blocks back."""
    asked = parse_messages(
        orjson.dumps(
            {
                "model": "a/m",
                "messages": [
                    {"role": "assistant", "content": list(blocks)},
                    {"role": "user", "content": "And?"},
                ],
            }
        )
    )
    assert asked.messages is not None
    return list(asked.messages[0].reasoning_details or ())


HIDDEN = parse_messages(
    orjson.dumps(
        {
            "model": "a/m",
            "messages": [{"role": "user", "content": "x"}],
            "thinking": {"type": "adaptive", "display": "omitted"},
        }
    )
)


@pytest.mark.parametrize("request_", [None, HIDDEN])
def test_thoughts_of_others_come_back_as_they_were(request_: ChatRequest | None):
    openai = {"format": "openai-responses-v1", "index": 0, "id": "rs_1"}
    gemini = {"format": "google-gemini-v1", "index": 1}
    raw = streamed(
        thought("reasoning.summary", summary="First", **openai),
        thought("reasoning.summary", summary=", then.", **openai),
        thought("reasoning.encrypted", data="b3BhcXVl", **openai),
        thought(text="Hm.", **gemini),
        thought(signature="Z2VtaW5p", **gemini),
        thought("reasoning.server_tool_call", tool_name="x", arguments="{}", result="y"),
        Delta(content="So."),
        request=request_,
    )
    found = content(read(raw))

    shown = [block.get("thinking") for block in found]
    assert shown == (
        ["First, then.", None, "Hm.", None, None]
        if request_ is None
        else ["", None, "", None, None]
    )
    assert replayed(found) == [
        {"type": "reasoning.summary", "summary": "First, then.", **openai},
        {"type": "reasoning.encrypted", "data": "b3BhcXVl", **openai},
        {"type": "reasoning.text", "text": "Hm.", "signature": "Z2VtaW5p", **gemini},
        {
            "type": "reasoning.server_tool_call",
            "tool_name": "x",
            "arguments": "{}",
            "result": "y",
        },
    ]


def test_hidden_thoughts_of_claude_come_back_with_their_text():
    claude = {"format": "anthropic-claude-v1", "index": 0}
    raw = streamed(
        thought(text="Let me.", **claude), thought(signature="c2ln", **claude), request=HIDDEN
    )
    (found,) = content(read(raw))

    assert found["thinking"] == ""
    assert replayed([found]) == [
        {"type": "reasoning.text", "text": "Let me.", "signature": "c2ln", **claude}
    ]


def test_bare_reasoning_is_one_thought():
    raw = streamed(Delta(reasoning="Let "), Delta(reasoning="me."), Delta(content="So."))
    found = content(read(raw))

    assert [block["type"] for block in found] == ["thinking", "text"]
    assert replayed(found) == [{"type": "reasoning.text", "text": "Let me.", "format": "unknown"}]


def test_a_tool():
    raw = streamed(
        Delta(content="Let me look."),
        tool(0, "look", id="call_1"),
        tool(0, arguments='{"at":'),
        tool(0, arguments='"x"}'),
        finish=Finish(0, "tool_calls", "tool_calls"),
    )
    found = read(raw)

    assert content(found) == [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "x"}},
    ]
    assert found.stop_reason == "tool_use"
    blocks_are_whole(raw)


PARALLEL = [
    tool(0, "a", id="call_1"),
    tool(0, arguments='{"n":1}'),
    tool(1, "b", id="call_2"),
    tool(1, arguments='{"n":2}'),
]
CALLS = [
    {"type": "tool_use", "id": "call_1", "name": "a", "input": {"n": 1}},
    {"type": "tool_use", "id": "call_2", "name": "b", "input": {"n": 2}},
]


def test_tools_one_after_the_other_are_closed_one_after_the_other():
    raw = streamed(*PARALLEL, finish=Finish(0, "tool_calls", None))

    assert content(read(raw)) == CALLS
    kinds = [event["type"].removeprefix("content_block_") for event in events(raw)[1:-2]]
    assert kinds == ["start", "delta", "stop", "start", "delta", "stop"]


@pytest.mark.parametrize(
    "deltas",
    [
        [PARALLEL[0], PARALLEL[2], PARALLEL[3], PARALLEL[1]],
        [PARALLEL[0], PARALLEL[2], PARALLEL[1], PARALLEL[3]],
        [tool(0, "a", '{"n":', id="call_1"), PARALLEL[2], tool(0, arguments="1}"), PARALLEL[3]],
        [tool(0, "a", '{"n":1}', id="call_1"), tool(1, "b", '{"n":2}', id="call_2")],
        [tool(None, "a", '{"n":1}', id="call_1"), tool(None, "b", '{"n":2}', id="call_2")],
        [tool(0, id="call_1", arguments='{"n"'), tool(0, "a", ":1}"), *PARALLEL[2:]],
    ],
)
def test_tools_in_turns(deltas: list[Delta]):
    raw = streamed(*deltas, finish=Finish(0, "tool_calls", None))

    assert content(read(raw)) == CALLS
    blocks_are_whole(raw)


def test_a_call_without_arguments_or_id():
    raw = streamed(tool(0, "a"), tool(1, "b"), finish=Finish(0, "stop", "stop"))
    found = read(raw)

    assert content(found) == [
        {"type": "tool_use", "id": "call_gen-1_0", "name": "a", "input": {}},
        {"type": "tool_use", "id": "call_gen-1_1", "name": "b", "input": {}},
    ]
    assert found.stop_reason == "tool_use"


def test_a_refusal():
    raw = streamed(
        Delta(extra={"refusal": "I "}),
        Delta(extra={"refusal": "won't."}),
        finish=Finish(0, "content_filter", "stop"),
    )
    found = read(raw)

    assert content(found) == [{"type": "text", "text": "I won't."}]
    assert found.stop_reason == "refusal"
    assert found.stop_details is not None
    assert found.stop_details.explanation == "I won't."


def test_citations():
    cited = {"url": "https://x.test", "title": "X", "content": "Said.", "start_index": 0}
    annotations = [{"type": "url_citation", "url_citation": cited}, {"type": "file"}]
    citation = {
        "type": "web_search_result_location",
        "url": "https://x.test",
        "title": "X",
        "cited_text": "Said.",
        "encrypted_index": "",
    }
    raw = streamed(Delta(content="So."), Delta(extra={"annotations": annotations}))

    assert content(read(raw)) == [{"type": "text", "text": "So.", "citations": [citation]}]
    assert plain({"content": "So.", "annotations": annotations})["content"] == [
        {"type": "text", "text": "So.", "citations": [citation]}
    ]


def test_sound_is_told_by_its_transcript():
    raw = streamed(
        Delta(extra={"audio": {"id": "a", "data": "AAAA"}}),
        Delta(extra={"audio": {"transcript": "Hello"}}),
    )

    assert content(read(raw)) == [{"type": "text", "text": "Hello"}]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (Finish(0, "stop", "STOP"), "end_turn"),
        (Finish(0, "length", "max_tokens"), "max_tokens"),
        (Finish(0, "length", "model_context_window_exceeded"), "model_context_window_exceeded"),
        (Finish(0, "tool_calls", "tool_use"), "tool_use"),
        (Finish(0, "content_filter", "SAFETY"), "refusal"),
        (Finish(0, "stop", "pause_turn"), "pause_turn"),
        (Finish(0, None, None), None),
    ],
)
def test_stop_reasons(finish: Finish, reason: str | None):
    assert read(streamed(Delta(content="x"), finish=finish)).stop_reason == reason
    told = plain({"content": "x"}, finish)
    assert told["stop_reason"] == reason
    assert (told["stop_details"] is not None) == (reason == "refusal")


def test_a_stream_that_ends_with_an_error_of_the_providers_is_no_success():
    raw = streamed(Delta(content="x"), finish=Finish(0, "error", "MALFORMED_FUNCTION_CALL"))

    assert b"event: message_stop" not in raw
    with pytest.raises(anthropic.APIStatusError, match="Provider returned error"):
        read(raw)


@pytest.mark.parametrize(("stops", "met"), [(["END"], "END"), (["END", "FIN"], None)])
def test_the_stop_sequence_is_told_when_there_is_no_doubt(stops: list[str], met: str | None):
    asked = orjson.dumps(
        {
            "model": "a/m",
            "messages": [{"role": "user", "content": "x"}],
            "stop_sequences": stops,
        }
    )
    found = plain({"content": "x"}, Finish(0, "stop", "stop_sequence"), parse_messages(asked))

    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", met)


@pytest.mark.parametrize("begun", [True, False])
def test_a_broken_stream_says_so_in_band(begun: bool):
    out = render()
    raw = (out.delta(Delta(content="Hi")) if begun else b"") + out.broken(FAILURE)

    asked: Any = [{"role": "user", "content": "x"}]
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client(raw).messages.stream(model="a/m", max_tokens=9, messages=asked) as stream,
    ):
        stream.get_final_message()

    assert caught.value.body == {
        "type": "error",
        "error": {
            "type": "overloaded_error",
            "message": "Busy",
            "error_type": "provider_overloaded",
        },
        "request_id": "gen-1",
        "metadata": {
            "provider_name": "Acme",
            "error_type": "provider_overloaded",
            "raw": "boom",
        },
    }


def test_a_plain_message():
    found = plain(
        {
            "content": "So.",
            "reasoning": "Hm.",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "Hm.",
                    "signature": "c2ln",
                    "format": "anthropic-claude-v1",
                    "index": 0,
                },
                {"type": "reasoning.encrypted", "data": "x", "format": "xai-responses-v1"},
            ],
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at":"x"}'},
                },
                {"id": "call_2", "function": {"name": "look", "arguments": "{oops"}},
                {"id": "call_3", "function": {"name": "look", "arguments": ""}},
            ],
        },
        Finish(0, "tool_calls", "tool_use"),
    )

    sealed = found["content"][1].pop("data")
    assert sealed.startswith(SEAL)
    assert found == {
        "id": "gen-1",
        "type": "message",
        "role": "assistant",
        "model": "a/m",
        "provider": "Acme",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking"},
            {"type": "text", "text": "So.", "citations": None},
            {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "x"}},
            {
                "type": "tool_use",
                "id": "call_2",
                "name": "look",
                "input": {"INVALID_JSON": "{oops"},
            },
            {"type": "tool_use", "id": "call_3", "name": "look", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": TOLD_USAGE,
    }


def test_a_plain_refusal():
    found = plain({"content": None, "refusal": "No."}, Finish(0, "content_filter", "stop"))

    assert found["content"] == [{"type": "text", "text": "No.", "citations": None}]
    assert found["stop_details"] == {"type": "refusal", "category": None, "explanation": "No."}


def test_other_choices_are_not_part_of_this_api():
    raw = streamed(Delta(content="a"), Delta(1, "b"))

    assert content(read(raw)) == [{"type": "text", "text": "a"}]


TEXTS = st.text(min_size=1, max_size=8)
PIECES = st.one_of(
    st.builds(lambda text: Delta(content=text), TEXTS),
    st.builds(lambda text: Delta(reasoning=text), TEXTS),
    st.builds(
        lambda text, form, index: thought(text=text, format=form, index=index),
        TEXTS,
        st.sampled_from(["unknown", "anthropic-claude-v1", "google-gemini-v1"]),
        st.integers(0, 2),
    ),
    st.builds(
        lambda sign, index: thought(signature=sign, format="google-gemini-v1", index=index),
        TEXTS,
        st.integers(0, 2),
    ),
    st.builds(lambda data: thought("reasoning.encrypted", data=data, format="unknown"), TEXTS),
    st.builds(lambda index: tool(index, "look", "{}", id=f"c{index}"), st.integers(0, 3)),
    st.builds(lambda index: tool(index, "look", '{"a":', id=f"c{index}"), st.integers(0, 3)),
)


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=12))
def test_any_order_of_pieces_is_a_valid_stream(deltas: list[Delta]):
    raw = streamed(*deltas)

    blocks_are_whole(raw)
    told = events(raw)
    said = "".join(
        event["delta"]["text"]
        for event in told
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta"
    )
    assert said == "".join(delta.content for delta in deltas)
    thinking = "".join(
        event["delta"]["thinking"]
        for event in told
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "thinking_delta"
    )
    assert thinking == "".join(delta.reasoning or "" for delta in deltas)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "text", "index", "id", "function", "name", "arguments", "url_citation",
             "url", "transcript", "signature", "format", "data", "summary"]
        ),
        inner,
        max_size=4,
    ),
)  # fmt: skip
KINDS = st.sampled_from(["reasoning.text", "reasoning.summary", "url_citation", "function"])
ITEMS = st.dictionaries(st.sampled_from(["id", "index", "text", "function", "data"]), JSON)
LISTS = st.lists(st.builds(lambda kind, item: item | {"type": kind}, KINDS, ITEMS), max_size=3)
EXTRAS = st.dictionaries(
    st.sampled_from(["tool_calls", "reasoning_details", "refusal", "audio", "annotations"]),
    JSON | LISTS,
)


@settings(max_examples=200)
@given(st.lists(EXTRAS, max_size=4))
def test_whatever_a_provider_puts_in_is_told_or_left_out(extras: list[dict[str, Any]]):
    blocks_are_whole(streamed(*(Delta(extra=extra) for extra in extras)))
    for extra in extras:
        plain_body = Answer(
            choices=(Choice(index=0, message={"content": "x"} | extra, finish=STOP),), usage=None
        )
        Message.model_validate_json(render().body(plain_body, USAGE, COST, charged=True))
