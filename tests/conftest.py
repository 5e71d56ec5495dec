"""Fixtures every suite shares. What only one suite needs stays beside it."""

from hypothesis import settings

pytest_plugins = [
    "tests.fixtures.redis",
    "tests.fixtures.databases",
    "tests.fixtures.cluster",
    "tests.fixtures.sandbox",
]

# A busy machine is no defect: what must be quick is measured in tests/bench.
settings.register_profile("pointsman", deadline=None)
settings.load_profile("pointsman")
