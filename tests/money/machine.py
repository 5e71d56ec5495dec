"""Every verb that moves money, in any order, against `account_model.Model`.

Run as a child by `make money`: `python -m tests.money.machine
LEDGER REDIS CATALOG COUNT STEPS SEED`.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from typing import Any

import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from billing import accounts, api_keys, choices, expiry, key_changes, payments, refunds
from billing.accounts import Grant
from billing.api_keys import KeyTerms
from billing.payments import Order, PurchaseTerms, Receipt
from routing.budgets import MS_PER_DAY, member, organisation
from routing.clock import FixedClock
from routing.errors import Conflict, Forbidden, PaymentRequired
from routing.store import redis_keys as keys
from routing.wire.job import Charge, JobSpec
from tests.fixtures.charges import NOW_MS
from tests.fixtures.databases import wipe
from tests.money.account_model import Limit, Model
from tests.money.ground import (
    FEE_PPM,
    FIXED_NANO,
    Ground,
    Place,
    bound,
    call,
    ending,
    give_provider_key,
    rules,
)
from tests.money.table import Row
from workers.sweep import Sweeper

FREE_REQUESTS = 2
#: In long runs books are checked, and the ground emptied, after so many sequences.
EVERY = 25
CHILD_S = 900
PPM = 1_000_000
FEE_NANO = FIXED_NANO * FEE_PPM // PPM
MEMBERS = ("", "usr_a", "usr_b")
amounts = st.integers(0, 4).map(lambda n: n * FIXED_NANO)
intervals = st.sampled_from([None, "daily", "weekly", "monthly"])
#: What a request comes to at last, in thousandths of what was held for it: up to twice.
shares = st.sampled_from([0, 1, 500, 1_000, 1_001, 2_000])
#: Longer than any sequence.
PLAYED_MS = 10_000 * MS_PER_DAY
GIFT_AGE_MS = 3 * MS_PER_DAY


class Money(RuleBasedStateMachine):
    """One account with three keys, of the operator and two members."""

    ground: Ground
    clock: FixedClock
    sweeper: Sweeper
    every: int
    played = 0
    jobs = Bundle("jobs")
    ended = Bundle("ended")

    @initialize(limit=st.integers(0, 4))
    def open(self, limit: int) -> None:
        ground, self.now_ms = self.ground, NOW_MS
        self.clock.advance(NOW_MS - self.clock.now_ms())
        self.account_id = accounts.create_account(ground.ledger, "Ada", NOW_MS).id
        #: None before it is made, "" when it is deleted.
        self.hashes: list[str | None] = [None] * len(MEMBERS)
        self.scope = f"acct:{self.account_id}"
        self.model, self.own, self.logs, self.number = Model(FREE_REQUESTS), "", False, 0
        self.gifts: list[tuple[int, int]] = []
        self.specs: dict[str, tuple[JobSpec, tuple[str, ...], str]] = {}
        if limit:
            self.give(limit)

    # Credit

    @rule(requests=st.integers(1, 5))
    def give(self, requests: int) -> None:
        self.number += 1
        reference = f"{self.account_id} {self.number}"
        wanted = Grant(amount_nano=requests * FIXED_NANO, reference=reference)
        for _ in range(2):  # the second changes nothing
            told = accounts.grant(self.ground.ledger, self.account_id, wanted, self.now_ms)
        self._credit(wanted.amount_nano, told)

    @rule(refund=st.booleans(), hours=st.sampled_from([0, 1, 25]))
    def buy(self, refund: bool, hours: int) -> None:
        ledger, order = self.ground.ledger, Order(credit_nano=10**10, processor="test")
        terms = PurchaseTerms()
        payment = payments.open_payment(ledger, self.account_id, order, terms, self.now_ms)
        receipt = Receipt(
            processor="test", payment_id=payment.id, total_nano=payment.total_nano, currency="usd"
        )
        for event in ("evt_1", "evt_1", "evt_2"):
            told = payments.credit(ledger, receipt, f"{event} {payment.id}", self.now_ms)
        self._credit(payment.credit_nano, told.budget)
        self._pass(hours * 3_600_000)
        held = self.model.on_hold("credit")
        if not refund:
            return
        before = self.model.credit
        try:
            told = refunds.begin(
                ledger, payment.id, self.account_id, terms, self.now_ms, before - held
            )
        except Conflict:
            assert hours == 25 or before - held < payments.CENT_NANO
            return
        back = told.payment.refunded_nano
        unused = min(before - held, payment.credit_nano)
        assert back == unused // payments.CENT_NANO * payments.CENT_NANO
        assert hours < 25
        refunds.finish(ledger, payment.id)
        at, nano = self.gifts.pop()
        self._credit(-back, told.budget)
        self.gifts[-1] = at, nano - back

    @rule()
    def expire(self) -> None:
        """What is three days old and left goes; what is held stays."""
        self._pass(MS_PER_DAY)
        since = self.now_ms - GIFT_AGE_MS
        held = self.ground.budgets.held_nano
        everybody, _ = expiry.expire(self.ground.ledger, since, self.now_ms, held_nano=held)
        told = [budget for budget in everybody if budget.scope == self.scope]
        young = max(0, sum(nano for at, nano in self.gifts if at >= since))
        credit, on_hold = self.model.credit, self.model.on_hold("credit")
        old = max(0, min(credit - young, credit - on_hold)) if credit > 0 else 0
        assert len(told) == (old > 0)
        self.model.credit -= old
        self.ground.budgets.post(told)

    # Limits

    @rule(
        who=st.integers(0, 2),
        nano=st.none() | amounts,
        reset=intervals,
        byok=st.booleans(),
    )
    def limit_key(self, who: int, nano: int | None, reset: Any, byok: bool) -> None:
        if self.hashes[who] == "":
            return
        key_hash = self._key(who)
        changed = key_changes.change(
            self.ground.ledger,
            self.account_id,
            key_hash,
            lambda terms: replace(
                terms, limit_nano=nano, limit_reset=reset, include_byok_in_limit=byok
            ),
            self.now_ms,
        )
        if changed.budget is not None:
            self.ground.budgets.post((changed.budget,))
        self.model.limits.pop(key_hash, None)
        if nano is not None:
            self.model.limits[key_hash] = Limit(reset or "lifetime", nano, byok)

    @rule(place=st.integers(0, 2), nano=amounts, interval=intervals, byok=st.booleans())
    def limit_owner(self, place: int, nano: int, interval: Any, byok: bool) -> None:
        user = MEMBERS[place]
        owner = member(self.account_id, user) if user else organisation(self.account_id)
        if owner in self.model.limits:
            return
        interval = interval or "lifetime"
        self.model.limits[owner] = Limit(interval, nano, byok)
        ledger = self.ground.ledger
        bound(ledger, self.account_id, owner, interval, nano, self.now_ms, include_byok=byok)
        self.ground.budgets.post(rules(ledger, self.account_id, self.now_ms))

    @rule(who=st.integers(0, 2))
    def delete_key(self, who: int) -> None:
        if self.hashes[who] and self.hashes.count("") + 1 < len(MEMBERS):
            key_changes.delete(self.ground.ledger, self.account_id, self._key(who), self.now_ms)
            self.hashes[who] = ""

    @rule(days=st.sampled_from([0, 1, 1, 7, 31]), hours=st.integers(0, 23))
    def wait(self, days: int, hours: int) -> None:
        self._pass(days * MS_PER_DAY + hours * 3_600_000)

    @rule(logs=st.booleans())
    def log(self, logs: bool) -> None:
        self.logs = logs
        choices.change(
            self.ground.ledger,
            self.account_id,
            lambda c: replace(c, settings=replace(c.settings, logs=logs)),
        )

    @precondition(lambda self: not self.own)
    @rule(always=st.booleans())
    def bring_own_key(self, always: bool) -> None:
        give_provider_key(self.ground.ledger, self.account_id, NOW_MS, always_use=always)
        self.own = "always" if always else "first"

    # Requests

    @rule(target=jobs, who=st.integers(0, 2))
    def ask(self, who: int) -> Any:
        return self._ask(who)

    @rule(target=jobs, who=st.integers(0, 2))
    def ask_again(self, who: int) -> Any:
        return self._ask(who)

    @rule(target=ended, who=st.integers(0, 2), share=shares, fall_back=st.booleans())
    def serve(self, who: int, share: int, fall_back: bool) -> Any:
        """Ask and be answered, before anything else happens."""
        job = self._ask(who)
        if isinstance(job, str):
            return self._serve(job, share, "done", fall_back)
        return multiple()

    def _ask(self, who: int) -> Any:
        if self.hashes[who] == "":
            who = next(place for place, name in enumerate(self.hashes) if name != "")
        key_hash, user = self._key(who), MEMBERS[who]
        key = api_keys.find(self.ground.ledger, key_hash, self.now_ms)
        assert key is not None
        whose = (key_hash, organisation(self.account_id), member(self.account_id, user))
        shared = [(0, FIXED_NANO, 0, "shared")]
        alone = [(0, 0, FIXED_NANO, "own"), (FEE_NANO, 0, FIXED_NANO, "fee")]
        first = [
            (0, FIXED_NANO, FIXED_NANO, "own"),
            (FEE_NANO, FIXED_NANO, FIXED_NANO, "fee"),
        ]
        tries = {"": shared, "always": alone, "first": first + alone}[self.own]
        try:
            spec = self.ground.acceptor.accept(call(key)).spec
        except (PaymentRequired, Forbidden):
            assert self.model.admit("", whose, self.now_ms, tries) is None
            return multiple()
        job = spec.generation_id
        terms = self.model.admit(job, whose, self.now_ms, tries)
        assert terms is not None, "let in without money"
        assert (spec.fee_ppm > 0) == (terms == "fee")
        assert (spec.discount_ppm > 0) == self.logs
        self.specs[job] = spec, whose, terms
        return job

    @rule(job=consumes(jobs), share=shares, outcome=st.sampled_from(["done", "cancelled"]),
          fall_back=st.booleans(), target=ended)  # fmt: skip
    def end(self, job: str, share: int, outcome: Any, fall_back: bool) -> Any:
        """Part of what was held, all of it, or more."""
        return self._serve(job, share, outcome, fall_back)

    def _serve(self, job: str, share: int, outcome: Any, fall_back: bool) -> Charge:
        spec = self.specs[job][0]
        place = len(spec.entries) - 1 if fall_back else 0
        price = spec.entries[place].price
        price = replace(price, request_pico=price.request_pico * share // 1_000)
        charge = ending(spec, self.now_ms, outcome, price=price, place=place)
        return self._end(job, charge, FIXED_NANO * share // 1_000)

    @rule(job=consumes(jobs), target=ended)
    def fail(self, job: str) -> Any:
        return self._end(job, ending(self.specs[job][0], self.now_ms, "failed"), 0, insured=True)

    @rule(job=consumes(jobs))
    def cancel(self, job: str) -> None:
        """The client left before a worker came."""
        spec, whose, _ = self.specs.pop(job)
        charge = Charge.unserved(spec, "cancelled", self.now_ms)
        assert self.ground.jobs.cancel(job, charge.to_json()) == "ended"
        self.ground.settle()
        self.model.end(job, whose, spec.created_ms, 0, 0, 0)

    @rule(job=consumes(jobs), share=shares, late=st.booleans())
    def lose(self, job: str, share: int, late: bool) -> None:
        """Its record is gone: the sweep gives the hold back. Its charge may come after all."""
        spec = self.specs[job][0]
        redis = self.ground.redis
        redis.delete(keys.job(job), keys.request(job))
        redis.zadd(keys.HOLDS_DUE, {job: self.now_ms - 1}, xx=True)
        self.sweeper.check_holds()
        self.model.held.pop(job)
        if late:
            price = spec.entries[0].price
            price = replace(price, request_pico=price.request_pico * share // 1_000)
            self._end(job, ending(spec, self.now_ms, price=price), FIXED_NANO * share // 1_000)
        else:
            del self.specs[job]

    @rule(charge=ended)
    def deliver_again(self, charge: Any) -> None:
        self.ground.deliver(charge)
        self.ground.deliver(replace(charge, usage=replace(charge.usage, prompt_tokens=77)))
        assert self.ground.settle() == 0

    def _end(self, job: str, charge: Charge, total: int, *, insured: bool = False) -> Charge:
        spec, whose, _ = self.specs.pop(job)
        self.ground.finish(charge)
        assert self.ground.settle() == 1
        own = bool(charge.byok) and not insured
        cost = -(-total * spec.fee_ppm // PPM) if own else total - total * spec.discount_ppm // PPM
        cost = 0 if insured else cost
        self.model.end(job, whose, spec.created_ms, cost, total * own, int(own))
        return charge

    # Truths

    @invariant()
    def the_cache_is_the_model(self) -> None:
        """What the next request is measured against."""
        if not hasattr(self, "model"):
            return
        avail, held = self.ground.redis.hmget(keys.budget(self.scope), "avail", "held")
        assert int(held or 0) == self.model.on_hold("credit")
        assert avail is None or int(avail) == self.model.credit

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        try:
            for job in list(self.specs):
                self._end(job, ending(self.specs[job][0], self.now_ms), FIXED_NANO)
            ledger = self.ground.ledger
            told = accounts.budget_of(ledger, self.account_id)
            assert told.available_nano == self.model.credit
            left = {b.scope: b.available_nano for b in rules(ledger, self.account_id, self.now_ms)}
            for who in self.hashes:
                budget = who and api_keys.budget_of(ledger, who, self.now_ms)
                if budget:
                    left[budget.scope] = budget.available_nano
            limits = self.model.limits
            expected = [
                self.model.left(who, limit, self.now_ms)
                for who, limit in limits.items()
                if who in self.hashes or ":" in who
            ]
            assert sorted(left.values()) == sorted(expected)
        finally:
            # Nothing comes of it in the sequences that follow.
            table = accounts.accounts
            with self.ground.ledger.writing() as connection:
                mine = table.update().where(table.c.id == self.account_id)
                connection.execute(mine.values(closed_ms=self.now_ms))
            type(self).played += 1
            if self.played % self.every == 0:
                self.finish()

    @classmethod
    def finish(cls) -> None:
        """Do all books of the sequences since the last time add up? Then begin anew."""
        cls.clock.advance(PLAYED_MS)  # later than any of them went on
        try:
            assert cls.ground.broken() == []
        finally:
            wipe(cls.ground.ledger)
            cls.ground.redis.flushdb()
            cls.ground.outbox.prepare()

    def _credit(self, nano: int, told: Any) -> None:
        self.model.credit += nano
        self.gifts.append((self.now_ms, nano))
        assert told.available_nano == self.model.credit
        self.ground.budgets.post((told,))

    def _key(self, who: int) -> str:
        """Made when it is first needed, by one of the members."""
        found = self.hashes[who]
        if found is None:
            with self.ground.ledger.writing() as connection:
                _, key = api_keys.mint_key(
                    connection, self.account_id, KeyTerms(name="k"), self.now_ms
                )
                table = api_keys.api_keys
                mine = table.update().where(table.c.hash == key.key_hash)
                connection.execute(mine.values(creator_user_id=MEMBERS[who] or None))
            found = self.hashes[who] = key.key_hash
        return found

    def _pass(self, ms: int) -> None:
        self.clock.advance(ms)
        self.now_ms = self.clock.now_ms()


def play(type_of: type[Money], *, count: int, steps: int, shrinks: bool = True) -> None:
    """So many sequences; raises at the first that is not as the model says.

    Args:
        type_of: from `machine`; `hypothesis.seed` may have been applied to it.
        count: how many sequences.
        steps: of each, at most.
        shrinks: looks for a shorter sequence that fails as well, which may take long.
    """
    phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)
    run_state_machine_as_test(
        type_of,
        settings=settings(
            max_examples=count,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )
    type_of.finish()


def run(place: Place, row: Row, *, count: int, steps: int) -> None:
    """Play them in a process of their own, so that both databases have a core."""
    urls = (place.ledger_url, place.redis_url, place.catalog)
    try:
        child = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.money.machine",
                *urls,
                str(count),
                str(steps),
                str(row.seed),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=CHILD_S,
        )
    except subprocess.TimeoutExpired:
        row.broken.append(f"not done within {CHILD_S} s")
        return
    if child.returncode:
        row.broken.append(child.stderr[-4_000:])
    else:
        row.tried += int(child.stdout)


def _main() -> None:
    ledger_url, redis_url, catalog, *figures = sys.argv[1:]
    count, steps, number = map(int, figures)
    # A stale hold is an error in the log; here it is a step like others.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    clock = FixedClock()
    ground = Ground(Place(ledger_url, redis_url, catalog), clock, free_requests=FREE_REQUESTS)
    type_of = machine(ground, clock, EVERY)
    seed(number)(type_of)
    play(type_of, count=count, steps=steps, shrinks=False)
    sys.stdout.write(str(type_of.played))
    ground.close()


def machine(ground: Ground, clock: FixedClock, every: int = 1) -> type[Money]:
    """The machine over one ground; each has an account of its own.

    Args:
        ground: empty.
        clock: of the ground.
        every: after how many sequences the books are checked and the ground is emptied.
    """
    sweeper = Sweeper(ground.ledger, ground.redis, ground.acceptor.settings, clock)
    parts = {"ground": ground, "clock": clock, "sweeper": sweeper, "every": every}
    return type("MoneyMachine", (Money,), parts)


if __name__ == "__main__":
    _main()
