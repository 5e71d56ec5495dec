"""Dialects: request to provider body, provider event to our events. Pure functions, no I/O.

A dialect is code, a provider is data: most providers are a URL and a few quirks on top of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from routing.catalog.shapes import Endpoint
from routing.errors import UpstreamError
from routing.wire.chat import ChatRequest
from routing.wire.events import Answer, Event


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """What is POSTed to a provider."""

    url: str
    headers: dict[str, str]
    body: bytes


class StreamDecoder(Protocol):
    """Reads one stream; keeps what must be remembered between events."""

    def decode(self, data: bytes) -> list[Event]:
        """Our events for the data of one server-sent event.

        Raises:
            UpstreamDown: the data cannot be read.
        """
        ...


class Dialect(Protocol):
    """One provider family's wire format."""

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, key: str, *, stream: bool
    ) -> UpstreamRequest:
        """The provider's request. Parameters the endpoint does not support are left out."""
        ...

    def answer(self, body: bytes) -> Answer:
        """A plain answer.

        Raises:
            UpstreamError: the body is an error, or cannot be read.
        """
        ...

    def decoder(self) -> StreamDecoder:
        """For one stream."""
        ...

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """What a status other than 2xx means; the time is for hints given as a date."""
        ...
