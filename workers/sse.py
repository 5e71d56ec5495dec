"""Server-sent events out of any chopping of bytes, as providers really send them.

Accepts LF, CRLF and CR line ends, a byte order mark, `data:` with or without a space, data over
several lines and comments. Bounded: one event may not be larger than `MAX_EVENT_BYTES`.
"""

from __future__ import annotations

from routing.errors import UpstreamDown

#: Images come as one event of several MB; beyond this a provider is broken or hostile.
MAX_EVENT_BYTES = 8 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class SseReader:
    """Feed it bytes, get the data of each complete event."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._held_cr = False
        self._started = False
        self._max = max_event_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that is complete now; events without data are dropped.

        Raises:
            UpstreamDown: an event grew over the bound.
        """
        if self._held_cr or b"\r" in chunk:
            chunk = self._line_ends(chunk)
        buffer = self._buffer
        buffer += chunk
        if not self._started:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                return []
            self._started = True
            if buffer.startswith(_BOM):
                del buffer[: len(_BOM)]
        events, start = [], 0
        while (end := buffer.find(b"\n\n", max(start, self._scanned))) >= 0:
            data = _data(bytes(buffer[start:end]))
            if data is not None:
                events.append(data)
            start = end + 2
            self._scanned = start
        if start:
            del buffer[:start]
        if len(buffer) > self._max:
            raise UpstreamDown(f"Provider sent an event of more than {self._max} bytes")
        self._scanned = max(0, len(buffer) - 1)
        return events

    def close(self) -> list[bytes]:
        """What is left when the connection ends: only an event whose last line was complete."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        if not rest.endswith(b"\n"):
            return []
        data = _data(rest)
        return [] if data is None else [data]

    def _line_ends(self, chunk: bytes) -> bytes:
        """CRLF and CR become LF, also when a CRLF is cut in two."""
        if self._held_cr:
            chunk = b"\r" + chunk
        self._held_cr = chunk.endswith(b"\r")
        if self._held_cr:
            chunk = chunk[:-1]
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data(block: bytes) -> bytes | None:
    """The joined data lines of one event block; None when it has none (comments, blank lines)."""
    if block.startswith(b"data:") and b"\n" not in block:
        return block[6:] if block[5:6] == b" " else block[5:]
    lines = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines) if lines else None
