"""The catalog's values: prices over time, look-ups, derived words."""

import dataclasses
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.catalog.shapes import (
    Architecture,
    Catalog,
    DataPolicy,
    Endpoint,
    LongPrice,
    Model,
    Price,
    Provider,
)

PROVIDER = Provider(
    slug="lab",
    name="Lab",
    base_url="http://10.0.0.5/v1",
    key_variable="",
    pool="own",
)


def endpoint(*from_ms: int, cap: int | None = None) -> Endpoint:
    return Endpoint(
        id="lab:acme/rocket",
        model_id="acme/rocket",
        provider=PROVIDER,
        tag="lab",
        dialect="openai",
        upstream_id="rocket",
        context_length=8_192,
        max_completion_tokens=cap,
        prices=tuple(Price(from_ms=moment, prompt_pico=moment) for moment in from_ms),
    )


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [
        pytest.param(0, 100, id="before the first: the first"),
        pytest.param(100, 100, id="on its first millisecond"),
        pytest.param(199, 100, id="until the next one"),
        pytest.param(200, 200, id="the next one"),
        pytest.param(10**15, 300, id="the last one for good"),
    ],
)
def test_price_in_force(now_ms: int, expected: int):
    assert endpoint(100, 200, 300).price_at(now_ms).from_ms == expected


@given(
    moments=st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True).map(sorted),
    now_ms=st.integers(0, 10**6),
)
def test_price_in_force_is_the_latest_that_began(moments: list[int], now_ms: int):
    begun = [moment for moment in moments if moment <= now_ms]
    assert endpoint(*moments).price_at(now_ms).from_ms == max(begun, default=moments[0])


def test_completion_cap_falls_back_on_the_context():
    assert endpoint(0).completion_cap == 8_192
    assert endpoint(0, cap=512).completion_cap == 512


@pytest.mark.parametrize(
    "rate",
    [field.name for field in dataclasses.fields(Price) if field.name.endswith("_pico")],
)
def test_one_rate_is_enough_to_be_not_free(rate: str):
    assert Price(long_over=100).free
    assert not Price(long_over=100, **{rate: 1}).free


def test_rates_of_long_prompts_that_apply_to_none_cost_nothing():
    assert Price(long_prompt_pico=1).free


def test_the_long_rates_as_one_value():
    assert Price(prompt_pico=5).long is None
    price = Price(
        long_over=100, long_prompt_pico=1, long_completion_pico=2, long_cache_write_pico=3
    )
    assert price.long == LongPrice(over=100, prompt_pico=1, completion_pico=2, cache_write_pico=3)


def test_unknown_policy_counts_as_training_and_keeping():
    assert DataPolicy().training
    assert not DataPolicy().zero_retention
    assert DataPolicy(retains_prompts=False).zero_retention


def test_modality_is_written_as_the_api_prints_it():
    assert Architecture(input_modalities=("text", "image")).modality == "text+image->text"


def test_catalog_look_ups():
    model = Model(id="acme/rocket:free", canonical_slug="acme/rocket", name="Rocket", created=0)
    served = endpoint(0)
    catalog = Catalog(
        digest="0" * 12,
        providers=MappingProxyType({"lab": PROVIDER}),
        models=MappingProxyType({model.id: model, model.canonical_slug: model}),
        endpoints=MappingProxyType({served.id: served}),
        by_model=MappingProxyType({"acme/rocket": (served,)}),
    )
    assert model.free
    assert catalog.model("acme/rocket") is model
    assert catalog.model("acme/other") is None
    assert catalog.endpoints_of("acme/rocket") == (served,)
    assert catalog.endpoints_of("acme/other") == ()
    assert catalog.pools == ("own",)
