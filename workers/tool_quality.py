"""Whether a model's calls of tools can be carried out: judged after the last frame, never before.

Callers write the schemas and, through their prompts, much of the arguments, so both are taken for
hostile: nothing is looked up, patterns run in linear time, and what would take long is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema_rs
import orjson

from routing.figures import ToolTally
from routing.wire.schema import schema_problem

#: Calls of one answer that are looked at; an honest one has a handful.
CALLS_MAX = 128
#: Schema nodes (references expanded) times bytes of arguments: about a tenth of a second.
WORK_MAX = 4_000_000
#: Deeper schemas, and those that contain themselves, are not judged.
DEPTH_MAX = 48
#: One tool's schema written out; more is no honest tool.
NODES_MAX = 20_000
#: Compiled schemas of this process: an agent sends the same tools with every turn.
COMPILED_MAX = 512
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)
#: References that only a validator can follow.
_DYNAMIC = ("$dynamicRef", "$recursiveRef")

Verdict = Literal["valid", "unparsed", "unknown", "mismatched"]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A tool's schema; without a validator everything matches it."""

    validator: jsonschema_rs.Validator | None
    nodes: int = 0


_compiled: dict[bytes, _Compiled] = {}


@dataclass(slots=True)
class _Called:
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class Judge:
    """Hears the tool calls of one answer and tells in the end how many were sound.

    Args:
        tools: of the request, in the contract's form.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._tools = tools
        self._heard: list[tuple[int, Any]] = []

    def fragments(self, choice: int, tool_calls: Any) -> None:
        """`tool_calls` of one delta; only kept, so that a stream is not held up."""
        self._heard.append((choice, tool_calls))

    def whole(self, choice: int, tool_calls: Any) -> None:
        """`tool_calls` of one finished message."""
        if isinstance(tool_calls, list):
            calls = enumerate(call for call in tool_calls if isinstance(call, dict))
            self._heard.append((choice, [{**call, "index": index} for index, call in calls]))

    def tally(self) -> ToolTally:
        """Judge all that was heard."""
        calls = self._joined()[:CALLS_MAX]
        schemas = _schemas(self._tools) if calls else {}
        verdicts = [_verdict(call, schemas) for call in calls]
        return ToolTally(
            requests=1,
            with_calls=int(bool(calls)),
            calls=len(calls),
            valid=verdicts.count("valid"),
            unparsed=verdicts.count("unparsed"),
            unknown=verdicts.count("unknown"),
            mismatched=verdicts.count("mismatched"),
        )

    def _joined(self) -> list[_Called]:
        calls: dict[tuple[int, Any], _Called] = {}
        for choice, fragments in self._heard:
            for fragment in fragments if isinstance(fragments, list) else ():
                if not isinstance(fragment, dict):
                    continue
                index = fragment.get("index")
                place = (choice, index if isinstance(index, int) else 0)
                _add(calls.setdefault(place, _Called()), fragment.get("function"))
        return list(calls.values())


def _add(call: _Called, function: Any) -> None:
    if not isinstance(function, dict):
        return
    name, arguments = function.get("name"), function.get("arguments")
    if isinstance(name, str) and name:
        call.name = name
    if isinstance(arguments, str):
        call.arguments.append(arguments)


def _schemas(tools: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Parameters of the offered functions by name; None where a tool has none."""
    functions = (tool.get("function") for tool in tools)
    return {
        function["name"]: function.get("parameters")
        for function in functions
        if isinstance(function, Mapping) and isinstance(function.get("name"), str)
    }


def _verdict(call: _Called, schemas: Mapping[str, Any]) -> Verdict:
    raw = "".join(call.arguments).encode(errors="replace")
    try:
        # A tool without parameters is often called with nothing at all.
        arguments = orjson.loads(raw) if raw.strip() else {}
    except orjson.JSONDecodeError:
        return "unparsed"
    if not isinstance(arguments, dict):
        return "unparsed"
    if call.name not in schemas:
        return "unknown"
    return "valid" if _matches(schemas[call.name], arguments, len(raw)) else "mismatched"


def _matches(schema: Any, arguments: dict[str, Any], size: int) -> bool:
    if not isinstance(schema, dict) or not schema:
        return True
    compiled = _validator(schema)
    if compiled.validator is None or compiled.nodes * size > WORK_MAX:
        return True
    return compiled.validator.is_valid(arguments)


def _validator(schema: dict[str, Any]) -> _Compiled:
    try:
        raw = orjson.dumps(schema)
    except (orjson.JSONEncodeError, RecursionError):
        return _Compiled(None)
    if raw not in _compiled:
        if len(_compiled) >= COMPILED_MAX:
            _compiled.clear()
        _compiled[raw] = _compile(schema)
    return _compiled[raw]


def _compile(schema: dict[str, Any]) -> _Compiled:
    nodes = _Size(schema).expanded()
    if nodes is None or schema_problem(schema) is not None:
        return _Compiled(None)
    try:
        validator = jsonschema_rs.validator_for(
            schema, retriever=_refuse, pattern_options=_PATTERNS
        )
    except (ValueError, jsonschema_rs.ReferencingError):  # ValidationError is a ValueError
        return _Compiled(None)
    return _Compiled(validator, nodes)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri[:80]} is not looked up")


class _Size:
    """How large a schema is with its references written out: what checking against it costs."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def expanded(self) -> int | None:
        """Nodes; None for too many, too deep, or a schema that contains itself."""
        return self._nodes if self._count(self._root, 0) else None

    def _count(self, node: Any, depth: int) -> bool:
        self._nodes += 1
        if depth > DEPTH_MAX or self._nodes > NODES_MAX:
            return False
        if isinstance(node, list):
            return all(self._count(item, depth + 1) for item in node)
        if not isinstance(node, Mapping):
            return True
        if any(name in node for name in _DYNAMIC):
            return False
        if "$ref" in node and not self._follow(node["$ref"], depth):
            return False
        # Definitions cost where they are referred to.
        return all(
            self._count(item, depth + 1)
            for name, item in node.items()
            if name not in {"$defs", "definitions"}
        )

    def _follow(self, reference: Any, depth: int) -> bool:
        if not isinstance(reference, str):  # a property of that name
            return True
        if not reference.startswith("#/"):
            return False
        found: Any = self._root
        for raw in reference[2:].split("/"):
            key = raw.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                return False
        return self._count(found, depth + 1)
