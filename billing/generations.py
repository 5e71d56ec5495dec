"""Reading back what was settled: one generation, and what an account was given and has used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import select

from billing.db import Ledger
from billing.tables import accounts, generations, ledger_accounts
from routing.budgets import account_scope
from routing.catalog.pricing import cost
from routing.catalog.shapes import Price
from routing.errors import NotFound
from routing.usage import Usage
from routing.wire.job import Api, AttemptRecord, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One settled generation, as its charge was written down.

    Attributes:
        insured: nothing was charged (zero completion insurance); `cost_nano` is 0.
        upstream_cost_nano: what the provider is owed: by us, or for `byok` by the customer.
        fee_nano: the part of `cost_nano` that is for use of an own provider key.
        discount_nano: what was taken off for keeping prompts and answers.
        byok_id: the own provider key that was used.
        user_id: who made the key it was asked with.
        price: what was applied; never priced anew.
        flags: why a figure was clamped, estimated or booked to suspense.
    """

    id: str
    account_id: str
    key_hash: str
    request_id: str
    api: Api
    stream: bool
    outcome: Outcome
    insured: bool
    byok: bool
    created_ms: int
    finished_ms: int
    settled_ms: int
    model_id: str
    endpoint_id: str
    provider: str
    upstream_id: str | None
    finish_reason: str | None
    native_finish_reason: str | None
    latency_ms: int | None
    generation_ms: int | None
    usage: Usage
    price: Price
    cost_nano: int
    upstream_cost_nano: int
    hold_nano: int
    flags: tuple[str, ...]
    attempts: tuple[AttemptRecord, ...]
    app_url: str | None
    app_title: str | None
    external_user: str | None
    fee_nano: int = 0
    discount_nano: int = 0
    byok_id: str | None = None
    user_id: str | None = None
    app_id: int | None = None
    session_id: str | None = None
    user_agent: str | None = None

    @property
    def cache_discount_nano(self) -> int | None:
        """What caching saved; negative if writing the cache cost more; None without caching."""
        usage = self.usage
        if self.insured or not (usage.cached_tokens or usage.cache_write_tokens):
            return None
        plain = replace(usage, cached_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0)
        return cost(plain, self.price).total_nano - self.upstream_cost_nano


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """Everything an account was granted, and what it has used of it."""

    total_nano: int
    used_nano: int


def find(ledger: Ledger, generation_id: str, account_id: str) -> Generation | None:
    """One generation of an account. Another account's id is as unknown as one nobody used.

    Raises:
        Unavailable: the database is away.
    """
    query = select(generations).where(
        generations.c.id == generation_id, generations.c.account_id == account_id
    )
    with ledger.reading() as connection:
        row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _generation(dict(row))


def exists(ledger: Ledger, generation_id: str) -> bool:
    """Whether a generation has been settled, whoever owns it.

    Raises:
        Unavailable: the database is away.
    """
    query = select(generations.c.id).where(generations.c.id == generation_id)
    with ledger.reading() as connection:
        return connection.execute(query).first() is not None


def credits_of(ledger: Ledger, account_id: str) -> Credits:
    """Granted and used; the balance is the difference. Holds are not in it.

    Raises:
        NotFound: no such account.
        Unavailable: the database is away.
    """
    query = (
        select(accounts.c.granted_nano, ledger_accounts.c.posted_nano)
        .join(ledger_accounts, ledger_accounts.c.id == account_scope(account_id))
        .where(accounts.c.id == account_id)
    )
    with ledger.reading() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"No account {account_id}")
    return Credits(total_nano=row.granted_nano, used_nano=row.granted_nano - row.posted_nano)


def _generation(row: dict[str, Any]) -> Generation:
    flags = tuple(orjson.loads(row.pop("flags")))
    attempts = orjson.loads(row.pop("attempts"))
    return Generation(
        usage=_usage(row, flags),
        price=Price(**orjson.loads(row.pop("price"))),
        flags=flags,
        attempts=tuple(AttemptRecord(**one) for one in attempts),
        **{name: row[name] for name in row.keys() - _USAGE_COLUMNS},
    )


_USAGE_COLUMNS = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "cache_write_1h_tokens",
        "audio_tokens",
        "video_tokens",
        "image_output_tokens",
        "audio_output_tokens",
        "images",
        "estimated",
    }
)


def _usage(row: Mapping[str, Any], flags: tuple[str, ...]) -> Usage:
    return Usage(**{name: row[name] for name in _USAGE_COLUMNS}, flags=flags)
