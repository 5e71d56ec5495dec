"""The front door's subscription and the shared connection, on a real Redis and under gevent."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from routing.errors import Unavailable
from routing.store import redis_keys as keys
from routing.store.bus import FrontDoor
from routing.store.connect import connect
from routing.store.jobs import Admitted, Jobs
from routing.store.mux import Mux
from routing.wire.frames import Frame
from tests.fixtures.desk import Desk, frame
from tests.fixtures.patched import run_patched
from tests.fixtures.redis import Store

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
PATIENCE_S = 10


def opened(url: str, **options: Any) -> tuple[FrontDoor, Desk]:
    """A front door that serves, and the scripts."""
    door = FrontDoor(url, "web1", spawn=gevent.spawn, **options)
    door.start()
    return door, Desk(Store(connect(url, "test"), real=True))


def received(door: FrontDoor, box: Any, count: int) -> list[Frame]:
    frames: list[Frame] = []
    until = time.monotonic() + PATIENCE_S
    while len(frames) < count:
        assert time.monotonic() < until, f"only {len(frames)} of {count} frames came"
        got = box.take(0.1)
        frames += got
        if not got and box.behind:
            door.refill(box)
    return frames


def nothing_is_missed_once_it_has_started(url: str) -> None:
    door, desk = opened(url)
    assert door.connected
    box = door.open("gen-1")
    claim = desk.claimed()
    sent = [frame(claim, seq, b"%d" % seq) for seq in range(1, 4)]

    desk.jobs.emit([("web1", one) for one in sent])

    assert received(door, box, 3) == sent
    assert box.gaps == 0


def frames_of_others_and_of_closed_boxes_are_dropped(url: str) -> None:
    door, desk = opened(url)
    box, closed = door.open("gen-1"), door.open("gen-2")
    door.close(closed)
    desk.grant()
    for job_id in ("gen-1", "gen-2", "gen-3"):
        desk.admit(job_id)
    claims = [desk.claim(job_id) for job_id in ("gen-3", "gen-2", "gen-1")]

    desk.jobs.emit([("web1", frame(claim)) for claim in claims])

    assert [one.job_id for one in received(door, box, 1)] == ["gen-1"]
    assert closed.take(0) == []
    assert len(door) == 1


def a_lost_subscription_loses_no_frame(url: str) -> None:
    reconnects: list[int] = []
    door, desk = opened(url, on_reconnect=lambda: reconnects.append(1))
    box = door.open("gen-1")
    claim = desk.claimed()
    sent = [frame(claim, seq, b"%d" % seq) for seq in range(1, 31)]
    for one in sent:
        desk.jobs.emit([("web1", one)])
        if one.seq % 10 == 0:
            assert desk.store.redis.client_kill_filter(_type="pubsub") == 1
            gevent.sleep(0.2)

    assert received(door, box, 30) == sent
    assert len(reconnects) == 3


def it_says_that_it_lives(url: str) -> None:
    _, desk = opened(url)

    assert 0 < desk.store.redis.pttl(keys.front_door_heartbeat("web1")) <= 6_000


def without_redis_it_does_not_start(url: str) -> None:
    door = FrontDoor(f"{url}.nowhere", "web1", spawn=gevent.spawn)

    with pytest.raises(Unavailable):
        door.start(timeout_s=0.2)

    assert not door.connected


def one_connection_serves_many_greenlets_in_order(url: str) -> None:
    mux = Mux(url, "mux")

    def count(name: str) -> list[int]:
        return [mux.execute_command("INCR", name) for _ in range(50)]

    greenlets = [gevent.spawn(count, f"counter:{n}") for n in range(20)]
    gevent.joinall(greenlets, timeout=PATIENCE_S, raise_error=True)

    assert [greenlet.value for greenlet in greenlets] == [list(range(1, 51))] * 20
    names = [client["name"] for client in connect(url, "test").client_list()]
    assert names.count("mux") == 1


def an_error_reply_is_for_its_own_command_only(url: str) -> None:
    mux = Mux(url, "mux")
    mux.execute_command("SET", "text", "x")
    bad, good = (
        gevent.spawn(mux.execute_command, "INCR", "text"),
        gevent.spawn(mux.execute_command, "GET", "text"),
    )
    gevent.joinall([bad, good], timeout=PATIENCE_S)

    assert isinstance(bad.exception, ResponseError)
    assert good.value == b"x"


def a_killed_greenlet_does_not_shift_the_replies_of_others(url: str) -> None:
    mux = Mux(url, "mux")
    victim = gevent.spawn(mux.execute_command, "ECHO", "victim")
    others = [gevent.spawn(mux.execute_command, "ECHO", str(n)) for n in range(5)]
    gevent.sleep(0)
    victim.kill(block=False)
    gevent.joinall(others, timeout=PATIENCE_S, raise_error=True)

    assert [other.value for other in others] == [b"%d" % n for n in range(5)]


def a_broken_connection_fails_what_is_under_way_and_the_next_command_connects(url: str) -> None:
    mux = Mux(url, "mux")
    mux.execute_command("PING")
    asleep = gevent.spawn(mux.execute_command, "BLPOP", "nothing", "0")
    gevent.sleep(0.1)
    redis = connect(url, "test")
    (number,) = [client["id"] for client in redis.client_list() if client["name"] == "mux"]
    redis.client_kill_filter(_id=number)
    asleep.join(PATIENCE_S)

    assert isinstance(asleep.exception, RedisConnectionError)
    assert mux.execute_command("PING") in {b"PONG", "PONG"}


def a_silent_redis_is_given_up_in_time(url: str) -> None:
    mux = Mux(url, "mux", timeout_s=0.2)
    started = time.monotonic()

    with pytest.raises(Exception, match="too long"):
        mux.execute_command("BLPOP", "nothing", "0")

    assert time.monotonic() - started < 2
    assert mux.execute_command("PING") in {b"PONG", "PONG"}


def scripts_run_through_the_shared_connection_also_after_a_restart_forgot_them(url: str) -> None:
    redis = connect(url, "test")
    desk = Desk(Store(redis, real=True))
    desk.jobs = Jobs(Mux(url, "mux"))
    desk.grant()
    assert desk.admit("gen-1") == Admitted()

    redis.script_flush()

    assert desk.admit("gen-2") == Admitted()
    assert desk.claim("gen-2").request == b"request"


@pytest.mark.parametrize(
    "scenario",
    [
        nothing_is_missed_once_it_has_started,
        frames_of_others_and_of_closed_boxes_are_dropped,
        a_lost_subscription_loses_no_frame,
        it_says_that_it_lives,
        without_redis_it_does_not_start,
        one_connection_serves_many_greenlets_in_order,
        an_error_reply_is_for_its_own_command_only,
        a_killed_greenlet_does_not_shift_the_replies_of_others,
        a_broken_connection_fails_what_is_under_way_and_the_next_command_connects,
        a_silent_redis_is_given_up_in_time,
        scripts_run_through_the_shared_connection_also_after_a_restart_forgot_them,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_under_gevent(scenario, redis_url: str):
    run_patched(scenario, redis_url)
