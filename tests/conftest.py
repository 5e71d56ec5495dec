"""Fixtures every suite shares. What only one suite needs stays beside it."""

from functools import lru_cache

from hypothesis import settings

from routing.catalog import load

pytest_plugins = [
    "tests.fixtures.redis",
    "tests.fixtures.databases",
    "tests.fixtures.cluster",
    "tests.fixtures.sandbox",
]

# A busy machine is no defect: what must be quick is measured in tests/bench.
settings.register_profile("pointsman", deadline=None)
settings.load_profile("pointsman")

# Hundreds of tests read the shipped catalog, whose files do not change meanwhile. Reading is pure,
# so each text is read once.
load.read_yaml = lru_cache(maxsize=512)(load.read_yaml)
