"""`pointsman up`: everything on one machine, from one command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import click
import httpx
from pydantic import SecretStr

from api.cli.banner import Banner, Sandbox, render
from api.cli.catalog import catalog_of
from api.cli.first_start import account_keys
from api.cli.home import Keys
from api.cli.layout import Choice, Layout, plan
from api.cli.ports import problems
from api.cli.processes import Child
from api.cli.procfile import read, root
from api.cli.redis_server import answers
from api.cli.supervisor import Inbox, Stopped, Supervisor
from billing.schema import migrate
from routing.clock import SystemClock
from routing.errors import ConfigError, RouterFault
from routing.settings import Settings, environment, insecure
from routing.store.control import request_reload

#: A first start on a slow machine compiles a few thousand files; ten times what it takes here.
_READY_TIMEOUT_S = 60.0
#: Redis loads its data before it answers; a large append-only file takes a while.
_REDIS_TIMEOUT_S = 60.0
_PROBE_TIMEOUT_S = 2.0
#: On top of the hard drain limit: what a process needs to end after its last stream.
_EXIT_S = 10.0
_REASON_CHARS = 300


@click.command()
@click.option("--only", metavar="NAMES", default="", help="Start only these, as in web,worker.")
@click.option("--no-simulator", is_flag=True, help="Providers without a key are not simulated.")
def up(only: str, no_simulator: bool) -> None:  # noqa: FBT001 - click passes options so
    """Start everything on this machine and keep it running until Ctrl-C.

    Data, logs and keys are in POINTSMAN_HOME (.pointsman). A Redis or a ledger named by
    POINTSMAN_REDIS_URL or POINTSMAN_DATABASE_URL is used as it is. SIGHUP reloads the catalog.
    """
    choice = Choice(
        only=tuple(name.strip() for name in only.split(",") if name.strip()),
        simulator=not no_simulator,
    )
    given = environment()
    layout = plan(Settings.from_env(), given, read(root() / "Procfile"), choice)
    layout.home.prepare()
    # The children run in the checkout; a relative database URL must mean the same file to all.
    with layout.home.lock(), contextlib.chdir(root()):
        _check(layout)
        layout = _with_secret(layout)
        commands = layout.children(given, root())
        keys = _prepare(layout)
        sandbox = _sandbox(layout.settings)
        clock = SystemClock()
        children = [Child(command, clock) for command in commands]
        _serve(layout, children, _banner(layout, keys, sandbox))


def _check(layout: Layout) -> None:
    found = problems(layout.ports())
    if (risk := insecure(layout.settings)) is not None:
        found = (*found, risk)
    if found:
        raise ConfigError(found)


def _with_secret(layout: Layout) -> Layout:
    """What is sealed has to open again after the next start: ours is kept in POINTSMAN_HOME."""
    if layout.settings.secret.get_secret_value():
        return layout
    secret = SecretStr(layout.home.secret())
    return replace(layout, settings=layout.settings.model_copy(update={"secret": secret}))


def _prepare(layout: Layout) -> Keys:
    """Bring the ledger to the newest schema and make sure that the env file's keys work."""
    migrate(layout.settings.sql_url)
    keys = account_keys(layout.settings.sql_url, layout.home.read_keys(), SystemClock().now_ms())
    layout.home.write_env(layout.base_url, keys)
    layout.home.empty_metrics()
    return keys


def _sandbox(settings: Settings) -> Sandbox:
    providers = catalog_of(settings).providers.values()
    keys = environment()
    return Sandbox(
        real=tuple(
            sorted(p.name for p in providers if p.key_variable and keys.get(p.key_variable))
        ),
        simulated=any(p.simulated for p in providers),
    )


def _banner(layout: Layout, keys: Keys, sandbox: Sandbox) -> str:
    return render(
        Banner(
            base_url=layout.base_url,
            keys=keys,
            sandbox=sandbox,
            flower_url=layout.flower_url,
            home=layout.home.path,
            logs=layout.home.logs,
        )
    )


def _serve(layout: Layout, children: list[Child], banner: str) -> None:
    settings = layout.settings
    inbox = Inbox()
    supervisor = Supervisor(
        clock=SystemClock(),
        inbox=inbox,
        say=_say,
        reload=lambda: _reload(settings.redis_url),
        grace_s=settings.drain_hard_ms / 1000 + _EXIT_S,
    )
    redis = [child for child in children if child.name == "redis"]
    others = [child for child in children if child.name != "redis"]
    with inbox.listening():
        try:
            if redis:
                supervisor.start(redis)
                supervisor.wait_until(
                    lambda: None if answers(settings.redis_port) else "no reply to PING",
                    "redis",
                    _REDIS_TIMEOUT_S,
                )
            supervisor.start(others)
            if "web" in layout.commands:
                supervisor.wait_until(_probe(layout.root_url), "web", _READY_TIMEOUT_S)
                click.echo(banner)
            else:
                _say(f"Started {', '.join(layout.commands)}; there is no front door here.")
            supervisor.run()
        except Stopped:
            pass
        finally:
            _say("Stopping.")
            supervisor.stop()
    _say("Stopped.")


def _probe(root_url: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        try:
            # A connection per question: an idle one would keep the front door from stopping.
            answer = httpx.get(f"{root_url}/readyz", timeout=_PROBE_TIMEOUT_S, trust_env=False)
        except httpx.HTTPError as error:
            return f"{root_url}/readyz: {error}"
        if answer.status_code == httpx.codes.OK:
            return None
        return f"{root_url}/readyz says {answer.status_code}: {answer.text[:_REASON_CHARS]}"

    return missing


def _reload(redis_url: str) -> None:
    try:
        request_reload(redis_url)
    except RouterFault as error:
        _say(f"The catalog was not reloaded: {error.message}")
    else:
        _say("Asked every process to reload the catalog.")


def _say(sentence: str) -> None:
    # A terminal that was closed must not keep us from stopping the children.
    with contextlib.suppress(OSError):
        click.echo(f"pointsman: {sentence}", err=True)
