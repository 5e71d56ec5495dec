"""Every cell of docs/compatibility.md, each a test of its own.

All selected cells are asked at once when the first test begins; each test then looks at its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

import pytest

from billing.invariants import check as broken_invariants
from routing.clock import SystemClock
from tests.cluster import Cluster
from tests.matrix.cells import CELLS, Cell
from tests.matrix.checks import check
from tests.matrix.page import PAGE, text
from tests.matrix.trial import Outcome, Trial

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(300)]

#: Covers the holds of all calls under way at once, of the dearest models too.
CREDIT_USD = Decimal(1_000)


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Outcome]]:
    """What every selected cell gave, by its id."""
    specs = (getattr(item, "callspec", None) for item in request.session.items)
    found = (spec.params.get("cell") for spec in specs if spec is not None)
    cells = [cell for cell in found if isinstance(cell, Cell)]
    with Cluster(tmp_path_factory.mktemp("matrix") / "home") as cluster:
        trial = Trial(cluster, cluster.new_key(CREDIT_USD).text)
        try:
            yield trial.run(cells)
        finally:
            trial.close()
        assert broken_invariants(cluster.ledger, SystemClock().now_ms()) == ()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_cell(cell: Cell, outcomes: Mapping[str, Outcome]) -> None:
    check(cell, outcomes[cell.id])


def test_ids_are_unique() -> None:
    assert len({cell.id for cell in CELLS}) == len(CELLS)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(), "run: python -m tests.matrix --write"
