"""The `pointsman` command: its sub-commands, and what becomes of their errors."""

from __future__ import annotations

from typing import Any

import click

from api.cli.accounts import accounts_group
from api.cli.budgets import budgets_group
from api.cli.catalog import catalog_group, pools
from api.cli.credits import credits_group
from api.cli.doctor import doctor
from api.cli.explain import explain_command
from api.cli.figures import figures_command
from api.cli.keys import keys_group
from api.cli.ledger import migrate_command
from api.cli.redis_server import redis_command
from api.cli.run import run
from api.cli.secrets import secrets_group
from api.cli.up import up
from api.cli.usage import receipt_command, reconcile_command
from api.cli.users import members_group, users_group
from routing.errors import ConfigError, RouterError


class _Misconfigured(click.ClickException):
    """Settings, catalog or usage: exit code 2, as click has it for usage."""

    exit_code = 2


class _Commands(click.Group):
    """A group whose commands may raise any `RouterError`: a sentence for each, no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            sentences = "\n".join(str(problem) for problem in error.problems)
            raise _Misconfigured(sentences) from error
        except RouterError as error:
            raise click.ClickException(error.message) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pointsman", prog_name="pointsman")
def pointsman() -> None:
    """Run and administer a Pointsman, a self-hosted model router.

    Settings come from POINTSMAN_* variables.
    Exit codes: 0 done, 1 failed, 2 wrong settings or usage.
    """


for _command in (
    up,
    run,
    redis_command,
    migrate_command,
    pools,
    accounts_group,
    users_group,
    members_group,
    keys_group,
    budgets_group,
    credits_group,
    catalog_group,
    secrets_group,
    figures_command,
    explain_command,
    receipt_command,
    reconcile_command,
    doctor,
):
    pointsman.add_command(_command)


def main() -> None:
    """Entry point of the installed command."""
    pointsman.main()
