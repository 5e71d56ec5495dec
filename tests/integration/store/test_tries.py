from __future__ import annotations

import pytest

from routing.errors import RateLimited
from routing.store.tries import WINDOW_MS, Tries
from tests.fixtures.redis import Store

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

NOW_MS = 1_764_806_400_000


def test_tries_of_each_are_counted_until_the_next_window(store: Store):
    tries = Tries(store.redis)
    for _ in range(3):
        tries.count({"ada@example.com": 3, "10.0.0.1": 10}, NOW_MS)

    with pytest.raises(RateLimited) as refused:
        tries.count({"ada@example.com": 3, "10.0.0.1": 10}, NOW_MS + 1_000)
    assert refused.value.retry_after_ms is not None
    assert 0 < refused.value.retry_after_ms <= WINDOW_MS
    tries.count({"bob@example.com": 3, "10.0.0.1": 10}, NOW_MS)
    tries.count({"ada@example.com": 3}, NOW_MS + WINDOW_MS)


def test_what_is_typed_is_not_kept(store: Store):
    Tries(store.redis).count({"ada@example.com:x": 3}, NOW_MS)

    (key,) = store.redis.keys("*")
    assert b"ada" not in key
    assert store.redis.pttl(key) > 0
