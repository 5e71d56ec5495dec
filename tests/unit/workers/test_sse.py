"""Server-sent events out of any chopping of bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import UpstreamDown
from workers.sse import SseReader


def read(*chunks: bytes, limit: int = 1_000) -> list[bytes]:
    reader = SseReader(limit)
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    return events + reader.close()


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], id="LF"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], id="CRLF"),
        pytest.param(b"data: a\r\rdata: b\r\r", [b"a", b"b"], id="CR"),
        pytest.param(b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"], id="mixed line ends"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [b"a"], id="byte order mark"),
        pytest.param(b"data:a\n\n", [b"a"], id="no space"),
        pytest.param(b"data:  a\n\n", [b" a"], id="only one space goes"),
        pytest.param(b"data: a\ndata: b\n\n", [b"a\nb"], id="two lines"),
        pytest.param(b"data: a\ndata\ndata:\n\n", [b"a\n\n"], id="empty data lines"),
        pytest.param(b"data\n\n", [b""], id="a bare field name"),
        pytest.param(b": ping\n\n", [], id="a comment"),
        pytest.param(b": OPENROUTER PROCESSING\ndata: a\n\n", [b"a"], id="a comment first"),
        pytest.param(b"event: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"], id="other fields"),
        pytest.param(b"\n\n\n\ndata: a\n\n\n\n", [b"a"], id="blank lines"),
        pytest.param(b"dataset: a\n\n", [], id="another field that begins alike"),
        pytest.param(b"data: [DONE]", [], id="cut in the last line"),
        pytest.param(b"data: [DONE]\n", [b"[DONE]"], id="ended without the blank line"),
        pytest.param(b"data: a\n\ndata: {", [b"a"], id="cut in the second event"),
        pytest.param("data: zażółć 🚉\n\n".encode(), ["zażółć 🚉".encode()], id="multi-byte"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_forms_that_occur_on_the_wire(raw: bytes, events: list[bytes]):
    assert read(raw) == events
    assert read(*(bytes([byte]) for byte in raw)) == events


@given(
    st.lists(
        st.sampled_from(
            [b"data: a", b"data:", b"data", b": c", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b"\xef",
             b"\xef\xbb\xbf", b" ", "é".encode()]
        ),
        max_size=30,
    ).map(b"".join),
    st.lists(st.integers(0, 120), max_size=8),
)  # fmt: skip
def test_the_events_do_not_depend_on_how_the_bytes_were_cut(raw: bytes, cuts: list[int]):
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    chunks = [raw[start:end] for start, end in pairwise(places)]

    assert read(*chunks) == read(raw)


def test_an_event_of_five_megabytes_comes_through_in_linear_time():
    payload = b"x" * 5_000_000
    raw = b"data: " + payload + b"\n\n"
    reader = SseReader()

    events = []
    for start in range(0, len(raw), 4_096):
        events += reader.feed(raw[start : start + 4_096])

    assert events == [payload]


def test_an_event_over_the_bound_is_refused_as_soon_as_it_is_seen():
    reader = SseReader(100)
    assert reader.feed(b"data: " + b"x" * 94) == []

    with pytest.raises(UpstreamDown, match="more than 100 bytes"):
        reader.feed(b"x")


def test_many_small_events_may_be_larger_than_the_bound_together():
    assert len(read(b"data: 0123456789\n\n" * 100, limit=40)) == 100
