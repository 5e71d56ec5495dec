import tracemalloc

import pytest

from routing.wire.schema import SCHEMA_MAX_BYTES, schema_problem

GOOD = {
    "type": "object",
    "properties": {"$ref": {"type": "string"}, "tree": {"$ref": "#/$defs/node"}},
    "required": ["tree"],
    "additionalProperties": False,
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        }
    },
}


def test_a_recursive_schema_is_fine():
    assert schema_problem(GOOD) is None
    assert schema_problem({}) is None
    assert schema_problem({"$schema": "http://json-schema.org/draft-07/schema#"}) is None


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "objekt"}, "at /type:"),
        ({"properties": {"a/b": {"type": 3}}}, "at /properties/a~1b/type:"),
        ({"properties": []}, "at /properties:"),
        ({"required": "name"}, "at /required:"),
        ({"$schema": "http://elsewhere.test/schema"}, "at /$schema:"),
        ({"$ref": "https://elsewhere.test/schema"}, "at /$ref: must be a reference inside"),
        ({"$ref": "file:///etc/passwd"}, "at /$ref: must be a reference inside"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "at /properties/a/$ref: leads nowhere"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "reference to itself"),
        (
            {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
            "reference to itself",
        ),
        ({"$ref": 3}, "must be a reference inside"),
        ({"description": "x" * SCHEMA_MAX_BYTES}, "must be at most"),
    ],
)
def test_a_fault_is_told_with_its_place(schema: dict, says: str):
    assert says in (schema_problem(schema) or "")


def test_a_bomb_is_read_and_not_followed():
    """Each level names the next twice: 2^40 when followed, which nobody would see the end of."""
    levels = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(40)}
    bomb = {"$ref": "#/$defs/l0", "$defs": {**levels, "l40": {"type": "string"}}}
    assert schema_problem(bomb) is None


def test_many_references_in_a_deep_place_take_little_memory():
    """A path of its own for each would be half a gigabyte."""
    schema: dict = {"allOf": [{"$ref": "#"}] * 30_000}
    for _ in range(235):
        schema = {"not": schema}
    tracemalloc.start()
    try:
        assert schema_problem(schema) is None
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100 * 2**20
