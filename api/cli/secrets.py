"""`pointsman secrets`: the secret that seals what is stored, and what follows a change of it."""

from __future__ import annotations

import click

from api.cli.ledger import opened, settings_of_shell
from billing.resealing import reseal
from routing.errors import ConfigError, ConfigProblem
from routing.sealing import Sealer, new_secret

_LOST_SHOWN = 10


@click.group("secrets")
def secrets_group() -> None:
    """Make a secret, and wrap anew what an earlier one sealed."""


@secrets_group.command("new")
def new_command() -> None:
    """Print a new secret for POINTSMAN_SECRET."""
    click.echo(new_secret())


@secrets_group.command("reseal")
@click.pass_context
def reseal_command(context: click.Context) -> None:
    """Wrap what an earlier secret sealed with the present one.

    First give every process the new secret as POINTSMAN_SECRET and the old one in
    POINTSMAN_SECRETS_BEFORE. Take the old one away when this is done and the longest request is
    over. Exits with 1 when something needs a secret that is not there.
    """
    settings = settings_of_shell()
    sealer = Sealer.of(settings)
    if not sealer.kek_id:
        problem = ConfigProblem(
            "POINTSMAN_SECRET", "is not set.", "Make one: `pointsman secrets new`."
        )
        raise ConfigError((problem,))
    with opened(settings) as ledger:
        found = reseal(ledger, sealer)
    click.echo(f"{found.done} wrapped with secret {sealer.kek_id}.")
    if found.lost:
        shown = ", ".join(found.lost[:_LOST_SHOWN])
        more = len(found.lost) - _LOST_SHOWN
        click.echo(f"No secret opens {shown}{f' and {more} more' if more > 0 else ''}.", err=True)
        context.exit(1)
