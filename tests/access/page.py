"""docs/access.md, from the table the tests hold every route against."""

from __future__ import annotations

from collections.abc import Iterator

from api.cli.procfile import root
from tests.access.table import API, PAGES, RIGHTS, Right

PAGE = root() / "docs" / "access.md"
_HEAD = """# Who may use what

Every route, and what it asks for. A test makes the list of routes from the running application,
tries each with each kind of visitor, and fails for a route that is not in this table.

    .venv/bin/python -m pytest tests/unit/api/test_access_matrix.py tests/unit/api/test_abuse.py
    .venv/bin/python -m tests.access --write    # writes this page

A key counts in `Authorization: Bearer` only; where Anthropic's clients ask, in `x-api-key` too. A
cookie, a query or another header is never taken for a key. Who proves none gets 401, and so does a
disabled, expired or deleted key and one of a closed account; a key of the wrong kind gets 403, a
method that is not here 405. The id of something that another account owns is answered as one that
does not exist.
"""
_API_COLUMNS = ("no key", "a key that is not valid", "inference key", "management key")
_PAGE_COLUMNS = ("stranger", "logged in", "admin of the account", "site admin")
_API_CELLS: dict[Right, tuple[str, ...]] = {
    "open": ("✓", "✓", "✓", "✓"),
    "key": ("401", "401", "✓", "✓"),
    "inference": ("401", "401", "✓", "403"),
    "management": ("401", "401", "403", "✓"),
}
_PAGE_CELLS: dict[Right, tuple[str, ...]] = {
    "page": ("✓", "✓", "✓", "✓"),
    "person": ("log-in", "✓", "✓", "✓"),
    "admin": ("log-in", "403", "✓", "as their role"),
    "site": ("log-in", "403", "403", "✓"),
}


def text() -> str:
    """The whole page."""
    lines = [_HEAD, "## API", "", *_table(API, _API_COLUMNS, _API_CELLS), ""]
    if set(PAGES) & set(RIGHTS.values()):
        lines += [
            "## Pages",
            "",
            "Every form needs a token that only our own pages hold; without it nobody is heard.",
            "",
            *_table(PAGES, _PAGE_COLUMNS, _PAGE_CELLS),
            "",
        ]
    return "\n".join(lines)


def _table(
    rights: tuple[Right, ...], columns: tuple[str, ...], cells: dict[Right, tuple[str, ...]]
) -> Iterator[str]:
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for (method, path), right in RIGHTS.items():
        if right in rights:
            shown = path.replace("<", "{").replace(">", "}")
            yield f"| `{method} {shown}` | {' | '.join(cells[right])} |"
