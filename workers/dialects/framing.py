"""How a provider frames its streams, for dialects that have nothing of their own to say of it."""

from __future__ import annotations

from typing import NoReturn

from routing.errors import UpstreamDown
from workers.sse import SseReader


class ServerSentEvents:
    """Streams are server-sent events, as at most providers."""

    def streams(self, content_type: str) -> bool:
        """By the content type."""
        return "event-stream" in content_type

    def reader(self) -> SseReader:
        """For one stream."""
        return SseReader()


class NoStream:
    """An operation whose answer comes in one piece."""

    def streams(self, content_type: str) -> bool:  # noqa: ARG002 - whatever it is
        """Never."""
        return False

    def reader(self) -> NoReturn:
        """There are no streams."""
        raise UpstreamDown("Embeddings do not stream")

    def decoder(self) -> NoReturn:
        """There are no streams."""
        raise UpstreamDown("Embeddings do not stream")
