"""Objects for JSON schemas have what is required, of the right type."""

from typing import Any

import pytest

from workers.simulator.schemas import fill


def test_only_required_properties_are_filled():
    schema = {
        "type": "object",
        "properties": {"location": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["location"],
    }

    assert fill(schema) == {"location": "Paris, France"}


def test_first_property_is_filled_when_none_is_required():
    assert fill({"properties": {"days": {"type": "integer"}, "x": {}}}) == {"days": 1}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param({"enum": ["b", "a"]}, "b", id="enum"),
        pytest.param({"const": 4}, 4, id="const"),
        pytest.param({"type": "integer", "minimum": 10}, 10, id="minimum"),
        pytest.param({"type": ["number", "null"]}, 1, id="the first of several types"),
        pytest.param({"anyOf": [{"type": "boolean"}, {}]}, True, id="the first of several schemas"),
        pytest.param({"type": "array", "items": {"type": "null"}, "minItems": 2}, [None] * 2),
        pytest.param({"type": "string", "format": "date"}, "2026-01-31", id="format"),
        pytest.param({"$ref": "#/$defs/city"}, "Rome", id="reference"),
    ],
)
def test_values(schema: dict[str, Any], value: Any):
    whole = {"properties": {"it": schema}, "required": ["it"], "$defs": {"city": {"const": "Rome"}}}

    assert fill(whole) == {"it": value}


def test_a_schema_that_holds_itself_ends():
    schema = {"properties": {"child": {"$ref": "#"}}, "required": ["child"]}

    assert "child" in fill(schema)
