"""All pages, and how an application gets them."""

from __future__ import annotations

from flask import Flask

from api.console import consent, organizations, people, style
from api.console.log_in import LogIn
from api.console.session import Sessions
from api.office import Office
from routing.settings import Settings
from routing.store.connect import RedisClient
from routing.store.tries import Tries


def install(app: Flask, office: Office, settings: Settings, redis: RedisClient) -> Sessions:
    """Register every page with an application; without a secret they say that one is needed.

    Raises:
        ConfigError: the secret is none.
    """
    sessions, tries = Sessions(office, settings), Tries(redis)
    sessions.install(app)
    log_in = LogIn(office=office, sessions=sessions, tries=tries, public_url=settings.public_url)
    for routes in (
        log_in.blueprint(),
        people.blueprint(office, sessions, tries),
        organizations.blueprint(office, sessions),
        consent.blueprint(office, sessions),
        style.blueprint(),
    ):
        app.register_blueprint(routes)
    return sessions
