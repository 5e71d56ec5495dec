"""Which translator a catalog entry's `dialect` names."""

from __future__ import annotations

from typing import Any

from routing.errors import UpstreamRejected
from routing.wire.job import Api
from workers.dialects import Dialect
from workers.dialects.anthropic import AnthropicDialect, VertexAnthropicDialect
from workers.dialects.azure import AzureDialect, AzureEmbeddings
from workers.dialects.bedrock import BedrockDialect
from workers.dialects.cohere import CohereDialect
from workers.dialects.cohere_embeddings import CohereEmbeddings
from workers.dialects.gemini import GeminiDialect, VertexDialect
from workers.dialects.gemini_embeddings import GeminiEmbeddings, VertexEmbeddings
from workers.dialects.openai import OpenAIDialect
from workers.dialects.openai_embeddings import OpenAIEmbeddings
from workers.dialects.responses import ResponsesDialect

_CHAT: dict[str, Dialect[Any]] = {
    "openai": OpenAIDialect(),
    "openai-responses": ResponsesDialect(),
    "azure": AzureDialect(),
    "gemini": GeminiDialect(),
    "vertex": VertexDialect(),
    "anthropic": AnthropicDialect(),
    "vertex-anthropic": VertexAnthropicDialect(),
    "bedrock": BedrockDialect(),
    "cohere": CohereDialect(),
}
_EMBEDDINGS: dict[str, Dialect[Any]] = {
    "openai": OpenAIEmbeddings(),
    "azure": AzureEmbeddings(),
    "gemini": GeminiEmbeddings(),
    "vertex": VertexEmbeddings(),
    "cohere": CohereEmbeddings(),
}


def dialect(name: str, api: Api) -> Dialect[Any]:
    """The translator of this name for what an inbound API asks.

    Raises:
        UpstreamRejected: this wire format has no such operation.
    """
    found = (_EMBEDDINGS if api == "embeddings" else _CHAT).get(name)
    if found is None:
        raise UpstreamRejected(f"This provider has no {api} operation")
    return found
