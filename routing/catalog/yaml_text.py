"""YAML text as plain values that remember their line, and stricter than YAML: it is configuration.

Built from the parser's events, not from `yaml.load`: numbers keep their decimal text, every key
keeps its line, and nothing can expand (no aliases, no tags, a depth and size limit).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

#: The largest file we ship is 20 KB; a generated file that grew fiftyfold still loads.
TEXT_MAX_BYTES = 1024 * 1024

#: A catalog entry is at most five levels deep; more is a mistake or an attack on the stack.
DEPTH_MAX = 12

Path = tuple[str | int, ...]
Scalar = str | int | bool | Decimal | None

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# 18 digits fit 64 bits; YAML's other integers (010, 1_000, 1:30) are not what they look like.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?[0-9]{1,18}\.[0-9]{1,18}")
_TAG = "tag:yaml.org,2002:"


class YamlProblem(Exception):
    """The text cannot be used; `line` counts from 1."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class YamlText:
    """One document: its value and the line of every key and item, by path."""

    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """The line of a path, or of the nearest thing around it that was written down."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(content: bytes) -> YamlText:
    """Read one YAML document in UTF-8.

    Sequences become tuples, whole numbers int, numbers with a point Decimal, dates stay text.

    Raises:
        YamlProblem: too large, not UTF-8, not YAML, more than one document, a duplicate key, an
            alias, a tag, a number that means something else than it shows, or too deep.
    """
    loader = _Loader(_decoded(content))
    lines: dict[Path, int] = {}
    try:
        events = _events(loader)
        value = _node(loader, events, next(events, None), (), lines)
        surplus = next(events, None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise YamlProblem(line, f"not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise YamlProblem(1, f"not valid YAML: {str(error).splitlines()[0]}") from error
    finally:
        loader.dispose()
    if surplus is not None:
        raise YamlProblem(
            _line(surplus), "a second document starts here", "One file, one document."
        )
    return YamlText(value, lines)


def _decoded(content: bytes) -> str:
    if len(content) > TEXT_MAX_BYTES:
        raise YamlProblem(1, f"larger than {TEXT_MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlProblem(line, "not UTF-8 text") from error


def _events(loader: Any) -> Iterator[Any]:
    while loader.check_event():
        event = loader.get_event()
        if not isinstance(
            event,
            yaml.StreamStartEvent
            | yaml.StreamEndEvent
            | yaml.DocumentStartEvent
            | yaml.DocumentEndEvent,
        ):
            yield event


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _node(
    loader: Any, events: Iterator[Any], event: Any, path: Path, lines: dict[Path, int]
) -> Any:
    if event is None:
        return None
    line = _line(event)
    lines.setdefault(path, line)
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise YamlProblem(line, "anchors and aliases are not allowed", "Write the value out.")
    if len(path) > DEPTH_MAX:
        raise YamlProblem(line, f"nested more than {DEPTH_MAX} levels deep")
    if isinstance(event, yaml.MappingStartEvent):
        return _mapping(loader, events, path, lines)
    if isinstance(event, yaml.SequenceStartEvent):
        return _sequence(loader, events, path, lines)
    return _scalar(loader, event)


def _mapping(
    loader: Any, events: Iterator[Any], path: Path, lines: dict[Path, int]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        line = _line(event)
        # A key that nests would recurse without getting deeper in `path`.
        key = (
            _node(loader, events, event, path, lines)
            if isinstance(event, yaml.ScalarEvent)
            else None
        )
        if not isinstance(key, str):
            raise YamlProblem(line, "a key is not text")
        if key in found:
            raise YamlProblem(
                line, f"duplicate key {key!r}", f"First given in line {lines[(*path, key)]}."
            )
        lines[(*path, key)] = line
        found[key] = _node(loader, events, next(events), (*path, key), lines)
    return found


def _sequence(
    loader: Any, events: Iterator[Any], path: Path, lines: dict[Path, int]
) -> tuple[Any, ...]:
    items: list[Any] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        items.append(_node(loader, events, event, (*path, len(items)), lines))
    return tuple(items)


def _scalar(loader: Any, event: Any) -> Scalar:
    if event.tag is not None:
        raise YamlProblem(_line(event), f"the tag {event.tag!r} is not allowed")
    text: str = event.value
    tag = loader.resolve(yaml.ScalarNode, text, event.implicit).removeprefix(_TAG)
    if tag == "null":
        return None
    if tag == "bool":
        return _boolean(event)
    if tag in {"int", "float"}:
        return _number(event)
    return text


def _boolean(event: Any) -> bool:
    text: str = event.value
    if text in {"true", "false"}:
        return text == "true"
    raise YamlProblem(
        _line(event), f"{text} would be read as true or false", "Write true, false, or quote it."
    )


def _number(event: Any) -> int | Decimal:
    text: str = event.value
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return Decimal(text)
    raise YamlProblem(
        _line(event), f"{text} is not a plain decimal number", "Write it like 131072 or 0.15."
    )
