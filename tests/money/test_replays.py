"""The outbox delivers at least once: however often, by however many settlers, money moves once."""

from __future__ import annotations

import random
import threading

import pytest
from redis import BlockingConnectionPool, Redis

from billing import accounts, invariants
from billing.db import Ledger
from routing.budgets import member, organisation
from routing.store.jobs import Admitted
from tests.fixtures.charges import NOW_MS
from tests.money.conftest import Size
from tests.money.till import Till

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(1_200)]

SETTLERS, CHARGES, BATCH = 3, 60, 100
CREDIT, TOKENS, USED = 10_000, 50, 30


def test_charges_settled_ten_thousand_times_are_paid_once(
    ledger: Ledger, redis_url: str, size: Size
):
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=SETTLERS, protocol=2)
    with Redis(connection_pool=pool) as redis:
        till = Till(ledger, redis)
        account_id = till.account(CREDIT)
        till.bound(account_id, organisation(account_id), "monthly", CREDIT, include_byok=True)
        till.bound(account_id, member(account_id, "usr_ada"), "daily", CREDIT)
        keys = [
            till.record(till.key(account_id, who, limit_nano=CREDIT)) for who in ("usr_ada", "")
        ]
        let = [till.let(keys[n % 2], TOKENS, NOW_MS, byok=n % 3 == 0) for n in range(CHARGES)]
        let = [one for one in let if isinstance(till.admit(one), Admitted)]
        charges = [till.charge(one, USED) for one in let]
        new: list[int] = []

        # When every settler gets them again and again, in batches with repetitions
        def run(seed: int) -> None:
            dice = random.Random(seed)  # noqa: S311 - a run must be repeatable
            turns = range(size.deliveries // SETTLERS // BATCH + 1)
            new.extend(till.settle(*dice.choices(charges, k=BATCH)) for _ in turns)

        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(SETTLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=1_000)
        new.append(till.settle(*charges))

        # Then each was booked once, and caches and ledger agree to the last token
        assert sum(new) == len(charges)
        paid = sum(USED for one in let if not one.byok)
        balance = accounts.budget_of(ledger, account_id)
        assert balance.available_nano == CREDIT - paid
        assert till.budgets.open_holds() == 0
        for scope in {scope for one in let for scope in one.draws}:
            assert till.budgets.held_nano(scope) == 0
        cached = redis.hget(f"bud:{balance.scope}", "avail")
        assert int(cached) == balance.available_nano
    assert invariants.check(ledger, NOW_MS) == ()
    assert invariants.drift_nano(ledger) == 0
