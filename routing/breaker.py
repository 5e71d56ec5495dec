"""The outage rule: when an endpoint is left alone, and when one caller may look again.

The fleet's breakers live in Redis and are moved by `store/lua/gate.lua` and `outcome.lua`, which
get these constants as arguments. The functions here are the same rule without Redis: a test holds
the two against each other.

A call is counted at its first byte, or at its failure before it. Failures that are the caller's own
doing are not counted at all, and a 429 parks the endpoint but is no outage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

#: The contract's memory of outages: 30 seconds, in six buckets so that old news leaves gradually.
WINDOW_MS = 30_000
BUCKET_MS = 5_000
#: Fewer calls say nothing: three failures of three may be one bad second.
MIN_SAMPLES = 10
#: Half of the calls failing is an outage; below that, fallbacks cost less than the lost capacity.
ERROR_PERCENT = 50
#: First pause: long enough for a restart, short enough that a blip is forgotten.
BASE_OPEN_MS = 15_000
#: Pauses double up to this: traffic is back within half a minute of any recovery, probe included,
#: and one probe in twenty seconds is no burden on a dead endpoint.
MAX_OPEN_MS = 20_000
#: A probe answered by a 429 found an endpoint that is back and busy: parked at least this long.
PROBE_PARK_MIN_MS = 1_000
#: Whoever asks while a probe is out is told to ask again soon: its answer comes any moment, and
#: its lease says nothing about when.
PROBE_WAIT_MS = 1_000
#: "Significant outages": planned after the stable endpoints, long before the breaker opens.
UNSTABLE_MIN_ERRORS = 3
UNSTABLE_ERROR_PERCENT = 25

Status = Literal["closed", "open", "half", "parked"]
Seen = Literal["ok", "err", "limited"]
Verdict = Literal["closed", "open", "reopened", "tripped", "parked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """One endpoint's breaker.

    Attributes:
        status: `half` means a probe is out, `parked` that a 429 asked for a pause.
        until_ms: end of the pause, or of the probe's lease.
        trips: pauses in a row; the length doubles with each.
        probe: token of the only caller whose report counts while `half`.
        parked: a 429 was the reason of the pause that the probe ends.
    """

    status: Status = "closed"
    until_ms: int = 0
    trips: int = 0
    probe: str = ""
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """Successes and errors per bucket number."""

    buckets: Mapping[int, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))

    def add(self, seen: Seen, count: int, now_ms: int) -> Window:
        """The window with `count` more calls in the bucket of now, and without expired buckets."""
        number = now_ms // BUCKET_MS
        oldest = number - WINDOW_MS // BUCKET_MS
        kept = {key: counts for key, counts in self.buckets.items() if key > oldest}
        oks, errors = kept.get(number, (0, 0))
        kept[number] = (oks + count, errors) if seen == "ok" else (oks, errors + count)
        return Window(MappingProxyType(kept))

    @property
    def totals(self) -> tuple[int, int]:
        """All successes and all errors; call after `add`, which drops what has expired."""
        return (
            sum(oks for oks, _ in self.buckets.values()),
            sum(errors for _, errors in self.buckets.values()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What some calls came to.

    Attributes:
        token: names the caller, so that a probe's report is known.
        count: calls of this kind since the last report; successes are reported in bulk.
        pause_ms: the provider's Retry-After, already clamped.
        probed: the caller was a probe once. Its success counts even after its lease, or an
            endpoint whose answers take longer than a lease would never be taken back.
    """

    seen: Seen
    token: str = ""
    count: int = 1
    pause_ms: int = 0
    probed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an observation led to.

    Attributes:
        unstable_ms: how long to plan around the endpoint from now on; 0 leaves that as it was.
            After a trip as long as the pause, so that then somebody comes to probe.
    """

    verdict: Verdict
    state: BreakerState
    window: Window
    unstable_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether one caller may call: `go`, or `probe` and then it must report.

    Else not for `wait_ms`: `open` when it is out of order, `parked` when it asked us to wait.
    """

    verdict: Literal["go", "probe", "open", "parked"]
    state: BreakerState
    wait_ms: int = 0


def admit(state: BreakerState, token: str, lease_ms: int, now_ms: int) -> Admission:
    """Ask before a call. When the pause is over, exactly one caller gets the probe, on a lease."""
    if state.status == "closed":
        return Admission(verdict="go", state=state)
    parked = state.status == "parked" or (state.status == "half" and state.parked)
    if now_ms < state.until_ms:
        wait_ms = state.until_ms - now_ms
        if state.status == "half":
            wait_ms = min(wait_ms, PROBE_WAIT_MS)
        return Admission(verdict="parked" if parked else "open", state=state, wait_ms=wait_ms)
    probing = BreakerState(
        status="half", until_ms=now_ms + lease_ms, trips=state.trips, probe=token, parked=parked
    )
    return Admission(verdict="probe", state=probing)


def observe(state: BreakerState, window: Window, what: Observation, now_ms: int) -> Step:
    """Report what calls came to."""
    late = what.probed and what.seen == "ok"
    if state.status == "half" and (state.probe == what.token or late):
        return _probed(state, window, what, now_ms)
    if state.status != "closed":
        return Step(verdict="open", state=state, window=window)  # calls made before the trip
    if what.seen == "limited":
        if what.pause_ms > 0:
            state = BreakerState(status="parked", until_ms=now_ms + what.pause_ms)
        return Step(verdict="parked", state=state, window=window)
    window = window.add(what.seen, what.count, now_ms)
    if what.seen == "ok":
        return Step(verdict="closed", state=state, window=window)
    oks, errors = window.totals
    if oks + errors >= MIN_SAMPLES and errors * 100 >= ERROR_PERCENT * (oks + errors):
        pause_ms = max(BASE_OPEN_MS, what.pause_ms)
        state = BreakerState(status="open", until_ms=now_ms + pause_ms, trips=1)
        return Step(verdict="tripped", state=state, window=Window(), unstable_ms=pause_ms)
    shaky = errors >= UNSTABLE_MIN_ERRORS and errors * 100 >= UNSTABLE_ERROR_PERCENT * (
        oks + errors
    )
    return Step(verdict="closed", state=state, window=window, unstable_ms=WINDOW_MS if shaky else 0)


def _probed(state: BreakerState, window: Window, what: Observation, now_ms: int) -> Step:
    if what.seen == "ok":
        return Step(verdict="closed", state=BreakerState(), window=Window())
    if what.seen == "limited":
        until_ms = now_ms + max(what.pause_ms, PROBE_PARK_MIN_MS)
        parked = BreakerState(status="parked", until_ms=until_ms, trips=state.trips)
        return Step(verdict="parked", state=parked, window=window)
    trips = state.trips + 1
    doubled_ms = min(BASE_OPEN_MS * 2 ** (trips - 1), MAX_OPEN_MS)
    pause_ms = max(doubled_ms, what.pause_ms)
    state = BreakerState(status="open", until_ms=now_ms + pause_ms, trips=trips)
    return Step(verdict="reopened", state=state, window=window, unstable_ms=pause_ms)
