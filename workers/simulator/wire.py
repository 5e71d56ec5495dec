"""Just enough HTTP/1.1 to stand in for a provider: requests in, response heads out."""

from dataclasses import dataclass
from typing import Final

HEAD_BYTES_MAX: Final = 64 * 1024
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
# A chunk-size line is a hexadecimal number; extensions are legal, novels are not.
SIZE_LINE_BYTES_MAX: Final = 1024

REASONS: Final = {
    200: "OK",
    204: "No Content",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    422: "Unprocessable Entity",
    424: "Failed Dependency",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    529: "Site is overloaded",
}


class BadRequest(Exception):
    """The bytes are no request we can answer; the connection must be closed.

    Attributes:
        status: The status to close it with.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One whole request; header names are lower case, the last of two equal names wins."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    method: str
    target: str
    headers: dict[str, str]
    keep_alive: bool
    length: int
    chunked: bool


class RequestReader:
    """Collects bytes and gives back whole requests, one at a time.

    Pipelined requests stay in the buffer until they are asked for.
    """

    __slots__ = ("_body", "_buffer", "_head", "expects_continue")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._body = bytearray()
        self.expects_continue = False

    def feed(self, data: bytes) -> None:
        """Add what the socket gave us.

        Raises:
            BadRequest: More is waiting than one request may be long.
        """
        self._buffer += data
        if len(self._buffer) > BODY_BYTES_MAX + 2 * HEAD_BYTES_MAX:
            raise BadRequest(413, "request too large")

    def next_request(self) -> Request | None:
        """Return the next whole request, or None when more bytes are needed.

        Raises:
            BadRequest: The bytes break the protocol or a limit.
        """
        head = self._head or self._read_head()
        if head is None:
            return None
        self._head = head
        body = self._read_chunks() if head.chunked else self._read_exactly(head.length)
        if body is None:
            return None
        self._head = None
        self.expects_continue = False
        return Request(
            method=head.method,
            target=head.target,
            headers=head.headers,
            body=body,
            keep_alive=head.keep_alive,
        )

    def _read_head(self) -> _Head | None:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end > HEAD_BYTES_MAX or (end < 0 and len(buffer) > HEAD_BYTES_MAX):
            raise BadRequest(431, "header section too large")
        if end < 0:
            return None
        text = buffer[:end].decode("latin-1")
        del buffer[: end + 4]
        head = _parse_head(text)
        expectation = head.headers.get("expect")
        self.expects_continue = expectation is not None and expectation.lower() == "100-continue"
        return head

    def _read_exactly(self, length: int) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < length:
            return None
        body = bytes(buffer[:length])
        del buffer[:length]
        return body

    def _read_chunks(self) -> bytes | None:
        while (data := self._read_chunk()) is not None:
            if not data:
                body = bytes(self._body)
                self._body.clear()
                return body
            self._body += data
            if len(self._body) > BODY_BYTES_MAX:
                raise BadRequest(413, "body too large")
        return None

    def _read_chunk(self) -> bytes | None:
        """Return one chunk, empty for the last one, or None when it is not all here."""
        buffer = self._buffer
        line_end = buffer.find(b"\r\n", 0, SIZE_LINE_BYTES_MAX)
        if line_end < 0:
            if len(buffer) > SIZE_LINE_BYTES_MAX:
                raise BadRequest(400, "chunk size line too long")
            return None
        size = _chunk_size(bytes(buffer[:line_end]))
        if size == 0:
            return self._read_trailers(line_end)
        end = line_end + 2 + size
        if len(buffer) < end + 2:
            return None
        if buffer[end : end + 2] != b"\r\n":
            raise BadRequest(400, "chunk does not end where it should")
        data = bytes(buffer[line_end + 2 : end])
        del buffer[: end + 2]
        return data

    def _read_trailers(self, line_end: int) -> bytes | None:
        """Drop the trailers: from the end of the last size line to the first empty line."""
        end = self._buffer.find(b"\r\n\r\n", line_end)
        if end < 0:
            if len(self._buffer) - line_end > HEAD_BYTES_MAX:
                raise BadRequest(431, "trailers too large")
            return None
        del self._buffer[: end + 4]
        return b""


def _parse_head(text: str) -> _Head:
    request_line, *lines = text.split("\r\n")
    parts = request_line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):  # noqa: PLR2004 - method target version
        raise BadRequest(400, "malformed request line")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or not name:
            raise BadRequest(400, "malformed header")
        headers[name.lower()] = value.strip()
    return _Head(
        method=parts[0],
        target=parts[1],
        headers=headers,
        keep_alive=_keeps_alive(parts[2], headers.get("connection", "")),
        length=_content_length(headers.get("content-length", "0")),
        chunked=_is_chunked(headers.get("transfer-encoding")),
    )


def _keeps_alive(version: str, connection: str) -> bool:
    if version == "HTTP/1.0":
        return connection.lower() == "keep-alive"
    return connection.lower() != "close"


def _content_length(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise BadRequest(400, "malformed Content-Length")
    # Longer than any number we allow: refuse before int() works on it.
    if len(value) > len(str(BODY_BYTES_MAX)) or int(value) > BODY_BYTES_MAX:
        raise BadRequest(413, "body too large")
    return int(value)


def _is_chunked(encoding: str | None) -> bool:
    if encoding is None:
        return False
    if encoding.lower() != "chunked":
        raise BadRequest(501, "unknown Transfer-Encoding")
    return True


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits or digits.strip(b"0123456789abcdefABCDEF"):
        raise BadRequest(400, "malformed chunk size")
    size = int(digits, 16)
    if size > BODY_BYTES_MAX:
        raise BadRequest(413, "body too large")
    return size


def head(status: int, headers: dict[str, str]) -> bytes:
    """Render a response head, with the empty line that ends it."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {REASONS[status]}\r\n{lines}\r\n".encode("latin-1")


def response(
    status: int,
    body: bytes,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> bytes:
    """Render a whole response whose length is known."""
    fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
    return head(status, fields) + body


def chunk(data: bytes) -> bytes:
    """Frame data as one HTTP chunk; empty data is the one that ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
