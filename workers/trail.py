"""What a job takes with it to its next pool, or into its sleep: how far it has come.

JSON in the job record, in two parts: the calls made, which the release before reads and writes too,
and the rest, which it leaves alone. Written and read by workers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

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
from workers.refusal import Refused

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
        refused: the answer for a client whom nobody else answers.
    """

    attempts: list[AttemptRecord] = field(default_factory=list)
    ruled_out: frozenset[int] = frozenset()
    skipped: tuple[Skipped, ...] = ()
    faulted: bool = False
    tries: int = 1
    last: Failure | None = None
    forced: bool = False
    was_forced: bool = False
    refused: Refused | None = None

    @classmethod
    def of(
        cls,
        attempts: list[AttemptRecord],
        state: AttemptState,
        *,
        forced: bool = False,
        refused: Refused | None = None,
    ) -> Trail:
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
            refused=refused,
        )

    @classmethod
    def read(cls, history: bytes, rest: bytes, spec: JobSpec) -> Trail:
        """The inverse of `history` and `rest`; b"" is the beginning.

        A worker of the release before writes only the history: then the rest is of an earlier
        moment, and what can be told from the history alone is taken.
        """
        attempts = list(attempts_from_list(orjson.loads(history))) if history else []
        data = orjson.loads(rest) if rest else {}
        if data.get("calls") != len(attempts):
            return _of_attempts(attempts, spec)
        return cls(
            attempts=attempts,
            ruled_out=frozenset(data["out"]),
            skipped=tuple(Skipped(*one) for one in data["skip"]),
            faulted=data["fault"],
            tries=data["tries"],
            last=Failure.read(data["last"]) if data["last"] else None,
            forced=data["forced"],
            was_forced=data["was_forced"],
            refused=Refused.from_list(data["refused"]) if data["refused"] else None,
        )

    @property
    def history(self) -> bytes:
        """The calls made, as compact JSON."""
        return orjson.dumps(attempts_to_list(self.attempts))

    @property
    def rest(self) -> bytes:
        """Everything else, as compact JSON."""
        return orjson.dumps(
            {
                "calls": len(self.attempts),
                "out": sorted(self.ruled_out),
                "skip": [[one.index, one.why, one.until_ms] for one in self.skipped],
                "fault": self.faulted,
                "tries": self.tries,
                "last": None if self.last is None else asdict(self.last),
                "forced": self.forced,
                "was_forced": self.was_forced,
                "refused": None if self.refused is None else self.refused.to_list(),
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


def told_after(failure: Failure, attempts: Sequence[AttemptRecord]) -> dict[str, Any]:
    """The error envelope of a request's last failure, with the calls before it.

    The last call's failure is the one told, unless it is one of our own.
    """
    before = attempts if failure.blame == "router" else attempts[:-1]
    return failure.body(tuple(_failed_before(attempt) for attempt in before))


def _failed_before(attempt: AttemptRecord) -> Failure:
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
        last=_failed_before(attempts[-1]),
    )
