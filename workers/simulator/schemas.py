"""Plausible values for a JSON schema: what a model would fill in, without a model."""

from typing import Any, Final

# Schemas may refer to themselves; a value that deep is no longer plausible.
DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 16
# References multiply: a few of them, a few levels deep, are millions of values.
VALUES_MAX: Final = 2_000

_WORDS: Final = {
    "city": "Paris",
    "location": "Paris, France",
    "country": "France",
    "date": "2026-01-31",
    "email": "ada@example.com",
    "name": "Ada",
    "query": "railway points",
    "unit": "celsius",
    "url": "https://example.com/",
}
_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def fill(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the required properties of a schema.

    Where none is required, the first property is filled, so that the object is not empty.
    """
    value = _Filler(schema).value(schema, "value", 0)
    return value if isinstance(value, dict) else {"value": value}


class _Filler:
    """Knows the root, against which references are resolved."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._left = VALUES_MAX

    def value(self, schema: Any, name: str, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > DEPTH_MAX or self._left < 0:
            return None
        schema = self._resolved(schema, depth)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if isinstance(choices := schema.get("enum"), list) and choices:
            return choices[0]
        for key in ("anyOf", "oneOf", "allOf"):
            if isinstance(options := schema.get(key), list) and options:
                return self.value(options[0], name, depth + 1)
        return self._of_type(schema, name, depth)

    def _of_type(self, schema: dict[str, Any], name: str, depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = kind[0] if kind else "string"
        # Gemini writes its types in capitals.
        match kind.lower() if isinstance(kind, str) else "string":
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer" | "number":
                return _number(schema)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return _string(schema, name)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return {}
        required = schema.get("required")
        names = required if isinstance(required, list) and required else list(properties)[:1]
        return {
            name: self.value(properties.get(name, {}), name, depth + 1)
            for name in names
            if isinstance(name, str)
        }

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        least = schema.get("minItems", 1)
        count = min(least, ITEMS_MAX) if isinstance(least, int) else 1
        return [self.value(schema.get("items", {}), name, depth + 1) for _ in range(count)]

    def _resolved(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        reference = schema.get("$ref")
        if not isinstance(reference, str) or depth > DEPTH_MAX:
            return schema
        target: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(part) if isinstance(target, dict) and part else target
        if not isinstance(target, dict) or "$ref" in target:
            return {}
        return target


def _number(schema: dict[str, Any]) -> int | float:
    least = schema.get("minimum", 1)
    most = schema.get("maximum", least)
    if not isinstance(least, int | float) or not isinstance(most, int | float):
        return 1
    return min(least, most)


def _string(schema: dict[str, Any], name: str) -> str:
    form = schema.get("format")
    text = _FORMATS.get(form) if isinstance(form, str) else None
    text = text or _WORDS.get(name.lower(), name)
    least = schema.get("minLength", 0)
    return text.ljust(min(least, 1000), ".") if isinstance(least, int) else text
