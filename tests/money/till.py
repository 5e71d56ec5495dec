"""A front door and a settler in miniature: admit against cached balances, settle into the ledger.

What is asked of Redis and SQL is what the real ones ask; only planning, queues and workers are left
out. A token costs a nano-dollar, so amounts are counts of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from sqlalchemy import insert, update

from billing import accounts, api_keys, balances
from billing.api_keys import KeyTerms
from billing.db import Ledger
from billing.settlement import settle
from billing.tables import api_keys as keys_table
from billing.tables import budgets as budgets_table
from routing.budgets import (
    Interval,
    account_scope,
    free_byok_scope,
    key_scope,
    owner_scope,
)
from routing.catalog.shapes import Price
from routing.store.budgets import Budgets
from routing.store.jobs import Admission, AdmissionResult, Draw, Jobs, NotLoaded
from routing.usage import Usage
from routing.wire.account import KeyRecord
from routing.wire.job import Caller, Charge
from tests.fixtures.charges import NOW_MS, charge

#: One nano-dollar a token.
PRICE = Price(prompt_pico=1_000, completion_pico=1_000)
FREE_REQUESTS = 3
#: Half the list price: with small amounts a fee of five percent would always round up to one.
FEE_PPM = 500_000
LOADS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Let:
    """A request that was let in."""

    job_id: str
    key: KeyRecord
    draws: dict[str, int]
    tokens: int
    created_ms: int
    byok: bool
    fee_ppm: int


@dataclass(slots=True)
class Till:
    """One ledger and one Redis."""

    ledger: Ledger
    redis: Any
    jobs: Jobs = field(init=False)
    budgets: Budgets = field(init=False)
    numbers: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.redis)
        self.budgets = Budgets(self.redis)

    def account(self, credit_nano: int) -> str:
        """An account with credit."""
        made = accounts.create_account(self.ledger, "Ada", NOW_MS)
        if credit_nano:
            self.grant(made.id, credit_nano)
        return made.id

    def grant(self, account_id: str, nano: int) -> None:
        """Give credit, and tell the front doors."""
        wanted = accounts.Grant(amount_nano=nano, reference=f"grant {next(self.numbers)}")
        self.budgets.post((accounts.grant(self.ledger, account_id, wanted, NOW_MS),))

    def key(self, account_id: str, member: str = "", **terms: Any) -> str:
        """A key, as if that member had made it; returns its hash."""
        made = KeyTerms(**({"name": "k"} | terms))
        _, record = api_keys.mint(self.ledger, account_id, made, NOW_MS)
        if member:
            with self.ledger.writing() as connection:
                connection.execute(
                    update(keys_table)
                    .where(keys_table.c.hash == record.key_hash)
                    .values(creator_user_id=member)
                )
        return record.key_hash

    def bound(
        self,
        account_id: str,
        owner: str,
        interval: Interval,
        limit_nano: int,
        *,
        include_byok: bool = False,
    ) -> None:
        """A budget of an owner."""
        row = {
            "id": f"bud_{next(self.numbers)}",
            "account_id": account_id,
            "owner": owner,
            "interval": interval,
            "limit_nano": limit_nano,
            "include_byok": include_byok,
            "created_ms": NOW_MS,
            "updated_ms": NOW_MS,
        }
        with self.ledger.writing() as connection:
            connection.execute(insert(budgets_table), row)

    def record(self, key_hash: str) -> KeyRecord:
        """The key as SQL knows it now."""
        found = api_keys.find(self.ledger, key_hash, NOW_MS)
        assert found is not None
        return found

    def let(
        self, key: KeyRecord, tokens: int, created_ms: int, *, byok: bool = False, fee_ppm: int = 0
    ) -> Let:
        """A request as it would be let in."""
        draws = draws_of(key, tokens, created_ms, byok=byok, fee_ppm=fee_ppm)
        job_id = f"gen-1764806400-{next(self.numbers):020d}"
        return Let(
            job_id=job_id,
            key=key,
            draws=draws,
            tokens=tokens,
            created_ms=created_ms,
            byok=byok,
            fee_ppm=fee_ppm,
        )

    def admit(self, let: Let) -> AdmissionResult:
        """Ask Redis, loading balances from SQL as a front door does."""
        admission = Admission(
            job_id=let.job_id,
            pool="acme",
            queue="pool.acme",
            envelope="bell",
            front_door="",
            spec=b"spec",
            request=b"request",
            account_id=let.key.account_id,
            draws=tuple(Draw(scope, nano) for scope, nano in let.draws.items()),
            deadline_ms=60_000,
            queue_timeout_ms=3_000,
        )
        for _ in range(LOADS_MAX):
            told = self.jobs.admit(admission)
            if not isinstance(told, NotLoaded):
                return told
            found = balances.of_scope(
                self.ledger, told.scope, let.key, let.created_ms, FREE_REQUESTS
            )
            assert found is not None, told
            self.budgets.post((found,))
        raise AssertionError("balances that were loaded are not there")

    def charge(self, let: Let, used: int, **changes: Any) -> Charge:
        """What a worker reports of it."""
        caller = Caller(
            account_id=let.key.account_id,
            key_hash=let.key.key_hash,
            member=let.key.creator_user_id,
        )
        made = charge(
            account_id=let.key.account_id,
            key_hash=let.key.key_hash,
            generation_id=let.job_id,
            caller=caller,
            created_ms=let.created_ms,
            usage=Usage(completion_tokens=used),
            price=PRICE,
            byok="byok_1" if let.byok else "",
            fee_ppm=let.fee_ppm,
        )
        return replace(made, **changes)

    def settle(self, *charges: Charge) -> int:
        """Book a batch as the settler does; returns how many were new."""
        settled = settle(self.ledger, charges, NOW_MS, FREE_REQUESTS)
        self.budgets.post(settled.budgets, [one.generation_id for one in charges])
        return len(settled.new)


def draws_of(
    key: KeyRecord, tokens: int, created_ms: int, *, byok: bool, fee_ppm: int
) -> dict[str, int]:
    """By scope, what a request may come to."""
    fee_nano = -(-tokens * fee_ppm // 1_000_000)
    ours_nano = fee_nano if byok else tokens
    draws = {account_scope(key.account_id): ours_nano}

    def needed(*, include_byok: bool) -> int:
        return ours_nano + (tokens if byok and include_byok else 0)

    if key.limit_nano is not None:
        scope = key_scope(key.key_hash, key.limit_reset, created_ms)
        draws[scope] = needed(include_byok=key.include_byok_in_limit)
    for rule in key.budgets:
        scope = owner_scope(rule.owner, rule.interval, created_ms)
        draws[scope] = needed(include_byok=rule.include_byok)
    if byok and not fee_ppm:
        draws[free_byok_scope(key.account_id, created_ms)] = 1
    return draws
