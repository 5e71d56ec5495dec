from typing import Any

import pytest

from routing.auto import Guess, guess, suited
from routing.catalog.shapes import PoolEntry
from routing.wire.chat import checked

POOL = (
    PoolEntry(model_id="a/strong-code", strength="strong", good_at=frozenset({"code"})),
    PoolEntry(model_id="a/strong", strength="strong"),
    PoolEntry(model_id="a/standard", strength="standard", good_at=frozenset({"writing"})),
    PoolEntry(model_id="a/light", strength="light"),
)
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def looks(text: str, tokens: int = 20, **fields: Any) -> Guess:
    return guess(checked({"messages": [{"role": "user", "content": text}]} | fields), tokens)


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        pytest.param("Hello!", {}, Guess("general", "light"), id="small talk"),
        pytest.param("What is the meaning of life?", {}, Guess("general", "light"), id="guide"),
        pytest.param("Fix this:\n```\nx = 1\n```", {}, Guess("code", "standard"), id="code"),
        pytest.param("Refactor my Python service", {}, Guess("code", "strong"), id="hard code"),
        pytest.param("Use the API in rust", {"tools": TOOLS}, Guess("code", "strong"), id="agent"),
        pytest.param("Prove that √2 is irrational", {}, Guess("math", "strong"), id="math"),
        pytest.param("Translate to French: hi", {}, Guess("translation", "light"), id="translate"),
        pytest.param("Write a poem on rain", {}, Guess("writing", "standard"), id="writing"),
        pytest.param("Any", {"tools": TOOLS}, Guess("general", "standard"), id="tools"),
        pytest.param("Any", {"reasoning_effort": "high"}, Guess("general", "strong"), id="effort"),
        pytest.param(
            "Any",
            {"response_format": {"type": "json_object"}},
            Guess("extraction", "light"),
            id="json",
        ),
    ],
)
def test_what_a_prompt_looks_like(text: str, fields: dict[str, Any], expected: Guess):
    assert looks(text, **fields) == expected


def test_a_long_prompt_takes_more():
    assert looks("Hello", 500).strength == "standard"
    assert looks("Hello", 9_000).strength == "strong"


def test_only_the_last_words_of_a_user_are_read():
    talk = [
        {"role": "user", "content": "prove the theorem"},
        {"role": "assistant", "content": "def f(): pass"},
        {"role": "user", "content": [{"type": "text", "text": "thanks"}]},
    ]

    assert guess(checked({"messages": talk}), 20) == Guess("general", "light")


def test_a_huge_prompt_is_looked_at_from_both_ends_only():
    text = "a " * 100_000 + "prove it"

    assert looks(text).task == "math"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(Guess("code", "strong"), "a/strong-code", id="good at it"),
        pytest.param(Guess("general", "strong"), "a/strong-code", id="else as given"),
        pytest.param(Guess("writing", "standard"), "a/standard", id="standard"),
        pytest.param(Guess("general", "light"), "a/light", id="light"),
    ],
)
def test_the_best_suited_comes_first_and_nobody_is_lost(wanted: Guess, expected: str):
    order = suited(POOL, wanted)

    assert order[0].model_id == expected
    assert set(order) == set(POOL)


def test_too_strong_is_better_than_too_weak():
    pool = (POOL[3], POOL[0])

    assert suited(pool, Guess("general", "standard"))[0] is POOL[0]
