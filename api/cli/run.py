"""`pointsman run NAME`: one process of the Procfile, for containers and service managers."""

from __future__ import annotations

import os
import sys

import click

from api.cli.layout import path_with_programs
from api.cli.procfile import read, root
from routing.errors import ConfigError, ConfigProblem
from routing.settings import Settings, environment


@click.command()
@click.argument("name")
def run(name: str) -> None:
    """Run one process of the Procfile in the foreground, in place of this one."""
    settings = Settings.from_env()
    commands = read(root() / "Procfile")
    if name not in commands:
        message = f"there is no process {name}."
        raise ConfigError(
            (ConfigProblem("Procfile", message, f"Known are {', '.join(commands)}."),)
        )
    given = environment()
    # The Procfile's own paths count from the checkout, the operator's from here.
    home = str(settings.home.resolve())
    child = {**given, "PATH": path_with_programs(given), "POINTSMAN_HOME": home}
    os.chdir(root())
    sys.stdout.flush()
    os.execve("/bin/sh", ["/bin/sh", "-c", f"exec {commands[name]}"], child)  # noqa: S606 - ours
