"""Credit, limits and the books, under load and at their edges."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from billing.generations import credits_of
from tests.cluster import wait_until
from tests.e2e.catalog import FREE
from tests.fixtures.cluster import System, new_marker, question, running_system

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(90)]

NANO = Decimal(10**9)
CROWD = 1_000
WORTH = 10
#: For the slowest of a thousand to be told on two busy cores.
CROWD_S = 60


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, system, tmp_path) -> Iterator[System]:
    """The shared system on SQLite, and one of its own on PostgreSQL."""
    if request.param == "sqlite":
        yield system
        return
    url = request.getfixturevalue("postgres_url")
    with running_system(tmp_path, database_url=url) as started:
        yield started


class Crowd:
    """Many clients at once, each on a connection of its own, that hold on to what they get."""

    def __init__(self, system, key, body):
        self.address = system.cluster.root_urls[0].removeprefix("http://").split(":")
        payload = json.dumps(body).encode()
        self.request = (
            b"POST /api/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer %b\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (key.text.encode(), len(payload), payload)
        )
        self.writers = []

    async def told(self, count):
        """Status and first bytes each was told."""
        async with asyncio.timeout(CROWD_S):
            return await asyncio.gather(*(self._one() for _ in range(count)))

    async def leave(self):
        for writer in self.writers:
            writer.close()
        await asyncio.gather(
            *(writer.wait_closed() for writer in self.writers), return_exceptions=True
        )

    async def _one(self):
        host, port = self.address
        reader, writer = await asyncio.open_connection(host, int(port))
        self.writers.append(writer)
        writer.write(self.request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        body = b""
        if status != 200:
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        return status, body


def hold_of(system, body):
    """What the router holds for a body, from a twin of it."""
    answer = system.client.post("/chat/completions", json={**body, "stream": False})
    assert answer.status_code == 200, answer.text
    return system.settled(answer.headers["X-Generation-Id"]).hold_nano


def test_a_thousand_at_once_on_a_key_worth_ten_admits_ten(either):
    # Given: an account that can hold ten such requests, to the nano-dollar.
    marker = new_marker()
    body = question(stream=True, only=["endless"], marker=marker)
    hold_nano = hold_of(either, question(only=["good"], marker=marker))
    key = either.cluster.new_key(credit_usd=WORTH * hold_nano / NANO)

    # When: a thousand ask at once and none of them leaves.
    async def run():
        crowd = Crowd(either, key, body)
        try:
            told = await crowd.told(CROWD)
            return told, either.calls(marker), either.held_nano(key)
        finally:
            await crowd.leave()

    told, calls, held_nano = asyncio.run(run())

    # Then: ten are let in, the others are told why, and only ten calls were made.
    statuses = [status for status, _ in told]
    assert Counter(statuses) == {200: WORTH, 402: CROWD - WORTH}, set(told)
    assert held_nano == WORTH * hold_nano
    assert [call["provider"] for call in calls] == ["good"] + ["endless"] * WORTH
    reasons = {json.loads(body)["error"]["metadata"]["reason"] for _, body in told if body}
    assert reasons == {"in_flight_budget_exhausted"}
    # And when all have left, nothing is held, and nothing was paid for nothing.
    wait_until(lambda: either.held_nano(key) == 0, 20, "the return of the holds")
    assert credits_of(either.cluster.ledger, key.account_id).used_nano == 0


def test_unaffordable_request_says_what_is_affordable(system):
    credit_nano = 1_000_000
    key = system.cluster.new_key(credit_usd=credit_nano / NANO)
    body = question(only=["good"], max_tokens=8_000)

    answer = system.client.post("/chat/completions", json=body, headers=key.headers)

    error = answer.json()["error"]
    assert answer.status_code == error["code"] == 402
    assert error["message"].startswith(
        "This request requires more credits, or fewer max_tokens. "
        "You requested up to 8000 tokens, but can only afford "
    )
    assert error["message"].endswith("add more credits.")
    assert error["metadata"]["limit_source"] == "openrouter_credits"
    affordable = int(error["message"].partition("can only afford ")[2].split(".")[0])
    assert 0 < affordable < 8_000
    # The next token would be one too many.
    taken = system.client.post(
        "/chat/completions", json={**body, "max_tokens": affordable}, headers=key.headers
    )
    assert taken.status_code == 200
    assert system.settled(taken.json()["id"], key.account_id).hold_nano <= credit_nano


def test_key_with_nothing_left_of_its_limit_is_403(system):
    key = system.cluster.new_key(limit_usd=Decimal(0))
    marker = new_marker()

    answer = system.ask(headers=key.headers, marker=marker)

    error = answer.json()["error"]
    assert answer.status_code == error["code"] == 403
    assert error["message"].startswith("Key limit exceeded (total limit).")
    assert error["metadata"]["limit_source"] == "openrouter_key_limit"
    assert system.calls(marker) == []


def test_limit_of_a_key_shrinks_with_what_it_spends(system):
    fields = {"only": ["good"], "marker": new_marker()}
    hold_nano = hold_of(system, question(**fields))
    key = system.cluster.new_key(limit_usd=hold_nano / NANO)

    first = system.ask(headers=key.headers, **fields)
    system.settled(first.json()["id"])
    wait_until(
        lambda: system.ask(headers=key.headers, **fields).status_code == 402,
        5,
        "the key's limit",
    )

    left = system.client.get("/key", headers=key.headers).json()["data"]
    assert left["limit"] == float(hold_nano / NANO)
    assert left["usage"] == first.json()["usage"]["cost"]
    assert left["limit_remaining"] == pytest.approx(left["limit"] - left["usage"], abs=1e-12)


def test_operator_opens_an_account_and_grants_credit_that_works_at_once(system):
    # Given: an account without credit, made on the command line.
    name = new_marker()
    account_id = system.run("accounts", "create", name).stdout.strip()
    key = system.run("keys", "create", name, "inference").stdout.split()[0]
    manager = system.run("keys", "create", name, "management", "--management").stdout.split()[0]
    headers = {"Authorization": f"Bearer {key}"}
    poor = system.ask(only=["good"], headers=headers)

    # When
    granted = system.run("credits", "grant", name, "2.5")
    rich = system.ask(only=["good"], headers=headers)

    # Then
    assert poor.status_code == 402
    assert poor.json()["error"]["message"].startswith("Insufficient credits")
    assert granted.returncode == 0, granted.stderr
    assert rich.status_code == 200, rich.text
    found = system.settled(rich.json()["id"], account_id)
    told = system.generation(rich.json()["id"], key)
    assert told["total_cost"] == told["usage"] == found.cost_nano / 10**9
    assert told["total_cost"] == rich.json()["usage"]["cost"]
    answer = system.client.get("/credits", headers={"Authorization": f"Bearer {manager}"})
    ledger = credits_of(system.cluster.ledger, account_id)
    assert answer.json() == {
        "data": {
            "total_credits": 2.5,
            "total_usage": found.cost_nano / 10**9,
        }
    }
    assert (ledger.total_nano, ledger.used_nano) == (2_500_000_000, found.cost_nano)


def test_generation_of_another_account_is_unknown(system):
    key = system.cluster.new_key(credit_usd=Decimal(1))
    mine = system.ask(only=["good"]).json()["id"]
    system.settled(mine)

    answer = system.client.get("/generation", params={"id": mine}, headers=key.headers)

    assert answer.status_code == 404


def test_free_model_has_a_limit_per_minute_and_says_when_it_ends(system):
    key = system.cluster.new_key(credit_usd=Decimal(1))

    # A minute may end meanwhile: then there are two windows of twenty.
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: system.ask(model=FREE, headers=key.headers), range(41)))

    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) in range(20, 41)
    refused = next(answer for answer in answers if answer.status_code == 429)
    error = refused.json()["error"]
    assert error["message"] == "Rate limit exceeded: free-models-per-min. "
    assert error["metadata"]["limit_source"] == "openrouter_free_tier_per_minute"
    headers = error["metadata"]["headers"]
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("20", "0")
    assert (int(headers["X-RateLimit-Reset"]) + 1_000) % 60_000 < 2_000
    assert {name: refused.headers[name] for name in headers} == headers
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    served = next(answer for answer in answers if answer.status_code == 200)
    assert served.json()["usage"]["cost"] == 0


def test_same_idempotency_key_is_one_charge_and_one_call(system):
    marker = new_marker()
    headers = {"Idempotency-Key": marker}
    body = question(only=["good"], marker=marker)

    def ask(_):
        return system.client.post("/chat/completions", json=body, headers=headers)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    other = system.client.post("/chat/completions", json={**body, "max_tokens": 5}, headers=headers)

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(system.calls(marker)) == 1
    assert other.status_code == 409


def test_books_are_sound_meanwhile(system):
    answers = [system.ask(only=["good"]) for _ in range(3)]
    for answer in answers:
        system.settled(answer.json()["id"])

    system.assert_books_are_sound()
    doctor = system.run("doctor")
    assert doctor.returncode == 0, doctor.stdout
