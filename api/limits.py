"""How fast keys and accounts may ask: what admission is told to count."""

from __future__ import annotations

from routing.preferences import PlanRequest
from routing.store import redis_keys as keys
from routing.store.jobs import Pace, Slots
from routing.wire.account import KeyRecord, RateLimits


def paces(key: KeyRecord, wanted: PlanRequest) -> tuple[Pace, ...]:
    """The rates a request counts towards; tokens as estimated, and put right when it has ended."""
    tokens = max(1, wanted.prompt_tokens_max + (wanted.max_tokens or 0))
    found: list[Pace] = []
    for who, rates in _whose(key):
        if rates.rpm is not None:
            found.append(Pace(key=keys.pace("rpm", who), a_minute=rates.rpm))
        if rates.tpm is not None:
            found.append(
                Pace(
                    key=keys.pace("tpm", who),
                    a_minute=rates.tpm,
                    units=min(tokens, rates.tpm),
                    tokens=True,
                )
            )
    return tuple(found)


def slots(key: KeyRecord) -> tuple[Slots, ...]:
    """The bounds on requests at once that a request comes under."""
    return tuple(
        Slots(keys.slots(who), rates.parallel)
        for who, rates in _whose(key)
        if rates.parallel is not None
    )


def whose_limit(name: str) -> str:
    """`key` or `account`, from the name of what is counted in Redis."""
    return "account" if ":acct:" in name else "key"


def _whose(key: KeyRecord) -> tuple[tuple[str, RateLimits], ...]:
    return (
        (f"key:{key.key_hash}", key.rates),
        (f"acct:{key.account_id}", key.account_rates),
    )
