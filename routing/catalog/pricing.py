"""Usage times the price in force, in integers. The only place that rounds: up, once per line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from routing.catalog.shapes import Price
from routing.usage import PROMPT_BOUND_FACTOR, Usage

PICO_PER_NANO = 1_000
NANO_PER_USD = 1_000_000_000


PPM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What makes a customer pay another amount than the list price.

    Attributes:
        byok: their own provider key was used: they owe us the fee alone.
        fee_ppm: the fee, in millionths of the list price; 0 while it is waived.
        discount_ppm: what is taken off, likewise.
    """

    byok: bool = False
    fee_ppm: int = 0
    discount_ppm: int = 0


#: The list price.
LIST_PRICE = Terms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The lines of one bill at list prices, in nano-dollars, and on which terms they are paid."""

    prompt_nano: int = 0
    completion_nano: int = 0
    request_nano: int = 0
    terms: Terms = LIST_PRICE

    @property
    def total_nano(self) -> int:
        """The sum of the lines: what the provider is owed, by whoever's key it was."""
        return self.prompt_nano + self.completion_nano + self.request_nano

    @property
    def fee_nano(self) -> int:
        """For use of the customer's own provider key; part of a nano-dollar counts as one."""
        return -(-self.total_nano * self.terms.fee_ppm // PPM) if self.terms.byok else 0

    @property
    def discount_nano(self) -> int:
        """What is taken off; never more than its share."""
        return 0 if self.terms.byok else self.total_nano * self.terms.discount_ppm // PPM

    @property
    def charged_nano(self) -> int:
        """What the customer pays."""
        return self.fee_nano if self.terms.byok else self.total_nano - self.discount_nano


def _nano(pico: int) -> int:
    """Round up: a line is never worth less than what it is charged by the provider."""
    return -(-pico // PICO_PER_NANO)


def cost(usage: Usage, price: Price, terms: Terms = LIST_PRICE) -> Cost:
    """What a usage costs at a price. Pure; the same in the answer, the ledger and every report."""
    price = price.for_prompt(usage.prompt_tokens)
    read_pico = price.prompt_pico if price.cache_read_pico is None else price.cache_read_pico
    write_pico = price.prompt_pico if price.cache_write_pico is None else price.cache_write_pico
    think_pico = price.completion_pico if price.reasoning_pico is None else price.reasoning_pico
    hour_pico = write_pico if price.cache_write_1h_pico is None else price.cache_write_1h_pico
    heard_pico = price.prompt_pico if price.audio_pico is None else price.audio_pico
    drawn_pico = (
        price.completion_pico if price.image_output_pico is None else price.image_output_pico
    )
    sung_pico = (
        price.completion_pico if price.audio_output_pico is None else price.audio_output_pico
    )
    fresh = max(
        0,
        usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens - usage.audio_tokens,
    )
    written = max(0, usage.cache_write_tokens - usage.cache_write_1h_tokens)
    spoken = max(
        0,
        usage.completion_tokens
        - usage.reasoning_tokens
        - usage.image_output_tokens
        - usage.audio_output_tokens,
    )
    return Cost(
        prompt_nano=_nano(
            fresh * price.prompt_pico
            + usage.cached_tokens * read_pico
            + written * write_pico
            + usage.cache_write_1h_tokens * hour_pico
            + usage.audio_tokens * heard_pico
        ),
        completion_nano=_nano(
            spoken * price.completion_pico
            + usage.reasoning_tokens * think_pico
            + usage.image_output_tokens * drawn_pico
            + usage.audio_output_tokens * sung_pico
        ),
        request_nano=_nano(price.request_pico + usage.images * price.image_pico),
        terms=terms,
    )


def worst_case_nano(price: Price, prompt_tokens: int, completion_tokens: int, images: int) -> int:
    """The most a request can cost at a price: what is held before it is let in.

    Takes the dearest rate a token could be billed at, so a hold is never smaller than the charge
    as long as the token counts are upper bounds. The rates are those of the longest prompt that
    would be billed, so one that is longer than estimated is at least held at its own rates.
    """
    return (
        _nano(prompt_tokens * dearest_prompt_pico(price, prompt_tokens))
        + _nano(completion_tokens * dearest_completion_pico(price, prompt_tokens))
        + _nano(price.request_pico + images * price.image_pico)
    )


def dearest_prompt_pico(price: Price, prompt_tokens: int | None = None) -> int:
    """The highest rate a prompt token can be billed at.

    Args:
        price: the whole list.
        prompt_tokens: our estimate of the prompt's length, which may rule out the rates for long
            prompts: it is billed as `PROMPT_BOUND_FACTOR` times as long at most. None for any
            length.
    """
    return max(
        max(
            each.prompt_pico,
            each.cache_read_pico or 0,
            each.cache_write_pico or 0,
            each.cache_write_1h_pico or 0,
            each.audio_pico or 0,
        )
        for each in _possible(price, prompt_tokens)
    )


def dearest_completion_pico(price: Price, prompt_tokens: int | None = None) -> int:
    """The highest rate a completion token can be billed at; `prompt_tokens` as above."""
    return max(
        max(
            each.completion_pico,
            each.reasoning_pico or 0,
            each.image_output_pico or 0,
            each.audio_output_pico or 0,
        )
        for each in _possible(price, prompt_tokens)
    )


def _possible(price: Price, prompt_tokens: int | None) -> tuple[Price, ...]:
    """The lists of rates that may apply to a prompt of an estimated length."""
    if price.long_over is None:
        return (price,)
    longest = price.long_over + 1 if prompt_tokens is None else prompt_tokens * PROMPT_BOUND_FACTOR
    long = price.for_prompt(longest)
    return (price,) if long is price else (price, long)


def long_pricing(price: Price) -> dict[str, Any] | None:
    """One of `pricing.overrides` of the models API; None for a price without long rates.

    Rates are decimal strings as elsewhere in `pricing`; those that stay as they are are left out.
    """
    long = price.long
    if long is None:
        return None
    told: dict[str, Any] = {
        "min_prompt_tokens": long.over,  # this many are not long yet, as with OpenRouter
        "prompt": usd_per_token(long.prompt_pico),
        "completion": usd_per_token(long.completion_pico),
    }
    if long.cache_read_pico is not None:
        told["input_cache_read"] = usd_per_token(long.cache_read_pico)
    if long.cache_write_pico is not None:
        told["input_cache_write"] = usd_per_token(long.cache_write_pico)
    hour_pico = price.for_prompt(long.over + 1).cache_write_1h_pico
    if hour_pico is not None and hour_pico != price.cache_write_1h_pico:
        told["input_cache_write_1h"] = usd_per_token(hour_pico)
    return told


def usd(nano: int) -> float:
    """Nano-dollars as the JSON number the contract shows. Never read back into money."""
    return nano / NANO_PER_USD


def usd_per_token(pico: int) -> str:
    """A price as the decimal string of the models API: USD for one token, exact."""
    whole, fraction = divmod(pico, 1_000_000_000_000)
    digits = f"{fraction:012d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
