"""Settings: the environment, read once, with a default for everything (`POINTSMAN_*`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from routing.errors import ConfigError, ConfigProblem

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Every knob of every process. Frozen; only `Settings.from_env()` reads the environment.

    Times end in `_ms` or `_s`, sizes in `_bytes`. Field docs double as the README's table.
    """

    model_config = SettingsConfigDict(env_prefix="POINTSMAN_", frozen=True, extra="ignore")

    home: Path = Field(Path(".pointsman"), description="data of the embedded start")
    redis_url: str = Field("redis://127.0.0.1:6390/0", description="queue, job state, streams")
    database_url: str = Field("", description="ledger; default SQLite in POINTSMAN_HOME")
    catalog: str = Field("", description="more catalog directories, separated by ':'; later wins")
    sandbox_url: str = Field("", description="simulator that stands in for providers without a key")

    host: str = Field("127.0.0.1", description="address of the front door")
    port: int = Field(
        8080,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("POINTSMAN_PORT", "PORT"),
        description="port of the front door (PORT works too)",
    )
    redis_port: int = Field(6390, ge=1, le=65535, description="embedded Redis")
    flower_port: int = Field(5555, ge=1, le=65535, description="embedded Flower")
    simulator_port: int = Field(8099, ge=1, le=65535, description="embedded simulator")
    web_workers: int = Field(1, ge=1, le=64, description="front door processes")
    worker_processes: int = Field(1, ge=1, le=64, description="interactive workers started")
    worker_concurrency: int = Field(
        400, ge=1, le=900, description="calls in flight per worker; select() ends at 1024 sockets"
    )
    allow_insecure: bool = Field(False, description="permit a Redis without password off loopback")

    body_max_bytes: int = Field(32 * MIB, ge=1024, description="largest request body")
    fetch_allow: str = Field(
        "", description="host:port,… that media may be fetched from although not public"
    )
    default_model: str = Field("", description="served when a request names no model")
    deadline_ms: int = Field(600_000, ge=1_000, description="longest life of one request")
    first_frame_wait_ms: int = Field(
        10_000, ge=0, description="how long headers wait for the first byte of a stream"
    )
    comment_every_ms: int = Field(10_000, ge=500, description="keep-alive comment after silence")
    drain_grace_ms: int = Field(
        20_000, ge=0, description="after SIGTERM: then unsent work is handed over"
    )
    drain_hard_ms: int = Field(
        120_000, ge=1_000, description="after SIGTERM: then open streams end in an error"
    )
    lease_ms: int = Field(
        6_000, ge=1_000, description="a worker silent for so long has lost its jobs"
    )
    queue_timeout_ms: int = Field(
        3_000, ge=200, description="an unclaimed job's doorbell rings again after this"
    )
    outbox_max: int = Field(
        100_000, ge=1_000, description="unsettled charges beyond which nothing more is let in"
    )
    max_attempts: int = Field(
        3, ge=1, le=10, description="upstream calls per request; each fallback model adds one"
    )
    free_rpm: int = Field(20, ge=0, description="free models: requests a minute")
    free_rpd: int = Field(50, ge=0, description="free models: requests a day, nothing bought")
    free_rpd_purchased: int = Field(1_000, ge=0, description="the same after buying credits")
    free_purchase_threshold_usd: int = Field(10, ge=0, description="credits that count as bought")
    byok_free_requests: int = Field(
        1_000_000, ge=0, description="requests a month with own provider keys before there is a fee"
    )
    byok_fee_percent: Decimal = Field(
        Decimal(5), ge=0, le=100, description="fee of the later ones, of the list price"
    )
    logging_discount_percent: Decimal = Field(
        Decimal(1), ge=0, le=100, description="taken off where prompts and answers are kept"
    )
    content_days: int = Field(
        30, ge=1, le=3_650, description="days that kept prompts and answers are kept"
    )
    secret: SecretStr = Field(
        SecretStr(""), description="32 bytes as base64url; signs cookies, seals stored secrets"
    )
    secrets_before: SecretStr = Field(
        SecretStr(""), description="earlier secrets, separated by ','; open what they sealed"
    )
    public_url: str = Field("", description="where browsers reach the front door (https://…)")
    sign_up: Literal["closed", "open"] = Field(
        "closed", description="`open`: anybody may make an account on the pages"
    )
    allowance_usd: Decimal = Field(
        Decimal("0.10"), ge=0, le=1_000, description="credit given once to who signs up"
    )
    oidc_issuer: str = Field("", description="identity provider of people (OpenID Connect)")
    oidc_client_id: str = Field("", description="what it knows us as")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="and what proves it")
    oidc_name: str = Field("Single sign-on", description="its name on the log-in page")
    oidc_sign_up: bool = Field(False, description="everybody it knows may make an account")
    oidc_trust_email: bool = Field(
        False, description="its addresses are verified although it does not say so"
    )
    oauth_pkce: Literal["any", "s256"] = Field(
        "any", description="`s256`: applications must prove with S256 that they asked"
    )
    oauth_origins: str = Field(
        "", description="origins of callbacks that get codes, separated by ','; all when empty"
    )
    trusted_proxies: int = Field(
        0, ge=0, le=16, description="proxies in front, each of which adds to X-Forwarded-For"
    )
    stripe_secret_key: SecretStr = Field(
        SecretStr(""), description="key of its API; turns buying credit on"
    )
    stripe_webhook_secret: SecretStr = Field(
        SecretStr(""), description="whsec_…; several with ','; without it webhooks are off"
    )
    stripe_api_base: str = Field("", description="another address of its API, for tests")
    purchase_fee_percent: Decimal = Field(
        Decimal("5.5"), ge=0, le=100, description="on top of bought credit"
    )
    purchase_fee_min_usd: Decimal = Field(
        Decimal("0.80"), ge=0, le=1_000, description="the least such fee"
    )
    crypto_fee_percent: Decimal = Field(
        Decimal(5), ge=0, le=100, description="the same for cryptocurrency, without a least fee"
    )
    purchase_min_usd: Decimal = Field(
        Decimal(5), ge=1, le=1_000_000, description="least credit that is sold"
    )
    purchase_max_usd: Decimal = Field(
        Decimal(10_000), ge=1, le=1_000_000, description="most of it in one payment"
    )
    purchase_refund_hours: int = Field(
        24, ge=0, le=8_760, description="how long unused credit can be given back"
    )
    credits_expire_days: int = Field(
        0, ge=0, le=36_500, description="age at which unused credit expires; 0 is never"
    )
    metrics_dir: str = Field("", description="shared directory of the Prometheus counters")
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least level"
    )

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str) -> str:
        if not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value

    @property
    def sql_url(self) -> str:
        """The ledger's URL with the embedded default filled in."""
        return self.database_url or f"sqlite:///{(self.home / 'ledger.db').resolve()}"

    @property
    def catalog_dirs(self) -> tuple[Path, ...]:
        """The operator's own catalog directories, in order."""
        return tuple(Path(part) for part in self.catalog.split(":") if part)

    @classmethod
    def from_env(cls) -> Settings:
        """Read the environment.

        Raises:
            ConfigError: a value that cannot be used; names each variable.
        """
        try:
            return cls()
        except ValidationError as error:
            raise ConfigError(
                tuple(
                    ConfigProblem(
                        where="POINTSMAN_" + "_".join(str(part) for part in item["loc"]).upper(),
                        message=item["msg"],
                    )
                    for item in error.errors()
                )
            ) from error


def environment() -> Mapping[str, str]:
    """A copy of the environment, for what settings cannot name: provider keys and children."""
    return dict(os.environ)  # noqa: TID251 - this is the one place that reads it


def insecure(settings: Settings) -> ConfigProblem | None:
    """A Redis other machines can reach without a password holds everybody's prompts and money."""
    address = urlsplit(settings.redis_url)
    local = address.scheme == "unix" or _is_loopback(address.hostname or "")
    if local or settings.allow_insecure or address.password:
        return None
    return ConfigProblem(
        "POINTSMAN_REDIS_URL",
        "is a Redis on another machine without a password.",
        "Add one (redis://:password@host), or accept the risk with POINTSMAN_ALLOW_INSECURE=true.",
    )


def refuse_insecure(settings: Settings) -> None:
    """What every process asks before it serves.

    Raises:
        ConfigError: see `insecure`.
    """
    problem = insecure(settings)
    if problem is not None:
        raise ConfigError((problem,))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
