"""Figures of endpoints from our own attempts: what is counted, how it is kept, what it says.

Latency and throughput are kept as histograms with logarithmic buckets, so that those of many
processes and minutes are added up without losing their percentiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, exp2, floor, log2
from sys import intern
from types import MappingProxyType
from typing import Literal, TypeVar

from routing.errors import Failure

_Name = TypeVar("_Name", str, int)
Percent = Literal["p50", "p75", "p90", "p99"]
Outcome = Literal["ok", "fault", "limited", "refused"]

#: Eight buckets to a doubling: a bucket's middle is at most 4.5 % from anything in it.
BUCKETS_PER_DOUBLING = 8
#: 0.001 to about a billion: under a microsecond and over ten days nothing is told apart.
_LOWEST, _HIGHEST = -10 * BUCKETS_PER_DOUBLING, 30 * BUCKETS_PER_DOUBLING
#: Fewer values have no percentiles worth telling.
VALUES_MIN = 5
#: Fewer attempts have no uptime worth telling.
ATTEMPTS_MIN = 10
#: Attempts in 30 minutes from which an endpoint is called degraded or down.
STATUS_ATTEMPTS_MIN = 100
DEGRADED_BELOW, DOWN_BELOW = 95.0, 80.0
NORMAL, DEGRADED, DOWN = 0, -1, -2
#: The rate of a shorter answer says more about its first token than about the others.
THROUGHPUT_TOKENS_MIN = 5
#: Minutes and hours looked back on, the current one included.
RECENT_MINUTES, MINUTES, HOURS = 5, 30, 24
#: Counts added up, or endpoints worked out, between two pauses: about a millisecond.
MERGED_MAX, WORKED_OUT_MAX = 100, 8
#: Provider statuses that say something about the request, not about the provider.
_REFUSED = frozenset({400, 403, 413})
#: Finish reasons of answers that are none.
_FINISHED: Mapping[str, Outcome] = MappingProxyType({"error": "fault", "content_filter": "refused"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Four percentiles; a higher one is always the worse figure.

    So `p90` of a latency is what 90 % of the calls stay below, and `p90` of a throughput what 90 %
    of them reach.
    """

    p50: float
    p75: float
    p90: float
    p99: float

    def at(self, percent: Percent) -> float:
        """One of them by name."""
        value: float = getattr(self, percent)
        return value


@dataclass(slots=True)
class Histogram:
    """How many values fell into each bucket; bucket n holds 2^(n/8) up to 2^((n+1)/8)."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bucket_of(value)] += 1

    @property
    def total(self) -> int:
        """How many values there are."""
        return self.counts.total()

    def percentiles(self, *, higher_is_worse: bool) -> Percentiles | None:
        """Each within 5 % of the exact one (by nearest rank); None for fewer than 5 values."""
        total = self.total
        if total < VALUES_MIN:
            return None
        ranked = sorted(self.counts.items(), reverse=not higher_is_worse)
        return Percentiles(
            p50=_at_rank(ranked, ceil(total * 50 / 100)),
            p75=_at_rank(ranked, ceil(total * 75 / 100)),
            p90=_at_rank(ranked, ceil(total * 90 / 100)),
            p99=_at_rank(ranked, ceil(total * 99 / 100)),
        )

    @staticmethod
    def merged(histograms: Iterable[Histogram]) -> Histogram:
        """The histogram of all their values together."""
        together = Histogram()
        for histogram in histograms:
            _add(together.counts, histogram.counts)
        return together


def bucket_of(value: float) -> int:
    """The number of a value's bucket; what is out of range goes to the outermost one."""
    if value <= 0:
        return _LOWEST
    return min(max(floor(log2(value) * BUCKETS_PER_DOUBLING), _LOWEST), _HIGHEST)


def _at_rank(ranked: Sequence[tuple[int, int]], rank: int) -> float:
    for bucket, count in ranked:
        rank -= count
        if rank <= 0:
            return round(exp2((bucket + 0.5) / BUCKETS_PER_DOUBLING), 6)
    raise ValueError("the rank is beyond the values")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTally:
    """What became of tools.

    Attributes:
        requests: answers to requests that offered tools.
        with_calls: those in which the model called one.
        calls: calls of tools, each of which is either valid or one of the three below it.
        unparsed: its arguments are no JSON object.
        unknown: it names a tool that was not offered.
        mismatched: its arguments break the tool's schema.
    """

    requests: int = 0
    with_calls: int = 0
    calls: int = 0
    valid: int = 0
    unparsed: int = 0
    unknown: int = 0
    mismatched: int = 0

    @property
    def success_rate(self) -> float | None:
        """Valid calls as a share of all, 0 to 1; None without a call."""
        return round(self.valid / self.calls, 4) if self.calls else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one call of an endpoint came to.

    Attributes:
        first_byte_ms: from sending to the first piece; None for a plain answer, and where none
            came.
        completion_tokens: of the answer, thoughts included; 0 where nobody knows.
        elapsed_ms: from sending to the end.
        tools: for requests that offered tools and were answered.
    """

    endpoint_id: str
    outcome: Outcome
    first_byte_ms: int | None = None
    completion_tokens: int = 0
    elapsed_ms: int = 0
    tools: ToolTally | None = None


def outcome_of(failure: Failure | None, finish: str | None = None) -> Outcome | None:
    """What a call counts as, by its failure or else by its normalised finish reason.

    None: as nothing, it was this router's own doing.
    """
    if failure is None:
        return _FINISHED.get(finish or "", "ok")
    if failure.blame == "router":
        return None
    if failure.limited:
        return "limited"
    return "refused" if failure.blame == "caller" or failure.status in _REFUSED else "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFigures:
    """What our own attempts say about one endpoint.

    Attributes:
        uptime_5m: percent of attempts that succeeded, of those that succeeded or failed by the
            provider's fault; None for fewer than 10 of them. Likewise over 30 minutes and 24 hours.
        latency_30m: milliseconds to the first piece, of streams; None for fewer than 5.
        throughput_30m: tokens a second over the whole call, of streams; None for fewer than 5.
        requests_1d: attempts, whatever came of them.
        tools_1d: None when no request offered tools.
        status: 0 normal, -1 degraded, -2 down.
    """

    uptime_5m: float | None = None
    uptime_30m: float | None = None
    uptime_1d: float | None = None
    latency_30m: Percentiles | None = None
    throughput_30m: Percentiles | None = None
    requests_1d: int = 0
    tools_1d: ToolTally | None = None
    status: int = NORMAL


#: Fields of a tally, by the name they are counted under.
TOOL_COUNTERS = {
    "tr": "requests", "tw": "with_calls", "tn": "calls", "tv": "valid",
    "tp": "unparsed", "tu": "unknown", "tm": "mismatched",
}  # fmt: skip
OUTCOMES: tuple[Outcome, ...] = ("ok", "fault", "limited", "refused")


@dataclass(slots=True)
class Counts:
    """What was counted of one endpoint in some stretch of time."""

    plain: Counter[str] = field(default_factory=Counter)
    latency: Histogram = field(default_factory=Histogram)
    throughput: Histogram = field(default_factory=Histogram)

    @property
    def attempts(self) -> int:
        """All calls."""
        return sum(self.plain[outcome] for outcome in OUTCOMES)

    @property
    def tools(self) -> ToolTally:
        """All zero when no request offered tools."""
        return ToolTally(**{name: self.plain[short] for short, name in TOOL_COUNTERS.items()})

    @property
    def judged(self) -> int:
        """Attempts that say something about the provider."""
        return self.plain["ok"] + self.plain["fault"]

    @property
    def uptime(self) -> float | None:
        """Percent; None for fewer than 10 attempts."""
        if self.judged < ATTEMPTS_MIN:
            return None
        return round(100 * self.plain["ok"] / self.judged, 2)

    def count(self, what: str, count: int) -> None:
        """Add to one counter, by the name it is kept under; unknown ones do no harm."""
        kind, number = what[:1], what[1:]
        if kind in "LT" and number.removeprefix("-").isdecimal():
            histogram = self.latency if kind == "L" else self.throughput
            histogram.counts[min(max(int(number), _LOWEST), _HIGHEST)] += count
        else:
            self.plain[intern(what)] += count  # one of each name, not one for each minute

    def add(self, part: Counts) -> None:
        """Count what was counted there too."""
        _add(self.plain, part.plain)
        _add(self.latency.counts, part.latency.counts)
        _add(self.throughput.counts, part.throughput.counts)

    @staticmethod
    def merged(parts: Iterable[Counts]) -> Counts:
        """The counts of all parts together."""
        together = Counts()
        for part in parts:
            together.add(part)
        return together


def _add(into: Counter[_Name], more: Mapping[_Name, int]) -> None:
    """As `update`, which takes several times as long for so few."""
    for name, count in more.items():
        into[name] = into.get(name, 0) + count


def counters(seen: Seen) -> list[tuple[str, int]]:
    """What one call adds to which counter: an outcome, `L` and `T` buckets, tool counters."""
    found: list[tuple[str, int]] = [(seen.outcome, 1)]
    if seen.first_byte_ms is not None:
        found.append((f"L{bucket_of(seen.first_byte_ms)}", 1))
    long_enough = seen.completion_tokens >= THROUGHPUT_TOKENS_MIN and seen.elapsed_ms > 0
    if seen.outcome == "ok" and long_enough:
        rate = seen.completion_tokens * 1000 / seen.elapsed_ms
        found.append((f"T{bucket_of(rate)}", 1))
    if seen.tools is not None:
        tallied = ((short, getattr(seen.tools, name)) for short, name in TOOL_COUNTERS.items())
        found += [(short, count) for short, count in tallied if count]
    return found


#: Counts of one minute or hour by endpoint id.
Period = Mapping[str, Counts]


def merged(periods: Iterable[Period], pause: Callable[[], None] = lambda: None) -> Period:
    """What was counted in all these periods, by endpoint; `pause` is called now and then."""
    together: dict[str, Counts] = {}
    parts = ((name, part) for period in periods for name, part in period.items())
    for number, (endpoint_id, part) in enumerate(parts, 1):
        if endpoint_id not in together:
            together[endpoint_id] = Counts()
        together[endpoint_id].add(part)
        if number % MERGED_MAX == 0:
            pause()
    return together


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the windows hold besides their current minute or hour; changes once a minute."""

    recent: Period = field(default_factory=dict)
    half_hour: Period = field(default_factory=dict)
    day: Period = field(default_factory=dict)

    @staticmethod
    def of(
        minutes: Sequence[Period],
        hours: Sequence[Period],
        pause: Callable[[], None] = lambda: None,
    ) -> Past:
        """Of periods that are over, the latest first, without gaps."""
        recent = merged(minutes[: RECENT_MINUTES - 1], pause)
        return Past(
            recent=recent,
            half_hour=merged((recent, *minutes[RECENT_MINUTES - 1 : MINUTES - 1]), pause),
            day=merged(hours[: HOURS - 1], pause),
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """Of one endpoint; `latency` and `throughput` are those planning looks at."""

    figures: EndpointFigures
    latency: Percentiles | None
    throughput: Percentiles | None


class History:
    """What was counted lately, and the figures that follow from it.

    Args:
        minutes: the current one first, without gaps; at most 30 are looked at.
        hours: likewise; at most 24. Their histograms are not looked at.
        past: what came before, when only the current minute and hour are given.
    """

    def __init__(
        self,
        minutes: Sequence[Period] = (),
        hours: Sequence[Period] = (),
        past: Past | None = None,
    ) -> None:
        self._minute: Period = minutes[0] if minutes else {}
        self._hour: Period = hours[0] if hours else {}
        self._past = Past.of(minutes[1:], hours[1:]) if past is None else past
        self._known: dict[str, _Known] = {}

    @property
    def recent(self) -> frozenset[str]:
        """Endpoints called within 30 minutes."""
        return frozenset().union(self._minute, self._past.half_hour)

    @property
    def endpoints(self) -> frozenset[str]:
        """Endpoints called within 24 hours."""
        return self.recent.union(self._hour, self._past.day)

    def work_out(self, pause: Callable[[], None] = lambda: None) -> None:
        """Do the sums of all endpoints now, with pauses, so that nobody has to wait for them."""
        for number, endpoint_id in enumerate(self.endpoints, 1):
            self._knows(endpoint_id)
            if number % WORKED_OUT_MAX == 0:
                pause()

    def figures(self, endpoint_id: str, *, down: bool = False) -> EndpointFigures:
        """Of one endpoint; `down` when its breaker is open."""
        found = self._knows(endpoint_id).figures
        return replace(found, status=DOWN) if down else found

    def latency(self) -> dict[str, Percentiles]:
        """Milliseconds to the first piece; over 5 minutes, or 30 where those say too little."""
        found = ((name, self._knows(name).latency) for name in self.recent)
        return {name: latency for name, latency in found if latency is not None}

    def throughput(self) -> dict[str, Percentiles]:
        """Tokens a second; over 5 minutes, or 30 where those say too little."""
        found = ((name, self._knows(name).throughput) for name in self.recent)
        return {name: throughput for name, throughput in found if throughput is not None}

    def _knows(self, endpoint_id: str) -> _Known:
        if endpoint_id not in self._known:
            self._known[endpoint_id] = self._worked_out(endpoint_id)
        return self._known[endpoint_id]

    def _worked_out(self, endpoint_id: str) -> _Known:
        recent = _of(endpoint_id, self._past.recent, self._minute)
        half_hour = _of(endpoint_id, self._past.half_hour, self._minute)
        day = _of(endpoint_id, self._past.day, self._hour)
        latency = half_hour.latency.percentiles(higher_is_worse=True)
        throughput = half_hour.throughput.percentiles(higher_is_worse=False)
        return _Known(
            EndpointFigures(
                uptime_5m=recent.uptime,
                uptime_30m=half_hour.uptime,
                uptime_1d=day.uptime,
                latency_30m=latency,
                throughput_30m=throughput,
                requests_1d=day.attempts,
                tools_1d=day.tools if day.tools.requests else None,
                status=_status(half_hour),
            ),
            recent.latency.percentiles(higher_is_worse=True) or latency,
            recent.throughput.percentiles(higher_is_worse=False) or throughput,
        )


def _of(endpoint_id: str, *periods: Period) -> Counts:
    return Counts.merged(period[endpoint_id] for period in periods if endpoint_id in period)


def _status(half_hour: Counts) -> int:
    uptime = half_hour.uptime
    if uptime is None or half_hour.judged < STATUS_ATTEMPTS_MIN or uptime >= DEGRADED_BELOW:
        return NORMAL
    return DEGRADED if uptime >= DOWN_BELOW else DOWN
