"""Prompts and answers on their way from a worker to the ledger. Providers are scripted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from billing import contents, settlement
from billing.db import Ledger, open_ledger
from routing.clock import FixedClock
from routing.contents import place_of
from routing.errors import Unavailable, UpstreamDown
from routing.sealing import Sealer, new_secret
from routing.settings import Settings
from routing.store import redis_keys
from routing.store.contents import Contents
from tests.fixtures.charges import NOW_MS, generation_id
from tests.fixtures.customers import make_customer
from tests.unit.workers.test_attempt import (
    DONE,
    HELLO,
    JOB,
    PLAIN,
    STOP,
    USAGE,
    Bench,
    bench,
    chunk,
)
from workers.contents import Keeper, Mover, forget_old
from workers.settle import Settler

__all__ = ["bench"]

SEALER = Sealer.of(Settings(secret=new_secret()))
ASKED = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def keeping(bench: Bench) -> Bench:
    bench.runtime.keeper = Keeper(bench.runtime.redis, SEALER)
    return bench


def kept(bench: Bench) -> Any:
    """What was left for the settler, opened."""
    sealed = Contents(bench.runtime.redis).take([JOB])[JOB]
    return orjson.loads(SEALER.open(sealed, place_of(JOB, "ada")))


def test_a_stream_is_kept_with_its_thoughts_and_calls(keeping: Bench):
    piece = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"x":'}}
    more = {"index": 0, "function": {"arguments": "1}"}}
    keeping.says(
        chunk(delta={"reasoning": "Hm"}),
        HELLO,
        chunk(delta={"content": " you"}),
        chunk(delta={"tool_calls": [piece]}),
        chunk(delta={"tool_calls": [more]}),
        STOP,
        USAGE,
        DONE,
    )
    keeping.run("a", logs=True)
    assert keeping.charge.logged
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    assert kept(keeping) == {
        "input": ASKED,
        "output": {"completion": "Hello you", "reasoning": "Hm", "tool_calls": [call]},
        "error": None,
    }


def test_a_plain_answer_is_kept(keeping: Bench):
    keeping.says(PLAIN, headers={})
    keeping.run("a", stream=False, logs=True)
    assert keeping.charge.logged
    assert kept(keeping)["output"] == {"completion": "Hello", "reasoning": None}


def test_thoughts_that_are_not_shown_are_not_kept(keeping: Bench):
    keeping.says(chunk(delta={"reasoning": "Hm"}), HELLO, STOP, DONE)
    keeping.run("a", logs=True, asked={"reasoning": {"exclude": True}})
    assert kept(keeping)["output"]["reasoning"] is None


def test_what_a_broken_stream_said_is_kept_with_its_error(keeping: Bench):
    keeping.says(HELLO, UpstreamDown("gone"))
    keeping.run("a", logs=True)
    told = kept(keeping)
    assert told["output"]["completion"] == "Hello"
    assert told["error"]["provider_name"] == "A"
    assert told["error"]["status"] >= 500


def test_a_failure_is_kept_with_those_before_it(keeping: Bench):
    for status in (500, 500, 503):
        keeping.fails(status)
    keeping.run("a", "b", logs=True)
    told = kept(keeping)
    assert keeping.charge.logged
    assert told["output"] == {"completion": None, "reasoning": None}
    assert [one["provider_name"] for one in told["error"]["previous_errors"]] == ["A", "B"]
    assert told["error"]["provider_name"] == "B"


def test_an_answer_that_went_on_elsewhere_is_kept_whole(keeping: Bench):
    keeping.change("b", prefill=True)
    keeping.says(HELLO, UpstreamDown("gone"))
    keeping.says(chunk(delta={"content": " you"}), STOP, DONE)
    keeping.run("a", "b", logs=True, rescue=True)
    assert kept(keeping)["output"]["completion"] == "Hello you"


def test_nothing_is_kept_of_an_account_that_does_not_want_it(keeping: Bench):
    keeping.says(HELLO, STOP, DONE)
    keeping.run("a")
    assert not keeping.charge.logged
    assert not keeping.runtime.redis.exists(redis_keys.content(JOB))


@pytest.mark.parametrize("keeper", ["none", "no secret", "no Redis"])
def test_an_answer_comes_though_it_cannot_be_kept(keeping: Bench, keeper, monkeypatch):
    if keeper == "none":
        keeping.runtime.keeper = None
    elif keeper == "no secret":
        keeping.runtime.keeper = Keeper(keeping.runtime.redis, Sealer(b""))
    else:
        monkeypatch.setattr(Contents, "put", _away)
    keeping.says(HELLO, STOP, USAGE, DONE)
    frames = keeping.run("a", logs=True, discount_ppm=10_000)
    assert b"Hello" in b"".join(frame.payload for frame in frames)
    assert not keeping.charge.logged


def _away(*_: object) -> None:
    raise Unavailable("Redis is away")


def test_what_is_kept_is_sealed_and_does_not_stay_for_ever(keeping: Bench):
    keeping.says(HELLO, STOP, DONE)
    keeping.run("a", logs=True)
    redis = keeping.runtime.redis
    name = redis_keys.content(JOB)
    assert not any(b"Hello" in value or b"messages" in value for value in redis.hvals(name))
    assert 0 < redis.pttl(name) <= 86_400_000


def test_of_two_workers_the_later_claim_is_kept(fake_redis: Any):
    store = Contents(fake_redis)
    store.put(JOB, 10, "of the owner")
    store.put(JOB, 9, "of one who was thought dead")
    assert store.take([JOB]) == {JOB: "of the owner"}
    store.drop([JOB])
    assert store.take([JOB, "gen-other"]) == {}
    assert store.take([]) == {}


@pytest.fixture
def ledger(sqlite_url: str):
    opened = open_ledger(sqlite_url)
    yield opened
    opened.close()


def test_a_settler_moves_what_was_kept_with_the_charge(ledger: Ledger, fake_redis: Any):
    # Given three ended generations, two of them kept, one of those by a worker that lost it
    ada, store = make_customer(ledger), Contents(fake_redis)
    charges = [ada.charge(1), ada.charge(2, logged=True), ada.charge(3, logged=True)]
    store.put(generation_id(2), 1, "two")
    settler = Settler(ledger, fake_redis, "s", FixedClock(NOW_MS))
    for charge in charges:
        fake_redis.xadd(redis_keys.OUTBOX, {"c": charge.to_json()})
    settler._outbox.prepare()
    # When they are settled
    assert settler.settle(settler._outbox.read(10, 1)) == 3
    # Then what there was is in the ledger, and nowhere else
    account = ada.account_id
    assert contents.sealed_of(ledger, generation_id(2), account) == "two"
    assert contents.sealed_of(ledger, generation_id(1), account) is None
    assert contents.sealed_of(ledger, generation_id(3), account) is None
    assert not fake_redis.exists(redis_keys.content(generation_id(2)))


def test_a_settler_that_died_in_between_loses_nothing(ledger, fake_redis, monkeypatch):
    ada, store = make_customer(ledger), Contents(fake_redis)
    charge = ada.charge(1, logged=True)
    store.put(charge.generation_id, 1, "one")
    mover = Mover(ledger, fake_redis)
    settlement.settle(ledger, [charge], NOW_MS)
    monkeypatch.setattr(Contents, "drop", _away)
    with pytest.raises(Unavailable):
        mover.move([charge])
    monkeypatch.undo()
    assert mover.move([charge]) == 0
    assert contents.sealed_of(ledger, charge.generation_id, ada.account_id) == "one"
    assert not fake_redis.exists(redis_keys.content(charge.generation_id))


def test_many_contents_are_moved_in_pieces(ledger, fake_redis, monkeypatch):
    monkeypatch.setattr("workers.contents.MOVE_MAX", 2)
    ada, store = make_customer(ledger), Contents(fake_redis)
    charges = [ada.charge(n, logged=True) for n in range(5)]
    for charge in charges:
        store.put(charge.generation_id, 1, "x")
    assert Mover(ledger, fake_redis).move([*charges, charges[0]]) == 5


def test_the_sweep_forgets_what_is_old(ledger):
    ada = make_customer(ledger)
    day_ms = 86_400_000
    for n in range(3):
        kept = contents.Kept(
            generation_id=generation_id(n),
            account_id=ada.account_id,
            sealed="s",
            created_ms=NOW_MS - n * day_ms,
        )
        contents.store(ledger, [kept, replace(kept)])
    assert forget_old(ledger, 1, NOW_MS) == 1
    assert forget_old(ledger, 1, NOW_MS + day_ms) == 1
    assert forget_old(ledger, 1, NOW_MS + 2 * day_ms) == 1
