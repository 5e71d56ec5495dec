"""The Cohere dialect: `/v2/chat`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from routing.catalog.shapes import Endpoint
from routing.credentials import ApiKey, Credential
from routing.errors import UpstreamDenied, UpstreamError
from routing.wire.chat import ChatRequest
from routing.wire.events import Answer
from workers.dialects import UpstreamRequest
from workers.dialects.cohere_answers import CohereStream, answer_of, error_of
from workers.dialects.cohere_messages import messages_of, tools_of
from workers.dialects.common import cannot, json_headers, sampling, stops, supports
from workers.dialects.framing import ServerSentEvents
from workers.dialects.reasoning import budget, thinking

#: The most tokens a model may be told to think for.
THINKING_MAX = 31_000
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "p",
    "top_k": "k",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
}
#: Cohere's bounds, where they are narrower than the contract's.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "p": (0.01, 0.99),
    "k": (0, 500),
    "frequency_penalty": (0.0, 1.0),
    "presence_penalty": (0.0, 1.0),
    "seed": (0, 2**53 - 1),
}


class CohereDialect(ServerSentEvents):
    """See the module; stateless."""

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, credential: Credential, *, stream: bool
    ) -> UpstreamRequest:
        """The body of `/chat`."""
        body: dict[str, Any] = {
            "model": endpoint.upstream_id,
            "messages": messages_of(request, endpoint),
            "stream": stream,
        }
        body |= tools_of(request, endpoint)
        body |= _answer_form(request, endpoint, tools="tools" in body)
        body |= _sampling(request, endpoint)
        body |= _thinking(request, endpoint)
        if request.completion_limit is not None:
            body["max_tokens"] = min(request.completion_limit, endpoint.completion_cap)
        if stopping := stops(request, endpoint):
            body["stop_sequences"] = stopping
        return UpstreamRequest(
            url=f"{endpoint.provider.base_url}/chat",
            headers=bearer(credential, stream=stream),
            body=orjson.dumps(body),
        )

    def answer(self, body: bytes) -> Answer:
        """A plain answer."""
        return answer_of(body)

    def decoder(self) -> CohereStream:
        """For one stream."""
        return CohereStream()

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """By status."""
        return error_of(status, headers, body, now_ms)


def bearer(credential: Credential, *, stream: bool) -> dict[str, str]:
    """Headers with a plain key.

    Raises:
        UpstreamDenied: it is another kind of credential.
    """
    if not isinstance(credential, ApiKey):
        raise UpstreamDenied("This provider takes a plain API key")
    headers = json_headers(stream=stream)
    if credential.value:
        headers["authorization"] = f"Bearer {credential.value}"
    return headers


def _sampling(request: ChatRequest, endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = dict(sampling(request, endpoint, _SAMPLING))
    for name, (least, most) in _BOUNDS.items():
        if name in found:
            found[name] = min(max(found[name], least), most)
    return found


def _thinking(request: ChatRequest, endpoint: Endpoint) -> dict[str, Any]:
    asked = thinking(request, endpoint)
    if asked.mode == "default":
        return {}
    if asked.mode == "off":
        return {"thinking": {"type": "disabled"}}
    limit = min(request.completion_limit or endpoint.completion_cap, endpoint.completion_cap)
    tokens = budget(asked, limit, THINKING_MAX, floor=1)
    return {"thinking": {"type": "enabled", "token_budget": tokens}}


def _answer_form(request: ChatRequest, endpoint: Endpoint, *, tools: bool) -> dict[str, Any]:
    form = request.response_format
    if form is None or form.type not in ("json_object", "json_schema"):
        return {}
    if not supports(endpoint, "response_format") and not supports(endpoint, "structured_outputs"):
        return {}
    if tools:
        raise cannot("response_format", "this provider takes it only without tools; leave one out")
    found: dict[str, Any] = {"type": "json_object"}
    if form.json_schema is not None and form.json_schema.schema_ is not None:
        found["json_schema"] = form.json_schema.schema_
    return {"response_format": found}
