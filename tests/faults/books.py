"""What each client saw, against the ledger, the holds and the simulator's own words."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import httpx
import orjson
from sqlalchemy import func, select

from billing import invariants
from billing.accounts import budget_of
from billing.db import Ledger
from billing.tables import generations, transactions
from routing.budgets import account_scope
from routing.clock import SystemClock
from routing.store import redis_keys as keys
from tests.cluster import NANO_PER_USD, Cluster, ClusterError, wait_until
from tests.faults.calls import Call, Verdict
from tests.faults.trial import Trial

#: A charge waits at most for a dead settler's to be taken over (15 s) and a pause (5 s).
SETTLED_S: Final = 40.0
ANSWER: Final[frozenset[Verdict]] = frozenset({"complete"})
ANSWER_OR_ERROR: Final[frozenset[Verdict]] = frozenset({"complete", "error"})


@dataclass(slots=True, kw_only=True)
class Row:
    """One line of the table, and the sentences behind its figures."""

    fault: str
    tried: int
    recovery_s: Sequence[float]
    lost: int = 0
    twice: int = 0
    silent: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return not (self.lost or self.twice or self.silent or self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What the ledger knows of one generation."""

    outcome: str
    cost_nano: int
    usages: int


def close(
    trial: Trial,
    fault: str,
    recovery_s: Sequence[float],
    *,
    allowed: Collection[Verdict] = ANSWER,
) -> Row:
    """Wait until all is settled, then judge every call of a trial.

    Args:
        trial: whose calls have ended.
        fault: name of the row.
        recovery_s: one figure for each call that was hit.
        allowed: how a call that was hit may have ended; all others must have an answer.
    """
    row = Row(fault=fault, tried=len(trial.hit), recovery_s=recovery_s)
    cluster = trial.cluster
    cluster.clear_faults()
    row.problems += _unsettled(cluster)
    row.problems += [str(one.sentence) for one in _broken_truths(cluster)]
    row.problems += _wrong_cache(cluster, trial.key.account_id)
    if len(trial.hit) < trial.n:
        row.problems.append(f"only {len(trial.hit)} of {trial.n} calls were hit")
    booked = _booked(cluster.ledger, trial.key.key_hash)
    hit = set(map(id, trial.hit))
    for call in trial.calls:
        _judge_end(row, call, allowed if id(call) in hit else ANSWER)
        _judge_content(row, cluster, call)
        _judge_charge(row, call, booked.pop(call.generation_id, None))
    for name, rest in booked.items():
        row.twice += rest.cost_nano > 0
        row.problems.append(f"{name}: in the ledger as {rest.outcome}, and no client knows it")
    cluster.knobs()
    return row


def _judge_end(row: Row, call: Call, allowed: Collection[Verdict]) -> None:
    verdict = call.verdict
    if verdict in allowed:
        return
    if verdict == "silent":
        row.silent += 1
    else:
        row.lost += 1
    row.problems.append(
        f"{call.marker}: {verdict} with {len(call.pieces)} pieces, status {call.status}, "
        f"{call.broken or call.error or call.generation_id}"
    )


def _judge_content(row: Row, cluster: Cluster, call: Call) -> None:
    if not call.pieces:
        return
    whole = _said(cluster, call)
    good = call.content == whole if call.verdict == "complete" else whole.startswith(call.content)
    if not good:
        row.lost += 1
        row.problems.append(
            f"{call.marker}: the simulator said {whole!r}, the client got {call.content!r}"
        )


def _judge_charge(row: Row, call: Call, booked: Booked | None) -> None:
    if not call.generation_id:
        return
    if booked is None:
        row.lost += 1
        row.problems.append(f"{call.marker}: {call.generation_id} never reached the ledger")
        return
    found = (booked.outcome, booked.usages, booked.cost_nano)
    right = False
    match call.verdict:
        case "complete":
            told_nano = int((call.cost_usd or Decimal(0)) * NANO_PER_USD)
            right = found == ("done", 1, told_nano) and told_nano > 0
        case "error" | "silent" | "lost":
            right = found == ("failed", 0, 0)
        case "left" | "cut":
            right = booked.outcome == "cancelled" and booked.usages == bool(call.pieces)
    if not right:
        row.twice += booked.usages > 0
        row.problems.append(
            f"{call.marker}: {call.verdict}, told {call.cost_usd} USD, but the ledger has {booked}"
        )


def _said(cluster: Cluster, call: Call) -> str:
    """What the simulator says to the very request that the worker sent for this call."""
    cluster.knobs(**call.pace.at_once())
    received = cluster.received(call.marker)
    body = orjson.dumps(received["body"])
    digest = cluster.calls(call.marker)[-1]["body_sha256"]
    if hashlib.sha256(body).hexdigest() != digest:
        raise ClusterError(f"the request of {call.marker} cannot be repeated byte by byte")
    url = f"{cluster.simulator_url}/p/{received['provider']}{received['path']}"
    headers = {"Authorization": "Bearer simulator", "Content-Type": "application/json"}
    text = httpx.post(url, content=body, headers=headers, trust_env=False, verify=False).text  # noqa: S501 - plain HTTP on loopback; no certificates to load
    if not call.stream:
        return str(_text(json.loads(text), "message"))
    events = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return "".join(_text(json.loads(event), "delta") for event in events if event != "[DONE]")


def _text(chunk: dict[str, Any], part: str) -> str:
    return "".join(choice[part].get("content") or "" for choice in chunk["choices"])


def _unsettled(cluster: Cluster) -> list[str]:
    """Wait until nothing is under way; what is left over after that is a problem."""
    redis = cluster.redis

    def waiting() -> dict[str, int]:
        return {
            "charges in the outbox": redis.xlen(keys.OUTBOX),
            "holds": redis.zcard(keys.HOLDS_DUE) + len(list(redis.scan_iter("hold:*"))),
            "jobs under way": redis.zcard(keys.JOBS_DUE),
        }

    try:
        wait_until(lambda: not any(waiting().values()), SETTLED_S, "the settlement")
    except ClusterError:
        found = [f"{count} {what} left over" for what, count in waiting().items() if count]
        # The next row shall be judged by itself.
        redis.delete(keys.HOLDS_DUE, *redis.scan_iter("hold:*"))
        return found
    held = {name: int(redis.hget(name, "held") or 0) for name in redis.scan_iter("bud:*")}
    return [f"{name.decode()} holds {nano}" for name, nano in held.items() if nano]


def _broken_truths(cluster: Cluster) -> tuple[invariants.Violation, ...]:
    return invariants.check(cluster.ledger, SystemClock().now_ms())


def _wrong_cache(cluster: Cluster, account_id: str) -> list[str]:
    """The balance requests are admitted against is that of the ledger."""
    cached = cluster.redis.hget(keys.budget(account_scope(account_id)), "avail")
    posted = budget_of(cluster.ledger, account_id).available_nano
    if cached is not None and int(cached) != posted:
        return [f"the cached balance is {int(cached)}, the ledger's {posted}"]
    return []


def _booked(ledger: Ledger, key_hash: str) -> dict[str, Booked]:
    """Every generation of a key, with the number of times it was charged."""
    mine = select(generations.c.id).where(generations.c.key_hash == key_hash)
    charged = (
        select(transactions.c.reference, func.count().label("number"))
        .where(transactions.c.kind == "usage", transactions.c.reference.in_(mine))
        .group_by(transactions.c.reference)
    )
    columns = (generations.c.id, generations.c.outcome, generations.c.cost_nano)
    with ledger.reading() as connection:
        usages = Counter({row.reference: row.number for row in connection.execute(charged)})
        rows = connection.execute(select(*columns).where(generations.c.key_hash == key_hash))
        return {
            name: Booked(outcome=outcome, cost_nano=cost, usages=usages[name])
            for name, outcome, cost in rows
        }
