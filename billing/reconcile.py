"""A provider's invoice beside our books: where they agree, and where they do not.

An invoice has a row per request, named by the provider's own id of it, or a row per day and model.
Both are compared with what the ledger says we owe the provider; requests with customers' own keys
are on the customers' invoices and left out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, TextIO

from sqlalchemy import func, select

from billing.db import Ledger
from billing.tables import generations
from routing.budgets import MS_PER_DAY, day_of
from routing.catalog.pricing import NANO_PER_USD
from routing.errors import BadRequest

#: Rows of an invoice; a month of a large provider by day and model is a few thousand.
ROWS_MAX = 1_000_000
#: Requests looked up in one statement.
LOOK_UP_MAX = 500
#: Longest field of an invoice: names, dates and amounts.
FIELD_MAX = 1_024

#: Powers of ten beyond any amount the ledger takes; within them Decimal is exact.
_ADJUSTED_MAX = 12
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
#: As providers date their models: `gpt-4o-2024-08-06`, `claude-sonnet-4-20250514`, `…-latest`.
_DATED = re.compile(r"-(\d{4}-\d\d-\d\d|\d{8}|latest)$", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How an invoice calls what we need of it. Either `request`, or `date` and `model`."""

    amount: str
    date: str | None = None
    model: str | None = None
    request: str | None = None


#: Names that providers' exports have, most telling first; compared without case and marks.
GUESSES: Mapping[str, tuple[str, ...]] = {
    "amount": (
        "amount_usd", "cost_usd", "amount_value", "cost", "amount", "total_cost", "cost_total",
        "usage_amount", "price",
    ),
    "date": (
        "date", "day", "usage_date", "usage_date_utc", "start_time_iso", "start_time",
        "timestamp", "created_at",
    ),
    "model": ("model", "model_id", "model_version", "line_item", "sku", "description"),
    "request": (
        "request_id", "upstream_id", "generation_id", "response_id", "completion_id", "id",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of an invoice.

    Attributes:
        day: since 1970-01-01 UTC; None where it names a request.
    """

    amount_nano: int
    day: int | None = None
    model: str = ""
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One day and model, or one request, on both sides.

    Attributes:
        what: the day and the model, or the provider's id of the request.
        invoiced_nano: what the provider wants; None when it does not mention it.
        booked_nano: what the ledger says; None when it knows nothing of it.
    """

    what: str
    invoiced_nano: int | None
    booked_nano: int | None

    @property
    def gap_nano(self) -> int:
        """By how much the invoice is higher."""
        return (self.invoiced_nano or 0) - (self.booked_nano or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Both sides, line by line.

    Attributes:
        lines: in order; also those that agree.
    """

    lines: tuple[Difference, ...]

    @property
    def invoiced_nano(self) -> int:
        """All that the provider wants."""
        return sum(one.invoiced_nano or 0 for one in self.lines)

    @property
    def booked_nano(self) -> int:
        """All that the ledger says we owe."""
        return sum(one.booked_nano or 0 for one in self.lines)

    def beyond(self, tolerance_ppm: int, floor_nano: int) -> tuple[Difference, ...]:
        """The lines that differ by more than both a share and an amount."""
        return tuple(
            one
            for one in self.lines
            if abs(one.gap_nano) > floor_nano
            and abs(one.gap_nano) * 1_000_000
            > max(one.invoiced_nano or 0, one.booked_nano or 0) * tolerance_ppm
        )


def columns_of(heads: Iterable[str], given: Mapping[str, str]) -> Columns:
    """Which columns of an invoice to read.

    Args:
        heads: of the file.
        given: by `amount`, `date`, `model`, `request`: what the operator calls them.

    Raises:
        BadRequest: a column is not there, or none can be guessed.
    """
    known = list(heads)
    plain = {_plain(name): name for name in reversed(known)}
    found: dict[str, str] = {}
    for field, names in GUESSES.items():
        if field in given:
            if given[field] not in known:
                raise BadRequest(f"The invoice has no column {given[field]!r}, only {known}")
            found[field] = given[field]
            continue
        guess = next((plain[_plain(name)] for name in names if _plain(name) in plain), None)
        if guess is not None:
            found[field] = guess
    by_day = "date" in found and "model" in found
    if "amount" not in found or not ("request" in found or by_day):
        raise BadRequest(
            f"Tell which columns have the amount, and the request or the date and model: {known}"
        )
    if by_day and "request" in found and "request" not in given:
        del found["request"]  # a mere `id` may name the row, not the request
    return Columns(**found)


def read_invoice(file: TextIO, given: Mapping[str, str]) -> Iterator[Row]:
    """The rows of an invoice in CSV with a line of heads.

    Raises:
        BadRequest: something in it cannot be read; names the line.
    """
    reader = csv.DictReader(file, strict=True)
    try:
        columns = columns_of(reader.fieldnames or (), given)
        for record in reader:
            if reader.line_num > ROWS_MAX:
                raise BadRequest(f"The invoice has more than {ROWS_MAX:,} lines")
            row = _row(record, columns, reader.line_num)
            if row is not None:
                yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadRequest(f"Line {reader.line_num + 1}: {error}") from None


def reconcile(
    ledger: Ledger, provider: str, rows: Iterable[Row], same: Callable[[str], str]
) -> Outcome:
    """Compare an invoice with what we owe a provider.

    Args:
        ledger: read only.
        provider: its name, as generations have it.
        rows: of the invoice, all by request or all by day and model.
        same: our model id, or any other one name, for what either side calls a model.

    Raises:
        BadRequest: the invoice is empty.
        Unavailable: the database is away.
    """
    invoiced: dict[str, int] = {}
    of_days: dict[tuple[int, str], int] = {}
    for row in rows:
        if row.day is None:
            invoiced[row.request] = invoiced.get(row.request, 0) + row.amount_nano
        else:
            slot = (row.day, same(row.model))
            of_days[slot] = of_days.get(slot, 0) + row.amount_nano
    if not invoiced and not of_days:
        raise BadRequest("The invoice has no rows")
    if invoiced:
        return _outcome(invoiced, _owed_by_request(ledger, provider, invoiced))
    days = [day for day, _ in of_days]
    owed = _owed_by_day(ledger, provider, range(min(days), max(days) + 1), same)
    return _outcome(
        {_slot(*slot): amount for slot, amount in of_days.items()},
        {_slot(*slot): amount for slot, amount in owed.items()},
    )


def undated(model: str) -> str:
    """A provider's name of a model without author and date, for comparing."""
    return _DATED.sub("", model.strip().lower().rpartition("/")[2].partition(":")[0])


def _outcome(invoiced: Mapping[str, int], owed: Mapping[str, int]) -> Outcome:
    return Outcome(
        lines=tuple(
            Difference(what=what, invoiced_nano=invoiced.get(what), booked_nano=owed.get(what))
            for what in sorted(invoiced.keys() | owed.keys())
        )
    )


def _slot(day: int, model: str) -> str:
    moment = datetime.fromtimestamp(day * MS_PER_DAY // 1_000, tz=UTC)
    return f"{moment:%Y-%m-%d} {model}"


def _owed_by_request(ledger: Ledger, provider: str, ids: Iterable[str]) -> dict[str, int]:
    table = generations
    names = sorted(ids)
    owed: dict[str, int] = {}
    with ledger.reading() as connection:
        for start in range(0, len(names), LOOK_UP_MAX):
            query = select(table.c.upstream_id, table.c.upstream_cost_nano).where(
                table.c.provider == provider,
                table.c.byok.is_(False),
                table.c.upstream_id.in_(names[start : start + LOOK_UP_MAX]),
            )
            for name, amount_nano in connection.execute(query):
                owed[name] = owed.get(name, 0) + amount_nano
    return owed


def _owed_by_day(
    ledger: Ledger, provider: str, days: range, same: Callable[[str], str]
) -> dict[tuple[int, str], int]:
    table = generations
    day = table.c.created_ms - table.c.created_ms % MS_PER_DAY
    query = (
        select(day.label("start"), table.c.model_id, func.sum(table.c.upstream_cost_nano))
        .where(
            table.c.provider == provider,
            table.c.byok.is_(False),
            table.c.upstream_cost_nano > 0,
            table.c.created_ms >= days.start * MS_PER_DAY,
            table.c.created_ms < days.stop * MS_PER_DAY,
        )
        .group_by("start", table.c.model_id)
    )
    owed: dict[tuple[int, str], int] = {}
    with ledger.reading() as connection:
        for start_ms, model, amount in connection.execute(query):
            slot = (day_of(start_ms), same(model))
            owed[slot] = owed.get(slot, 0) + int(amount)
    return owed


def _row(record: Mapping[str | None, Any], columns: Columns, line: int) -> Row | None:
    """One row; None for one of nothing but blanks, as some exports end."""
    texts = {name: (value or "").strip() for name, value in record.items() if name is not None}
    if not any(texts.values()):
        return None
    if any(len(text) > FIELD_MAX for text in texts.values()):
        raise BadRequest(f"Line {line}: a field of more than {FIELD_MAX:,} characters")
    amount_nano = _nano(texts[columns.amount], line)
    if columns.request is not None:
        return Row(amount_nano=amount_nano, request=texts[columns.request])
    day, model = _day(texts[columns.date or ""], line), texts[columns.model or ""]
    return Row(amount_nano=amount_nano, day=day, model=model)


def _nano(text: str, line: int) -> int:
    """Never through a float; what is finer than a nano-dollar is rounded."""
    try:
        amount = Decimal(text.replace("$", "").replace(",", ""))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount.adjusted() > _ADJUSTED_MAX:
        raise BadRequest(f"Line {line}: {text!r} is no amount of dollars")
    return int((amount * NANO_PER_USD).to_integral_value(ROUND_HALF_UP))


def _day(text: str, line: int) -> int:
    """Of a date, or a moment: in UTC, unless it says where."""
    try:
        if _DAY.fullmatch(text):
            moment = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        elif text.isdecimal():  # seconds since 1970
            moment = datetime.fromtimestamp(int(text), tz=UTC)
        else:
            moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise BadRequest(f"Line {line}: {text!r} is no date, such as 2025-12-31") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return day_of(int(moment.timestamp()) * 1_000)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
