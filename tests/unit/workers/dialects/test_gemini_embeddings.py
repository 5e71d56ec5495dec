"""Embeddings at Google: what is sent, and what may come back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from routing.credentials import ApiKey, GoogleToken
from routing.errors import UpstreamDenied, UpstreamDown, UpstreamLimited, UpstreamRejected
from routing.usage import Usage
from routing.wire.embeddings import parse_embeddings
from workers.dialects.gemini_embeddings import GeminiEmbeddings, VertexEmbeddings

STUDIO, VERTEX = GeminiEmbeddings(), VertexEmbeddings()
TOKEN = GoogleToken(token="ya29", project="proj", region="us-central1")  # noqa: S106 - not real
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TEXT = {"type": "text", "text": "one"}


@pytest.fixture
def there(endpoint) -> Any:
    return endpoint(
        "google",
        upstream_id="gemini-embedding-001",
        supported_parameters=frozenset({"dimensions"}),
        provider={"base_url": "https://google.test/v1"},
    )


def studio(there: Any, given: Any, **fields: Any) -> list[dict[str, Any]]:
    request = parse_embeddings(orjson.dumps({"model": "a/m", "input": given} | fields))
    upstream = STUDIO.encode(request, there, ApiKey("k"), stream=False)
    assert upstream.url == "https://google.test/v1/models/gemini-embedding-001:batchEmbedContents"
    assert upstream.headers["x-goog-api-key"] == "k"
    found: list[dict[str, Any]] = orjson.loads(upstream.body)["requests"]
    return found


def vertex(there: Any, given: Any, **fields: Any) -> dict[str, Any]:
    request = parse_embeddings(orjson.dumps({"model": "a/m", "input": given} | fields))
    upstream = VERTEX.encode(request, there, TOKEN, stream=False)
    assert upstream.url == (
        "https://google.test/v1/projects/proj/locations/us-central1/publishers/google/models/"
        "gemini-embedding-001:predict"
    )
    found: dict[str, Any] = orjson.loads(upstream.body)
    return found


def test_a_batch_at_ai_studio(there):
    assert studio(there, ["one", "two"], dimensions=8, input_type="search_document") == [
        {
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": text}]},
            "taskType": "RETRIEVAL_DOCUMENT",
            "outputDimensionality": 8,
        }
        for text in ("one", "two")
    ]


def test_a_prediction_at_vertex(there):
    assert vertex(there, "one", dimensions=8, input_type="CLUSTERING") == {
        "instances": [{"content": "one", "task_type": "CLUSTERING"}],
        "parameters": {"outputDimensionality": 8},
    }
    assert vertex(there, [{"content": [TEXT]}], input_type="whim") == {
        "instances": [{"content": "one"}]
    }


def test_parts(there):
    (one,) = studio(there, [{"content": [TEXT, PICTURE]}])

    assert one["content"]["parts"] == [
        {"text": "one"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1, 2], "input: .*token numbers; send texts"),
        ([[1, 2]], "input: .*token numbers; send texts"),
        (["x"] * 251, "input: .* up to .* at a time"),
    ],
)
def test_what_google_does_not_take(there, given: Any, words: str):
    for encode in (studio, vertex):
        with pytest.raises(UpstreamRejected, match=words):
            encode(there, given)


def test_vertex_takes_text_only(there):
    with pytest.raises(UpstreamRejected, match=r"input\[0\]\.content\[1\]\.type: .*text only"):
        vertex(there, [{"content": [TEXT, PICTURE]}])


def test_a_credential_of_another_kind(there):
    request = parse_embeddings(b'{"model":"a/m","input":"x"}')

    with pytest.raises(UpstreamDenied):
        STUDIO.encode(request, there, TOKEN, stream=False)
    with pytest.raises(UpstreamDenied):
        VERTEX.encode(request, there, ApiKey("k"), stream=False)


def test_vectors_of_ai_studio():
    body = {"embeddings": [{"values": [0.5, 1]}, {"values": [0]}]}

    answer = STUDIO.answer(orjson.dumps(body))

    assert (answer.vectors, answer.usage, answer.choices) == (([0.5, 1.0], [0.0]), None, ())
    counted = STUDIO.answer(orjson.dumps(body | {"usageMetadata": {"promptTokenCount": 3}}))
    assert counted.usage == Usage(prompt_tokens=3)


def test_vectors_of_vertex():
    one = {"embeddings": {"values": [0.5], "statistics": {"token_count": 3, "truncated": False}}}
    odd = {"embeddings": {"values": [0.5]}}

    answer = VERTEX.answer(orjson.dumps({"predictions": [one, one]}))

    assert (answer.vectors, answer.usage) == (([0.5], [0.5]), Usage(prompt_tokens=6))
    assert VERTEX.answer(orjson.dumps({"predictions": [one, odd]})).usage is None


@pytest.mark.parametrize("values", [None, [], ["x"], [True], "AAAA"])
def test_vectors_nobody_can_read(values: Any):
    with pytest.raises(UpstreamDown):
        STUDIO.answer(orjson.dumps({"embeddings": [{"values": values}]}))
    with pytest.raises(UpstreamDown):
        VERTEX.answer(orjson.dumps({"predictions": [{"embeddings": {"values": values}}]}))
    with pytest.raises(UpstreamDown):
        STUDIO.answer(b"{}")


def test_an_error_where_vectors_should_be():
    with pytest.raises(UpstreamLimited):
        VERTEX.answer(b'{"error":{"code":429}}')
