"""A thousand requests at once, money for ten: ten are let in, whatever bounds them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import BlockingConnectionPool, Redis

from billing import invariants
from billing.db import Ledger
from routing.budgets import member, organisation
from routing.store.jobs import Admitted, CannotPay
from routing.wire.account import KeyRecord
from tests.fixtures.charges import NOW_MS
from tests.money.conftest import Size
from tests.money.till import Let, Till

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(1_200)]

THREADS, EACH = 20, 50
#: What one request holds, and what the narrowest pot has.
TOKENS, POT = 10, 100
PLENTY = 10**9


def one_key(till: Till) -> Sequence[str]:
    return [till.key(till.account(PLENTY), limit_nano=POT, limit_reset="daily")]


def account_of_five_keys(till: Till) -> Sequence[str]:
    account_id = till.account(POT)
    return [till.key(account_id) for _ in range(5)]


def budgets_of_all_kinds(till: Till) -> Sequence[str]:
    """Two members with two keys each: the account's budget is the narrowest of all."""
    account_id = till.account(PLENTY)
    till.bound(account_id, organisation(account_id), "monthly", POT)
    keys = []
    for name in ("usr_ada", "usr_bob"):
        till.bound(account_id, member(account_id, name), "weekly", POT + 50)
        keys += [till.key(account_id, name, limit_nano=POT + 70) for _ in range(2)]
    return keys


def budget_of_one_member(till: Till) -> Sequence[str]:
    account_id = till.account(PLENTY)
    till.bound(account_id, organisation(account_id), "lifetime", PLENTY)
    till.bound(account_id, member(account_id, "usr_ada"), "daily", POT)
    return [till.key(account_id, "usr_ada", limit_nano=POT * 2) for _ in range(3)]


@pytest.mark.parametrize(
    "given", [one_key, account_of_five_keys, budgets_of_all_kinds, budget_of_one_member]
)
def test_no_crowd_spends_more_than_there_is(
    ledger: Ledger, redis_url: str, size: Size, given: Callable[[Till], Sequence[str]]
):
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=THREADS, protocol=2)
    with Redis(connection_pool=pool) as redis:
        for _ in range(size.rounds):
            redis.flushall()
            till = Till(ledger, redis)
            keys = [till.record(name) for name in given(till)]
            let = crowd(till, keys)
            assert len(let) == POT // TOKENS
            # And what they used is less than they held: exactly that can be used again
            used = TOKENS - 3
            assert till.settle(*(till.charge(one, used) for one in let)) == len(let)
            again = crowd(till, keys)
            assert len(again) == (POT - len(let) * used) // TOKENS
            till.settle(*(till.charge(one, TOKENS) for one in again))
            assert till.budgets.open_holds() == 0
    assert invariants.check(ledger, NOW_MS) == ()


def crowd(till: Till, keys: Sequence[KeyRecord]) -> list[Let]:
    """Those of a thousand at once that were let in."""
    start = threading.Barrier(THREADS)

    def ask(thread: int) -> list[Let]:
        wanted = [till.let(keys[(thread + n) % len(keys)], TOKENS, NOW_MS) for n in range(EACH)]
        start.wait()
        told = [(one, till.admit(one)) for one in wanted]
        assert all(isinstance(result, Admitted | CannotPay) for _, result in told)
        return [one for one, result in told if isinstance(result, Admitted)]

    with ThreadPoolExecutor(THREADS) as pool:
        return [one for some in pool.map(ask, range(THREADS)) for one in some]
