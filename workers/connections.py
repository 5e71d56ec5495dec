"""One HTTP/1.1 exchange with a provider, over kept-alive connections. Hot path, own bounds.

llhttp (through geventhttpclient's parser) reads the wire; sockets are the standard library's, so
under gevent each wait yields to other streams. HTTP/2 is left out on purpose: closing one of its
streams does not reliably tell the provider to stop generating.
"""

from __future__ import annotations

import socket
import ssl
import time
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import certifi
from geventhttpclient.response import HTTPParseError, HTTPResponse

from routing.errors import TimeoutPhase, UpstreamDown, UpstreamTimeout

#: Providers close idle connections after 60 s or more; reuse stops well before.
IDLE_MAX_S = 30.0
#: Idle connections kept per provider and process.
IDLE_MAX = 128
#: Bytes per read: many small events in one go.
READ_BYTES = 64 * 1024
#: A plain answer larger than this is broken or hostile (images come as base64, tens of MB at most).
MAX_BODY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wait:
    """How long the next read may take, and which of the four bounds that is."""

    seconds: float
    phase: TimeoutPhase
    limit_ms: int

    def passed(self) -> UpstreamTimeout:
        """The failure when it passes."""
        return UpstreamTimeout(self.phase, self.limit_ms)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a provider listens."""

    tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The Host header: a default port is left out, as virtual hosts expect."""
        return self.host if self.port == (443 if self.tls else 80) else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> tuple[Origin, str]:
        """Origin and path of a URL."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return cls(tls, parts.hostname or "", parts.port or (443 if tls else 80)), path


class Kept(Protocol):
    """Who takes a connection back when its exchange is over."""

    def give_back(self, origin: Origin, sock: socket.socket) -> None:
        """Keep or close it."""
        ...


class _Response(HTTPResponse):
    """Collects body bytes as they are parsed."""

    def __init__(self, method: str) -> None:
        super().__init__(method=method)
        self.parts: list[bytes] = []

    def _on_body(self, buf: bytearray) -> None:
        self.parts.append(bytes(buf))


class Exchange:
    """One request under way. Read to the end, or `close` it: that also tells the provider to stop.

    Attributes:
        status: HTTP status, once `head` has returned.
    """

    def __init__(
        self, pool: Kept, origin: Origin, sock: socket.socket, method: str = "POST"
    ) -> None:
        self._pool = pool
        self._origin = origin
        self._sock: socket.socket | None = sock
        self._response = _Response(method)
        self._inflate: Any = None
        self.status = 0

    def head(self, wait: Wait) -> None:
        """Read status and headers.

        Raises:
            UpstreamTimeout, UpstreamDown: silence, or the connection broke.
        """
        deadline = time.monotonic() + wait.seconds
        while not self._response.headers_complete or self._response.get_code() < 200:  # noqa: PLR2004
            left = deadline - time.monotonic()
            if left <= 0:
                raise wait.passed()
            if not self._feed(Wait(left, wait.phase, wait.limit_ms)):
                raise UpstreamDown("Provider closed the connection without an answer")
        self.status = self._response.get_code()
        if self.header("content-encoding") in {"gzip", "deflate", "x-gzip"}:
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def header(self, name: str) -> str:
        """One response header, lower case; "" when absent."""
        value = self._response.get(name)
        if isinstance(value, list):
            value = value[0]
        return value or ""

    def headers(self) -> dict[str, str]:
        """All response headers by their lower-case names; of several equal ones the last."""
        return {name.lower(): value for name, value in self._response.items()}

    def read(self, wait: Wait) -> bytes:
        """The next bytes of the body; b"" at its proper end.

        Raises:
            UpstreamTimeout: nothing came in time.
            UpstreamDown: the connection broke, or ended before the body did.
        """
        response = self._response
        while True:
            while not response.parts:
                if response.message_complete:
                    self._release()
                    return b""
                if not self._feed(wait):
                    raise UpstreamDown("Provider closed the connection in the middle of an answer")
            data = self._decoded(b"".join(response.parts))
            response.parts.clear()
            if data:  # a compressed body may yield nothing yet
                return data

    def read_all(self, wait: Callable[[], Wait]) -> bytes:
        """The whole body; `wait` is asked before each read, so that dripping ends too.

        Raises:
            UpstreamTimeout, UpstreamDown: as `read`; also when the body is over the bound.
        """
        parts, total = [], 0
        while data := self.read(wait()):
            total += len(data)
            if total > MAX_BODY_BYTES:
                raise UpstreamDown(f"Provider sent more than {MAX_BODY_BYTES} bytes")
            parts.append(data)
        return b"".join(parts)

    def settle(self) -> None:
        """After the last event that matters: keep the connection if the body has ended."""
        if self._response.message_complete:
            self._release()
        else:
            self.close()

    def close(self) -> None:
        """Drop the connection. Safe from another greenlet: a read under way fails at once."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        with suppress(OSError):  # already gone: what we wanted
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def _decoded(self, data: bytes) -> bytes:
        if self._inflate is None:
            return data
        try:
            out: bytes = self._inflate.decompress(data, MAX_BODY_BYTES)
        except zlib.error as error:
            raise UpstreamDown("Provider sent a compressed body that cannot be read") from error
        if self._inflate.unconsumed_tail:
            raise UpstreamDown(f"Provider sent more than {MAX_BODY_BYTES} bytes")
        return out

    def _feed(self, wait: Wait) -> bool:
        """Read once; False at the end of the connection."""
        sock = self._sock
        if sock is None:
            raise UpstreamDown("The connection was closed by us")
        if wait.seconds <= 0:
            raise wait.passed()
        data = b""
        try:
            sock.settimeout(wait.seconds)
            data = sock.recv(READ_BYTES)
            self._response.feed(data)
        except TimeoutError as error:
            raise wait.passed() from error
        except HTTPParseError as error:
            if not data:
                raise UpstreamDown(
                    "Provider closed the connection in the middle of an answer"
                ) from error
            raise UpstreamDown("Provider sent a malformed HTTP answer") from error
        except OSError as error:
            raise UpstreamDown("The connection to the provider broke") from error
        return bool(data) or bool(self._response.message_complete)

    def _release(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        if self._response.should_close():
            sock.close()
        else:
            self._pool.give_back(self._origin, sock)


class ConnectionPool:
    """Connections to providers, kept alive per origin. One per process."""

    def __init__(self) -> None:
        self._idle: dict[Origin, deque[tuple[float, socket.socket]]] = {}
        self._tls = ssl.create_default_context(cafile=certifi.where())

    def send(
        self, url: str, headers: dict[str, str], body: bytes, *, connect_ms: int, send_ms: int
    ) -> Exchange:
        """POST a body; returns once it is handed to the kernel.

        Raises:
            UpstreamTimeout: no connection in time.
            UpstreamDown: refused, unreachable, TLS failure, broken while sending.
        """
        origin, path = Origin.of(url)
        sock = self._reused(origin) or self._connect(origin, connect_ms)
        lines = [f"POST {path} HTTP/1.1", f"host: {origin.authority}"]
        lines += (f"{name}: {value}" for name, value in headers.items())
        lines += (f"content-length: {len(body)}", "", "")
        try:
            sock.settimeout(send_ms / 1000)
            sock.sendall("\r\n".join(lines).encode("latin-1") + body)
        except TimeoutError as error:
            sock.close()
            raise UpstreamTimeout("first_byte", send_ms) from error
        except OSError as error:
            sock.close()
            raise UpstreamDown("The connection to the provider broke") from error
        return Exchange(self, origin, sock)

    def give_back(self, origin: Origin, sock: socket.socket) -> None:
        """Keep a connection whose exchange is over."""
        idle = self._idle.setdefault(origin, deque())
        if len(idle) >= IDLE_MAX:
            sock.close()
            return
        idle.append((time.monotonic(), sock))

    def close(self) -> None:
        """Drop every idle connection."""
        for idle in self._idle.values():
            for _, sock in idle:
                sock.close()
        self._idle.clear()

    def _reused(self, origin: Origin) -> socket.socket | None:
        idle = self._idle.get(origin)
        oldest = time.monotonic() - IDLE_MAX_S
        while idle:
            since, sock = idle.pop()
            if since >= oldest and _quiet(sock):
                return sock
            sock.close()
        return None

    def _connect(self, origin: Origin, connect_ms: int) -> socket.socket:
        try:
            sock = socket.create_connection((origin.host, origin.port), connect_ms / 1000)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if origin.tls:
                return self._tls.wrap_socket(sock, server_hostname=origin.host)
        except TimeoutError as error:
            raise UpstreamTimeout("connect", connect_ms) from error
        except OSError as error:
            raise UpstreamDown("Provider cannot be reached") from error
        return sock


def _quiet(sock: socket.socket) -> bool:
    """Whether an idle connection is still open: readable means closed by the provider, or dirty."""
    sock.settimeout(0.0)
    try:
        sock.recv(1) if isinstance(sock, ssl.SSLSocket) else sock.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False
