"""Orders reach every process, also one whose connection is gone at that moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Queue
from threading import Thread

import pytest

from routing.store import control
from routing.store import redis_keys as keys
from routing.store.connect import connect
from tests.cluster import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


class Enough(Exception):
    """Ends a listener, which would go on for ever."""


@pytest.fixture
def heard(redis_url: str) -> Iterator[Queue[tuple[str, bytes]]]:
    """What a listener in a thread of its own was handed."""
    queue: Queue[tuple[str, bytes]] = Queue()

    def handle(channel: str, message: bytes) -> None:
        if message == b"enough":
            raise Enough
        queue.put((channel, message))

    def run() -> None:
        with pytest.raises(Enough):
            control.listen(redis_url, (keys.CONTROL, "wk:me"), handle)

    thread = Thread(target=run, daemon=True)
    thread.start()
    with connect(redis_url, "test") as redis:
        wait_until(lambda: redis.pubsub_numsub("wk:me")[0][1] == 1, 5, "the listener")
        yield queue
        wait_until(lambda: redis.publish("wk:me", "enough") == 1, 5, "the listener")
    thread.join(5)
    assert not thread.is_alive()


def test_orders_and_messages_are_heard_once(redis_url: str, heard: Queue[tuple[str, bytes]]):
    assert control.request_reload(redis_url) == 1
    with connect(redis_url, "test") as redis:
        redis.publish("wk:me", "job-1")

    assert heard.get(timeout=5) == (keys.CONTROL, control.RELOAD)
    assert heard.get(timeout=5) == ("wk:me", b"job-1")
    assert heard.empty()


def test_an_order_given_while_the_connection_was_gone_is_heard_afterwards(
    redis_url: str, heard: Queue[tuple[str, bytes]]
):
    with connect(redis_url, "test") as redis:
        for _ in range(3):
            redis.client_kill_filter(_type="pubsub")
            control.request_reload(redis_url)

            assert heard.get(timeout=5) == (keys.CONTROL, control.RELOAD)
            wait_until(lambda: redis.pubsub_numsub("wk:me")[0][1] == 1, 5, "the listener")
    assert heard.empty()


def test_a_silent_connection_is_kept_as_long_as_it_answers(
    redis_url: str, heard: Queue[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control, "IDLE_S", 0.05)
    with connect(redis_url, "test") as redis:
        redis.publish("wk:me", "wake")
        assert heard.get(timeout=5) == ("wk:me", b"wake")
        pings: Callable[[], int] = lambda: redis.info("commandstats").get(  # noqa: E731
            "cmdstat_ping", {"calls": 0}
        )["calls"]
        before = pings()
        wait_until(lambda: pings() > before + 2, 5, "signs of life")
        joined = {one["id"] for one in redis.client_list(_type="pubsub")}
        wait_until(lambda: pings() > before + 5, 5, "more of them")

        assert {one["id"] for one in redis.client_list(_type="pubsub")} == joined
