"""The use-case of the front door: authenticate → plan → hold → admit. One Redis round trip, no SQL.

A later turn of a conversation costs one look more, for the endpoint that cached it. Only a balance
that is not cached is read from SQL, once, and then admitted again.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from api.account import FreeToday
from billing import accounts, api_keys
from billing.db import Ledger
from routing import ids
from routing.budgets import account_scope, key_scope
from routing.catalog.live import LiveCatalog
from routing.catalog.pricing import (
    NANO_PER_USD,
    PICO_PER_NANO,
    dearest_completion_pico,
    worst_case_nano,
)
from routing.catalog.shapes import Catalog
from routing.clock import Clock
from routing.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    PaymentRequired,
    RateLimited,
    RouterError,
    Unavailable,
)
from routing.explain import refused_metadata
from routing.plan import Health, Plan, PlanRequest, facts, plan, worst_case
from routing.settings import Settings
from routing.sticky import saves, sticky_name, worth_recalling
from routing.store import redis_keys as keys
from routing.store.budgets import Budgets
from routing.store.bus import FrontDoor, Mailbox
from routing.store.jobs import (
    Admission,
    AdmissionResult,
    Admitted,
    CannotPay,
    FixedWindow,
    Jobs,
    KeyConflict,
    Late,
    LimitReached,
    NotLoaded,
    Replay,
)
from routing.wire.account import KeyRecord
from routing.wire.job import Api, Caller, JobSpec, RouteNote
from routing.wire.request import InferenceRequest
from workers.pools import doorbell, interactive_queue

#: An account and a key each load once, a clock is found ahead once; more means nothing holds.
LOADS_MAX = 4
#: A stalled Redis runs what we sent before it notices that we gave up (1.5 s) and told the client
#: 503. Nothing may be admitted then; the rest of the time is for the answer on its way back.
ADMIT_WITHIN_MS = 1_000
#: App names and addresses are labels, not documents.
LABEL_MAX = 256
MINUTE_MS = 60_000
DAY_MS = 86_400_000
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")
_rng = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP call, as far as accepting it needs to know.

    Attributes:
        tells_route: the caller wants to be told how it was routed.
    """

    api: Api
    key: KeyRecord
    request: InferenceRequest
    body: bytes
    request_id: str
    idempotency_key: str = ""
    app_url: str | None = None
    app_title: str | None = None
    tells_route: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A job that exists, and the mailbox its answer comes to.

    Attributes:
        replay: the answer of an earlier call with the same idempotency key; nobody publishes to
            this mailbox, it is filled from the store.
        simulated: every planned endpoint is the bundled simulator.
    """

    spec: JobSpec
    mailbox: Mailbox
    replay: bool
    simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptor:
    """Lets requests in. Built once per process.

    Attributes:
        health: the planner's view of outages, kept fresh in the background.
        backlog: charges that wait for the ledger, likewise.
        recall: the endpoint remembered under a conversation's name.
        undo: cancels a job whose admission nobody could confirm.
    """

    settings: Settings
    clock: Clock
    catalog: LiveCatalog
    ledger: Ledger
    jobs: Jobs
    budgets: Budgets
    front_door: FrontDoor
    health: Callable[[], Health]
    backlog: Callable[[], int]
    recall: Callable[[str], str | None]
    undo: Callable[[JobSpec], None]

    def accept(self, call: Call) -> Accepted:
        """Plan, hold and enqueue.

        Raises:
            BadRequest, NotFound: the request cannot be planned.
            PaymentRequired, Forbidden, RateLimited: money or a limit is missing.
            Conflict: the idempotency key belongs to another body.
            Unavailable: Redis, or SQL for a balance not cached, is away.
        """
        if self.backlog() > self.settings.outbox_max:
            raise Unavailable("Settlement is behind. Try again shortly.", retry_after_ms=10_000)
        now_ms = self.clock.now_ms()
        catalog = self.catalog.current
        wanted = self._facts(call)
        made, sticky = self._planned(call, wanted, catalog, now_ms)
        entries = made.entries
        worst = worst_case(entries, wanted, catalog)
        preferences = call.request.provider
        spec = JobSpec(
            generation_id=ids.generation_id(now_ms),
            api=call.api,
            stream=bool(call.request.stream),
            created_ms=now_ms,
            caller=_caller(call),
            entries=entries,
            allow_fallbacks=wanted.may_fall_back or len(entries) > 1,
            prompt_tokens_max=wanted.prompt_tokens_max,
            completion_tokens_max=worst.completion_tokens_max,
            hold_nano=worst.hold_nano,
            route=RouteNote(requested=made.requested, strategy=made.strategy, total=made.total)
            if call.tells_route
            else None,
            rescue=preferences is not None and preferences.rescue is True,
            waits=preferences is not None and preferences.on_unavailable == "wait",
            sticky=sticky,
        )
        simulated = catalog.endpoints[entries[0].endpoint_id].provider.simulated
        mailbox = self.front_door.open(spec.generation_id)
        try:
            replayed = self._admit(call, spec)
        except Unavailable:
            self.front_door.close(mailbox)
            self.undo(spec)
            raise
        except RouterError:
            self.front_door.close(mailbox)
            raise
        if replayed is not None:
            self.front_door.close(mailbox)
            mailbox = Mailbox(replayed)
        return Accepted(
            spec=spec, mailbox=mailbox, replay=replayed is not None, simulated=simulated
        )

    def _planned(
        self, call: Call, wanted: PlanRequest, catalog: Catalog, now_ms: int
    ) -> tuple[Plan, str]:
        """The plan, and under which name its conversation is remembered ("" for none).

        To name a conversation is to read its beginning, which may be long: it is named before only
        to look where it was, and after only if there is anything to come back for.
        """
        named, recalled = "", ""
        if worth_recalling(call.request):
            named = sticky_name(call.request, wanted, call.key.account_id)
            recalled = (self.recall(named) or "") if named else ""
        made = plan(wanted, catalog, self.health(), _rng, now_ms, sticky=recalled)
        if not any(saves(entry.price) for entry in made.entries):
            return made, ""
        return made, named or sticky_name(call.request, wanted, call.key.account_id)

    def _facts(self, call: Call) -> PlanRequest:
        routers = self.catalog.current.routers
        return facts(call.request, self.settings.default_model, call.key.policy, routers)

    def why_refused(self, call: Call) -> dict[str, Any]:
        """`openrouter_metadata` of a call that was not let in.

        Raises:
            BadRequest: it names no model, or an unknown one.
        """
        wanted, catalog = self._facts(call), self.catalog.current
        return refused_metadata(wanted, catalog, self.clock.now_ms())

    def _admit(self, call: Call, spec: JobSpec) -> str | None:
        """Admit, loading balances as needed; the earlier job's id when this call repeats one."""
        admission = self._admission(call, spec)
        skew_ms = 0
        for _ in range(LOADS_MAX):
            latest_ms = self.clock.now_ms() + skew_ms + ADMIT_WITHIN_MS
            result = self.jobs.admit(replace(admission, latest_ms=latest_ms))
            match result:
                case Admitted():
                    return None
                case Replay(job_id=job_id):
                    return job_id
                case NotLoaded(scope=scope):
                    self._load(scope, call.key, spec.created_ms)
                case Late(now_ms=theirs_ms):
                    # We still wait, so it is not late: Redis's clock is ahead of ours.
                    skew_ms = theirs_ms - self.clock.now_ms()
                case _:
                    raise _refusal(result, spec, call.key)
        raise Unavailable("The balance cannot be read right now.", retry_after_ms=1_000)

    def _admission(self, call: Call, spec: JobSpec) -> Admission:
        key = call.key
        pool = spec.entries[0].pool
        queue = interactive_queue(pool)
        scopes = [account_scope(key.account_id)]
        if key.limit_nano is not None:
            scopes.append(key_scope(key.key_hash, key.limit_reset, spec.created_ms))
        return Admission(
            job_id=spec.generation_id,
            pool=pool,
            queue=queue,
            envelope=doorbell(spec.generation_id, queue),
            front_door=self.front_door.name,
            spec=spec.to_json(),
            request=call.request.to_json(),
            account_id=key.account_id,
            hold_nano=spec.hold_nano,
            scopes=tuple(scopes),
            stream=spec.stream,
            limits=self._limits(key, spec),
            idempotency_key=call.idempotency_key,
            fingerprint=_fingerprint(call),
            deadline_ms=self.settings.deadline_ms,
            queue_timeout_ms=self.settings.queue_timeout_ms,
        )

    def _limits(self, key: KeyRecord, spec: JobSpec) -> tuple[FixedWindow, ...]:
        """The free tier's: per minute and per UTC day, for `:free` models only."""
        model = self.catalog.current.model(spec.entries[0].model_id)
        if model is None or not model.free:
            return ()
        settings, now_ms = self.settings, spec.created_ms
        return (
            FixedWindow(
                key=keys.limit("free-min", key.account_id, now_ms // MINUTE_MS),
                maximum=settings.free_rpm,
                ttl_ms=MINUTE_MS - now_ms % MINUTE_MS,
            ),
            FixedWindow(
                key=_free_day(key, now_ms),
                maximum=self._free_daily(key),
                ttl_ms=DAY_MS - now_ms % DAY_MS,
            ),
        )

    def free_today(self, key: KeyRecord) -> FreeToday:
        """How much of the free tier an account has used this UTC day.

        Raises:
            Unavailable: Redis does not answer.
        """
        used = self.budgets.window(_free_day(key, self.clock.now_ms()))
        return FreeToday(limit=self._free_daily(key), used=used)

    def _free_daily(self, key: KeyRecord) -> int:
        settings = self.settings
        return settings.free_rpd_purchased if self._has_bought(key) else settings.free_rpd

    def _has_bought(self, key: KeyRecord) -> bool:
        """Whether the account bought enough for the larger daily limit; from one dollar below."""
        threshold_usd = max(0, self.settings.free_purchase_threshold_usd - 1)
        return key.purchased_nano >= threshold_usd * NANO_PER_USD

    def _load(self, scope: str, key: KeyRecord, now_ms: int) -> None:
        """Put a balance into the cache; a newer one from settlement stays."""
        if scope == account_scope(key.account_id):
            budget = accounts.budget_of(self.ledger, key.account_id)
        else:
            found = api_keys.budget_of(self.ledger, key.key_hash, now_ms)
            if found is None:
                raise Unavailable("The key's limit was changed just now.", retry_after_ms=1_000)
            budget = found
        self.budgets.post((budget,))


def idempotency_key(header: str | None) -> str:
    """A usable `Idempotency-Key`; "" when none was sent.

    Raises:
        BadRequest: too long, or not printable ASCII.
    """
    if not header:
        return ""
    if not _IDEMPOTENCY_KEY.fullmatch(header):
        raise BadRequest("Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return header


def _free_day(key: KeyRecord, now_ms: int) -> str:
    return keys.limit("free-day", key.account_id, now_ms // DAY_MS)


def _fingerprint(call: Call) -> str:
    if not call.idempotency_key:
        return ""
    betas = getattr(call.request, "anthropic_betas", None) or ()
    asked = "\n".join((call.api, *betas, "")).encode()
    return hashlib.sha256(asked + call.body).hexdigest()


def _caller(call: Call) -> Caller:
    return Caller(
        account_id=call.key.account_id,
        key_hash=call.key.key_hash,
        request_id=call.request_id,
        app_url=call.app_url[:LABEL_MAX] if call.app_url else None,
        app_title=call.app_title[:LABEL_MAX] if call.app_title else None,
        user=call.request.user,
    )


def _refusal(result: AdmissionResult, spec: JobSpec, key: KeyRecord) -> RouterError:
    """Why a request was not let in, in the contract's words."""
    match result:
        case KeyConflict():
            return Conflict("This Idempotency-Key was used with a different request body.")
        case LimitReached(limit=limit, retry_after_ms=retry_after_ms):
            return _rate_limited(limit, retry_after_ms, spec.created_ms, key)
        case CannotPay():
            return _cannot_pay(result, spec, key)
        case _:
            return Unavailable("The request could not be let in.", retry_after_ms=1_000)


def _rate_limited(
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


def _cannot_pay(result: CannotPay, spec: JobSpec, key: KeyRecord) -> RouterError:
    of_key = result.scope.startswith("key:")
    source = "openrouter_key_limit" if of_key else "openrouter_credits"
    if result.available_nano <= 0:
        if of_key:
            period = {"daily": "daily", "weekly": "weekly", "monthly": "monthly"}.get(
                key.limit_reset or "", "total"
            )
            return Forbidden(
                f"Key limit exceeded ({period} limit). Raise the key's limit or use another key.",
                metadata={"limit_source": source},
            )
        return PaymentRequired(
            "Insufficient credits. Add more credits to this account.",
            metadata={"limit_source": source},
        )
    if result.available_nano >= spec.hold_nano:
        return PaymentRequired(
            "This request would exceed your available credits given your current in-flight "
            "requests. Retry after in-flight requests settle, or add credits.",
            metadata={
                "reason": "in_flight_budget_exhausted",
                "limit_source": "openrouter_in_flight_budget",
            },
            retry_after_ms=1_000,
        )
    affordable = _affordable_tokens(spec, result.available_nano)
    remedy = "create a key with a higher limit" if of_key else "add more credits"
    return PaymentRequired(
        "This request requires more credits, or fewer max_tokens. You requested up to "
        f"{spec.completion_tokens_max} tokens, but can only afford {affordable}. "
        f"To increase, {remedy}.",
        metadata={
            "provider_name": None,
            "reason": "weight_exceeds_budget",
            "limit_source": source,
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
