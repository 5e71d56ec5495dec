"""`/embeddings`: what is asked, and vectors in the encoding that was asked for."""

from __future__ import annotations

import base64
import math
import struct
from contextlib import suppress
from typing import Any

import httpx2
import openai
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openrouter import operations

from routing.catalog.pricing import Cost
from routing.errors import BadRequest, Failure
from routing.usage import Usage
from routing.wire.embeddings import (
    INPUTS_MAX,
    EmbeddingsRequest,
    embedded_text,
    numbered_tokens,
    parse_embeddings,
)
from routing.wire.embeddings_render import as_base64, as_numbers
from routing.wire.events import Answer, Delta, Finish
from routing.wire.render import Renderer, renderer

USAGE = Usage(prompt_tokens=9, cached_tokens=4)
COST = Cost(prompt_nano=9_000)
NUMBERS = [0.5, -0.25, 1.0]
PACKED = base64.b64encode(struct.pack("<3f", *NUMBERS)).decode()


def parsed(given: Any = "hello", **fields: Any) -> EmbeddingsRequest:
    return parse_embeddings(orjson.dumps({"model": "a/m", "input": given} | fields))


def refusal(given: Any = "hello", **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parsed(given, **fields)
    return caught.value


def render(**fields: Any) -> Renderer:
    return renderer("embeddings", "gen-1", 1, "a/m", "Acme", parsed(**fields))


def body(*vectors: list[float] | str, charged: bool = True, **fields: Any) -> bytes:
    answer = Answer(choices=(), usage=USAGE, vectors=vectors)
    return render(**fields).body(answer, USAGE, COST, charged=charged)


PICTURE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
CONTENT = {"content": [{"type": "text", "text": "a"}, PICTURE]}


@pytest.mark.parametrize(
    ("given", "text", "tokens"),
    [
        ("hello", "hello", 0),
        (["a", "b"], "a\nb", 0),
        ([1, 2, 3], "", 3),
        ([[1], [2, 3]], "", 3),
        ([CONTENT, {"content": [{"type": "text", "text": "b"}]}], "a\nb", 0),
    ],
)
def test_every_kind_of_input_is_understood_and_written_again(given: Any, text: str, tokens: int):
    request = parsed(given, dimensions=3, encoding_format="base64", input_type="query")
    assert embedded_text(request) == text
    assert numbered_tokens(request) == tokens
    assert orjson.loads(request.to_json())["input"] == given
    assert EmbeddingsRequest.from_trusted_json(request.to_json()) == request


KINDS = (
    "must be a string or an array of strings, of token numbers, of arrays of token numbers or of"
    " objects with 'content'"
)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "input: must not be empty; leave it out"),
        (["a", ""], "input[1]: must not be empty; leave it out"),
        ([], "input: must have 1 or more items"),
        ([[]], "input[0]: must have 1 or more items"),
        ([[1], []], "input[1]: must have 1 or more items"),
        (["a", 1], "input[1]: must be a string, not a number"),
        (["a", None], "input[1]: must be a string, not null"),
        ([1, "a"], "input[1]: must be an integer, not a string"),
        ([1, True], "input[1]: must be an integer, not a boolean"),
        ([-1], "input[0]: must be at least 0, not -1"),
        ([[1], 2], "input[1]: must be an array, not a number"),
        ([[1, 2.5]], "input[0][1]: must be an integer, not a number"),
        ([CONTENT, "a"], "input[1]: must be an object, not a string"),
        ([{"content": []}], "input[0].content: must have 1 or more items"),
        ([{"text": "a"}], "input[0].content: is required"),
        ([{"content": [{"type": "file", "file": {}}]}], "input[0].content[0].file: must have file"),
        ([{"content": [{"type": "x"}]}], "input[0].content[0]: must be an object whose type is"),
        (None, f"input: {KINDS}"),
        (5, f"input: {KINDS}"),
        ({"content": []}, f"input: {KINDS}"),
        ([None], f"input: {KINDS}"),
        ([1.5], f"input: {KINDS}"),
        ([True], f"input: {KINDS}"),
        (["a"] * (INPUTS_MAX + 1), "input: must have 2048 items or fewer"),
    ],
)
def test_a_bad_input_is_told_in_one_sentence(given: Any, message: str):
    error = refusal(given)
    assert error.message.startswith(message)
    assert error.param == message.partition(":")[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "model: must have 1 or more characters"),
        ({"model": None}, "model: must be a string, not null"),
        ({"encoding_format": "int8"}, "encoding_format: must be 'float' or 'base64', not 'int8'"),
        ({"dimensions": 0}, "dimensions: must be at least 1, not 0"),
        ({"dimensions": "8"}, "dimensions: must be an integer, not a string"),
        ({"provider": {"sort": "luck"}}, "provider.sort"),
        ({"stream": True}, "stream: must be false: vectors come in one piece"),
        ({"user": 5}, "user: must be a string, not a number"),
    ],
)
def test_another_bad_field_is_named(fields: dict[str, Any], message: str):
    error = refusal(**fields)
    assert error.message.startswith(message)
    assert error.param == message.partition(":")[0]


def test_model_and_input_are_required():
    with pytest.raises(BadRequest, match="model: is required; input: is required"):
        parse_embeddings(b"{}")


def test_stream_false_is_no_field_of_the_providers():
    assert parsed(stream=False, other=1).model_extra == {"other": 1}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=7), inner),
        max_leaves=6,
    )
)
def test_anything_else_is_a_bad_request(given: Any):
    with suppress(BadRequest):
        parsed(given)


# --- the answer ----------------------------------------------------------------------------------


def test_the_whole_answer():
    assert orjson.loads(body(NUMBERS, [1.0])) == {
        "id": "gen-1",
        "object": "list",
        "created": 1,
        "model": "a/m",
        "provider": "Acme",
        "data": [
            {"object": "embedding", "embedding": NUMBERS, "index": 0},
            {"object": "embedding", "embedding": [1.0], "index": 1},
        ],
        "usage": {
            "prompt_tokens": 9,
            "total_tokens": 9,
            "cost": 0.000009,
            "is_byok": False,
            "cost_details": {"upstream_inference_cost": 0.000009},
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        },
    }


def test_what_is_not_charged_costs_nothing():
    usage = orjson.loads(body(NUMBERS, charged=False))["usage"]
    assert usage["cost"] == 0
    assert usage["cost_details"]["upstream_inference_cost"] == 0.000009


@pytest.mark.parametrize("sent", [NUMBERS, PACKED])
@pytest.mark.parametrize(
    ("asked", "expected"), [("float", NUMBERS), ("base64", PACKED), (None, NUMBERS)]
)
def test_vectors_come_as_they_were_asked_for(sent: Any, asked: str | None, expected: Any):
    (row,) = orjson.loads(body(sent, encoding_format=asked))["data"]
    assert row["embedding"] == expected


@given(st.lists(st.floats(width=32), max_size=20))
def test_base64_is_little_endian_and_loses_nothing(numbers: list[float]):
    packed = as_base64(numbers)
    assert base64.b64decode(packed) == struct.pack(f"<{len(numbers)}f", *numbers)
    back = as_numbers(packed)
    assert all(
        one == other or (math.isnan(one) and math.isnan(other))
        for one, other in zip(numbers, back, strict=True)
    )


def ask(sent: list[float] | str, **options: Any) -> tuple[CreateEmbeddingResponse, Any]:
    """The official client's answer, from a server that parses and renders as we do."""
    seen = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked = parse_embeddings(request.content)
        seen.append(asked.encoding_format)
        answer = Answer(choices=(), usage=USAGE, vectors=(sent,))
        made = renderer("embeddings", "gen-1", 1, "a/m", "Acme", asked)
        content = made.body(answer, USAGE, COST, charged=True)
        return httpx2.Response(200, content=content, headers={"content-type": "application/json"})

    with openai.OpenAI(
        base_url="http://router.test/v1",
        api_key="k",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handle)),
    ) as caller:
        return caller.embeddings.create(model="a/m", input="hello", **options), seen[0]


@pytest.mark.parametrize("sent", [NUMBERS, PACKED])
def test_the_official_client_asks_for_base64_by_itself(sent: Any):
    answer, asked = ask(sent)
    assert asked == "base64"
    assert answer.data[0].embedding == NUMBERS
    assert answer.usage.prompt_tokens == 9


def test_the_official_client_gets_numbers_if_it_asks_for_them():
    answer, asked = ask(PACKED, encoding_format="float")
    assert asked == "float"
    assert answer.data[0].embedding == NUMBERS


def test_the_other_sdk_reads_the_answer():
    read = operations.CreateEmbeddingsResponseBody.model_validate(orjson.loads(body(NUMBERS)))
    assert read.data[0].embedding == NUMBERS
    assert read.usage is not None
    assert read.usage.cost == 0.000009


def test_there_is_nothing_to_stream():
    made = render()
    assert parsed().stream is False
    assert made.delta(Delta()) == b""
    assert made.finish(Finish(0, "stop", None)) == b""
    assert made.end(USAGE, COST, charged=True) == b""
    failure = Failure(status=502, message="cut", retryable=True, blame="provider")
    assert made.broken(failure) == b""
