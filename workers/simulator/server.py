"""The sockets: reads requests, plays scripts, notices who leaves."""

import asyncio
import socket
import struct
from typing import Final, cast

from workers.simulator.exchange import Exchange, Simulator
from workers.simulator.script import Ending, Step
from workers.simulator.wire import BadRequest, RequestReader, response

# A benchmark opens all its connections at once.
BACKLOG: Final = 4096
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """One client: one request at a time, the next ones wait in the reader."""

    def __init__(
        self,
        simulator: Simulator,
        others: "set[Connection]",
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._simulator = simulator
        self._others = others
        self._loop = loop
        self._reader = RequestReader()
        self._peer = ""
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._keep_alive = True
        self._position = 0
        self._waited = False
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._peer = transport.get_extra_info("peername")[0]
        self._others.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes; answer at once when they complete a request."""
        try:
            self._reader.feed(data)
            self._serve()
        except BadRequest as error:
            self._reject(error)

    def eof_received(self) -> None:
        """Treat a client that stops talking as gone: providers do, and tests want to see it."""
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that the client left, if we were not done."""
        del exc
        self._leave()
        self._others.discard(self)

    def pause_writing(self) -> None:
        """Wait: the client reads more slowly than we write."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on where we paused."""
        self._paused = False
        if self._timer is None:
            self._go_on()

    def abort(self) -> None:
        """Drop the client, for a server that stops."""
        self._transport.abort()

    def _serve(self) -> None:
        while self._exchange is None and not self._transport.is_closing():
            request = self._reader.next_request()
            if request is None:
                if self._reader.expects_continue:
                    self._reader.expects_continue = False
                    self._transport.write(_CONTINUE)
                return
            self._keep_alive = request.keep_alive
            self._exchange = self._simulator.receive(request, self._peer)
            self._position = 0
            self._due = self._loop.time()
            self._play()

    def _go_on(self) -> None:
        self._timer = None
        self._play()
        try:
            self._serve()
        except BadRequest as error:
            self._reject(error)

    def _play(self) -> None:
        """Write the steps that are due, and set the timer for the next."""
        exchange = self._exchange
        if exchange is None:
            return
        steps = exchange.script.steps
        while not self._paused:
            if self._position == len(steps):
                self._end(exchange)
                return
            step = steps[self._position]
            if step.wait_ms and not self._waited:
                self._wait(step)
                return
            self._write(exchange, step)

    def _wait(self, step: Step) -> None:
        # Counted from when the last step was due, so that delays do not add up over a stream.
        self._due += step.wait_ms / 1000
        self._waited = True
        self._timer = self._loop.call_at(self._due, self._go_on)

    def _write(self, exchange: Exchange, step: Step) -> None:
        self._waited = False
        self._position += 1
        if exchange.call is not None:
            exchange.call.chunks_sent += step.events
        self._transport.write(step.data)

    def _end(self, exchange: Exchange) -> None:
        ending = exchange.script.ending
        if ending is Ending.STALL:
            return
        self._exchange = None
        if exchange.call is not None:
            self._simulator.journal.end(exchange.call, exchange.outcome)
        if ending is Ending.RESET:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
        elif ending is Ending.CLOSE or not self._keep_alive:
            self._transport.close()

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None and exchange.call is not None:
            self._simulator.journal.end(exchange.call, "closed_by_client")

    def _reject(self, error: BadRequest) -> None:
        if self._exchange is not None:
            # An answer is under way: anything written now would become a part of it.
            self._transport.abort()
            return
        body = f'{{"error":"{error}"}}'.encode()
        self._transport.write(response(error.status, body, headers={"connection": "close"}))
        self._transport.close()


class Server:
    """A listening simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port (which the system chooses for port 0).

        Raises:
            OSError: The address is in use or not ours.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._simulator, self._connections, loop),
            host,
            port,
            backlog=BACKLOG,
        )
        address: tuple[str, int] = self._server.sockets[0].getsockname()
        return address[1]

    def stop(self) -> None:
        """Stop listening and drop all clients, at once."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
