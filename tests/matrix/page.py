"""docs/compatibility.md, from the data the tests run on."""

from __future__ import annotations

from collections.abc import Iterator

from api.cli.procfile import root
from tests.matrix.cells import APIS, cannot, columns, note
from tests.matrix.features import Feature
from tests.matrix.rows import ROWS, Row

PAGE = root() / "docs" / "compatibility.md"
_WORKS = "✓"
_HEAD = """# What works where

Every inbound API with every provider's wire format. Each cell is asked in a test, plain and
streamed, of a whole Pointsman in sandbox mode: the front door, a worker, the ledger, and the
simulator, which speaks each provider's wire format and refuses what the provider would refuse.

    .venv/bin/python -m pytest tests/matrix
    .venv/bin/python -m tests.matrix --write    # writes this page

✓ works; a number beside it is a note, a number alone says why it cannot work and what is answered
then. Nothing is charged for an error, whenever it comes.

- **thoughts sent back**: a tool's result goes back together with the reasoning that led to the
  call, as `reasoning_details`, reasoning items or thinking blocks; providers that sign their
  thoughts find the signatures whole.
- **another's turn**: the conversation goes on from a call, a result and thoughts of some other
  provider, as it does after a fallback; what cannot be read here is left out.
- **prompt cache**: a long prompt with a cache mark, twice; the second is read from the cache.
- **refusal**: the model refuses; told in the API's own word for it.
- **error**: the provider refuses the request; status and envelope are the API's own.
- **error mid-stream**: the provider breaks off; an error event in the stream, and no end that
  claims success.
"""


class _Notes:
    """Numbers notes in the order they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers) + 1)

    def lines(self) -> Iterator[str]:
        for text, number in self._numbers.items():
            yield f"{number}. {text}"


def text() -> str:
    """The whole page."""
    notes = _Notes()
    lines = [_HEAD]
    for api, path in APIS.items():
        lines += [f"## {path}", "", *_table(api, notes), ""]
    return "\n".join([*lines, "## Notes", "", *notes.lines(), ""])


def _table(api: str, notes: _Notes) -> Iterator[str]:
    features = columns(api)
    yield f"| provider | {' | '.join(feature.title for feature in features)} |"
    yield f"|---|{'---|' * len(features)}"
    for row in ROWS:
        shown = [_cell(api, row, feature, notes) for feature in features]
        yield f"| {row.title} | {' | '.join(shown)} |"


def _cell(api: str, row: Row, feature: Feature, notes: _Notes) -> str:
    reason = cannot(api, row, feature)
    if reason is not None:
        return str(notes.number(reason.told))
    said = note(api, row, feature)
    return f"{_WORKS} {notes.number(said)}" if said else _WORKS
