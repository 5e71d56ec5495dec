"""Embeddings in the OpenAI dialect."""

import base64
import struct
from typing import Any, Final

import orjson

from workers.simulator.dialect import Answer, Ask
from workers.simulator.openai_fields import Invalid
from workers.simulator.providers import Errors, Manner
from workers.simulator.text import estimate_tokens

INPUTS_MAX: Final = 2048
DIMENSIONS_MAX: Final = 4096

_FIELDS: Final = frozenset({"model", "input", "encoding_format", "dimensions", "user"})
_MISTRAL_FIELDS: Final = frozenset(
    {"model", "input", "encoding_format", "output_dimension", "output_dtype", "metadata"}
)


def read_embeddings(body: dict[str, Any], model: str, manner: Manner) -> Ask:
    """Read an embeddings request.

    Raises:
        Invalid: The provider would refuse it.
    """
    _check_fields(body, manner)
    inputs = _inputs(body.get("input"))
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise Invalid(
            f"Invalid value: {form!r}. Supported values are: 'float' and 'base64'.",
            "encoding_format",
            code="invalid_value",
            kind="enum",
        )
    texts = tuple(" ".join(map(str, one)) if isinstance(one, list) else one for one in inputs)
    return Ask(
        kind="embeddings",
        model=model,
        said=texts[-1],
        inputs=texts,
        dimensions=_dimensions(body, manner),
        prompt_tokens=sum(
            len(one) if isinstance(one, list) else estimate_tokens(one) for one in inputs
        ),
        extras={"encoding_format": form},
    )


def _check_fields(body: dict[str, Any], manner: Manner) -> None:
    if manner.fields is None:
        return
    mistral = manner.errors is Errors.MISTRAL
    for name in body:
        if name not in (_MISTRAL_FIELDS if mistral else _FIELDS):
            raise Invalid(
                "Extra inputs are not permitted"
                if mistral
                else f"Unrecognized request argument supplied: {name}",
                name,
                kind="extra_forbidden",
            )


def _inputs(value: Any) -> list[str | list[int]]:
    """Return the inputs as a list: of texts, or of texts written as token numbers."""
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and 0 < len(value) <= INPUTS_MAX:
        if all(isinstance(one, str) and one for one in value):
            return value
        if _are_tokens(value):
            return [value]
        if all(isinstance(one, list) and _are_tokens(one) for one in value):
            return value
    raise Invalid(
        "'$.input' is invalid. Please check the API reference: "
        "https://platform.openai.com/docs/api-reference.",
        "input",
        kind="missing" if value is None else "value_error",
    )


def _are_tokens(value: list[Any]) -> bool:
    return bool(value) and all(type(token) is int and token >= 0 for token in value)


def _dimensions(body: dict[str, Any], manner: Manner) -> int:
    name = "output_dimension" if manner.errors is Errors.MISTRAL else "dimensions"
    value = body.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 1 <= value <= DIMENSIONS_MAX:
        raise Invalid(
            f"Invalid value for '{name}' = {value}. Must be a whole number from 1 to "
            f"{DIMENSIONS_MAX}.",
            name,
            code="invalid_value",
            kind="int_type",
        )
    return value


def embeddings_body(ask: Ask, answer: Answer) -> bytes:
    """Render the vectors; base64 holds little-endian 32 bit floats."""
    packed = ask.extras.get("encoding_format") == "base64"
    body: dict[str, Any] = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _packed(vector) if packed else vector,
            }
            for index, vector in enumerate(answer.vectors)
        ],
        "model": answer.model,
    }
    if answer.usage is not None:
        body["usage"] = {
            "prompt_tokens": answer.usage.prompt,
            "total_tokens": answer.usage.total,
        }
    return orjson.dumps(body)


def _packed(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
