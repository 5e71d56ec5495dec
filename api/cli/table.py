"""Lists for people (a table) and for programs (`--json`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from api.cli.money import dollars

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs."
)


def show(rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str) -> None:
    """Print rows of equal columns; `empty` is what people are told when there are none.

    The unit at the end of a column's name is for programs; people see dollars (`_nano`) and UTC
    days (`_ms`) instead.
    """
    if as_json:
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        click.echo(orjson.dumps(list(rows), option=options), nl=False)
        return
    if not rows:
        click.echo(empty)
        return
    heads = [name.removesuffix("_nano").removesuffix("_ms") for name in rows[0]]
    lines = [heads, *([_text(name, value) for name, value in row.items()] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _text(name: str, value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith("_nano"):
            return dollars(value)
        case int() if name.endswith("_ms"):
            return datetime.fromtimestamp(value / 1000, tz=UTC).strftime("%Y-%m-%d")
    return str(value)
