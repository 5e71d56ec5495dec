"""Fetching a caller's URL for a provider that takes no URLs, and nothing that is not public.

Every address a name resolves to is checked, and the connection goes to the address that was
checked: a name that changes its mind between the check and the call changes nothing. Redirects are
followed by hand under the same rule. Size, time and content type are bounded.
"""

from __future__ import annotations

import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import urljoin, urlsplit

import certifi
import gevent
from gevent.lock import BoundedSemaphore
from gevent.monkey import get_original
from gevent.threadpool import ThreadPool

from routing.addresses import is_public
from routing.errors import UpstreamError
from routing.media import sniffed
from workers.connections import Exchange, Origin, Wait

MediaKind = Literal["image", "file", "video"]

REDIRECTS_MAX = 3
CONNECT_S = 5.0
#: A name server that says nothing must not hold a worker's slot.
RESOLVE_S = 5.0
#: All fetches of a request, redirects included: a slow drip is an attack or a broken server.
TOTAL_S = 30.0
#: Fetches of one process at the same time: each holds up to four copies of what it reads.
FETCHES_MAX = 32
#: Names looked up at the same time. Apart from gevent's own threads: a name server that says
#: nothing must not keep the worker from its providers.
RESOLVERS = 4
#: What providers take inline, and what a worker's memory bears.
BYTES_MAX: Mapping[MediaKind, int] = MappingProxyType(
    {"image": 20 * 1024 * 1024, "file": 32 * 1024 * 1024, "video": 48 * 1024 * 1024}
)
_TYPES: Mapping[MediaKind, frozenset[str]] = MappingProxyType(
    {
        "image": frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"}),
        "file": frozenset({"application/pdf", "text/plain"}),
        "video": frozenset(
            {"video/mp4", "video/mpeg", "video/mov", "video/quicktime", "video/webm"}
        ),
    }
)
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200


class FetchFailed(Exception):
    """The URL was not fetched; the text says why, for the caller, and names no address of ours."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was read once; what is checked is what is called."""

    tls: bool
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Target:
        """Read a URL.

        Raises:
            FetchFailed: not http(s), no host, credentials in it, or characters no URL has.
        """
        if any(ch.isspace() or ch == "\\" or not ch.isprintable() for ch in url):
            raise FetchFailed("it has characters that no URL has")
        try:
            parts = urlsplit(url)
            port = parts.port
            host = (parts.hostname or "").encode("idna").decode().rstrip(".")
        except ValueError as error:
            raise FetchFailed("it is not a URL that can be read") from error
        if parts.scheme not in _PORTS:
            raise FetchFailed("only http and https URLs are fetched")
        if parts.username is not None or parts.password is not None:
            raise FetchFailed("URLs with credentials are not fetched")
        if not host or "%" in host:
            raise FetchFailed("it names no host")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme == "https", host, port or _PORTS[parts.scheme], _ascii(path))

    @property
    def url(self) -> str:
        """The same without fragment, for joining redirects."""
        scheme = "https" if self.tls else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{self.path}"


class Fetcher:
    """Fetches media. One per process.

    Args:
        allowed: `host:port` pairs the operator lets through although they are not public.
        resolve: name and port to addresses; the system's unless a test hands in its own.
    """

    def __init__(
        self,
        allowed: frozenset[str] = frozenset(),
        resolve: Callable[[str, int], list[str]] | None = None,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve or _resolve
        self._slots = BoundedSemaphore(FETCHES_MAX)
        self._tls = ssl.create_default_context(cafile=certifi.where())

    def data_url(self, url: str, kind: MediaKind, until_s: float) -> str:
        """The URL's content as a `data:` URL, with the type its bytes show.

        Args:
            url: as the caller wrote it.
            kind: bounds its size and its type.
            until_s: when to give up, in monotonic seconds; see `TOTAL_S`.

        Raises:
            FetchFailed: not allowed, not there, too large, too slow, or of another type.
        """
        target = Target.of(url)
        if not self._slots.acquire(timeout=max(0.0, until_s - time.monotonic())):
            raise FetchFailed("too many others are being fetched; try again")
        try:
            return self._followed(target, kind, until_s)
        finally:
            self._slots.release()

    def _followed(self, target: Target, kind: MediaKind, until_s: float) -> str:
        for _ in range(REDIRECTS_MAX + 1):
            exchange = self._get(target, until_s)
            try:
                if exchange.status not in _REDIRECTS:
                    return self._read(exchange, kind, until_s)
                target = Target.of(urljoin(target.url, exchange.header("location")))
            except UpstreamError as error:
                raise FetchFailed("its server broke off or was too slow") from error
            finally:
                exchange.close()
        raise FetchFailed(f"it redirects more than {REDIRECTS_MAX} times")

    def _get(self, target: Target, until_s: float) -> Exchange:
        address = self._checked(target)
        origin = Origin(target.tls, target.host, target.port)
        lines = (
            f"GET {target.path} HTTP/1.1",
            f"host: {origin.authority}",
            "user-agent: pointsman",
            "accept: */*",
            "accept-encoding: identity",
            "connection: close",
            "",
            "",
        )
        sock: socket.socket | None = None
        try:
            # The socket's own time-out begins anew with each byte of a handshake that drips.
            with gevent.Timeout(_wait(until_s).seconds, TimeoutError):
                sock = socket.create_connection((address, target.port), CONNECT_S)
                if target.tls:
                    sock = self._tls.wrap_socket(sock, server_hostname=target.host)
                sock.sendall("\r\n".join(lines).encode("latin-1"))
        except OSError as error:
            if sock is not None:
                sock.close()
            raise FetchFailed("its server cannot be reached") from error
        exchange = Exchange(_NoPool(), origin, sock, method="GET")
        try:
            exchange.head(_wait(until_s))
        except UpstreamError as error:
            exchange.close()
            raise FetchFailed("its server gave no answer") from error
        return exchange

    def _checked(self, target: Target) -> str:
        """The address to call: every address of the name is public, or the operator allows it."""
        allowed = f"{target.host}:{target.port}" in self._allowed
        if not allowed and target.port not in _PORTS.values():
            raise FetchFailed("only ports 80 and 443 are called")
        found = None
        with gevent.Timeout(RESOLVE_S, False):
            found = self._resolve(target.host, target.port)
        if not found:
            raise FetchFailed("its host name cannot be resolved")
        if not allowed and not all(is_public(address) for address in found):
            raise FetchFailed("its host is not on the public internet")
        return found[0]

    def _read(self, exchange: Exchange, kind: MediaKind, until_s: float) -> str:
        if exchange.status != _OK:
            raise FetchFailed(f"its server answered {exchange.status}")
        most = BYTES_MAX[kind]
        body = bytearray()
        while chunk := exchange.read(_wait(until_s)):
            body += chunk
            if len(body) > most:
                raise FetchFailed(f"it is larger than {most // 2**20} MiB")
        declared = exchange.header("content-type").partition(";")[0].strip().lower()
        media_type = sniffed(bytes(body[:64])) or declared
        if media_type not in _TYPES[kind]:
            wanted = ", ".join(sorted(_TYPES[kind]))
            raise FetchFailed(f"its content is not one of {wanted}")
        return f"data:{media_type};base64,{b64encode(body).decode()}"


class _NoPool:
    """Connections of strangers are not kept."""

    def give_back(self, _origin: Origin, sock: socket.socket) -> None:
        sock.close()


def allow_list(text: str) -> frozenset[str]:
    """The setting `fetch_allow`, read: `host:port` separated by commas."""
    return frozenset(word.strip().lower() for word in text.split(",") if word.strip())


_resolvers = ThreadPool(RESOLVERS)
#: The blocking one: it has a thread to itself.
_getaddrinfo = get_original("socket", "getaddrinfo")


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = _resolvers.apply(_getaddrinfo, (host, port), {"type": socket.SOCK_STREAM})
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


def _wait(until_s: float) -> Wait:
    return Wait(until_s - time.monotonic(), "total", int(TOTAL_S * 1000))


def _ascii(path: str) -> str:
    """Percent-encode what is not ASCII; the rest stays as it was written."""
    return "".join(
        ch if ch.isascii() else "".join(f"%{byte:02X}" for byte in ch.encode()) for ch in path
    )
