"""One client call, in a thread of its own, and everything its client saw."""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit

#: A call that has no end after this is lost: leases and every patience are over long before.
CALL_S = 45.0
READ_BYTES = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

#: complete: a whole answer. error: an HTTP error, or one in band and [DONE]. left: this client went
#: away. cut: the connection broke. silent: a stream that ended as if all were well, and is not
#: whole. lost: nothing came.
Verdict = Literal["complete", "error", "left", "cut", "silent", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The simulator's answers: `pieces` of one token each, `gap_ms` apart."""

    pieces: int = 20
    gap_ms: int = 20
    first_ms: int = 0

    def knobs(self) -> dict[str, int]:
        """As the simulator is told."""
        return {
            "chunks": self.pieces,
            "tokens": self.pieces,
            "gap_ms": self.gap_ms,
            "first_ms": self.first_ms,
        }

    def at_once(self) -> dict[str, int]:
        """The same words without any wait."""
        return {**self.knobs(), "gap_ms": 0, "first_ms": 0}


@dataclass(slots=True, eq=False, kw_only=True)
class Call:
    """What is asked, and what came. Times are seconds of the monotonic clock.

    Attributes:
        leave_after: pieces of content after which this client resets its connection; 0: stays.
        arrivals: when each piece of content came.
        broken: how the connection ended, if not as it must.
    """

    base_url: str
    key: str
    model: str
    marker: str
    stream: bool
    pace: Pace
    leave_after: int = 0
    generation_id: str = ""
    status: int = 0
    pieces: list[str] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    cost_usd: Decimal | None = None
    done: bool = False
    broken: str = ""
    left_s: float | None = None
    ended_s: float | None = None
    _thread: threading.Thread | None = None

    def start(self) -> Call:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name=self.marker, daemon=True)
        self._thread.start()
        return self

    def wait(self, until_s: float) -> None:
        """Until it has ended, or that moment."""
        if self._thread is not None:
            self._thread.join(max(0.0, until_s - time.monotonic()))

    @property
    def content(self) -> str:
        """All of the answer that came."""
        return "".join(self.pieces)

    @property
    def verdict(self) -> Verdict:
        """What this client would say of its call."""
        if self.left_s is not None:
            return "left"
        if self.ended_s is None:
            return "lost"
        if self.broken:
            return "cut"
        if self.error is not None:
            ends = not self.stream or self.status != http.client.OK or self.done
            return "error" if ends else "silent"
        whole = self.finish_reason is not None and self.finish_reason != "error"
        if not self.stream:
            return "complete" if whole else "lost"
        return "complete" if whole and self.done else "silent"

    def _run(self) -> None:
        address = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=CALL_S
        )
        try:
            self._ask(connection, address.path)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.broken = f"{type(error).__name__}: {error}"
        finally:
            self.ended_s = time.monotonic()
            if self.left_s is None:
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection, path: str) -> None:
        body = {
            "model": self.model,
            "stream": self.stream,
            "messages": [{"role": "user", "content": f"Say hello, {self.marker}"}],
            # Books repeat a call to the simulator in OpenAI's form, which Azure lets in otherwise;
            # and the model that one pool serves is to stay in one.
            "provider": {"ignore": ["azure"]},
        }
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection.request("POST", f"{path}/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        self.status = answer.status
        self.generation_id = answer.getheader("X-Generation-Id") or ""
        if "event-stream" not in (answer.getheader("Content-Type") or ""):
            self._take(json.loads(answer.read(), parse_float=Decimal))
            return
        for data in _events(answer):
            if data == "[DONE]":
                self.done = True
                continue
            self._take(json.loads(data, parse_float=Decimal))
            if self.leave_after and len(self.pieces) >= self.leave_after:
                _reset(connection.sock)
                self.left_s = time.monotonic()
                return

    def _take(self, chunk: dict[str, Any]) -> None:
        """A chunk of a stream, or a whole plain answer, or an error envelope."""
        self.error = chunk.get("error") or self.error
        usage = chunk.get("usage")
        if usage is not None:
            self.cost_usd = Decimal(usage["cost"])
        for choice in chunk.get("choices", ()):
            content = choice.get("delta", choice.get("message", {})).get("content")
            if content:
                self.pieces.append(content)
                self.arrivals.append(time.monotonic())
            self.finish_reason = choice.get("finish_reason") or self.finish_reason


def _events(answer: http.client.HTTPResponse) -> Iterator[str]:
    """The data of each server-sent event; comments are skipped."""
    held = b""
    end_s = time.monotonic() + CALL_S
    while chunk := answer.read1(READ_BYTES):
        *whole, held = (held + chunk).split(b"\n\n")
        for event in whole:
            if event.startswith(b"data: "):
                yield event.removeprefix(b"data: ").decode()
        if time.monotonic() > end_s:
            raise TimeoutError("the stream has no end")


def _reset(sock: socket.socket) -> None:
    """Leave as a crashed client does: no farewell, a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    os.close(sock.detach())
