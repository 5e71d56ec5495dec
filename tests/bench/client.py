"""The load: clients on raw keep-alive sockets in one process, the same for every system.

Closed loop: each client sends its next request when it has the last answer. When the time is up
nobody sends any more, and what is under way is waited for, so that a slow system's answers count.
While the clock runs the client only looks for the first event and the end; the bytes are kept and
checked afterwards (`tests.bench.answers`).
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, cast

from tests.bench.answers import Kind, fault

#: A request without an answer after this long, counted from the end of the cell, is an error.
DRAIN_S: Final = 45.0
#: After a lost connection: a server that is down must not be called in a tight loop.
RECONNECT_S: Final = 0.1
#: Answers are kept until the cell is over; more than this is a cell that runs too long.
KEPT_BYTES_MAX: Final = 600_000_000

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_CHUNK_END: Final = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go.

    Attributes:
        model: by kind's name, what this system calls it.
    """

    port: int
    path: str
    key: str
    model: dict[str, str]

    def request(self, kind: Kind, ticket: int) -> bytes:
        """The bytes of one request."""
        body = kind.body(self.model[kind.name], ticket)
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-type: application/json\r\n"
            f"accept: */*\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(slots=True)
class Load:
    """What one cell's clients have seen; after the check only right answers are left in it.

    Attributes:
        first_s: from sending to the first event of a stream, or the first byte of a plain answer.
        total_s: from sending to the last byte.
        errors: how often, by what was wrong.
        connections: opened; more than clients when the server closes after an answer.
    """

    first_s: list[float] = field(default_factory=list)
    total_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    elapsed_s: float = 0.0
    kept: list[tuple[int, bytes, bool]] = field(default_factory=list)
    kept_bytes: int = 0

    @property
    def answers(self) -> int:
        """Answers that count: received to the end, and right."""
        return len(self.total_s)

    def check(self, kind: Kind) -> None:
        """Look at every byte; a wrong answer becomes an error and its times are dropped."""
        texts = kind.texts()
        wrong = [_wrong(kind, texts, *kept) for kept in self.kept]
        self.errors.update(sentence for sentence in wrong if sentence is not None)
        self.first_s = [s for s, bad in zip(self.first_s, wrong, strict=True) if bad is None]
        self.total_s = [s for s, bad in zip(self.total_s, wrong, strict=True) if bad is None]
        self.kept.clear()


class _Client(asyncio.Protocol):
    """One client on one connection; a lost connection gets a successor."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._sent_s = 0.0
        self._first_s = 0.0
        self._body_at = 0
        self._length = -1
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._next()

    def data_received(self, data: bytes) -> None:
        now_s = perf_counter()
        received = self._received
        received += data
        if not self._body_at and not self._read_head():
            return
        if not self._first_s and (
            not self._run.kind.stream or received.find(b"data:", self._body_at) >= 0
        ):
            self._first_s = now_s
        if self._complete():
            self._finish(now_s)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._busy = False
            self._run.load.errors[f"connection lost in an answer ({exc or 'closed'})"] += 1
        self._run.lost(self)

    def stop(self) -> None:
        """End it; an answer under way is an error."""
        if self._busy:
            self._busy = False
            self._run.load.errors[f"no answer within {DRAIN_S:g} s of the end"] += 1
        self._transport.abort()

    def _next(self) -> None:
        if not self._run.more():
            self._transport.close()
            return
        self._received.clear()
        self._first_s, self._body_at, self._length = 0.0, 0, -1
        self._busy = True
        request = self._run.request()
        self._sent_s = perf_counter()
        self._transport.write(request)

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[: end + 2])
        if found := _LENGTH.search(head):
            self._length = int(found[1])
        elif not _CHUNKED.search(head):
            self._run.load.errors["neither content-length nor chunked"] += 1
            self._busy = False
            self._transport.abort()
            return False
        self._body_at = end + 4
        return True

    def _complete(self) -> bool:
        if self._length >= 0:
            return len(self._received) - self._body_at >= self._length
        return self._received.endswith(_CHUNK_END)

    def _finish(self, now_s: float) -> None:
        load = self._run.load
        load.total_s.append(now_s - self._sent_s)
        load.first_s.append((self._first_s or now_s) - self._sent_s)
        self._run.keep(self._body_at, bytes(self._received), chunked=self._length < 0)
        self._busy = False
        if _CLOSE.search(self._received, 0, self._body_at):
            self._transport.close()
            return
        self._next()


class _Run:
    """A number of clients for a time."""

    def __init__(self, target: Target, kind: Kind, clients: int, first_ticket: int) -> None:
        self.kind = kind
        self.load = Load()
        self._target = target
        self._clients = clients
        self._ticket = first_ticket
        self._alive: set[_Client] = set()
        self._waiting = 0
        self._end_s = 0.0
        self._requests_max = 0
        self._done = asyncio.Event()

    async def drive(self, seconds: float, requests: int) -> Load:
        """Send for so long (or, with `requests`, so many), and wait for what is under way."""
        begun_s = perf_counter()
        self._end_s = begun_s + seconds
        self._requests_max = requests and self._ticket + requests
        self._waiting = self._clients
        await asyncio.gather(*(self._connect(0.0) for _ in range(self._clients)))
        try:
            await asyncio.wait_for(self._done.wait(), seconds + DRAIN_S)
        except TimeoutError:
            for client in tuple(self._alive):
                client.stop()
        self.load.elapsed_s = perf_counter() - begun_s
        return self.load

    def more(self) -> bool:
        """Whether another request is to be sent."""
        if self._requests_max:
            return self._ticket < self._requests_max
        return perf_counter() < self._end_s

    def request(self) -> bytes:
        """The next request's bytes."""
        self._ticket += 1
        return self._target.request(self.kind, self._ticket)

    def keep(self, body_at: int, received: bytes, *, chunked: bool) -> None:
        """Put an answer aside for checking."""
        load = self.load
        load.kept_bytes += len(received)
        if load.kept_bytes > KEPT_BYTES_MAX:
            raise MemoryError("too many answers for one cell; choose fewer --seconds")
        load.kept.append((body_at, received, chunked))

    def lost(self, client: _Client) -> None:
        """A connection has ended; open another while there is time."""
        self._alive.discard(client)
        if self.more():
            self._waiting += 1
            # Kept by the loop until it runs; nothing else refers to it.
            asyncio.get_running_loop().create_task(self._connect(RECONNECT_S * self._failing()))
        elif not self._alive and not self._waiting:
            self._done.set()

    def _failing(self) -> bool:
        return bool(self.load.errors)

    async def _connect(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_connection(
                lambda: _Client(self), "127.0.0.1", self._target.port
            )
        except OSError as error:
            self.load.errors[f"cannot connect: {error.strerror}"] += 1
            self._waiting -= 1
            self.lost(cast("_Client", None))
            return
        self._waiting -= 1
        self.load.connections += 1
        self._alive.add(client)


def drive(
    target: Target,
    kind: Kind,
    clients: int,
    seconds: float,
    *,
    first_ticket: int,
    requests: int = 0,
) -> Load:
    """Run one cell and check every answer; with `requests`, so many instead of so long."""
    load = asyncio.run(_Run(target, kind, clients, first_ticket).drive(seconds, requests))
    load.check(kind)
    return load


def _wrong(
    kind: Kind, texts: frozenset[str], body_at: int, received: bytes, chunked: bool
) -> str | None:
    """What is wrong with an answer as it came; None when nothing is."""
    status = _STATUS.match(received)
    if status is None:
        return "no HTTP"
    try:
        body = _joined(received, body_at) if chunked else received[body_at:]
    except ValueError as error:
        return f"bad chunk: {error}"
    return fault(kind, texts, int(status[1]), body)


def _joined(received: bytes, position: int) -> bytes:
    """The body of a chunked answer."""
    parts = []
    while True:
        end = received.index(b"\r\n", position)
        size = int(received[position:end].partition(b";")[0], 16)
        position = end + 2
        if not size:
            if received[position:] != b"\r\n":
                raise ValueError("bytes after the last chunk")
            return b"".join(parts)
        parts.append(received[position : position + size])
        position += size
        if received[position : position + 2] != b"\r\n":
            raise ValueError("a chunk is longer or shorter than it says")
        position += 2
