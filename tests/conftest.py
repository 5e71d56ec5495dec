"""Fixtures every suite shares. What only one suite needs stays beside it."""

pytest_plugins = ["tests.fixtures.redis", "tests.fixtures.databases", "tests.fixtures.cluster"]
