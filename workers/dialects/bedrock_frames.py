"""Amazon's binary event stream, read message by message."""

from __future__ import annotations

import struct
from typing import Any

import orjson
from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError

from routing.errors import UpstreamDown

#: One message, and what of the next one came with it; beyond this a provider is broken or hostile.
BUFFER_MAX_BYTES = 8 * 1024 * 1024


class BedrockReader:
    """Feed it bytes, get `{"<event type>": payload}` of each complete message.

    An exception inside the stream is `{"<exception type>": payload}`; its type ends in `Exception`,
    which no event's does.
    """

    def __init__(self, max_bytes: int = BUFFER_MAX_BYTES) -> None:
        self._buffer = EventStreamBuffer()
        self._held = 0
        self._max = max_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The messages that are complete now.

        Raises:
            UpstreamDown: a message is over the bound, or its checksums do not fit.
        """
        events: list[bytes] = []
        # In pieces no longer than the bound, so that one huge chunk cannot pass it unseen.
        for start in range(0, len(chunk), self._max):
            piece = chunk[start : start + self._max]
            self._held += len(piece)
            self._buffer.add_data(piece)
            events += self._complete()
            if self._held > self._max:
                raise UpstreamDown(f"Provider sent a message of more than {self._max} bytes")
        return events

    def close(self) -> list[bytes]:
        """Nothing: a message that was cut short cannot be told from a broken one."""
        return []

    def _complete(self) -> list[bytes]:
        events = []
        try:
            for message in self._buffer:
                self._held -= message.prelude.total_length
                events.append(_event(message))
        except (ParserError, struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
            raise UpstreamDown("Provider sent a message that cannot be read") from error
        return events


def _event(message: EventStreamMessage) -> bytes:
    headers: dict[str, Any] = message.headers
    name = headers.get(":exception-type") or headers.get(":event-type")
    payload = bytes(message.payload)
    if headers.get(":message-type") == "error":
        name = "internalServerException"
        payload = orjson.dumps({"message": str(headers.get(":error-message", ""))})
    if not isinstance(name, str):
        name = "unknown"
    return b"{" + orjson.dumps(name) + b":" + (payload or b"{}") + b"}"
