"""Checks single fields of a Responses request, in the words of that API."""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from workers.simulator.openai_fields import Invalid

IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
FILE_TYPES: Final = ("application/pdf",)

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")
_NAME_CHARACTERS_MAX: Final = 64
_DATA_URL: Final = re.compile(
    r"data:(?P<kind>[a-z0-9.+-]+/[a-z0-9.+-]+);base64,(?P<data>.*)", re.DOTALL
)
_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a decimal"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
    (type(None), "null"),
)


class NotFound(Invalid):
    """The request names something that is not there."""


def invalid_type(param: str, expected: str, value: Any) -> Invalid:
    """Return the complaint about a value of the wrong type."""
    got = next((words for kind, words in _KINDS if isinstance(value, kind)), "something else")
    return Invalid(
        f"Invalid type for '{param}': expected {expected}, but got {got} instead.",
        param,
        code="invalid_type",
    )


def invalid_value(param: str, value: Any, supported: Iterable[str]) -> Invalid:
    """Return the complaint about a value that is none of those supported."""
    *most, last = (f"'{one}'" for one in supported)
    words = f"{', '.join(most)} and {last}" if most else last
    return Invalid(
        f"Invalid value: '{value}'. Supported values are: {words}.", param, code="invalid_value"
    )


def missing(param: str) -> Invalid:
    """Return the complaint about a field that is not there."""
    return Invalid(
        f"Missing required parameter: '{param}'.", param, code="missing_required_parameter"
    )


def check_known(value: Mapping[str, Any], known: Iterable[str], where: str = "") -> None:
    """Refuse fields nobody knows.

    Raises:
        Invalid: There is one.
    """
    for name in value:
        if name not in known:
            param = f"{where}.{name}" if where else name
            raise Invalid(f"Unknown parameter: '{param}'.", param, code="unknown_parameter")


def text_at(value: Mapping[str, Any], name: str, where: str = "") -> str:
    """Return a required text.

    Raises:
        Invalid: It is not there, or no text.
    """
    param = f"{where}.{name}" if where else name
    if name not in value:
        raise missing(param)
    found = value[name]
    if not isinstance(found, str):
        raise invalid_type(param, "a string", found)
    return found


def name_at(value: Mapping[str, Any], where: str) -> str:
    """Return the name of a tool or a schema.

    Raises:
        Invalid: It is not there, too long, or has characters that no name may have.
    """
    name, param = text_at(value, "name", where), f"{where}.name"
    check_length(name, param)
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"Invalid '{param}': string does not match pattern. Expected a string that matches "
            "the pattern '^[a-zA-Z0-9_-]+$'.",
            param,
            code="invalid_value",
        )
    return name


def check_length(value: str, param: str) -> None:
    """Refuse a name or an id that is too long.

    Raises:
        Invalid: It is.
    """
    if len(value) > _NAME_CHARACTERS_MAX:
        raise Invalid(
            f"Invalid '{param}': string too long. Expected a string with maximum length "
            f"{_NAME_CHARACTERS_MAX}, but got a string with length {len(value)} instead.",
            param,
            code="string_above_max_length",
        )


def check_choice(value: Mapping[str, Any], name: str, choices: Iterable[str], where: str) -> None:
    """Check a field that takes one of several words, if it is there.

    Raises:
        Invalid: It is none of them.
    """
    found = value.get(name)
    if found is not None and found not in choices:
        raise invalid_value(f"{where}.{name}" if where else name, found, choices)


def check_number(value: Mapping[str, Any], name: str, least: float, most: float) -> None:
    """Check a number, if it is there.

    Raises:
        Invalid: It is no number, or out of range.
    """
    found = value.get(name)
    if found is None:
        return
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise invalid_type(name, "a decimal", found)
    if not least <= found <= most:
        above = found > most
        raise Invalid(
            f"Invalid '{name}': decimal {'above maximum' if above else 'below minimum'} value. "
            f"Expected a value {'<=' if above else '>='} {most if above else least}, but got "
            f"{found} instead.",
            name,
            code="decimal_above_max_value" if above else "decimal_below_min_value",
        )


def whole_at(value: Mapping[str, Any], name: str, least: int) -> int | None:
    """Return a whole number, None when it is not there.

    Raises:
        Invalid: It is none, or too small.
    """
    found = value.get(name)
    if found is None:
        return None
    if type(found) is not int:
        raise invalid_type(name, "an integer", found)
    if found < least:
        raise Invalid(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got "
            f"{found} instead.",
            name,
            code="integer_below_min_value",
        )
    return found


def check_flag(value: Mapping[str, Any], name: str) -> None:
    """Check a flag, if it is there.

    Raises:
        Invalid: It is none.
    """
    if not isinstance(value.get(name), bool | None):
        raise invalid_type(name, "a boolean", value[name])


def data_type(url: str, param: str, allowed: tuple[str, ...]) -> str:
    """Return the media type of a data URL.

    Raises:
        Invalid: It is none, of a type not taken, or its data are not base64.
    """
    found = _DATA_URL.fullmatch(url)
    kind = found["kind"] if found else ""
    if found is None or kind not in allowed:
        what = "an image MIME type" if allowed is IMAGE_TYPES else "a supported MIME type"
        got = f"unsupported MIME type '{kind}'" if kind else "a value without one"
        raise Invalid(
            f"Invalid '{param}'. Expected a base64-encoded data URL with {what} (e.g. "
            f"'data:{allowed[0]};base64,aW1nIGJ5dGVzIGhlcmU='), but got {got}.",
            param,
            code="invalid_value",
        )
    try:
        b64decode(found["data"], validate=True)
    except (NotBase64, ValueError) as error:
        raise Invalid(
            f"Invalid '{param}'. Expected a valid base64-encoded string.",
            param,
            code="invalid_value",
        ) from error
    return kind


def check_strict_schema(schema: Any, param: str, code: str, whose: str) -> None:
    """Check a schema that answers must follow strictly.

    Raises:
        Invalid: An object in it is open, or does not require all its properties.
    """
    _check_strict(schema, (), (param, code, whose))


def _check_strict(schema: Any, context: tuple[str, ...], about: tuple[str, str, str]) -> None:
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties") or {}
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            raise _unstrict(
                "'additionalProperties' is required to be supplied and to be false.", context, about
            )
        absent = [name for name in properties if name not in (schema.get("required") or ())]
        if absent:
            raise _unstrict(
                "'required' is required to be supplied and to be an array including every key in "
                f"properties. Missing '{absent[0]}'.",
                context,
                about,
            )
    for name, part in properties.items():
        _check_strict(part, (*context, "properties", name), about)
    for name, part in (schema.get("$defs") or {}).items():
        _check_strict(part, (*context, "$defs", name), about)
    _check_strict(schema.get("items"), (*context, "items"), about)
    for index, part in enumerate(schema.get("anyOf") or ()):
        _check_strict(part, (*context, "anyOf", str(index)), about)


def _unstrict(words: str, context: tuple[str, ...], about: tuple[str, str, str]) -> Invalid:
    param, code, whose = about
    return Invalid(f"Invalid schema for {whose}: In context={context}, {words}", param, code=code)
