"""OpenRouter's JSON, and Pointsman's own: `/models`, `/models/{author}/{slug}/endpoints`.

`/models` does not say who serves a model. Its rows are compared with the lowest price here unless
the operator names the provider whose list it is; then the rows are that provider's endpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from routing.catalog.document import (
    CONTEXT_MAX,
    DefaultParameter,
    Modality,
    ModelId,
    Parameter,
    Tag,
)
from routing.catalog.import_list import (
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
    problem,
    prose,
    rates,
    reading,
    shown,
    text,
    whole,
    words,
)
from routing.catalog.shapes import Quantization

#: The catalog's names of the prices in `pricing`.
_PRICES: Mapping[str, str] = {
    "prompt": "prompt",
    "completion": "completion",
    "request": "request",
    "image": "image",
    "cache_read": "input_cache_read",
    "cache_write": "input_cache_write",
    "cache_write_1h": "input_cache_write_1h",
    "reasoning": "internal_reasoning",
    "audio": "audio",
    "audio_output": "audio_output",
    "image_output": "image_output",
}
_LONG_PRICES: Mapping[str, str] = {
    "prompt": "prompt",
    "completion": "completion",
    "cache_read": "input_cache_read",
    "cache_write": "input_cache_write",
}
#: Prices of services that nobody is charged for here because nobody can ask for them.
_OTHER_SERVICES = frozenset({"web_search", "input_audio_cache", "image_token"})
_VARIABLE = ("-1", Decimal(-1))
#: 2100: later than any model.
_CREATED_MAX = 4_102_444_800
#: Of a sampling parameter; models are listed with 0.95 or 40.
_DEFAULT_MAX = 1_000
_DEFAULT_PLACES = 6
_PARAMETERS: frozenset[str] = frozenset(get_args(Parameter))
_DEFAULTS: frozenset[str] = frozenset(get_args(DefaultParameter))
_MODALITIES: frozenset[str] = frozenset(get_args(Modality))
_QUANTIZATIONS: frozenset[str] = frozenset(get_args(Quantization))
_MODEL_ID: TypeAdapter[str] = TypeAdapter(ModelId)
_TAG: TypeAdapter[str] = TypeAdapter(Tag)


def read(data: Any, where: str, provider: str | None) -> Reading:
    """Offers of one answer, or of an array of answers.

    Args:
        data: the JSON.
        where: the file, for messages.
        provider: whose list of models it is; None when that was not said.

    Raises:
        ConfigError: it is something else.
    """
    entries: list[tuple[str, Any]] = []
    for answer in data if isinstance(data, list) else [data]:
        body = answer.get("data") if isinstance(answer, JsonObject) else None
        if isinstance(body, list):
            entries += [(_name(row), row) for row in body]
        elif isinstance(body, JsonObject) and isinstance(body.get("endpoints"), list):
            model = body.get("id")
            rows = [_of_model(model, row) for row in body["endpoints"]]
            entries += [(_name(row), row) for row in rows]
        else:
            raise problem(where, "neither a list of models nor a model with its endpoints")
    return reading(bounded(entries, where), lambda _, row: [_offer(row, provider)])


def _of_model(model: Any, row: Any) -> Any:
    """An endpoint with the id of the model it was listed under."""
    if not isinstance(row, JsonObject):
        return row
    made = JsonObject(row, model_id=model)
    made.twice = row.twice
    return made


def _name(row: Any) -> str:
    if not isinstance(row, JsonObject):
        return shown(row)
    if "tag" in row:
        return f"{shown(row.get('model_id'))} at {shown(row['tag'])}"
    return shown(row.get("id"))


def _offer(row: Any, provider: str | None) -> Offer:
    found = mapping(row, "the entry")
    return _endpoint(found) if "tag" in found else _model(found, provider)


def _endpoint(row: JsonObject) -> Offer:
    model_id = _model_id(row.get("model_id"), "model_id")
    tag = _checked(_TAG, row["tag"], "tag")
    return Offer(
        entry=_name(row),
        providers=(tag.partition("/")[0],),
        model_id=model_id,
        tag=tag,
        prices=(Dated(None, _rates(row.get("pricing"))),),
        endpoint=_fields(row, row.get("context_length")),
        source=_source(model_id),
    )


def _model(row: JsonObject, provider: str | None) -> Offer:
    model_id = _model_id(row.get("id"), "id")
    top = mapping(row.get("top_provider"), "top_provider")
    context = top.get("context_length") or row.get("context_length")
    unknown = sorted(set(words(row.get("supported_parameters"), "a parameter")) - _PARAMETERS)
    described = JsonObject(row, max_completion_tokens=top.get("max_completion_tokens"))
    # Rates first: most rows that cannot be used are rows of routers, which have none.
    prices = (Dated(None, _rates(row.get("pricing"))),)
    return Offer(
        entry=_name(row),
        providers=(provider,) if provider else (),
        upstream_id=model_id if provider else None,
        model_id=model_id,
        prices=prices,
        endpoint=_fields(described, context),
        model=_row(model_id, row),
        source=_source(model_id),
        notes=(f"parameters unknown here: {', '.join(map(shown, unknown))}",) if unknown else (),
    )


def _source(model_id: str) -> str:
    return f"https://openrouter.ai/{model_id}"


def _checked(adapter: TypeAdapter[str], value: Any, what: str) -> str:
    try:
        return adapter.validate_python(text(value, what))
    except ValidationError as error:
        raise Unusable(f"{what} is not a name the catalog can hold") from error


def _model_id(value: Any, what: str) -> str:
    return _checked(_MODEL_ID, value, what)


def _rates(value: Any) -> Rates:
    pricing = mapping(value, "pricing")
    if pricing.get("prompt") in _VARIABLE or pricing.get("completion") in _VARIABLE:
        raise Unusable("has no price of its own: it varies")
    if pricing.get("prompt") is None or pricing.get("completion") is None:
        raise Unusable("has no price for prompts and completions")
    if str(pricing.get("discount") or 0) not in {"0", "0.0"}:
        raise Unusable("names a discount; which price applies is not certain")
    found = dict(rates(pricing, _PRICES))
    overrides = items(pricing.get("overrides"), "overrides")
    if not overrides:
        return found
    long = mapping(overrides[0], "overrides")
    allowed = {"min_prompt_tokens", *_PRICES.values(), *_OTHER_SERVICES}
    if len(overrides) > 1 or not long.keys() <= allowed:
        raise Unusable("has several tiers, or prices that change with the time")
    over = whole(long.get("min_prompt_tokens"), "min_prompt_tokens")
    if over is None:
        raise Unusable("has a tier without min_prompt_tokens")
    for name, usd in ({**found, **rates(long, _LONG_PRICES)}).items():
        if name in _LONG_PRICES:
            found[f"long_{name}"] = usd
    return {**found, "long_over": Decimal(over)}


def _fields(row: Mapping[str, Any], length: Any) -> dict[str, Any]:
    """What an endpoint's entry in a catalog file says beside its prices."""
    made: dict[str, Any] = {}
    context = whole(length, "context_length")
    if context is not None:
        made["context_length"] = context
    for name in ("max_completion_tokens", "max_prompt_tokens"):
        cap = whole(row.get(name), name, highest=CONTEXT_MAX)
        if cap is not None and context is not None and cap <= context:
            made[name] = cap
    quantization = text(row.get("quantization"), "quantization")
    if quantization in _QUANTIZATIONS:
        made["quantization"] = quantization
    listed = words(row.get("supported_parameters"), "a parameter")
    if row.get("supported_parameters") is not None:
        made["supported_parameters"] = tuple(word for word in listed if word in _PARAMETERS)
    return made


def _row(model_id: str, row: JsonObject) -> dict[str, Any]:
    """The model's entry in a catalog file."""
    architecture = mapping(row.get("architecture"), "architecture")
    created = whole(row.get("created"), "created", highest=_CREATED_MAX)
    if created is None:
        raise Unusable("does not say when the model was added")
    described: dict[str, Any] = {
        "tokenizer": text(architecture.get("tokenizer"), "tokenizer"),
        "instruct_type": text(architecture.get("instruct_type"), "instruct_type"),
    }
    for name in ("input_modalities", "output_modalities"):
        described[name] = _modalities(architecture.get(name), name)
    made: dict[str, Any] = {
        "id": model_id,
        "canonical_slug": text(row.get("canonical_slug"), "canonical_slug"),
        "name": text(row.get("name"), "name") or model_id,
        "created": datetime.fromtimestamp(created, tz=UTC).date().isoformat(),
        "description": prose(row.get("description"), "description"),
        "context_length": whole(row.get("context_length"), "context_length"),
        "architecture": {name: value for name, value in described.items() if value},
        "hugging_face_id": text(row.get("hugging_face_id"), "hugging_face_id"),
        "default_parameters": dict(_defaults(row.get("default_parameters"))),
        "expiration_date": _iso(day(row.get("expiration_date"), "expiration_date")),
        "knowledge_cutoff": _iso(day(row.get("knowledge_cutoff"), "knowledge_cutoff")),
    }
    return {name: value for name, value in made.items() if value}


def _modalities(value: Any, what: str) -> tuple[str, ...]:
    found = words(value, what)
    unknown = [word for word in found if word not in _MODALITIES]
    if unknown:
        raise Unusable(f"the modality {shown(unknown[0])!r} is not served here")
    return found


def _defaults(value: Any) -> Iterator[tuple[str, Decimal | int]]:
    for name, number in mapping(value, "default_parameters").items():
        if name in _DEFAULTS and isinstance(number, Decimal) and abs(number) <= _DEFAULT_MAX:
            plain = round(number, _DEFAULT_PLACES)
            yield name, int(plain) if plain == int(plain) else plain


def _iso(found: date | None) -> str | None:
    return found.isoformat() if found else None
