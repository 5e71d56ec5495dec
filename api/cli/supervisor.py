"""Keeps the children of the embedded start alive and stops them in an order that loses nothing."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from api.cli.processes import Child, tail
from routing.clock import Clock
from routing.errors import Unavailable

#: The door closes first and Redis last: whoever still drains finds what it needs.
STOP_ORDER: tuple[frozenset[str], ...] = (
    frozenset({"web"}),
    frozenset({"worker", "batch"}),
    frozenset({"settle"}),
    frozenset({"sweep", "flower", "simulator"}),
    frozenset({"redis"}),
)
#: How often children are looked at; a death wakes us at once through SIGCHLD.
_LOOK_EVERY_S = 0.2
#: A child that dies so often before the start is through will not come up.
_DEATHS_MAX = 3
_LOG_LINES = 20
#: Some runners signal a process and its group, which is one wish told twice.
_IMPATIENT_S = 1.0

_STOPS = (signal.SIGTERM, signal.SIGINT)


class Inbox:
    """Signals as a queue, so that handlers do nothing and the loop decides."""

    def __init__(self) -> None:
        # The only queue whose put() may interrupt itself.
        self._queue: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()

    def put(self, number: int, _frame: FrameType | None = None) -> None:
        """Handler of every signal we take."""
        self._queue.put(signal.Signals(number))

    def wait(self, timeout_s: float) -> signal.Signals | None:
        """The next signal; None when none came in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM, SIGINT, SIGHUP and SIGCHLD until the block ends."""
        numbers = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)
        before = {number: signal.signal(number, self.put) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Stopped(Exception):
    """The operator asked for a stop while the start was not through."""


class Supervisor:
    """The set of children.

    Args:
        say: prints one line for the operator.
        reload: what SIGHUP does.
        grace_s: longest life of a child after it was asked to stop.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        inbox: Inbox,
        say: Callable[[str], None],
        reload: Callable[[], None],
        grace_s: float,
    ) -> None:
        self._clock = clock
        self._inbox = inbox
        self._say = say
        self._reload = reload
        self._grace_s = grace_s
        self._stopping_s = 0.0
        self._terminal = has_terminal()
        self._children: list[Child] = []

    def start(self, children: Sequence[Child]) -> None:
        """Spawn these, all at once."""
        for child in children:
            self._children.append(child)
            child.start()

    def wait_until(self, missing: Callable[[], str | None], name: str, timeout_s: float) -> None:
        """Tend the children until `missing()` finds nothing missing.

        Args:
            missing: says what is not there yet, as a clause; None when ready.
            name: the child that is waited for.
            timeout_s: longest wait.

        Raises:
            Unavailable: not ready in time, or a child died again and again; has the log's end.
            Stopped: SIGTERM or SIGINT came first.
        """
        end_s = self._clock.monotonic() + timeout_s
        while (reason := missing()) is not None:
            if self._inbox.wait(_LOOK_EVERY_S) in _STOPS:
                raise Stopped
            self._tend()
            suspect = max(self._children, key=lambda child: (child.deaths, child.name == name))
            if suspect.deaths >= _DEATHS_MAX:
                raise _failed(f"{suspect.name} does not stay up", suspect)
            if self._clock.monotonic() > end_s:
                raise _failed(f"{name} is not ready after {timeout_s:g} s: {reason}", suspect)

    def run(self) -> None:
        """Tend the children until SIGTERM or SIGINT."""
        while True:
            number = self._inbox.wait(_LOOK_EVERY_S)
            if number in _STOPS:
                return
            if number is signal.SIGHUP:
                if self._terminal and not has_terminal():
                    return  # the window was closed; nobody asked for a reload
                self._reload()
            self._tend()

    def stop(self) -> None:
        """Stop all, group after group; a second SIGINT or SIGTERM, or a grace that ends, kills."""
        self._stopping_s = self._clock.monotonic()
        try:
            for group in STOP_ORDER:
                self._stop_group([c for c in self._children if _kind(c) in group])
        finally:
            for child in self._children:
                child.kill()

    def _tend(self) -> None:
        for child in self._children:
            sentence = child.tend()
            if sentence is not None:
                self._say(sentence)

    def _stop_group(self, children: Sequence[Child]) -> None:
        for child in children:
            child.signal(signal.SIGTERM)
        end_s = self._clock.monotonic() + self._grace_s
        waiting = [child for child in children if not child.gone()]
        while waiting:
            asked = self._inbox.wait(_LOOK_EVERY_S) in _STOPS
            if asked and self._clock.monotonic() - self._stopping_s >= _IMPATIENT_S:
                self._say("Killing what is left.")
                for child in self._children:
                    child.kill()
                return
            if self._clock.monotonic() > end_s:
                for child in waiting:
                    self._say(f"{child.name} did not stop within {self._grace_s:g} s; killing it")
                    child.kill()
            waiting = [child for child in waiting if not child.gone()]


def has_terminal() -> bool:
    """Whether a terminal controls this process; false again once its window is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _kind(child: Child) -> str:
    """`worker` for `worker.2`."""
    return child.name.partition(".")[0]


def _failed(sentence: str, child: Child) -> Unavailable:
    end = tail(child.command.log, _LOG_LINES).rstrip()
    log = f"\nThe end of {child.command.log}:\n{end}" if end else ""
    return Unavailable(f"{sentence}.{log}")
