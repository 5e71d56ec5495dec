from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from billing import accounts, api_keys, closing, generations, invariants
from billing.accounts import Grant
from billing.closing import SETTLED_WITHIN_MS
from billing.db import Ledger
from billing.ledger import FORFEITED, balances
from billing.settlement import settle
from billing.tables import (
    auth_codes,
    budgets,
    byok_keys,
    generation_contents,
    members,
    sessions,
    transactions,
    users,
)
from routing.clock import FixedClock
from routing.errors import NotFound
from routing.settings import Settings
from tests.fixtures.charges import COST_NANO, NOW_MS, generation_id
from tests.fixtures.customers import GRANTED_NANO, Customer, make_customer
from workers.sweep import Sweeper

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

LATER_MS = NOW_MS + SETTLED_WITHIN_MS


def person(ledger: Ledger, name: str, *account_ids: str, site_admin: bool = False) -> str:
    """A user who belongs to accounts and is logged in to each."""
    user_id = f"user_{name}"
    row = {
        "id": user_id,
        "email": f"{name}@example.org",
        "first_name": name,
        "last_name": "Byron",
        "password_hash": "argon",
        "oidc_issuer": "https://id.example.org",
        "oidc_subject": name,
        "site_admin": site_admin,
        "disabled": False,
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    with ledger.writing() as connection:
        connection.execute(insert(users), row)
        for account_id in account_ids:
            belongs = {"account_id": account_id, "user_id": user_id, "created_ms": NOW_MS}
            connection.execute(insert(members), belongs | {"role": "admin"})
            session = {
                "hash": f"{user_id} {account_id}",
                "user_id": user_id,
                "account_id": account_id,
                "created_ms": NOW_MS,
                "seen_ms": NOW_MS,
                "expires_ms": LATER_MS,
            }
            connection.execute(insert(sessions), session)
    return user_id


def furnish(ledger: Ledger, customer: Customer) -> None:
    """Give an account one of everything that it may own."""
    own, times = {"account_id": customer.account_id}, {"created_ms": NOW_MS}
    rows: list[tuple[Any, dict[str, Any]]] = [
        (
            byok_keys,
            {
                "id": "byok_1",
                "provider": "acme",
                "name": "mine",
                "label": "sk-...1",
                "sealed": "sealed",
                "kek_id": "k1",
                "disabled": False,
                "always_use": False,
                "is_fallback": False,
                "sort_order": 0,
                "updated_ms": NOW_MS,
            },
        ),
        (
            budgets,
            {
                "id": "budget_1",
                "owner": f"org:{customer.account_id}",
                "interval": "daily",
                "limit_nano": 1,
                "include_byok": False,
                "updated_ms": NOW_MS,
            },
        ),
        (
            auth_codes,
            {
                "hash": "code",
                "callback_url": "https://app.example.org",
                "key_label": "App",
                "expires_ms": LATER_MS,
            },
        ),
        (generation_contents, {"generation_id": generation_id(1), "sealed": "sealed"}),
    ]
    with ledger.writing() as connection:
        for table, row in rows:
            connection.execute(insert(table), row | own | times)


def count(ledger: Ledger, table: Any, account_id: str) -> int:
    query = select(func.count()).select_from(table).where(table.c.account_id == account_id)
    with ledger.reading() as connection:
        return int(connection.execute(query).scalar_one())


def has(ledger: Ledger, scope: str) -> int:
    with ledger.reading() as connection:
        found = balances(connection, {scope}).get(scope)
    return 0 if found is None else found.posted_nano


def user(ledger: Ledger, user_id: str) -> Any:
    with ledger.reading() as connection:
        return connection.execute(select(users).where(users.c.id == user_id)).one()


def test_credit_that_is_left_is_forfeited_and_the_books_balance(ledger: Ledger):
    customer = make_customer(ledger)
    settle(ledger, [customer.charge()], NOW_MS)

    closed = closing.close(ledger, customer.account_id, NOW_MS)

    assert closed.forfeited_nano == GRANTED_NANO - COST_NANO == has(ledger, FORFEITED)
    assert (closed.budget.scope, closed.budget.available_nano) == (customer.scope, 0)
    assert closed.budget == accounts.budget_of(ledger, customer.account_id)
    assert invariants.check(ledger, NOW_MS) == ()
    assert invariants.drift_nano(ledger) == 0


def test_its_keys_stop(ledger: Ledger):
    customer = make_customer(ledger)

    closing.close(ledger, customer.account_id, NOW_MS)

    key = api_keys.find(ledger, customer.key.key_hash, NOW_MS)
    assert key is None or key.disabled


def test_closing_again_changes_nothing(ledger: Ledger):
    customer = make_customer(ledger)
    first = closing.close(ledger, customer.account_id, NOW_MS)

    again = closing.close(ledger, customer.account_id, NOW_MS + 1)

    assert (again.forfeited_nano, again.budget) == (0, first.budget)
    found = accounts.get(ledger, customer.account_id)
    assert found is not None
    assert found.closed_ms == NOW_MS


def test_closed_by_many_at_once_it_is_forfeited_once(ledger: Ledger):
    customer = make_customer(ledger)

    with ThreadPoolExecutor(4) as pool:
        closings = [
            pool.submit(closing.close, ledger, customer.account_id, NOW_MS) for _ in range(8)
        ]
        taken = sorted(one.result().forfeited_nano for one in closings)

    assert taken == [0] * 7 + [GRANTED_NANO]
    assert has(ledger, FORFEITED) == GRANTED_NANO


def test_nobody_cannot_be_closed(ledger: Ledger):
    with pytest.raises(NotFound, match="user_nobody"):
        closing.close(ledger, "user_nobody", NOW_MS)


@pytest.mark.parametrize("spent", [0, 1])
def test_an_account_without_credit_forfeits_nothing(ledger: Ledger, spent: int):
    customer = make_customer(ledger, granted_nano=0)
    settle(ledger, [customer.charge()] * spent, NOW_MS)

    closed = closing.close(ledger, customer.account_id, NOW_MS)

    assert closed.forfeited_nano == 0
    assert closed.budget.available_nano == -COST_NANO * spent
    with ledger.reading() as connection:
        kinds = connection.execute(select(transactions.c.kind)).scalars().all()
    assert "forfeit" not in kinds


def test_what_is_under_way_is_charged_and_the_rest_is_taken_a_day_later(ledger: Ledger):
    customer = make_customer(ledger)
    held = 3 * COST_NANO

    closed = closing.close(ledger, customer.account_id, NOW_MS, held)
    assert (closed.forfeited_nano, closed.budget.available_nano) == (GRANTED_NANO - held, held)
    settle(ledger, [customer.charge()], NOW_MS)

    assert closing.forfeit_left(ledger, LATER_MS - 1) == ()
    (left,) = closing.forfeit_left(ledger, LATER_MS)
    assert (left.scope, left.available_nano) == (customer.scope, 0)
    assert closing.forfeit_left(ledger, LATER_MS) == ()
    assert has(ledger, FORFEITED) == GRANTED_NANO - COST_NANO
    assert generations.find(ledger, generation_id(1), customer.account_id) is not None
    assert invariants.check(ledger, LATER_MS) == ()


def test_the_rest_of_open_accounts_is_theirs(ledger: Ledger):
    customer = make_customer(ledger)

    assert closing.forfeit_left(ledger, LATER_MS * 2) == ()
    assert has(ledger, customer.scope) == GRANTED_NANO


def test_the_rest_is_taken_in_bounded_steps(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(closing, "FORFEIT_MAX", 2)
    for _ in range(3):
        customer = make_customer(ledger)
        closing.close(ledger, customer.account_id, NOW_MS, GRANTED_NANO)

    steps = [len(closing.forfeit_left(ledger, LATER_MS)) for _ in range(3)]

    assert steps == [2, 1, 0]
    assert has(ledger, FORFEITED) == 3 * GRANTED_NANO


def test_secrets_sessions_and_content_go_and_those_of_others_stay(ledger: Ledger):
    customer, other = make_customer(ledger), make_customer(ledger)
    furnish(ledger, customer)
    person(ledger, "ada", customer.account_id)
    person(ledger, "bob", other.account_id)

    closing.close(ledger, customer.account_id, NOW_MS)

    for table in (auth_codes, budgets, byok_keys, generation_contents, members, sessions):
        assert count(ledger, table, customer.account_id) == 0, table.name
    assert (count(ledger, members, other.account_id), has(ledger, other.scope)) == (1, GRANTED_NANO)
    assert count(ledger, sessions, other.account_id) == 1
    assert user(ledger, "user_bob").email == "bob@example.org"


def test_a_person_is_forgotten_with_the_last_account(ledger: Ledger):
    customer = make_customer(ledger)
    ada = person(ledger, "ada", customer.account_id)

    closing.close(ledger, customer.account_id, NOW_MS)

    gone = user(ledger, ada)
    assert (gone.email, gone.first_name, gone.last_name) == (f"closed:{ada}", "", "")
    assert (gone.password_hash, gone.oidc_issuer, gone.oidc_subject) == (None, None, None)
    assert gone.disabled
    found = accounts.get(ledger, customer.account_id)
    assert found is not None
    assert found.name == closing.CLOSED_NAME


def test_who_belongs_elsewhere_or_runs_the_site_is_not_forgotten(ledger: Ledger):
    customer = make_customer(ledger)
    team = accounts.create_account(ledger, "Team", NOW_MS, kind="organization")
    ada = person(ledger, "ada", customer.account_id, team.id)
    root = person(ledger, "root", customer.account_id, site_admin=True)

    closing.close(ledger, customer.account_id, NOW_MS)

    assert user(ledger, ada).email == "ada@example.org"
    assert not user(ledger, root).disabled
    assert count(ledger, members, team.id) == count(ledger, sessions, team.id) == 1


def test_members_outlive_their_organisation(ledger: Ledger):
    team = accounts.create_account(ledger, "Team", NOW_MS, kind="organization")
    own = accounts.create_account(ledger, "Ada", NOW_MS)
    ada = person(ledger, "ada", team.id, own.id)
    bob = person(ledger, "bob", team.id)  # who closed an account of his own before

    closing.close(ledger, team.id, NOW_MS)

    assert not user(ledger, ada).disabled
    assert user(ledger, bob).email == f"closed:{bob}"
    assert count(ledger, members, team.id) == 0
    found = accounts.get(ledger, team.id)
    assert found is not None
    assert found.name == "Team"


def test_a_closed_account_takes_nothing_more(ledger: Ledger):
    customer = make_customer(ledger)
    closing.close(ledger, customer.account_id, NOW_MS)

    with pytest.raises(NotFound, match="closed"):
        accounts.grant(ledger, customer.account_id, Grant(amount_nano=1, reference="late"), NOW_MS)
    with pytest.raises(NotFound, match="closed"):
        accounts.change_policy(ledger, customer.account_id, lambda policy: policy)


def test_the_sweep_takes_what_is_left_of_closed_accounts(ledger: Ledger, fake_redis: Any):
    customer = make_customer(ledger)
    closing.close(ledger, customer.account_id, NOW_MS, GRANTED_NANO)
    sweeper = Sweeper(ledger, fake_redis, Settings(), FixedClock(LATER_MS))

    assert sweeper.settle_closed() == 1
    assert sweeper.settle_closed() == 0
    assert fake_redis.hget(f"bud:{customer.scope}", "avail") == b"0"
    assert invariants.check(ledger, LATER_MS) == ()
