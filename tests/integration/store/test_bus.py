"""The front door's subscription on a real Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from routing.errors import Unavailable
from routing.store import redis_keys as keys
from routing.store.bus import FrontDoor
from routing.store.connect import connect
from routing.wire.frames import Frame
from tests.fixtures.desk import Desk, frame
from tests.fixtures.redis import Store

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
PATIENCE_S = 10


def spawn(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


@pytest.fixture
def desk(redis_url: str) -> Iterator[Desk]:
    redis = connect(redis_url, "test")
    yield Desk(Store(redis, real=True))
    redis.close()


@pytest.fixture
def reconnects() -> list[int]:
    return []


@pytest.fixture
def door(redis_url: str, desk: Desk, reconnects: list[int]) -> Iterator[FrontDoor]:
    made = FrontDoor(redis_url, "web1", spawn=spawn, on_reconnect=lambda: reconnects.append(1))
    made.start()
    yield made
    made.stop()
    # The channel's reader notices a stop with its next message.
    desk.store.redis.publish(keys.front_door_channel("web1"), b"")


def received(door: FrontDoor, box, count: int) -> list[Frame]:
    frames: list[Frame] = []
    until = time.monotonic() + PATIENCE_S
    while len(frames) < count:
        assert time.monotonic() < until, f"only {len(frames)} of {count} frames came"
        got = box.take(0.1)
        frames += got
        if not got and box.behind:
            door.refill(box)
    return frames


def test_once_started_nothing_is_missed(door: FrontDoor, desk: Desk):
    assert door.connected
    box = door.open("gen-1")
    claim = desk.claimed()
    sent = [frame(claim, seq, b"%d" % seq) for seq in range(1, 4)]

    desk.jobs.emit([("web1", one) for one in sent])

    assert received(door, box, 3) == sent
    assert box.gaps == 0


def test_frames_of_others_and_of_closed_boxes_are_dropped(door: FrontDoor, desk: Desk):
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


def test_a_lost_subscription_loses_no_frame(
    door: FrontDoor, desk: Desk, reconnects: list[int]
):
    box = door.open("gen-1")
    claim = desk.claimed()
    sent = [frame(claim, seq, b"%d" % seq) for seq in range(1, 31)]
    for one in sent:
        desk.jobs.emit([("web1", one)])
        if one.seq % 10 == 0:
            desk.store.redis.client_kill_filter(_type="pubsub")

    assert received(door, box, 30) == sent
    until = time.monotonic() + PATIENCE_S
    while not reconnects:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_it_says_that_it_lives(door: FrontDoor, desk: Desk):
    assert 0 < desk.store.redis.pttl(keys.front_door_heartbeat("web1")) <= 6_000


def test_without_redis_it_does_not_start():
    door = FrontDoor("unix:///nowhere/redis.sock", "web1", spawn=spawn)

    with pytest.raises(Unavailable):
        door.start(timeout_s=0.1)

    door.stop()
    assert not door.connected
