"""The Anthropic dialect (Messages API), at Anthropic itself and on Google Vertex AI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from routing.catalog.shapes import Endpoint
from routing.credentials import ApiKey, Credential, GoogleToken
from routing.errors import UpstreamDenied, UpstreamError
from routing.wire.chat import ChatRequest
from routing.wire.events import Answer
from workers.dialects import UpstreamRequest
from workers.dialects.anthropic_answers import AnthropicStream, answer_of
from workers.dialects.anthropic_errors import error_of
from workers.dialects.anthropic_messages import Conversation, conversation
from workers.dialects.claude import Mind, claude_sampling, mind, output_schema
from workers.dialects.common import hashed_user, json_headers, stops
from workers.dialects.framing import ServerSentEvents
from workers.dialects.google_url import vertex_url

VERSION = "2023-06-01"
VERTEX_VERSION = "vertex-2023-10-16"
_SAMPLING = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k"}


class _Messages(ServerSentEvents):
    """What both places have in common: all but address, key and version."""

    def answer(self, body: bytes) -> Answer:
        """A plain answer; an error object inside a 200 is the error it says."""
        return answer_of(body)

    def decoder(self) -> AnthropicStream:
        """For one stream."""
        return AnthropicStream()

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """By the type in the body, or by status."""
        return error_of(status, headers, body, now_ms)


class AnthropicDialect(_Messages):
    """At Anthropic itself."""

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, credential: Credential, *, stream: bool
    ) -> UpstreamRequest:
        """The body of `/messages`."""
        if not isinstance(credential, ApiKey):
            raise UpstreamDenied("This provider takes a plain API key")
        body = {"model": endpoint.upstream_id} | messages_body(request, endpoint)
        if stream:
            body["stream"] = True
        headers = json_headers(stream=stream) | {"anthropic-version": VERSION} | _betas(request)
        if credential.value:
            headers["x-api-key"] = credential.value
        return UpstreamRequest(
            url=f"{endpoint.provider.base_url}/messages", headers=headers, body=orjson.dumps(body)
        )


class VertexAnthropicDialect(_Messages):
    """On Google Vertex AI: the model is in the address, the version in the body."""

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, credential: Credential, *, stream: bool
    ) -> UpstreamRequest:
        """The body of `:rawPredict`, or of `:streamRawPredict`."""
        if not isinstance(credential, GoogleToken):
            raise UpstreamDenied("This provider takes a Google service account")
        body = {"anthropic_version": VERTEX_VERSION} | messages_body(request, endpoint)
        if stream:
            body["stream"] = True
        method = "streamRawPredict" if stream else "rawPredict"
        headers = json_headers(stream=stream) | _betas(request)
        headers["authorization"] = f"Bearer {credential.token}"
        return UpstreamRequest(
            url=vertex_url(endpoint, credential, "anthropic", method),
            headers=headers,
            body=orjson.dumps(body),
        )


def messages_body(request: ChatRequest, endpoint: Endpoint) -> dict[str, Any]:
    """A request's fields, all but model, version and stream.

    Raises:
        UpstreamRejected: a part or a wish has no form here.
    """
    limit = min(request.completion_limit or endpoint.completion_cap, endpoint.completion_cap)
    thought, told = _minded(request, endpoint, limit)
    body: dict[str, Any] = {"max_tokens": limit, "messages": told.turns}
    optional = {
        "system": told.system,
        "tools": told.tools,
        "tool_choice": told.tool_choice,
        "thinking": thought.thinking,
        "output_config": _output_config(request, endpoint, thought),
        "stop_sequences": stops(request, endpoint),
    }
    body |= {name: value for name, value in optional.items() if value}
    body |= claude_sampling(request, endpoint, _SAMPLING, thinks=thought.on)
    user = hashed_user(request.user)
    if user is not None:
        body["metadata"] = {"user_id": user}
    return body


def _minded(request: ChatRequest, endpoint: Endpoint, limit: int) -> tuple[Mind, Conversation]:
    """Thinking and conversation depend on each other where a client lost the thoughts."""
    thought = mind(request, endpoint, limit)
    told = conversation(request, endpoint, thought)
    if thought.budgeted and told.lacks_thoughts():
        thought = Mind(thinking=None, effort=thought.effort)
        told = conversation(request, endpoint, thought)
    return thought, told


def _output_config(
    request: ChatRequest, endpoint: Endpoint, thought: Mind
) -> dict[str, Any] | None:
    config: dict[str, Any] = {}
    if thought.effort is not None:
        config["effort"] = thought.effort
    schema = output_schema(request, endpoint)
    if schema is not None:
        config["format"] = {"type": "json_schema", "schema": schema}
    return config or None


def _betas(request: ChatRequest) -> dict[str, str]:
    return {"anthropic-beta": ",".join(request.anthropic_betas)} if request.anthropic_betas else {}
