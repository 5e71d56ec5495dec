"""Which translator a catalog entry's `dialect` names.

Each is loaded when it is first called: a worker for one provider carries no other's libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, cast

from routing.errors import UpstreamRejected
from routing.wire.job import Api
from workers.dialects import Dialect

#: Module in this package and class, by the catalog's name.
CHAT: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "openai": ("openai", "OpenAIDialect"),
        "openai-responses": ("responses", "ResponsesDialect"),
        "azure": ("azure", "AzureDialect"),
        "gemini": ("gemini", "GeminiDialect"),
        "vertex": ("gemini", "VertexDialect"),
        "anthropic": ("anthropic", "AnthropicDialect"),
        "vertex-anthropic": ("anthropic", "VertexAnthropicDialect"),
        "bedrock": ("bedrock", "BedrockDialect"),
        "cohere": ("cohere", "CohereDialect"),
    }
)
EMBEDDINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "openai": ("openai_embeddings", "OpenAIEmbeddings"),
        "azure": ("azure", "AzureEmbeddings"),
        "gemini": ("gemini_embeddings", "GeminiEmbeddings"),
        "vertex": ("gemini_embeddings", "VertexEmbeddings"),
        "cohere": ("cohere_embeddings", "CohereEmbeddings"),
    }
)


def dialect(name: str, api: Api) -> Dialect[Any]:
    """The translator of this name for what an inbound API asks.

    Raises:
        UpstreamRejected: this wire format has no such operation.
    """
    found = (EMBEDDINGS if api == "embeddings" else CHAT).get(name)
    if found is None:
        raise UpstreamRejected(f"This provider has no {api} operation")
    return _loaded(*found)


@cache
def _loaded(module: str, name: str) -> Dialect[Any]:
    found = getattr(import_module(f"workers.dialects.{module}"), name)
    return cast("Dialect[Any]", found())
