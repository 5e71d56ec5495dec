"""All pages, and how an application gets them."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from api.console import admin, apps, consent, keys, organizations, people, sign_up, style
from api.console.log_in import LogIn
from api.console.session import Sessions
from api.office import Office
from billing.pkce import PkceRules
from routing.catalog.pricing import NANO_PER_USD
from routing.settings import Settings
from routing.store.connect import RedisClient
from routing.store.tries import Tries


def install(app: Flask, office: Office, settings: Settings, redis: RedisClient) -> Sessions:
    """Register every page with an application; without a secret they say that one is needed.

    Raises:
        ConfigError: the secret is none, or an origin of applications.
    """
    if settings.trusted_proxies:
        # Only whom tries are counted for: where browsers are is said by `public_url` alone.
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0, x_host=0
        )
    sessions, tries = Sessions(office, settings), Tries(redis)
    sessions.install(app)
    is_open = settings.sign_up == "open"
    allowance_nano = int(settings.allowance_usd * NANO_PER_USD)
    log_in = log_in_of(settings, office, sessions, tries)
    for routes in (
        log_in.blueprint(),
        sign_up.blueprint(office, sessions, tries, is_open=is_open, allowance_nano=allowance_nano),
        people.blueprint(office, sessions, tries),
        organizations.blueprint(office, sessions),
        keys.blueprint(office, sessions),
        admin.blueprint(office, sessions),
        apps.blueprint(office, sessions),
        consent.blueprint(office, sessions, PkceRules.of(settings)),
        style.blueprint(),
    ):
        app.register_blueprint(routes)
    return sessions


def log_in_of(settings: Settings, office: Office, sessions: Sessions, tries: Tries) -> LogIn:
    """Log-in as the settings have it."""
    oidc = None
    if settings.oidc_issuer:
        from api.console.oidc import Oidc, OidcProvider  # noqa: PLC0415 - a second HTTP client

        oidc = Oidc(
            OidcProvider(
                issuer=settings.oidc_issuer,
                client_id=settings.oidc_client_id,
                client_secret=settings.oidc_client_secret,
                name=settings.oidc_name,
                may_create=settings.oidc_sign_up,
                trusts_email=settings.oidc_trust_email,
            )
        )
    return LogIn(
        office=office,
        sessions=sessions,
        tries=tries,
        oidc=oidc,
        public_url=settings.public_url,
        open_to_all=settings.sign_up == "open",
        allowance_nano=int(settings.allowance_usd * NANO_PER_USD),
    )
