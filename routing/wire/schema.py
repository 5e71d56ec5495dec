"""JSON schemas that callers send: a fault is found here, with a pointer, not by a provider later.

Nothing is ever fetched: references are local, and the dialect is one of those known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
import orjson

#: Providers stop far earlier (OpenAI at 120,000 characters of names and values).
SCHEMA_MAX_BYTES = 512 * 1024
_DRAFTS = ("/draft-04/schema", "/draft-06/schema", "/draft-07/schema", "/draft/2019-09/schema")
_DEFAULT_DRAFT = "/draft/2020-12/schema"
#: Keywords whose keys are the caller's own names, and keywords that hold data, not schemas.
_OF_NAMES = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
)
_DATA = frozenset({"const", "enum", "default", "examples", "example"})
#: Hops from `$ref` to `$ref`; an honest schema has one or two.
_REF_HOPS_MAX = 32
#: Schemas found sound lately: an agent sends the same tools with every turn.
_SOUND_MAX = 4_096
_sound: set[bytes] = set()
#: Where in a schema something is: the place around it and its own key; None is the top. Shared, not
#: copied: a whole path for each of a deep schema's thousands of values would stop a front door.
_Place = tuple["_Place", str | int] | None


def schema_problem(schema: dict[str, Any]) -> str | None:
    """What is wrong with a schema and where (a JSON pointer); None when nothing is."""
    raw = orjson.dumps(schema)
    if len(raw) > SCHEMA_MAX_BYTES:
        return f"must be at most {SCHEMA_MAX_BYTES} bytes as JSON, not {len(raw)}"
    digest = hashlib.blake2b(raw, digest_size=16).digest()
    if digest in _sound:
        return None
    problem = _fault(schema)
    if problem is None:
        if len(_sound) >= _SOUND_MAX:
            _sound.clear()
        _sound.add(digest)
    return problem


def _fault(schema: dict[str, Any]) -> str | None:
    draft = schema.get("$schema", "")
    if draft and not _known(draft):
        return "at /$schema: must be a JSON Schema draft from 4 to 2020-12, or left out"
    for place, reference in _references(schema):
        problem = _reference_problem(schema, reference)
        if problem:
            return f"at {_pointer(_path(place))}: {problem}"
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        return f"at {_pointer(error.instance_path)}: {_reason(error)}"
    return None


def _known(draft: object) -> bool:
    if not isinstance(draft, str):
        return False
    address = draft.rstrip("#")
    host = "://json-schema.org"
    return address.startswith(("http" + host, "https" + host)) and address.endswith(
        (*_DRAFTS, _DEFAULT_DRAFT)
    )


def _references(schema: dict[str, Any]) -> Iterator[tuple[_Place, object]]:
    """Every `$ref` with its place, without recursion: schemas may be deep."""
    waiting: list[tuple[Any, _Place]] = [(schema, None)]
    while waiting:
        found, place = waiting.pop()
        if isinstance(found, dict):
            names = place is not None and place[1] in _OF_NAMES
            if "$ref" in found and not names:
                yield (place, "$ref"), found["$ref"]
            waiting += (
                (item, (place, key))
                for key, item in found.items()
                if isinstance(item, dict | list) and (names or key not in _DATA)
            )
        elif isinstance(found, list):
            waiting += (
                (item, (place, index))
                for index, item in enumerate(found)
                if isinstance(item, dict | list)
            )


def _path(place: _Place) -> list[str | int]:
    """A place as keys from the top."""
    keys: list[str | int] = []
    while place is not None:
        place, key = place
        keys.append(key)
    return keys[::-1]


def _reference_problem(root: Mapping[str, Any], reference: object) -> str | None:
    """A reference must lead, within the schema, to something that is not a reference for ever."""
    for _ in range(_REF_HOPS_MAX):
        if not isinstance(reference, str) or not reference.startswith("#"):
            return "must be a reference inside this schema ('#/…'); nothing else is looked up"
        found = _resolved(root, reference)
        if found is None:
            return f"leads nowhere: {reference[:80]!r}"
        if not isinstance(found, Mapping) or "$ref" not in found:
            return None
        reference = found["$ref"]
    return "is a reference to itself"


def _resolved(root: Mapping[str, Any], reference: str) -> object:
    path = reference[1:]
    if not path:
        return root
    if not path.startswith("/"):  # an anchor: found by name, wherever it is
        return root
    found: object = root
    for raw in path[1:].split("/"):
        key = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def _pointer(path: Any) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "/" + "/".join(parts) if path else "/"


def _reason(error: jsonschema_rs.ValidationError) -> str:
    """The validator's sentence, bounded: it repeats what it found."""
    text = " ".join(error.message.split())
    return text if len(text) <= 200 else text[:199] + "…"  # noqa: PLR2004
