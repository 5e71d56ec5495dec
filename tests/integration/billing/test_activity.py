"""Sums of days and lists of generations: both tell what was settled, to whose it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from billing import activity, api_keys, tables
from billing.activity import Wanted
from billing.api_keys import KeyTerms
from billing.db import Ledger
from billing.settlement import settle
from routing.budgets import MS_PER_DAY, day_of
from routing.errors import BadRequest
from routing.usage import Usage
from tests.fixtures.charges import COST_NANO, NOW_MS, generation_id
from tests.fixtures.customers import Customer, make_customer
from tests.fixtures.databases import wipe

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

TODAY = day_of(NOW_MS)
ALWAYS = range(TODAY - 60, TODAY + 1)

works = st.lists(
    st.fixed_dictionaries(
        {
            "who": st.integers(0, 1),
            "day": st.integers(0, 45),
            "model_id": st.sampled_from(["acme/large", "acme/small"]),
            "endpoint_id": st.sampled_from(["acme:acme/large", "bravo:acme/large", ""]),
            "outcome": st.sampled_from(["done", "cancelled", "failed"]),
            "byok": st.sampled_from(["", "byok_1"]),
            "fee_ppm": st.sampled_from([0, 50_000]),
            "member": st.sampled_from(["", "usr_1"]),
            "usage": st.builds(
                Usage,
                prompt_tokens=st.integers(0, 10**6),
                completion_tokens=st.integers(200, 500),
                reasoning_tokens=st.integers(0, 200),
            ),
        }
    ),
    max_size=12,
)


def charged(customers: list[Customer], number: int, shape: dict):
    changes = dict(shape)
    customer = customers[changes.pop("who")]
    caller = replace(customer.charge().caller, member=changes.pop("member"))
    created_ms = NOW_MS - changes.pop("day") * MS_PER_DAY
    return customer.charge(number, caller=caller, created_ms=created_ms, **changes)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(work=works, cuts=st.lists(st.integers(0, 12), max_size=3))
def test_activity_is_the_sum_of_generations_however_they_are_settled(ledger: Ledger, work, cuts):
    # Given generations of two accounts, settled in any batches, and all of them once more
    wipe(ledger)
    customers = [make_customer(ledger), make_customer(ledger)]
    charges = [charged(customers, number, shape) for number, shape in enumerate(work)]
    for cut in cuts:
        settle(ledger, charges[:cut], NOW_MS)
    settle(ledger, charges, NOW_MS)
    # When each account asks for its days
    for customer in customers:
        told = activity.days_of(ledger, customer.account_id, ALWAYS)
        # Then every figure is that of the generations of that day, model and endpoint
        sums: dict[tuple, Counter] = {}
        with ledger.reading() as connection:
            rows = connection.execute(
                select(tables.generations).where(
                    tables.generations.c.account_id == customer.account_id
                )
            ).all()
        for row in rows:
            slot = (day_of(row.created_ms), row.model_id, row.endpoint_id)
            paid_by_own_key = row.byok and not row.insured
            sums.setdefault(slot, Counter()).update(
                usage_nano=row.cost_nano,
                byok_usage_nano=row.upstream_cost_nano if paid_by_own_key else 0,
                requests=1,
                prompt_tokens=row.prompt_tokens,
                completion_tokens=row.completion_tokens,
                reasoning_tokens=row.reasoning_tokens,
                cached_tokens=row.cached_tokens,
            )
        assert {(one.day, one.model_id, one.endpoint_id) for one in told} == sums.keys()
        for one in told:
            counted = sums[one.day, one.model_id, one.endpoint_id]
            assert {name: getattr(one, name) for name in counted} == counted
        assert [one.day for one in told] == sorted((one.day for one in told), reverse=True)


def join(ledger: Ledger, account_id: str, user_id: str) -> None:
    person = {"id": user_id, "email": f"{user_id}@x.test", "site_admin": False, "disabled": False}
    with ledger.writing() as connection:
        connection.execute(
            insert(tables.users), person | {"created_ms": NOW_MS, "updated_ms": NOW_MS}
        )
        connection.execute(
            insert(tables.members),
            {
                "account_id": account_id,
                "user_id": user_id,
                "role": "org:member",
                "created_ms": NOW_MS,
            },
        )


def test_days_can_be_of_one_key_or_of_what_one_person_made(ledger: Ledger):
    ada = make_customer(ledger)
    join(ledger, ada.account_id, "usr_bob")
    _, bobs = api_keys.mint(
        ledger, ada.account_id, KeyTerms(name="b", creator_user_id="usr_bob"), NOW_MS
    )
    other = replace(ada, key=bobs)
    settle(ledger, [ada.charge(1), other.charge(2), other.charge(3)], NOW_MS)

    def requests(**wanted):
        return sum(
            one.requests for one in activity.days_of(ledger, ada.account_id, ALWAYS, **wanted)
        )

    assert requests() == 3
    assert requests(key_hash=ada.key.key_hash) == 1
    assert requests(key_hash=bobs.key_hash) == 2
    assert requests(user_id="usr_bob") == 2
    assert requests(user_id="usr_bob", key_hash=ada.key.key_hash) == 0


def test_another_accounts_key_or_person_tells_nothing(ledger: Ledger):
    ada, eve = make_customer(ledger), make_customer(ledger)
    settle(ledger, [ada.charge(1)], NOW_MS)
    assert activity.days_of(ledger, eve.account_id, ALWAYS) == ()
    assert activity.days_of(ledger, eve.account_id, ALWAYS, key_hash=ada.key.key_hash) == ()


def test_days_outside_are_left_out(ledger: Ledger):
    ada = make_customer(ledger)
    edges = [0, 1, 30, 31]
    settle(
        ledger,
        [ada.charge(n, created_ms=NOW_MS - n * MS_PER_DAY) for n in edges]
        + [ada.charge(40, created_ms=NOW_MS - 1)],
        NOW_MS,
    )
    told = activity.days_of(ledger, ada.account_id, range(TODAY - 30, TODAY))
    assert [(TODAY - one.day, one.requests) for one in told] == [(1, 2), (30, 1)]


def test_too_many_rows_are_refused_not_cut(ledger: Ledger, monkeypatch):
    ada = make_customer(ledger)
    monkeypatch.setattr(activity, "ROWS_MAX", 2)
    settle(ledger, [ada.charge(n, model_id=f"m/{n}") for n in range(3)], NOW_MS)
    with pytest.raises(BadRequest, match="date"):
        activity.days_of(ledger, ada.account_id, ALWAYS)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(moments=st.lists(st.integers(0, 3), max_size=12), size=st.integers(1, 5))
def test_pages_tell_each_generation_once_newest_first(ledger: Ledger, moments, size):
    # Given generations, many in the same millisecond, and those of somebody else
    wipe(ledger)
    ada, eve = make_customer(ledger), make_customer(ledger)
    charges = [ada.charge(n, created_ms=NOW_MS + ms) for n, ms in enumerate(moments)]
    settle(ledger, [*charges, eve.charge(99)], NOW_MS)
    # When all pages are read
    told, after = [], None
    while True:
        wanted = Wanted(account_id=ada.account_id, after=after)
        page = activity.page_of(ledger, wanted, size)
        told += page.rows
        after = page.after
        assert len(page.rows) == size or after is None
        if after is None:
            break
    # Then each of ours is there once, newest first
    expected = sorted(charges, key=lambda one: (one.created_ms, one.generation_id), reverse=True)
    assert [one.id for one in told] == [one.generation_id for one in expected]


def test_a_list_is_filtered_by_what_is_asked(ledger: Ledger):
    ada = make_customer(ledger)
    caller = replace(ada.charge().caller, member="usr_1", session_id="s-1")
    settle(
        ledger,
        [
            ada.charge(1, created_ms=NOW_MS - 10),
            ada.charge(2, model_id="acme/small"),
            ada.charge(3, caller=caller, created_ms=NOW_MS + 10),
        ],
        NOW_MS,
    )

    def ids(**wanted):
        page = activity.page_of(ledger, Wanted(account_id=ada.account_id, **wanted), 10)
        return [int(one.id[-2:]) for one in page.rows]

    assert ids() == [3, 2, 1]
    assert ids(start_ms=NOW_MS) == [3, 2]
    assert ids(end_ms=NOW_MS) == [1]
    assert ids(model_id="acme/small") == [2]
    assert ids(user_id="usr_1") == [3]
    assert ids(session_id="s-1") == [3]
    assert ids(key_hash=ada.key.key_hash) == [3, 2, 1]
    assert ids(key_hash="0" * 64) == []
    assert ids(after=generation_id(3)) == [2, 1]


def test_a_page_cannot_begin_behind_somebody_elses(ledger: Ledger):
    ada, eve = make_customer(ledger), make_customer(ledger)
    settle(ledger, [ada.charge(1)], NOW_MS)
    errors = set()
    for after in (generation_id(1), generation_id(2)):
        with pytest.raises(BadRequest) as caught:
            activity.page_of(ledger, Wanted(account_id=eve.account_id, after=after), 10)
        errors.add(caught.value.message)
    assert len(errors) == 1


def test_what_is_listed_is_what_was_paid(ledger: Ledger):
    ada = make_customer(ledger)
    own = ada.charge(2, byok="byok_1", fee_ppm=50_000)
    settle(ledger, [ada.charge(1), own, ada.charge(3, outcome="failed")], NOW_MS)
    page = activity.page_of(ledger, Wanted(account_id=ada.account_id), 10)
    assert {one.id[-1]: (one.cost_nano, one.upstream_cost_nano, one.byok) for one in page.rows} == {
        "1": (COST_NANO, COST_NANO, False),
        "2": (COST_NANO // 20, COST_NANO, True),
        "3": (0, COST_NANO, False),
    }
