import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.catalog.shapes import DataPolicy, PoolEntry, Price
from routing.errors import BadRequest, CallerError, NotFound
from routing.figures import Percentiles
from routing.plan import MAX_PLAN_ENTRIES, Health, facts, plan, worst_case
from routing.preferences import FILTERS, Candidate
from routing.wire.chat import checked
from routing.wire.job import PlanEntry

Make = Callable[..., Any]
HELLO = [{"role": "user", "content": "hello"}]
IMAGE = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a"}}]}
]
TOOLS = [{"type": "function", "function": {"name": "f"}}]
NAMED = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a repeatable draw, no secret


def planned(
    catalog: Any, *, health: Health | None = None, seed: int = 1, **fields: Any
) -> tuple[PlanEntry, ...]:
    request = checked({"model": "a/m", "messages": HELLO} | fields)
    return plan(facts(request, ""), catalog, health or Health(), rng(seed), 0).entries


def tags(entries: tuple[PlanEntry, ...]) -> list[str]:
    return [entry.endpoint_id.split(":", maxsplit=1)[0] for entry in entries]


def refusal(catalog: Any, **fields: Any) -> CallerError:
    with pytest.raises(CallerError) as caught:
        planned(catalog, **fields)
    return caught.value


@pytest.mark.parametrize(
    ("slug", "expected"),
    [
        pytest.param("deepinfra", {"deepinfra", "deepinfra/turbo"}, id="base means all variants"),
        pytest.param("deepinfra/turbo", {"deepinfra/turbo"}, id="a full tag means one"),
        pytest.param("DeepInfra", {"deepinfra", "deepinfra/turbo"}, id="display name"),
        pytest.param("openai", {"openai"}, id="base does not mean service tiers"),
        pytest.param("openai/flex", {"openai/flex"}, id="a tier by its full tag"),
    ],
)
def test_slugs(endpoint: Make, catalog: Make, slug: str, expected: set[str]):
    names = ("deepinfra", "deepinfra/turbo", "openai", "openai/flex")
    known = catalog(*(endpoint(tag) for tag in names))

    assert set(tags(planned(known, provider={"only": [slug]}))) == expected


def test_ignoring_a_provider_ignores_its_service_tiers_too(endpoint: Make, catalog: Make):
    known = catalog(endpoint("openai"), endpoint("openai/flex"), endpoint("azure"))

    assert tags(planned(known, provider={"ignore": ["openai"]})) == ["azure"]


TRAINS = {"data_policy": DataPolicy(training=True)}
KEEPS = {"data_policy": DataPolicy(training=False, retains_prompts=True)}
LEARN = (
    " To learn more about provider routing, visit: "
    "https://openrouter.ai/docs/guides/routing/provider-selection"
)


@pytest.mark.parametrize(
    ("changes", "fields", "step", "message"),
    [
        pytest.param(
            {},
            {"provider": {"only": ["Other"]}},
            "Filter by Allowed Providers",
            "No allowed providers are available for the selected model.",
            id="only",
        ),
        pytest.param(
            {},
            {"provider": {"order": ["other"], "allow_fallbacks": False}},
            "Filter by Allowed Providers",
            "No allowed providers are available for the selected model.",
            id="order without fallbacks",
        ),
        pytest.param(
            {"provider": TRAINS},
            {"provider": {"data_collection": "deny"}},
            "Filter by Data Policy",
            "No endpoints found matching your data policy (Paid model training)."
            " Configure: https://openrouter.ai/settings/privacy",
            id="data collection",
        ),
        pytest.param(
            {"provider": KEEPS},
            {"provider": {"zdr": True}},
            "Filter by Data Policy",
            "No endpoints found matching your data policy (Zero data retention)."
            " Configure: https://openrouter.ai/settings/privacy",
            id="zdr",
        ),
        pytest.param(
            {},
            {"provider": {"enforce_distillable_text": True}},
            "Filter by Distillable Text",
            "No endpoints found for models that allow text distillation",
            id="distillable",
        ),
        pytest.param(
            {"quantization": "int4"},
            {"provider": {"quantizations": ["fp8", "unknown"]}},
            "Filter by Quantization",
            "No endpoints found with the requested quantizations",
            id="quantization",
        ),
        pytest.param(
            {},
            {"provider": {"max_price": {"prompt": "0.999999"}}},
            "Filter by Max Price",
            "No endpoints found that satisfy the max price for this request",
            id="max price",
        ),
        pytest.param(
            {},
            {"messages": IMAGE},
            "Filter by Model Input Modalities",
            "No endpoints found that support image input",
            id="image",
        ),
        pytest.param(
            {},
            {"modalities": ["image", "text"]},
            "Filter by Model Output Modalities",
            "No endpoints found that support the requested output modalities: text, image",
            id="image output",
        ),
        pytest.param(
            {},
            {"tools": TOOLS},
            "Filter by Tool Compatibility",
            "No endpoints found that support tool use." + LEARN,
            id="tools",
        ),
        pytest.param(
            {"supported_parameters": frozenset({"tools"})},
            {"tools": TOOLS, "tool_choice": NAMED},
            "Filter by Tool Choice",
            "No endpoints found that support the provided 'tool_choice' value." + LEARN,
            id="tool choice",
        ),
        pytest.param(
            {},
            {"response_format": SCHEMA},
            "Filter by Parameters",
            "No endpoints found that can handle the requested parameters." + LEARN,
            id="structured outputs",
        ),
        pytest.param(
            {"supported_parameters": frozenset({"seed"})},
            {"seed": 1, "top_k": 1, "provider": {"require_parameters": True}},
            "Filter by Parameters",
            "No endpoints found that can handle the requested parameters." + LEARN,
            id="require parameters",
        ),
        pytest.param(
            {},
            {"max_tokens": 16_001},
            "Filter by Max Tokens",
            "No endpoints found that support 16001 max_tokens; the longest answer available is"
            " 16000 tokens.",
            id="answer too long",
        ),
    ],
)
def test_a_filter_that_leaves_nothing_says_which(
    endpoint: Make,
    catalog: Make,
    changes: dict[str, Any],
    fields: dict[str, Any],
    step: str,
    message: str,
):
    error = refusal(catalog(endpoint("p", **changes)), **fields)

    assert isinstance(error, NotFound)
    assert error.message == message
    assert error.metadata is not None
    assert error.metadata["failed_routing_step"] == step
    assert error.metadata["routing_funnel"][-1] == {"step": step, "endpoint_count": 0}


def test_allowed_providers_tell_who_serves_and_who_was_asked_for(endpoint: Make, catalog: Make):
    known = catalog(endpoint("deepinfra"), endpoint("deepinfra/turbo"), endpoint("together"))

    error = refusal(known, provider={"only": ["azure"]})

    assert error.metadata is not None
    assert error.metadata["available_providers"] == ["deepinfra", "together"]
    assert error.metadata["requested_providers"] == ["azure"]


def test_the_same_demands_keep_the_endpoints_that_meet_them(
    endpoint: Make, catalog: Make, vision: dict[str, Any]
):
    able = endpoint(
        "able",
        0.999999,
        quantization="mxfp8",
        supported_parameters=frozenset(
            {"tools", "tool_choice", "structured_outputs", "response_format", "seed", "max_tokens"}
        ),
    )
    known = catalog(able, endpoint("other", 2), a__m=vision | {"distillable": True})

    entries = planned(
        known,
        messages=IMAGE,
        tools=TOOLS,
        tool_choice="required",
        response_format=SCHEMA,
        seed=1,
        max_tokens=100,
        provider={
            "quantizations": ["fp8"],
            "max_price": {"prompt": 0.999999, "completion": "1"},
            "zdr": True,
            "data_collection": "deny",
            "enforce_distillable_text": True,
            "require_parameters": True,
        },
    )

    assert tags(entries) == ["able"]


def test_json_mode_goes_where_it_is_supported_and_anywhere_if_nowhere(
    endpoint: Make, catalog: Make
):
    able = endpoint("able", 9, supported_parameters=frozenset({"response_format"}))
    form = {"response_format": {"type": "json_object"}}

    assert tags(planned(catalog(able, endpoint("b")), **form)) == ["able"]
    assert tags(planned(catalog(endpoint("b")), **form)) == ["b"]


def test_a_prompt_longer_than_every_context_is_the_callers_to_shorten(
    endpoint: Make, catalog: Make
):
    known = catalog(endpoint("s", context_length=4_000), endpoint("l", context_length=8_000))
    long = [{"role": "user", "content": "word " * 9_000}]

    error = refusal(known, messages=long, max_tokens=100)

    assert isinstance(error, BadRequest)
    assert error.message == (
        "This endpoint's maximum context length is 8000 tokens. However, you requested about 9100"
        " tokens (9000 of text input, 100 in the output). Please reduce the length of either one,"
        ' or use the "middle-out" transform to compress your prompt automatically.'
    )


def test_endpoints_too_small_for_the_prompt_are_left_out(endpoint: Make, catalog: Make):
    known = catalog(endpoint("s", 1, context_length=4_000), endpoint("l", 9))

    entries = planned(known, messages=[{"role": "user", "content": "word " * 5_000}])

    assert tags(entries) == ["l"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"model": "a/x"}, id="model"),
        pytest.param({"model": "a/x", "models": ["a/m"]}, id="a good fallback does not hide it"),
        pytest.param({"models": ["a/x"]}, id="in models"),
        pytest.param({"model": "a/x:nitro"}, id="with a suffix"),
        pytest.param({"model": "a/m:offline"}, id="an unknown suffix"),
        pytest.param({"model": "a/m:free"}, id="a variant that is no row"),
        pytest.param({"model": "a/m:free:online"}, id="the same with a dynamic suffix"),
        pytest.param({"model": ":floor"}, id="only a suffix"),
    ],
)
def test_an_unknown_model_is_named(endpoint: Make, catalog: Make, fields: dict[str, Any]):
    name = fields["models"][0] if "model" not in fields else fields["model"]

    error = refusal(catalog(endpoint("p")), **fields)

    assert isinstance(error, BadRequest)
    assert error.message == f"{name} is not a valid model ID"


def test_a_model_without_endpoints_is_not_found(catalog: Make):
    error = refusal(catalog(a__m={}))

    assert isinstance(error, NotFound)
    assert error.message == "No endpoints found for a/m."


def test_no_model_and_no_default_is_a_bad_request():
    with pytest.raises(BadRequest, match="model: is required"):
        facts(checked({"messages": HELLO}), "")


def test_the_default_model_serves_who_names_none():
    assert facts(checked({"messages": HELLO}), "a/m").models == ("a/m",)


def test_models_are_tried_one_after_the_other(endpoint: Make, catalog: Make):
    known = catalog(
        endpoint("p", 5), endpoint("q", 6), endpoint("p", 1, model="a/n"), endpoint("r", 2, "a/n")
    )

    entries = planned(known, models=["a/n", "a/m"], provider={"sort": "price"})

    assert [e.endpoint_id for e in entries] == ["p:a/m", "q:a/m", "p:a/n", "r:a/n"]


def test_partition_none_ranks_all_models_together(endpoint: Make, catalog: Make):
    known = catalog(endpoint("p", 5), endpoint("p", 1, model="a/n"), endpoint("r", 7, "a/n"))

    entries = planned(
        known, models=["a/n"], provider={"sort": {"by": "price", "partition": "none"}}
    )

    assert [e.endpoint_id for e in entries] == ["p:a/n", "p:a/m", "r:a/n"]


def test_each_model_keeps_the_sort_of_its_own_suffix(endpoint: Make, catalog: Make):
    known = catalog(
        endpoint("a", 1), endpoint("b", 2), endpoint("a", 1, "a/n"), endpoint("b", 2, "a/n")
    )
    fast = Percentiles(p50=9, p75=9, p90=9, p99=9)
    health = Health(throughput={"b:a/m": fast, "b:a/n": fast})

    entries = planned(known, health=health, model="a/m:nitro", models=["a/n:floor"])

    assert [e.endpoint_id for e in entries] == ["b:a/m", "a:a/m", "a:a/n", "b:a/n"]


def test_a_model_whose_filters_leave_nothing_is_skipped_if_another_can_serve(
    endpoint: Make, catalog: Make
):
    known = catalog(
        endpoint("p"), endpoint("q", model="a/n", supported_parameters=frozenset({"tools"}))
    )

    assert tags(planned(known, models=["a/n"], tools=TOOLS)) == ["q"]


def test_when_no_model_can_serve_the_first_ones_reason_is_told(endpoint: Make, catalog: Make):
    known = catalog(endpoint("p"), a__n={})

    assert "tool use" in refusal(known, models=["a/n"], tools=TOOLS).message


def test_a_real_endpoint_is_never_backed_up_by_a_simulated_one(endpoint: Make, catalog: Make):
    made_up = {"provider": {"simulated": True}}
    known = catalog(
        endpoint("sim", 1, **made_up), endpoint("real", 9), endpoint("sim", 1, "a/n", **made_up)
    )

    assert tags(planned(known, models=["a/n"])) == ["real"]
    assert tags(planned(known, models=["a/n"], provider={"only": ["sim"]})) == ["sim", "sim"]


def test_a_plan_is_bounded(endpoint: Make, catalog: Make):
    known = catalog(*(endpoint(f"p{i}") for i in range(40)))

    assert len(planned(known)) == MAX_PLAN_ENTRIES


def test_the_price_in_force_is_the_one_compared_and_kept(endpoint: Make, catalog: Make):
    later = Price(from_ms=1_000, prompt_pico=9, completion_pico=9)
    first = Price(prompt_pico=1, completion_pico=1)
    known = catalog(endpoint("p", prices=(first, later)))
    request = facts(checked({"model": "a/m", "messages": HELLO}), "")

    prices = [plan(request, known, Health(), rng(0), ms).entries[0].price for ms in (999, 1_000)]

    assert prices == [first, later]


@pytest.mark.parametrize(
    ("context", "cap", "max_tokens", "expected"),
    [
        pytest.param(1_000, 100, 50, 50, id="what was asked for"),
        pytest.param(1_000, 100, None, 100, id="the endpoint's cap"),
        pytest.param(1_000, None, None, 999, id="what the context leaves"),
    ],
)
def test_the_hold_covers_the_longest_answer(
    endpoint: Make,
    catalog: Make,
    context: int,
    cap: int | None,
    max_tokens: int | None,
    expected: int,
):
    price = Price(prompt_pico=1_000, completion_pico=2_000, request_pico=5_000)
    known = catalog(
        endpoint("p", context_length=context, max_completion_tokens=cap, prices=(price,))
    )
    chat = {"model": "a/m", "messages": [{"role": "user", "content": "word word "}]}
    request = facts(checked(chat | {"max_tokens": max_tokens}), "")

    worst = worst_case(plan(request, known, Health(), rng(0), 0).entries, request, known)

    assert worst.completion_tokens_max == expected
    assert worst.shared_nano == request.prompt_tokens_max + 2 * expected + 5


SLUGS = st.lists(st.sampled_from([f"p{i}" for i in range(6)]), max_size=3)


@settings(max_examples=200, deadline=None)
@given(
    prices=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    only=SLUGS,
    ignore=SLUGS,
    order=SLUGS,
    cap=st.none() | st.integers(0, 5),
    fallbacks=st.booleans(),
    sort=st.sampled_from([None, "price"]),
    seed=st.integers(0, 99),
    unstable=st.frozensets(st.sampled_from([f"p{i}:a/m" for i in range(6)])),
)
def test_properties(endpoint: Make, catalog: Make, prices: list[int], seed: int, **drawn: Any):
    known = catalog(*(endpoint(f"p{i}", usd) for i, usd in enumerate(prices)))
    wanted = {
        "only": drawn["only"] or None,
        "ignore": drawn["ignore"],
        "order": drawn["order"],
        "max_price": {"prompt": drawn["cap"]},
        "allow_fallbacks": drawn["fallbacks"],
        "sort": drawn["sort"],
    }
    request = facts(checked({"model": "a/m", "messages": HELLO, "provider": wanted}), "")
    model = known.models["a/m"]
    fit = {
        e.id
        for e in known.endpoints.values()
        if all(
            rule.keeps(
                Candidate(endpoint=e, model=model, price=e.prices[0], rates=e.prices[0]), request
            )
            for rule in FILTERS
            if rule.applies(request)
        )
    }
    health = Health(unstable=drawn["unstable"])

    try:
        entries = plan(request, known, health, rng(seed), 0).entries
    except NotFound:
        assert not fit
        return

    ids = [entry.endpoint_id for entry in entries]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= fit
    if request.may_fall_back:
        assert set(ids) == fit
    else:
        assert len(ids) == 1
    assert entries == plan(request, known, health, rng(seed), 0).entries
    if drawn["order"]:
        listed = [f"{slug}:a/m" for slug in dict.fromkeys(drawn["order"]) if f"{slug}:a/m" in fit]
        assert ids[: len(listed)] == listed
    elif drawn["sort"]:
        paid = [entry.price.prompt_pico for entry in entries]
        assert paid == sorted(paid)
    else:
        shaky = [i in drawn["unstable"] for i in ids]
        assert shaky == sorted(shaky)


def test_facts_hold_no_prompt():
    chat = {"model": "a/m", "messages": [{"role": "user", "content": "secret"}]}

    assert "secret" not in repr(facts(checked(orjson.loads(orjson.dumps(chat))), ""))


# --- prices of long prompts, one endpoint only, routers --------------------------------------

LONG = Price(
    prompt_pico=1_000_000,
    completion_pico=1_000_000,
    long_over=1_000,
    long_prompt_pico=9_000_000,
    long_completion_pico=9_000_000,
)
LONG_WORDS = [{"role": "user", "content": "word " * 2_000}]


def test_a_cap_on_the_price_looks_at_the_rates_of_this_prompt(endpoint: Make, catalog: Make):
    known = catalog(endpoint("dear", prices=(LONG,)), endpoint("flat", 2))
    cap = {"max_price": {"prompt": 5}}

    assert set(tags(planned(known, provider=cap))) == {"dear", "flat"}
    assert tags(planned(known, provider=cap, messages=LONG_WORDS)) == ["flat"]


def test_a_long_prompt_is_ranked_by_its_own_rates(endpoint: Make, catalog: Make):
    known = catalog(endpoint("dear", prices=(LONG,)), endpoint("flat", 2))
    by_price = {"sort": "price"}

    assert tags(planned(known, provider=by_price)) == ["dear", "flat"]
    entries = planned(known, provider=by_price, messages=LONG_WORDS)
    assert tags(entries) == ["flat", "dear"]
    assert entries[1].price == LONG, "the job keeps every rate"


def test_who_allows_no_fallbacks_gets_the_cheapest_stable_one(endpoint: Make, catalog: Make):
    known = catalog(endpoint("a", 1), endpoint("b", 2), endpoint("c", 3))
    health = Health(unstable=frozenset({"a:a/m"}))

    for seed in range(30):
        entries = planned(known, health=health, seed=seed, provider={"allow_fallbacks": False})
        assert tags(entries) == ["b"]


def test_models_named_as_fallbacks_stay_without_backup_providers(endpoint: Make, catalog: Make):
    known = catalog(
        endpoint("a", 1), endpoint("b", 2), endpoint("a", 3, "a/n"), endpoint("c", 2, "a/n")
    )

    entries = planned(known, models=["a/n"], provider={"allow_fallbacks": False})

    assert [e.endpoint_id for e in entries] == ["a:a/m", "c:a/n"]


def test_a_free_router_without_free_models_is_not_found(endpoint: Make, catalog: Make):
    known = catalog(endpoint("p"), a__any={"router": "free"})

    error = refusal(known, model="a/any")

    assert isinstance(error, NotFound)
    assert error.message == "No endpoints found for any free model."


def routed(endpoint: Make, catalog: Make) -> Any:
    pool = tuple(
        PoolEntry(model_id=f"a/{name}", strength=strength)
        for name, strength in (("big", "strong"), ("mid", "standard"), ("lite", "light"))
    )
    cheap_once = Price(prompt_pico=1, completion_pico=1)
    now = Price(from_ms=1_000, prompt_pico=5_000_000, completion_pico=5_000_000)
    return catalog(
        endpoint("p", 9, "a/big"),
        endpoint("p", 3, "a/mid"),
        endpoint("p", model="a/lite", prices=(cheap_once, now)),
        a__any={"router": "auto", "pool": pool},
    )


def chosen(known: Any, text: str, **fields: Any) -> list[str]:
    body = {"model": "a/any", "messages": [{"role": "user", "content": text}]} | fields
    request = facts(checked(body), "", routers=frozenset({"a/any"}))
    return [e.model_id for e in plan(request, known, Health(), rng(1), 2_000).entries]


def test_an_automatic_choice_depends_on_the_prompt(endpoint: Make, catalog: Make):
    known = routed(endpoint, catalog)

    assert chosen(known, "Hi")[0] == "a/lite"
    assert chosen(known, "Prove the theorem step by step")[0] == "a/big"


def test_an_automatic_choice_falls_on_who_can_serve_at_todays_prices(endpoint: Make, catalog: Make):
    known = routed(endpoint, catalog)

    assert chosen(known, "Hi", provider={"max_price": {"prompt": 4}}) == ["a/mid"]


def test_an_automatic_choice_with_nobody_left_says_so(endpoint: Make, catalog: Make):
    with pytest.raises(NotFound, match="No models match your request and model restrictions") as e:
        chosen(routed(endpoint, catalog), "Hi", provider={"only": ["x"]})

    assert e.value.metadata is not None
    assert e.value.metadata["failed_routing_step"] == "Filter by Allowed Providers"
