"""The Procfile: the one list of commands that make up a running Pointsman."""

from __future__ import annotations

import re
from pathlib import Path

from routing.errors import ConfigError, ConfigProblem

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def root() -> Path:
    """The checkout: where the Procfile and `deploy/` are, and where the children run."""
    return Path(__file__).resolve().parents[2]


def read(path: Path) -> dict[str, str]:
    """Process names and their shell commands, in file order.

    Raises:
        ConfigError: no such file, a line that is no `name: command`, a name given twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = "`pointsman up` runs from a checkout of the project."
        raise _wrong(str(path), f"cannot be read ({error.strerror}).", hint) from error
    return parse(text, str(path))


def parse(text: str, where: str = "Procfile") -> dict[str, str]:
    """As `read`, from text. Empty lines and lines that start with `#` are skipped."""
    commands: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise _wrong(f"{where}:{number}", "is not of the form `name: command`.")
        name, command = match.groups()
        if name in commands:
            raise _wrong(f"{where}:{number}", f"names the process {name} a second time.")
        commands[name] = command
    return commands


def _wrong(where: str, message: str, hint: str = "") -> ConfigError:
    return ConfigError((ConfigProblem(where=where, message=message, hint=hint),))
