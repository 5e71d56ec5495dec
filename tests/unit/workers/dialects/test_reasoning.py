"""Thinking: what was asked for, budgets and efforts, and the items it comes in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import UpstreamRejected
from routing.wire.chat import parse_chat
from workers.dialects.reasoning import (
    Thinking,
    budget,
    effort_of,
    encrypted_detail,
    joined,
    nearest,
    own_details,
    summary_detail,
    text_detail,
    thinking,
    whole_details,
)

EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
OFF = Thinking(mode="off")
DEFAULT = Thinking(mode="default")


def asked(**fields: Any) -> Any:
    messages = [{"role": "user", "content": "Hi"}]
    return parse_chat(orjson.dumps({"model": "a/m", "messages": messages} | fields))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, DEFAULT),
        ({"reasoning": {}}, DEFAULT),
        ({"reasoning": {"exclude": True}}, DEFAULT),
        ({"include_reasoning": True}, DEFAULT),
        ({"reasoning": {"enabled": True}}, Thinking(mode="on", effort="medium")),
        ({"reasoning": {"effort": "high"}}, Thinking(mode="on", effort="high")),
        ({"reasoning": {"max_tokens": 9}}, Thinking(mode="on", max_tokens=9)),
        ({"reasoning_effort": "low"}, Thinking(mode="on", effort="low")),
        (
            {"reasoning": {"enabled": True}, "reasoning_effort": "low"},
            Thinking(mode="on", effort="low"),
        ),
        ({"reasoning": {"effort": "none"}}, OFF),
        ({"reasoning_effort": "none"}, OFF),
        ({"reasoning": {"enabled": False}}, OFF),
    ],
)
def test_what_was_asked_for(endpoint, fields: dict[str, Any], expected: Thinking):
    assert thinking(asked(**fields), endpoint()) == expected


def test_where_a_model_cannot_think_nothing_is_asked(endpoint):
    place = endpoint(supported_parameters=frozenset({"tools"}))

    assert thinking(asked(reasoning_effort="high"), place) == DEFAULT
    assert thinking(asked(reasoning_effort="none"), place) == DEFAULT


def test_thinking_that_cannot_be_switched_off(endpoint):
    place = endpoint(efforts=("low", "high"))

    with pytest.raises(UpstreamRejected, match=r"cannot be switched off.*low, high") as caught:
        thinking(asked(reasoning={"enabled": False}), place)

    assert caught.value.told_status == 400
    assert thinking(asked(reasoning={"enabled": False}), endpoint(efforts=("none", "low"))) == OFF


@pytest.mark.parametrize(
    ("effort", "limit", "cap", "expected"),
    [
        ("max", 10_000, 128_000, 9_500),
        ("xhigh", 10_000, 128_000, 9_500),
        ("high", 10_000, 128_000, 8_000),
        ("medium", 10_000, 128_000, 5_000),
        ("low", 10_000, 128_000, 2_000),
        ("minimal", 20_000, 128_000, 2_000),
        ("minimal", 10_000, 128_000, 1_024),
        ("high", 64_000, 32_000, 32_000),
    ],
)
def test_a_budget_is_a_share_of_the_answer(effort: str, limit: int, cap: int, expected: int):
    assert budget(Thinking(mode="on", effort=effort), limit, cap) == expected


def test_a_budget_in_tokens_is_taken_as_it_is():
    assert budget(Thinking(mode="on", max_tokens=5_000), 8_000, 32_000) == 5_000
    assert budget(Thinking(mode="on", max_tokens=10), 8_000, 32_000) == 1_024
    assert budget(Thinking(mode="on", max_tokens=10), 8_000, 32_000, floor=1) == 10
    assert budget(Thinking(mode="on", max_tokens=90_000), 8_000, 32_000) == 32_000


@pytest.mark.parametrize(
    ("effort", "allowed", "expected"),
    [
        ("high", ("low", "medium", "high"), "high"),
        ("max", ("low", "medium", "high"), "high"),
        ("minimal", ("none", "low", "high"), "low"),
        ("medium", ("low", "high"), "low"),
        ("xhigh", ("low", "max"), "max"),
        ("high", ("none",), "high"),
        ("high", (), "high"),
    ],
)
def test_the_nearest_effort(effort: str, allowed: tuple[str, ...], expected: str):
    assert nearest(effort, allowed) == expected


@given(st.sampled_from(EFFORTS), st.sets(st.sampled_from(("none", *EFFORTS)), min_size=2))
def test_the_nearest_effort_is_allowed_and_never_none(effort: str, allowed: set[str]):
    assert nearest(effort, allowed) in allowed - {"none"}


def test_an_effort_out_of_a_budget():
    assert effort_of(Thinking(mode="on", max_tokens=8_000), 10_000) == "high"
    assert effort_of(Thinking(mode="on", max_tokens=100), 10_000) == "minimal"
    assert effort_of(Thinking(mode="on", effort="low"), 10_000) == "low"


# items


def test_fragments_of_one_index_become_one_item():
    fragments = [
        text_detail(0, "anthropic-claude-v1", text="Let "),
        text_detail(0, "anthropic-claude-v1", text="me see."),
        text_detail(0, "anthropic-claude-v1", signature="sig"),
        encrypted_detail(1, "anthropic-claude-v1", "blob"),
        text_detail(2, "anthropic-claude-v1", text="Then."),
    ]

    assert whole_details(fragments) == [
        text_detail(0, "anthropic-claude-v1", text="Let me see.", signature="sig"),
        encrypted_detail(1, "anthropic-claude-v1", "blob"),
        text_detail(2, "anthropic-claude-v1", text="Then."),
    ]


def test_whole_items_stay_whole():
    items = [
        text_detail(0, "unknown", text="a", signature="s1"),
        text_detail(0, "unknown", text="b", signature="s2"),
        encrypted_detail(0, "unknown", "x"),
        encrypted_detail(0, "unknown", "y"),
        summary_detail(0, "openai-responses-v1", "s") | {"id": "rs_1"},
        summary_detail(0, "openai-responses-v1", "t") | {"id": "rs_2"},
        {"type": "reasoning.text", "text": "no index"},
        {"type": "reasoning.text", "text": "no index"},
    ]

    assert whole_details(items) == items


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=5)), max_size=5
    ),
    st.data(),
)
def test_any_cutting_gives_the_same_items(blocks: list[tuple[str, str]], data: st.DataObject):
    fragments, whole = [], []
    for index, (text, signature) in enumerate(blocks):
        whole.append(text_detail(index, "unknown", text=text, signature=signature))
        rest = text
        while rest:
            cut = data.draw(st.integers(1, len(rest)))
            fragments.append(text_detail(index, "unknown", text=rest[:cut]))
            rest = rest[cut:]
        fragments.append(text_detail(index, "unknown", signature=signature))

    assert whole_details(fragments) == whole
    assert (joined(fragments) or "") == "".join(text for text, _ in blocks)


_JSON = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["type", "text", "summary", "signature", "index", "format", "id"]),
            _JSON | st.sampled_from(["reasoning.text", "reasoning.summary", "unknown"]),
        ),
        max_size=5,
    )
)
def test_whatever_a_client_replays_is_no_defect_of_ours(details: list[dict[str, Any]]):
    whole_details(details)
    own_details(details, {None, "unknown"})
    joined(details)


def test_items_of_another_provider_are_left_out():
    items = [
        text_detail(0, "anthropic-claude-v1", text="a"),
        text_detail(1, "google-gemini-v1", text="b"),
        {"type": "reasoning.text", "text": "c", "index": 2},
        {"type": "reasoning.text", "text": "d", "index": 3, "format": ["odd"]},
    ]

    assert own_details(items, {"anthropic-claude-v1"}) == items[:1]
    assert own_details(items, {None}) == items[2:3]
    assert own_details(None, {None}) == []
    assert joined([]) is None
