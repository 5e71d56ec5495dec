from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.dialects.retry_after import MAX_RETRY_AFTER_MS, MIN_RETRY_AFTER_MS, retry_after_ms

#: 2025-12-04 00:00:00 UTC.
NOW_MS = 1_764_806_400_000


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({}, None, id="no hint"),
        pytest.param({"retry-after": "3"}, 3_000, id="seconds"),
        pytest.param({"retry-after": " 3 "}, 3_000, id="with spaces"),
        pytest.param({"retry-after": "1.5"}, 1_500, id="a fraction"),
        pytest.param({"retry-after": "1.500000001"}, 1_500, id="nanoseconds"),
        pytest.param({"retry-after": "0"}, MIN_RETRY_AFTER_MS, id="at once"),
        pytest.param({"retry-after": "-5"}, None, id="negative"),
        pytest.param({"retry-after": "999999999"}, MAX_RETRY_AFTER_MS, id="thirty years"),
        pytest.param({"retry-after": "9" * 400}, None, id="an absurd number"),
        pytest.param({"retry-after": "1e9"}, None, id="not a plain number"),
        pytest.param({"retry-after": "nan"}, None, id="not a number"),
        pytest.param({"retry-after": "soon"}, None, id="a word"),
        pytest.param({"retry-after": "Thu, 04 Dec 2025 00:00:07 GMT"}, 7_000, id="a date"),
        pytest.param({"retry-after": "Thu, 04 Dec 2025 00:00:07"}, 7_000, id="a date, no zone"),
        pytest.param({"retry-after": "Thu, 04 Dec 2025 01:00:07 +0100"}, 7_000, id="a zone"),
        pytest.param({"retry-after": "Wed, 03 Dec 2025 00:00:00 GMT"}, 200, id="a date gone by"),
        pytest.param({"retry-after": "Fri, 04 Dec 2099 00:00:00 GMT"}, 300_000, id="far away"),
        pytest.param({"retry-after": "Thu, 99 Dec 2025 00:00:00 GMT"}, None, id="no such day"),
        pytest.param({"retry-after-ms": "750", "retry-after": "9"}, 750, id="milliseconds first"),
        pytest.param({"retry-after-ms": "x", "retry-after": "9"}, 9_000, id="unusable first"),
        pytest.param({"x-ratelimit-reset-requests": "6m0s"}, 300_000, id="minutes, clamped"),
        pytest.param({"x-ratelimit-reset-requests": "1m1s"}, 61_000, id="minutes and seconds"),
        pytest.param({"x-ratelimit-reset-requests": "1h"}, 300_000, id="an hour"),
        pytest.param({"x-ratelimit-reset-tokens": "820ms"}, 820, id="a duration of tokens"),
        pytest.param({"x-ratelimit-reset-tokens": "1.2s"}, 1_200, id="seconds with a fraction"),
        pytest.param({"x-ratelimit-reset-tokens": ""}, None, id="empty"),
        pytest.param({"x-ratelimit-reset-requests": "2"}, 2_000, id="Azure's plain seconds"),
        pytest.param({"x-ratelimit-reset": "1764806409000"}, 9_000, id="OpenRouter's moment"),
        pytest.param({"x-ratelimit-reset": "9"}, None, id="no moment"),
        pytest.param({"x-ratelimit-reset-tokens": "1y"}, None, id="unknown unit"),
        pytest.param(
            {"retry-after": "soon", "x-ratelimit-reset-requests": "2s"}, None, id="a bad hint wins"
        ),
    ],
)
def test_hints_as_providers_send_them(headers: dict[str, str], expected: int | None):
    assert retry_after_ms(headers, NOW_MS) == expected


@given(
    st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"]),
    st.text(max_size=40)
    | st.from_regex(r"\w{3}, \d{1,9} Dec \d{1,9} \d\d:\d\d:\d\d [A-Z+0-9]{1,9}"),
)
def test_whatever_a_header_holds_the_wait_is_within_bounds(name: str, text: str):
    wait_ms = retry_after_ms({name: text}, NOW_MS)

    assert wait_ms is None or MIN_RETRY_AFTER_MS <= wait_ms <= MAX_RETRY_AFTER_MS
