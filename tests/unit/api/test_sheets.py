"""CSV that a spreadsheet opens without harm."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sheets import cell, sheet

STARTS = tuple("=+-@＝＋－＠")  # noqa: RUF001 - the wide ones are meant


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1+cmd", "@SUM(A1)", "\t=1", " =1", "\r\n=1", "x;=1", "a\n=HYPERLINK(1)",
        "\uff1d1", "\uff20x", "=cmd|' /C calc'!A0", "\x00=1",
    ],
)  # fmt: skip
def test_a_formula_is_only_a_text(text):
    made = str(cell(text))
    for part in made.replace("\r", "\n").replace(";", "\n").replace("\t", "\n").split("\n"):
        assert not part.strip().startswith(STARTS), made
    assert "'" in made


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back_as_one_cell(text):
    rows = list(csv.reader(io.StringIO(sheet(["a", "b"], [{"a": text, "b": 1}]), newline="")))
    assert rows[0] == ["a", "b"]
    assert rows[1] == [cell(text), "1"]
    assert not str(cell(text)).lstrip().startswith(STARTS)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, '""'), (True, '"true"'), (7, "7"), (-7, "-7"), (0.0, "0"), (1e-09, "0.000000001"),
        (0.1, "0.1"), (-2.5, "-2.5"), (12_345_678.123456789, "12345678.123456789"),
        ('say "x", y', '"say ""x"", y"'),
    ],
)  # fmt: skip
def test_values_are_shown_in_full(value, shown):
    assert sheet(["a"], [{"a": value}]) == f'"a"\r\n{shown}\r\n'
