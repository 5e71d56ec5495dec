"""Mailbox: frames in order, once each, whatever the channel does to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from routing.store import bus
from routing.store.bus import Mailbox
from routing.wire.frames import Frame, Kind


def frame(seq: int, epoch: int = 1, payload: bytes = b"x") -> Frame:
    return Frame("gen-1", epoch, seq, Kind.DATA, 200, payload)


def seqs(box: Mailbox) -> list[tuple[int, int]]:
    return [(one.epoch, one.seq) for one in box.take(0)]


def test_frames_come_out_as_they_came_in():
    box = Mailbox("gen-1")
    for seq in (1, 2, 3):
        box.put(frame(seq))

    assert seqs(box) == [(1, 1), (1, 2), (1, 3)]
    assert seqs(box) == []
    assert box.cursor == (1, 3)


def test_repeats_and_frames_of_an_older_epoch_are_dropped():
    box = Mailbox("gen-1")
    for one in (frame(1), frame(1), frame(1, epoch=3), frame(2), frame(1, epoch=3)):
        box.put(one)

    assert seqs(box) == [(1, 1), (3, 1)]
    assert not box.behind


def test_a_gap_is_filled_from_the_store_and_later_frames_wait():
    box = Mailbox("gen-1")
    for seq in (1, 3, 4):
        box.put(frame(seq))
    assert seqs(box) == [(1, 1)]
    assert (box.behind, box.gaps) == (True, 1)

    box.refill([frame(2), frame(3), frame(4)])

    assert seqs(box) == [(1, 2), (1, 3), (1, 4)]
    assert (box.behind, box.lost) == (False, False)


def test_a_gap_in_the_store_itself_means_the_answer_is_lost():
    box = Mailbox("gen-1")
    box.put(frame(1))

    box.refill([frame(3)])

    assert box.lost


def test_the_reaper_may_end_a_stream_under_a_new_epoch():
    box = Mailbox("gen-1")
    for seq in (1, 2, 3):
        box.put(frame(seq))
    box.put(frame(1, epoch=2))

    assert seqs(box)[-1] == (2, 1)


def test_a_slow_reader_gets_a_bounded_box_and_no_gap(monkeypatch):
    monkeypatch.setattr(bus, "MAILBOX_MAX_BYTES", 30)
    frames = [frame(seq, payload=b"0123456789") for seq in range(1, 8)]
    box = Mailbox("gen-1")
    for one in frames:
        box.put(one)
    assert (box.behind, box.lost) == (True, False)

    read = seqs(box)
    while len(read) < len(frames):
        box.refill([one for one in frames if (one.epoch, one.seq) > box.cursor])
        read += seqs(box)

    assert read == [(1, seq) for seq in range(1, 8)]
    assert not box.lost


def test_one_frame_larger_than_the_box_gets_through(monkeypatch):
    monkeypatch.setattr(bus, "MAILBOX_MAX_BYTES", 3)
    box = Mailbox("gen-1")

    box.put(frame(1, payload=b"far too large"))

    assert seqs(box) == [(1, 1)]


def test_a_wake_up_ends_the_wait_of_a_reader():
    box = Mailbox("gen-1")
    box.wake()

    assert box.take(60) == []


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=40))
def test_whatever_the_channel_loses_repeats_or_reorders_the_reader_sees_each_frame_once(arrivals):
    stored = [frame(seq) for seq in range(1, 13)]
    box, read, newest = Mailbox("gen-1"), [], 0
    for seq, look in arrivals:
        newest = max(newest, seq)
        box.put(frame(seq))
        if look:
            read += seqs(box)
        if box.behind:
            box.refill([one for one in stored[:newest] if (one.epoch, one.seq) > box.cursor])
    read += seqs(box)

    assert read == [(1, seq) for seq in range(1, newest + 1)]
    assert not box.lost
