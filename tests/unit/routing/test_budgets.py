from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.budgets import (
    account_scope,
    day_of,
    key_scope,
    window_end_day,
    window_start_day,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: From the first Monday on, to a year whose next one the calendar still knows.
moments = st.timedeltas(timedelta(days=4), timedelta(days=2_900_000)).map(lambda gap: EPOCH + gap)
resets = st.sampled_from(["daily", "weekly", "monthly"])


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def day(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH).days


def date_of(number: int) -> datetime:
    return EPOCH + timedelta(days=number)


@pytest.mark.parametrize(
    ("reset", "moment", "start", "end"),
    [
        pytest.param(
            "daily", "2025-12-04T00:00:00.000+00:00", "2025-12-04", "2025-12-05", id="midnight"
        ),
        pytest.param(
            "daily", "2025-12-04T23:59:59.999+00:00", "2025-12-04", "2025-12-05", id="last ms"
        ),
        pytest.param(
            "daily", "2025-12-05T00:30:00+02:00", "2025-12-04", "2025-12-05", id="UTC, not local"
        ),
        pytest.param(
            "weekly", "2025-12-07T23:59:59.999+00:00", "2025-12-01", "2025-12-08", id="Sunday night"
        ),
        pytest.param(
            "weekly", "2025-12-08T00:00:00+00:00", "2025-12-08", "2025-12-15", id="Monday morning"
        ),
        pytest.param(
            "weekly", "2026-01-01T12:00:00+00:00", "2025-12-29", "2026-01-05", id="over new year"
        ),
        pytest.param(
            "monthly", "2025-12-31T23:59:59.999+00:00", "2025-12-01", "2026-01-01", id="year end"
        ),
        pytest.param(
            "monthly", "2026-01-01T00:00:00+00:00", "2026-01-01", "2026-02-01", id="year begin"
        ),
        pytest.param(
            "monthly", "2024-02-29T23:00:00+00:00", "2024-02-01", "2024-03-01", id="leap day"
        ),
        pytest.param(
            "monthly", "2025-02-28T23:59:59.999+00:00", "2025-02-01", "2025-03-01", id="28 days"
        ),
    ],
)
def test_windows_begin_and_end_at_midnight_utc(reset, moment, start, end):
    assert window_start_day(reset, ms(moment)) == day(start)
    assert window_end_day(reset, ms(moment)) == day(end)


def test_a_limit_that_never_resets_has_no_window():
    assert window_start_day(None, ms("2025-12-04T00:00:00+00:00")) is None
    assert window_end_day(None, ms("2025-12-04T00:00:00+00:00")) is None


def test_scopes_name_the_pot_and_its_window():
    now_ms = ms("2025-12-04T10:00:00+00:00")
    assert account_scope("user_1") == "acct:user_1"
    assert key_scope("ab", None, now_ms) == "key:ab@ever"
    assert key_scope("ab", "daily", now_ms) == f"key:ab@{day('2025-12-04')}"
    assert key_scope("ab", "weekly", now_ms) == f"key:ab@{day('2025-12-01')}"


@given(moment=moments, reset=resets)
def test_a_window_holds_its_moment_and_begins_where_it_should(moment, reset):
    # Given any moment
    now_ms = (moment - EPOCH) // timedelta(milliseconds=1)
    # When its window is asked for
    start, end = window_start_day(reset, now_ms), window_end_day(reset, now_ms)
    # Then the moment lies in it
    assert start <= day_of(now_ms) < end
    # And it begins on a Monday, on a first of the month, or that day, and so does the next one
    for edge in (start, end):
        if reset == "weekly":
            assert date_of(edge).weekday() == 0
        if reset == "monthly":
            assert date_of(edge).day == 1
    assert end - start in {"daily": {1}, "weekly": {7}, "monthly": {28, 29, 30, 31}}[reset]


@given(moment=moments, reset=resets)
def test_windows_touch_without_a_gap(moment, reset):
    now_ms = (moment - EPOCH) // timedelta(milliseconds=1)
    end = window_end_day(reset, now_ms)
    assert window_start_day(reset, end * 86_400_000) == end
    assert window_start_day(reset, end * 86_400_000 - 1) == window_start_day(reset, now_ms)
