"""`pointsman redis` with the real server."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest

from api.cli.redis_server import answers
from routing.store.facts import redis_facts

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

PATIENCE_S = 20


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start(tmp_path, port):
    started = []

    def run():
        environment = {"POINTSMAN_HOME": str(tmp_path / "home"), "POINTSMAN_REDIS_PORT": str(port)}
        command = [sys.executable, "-c", "from api.cli.main import main; main()", "redis"]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        end = time.monotonic() + PATIENCE_S
        while not answers(port):
            assert time.monotonic() < end, "Redis did not come up"
            assert started[-1].poll() is None, "Redis ended"
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def command(port, text):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(text.encode() + b"\r\n")
        return connection.recv(1024).decode()


def test_it_serves_with_the_durability_that_the_doctor_wants(start, port, tmp_path):
    start()

    facts = redis_facts(f"redis://127.0.0.1:{port}/0")

    assert facts.version >= (6, 2)
    assert facts.appendonly
    assert facts.maxmemory_policy == "noeviction"
    assert not facts.unacked
    assert (tmp_path / "home" / "redis.conf").stat().st_mode & 0o077 == 0


def test_what_was_written_survives_a_stop_and_a_start(start, port):
    process = start()
    assert command(port, "SET balance 25") == "+OK\r\n"

    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    start()

    assert command(port, "GET balance") == "$2\r\n25\r\n"


def test_messages_of_a_worker_with_acknowledgements_are_noticed(start, port):
    start()
    command(port, "HSET unacked tag message")

    assert redis_facts(f"redis://127.0.0.1:{port}/0").unacked


def test_nobody_answers_on_a_free_port(port):
    assert not answers(port)
