"""The contract's bytes, chunk by chunk."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from routing.catalog.pricing import Cost
from routing.errors import Failure
from routing.usage import Usage
from routing.wire.events import Answer, Choice, Delta, Finish
from routing.wire.job import Api
from routing.wire.render import DONE, renderer

USAGE = Usage(prompt_tokens=9, completion_tokens=3, cached_tokens=4, reasoning_tokens=1)
COST = Cost(prompt_nano=9_000, completion_nano=6_000)
FAILURE = Failure(
    status=502, message="cut", retryable=True, blame="provider", provider="Acme", raw="boom"
)


def render(api: Api = "chat") -> Any:
    return renderer(api, "gen-1", 1_764_806_400, "a/m", "Acme")


def parsed(data: bytes) -> dict[str, Any]:
    """One event; checks its frame."""
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    assert data.count(b"\n\n") == 1
    found: dict[str, Any] = orjson.loads(data[6:])
    return found


def test_a_piece_of_text():
    assert parsed(render().delta(Delta(0, 'Hi "\n\n" 🚉'))) == {
        "id": "gen-1",
        "object": "chat.completion.chunk",
        "created": 1_764_806_400,
        "model": "a/m",
        "provider": "Acme",
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": 'Hi "\n\n" 🚉'},
                "finish_reason": None,
                "native_finish_reason": None,
                "logprobs": None,
            }
        ],
    }


@pytest.mark.parametrize(
    ("delta", "fields"),
    [
        (Delta(0, "x"), {"content": "x"}),
        (Delta(0, "", "hm"), {"content": "", "reasoning": "hm"}),
        (Delta(0, "", None, {"tool_calls": [{"index": 0}]}), {"tool_calls": [{"index": 0}]}),
        (Delta(1, "x"), {"content": "x"}),
    ],
)
def test_the_quick_form_and_the_full_form_have_the_same_shape(delta: Delta, fields: dict[str, Any]):
    (choice,) = parsed(render().delta(delta))["choices"]

    assert list(choice) == ["index", "delta", "finish_reason", "native_finish_reason", "logprobs"]
    assert choice["index"] == delta.index
    assert choice["delta"] == {"role": "assistant", "content": ""} | fields


def test_an_end_has_one_usage_chunk_and_the_mark():
    data: bytes = render().end(USAGE, COST, charged=True)

    assert data.endswith(DONE)
    chunk = parsed(data.removesuffix(DONE))
    assert chunk["choices"][0]["finish_reason"] is None
    assert chunk["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "cost": 0.000015,
        "is_byok": False,
        "prompt_tokens_details": {
            "cached_tokens": 4,
            "cache_write_tokens": 0,
            "audio_tokens": 0,
            "video_tokens": 0,
        },
        "cost_details": {
            "upstream_inference_cost": 0.000015,
            "upstream_inference_prompt_cost": 0.000009,
            "upstream_inference_completions_cost": 0.000006,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 1,
            "image_tokens": 0,
            "audio_tokens": 0,
        },
    }


def test_what_is_not_charged_costs_nothing_and_still_says_what_it_took():
    usage = parsed(render().end(USAGE, COST, charged=False).removesuffix(DONE))["usage"]

    assert usage["cost"] == 0
    assert usage["cost_details"]["upstream_inference_cost"] == 0.000015


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_broken_stream_says_so_in_band(api: Api):
    data: bytes = render(api).broken(FAILURE)

    assert data.endswith(DONE)
    chunk = parsed(data.removesuffix(DONE))
    assert chunk["error"] == {
        "code": 502,
        "message": "cut",
        "metadata": {
            "provider_name": "Acme",
            "error_type": "provider_unavailable",
            "raw": "boom",
        },
    }
    assert chunk["choices"][0]["finish_reason"] == "error"


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_finish_keeps_the_providers_own_word(api: Api):
    (choice,) = parsed(render(api).finish(Finish(0, "stop", "end_turn")))["choices"]

    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "end_turn")


def test_text_completions_have_text():
    assert parsed(render("completions").delta(Delta(0, "Once", "hm")))["choices"] == [
        {
            "index": 0,
            "text": "Once",
            "finish_reason": None,
            "native_finish_reason": None,
            "logprobs": None,
            "reasoning": "hm",
        }
    ]


@pytest.mark.parametrize(
    ("api", "name", "field"),
    [("chat", "chat.completion", "message"), ("completions", "text_completion", "text")],
)
def test_a_plain_answer(api: Api, name: str, field: str):
    message = {"role": "assistant", "content": "Hi", "refusal": None, "reasoning": None}
    answer = Answer(
        choices=(Choice(index=0, message=message, finish=Finish(0, None, None)),), usage=USAGE
    )

    body = orjson.loads(render(api).body(answer, USAGE, COST, charged=True))

    assert (body["object"], body["id"], body["provider"]) == (name, "gen-1", "Acme")
    (choice,) = body["choices"]
    assert choice["finish_reason"] is None
    assert choice[field] == (message if field == "message" else "Hi")
    assert body["usage"]["total_tokens"] == 12
