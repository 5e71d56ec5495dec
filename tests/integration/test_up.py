"""`pointsman up` as an operator meets it: one command, then the curl from the banner."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(300)]

START_S = 90
STOP_S = 60
VARIABLES = ("PORT", "POINTSMAN_REDIS_PORT", "POINTSMAN_FLOWER_PORT", "POINTSMAN_SIMULATOR_PORT")
POINTSMAN = [sys.executable, "-c", "from api.cli.main import main; main()"]


def free_ports(count):
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class Installation:
    """A home with ports of its own, and whatever runs on it."""

    def __init__(self, home):
        self.home = home
        ports = dict(zip(VARIABLES, map(str, free_ports(len(VARIABLES))), strict=True))
        self.environment = {"PATH": os.defpath, "POINTSMAN_HOME": str(home), **ports}
        self.port = ports["PORT"]
        self.running = None

    def up(self):
        """Start, and return what was printed up to and with the last line of the banner."""
        self.running = subprocess.Popen(
            [*POINTSMAN, "up"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        lines = []
        for line in self.running.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                return "".join(lines)
        pytest.fail(f"ended with {self.running.wait()}:\n{''.join(lines)}")

    def stop(self):
        """Stop as a service manager does; returns the exit code and the rest of the output."""
        self.running.send_signal(signal.SIGTERM)
        rest, _ = self.running.communicate(timeout=STOP_S)
        return self.running.returncode, rest

    def processes(self):
        """Command lines of everything alive that was started with this home, by pid."""
        mark = f"POINTSMAN_HOME={self.home}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def run(self, *arguments):
        return subprocess.run(
            [*POINTSMAN, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_S,
        )


@pytest.fixture
def installation(tmp_path):
    installation = Installation(tmp_path / "home")
    yield installation
    for pid in installation.processes():
        os.kill(pid, signal.SIGKILL)
    if installation.running is not None:
        installation.running.wait()
        installation.running.stdout.close()


def chat(banner):
    """Send the curl of the banner, word by word as a shell would read it."""
    command = banner[banner.index("curl ") : banner.index("In scripts:")]
    words = shlex.split(command)
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    return httpx.post(
        words[1], headers=headers, content=words[words.index("-d") + 1], timeout=30, trust_env=False
    )


def ready(output):
    """The banner, without what was said before it."""
    return output[output.index("Pointsman is ready.") :]


def until(true, seconds):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not happen in time"
        os.sched_yield()


def test_one_command_serves_and_a_stop_leaves_nothing_behind(installation):
    banner = installation.up()

    answer = chat(banner)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    assert answer.headers["X-Pointsman-Sandbox"] == "true"
    assert "sandbox: answers come from the bundled simulator" in banner
    exports = (installation.home / "env").read_text()
    assert f"POINTSMAN_BASE_URL=http://127.0.0.1:{installation.port}/api/v1\n" in exports

    second = installation.run("up")
    assert second.returncode == 2
    assert "is in use by a running Pointsman" in second.stderr

    checked = installation.run("doctor", "--json")
    assert checked.returncode == 0, checked.stdout

    code, rest = installation.stop()
    assert code == 0, rest
    assert installation.processes() == {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", int(installation.port)))


def test_a_second_start_finds_its_keys_and_money_again(installation):
    first = installation.up()
    assert chat(first).status_code == 200
    assert installation.stop()[0] == 0

    second = installation.up()

    assert chat(second).status_code == 200
    assert ready(second) == ready(first)
    accounts = json.loads(installation.run("accounts", "list", "--json").stdout)
    assert [(a["name"], a["granted_nano"]) for a in accounts] == [("default", 25_000_000_000)]
    assert installation.stop()[0] == 0


def test_a_killed_worker_comes_back_and_serves(installation):
    banner = installation.up()
    worker = next(p for p, line in installation.processes().items() if b"-n worker@" in line)

    os.kill(worker, signal.SIGKILL)

    assert chat(banner).status_code == 200
    until(
        lambda: any(
            b"-n worker@" in line and pid != worker
            for pid, line in installation.processes().items()
        ),
        START_S,
    )
    code, rest = installation.stop()
    assert code == 0
    assert "worker was ended by SIGKILL; starting it again in 0.2 s" in rest


def test_a_killed_supervisor_takes_everything_with_it(installation):
    installation.up()

    installation.running.kill()

    until(lambda: installation.processes() == {}, STOP_S)


def test_a_taken_port_is_named_before_anything_starts(installation):
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(installation.port)))
        other.listen()

        refused = installation.run("up")

    assert refused.returncode == 2
    assert f"Port {installation.port}: (the front door) is already in use." in refused.stderr
    assert "PORT=" in refused.stderr
