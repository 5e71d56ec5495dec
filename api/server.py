"""The gunicorn worker of the front door: gevent, and a stop that idle connections do not delay."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from types import FrameType
from typing import Any

import gevent
import orjson
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.util import write_nonblock
from gunicorn.workers.ggevent import GeventWorker

from api.app import EXTENSION, Parts

#: What was malformed is shown, but a header may be long.
MESSAGE_MAX = 300
_STATUSES = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
}


class FrontDoorWorker(GeventWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Adds two things to gunicorn's gevent worker: a prompt drain, and catalog reload on SIGHUP."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: dict[gevent.Timeout, gevent.Greenlet] = {}

    @property
    def _parts(self) -> Parts:
        parts: Parts = self.wsgi.extensions[EXTENSION]
        return parts

    def init_signals(self) -> None:
        """As gunicorn, and SIGHUP: a worker by itself would ignore it."""
        super().init_signals()
        signal.signal(signal.SIGHUP, self._handle_reload)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """A request that HTTP itself forbids is refused in the contract's envelope too."""
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status = _STATUSES.get(type(exc), HTTPStatus.BAD_REQUEST)
        error = {"code": status, "message": f"Malformed HTTP request: {exc}"[:MESSAGE_MAX]}
        body = orjson.dumps({"error": error})
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with suppress(OSError):  # gone already
            write_nonblock(client, head.encode() + body)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Wait for a connection's next request: until the keep-alive bound, or until a drain.

        Proxies want a long keep-alive; without this an idle connection would hold up a stop for
        all of it.
        """
        timer = gevent.Timeout(self.cfg.keepalive, False)
        with timer:
            self._idle[timer] = gevent.getcurrent()
            try:
                yield
            finally:
                del self._idle[timer]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: no new connections, idle ones closed, open streams told when time runs out."""
        self._parts.drain.since_s = time.monotonic()
        gevent.spawn(self._close_idle)
        super().handle_exit(sig, frame)

    def _close_idle(self) -> None:
        for timer, waiting in list(self._idle.items()):
            waiting.kill(timer, block=False)

    def _handle_reload(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame
        gevent.spawn(self._parts.view.reload)
