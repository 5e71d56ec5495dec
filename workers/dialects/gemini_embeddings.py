"""Embeddings at Google: batchEmbedContents at AI Studio, predict at Vertex AI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from routing.catalog.shapes import Endpoint
from routing.credentials import Credential
from routing.errors import UpstreamDown
from routing.usage import MAX_TOKENS, Usage, count, usage_from
from routing.wire.embeddings import EmbeddingContent, EmbeddingsRequest
from routing.wire.events import Answer
from routing.wire.messages import Part, TextPart
from workers.dialects import UpstreamRequest
from workers.dialects.common import cannot, cut, dict_or_empty, dicts, load_object, supports
from workers.dialects.gemini import (
    PUBLISHER,
    GoogleAnswers,
    google_token,
    studio_headers,
    studio_url,
    vertex_headers,
)
from workers.dialects.gemini_contents import Json, media_part
from workers.dialects.gemini_errors import in_band
from workers.dialects.google_url import vertex_url

#: Texts of one request at AI Studio.
BATCH_MAX = 100
#: Texts of one request at Vertex AI.
INSTANCES_MAX = 250

_TASKS = frozenset(
    {
        "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION",
        "CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
    }
)  # fmt: skip
#: What other providers call the same.
_TASK_NAMES: Mapping[str, str] = {
    "SEARCH_QUERY": "RETRIEVAL_QUERY",
    "QUERY": "RETRIEVAL_QUERY",
    "SEARCH_DOCUMENT": "RETRIEVAL_DOCUMENT",
    "DOCUMENT": "RETRIEVAL_DOCUMENT",
    "PASSAGE": "RETRIEVAL_DOCUMENT",
}


class GeminiEmbeddings(GoogleAnswers):
    """Google AI Studio."""

    def encode(
        self,
        request: EmbeddingsRequest,
        endpoint: Endpoint,
        credential: Credential,
        *,
        stream: bool,
    ) -> UpstreamRequest:
        """A batchEmbedContents request."""
        del stream
        common: Json = {"model": f"models/{endpoint.upstream_id}"}
        task = _task(request)
        if task is not None:
            common["taskType"] = task
        if request.dimensions is not None and supports(endpoint, "dimensions"):
            common["outputDimensionality"] = request.dimensions
        inputs = list(_inputs(request, BATCH_MAX))
        requests = [
            common | {"content": {"parts": _parts(parts, place, endpoint)}}
            for place, parts in inputs
        ]
        return UpstreamRequest(
            url=studio_url(endpoint, "batchEmbedContents"),
            headers=studio_headers(credential),
            body=orjson.dumps({"requests": requests}),
        )

    def answer(self, body: bytes) -> Answer:
        """The vectors; the first generation of models does not count tokens."""
        data = _read(body)
        usage = dict_or_empty(data.get("usageMetadata"))
        return _answer(
            body,
            list(dicts(data.get("embeddings"))),
            usage_from(prompt=usage.get("promptTokenCount"), completion=0),
        )


class VertexEmbeddings(GoogleAnswers):
    """Google Vertex AI."""

    def encode(
        self,
        request: EmbeddingsRequest,
        endpoint: Endpoint,
        credential: Credential,
        *,
        stream: bool,
    ) -> UpstreamRequest:
        """A predict request."""
        del stream
        token, task = google_token(credential), _task(request)
        instances = []
        for place, parts in _inputs(request, INSTANCES_MAX):
            instance: Json = {"content": _text(parts, place)}
            if task is not None:
                instance["task_type"] = task
            instances.append(instance)
        found: Json = {"instances": instances}
        if request.dimensions is not None and supports(endpoint, "dimensions"):
            found["parameters"] = {"outputDimensionality": request.dimensions}
        return UpstreamRequest(
            url=vertex_url(endpoint, token, PUBLISHER, "predict"),
            headers=vertex_headers(token),
            body=orjson.dumps(found),
        )

    def answer(self, body: bytes) -> Answer:
        """The vectors; tokens are counted with each."""
        found = [
            dict_or_empty(item.get("embeddings")) for item in dicts(_read(body).get("predictions"))
        ]
        counts = [count(dict_or_empty(item.get("statistics")).get("token_count")) for item in found]
        known = [number for number in counts if number is not None]
        total = min(sum(known), MAX_TOKENS) if len(known) == len(found) else None
        return _answer(body, found, usage_from(prompt=total, completion=0))


def _task(request: EmbeddingsRequest) -> str | None:
    """What the vectors are for, in Google's words; None for nothing Google knows."""
    if request.input_type is None:
        return None
    name = request.input_type.upper()
    name = _TASK_NAMES.get(name, name)
    return name if name in _TASKS else None


def _inputs(request: EmbeddingsRequest, most: int) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """Each input's place and parts."""
    given = (request.input,) if isinstance(request.input, str) else request.input
    if len(given) > most:
        raise cannot("input", f"this provider takes up to {most} at a time; send several requests")
    for index, one in enumerate(given):
        place = "input" if isinstance(request.input, str) else f"input[{index}]"
        match one:
            case str():
                yield place, (TextPart(type="text", text=one),)
            case EmbeddingContent():
                yield f"{place}.content", one.content
            case _:
                raise cannot("input", "this provider takes no token numbers; send texts")


def _parts(parts: tuple[Part, ...], place: str, endpoint: Endpoint) -> list[Json]:
    return [media_part(part, f"{place}[{index}]", endpoint) for index, part in enumerate(parts)]


def _text(parts: tuple[Part, ...], place: str) -> str:
    for index, part in enumerate(parts):
        if not isinstance(part, TextPart):
            raise cannot(f"{place}[{index}].type", "this provider embeds text only; send 'text'")
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def _read(body: bytes) -> dict[str, Any]:
    data = load_object(body)
    if data.get("error"):
        raise in_band(data["error"])
    return data


def _answer(body: bytes, found: list[Json], usage: Usage | None) -> Answer:
    if not found:
        raise UpstreamDown("Provider sent an answer without embeddings", raw=cut(body))
    return Answer(
        choices=(), usage=usage, vectors=tuple(_numbers(item.get("values")) for item in found)
    )


def _numbers(values: object) -> list[float]:
    if not isinstance(values, list) or not values:
        raise UpstreamDown("Provider sent an embedding without numbers")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        raise UpstreamDown("Provider sent an embedding that is not numbers")
    return [float(one) for one in values]
