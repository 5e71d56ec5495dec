"""The Gemini dialect, as Google AI Studio and Vertex AI speak it.

The two share the body; they differ in address and credential, and in the media they fetch
themselves, which the catalog says.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from routing.catalog.shapes import Endpoint
from routing.credentials import ApiKey, Credential, GoogleToken
from routing.errors import UpstreamDenied, UpstreamError
from routing.wire.chat import ChatRequest
from routing.wire.events import Answer
from workers.dialects import UpstreamRequest
from workers.dialects.framing import ServerSentEvents
from workers.dialects.gemini_answer import GeminiStream, answer
from workers.dialects.gemini_errors import by_body
from workers.dialects.gemini_request import body
from workers.dialects.google_url import vertex_url

_STREAM_METHOD = "streamGenerateContent"
_PLAIN_METHOD = "generateContent"
#: Whose models these are, in Vertex AI's addresses.
PUBLISHER = "google"


class GoogleAnswers(ServerSentEvents):
    """What is the same for every operation at Google: how answers and errors come. Stateless."""

    def answer(self, body: bytes) -> Answer:
        """A plain answer; an error object inside a 200 is the error it says."""
        return answer(body)

    def decoder(self) -> GeminiStream:
        """For one stream."""
        return GeminiStream()

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """By status, and by the reason in the details where one status has several meanings."""
        return by_body(status, headers, body, now_ms)


class GeminiDialect(GoogleAnswers):
    """Google AI Studio."""

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, credential: Credential, *, stream: bool
    ) -> UpstreamRequest:
        """A generateContent request with an API key."""
        url = studio_url(endpoint, _STREAM_METHOD if stream else _PLAIN_METHOD)
        return UpstreamRequest(
            url=f"{url}?alt=sse" if stream else url,
            headers=studio_headers(credential, stream=stream),
            body=orjson.dumps(body(request, endpoint)),
        )


class VertexDialect(GoogleAnswers):
    """Google Vertex AI."""

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, credential: Credential, *, stream: bool
    ) -> UpstreamRequest:
        """A generateContent request with a token of a service account."""
        token = google_token(credential)
        method = _STREAM_METHOD if stream else _PLAIN_METHOD
        url = vertex_url(endpoint, token, PUBLISHER, method)
        return UpstreamRequest(
            url=f"{url}?alt=sse" if stream else url,
            headers=vertex_headers(token, stream=stream),
            body=orjson.dumps(body(request, endpoint)),
        )


def studio_url(endpoint: Endpoint, method: str) -> str:
    """The address of a method of a model at AI Studio."""
    return f"{endpoint.provider.base_url}/models/{endpoint.upstream_id}:{method}"


def studio_headers(credential: Credential, *, stream: bool = False) -> dict[str, str]:
    """Headers with an API key.

    Raises:
        UpstreamDenied: the credential is none.
    """
    if not isinstance(credential, ApiKey):
        raise UpstreamDenied("This provider takes a plain API key")
    return _headers(stream=stream) | {"x-goog-api-key": credential.value}


def google_token(credential: Credential) -> GoogleToken:
    """The credential as a token.

    Raises:
        UpstreamDenied: it is none.
    """
    if not isinstance(credential, GoogleToken):
        raise UpstreamDenied("This provider takes the token of a Google service account")
    return credential


def vertex_headers(token: GoogleToken, *, stream: bool = False) -> dict[str, str]:
    """Headers with a token."""
    return _headers(stream=stream) | {"authorization": f"Bearer {token.token}"}


def _headers(*, stream: bool) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "pointsman",
    }
