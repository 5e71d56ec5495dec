"""What the front door must know of a key to let a request in, and the budgets it draws on.

Written by billing from SQL, cached in Redis and in each front door; never read back into SQL.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

KeyKind = Literal["inference", "management"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A pot that holds are taken from: an account's credit, or a key's limit in its window.

    Attributes:
        scope: `acct:<account id>` or `key:<hash>@<window start>`; names the Redis key.
        available_nano: posted balance of an account, or limit minus settled spend of a key.
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
class KeyRecord:
    """A key as the front door needs it. Holds no secret: `key_hash` is SHA-256 of the full key.

    Attributes:
        limit_nano: spend limit in the current window; None for none.
        limit_reset: how the window starts anew: daily, weekly, monthly (UTC), or never.
        expires_ms: not valid from this moment on; None for never.
        include_byok_in_limit: whether use of the account's own provider keys counts too.
        purchased: whether the account ever bought credits.
        purchased_nano: how much it bought (free-tier limits depend on it).
        policy: of its account.
        fetched_ms: when it was read from SQL.
    """

    key_hash: str
    account_id: str
    kind: KeyKind
    label: str
    disabled: bool = False
    expires_ms: int | None = None
    limit_nano: int | None = None
    limit_reset: Literal["daily", "weekly", "monthly"] | None = None
    include_byok_in_limit: bool = False
    purchased: bool = False
    purchased_nano: int = 0
    policy: RoutingPolicy = NO_POLICY
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
        return cls(**known)
