from __future__ import annotations

import json

import pytest

from api.cli.table import show

ROWS = [
    {"name": "default", "disabled": False, "limit_nano": None, "created_ms": 0},
    {"name": "x", "disabled": True, "limit_nano": 5_000_000_000, "created_ms": 86_400_000},
]


def test_people_get_columns_with_dollars_and_days(capsys):
    show(ROWS, as_json=False, empty="")

    assert capsys.readouterr().out == (
        "name     disabled  limit  created\n"
        "default  no        -      1970-01-01\n"
        "x        yes       $5.00  1970-01-02\n"
    )


def test_programs_get_json_with_integers(capsys):
    show(ROWS, as_json=True, empty="")

    assert json.loads(capsys.readouterr().out) == ROWS


@pytest.mark.parametrize(("as_json", "text"), [(False, "Nothing yet.\n"), (True, "[]\n")])
def test_an_empty_list_says_what_to_do_next(capsys, as_json, text):
    show([], as_json=as_json, empty="Nothing yet.")

    assert capsys.readouterr().out == text
