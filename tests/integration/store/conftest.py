import pytest

from tests.fixtures.desk import Desk
from tests.fixtures.redis import Store


@pytest.fixture
def desk(store: Store) -> Desk:
    """Job scripts over a fresh store, once real and once in memory."""
    return Desk(store)
