"""Cohere's `/v2/embed`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from routing.catalog.shapes import Endpoint
from routing.credentials import Credential
from routing.errors import UpstreamDown, UpstreamError
from routing.usage import Usage, count, usage_from
from routing.wire.embeddings import EmbeddingContent, EmbeddingsRequest
from routing.wire.events import Answer
from routing.wire.messages import ImagePart, Part, TextPart
from workers.dialects import UpstreamRequest
from workers.dialects.cohere import bearer
from workers.dialects.cohere_answers import error_of
from workers.dialects.common import (
    cannot,
    cut,
    dict_or_empty,
    is_packed,
    load_object,
    text_or_none,
)
from workers.dialects.framing import NoStream

#: Inputs of one call.
INPUTS_MAX = 96
#: What an input is for, where the caller does not say.
DEFAULT_INPUT_TYPE = "search_document"
_INPUT_TYPES = {
    "search_document": "search_document",
    "document": "search_document",
    "passage": "search_document",
    "search_query": "search_query",
    "query": "search_query",
    "classification": "classification",
    "clustering": "clustering",
    "image": "image",
}


class CohereEmbeddings(NoStream):
    """See the module; stateless."""

    def encode(
        self,
        request: EmbeddingsRequest,
        endpoint: Endpoint,
        credential: Credential,
        *,
        stream: bool,  # noqa: ARG002 - vectors come in one piece
    ) -> UpstreamRequest:
        """The body of `/embed`."""
        form = "base64" if request.encoding_format == "base64" else "float"
        body: dict[str, Any] = {
            "model": endpoint.upstream_id,
            "input_type": _input_type(request),
            "embedding_types": [form],
        } | _inputs(request)
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        return UpstreamRequest(
            url=f"{endpoint.provider.base_url}/embed",
            headers=bearer(credential, stream=False),
            body=orjson.dumps(body),
        )

    def answer(self, body: bytes) -> Answer:
        """The vectors."""
        data = load_object(body)
        found = dict_or_empty(data.get("embeddings"))
        numbers, encoded = found.get("float"), found.get("base64")
        if isinstance(numbers, list) and all(_is_vector(item) for item in numbers):
            vectors: tuple[list[float] | str, ...] = tuple(numbers)
        elif isinstance(encoded, list) and all(is_packed(item) for item in encoded):
            vectors = tuple(encoded)
        else:
            raise UpstreamDown("Provider sent an answer without embeddings", raw=cut(body))
        return Answer(
            choices=(),
            usage=_usage(dict_or_empty(data.get("meta"))),
            vectors=vectors,
            upstream_id=text_or_none(data.get("id")),
        )

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """By status."""
        return error_of(status, headers, body, now_ms)


def _is_vector(item: object) -> bool:
    return isinstance(item, list) and all(
        isinstance(number, int | float) and not isinstance(number, bool) for number in item
    )


def _input_type(request: EmbeddingsRequest) -> str:
    asked = request.input_type
    if asked is None:
        return DEFAULT_INPUT_TYPE
    found = _INPUT_TYPES.get(asked.lower())
    if found is None:
        raise cannot("input_type", f"must be one of {', '.join(_INPUT_TYPES)} for this provider")
    return found


def _inputs(request: EmbeddingsRequest) -> dict[str, Any]:
    given = (request.input,) if isinstance(request.input, str) else request.input
    if len(given) > INPUTS_MAX and isinstance(given[0], str | EmbeddingContent):
        raise cannot("input", f"this provider takes {INPUTS_MAX} items; send several requests")
    texts: list[str] = []
    mixed: list[dict[str, Any]] = []
    for place, item in enumerate(given):
        match item:
            case str():
                texts.append(item)
            case EmbeddingContent():
                parts = enumerate(item.content)
                content = [_part(part, f"input[{place}].content[{at}]") for at, part in parts]
                mixed.append({"content": content})
            case _:
                raise cannot("input", "this provider takes text, not numbers of tokens; send text")
    return {"inputs": mixed} if mixed else {"texts": texts}


def _part(part: Part, place: str) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            return {"type": "image_url", "image_url": {"url": part.image_url.url}}
        case _:
            raise cannot(place, f"this provider embeds no {part.type}; send text or images")


def _usage(meta: dict[str, Any]) -> Usage | None:
    billed = dict_or_empty(meta.get("billed_units"))
    tokens, drawn = count(billed.get("input_tokens")), count(billed.get("image_tokens"))
    images = count(billed.get("images")) or 0
    if tokens is None and drawn is None and not images:
        return None
    found = usage_from(prompt=(tokens or 0) + (drawn or 0), completion=0)
    return None if found is None else replace(found, images=images)
