"""Keys that customers bring: read by the form of their provider, shown by their ends."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from routing.errors import BadRequest
from routing.own_keys import PLAIN_MAX, check, label_of, plain_key, takes_keys
from tests.unit.routing.test_credentials import AWS, AZURE, GOOGLE

PLAIN = "sk-proj-0123456789AbCd"


@pytest.fixture
def shop(catalog: Any, endpoint: Any) -> Any:
    keyed = {"key_variable": "A_KEY"}
    return catalog(
        endpoint("acme", provider=keyed),
        endpoint("azure", dialect="azure", provider=keyed),
        endpoint("bedrock", dialect="bedrock", provider=keyed),
        endpoint("vertex", dialect="vertex", provider=keyed),
        endpoint("vertex/claude", dialect="vertex-anthropic", provider=keyed),
        endpoint("local"),
    )


def text(fields: Any) -> str:
    return orjson.dumps(fields).decode()


def test_only_providers_that_ask_for_a_key_take_one(shop: Any):
    assert takes_keys(shop) == ("acme", "azure", "bedrock", "vertex")
    for name in ("local", "nobody", ""):
        with pytest.raises(BadRequest, match="acme, azure, bedrock, vertex") as caught:
            check(shop, name, PLAIN)
        assert caught.value.param == "provider"


@pytest.mark.parametrize(
    ("provider", "key", "label"),
    [
        ("acme", PLAIN, "sk-...AbCd"),
        ("acme", f"  {PLAIN}\n", "sk-...AbCd"),
        ("bedrock", "ABSK0123456789abcdef==", "ABS...ef=="),
        ("bedrock", text(AWS), "{...}"),
        ("vertex", text(GOOGLE), "{...}"),
        ("azure", text(AZURE), "{...}"),
    ],
)
def test_keys_in_their_providers_form(shop: Any, provider: str, key: str, label: str):
    found = check(shop, provider, key)

    assert (found.provider, found.text, found.label) == (provider, key.strip(), label)
    assert found.models == (("a/m",) if provider == "azure" else None)
    assert key.strip() not in repr(found)


@pytest.mark.parametrize(
    ("provider", "key", "param"),
    [
        ("acme", "", "key"),
        ("acme", "two SECRETS", "key"),
        ("acme", "SECRET\r\nX-Evil: 1", "key"),
        ("acme", "SECRET\x00", "key"),
        ("acme", "SECRET" * PLAIN_MAX, "key"),
        ("bedrock", text(AWS | {"region": "SECRET/"}), "key.region"),
        ("vertex", "SECRET", "key"),
        ("vertex", text(GOOGLE | {"private_key": "SECRET"}), "key.private_key"),
        ("vertex", text(GOOGLE | {"token_uri": "https://SECRET.test/"}), "key.token_uri"),
        ("azure", text([AZURE, {"api_key": "SECRET"}]), "key.[1].endpoint_url"),
        ("azure", text(AZURE | {"endpoint_url": "https://SECRET.test"}), "key.endpoint_url"),
    ],
)
def test_keys_in_another_form(shop: Any, provider: str, key: str, param: str):
    with pytest.raises(BadRequest) as caught:
        check(shop, provider, key)

    assert caught.value.param == param
    assert "SECRET" not in str(caught.value.body())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_longest_plain_key():
    assert plain_key("x" * PLAIN_MAX).value == "x" * PLAIN_MAX


def test_a_label_of_a_short_key_shows_nothing():
    assert label_of("0123456789abcde") == "..."
    assert label_of("0123456789abcdef") == "012...cdef"
