"""Checks the plain fields of a Cohere request."""

from typing import Any, Final

STOPS_MAX: Final = 5
SEED_MAX: Final = 2**64 - 1


class Refused(Exception):
    """Cohere would not take this request.

    Attributes:
        status: 400 for a wrong value, 422 for a field that does not exist.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


# The type of each field, by the name Cohere has for it.
_KINDS: Final[dict[str, type | tuple[type, ...]]] = {
    "string": str,
    "array": list,
    "object": dict,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
CHAT_FIELDS: Final = {
    "model": "string",
    "messages": "array",
    "stream": "boolean",
    "tools": "array",
    "strict_tools": "boolean",
    "documents": "array",
    "citation_options": "object",
    "response_format": "object",
    "safety_mode": "string",
    "max_tokens": "integer",
    "stop_sequences": "array",
    "temperature": "number",
    "seed": "integer",
    "frequency_penalty": "number",
    "presence_penalty": "number",
    "k": "integer",
    "p": "number",
    "logprobs": "boolean",
    "tool_choice": "string",
    "thinking": "object",
    "priority": "integer",
}
EMBED_FIELDS: Final = {
    "model": "string",
    "input_type": "string",
    "texts": "array",
    "images": "array",
    "inputs": "array",
    "embedding_types": "array",
    "output_dimension": "integer",
    "max_tokens": "integer",
    "truncate": "string",
    "priority": "integer",
}
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "temperature": (0, 5),
    "p": (0.01, 0.99),
    "k": (0, 500),
    "frequency_penalty": (0, 1),
    "presence_penalty": (0, 1),
    "max_tokens": (1, 1_000_000),
    "seed": (0, SEED_MAX),
    "priority": (0, 999),
}


def check_fields(body: dict[str, Any], fields: dict[str, str]) -> None:
    """Check that all fields are known, of the right type and in their range.

    Raises:
        Refused: One is not.
    """
    for name, value in body.items():
        kind = fields.get(name)
        if kind is None:
            raise Refused(f"unknown field: parameter '{name}' is not a valid field", status=422)
        if value is None:
            continue
        if not is_a(value, kind):
            raise Refused(
                f"invalid type: parameter '{name}' is of type {_name(value)} but should be of "
                f"type {kind}."
            )
        if name in _RANGES:
            least, most = _RANGES[name]
            if not least <= value <= most:
                raise Refused(
                    f"invalid request: {name} must be between {least} and {most} inclusive."
                )


def is_a(value: Any, kind: str) -> bool:
    """Whether a value is of one of Cohere's types; true and false are no numbers."""
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    return isinstance(value, _KINDS[kind])


def _name(value: Any) -> str:
    kinds = ("boolean", "string", "array", "object", "integer", "number")
    return next((kind for kind in kinds if is_a(value, kind)), "null")


def choose(name: str, value: Any, *known: str) -> None:
    """Refuse a word that is none of those known; None is fine.

    Raises:
        Refused: It is not.
    """
    if value is not None and value not in known:
        raise Refused(
            f"invalid request: {name} must be one of {', '.join(known)} - received {value!r}"
        )


def read_model(body: dict[str, Any]) -> str:
    """Return the model.

    Raises:
        Refused: There is none.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refused("invalid request: model is required")
    return model


def read_stops(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the texts to stop at.

    Raises:
        Refused: They are no texts, or too many.
    """
    stops = body.get("stop_sequences") or []
    if len(stops) > STOPS_MAX:
        raise Refused(f"invalid request: stop_sequences must have at most {STOPS_MAX} elements.")
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise Refused("invalid request: stop_sequences must be strings that are not empty.")
    return tuple(stops)
