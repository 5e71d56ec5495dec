"""One child process of the embedded start: spawned, restarted, stopped, its output kept."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.cli.home import PRIVATE_FILE
from routing.clock import Clock

#: A log this long is put aside (one generation is kept) when its process starts.
LOG_MAX_BYTES = 10 * 1024 * 1024
#: First wait before a restart; doubles up to the longest, so that a broken child costs little.
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 5.0
#: A child that lived so long starts over with the shortest wait.
STABLE_S = 30.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: a line of the Procfile with its environment.

    Attributes:
        name: process name, unique; also of its log file.
        shell: run by `sh -c` through `exec`, so that the program itself gets our signals.
        environment: all of it.
    """

    name: str
    shell: str
    environment: Mapping[str, str]
    folder: Path
    log: Path


class Child:
    """A command and the process that runs it now, if any."""

    def __init__(self, command: Command, clock: Clock) -> None:
        self.command = command
        self.deaths = 0
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._wait_s = BACKOFF_MIN_S
        self._due_s = 0.0

    @property
    def name(self) -> str:
        """Process name."""
        return self.command.name

    @property
    def alive(self) -> bool:
        """Whether it runs; also reaps it when it does not any more."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Spawn it in a session of its own, so that a Ctrl-C of the terminal reaches only us."""
        with _open_log(self.command.log) as log:
            self._process = subprocess.Popen(  # noqa: S603 - the line is from our own Procfile
                ["/bin/sh", "-c", f"exec {self.command.shell}"],
                cwd=self.command.folder,
                env=dict(self.command.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - this process has one thread
            )
        self._started_s = self._clock.monotonic()

    def tend(self) -> str | None:
        """Notice a death, restart when its wait is over; a sentence when something happened."""
        now_s = self._clock.monotonic()
        if self.alive:
            return None
        if self._process is None:
            if now_s < self._due_s:
                return None
            self.start()
            return f"{self.name} started again"
        ended = _describe(self._process.returncode)
        self._bury()
        if now_s - self._started_s >= STABLE_S:
            self._wait_s = BACKOFF_MIN_S
        sentence = f"{self.name} {ended}; starting it again in {self._wait_s:g} s"
        self._due_s = now_s + self._wait_s
        self._wait_s = min(self._wait_s * 2, BACKOFF_MAX_S)
        self.deaths += 1
        return f"{sentence} (log: {self.command.log})"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program; nothing happens when it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it and everything it started, now."""
        if self._process is not None:
            _kill_group(self._process.pid)
            self._process.wait()
            self._process = None

    def gone(self) -> bool:
        """Whether it has ended; what it may have left of its process group is ended too."""
        if self.alive:
            return False
        self._bury()
        return True

    def _bury(self) -> None:
        # A master that was killed leaves workers behind that hold its port.
        if self._process is not None:
            _kill_group(self._process.pid)
            self._process = None


def tail(path: Path, lines: int) -> str:
    """The last lines of a log; empty when there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=lines))
    except FileNotFoundError:
        return ""


def die_with_parent() -> Callable[[], None] | None:
    """What a child runs before exec so that it ends when we are killed; None where Linux is not."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # it died before we were armed

    return arm


def _open_log(path: Path) -> _Log:
    if path.exists() and path.stat().st_size > LOG_MAX_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return _Log(path)


class _Log:
    """The write end of a log for the time of a spawn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = os.open(self._path, flags, PRIVATE_FILE)
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left (macOS says so with EPERM)


def _describe(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
