from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pkce import CALLBACK_MAX, Challenge, read_callback, read_challenge, s256
from routing.errors import BadRequest

#: The example of RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example", "https://app.example"),
        ("https://App.Example/Back?a=1", "https://app.example"),
        ("https://app.example:443/", "https://app.example"),
        ("https://app.example:3000/cb", "https://app.example:3000"),
        ("https://app.example/cb?state=x%2Fy", "https://app.example"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:51234/cb", "http://127.0.0.1:51234"),
        ("http://[::1]:8000/cb", "http://[::1]:8000"),
        ("http://localhost:80/", "http://localhost"),
    ],
)
def test_addresses_a_code_may_go_to(url: str, origin: str):
    callback = read_callback(url)
    assert (callback.url, callback.origin) == (url, origin)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.example/cb",
        "//app.example/cb",
        "http://app.example/cb",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://127.1/",
        "http://2130706433/",
        "ftp://app.example/",
        "javascript:alert(1)",
        "javascript://app.example/%0aalert(1)",
        "data:text/html,x",
        "vscode://some.extension/cb",
        "https://",
        "https:///cb",
        "https://:443/cb",
        "https://good.example@evil.example/",
        "https://user:pass@app.example/",
        "https://good.example\\@evil.example/",
        "https://evil.example\\.good.example/",
        "https://evil.example#@good.example/",
        "https://app.example/cb#part",
        "https://app.example/#/cb",
        "https://evil.example%2f.good.example/",
        "https://app.example%00/",
        "https://app.example /",
        " https://app.example/",
        "https://app.example/\r\nSet-Cookie: a=b",
        "https://app.example/\t",
        "https://app.example/\x00",
        "https://bücher.example/",
        "https://app.example\u3002evil.example/",
        "https://app.example/é",
        "https://-app.example/",
        "https://app.example./",
        "https://[::1%25eth0]/",
        "https://[::ffff:1.2.3.4]/",
        "https://app.example:0/",
        "https://app.example:65536/",
        "https://app.example:port/",
        "https://app.example:443:443/",
        "https://app.example/cb?code=mine",
        "https://app.example/cb?a=1&code=",
        "https://app.example/cb?a=1;code=mine",
        "https://app.example/cb?Code=mine",
        "https://app.example/cb?code[]=mine",
        "https://app.example/cb?code%5B0%5D=mine",
        "https://app.example/cb?%63ode=mine",
        "https://app.example/cb?error=x",
        'https://app.example/"onmouseover="x',
        "https://app.example/<script>",
        "https://app.example/" + "a" * CALLBACK_MAX,
    ],
)
def test_addresses_no_browser_is_sent_to(url: str):
    with pytest.raises(BadRequest) as caught:
        read_callback(url)
    assert caught.value.param == "callback_url"


@pytest.mark.parametrize(
    ("url", "after"),
    [
        ("https://app.example", "https://app.example?code=a%26b"),
        ("https://app.example/cb?", "https://app.example/cb?code=a%26b"),
        ("https://app.example/cb?x=1", "https://app.example/cb?x=1&code=a%26b"),
        ("https://app.example/cb?x=1&", "https://app.example/cb?x=1&code=a%26b"),
        ("https://app.example/cb?x=%2F?y", "https://app.example/cb?x=%2F?y&code=a%26b"),
    ],
)
def test_a_code_is_added_and_the_rest_stays(url: str, after: str):
    assert read_callback(url).with_code("a&b") == after


@given(st.text(max_size=80))
def test_no_query_leads_elsewhere_or_hides_the_code(rest: str):
    try:
        callback = read_callback(f"https://app.example/{rest}")
    except BadRequest:
        return
    parts = urlsplit(callback.with_code("c0de"))
    assert (parts.scheme, parts.hostname, parts.fragment) == ("https", "app.example", "")
    assert parse_qs(parts.query)["code"] == ["c0de"]


def test_a_no_is_told_as_the_standard_has_it():
    assert read_callback("https://a.example/cb").refused() == (
        "https://a.example/cb?error=access_denied"
    )


def test_the_example_of_the_standard():
    assert s256(VERIFIER) == CHALLENGE
    challenge = read_challenge(CHALLENGE, "S256")
    assert challenge == Challenge(CHALLENGE, "S256")
    assert challenge.met_by(VERIFIER)
    assert not challenge.met_by(CHALLENGE)
    assert not challenge.met_by("")
    assert not challenge.met_by("é" * 43)


def test_padding_is_forgiven_and_plain_need_not_be_named():
    assert read_challenge(CHALLENGE + "=", "S256") == Challenge(CHALLENGE, "S256")
    plain = read_challenge("your-random-string", None)
    assert plain == Challenge("your-random-string", "plain")
    assert plain.met_by("your-random-string")
    assert not plain.met_by("your-random-strinG")


def test_no_challenge():
    assert read_challenge(None, None) is None
    assert read_challenge("", None) is None


@pytest.mark.parametrize(
    ("text", "method", "param"),
    [
        (CHALLENGE, "s256", "code_challenge_method"),
        (CHALLENGE, "", "code_challenge_method"),
        (None, "S256", "code_challenge_method"),
        ("short", "S256", "code_challenge"),
        (CHALLENGE[:-1] + "+", "S256", "code_challenge"),
        (CHALLENGE + "\n", "S256", "code_challenge"),
        ("two words", "plain", "code_challenge"),
        ("é", "plain", "code_challenge"),
        ("a" * 257, "plain", "code_challenge"),
    ],
)
def test_challenges_nobody_can_meet(text: str | None, method: str, param: str):
    with pytest.raises(BadRequest) as caught:
        read_challenge(text, method)
    assert caught.value.param == param
    assert caught.value.message == f"Invalid {param}"
