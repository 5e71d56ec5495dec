"""Charges that come again and again, and prices that change under way."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select

from billing import accounts, generations
from billing.accounts import Grant
from billing.api_keys import KeyTerms, mint
from billing.db import Ledger
from billing.settlement import BATCH_MAX, settle
from billing.tables import transactions
from routing.clock import FixedClock
from routing.errors import Unavailable
from routing.store.budgets import Budgets
from routing.store.jobs import Claim
from routing.wire.job import Charge, JobSpec
from tests.fixtures.charges import NOW_MS
from tests.money import mix
from tests.money.ground import Ground, ending, prices, write_catalog
from tests.money.table import Row

THREADS = 4
CUSTOMERS = 20
#: A batch that another writer kept waiting for too long is tried again, as the settler does.
TRIES_MAX = 20
DAY_MS = 86_400_000


def duplicates(ground: Ground, row: Row, *, count: int) -> None:
    """Each of several settlers is given every charge, in an order of its own."""
    callers = mix.customers(ground.ledger, CUSTOMERS)
    charges = mix.charges(callers, 0, count)

    def deliver(number: int) -> list[str]:
        order = list(charges)
        random.Random(row.seed + number).shuffle(order)  # noqa: S311 - repeatable
        new: list[str] = []
        for start in range(0, len(order), BATCH_MAX):
            new += _settled(ground.ledger, ground.budgets, order[start : start + BATCH_MAX])
        return new

    with ThreadPoolExecutor(THREADS) as pool:
        moved = Counter(name for part in pool.map(deliver, range(THREADS)) for name in part)
    row.tried += count * THREADS
    row.doubled += sum(times > 1 for times in moved.values()) + _charged_twice(ground.ledger)
    row.wants("settled", len(moved), count)
    owed = Counter[str]()
    for one in charges:
        owed[one.caller.account_id] += mix.owed_nano(one)
    for caller in callers:
        left = accounts.budget_of(ground.ledger, caller.account_id).available_nano
        row.wants(caller.account_id, left, mix.RICH_NANO - owed[caller.account_id])
    row.broken += ground.broken()


def _settled(ledger: Ledger, budgets: Budgets, batch: list[Charge]) -> frozenset[str]:
    for _ in range(TRIES_MAX):
        try:
            done = settle(ledger, batch, NOW_MS)
        except Unavailable:
            continue
        budgets.post(done.budgets, [one.generation_id for one in batch])
        return done.new
    raise RuntimeError("a batch was never settled")


def _charged_twice(ledger: Ledger) -> int:
    times = (
        select(func.count().label("times"))
        .where(transactions.c.kind.in_(("usage", "insured")))
        .group_by(transactions.c.reference)
        .subquery()
    )
    with ledger.reading() as connection:
        query = select(func.count()).select_from(times).where(times.c.times > 1)
        return int(connection.execute(query).scalar_one())


def price_changes(ground: Ground, clock: FixedClock, row: Row, *, reloads: int, days: int) -> None:
    """The price goes up while an answer is under way: by a new file, and by a day that comes."""
    key_hash, account_id = _customer(ground.ledger, clock.now_ms())
    catalog = Path(ground.place.catalog)
    paid_nano = 0
    for number in range(reloads):
        cents = 1 + number
        write_catalog(catalog, prices(("2000-01-01", "0", f"0.{cents:03}")))
        ground.catalog.reload()
        spec = ground.ask(key_hash)
        write_catalog(catalog, prices(("2000-01-01", "0", f"0.{cents + 1:03}")))
        ground.catalog.reload()
        paid_nano += _charged(ground, clock, spec, account_id, cents * 1_000_000, row)
    start_ms = clock.now_ms() // DAY_MS * DAY_MS
    lists = [(_day(start_ms, n), "0", f"0.{n + 1:03}") for n in range(days + 1)]
    write_catalog(catalog, prices(*lists))
    ground.catalog.reload()
    for number in range(days):
        clock.advance(start_ms + (number + 1) * DAY_MS - 1 - clock.now_ms())
        spec = ground.ask(key_hash)
        clock.advance(1)
        paid_nano += _charged(ground, clock, spec, account_id, (number + 1) * 1_000_000, row)
    left = accounts.budget_of(ground.ledger, account_id).available_nano
    row.wants("balance", left, mix.RICH_NANO - paid_nano)
    row.broken += ground.broken()


def _charged(
    ground: Ground, clock: FixedClock, spec: JobSpec, account_id: str, nano: int, row: Row
) -> int:
    """End a request as its worker does, from what it finds in Redis; the price it must have."""
    row.tried += 1
    claim = ground.jobs.claim(spec.generation_id, "money", 60_000)
    assert isinstance(claim, Claim)
    found = JobSpec.from_json(claim.spec)
    row.wants("held", found.hold_nano, nano)
    ground.deliver(ending(found, clock.now_ms()))
    ground.settle()
    booked = generations.find(ground.ledger, spec.generation_id, account_id)
    row.wants("charged", booked and booked.cost_nano, nano)
    row.overspent += booked is not None and booked.cost_nano > nano
    return nano


def _day(start_ms: int, number: int) -> str:
    return f"{datetime.fromtimestamp(start_ms / 1000 + number * 86_400, tz=UTC):%Y-%m-%d}"


def _customer(ledger: Ledger, now_ms: int) -> tuple[str, str]:
    account = accounts.create_account(ledger, "Ada", now_ms)
    grant = Grant(amount_nano=mix.RICH_NANO, reference=f"grant {account.id}")
    accounts.grant(ledger, account.id, grant, now_ms)
    terms = KeyTerms(name="k", limit_nano=mix.RICH_NANO, limit_reset="daily")
    return mint(ledger, account.id, terms, now_ms)[1].key_hash, account.id
