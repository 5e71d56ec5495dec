"""One Redis connection for all greenlets of a process: the hot path's way to run scripts.

A pooled client takes a connection, sends, waits and gives it back for each command, and pays a
quarter of a request's CPU for it. Here commands of all greenlets go out together at the end of the
event loop's turn, and replies are handed back in order. For gevent processes only; everything else
uses `connect`.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from typing import Any

import gevent
import hiredis
from gevent.lock import RLock
from redis.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from routing.store.connect import COMMAND_TIMEOUT_S, CONNECT_TIMEOUT_S

#: One read takes many small replies.
READ_BYTES = 256 * 1024
#: How often the oldest unanswered command is looked at; a time-out is late by at most this.
WATCH_EVERY_S = 0.25


class RawConnection:
    """A connected, authenticated socket and a reply parser. No retries, no pool.

    Raises:
        ConnectionError, TimeoutError: of redis-py, from every method.
    """

    def __init__(self, url: str, name: str) -> None:
        where: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
        self.reader = hiredis.Reader(protocolError=RedisConnectionError, replyError=_reply_error)
        try:
            self.sock = _open(where)
        except OSError as error:
            raise RedisConnectionError(f"Redis cannot be reached: {error}") from error
        greetings: list[tuple[Any, ...]] = [("CLIENT", "SETNAME", name)]
        if where.get("db"):
            greetings.insert(0, ("SELECT", where["db"]))
        if where.get("password"):
            user = (where["username"],) if where.get("username") else ()
            greetings.insert(0, ("AUTH", *user, where["password"]))
        for command in greetings:
            self.send(pack(*command))
            reply = self.read()
            if isinstance(reply, Exception):
                self.close()
                raise RedisConnectionError(f"Redis refused {command[0]}") from reply

    def send(self, data: bytes) -> None:
        """Hand bytes to the kernel."""
        try:
            self.sock.sendall(data)
        except TimeoutError as error:
            raise RedisTimeoutError("Redis took too long") from error
        except OSError as error:
            raise RedisConnectionError("The connection to Redis broke") from error

    def read(self) -> Any:
        """The next reply; an error reply is returned, not raised."""
        while True:
            reply = self.reader.gets()
            if reply is not False:
                return reply
            self._fill()

    def _fill(self) -> None:
        try:
            data = self.sock.recv(READ_BYTES)
        except TimeoutError as error:
            raise RedisTimeoutError("Redis took too long") from error
        except OSError as error:
            raise RedisConnectionError("The connection to Redis broke") from error
        if not data:
            raise RedisConnectionError("Redis closed the connection")
        self.reader.feed(data)

    def close(self) -> None:
        """Drop the connection."""
        self.sock.close()


class _Slot:
    """One command under way: who waits for it, and what came."""

    __slots__ = ("greenlet", "ready", "reply")

    def __init__(self) -> None:
        self.greenlet: Any = None
        self.ready = False
        self.reply: Any = None

    def wait(self) -> Any:
        if not self.ready:
            self.greenlet = gevent.getcurrent()
            try:
                gevent.get_hub().switch()
            finally:
                self.greenlet = None  # killed or answered: nobody may switch here any more
        return self.reply

    def resolve(self, reply: Any) -> None:
        self.reply = reply
        self.ready = True
        if self.greenlet is not None:
            gevent.get_hub().loop.run_callback(self._wake)

    def _wake(self) -> None:
        if self.greenlet is not None:
            self.greenlet.switch()


class Mux:
    """Runs commands for all greenlets over one connection, in order.

    A broken or silent connection fails every command under way: which of them Redis has carried out
    is unknown, so callers must send only what may be sent twice. The next command connects anew.
    """

    def __init__(self, url: str, name: str, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        self._url = url
        self._name = name
        self._timeout_s = timeout_s
        self._connecting = RLock()
        self._connection: RawConnection | None = None
        self._waiting: deque[_Slot] = deque()
        self._outgoing: list[bytes] = []
        self._flushing = False

    def execute_command(self, *command: Any) -> Any:
        """Run one command and wait for its reply.

        Raises:
            ConnectionError, TimeoutError, ResponseError: of redis-py.
        """
        if self._connection is None:
            self._connect()
        slot = _Slot()
        self._waiting.append(slot)
        self._outgoing.append(pack(*command))
        if not self._flushing:
            self._flushing = True
            gevent.get_hub().loop.run_callback(gevent.spawn, self._flush)
        reply = slot.wait()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _connect(self) -> None:
        with self._connecting:
            if self._connection is not None:
                return
            connection = RawConnection(self._url, self._name)
            connection.sock.settimeout(None)  # the watch below bounds replies
            self._connection = connection
            gevent.spawn(self._read, connection)
            gevent.spawn(self._watch, connection)

    def _flush(self) -> None:
        """Send what the greenlets of this turn wrote, in one system call."""
        try:
            while self._outgoing and self._connection is not None:
                data = b"".join(self._outgoing)
                self._outgoing.clear()
                self._connection.send(data)
        except (RedisConnectionError, RedisTimeoutError) as error:
            self._break(self._connection, error)
        finally:
            self._flushing = False

    def _read(self, connection: RawConnection) -> None:
        try:
            while connection is self._connection:
                reply = connection.read()
                self._waiting.popleft().resolve(reply)
        except (RedisConnectionError, RedisTimeoutError) as error:
            self._break(connection, error)

    def _watch(self, connection: RawConnection) -> None:
        # Looks are counted, not seconds: when this process is late itself, under a crowd, replies
        # wait unread, and each look is followed by a turn of the loop that reads them.
        oldest, looks = None, 0
        while connection is self._connection:
            gevent.sleep(WATCH_EVERY_S)
            head = self._waiting[0] if self._waiting else None
            looks = looks + 1 if head is oldest else 1
            oldest = head
            if head is not None and looks * WATCH_EVERY_S >= self._timeout_s:
                self._break(connection, RedisTimeoutError("Redis took too long"))

    def _break(self, connection: RawConnection | None, error: Exception) -> None:
        """Fail everything under way, once per connection."""
        if connection is None or connection is not self._connection:
            return
        self._connection = None
        connection.close()
        self._outgoing.clear()
        failed, self._waiting = self._waiting, deque()
        for slot in failed:
            slot.resolve(error)


def pack(*command: Any) -> bytes:
    """A command as bytes for the wire."""
    packed: bytes = hiredis.pack_command(command)
    return packed


def _reply_error(text: str) -> ResponseError:
    if text.startswith("NOSCRIPT"):
        return NoScriptError(text)
    return ResponseError(text)


def _open(where: dict[str, Any]) -> socket.socket:
    if where.get("path"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(CONNECT_TIMEOUT_S)
        try:
            sock.connect(where["path"])
        except OSError:
            sock.close()
            raise
        sock.settimeout(COMMAND_TIMEOUT_S)
        return sock
    host, port = where.get("host", "localhost"), where.get("port", 6379)
    sock = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if "connection_class" in where:  # rediss://
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    sock.settimeout(COMMAND_TIMEOUT_S)
    return sock
