"""What the Gemini dialects send, read by the simulator; what it answers, read by them."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from routing.catalog.load import load
from routing.credentials import ApiKey, Credential, GoogleToken
from routing.errors import UpstreamDenied, UpstreamError, UpstreamLimited, UpstreamRejected
from routing.wire.chat import parse_chat
from routing.wire.embeddings import parse_embeddings
from routing.wire.events import Answer, Delta, Finish, Used
from tests.unit.workers.dialects.streams import events_of
from tests.unit.workers.simulator.talk import Reply, call, simulator
from workers.dialects.registry import dialect
from workers.simulator.google_token import issue, now_seconds

MODELS = (
    ("gemini", "gemini-2.5-flash"),
    ("gemini", "gemini-3-pro-preview"),
    ("vertex", "gemini-2.5-pro"),
    ("vertex", "gemini-3-flash-preview"),
)
PARAMETERS = frozenset(
    {
        "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed", "stop",
        "logprobs", "response_format", "tools", "tool_choice", "reasoning",
    }
)  # fmt: skip
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Looks outside.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("get weather", "get.news")
]
WEATHER = {"role": "user", "content": "The weather, parallel please"}
MEDIA = [
    {"type": "text", "text": "See"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
    {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
]


@pytest.fixture(params=MODELS, ids=lambda one: f"{one[0]}:{one[1]}")
def there(request, endpoint) -> Any:
    """An endpoint at each of the two, with a model of each generation."""
    return made(endpoint, *request.param)


def made(endpoint: Any, name: str, model: str, **changes: Any) -> Any:
    google = "google-vertex" if name == "vertex" else "google-ai-studio"
    version = "v1" if name == "vertex" else "v1beta"
    return endpoint(
        google,
        dialect=name,
        upstream_id=model,
        supported_parameters=PARAMETERS,
        max_completion_tokens=8_192,
        provider={
            "base_url": f"http://127.0.0.1:9/p/{google}/{version}",
            "video_urls": frozenset({"youtube"}) if name == "gemini" else frozenset(),
        },
        **changes,
    )


def credential(there: Any) -> Credential:
    if there.dialect == "vertex":
        return GoogleToken(token=issue(now_seconds()), project="proj")
    return ApiKey("k")


def posted(there: Any, request: Any, *, stream: bool = False, fault: str = "") -> Reply:
    operation = "embeddings" if hasattr(request, "input") else "chat"
    translator = dialect(there.dialect, operation)
    upstream = translator.encode(request, there, credential(there), stream=stream)
    address = urlsplit(upstream.url)
    path = address.path.replace(f"{there.tag}/", f"{there.tag}/f/{fault}/" if fault else "", 1)
    path = path if fault else address.path
    target = f"{path}?{address.query}" if address.query else path
    return call(target, upstream.body, upstream.headers, to=simulator())


def asked(there: Any, *messages: dict[str, Any], **fields: Any) -> Answer:
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": messages} | fields))
    reply = posted(there, request)
    assert reply.status == 200, reply.body
    return dialect(there.dialect, "chat").answer(reply.body)


def streamed(there: Any, *messages: dict[str, Any], **fields: Any) -> list[Any]:
    request = parse_chat(orjson.dumps({"model": "a/m", "messages": messages} | fields))
    reply = posted(there, request, stream=True)
    assert reply.status == 200, reply.body
    translator = dialect(there.dialect, "chat")
    assert translator.streams(reply.headers["content-type"])
    return events_of(translator, [reply.body])


def test_everything_that_can_be_asked_is_taken(there):
    answer = asked(
        there,
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": MEDIA, "name": "Ada"},
        temperature=2,
        top_p=1,
        top_k=500,
        frequency_penalty=2,
        presence_penalty=-2,
        seed=2**40,
        stop=["a", "b", "c", "d"],
        logprobs=True,
        top_logprobs=2,
        max_tokens=5_000,
        reasoning={"effort": "low"},
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}},
        },
    )

    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.choices[0].finish.native == "STOP"


def test_media_arrive(there):
    text = asked(there, {"role": "user", "content": MEDIA}).choices[0].message["content"]

    for kind in ("image/png", "audio/wav", "application/pdf", "video/mp4"):
        assert kind in text


def test_a_youtube_link_arrives_at_ai_studio(endpoint):
    link = {"type": "video_url", "video_url": {"url": "https://youtu.be/x"}}
    message = {"role": "user", "content": [{"type": "text", "text": "See"}, link]}

    answer = asked(made(endpoint, "gemini", "gemini-2.5-pro"), message)

    assert "video/youtube" in answer.choices[0].message["content"]
    with pytest.raises(UpstreamRejected, match="data URL"):
        asked(made(endpoint, "vertex", "gemini-2.5-pro"), message)


@pytest.mark.parametrize("plain", [True, False])
def test_a_turn_of_tools_with_its_signatures(there, *, plain: bool):
    fields: dict[str, Any] = {"tools": TOOLS, "reasoning": {"effort": "high"}}
    if plain:
        message = dict(asked(there, WEATHER, **fields).choices[0].message)
    else:
        message = collected(streamed(there, WEATHER, **fields))
    names = [one["function"]["name"] for one in message["tool_calls"]]
    assert names == ["get weather", "get.news"]
    assert message["reasoning"]
    sealed = [one for one in message["reasoning_details"] if one["type"] == "reasoning.encrypted"]
    assert [one["id"] for one in sealed] == [message["tool_calls"][0]["id"]]
    results = [
        {"role": "tool", "tool_call_id": one["id"], "content": f"rain {index}"}
        for index, one in enumerate(message["tool_calls"])
    ]

    answer = asked(there, WEATHER, message, *results, **fields)

    assert "The tool returned: rain 0" in answer.choices[0].message["content"]
    last = dict(answer.choices[0].message)
    again = asked(there, WEATHER, message, *results, last, {"role": "user", "content": "More"})
    assert again.choices[0].message["content"]


def test_a_signature_that_was_changed_is_noticed(there):
    fields: dict[str, Any] = {"tools": TOOLS, "reasoning": {"effort": "high"}}
    message = dict(asked(there, WEATHER, **fields).choices[0].message)
    message["reasoning_details"] = [
        one | ({"data": "AAAA"} if "data" in one else {}) for one in message["reasoning_details"]
    ]
    results = [
        {"role": "tool", "tool_call_id": one["id"], "content": "rain"}
        for one in message["tool_calls"]
    ]
    body = {"model": "a/m", "messages": [WEATHER, message, *results], **fields}

    reply = posted(there, parse_chat(orjson.dumps(body)))

    assert reply.status == 400
    assert "signature" in reply.body.decode()


def test_calls_of_another_model_go_on_here(there):
    said = {
        "role": "assistant",
        "content": "Let me see",
        "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "get weather"}}],
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "text": "hm",
                "signature": "S",
                "format": "anthropic-claude-v1",
                "index": 0,
            }
        ],
    }
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "rain"}

    assert asked(there, WEATHER, said, result, tools=TOOLS).choices[0].message["content"]


def test_a_spoken_stream(there):
    events = streamed(
        there, {"role": "user", "content": "Hi"}, max_tokens=5_000, reasoning={"effort": "low"}
    )

    assert [type(event) for event in events[-2:]] == [Finish, Used]
    assert events[-2] == Finish(0, "stop", "STOP")
    assert events[-1].usage.reasoning_tokens > 0
    plain = asked(
        there, {"role": "user", "content": "Hi"}, max_tokens=5_000, reasoning={"effort": "low"}
    )
    said = collected(events)
    assert said["content"] == plain.choices[0].message["content"]
    assert said["reasoning"] == plain.choices[0].message["reasoning"]


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_the_choice_of_tools(there, choice: str):
    answer = asked(there, {"role": "user", "content": "Hi"}, tools=TOOLS, tool_choice=choice)

    assert ("tool_calls" in answer.choices[0].message) is (choice == "required")


def test_one_tool_can_be_forced(there):
    chosen = {"type": "function", "function": {"name": "get.news"}}

    answer = asked(there, {"role": "user", "content": "Hi"}, tools=TOOLS, tool_choice=chosen)

    (made_call,) = answer.choices[0].message["tool_calls"]
    assert made_call["function"]["name"] == "get.news"


def test_a_picture_comes_and_goes_back(endpoint):
    there = made(endpoint, "gemini", "gemini-3-pro-image-preview")
    fields: dict[str, Any] = {
        "modalities": ["image", "text"],
        "image_config": {"aspect_ratio": "16:9", "image_size": "2K"},
    }
    draw = {"role": "user", "content": "A cat"}

    message = dict(asked(there, draw, **fields).choices[0].message)

    (image,) = message["images"]
    kind, _, data = image["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    assert b64decode(data).startswith(b"\x89PNG")
    assert asked(there, draw, message, {"role": "user", "content": "A dog"}, **fields).choices


def test_sound(endpoint):
    there = made(endpoint, "gemini", "gemini-2.5-flash-preview-tts", efforts=())
    answer = asked(
        there,
        {"role": "user", "content": "Say hi"},
        modalities=["text", "audio"],
        audio={"voice": "Kore", "format": "pcm16"},
    )

    assert b64decode(answer.choices[0].message["audio"]["data"])
    assert answer.usage is not None
    assert answer.usage.audio_output_tokens > 0


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", UpstreamLimited),
        ("401", UpstreamDenied),
        ("402", UpstreamDenied),
        ("403", UpstreamDenied),
        ("context_400", UpstreamRejected),
    ],
)
def test_errors(there, fault: str, kind: type[UpstreamError]):
    request = parse_chat(b'{"model":"a/m","messages":[{"role":"user","content":"Hi"}]}')
    reply = posted(there, request, fault=fault)

    error = dialect(there.dialect, "chat").error(reply.status, reply.headers, reply.body, 0)

    assert type(error) is kind
    if fault == "429" and there.dialect == "gemini":
        assert error.retry_after_ms == 17_000


def test_a_refusal_and_a_blocked_prompt(there):
    request = parse_chat(b'{"model":"a/m","messages":[{"role":"user","content":"Hi"}]}')
    translator = dialect(there.dialect, "chat")

    refused = translator.answer(posted(there, request, fault="refusal").body)

    assert refused.choices[0].finish == Finish(0, "content_filter", "SAFETY")
    with pytest.raises(UpstreamRejected, match="PROHIBITED_CONTENT"):
        translator.answer(posted(there, request, fault="content_filter_400").body)


@pytest.mark.parametrize("given", ["one", ["one", "two"]])
def test_embeddings(there, given: Any):
    there = replace(
        there,
        upstream_id="text-embedding-005",
        supported_parameters=frozenset({"dimensions"}),
    )
    body = {"model": "a/m", "input": given, "dimensions": 8, "input_type": "search_query"}
    reply = posted(there, parse_embeddings(orjson.dumps(body)))
    assert reply.status == 200, reply.body

    answer = dialect(there.dialect, "embeddings").answer(reply.body)

    assert [len(vector) for vector in answer.vectors] == [8] * (1 if given == "one" else 2)
    assert answer.choices == ()
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_every_endpoint_we_ship_can_be_called(*, stream: bool):
    shipped = load((), environ={}, sandbox_url="http://127.0.0.1:9").endpoints.values()
    google = [one for one in shipped if one.dialect in ("gemini", "vertex")]
    assert len(google) > 10
    chat = {
        "model": "a/m",
        "messages": [{"role": "system", "content": "Be"}, {"role": "user", "content": "Hi"}],
        "temperature": 1,
        "top_k": 10,
        "max_tokens": 65_536,
        "reasoning": {"effort": "medium"},
        "tools": TOOLS,
        "tool_choice": "auto",
    }
    for one in google:
        if "embedding" in one.upstream_id:
            request: Any = parse_embeddings(b'{"model":"a/m","input":["x"],"dimensions":64}')
        else:
            drawn = {"modalities": ["image", "text"]} if "image" in one.upstream_id else {}
            request = parse_chat(orjson.dumps(chat | drawn))
        reply = posted(one, request, stream=stream)
        assert reply.status == 200, (one.id, reply.body)


def collected(events: list[Any]) -> dict[str, Any]:
    """What a client puts together from a stream."""
    deltas = [event for event in events if isinstance(event, Delta)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(delta.content for delta in deltas),
        "reasoning": "".join(delta.reasoning or "" for delta in deltas),
    }
    for name in ("tool_calls", "reasoning_details"):
        found = [item for delta in deltas for item in (delta.extra or {}).get(name, ())]
        if found:
            message[name] = found
    return message
