"""Reading a request body: bounded before it is read, chunked or not, and never for ever."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

import gevent
from flask import Request, Response
from gunicorn.http.errors import ParseException

from routing.errors import BadRequest, PayloadTooLarge

#: A client that sends its body slower than this holds a greenlet for nothing.
BODY_TIMEOUT_S = 60.0
#: After refusing a body we listen on for a moment, so that the client reads our answer before
#: the reset that unread bytes would cause.
LINGER_S = 1.0
LINGER_BYTES = 4 * 1024 * 1024
_CHUNK = 64 * 1024


def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        PayloadTooLarge: over the limit; nothing beyond the limit has been read.
        BadRequest: compressed, malformed, cut short, or slower than the time-out.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise BadRequest("Content-Encoding is not supported: send the body as it is.")
    declared = request.content_length
    if declared is not None and declared > limit:
        raise _too_large(limit)
    source: IO[bytes] = request.environ["wsgi.input"]
    body = b""
    try:
        with gevent.Timeout(BODY_TIMEOUT_S, False):
            body = source.read(limit + 1 if declared is None else declared)
    except ParseException as error:
        raise BadRequest("The chunked encoding of the body is malformed.") from error
    if len(body) > limit:
        raise _too_large(limit)
    if declared is not None and len(body) != declared:
        raise BadRequest("The body is shorter than its Content-Length, or came too slowly.")
    return body


def hang_up(request: Request) -> Callable[[Response], Response]:
    """An after-request step that closes the connection behind a refusal.

    The server would otherwise read the unread body to its end before the next request.
    """
    connection: Any = request.environ.get("gunicorn.socket")

    def close_after(response: Response) -> Response:
        if connection is not None:
            response.call_on_close(lambda: _linger(connection))
        return response

    return close_after


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"Request payload too large: the limit is {limit} bytes")


def _linger(connection: socket.socket) -> None:
    with suppress(OSError), gevent.Timeout(LINGER_S, False):
        connection.shutdown(socket.SHUT_WR)
        read = 0
        while read < LINGER_BYTES and (data := connection.recv(_CHUNK)):
            read += len(data)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
