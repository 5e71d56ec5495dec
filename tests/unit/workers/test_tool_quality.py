"""Which tool calls are sound, and that hostile schemas cost nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.figures import ToolTally
from workers.tool_quality import CALLS_MAX, Judge

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}


def tool(parameters: Any = None, name: str = "weather") -> dict[str, Any]:
    function = {"name": name} | ({} if parameters is None else {"parameters": parameters})
    return {"type": "function", "function": function}


def call(arguments: str, name: str = "weather") -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}


def verdict(arguments: str, parameters: Any = None, name: str = "weather") -> str:
    judge = Judge([tool(parameters)])
    judge.whole(0, [call(arguments, name)])
    found = judge.tally()
    assert (found.requests, found.with_calls, found.calls) == (1, 1, 1)
    kinds = ("valid", "unparsed", "unknown", "mismatched")
    return next(kind for kind in kinds if getattr(found, kind))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"city": "Oslo"}', "valid"),
        ('{"city": "Oslo", "days": 2}', "valid"),
        ('{"city": "Oslo", "days": 0}', "mismatched"),
        ('{"days": 2}', "mismatched"),
        ('{"city": "Oslo", "town": 1}', "mismatched"),
        ("", "mismatched"),
        ('{"city": "Oslo"', "unparsed"),
        ('"Oslo"', "unparsed"),
        ('{"city": "\ud800"}', "valid"),
    ],
)
def test_whole_calls(arguments: str, expected: str):
    assert verdict(arguments, WEATHER) == expected


def test_a_tool_that_was_not_offered():
    assert verdict("{}", WEATHER, name="delete_all") == "unknown"


def test_a_tool_without_parameters_may_be_called_with_nothing():
    assert verdict("") == verdict("{}") == verdict('{"any": 1}') == "valid"
    assert verdict("", {"type": "object", "properties": {}}) == "valid"


def test_no_call_at_all():
    judge = Judge([tool(WEATHER)])
    judge.whole(0, None)
    assert judge.tally() == ToolTally(requests=1)


def test_fragments_are_joined_by_choice_and_index():
    judge = Judge([tool(WEATHER)])
    judge.fragments(0, [{"index": 0, "function": {"name": "weather", "arguments": '{"ci'}}])
    judge.fragments(0, [{"index": 1, "function": {"name": "weather", "arguments": ""}}])
    judge.fragments(1, [{"index": 0, "function": {"name": "weather", "arguments": "[]"}}])
    judge.fragments(0, [{"index": 0, "function": {"arguments": 'ty": "Oslo"}'}}])
    judge.fragments(0, [{"index": 1, "function": {"arguments": "{}"}}])
    found = judge.tally()
    assert (found.calls, found.valid, found.mismatched, found.unparsed) == (3, 1, 1, 1)


def test_two_whole_calls_of_one_message():
    judge = Judge([tool(WEATHER), tool(name="now")])
    judge.whole(0, [call('{"city": "Oslo"}'), call("{}", "now")])
    assert judge.tally().valid == 2


def test_references_inside_the_schema_are_followed():
    schema = {
        "type": "object",
        "properties": {"from": {"$ref": "#/$defs/place"}},
        "$defs": {"place": {"type": "string"}},
    }
    assert verdict('{"from": "Oslo"}', schema) == "valid"
    assert verdict('{"from": 3}', schema) == "mismatched"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"type": "no such type"},
        {"pattern": "(", "properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"pattern": "(?=x)y"}}},
        {"properties": {"a": {"$ref": "#"}}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"properties": {"a": {"$ref": "#/nowhere"}}},
        {"$dynamicRef": "#x"},
        "no schema",
        [],
        {"$schema": "https://example.com/own"},
    ],
)
def test_a_schema_that_cannot_be_used_counts_as_matching(schema: Any):
    assert verdict('{"a": "b"}', schema) == "valid"


def doubling(levels: int) -> dict[str, Any]:
    """Each definition refers to the next twice: 2^levels checks of one value."""
    definitions: dict[str, Any] = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)
    }
    definitions[f"d{levels}"] = {"type": "integer"}
    return {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (doubling(40), '{"a": "b"}'),
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, orjson.dumps({"a": "a" * 50_000 + "!"})),
        ({"additionalProperties": {"pattern": "x{1000}{1000}"}}, '{"a": "b"}'),
        (
            {"properties": {"a": {"items": {"anyOf": [{"const": n} for n in range(5_000)]}}}},
            orjson.dumps({"a": list(range(50_000, 100_000))}),
        ),
        ({"properties": {"a": {"uniqueItems": True}}}, b'{"a":[' + b"{}," * 300_000 + b"1]}"),
    ],
    ids=["doubling", "pattern", "large pattern", "product", "unique"],
)
def test_a_hostile_schema_does_not_hold_up_a_worker(schema: Any, arguments: str | bytes):
    text = arguments.decode() if isinstance(arguments, bytes) else arguments
    began = time.process_time()
    verdict(text, schema)
    assert time.process_time() - began < 3


def test_deep_schemas_and_deep_arguments_do_no_harm():
    deep: dict[str, Any] = {"type": "integer"}
    for _ in range(900):
        deep = {"properties": {"a": deep}}
    arguments = '{"a":' * 900 + "{}" + "}" * 900
    assert verdict(arguments, deep) == "valid"
    assert verdict(arguments, {"additionalProperties": {"type": "object"}}) == "valid"


def test_calls_are_bounded():
    judge = Judge([tool()])
    judge.whole(0, [call("{}")] * (CALLS_MAX + 10))
    assert judge.tally().calls == CALLS_MAX


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(JSON, st.integers(min_value=0, max_value=3), JSON)
def test_anything_may_come(calls: Any, choice: int, parameters: Any):
    judge = Judge([tool(parameters), {"type": "function"}, {"function": 3}])
    judge.fragments(choice, calls)
    judge.whole(choice, calls)
    judge.fragments(choice, [{"index": 0, "function": calls}, calls])
    judge.whole(choice, [call(json.dumps(calls))])
    found = judge.tally()
    assert found.calls == found.valid + found.unparsed + found.unknown + found.mismatched
