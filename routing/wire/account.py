"""What the front door must know of a key to let a request in, and the budgets it draws on.

Written by billing from SQL, cached in Redis and in each front door; never read back into SQL.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from routing.budgets import Interval, LimitReset

KeyKind = Literal["inference", "management"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A pot that holds are taken from: an account's credit, or a key's limit in its window.

    Attributes:
        scope: `acct:<account id>`, or what `routing.budgets` names a window; names the Redis key.
        available_nano: posted balance of an account, or limit minus settled spend in a window; of
            the free use of own provider keys the requests that are left.
        version: of the ledger row it was read from; a cache only ever moves forward.
    """

    scope: str
    available_nano: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """What an account allows all its requests; a request can narrow it, never widen it.

    Attributes:
        only: slugs of the providers that may serve it; () for all.
        ignore: slugs of those that may not.
        zdr: only endpoints that keep nothing.
        deny_paid_training: no paid endpoint that trains on prompts.
        deny_free_training: no free one either.
        deny_free_publication: no free endpoint that may publish prompts.
        sort: for requests that give neither `sort` nor `order`.
        default_model: for requests that name none.
    """

    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    zdr: bool = False
    deny_paid_training: bool = False
    deny_free_training: bool = False
    deny_free_publication: bool = False
    sort: Literal["price", "throughput", "latency"] | None = None
    default_model: str = ""

    def to_json(self) -> bytes:
        """Only what differs from the default; `from_json` is its inverse."""
        plain = asdict(RoutingPolicy())
        return orjson.dumps({k: v for k, v in asdict(self).items() if v != plain[k]})

    @classmethod
    def from_json(cls, raw: bytes | str) -> RoutingPolicy:
        """Read it back; unknown fields of newer writers are ignored."""
        return cls.from_dict(orjson.loads(raw))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RoutingPolicy:
        """The same from what was parsed already."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in known.items()
        }
        return cls(**fields)


#: An account that allows everything.
NO_POLICY = RoutingPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRule:
    """A budget besides a key's own limit.

    Attributes:
        owner: whose spend it bounds: of the key, its maker, or the whole account
            (`routing.budgets`).
        include_byok: whether use of the account's own provider keys counts too.
    """

    owner: str
    interval: Interval
    limit_nano: int
    include_byok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """How fast a key or an account may ask; None for as fast as it likes.

    Attributes:
        rpm: requests a minute.
        tpm: tokens a minute, estimated at admission and put right at the end.
        parallel: requests at once.
    """

    rpm: int | None = None
    tpm: int | None = None
    parallel: int | None = None


#: As fast as they like.
NO_RATES = RateLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDefault:
    """How an account wants a plugin to be used by its requests.

    Attributes:
        enabled: also for requests that do not name it.
        prevent_overrides: a request can neither switch it off nor change it.
        config: its other fields, as a request would give them.
    """

    id: str
    enabled: bool = True
    prevent_overrides: bool = False
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoTopUp:
    """Credit bought by itself when the balance falls below a threshold."""

    threshold_nano: int
    amount_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """What an account has chosen, besides where its requests may go (`RoutingPolicy`).

    Attributes:
        rates: of all its keys together.
        logs: prompts and answers are kept, and usage is cheaper for it.
    """

    rates: RateLimits = NO_RATES
    logs: bool = False
    plugins: tuple[PluginDefault, ...] = ()
    auto_top_up: AutoTopUp | None = None

    def to_json(self) -> bytes:
        """`from_json` is its inverse."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: bytes | str) -> AccountSettings:
        """Read it back; what is missing is as it is by default, unknown fields are ignored."""
        data: dict[str, Any] = orjson.loads(raw)
        top_up = data.get("auto_top_up")
        return cls(
            rates=RateLimits(**(data.get("rates") or {})),
            logs=bool(data.get("logs")),
            plugins=tuple(PluginDefault(**one) for one in data.get("plugins") or ()),
            auto_top_up=None if top_up is None else AutoTopUp(**top_up),
        )


#: An account that has chosen nothing.
NO_SETTINGS = AccountSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class ByokKey:
    """A provider key of the account that this key may use.

    Attributes:
        provider: slug.
        sealed: the key, encrypted for its row; only `routing.sealing` opens it.
        always_use: requests to this provider never use the operator's key.
        is_fallback: comes after the account's other keys of the provider.
        allowed_models: ids it may be used for; None for all.
    """

    id: str
    account_id: str
    provider: str
    sealed: str
    always_use: bool = False
    is_fallback: bool = False
    allowed_models: tuple[str, ...] | None = None

    def serves(self, model_id: str) -> bool:
        """Whether it may be used for a model; variants follow their model."""
        allowed = self.allowed_models
        return allowed is None or model_id in allowed or model_id.partition(":")[0] in allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as the front door needs it. Holds no secret: `key_hash` is SHA-256 of the full key.

    Attributes:
        limit_nano: spend limit in the current window; None for none.
        limit_reset: how the window starts anew: daily, weekly, monthly (UTC), or never.
        name: what its maker calls it.
        expires_ms: not valid from this moment on; None for never.
        include_byok_in_limit: whether use of the account's own provider keys counts too.
        purchased: whether the account ever bought credits.
        purchased_nano: how much it bought (free-tier limits depend on it).
        policy: of its account.
        creator_user_id: who made it; "" for the operator.
        budgets: what else bounds its spend.
        rates: how fast it may ask.
        account_rates: how fast its account may, all keys together.
        byok: in the order they are tried.
        logs: the account keeps prompts and answers, which makes usage cheaper.
        fetched_ms: when it was read from SQL.
    """

    key_hash: str
    account_id: str
    kind: KeyKind
    label: str
    name: str = ""
    disabled: bool = False
    expires_ms: int | None = None
    limit_nano: int | None = None
    limit_reset: LimitReset | None = None
    include_byok_in_limit: bool = False
    purchased: bool = False
    purchased_nano: int = 0
    policy: RoutingPolicy = NO_POLICY
    creator_user_id: str = ""
    budgets: tuple[BudgetRule, ...] = ()
    rates: RateLimits = NO_RATES
    account_rates: RateLimits = NO_RATES
    byok: tuple[ByokKey, ...] = ()
    logs: bool = False
    fetched_ms: int = 0

    def to_json(self) -> bytes:
        """JSON for the cache."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: bytes) -> KeyRecord:
        """The inverse of `to_json`; unknown fields of newer writers are ignored."""
        data: dict[str, Any] = orjson.loads(raw)
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        known["policy"] = RoutingPolicy.from_dict(data.get("policy") or {})
        known["budgets"] = tuple(BudgetRule(**one) for one in data.get("budgets") or ())
        known["rates"] = RateLimits(**(data.get("rates") or {}))
        known["account_rates"] = RateLimits(**(data.get("account_rates") or {}))
        known["byok"] = tuple(_byok_key(one) for one in data.get("byok") or ())
        return cls(**known)


def _byok_key(data: dict[str, Any]) -> ByokKey:
    allowed = data.get("allowed_models")
    return ByokKey(**{**data, "allowed_models": None if allowed is None else tuple(allowed)})
