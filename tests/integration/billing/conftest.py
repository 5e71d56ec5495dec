"""The databases, for as long as the root conftest does not name them as a plugin."""

from tests.fixtures.databases import (  # noqa: F401
    empty_postgres_url,
    empty_url,
    ledger,
    ledger_url,
    postgres_server,
    postgres_template,
    postgres_url,
    sqlite_template,
    sqlite_url,
)
