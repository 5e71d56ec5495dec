"""Dialects: request to provider body, provider event to our events. Pure functions, no I/O.

A dialect is code, a provider is data: most providers are a URL and a few quirks on top of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from routing.catalog.shapes import Endpoint
from routing.credentials import Credential
from routing.errors import UpstreamError
from routing.wire.chat import ChatRequest
from routing.wire.embeddings import EmbeddingsRequest
from routing.wire.events import Answer, Event

Asked_contra = TypeVar("Asked_contra", ChatRequest, EmbeddingsRequest, contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """What is POSTed to a provider."""

    url: str
    headers: dict[str, str]
    body: bytes


class StreamReader(Protocol):
    """Cuts the bytes of a stream into events, whatever way they were chopped."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that is complete now.

        Raises:
            UpstreamDown: the bytes cannot be framed, or an event is over the bound.
        """
        ...

    def close(self) -> list[bytes]:
        """What is left when the connection ends."""
        ...


class StreamDecoder(Protocol):
    """Reads one stream; keeps what must be remembered between events."""

    def decode(self, data: bytes) -> list[Event]:
        """Our events for the data of one event.

        Raises:
            UpstreamDown: the data cannot be read.
        """
        ...


class Dialect(Protocol[Asked_contra]):
    """One operation in one provider family's wire format."""

    def encode(
        self, request: Asked_contra, endpoint: Endpoint, credential: Credential, *, stream: bool
    ) -> UpstreamRequest:
        """The provider's request. Parameters the endpoint does not support are left out.

        Raises:
            UpstreamRejected: the provider has no way to say what is asked.
            UpstreamDenied: the credential is of a kind this provider does not take.
        """
        ...

    def answer(self, body: bytes) -> Answer:
        """A plain answer.

        Raises:
            UpstreamError: the body is an error, or cannot be read.
        """
        ...

    def streams(self, content_type: str) -> bool:
        """Whether an answer of this type is a stream, and not an error or a plain answer."""
        ...

    def reader(self) -> StreamReader:
        """For one stream."""
        ...

    def decoder(self) -> StreamDecoder:
        """For one stream."""
        ...

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """What a status other than 2xx means; the time is for hints given as a date."""
        ...
