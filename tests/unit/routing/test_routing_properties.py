"""What holds for every catalog, every preference and every state of the fleet.

The rules are written down here a second time, plainly, so that planning is compared with something.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.catalog.shapes import Catalog, DataPolicy, Endpoint, Price
from routing.errors import NotFound
from routing.explain import explain
from routing.figures import Percentiles
from routing.plan import MAX_PLAN_ENTRIES, Health, Plan, facts, plan
from routing.ranking import typical_pico
from routing.wire.account import RoutingPolicy
from routing.wire.chat import checked

Make = Callable[..., Any]
MILLION = 1_000_000
MODELS = ("a/m", "a/n", "b/o")
SLUGS = ("p0", "p1", "p2", "p3", "p4", "p5/turbo", "p5")
HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@dataclass(frozen=True, slots=True)
class World:
    """One drawn case."""

    catalog: Catalog
    health: Health
    policy: RoutingPolicy
    fields: dict[str, Any]
    wanted: dict[str, Any] = field(default_factory=dict)


PERCENTILES = st.builds(
    lambda p50, fall: Percentiles(p50=p50, p75=p50 - fall, p90=p50 - 2 * fall, p99=p50 - 3 * fall),
    st.integers(40, 100).map(float),
    st.integers(0, 10).map(float),
)
SOME_SLUGS = st.lists(st.sampled_from([s.split("/")[0] for s in SLUGS] + list(SLUGS)), max_size=3)
TWO_POINTS = st.fixed_dictionaries(
    {"p50": st.integers(30, 90).map(float), "p90": st.integers(10, 80).map(float)}
)
THRESHOLD = st.none() | st.integers(30, 90).map(float) | TWO_POINTS
PREFERENCES: dict[str, st.SearchStrategy[Any]] = {
    "order": SOME_SLUGS,
    "only": SOME_SLUGS.filter(bool),
    "ignore": SOME_SLUGS,
    "allow_fallbacks": st.booleans(),
    "data_collection": st.sampled_from(["allow", "deny"]),
    "zdr": st.booleans(),
    "require_parameters": st.booleans(),
    "quantizations": st.lists(st.sampled_from(["fp8", "bf16", "unknown"]), max_size=2),
    "max_price": st.fixed_dictionaries({}, optional={"prompt": st.integers(0, 5)}),
    "sort": st.sampled_from(["price", "throughput", "latency"])
    | st.fixed_dictionaries(
        {"partition": st.sampled_from(["model", "none"])},
        optional={"by": st.sampled_from(["price", "throughput", "latency"])},
    ),
    "preferred_min_throughput": THRESHOLD,
}
POLICIES = st.builds(
    RoutingPolicy,
    only=SOME_SLUGS.map(tuple),
    ignore=SOME_SLUGS.map(lambda slugs: tuple(slugs[:1])),
    zdr=st.booleans(),
    deny_paid_training=st.booleans(),
    deny_free_training=st.booleans(),
    sort=st.sampled_from([None, None, "price"]),
)


@st.composite
def worlds(draw: st.DrawFn, endpoint: Make, catalog: Make) -> World:
    made: list[Endpoint] = []
    for model in draw(st.lists(st.sampled_from(MODELS), min_size=1, unique=True)):
        for tag in draw(st.lists(st.sampled_from(SLUGS), min_size=1, unique=True)):
            policy = DataPolicy(training=draw(st.booleans()), retains_prompts=draw(st.booleans()))
            usd = draw(st.integers(0, 5))
            made.append(
                endpoint(
                    tag,
                    usd,
                    model,
                    provider={"data_policy": policy},
                    quantization=draw(st.sampled_from([None, "fp8", "bf16"])),
                    max_completion_tokens=draw(st.sampled_from([100, 1_000])),
                    supported_parameters=frozenset(
                        draw(st.sets(st.sampled_from(["tools", "max_tokens", "temperature"])))
                    ),
                    prices=(Price(prompt_pico=usd * MILLION, completion_pico=usd * MILLION),),
                )
            )
    known = catalog(*made)
    ids = sorted(known.endpoints)
    suffix = draw(st.sampled_from(["", "", ":nitro", ":floor"]))
    named = draw(st.lists(st.sampled_from(sorted(known.models)), min_size=1, max_size=3))
    fields: dict[str, Any] = {"model": named[0] + suffix, "messages": HELLO}
    if len(named) > 1:
        fields["models"] = named[1:]
    if draw(st.booleans()):
        fields["tools"] = TOOLS
    if draw(st.booleans()):
        fields["max_tokens"] = 500
    # Few at once: with all of them hardly any endpoint would be left to be put in order.
    names = draw(st.sets(st.sampled_from(sorted(PREFERENCES)), max_size=3))
    wanted = {name: draw(PREFERENCES[name]) for name in sorted(names)}
    figures = st.dictionaries(st.sampled_from(ids), PERCENTILES, min_size=len(ids) // 2)
    health = Health(
        unstable=draw(st.frozensets(st.sampled_from(ids))),
        throughput=draw(figures),
        latency=draw(figures),
    )
    policy = draw(st.one_of(st.just(RoutingPolicy()), POLICIES))
    return World(known, health, policy, fields | {"provider": wanted}, wanted)


def named(slugs: Any, endpoint: Endpoint) -> bool:
    return any(slug in {endpoint.tag, endpoint.provider.slug} for slug in slugs)


def allowed(e: Endpoint, world: World) -> bool:
    """The demands, one by one."""
    wanted, policy, price = world.wanted, world.policy, e.prices[0]
    free, data = price.free, e.provider.data_policy
    parameters = {name for name in ("tools", "max_tokens") if name in world.fields}
    return all(
        (
            not named(wanted.get("ignore") or (), e),
            not named(policy.ignore, e),
            not wanted.get("only") or named(wanted["only"], e),
            not policy.only or named(policy.only, e),
            wanted.get("allow_fallbacks", True)
            or not wanted.get("order")
            or named(wanted["order"], e),
            wanted.get("data_collection") != "deny" or not data.training,
            not (policy.deny_free_training if free else policy.deny_paid_training)
            or not data.training,
            not (wanted.get("zdr") or policy.zdr) or not data.retains_prompts,
            not wanted.get("quantizations")
            or (e.quantization or "unknown") in wanted["quantizations"],
            "prompt" not in (wanted.get("max_price") or {})
            or price.prompt_pico <= wanted["max_price"]["prompt"] * MILLION,
            "tools" not in world.fields or "tools" in e.supported_parameters,
            not wanted.get("require_parameters") or parameters <= e.supported_parameters,
            "max_tokens" not in world.fields or e.completion_cap >= 500,
        )
    )


def meets(endpoint_id: str, world: World) -> bool:
    threshold = world.wanted.get("preferred_min_throughput")
    if not threshold:
        return True
    found = world.health.throughput.get(endpoint_id)
    points = {"p50": threshold} if isinstance(threshold, float) else threshold
    return found is not None and all(getattr(found, p) >= least for p, least in points.items())


def made(world: World, seed: int = 1) -> Plan:
    request = facts(checked(world.fields), "", world.policy)
    draw = random.Random(seed)  # noqa: S311 - repeatable
    return plan(request, world.catalog, world.health, draw, 0)


def fitting(world: World) -> list[str]:
    """Every endpoint of the named models that meets all demands."""
    names = [world.fields["model"].split(":")[0], *world.fields.get("models", ())]
    return [
        e.id
        for name in dict.fromkeys(names)
        for e in world.catalog.endpoints_of(name)
        if allowed(e, world)
    ]


def check_members(world: World, ids: list[str]) -> None:
    fit = fitting(world)
    assert len(set(ids)) == len(ids)
    assert set(ids) <= set(fit)
    if world.wanted.get("allow_fallbacks", True) or world.wanted.get("order"):
        assert len(ids) == min(len(fit), MAX_PLAN_ENTRIES)
    else:  # one endpoint of each model that has any
        models = [i.split(":")[1] for i in ids]
        assert sorted(models) == sorted({i.split(":")[1] for i in fit})


def check_order(world: World, ids: list[str]) -> None:
    """By the strategy within each model; preferred ones first, however that splits the models."""
    sort = world.wanted.get("sort")
    together = isinstance(sort, dict) and sort.get("partition") == "none"
    by = sort.get("by") if isinstance(sort, dict) else sort
    suffix = world.fields["model"].partition(":")[2]
    if world.wanted.get("order") or together or len(fitting(world)) > MAX_PLAN_ENTRIES:
        return
    wants_figures = bool(world.wanted.get("preferred_min_throughput"))
    balanced = wants_figures and not (by or suffix or world.policy.sort)
    apart = [(balanced and i in world.health.unstable, not meets(i, world)) for i in ids]
    assert apart == sorted(apart), "those that meet the preferred figures come first"
    for kind in sorted(set(apart)):
        part = [i for i, own in zip(ids, apart, strict=True) if own == kind]
        names = [i.split(":")[1] for i in part]
        assert [n for k, n in enumerate(names) if k == 0 or names[k - 1] != n] == list(
            dict.fromkeys(names)
        ), "the endpoints of a model stand together"
        for model in dict.fromkeys(names):
            first = model == world.fields["model"].split(":")[0]
            own = {"nitro": "throughput", "floor": "price"}.get(suffix) if first else None
            check_sorted(
                world, [i for i in part if i.endswith(":" + model)], own or by or world.policy.sort
            )


def check_sorted(world: World, ids: list[str], by: str | None) -> None:
    health = world.health
    prices = {i: typical_pico(world.catalog.endpoints[i].prices[0]) for i in ids}
    if by is None:
        shaky = [i in health.unstable for i in ids]
        assert shaky == sorted(shaky)
        followers = [prices[i] for i in ids if i not in health.unstable][1:]
        if not world.wanted.get("preferred_min_throughput"):
            assert followers == sorted(followers)
        return
    infinite = float("inf")
    figure: dict[str, Callable[[str], float]] = {
        "price": lambda i: prices[i],
        "throughput": lambda i: -health.throughput[i].p50 if i in health.throughput else infinite,
        "latency": lambda i: health.latency[i].p50 if i in health.latency else infinite,
    }
    keys = [(figure[by](i), prices[i]) for i in ids]
    assert keys == sorted(keys)


@pytest.fixture(scope="session")
def drawn(endpoint: Make, catalog: Make) -> st.SearchStrategy[World]:
    return worlds(endpoint, catalog)


@settings(max_examples=250)
@given(data=st.data(), seed=st.integers(0, 9))
def test_a_plan_keeps_every_promise(
    drawn: st.SearchStrategy[World], data: st.DataObject, seed: int
):
    world = data.draw(drawn)
    if not fitting(world):
        with pytest.raises(NotFound):
            made(world, seed)
        return

    found = made(world, seed)
    ids = [entry.endpoint_id for entry in found.entries]
    check_members(world, ids)
    check_order(world, ids)
    assert found == made(world, seed), "the same draw makes the same plan"


@settings(max_examples=100)
@given(data=st.data(), seed=st.integers(0, 9))
def test_an_explanation_tells_what_planning_does(
    drawn: st.SearchStrategy[World], data: st.DataObject, seed: int
):
    world = data.draw(drawn)
    request = facts(checked(world.fields), "", world.policy)

    told = explain(request, world.catalog, world.health, seed, 0)

    lines = [line for model in told.models for line in model.lines]
    assert {line.endpoint_id for line in lines if not line.removed_by} == set(fitting(world))
    for model in told.models:
        shares = [line.share for line in model.lines if line.share is not None]
        assert not shares or abs(sum(shares) - 1) < 1e-9
    if told.plan is None:
        with pytest.raises(NotFound, match=re.escape(str(told.refusal))):
            made(world, seed)
        return
    assert told.plan == made(world, seed)
    places = {line.place: line.endpoint_id for line in lines if line.place}
    order = [e.endpoint_id for e in told.plan.entries]
    assert [places[n] for n in sorted(places)] == order
