"""The Gemini dialects: what is sent, and everything that may come back."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.credentials import ApiKey, GoogleToken
from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
)
from routing.usage import Usage
from routing.wire.chat import ChatRequest, parse_chat
from routing.wire.events import Broken, Delta, Finish, Used
from tests.unit.workers.dialects.streams import cut, events_of
from workers.dialects.gemini import GeminiDialect, VertexDialect
from workers.dialects.gemini_contents import WAIVER, checked_name
from workers.dialects.registry import dialect

DIALECT = GeminiDialect()
VERTEX = VertexDialect()
KEY = ApiKey("secret")
TOKEN = GoogleToken(token="ya29", project="proj")  # noqa: S106 - not a real one
NOW_MS = 1_764_806_400_000
MESSAGES = [{"role": "user", "content": "Hi"}]
EVERYTHING = frozenset(
    {
        "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed", "stop",
        "logprobs", "response_format", "tools", "tool_choice", "reasoning", "web_search_options",
    }
)  # fmt: skip
STUDIO_URL = "https://generativelanguage.googleapis.com/v1beta"
PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def place(endpoint):
    """Makes an endpoint at Google."""

    def make(upstream_id: str = "gemini-2.5-flash", **changes: Any) -> Any:
        provider = {"base_url": STUDIO_URL, "video_urls": frozenset({"youtube"})}
        known: dict[str, Any] = {
            "upstream_id": upstream_id,
            "dialect": "gemini",
            "supported_parameters": EVERYTHING,
            "max_completion_tokens": 60_000,
            "provider": provider | changes.pop("provider", {}),
        }
        return endpoint("google", **(known | changes))

    return make


def sent(place: Any, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    base = {"model": "a/m"} if "prompt" in fields else {"model": "a/m", "messages": MESSAGES}
    request = parse_chat(orjson.dumps(base | fields))
    body: dict[str, Any] = orjson.loads(DIALECT.encode(request, place, KEY, stream=stream).body)
    return body


def config(place: Any, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = sent(place, **fields).get("generationConfig", {})
    found.pop("thinkingConfig", None)
    return found


def thoughts(place: Any, **fields: Any) -> Any:
    return sent(place, **fields).get("generationConfig", {}).get("thinkingConfig")


def contents(place: Any, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(place, messages=list(messages))["contents"]
    return found


def decoded(*chunks: Any) -> list[Any]:
    decoder = DIALECT.decoder()
    return [event for chunk in chunks for event in decoder.decode(orjson.dumps(chunk))]


def chunk(*parts: dict[str, Any], **candidate: Any) -> dict[str, Any]:
    content = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    return {"candidates": [content | candidate]}


# where it goes


def test_ai_studio_is_called_with_the_models_name_and_the_key(place):
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": MESSAGES}))

    plain = DIALECT.encode(request, place(), KEY, stream=False)
    streamed = DIALECT.encode(request, place(), KEY, stream=True)

    assert plain.url == f"{STUDIO_URL}/models/gemini-2.5-flash:generateContent"
    assert streamed.url == f"{STUDIO_URL}/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert plain.headers["x-goog-api-key"] == "secret"
    assert "authorization" not in plain.headers


def test_vertex_knows_no_ids_of_calls(place):
    there = place(dialect="vertex")
    found = contents(there, *MESSAGES, calls("a"), result("a", "x"))

    assert found[1]["parts"][0]["functionCall"] == {
        "name": "get_weather",
        "args": {"city": "Oslo"},
    }
    assert found[2]["parts"][0]["functionResponse"] == {
        "name": "get_weather",
        "response": {"result": "x"},
    }


def test_vertex_is_called_in_the_project_of_the_key(place):
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": MESSAGES}))
    base = {"base_url": "https://{region}-aiplatform.googleapis.com/v1"}
    there = place(provider=base, region="europe-west1")

    upstream = VERTEX.encode(request, there, TOKEN, stream=True)

    assert upstream.url == (
        "https://europe-west1-aiplatform.googleapis.com/v1/projects/proj/locations/europe-west1"
        "/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    )
    assert upstream.headers["authorization"] == "Bearer ya29"
    assert orjson.loads(upstream.body) == sent(there)


def test_a_credential_of_another_kind_is_our_mistake(place):
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": MESSAGES}))

    with pytest.raises(UpstreamDenied):
        DIALECT.encode(request, place(), TOKEN, stream=False)
    with pytest.raises(UpstreamDenied):
        VERTEX.encode(request, place(), KEY, stream=False)


def test_the_catalogs_names_lead_here():
    assert isinstance(dialect("gemini", "messages"), GeminiDialect)
    assert isinstance(dialect("vertex", "chat"), VertexDialect)


# messages


def test_a_conversation(place):
    body = sent(
        place(),
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "No jokes."}]},
            {"role": "user", "content": "Hi", "name": "Ada"},
            {"role": "user", "content": "There"},
            {"role": "assistant", "content": "Hello"},
            {"role": "system", "content": "Now be long."},
            {"role": "user", "content": [{"type": "text", "text": ""}]},
        ],
    )

    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "No jokes."}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "Ada: Hi"}, {"text": "There"}]},
        {"role": "model", "parts": [{"text": "Hello"}]},
        {"role": "user", "parts": [{"text": "Now be long."}]},
    ]


def test_a_bare_prompt_and_a_lone_system_message_are_the_users_words(place):
    assert sent(place(), prompt="Once")["contents"] == [
        {"role": "user", "parts": [{"text": "Once"}]}
    ]
    alone = sent(place(), messages=[{"role": "system", "content": "Be"}])
    assert alone["contents"] == [{"role": "user", "parts": [{"text": "Be"}]}]
    assert "systemInstruction" not in alone


def test_a_conversation_that_says_nothing_is_refused(place):
    with pytest.raises(UpstreamRejected, match="messages: say nothing"):
        contents(place(), {"role": "user", "content": ""})


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        pytest.param(
            {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA"}},
            {"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}},
            id="image",
        ),
        pytest.param(
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
            id="audio",
        ),
        pytest.param(
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
            {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}},
            id="video",
        ),
        pytest.param(
            {"type": "video_url", "video_url": {"url": "http://www.youtube.com/watch?v=x"}},
            {
                "fileData": {
                    "fileUri": "https://www.youtube.com/watch?v=x",
                    "mimeType": "video/mp4",
                }
            },
            id="YouTube",
        ),
        pytest.param(
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
            id="pdf",
        ),
    ],
)
def test_media(place, part: dict[str, Any], expected: dict[str, Any]):
    message = {"role": "user", "content": [{"type": "text", "text": "See"}, part]}

    assert contents(place(), message)[0]["parts"] == [{"text": "See"}, expected]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}},
            r"messages\[0\]\.content\[0\]\.image_url\.url: .* data URL",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "pcm24"}},
            r"content\[0\]\.input_audio\.format: .*'pcm24'; send one of wav, mp3",
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://a.test/x.mp4"}},
            r"content\[0\]\.video_url\.url: .* data URL or a YouTube link",
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://youtube.com.evil.test/x"}},
            r"content\[0\]\.video_url\.url: ",
        ),
        ({"type": "file", "file": {"file_id": "f"}}, r"file\.file_id: .* send file_data"),
        (
            {"type": "file", "file": {"file_data": "https://a.test/x.pdf"}},
            r"file\.file_data: .* base64",
        ),
    ],
)
def test_media_that_cannot_be_said(place, part: dict[str, Any], words: str):
    with pytest.raises(UpstreamRejected, match=words) as caught:
        contents(place(), {"role": "user", "content": [part]})
    assert caught.value.told_status == 400


# tools

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Looks outside.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
}
ODD = {"type": "function", "function": {"name": "1 odd.name"}}


def test_tools_and_the_choice_among_them(place):
    body = sent(place(), tools=[TOOL, ODD], parallel_tool_calls=False)

    declared = body["tools"][0]["functionDeclarations"]
    assert declared[0] == {
        "name": "get_weather",
        "description": "Looks outside.",
        "parametersJsonSchema": TOOL["function"]["parameters"],
    }
    assert set(declared[1]) == {"name"}
    assert "toolConfig" not in body
    for choice, expected in (
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "get_weather"}},
            {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
        ),
    ):
        body = sent(place(), tools=[TOOL], tool_choice=choice)
        assert body["toolConfig"] == {"functionCallingConfig": expected}


def test_tools_are_not_sent_where_they_are_not_known(place):
    body = sent(
        place(supported_parameters=frozenset()), tools=[TOOL], tool_choice="auto", temperature=1
    )

    assert body.keys() == {"contents"}


def test_a_search_is_asked_for_where_there_are_no_other_tools(place):
    assert sent(place(), web_search_options={})["tools"] == [{"googleSearch": {}}]
    assert len(sent(place(), web_search_options={}, tools=[TOOL])["tools"]) == 1


@given(st.text(min_size=1, max_size=8))
def test_the_caller_sees_its_own_names_again(name: str):
    try:
        wire = checked_name(name, "tools[0].function.name")
    except UpstreamRejected:
        assert len(name) > 6
        return
    call = chunk({"functionCall": {"name": wire, "args": {}}})

    (event,) = decoded(call)

    assert wire[0].isalpha() or wire[0] == "_"
    assert event.extra["tool_calls"][0]["function"]["name"] == name


def calls(*ids: str, **fields: Any) -> dict[str, Any]:
    made = [
        {
            "id": one,
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
        }
        for one in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": made} | fields


def result(tag: str, content: Any = "rain") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": tag, "content": content}


def signature(data: str, tag: str | None, index: int = 0) -> dict[str, Any]:
    return {
        "type": "reasoning.encrypted",
        "data": data,
        "id": tag,
        "format": "google-gemini-v1",
        "index": index,
    }


def test_results_of_one_turn_go_together(place):
    found = contents(place(), *MESSAGES, calls("a", "b"), result("a"), result("b", ""), *MESSAGES)

    assert [one["role"] for one in found] == ["user", "model", "user", "user"]
    assert found[1]["parts"][0] == {
        "functionCall": {"id": "a", "name": "get_weather", "args": {"city": "Oslo"}}
    }
    assert found[2]["parts"] == [
        {"functionResponse": {"id": tag, "name": "get_weather", "response": {"result": text}}}
        for tag, text in (("a", "rain"), ("b", ""))
    ]
    assert found[3]["parts"] == [{"text": "Hi"}]


@pytest.mark.parametrize(
    ("model", "with_result"), [("gemini-2.5-pro", False), ("gemini-3-pro-preview", True)]
)
def test_pictures_of_a_tool(place, model: str, *, with_result: bool):
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    text = {"type": "text", "text": "A map"}
    blob = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}

    found = contents(
        place(model), *MESSAGES, calls("a", "b"), result("a", [text, picture]), result("b")
    )

    responses = [part["functionResponse"] for part in found[2]["parts"]]
    assert [one["response"]["result"] for one in responses] == ["A map", "rain"]
    assert responses[0].get("parts") == ([blob] if with_result else None)
    assert found[3:] == ([] if with_result else [{"role": "user", "parts": [blob]}])


def test_a_result_of_nothing_is_refused(place):
    # The edge refuses this already.
    request = ChatRequest.model_validate({"model": "a/m", "messages": [*MESSAGES, result("x")]})

    with pytest.raises(UpstreamRejected, match=r"messages\[1\]\.tool_call_id: names no call"):
        DIALECT.encode(request, place(), KEY, stream=False)


def test_a_name_too_long_is_refused(place):
    tool = {"type": "function", "function": {"name": "ö" * 60}}

    with pytest.raises(UpstreamRejected, match=r"tools\[0\]\.function\.name: .*too long"):
        sent(place(), tools=[tool])


# signatures of thoughts


def test_signatures_come_back_on_their_own_parts(place):
    said = calls(
        "a",
        "b",
        content="Let me see",
        reasoning_details=[
            {"type": "reasoning.text", "text": "hm", "format": "google-gemini-v1", "index": 0},
            signature("TEXT", None, 1),
            signature("CALL", "b", 2),
            {"type": "reasoning.encrypted", "data": "X", "format": "openai-responses-v1"},
        ],
    )

    parts = contents(place(), *MESSAGES, said, result("a"), result("b"))[1]["parts"]

    assert [part.get("thoughtSignature") for part in parts] == ["TEXT", None, "CALL"]


def test_signatures_without_an_id_go_to_the_calls_in_order(place):
    said = calls(
        "a", "b", reasoning_details=[signature("ONE", None, 0), signature("TWO", "other", 1)]
    )

    parts = contents(place(), *MESSAGES, said, result("a"), result("b"))[1]["parts"]

    assert {part["thoughtSignature"] for part in parts} == {"ONE", "TWO"}


def test_signatures_of_pictures_and_of_nothing(place):
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    drawn = {
        "role": "assistant",
        "content": "",
        "images": [picture, {"image_url": {"url": "https://a.test/x.png"}}],
        "reasoning_details": [signature("PIC", "image_0"), signature("REST", None, 1)],
    }

    parts = contents(place(), *MESSAGES, drawn)[1]["parts"]

    assert parts == [
        {"text": "", "thoughtSignature": "REST"},
        {
            "inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="},
            "thoughtSignature": "PIC",
        },
    ]


@pytest.mark.parametrize(
    ("model", "expected"), [("gemini-2.5-pro", None), ("gemini-3-flash", WAIVER)]
)
def test_calls_of_another_model_are_waived_where_signatures_are_demanded(place, model, expected):
    parts = contents(place(model), *MESSAGES, calls("a", "b"), result("a"), result("b"))[1]["parts"]

    assert [part.get("thoughtSignature") for part in parts] == [expected, None]


def test_refusals_go_back_as_words(place):
    parts = [{"type": "refusal", "refusal": "No"}]

    for said in ({"content": parts}, {"content": None, "refusal": "No"}):
        found = contents(place(), *MESSAGES, {"role": "assistant"} | said)
        assert found[1]["parts"] == [{"text": "No"}]


def test_links_to_videos_go_where_they_are_followed(place):
    url = "https://a.test/x.mp4"
    part = {"type": "video_url", "video_url": {"url": url}}
    anywhere = place(provider={"video_urls": frozenset({"http"})})

    (found,) = contents(anywhere, {"role": "user", "content": [part]})

    assert found["parts"] == [{"fileData": {"fileUri": url, "mimeType": "video/mp4"}}]


def test_thoughts_between_words_are_items_of_their_own():
    thoughts_of = chunk(
        {"text": "a", "thought": True}, {"text": "b"}, {"text": "c", "thought": True}
    )

    (choice,) = DIALECT.answer(orjson.dumps(thoughts_of)).choices

    found = [(one["index"], one["text"]) for one in choice.message["reasoning_details"]]
    assert found == [(0, "a"), (1, "c")]


def test_a_spoken_answer_goes_back_as_its_words(place):
    said = {"role": "assistant", "audio": {"id": "x", "data": "AA", "transcript": "Hello"}}

    assert contents(place(), *MESSAGES, said)[1]["parts"] == [{"text": "Hello"}]


# how to answer


def test_sampling(place):
    assert config(
        place(),
        temperature=0.5,
        top_p=0.9,
        top_k=100,
        frequency_penalty=2,
        presence_penalty=-2,
        seed=-1,
        stop=["a", "", "b"],
        logprobs=True,
        top_logprobs=3,
        max_tokens=70_000,
    ) == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 64,
        "frequencyPenalty": 1.99,
        "presencePenalty": -2,
        "seed": 2**31 - 1,
        "stopSequences": ["a", "b"],
        "responseLogprobs": True,
        "logprobs": 3,
        "maxOutputTokens": 60_000,
    }
    assert config(place(), top_k=0, seed=7, logprobs=True, stop="x") == {
        "seed": 7,
        "responseLogprobs": True,
        "stopSequences": ["x"],
    }


def test_the_form_of_the_answer(place):
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    named = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}

    assert config(place(), response_format=named) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }
    assert config(place(), response_format={"type": "json_object"}) == {
        "responseMimeType": "application/json"
    }
    assert config(place(), response_format={"type": "text"}) == {}


def test_pictures_and_sound(place):
    assert config(
        place(),
        modalities=["image", "text"],
        image_config={"aspect_ratio": "16:9", "image_size": "2K", "odd": 1},
    ) == {
        "responseModalities": ["IMAGE", "TEXT"],
        "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
    }
    assert config(
        place(), modalities=["text", "audio"], audio={"voice": "Kore", "format": "pcm16"}
    ) == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }
    assert config(place(), modalities=["text"]) == {}
    with pytest.raises(UpstreamRejected, match=r"audio\.format: .*'pcm16' only, not 'mp3'"):
        config(place(), modalities=["audio"], audio={"format": "mp3"})


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        ("gemini-2.5-flash", {}, {"includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning": {"enabled": False}}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", {"reasoning_effort": "medium"}, 16_384),
        ("gemini-2.5-pro", {"reasoning_effort": "xhigh"}, int(32_768 * 0.95)),
        ("gemini-2.5-pro", {"reasoning": {"enabled": True}, "max_tokens": 1_000}, 500),
        ("gemini-2.5-pro", {"reasoning": {"max_tokens": 1}}, 128),
        ("gemini-2.5-flash", {"reasoning": {"max_tokens": 99_999}}, 24_576),
        ("gemini-2.5-flash-lite", {"reasoning": {"effort": "minimal"}, "max_tokens": 100}, 512),
        ("gemini-3-pro", {"reasoning": {"max_tokens": 2_000}}, 2_000),
        ("gemini-3-flash", {"reasoning_effort": "low"}, "LOW"),
        ("gemini-3.1-pro", {"reasoning_effort": "max"}, "HIGH"),
        ("gemini-flash-latest", {"reasoning": {"effort": "minimal", "exclude": True}}, "MINIMAL"),
    ],
)
def test_how_much_to_think(place, model: str, fields: dict[str, Any], expected: Any):
    if isinstance(expected, int):
        expected = {"includeThoughts": True, "thinkingBudget": expected}
    elif isinstance(expected, str):
        expected = {"includeThoughts": True, "thinkingLevel": expected}

    assert thoughts(place(model), **fields) == expected


def test_a_budget_leaves_room_for_the_answer(place):
    """Thoughts are a part of the answer's length at Google."""
    with pytest.raises(UpstreamRejected, match="max_tokens: must be more than the 2000 tokens"):
        sent(place("gemini-2.5-pro"), reasoning={"max_tokens": 2_000}, max_tokens=2_000)
    told = thoughts(place("gemini-2.5-pro"), reasoning={"max_tokens": 99_999}, max_tokens=60_000)
    assert told["thinkingBudget"] == 32_768


def test_thinking_as_the_endpoint_allows(place):
    pro = place("gemini-3-pro-preview", efforts=("low", "high"))
    loud = place("gemini-3-pro-preview", efforts=("low", "xhigh"))

    assert thoughts(pro, reasoning_effort="medium")["thinkingLevel"] == "LOW"
    assert thoughts(loud, reasoning_effort="max")["thinkingLevel"] == "HIGH"
    assert thoughts(place(supported_parameters=frozenset()), reasoning_effort="low") is None
    with pytest.raises(UpstreamRejected, match="cannot be switched off"):
        sent(pro, reasoning={"enabled": False})


# what comes back as a stream


def test_thoughts_text_and_a_call():
    call = {"functionCall": {"name": "f", "args": {"a": 1}, "id": "8f2b"}, "thoughtSignature": "S"}
    events = decoded(
        chunk({"text": "h", "thought": True}),
        chunk({"text": "m", "thought": True}, {"text": "So"}),
        chunk(call, {"functionCall": {"name": "g"}}),
        chunk({"text": ""}, finishReason="STOP", index=0),
    )

    def thought(text: str) -> dict[str, Any]:
        return {
            "reasoning_details": [
                {"type": "reasoning.text", "text": text, "format": "google-gemini-v1", "index": 0}
            ]
        }

    second = events[5].extra["tool_calls"][0]
    assert events[:5] == [
        Delta(0, "", "h", thought("h")),
        Delta(0, "", "m", thought("m")),
        Delta(0, "So"),
        Delta(extra={"reasoning_details": [signature("S", "8f2b", 1)]}),
        Delta(
            extra={
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "8f2b",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a":1}'},
                    }
                ]
            }
        ),
    ]
    assert (second["index"], second["function"]) == (1, {"name": "g", "arguments": "{}"})
    assert second["id"].startswith("call_")
    assert events[6:] == [Finish(0, "tool_calls", "STOP")]


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("OTHER", "stop"),
        ("WHIM", "stop"),
    ],
)
def test_why_it_ended(native: str, reason: str):
    assert decoded(chunk(finishReason=native)) == [Finish(0, reason, native)]


def test_the_end_is_told_once():
    assert decoded(chunk(finishReason="STOP"), chunk(finishReason="STOP")) == [
        Finish(0, "stop", "STOP")
    ]
    assert decoded(chunk(finishReason="FINISH_REASON_UNSPECIFIED"), chunk(finishReason=3)) == []


def test_pictures_drafts_and_sound():
    blob = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    sound = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "BBBB"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    assert decoded(chunk(blob | {"thought": True}, blob | {"thoughtSignature": "S"}, sound)) == [
        Delta(extra={"reasoning_details": [signature("S", "image_0")]}),
        Delta(extra={"images": [image]}),
        Delta(extra={"audio": {"data": "BBBB"}}),
    ]


def test_log_probabilities():
    result = {
        "chosenCandidates": [{"token": "Hé", "tokenId": 1, "logProbability": -0.5}, {"token": "y"}],
        "topCandidates": [{"candidates": [{"token": "Hé", "logProbability": -0.5}]}],
    }
    logprobs = {
        "content": [
            {
                "token": "Hé",
                "logprob": -0.5,
                "bytes": [72, 195, 169],
                "top_logprobs": [{"token": "Hé", "logprob": -0.5, "bytes": [72, 195, 169]}],
            },
            {"token": "y", "logprob": 0, "bytes": [121], "top_logprobs": []},
        ],
        "refusal": None,
    }

    assert decoded(chunk({"text": "Héy"}, logprobsResult=result)) == [
        Delta(0, "Héy", None, None, logprobs)
    ]
    assert decoded(chunk(logprobsResult=result)) == [Delta(logprobs=logprobs)]


def test_citations_count_characters_and_not_bytes():
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.test", "title": "a.test"}}, {"odd": 1}],
        "groundingSupports": [
            {
                "segment": {"startIndex": 3, "endIndex": 7, "text": "wörd"},
                "groundingChunkIndices": [0, 1, 9, "x"],
            }
        ],
    }

    events = decoded(
        chunk({"text": "ö "}),
        chunk({"text": "wör"}),
        chunk(finishReason="STOP", groundingMetadata=grounding),
    )

    assert events[2].extra == {
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {
                    "url": "https://a.test",
                    "title": "a.test",
                    "content": "wörd",
                    "start_index": 2,
                    "end_index": 5,
                },
            }
        ]
    }
    assert events[3] == Finish(0, "stop", "STOP")


def test_sources_without_a_stretch_stand_for_the_whole():
    grounding = {"groundingChunks": [{"web": {"uri": "https://a.test"}}]}

    event, _ = decoded(chunk(finishReason="STOP", groundingMetadata=grounding))

    (one,) = event.extra["annotations"]
    assert one["url_citation"]["url"] == "https://a.test"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(
            {
                "promptTokenCount": 100,
                "toolUsePromptTokenCount": 10,
                "candidatesTokenCount": 20,
                "thoughtsTokenCount": 5,
                "cachedContentTokenCount": 30,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 40},
                    {"modality": "AUDIO", "tokenCount": 50},
                    {"modality": "VIDEO", "tokenCount": 10},
                ],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 15}],
                "totalTokenCount": 135,
            },
            Usage(
                prompt_tokens=110,
                completion_tokens=25,
                cached_tokens=30,
                audio_tokens=30,
                video_tokens=10,
                reasoning_tokens=5,
                image_output_tokens=15,
            ),
            id="all",
        ),
        pytest.param(
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 25,
                "thoughtsTokenCount": 5,
                "totalTokenCount": 35,
            },
            Usage(prompt_tokens=10, completion_tokens=25, reasoning_tokens=5),
            id="thoughts in the answer",
        ),
        pytest.param(
            {"promptTokenCount": 3, "totalTokenCount": 3}, Usage(prompt_tokens=3), id="no answer"
        ),
        pytest.param({"trafficType": "ON_DEMAND"}, None, id="none yet"),
        pytest.param({"promptTokenCount": -1}, None, id="absurd"),
        pytest.param({"promptTokenCount": 1, "thoughtsTokenCount": "many"}, None, id="text"),
        pytest.param("odd", None, id="odd"),
    ],
)
def test_usage(raw: Any, expected: Usage | None):
    assert decoded({"usageMetadata": raw}) == ([] if expected is None else [Used(expected)])


def test_a_blocked_prompt_is_refused_before_anything_came():
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}

    (event,) = decoded(blocked)

    assert isinstance(event, Broken)
    assert isinstance(event.error, UpstreamRejected)
    assert "PROHIBITED_CONTENT" in event.error.message
    with pytest.raises(UpstreamRejected, match="blocked"):
        DIALECT.answer(orjson.dumps(blocked))
    end = Finish(0, "content_filter", "PROHIBITED_CONTENT")
    assert decoded(chunk({"text": "x"}), blocked) == [Delta(0, "x"), end]
    assert decoded(chunk(finishReason="PROHIBITED_CONTENT") | blocked) == [end]


def test_any_chopping_gives_the_same_events():
    whole = b"".join(
        b"data: " + orjson.dumps(one) + b"\r\n\r\n"
        for one in (
            chunk({"text": "h", "thought": True}),
            chunk({"text": "Grüße"}),
            chunk({"functionCall": {"name": "f", "id": "a"}, "thoughtSignature": "S"}),
            chunk(finishReason="STOP") | {"usageMetadata": {"promptTokenCount": 2}},
        )
    )

    expected = events_of(DIALECT, [whole])
    assert len(expected) == 6

    @given(st.lists(st.integers(0, len(whole)), max_size=12))
    def chopped(cuts: list[int]) -> None:
        assert events_of(DIALECT, cut(whole, cuts)) == expected

    chopped()


_NAMES = st.sampled_from(
    ["candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall",
     "name", "args", "id", "inlineData", "mimeType", "data", "finishReason", "index", "error",
     "code", "status", "message", "details", "@type", "retryDelay", "reason", "promptFeedback",
     "blockReason", "usageMetadata", "promptTokenCount", "promptTokensDetails", "modality",
     "tokenCount", "groundingMetadata", "groundingChunks", "web", "uri", "groundingSupports",
     "segment", "startIndex", "groundingChunkIndices", "logprobsResult", "chosenCandidates",
     "topCandidates", "token", "logProbability", "embeddings", "values", "predictions"]
)  # fmt: skip
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["image/png", "audio/wav", "STOP", "google.rpc.RetryInfo", "17s", "é"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=14,
)


@given(_JSON)
def test_no_json_of_the_provider_is_a_defect_of_ours(value: Any):
    check_reading(orjson.dumps(value))
    for wrapped in (
        {"candidates": [value]},
        chunk(value) if isinstance(value, dict) else value,
        {"usageMetadata": value, "promptFeedback": value},
        {"candidates": [{"finishReason": "STOP", "groundingMetadata": value}]},
        {"candidates": [{"logprobsResult": value}]},
        {"error": value},
    ):
        check_reading(orjson.dumps(wrapped))


@given(st.binary(max_size=200))
def test_no_bytes_of_the_provider_are_a_defect_of_ours(data: bytes):
    check_reading(data)


def check_reading(data: bytes) -> None:
    for name in ("chat", "embeddings"):
        for one in ("gemini", "vertex"):
            found = dialect(one, name)
            for read in (found.decoder().decode, found.answer):
                with suppress(UpstreamError):
                    read(data)
            for status in (400, 429, 500):
                assert isinstance(found.error(status, {}, data, NOW_MS), UpstreamError)


# what comes back whole


def test_a_plain_answer():
    body = chunk(
        {"text": "h", "thought": True},
        {"text": "m", "thought": True},
        {"text": "Hel"},
        {"text": "lo", "thoughtSignature": "S"},
        finishReason="STOP",
        index=0,
    ) | {"usageMetadata": {"promptTokenCount": 2, "candidatesTokenCount": 1}, "responseId": "r1"}

    answer = DIALECT.answer(orjson.dumps(body))

    (choice,) = answer.choices
    assert choice.message == {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "reasoning": "hm",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "format": "google-gemini-v1", "index": 0},
            signature("S", None, 1),
        ],
    }
    assert choice.finish == Finish(0, "stop", "STOP")
    assert answer.usage == Usage(prompt_tokens=2, completion_tokens=1)
    assert answer.upstream_id == "r1"


def test_a_plain_answer_of_calls_pictures_and_sound():
    call = {"functionCall": {"name": "f", "args": {}, "id": "a"}}
    sound = {"inlineData": {"mimeType": "audio/L16", "data": "AA=="}}
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}

    answer = DIALECT.answer(orjson.dumps(chunk(call, sound, sound, image, finishReason="STOP")))

    message = answer.choices[0].message
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]
    assert message["audio"] == {"data": "AAA="}
    assert len(message["images"]) == 1
    assert answer.choices[0].finish.reason == "tool_calls"


def test_an_answer_cut_off_by_the_filter_has_no_content():
    answer = DIALECT.answer(orjson.dumps(chunk(finishReason="SAFETY")))

    assert answer.choices[0].message["content"] == ""
    assert answer.choices[0].finish == Finish(0, "content_filter", "SAFETY")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"candidates":[]}', b"<html></html>"])
def test_an_answer_nobody_can_read_is_an_error(body: bytes):
    with pytest.raises(UpstreamDown):
        DIALECT.answer(body)


# errors


def failure(status: int, name: str, *details: dict[str, Any]) -> bytes:
    error = {"code": status, "message": "Google says", "status": name, "details": list(details)}
    return orjson.dumps({"error": error})


def reason(word: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, failure(400, "INVALID_ARGUMENT"), UpstreamRejected),
        (400, failure(400, "INVALID_ARGUMENT", reason("API_KEY_INVALID")), UpstreamDenied),
        (400, failure(400, "FAILED_PRECONDITION"), UpstreamDenied),
        (401, failure(401, "UNAUTHENTICATED"), UpstreamDenied),
        (403, failure(403, "PERMISSION_DENIED"), UpstreamDenied),
        (404, failure(404, "NOT_FOUND"), UpstreamDown),
        (429, failure(429, "RESOURCE_EXHAUSTED"), UpstreamLimited),
        (500, failure(500, "INTERNAL"), UpstreamDown),
        (503, failure(503, "UNAVAILABLE"), UpstreamDown),
        (504, b"<html>", UpstreamDown),
    ],
)
def test_what_a_status_means(status: int, body: bytes, kind: type[UpstreamError]):
    for shape in (body, b"[" + body + b"]"):
        error = DIALECT.error(status, {}, shape, NOW_MS)
        assert type(error) is kind
        if kind is UpstreamRejected:
            assert error.message == "Google says"
    with pytest.raises(UpstreamError) as caught:
        DIALECT.answer(body)
    assert isinstance(caught.value, kind)


def test_when_to_come_back():
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}
    body = failure(429, "RESOURCE_EXHAUSTED", info)

    assert DIALECT.error(429, {}, body, NOW_MS).retry_after_ms == 17_500
    assert DIALECT.error(429, {"retry-after": "2"}, body, NOW_MS).retry_after_ms == 2_000
    (event,) = decoded(orjson.loads(body))
    assert isinstance(event.error, UpstreamLimited)
    assert event.error.retry_after_ms == 17_500
