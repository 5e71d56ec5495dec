"""`pointsman catalog …` and `pointsman pools`."""

from __future__ import annotations

import click

from api.cli.ledger import settings_of_shell
from routing.catalog.load import load
from routing.catalog.shapes import Catalog
from routing.settings import Settings, environment
from routing.store.control import request_reload
from workers.pools import batch_queue, interactive_queue


def catalog_of(settings: Settings) -> Catalog:
    """The catalog as the processes load it.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    return load(settings.catalog_dirs, environ=environment(), sandbox_url=settings.sandbox_url)


@click.command()
@click.option("--batch", is_flag=True, help="The queues of batch work instead of interactive work.")
def pools(batch: bool) -> None:  # noqa: FBT001 - click passes options so
    """Print the queue of every provider pool, separated by commas, for a worker's -Q."""
    queue = batch_queue if batch else interactive_queue
    click.echo(",".join(queue(pool) for pool in catalog_of(Settings.from_env()).pools))


@click.group("catalog")
def catalog_group() -> None:
    """Providers, models and prices."""


@catalog_group.command("check")
def check() -> None:
    """Read the catalog and report every problem with file and line."""
    catalog = catalog_of(Settings.from_env())
    models = {model.id for model in catalog.models.values()}
    callable_ = sum(len(endpoints) for endpoints in catalog.by_model.values())
    click.echo(
        f"The catalog is valid: {len(catalog.providers)} providers, "
        f"{len(models)} models, {len(catalog.endpoints)} endpoints, "
        f"{callable_} of them with a key or simulated (digest {catalog.digest})."
    )


@catalog_group.command("reload")
def reload() -> None:
    """Ask every running process to read the catalog again; one that cannot keeps the old one."""
    settings = settings_of_shell()
    catalog_of(settings)
    heard = request_reload(settings.redis_url)
    click.echo(f"{heard} {'process' if heard == 1 else 'processes'} heard the order.")
