"""Lists as CSV that a spreadsheet opens without harm."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from flask import Response

MIMETYPE = "text/csv; charset=utf-8"
#: Where a spreadsheet would begin a formula: at the start of a cell, and behind what another
#: country's settings take for the end of one. Some of these texts come from anybody.
_FORMULA = re.compile(r"(^|[;\t\r\n])(\s*)([=+\-@＝＋－＠])")  # noqa: RUF001 - wide ones count too
#: Formats a list can be asked in.
FORMATS = frozenset({"json", "csv"})


def sheet(heads: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with a line of heads; absent values are empty, texts are only texts."""
    names = list(heads)
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def cell(value: object) -> str | float | int:
    """A value as a cell has it: numbers as they are, no text that is a formula."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return value
        case float():
            return _Plain(value)
        case _:
            return _FORMULA.sub(r"\1\2'\3", str(value).replace("\x00", ""))


def attachment(text: str, name: str) -> Response:
    """A file for the browser to save."""
    response = Response(text, mimetype=None, content_type=MIMETYPE)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


class _Plain(float):
    """Amounts in full digits: `1e-09` is a text to some spreadsheets."""

    def __str__(self) -> str:
        return f"{self:.9f}".rstrip("0").rstrip(".")

    __repr__ = __str__
