"""Every verb of money in any order: caches, ledger and a model of thirty lines agree throughout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from billing import accounts, expiry, generations, invariants, key_changes, payments, refunds
from billing.db import Ledger, open_ledger
from billing.payments import CENT_NANO, Credited, Order, Payment, PurchaseTerms, Receipt
from routing.budgets import (
    MS_PER_DAY,
    account_scope,
    free_byok_scope,
    key_owner,
    key_scope,
    member,
    organisation,
    owner_scope,
)
from routing.errors import Conflict
from routing.store.jobs import Admitted
from routing.wire.account import KeyRecord
from tests.fixtures.charges import NOW_MS
from tests.fixtures.databases import wipe
from tests.money.conftest import Size
from tests.money.model import Model
from tests.money.till import FEE_PPM, FREE_REQUESTS, Let, Till, draws_of

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(7_200)]

#: Cents, so that amounts that are bought and used are of one size.
CENT = CENT_NANO
TERMS = PurchaseTerms(min_nano=CENT, fee_min_nano=CENT)
cents = st.integers(0, 30).map(lambda number: number * CENT)
odd = st.integers(-1, 1)


class Verbs(RuleBasedStateMachine):
    """One account with two keys, of which a member made one, and budgets of every kind."""

    ledger: Ledger
    redis: Any
    lets = Bundle("lets")
    bought = Bundle("bought")

    def __init__(self) -> None:
        super().__init__()
        wipe(self.ledger)
        self.redis.flushall()
        self.till = Till(self.ledger, self.redis)
        self.now_ms = NOW_MS
        self.account_id = account_id = self.till.account(0)
        self.credit = account_scope(account_id)
        self.model = Model(cap={self.credit: 0})
        self.rules = {
            (organisation(account_id), "monthly", True): 90 * CENT,
            (member(account_id, "usr_ada"), "weekly", False): 60 * CENT,
        }
        for (owner, interval, include), limit in self.rules.items():
            self.till.bound(account_id, owner, interval, limit, include_byok=include)
        self.keys = [
            self.till.key(account_id, "usr_ada", limit_nano=40 * CENT, limit_reset="daily"),
            self.till.key(account_id, include_byok_in_limit=True),
        ]
        own = key_owner(self.keys[1])
        self.rules[own, "lifetime", False] = 80 * CENT
        self.till.bound(account_id, own, "lifetime", 80 * CENT)
        self.let_in = 0

    @rule(nano=cents.filter(bool))
    def grant(self, nano: int) -> None:
        self.till.grant(self.account_id, nano)
        self.model.cap[self.credit] += nano

    @rule(target=bought, nano=cents.filter(bool), times=st.integers(1, 3))
    def buy(self, nano: int, times: int) -> Payment:
        order = Order(credit_nano=nano, processor="stripe")
        opened = payments.open_payment(self.ledger, self.account_id, order, TERMS, self.now_ms)
        receipt = Receipt(
            processor="stripe",
            payment_id=opened.id,
            total_nano=opened.total_nano,
            currency="usd",
        )
        for number in range(times):
            told = payments.credit(self.ledger, receipt, f"evt_{number}", self.now_ms)
            self.till.budgets.post((told.budget,))
        self.model.cap[self.credit] += nano
        return opened

    @rule(payment=bought, ends=st.sampled_from(["finish", "undo", "hangs"]))
    def refund(self, payment: Payment, ends: str) -> None:
        """What is given back is never more than is left and not held."""
        free_nano = self.model.left(self.credit) - self.model.held[self.credit]
        hold = f"refund {next(self.till.numbers)}"
        reserved = self.till.budgets.reserve(self.credit, hold)
        try:
            told = refunds.begin(
                self.ledger, payment.id, self.account_id, TERMS, self.now_ms, reserved
            )
        except Conflict:
            return
        finally:
            self.till.budgets.post((), [hold])
        if told.new:
            assert 0 < told.payment.refunded_nano <= min(free_nano, payment.credit_nano)
            self._took(told.payment.refunded_nano, told)
        if ends == "finish":
            refunds.finish(self.ledger, payment.id)
        if ends == "undo":
            undone = refunds.undo(self.ledger, payment.id, self.now_ms)
            self._took(-told.payment.refunded_nano, undone)

    @rule(payment=bought, share=st.integers(0, 4), restores=st.booleans())
    def bank_takes(self, payment: Payment, share: int, restores: bool) -> None:
        before = payments.find(self.ledger, payment.id)
        assert before is not None
        if before.status == "refunding":
            return  # a processor does not give back what it was not asked for yet
        returned_nano = payment.credit_nano * share // 4
        told = refunds.follow(
            self.ledger, payment.id, returned_nano, self.now_ms, restores=restores
        )
        more_nano = returned_nano - before.refunded_nano
        expected_nano = more_nano if more_nano > 0 or restores else 0
        assert told.payment.refunded_nano - before.refunded_nano == expected_nano
        self._took(expected_nano, told)

    @rule(days=st.sampled_from([30, 400]))
    def expire(self, days: int) -> None:
        """The model is told how much; the ledger must not make a debt of it."""
        before_nano = self.model.left(self.credit)
        told, _ = expiry.expire(self.ledger, self.now_ms - days * MS_PER_DAY, self.now_ms)
        for budget in told:
            assert 0 <= budget.available_nano < before_nano
            self.till.budgets.post((budget,))
            self.model.cap[self.credit] -= before_nano - budget.available_nano

    @rule(
        target=lets,
        which=st.integers(0, 1),
        nano=cents,
        more=st.integers(0, 1),
        byok=st.booleans(),
        fee=st.booleans(),
    )
    def admit(self, which: int, nano: int, more: int, byok: bool, fee: bool) -> Let | None:
        key = self.till.record(self.keys[which])
        fee_ppm = FEE_PPM if byok and fee else 0
        let = self.till.let(key, nano + more, self.now_ms, byok=byok, fee_ppm=fee_ppm)
        self._open_windows(key, let)
        may = self.model.admit(let.job_id, let.draws)
        told = self.till.admit(let)
        assert (told == Admitted()) == may, told
        self.let_in += may
        return let if may else None

    @rule(
        let=lets,
        used=st.one_of(cents, st.none()),
        more=odd,
        outcome=st.sampled_from(["done", "done", "cancelled", "failed"]),
        times=st.integers(1, 2),
    )
    def settle(
        self, let: Let | None, used: int | None, more: int, outcome: str, times: int
    ) -> None:
        """Less than was held, as much, or more; more than once."""
        if let is None:
            return
        tokens = max(0, (let.tokens if used is None else used) + more)
        charge = self.till.charge(let, tokens, outcome=outcome)
        was_open = let.job_id in self.model.open
        new = self.till.settle(*[charge] * times)
        assert new == was_open
        paid = spent_by(let, tokens)
        self.model.settle(let.job_id, {} if charge.insured else paid)

    @rule(which=st.integers(0, 1), limit=st.one_of(st.none(), cents))
    def limit_key(self, which: int, limit: int | None) -> None:
        told = key_changes.change(
            self.ledger,
            self.account_id,
            self.keys[which],
            lambda terms: replace(terms, limit_nano=limit),
            self.now_ms,
        )
        # Windows that are over are told with their next settlement, if at all.
        own = key_scope(self.keys[which], None, 0).partition("@")[0]
        for scope in [name for name in self.model.cap if name.startswith(own)]:
            del self.model.cap[scope]
        if told.budget is not None and limit is not None:
            self.till.budgets.post((told.budget,))
            self.model.cap[told.budget.scope] = limit

    @rule(days=st.sampled_from([1, 7, 31]))
    def time_goes_by(self, days: int) -> None:
        self.now_ms += days * MS_PER_DAY

    @invariant()
    def caches_and_ledger_agree_with_the_model(self) -> None:
        posted = accounts.budget_of(self.ledger, self.account_id)
        assert posted.available_nano == self.model.left(self.credit)
        for name in self.redis.scan_iter("bud:*"):
            scope = name.decode().removeprefix("bud:")
            available, held = self.redis.hmget(name, "avail", "held")
            assert int(held or 0) == self.model.held[scope], scope
            if available is not None and scope in self.model.cap:
                assert int(available) == self.model.left(scope), scope

    def teardown(self) -> None:
        assert invariants.check(self.ledger, self.now_ms + 400 * MS_PER_DAY) == ()
        assert invariants.drift_nano(self.ledger) == 0
        used = generations.credits_of(self.ledger, self.account_id)
        assert used.total_nano - used.used_nano == self.model.left(self.credit)

    def _took(self, nano: int, told: Credited) -> None:
        self.till.budgets.post((told.budget,))
        self.model.cap[self.credit] -= nano

    def _open_windows(self, key: KeyRecord, let: Let) -> None:
        """Caps of windows that this request is the first of."""
        caps = {free_byok_scope(self.account_id, self.now_ms): FREE_REQUESTS}
        if key.limit_nano is not None:
            caps[key_scope(key.key_hash, key.limit_reset, self.now_ms)] = key.limit_nano
        for (owner, interval, _), limit in self.rules.items():
            caps[owner_scope(owner, interval, self.now_ms)] = limit
        for scope, cap in caps.items():
            self.model.cap.setdefault(scope, cap)


def spent_by(let: Let, tokens: int) -> dict[str, int]:
    """What an answer counts as in every window it falls into, whether that is bounded or not."""
    key = replace(let.key, limit_nano=0)
    paid = draws_of(key, tokens, let.created_ms, byok=let.byok, fee_ppm=let.fee_ppm)
    free = {free_byok_scope(key.account_id, let.created_ms): 1} if let.byok else {}
    return paid | free


def sequences(ledger: Ledger, redis_url: str, size: Size, count: int) -> None:
    with Redis.from_url(redis_url, protocol=2) as redis:
        machine = type("Verbs", (Verbs,), {"ledger": ledger, "redis": redis})
        bounds = settings(
            max_examples=count,
            stateful_step_count=size.steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(machine, settings=bounds)


def test_any_sequence_of_verbs_keeps_every_truth(sqlite_url: str, redis_url: str, size: Size):
    ledger = open_ledger(sqlite_url)
    sequences(ledger, redis_url, size, size.sequences)
    ledger.close()


def test_any_sequence_of_verbs_keeps_every_truth_on_a_server(
    postgres_url: str, redis_url: str, size: Size
):
    ledger = open_ledger(postgres_url)
    sequences(ledger, redis_url, size, max(10, size.sequences // 10))
    ledger.close()
