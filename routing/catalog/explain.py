"""Validation findings as sentences an operator can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

#: A wrong value is quoted up to here: enough to find it, too short to repeat a pasted secret.
_QUOTED_MAX = 40
_EXPECTED = re.compile(r"'([^']+)'")


def explain(document: type[BaseModel], item: ErrorDetails) -> tuple[str, str]:
    """One pydantic finding as message and hint (which may be empty)."""
    location = item["loc"]
    place = _dotted(location)
    match item["type"]:
        case "extra_forbidden":
            keys = _keys_at(document, location[:-1])
            return f"unknown key {str(location[-1])!r}", _near(str(location[-1]), keys)
        case "missing":
            return f"{place} is missing", ""
        case "literal_error":
            choices = _EXPECTED.findall(item["ctx"]["expected"])
            given = repr(item["input"])[:_QUOTED_MAX]
            hint = _near(str(item["input"]), choices) or f"One of: {', '.join(choices)}."
            return f"{place}: unknown value {given}", hint
        case "value_error":
            return f"{place}: {item['ctx']['error']}" if place else str(item["ctx"]["error"]), ""
        case "model_type" | "model_attributes_type":
            return f"{place or 'the file'} must be a mapping of keys to values", ""
        case _:
            return f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}", ""


def _dotted(location: Iterable[str | int]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(steps).removeprefix(".")


def _near(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {found[0]!r}?" if found else ""


def _keys_at(document: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    """The keys allowed at a place of a document that holds a document itself."""
    here = document
    for step in location:
        if isinstance(step, str):
            here = _nested(here.model_fields[step].annotation)
    return [field.alias or name for name, field in here.model_fields.items()]


def _nested(annotation: Any) -> type[BaseModel]:
    """The document inside `Document`, `tuple[Document, ...]` or `Document | None`."""
    document: type[BaseModel] = annotation
    while arguments := get_args(document):
        document = arguments[0]
    return document
