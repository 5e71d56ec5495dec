"""Log-in with the organisation's own identity provider (OpenID Connect, code flow with PKCE).

Authlib does the protocol; this says which provider, and what its word is worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import FlaskIntegration, FlaskOAuth2App
from flask import Response, session
from joserfc.errors import JoseError
from pydantic import SecretStr

from billing.people import Identity
from routing.errors import Unauthorized, Unavailable

log = structlog.get_logger("pointsman.log_in")

#: Of each call to the provider: people wait for it.
TIMEOUT_S = 5
RETRY_AFTER_MS = 5_000
_REFUSED = "The identity provider did not confirm who you are. Please log in again."
_AWAY = "The identity provider does not answer. Please try again."
#: What its document must tell.
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
#: Where Authlib keeps what a browser was sent away with.
_PENDING = "_state_oidc_"
#: Signatures made with a key pair: a provider that offers others signs with what clients know.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
#: Longest subject and issuer that are kept; the standard's bound on the subject.
_SUBJECT_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """Who vouches for people.

    Attributes:
        issuer: its address; `/.well-known/openid-configuration` follows it.
        client_id: what it knows this installation as.
        name: on the button.
        may_create: people it vouches for who are not known yet are let in.
        trusts_email: its addresses are of those who have them, though it does not say
            `email_verified`.
    """

    issuer: str
    client_id: str
    client_secret: SecretStr
    name: str = "Single sign-on"
    may_create: bool = False
    trusts_email: bool = False


class Oidc:
    """One identity provider. Its keys and addresses are fetched when first needed."""

    def __init__(self, provider: OidcProvider) -> None:
        self.provider = provider
        self._issuer = provider.issuer.rstrip("/")
        self._client = FlaskOAuth2App(
            FlaskIntegration("oidc"),
            name="oidc",
            client_id=provider.client_id,
            client_secret=provider.client_secret.get_secret_value(),
            server_metadata_url=f"{self._issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid email profile",
                "code_challenge_method": "S256",
                "default_timeout": TIMEOUT_S,
            },
        )

    def ask(self, callback: str) -> Response:
        """Send the browser to the provider, to come back to `callback`.

        Raises:
            Unavailable: the provider does not answer.
        """
        for name in [name for name in session if name.startswith(_PENDING)]:
            del session[name]  # one at a time: they are in a cookie, which is small
        with _told():
            self._load()
            answer = self._client.authorize_redirect(callback)
        return Response(status=303, headers={"Location": answer.headers["Location"]})

    def answer(self) -> Identity:
        """Who came back with the current request, checked.

        Raises:
            Unauthorized: the provider said no, or its word does not hold.
            Unavailable: the provider does not answer.
        """
        with _told():
            issuer = self._load()
            token = self._client.authorize_access_token(
                claims_options={
                    "iss": {"essential": True, "value": issuer},
                    "aud": {"essential": True, "value": self.provider.client_id},
                }
            )
        claims = token.get("userinfo")
        if claims is None:
            raise Unauthorized(_REFUSED)
        return self._identity(claims)

    def _load(self) -> str:
        """What it says of itself, fetched once; gives back the issuer as it writes it."""
        metadata = self._client.load_server_metadata()
        issuer = str(metadata.get("issuer", ""))
        offered = metadata.get("id_token_signing_alg_values_supported") or ("RS256",)
        # Read by the client: it takes no signature of another kind.
        taken = [name for name in offered if name in _ALGORITHMS]
        metadata["id_token_signing_alg_values_supported"] = taken
        told = all(isinstance(metadata.get(name), str) for name in _ENDPOINTS)
        if issuer.rstrip("/") != self._issuer or not told or not taken:
            metadata.pop("_loaded_at", None)  # asked again next time
            raise Unavailable("The identity provider is not what was set up here.")
        return issuer

    def _identity(self, claims: dict[str, Any]) -> Identity:
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT_MAX:
            raise Unauthorized(_REFUSED)
        # Whoever may type an address into a profile must not become its owner here.
        verified = self.provider.trusts_email or claims.get("email_verified") is True
        return Identity(
            issuer=self._issuer,
            subject=subject,
            email=_text(claims, "email") if verified else "",
            first_name=_text(claims, "given_name"),
            last_name=_text(claims, "family_name"),
        )


@contextmanager
def _told() -> Iterator[None]:
    """The provider's failures as ours; what it said is in the log, not on the page."""
    try:
        yield
    except (AuthlibBaseError, JoseError) as error:
        log.info("log-in refused", action="log_in.refused", reason=type(error).__name__)
        raise Unauthorized(_REFUSED) from error
    except (OSError, ValueError, KeyError) as error:  # those of requests are OSErrors
        log.warning("identity provider failed", action="log_in.failed", exc_info=error)
        raise Unavailable(_AWAY, retry_after_ms=RETRY_AFTER_MS) from error


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    return value[:_SUBJECT_MAX] if isinstance(value, str) else ""
