"""Every failure the router can name.

    RouterError
    ├── CallerError                the request cannot be served as it stands
    │   ├── BadRequest        400  a field is wrong; says which, why, and the fix
    │   ├── Unauthorized      401  no key, an unknown key, a disabled or expired one
    │   ├── PaymentRequired   402  not enough credit
    │   ├── Forbidden         403  key limit, wrong kind of key, moderation
    │   ├── NotFound          404  no such resource, or no endpoint satisfies the constraints
    │   ├── Conflict          409  an idempotency key was used for another request
    │   ├── PayloadTooLarge   413  body over the cap
    │   └── RateLimited       429  one of our own limits
    ├── UpstreamError              an endpoint failed; the attempt loop decides what follows
    │   ├── UpstreamTimeout   504  connect, first byte, gap or total; `phase` says which
    │   ├── UpstreamLimited   429  the provider asked us to slow down; parks, is no outage
    │   ├── UpstreamDown      502  5xx, refused, reset, broken stream, unreadable answer
    │   ├── UpstreamRejected  4xx  the provider refused this request; the caller's doing
    │   │   └── UpstreamRefused 403  its content filter ended the answer before the first word
    │   ├── UpstreamDenied    502  the provider refused *our* key or account
    │   └── AnswerLost        502  Redis was away for so long that frames were given up; ours
    └── RouterFault                ours
        ├── Unavailable       503  a part we need is away; says when to try again
        └── Internal          500  a defect; the message never carries details

Each class knows three things its handler needs: `status` (what the caller is told), `retryable`
(whether another try can help) and `blame` (whose failure figures it belongs to).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

Blame = Literal["caller", "provider", "router"]
TimeoutPhase = Literal["connect", "first_byte", "gap", "total"]
#: What about a request was refused, where that says who else may take it: too long for the
#: endpoint's context, flagged by its moderation, or not answered by the model's content filter.
RefusalKind = Literal["", "context", "moderation", "refusal"]

#: Typed reason per status, as clients of the 2026 API read it in `metadata.error_type`.
_ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request",
    401: "authentication",
    402: "payment_required",
    403: "permission_denied",
    404: "not_found",
    413: "payload_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    500: "server",
    502: "provider_unavailable",
    503: "provider_overloaded",
    504: "timeout",
    529: "provider_overloaded",
}


def error_type(status: int) -> str:
    """The contract's typed reason for an HTTP status; `unmapped` where it has none."""
    return _ERROR_TYPES.get(status, "unmapped")


class RouterError(Exception):
    """Base of the tree. `message` is shown to the caller, so it names no secret and no internals.

    Args:
        message: one sentence for the caller.
        metadata: free-form JSON for `error.metadata`; None leaves it out.
        retry_after_ms: when another try may help; becomes `Retry-After`.
        headers: extra response headers (strings), such as `X-RateLimit-*`.
    """

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    blame: ClassVar[Blame] = "router"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        retry_after_ms: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata) if metadata is not None else None
        self.retry_after_ms = retry_after_ms
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The contract's envelope: `{"error": {"code", "message", "metadata"?}}`."""
        error: dict[str, Any] = {"code": self.status, "message": self.message}
        if self.metadata is not None:
            error["metadata"] = self.metadata
        return {"error": error}


class CallerError(RouterError):
    """The request cannot be served as it stands."""

    blame = "caller"


class BadRequest(CallerError):
    """A field is wrong. `param` is its path, as in `messages[2].content`."""

    status = 400

    def __init__(self, message: str, *, param: str | None = None, **kwargs: Any) -> None:
        metadata = dict(kwargs.pop("metadata", None) or {})
        if param is not None:
            metadata["param"] = param
        super().__init__(message, metadata=metadata or None, **kwargs)
        self.param = param


class Unauthorized(CallerError):
    """No key, an unknown key, a disabled or an expired one."""

    status = 401


class PaymentRequired(CallerError):
    """Not enough credit for the worst case of this request."""

    status = 402


class Forbidden(CallerError):
    """The key may not do this: limit spent, wrong kind of key."""

    status = 403


class NotFound(CallerError):
    """No such resource, or no endpoint satisfies the request's constraints."""

    status = 404


class Conflict(CallerError):
    """The idempotency key belongs to another request."""

    status = 409


class PayloadTooLarge(CallerError):
    """The body is over the cap."""

    status = 413


class RateLimited(CallerError):
    """One of our own limits; `retry_after_ms` says when it reopens."""

    status = 429
    retryable = True


class RouterFault(RouterError):
    """Ours to fix."""


class Unavailable(RouterFault):
    """A part we need is away: Redis, SQL, workers; or every endpoint failed for now."""

    status = 503
    retryable = True


class Internal(RouterFault):
    """A defect. The log has the details, the caller has the request id."""

    status = 500

    def __init__(self, message: str = "Internal Server Error") -> None:
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt as a value: what `decide` reads and what is kept per generation.

    Attributes:
        status: HTTP status the caller would be told if this were the last word.
        message: shown to the caller.
        retryable: whether the same endpoint may be tried again.
        blame: whose health figures it counts against; only `provider` moves a breaker.
        limited: a 429 or 529: parks the endpoint, is no outage.
        silent: the endpoint never answered; the next one is tried, never the same again.
        retry_after_ms: the provider's own hint, already clamped.
        raw: the provider's error body, cut; goes into `metadata.raw`.
        provider: display name, for `metadata.provider_name`.
        kind: of a refusal that others may see differently; "" for any other failure.
        upstream_status: what the provider answered with; None if it did not answer.
    """

    status: int
    message: str
    retryable: bool
    blame: Blame
    limited: bool = False
    silent: bool = False
    retry_after_ms: int | None = None
    raw: str | None = None
    provider: str | None = None
    kind: RefusalKind = ""
    upstream_status: int | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """One that was kept as its fields; those of a newer release are left out."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})

    def body(self, previous: tuple[Failure, ...] = ()) -> dict[str, Any]:
        """The contract's error envelope, with the attempts before it in `previous_errors`."""
        metadata: dict[str, Any] = {
            "provider_name": self.provider,
            "error_type": error_type(self.status),
        }
        if self.raw is not None:
            metadata["raw"] = self.raw
        if previous:
            metadata["previous_errors"] = [
                {"code": f.status, "message": f.message, "provider": f.provider} for f in previous
            ]
        return {"error": {"code": self.status, "message": self.message, "metadata": metadata}}


class UpstreamError(RouterError):
    """An endpoint failed. `raw` is the provider's own words, cut to a bound by whoever raises."""

    status = 502
    retryable = True
    blame: ClassVar[Blame] = "provider"
    limited: ClassVar[bool] = False
    silent: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "Provider returned error",
        *,
        raw: str | None = None,
        status: int | None = None,
        retry_after_ms: int | None = None,
        kind: RefusalKind = "",
    ) -> None:
        super().__init__(message, retry_after_ms=retry_after_ms)
        self.raw = raw
        self.kind = kind
        self.upstream_status: int | None = None
        self.told_status = status if status is not None else type(self).status

    def failure(self, provider: str) -> Failure:
        """This error as a value, with the provider's display name."""
        return Failure(
            status=self.told_status,
            message=self.message,
            retryable=self.retryable,
            blame=self.blame,
            limited=self.limited,
            silent=self.silent,
            retry_after_ms=self.retry_after_ms,
            raw=self.raw,
            provider=provider,
            kind=self.kind,
            upstream_status=self.upstream_status,
        )


class UpstreamTimeout(UpstreamError):
    """The endpoint kept silent for longer than one of the four bounds; `phase` says which."""

    status = 504
    retryable = False
    silent = True

    def __init__(self, phase: TimeoutPhase, limit_ms: int) -> None:
        super().__init__(f"Provider timed out ({phase.replace('_', ' ')}, {limit_ms} ms)")
        self.phase = phase


class UpstreamLimited(UpstreamError):
    """429 or 529: the provider asked us to slow down. Parks the endpoint, is no outage."""

    status = 429
    limited = True


class UpstreamDown(UpstreamError):
    """5xx, connection refused or reset, a stream cut short, an answer nobody can read."""

    status = 502


class UpstreamRejected(UpstreamError):
    """The provider refused this very request (context length, moderation, bad parameter)."""

    status = 400
    retryable = False
    blame = "caller"


class UpstreamRefused(UpstreamRejected):
    """The model's content filter stopped the answer before its first word; others may answer."""

    status = 403

    def __init__(self) -> None:
        super().__init__(
            "The provider's content filter refused to answer this request", kind="refusal"
        )
        self.upstream_status = 200  # it answered, and properly


class UpstreamDenied(UpstreamError):
    """The provider refused our key, account or payment: the operator's to fix, others may serve."""

    status = 502
    retryable = False


class AnswerLost(UpstreamError):
    """Part of an answer could not be passed on: Redis was away for too long."""

    status = 502
    retryable = False
    blame = "router"

    def __init__(self) -> None:
        super().__init__("Part of the answer was lost inside the router")


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """Something an operator must fix, as a sentence with a place."""

    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        tail = f" {self.hint}" if self.hint else ""
        return f"{self.where}: {self.message}{tail}"


class ConfigError(RouterFault):
    """Settings or catalog cannot be used; each problem names its place. Never reaches a client."""

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
