"""Pydantic's genai-prices, `data.json` and `data_slim.json`: providers with their models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from routing.catalog.import_list import (
    FINEST_EACH,
    PER_MILLION,
    PER_THOUSAND,
    Dated,
    JsonObject,
    Offer,
    Rates,
    Reading,
    Unusable,
    bounded,
    day,
    items,
    mapping,
    money,
    problem,
    prose,
    rates,
    reading,
    shown,
    text,
    whole,
)

#: The catalog's providers by the list's names, where they differ.
_PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "aws": ("amazon-bedrock",),
    "google": ("google-ai-studio", "google-vertex"),
    "x-ai": ("xai",),
}
_PRICES: Mapping[str, str] = {
    "prompt": "input_mtok",
    "completion": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "image_output": "output_image_mtok",
}
_REQUESTS = "requests_kcount"
#: Prices of services nobody can ask for here, and of inputs that are billed as prompt tokens.
_OTHERS = frozenset(
    {
        "cache_audio_read_mtok",
        "cache_image_read_mtok",
        "input_image_mtok",
        "input_video_mtok",
        "storage_searches_kcount",
        "tool_use_kcount",
        "web_searches_kcount",
    }
)
_LONG_NAMES = frozenset({"prompt", "completion", "cache_read", "cache_write"})
#: Has no long rate in the catalog, which bills at least the other writes' one for it.
_HOUR = "cache_write_1h"
_SOURCE = "https://github.com/pydantic/genai-prices/blob/main/prices/data.json"
#: Rules inside rules; the real list has two levels.
_DEPTH_MAX = 5

Clause = Callable[[str], bool]
_CLAUSES: Mapping[str, Callable[[str, str], bool]] = {
    "equals": lambda name, part: name == part,
    "starts_with": lambda name, part: name.startswith(part),
    "ends_with": lambda name, part: name.endswith(part),
    "contains": lambda name, part: part in name,
}


def read(data: Any, where: str) -> Reading:
    """Offers of the whole list.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(data, list) or not all(isinstance(one, JsonObject) for one in data):
        raise problem(where, "not a list of providers")
    entries: list[tuple[str, Any]] = []
    for provider in data:
        models = provider.get("models")
        if not isinstance(models, list):
            raise problem(where, f"the provider {shown(provider.get('id'))!r} has no models")
        entries += [(_name(provider, model), (provider, model)) for model in models]
    return reading(bounded(entries, where), lambda name, pair: [_offer(name, *pair)])


def _name(provider: JsonObject, model: Any) -> str:
    model_id = model.get("id") if isinstance(model, JsonObject) else model
    return f"{shown(provider.get('id'))}/{shown(model_id)}"


def _offer(name: str, provider: JsonObject, value: Any) -> Offer:
    entry = mapping(value, "the entry")
    theirs = text(mapping(provider, "the provider").get("id"), "the provider's id")
    model_id = text(entry.get("id"), "id")
    rule = entry.get("match")
    matches = _clause(rule, 0)
    context = whole(entry.get("context_window"), "context_window")
    description = prose(entry.get("description"), "description")
    prices, reason = _prices_or_reason(entry.get("prices"))
    return Offer(
        entry=name,
        providers=_PROVIDERS.get(theirs, (theirs,)),
        upstream_id=_upstream_id(model_id, rule, matches),
        matches=matches,
        prices=prices,
        reason=reason,
        endpoint={} if context is None else {"context_length": context},
        model={
            "name": text(entry.get("name"), "name") or model_id,
            **({"description": description} if description else {}),
        },
        source=_source(provider),
    )


def _source(provider: JsonObject) -> str:
    for link in items(provider.get("pricing_urls"), "pricing_urls"):
        said = text(link, "pricing_urls")
        if said.startswith("https://") and said.isascii() and " " not in said and "@" not in said:
            return said
    return _SOURCE


def _upstream_id(model_id: str, rule: Any, matches: Clause) -> str | None:
    """The provider's own name, where the rule leaves no doubt about it."""
    if isinstance(rule, JsonObject) and set(rule) == {"equals"}:
        return text(rule["equals"], "match")
    return model_id if matches(model_id) else None


def _clause(value: Any, depth: int) -> Clause:
    """Whether a provider's name of a model is meant. Patterns are not run: they can be hostile."""
    rule = mapping(value, "match")
    if len(rule) != 1 or depth > _DEPTH_MAX:
        raise Unusable("match is not a rule")
    kind, part = next(iter(rule.items()))
    if kind in {"or", "and"}:
        parts = [_clause(each, depth + 1) for each in items(part, "match")]
        every = all if kind == "and" else any
        return lambda name: bool(parts) and every(clause(name) for clause in parts)
    check = _CLAUSES.get(kind)
    if check is None:
        raise Unusable(f"match uses {shown(kind)!r}, which is not followed")
    wanted = text(part, "match").lower()
    if not wanted:
        raise Unusable("match is empty")
    return lambda name: check(name.lower(), wanted)


def _prices_or_reason(value: Any) -> tuple[tuple[Dated, ...], str]:
    """Without prices the entry still counts: a later, wider rule must not take its names."""
    try:
        return _prices(value), ""
    except Unusable as reason:
        return (), str(reason)


def _prices(value: Any) -> tuple[Dated, ...]:
    """Every price with the day it began, ascending; the one without a day comes first."""
    if not isinstance(value, list):
        return (Dated(None, _rates(value)),)
    found = [_dated(mapping(each, "a price")) for each in value]
    if not found:
        raise Unusable("has no price")
    found.sort(key=lambda dated: dated.since or date.min)
    days = [dated.since for dated in found]
    if len(set(days)) < len(days):
        raise Unusable("two prices begin on the same day")
    return tuple(found)


def _dated(price: JsonObject) -> Dated:
    constraint = mapping(price.get("constraint"), "constraint")
    if constraint.keys() - {"start_date"}:
        raise Unusable("the price varies with the hour")
    return Dated(day(constraint.get("start_date"), "start_date"), _rates(price.get("prices")))


def _rates(value: Any) -> Rates:
    prices = mapping(value, "prices")
    unknown = prices.keys() - set(_PRICES.values()) - _OTHERS - {_REQUESTS}
    if unknown:
        raise Unusable(f"the unit is not one of the catalog: {shown(min(unknown))}")
    tiered = {name: key for name, key in _PRICES.items() if isinstance(prices.get(key), JsonObject)}
    usual = dict(prices)
    for key in tiered.values():
        usual[key] = mapping(prices[key], key).get("base")
    found = dict(rates(usual, _PRICES, power=PER_MILLION))
    if prices.get(_REQUESTS) is not None:
        found["request"] = money(prices[_REQUESTS], _REQUESTS, PER_THOUSAND, FINEST_EACH)
    if not found:
        raise Unusable("has no price")
    if "prompt" not in found:
        raise Unusable("has no price for prompts")
    return {**found, **_long(prices, tiered, found)} if tiered else found


def _long(prices: JsonObject, tiered: Mapping[str, str], usual: Rates) -> Rates:
    if not tiered.keys() <= _LONG_NAMES | {_HOUR}:
        raise Unusable("has tiers for what has none in the catalog")
    dearer: dict[str, Any] = {}
    starts: set[int | None] = set()
    for key in tiered.values():
        tiers = items(prices[key].get("tiers"), "tiers")
        if len(tiers) != 1:
            raise Unusable("has several tiers")
        tier = mapping(tiers[0], "tiers")
        starts.add(whole(tier.get("start"), "start"))
        dearer[key] = tier.get("price")
    start = starts.pop()
    if starts or start is None:
        raise Unusable("has several tiers")
    found = {name: usd for name, usd in usual.items() if name in _LONG_NAMES}
    found |= rates(dearer, tiered, power=PER_MILLION)
    found.pop(_HOUR, None)
    return {"long_over": Decimal(start), **{f"long_{name}": usd for name, usd in found.items()}}
