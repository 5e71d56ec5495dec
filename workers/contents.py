"""Keeping prompts and answers, for accounts that want it: sealed by workers, moved by settlers."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from billing.contents import FORGET_MAX, Kept, forget, store
from billing.db import Ledger
from routing.contents import Said, content_json, joined_calls, place_of, with_before
from routing.errors import Failure, Unavailable
from routing.sealing import Sealer
from routing.store.connect import RedisClient
from routing.store.contents import Contents
from routing.wire.events import Answer
from routing.wire.job import AttemptRecord, Charge, JobSpec
from routing.wire.request import InferenceRequest
from workers.call import Tally

log = structlog.get_logger("pointsman.contents")

#: Contents in memory at once, of a megabyte each at most.
MOVE_MAX = 16
#: Rounds of forgetting in one sweep; what is left is forgotten by the next one.
FORGET_ROUNDS = 50
MS_PER_DAY = 86_400_000


class Keeper:
    """Seals what a job was asked and answered, and leaves it for the settler. One per process."""

    def __init__(self, redis: RedisClient, sealer: Sealer) -> None:
        self._contents = Contents(redis)
        self._sealer = sealer

    def keep(
        self,
        spec: JobSpec,
        epoch: int,
        request: InferenceRequest,
        said: Said,
        failure: Failure | None,
        attempts: Sequence[AttemptRecord],
    ) -> bool:
        """Leave it, before the job ends; False when that was not possible, which is logged.

        An answer is worth more than a copy of it: nothing that goes wrong here is raised.
        """
        account_id = spec.caller.account_id
        text = content_json(request, said, failure, attempts)
        try:
            sealed = self._sealer.seal(text, place_of(spec.generation_id, account_id))
            self._contents.put(spec.generation_id, epoch, sealed)
        except Unavailable as error:
            log.warning(
                "content not kept",
                action="content.lost",
                generation_id=spec.generation_id,
                why=str(error),
            )
            return False
        return True


def said_in(answer: Answer, *, thoughts: bool) -> Said:
    """What a whole answer says; `thoughts` are left out for a caller who wants none."""
    if not answer.choices:
        return Said()
    message = answer.choices[0].message
    return Said(
        completion=message.get("content"),
        reasoning=message.get("reasoning") if thoughts else None,
        tool_calls=tuple(message.get("tool_calls") or ()),
    )


def said_by(tally: Tally, *, thoughts: bool) -> Said:
    """What a stream has said so far."""
    said = Said(
        completion="".join(tally.contents) or None,
        reasoning=("".join(tally.thoughts) or None) if thoughts else None,
        tool_calls=joined_calls(tally.calls),
    )
    return with_before(said, "" if tally.before is None else tally.before.text)


class Mover:
    """Moves what workers left into the ledger, with the charges it belongs to."""

    def __init__(self, ledger: Ledger, redis: RedisClient) -> None:
        self._ledger = ledger
        self._contents = Contents(redis)

    def move(self, charges: Sequence[Charge]) -> int:
        """Move contents of settled charges; returns how many were new to the ledger.

        Safe to repeat: what is in the ledger already is only dropped.

        Raises:
            Unavailable: the ledger or Redis is away; nothing is lost.
        """
        logged = {charge.generation_id: charge for charge in charges if charge.logged}
        names, moved = sorted(logged), 0
        for start in range(0, len(names), MOVE_MAX):
            found = self._contents.take(names[start : start + MOVE_MAX])
            moved += store(
                self._ledger,
                [
                    Kept(
                        generation_id=name,
                        account_id=logged[name].caller.account_id,
                        sealed=sealed,
                        created_ms=logged[name].created_ms,
                    )
                    for name, sealed in found.items()
                ],
            )
            self._contents.drop(list(found))
        return moved


def forget_old(ledger: Ledger, days: int, now_ms: int) -> int:
    """Forget contents that are older; returns how many.

    Raises:
        Unavailable: the database is away.
    """
    forgotten = 0
    for _ in range(FORGET_ROUNDS):
        count = forget(ledger, now_ms - days * MS_PER_DAY)
        forgotten += count
        if count < FORGET_MAX:
            break
    return forgotten
