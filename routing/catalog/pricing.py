"""Usage times the price in force, in integers. The only place that rounds: up, once per line."""

from __future__ import annotations

from dataclasses import dataclass

from routing.catalog.shapes import Price
from routing.usage import Usage

PICO_PER_NANO = 1_000
NANO_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The lines of one bill, in nano-dollars."""

    prompt_nano: int = 0
    completion_nano: int = 0
    request_nano: int = 0

    @property
    def total_nano(self) -> int:
        """The sum of the lines."""
        return self.prompt_nano + self.completion_nano + self.request_nano


def _nano(pico: int) -> int:
    """Round up: a line is never worth less than what it is charged by the provider."""
    return -(-pico // PICO_PER_NANO)


def cost(usage: Usage, price: Price) -> Cost:
    """What a usage costs at a price. Pure; the same in the answer, the ledger and every report."""
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
    )


def worst_case_nano(price: Price, prompt_tokens: int, completion_tokens: int, images: int) -> int:
    """The most a request can cost at a price: what is held before it is let in.

    Takes the dearest rate a token could be billed at, so a hold is never smaller than the charge
    as long as the token counts are upper bounds.
    """
    return (
        _nano(prompt_tokens * dearest_prompt_pico(price))
        + _nano(completion_tokens * dearest_completion_pico(price))
        + _nano(price.request_pico + images * price.image_pico)
    )


def dearest_prompt_pico(price: Price) -> int:
    """The highest rate a prompt token can be billed at."""
    return max(
        price.prompt_pico,
        price.cache_read_pico or 0,
        price.cache_write_pico or 0,
        price.cache_write_1h_pico or 0,
        price.audio_pico or 0,
    )


def dearest_completion_pico(price: Price) -> int:
    """The highest rate a completion token can be billed at."""
    return max(
        price.completion_pico,
        price.reasoning_pico or 0,
        price.image_output_pico or 0,
        price.audio_output_pico or 0,
    )


def usd(nano: int) -> float:
    """Nano-dollars as the JSON number the contract shows. Never read back into money."""
    return nano / NANO_PER_USD


def usd_per_token(pico: int) -> str:
    """A price as the decimal string of the models API: USD for one token, exact."""
    whole, fraction = divmod(pico, 1_000_000_000_000)
    digits = f"{fraction:012d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
