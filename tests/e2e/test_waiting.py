"""Requests that would rather wait for a provider than be refused."""

from __future__ import annotations

from contextlib import contextmanager

import httpx
import pytest

from tests.cluster import wait_until
from tests.e2e.catalog import OTHER, STORY
from tests.fixtures.cluster import new_marker, question

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(90)]

WAITS = {"on_unavailable": "wait"}


@contextmanager
def busy(system, provider, times, seconds=1):
    """The provider answers so many calls with a 429."""
    fault = f"429_retry_after:{seconds}"
    system.cluster.set_faults([{"provider": provider, "fault": fault, "times": times}])
    try:
        yield
    finally:
        system.cluster.clear_faults()


def test_a_request_waits_until_its_provider_takes_it(system):
    marker = new_marker()

    with busy(system, "turnstile", times=4):
        answer = system.ask(only=["turnstile"], provider=WAITS, marker=marker)

    assert answer.status_code == 200, answer.text
    assert system.providers_called(marker) == ["turnstile"] * 5
    responses = system.generation(answer.json()["id"])["provider_responses"]
    assert [one["status"] for one in responses] == [429, 429, 429, 429, 200]


def test_a_stream_that_waits_is_kept_alive_with_comments(system):
    with busy(system, "turnstile", times=1, seconds=2):
        stream = system.stream(only=["turnstile"], provider=WAITS)

    assert stream.status == 200
    assert stream.lines[0].startswith(":")
    assert len(stream.comments) >= 2
    assert stream.done
    assert stream.finish_reasons == ["stop"]


def test_a_request_that_waits_takes_whoever_is_free_first(system):
    marker = new_marker()

    with busy(system, "turnstile-2", times=1):
        answer = system.ask(
            only=["shut", "turnstile-2"],
            order=["shut", "turnstile-2"],
            provider=WAITS,
            marker=marker,
        )

    assert answer.status_code == 200, answer.text
    assert answer.json()["provider"] == "Turnstile-2"
    assert system.providers_called(marker).count("turnstile-2") == 2


def test_without_the_wish_the_refusal_says_when_to_come_back(system):
    answer = system.ask(only=["shut"])

    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_a_client_that_leaves_while_it_waits_gets_its_money_back(system):
    body = question(only=["shut"], provider=WAITS, stream=True, model=STORY)

    with system.client.stream("POST", "/chat/completions", json=body) as response:
        assert response.status_code == httpx.codes.OK
        next(response.iter_lines())
        assert system.held_nano() > 0

    wait_until(lambda: system.held_nano() == 0, 20, "the return of the hold")
    found = system.settled(response.headers["X-Generation-Id"])
    assert (found.outcome, found.cost_nano) == ("cancelled", 0)


def test_a_fault_is_told_at_once(system):
    names = ["down-waited-for", "shut"]
    system.ask(only=["shut"])  # from now on it is passed over: the fault is the last word

    answer = system.ask(only=names, order=names, provider=WAITS)

    assert answer.status_code in {502, 503}


def test_another_model_is_tried_before_anybody_waits(system):
    answer = system.ask(
        models=[STORY, OTHER], only=["shut", "good"], order=["shut"], provider=WAITS
    )

    assert answer.json()["provider"] == "Good"
