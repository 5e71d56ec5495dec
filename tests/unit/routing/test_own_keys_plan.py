"""Plans of an account that brings provider keys of its own."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.errors import NotFound
from routing.plan import MAX_PLAN_ENTRIES, Health, facts, plan, worst_case
from routing.wire.account import ByokKey
from routing.wire.job import PlanEntry
from tests.unit.routing.conftest import Make
from tests.unit.routing.test_plan import HELLO, checked


def own(provider: str, name: str = "", **changes: Any) -> ByokKey:
    return ByokKey(
        id=name or f"own-{provider}", account_id="ada", provider=provider, sealed="s", **changes
    )


def planned(known: Any, *keys: ByokKey, seed: int = 1, **fields: Any) -> tuple[PlanEntry, ...]:
    request = facts(checked({"model": "a/m", "messages": HELLO} | fields), "", byok=keys)
    draw = random.Random(seed)  # noqa: S311 - a repeatable draw, no secret
    return plan(request, known, Health(), draw, 0).entries


def told(entries: tuple[PlanEntry, ...]) -> list[str]:
    return [
        entry.endpoint_id.partition(":")[0] + (f"+{entry.byok}" if entry.byok else "")
        for entry in entries
    ]


def test_own_keys_go_first_whatever_the_order(endpoint: Make, catalog: Make):
    known = catalog(endpoint("p"), endpoint("q"), endpoint("r"))

    entries = planned(known, own("r"), provider={"order": ["p", "q", "r"]})

    assert told(entries) == ["r+own-r", "p", "q", "r"]


def test_several_own_keys_of_a_provider_are_tried_in_their_order(endpoint: Make, catalog: Make):
    known = catalog(endpoint("p"), endpoint("q"))

    entries = planned(known, own("p", "b"), own("p", "a"), provider={"order": ["q", "p"]})

    assert told(entries) == ["p+b", "p+a", "q", "p"]


def test_always_use_leaves_the_operators_key_of_that_provider_out(endpoint: Make, catalog: Make):
    known = catalog(endpoint("p"), endpoint("q"))

    assert told(planned(known, own("p", always_use=True))) == ["p+own-p", "q"]


def test_a_key_for_other_models_is_left_out(endpoint: Make, catalog: Make):
    known = catalog(endpoint("p"))

    assert told(planned(known, own("p", allowed_models=("a/other",), always_use=True))) == ["p"]
    assert told(planned(known, own("p", allowed_models=("a/m",)))) == ["p+own-p", "p"]


def test_the_models_of_a_request_keep_their_order(endpoint: Make, catalog: Make):
    known = catalog(endpoint("p"), endpoint("q", model="a/n"))

    entries = planned(known, own("q"), models=["a/n"])

    assert told(entries) == ["p", "q+own-q", "q"]


def test_an_endpoint_the_operator_has_no_key_for_opens_to_an_own_one(endpoint: Make, catalog: Make):
    shut = endpoint("p")
    known = replace(catalog(shut), by_model={}, keyless={"a/m": (shut,)})

    with pytest.raises(NotFound):
        planned(known)
    assert told(planned(known, own("p"))) == ["p+own-p"]


def test_a_hold_covers_the_operators_keys_and_the_fee_of_own_ones(endpoint: Make, catalog: Make):
    known = catalog(endpoint("p", usd=2), endpoint("q", usd=5))
    chat = {"model": "a/m", "messages": HELLO, "max_tokens": 100}
    request = facts(checked(chat), "", byok=(own("p", always_use=True), own("q", always_use=True)))
    entries = plan(request, known, Health(), random.Random(1), 0).entries  # noqa: S311

    worst = worst_case(entries, request, known)

    assert worst.shared_nano == 0
    assert worst.hold_nano(0, include_byok=False) == 0
    assert worst.hold_nano(50_000, include_byok=False) == -(-worst.own_nano // 20)
    assert (
        worst.hold_nano(0, include_byok=True)
        == worst.own_nano
        == 5_000 * (request.prompt_tokens_max + 100)
    )


def test_a_hold_covers_a_long_answer_that_a_dearer_endpoint_takes_over(
    endpoint: Make, catalog: Make
):
    cheap, dear = endpoint("p", usd=1), endpoint("q", usd=5)
    short = replace(dear, max_completion_tokens=100)
    known = catalog(cheap, short)
    request = facts(checked({"model": "a/m", "messages": HELLO}), "", byok=(own("p"),))
    entries = plan(request, known, Health(), random.Random(1), 0).entries  # noqa: S311

    apart = worst_case(entries, request, known)
    joined = worst_case(entries, request, known, joined=True)

    assert joined.completion_tokens_max == apart.completion_tokens_max
    assert joined.shared_nano >= 5_000 * apart.completion_tokens_max > apart.shared_nano


@settings(deadline=None, max_examples=100)
@given(
    tags=st.lists(st.sampled_from("pqrstuvw"), min_size=1, max_size=8, unique=True),
    keyed=st.lists(
        st.tuples(st.sampled_from("pqrstuvw"), st.booleans(), st.booleans()), max_size=12
    ),
)
def test_whatever_keys_there_are_a_plan_is_bounded_and_keeps_its_promises(
    endpoint: Make, catalog: Make, tags: list[str], keyed: list[tuple[str, bool, bool]]
):
    known = catalog(*(endpoint(tag) for tag in tags))
    keys = tuple(
        own(tag, f"k{n}", always_use=always, allowed_models=None if serves else ())
        for n, (tag, always, serves) in enumerate(keyed)
    )
    serving = [key for key in keys if key.allowed_models is None and key.provider in tags]
    always = {key.provider for key in serving if key.always_use}

    entries = planned(known, *keys)

    assert 0 < len(entries) <= MAX_PLAN_ENTRIES
    assert len({(entry.endpoint_id, entry.byok) for entry in entries}) == len(entries)
    flags = [bool(entry.byok) for entry in entries]
    assert flags == sorted(flags, reverse=True)
    shared = {entry.endpoint_id.partition(":")[0] for entry in entries if not entry.byok}
    assert not shared & always
    if len(entries) < MAX_PLAN_ENTRIES:
        assert {entry.byok for entry in entries if entry.byok} == {key.id for key in serving}
        assert shared == set(tags) - always
