"""An outage drill: a provider fails, flaps and comes back, under traffic, with four workers.

Machines are slow at times, so nothing is timed here: calls are counted, and how long the fleet
means to wait is read from Redis. `POINTSMAN_DRILL_S=60` makes the flapping as long as it can be
made in earnest.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from routing import breaker
from routing.settings import environment
from routing.store import redis_keys as keys
from routing.store.health import Health
from tests.cluster import Cluster, wait_until
from tests.e2e.catalog import (
    KEY_VARIABLE,
    PROVIDER_KEY,
    Row,
    endpoint,
    write_models,
    write_provider,
)
from tests.fixtures.cluster import System

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(240)]

WORKERS = 4
CLIENTS = 6
#: Between two requests of a client that wants to see something happen.
HASTE_S = 0.2
#: Slow enough that one worker's retry budget covers a phase, whoever gets the jobs.
EASE_S = 0.6
MODELS = {"outage": "drill/outage", "flapping": "drill/flapping"}
#: Patience with a busy machine; nothing that is right takes so long.
PATIENCE_S = 90.0
RETURN_MS = 30_000
FAILED_PROBES = 4
SLOW_MS = 1_500
PHASE_S = 5
SHORT_S = 20


@dataclass(slots=True)
class Traffic:
    """What clients got, while they ask."""

    going: bool = True
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def statuses(self) -> set[int]:
        return {status for status, _ in self.answers}

    def note(self, status: int, provider: str) -> None:
        with self.lock:
            self.answers[status, provider] += 1


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two models, each at a cheap provider that can be made to fail and at a dear one."""
    home = tmp_path_factory.mktemp("drill")
    catalog = home / "catalog"
    extra = {"POINTSMAN_CATALOG": str(catalog), KEY_VARIABLE: PROVIDER_KEY}
    cluster = Cluster(home / "home", workers=WORKERS, extra_env=extra)
    write_models(catalog, "drill", MODELS.values())
    for name, model in MODELS.items():
        for slug, price in (("sick", 1), ("well", 3)):
            row = Row(pool=slug, price=price)
            offers = [endpoint(model, name, row)]
            write_provider(catalog, f"{slug}-{name}", cluster.simulator_url, row, offers)
    with cluster:
        system = System(cluster, catalog)
        with system.client:
            yield system
            system.assert_books_are_sound()


@contextmanager
def traffic(system: System, name: str, pause_s: float, **fields: list[str]) -> Iterator[Traffic]:
    """Clients ask until the block is left, each with a pause after an answer."""
    seen = Traffic()

    def ask_on() -> None:
        while seen.going:
            answer = system.ask(model=MODELS[name], **fields)
            seen.note(answer.status_code, answer.json().get("provider", ""))
            time.sleep(pause_s)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients: list[Future[None]] = [pool.submit(ask_on) for _ in range(CLIENTS)]
        try:
            yield seen
        finally:
            seen.going = False
    for client in clients:
        client.result()


def calls_of(system: System, provider: str) -> list[dict[str, float]]:
    return [call for call in system.cluster.calls() if call["provider"] == provider]


def now_ms(system: System) -> int:
    seconds, micros = system.cluster.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def pause_left_ms(system: System, endpoint_id: str) -> int:
    until = system.cluster.redis.hget(keys.breaker(endpoint_id), "until")
    return int(until or 0) - now_ms(system)


def test_provider_that_fails_is_left_probed_one_at_a_time_and_taken_back(system: System):
    sick, well = "sick-outage", "well-outage"
    endpoint_id = f"{sick}:{MODELS['outage']}"
    redis, health = system.cluster.redis, Health(system.cluster.redis)

    def is_open() -> bool:
        return health.breakers([endpoint_id]) == {endpoint_id: "open"}

    # Given: everybody wants the provider that answers 503.
    system.cluster.set_faults([{"provider": sick, "fault": "503"}])
    with traffic(system, "outage", HASTE_S, order=[sick, well]) as seen:
        # Then: it is left after ten failures and those that were under way meanwhile.
        wait_until(is_open, PATIENCE_S, "the breaker")
        wait_until(lambda: seen.answers[200, "Well-Outage"] > 60, PATIENCE_S, "traffic")
        before = len(calls_of(system, sick))
        assert breaker.MIN_SAMPLES <= before <= breaker.MIN_SAMPLES + 2 * CLIENTS

        # And: each pause is short, and ends with one failed call of the whole fleet.
        for number in range(1, FAILED_PROBES + 1):
            assert pause_left_ms(system, endpoint_id) <= breaker.MAX_OPEN_MS
            redis.hset(keys.breaker(endpoint_id), "until", now_ms(system))  # time passes
            redis.zrem(keys.UNSTABLE, endpoint_id)
            wait_until(
                lambda n=number: is_open() and len(calls_of(system, sick)) >= before + n,
                PATIENCE_S,
                "a probe",
            )
            assert len(calls_of(system, sick)) == before + number

        # When: it is well again, if slow.
        system.cluster.set_faults([{"provider": sick, "fault": f"slow_first:{SLOW_MS}"}])
        marked_ms = redis.zscore(keys.UNSTABLE, endpoint_id) or 0
        assert max(pause_left_ms(system, endpoint_id), marked_ms - now_ms(system)) <= RETURN_MS
        healed = len(calls_of(system, sick))
        wait_until(
            lambda: len(calls_of(system, sick)) > healed + CLIENTS, PATIENCE_S, "the traffic"
        )

    # Then: one call found that out, and nobody else called before it had its answer.
    first, second, *_ = calls_of(system, sick)[healed:]
    assert second["started_ms"] - first["started_ms"] >= SLOW_MS
    probes = calls_of(system, sick)[before : healed + 1]
    assert all(one["ended_ms"] <= other["started_ms"] for one, other in pairwise(probes))
    assert seen.answers[200, "Sick-Outage"] > 0
    # And: no client noticed anything.
    assert seen.statuses == {200}


def test_provider_that_flaps_costs_little(system: System):
    sick = "sick-flapping"
    lasts_s = int(environment().get("POINTSMAN_DRILL_S", SHORT_S))
    system.cluster.clear_faults()
    system.cluster.forget_calls()

    # Given: the cheaper provider is well for five seconds, then five seconds not.
    with traffic(system, "flapping", EASE_S) as seen:
        for number in range(lasts_s // PHASE_S):
            down = [{"provider": sick, "fault": "503"}] if number % 2 else []
            system.cluster.set_faults(down)
            time.sleep(PHASE_S)
    system.cluster.clear_faults()

    # Then: few calls were made twice, and no client noticed.
    calls = Counter(call["provider"] for call in system.cluster.calls())
    assert calls[sick] > 0
    assert seen.statuses == {200}
    assert sum(calls.values()) <= 1.3 * seen.answers.total()
