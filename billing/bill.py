"""From a charge to what is written down: the generation's row and its one transaction. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from billing.ledger import (
    AMOUNT_MAX_NANO,
    BYOK_FEES,
    INFERENCE_COST,
    INSURED_LOSS,
    REVENUE,
    SUSPENSE,
    Posting,
    payable,
)
from routing.budgets import account_scope
from routing.catalog.pricing import Cost
from routing.catalog.shapes import Price
from routing.usage import Usage
from routing.wire.job import AttemptRecord, Charge

#: Longest text kept of what a caller or provider sent; a name or a reason is far shorter.
TEXT_MAX = 512
#: Attempts kept of one generation; a plan has fewer.
ATTEMPTS_MAX = 32
#: Largest count kept: what a double, and so any JSON client, holds exactly.
COUNT_MAX = 2**53
#: Latest moment kept (the end of the year 9999): beyond it there is no calendar.
MS_MAX = 253_402_300_799_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one generation comes to.

    Attributes:
        created_ms: admission; the spend belongs to this day.
        cost_nano: what the customer pays.
        byok_nano: what their own provider key paid.
        byok: whether it counts as a request with such a key.
        posting: the transaction; None when no money moves.
        row: every column of `generations`.
    """

    generation_id: str
    account_id: str
    key_hash: str
    created_ms: int
    cost_nano: int
    byok_nano: int
    byok: bool
    member: str
    posting: Posting | None
    row: dict[str, Any]


def bill(charge: Charge, strange: tuple[str, ...], now_ms: int) -> Bill:
    """Work out a charge. Never refuses: what cannot be is put right, flagged and not billed as is.

    Args:
        charge: what a worker reported.
        strange: why the customer cannot be charged (unknown account or key); empty when they can.
        now_ms: the moment of settlement.
    """
    usage, odd = _sane(charge.usage)
    spent = _spent(charge, usage)
    if not 0 <= spent.total_nano <= AMOUNT_MAX_NANO:
        spent, odd = Cost(terms=spent.terms), (*odd, "cost_out_of_range")
    cost_nano = 0 if charge.insured else spent.charged_nano
    byok = bool(charge.byok) and not charge.insured
    created_ms = _within(charge.created_ms, MS_MAX)
    row = _identity(charge, created_ms, now_ms) | _figures(charge, usage)
    row["cost_nano"] = cost_nano
    row["upstream_cost_nano"] = spent.total_nano
    row["fee_nano"] = 0 if charge.insured else spent.fee_nano
    row["discount_nano"] = 0 if charge.insured else spent.discount_nano
    row["flags"] = _json([*usage.flags, *odd, *strange])
    return Bill(
        generation_id=charge.generation_id,
        account_id=charge.caller.account_id,
        key_hash=charge.caller.key_hash,
        created_ms=created_ms,
        cost_nano=cost_nano,
        byok_nano=spent.total_nano if byok else 0,
        byok=byok,
        member=_text(charge.caller.member),
        posting=_posting(charge, spent, to_suspense=bool(strange)),
        row=row,
    )


def _spent(charge: Charge, usage: Usage) -> Cost:
    """What it comes to. A call that ended without any usage owes no price per request."""
    spent = replace(charge, usage=usage).cost
    used = usage.prompt_tokens or usage.completion_tokens or usage.images
    if not used and (charge.insured or charge.outcome == "cancelled"):
        return Cost(terms=spent.terms)
    return spent


def _posting(charge: Charge, spent: Cost, *, to_suspense: bool) -> Posting | None:
    payer = SUSPENSE if to_suspense else account_scope(charge.caller.account_id)
    if charge.byok:  # their key paid the provider: between us there is the fee alone
        fee_nano = 0 if charge.insured else spent.fee_nano
        lines = ((payer, -fee_nano), (BYOK_FEES, fee_nano))
        return (
            Posting(reference=charge.generation_id, kind="usage", lines=lines) if fee_nano else None
        )
    total_nano = spent.total_nano
    if total_nano == 0:
        return None
    owed = (payable(charge.provider or "unknown"), total_nano)
    if charge.insured:
        return Posting(
            reference=charge.generation_id,
            kind="insured",
            lines=((INSURED_LOSS, -total_nano), owed),
        )
    paid_nano = spent.charged_nano
    # Nothing is left of a discount of all.
    paid = ((payer, -paid_nano), (REVENUE, paid_nano)) if paid_nano else ()
    return Posting(
        reference=charge.generation_id,
        kind="usage",
        lines=(*paid, (INFERENCE_COST, -total_nano), owed),
    )


def _identity(charge: Charge, created_ms: int, now_ms: int) -> dict[str, Any]:
    caller = charge.caller
    return {
        "id": charge.generation_id,
        "account_id": caller.account_id,
        "key_hash": caller.key_hash,
        "request_id": _text(caller.request_id),
        "api": charge.api,
        "stream": charge.stream,
        "outcome": charge.outcome,
        "insured": charge.insured,
        "byok": bool(charge.byok),
        "byok_id": charge.byok or None,
        "user_id": _text(caller.member) or None,
        "session_id": _text_or_none(caller.session_id),
        "user_agent": _text_or_none(caller.user_agent),
        "app_id": None,
        "created_ms": created_ms,
        "finished_ms": _within(charge.finished_ms, MS_MAX),
        "settled_ms": now_ms,
        "model_id": charge.model_id,
        "endpoint_id": charge.endpoint_id,
        "provider": charge.provider,
        "upstream_id": _text_or_none(charge.upstream_id),
        "finish_reason": _text_or_none(charge.finish_reason),
        "native_finish_reason": _text_or_none(charge.native_finish_reason),
        "app_url": _text_or_none(caller.app_url),
        "app_title": _text_or_none(caller.app_title),
        "external_user": _text_or_none(caller.user),
    }


def _figures(charge: Charge, usage: Usage) -> dict[str, Any]:
    return {
        "latency_ms": _within_or_none(charge.latency_ms),
        "generation_ms": _within_or_none(charge.generation_ms),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "audio_tokens": usage.audio_tokens,
        "video_tokens": usage.video_tokens,
        "image_output_tokens": usage.image_output_tokens,
        "audio_output_tokens": usage.audio_output_tokens,
        "images": usage.images,
        "estimated": usage.estimated,
        "price": _json(_price(charge.price)),
        "hold_nano": _within(charge.hold_nano, AMOUNT_MAX_NANO),
        "attempts": _json([_attempt(one) for one in charge.attempts[:ATTEMPTS_MAX]]),
    }


def _price(price: Price) -> dict[str, int | None]:
    return {"from_ms": price.from_ms, **price.rates()}


def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "endpoint_id": attempt.endpoint_id,
        "provider": attempt.provider,
        "status": attempt.status,
        "latency_ms": attempt.latency_ms,
        "message": attempt.message[:TEXT_MAX],
        "byok": attempt.byok,
    }


def _sane(usage: Usage) -> tuple[Usage, tuple[str, ...]]:
    """Workers clamp what providers report; this only keeps a defect there from becoming money."""
    sane = replace(
        usage,
        prompt_tokens=_within(usage.prompt_tokens, COUNT_MAX),
        completion_tokens=_within(usage.completion_tokens, COUNT_MAX),
        cached_tokens=_within(usage.cached_tokens, COUNT_MAX),
        cache_write_tokens=_within(usage.cache_write_tokens, COUNT_MAX),
        reasoning_tokens=_within(usage.reasoning_tokens, COUNT_MAX),
        cache_write_1h_tokens=_within(usage.cache_write_1h_tokens, COUNT_MAX),
        audio_tokens=_within(usage.audio_tokens, COUNT_MAX),
        video_tokens=_within(usage.video_tokens, COUNT_MAX),
        image_output_tokens=_within(usage.image_output_tokens, COUNT_MAX),
        audio_output_tokens=_within(usage.audio_output_tokens, COUNT_MAX),
        images=_within(usage.images, COUNT_MAX),
    )
    return sane, () if sane == usage else ("tokens_out_of_range",)


def _within(number: int, most: int) -> int:
    return min(max(number, 0), most)


def _within_or_none(number: int | None) -> int | None:
    return None if number is None else _within(number, MS_MAX)


def _text(value: str) -> str:
    # PostgreSQL refuses NUL in text: one such `user` field would block its batch for ever.
    return value[:TEXT_MAX].replace("\x00", "")


def _text_or_none(value: str | None) -> str | None:
    return None if value is None else _text(value)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
