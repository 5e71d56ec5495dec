"""A thousand at once on money for ten: four processes of callers, and a settler in between.

The sums are such that whoever lets an eleventh in has overspent, and whoever stops at nine has
lost a hold.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from billing import accounts, api_keys
from billing.accounts import Grant
from billing.api_keys import KeyTerms
from billing.db import Ledger
from billing.ledger import balances
from billing.spend import spent_by
from routing.budgets import Interval, LimitReset, account_scope, member, organisation
from routing.clock import SystemClock
from routing.errors import Forbidden, PaymentRequired, RouterError
from routing.wire.account import KeyRecord
from routing.wire.job import JobSpec
from tests.money.ground import (
    FIXED,
    FIXED_NANO,
    OPEN,
    OPEN_TOKEN_NANO,
    OPEN_TOKENS,
    Ground,
    Place,
    bound,
    call,
    ending,
    give_provider_key,
)
from tests.money.table import Row

PROCESSES = 4
WORTH = 10
RICH_NANO = 10**12
#: Of a hundred that are let in, how many end, and are settled, while others still ask.
ENDS = 50
#: One caller that does not come back must not stop the others for ever.
ROUND_S = 60.0
RESETS: tuple[LimitReset | None, ...] = (None, "daily", "weekly", "monthly")
INTERVALS: tuple[Interval, ...] = ("lifetime", "daily", "weekly", "monthly")

_REFUSALS = {PaymentRequired.__name__, Forbidden.__name__}
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a process is to ask for: one request for each hash, all at once.

    Attributes:
        ends: of a hundred that were let in, how many end while others still ask.
    """

    place: Place
    hashes: tuple[str, ...]
    model: str
    ends: int
    seed: int


@dataclass(slots=True)
class Told:
    """What became of the requests of one process, or of all."""

    admitted: list[bytes] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Whose money it is in one round.

    Attributes:
        hashes: of the keys that are used in turn.
        limits: what may be spent at most, by account or owner.
        exactly: how many may be let in; None for as many as the money is enough for.
    """

    account_id: str
    hashes: tuple[str, ...]
    limits: dict[str, tuple[Interval, int]]
    model: str = FIXED
    exactly: int | None = WORTH
    with_byok: bool = False


Scene = Callable[[Ledger, int, int], Setting]


def of_key(ledger: Ledger, number: int, now_ms: int) -> Setting:
    """One key worth ten requests."""
    reset = RESETS[number % len(RESETS)]
    account, hashes = _people(
        ledger, now_ms, KeyTerms(name="k", limit_nano=WORTH * FIXED_NANO, limit_reset=reset)
    )
    spend = f"spend:{hashes[0]}"
    return Setting(
        account_id=account,
        hashes=hashes,
        limits={spend: (reset or "lifetime", WORTH * FIXED_NANO)},
    )


def of_account(ledger: Ledger, _number: int, now_ms: int) -> Setting:
    """One account worth ten, over five keys."""
    account, hashes = _people(
        ledger, now_ms, *[KeyTerms(name="k")] * 5, granted_nano=WORTH * FIXED_NANO
    )
    return Setting(account_id=account, hashes=hashes, limits={})


def of_all(ledger: Ledger, number: int, now_ms: int) -> Setting:
    """An organisation worth ten, two members worth six each, their five keys worth four each."""
    interval = INTERVALS[number % len(INTERVALS)]
    terms = KeyTerms(name="k", limit_nano=4 * FIXED_NANO, limit_reset="daily")
    account, hashes = _people(ledger, now_ms, *[terms] * 5)
    limits: dict[str, tuple[Interval, int]] = {
        organisation(account): (interval, WORTH * FIXED_NANO),
        member(account, "usr_a"): ("monthly", 6 * FIXED_NANO),
        member(account, "usr_b"): ("weekly", 6 * FIXED_NANO),
    }
    for owner, (span, limit_nano) in limits.items():
        bound(ledger, account, owner, span, limit_nano, now_ms)
    _belong(ledger, hashes, ("usr_a", "usr_a", "usr_a", "usr_b", "usr_b"))
    of_keys: dict[str, tuple[Interval, int]] = {
        f"spend:{name}": ("daily", 4 * FIXED_NANO) for name in hashes
    }
    return Setting(account_id=account, hashes=hashes, limits=limits | of_keys)


def of_streams(ledger: Ledger, _number: int, now_ms: int) -> Setting:
    """Answers of unknown length: what is not used of a hold lets others in, and never too many."""
    worth = WORTH * OPEN_TOKENS * OPEN_TOKEN_NANO
    account, hashes = _people(ledger, now_ms, *[KeyTerms(name="k")] * 2, granted_nano=worth)
    return Setting(account_id=account, hashes=hashes, limits={}, model=OPEN, exactly=None)


def of_own_keys(ledger: Ledger, number: int, now_ms: int) -> Setting:
    """A limit that counts what the account's own provider key pays."""
    terms = KeyTerms(
        name="k",
        limit_nano=WORTH * FIXED_NANO,
        limit_reset=RESETS[number % len(RESETS)],
        include_byok_in_limit=True,
    )
    account, hashes = _people(ledger, now_ms, terms)
    give_provider_key(ledger, account, now_ms, always_use=True)
    limit: tuple[Interval, int] = (terms.limit_reset or "lifetime", WORTH * FIXED_NANO)
    return Setting(
        account_id=account, hashes=hashes, limits={f"spend:{hashes[0]}": limit}, with_byok=True
    )


def run(
    ground: Ground, callers: Callers, scene: Scene, row: Row, *, rounds: int, requests: int
) -> None:
    """Play a scene in so many rounds, each with money of its own."""
    for number in range(rounds):
        now_ms = ground.clock.now_ms()
        setting = scene(ground.ledger, number, now_ms)
        told = callers.ask(ground, setting, requests, row.seed + number)
        rest = [JobSpec.from_json(raw) for raw in told.admitted]
        rng = random.Random(row.seed + number)  # noqa: S311 - repeatable
        for spec in rest:
            # All of them: for those that ended already it is one more delivery.
            ground.finish(_served(spec, rng, ground.clock.now_ms()))
        ground.settle()
        row.tried += requests
        _judge(ground, setting, told, row, f"round {number}")


def _judge(ground: Ground, setting: Setting, told: Told, row: Row, name: str) -> None:
    if setting.exactly is not None:
        row.wants(f"{name}: let in", len(told.admitted), setting.exactly)
    elif len(told.admitted) < WORTH:
        row.broken.append(f"{name}: only {len(told.admitted)} were let in")
    strange = {why: n for why, n in told.refused.items() if why not in _REFUSALS}
    row.wants(f"{name}: refused otherwise", strange, {})
    now_ms = ground.clock.now_ms()
    with ground.ledger.reading() as connection:
        scope = account_scope(setting.account_id)
        row.overspent += balances(connection, {scope})[scope].posted_nano < 0
        for owner, (interval, limit_nano) in setting.limits.items():
            usage, byok = spent_by(connection, {owner}, interval, now_ms).get(owner, (0, 0))
            row.overspent += usage + byok * setting.with_byok > limit_nano
    row.broken += [f"{name}: {what}" for what in ground.broken()]


class Callers:
    """Processes that ask all at once. Use as a context manager."""

    def __init__(self, processes: int, threads: int) -> None:
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(processes):
            ours, theirs = _spawn.Pipe()
            process = _spawn.Process(target=_caller, args=(theirs, threads), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def close(self) -> None:
        """End them."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(ROUND_S)
            process.kill()

    def ask(self, ground: Ground, setting: Setting, requests: int, seed: int) -> Told:
        """Have requests asked by all processes at once; settles meanwhile what has ended."""
        share = requests // len(self._pipes)
        turns = itertools.cycle(setting.hashes)
        for place, pipe in enumerate(self._pipes):
            hashes = tuple(itertools.islice(turns, share))
            mine = seed * len(self._pipes) + place
            pipe.send(
                Order(place=ground.place, hashes=hashes, model=setting.model, ends=ENDS, seed=mine)
            )
        told, left = Told(), list(self._pipes)
        while left:
            ground.settle()
            for pipe in list(left):
                if pipe.poll(0.005):
                    part: Told = pipe.recv()
                    told.admitted += part.admitted
                    told.refused += part.refused
                    left.remove(pipe)
        return told


@contextmanager
def callers(*, processes: int = PROCESSES, requests: int) -> Iterator[Callers]:
    """As many as so many requests at once need."""
    found = Callers(processes, requests // processes)
    try:
        yield found
    finally:
        found.close()


def _caller(pipe: Connection, threads: int) -> None:
    """One process: its own acceptors, its own connections, a thread for each request."""
    grounds: dict[Place, Ground] = {}
    with ThreadPoolExecutor(threads) as pool:
        pipe.send("ready")
        while (order := pipe.recv()) is not None:
            if order.place not in grounds:
                grounds[order.place] = Ground(order.place, SystemClock())
            pipe.send(_ask_all(grounds[order.place], pool, order))
    for ground in grounds.values():
        ground.close()


def _ask_all(ground: Ground, pool: ThreadPoolExecutor, order: Order) -> Told:
    records = {name: _record(ground, name) for name in set(order.hashes)}
    start = threading.Barrier(len(order.hashes), timeout=ROUND_S)
    told, rng = Told(), random.Random(order.seed)  # noqa: S311 - repeatable

    def ask(one: tuple[str, bool]) -> None:
        key_hash, ends = one
        wanted = call(records[key_hash], order.model)
        start.wait()
        try:
            spec = ground.accept(wanted)
        except RouterError as error:
            told.refused[type(error).__name__] += 1
            return
        told.admitted.append(spec.to_json())
        if ends:
            charge = _served(spec, rng, ground.clock.now_ms())
            ground.finish(charge)
            ground.deliver(charge)

    list(pool.map(ask, [(name, rng.randrange(100) < order.ends) for name in order.hashes]))
    return told


def _served(spec: JobSpec, rng: random.Random, now_ms: int) -> Any:
    return ending(spec, now_ms, tokens=rng.randint(1, max(1, spec.completion_tokens_max)))


def _record(ground: Ground, key_hash: str) -> KeyRecord:
    record = api_keys.find(ground.ledger, key_hash, ground.clock.now_ms())
    assert record is not None
    return record


def _people(
    ledger: Ledger, now_ms: int, *terms: KeyTerms, granted_nano: int = RICH_NANO
) -> tuple[str, tuple[str, ...]]:
    account = accounts.create_account(ledger, "Ada", now_ms, "organization")
    grant = Grant(amount_nano=granted_nano, reference=f"grant {account.id}")
    accounts.grant(ledger, account.id, grant, now_ms)
    hashes = tuple(api_keys.mint(ledger, account.id, one, now_ms)[1].key_hash for one in terms)
    return account.id, hashes


def _belong(ledger: Ledger, hashes: Sequence[str], users: Sequence[str]) -> None:
    table = api_keys.api_keys
    with ledger.writing() as connection:
        for name, user in zip(hashes, users, strict=True):
            change = table.update().where(table.c.hash == name)
            connection.execute(change.values(creator_user_id=user))
