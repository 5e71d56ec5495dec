"""The charge outbox: at least once out, nothing forgotten before it is done."""

from __future__ import annotations

import pytest

from routing.errors import Unavailable
from routing.store import outbox as module
from routing.store import redis_keys as keys
from routing.store.outbox import Outbox
from tests.fixtures.charges import charge
from tests.fixtures.redis import Store

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
CHARGE = charge(account_id="ada", key_hash="h")


def outbox(store: Store, name: str = "s1") -> Outbox:
    made = Outbox(store.redis, name)
    made.prepare()
    return made


def put(store: Store, raw: bytes = CHARGE.to_json()) -> None:
    store.redis.xadd(keys.OUTBOX, {"c": raw})


def test_charges_written_before_the_group_was_made_are_read(store: Store):
    put(store)

    (entry,) = outbox(store).read(10, block_ms=1)

    assert entry.charge == CHARGE


def test_making_the_group_twice_is_harmless(store: Store):
    box = outbox(store)
    put(store)
    box.read(10, 1)

    box.prepare()

    assert box.read(10, 1) == []


def test_a_charge_is_given_to_one_settler_and_stays_until_it_is_done(store: Store):
    first, second = outbox(store), outbox(store, "s2")
    put(store)
    entries = first.read(10, 1)

    assert second.read(10, 1) == []
    assert first.length() == 1

    first.done(entries)
    assert first.length() == 0
    assert store.redis.xpending(keys.OUTBOX, keys.OUTBOX_GROUP)["pending"] == 0
    first.done([])


def test_what_a_dead_settler_took_is_taken_over(store: Store, monkeypatch: pytest.MonkeyPatch):
    dead, heir = outbox(store, "dead"), outbox(store, "heir")
    put(store)
    dead.read(10, 1)
    assert heir.take_over(10) == []

    monkeypatch.setattr(module, "TAKE_OVER_IDLE_MS", 0)

    assert [entry.charge for entry in heir.take_over(10)] == [CHARGE]


def test_a_lost_group_is_made_anew_and_nothing_is_missed(store: Store):
    box = outbox(store)
    store.redis.xgroup_destroy(keys.OUTBOX, keys.OUTBOX_GROUP)
    put(store)

    assert box.read(10, 1) == []
    assert [entry.charge for entry in box.read(10, 1)] == [CHARGE]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="no version"),
        pytest.param(b"[1]", id="not an object"),
        pytest.param(b'{"v":1}', id="nothing else"),
        pytest.param(CHARGE.to_json().replace(b'"v":2', b'"v":9'), id="of a later release"),
        pytest.param(b"\xff\xfe", id="not JSON"),
    ],
)
def test_one_that_cannot_be_read_does_not_stop_the_others(store: Store, raw: bytes):
    put(store, raw)
    put(store)

    bad, good = outbox(store).read(10, 1)

    assert (bad.charge, bad.raw) == (None, raw)
    assert good.charge == CHARGE


def test_other_refusals_are_not_swallowed(store: Store):
    store.redis.set(keys.OUTBOX, "not a stream")
    box = Outbox(store.redis, "s1")

    with pytest.raises(Unavailable):
        box.prepare()
