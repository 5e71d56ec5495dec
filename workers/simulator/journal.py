"""What happened: every call, how it ended, and what was received."""

import re
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

from workers.simulator.wire import Request

CALLS_MAX: Final = 10_000
PROVIDERS_MAX: Final = 1000
REQUESTS_MAX: Final = 10_000
REQUEST_BYTES_MAX: Final = 128 * 1024 * 1024
# Calls to providers beyond the limit are counted here.
OTHERS: Final = "(others)"

_MARKER: Final = re.compile(r"marker-[A-Za-z0-9-]+")

Outcome = Literal["open", "finished", "faulted", "refused", "closed_by_client"]


@dataclass(slots=True, kw_only=True)
class Call:
    """One call; times are CLOCK_MONOTONIC in ms, comparable with any process on the machine.

    Attributes:
        chunks_sent: Events written, the end mark not counted.
        outcome: ``finished``: all was sent, and right. ``faulted``: a fault replaced or broke
            the answer. ``refused``: the request was not valid. ``closed_by_client``: the client
            left first, at ``closed_at_ms``.
    """

    n: int
    provider: str
    model: str
    path: str
    stream: bool
    status: int
    fault: str | None
    body_sha256: str
    marker: str | None
    started_ms: float
    ended_ms: float | None = None
    closed_at_ms: float | None = None
    chunks_sent: int = 0
    outcome: Outcome = "open"


@dataclass(slots=True)
class Tally:
    """Counts for one provider; ``started`` is the sum of the others."""

    started: int = 0
    open: int = 0
    finished: int = 0
    faulted: int = 0
    refused: int = 0
    closed_by_client: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came, kept for tests that ask what the router sent."""

    provider: str
    path: str
    headers: dict[str, str]
    body: bytes


def marker_in(said: str) -> str | None:
    """Return the first ``marker-…`` word of a message."""
    found = _MARKER.search(said) if "marker-" in said else None
    return found[0] if found else None


def without_secrets(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers with every key replaced by its SHA-256."""
    secrets = {
        name: f"sha256:{sha256(headers[name].encode()).hexdigest()}"
        for name in _SECRET_HEADERS
        if name in headers
    }
    return {**headers, **secrets}


#: Where the providers' keys are.
_SECRET_HEADERS: Final[tuple[str, ...]] = (
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
)


class Journal:
    """Bounded records of calls and requests, exact counts per provider."""

    def __init__(self, now_ms: Callable[[], float]) -> None:
        self._now_ms = now_ms
        self._calls: deque[Call] = deque(maxlen=CALLS_MAX)
        self._tallies: dict[str, Tally] = {}
        self._open: dict[int, Tally] = {}
        self._received: OrderedDict[str, Received] = OrderedDict()
        self._received_bytes = 0
        self._started = 0

    def serial(self) -> int:
        """Return the number of the next call."""
        self._started += 1
        return self._started

    def now_ms(self) -> float:
        """Return the time that records are stamped with."""
        return self._now_ms()

    def begin(self, call: Call) -> None:
        """Record a call that has just come in."""
        self._calls.append(call)
        tally = self._tallies.get(call.provider)
        if tally is None:
            name = call.provider if len(self._tallies) < PROVIDERS_MAX else OTHERS
            tally = self._tallies.setdefault(name, Tally())
        tally.started += 1
        tally.open += 1
        self._open[call.n] = tally

    def end(self, call: Call, outcome: Outcome) -> None:
        """Record how a call ended; only the first time counts."""
        tally = self._open.pop(call.n, None)
        if tally is None:
            return
        call.outcome = outcome
        call.ended_ms = self._now_ms()
        if outcome == "closed_by_client":
            call.closed_at_ms = call.ended_ms
        tally.open -= 1
        setattr(tally, outcome, getattr(tally, outcome) + 1)

    def keep(self, marker: str, provider: str, path: str, request: Request) -> None:
        """Keep a request under its marker; the newest wins, the oldest go first."""
        self._forget(marker)
        headers = without_secrets(request.headers)
        self._received[marker] = Received(
            provider=provider, path=path, headers=headers, body=request.body
        )
        self._received_bytes += len(request.body)
        while len(self._received) > REQUESTS_MAX or self._received_bytes > REQUEST_BYTES_MAX:
            self._forget(next(iter(self._received)))

    def _forget(self, marker: str) -> None:
        old = self._received.pop(marker, None)
        if old is not None:
            self._received_bytes -= len(old.body)

    def received(self, marker: str) -> Received | None:
        """Return the last request with this marker."""
        return self._received.get(marker)

    def report(self, marker: str | None = None, limit: int = CALLS_MAX) -> dict[str, Any]:
        """Return the counts and the newest calls, oldest first."""
        calls = [call for call in self._calls if marker is None or call.marker == marker]
        return {"providers": self._tallies, "calls": calls[-limit:] if limit else []}

    def reset(self) -> None:
        """Forget everything; calls still open end unrecorded."""
        self._calls.clear()
        self._tallies = {}
        self._open.clear()
        self._received.clear()
        self._received_bytes = 0
