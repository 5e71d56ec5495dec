"""The life of a job record: claim, emit, finish, requeue, ring, fence, cancel, renew, due."""

from __future__ import annotations

import pytest

from routing.store import redis_keys as keys
from routing.store.jobs import KEEP_MS, MAX_CRASHES, Claim, NotClaimed
from routing.wire.frames import Frame, Kind
from tests.fixtures.desk import ACCOUNT, LEASE_MS, Desk, frame

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def heard(desk: Desk, channel: str):
    """A subscription that is in force."""
    listener = desk.store.redis.pubsub()
    listener.subscribe(channel)
    assert listener.get_message(timeout=5)["type"] == "subscribe"
    return listener


def said(listener) -> bytes | None:
    message = listener.get_message(timeout=5)
    return message["data"] if message else None


# claim


def test_the_claimer_gets_all_it_needs(desk: Desk):
    claim = desk.claimed()

    assert claim.epoch == 1
    assert (claim.front_door, claim.spec, claim.request) == ("web1", b"spec", b"request")
    assert (claim.attempt, claim.history) == (0, b"")
    assert 0 <= claim.waited_ms < 5_000
    assert desk.state() == "running"
    due_ms = desk.due_in_ms()
    assert due_ms is not None
    assert LEASE_MS - 1_000 < due_ms <= LEASE_MS


def test_a_doorbell_rung_three_times_is_one_claim(desk: Desk):
    desk.claimed(worker="w1")

    told = [desk.jobs.claim("gen-1", worker, LEASE_MS) for worker in ("w2", "w1")]

    assert told == [NotClaimed("running")] * 2


def test_what_is_not_queued_is_not_claimed(desk: Desk):
    claim = desk.claimed()
    desk.jobs.emit([("web1", frame(claim))])
    assert desk.jobs.claim("gen-1", "w2", LEASE_MS) == NotClaimed("streaming")
    desk.finish(claim, seq=2)
    assert desk.jobs.claim("gen-1", "w2", LEASE_MS) == NotClaimed("done")
    assert desk.jobs.claim("gen-unknown", "w2", LEASE_MS) == NotClaimed("gone")


def test_a_job_past_its_deadline_is_left_to_the_reaper(desk: Desk):
    desk.grant()
    desk.admit(deadline_ms=-1)

    assert desk.jobs.claim("gen-1", "w1", LEASE_MS) == NotClaimed("late")
    assert desk.state() == "queued"


def test_a_job_whose_client_left_is_not_handed_on(desk: Desk):
    claim = desk.claimed()
    desk.jobs.cancel("gen-1", b"c")

    assert desk.requeue(claim) == "cancelled"
    assert desk.state() == "running"


# emit


def test_frames_are_published_once_per_front_door_and_kept_in_order(desk: Desk):
    desk.grant()
    for job_id in ("gen-1", "gen-2", "gen-3"):
        desk.admit(job_id, front_door="web2" if job_id == "gen-3" else "web1")
    claims = [desk.claim(f"gen-{n}") for n in (1, 2, 3)]
    first, second = heard(desk, "fd:web1"), heard(desk, "fd:web2")
    frames = [(claim.front_door, frame(claim, 1, claim.job_id.encode())) for claim in claims]

    assert desk.jobs.emit(frames) == [1, 1, 1]

    message, other = said(first), said(second)
    assert message is not None
    assert other is not None
    assert [one.job_id for one in Frame.decode_all(message)] == ["gen-1", "gen-2"]
    assert [one.payload for one in Frame.decode_all(other)] == [b"gen-3"]
    assert [desk.state(claim.job_id) for claim in claims] == ["streaming"] * 3
    assert desk.jobs.replay("gen-1", (0, 0)) == [frames[0][1]]


def test_a_frame_for_nobody_is_kept_and_not_published(desk: Desk):
    claim = desk.claimed(front_door="")

    assert desk.jobs.emit([("", frame(claim))]) == [1]

    assert len(desk.jobs.replay("gen-1", (0, 0))) == 1


def test_a_frame_sent_twice_is_kept_once(desk: Desk):
    claim = desk.claimed()

    assert desk.jobs.emit([("web1", frame(claim))] * 2) == [1, 1]

    assert len(desk.jobs.replay("gen-1", (0, 0))) == 1


def test_frames_are_replayed_from_where_the_reader_stopped(desk: Desk):
    claim = desk.claimed()
    frames = [frame(claim, seq, b"%d" % seq) for seq in range(1, 6)]
    desk.jobs.emit([("web1", one) for one in frames])

    assert desk.jobs.replay("gen-1", (claim.epoch, 3)) == frames[3:]
    assert desk.jobs.replay("gen-1", (claim.epoch, 5)) == []
    assert desk.jobs.replay("gen-unknown", (0, 0)) == []


# fencing: a zombie is a worker whose job was taken away while it slept


def zombie_and_owner(desk: Desk) -> tuple[Claim, Claim]:
    zombie = desk.claimed(worker="w1")
    assert desk.requeue(zombie, crashed=True, pool="acme", queue="pool.acme") == "ok"
    return zombie, desk.claim(worker="w2")


def test_a_zombie_can_write_nothing(desk: Desk):
    zombie, owner = zombie_and_owner(desk)

    assert owner.epoch > zombie.epoch
    assert desk.jobs.emit([("web1", frame(zombie))]) == [-1]
    assert desk.finish(zombie) == "fenced"
    assert desk.requeue(zombie) == "fenced"
    assert (
        desk.jobs.ring("gen-1", zombie.epoch, queue="q", envelope="e", queue_timeout_ms=1)
        == "fenced"
    )
    assert desk.jobs.fence("gen-1", zombie.epoch, "running") == 0

    assert desk.charges() == []
    assert desk.jobs.replay("gen-1", (0, 0)) == []
    assert desk.finish(owner) == "ok"
    assert desk.charges() == [b"charge"]


def test_one_batch_may_hold_fenced_and_good_frames(desk: Desk):
    zombie, owner = zombie_and_owner(desk)

    assert desk.jobs.emit([("web1", frame(zombie)), ("web1", frame(owner))]) == [-1, 1]

    assert [one.epoch for one in desk.jobs.replay("gen-1", (0, 0))] == [owner.epoch]


def test_fence_takes_a_job_only_in_the_state_it_was_seen_in(desk: Desk):
    claim = desk.claimed()

    assert desk.jobs.fence("gen-1", claim.epoch, "streaming") == 0
    assert desk.jobs.fence("gen-1", claim.epoch, "running") == claim.epoch + 1
    assert desk.finish(claim) == "fenced"


# finish


def test_a_finished_job_has_its_charge_its_last_frame_and_no_body(desk: Desk):
    claim = desk.claimed()
    listener = heard(desk, "fd:web1")

    assert desk.finish(claim) == "ok"

    redis = desk.store.redis
    assert desk.state() == "done"
    assert desk.charges() == [b"charge"]
    message = said(listener)
    assert message is not None
    assert Frame.decode_all(message)[0].kind is Kind.END
    assert redis.exists(keys.request("gen-1")) == 0
    assert desk.due_in_ms() is None
    assert desk.bells() == [b"bell of gen-1"]
    for key in (keys.job("gen-1"), keys.events("gen-1")):
        assert 0 < redis.pttl(key) <= KEEP_MS


def test_a_job_ends_once(desk: Desk):
    claim = desk.claimed()

    told = [desk.finish(claim, charge=b"%d" % n) for n in range(3)]

    assert told == ["ok", "already", "already"]
    assert desk.charges() == [b"0"]


def test_a_job_that_is_gone_is_not_charged(desk: Desk):
    claim = desk.claimed()
    desk.store.redis.delete(keys.job("gen-1"))

    assert desk.finish(claim) == "fenced"
    assert desk.charges() == []


# requeue


def test_a_job_handed_on_is_queued_for_the_next_pool_with_its_history(desk: Desk):
    claim = desk.claimed()

    assert desk.requeue(claim) == "ok"

    assert desk.bells("pool.other") == [b"again"]
    job = desk.jobs.look("gen-1")
    assert job is not None
    assert (job.state, job.attempt, job.pool) == ("queued", 1, "other")
    following = desk.claim(worker="w2")
    assert (following.attempt, following.history, following.trail) == (1, b"[1]", b"{}")
    assert following.epoch == claim.epoch + 2


def test_once_bytes_were_sent_a_job_stays_where_it_is(desk: Desk):
    claim = desk.claimed()
    desk.jobs.emit([("web1", frame(claim))])

    assert desk.requeue(claim) == "sent"
    assert desk.requeue(claim, crashed=True) == "sent"
    assert desk.bells("pool.other") == []


def test_an_ended_job_is_not_handed_on(desk: Desk):
    claim = desk.claimed()
    desk.finish(claim)

    assert desk.requeue(claim) == "done"


def test_a_job_that_kills_its_workers_is_poison(desk: Desk):
    desk.claimed()
    told = []
    for _ in range(MAX_CRASHES + 1):
        job = desk.jobs.look("gen-1")
        assert job is not None
        taken = desk.requeue(
            Claim(
                job_id="gen-1",
                epoch=job.epoch,
                front_door="",
                spec=b"",
                attempt=0,
                deadline_ms=0,
                history=b"",
                waited_ms=0,
                request=b"",
            ),
            crashed=True,
        )
        told.append(taken)
        if taken == "ok":
            desk.claim(worker="next")

    assert told == ["ok"] * MAX_CRASHES + ["poison"]
    assert desk.state() == "running"


def test_a_crash_keeps_the_history_of_calls(desk: Desk):
    desk.requeue(desk.claimed())
    claim = desk.claim(worker="w2")

    desk.requeue(claim, crashed=True, history=b"")

    kept = desk.claim(worker="w3")
    assert (kept.history, kept.trail) == (b"[1]", b"{}")


def test_a_front_door_that_beats_waits_for_its_jobs(desk: Desk):
    assert not desk.jobs.waited_for("web1")

    desk.store.redis.set(keys.front_door_heartbeat("web1"), "1")

    assert desk.jobs.waited_for("web1")


#: `claim.lua` of the release before, as far as it reads and writes the record.
OLD_CLAIM = """
local j = redis.call('HMGET', KEYS[1], 'st', 'fd', 'spec', 'att', 'dl', 'hist', 'at')
redis.call('HINCRBY', KEYS[1], 'ep', 1)
redis.call('HSET', KEYS[1], 'st', 'running', 'wk', ARGV[1])
return {j[1], j[2], j[3], j[4], j[6]}
"""


def test_a_worker_of_the_release_before_takes_over_a_job_that_was_handed_on(desk: Desk):
    desk.requeue(desk.claimed())

    told = desk.store.redis.eval(OLD_CLAIM, 1, keys.job("gen-1"), "old")

    assert told == [b"queued", b"web1", b"spec", b"1", b"[1]"]


# ring


def test_each_ring_waits_twice_as_long_up_to_a_bound(desk: Desk):
    desk.grant()
    desk.admit()
    waits = []
    for _ in range(5):
        told = desk.jobs.ring("gen-1", 0, queue="pool.acme", envelope="r", queue_timeout_ms=1_000)
        assert told == "ok"
        due_ms = desk.due_in_ms()
        assert due_ms is not None
        waits.append(round(due_ms / 1_000))

    assert waits == [2, 4, 8, 8, 8]
    assert len(desk.bells()) == 6


def test_a_claimed_job_is_not_rung_for(desk: Desk):
    claim = desk.claimed()

    told = desk.jobs.ring("gen-1", claim.epoch, queue="q", envelope="r", queue_timeout_ms=1)

    assert told == "running"
    assert desk.bells("q") == []


def test_a_claimed_and_requeued_job_rings_from_the_start(desk: Desk):
    desk.grant()
    desk.admit()
    for _ in range(3):
        desk.jobs.ring("gen-1", 0, queue="pool.acme", envelope="r", queue_timeout_ms=1_000)
    desk.requeue(desk.claim())

    desk.jobs.ring("gen-1", 2, queue="pool.acme", envelope="r", queue_timeout_ms=1_000)

    due_ms = desk.due_in_ms()
    assert due_ms is not None
    assert round(due_ms / 1_000) == 2


# park


def parked(desk: Desk, claim: Claim, wait_ms: int = 4_000) -> str:
    return desk.jobs.park(
        claim.job_id,
        claim.epoch,
        attempt=2,
        pool="other",
        queue="batch.other",
        wait_ms=wait_ms,
        history=b"so far",
        trail=b"and the rest",
    )


def test_a_parked_job_has_no_doorbell_and_is_due_when_its_wait_is_over(desk: Desk):
    claim = desk.claimed()
    bells = desk.bells()

    assert parked(desk, claim) == "ok"

    assert (desk.bells(), desk.bells("pool.other")) == (bells, [])
    due_ms = desk.due_in_ms()
    assert due_ms is not None
    assert 3_000 < due_ms <= 4_000
    assert desk.jobs.due(10, 1_000) == []
    job = desk.jobs.look("gen-1")
    assert job is not None
    assert (job.state, job.attempt, job.pool) == ("queued", 2, "other")
    assert (job.queue, job.history, job.trail) == ("batch.other", b"so far", b"and the rest")
    # What counts against workers that leave it unclaimed begins when it wakes.
    assert 3_000 < job.waiting_since_ms - desk.store.now_ms() <= 4_000


def test_a_parked_job_is_rung_for_and_goes_on_where_it_was(desk: Desk):
    parked(desk, desk.claimed(), wait_ms=1)
    desk.make_due()

    assert desk.jobs.due(10, 1_000) == ["gen-1"]
    told = desk.jobs.ring("gen-1", 2, queue="pool.other", envelope="r", queue_timeout_ms=1_000)
    due_ms = desk.due_in_ms()
    claim = desk.claim()

    assert told == "ok"
    assert due_ms is not None
    assert 0 < due_ms <= 1_000
    assert (claim.attempt, claim.history, claim.epoch) == (2, b"so far", 3)
    assert claim.trail == b"and the rest"


def test_a_job_knows_the_queue_it_is_rung_for_on(desk: Desk):
    claim = desk.claimed(queue="batch.acme")
    assert queue_of(desk) == "batch.acme"

    desk.requeue(claim, queue="batch.other")

    assert queue_of(desk) == "batch.other"


def queue_of(desk: Desk) -> str:
    job = desk.jobs.look("gen-1")
    assert job is not None
    return job.queue


def test_whoever_parked_a_job_is_fenced(desk: Desk):
    claim = desk.claimed()
    parked(desk, claim)

    assert desk.jobs.emit([("web1", frame(claim))]) == [-1]
    assert desk.finish(claim) == "fenced"
    assert parked(desk, claim) == "fenced"


def test_a_stray_doorbell_wakes_a_parked_job_early(desk: Desk):
    parked(desk, desk.claimed())

    assert desk.claim().waited_ms == 0


def test_what_has_begun_or_was_let_go_of_is_not_parked(desk: Desk):
    claim = desk.claimed()
    desk.jobs.cancel("gen-1", b"c")
    assert parked(desk, claim) == "cancelled"

    desk.jobs.emit([("web1", frame(claim))])
    assert parked(desk, claim) == "sent"

    desk.finish(claim, seq=2)
    assert parked(desk, claim) in {"sent", "done"}


def test_a_client_that_leaves_ends_a_parked_job(desk: Desk):
    parked(desk, desk.claimed())

    assert desk.jobs.cancel("gen-1", b"nothing") == "ended"
    assert desk.due_in_ms() is None
    assert desk.charges() == [b"nothing"]


# cancel


def test_a_cancelled_job_in_the_queue_ends_at_once_and_gives_its_hold_back(desk: Desk):
    desk.grant()
    desk.admit()

    assert desk.jobs.cancel("gen-1", b"nothing") == "ended"

    assert desk.state() == "cancelled"
    assert desk.charges() == [b"nothing"]
    assert desk.due_in_ms() is None
    assert desk.store.redis.exists(keys.request("gen-1")) == 0
    assert desk.jobs.claim("gen-1", "w1", LEASE_MS) == NotClaimed("cancelled")
    assert desk.jobs.cancel("gen-1", b"again") == "cancelled"
    assert len(desk.charges()) == 1


def test_the_worker_of_a_cancelled_job_is_told_and_ends_it_itself(desk: Desk):
    claim = desk.claimed(worker="w1")
    listener = heard(desk, keys.worker_channel("w1"))

    assert desk.jobs.cancel("gen-1", b"nothing") == "asked"

    assert said(listener) == b"gen-1"
    assert desk.charges() == []
    assert desk.jobs.renew("w1", LEASE_MS, [("gen-1", claim.epoch)]) == ["cancel"]
    assert desk.finish(claim) == "ok"


def test_what_has_ended_or_never_was_cannot_be_cancelled(desk: Desk):
    desk.finish(desk.claimed())

    assert desk.jobs.cancel("gen-1", b"c") == "done"
    assert desk.jobs.cancel("gen-unknown", b"c") == "gone"
    assert desk.charges() == [b"charge"]


# renew


def test_renew_has_four_words(desk: Desk):
    desk.grant(10_000)
    held = []
    for job_id, door in [("ok", "web1"), ("cancel", "web1"), ("orphan", "dead"), ("batch", "")]:
        desk.admit(job_id, front_door=door)
        claim = desk.claim(job_id, "w1")
        held.append((job_id, claim.epoch))
    desk.admit("lost")
    lost = desk.claim("lost", "w1")
    desk.requeue(lost)
    held += [("lost", lost.epoch), ("unknown", 1)]
    desk.jobs.cancel("cancel", b"")
    desk.store.redis.set(keys.front_door_heartbeat("web1"), "1")

    news = desk.jobs.renew("w1", LEASE_MS, held)

    assert news == ["ok", "cancel", "orphan", "ok", "lost", "lost"]


def test_a_job_of_another_worker_is_lost_even_under_the_right_epoch(desk: Desk):
    claim = desk.claimed(worker="w1")

    assert desk.jobs.renew("w2", LEASE_MS, [("gen-1", claim.epoch)]) == ["lost"]


def test_renewing_prolongs_the_lease_of_what_is_held_and_never_revives_what_is_over(desk: Desk):
    claim = desk.claimed()
    desk.make_due()
    desk.jobs.renew("w1", LEASE_MS, [("gen-1", claim.epoch)])
    due_ms = desk.due_in_ms()
    assert due_ms is not None
    assert due_ms > LEASE_MS - 1_000

    desk.finish(claim)
    desk.jobs.renew("w1", LEASE_MS, [("gen-1", claim.epoch)])
    assert desk.due_in_ms() is None


def test_renewing_is_a_heartbeat_also_without_jobs(desk: Desk):
    assert desk.jobs.workers_alive(desk.store.now_ms()) == 0

    assert desk.jobs.renew("w1", LEASE_MS, []) == []

    now_ms = desk.store.now_ms()
    assert desk.jobs.workers_alive(now_ms) == 1
    assert desk.jobs.workers_alive(now_ms + LEASE_MS + 1) == 0


# due


def test_what_a_reaper_took_is_hidden_from_the_next(desk: Desk):
    desk.grant()
    for number in range(3):
        desk.admit(f"gen-{number}")
        desk.make_due(f"gen-{number}")
    desk.admit("later")

    first, second = desk.jobs.due(2, 5_000), desk.jobs.due(10, 5_000)

    assert len(first) == 2
    assert sorted(first + second) == ["gen-0", "gen-1", "gen-2"]
    assert desk.jobs.due(10, 5_000) == []


def test_a_due_entry_without_a_job_is_forgotten(desk: Desk):
    desk.make_due("gen-unknown")
    assert desk.jobs.look("gen-unknown") is None

    desk.jobs.forget("gen-unknown")

    assert desk.jobs.due(10, 5_000) == []


def test_a_poison_job_is_kept_for_people_to_look_at(desk: Desk):
    desk.jobs.bury("gen-1", "its workers died")

    ((_, letter),) = desk.store.redis.xrange(keys.DEAD_LETTERS)
    assert letter == {b"job": b"gen-1", b"why": b"its workers died"}


# release


def test_a_hold_is_given_back_once(desk: Desk):
    desk.claimed()

    assert desk.budgets.post((), ["gen-1"]) == 1
    assert desk.budgets.post((), ["gen-1", "gen-unknown"]) == 0

    assert desk.budgets.held_nano(ACCOUNT) == 0
    assert desk.budgets.open_holds() == 0
