"""Shapes of a Converse request, and a checker that complains in the service's own words.

Written down from the service model: members, required members, enumerations, patterns, limits.
"""

import base64
import binascii
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final


class Refused(Exception):
    """The service would not take this request.

    Attributes:
        kind: The exception's name.
        status: Its status.
    """

    def __init__(self, message: str, kind: str = "ValidationException", status: int = 400) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


class Shape(ABC):
    """Something a value can be checked against."""

    @abstractmethod
    def check(self, value: Any, where: str) -> None:
        """Check a value.

        Raises:
            Refused: It does not have this shape.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Shape):
    """A string."""

    least: int = 0
    most: int | None = None
    pattern: str = ""
    values: tuple[str, ...] = ()

    def check(self, value: Any, where: str) -> None:
        """Check type, length, pattern and enumeration."""
        if not isinstance(value, str):
            raise _converted(value, "String")
        if self.values and value not in self.values:
            raise _constraint(where, f"Member must satisfy enum value set: {_set(self.values)}")
        if len(value) < self.least:
            raise _constraint(
                where, f"Member must have length greater than or equal to {self.least}"
            )
        if self.most is not None and len(value) > self.most:
            raise _constraint(where, f"Member must have length less than or equal to {self.most}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise _constraint(
                where, f"Member must satisfy regular expression pattern: {self.pattern}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Shape):
    """A number, whole or not."""

    whole: bool = False
    least: float | None = None
    most: float | None = None

    def check(self, value: Any, where: str) -> None:
        """Check type and range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _converted(value, "Integer" if self.whole else "Float")
        if self.whole and not isinstance(value, int):
            raise Refused("DECIMAL_VALUE can not be converted to an Integer", SERIALIZATION)
        if self.least is not None and value < self.least:
            raise _constraint(
                where, f"Member must have value greater than or equal to {self.least}"
            )
        if self.most is not None and value > self.most:
            raise _constraint(where, f"Member must have value less than or equal to {self.most}")


class Flag(Shape):
    """True or false."""

    def check(self, value: Any, where: str) -> None:
        """Check the type."""
        del where
        if not isinstance(value, bool):
            raise _converted(value, "Boolean")


class Blob(Shape):
    """Bytes, in base64."""

    def check(self, value: Any, where: str) -> None:
        """Check that it can be decoded and is not empty."""
        if not isinstance(value, str):
            raise _converted(value, "Blob")
        if not decoded(value):
            raise _constraint(where, "Member must have length greater than or equal to 1")


class Document(Shape):
    """Any JSON object; what is in it is the model's business."""

    def check(self, value: Any, where: str) -> None:
        """Check the type."""
        if not isinstance(value, dict):
            raise Refused(
                f"The format of the value at {_dotted(where)} is invalid. Provide a json object "
                "for the field and try again."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf(Shape):
    """A list of equal things."""

    item: Shape
    least: int = 0
    most: int | None = None

    def check(self, value: Any, where: str) -> None:
        """Check type, length and every item."""
        if not isinstance(value, list):
            raise _unexpected(value)
        if len(value) < self.least:
            raise _constraint(
                where, f"Member must have length greater than or equal to {self.least}"
            )
        if self.most is not None and len(value) > self.most:
            raise _constraint(where, f"Member must have length less than or equal to {self.most}")
        for index, item in enumerate(value, 1):
            self.item.check(item, f"{where}.{index}.member")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOf(Shape):
    """A map from strings."""

    key: Shape
    value: Shape
    most: int

    def check(self, value: Any, where: str) -> None:
        """Check type, size, keys and values."""
        if not isinstance(value, dict):
            raise _unexpected(value)
        if not 1 <= len(value) <= self.most:
            raise _constraint(where, f"Member must have length less than or equal to {self.most}")
        for key, item in value.items():
            self.key.check(key, f"{where}.key")
            self.value.check(item, f"{where}.value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure(Shape):
    """An object with known members; null counts as absent, as the service has it."""

    members: Mapping[str, Shape]
    required: frozenset[str] = field(default_factory=frozenset)

    def check(self, value: Any, where: str) -> None:
        """Check that all members are known, the required ones there, and each one right."""
        if not isinstance(value, dict):
            raise _unexpected(value)
        for name in value:
            if name not in self.members:
                raise Refused(
                    f"Malformed input request: #/{_slashed(where)}: extraneous key [{name}] is "
                    "not permitted, please reformat your input and try again."
                )
        for name in sorted(self.required):
            if value.get(name) is None:
                raise _constraint(_join(where, name), "Member must not be null")
        for name, item in value.items():
            if item is not None:
                self.members[name].check(item, _join(where, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Union(Shape):
    """An object with exactly one of its members."""

    name: str
    members: Mapping[str, Shape]

    def check(self, value: Any, where: str) -> None:
        """Check that there is exactly one member, and that it is right."""
        if not isinstance(value, dict):
            raise _unexpected(value)
        given = [name for name, item in value.items() if item is not None]
        if len(given) != 1 or given[0] not in self.members:
            raise Refused(
                f"The {self.name} object at {_dotted(where)} must set one of the following keys: "
                f"{', '.join(self.members)}."
            )
        self.members[given[0]].check(value[given[0]], _join(where, given[0]))


SERIALIZATION: Final = "SerializationException"


def decoded(text: str) -> bytes:
    """Decode base64.

    Raises:
        Refused: It is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused(f"Invalid base64 encoded string: {error}", SERIALIZATION) from error


def dotted_of(index: int, *rest: object) -> str:
    """Return how the service names a place in the messages, counted from 0."""
    return ".".join(("messages", str(index), *map(str, rest)))


def _dotted(where: str) -> str:
    """Turn ``messages.1.member.content`` into ``messages.0.content``."""
    counted: Callable[[re.Match[str]], str] = lambda found: f".{int(found[1]) - 1}"  # noqa: E731
    return re.sub(r"\.(\d+)\.member", counted, where)


def _slashed(where: str) -> str:
    return _dotted(where).replace(".", "/")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _set(values: tuple[str, ...]) -> str:
    return f"[{', '.join(values)}]"


def _constraint(where: str, rule: str) -> Refused:
    return Refused(
        f"1 validation error detected: Value at '{where}' failed to satisfy constraint: {rule}"
    )


def _unexpected(value: Any) -> Refused:
    if isinstance(value, dict | list):
        return Refused("Start of structure or map found where not expected.", SERIALIZATION)
    return Refused("Unexpected field type", SERIALIZATION)


def _converted(value: Any, kind: str) -> Refused:
    if isinstance(value, dict | list):
        return _unexpected(value)
    found = (
        "TRUE_VALUE"
        if value is True
        else "FALSE_VALUE"
        if value is False
        else "STRING_VALUE"
        if isinstance(value, str)
        else "NUMBER_VALUE"
    )
    article = "an" if kind[0] in "AEIOU" else "a"
    return Refused(f"{found} can not be converted to {article} {kind}", SERIALIZATION)
