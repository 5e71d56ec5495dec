"""Talks to a simulator without a socket: a request in, the whole response out."""

from dataclasses import dataclass
from typing import Any

import orjson

from workers.simulator.exchange import Simulator
from workers.simulator.wire import Request


@dataclass(frozen=True)
class Reply:
    """A response, its chunked encoding undone."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """Return the events of a stream, each with its name."""
        found = []
        for block in self.body.decode().split("\n\n")[:-1]:
            lines = dict(line.split(": ", 1) for line in block.split("\n"))
            data = lines["data"]
            found.append((lines.get("event", ""), data if data == "[DONE]" else orjson.loads(data)))
        return found


def simulator() -> Simulator:
    return Simulator(now_ms=lambda: 0.0, now_seconds=lambda: 1000)


def call(
    path: str,
    body: Any,
    headers: dict[str, str],
    *,
    to: Simulator | None = None,
    method: str = "POST",
    end: bool = False,
) -> Reply:
    """Send a request; with ``end``, tell the journal that the answer was played."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    request = Request(method=method, target=path, headers=headers, body=data, keep_alive=True)
    to = to or simulator()
    exchange = to.receive(request, "127.0.0.1")
    if end and exchange.call is not None:
        to.journal.end(exchange.call, exchange.outcome)
    sent = b"".join(step.data for step in exchange.script.steps)
    head, _, rest = sent.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    if fields.get("transfer-encoding") == "chunked":
        rest = _unchunked(rest)
    return Reply(int(status.split()[1]), fields, rest)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        whole += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return whole
