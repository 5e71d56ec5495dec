"""What a key may read about itself: its limits and spend, and its generations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api.amounts import iso
from api.keys import spend_body, workspace_of
from billing import accounts, api_keys, budget_rules, generations
from billing.api_keys import KeyUsage
from billing.budget_rules import Standing
from billing.db import Ledger
from billing.generations import Generation
from billing.spend import owners_of
from routing.budgets import MS_PER_DAY, LimitReset, reset_of, window_end_day
from routing.catalog.pricing import usd
from routing.clock import Clock
from routing.errors import BadRequest, NotFound
from routing.ids import is_generation_id
from routing.wire.account import KeyRecord
from routing.wire.job import AttemptRecord

#: Fields of the contract for things this router does not do; clients expect them to be there.
_NOT_KNOWN: dict[str, Any] = dict.fromkeys(
    (
        "moderation_latency",
        "num_fetches",
        "num_input_audio_prompt",
        "num_media_completion",
        "num_search_results",
        "preset_id",
        "response_cache_source_id",
        "router",
        "service_tier",
        "web_search_engine",
    )
)

#: Whose a budget is, by the start of its owner, in the contract's words.
_SCOPES = {"org": "workspace", "member": "member", "spend": "api_key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeToday:
    """Requests to free models that an account may make, and has made, this UTC day."""

    limit: int
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """What `GET /key` tells of.

    Attributes:
        budgets: besides the key's own limit, in the order they are checked.
        organization: whether an organisation owns it.
    """

    record: KeyRecord
    used: KeyUsage
    budgets: tuple[Standing, ...]
    organization: bool
    now_ms: int


def blueprint(
    ledger: Ledger,
    authenticate: Callable[[], KeyRecord],
    clock: Clock,
    free_today: Callable[[KeyRecord], FreeToday],
) -> Blueprint:
    """Routes `/key`, `/auth/key` and `/generation`; the caller adds the base path.

    Args:
        ledger: read only.
        authenticate: the key of the current request, or raises.
        clock: which day, week and month it is.
        free_today: the free tier's count for the account of a key.
    """
    routes = Blueprint("account", __name__)

    @routes.get("/key")
    @routes.get("/auth/key")
    def key() -> ResponseReturnValue:
        record = authenticate()
        now_ms = clock.now_ms()
        return jsonify({"data": key_body(_state(ledger, record, now_ms), free_today(record))})

    @routes.get("/generation")
    def generation() -> ResponseReturnValue:
        record = authenticate()
        wanted = request.args.get("id", "")
        if not wanted:
            raise BadRequest("Give the generation as ?id=gen-...", param="id")
        found = None
        if is_generation_id(wanted):
            found = generations.find(ledger, wanted, record.account_id)
        if found is None:
            # Also for one that is not settled yet: clients ask again after a moment.
            raise NotFound("Generation not found")
        return jsonify({"data": generation_body(found)})

    return routes


def _state(ledger: Ledger, record: KeyRecord, now_ms: int) -> KeyState:
    owners = owners_of(record.account_id, record.key_hash, record.creator_user_id)
    account = accounts.get(ledger, record.account_id)
    return KeyState(
        record=record,
        used=api_keys.usage(ledger, record.key_hash, now_ms),
        budgets=budget_rules.standing(ledger, owners, now_ms),
        organization=account is not None and account.kind == "organization",
        now_ms=now_ms,
    )


def key_body(state: KeyState, free: FreeToday) -> dict[str, Any]:
    """`data` of GET /key: the record as it is in force, the spend as it is settled."""
    record, used = state.record, state.used
    left_nano: int | None = None
    budgets = [_budget(one, state.now_ms) for one in state.budgets]
    if record.limit_nano is not None:
        spent_nano = used.in_window(record.limit_reset, byok=record.include_byok_in_limit)
        left_nano = max(0, record.limit_nano - spent_nano)
        budgets.insert(0, _own_limit(record, record.limit_nano, spent_nano, state.now_ms))
    management = record.kind == "management"
    return {
        "label": record.label,
        "limit": _usd_or_none(record.limit_nano),
        "limit_remaining": _usd_or_none(left_nano),
        "limit_reset": record.limit_reset,
        "include_byok_in_limit": record.include_byok_in_limit,
        **spend_body(used),
        "is_free_tier": not record.purchased,
        "is_provisioning_key": management,
        "is_management_key": management,
        "expires_at": None if record.expires_ms is None else iso(record.expires_ms),
        "rate_limit": {
            "requests": -1,
            "interval": "10s",
            "note": "This field is deprecated and safe to ignore.",
        },
        **asdict(record.rates),
        "account_rate_limits": asdict(record.account_rates),
        "budgets": budgets,
        "effective_budget": _effective(budgets),
        "free_model_daily_requests": {
            "limit": free.limit,
            "used": min(free.used, free.limit),
            "remaining": max(0, free.limit - free.used),
        },
        "allowed_data_regions": ["global"],
        "creator_user_id": record.creator_user_id or None,
        "organization_id": record.account_id if state.organization else None,
        "workspace_id": workspace_of(record.account_id),
    }


def _effective(budgets: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """What refuses first: of those that are used up the first to be checked, or the tightest."""
    used_up = (one for one in budgets if one["remaining_usd"] <= 0)
    tightest = min(budgets, key=lambda one: one["remaining_usd"], default=None)
    return next(used_up, tightest)


def _own_limit(record: KeyRecord, limit_nano: int, spent_nano: int, now_ms: int) -> dict[str, Any]:
    """The key's own limit, as a budget."""
    return {
        "scope": "key_limit",
        "budget_id": None,
        "guardrail_id": None,
        "include_byok": record.include_byok_in_limit,
        **_amounts(limit_nano, spent_nano, record.limit_reset, now_ms),
    }


def _budget(standing: Standing, now_ms: int) -> dict[str, Any]:
    budget = standing.budget
    return {
        "scope": _SCOPES[budget.owner.partition(":")[0]],
        "budget_id": budget.id,
        "guardrail_id": None,
        "include_byok": budget.include_byok,
        **_amounts(budget.limit_nano, standing.spent_nano, reset_of(budget.interval), now_ms),
    }


def _amounts(
    limit_nano: int, spent_nano: int, reset: LimitReset | None, now_ms: int
) -> dict[str, Any]:
    end_day = window_end_day(reset, now_ms)
    return {
        "limit_usd": usd(limit_nano),
        "spend_usd": usd(spent_nano),
        "remaining_usd": usd(limit_nano - spent_nano),
        "reset_interval": reset,
        "resets_at": None if end_day is None else iso(end_day * MS_PER_DAY),
    }


def generation_body(found: Generation) -> dict[str, Any]:
    """`data` of GET /generation: amounts in USD, times in ms, absent things null."""
    usage = found.usage
    cost = usd(found.cost_nano)
    return _NOT_KNOWN | {
        "id": found.id,
        "request_id": found.request_id or None,
        "upstream_id": found.upstream_id,
        "total_cost": cost,
        "usage": cost,
        # Of their own key; otherwise it is the price, and nobody's business but ours.
        "upstream_inference_cost": usd(found.upstream_cost_nano) if found.byok else None,
        "cache_discount": _usd_or_none(found.cache_discount_nano),
        "created_at": iso(found.created_ms),
        "model": found.model_id,
        "streamed": found.stream,
        "cancelled": found.outcome == "cancelled",
        "provider_name": found.provider or None,
        "latency": found.latency_ms,
        "generation_time": found.generation_ms,
        "finish_reason": found.finish_reason,
        "native_finish_reason": found.native_finish_reason,
        # The router bills what providers count, so both counts are the same.
        "tokens_prompt": usage.prompt_tokens,
        "tokens_completion": usage.completion_tokens,
        "native_tokens_prompt": usage.prompt_tokens,
        "native_tokens_completion": usage.completion_tokens,
        "native_tokens_reasoning": usage.reasoning_tokens,
        "native_tokens_cached": usage.cached_tokens,
        "native_tokens_completion_images": usage.image_output_tokens,
        "num_media_prompt": usage.images or None,
        "origin": found.app_url or "",
        "http_referer": found.app_url,
        "is_byok": found.byok,
        "external_user": found.external_user,
        "app_id": found.app_id,
        "session_id": found.session_id,
        "user_agent": found.user_agent,
        "workspace_id": workspace_of(found.account_id),
        "api_type": "embeddings" if found.api == "embeddings" else "completions",
        "data_region": "global",
        "provider_responses": [_response(found, one) for one in found.attempts],
    }


def _response(found: Generation, attempt: AttemptRecord) -> dict[str, Any]:
    answered = attempt is found.attempts[-1] and attempt.endpoint_id == found.endpoint_id
    return {
        "id": found.upstream_id if answered else None,
        "endpoint_id": attempt.endpoint_id,
        "provider_name": attempt.provider,
        "model_permaslug": attempt.endpoint_id.partition(":")[2] or found.model_id,
        "status": attempt.status,
        "latency": attempt.latency_ms,
        "is_byok": attempt.byok,
    }


def _usd_or_none(nano: int | None) -> float | None:
    return None if nano is None else usd(nano)
