from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.media import base64_problem, same_type, shown_type, sniffed, split_data_url

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "image/jpeg"),
        (b"GIF89a" + bytes(20), "image/gif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\x00\x00\x00\x20ftypisom", "video/mp4"),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_bytes_show_what_they_are(head: bytes, media_type: str | None):
    assert sniffed(head) == media_type


def test_base64_shows_it_too():
    assert shown_type(b64encode(PNG).decode()[:30]) == "image/png"
    assert shown_type("!!!") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("image/jpg", "image/jpeg", True),
        ("video/mp4", "video/quicktime", True),
        ("image/png", "image/jpeg", False),
        ("video/mp4", "image/png", False),
    ],
)
def test_one_type_has_several_names(one: str, other: str, same: bool):
    assert same_type(one, other) is same


@pytest.mark.parametrize(
    ("url", "split"),
    [
        ("data:image/png;base64,AAAA", ("image/png", 22)),
        ("data:application/pdf;name=a.pdf;base64,AAAA", ("application/pdf", 39)),
        ("data:;base64,AAAA", ("text/plain", 13)),
        ("data:image/png,AAAA", None),
        ("https://a.b/c.png", None),
    ],
)
def test_data_urls(url: str, split: tuple[str, int] | None):
    assert split_data_url(url) == split


@given(st.binary(min_size=1))
def test_base64_of_anything_is_base64(data: bytes):
    whole = b64encode(data)
    assert base64_problem(whole) is None
    assert base64_problem(whole.rstrip(b"=")) is None  # padding may be left out


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"AA AA", "spaces"),
        (b"AA\nAA", "line breaks"),
        (b"AA-_", "base64"),
        (b"A===", "padding"),
        (b"AA=A", "padding"),
        (b"AAA==", "padding"),
        (b"AAAAA", "cut off"),
    ],
)
def test_broken_base64_is_told(data: bytes, says: str):
    assert says in (base64_problem(data) or "")
