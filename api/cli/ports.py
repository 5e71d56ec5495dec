"""Which TCP ports the embedded start needs, and whether they are free."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from routing.errors import ConfigProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One address something is about to listen on.

    Attributes:
        purpose: what for, in the operator's words.
        variable: environment variable that chooses another one.
    """

    host: str
    number: int
    purpose: str
    variable: str


def problem(port: Port) -> ConfigProblem | None:
    """Why this port cannot be had, as a sentence; None when it is free.

    Finds out by binding, so what it says is true only for the moment; the listener itself decides.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            port.host, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        return ConfigProblem(where=port.host, message="is no address of this machine.")
    with socket.socket(family, kind, protocol) as probe:
        # As the servers themselves do: a connection in TIME_WAIT must not hold up a restart.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            return _explain(port, error)
    return None


def problems(ports: Iterable[Port]) -> tuple[ConfigProblem, ...]:
    """Everything that stands in the way, ports asked for twice included."""
    found: list[ConfigProblem] = []
    taken: dict[int, Port] = {}
    for port in ports:
        other = taken.setdefault(port.number, port)
        if other is not port:
            message = f"is wanted for {other.purpose} and for {port.purpose}."
            found.append(_problem(port, message))
        elif (reason := problem(port)) is not None:
            found.append(reason)
    return tuple(found)


def _explain(port: Port, error: OSError) -> ConfigProblem:
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigProblem(where=port.host, message="is no address of this machine.")
    reason = "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error}"
    return _problem(port, f"({port.purpose}) {reason}.")


def _problem(port: Port, message: str) -> ConfigProblem:
    hint = f"Choose another one with {port.variable}, as in {port.variable}={_other(port.number)}."
    return ConfigProblem(where=f"Port {port.number}", message=message, hint=hint)


def _other(number: int) -> int:
    highest = 65_535
    return number + 1 if number < highest else number - 1
