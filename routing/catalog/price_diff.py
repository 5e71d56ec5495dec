"""Where a public price list and the catalog disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from routing.catalog.import_list import FINEST, FINEST_EACH, Rates
from routing.catalog.import_match import Matched
from routing.catalog.shapes import Endpoint, Price

#: Instead of a provider, where the list names none.
LOWEST = "lowest"

_PERCENT = Decimal(100)


@dataclass(frozen=True, slots=True)
class Difference:
    """One rate that is not the same.

    Attributes:
        tag: the endpoint's, or `LOWEST`.
        what: the rate's name in catalog files.
        ours: USD per million tokens (`request`, `image`: each), as a charge is computed; for
            `long_over`, tokens.
        theirs: the same of the list.
    """

    model_id: str
    tag: str
    what: str
    ours: Decimal
    theirs: Decimal

    @property
    def percent(self) -> Decimal | None:
        """How much more theirs is than ours; None when ours is 0."""
        if not self.ours:
            return None
        return (self.theirs - self.ours) * _PERCENT / self.ours

    def over(self, percent: float) -> bool:
        """Whether it is larger than so many percent, either way."""
        mine = self.percent
        return mine is None or abs(mine) > Decimal(repr(percent))


def differences(matched: Matched, day: date) -> Iterator[Difference]:
    """What differs on a day, endpoint by endpoint, then the lowest prices of models."""
    for pair in matched.pairs:
        if dated := pair.offer.at(day):
            yield from _differences(pair.endpoint, pair.endpoint.tag, dated.rates, day)
    for pair in matched.lowest:
        if dated := pair.offer.at(day):
            model_id = pair.offer.model_id or pair.endpoint.model_id
            for found in _differences(pair.endpoint, LOWEST, dated.rates, day):
                yield Difference(model_id, LOWEST, found.what, found.ours, found.theirs)


def _differences(endpoint: Endpoint, tag: str, theirs: Rates, day: date) -> Iterator[Difference]:
    ours = endpoint.price_at(start_ms(day))
    for what, rate in changed(ours, theirs):
        yield Difference(endpoint.model_id, tag, what, rate, theirs[what])


def changed(ours: Price, theirs: Rates) -> Iterable[tuple[str, Decimal]]:
    """The rates that differ, with what we charge. What the list does not mention does not."""
    mine = charged(ours)
    for what, rate in theirs.items():
        if what == "long_over" and ours.long_over is None:
            continue  # another limit for other rates; the rates are compared
        if rate != mine[what]:
            yield what, mine[what]


def charged(price: Price) -> Rates:
    """Every rate as a charge is computed, also those without a price of their own."""
    read = _or(price.cache_read_pico, price.prompt_pico)
    write = _or(price.cache_write_pico, price.prompt_pico)
    has_long = price.long_over is not None
    long_prompt = price.long_prompt_pico if has_long else price.prompt_pico
    token = {
        "prompt": price.prompt_pico,
        "completion": price.completion_pico,
        "cache_read": read,
        "cache_write": write,
        "cache_write_1h": _or(price.cache_write_1h_pico, write),
        "reasoning": _or(price.reasoning_pico, price.completion_pico),
        "audio": _or(price.audio_pico, price.prompt_pico),
        "audio_output": _or(price.audio_output_pico, price.completion_pico),
        "image_output": _or(price.image_output_pico, price.completion_pico),
        "long_prompt": long_prompt,
        "long_completion": price.long_completion_pico if has_long else price.completion_pico,
        "long_cache_read": _or(price.long_cache_read_pico, _or(price.cache_read_pico, long_prompt)),
        "long_cache_write": _or(
            price.long_cache_write_pico, _or(price.cache_write_pico, long_prompt)
        ),
    }
    each = {"request": price.request_pico, "image": price.image_pico}
    return {
        **{what: Decimal(pico).scaleb(-FINEST) for what, pico in token.items()},
        **{what: Decimal(pico).scaleb(-FINEST_EACH) for what, pico in each.items()},
        "long_over": Decimal(price.long_over or 0),
    }


def _or(pico: int | None, base: int) -> int:
    return base if pico is None else pico


def start_ms(day: date) -> int:
    """The first moment of a day, as prices begin."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000
