"""Checks the JSON schemas that Anthropic compiles: for structured outputs and strict tools."""

from typing import Any, Final

from workers.simulator.anthropic_shapes import Invalid

# Deeper than any schema that is meant seriously.
DEPTH_MAX: Final = 32

_UNSUPPORTED: Final[dict[str, tuple[str, ...]]] = {
    "number": ("maximum", "minimum", "multipleOf", "exclusiveMaximum", "exclusiveMinimum"),
    "integer": ("maximum", "minimum", "multipleOf", "exclusiveMaximum", "exclusiveMinimum"),
    "string": ("maxLength", "minLength"),
    "array": ("maxItems", "uniqueItems"),
}
_SEVERAL: Final = ("properties", "$defs", "definitions")
_LISTS: Final = ("anyOf", "allOf", "oneOf")


def check_schema(schema: Any, where: str, depth: int = 0) -> None:
    """Refuse what cannot be compiled.

    Raises:
        Invalid: An object is left open, or a keyword is not supported.
    """
    if not isinstance(schema, dict):
        return
    if depth > DEPTH_MAX:
        raise Invalid(f"{where}: Schema is too complex")
    kind = schema.get("type")
    if kind == "object" and schema.get("additionalProperties") is not False:
        raise Invalid(
            f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false"
        )
    unsupported = [name for name in _UNSUPPORTED.get(str(kind), ()) if name in schema]
    if unsupported:
        raise Invalid(
            f"{where}: For '{kind}' type, properties {', '.join(unsupported)} are not supported"
        )
    if kind == "array" and schema.get("minItems", 0) not in (0, 1):
        raise Invalid(
            f"{where}: For 'array' type, 'minItems' values other than 0 or 1 are not supported"
        )
    for part in _parts(schema):
        check_schema(part, where, depth + 1)


def _parts(schema: dict[str, Any]) -> list[Any]:
    parts = [schema.get("items")]
    for name in _SEVERAL:
        if isinstance(several := schema.get(name), dict):
            parts.extend(several.values())
    for name in _LISTS:
        if isinstance(listed := schema.get(name), list):
            parts.extend(listed)
    return parts
