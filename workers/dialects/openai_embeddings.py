"""Embeddings in the OpenAI format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routing.catalog.shapes import Endpoint
from routing.credentials import Credential
from routing.errors import UpstreamDown, UpstreamError
from routing.usage import Usage, usage_from
from routing.wire.embeddings import EmbeddingContent, EmbeddingsRequest
from routing.wire.events import Answer
from routing.wire.messages import TextPart
from workers.dialects import UpstreamRequest
from workers.dialects.common import (
    cannot,
    cut,
    dict_or_empty,
    hashed_user,
    is_packed,
    load_object,
    text_or_none,
)
from workers.dialects.framing import NoStream
from workers.dialects.openai import Target, bearer, chosen_options, posted
from workers.dialects.openai_errors import by_response, in_band
from workers.dialects.openai_messages import is_openai

Fields = dict[str, Any]
_NUMBERS = frozenset({int, float})


class OpenAIEmbeddings(NoStream):
    """The body of `/embeddings` and its answer; stateless."""

    path = "/embeddings"

    def encode(
        self,
        request: EmbeddingsRequest,
        endpoint: Endpoint,
        credential: Credential,
        *,
        stream: bool,  # noqa: ARG002 - vectors come in one piece
    ) -> UpstreamRequest:
        """Inputs as they were sent; parts that are all text become one text."""
        quirks = endpoint.provider.quirks
        body: Fields = {"input": _input(request)}
        if request.encoding_format is not None:
            body["encoding_format"] = request.encoding_format
        if request.dimensions is not None and "dimensions" in endpoint.supported_parameters:
            body["dimensions"] = request.dimensions
        if "strict_fields" not in quirks:
            body |= request.model_extra or {}
            if request.input_type is not None:
                body["input_type"] = request.input_type
        if request.user is not None and (is_openai(quirks) or "strict_fields" not in quirks):
            body["user"] = hashed_user(request.user)
        body |= chosen_options(request, endpoint)
        return posted(self.target(endpoint, credential), body, stream=False)

    def target(self, endpoint: Endpoint, credential: Credential) -> Target:
        """Where the operation is."""
        return bearer(endpoint, credential, self.path)

    def answer(self, body: bytes) -> Answer:
        """The vectors in the order of the inputs."""
        data = load_object(body)
        if data.get("error"):
            raise in_band(data["error"])
        items = data.get("data")
        if not isinstance(items, list) or not items:
            raise UpstreamDown("Provider sent an answer without vectors", raw=cut(body))
        return Answer(
            choices=(),
            usage=_usage(data),
            vectors=tuple(_vector(item) for item in _in_order(items)),
            upstream_id=text_or_none(data.get("id")),
        )

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """As for chat."""
        return by_response(status, headers, body, now_ms)


def _input(request: EmbeddingsRequest) -> object:
    given = request.input
    if isinstance(given, str):
        return given
    return [
        _text(one, f"input[{place}]") if isinstance(one, EmbeddingContent) else one
        for place, one in enumerate(given)
    ]


def _text(given: EmbeddingContent, where: str) -> str:
    texts = []
    for place, part in enumerate(given.content):
        if not isinstance(part, TextPart):
            raise cannot(
                f"{where}.content[{place}]", "this provider embeds text only; send text parts"
            )
        texts.append(part.text)
    return "\n".join(texts)


def _in_order(items: list[Any]) -> list[Any]:
    """By `index` where every item has one of its own, else as they came."""
    places = [item.get("index") if isinstance(item, dict) else None for item in items]
    if sorted(place for place in places if type(place) is int) != list(range(len(items))):
        return items
    return sorted(items, key=lambda item: int(item["index"]))


def _vector(item: object) -> list[float] | str:
    found = dict_or_empty(item).get("embedding")
    if isinstance(found, str) and is_packed(found):
        return found
    if not isinstance(found, list) or not found or not _NUMBERS.issuperset(map(type, found)):
        raise UpstreamDown("Provider sent something that is not a vector")
    return found


def _usage(data: Mapping[str, Any]) -> Usage | None:
    usage = dict_or_empty(data.get("usage"))
    prompt = usage.get("prompt_tokens")
    return usage_from(prompt=usage.get("total_tokens") if prompt is None else prompt, completion=0)
