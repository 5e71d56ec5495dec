"""Checks the schemas that Gemini itself constrains its output with: a part of OpenAPI's."""

from typing import Any, Final

from workers.simulator.gemini_errors import Invalid, Surface, studio_field

STRING_FORMATS: Final = frozenset({"enum", "date-time"})

_TYPES_DOCS: Final = (
    "Learn more: https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling"
)


def check_schema(surface: Surface, schema: dict[str, Any], path: str, owner: str) -> None:
    """Check a schema and all below it.

    Args:
        surface: Where it came in.
        schema: The schema, read already.
        path: Where it stands in the request.
        owner: What Vertex AI calls it in errors.

    Raises:
        Invalid: Gemini would not take it.
    """
    _check_node(surface, schema, path, owner)
    for below, where in _children(schema, path):
        check_schema(surface, below, where, owner)


def _children(schema: dict[str, Any], path: str) -> list[tuple[dict[str, Any], str]]:
    found = [
        (below, f"{path}.properties[{name}]")
        for name, below in (schema.get("properties") or {}).items()
    ]
    if "items" in schema:
        found.append((schema["items"], f"{path}.items"))
    options = enumerate(schema.get("anyOf", []))
    found.extend((below, f"{path}.any_of[{index}]") for index, below in options)
    return found


def _check_node(surface: Surface, schema: dict[str, Any], path: str, owner: str) -> None:
    kind = schema.get("type", "TYPE_UNSPECIFIED")
    if kind == "TYPE_UNSPECIFIED" and not (schema.get("anyOf") or schema.get("ref")):
        if surface is Surface.VERTEX:
            raise Invalid(
                f"Unable to submit request because `{owner}` functionDeclaration `{path}` schema "
                f"didn't specify the schema type field. {_TYPES_DOCS}"
            )
        raise studio_field(f"{path}.type", "must be specified")
    problem = _problem(surface, schema, kind)
    if problem is not None:
        raise studio_field(f"{path}.{problem[0]}", problem[1])


def _problem(surface: Surface, schema: dict[str, Any], kind: str) -> tuple[str, str] | None:
    properties = schema.get("properties") or {}
    if kind == "ARRAY" and "items" not in schema:
        return "items", "missing field."
    if surface is Surface.STUDIO and kind == "OBJECT" and not properties:
        return "properties", "should be non-empty for OBJECT type"
    for index, name in enumerate(schema.get("required", [])):
        if name not in properties:
            return f"required[{index}]", "property is not defined"
    return _choice_problem(surface, schema, kind)


def _choice_problem(surface: Surface, schema: dict[str, Any], kind: str) -> tuple[str, str] | None:
    choices = schema.get("enum", [])
    if kind != "STRING":
        return ("enum", "only allowed for STRING type") if choices else None
    if "" in choices:
        return "enum", "cannot be empty"
    if surface is Surface.STUDIO and schema.get("format", "enum") not in STRING_FORMATS:
        return "format", "only 'enum' and 'date-time' are supported for STRING type"
    return None
