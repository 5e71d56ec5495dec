"""From bytes to a checked request, or to one sentence about what is wrong with them.

Shared by every inbound API: reading JSON, and turning pydantic's findings into one BadRequest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from routing.errors import BadRequest

#: orjson writes at most 254 levels; the rest is room for what the upstream formats wrap around.
MAX_DEPTH = 240
_WRITER_DEPTH = 254
#: Values in one body: a long conversation has some 50,000. More would cost seconds to build, in
#: which a front door answers nobody.
MAX_VALUES = 250_000
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
#: More problems than these do not help whoever reads the message.
_PROBLEMS_MAX = 3
#: Input is echoed for orientation only: it may be large, and it may be a secret.
_ECHO_MAX = 60
#: Marks a union tag in a pydantic location; tags are ours, the caller has no such field.
TAG = "~"
#: Type of a pydantic error whose message is a whole sentence already.
SENTENCE = "sentence"

#: Validation context for what was checked once already: media and schemas are not read again.
TRUSTED = "trusted"

#: Kept in SQL, in headers or in metrics: short, and without the NUL that PostgreSQL refuses.
NO_NUL = r"^[^\x00]*$"
PRINTABLE = r"^[!-~]+$"
Identifier = Annotated[str, Field(min_length=1, max_length=256, pattern=NO_NUL)]


def at_most(count: int) -> BeforeValidator:
    """Bounds a map before its values are read: a million bad ones would be as many findings."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > count:
            raise ValueError(f"must have {count} entries or fewer")
        return value

    return BeforeValidator(check)


class Wire(BaseModel):
    """Base of the public shapes: strict, frozen, no NaN, and unknown fields pass through."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="allow", allow_inf_nan=False, hide_input_in_errors=True
    )


def load_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BadRequest: empty, malformed, too deep, not UTF-8, or not an object; says where.
    """
    if not body.strip(b" \t\r\n"):
        raise BadRequest("The request body is empty; send a JSON object.")
    _check_values(body)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg:
            raise _too_deep() from None
        # `from None`: the cause holds the whole body, which no log may see.
        raise BadRequest(
            f"The request body is not valid JSON: {error.msg} "
            f"(line {error.lineno}, column {error.colno})."
        ) from None
    if not isinstance(data, dict):
        raise BadRequest(f"The request body must be a JSON object, not {_kind(data)}.")
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(data)
    return data


def _check_values(body: bytes) -> None:
    """Bound the values before they are built, at the cost of three searches in the usual case."""
    if _marks(body) <= MAX_VALUES:
        return
    # Text may hold any number of commas and brackets, so look again without the strings; but first
    # without building anything: a value has at most four quotes of its own, two with its key.
    quotes = body.count(b'"') - body.count(b'\\"')
    if quotes > 4 * MAX_VALUES or _marks(_STRING.sub(b"", body)) > MAX_VALUES:
        raise BadRequest(
            f"The request body holds more than {MAX_VALUES} values; split it into several requests."
        )


def _marks(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _check_depth(data: dict[str, Any]) -> None:
    # The writer's own limit is the cheapest way to measure depth; padding brings it down to ours.
    padded: object = data
    for _ in range(_WRITER_DEPTH - MAX_DEPTH):
        padded = (padded,)
    try:
        orjson.dumps(padded)
    except orjson.JSONEncodeError:
        raise _too_deep() from None


def _too_deep() -> BadRequest:
    return BadRequest(f"The request body is nested more than {MAX_DEPTH} levels deep; flatten it.")


def bad_request(error: ValidationError) -> BadRequest:
    """One BadRequest for all that pydantic found: each field, why, and what it should be."""
    details = error.errors(include_url=False)
    problems = [_sentence(detail) for detail in details[:_PROBLEMS_MAX]]
    more = len(details) - len(problems)
    tail = f" (and {more} more)" if more > 0 else ""
    return BadRequest("; ".join(problems) + tail, param=_path(details[0]) or None)


def _sentence(detail: ErrorDetails) -> str:
    if detail["type"] == SENTENCE:
        return detail["msg"]
    return f"{_path(detail) or 'request'}: {_reason(detail)}"


def _path(detail: ErrorDetails) -> str:
    """`messages[2].content[0].image_url.url`."""
    path = ""
    for part in detail["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]" and not part.startswith(TAG):
            path += f".{_cut(part)}" if path else _cut(part)
    return path


_MUST_BE: Mapping[str, str] = {
    "missing": "is required",
    "string_type": "must be a string, not {kind}",
    "int_type": "must be an integer, not {kind}",
    "int_from_float": "must be an integer, not {value}",
    "float_type": "must be a number, not {kind}",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false, not {kind}",
    "dict_type": "must be an object, not {kind}",
    "model_type": "must be an object, not {kind}",
    "model_attributes_type": "must be an object, not {kind}",
    "tuple_type": "must be an array, not {kind}",
    "literal_error": "must be {expected}, not {value}",
    "greater_than": "must be greater than {gt}, not {value}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "less_than": "must be less than {lt}, not {value}",
    "less_than_equal": "must be at most {le}, not {value}",
    "too_short": "must have {min_length} or more items",
    "too_long": "must have {max_length} items or fewer",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} characters or fewer",
    "value_error": "{error}",
}
_PATTERNS: Mapping[str, str] = {
    NO_NUL: "must not contain NUL characters",
    PRINTABLE: "must be printable ASCII without spaces",
}


def _reason(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "string_pattern_mismatch":
        pattern = context["pattern"]
        return _PATTERNS.get(pattern, f"must match {pattern}")
    template = _MUST_BE.get(detail["type"])
    if template is None:
        return detail["msg"]
    found = detail["input"]
    bounds = {name: _bound(value) for name, value in context.items()}
    return template.format(kind=_kind(found), value=_echo(found), **bounds)


def _bound(value: object) -> object:
    """A bound as people write it: 2, not 2.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _echo(value: object) -> str:
    if isinstance(value, str):
        return f"'{_cut(value)}'"
    if value is None or isinstance(value, (bool, int, float)):
        return _cut(orjson.dumps(value).decode())
    return _kind(value)


def _cut(text: str) -> str:
    cut = text if len(text) <= _ECHO_MAX else text[: _ECHO_MAX - 1] + "…"
    return cut.replace("\x00", "\\x00")
