"""What is kept of a generation, and in how much room."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from routing import contents
from routing.contents import NOTHING, Said, content_json, joined_calls, with_before
from routing.errors import Failure
from routing.wire.job import AttemptRecord
from routing.wire.request import request_from_json

PIXEL = "data:image/png;base64," + "A" * 40_000


def asked(api: Any = "chat", **fields: Any) -> Any:
    return request_from_json(api, orjson.dumps({"model": "a/m"} | fields))


def kept(request: Any, said: Said = NOTHING, failure: Any = None, attempts: Any = ()) -> Any:
    return orjson.loads(content_json(request, said, failure, attempts))


def test_messages_and_answer_are_kept_as_they_were():
    messages = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "Häh? 🙂"}]},
    ]
    said = Said(completion="Yes", reasoning="Hm")
    assert kept(asked(messages=messages), said) == {
        "input": {"messages": messages},
        "output": {"completion": "Yes", "reasoning": "Hm"},
        "error": None,
    }


def test_a_prompt_and_inputs_of_vectors_are_prompts():
    assert kept(asked(prompt="Once"))["input"] == {"prompt": "Once"}
    found = kept(asked("embeddings", input=["one", "two"]))
    assert found["input"] == {"prompt": "one\ntwo"}
    assert found["output"] == {"completion": None, "reasoning": None}


def test_tool_calls_are_kept_with_the_answer():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert kept(asked(prompt="x"), Said(tool_calls=(call,)))["output"]["tool_calls"] == [call]


def test_a_failure_is_told_with_those_before_it():
    failure = Failure(
        status=502, message="broke", retryable=True, blame="provider", provider="Acme"
    )
    attempts = [
        AttemptRecord(
            endpoint_id="b:a/m", provider="Bravo", status=429, latency_ms=1, message="no"
        ),
        AttemptRecord(endpoint_id="a:a/m", provider="Acme", status=502, latency_ms=1, message="b"),
    ]
    assert kept(asked(prompt="x"), NOTHING, failure, attempts)["error"] == {
        "message": "broke",
        "status": 502,
        "provider_name": "Acme",
        "raw": None,
        "previous_errors": [{"message": "no", "status": 429, "provider_name": "Bravo"}],
    }


def test_pictures_and_sounds_are_named_and_addresses_kept():
    address = "https://x.test/" + "a" * 3_000
    parts = [
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "input_audio", "input_audio": {"data": "A" * 50_000, "format": "wav"}},
        {
            "type": "file",
            "file": {
                "filename": "a.pdf",
                "file_data": "data:application/pdf;base64," + "A" * 5_000,
            },
        },
    ]
    raw = content_json(asked(messages=[{"role": "user", "content": parts}]), NOTHING, None, ())
    told = orjson.loads(raw)["input"]["messages"][0]["content"]
    assert told[0]["image_url"]["url"].startswith("data:image/png;base64,AAAA")
    assert "40,022 characters, not kept" in told[0]["image_url"]["url"]
    assert told[1]["image_url"]["url"] == address
    assert told[3]["file"]["filename"] == "a.pdf"
    assert len(raw) < 5_000


@pytest.mark.parametrize("size", [2 * 10**6, 40])
def test_no_content_is_larger_than_its_room(size):
    # Given one long text, or very many short ones
    count = 4 * 10**6 // size
    messages = [{"role": "user", "content": f"{n:>{size}}"} for n in range(min(count, 9_999))]
    request = asked(messages=[*messages, {"role": "user", "content": "é" * 300_000}])
    raw = content_json(request, Said(completion="x" * 3 * 10**6), None, ())
    # Then the newest are there, cut, and it is told how many are not
    assert len(raw.encode()) <= contents.CONTENT_MAX_BYTES
    told = orjson.loads(raw)
    assert told["input"]["messages"][-1]["content"].startswith("ééé")
    assert told["input"]["messages"][-1]["content"].endswith("(300,000 characters, cut)")
    assert told["output"]["completion"].endswith("(3,000,000 characters, cut)")
    everything = len(told["input"]["messages"]) + told["input"]["messages_left_out"]
    assert everything == len(messages) + 1


def test_too_many_calls_are_left_out():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "x" * 20_000}}
    raw = content_json(asked(prompt="Hi"), Said(tool_calls=(call,) * 500), None, ())
    assert len(raw) <= contents.CONTENT_MAX_BYTES
    assert orjson.loads(raw)["input"] == {"prompt": "Hi"}


def test_a_deep_message_is_kept_whole():
    deep: Any = "end"
    for _ in range(200):
        deep = {"a": deep}
    message = {"role": "assistant", "content": "x", "reasoning_details": [deep]}
    assert kept(asked(messages=[message]))["input"]["messages"] == [message]


def test_calls_are_joined_of_their_pieces():
    pieces = [
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}},
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}},
        {"index": 0, "function": {"arguments": "1}"}},
        {"index": 1, "function": {"arguments": "{}"}},
        {"index": 2, "function": None},
    ]
    assert [(one["id"], one["function"]) for one in joined_calls(pieces)] == [
        ("a", {"name": "f", "arguments": '{"x":1}'}),
        ("b", {"name": "g", "arguments": "{}"}),
        (None, {"name": "", "arguments": ""}),
    ]


def test_an_answer_that_went_on_elsewhere_is_kept_whole():
    assert with_before(Said(completion=" world"), "Hello").completion == "Hello world"
    assert with_before(NOTHING, "") is NOTHING
