import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from routing.figures import Percentiles
from routing.plan import Health, facts, plan
from routing.wire.chat import checked
from routing.wire.job import PlanEntry

Make = Callable[..., Any]
HELLO = [{"role": "user", "content": "hello"}]


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a repeatable draw, no secret


def planned(
    catalog: Any, *, health: Health | None = None, seed: int = 1, **fields: Any
) -> tuple[PlanEntry, ...]:
    request = checked({"model": "a/m", "messages": HELLO} | fields)
    return plan(facts(request, ""), catalog, health or Health(), rng(seed), 0).entries


def tags(entries: tuple[PlanEntry, ...]) -> list[str]:
    return [entry.endpoint_id.split(":", maxsplit=1)[0] for entry in entries]


def test_the_guides_example_a_nine_times_as_often_as_c_and_b_last(endpoint: Make, catalog: Make):
    # Given A at $1, B at $2 with recent outages, and C at $3
    known = catalog(endpoint("a", 1), endpoint("b", 2), endpoint("c", 3))
    request = facts(checked({"model": "a/m", "messages": HELLO}), "")
    health = Health(unstable=frozenset({"b:a/m"}))
    draws = rng(7)

    # When 20,000 plans are made
    count = 20_000
    plans = Counter(
        tuple(tags(plan(request, known, health, draws, 0).entries)) for _ in range(count)
    )

    # Then A leads nine times as often as C, within three sigma, and B is always last
    assert set(plans) == {("a", "c", "b"), ("c", "a", "b")}
    sigma = (count * 0.9 * 0.1) ** 0.5
    assert abs(plans["a", "c", "b"] - 0.9 * count) < 3 * sigma


def test_the_fallbacks_follow_by_price_whoever_was_drawn(endpoint: Make, catalog: Make):
    known = catalog(*(endpoint(tag, usd) for tag, usd in (("c", 3), ("a", 1), ("d", 4), ("b", 2))))

    for seed in range(50):
        first, *rest = tags(planned(known, seed=seed))
        assert rest == sorted({"a", "b", "c", "d"} - {first})


def test_free_endpoints_take_all_the_draws(endpoint: Make, catalog: Make):
    known = catalog(endpoint("paid", 1), endpoint("free1", 0), endpoint("free2", 0))

    firsts = {tags(planned(known, seed=seed))[0] for seed in range(50)}

    assert firsts == {"free1", "free2"}


def test_all_unstable_still_makes_a_plan_by_price(endpoint: Make, catalog: Make):
    known = catalog(endpoint("b", 2), endpoint("a", 1))

    entries = planned(known, health=Health(unstable=frozenset({"a:a/m", "b:a/m"})))

    assert tags(entries) == ["a", "b"]


def even(value: float) -> Percentiles:
    """An endpoint that is always the same."""
    return Percentiles(p50=value, p75=value, p90=value, p99=value)


FAST = Health(
    unstable=frozenset({"a:a/m"}),
    throughput={"c:a/m": even(90.0), "b:a/m": even(40.0)},
    latency={"b:a/m": even(300.0), "c:a/m": even(800.0)},
)


def test_preferred_figures_do_not_bring_a_shaky_endpoint_forward(endpoint: Make, catalog: Make):
    known = catalog(endpoint("b", 2), endpoint("a", 1))
    health = Health(unstable=frozenset({"a:a/m"}), throughput={"a:a/m": even(90.0)})

    found = planned(known, health=health, provider={"preferred_min_throughput": 50})

    assert tags(found) == ["b", "a"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"provider": {"sort": "price"}}, "abcd", id="price, ties by id"),
        pytest.param({"provider": {"sort": "throughput"}}, "cbad", id="throughput, unknown last"),
        pytest.param({"provider": {"sort": {"by": "latency"}}}, "bcad", id="latency as object"),
        pytest.param({"model": "a/m:nitro"}, "cbad", id=":nitro is throughput"),
        pytest.param({"model": "a/m:floor"}, "abcd", id=":floor is price"),
        pytest.param({"route": "sort"}, "abcd", id="route sort is price"),
        pytest.param({"provider": {"order": ["d", "b"]}}, "dbca", id="order, shaky ones last"),
        pytest.param({"provider": {"order": ["x", "D"]}}, "dbca", id="unknown slugs are skipped"),
        pytest.param({"provider": {"order": ["d", "d"]}}, "dbca", id="repeats count once"),
        pytest.param(
            {"provider": {"order": ["d", "b"], "allow_fallbacks": False}}, "db", id="order only"
        ),
        pytest.param(
            {"provider": {"sort": "price", "allow_fallbacks": False}}, "a", id="no fallbacks"
        ),
        pytest.param({"provider": {"sort": "price", "only": ["C", "d"]}}, "cd", id="only"),
        pytest.param({"provider": {"sort": "price", "ignore": ["a", "C"]}}, "bd", id="ignore"),
        pytest.param(
            {"provider": {"sort": "price", "preferred_min_throughput": 50}},
            "cabd",
            id="too slow moves back, is not dropped",
        ),
        pytest.param(
            {"provider": {"sort": "price", "preferred_max_latency": {"p50": 0.5}}},
            "bacd",
            id="latency threshold is in seconds",
        ),
    ],
)  # fmt: skip
def test_strict_orders(endpoint: Make, catalog: Make, fields: dict[str, Any], expected: str):
    known = catalog(endpoint("d", 3), endpoint("c", 3), endpoint("b", 2), endpoint("a", 1))

    assert "".join(tags(planned(known, health=FAST, **fields))) == expected
