from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.wire.frames import Frame, Kind

FRAMES = st.builds(
    Frame,
    job_id=st.from_regex(r"gen-\d{10}-[0-9A-Za-z]{20}", fullmatch=True),
    epoch=st.integers(0, 2**40),
    seq=st.integers(0, 2**40),
    kind=st.sampled_from(Kind),
    status=st.integers(100, 599),
    payload=st.binary(max_size=50),
    retry_after_s=st.integers(0, 600),
)


@given(st.lists(FRAMES, max_size=5))
def test_any_frames_in_one_message_come_out_as_they_went_in(frames: list[Frame]):
    message = b"".join(frame.encoded() for frame in frames)

    assert Frame.decode_all(message) == frames


@pytest.mark.parametrize(
    "message",
    [
        b"x",
        b"\n",
        b"gen 1 1 d 200 0\n",
        b"gen 1 1 d 200 0 5\nabc",
        b"gen 1 1 ? 200 0 0\n",
        b"gen a 1 d 200 0 0\n",
    ],
)
def test_what_is_not_a_frame_is_refused(message: bytes):
    with pytest.raises(ValueError, match=r"."):
        Frame.decode_all(message)


@pytest.mark.parametrize("kind", list(Kind))
def test_only_data_is_followed_by_more(kind: Kind):
    assert Frame("gen-1", 1, 1, kind, 200, b"").last is (kind is not Kind.DATA)
