from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from api.cli import ports

# Binding a port of loopback is the very thing under test; nothing is sent.
pytestmark = pytest.mark.enable_socket

WEB = ports.Port(host="127.0.0.1", number=8080, purpose="the front door", variable="PORT")


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_explained_with_its_purpose_and_the_variable_that_moves_it(taken):
    problem = ports.problem(replace(WEB, number=taken))

    assert problem is not None
    assert str(problem) == (
        f"Port {taken}: (the front door) is already in use. "
        f"Choose another one with PORT, as in PORT={taken + 1}."
    )


def test_a_free_port_has_no_problem_and_stays_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = replace(WEB, number=probe.getsockname()[1])

    assert ports.problem(free) is None
    assert ports.problem(free) is None


def test_an_address_of_another_machine_is_named_as_such():
    problem = ports.problem(replace(WEB, host="192.0.2.1"))

    assert str(problem) == "192.0.2.1: is no address of this machine."


def test_two_parts_that_want_one_port_are_told_apart():
    flower = replace(WEB, purpose="Flower", variable="POINTSMAN_FLOWER_PORT")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]

    found = ports.problems([replace(WEB, number=number), replace(flower, number=number)])

    assert [problem.message for problem in found] == [
        "is wanted for the front door and for Flower."
    ]
    assert "POINTSMAN_FLOWER_PORT" in found[0].hint


def test_the_highest_port_is_offered_a_lower_neighbour():
    hint = ports.problems([replace(WEB, number=65_535), replace(WEB, number=65_535)])[-1].hint

    assert hint.endswith("PORT=65534.")
