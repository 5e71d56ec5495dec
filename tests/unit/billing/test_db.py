from __future__ import annotations

import pytest

from billing.db import parse_url
from routing.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:p@host/db", "postgresql+psycopg"),
        ("postgres://u:p@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg2://u:p@host/db", "postgresql+psycopg"),
        ("sqlite:///ledger.db", "sqlite+pysqlite"),
    ],
)
def test_each_database_is_spoken_to_through_one_driver(url, driver):
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("mysql://u:secret@host/db", id="another database"),
        pytest.param("sqlite://", id="no file"),
        pytest.param("sqlite:///:memory:", id="memory"),
        pytest.param("secret nonsense", id="not a URL"),
        pytest.param("postgresql://u:secret@host:port/db", id="port that is no number"),
    ],
)
def test_any_other_url_is_refused_without_repeating_it(url):
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert "POINTSMAN_DATABASE_URL" in str(caught.value)
    assert "secret" not in str(caught.value)
