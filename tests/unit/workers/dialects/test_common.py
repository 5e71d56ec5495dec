"""What several dialects share: broken JSON, data URLs, arguments, names, errors by status."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import UpstreamDenied, UpstreamDown, UpstreamLimited, UpstreamRejected
from routing.wire.chat import parse_chat
from workers.dialects.common import (
    RAW_MAX_CHARS,
    UNREADABLE_ARGUMENTS,
    by_status,
    cut,
    data_url,
    dumped,
    hashed_user,
    load_object,
    loads,
    parse_arguments,
    sampling,
    stops,
    supports,
    system_texts,
    text_of,
)
from workers.dialects.tool_names import called_names, own_name, safe_id, safe_name

NOW_MS = 1_764_806_400_000


def asked(**fields: Any) -> Any:
    messages = [{"role": "user", "content": "Hi"}]
    return parse_chat(orjson.dumps({"model": "a/m", "messages": messages} | fields))


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_the_providers_fault(data: bytes):
    with suppress(UpstreamDown):
        loads(data)


@pytest.mark.parametrize("data", [b"[]", b"5", b'"x"', b"null"])
def test_what_must_be_an_object_is_one(data: bytes):
    with pytest.raises(UpstreamDown):
        load_object(data)


def test_a_providers_words_are_cut():
    assert len(cut("ä".encode() * 10_000)) == RAW_MAX_CHARS


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("data:image/png;base64,AAAA", ("image/png", "AAAA")),
        ("DATA:Image/PNG;charset=x;BASE64,AAAA", ("image/png", "AAAA")),
        ("data:application/pdf;base64,", ("application/pdf", "")),
        ("data:text/plain,hello", None),
        ("data:;base64,AAAA", None),
        ("https://example.com/data:image/png;base64,AAAA", None),
        ("", None),
    ],
)
def test_data_urls(url: str, found: tuple[str, str] | None):
    assert data_url(url) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("  \n", {}),
        ('{"a":1}', {"a": 1}),
        ("[1]", {UNREADABLE_ARGUMENTS: "[1]"}),
        ('{"a":', {UNREADABLE_ARGUMENTS: '{"a":'}),
    ],
)
def test_arguments_of_a_replayed_call(text: str, found: dict[str, Any]):
    assert parse_arguments(text) == found


def test_arguments_nested_too_deeply_to_be_written_stay_text():
    deep = '{"a":' * 250 + "1" + "}" * 250

    found = parse_arguments(deep)

    assert found == {UNREADABLE_ARGUMENTS: deep}
    with pytest.raises(UpstreamDown, match="too deeply"):
        dumped(orjson.loads('{"a":' * 600 + "1" + "}" * 600))


def test_a_user_gets_a_stable_name_that_tells_nothing():
    assert hashed_user(None) is None
    assert hashed_user("ada") == hashed_user("ada") != hashed_user("bob")
    assert re.fullmatch(r"[0-9a-f]{32}", hashed_user("ada") or "")


def test_texts_of_messages():
    request = asked(
        messages=[
            {"role": "system", "content": "One."},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
            {"role": "system", "content": ""},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {"role": "system", "content": "Later."},
        ]
    )

    assert system_texts(request.messages) == ["One.", "Two."]
    assert text_of(request.messages[3].content) == "ab"


def test_only_listed_parameters_are_sent(endpoint):
    place = endpoint(supported_parameters=frozenset({"temperature", "tools", "stop"}))
    request = asked(temperature=0.5, top_p=0.5, stop=["x", ""])

    assert sampling(request, place, {"temperature": "t", "top_p": "p", "seed": "s"}) == {"t": 0.5}
    assert stops(request, place) == ["x"]
    assert stops(asked(stop="x"), place) == ["x"]
    assert stops(request, endpoint(supported_parameters=frozenset())) == []
    assert supports(place, "parallel_tool_calls")
    assert not supports(place, "top_logprobs")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, UpstreamLimited),
        (529, UpstreamLimited),
        (400, UpstreamRejected),
        (413, UpstreamRejected),
        (422, UpstreamRejected),
        (401, UpstreamDenied),
        (402, UpstreamDenied),
        (403, UpstreamDenied),
        (404, UpstreamDenied),
        (408, UpstreamDown),
        (500, UpstreamDown),
        (503, UpstreamDown),
    ],
)
def test_errors_by_status(status: int, kind: type):
    found = by_status(status, {"retry-after": "2"}, "raw", "No.", NOW_MS)

    assert type(found) is kind
    assert found.raw == "raw"
    if kind is UpstreamRejected:
        assert (found.message, found.told_status) == ("No.", status)
    if kind is UpstreamLimited:
        assert (found.told_status, found.retry_after_ms) == (status, 2_000)


# names and ids of tools


@given(st.text(min_size=1, max_size=12) | st.from_regex(r"[_x0-9a-f.]{1,16}", fullmatch=True))
def test_every_name_can_be_escaped_and_read_back(name: str):
    safe = safe_name(name, 1_000, "tools[0]")

    assert re.fullmatch(r"[A-Za-z0-9_-]+", safe)
    assert own_name(safe) == name


@given(st.text(max_size=30) | st.from_regex(r"(_x[0-9a-f]{1,7}_?)+", fullmatch=True))
def test_names_that_nobody_escaped_are_read_without_harm(name: str):
    own_name(name).encode()


def test_plain_names_stay_as_they_are():
    assert safe_name("get_weather-2", 64, "x") == "get_weather-2"
    assert safe_name("a.b", 64, "x") == "a_x2e_b"
    with pytest.raises(UpstreamRejected, match=r"tools\[0\].*64"):
        safe_name("ä" * 30, 64, "tools[0].function.name")


def test_an_id_that_is_refused_gets_another_one_every_time_the_same():
    allowed = re.compile(r"[A-Za-z0-9_-]{1,64}")

    assert safe_id("call_1", allowed) == "call_1"
    assert safe_id("functions.f:0", allowed) == safe_id("functions.f:0", allowed)
    assert allowed.fullmatch(safe_id("functions.f:0", allowed))
    assert safe_id("functions.f:0", allowed) != safe_id("functions.f:1", allowed)


def test_names_called_before():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = asked(
        messages=[
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "tool_calls": [call, call]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ]
    )

    assert called_names(request.messages) == ["f"]
