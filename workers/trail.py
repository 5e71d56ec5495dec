"""What a job takes with it to its next pool, or into its sleep: how far it has come.

JSON in the job record. Written and read by workers only; the form of the release before, a list of
attempts, is still read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import orjson

from routing.catalog.shapes import Endpoint
from routing.decide import AttemptState, Skipped
from routing.errors import Failure
from routing.wire.job import (
    AttemptRecord,
    JobSpec,
    attempts_from_list,
    attempts_to_list,
)

#: The request itself was refused; other endpoints of the same model would refuse it too.
_REFUSED = frozenset({400, 413, 422})


@dataclass(slots=True, kw_only=True)
class Trail:
    """Where a job stands between two claims.

    Attributes:
        attempts: calls made so far, by any process.
        tries: that of the next call.
        forced: the next endpoint is called even if its breaker is open.
        was_forced: one was, which happens once.
    """

    attempts: list[AttemptRecord] = field(default_factory=list)
    ruled_out: frozenset[int] = frozenset()
    skipped: tuple[Skipped, ...] = ()
    faulted: bool = False
    tries: int = 1
    last: Failure | None = None
    forced: bool = False
    was_forced: bool = False

    @classmethod
    def of(cls, attempts: list[AttemptRecord], state: AttemptState, *, forced: bool) -> Trail:
        """What to keep of a state."""
        return cls(
            attempts=attempts,
            ruled_out=state.ruled_out,
            skipped=state.skipped,
            faulted=state.faulted,
            tries=state.tries_total,
            last=state.last,
            forced=forced,
            was_forced=state.forced,
        )

    @classmethod
    def from_json(cls, raw: bytes, spec: JobSpec) -> Trail:
        """The inverse of `to_json`; b"" is the beginning."""
        data = orjson.loads(raw) if raw else []
        if isinstance(data, list):
            return _of_attempts(list(attempts_from_list(data)), spec)
        return cls(
            attempts=list(attempts_from_list(data["att"])),
            ruled_out=frozenset(data["out"]),
            skipped=tuple(Skipped(*one) for one in data["skip"]),
            faulted=data["fault"],
            tries=data["tries"],
            last=Failure(**data["last"]) if data["last"] else None,
            forced=data["forced"],
            was_forced=data["was_forced"],
        )

    def to_json(self) -> bytes:
        """Compact JSON."""
        return orjson.dumps(
            {
                "att": attempts_to_list(self.attempts),
                "out": sorted(self.ruled_out),
                "skip": [[one.index, one.why, one.until_ms] for one in self.skipped],
                "fault": self.faulted,
                "tries": self.tries,
                "last": None if self.last is None else asdict(self.last),
                "forced": self.forced,
                "was_forced": self.was_forced,
            }
        )

    def state(
        self, spec: JobSpec, index: int, endpoints: Mapping[str, Endpoint], max_attempts: int
    ) -> AttemptState:
        """Where the request stands when it is claimed; times and budgets come later."""
        known = [endpoints.get(entry.endpoint_id) for entry in spec.entries]
        return AttemptState(
            entries=spec.entries,
            remaining_ms=0,
            index=index,
            tries_total=self.tries,
            calls=len(self.attempts) + 1,
            allow_fallbacks=spec.allow_fallbacks,
            max_attempts=max_attempts,
            waits=spec.waits,
            contexts=tuple(one.context_length if one is not None else 0 for one in known),
            ruled_out=self.ruled_out,
            skipped=self.skipped,
            faulted=self.faulted,
            forced=self.was_forced,
            last=self.last,
        )


def failed_before(attempt: AttemptRecord) -> Failure:
    """A failed call as the error's history tells it."""
    return Failure(
        status=attempt.status,
        message=attempt.message,
        provider=attempt.provider,
        retryable=False,
        blame="provider",
    )


def _of_attempts(attempts: list[AttemptRecord], spec: JobSpec) -> Trail:
    if not attempts:
        return Trail()
    models = {entry.endpoint_id: entry.model_id for entry in spec.entries}
    refused = {models.get(one.endpoint_id) for one in attempts if one.status in _REFUSED}
    return Trail(
        attempts=attempts,
        ruled_out=frozenset(i for i, e in enumerate(spec.entries) if e.model_id in refused),
        faulted=True,
        tries=len(attempts) + 1,
        last=failed_before(attempts[-1]),
    )
