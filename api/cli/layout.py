"""Which processes an embedded start consists of, and the environment they share. Pure."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from api.cli.home import Home
from api.cli.ports import Port
from api.cli.processes import Command
from routing.errors import ConfigError, ConfigProblem
from routing.settings import Settings

_NOT_STARTED = frozenset({"release"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The options of `pointsman up`; `only` is empty for everything."""

    only: tuple[str, ...] = ()
    simulator: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A start, decided.

    Attributes:
        settings: with every address and path resolved, as the children will read them.
        commands: Procfile commands to run, by process name.
    """

    settings: Settings
    commands: Mapping[str, str]
    home: Home

    @property
    def local_host(self) -> str:
        """Where the front door is reached from this machine."""
        host = self.settings.host
        return "127.0.0.1" if _is_any(host) else f"[{host}]" if ":" in host else host

    @property
    def root_url(self) -> str:
        """The front door, without a path."""
        return f"http://{self.local_host}:{self.settings.port}"

    @property
    def base_url(self) -> str:
        """What a client is configured with."""
        return f"{self.root_url}/api/v1"

    @property
    def flower_url(self) -> str | None:
        """Where Flower is; None when it is not started."""
        if "flower" not in self.commands:
            return None
        return f"http://127.0.0.1:{self.settings.flower_port}"

    def ports(self) -> tuple[Port, ...]:
        """Every port the processes of this start will listen on."""
        settings, local = self.settings, "127.0.0.1"
        wanted = {
            "web": Port(
                host=settings.host, number=settings.port, purpose="the front door", variable="PORT"
            ),
            "redis": Port(
                host=local,
                number=settings.redis_port,
                purpose="the embedded Redis",
                variable="POINTSMAN_REDIS_PORT",
            ),
            "simulator": Port(
                host=local,
                number=settings.simulator_port,
                purpose="the provider simulator",
                variable="POINTSMAN_SIMULATOR_PORT",
            ),
            "flower": Port(
                host=local,
                number=settings.flower_port,
                purpose="Flower",
                variable="POINTSMAN_FLOWER_PORT",
            ),
        }
        return tuple(port for name, port in wanted.items() if name in self.commands)

    def children(self, given: Mapping[str, str], folder: Path) -> tuple[Command, ...]:
        """The commands as they are run, each with its environment; `worker` as often as set."""
        shared = {**given, **self.environment(given)}
        return tuple(
            Command(
                name=name,
                shell=shell,
                environment={**shared, "POINTSMAN_PROCESS": name},
                folder=folder,
                log=self.home.logs / f"{name}.log",
            )
            for process, shell in self.commands.items()
            for name in self._names(process)
        )

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """What is set for the children on top of the environment we were given."""
        settings = self.settings
        secret = settings.secret.get_secret_value()
        return {
            **({"POINTSMAN_SECRET": secret} if secret else {}),
            "PATH": path_with_programs(given),
            "PYTHONUNBUFFERED": "1",
            "POINTSMAN_HOME": str(self.home.path),
            "POINTSMAN_PORT": str(settings.port),
            "POINTSMAN_REDIS_URL": settings.redis_url,
            "POINTSMAN_DATABASE_URL": settings.sql_url,
            "POINTSMAN_CATALOG": settings.catalog,
            "POINTSMAN_SANDBOX_URL": settings.sandbox_url,
            "POINTSMAN_METRICS_DIR": str(self.home.metrics),
            "PROMETHEUS_MULTIPROC_DIR": str(self.home.metrics),
        }

    def _names(self, process: str) -> Sequence[str]:
        count = self.settings.worker_processes
        if process != "worker" or count == 1:
            return (process,)
        return [f"{process}.{number}" for number in range(1, count + 1)]


def plan(
    settings: Settings, given: Mapping[str, str], procfile: Mapping[str, str], choice: Choice
) -> Layout:
    """Decide what to start.

    A Redis, ledger or simulator that the environment names is used as it is; else ours is started.

    Args:
        settings: as read from `given`.
        given: the environment.
        procfile: all commands by process name.
        choice: the command's options.

    Raises:
        ConfigError: `--only` names a process the Procfile does not have.
    """
    known = [name for name in procfile if name not in _NOT_STARTED]
    if unknown := [name for name in choice.only if name not in known]:
        message = f"there is no process {', '.join(unknown)}."
        problem = ConfigProblem("--only", message, f"Known are {', '.join(known)}.")
        raise ConfigError((problem,))
    names = {name for name in known if not choice.only or name in choice.only}
    # Nothing runs without Redis, so --only cannot leave ours out.
    own_redis = not given.get("POINTSMAN_REDIS_URL")
    names = names | {"redis"} if own_redis else names - {"redis"}
    if not choice.simulator or settings.sandbox_url:
        names -= {"simulator"}
    commands = {name: procfile[name] for name in known if name in names}
    home = Home(settings.home.resolve())
    resolved = _resolve(
        settings, home, redis_url(settings, given), simulator="simulator" in commands
    )
    return Layout(settings=resolved, commands=commands, home=home)


def path_with_programs(given: Mapping[str, str]) -> str:
    """PATH with this environment's own programs first, whether or not it was activated."""
    programs = Path(sys.prefix) / "bin"
    return f"{programs}{os.pathsep}{given.get('PATH', os.defpath)}"


def redis_url(settings: Settings, given: Mapping[str, str]) -> str:
    """Which Redis to use: the one the environment names, else the embedded one on its port."""
    if given.get("POINTSMAN_REDIS_URL"):
        return settings.redis_url
    return f"redis://127.0.0.1:{settings.redis_port}/0"


def _resolve(settings: Settings, home: Home, redis: str, *, simulator: bool) -> Settings:
    update: dict[str, object] = {
        "home": home.path,
        "catalog": ":".join(str(folder.resolve()) for folder in settings.catalog_dirs),
        "metrics_dir": str(home.metrics),
        "redis_url": redis,
    }
    if simulator:
        update["sandbox_url"] = f"http://127.0.0.1:{settings.simulator_port}"
    return settings.model_copy(update=update)


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
