"""Public price lists as offers: what the three formats share.

Whoever wrote the list is not trusted: every value is looked at before it is used, and an entry
that cannot be used is left out with a sentence, never repaired.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from routing.catalog.document import CONTEXT_MAX, PRICE_MAX_USD
from routing.errors import ConfigError, ConfigProblem

#: The largest list there is today has 1.7 MB.
LIST_MAX_BYTES = 32 * 1024 * 1024
#: Ten times as many as the longest list has.
ENTRIES_MAX = 30_000
TEXT_MAX = 4_000
#: Of what a list says, so much is repeated in a message.
SHOWN_MAX = 80

#: Powers of ten from the list's unit to the catalog's.
PER_TOKEN = 6
PER_MILLION = 0
PER_UNIT = 0
PER_THOUSAND = -3
#: Decimal places of the catalog's prices: its pico-dollars per token, per request or image.
FINEST = 6
FINEST_EACH = 12

#: Numbers that programs print from binary fractions have this many digits and noise at their end.
_NOISY_DIGITS = 15
_SOUND_DIGITS = 12
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: Prices that are not per token: for one request, one image.
_EACH = frozenset({"request", "image"})
#: What an optional rate is billed as when it has no price of its own.
_BASE: Mapping[str, str] = {
    "cache_read": "prompt",
    "cache_write": "prompt",
    "cache_write_1h": "prompt",
    "audio": "prompt",
    "reasoning": "completion",
    "audio_output": "completion",
    "image_output": "completion",
}

#: USD per million tokens (`request`, `image`: each), by the names of the catalog's prices.
Rates = Mapping[str, Decimal]


class Unusable(Exception):
    """One entry, or one value of it, cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Skip:
    """An entry, or a part of it, that is left out."""

    entry: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dated:
    """Rates in force from a day on; None for as long as anybody knows."""

    since: date | None
    rates: Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One entry of a list: a model at a price.

    Attributes:
        entry: what the list calls it.
        providers: the catalog's slugs; () where the list does not say who serves it.
        upstream_id: the provider's own name of the model.
        matches: finds the provider's own names where the list gives a rule instead.
        model_id: the catalog's name, in lists that use such names.
        tag: as the catalog tags endpoints, in lists that do.
        prices: ascending; none where `reason` says why.
        endpoint: further fields of an endpoint, as they stand in a catalog file.
        adds: parameters it takes whether or not the provider's other models do.
        drops: parameters it does not take although they may.
        model: the row of a model that the catalog does not know; None where the list cannot tell.
        expires: the day the model goes away, told by whoever made it.
        source: where the prices can be read.
        notes: what was left out of it.
        reason: why its prices cannot be used; the names it matches are taken all the same.
    """

    entry: str
    providers: tuple[str, ...] = ()
    upstream_id: str | None = None
    matches: Callable[[str], bool] | None = None
    model_id: str | None = None
    tag: str | None = None
    prices: tuple[Dated, ...] = ()
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    adds: tuple[str, ...] = ()
    drops: frozenset[str] = frozenset()
    model: Mapping[str, Any] | None = None
    expires: date | None = None
    source: str
    notes: tuple[str, ...] = ()
    reason: str = ""

    def at(self, day: date) -> Dated | None:
        """The rates in force on a day."""
        found = None
        for dated in self.prices:
            if dated.since is None or dated.since <= day:
                found = dated
        return found


@dataclass(frozen=True, slots=True)
class Reading:
    """A list as it was understood."""

    offers: tuple[Offer, ...] = ()
    skips: tuple[Skip, ...] = ()


class JsonObject(dict[str, Any]):
    """An object that remembers the keys it was given twice."""

    twice: tuple[str, ...] = ()


def read_json(content: bytes, where: str) -> Any:
    """JSON with its numbers as decimals of the very text; what is no number stays text.

    Raises:
        ConfigError: too large, or not JSON.
    """
    if len(content) > LIST_MAX_BYTES:
        raise problem(where, f"larger than {LIST_MAX_BYTES} bytes")
    try:
        return json.loads(
            content.decode(),
            parse_float=_decimal,
            parse_int=_decimal,
            parse_constant=str,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as error:
        raise problem(where, "not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise problem(f"{where}:{error.lineno}", f"not JSON: {error.msg}") from error
    except RecursionError as error:
        raise problem(where, "nested too deeply") from error


def problem(where: str, message: str, hint: str = "") -> ConfigError:
    """The whole list cannot be used."""
    return ConfigError((ConfigProblem(where, message, hint),))


def _decimal(text: str) -> Decimal | str:
    return Decimal(text) if _NUMBER.fullmatch(text) else text[:SHOWN_MAX]


def _object(pairs: Sequence[tuple[str, Any]]) -> JsonObject:
    made = JsonObject(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        made.twice = tuple(key for key, count in counts.items() if count > 1)
    return made


def shown(value: object) -> str:
    """A value of the list as it may stand in a message."""
    text = str(value)[:SHOWN_MAX]
    return "".join(char if char.isprintable() else "?" for char in text)


def reading(
    entries: Iterable[tuple[str, Any]], understand: Callable[[str, Any], Iterable[Offer]]
) -> Reading:
    """Understand one entry after the other. Of entries with the same name none is used."""
    offers: dict[str, tuple[Offer, ...]] = {}
    skips: list[Skip] = []
    seen: set[str] = set()
    for name, entry in entries:
        if name in seen:
            offers.pop(name, None)
            skips.append(Skip(shown(name), "is given twice; none of them is used"))
            continue
        seen.add(name)
        try:
            offers[name] = tuple(understand(name, entry))
        except Unusable as reason:
            skips.append(Skip(shown(name), str(reason)))
    return Reading(tuple(offer for found in offers.values() for offer in found), tuple(skips))


def bounded(entries: Sequence[Any], where: str) -> Sequence[Any]:
    """The same, if there are not too many.

    Raises:
        ConfigError: there are.
    """
    if len(entries) > ENTRIES_MAX:
        raise problem(where, f"more than {ENTRIES_MAX} entries")
    return entries


def mapping(value: Any, what: str) -> JsonObject:
    """An object; an empty one for nothing."""
    if value is None:
        return JsonObject()
    if not isinstance(value, JsonObject):
        raise Unusable(f"{what} is not an object")
    if value.twice:
        raise Unusable(f"{what} gives {shown(value.twice[0])!r} twice")
    return value


def items(value: Any, what: str) -> list[Any]:
    """An array; an empty one for nothing."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unusable(f"{what} is not a list")
    return value


def text(value: Any, what: str) -> str:
    """One line of text; "" for nothing."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unusable(f"{what} is not text")
    if len(value) > TEXT_MAX:
        raise Unusable(f"{what} is longer than {TEXT_MAX} characters")
    if not value.isprintable():
        raise Unusable(f"{what} holds control characters")
    return value.strip()


def prose(value: Any, what: str) -> str:
    """A description on one line, cut where it is too long."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unusable(f"{what} is not text")
    words = " ".join(value[: 2 * TEXT_MAX].split())
    return "".join(char for char in words if char.isprintable())[:TEXT_MAX].strip()


def words(value: Any, what: str) -> tuple[str, ...]:
    """A list of words."""
    return tuple(text(word, what) for word in items(value, what))


def whole(value: Any, what: str, highest: int = CONTEXT_MAX) -> int | None:
    """A number of tokens; None for nothing and for 0."""
    if value is None:
        return None
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdecimal()
        and len(value) <= len(str(highest))
    ):
        value = Decimal(value)
    if not isinstance(value, Decimal) or not 0 <= value <= highest or value != int(value):
        raise Unusable(f"{what} is not a whole number up to {highest}: {shown(value)!r}")
    return int(value) or None


def day(value: Any, what: str) -> date | None:
    """A day such as 2026-01-31."""
    said = text(value, what)
    if not said:
        return None
    try:
        return date.fromisoformat(said if _DATE.fullmatch(said) else "-")
    except ValueError as error:
        raise Unusable(f"{what} is not a date: {shown(said)!r}") from error


def money(value: Any, what: str, power: int, finest: int = FINEST) -> Decimal:
    """A price in the catalog's unit, as exact as the list has it.

    Args:
        value: a number, or text that is one.
        what: its name in the list.
        power: of ten, from the list's unit to the catalog's.
        finest: decimal places the catalog keeps.

    Raises:
        Unusable: no number, negative, too large, or finer than the catalog can bill.
    """
    number = Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
    if not isinstance(number, Decimal):
        raise Unusable(f"{what} is not a plain number: {shown(value)!r}")
    if number < 0:
        raise Unusable(f"{what} is negative: {shown(value)!r}")
    if number > PRICE_MAX_USD:  # before any arithmetic: exponents may be huge
        raise Unusable(f"{what} is larger than {PRICE_MAX_USD} US dollars")
    usd = _without_noise(number).scaleb(power)
    if usd > PRICE_MAX_USD:
        raise Unusable(f"{what} is larger than {PRICE_MAX_USD} US dollars")
    if usd != round(usd, finest):
        raise Unusable(f"{what} is finer than a pico-dollar: {shown(value)!r}")
    return usd.normalize()


def _without_noise(number: Decimal) -> Decimal:
    """3e-7 for 2.9999999999999997e-07: somebody multiplied binary fractions."""
    if len(number.as_tuple().digits) < _NOISY_DIGITS:
        return number
    places = _SOUND_DIGITS - 1 - number.adjusted()
    return number.quantize(Decimal(1).scaleb(-places)) if number else Decimal(0)


def rates(found: Mapping[str, Any], names: Mapping[str, str], power: int = PER_TOKEN) -> Rates:
    """The prices of one entry by the catalog's names.

    An optional rate of 0 beside a base that costs something means "not told apart" in every list
    there is; taken literally it would make cached or reasoning tokens free.

    Args:
        found: the entry.
        names: catalog's name -> list's name.
        power: of ten, for what is priced per token.
    """
    made = {
        name: money(found[key], key, PER_UNIT, FINEST_EACH)
        if name in _EACH
        else money(found[key], key, power)
        for name, key in names.items()
        if found.get(key) is not None
    }
    return {
        name: usd
        for name, usd in made.items()
        if usd or name not in _BASE or not made.get(_BASE[name])
    }


def number_text(usd: Decimal) -> str:
    """A price without an exponent and without zeros at its end."""
    return format(usd.normalize() if usd else Decimal(0), "f")


def chunks(skips: Iterable[Skip]) -> Iterator[tuple[str, list[str]]]:
    """Reasons, the most frequent first, each with its entries."""
    by_reason: dict[str, list[str]] = {}
    for skip in skips:
        by_reason.setdefault(skip.reason, []).append(skip.entry)
    yield from sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
