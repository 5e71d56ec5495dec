from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from routing.catalog.pricing import cost
from routing.catalog.shapes import Price
from routing.usage import Usage
from routing.wire.account import KeyRecord
from routing.wire.job import (
    Caller,
    Charge,
    JobSpec,
    PlanEntry,
    RouteNote,
    price_from_list,
    price_to_list,
)
from tests.fixtures.charges import charge

PRICE = Price(
    from_ms=1,
    prompt_pico=2,
    completion_pico=3,
    request_pico=4,
    image_pico=5,
    cache_read_pico=6,
    cache_write_pico=None,
    reasoning_pico=8,
    cache_write_1h_pico=9,
    audio_pico=10,
    audio_output_pico=None,
    image_output_pico=12,
)
SPEC = JobSpec(
    generation_id="gen-1",
    api="completions",
    stream=True,
    created_ms=5,
    caller=Caller(
        account_id="ada",
        key_hash="h",
        request_id="r",
        app_url="https://app.test",
        app_title="Zażółć",
        user=None,
    ),
    entries=(PlanEntry(endpoint_id="a:m", model_id="m", pool="a", price=PRICE),),
    allow_fallbacks=False,
    prompt_tokens_max=6,
    completion_tokens_max=7,
    hold_nano=9_000_000_000_000_000,
)
CHARGE = charge(account_id="ada", key_hash="h")
LONG = replace(
    PRICE,
    long_over=200_000,
    long_prompt_pico=13,
    long_completion_pico=14,
    long_cache_read_pico=None,
    long_cache_write_pico=16,
)


def test_a_job_reads_back_as_it_was_written():
    assert JobSpec.from_json(SPEC.to_json()) == SPEC


def test_a_charge_reads_back_as_it_was_written():
    full = replace(
        CHARGE,
        price=PRICE,
        usage=Usage(
            prompt_tokens=1,
            completion_tokens=2,
            cached_tokens=3,
            cache_write_tokens=4,
            reasoning_tokens=5,
            cache_write_1h_tokens=3,
            audio_tokens=7,
            video_tokens=8,
            image_output_tokens=9,
            audio_output_tokens=10,
            images=6,
            estimated=True,
            flags=("a", "b"),
        ),
    )

    assert Charge.from_json(full.to_json()) == full


def test_rates_of_long_prompts_go_along_with_a_plan():
    usual, dear = SPEC.entries[0], replace(SPEC.entries[0], price=LONG)
    for entries in ((dear,), (usual, dear, usual)):
        job = replace(SPEC, entries=entries)
        assert JobSpec.from_json(job.to_json()) == job


@pytest.mark.parametrize("prompt", [200_000, 200_001])
def test_a_charge_bears_the_rates_that_apply_to_its_prompt(prompt: int):
    usage = Usage(
        prompt_tokens=prompt, completion_tokens=7, cached_tokens=90_000, cache_write_tokens=50_000
    )
    paid = replace(CHARGE, price=LONG, usage=usage)

    found = Charge.from_json(paid.to_json())

    assert found.price.long is None
    assert not any("long" in name for name in found.price.rates()), "its ledger knows none"
    assert found.price.from_ms == LONG.from_ms
    assert cost(found.usage, found.price) == cost(usage, LONG)


def price_as_the_release_before_reads_it(data: list[Any]) -> Price:
    start, prompt, completion, request, image, read, write, reasoning, *rarer = data
    write_1h, audio, audio_output, image_output = rarer or (None, None, None, None)
    return Price(
        from_ms=start,
        prompt_pico=prompt,
        completion_pico=completion,
        request_pico=request,
        image_pico=image,
        cache_read_pico=read,
        cache_write_pico=write,
        reasoning_pico=reasoning,
        cache_write_1h_pico=write_1h,
        audio_pico=audio,
        audio_output_pico=audio_output,
        image_output_pico=image_output,
    )


@pytest.mark.parametrize("prompt", [5, 300_000])
def test_the_release_before_settles_a_charge_with_long_rates(prompt: int):
    usage = Usage(prompt_tokens=prompt, completion_tokens=7)
    paid = orjson.loads(replace(CHARGE, price=LONG, usage=usage).to_json())

    price = price_as_the_release_before_reads_it(paid["price"])

    assert paid["v"] in {1, 2}
    assert cost(usage, price) == cost(usage, LONG)


def test_the_release_before_reads_a_job_with_all_that_is_new():
    job = replace(
        SPEC,
        entries=(replace(SPEC.entries[0], price=LONG),),
        route=RouteNote(requested="m", strategy="direct", total=1),
        rescue=True,
        waits=True,
        sticky="s:1",
    )

    data = orjson.loads(job.to_json())

    assert data["v"] in {1, 2}
    assert [(e, m, p, price_as_the_release_before_reads_it(r)) for e, m, p, r in data["plan"]] == [
        ("a:m", "m", "a", PRICE)
    ]
    assert {"id", "api", "stream", "ms", "fb", "pt", "ct", "hold", "who"} <= data.keys()


def test_a_plan_without_long_rates_says_so_in_a_word():
    assert len(price_to_list(PRICE)) == 12
    assert price_from_list(price_to_list(PRICE)[:8]).long is None
    assert orjson.loads(SPEC.to_json())["long"] is None


@pytest.mark.parametrize("read", [JobSpec.from_json, Charge.from_json], ids=["job", "charge"])
def test_another_version_is_refused(read: Any):
    with pytest.raises(ValueError, match="version 9"):
        read(b'{"v":9}')


@pytest.mark.parametrize(
    ("changes", "insured"),
    [
        ({}, False),
        ({"outcome": "failed"}, True),
        ({"finish_reason": "error"}, True),
        ({"finish_reason": None}, False),
        ({"usage": Usage(prompt_tokens=5)}, False),
        ({"usage": Usage(prompt_tokens=5), "finish_reason": None}, True),
        ({"usage": Usage(prompt_tokens=5), "finish_reason": None, "outcome": "cancelled"}, False),
    ],
)
def test_zero_completion_insurance(changes: dict[str, Any], insured: bool):
    assert replace(CHARGE, **changes).insured is insured


def test_a_key_of_a_newer_release_can_still_be_read():
    record = KeyRecord(key_hash="h", account_id="ada", kind="management", label="l", limit_nano=0)

    newer = record.to_json().replace(b"{", b'{"unknown":1,', 1)

    assert KeyRecord.from_json(newer) == record


def test_what_the_release_before_wrote_can_still_be_read():
    """Jobs in flight and charges that are not settled yet outlive a deploy."""
    job, paid = orjson.loads(SPEC.to_json()), orjson.loads(CHARGE.to_json())
    for old in (job, paid):
        old["v"] = 1
    job["plan"][0][3] = job["plan"][0][3][:8]
    paid["usage"], paid["price"] = paid["usage"][:8], paid["price"][:8]

    spec = JobSpec.from_json(orjson.dumps(job))
    assert spec.entries[0].price == replace(
        PRICE, cache_write_1h_pico=None, audio_pico=None, image_output_pico=None
    )
    assert Charge.from_json(orjson.dumps(paid)) == CHARGE
