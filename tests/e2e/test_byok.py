"""Provider keys that customers bring, from the API to the provider and into the books."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.cluster import NewKey
from tests.fixtures.cluster import PATIENCE_S, System, new_marker, question, running_system

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(90)]

#: Requests a month without a fee, and the fee after them.
FREE_REQUESTS = 3
FEE = Decimal("0.05")


class Customer:
    """An account with a key of each kind."""

    def __init__(self, system: System, credit_usd: str = "1") -> None:
        self.system = system
        self.key: NewKey = system.cluster.new_key(Decimal(credit_usd))
        account_id = self.key.account_id
        self.manager = system.cluster.new_key(account_id=account_id, kind="management")

    def brings(self, provider: str, key: str = "sk-byok-good-0123456789", **fields: Any) -> str:
        """Store a provider key; its id."""
        answer = self._post(self.manager, "/byok", {"provider": provider, "key": key, **fields})
        assert answer.status_code == 201, answer.text
        assert key not in answer.text
        return str(answer.json()["data"]["id"])

    def ask(self, **fields: Any) -> httpx.Response:
        return self._post(self.key, "/chat/completions", question(**fields))

    def used_up(self, generation_id: str) -> dict[str, Any]:
        return self.system.generation(generation_id, self.key.text)

    def _post(self, key: NewKey, path: str, body: dict[str, Any]) -> httpx.Response:
        url = self.system.cluster.base_url + path
        return httpx.post(url, json=body, headers=key.headers, timeout=PATIENCE_S, trust_env=False)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A Pointsman whose customers soon pay the fee."""
    home = tmp_path_factory.mktemp("own")
    env = {"POINTSMAN_BYOK_FREE_REQUESTS": str(FREE_REQUESTS)}
    with running_system(home, env=env) as started:
        yield started


def test_the_own_key_pays_the_provider_and_is_free_at_first_then_costs_the_fee(own: System):
    customer = Customer(own)
    customer.brings("good")

    answers = [customer.ask(only=["good"]).json() for _ in range(FREE_REQUESTS + 2)]

    assert [answer["usage"]["is_byok"] for answer in answers] == [True] * 5
    prices = [answer["usage"]["cost_details"]["upstream_inference_cost"] for answer in answers]
    costs = [answer["usage"]["cost"] for answer in answers]
    assert costs[:FREE_REQUESTS] == [0] * FREE_REQUESTS
    for cost, price in zip(costs[FREE_REQUESTS:], prices[FREE_REQUESTS:], strict=True):
        assert cost == pytest.approx(float(Decimal(str(price)) * FEE), abs=1e-9)
    told = [customer.used_up(answer["id"]) for answer in answers]
    assert [one["total_cost"] for one in told] == costs
    assert [one["is_byok"] for one in told] == [True] * 5
    paid = own.paid_nano(answers[-1]["id"])
    assert set(paid) == {"customer", "byok_fees"}


def test_of_many_at_once_exactly_the_free_ones_are_free(own: System):
    customer = Customer(own)
    customer.brings("good")

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: customer.ask(only=["good"]).json(), range(12)))

    costs = [answer["usage"]["cost"] for answer in answers]
    assert costs.count(0) == FREE_REQUESTS


def test_without_credit_an_own_key_serves_alone(own: System):
    customer = Customer(own, credit_usd="0.000001")
    customer.brings("good")

    answer = customer.ask(only=["good"], max_tokens=1_000)

    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["is_byok"] is True


def test_a_rate_limited_own_key_falls_back_to_shared_credits(own: System):
    customer, marker = Customer(own), new_marker()
    customer.brings("good", "sk-byok-limited-0123456789")

    answer = customer.ask(only=["good"], marker=marker)

    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["is_byok"] is False
    assert answer.json()["usage"]["cost"] > 0
    told = customer.used_up(answer.json()["id"])["provider_responses"]
    assert [(one["status"], one["is_byok"]) for one in told] == [(429, True), (200, False)]


def test_a_key_that_is_always_used_never_falls_back(own: System):
    customer, marker = Customer(own), new_marker()
    customer.brings("spare", "sk-byok-limited-0123456789", always_use=True)

    answer = customer.ask(only=["spare"], marker=marker)

    assert answer.status_code == 429
    calls = own.calls(marker)
    assert calls
    assert {call["provider"] for call in calls} == {"spare"}


def test_a_refused_own_key_is_no_outage_for_others(own: System):
    customer = Customer(own)
    customer.brings("dear", "sk-byok-denied-0123456789", always_use=True)

    refused = [customer.ask(only=["dear"]) for _ in range(12)]
    other = Customer(own).ask(only=["dear"])

    assert {answer.status_code for answer in refused} <= {401, 402, 403, 429, 502, 503}
    assert other.status_code == 200, other.text


def test_a_limit_that_counts_own_keys_holds_their_price(own: System):
    customer = Customer(own)
    customer.brings("good", always_use=True)
    bounded = own.cluster.new_key(
        limit_usd=Decimal("0.00001"), account_id=customer.key.account_id,
        include_byok_in_limit=True,
    )  # fmt: skip
    customer.key = bounded

    assert customer.ask(only=["good"], max_tokens=1_000).status_code in {402, 403}


def test_no_key_is_left_lying_about(own: System):
    customer = Customer(own)
    canary = "sk-byok-canary-71c3f2a90b"
    customer.brings("good", canary)

    answer = customer.ask(only=["good"])

    assert answer.status_code == 200, answer.text
    assert canary not in answer.text
    own.settled(answer.json()["id"], customer.key.account_id)
    own.cluster.redis.bgrewriteaof()
    needle = canary.encode()
    home = own.cluster.home.path
    leaks = [
        str(path) for path in home.rglob("*") if path.is_file() and needle in path.read_bytes()
    ]
    assert leaks == []
