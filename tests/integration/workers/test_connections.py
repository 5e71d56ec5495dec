"""HTTP exchanges against a socket that behaves as badly as it is told to."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from routing.errors import UpstreamDown, UpstreamTimeout
from workers import connections
from workers.connections import ConnectionPool, Exchange, Origin, Wait

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
PATIENT = Wait(5.0, "first_byte", 5_000)
SHORT = Wait(0.05, "gap", 50)
Script = Callable[[socket.socket], None]


class Server:
    """Answers each request on each connection with the next script."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1/chat?x=1"
        self.scripts: list[Script] = []
        self.requests: list[bytes] = []
        self.accepted = 0
        self.gone = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def answers(self, *scripts: bytes | Script) -> None:
        for script in scripts:
            self.scripts.append(_sending(script) if isinstance(script, bytes) else script)

    def close(self) -> None:
        with suppress(OSError):  # closed already
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection:
            try:
                while self.scripts and (request := _read(connection)):
                    self.requests.append(request)
                    self.scripts.pop(0)(connection)
            except OSError:
                pass
        self.gone.set()


def _read(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def _sending(data: bytes) -> Script:
    return lambda connection: connection.sendall(data)


def closing(data: bytes = b"") -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.close()

    return script


def silent(data: bytes = b"") -> Script:
    """Sends something, then waits until the caller goes."""

    def script(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.recv(1)

    return script


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[ConnectionPool]:
    made = ConnectionPool()
    yield made
    made.close()


def send(pool: ConnectionPool, server: Server, body: bytes = b"{}") -> Exchange:
    return pool.send(server.url, {"x-a": "b"}, body, connect_ms=2_000, send_ms=2_000)


def whole(pool: ConnectionPool, server: Server) -> bytes:
    exchange = send(pool, server)
    try:
        exchange.head(PATIENT)
        return exchange.read_all(lambda: PATIENT)
    finally:
        exchange.settle()


def test_a_request_has_what_http_needs(pool: ConnectionPool, server: Server):
    server.answers(OK)

    assert whole(pool, server) == b"hi"

    (request,) = server.requests
    lines = request.split(b"\r\n")
    assert lines[0] == b"POST /v1/chat?x=1 HTTP/1.1"
    assert lines[1].startswith(b"host: 127.0.0.1:")
    assert b"x-a: b" in lines
    assert request.endswith(b"content-length: 2\r\n\r\n{}")


def test_a_connection_whose_answer_ended_is_used_again(pool: ConnectionPool, server: Server):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    server.answers(OK, chunked, OK)

    assert [whole(pool, server) for _ in range(3)] == [b"hi"] * 3

    assert server.accepted == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", id="1.1"
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", id="1.0"),
    ],
)
def test_a_connection_that_will_close_is_not_kept(
    pool: ConnectionPool, server: Server, answer: bytes
):
    server.answers(closing(answer), OK)

    assert [whole(pool, server) for _ in range(2)] == [b"hi"] * 2

    assert server.accepted == 2


def test_an_idle_connection_that_was_closed_meanwhile_is_replaced(
    pool: ConnectionPool, server: Server
):
    server.answers(closing(OK))
    assert whole(pool, server) == b"hi"
    assert server.gone.wait(5)
    server.answers(OK)

    assert whole(pool, server) == b"hi"
    assert server.accepted == 2


def test_an_idle_connection_that_is_too_old_is_replaced(
    pool: ConnectionPool, server: Server, monkeypatch: pytest.MonkeyPatch
):
    server.answers(OK, OK)
    whole(pool, server)
    monkeypatch.setattr(connections, "IDLE_MAX_S", -1.0)

    whole(pool, server)

    assert server.accepted == 2


def test_no_more_idle_connections_are_kept_than_the_bound(
    pool: ConnectionPool, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "IDLE_MAX", 0)
    server.answers(OK, OK)

    assert [whole(pool, server) for _ in range(2)] == [b"hi"] * 2

    assert server.accepted == 2


def test_an_interim_answer_is_passed_over(pool: ConnectionPool, server: Server):
    server.answers(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)

    assert whole(pool, server) == b"hi"


def test_a_body_without_a_length_ends_with_its_connection(pool: ConnectionPool, server: Server):
    server.answers(closing(b"HTTP/1.1 200 OK\r\n\r\nhello"))

    assert whole(pool, server) == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing at all"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="cut in the head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", id="wrong length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", id="cut in a chunk"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", id="no last chunk"
        ),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="not HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="not a chunk"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
            id="not gzip",
        ),
    ],
)
def test_an_answer_that_breaks_off_is_a_failure_and_never_a_short_answer(
    pool: ConnectionPool, server: Server, answer: bytes
):
    server.answers(closing(answer))

    with pytest.raises(UpstreamDown):
        whole(pool, server)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("cut", [1, 10, 4_000])
def test_a_compressed_body_is_read_however_it_is_cut(
    pool: ConnectionPool, server: Server, encoding: str, cut: int
):
    text = b"".join(b"%d," % (number * 7919 % 104_729) for number in range(2_000))
    packed = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(packed)}\r\n\r\n"
    )

    def script(connection: socket.socket) -> None:
        connection.sendall(head.encode())
        connection.sendall(packed[:cut])
        time.sleep(0.02)  # the head of the archive comes alone: it holds no text yet
        connection.sendall(packed[cut:])

    server.answers(script)

    assert whole(pool, server) == text


def test_a_body_over_the_bound_is_refused(
    pool: ConnectionPool, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "MAX_BODY_BYTES", 1_000)
    bomb = gzip.compress(b"0" * 1_000_000)
    server.answers(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1_001,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
        + bomb,
    )

    for _ in range(2):
        with pytest.raises(UpstreamDown, match="more than 1000 bytes"):
            whole(pool, server)


def test_silence_before_the_head_is_a_time_out_that_says_which(
    pool: ConnectionPool, server: Server
):
    server.answers(silent())
    exchange = send(pool, server)

    with pytest.raises(UpstreamTimeout) as caught:
        exchange.head(Wait(0.05, "first_byte", 50))

    assert caught.value.phase == "first_byte"
    exchange.close()
    assert server.gone.wait(5)


def test_a_dripping_head_does_not_prolong_its_time_out(pool: ConnectionPool, server: Server):
    def drip(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * 500:
            connection.sendall(bytes([byte]))
            time.sleep(0.005)

    server.answers(drip)
    exchange, started = send(pool, server), time.monotonic()

    with pytest.raises(UpstreamTimeout):
        exchange.head(Wait(0.1, "first_byte", 100))

    assert time.monotonic() - started < 1
    exchange.close()


def test_a_gap_in_the_body_is_a_time_out(pool: ConnectionPool, server: Server):
    server.answers(silent(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"))
    exchange = send(pool, server)
    exchange.head(PATIENT)
    assert exchange.read(PATIENT) == b"hi"

    with pytest.raises(UpstreamTimeout) as caught:
        exchange.read(SHORT)

    assert caught.value.phase == "gap"
    exchange.close()


def test_a_dripping_body_ends_at_the_total(pool: ConnectionPool, server: Server):
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1_000):
            connection.sendall(b"x")
            time.sleep(0.005)

    server.answers(drip)
    exchange, started = send(pool, server), time.monotonic()
    exchange.head(PATIENT)

    with pytest.raises(UpstreamTimeout) as caught:
        exchange.read_all(lambda: Wait(started + 0.2 - time.monotonic(), "total", 200))

    assert caught.value.phase == "total"
    assert time.monotonic() - started < 2
    exchange.close()


def test_nobody_listens(pool: ConnectionPool, server: Server):
    server.close()

    with pytest.raises(UpstreamDown, match="cannot be reached"):
        send(pool, server)


def test_an_unroutable_host_is_given_up_after_the_connect_time_out(pool: ConnectionPool):
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    place = full.getsockname()
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(place)
    try:
        with pytest.raises(UpstreamTimeout) as caught:
            pool.send(f"http://127.0.0.1:{place[1]}/", {}, b"", connect_ms=100, send_ms=100)
        assert caught.value.phase == "connect"
    finally:
        for one in (*waiting, full):
            one.close()


def test_closing_from_elsewhere_ends_a_read_at_once_and_tells_the_provider(
    pool: ConnectionPool, server: Server
):
    server.answers(silent(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"))
    exchange = send(pool, server)
    exchange.head(PATIENT)
    threading.Timer(0.05, exchange.close).start()
    started = time.monotonic()

    with pytest.raises(UpstreamDown):
        exchange.read(Wait(30.0, "gap", 30_000))

    assert time.monotonic() - started < 5
    assert server.gone.wait(5)
    exchange.close()
    with pytest.raises(UpstreamDown, match="closed by us"):
        exchange.read(PATIENT)


def test_leaving_in_the_middle_of_an_answer_drops_the_connection(
    pool: ConnectionPool, server: Server
):
    server.answers(silent(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"), OK)
    exchange = send(pool, server)
    exchange.head(PATIENT)
    exchange.read(PATIENT)

    exchange.settle()

    assert server.gone.wait(5)
    assert whole(pool, server) == b"hi"
    assert server.accepted == 2


@pytest.mark.parametrize(
    ("url", "origin", "path", "authority"),
    [
        ("https://a.test/v1", Origin(True, "a.test", 443), "/v1", "a.test"),
        ("http://a.test/v1?b=1", Origin(False, "a.test", 80), "/v1?b=1", "a.test"),
        ("http://a.test:8000/v1", Origin(False, "a.test", 8000), "/v1", "a.test:8000"),
        ("https://a.test:80/", Origin(True, "a.test", 80), "/", "a.test:80"),
    ],
)
def test_origins(url: str, origin: Origin, path: str, authority: str):
    assert Origin.of(url) == (origin, path)
    assert origin.authority == authority
