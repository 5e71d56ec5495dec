"""Measures the provider simulator alone: it must never be what a benchmark waits for.

Run it from the repository root: ``python tests/bench/simulator.py``. It starts a simulator,
drives it from another process over raw keep-alive sockets for about five seconds in all, and
prints answers per second and the CPU the simulator took, as /proc counts it.
"""

import argparse
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
SECONDS_MAX: Final = 5.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
END_OF_STREAM: Final = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of traffic."""

    name: str
    model: str
    stream: bool
    clients: int
    fresh: bool = False

    def request(self, number: int) -> bytes:
        """Render one request; no two are the same when the load is to be fresh."""
        number = number if self.fresh else 0
        stream = str(self.stream).lower()
        body = (
            f'{{"model":"{self.model}","stream":{stream},"messages":'
            f'[{{"role":"user","content":"How are the points set on day {number}?"}}]}}'
        ).encode()
        head = (
            f"POST /p/openai/v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\n"
            "authorization: Bearer bench\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


LOADS: Final = (
    Load(name="plain", model="sim-plain", stream=False, clients=32),
    Load(name="plain, fresh", model="sim-plain", stream=False, clients=32, fresh=True),
    Load(name="burst of 20", model="sim-burst-20", stream=True, clients=32),
    Load(name="paced 20x50", model="sim-paced-20x50", stream=True, clients=500),
)


def answers_in(data: bytes, *, stream: bool) -> int:
    """Count the answers that end in these bytes (one outstanding request per client)."""
    if stream:
        return data.endswith(END_OF_STREAM)
    head, separator, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(separator and length and len(body) >= int(length[1]))


def drive(port: int, load: Load, seconds: float) -> int:
    """Keep every client busy with one request after the other; return the answers received."""
    request = load.request(0)
    selector = selectors.DefaultSelector()
    for _ in range(load.clients):
        client = socket.create_connection((HOST, port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(request)
        selector.register(client, selectors.EVENT_READ, bytearray())
    answers = 0
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            client = key.fileobj  # type: ignore[assignment]
            received: bytearray = key.data
            received += client.recv(262_144)
            if answers_in(bytes(received), stream=load.stream):
                received.clear()
                answers += 1
                if load.fresh:
                    request = load.request(answers)
                client.sendall(request)
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    return answers


def cpu_seconds(pid: int) -> float:
    """Return the CPU a process has taken, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(pid: int, port: int, load: Load, seconds: float) -> str:
    """Run one load from a process of its own and describe the result."""
    with get_context("spawn").Pool(1) as pool:
        pool.apply(time.sleep, (0,))  # started, so that imports are not measured
        cpu, begun = cpu_seconds(pid), time.monotonic()
        answers = pool.apply(drive, (port, load, seconds))
        elapsed = time.monotonic() - begun
        used = cpu_seconds(pid) - cpu
    per_answer_us = used / answers * 1e6 if answers else float("nan")
    return (
        f"{load.name:12} {load.clients:4} clients {answers / elapsed:8,.0f} answers/s"
        f" {used / elapsed:5.2f} CPU s/s {per_answer_us:7.0f} us CPU each"
    )


def start() -> tuple[subprocess.Popen[str], int]:
    """Start a simulator on a free port and wait until it listens."""
    command = [sys.executable, "-m", "workers.simulator", "--host", HOST, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline() if process.stdout else ""
    return process, int(line.rpartition(":")[2])


def main() -> None:
    """Measure every load in turn."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=SECONDS_MAX, help="for all loads together")
    seconds = min(parser.parse_args().seconds, 10 * SECONDS_MAX) / len(LOADS)
    process, port = start()
    try:
        for load in LOADS:
            sys.stdout.write(measure(process.pid, port, load, seconds) + "\n")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(5)


if __name__ == "__main__":
    main()
