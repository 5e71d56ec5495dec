"""A request of any inbound API, as a worker reads it back."""

from __future__ import annotations

from routing.wire.chat import ChatRequest
from routing.wire.embeddings import EmbeddingsRequest
from routing.wire.job import Api

#: Everything that speaks is a chat request by the time it is let in; vectors are another matter.
InferenceRequest = ChatRequest | EmbeddingsRequest


def request_from_json(api: Api, raw: bytes) -> InferenceRequest:
    """The inverse of the request's `to_json`."""
    if api == "embeddings":
        return EmbeddingsRequest.from_trusted_json(raw)
    return ChatRequest.from_trusted_json(raw)
