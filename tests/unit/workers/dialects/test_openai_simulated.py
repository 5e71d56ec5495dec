"""What the OpenAI dialects send, read by the simulator; what it answers, read by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from routing.catalog.load import load
from routing.catalog.shapes import Catalog, Endpoint
from routing.credentials import ApiKey
from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
)
from routing.wire.chat import parse_chat
from routing.wire.embeddings import parse_embeddings
from routing.wire.events import Answer, Broken, Delta, End, Event, Finish, Used
from tests.unit.workers.dialects.streams import events_of
from tests.unit.workers.simulator.talk import Reply, call, simulator
from workers.dialects.common import UNKNOWN_ERROR
from workers.dialects.registry import dialect

OURS = ("openai", "azure", "openai-responses")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
        "cache_control": {"type": "ephemeral"},
    }
]
QUESTION = {"role": "user", "content": "The weather tool please"}
BUSY = {
    "messages": [
        {"role": "developer", "content": [
            {"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral"}}
        ]},
        {"role": "user", "content": "Hi", "name": "ada"},
        {"role": "assistant", "content": "Hello", "reasoning": "hm", "refusal": None,
         "images": [{"image_url": {"url": "data:image/png;base64,AAAA"}}],
         "annotations": [{"type": "url_citation"}]},
        {"role": "user", "content": "Go on"},
    ],
    "user": "ada", "temperature": 0.5, "top_p": 0.5, "seed": 3, "max_tokens": 300,
    "service_tier": "fast", "prompt_cache_key": "k", "verbosity": "low", "modalities": ["text"],
    "logprobs": True, "top_logprobs": 2, "cache_control": {"type": "ephemeral"},
}  # fmt: skip


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load([], environ={}, sandbox_url="http://127.0.0.1:9")


def chosen(catalog: Catalog, api: str, *slugs: str) -> list[Endpoint]:
    """The endpoints of the dialects here, for chat or for embeddings."""
    return [
        endpoint
        for endpoint in catalog.endpoints.values()
        if endpoint.dialect in OURS
        and (not slugs or endpoint.provider.slug in slugs)
        and ("embeddings" in catalog.models[endpoint.model_id].architecture.output_modalities)
        == (api == "embeddings")
    ]


def posted(endpoint: Endpoint, fields: Any, *, stream: bool = False, fault: str = "") -> Reply:
    asked = parse_chat(orjson.dumps({"model": "a/m", "stream": stream} | fields))
    upstream = dialect(endpoint.dialect, "chat").encode(asked, endpoint, ApiKey("k"), stream=stream)
    url = urlsplit(upstream.url)
    path = f"{url.path}?{url.query}" if url.query else url.path
    if fault:
        slug = f"/p/{endpoint.provider.slug}"
        path = path.replace(slug, f"{slug}/f/{fault}", 1)
    return call(path, upstream.body, upstream.headers, to=simulator())


def answered(endpoint: Endpoint, fields: Any, *, fault: str = "") -> Answer:
    reply = posted(endpoint, fields, fault=fault)
    assert reply.status == 200, (endpoint.id, reply.body)
    return dialect(endpoint.dialect, "chat").answer(reply.body)


def streamed(endpoint: Endpoint, fields: Any, *, fault: str = "") -> list[Event]:
    reply = posted(endpoint, fields, stream=True, fault=fault)
    assert reply.status == 200, (endpoint.id, reply.body)
    translator = dialect(endpoint.dialect, "chat")
    assert translator.streams(reply.headers["content-type"])
    return events_of(translator, [reply.body])


def text(events: list[Event]) -> str:
    return "".join(event.content for event in events if isinstance(event, Delta))


def details(events: list[Event]) -> list[Any]:
    extras = [event.extra for event in events if isinstance(event, Delta) and event.extra]
    return [item for extra in extras for item in extra.get("reasoning_details", ())]


def test_every_endpoint_takes_what_is_sent_and_is_understood(catalog):
    endpoints = chosen(catalog, "chat")
    assert endpoints
    for endpoint in endpoints:
        events = streamed(endpoint, BUSY)

        assert "Go on" in answered(endpoint, BUSY).choices[0].message["content"], endpoint.id
        assert "Go on" in text(events), endpoint.id
        assert any(isinstance(event, Finish) for event in events), endpoint.id
        assert any(isinstance(event, Used) for event in events), endpoint.id
        assert isinstance(events[-1], End)


@pytest.mark.parametrize(
    "reasoning",
    [
        {"enabled": True},
        {"effort": "max"},
        {"effort": "minimal"},
        {"max_tokens": 2_000},
        {"exclude": True, "effort": "high"},
        {"enabled": False},
    ],
)
def test_every_endpoint_takes_what_is_said_about_thinking(catalog, reasoning):
    fields = {"messages": [{"role": "user", "content": "Hi"}], "reasoning": reasoning}
    for endpoint in chosen(catalog, "chat"):
        if (
            reasoning.get("enabled") is False
            and endpoint.efforts
            and "none" not in endpoint.efforts
        ):
            with pytest.raises(UpstreamRejected, match="reasoning: cannot be switched off"):
                answered(endpoint, fields)
        else:
            assert answered(endpoint, fields).usage is not None


def test_every_endpoint_with_tools_takes_a_turn_with_them(catalog):
    endpoints = [
        endpoint for endpoint in chosen(catalog, "chat") if "tools" in endpoint.supported_parameters
    ]
    for endpoint in endpoints:
        first = answered(endpoint, {"messages": [QUESTION], "tools": TOOLS})
        message = first.choices[0].message
        (called,) = message["tool_calls"]
        assert first.choices[0].finish.reason == "tool_calls"
        result = {"role": "tool", "tool_call_id": called["id"], "content": "21 degrees"}

        second = answered(endpoint, {"messages": [QUESTION, message, result], "tools": TOOLS})

        assert "21 degrees" in second.choices[0].message["content"], endpoint.id


def test_ids_of_other_providers_are_taken_too(catalog):
    call_id = "call_abcdefghijklmnopqrstuvwx"
    called = {"id": call_id, "function": {"name": "get_weather", "arguments": "{}"}}
    conversation = [
        QUESTION,
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": call_id, "content": "21 degrees"},
    ]
    for endpoint in chosen(catalog, "chat"):
        if endpoint.provider.slug == "mistral":
            quirks = endpoint.provider.quirks | {"short_call_ids"}
            endpoint = replace(endpoint, provider=replace(endpoint.provider, quirks=quirks))  # noqa: PLW2901
        if "tools" in endpoint.supported_parameters:
            given = answered(
                endpoint,
                {"messages": conversation, "tools": TOOLS, "reasoning": {"exclude": True}},
            )
            assert "21 degrees" in given.choices[0].message["content"], endpoint.id


def test_thinking_of_the_responses_api_goes_back_and_is_recognised(catalog):
    endpoint = next(
        endpoint
        for endpoint in chosen(catalog, "chat", "openai")
        if endpoint.dialect == "openai-responses"
    )
    asked = {"messages": [QUESTION], "reasoning": {"effort": "high"}}
    whole = answered(endpoint, asked).choices[0].message
    pieces = streamed(endpoint, asked)
    assert {item["type"] for item in whole["reasoning_details"]} == {
        "reasoning.summary",
        "reasoning.encrypted",
    }

    for given in (whole["reasoning_details"], details(pieces)):
        said = {"role": "assistant", "content": "Sunny", "reasoning_details": given}
        more = {"messages": [QUESTION, said, QUESTION]}
        assert answered(endpoint, more).choices[0].message["content"]
        changed = [
            item | ({"data": item["data"][:-8] + "AAAAAAA="} if "data" in item else {})
            for item in given
        ]
        refused = posted(endpoint, {"messages": [QUESTION, said | {"reasoning_details": changed}]})
        assert refused.status == 400


def test_a_refusal_is_told_as_one(catalog):
    for endpoint in chosen(catalog, "chat", "openai", "azure"):
        fields = {"messages": [{"role": "user", "content": "Hi"}]}
        choice = answered(endpoint, fields, fault="refusal").choices[0]
        events = streamed(endpoint, fields, fault="refusal")

        assert choice.message["refusal"]
        assert choice.finish.reason == "content_filter"
        (finish,) = (event for event in events if isinstance(event, Finish))
        assert finish.reason == "content_filter"


def test_sources_come_as_annotations(catalog):
    for endpoint in chosen(catalog, "chat", "perplexity"):
        fields = {"messages": [{"role": "user", "content": "Hi"}]}
        annotations = answered(endpoint, fields).choices[0].message["annotations"]

        deltas = [event for event in streamed(endpoint, fields) if isinstance(event, Delta)]
        found = [delta.extra["annotations"] for delta in deltas if delta.extra]

        assert annotations
        assert {item["type"] for item in annotations} == {"url_citation"}
        assert found == [annotations]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("context_400", UpstreamRejected),
        ("content_filter_400", UpstreamRejected),
        ("401", UpstreamDenied),
        ("402", UpstreamDenied),
        ("403", UpstreamDenied),
        ("429", UpstreamLimited),
        ("500_once", UpstreamDown),
        ("503", UpstreamDown),
    ],
)
def test_errors_are_read_whoever_words_them(catalog, fault, kind):
    for endpoint in chosen(catalog, "chat"):
        fields = {"messages": [{"role": "user", "content": "Hi"}]}
        reply = posted(endpoint, fields, fault=fault)

        error = dialect(endpoint.dialect, "chat").error(reply.status, reply.headers, reply.body, 0)

        assert type(error) is kind, (endpoint.id, reply.body)
        if kind is UpstreamRejected:
            assert error.message != UNKNOWN_ERROR, (endpoint.id, reply.body)


def test_errors_inside_a_stream_and_instead_of_an_answer(catalog):
    for endpoint in chosen(catalog, "chat"):
        fields = {"messages": [{"role": "user", "content": "Hi"}]}
        events = streamed(endpoint, fields, fault="error_mid")
        assert any(isinstance(event, Broken) for event in events), endpoint.id
        with pytest.raises(UpstreamError):
            answered(endpoint, fields, fault="error_200")


def test_every_embedding_endpoint_gives_vectors_in_order(catalog):
    for endpoint in chosen(catalog, "embeddings"):
        translator = dialect(endpoint.dialect, "embeddings")
        for form in ("float", "base64"):
            body = orjson.dumps({"model": "a/m", "input": ["a", "b"], "encoding_format": form})
            upstream = translator.encode(
                parse_embeddings(body), endpoint, ApiKey("k"), stream=False
            )
            url = urlsplit(upstream.url)
            path = f"{url.path}?{url.query}" if url.query else url.path
            reply = call(path, upstream.body, upstream.headers, to=simulator())
            assert reply.status == 200, (endpoint.id, reply.body)
            answer = translator.answer(reply.body)
            assert len(answer.vectors) == 2
            assert answer.usage is not None
            assert answer.usage.prompt_tokens > 0
