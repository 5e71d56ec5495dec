"""The gunicorn worker of the front door: gevent, and a stop that idle connections do not delay."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from api.app import EXTENSION, Parts


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
