"""The ledger and the settings as commands use them, and `pointsman migrate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from pydantic import SecretStr

from api.cli.home import Home
from api.cli.layout import redis_url
from billing.db import Ledger, open_ledger
from billing.schema import check, migrate
from routing.settings import Settings, environment


def settings_of_shell() -> Settings:
    """The settings; Redis and secret are the embedded ones unless the environment has others."""
    settings = Settings.from_env()
    update: dict[str, object] = {"redis_url": redis_url(settings, environment())}
    if not settings.secret.get_secret_value():
        update["secret"] = SecretStr(Home(settings.home.resolve()).read_secret())
    return settings.model_copy(update=update)


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """The ledger, its schema checked.

    Raises:
        ConfigError: the schema is not this release's.
        Unavailable: the database is away.
    """
    ledger = open_ledger(settings.sql_url)
    try:
        check(ledger)
        yield ledger
    finally:
        ledger.close()


@click.command("migrate")
def migrate_command() -> None:
    """Bring the ledger's schema to this release. Harmless when there is nothing to do."""
    settings = Settings.from_env()
    if not settings.database_url:
        Home(settings.home.resolve()).prepare()
    revision = migrate(settings.sql_url)
    click.echo(f"The ledger is at revision {revision}.")
