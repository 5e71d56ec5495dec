"""Amounts and moments as JSON bodies and forms have them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from routing.catalog.pricing import NANO_PER_USD
from routing.errors import BadRequest

# Whole milliseconds from a fixed moment: seconds as a float lose one now and then.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]00:?00)", re.ASCII
)
#: What people type for dollars: no more digits than the ledger has.
_TYPED = re.compile(r"\$?(\d{1,7}(?:\.\d{0,9})?|\.\d{1,9})", re.ASCII)


def nano_of(amount_usd: float) -> int:
    """Dollars as JSON has them; never more than was said, since a third of one has no end."""
    exact = Decimal(repr(amount_usd)) * NANO_PER_USD
    return int(exact.to_integral_value(ROUND_DOWN))


def typed_nano(text: str, param: str) -> int | None:
    """Dollars as a form has them; None for an empty field.

    Raises:
        BadRequest: no such number.
    """
    typed = text.strip().replace(",", "")
    if not typed:
        return None
    found = _TYPED.fullmatch(typed)
    if found is None:
        raise BadRequest(f"{param}: must be an amount in dollars, as 10 or 2.50", param=param)
    return int(Decimal(found[1]) * NANO_PER_USD)


def moment_ms(text: str, param: str) -> int:
    """An ISO 8601 time in UTC, to the second or finer.

    Raises:
        BadRequest: no such time.
    """
    moment = _parsed(text)
    if moment is None:
        raise BadRequest(
            f"{param}: must be an ISO 8601 time in UTC, as 2027-12-31T23:59:59Z", param=param
        )
    return (moment - _EPOCH) // _MS


def iso(moment_ms: int) -> str:
    """A moment as the contract prints it."""
    moment = _EPOCH + moment_ms * _MS
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parsed(text: str) -> datetime | None:
    if not _MOMENT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None
