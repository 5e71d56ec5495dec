"""Embeddings in the OpenAI format."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.credentials import ApiKey
from routing.errors import UpstreamDown, UpstreamError, UpstreamLimited, UpstreamRejected
from routing.usage import Usage
from routing.wire.embeddings import parse_embeddings
from workers.dialects.openai_embeddings import OpenAIEmbeddings

DIALECT = OpenAIEmbeddings()
LISTED = frozenset({"dimensions"})
STRICT = {"quirks": frozenset({"strict_fields"})}


def sent(endpoint: Any, **fields: Any) -> dict[str, Any]:
    request = parse_embeddings(orjson.dumps({"model": "a/m", "input": "Hi"} | fields))
    body: dict[str, Any] = orjson.loads(
        DIALECT.encode(request, endpoint, ApiKey("k"), stream=False).body
    )
    return body


def answered(*items: Any, **more: Any) -> Any:
    return DIALECT.answer(orjson.dumps({"object": "list", "data": items} | more))


def test_the_request_goes_to_embeddings(endpoint):
    request = parse_embeddings(b'{"model":"a/m","input":"Hi"}')

    upstream = DIALECT.encode(request, endpoint(), ApiKey("secret"), stream=False)

    assert upstream.url == "https://acme.test/v1/embeddings"
    assert upstream.headers["authorization"] == "Bearer secret"
    assert orjson.loads(upstream.body) == {"model": "m-1", "input": "Hi"}


@pytest.mark.parametrize("given", [["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_inputs_go_as_they_came(endpoint, given):
    assert sent(endpoint(), input=given)["input"] == given


def test_parts_that_are_all_text_become_one_text(endpoint):
    texts = [{"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    image = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}

    assert sent(endpoint(), input=texts)["input"] == ["a\nb"]
    with pytest.raises(UpstreamRejected, match=r"input\[0\]\.content\[0\]: .*text only"):
        sent(endpoint(), input=[{"content": [image]}])


def test_dimensions_are_sent_where_they_are_listed(endpoint):
    assert sent(endpoint(supported_parameters=LISTED), dimensions=8)["dimensions"] == 8
    assert "dimensions" not in sent(endpoint(), dimensions=8)


def test_what_else_is_asked_for(endpoint):
    fields = {
        "encoding_format": "base64",
        "input_type": "query",
        "truncate": True,
        "user": "ada",
        "provider": {"options": {"acme": {"x": 1, "input": "no"}}},
    }

    lenient, strict = sent(endpoint(), **fields), sent(endpoint(provider=STRICT), **fields)

    assert len(lenient.pop("user")) == 32
    assert lenient == {
        "model": "m-1",
        "input": "Hi",
        "encoding_format": "base64",
        "input_type": "query",
        "truncate": True,
        "x": 1,
    }
    assert strict == {"model": "m-1", "input": "Hi", "encoding_format": "base64", "x": 1}


def test_vectors_come_in_the_order_of_the_inputs():
    answer = answered(
        {"index": 1, "embedding": [0.5, -1]},
        {"index": 0, "embedding": "AACAPw=="},
        usage={"prompt_tokens": 3, "total_tokens": 3},
        id="embd-1",
    )

    assert answer.vectors == ("AACAPw==", [0.5, -1])
    assert answer.choices == ()
    assert answer.usage == Usage(prompt_tokens=3)
    assert answer.upstream_id == "embd-1"


@pytest.mark.parametrize("places", [(None, None), (0, 0), (1, 2), ("1", "0"), (True, False)])
def test_without_sound_places_the_order_is_kept(places):
    answer = answered(*({"index": place, "embedding": [1.0]} for place in places))

    assert len(answer.vectors) == 2


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"total_tokens": 4}, Usage(prompt_tokens=4)),
        ({}, None),
        (None, None),
        ({"prompt_tokens": -1}, None),
    ],
)
def test_usage(usage, expected):
    assert answered({"embedding": [1.0]}, usage=usage).usage == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data":[]}',
        b'{"data":[7]}',
        b'{"data":[{"embedding":[]}]}',
        b'{"data":[{"embedding":""}]}',
        b'{"data":[{"embedding":["x"]}]}',
        b'{"data":[{"embedding":[true]}]}',
        b'{"data":[{"embedding":[null]}]}',
    ],
)
def test_an_answer_nobody_can_read_is_an_error(body):
    with pytest.raises(UpstreamDown):
        DIALECT.answer(body)


def test_errors_are_those_of_chat():
    with pytest.raises(UpstreamLimited):
        DIALECT.answer(b'{"error":{"code":429}}')
    error = DIALECT.error(400, {}, b'{"error":{"message":"too long"}}', 0)
    assert isinstance(error, UpstreamRejected)
    assert error.message == "too long"
    assert not DIALECT.streams("text/event-stream")


@given(st.binary(max_size=200))
def test_random_bytes_are_no_defect_of_ours(data: bytes):
    with suppress(UpstreamError):
        DIALECT.answer(data)
