"""The command: ``python -m workers.simulator --host 127.0.0.1 --port 8099``."""

import argparse
import asyncio
import resource
import signal
import sys
import time

from workers.simulator.exchange import Simulator
from workers.simulator.server import Server


def _now_ms() -> float:
    return time.monotonic_ns() / 1_000_000


def _now_seconds() -> int:
    return time.time_ns() // 1_000_000_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m workers.simulator",
        description="Stand in for the inference providers, faults included.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8099, type=int, help="port to listen on; 0: any free one")
    return parser.parse_args()


def _allow_many_connections() -> None:
    """Use as many sockets as the system allows: a benchmark opens thousands."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(host: str, port: int) -> None:
    server = Server(Simulator(_now_ms, _now_seconds))
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    port = await server.start(host, port)
    sys.stdout.write(f"Pointsman simulator is listening on http://{host}:{port}\n")
    sys.stdout.flush()
    await stopped.wait()
    server.stop()


def main() -> None:
    """Serve until told to stop."""
    arguments = _arguments()
    _allow_many_connections()
    try:
        asyncio.run(_run(arguments.host, arguments.port))
    except OSError as error:
        sys.exit(f"Pointsman simulator cannot listen: {error}")


if __name__ == "__main__":
    main()
