"""Why a request is not let in, in the contract's words."""

from __future__ import annotations

from dataclasses import dataclass

from api.amounts import iso
from api.limits import whose_limit
from routing.budgets import MS_PER_DAY, owner_scope, reset_of, window_end_day
from routing.catalog.pricing import (
    PICO_PER_NANO,
    dearest_completion_pico,
    usd,
    worst_case_nano,
)
from routing.errors import (
    Conflict,
    Forbidden,
    PaymentRequired,
    RateLimited,
    RouterError,
    Unavailable,
)
from routing.store.jobs import (
    AdmissionResult,
    CannotPay,
    FixedWindow,
    KeyConflict,
    LimitReached,
    Pace,
    Slots,
    TooFast,
    TooMany,
)
from routing.wire.account import BudgetRule, KeyRecord
from routing.wire.job import JobSpec

#: When other requests of the caller have ended: most take about so long.
BUSY_RETRY_MS = 1_000


def refusal(result: AdmissionResult, spec: JobSpec, key: KeyRecord) -> RouterError:
    """Why a request was not let in, in the contract's words."""
    match result:
        case KeyConflict():
            return Conflict("This Idempotency-Key was used with a different request body.")
        case LimitReached(limit=limit, retry_after_ms=retry_after_ms):
            return _free_tier_used(limit, retry_after_ms, spec.created_ms, key)
        case TooFast(pace=pace, retry_after_ms=retry_after_ms):
            return _too_fast(pace, retry_after_ms, spec.created_ms)
        case TooMany(slots=slots):
            return _too_many(slots)
        case CannotPay():
            return _cannot_pay(result, spec, key)
        case _:
            return Unavailable("The request could not be let in.", retry_after_ms=1_000)


def _free_tier_used(
    limit: FixedWindow, retry_after_ms: int, now_ms: int, key: KeyRecord
) -> RateLimited:
    daily = limit.key.startswith("lim:free-day:")
    if not daily:
        message = "Rate limit exceeded: free-models-per-min. "
    elif key.purchased:
        message = "Rate limit exceeded: free-models-per-day-high-balance. "
    else:
        message = (
            "Rate limit exceeded: free-models-per-day. "
            "Add 10 credits to unlock 1000 free model requests per day"
        )
    headers = {
        "X-RateLimit-Limit": str(limit.maximum),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(now_ms + retry_after_ms),
    }
    source = "daily" if daily else "per_minute"
    return RateLimited(
        message,
        metadata={"headers": headers, "limit_source": f"openrouter_free_tier_{source}"},
        retry_after_ms=retry_after_ms,
        headers=headers,
    )


def _too_fast(pace: Pace, retry_after_ms: int, now_ms: int) -> RateLimited:
    what = "tokens" if pace.tokens else "requests"
    headers = {
        "X-RateLimit-Limit": str(pace.a_minute),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(now_ms + retry_after_ms),
    }
    whose = whose_limit(pace.key)
    return RateLimited(
        f"Rate limit exceeded: {pace.a_minute} {what} per minute of this {whose}.",
        metadata={"headers": headers, "limit_source": f"{whose}_{what}_per_minute"},
        retry_after_ms=retry_after_ms,
        headers=headers,
    )


def _too_many(slots: Slots) -> RateLimited:
    whose = whose_limit(slots.key)
    return RateLimited(
        f"Rate limit exceeded: {slots.maximum} requests at once of this {whose}.",
        metadata={"limit_source": f"{whose}_parallel_requests", "limit": slots.maximum},
        retry_after_ms=BUSY_RETRY_MS,
    )


@dataclass(frozen=True, slots=True)
class _Pot:
    """What a refused draw was on, as its caller knows it.

    Attributes:
        source: `limit_source` of the contract.
        remedy: how to get more of it.
        used_up: what is said when nothing is left.
    """

    source: str
    remedy: str
    used_up: RouterError


def _pot(result: CannotPay, key: KeyRecord, now_ms: int) -> _Pot:
    """Credit, the key's own limit, or a budget."""
    for rule in key.budgets:
        if owner_scope(rule.owner, rule.interval, now_ms) == result.scope:
            return _budget(rule, result.available_nano, now_ms)
    if result.scope.startswith("key:"):
        period = key.limit_reset or "total"
        source = "openrouter_key_limit"
        return _Pot(
            source,
            "create a key with a higher limit",
            Forbidden(
                f"Key limit exceeded ({period} limit). Raise the key's limit or use another key.",
                metadata={"limit_source": source},
            ),
        )
    source = "openrouter_credits"
    never = "" if key.purchased else " This account never purchased credits."
    return _Pot(
        source,
        "add more credits",
        PaymentRequired(
            f"Insufficient credits.{never} Add more credits to this account.",
            metadata={"limit_source": source},
        ),
    )


#: Who a budget is of, by the start of its owner: name, scope and source as the contract has them.
_OWNERS = {
    "org": ("Organization", "workspace", "openrouter_workspace_budget"),
    "member": ("Member", "member", "openrouter_guardrail_budget"),
    "spend": ("Key", "api_key", "openrouter_guardrail_budget"),
}


def _budget(rule: BudgetRule, available_nano: int, now_ms: int) -> _Pot:
    name, scope, source = _OWNERS[rule.owner.partition(":")[0]]
    end_day = window_end_day(reset_of(rule.interval), now_ms)
    limit_usd = usd(rule.limit_nano)
    return _Pot(
        source,
        "ask an admin for a higher budget",
        Forbidden(
            f"{name} {rule.interval} budget of ${limit_usd:,.2f} exceeded. Contact your org admin.",
            metadata={
                "limit_source": source,
                "scope": scope,
                "limit_usd": limit_usd,
                "spend_usd": usd(rule.limit_nano - available_nano),
                "resets_at": None if end_day is None else iso(end_day * MS_PER_DAY),
            },
        ),
    )


def _cannot_pay(result: CannotPay, spec: JobSpec, key: KeyRecord) -> RouterError:
    pot = _pot(result, key, spec.created_ms)
    if result.available_nano <= 0:
        return pot.used_up
    if result.available_nano >= spec.hold_nano:
        return PaymentRequired(
            "This request would exceed your available credits given your current in-flight "
            "requests. Retry after in-flight requests settle, or add credits.",
            metadata={
                "reason": "in_flight_budget_exhausted",
                "limit_source": "openrouter_in_flight_budget",
            },
            retry_after_ms=BUSY_RETRY_MS,
        )
    affordable = _affordable_tokens(spec, result.available_nano)
    return PaymentRequired(
        "This request requires more credits, or fewer max_tokens. You requested up to "
        f"{spec.completion_tokens_max} tokens, but can only afford {affordable}. "
        f"To increase, {pot.remedy}.",
        metadata={
            "provider_name": None,
            "reason": "weight_exceeds_budget",
            "limit_source": pot.source,
        },
    )


def _affordable_tokens(spec: JobSpec, available_nano: int) -> int:
    """The longest answer of any planned endpoint that the money pays for, after the prompt."""
    longest = spec.completion_tokens_max
    for entry in spec.entries:
        price = entry.price
        rest_nano = available_nano - worst_case_nano(price, spec.prompt_tokens_max, 0, 0)
        token_pico = dearest_completion_pico(price, spec.prompt_tokens_max)
        if token_pico:
            longest = min(longest, rest_nano * PICO_PER_NANO // token_pico)
    return max(0, longest)
