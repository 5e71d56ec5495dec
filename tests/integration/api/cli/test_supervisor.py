"""Real children, a clock that moves when told."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from api.cli.processes import BACKOFF_MAX_S, LOG_MAX_BYTES, STABLE_S, Child, Command, tail
from api.cli.supervisor import Inbox, Stopped, Supervisor
from routing.clock import FixedClock, SystemClock
from routing.errors import Unavailable

pytestmark = pytest.mark.integration

PATIENCE_S = 20


@pytest.fixture
def make(tmp_path):
    """Build children; all of them are ended afterwards."""
    children = []

    def build(name, shell, clock=None):
        command = Command(
            name=name,
            shell=shell,
            environment={"PATH": os.defpath},
            folder=tmp_path,
            log=tmp_path / f"{name}.log",
        )
        children.append(Child(command, clock or SystemClock()))
        return children[-1]

    yield build
    for child in children:
        child.kill()


@pytest.fixture
def said():
    return []


@pytest.fixture
def inbox():
    inbox = Inbox()
    with inbox.listening():
        yield inbox


@pytest.fixture
def supervisor(inbox, said):
    supervisor = Supervisor(
        clock=SystemClock(),
        inbox=inbox,
        say=said.append,
        reload=lambda: said.append("reloaded"),
        grace_s=PATIENCE_S,
    )
    yield supervisor
    supervisor.stop()


def until(true):
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "did not happen in time"
        os.sched_yield()


def test_a_dead_child_is_restarted_with_growing_waits(make):
    clock = FixedClock()
    child = make("web", "sh -c 'echo started; exit 3'", clock)
    child.start()
    waits = []

    for _ in range(7):
        until(lambda: not child.alive)
        sentence = child.tend()
        waits.append(float(sentence.partition(" in ")[2].split()[0]))
        assert child.tend() is None, "it must wait"
        clock.advance(int(waits[-1] * 1000) + 1)
        assert child.tend() == "web started again"

    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, BACKOFF_MAX_S, BACKOFF_MAX_S]
    assert sentence.startswith("web ended with code 3;")
    assert "web.log" in sentence


def test_a_child_that_lived_long_is_restarted_at_once_again(make):
    clock = FixedClock()
    child = make("web", "sh -c 'read never < fifo'", clock)
    os.mkfifo(child.command.folder / "fifo")
    child.start()
    child.signal(signal.SIGKILL)
    until(lambda: not child.alive)
    assert "in 0.2 s" in child.tend()
    clock.advance(200)
    child.tend()

    clock.advance(int(STABLE_S * 1000))
    child.signal(signal.SIGKILL)
    until(lambda: not child.alive)

    assert child.tend().startswith("web was ended by SIGKILL; starting it again in 0.2 s")


def test_what_a_killed_master_leaves_behind_is_ended(make):
    child = make("web", "sh -c 'sleep 1000 & echo $!; wait'")
    child.start()
    until(lambda: tail(child.command.log, 1).strip().isdigit())
    orphan = int(tail(child.command.log, 1))

    child.signal(signal.SIGKILL)
    until(child.gone)

    until(lambda: not _runs(orphan))


def _runs(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_output_is_appended_and_a_long_log_is_put_aside(make):
    child = make("web", "sh -c 'echo out; echo err >&2'")
    child.command.log.write_bytes(b"x" * (LOG_MAX_BYTES + 1))

    for _ in range(2):
        child.start()
        until(child.gone)

    assert child.command.log.read_text() == "out\nerr\nout\nerr\n"
    assert (child.command.folder / "web.log.1").stat().st_size == LOG_MAX_BYTES + 1


def test_a_start_that_fails_shows_the_end_of_the_log(make, supervisor):
    child = make("web", "sh -c 'seq 30; exit 1'")
    supervisor.start([child])

    with pytest.raises(Unavailable) as caught:
        supervisor.wait_until(lambda: "it does not answer", "web", PATIENCE_S)

    assert caught.value.message.startswith("web does not stay up.")
    assert caught.value.message.splitlines()[-20:] == [str(n) for n in range(11, 31)]


def test_a_start_that_takes_too_long_says_what_is_missing(make, supervisor):
    supervisor.start([make("web", "sleep 1000"), make("redis", "sleep 1000")])

    with pytest.raises(Unavailable, match=r"web is not ready after 0 s: no answer\."):
        supervisor.wait_until(lambda: "no answer", "web", 0)


def test_ctrl_c_ends_a_start(make, supervisor, inbox):
    supervisor.start([make("web", "sleep 1000")])
    inbox.put(signal.SIGINT)

    with pytest.raises(Stopped):
        supervisor.wait_until(lambda: "no answer", "web", PATIENCE_S)


def test_hangup_reloads_and_terminate_returns(make, supervisor, inbox, said):
    supervisor.start([make("web", "sleep 1000")])
    inbox.put(signal.SIGHUP)
    inbox.put(signal.SIGTERM)

    supervisor.run()

    assert said == ["reloaded"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD])
def test_real_signals_arrive_in_the_inbox(inbox, number):
    os.kill(os.getpid(), number)

    assert inbox.wait(PATIENCE_S) is number


def test_the_door_closes_first_and_redis_last(make, supervisor, tmp_path):
    line = "sh -c 'trap \"echo {0} >> order; exit\" TERM; echo up; while :; do sleep 0.05; done'"
    names = ["redis", "sweep", "settle", "worker.2", "web"]
    children = [make(name, line.format(name)) for name in names]
    supervisor.start(children)
    until(lambda: all(tail(child.command.log, 1) for child in children))

    supervisor.stop()

    assert (tmp_path / "order").read_text().split() == [
        "web",
        "worker.2",
        "settle",
        "sweep",
        "redis",
    ]
    assert not any(child.alive for child in children)


def test_a_child_that_does_not_listen_is_killed_after_its_grace(make, inbox, said):
    impatient = Supervisor(
        clock=SystemClock(), inbox=inbox, say=said.append, reload=lambda: None, grace_s=0
    )
    child = make("worker", "sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.05; done'")
    impatient.start([child])
    until(lambda: tail(child.command.log, 1))

    impatient.stop()

    assert said == ["worker did not stop within 0 s; killing it"]
    assert not child.alive


class SteppingClock(FixedClock):
    """Half a second passes whenever somebody looks."""

    def monotonic(self):
        self.advance(500)
        return super().monotonic()


DEAF = "sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.05; done'"


def test_a_second_ctrl_c_kills_everything_at_once(make, inbox, said):
    supervisor = Supervisor(
        clock=SteppingClock(),
        inbox=inbox,
        say=said.append,
        reload=lambda: None,
        grace_s=PATIENCE_S,
    )
    children = [make(name, DEAF) for name in ("web", "redis")]
    supervisor.start(children)
    until(lambda: all(tail(child.command.log, 1) for child in children))
    for _ in range(5):
        inbox.put(signal.SIGINT)

    supervisor.stop()

    assert said == ["Killing what is left."]
    assert not any(child.alive for child in children)


def test_one_wish_told_twice_is_not_impatience(make, supervisor, inbox, said, tmp_path):
    line = "sh -c 'trap \"echo stopped > order; exit\" TERM; echo up; while :; do sleep 0.05; done'"
    child = make("web", line)
    supervisor.start([child])
    until(lambda: tail(child.command.log, 1))
    inbox.put(signal.SIGTERM)

    supervisor.stop()

    assert said == []
    assert (tmp_path / "order").read_text() == "stopped\n"
