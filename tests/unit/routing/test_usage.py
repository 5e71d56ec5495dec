"""Usage as providers report it, and the lies among it."""

from __future__ import annotations

from typing import Any

import pytest

from routing.usage import MAX_TOKENS, Usage, bounded, usage_of


@pytest.mark.parametrize("lie", [
    None, 5, "x", [], {}, {"completion_tokens": 5}, {"prompt_tokens": None},
    {"prompt_tokens": -1, "completion_tokens": 1}, {"prompt_tokens": 1, "completion_tokens": -1},
    {"prompt_tokens": "5", "completion_tokens": 1}, {"prompt_tokens": 5, "completion_tokens": "1"},
    {"prompt_tokens": True, "completion_tokens": 1}, {"prompt_tokens": 1.5, "completion_tokens": 1},
    {"prompt_tokens": 1, "completion_tokens": 0.5}, {"prompt_tokens": [], "completion_tokens": 1},
    {"prompt_tokens": {}, "completion_tokens": 1}, {"prompt_tokens": 1, "completion_tokens": None},
    {"prompt_tokens": MAX_TOKENS + 1, "completion_tokens": 1},
    {"prompt_tokens": 1, "completion_tokens": 10**30},
    {"prompt_tokens": float("inf"), "completion_tokens": 1},
    {"prompt_tokens": float("nan"), "completion_tokens": 1},
    {"prompt_tokens": 1e300, "completion_tokens": 1}, {"total_tokens": 5}, {"input_tokens": 5},
])  # fmt: skip
def test_totals_that_cannot_be_believed_count_as_no_report(lie: Any):
    assert usage_of(lie) is None


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 4}}, {"cached_tokens": 4}),
        ({"prompt_tokens_details": {"cached_tokens": 40}}, {"cached_tokens": 10}),
        ({"prompt_tokens_details": {"cached_tokens": -4}}, {}),
        ({"prompt_tokens_details": {"cached_tokens": "4"}}, {}),
        ({"prompt_tokens_details": "odd"}, {}),
        ({"prompt_tokens_details": None}, {}),
        ({"prompt_cache_hit_tokens": 3}, {"cached_tokens": 3}),
        (
            {"prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 8}},
            {"cached_tokens": 8, "cache_write_tokens": 2},
        ),
        ({"completion_tokens_details": {"reasoning_tokens": 3}}, {"reasoning_tokens": 3}),
        ({"completion_tokens_details": {"reasoning_tokens": 99}}, {"reasoning_tokens": 5}),
        ({"completion_tokens_details": {"reasoning_tokens": None}}, {}),
        ({"completion_tokens_details": [1]}, {}),
        ({"total_tokens": 10**12, "cost": -5}, {}),
    ],
)
def test_a_detail_is_never_more_than_its_total(details: dict[str, Any], expected: dict[str, int]):
    raw = {"prompt_tokens": 10, "completion_tokens": 5.0} | details

    assert usage_of(raw) == Usage(prompt_tokens=10, completion_tokens=5, **expected)


@pytest.mark.parametrize(
    ("total", "completion"), [(313, 303), (15, 5), (310, 5), (None, 5), ("313", 5)]
)
def test_thoughts_counted_beside_the_answer_are_part_of_it(total: Any, completion: int):
    raw = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": 298},
    }

    usage = usage_of(raw)

    assert usage is not None
    assert usage.completion_tokens == completion
    assert usage.reasoning_tokens == min(298, completion)


def test_cached_tokens_beside_the_totals():
    usage = usage_of({"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 4})

    assert usage == Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=4)


def test_what_cannot_have_been_used_is_clamped_and_flagged():
    reported = Usage(
        prompt_tokens=1_000,
        completion_tokens=900,
        cached_tokens=990,
        cache_write_tokens=10,
        reasoning_tokens=800,
        flags=("seen",),
    )

    assert bounded(reported, 1_000, 900) == reported
    assert bounded(reported, 100, 50) == Usage(
        prompt_tokens=100,
        completion_tokens=50,
        cached_tokens=100,
        cache_write_tokens=0,
        reasoning_tokens=50,
        flags=("seen", "prompt_tokens_clamped", "completion_tokens_clamped"),
    )
