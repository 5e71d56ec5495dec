"""A whole Pointsman of real processes, for tests that stop, kill and restart its parts.

Everything listens on loopback, on ports of its own, with a Redis, a ledger and logs below `home`.
Only processes started here are ever signalled, by their process group. Use it as a context manager
from the main thread: the kernel ends the children when the thread that started them is gone.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import httpx

from api.cli import redis_server
from api.cli.first_start import ACCOUNT_NAME, account_keys
from api.cli.home import Home, Keys
from api.cli.layout import path_with_programs
from api.cli.processes import tail
from api.cli.procfile import read, root
from billing.accounts import Grant, create_account, grant, list_accounts
from billing.api_keys import KeyTerms, mint
from billing.db import Ledger, open_ledger
from billing.schema import migrate
from routing.clock import SystemClock
from routing.settings import environment
from routing.store.budgets import Budgets
from routing.store.connect import RedisClient, connect
from routing.store.redis_keys import WORKERS

#: Starting everything at once on two busy cores: five times what it takes on two idle ones.
READY_S = 60.0
#: A process that was asked to stop and has nothing to do.
STOP_S = 10.0
LOOK_EVERY_S = 0.05
LOG_LINES = 20
NANO_PER_USD = Decimal(10**9)
_PR_SET_PDEATHSIG = 1
#: Processes that may be several, and those that have children of their own to end in order.
_SEVERAL = ("web", "worker")
_PARENTS = ("web", "sweep")
_NOTHING: Mapping[str, str] = MappingProxyType({})


class ClusterError(AssertionError):
    """A part did not start or stop in time; says which, with the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """An inference key made for one test."""

    text: str
    key_hash: str
    account_id: str

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries."""
        return {"Authorization": f"Bearer {self.text}"}


class Cluster:
    """Redis, simulator, front doors, workers, settle and sweep.

    Processes are named as in the Procfile; of several front doors or workers (`web`, `workers`
    more than 1) each has a number: `worker.1`, `worker.2`. Each front door has its own port.

    Args:
        home: an empty or earlier POINTSMAN_HOME.
        workers: attempt workers.
        web: front doors.
        database_url: of the ledger; "" for SQLite in `home`.
        extra_env: for every process, wins over everything else.
    """

    def __init__(
        self,
        home: Path,
        *,
        workers: int = 1,
        web: int = 1,
        database_url: str = "",
        extra_env: Mapping[str, str] = _NOTHING,
    ) -> None:
        self.home = Home(home.resolve())
        self._procfile = read(root() / "Procfile")
        self._names = ["redis", "simulator", *_numbered("web", web)]
        self._names += [*_numbered("worker", workers), "settle", "sweep"]
        redis_port, simulator_port, *web_ports = free_ports(2 + web)
        self._ports = dict(zip(_numbered("web", web), web_ports, strict=True))
        self.redis_url = f"redis://127.0.0.1:{redis_port}/0"
        self._redis_port = redis_port
        self.simulator_url = f"http://127.0.0.1:{simulator_port}"
        self.root_urls = tuple(f"http://127.0.0.1:{port}" for port in web_ports)
        self.base_urls = tuple(f"{url}/api/v1" for url in self.root_urls)
        self.base_url = self.base_urls[0]
        self.database_url = database_url or f"sqlite:///{self.home.path / 'ledger.db'}"
        self.api_key = ""
        self.management_key = ""
        self.account_id = ""
        self._ledger: Ledger | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._http = httpx.Client(base_url=self.simulator_url, timeout=10, trust_env=False)
        self.redis: RedisClient = connect(self.redis_url, "cluster")
        self._env = self._environment(simulator_port, extra_env)

    # The whole.

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it serves.

        Raises:
            ClusterError: something did not start; what did is stopped again.
        """
        with ExitStack() as undo:
            undo.callback(self.stop)  # whatever interrupts the start, nothing is left behind
            self.home.prepare()
            self.home.empty_metrics()
            self.start_process("redis")
            self.wait_ready("redis")
            migrate(self.database_url)
            self._make_keys()
            for name in self._names[1:]:
                self.start_process(name)
            self.wait_ready()
            undo.pop_all()

    def stop(self) -> None:
        """Ask everything to stop, end what does not; harmless twice."""
        try:
            others = [name for name in self._running if name != "redis"]
            for name in others:
                self._signal(name, signal.SIGTERM)
                self._signal(name, signal.SIGCONT)
            with suppress(ClusterError):
                wait_until(lambda: not any(map(self.alive, others)), STOP_S, "the stop")
        finally:
            for name in list(self._running):
                self._bury(name)
            self._http.close()
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None

    @property
    def env(self) -> Mapping[str, str]:
        """The environment of the processes, for commands and processes of a test's own."""
        return self._env

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened by this process too."""
        if self._ledger is None:
            raise ClusterError("the cluster is not running")
        return self._ledger

    # Its parts.

    @property
    def names(self) -> tuple[str, ...]:
        """Every process started and not yet ended on purpose."""
        return tuple(self._running)

    def start_process(self, name: str) -> int:
        """Start one process that does not run, also one `start` leaves out (`batch`); its pid."""
        if self.alive(name):
            raise ClusterError(f"{name} is running")
        kind = name.partition(".")[0]
        env = {**self._env, "POINTSMAN_PROCESS": name}
        if name in self._ports:
            env["POINTSMAN_PORT"] = str(self._ports[name])
        arm = _dies_with_us(signal.SIGTERM if kind in _PARENTS else signal.SIGKILL)
        with (self.home.logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {self._procfile[kind]}"],
                cwd=root(),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=arm,  # noqa: PLW1509 - one call of prctl, no lock is taken
            )
        return self._running[name].pid

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal: SIGKILL, SIGSTOP and SIGCONT to its whole group, others to its leader.

        Returns at once, but after SIGKILL only when it is gone.
        """
        if number is signal.SIGKILL:
            self._bury(name)
        else:
            self._signal(name, number)

    def wait_gone(self, name: str, seconds: float = STOP_S) -> None:
        """Wait until a process that was told to stop has ended."""
        self._wait(lambda: not self.alive(name), seconds, name, "did not stop")
        self._bury(name)

    def restart(self, name: str, seconds: float = STOP_S) -> None:
        """SIGTERM, wait for the end, start again, wait until it serves."""
        self.kill(name, signal.SIGTERM)
        self.wait_gone(name, seconds)
        self.start_process(name)
        self.wait_ready(name)

    def alive(self, name: str) -> bool:
        """Whether it runs (a stopped process does)."""
        process = self._running.get(name)
        return process is not None and process.poll() is None

    def pids(self, name: str) -> tuple[int, ...]:
        """Every process of one name, its leader first; empty when it does not run."""
        if not self.alive(name):
            return ()
        leader = self._running[name].pid
        return (leader, *(pid for pid in _group(leader) if pid != leader))

    def wait_ready(self, *names: str, seconds: float = READY_S) -> None:
        """Wait until these processes (all, if none is named) do their work.

        Raises:
            ClusterError: one ended or is not ready in time.
        """
        for name in names or tuple(self._running):
            self._wait(partial(self._ready, name), seconds, name, "is not ready")

    def log(self, name: str, lines: int = LOG_LINES) -> str:
        """The end of a process's log."""
        return tail(self.home.logs / f"{name}.log", lines)

    # Money.

    def new_key(
        self,
        credit_usd: Decimal | None = None,
        limit_usd: Decimal | None = None,
        *,
        name: str = "test",
        account_id: str = "",
        **terms: Any,
    ) -> NewKey:
        """A new key: of a new account with this credit, or of one there is; the default without."""
        now_ms = SystemClock().now_ms()
        account_id = account_id or self.account_id
        if credit_usd is not None:
            account_id = create_account(self.ledger, name, now_ms).id
            amount = int(credit_usd * NANO_PER_USD)
            wanted = Grant(amount_nano=amount, reference=f"test:{account_id}")
            Budgets(self.redis).post((grant(self.ledger, account_id, wanted, now_ms),))
        limit = None if limit_usd is None else int(limit_usd * NANO_PER_USD)
        wished = KeyTerms(name=name, limit_nano=limit, **terms)
        text, record = mint(self.ledger, account_id, wished, now_ms)
        return NewKey(text=text, key_hash=record.key_hash, account_id=account_id)

    # The simulator.

    def set_faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Replace its rules; see `workers.simulator.faults.Rule`."""
        self._control("PUT", "faults", {"rules": list(rules)})

    def clear_faults(self) -> None:
        """No call gets a fault any more."""
        self._control("DELETE", "faults")

    def knobs(self, **knobs: int) -> None:
        """Set the pace of its answers (`chunks`, `gap_ms`, `first_ms`, `tokens`); none: default."""
        if knobs:
            self._control("PUT", "knobs", knobs)
        else:
            self._control("DELETE", "knobs")

    def calls(self, marker: str | None = None) -> list[dict[str, Any]]:
        """The calls it got, oldest first; `marker` is a `marker-…` word in the prompt."""
        query = f"?marker={marker}" if marker else ""
        found: list[dict[str, Any]] = self._control("GET", f"calls{query}")["calls"]
        return found

    def forget_calls(self) -> None:
        """Begin a new journal."""
        self._control("DELETE", "calls")

    def received(self, marker: str) -> dict[str, Any]:
        """The last request with this marker, as the simulator got it."""
        return self._control("GET", f"requests?marker={marker}")

    def _control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._http.request(method, f"/control/{path}", json=body)
        if answer.status_code != httpx.codes.OK:
            raise ClusterError(f"the simulator says {answer.status_code}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found

    # How it is done.

    def _environment(self, simulator_port: int, extra: Mapping[str, str]) -> dict[str, str]:
        given = environment()
        # Neither our own settings nor a provider key of the machine may reach a test.
        clean = {name: value for name, value in given.items() if not _ours(name)}
        return {
            **clean,
            "PATH": path_with_programs(given),
            "PYTHONUNBUFFERED": "1",
            "POINTSMAN_HOME": str(self.home.path),
            "POINTSMAN_REDIS_PORT": str(self._redis_port),
            "POINTSMAN_REDIS_URL": self.redis_url,
            "POINTSMAN_DATABASE_URL": self.database_url,
            "POINTSMAN_SIMULATOR_PORT": str(simulator_port),
            "POINTSMAN_SANDBOX_URL": self.simulator_url,
            "POINTSMAN_METRICS_DIR": str(self.home.metrics),
            "PROMETHEUS_MULTIPROC_DIR": str(self.home.metrics),
            "POINTSMAN_SECRET": secrets.token_urlsafe(32),
            **extra,
        }

    def _make_keys(self) -> None:
        now_ms = SystemClock().now_ms()
        keys: Keys = account_keys(self.database_url, self.home.read_keys(), now_ms)
        self.home.write_env(self.base_url, keys)
        self.api_key, self.management_key = keys.inference, keys.management
        self._ledger = open_ledger(self.database_url)
        accounts = list_accounts(self._ledger)
        self.account_id = next(one.id for one in accounts if one.name == ACCOUNT_NAME)

    def _ready(self, name: str) -> bool:
        if not self.alive(name):
            raise ClusterError(f"{name} ended by itself:\n{self.log(name)}")
        kind = name.partition(".")[0]
        if kind == "redis":
            return redis_server.answers(self._redis_port)
        if kind == "simulator":
            return _says_ok(f"{self.simulator_url}/livez")
        if kind == "web":
            return _says_ok(f"http://127.0.0.1:{self._ports[name]}/readyz")
        if kind in {"worker", "batch"}:
            pid = f"-{self._running[name].pid}-"
            return any(pid in one.decode() for one in self.redis.zrange(WORKERS, 0, -1))
        # Both name their connection when they first use it: at their first round of work.
        return any(client["name"] == kind for client in self.redis.client_list())

    def _wait(self, done: Callable[[], bool], seconds: float, name: str, what: str) -> None:
        try:
            wait_until(done, seconds, name)
        except ClusterError as error:
            raise ClusterError(f"{name} {what}: {error}\n{self.log(name)}") from error

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._running.get(name)
        if process is None or process.poll() is not None:
            return
        if number in {signal.SIGSTOP, signal.SIGCONT}:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)

    def _bury(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        # A leader that is gone may have left some of its group behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with suppress(ClusterError):
            wait_until(lambda: not _group(process.pid), STOP_S, name)


def wait_until(done: Callable[[], object], seconds: float, what: str) -> None:
    """Look until it is so.

    Raises:
        ClusterError: it was not so in time.
    """
    end_s = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end_s:
            raise ClusterError(f"{what}: not within {seconds:g} s")
        time.sleep(LOOK_EVERY_S)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on right now, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _numbered(kind: str, count: int) -> tuple[str, ...]:
    if kind in _SEVERAL and count > 1:
        return tuple(f"{kind}.{number}" for number in range(1, count + 1))
    return (kind,) * count


def _ours(name: str) -> bool:
    return name.startswith(("POINTSMAN_", "PROMETHEUS_")) or name.endswith("_API_KEY")


def _says_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _group(leader: int) -> list[int]:
    """Who is in a process group and no zombie."""
    return [pid for pid, state, group in _processes() if group == leader and state != "Z"]


def _processes() -> Iterable[tuple[int, str, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name in parentheses may hold anything; what follows the last one does not.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(folder.name), fields[0], int(fields[2])


def _dies_with_us(number: signal.Signals) -> Callable[[], None]:
    """What a child runs before exec: it gets this signal when the thread that started it ends."""
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return arm
