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
from api.limits import paces, slots
from api.refusals import refusal
from billing import balances
from billing.db import Ledger
from routing import ids
from routing.budgets import Interval, account_scope, free_byok_scope, key_scope, owner_scope
from routing.catalog.live import LiveCatalog
from routing.catalog.pricing import NANO_PER_USD, PPM
from routing.catalog.shapes import Catalog
from routing.clock import Clock
from routing.errors import (
    BadRequest,
    NotFound,
    RouterError,
    Unavailable,
)
from routing.explain import refused_metadata
from routing.plan import Health, Plan, PlanRequest, WorstCase, facts, plan, worst_case
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
    Draw,
    FixedWindow,
    Jobs,
    Late,
    LimitReached,
    NotLoaded,
    Replay,
)
from routing.wire.account import KeyRecord
from routing.wire.job import Api, Caller, JobSpec, PlanEntry, RouteNote
from routing.wire.request import InferenceRequest
from workers.pools import doorbell, interactive_queue

#: An account, a key and its free use of own keys each load once, a fee is added once, a clock is
#: found ahead once; each budget and each endpoint given up comes on top. More means nothing holds.
LOADS_MAX = 6
#: Scopes of the free use of own provider keys begin so.
FREE_BYOK = "byok:"
#: Of several budgets that are used up, the broadest is named.
_BREADTH: tuple[Interval, ...] = ("lifetime", "monthly", "weekly", "daily")
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
        only_byok: id of the one provider key it may be answered with; "" for any, and ours.
    """

    api: Api
    key: KeyRecord
    request: InferenceRequest
    body: bytes
    request_id: str
    idempotency_key: str = ""
    app_url: str | None = None
    app_title: str | None = None
    user_agent: str | None = None
    tells_route: bool = False
    only_byok: str = ""


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
        if call.only_byok:
            entries = tuple(entry for entry in entries if entry.byok == call.only_byok)
            if not entries:
                raise NotFound("This provider key serves none of the endpoints of the model.")
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
            route=RouteNote(requested=made.requested, strategy=made.strategy, total=made.total)
            if call.tells_route
            else None,
            rescue=preferences is not None and preferences.rescue is True,
            waits=preferences is not None and preferences.on_unavailable == "wait",
            sticky=sticky,
            logs=self._logs(call.key),
            discount_ppm=int(self.settings.logging_discount_percent * PPM / 100)
            if self._logs(call.key)
            else 0,
        )
        mailbox = self.front_door.open(spec.generation_id)
        try:
            spec, replayed = self._admitted(call, spec, wanted)
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
        simulated = catalog.endpoints[spec.entries[0].endpoint_id].provider.simulated
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
        routers, byok = self.catalog.current.routers, call.key.byok
        if call.only_byok:
            byok = tuple(replace(one, always_use=True) for one in byok if one.id == call.only_byok)
        return facts(call.request, self.settings.default_model, call.key.policy, routers, byok)

    def _logs(self, key: KeyRecord) -> bool:
        """Whether prompt and answer are kept: the account wants it, and they can be sealed."""
        return key.logs and bool(self.settings.secret.get_secret_value())

    def why_refused(self, call: Call) -> dict[str, Any]:
        """`openrouter_metadata` of a call that was not let in.

        Raises:
            BadRequest: it names no model, or an unknown one.
        """
        wanted, catalog = self._facts(call), self.catalog.current
        return refused_metadata(wanted, catalog, self.clock.now_ms())

    def _admitted(
        self, call: Call, spec: JobSpec, wanted: PlanRequest
    ) -> tuple[JobSpec, str | None]:
        """Admit with the endpoints, and on the terms, that there is room and money for.

        Balances are loaded as needed. Returns what was admitted, and the earlier job's id when this
        call repeats one.
        """
        skew_ms = 0
        for _ in range(LOADS_MAX + len(call.key.budgets) + len(spec.entries)):
            spec, admission = self._admission(call, spec, wanted)
            latest_ms = self.clock.now_ms() + skew_ms + ADMIT_WITHIN_MS
            result = self.jobs.admit(replace(admission, latest_ms=latest_ms))
            match result:
                case Admitted():
                    return spec, None
                case Replay(job_id=job_id):
                    return spec, job_id
                case NotLoaded(scope=scope):
                    self._load(scope, call.key, spec.created_ms)
                case Late(now_ms=theirs_ms):
                    # We still wait, so it is not late: Redis's clock is ahead of ours.
                    skew_ms = theirs_ms - self.clock.now_ms()
                case _:
                    cheaper = self._cheaper(result, spec)
                    if cheaper is None:
                        raise refusal(result, spec, call.key)
                    spec = cheaper
        raise Unavailable("The balance cannot be read right now.", retry_after_ms=1_000)

    def _cheaper(self, result: AdmissionResult, spec: JobSpec) -> JobSpec | None:
        """The same request as it may still be let in; None where there is nothing to give up."""
        match result:
            case CannotPay(scope=scope) if scope.startswith(FREE_BYOK):
                # This month's free use of own keys is over: from now on there is a fee.
                return replace(spec, fee_ppm=int(self.settings.byok_fee_percent * PPM / 100) or 1)
            case CannotPay():
                left = tuple(entry for entry in spec.entries if entry.byok)
            case LimitReached():  # the free tier's
                left = tuple(entry for entry in spec.entries if not self._is_free(entry))
            case _:
                return None
        return replace(spec, entries=left) if 0 < len(left) < len(spec.entries) else None

    def _admission(
        self, call: Call, spec: JobSpec, wanted: PlanRequest
    ) -> tuple[JobSpec, Admission]:
        """What is asked of Redis for these endpoints and terms, and the job as it is then."""
        key = call.key
        worst = worst_case(spec.entries, wanted, self.catalog.current, joined=spec.rescue)
        own = {entry.byok for entry in spec.entries if entry.byok}
        draws = self._draws(key, spec, worst, own=bool(own))
        spec = replace(
            spec,
            hold_nano=draws[0].hold_nano,
            completion_tokens_max=worst.completion_tokens_max,
            sealed={one.id: one.sealed for one in wanted.byok if one.id in own},
        )
        pool = spec.entries[0].pool
        queue = interactive_queue(pool)
        admission = Admission(
            job_id=spec.generation_id,
            pool=pool,
            queue=queue,
            envelope=doorbell(spec.generation_id, queue),
            front_door=self.front_door.name,
            spec=spec.to_json(),
            request=call.request.to_json(),
            account_id=key.account_id,
            draws=draws,
            stream=spec.stream,
            limits=self._limits(key, spec),
            paces=paces(key, wanted),
            slots=slots(key),
            idempotency_key=call.idempotency_key,
            fingerprint=_fingerprint(call),
            deadline_ms=self.settings.deadline_ms,
            queue_timeout_ms=self.settings.queue_timeout_ms,
        )
        return spec, admission

    def _draws(
        self, key: KeyRecord, spec: JobSpec, worst: WorstCase, *, own: bool
    ) -> tuple[Draw, ...]:
        """Credit first, then every limit and budget the key is under; broad ones before narrow."""

        def needed(*, include_byok: bool) -> int:
            return worst.hold_nano(spec.fee_ppm, include_byok=include_byok)

        draws = [Draw(account_scope(key.account_id), needed(include_byok=False))]
        if key.limit_nano is not None:
            scope = key_scope(key.key_hash, key.limit_reset, spec.created_ms)
            draws.append(Draw(scope, needed(include_byok=key.include_byok_in_limit)))
        for rule in sorted(key.budgets, key=lambda rule: _BREADTH.index(rule.interval)):
            scope = owner_scope(rule.owner, rule.interval, spec.created_ms)
            draws.append(Draw(scope, needed(include_byok=rule.include_byok)))
        if own and not spec.fee_ppm and self.settings.byok_fee_percent:
            draws.append(Draw(free_byok_scope(key.account_id, spec.created_ms), 1))
        return tuple(draws)

    def _is_free(self, entry: PlanEntry) -> bool:
        model = self.catalog.current.model(entry.model_id)
        return model is not None and model.free and not entry.byok

    def _limits(self, key: KeyRecord, spec: JobSpec) -> tuple[FixedWindow, ...]:
        """The free tier's: per minute and per UTC day, where a `:free` model may answer."""
        if not any(self._is_free(entry) for entry in spec.entries):
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
        free_requests = self.settings.byok_free_requests
        found = balances.of_scope(self.ledger, scope, key, now_ms, free_requests)
        if found is None:
            raise Unavailable("A limit of this key was changed just now.", retry_after_ms=1_000)
        self.budgets.post((found,))


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
        member=call.key.creator_user_id,
        session_id=getattr(call.request, "session_id", None),
        user_agent=call.user_agent[:LABEL_MAX] if call.user_agent else None,
    )
