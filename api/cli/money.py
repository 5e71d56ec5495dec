"""Dollars as people type and read them, exactly."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import click

NANO_PER_USD = 1_000_000_000
_NANO_DIGITS = 9
#: Powers of ten beyond any amount the ledger takes; within them Decimal is exact.
_ADJUSTED_MAX = 12


def usd(text: str) -> int:
    """An amount of dollars, as click converts it, in nano-dollars. Never goes through a float.

    Raises:
        click.BadParameter: no number, or one that is not a whole number of nano-dollars.
    """
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation as error:
        raise _bad(text) from error
    if not amount.is_finite() or abs(amount.adjusted()) > _ADJUSTED_MAX:
        raise _bad(text)
    nano = amount.scaleb(_NANO_DIGITS)
    if nano != nano.to_integral_value():
        raise click.BadParameter(f"{text!r} is finer than a nano-dollar (9 decimals).")
    return int(nano)


def _bad(text: str) -> click.BadParameter:
    return click.BadParameter(f"{text!r} is no amount of dollars, such as 5 or 0.25.")


def dollars(nano: int) -> str:
    """`$12.50`; at least two decimals and as many as it takes."""
    sign = "-" if nano < 0 else ""
    whole, fraction = divmod(abs(nano), NANO_PER_USD)
    decimals = f"{fraction:0{_NANO_DIGITS}d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{decimals}"
