from __future__ import annotations

import pytest
from sqlalchemy import select

from billing import members, people, sessions
from billing.db import Ledger
from billing.people import NewUser
from billing.sessions import IDLE_MS, LIFE_MS, PER_USER_MAX, SEEN_EVERY_MS
from billing.tables import sessions as table
from routing.errors import NotFound
from tests.fixtures.charges import NOW_MS

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


@pytest.fixture
def ada(ledger: Ledger) -> str:
    return people.create_user(ledger, NewUser(email="ada@example.com"), NOW_MS).id


def _rows(ledger: Ledger) -> list[str]:
    with ledger.reading() as connection:
        return list(connection.execute(select(table.c.hash)).scalars())


def test_a_token_is_of_its_user_in_their_own_account(ledger: Ledger, ada: str):
    token = sessions.begin(ledger, ada, None, NOW_MS)

    visit = sessions.find(ledger, token, NOW_MS)

    assert visit is not None
    assert (visit.user.id, visit.account_kind, visit.role) == (ada, "personal", "admin")
    assert visit.account_id == members.memberships_of(ledger, ada)[0].account_id
    assert token not in str(_rows(ledger))


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "x" * 100_000, "\udc80", "a\x00b"])
def test_any_other_token_is_nobodys(ledger: Ledger, ada: str, token: str):
    sessions.begin(ledger, ada, None, NOW_MS)

    assert sessions.find(ledger, token, NOW_MS) is None


def test_a_session_ends_by_itself(ledger: Ledger, ada: str):
    token = sessions.begin(ledger, ada, None, NOW_MS)

    assert sessions.find(ledger, token, NOW_MS + IDLE_MS) is None
    now_ms = NOW_MS
    while (now_ms := now_ms + IDLE_MS - 1) < NOW_MS + LIFE_MS:
        assert sessions.find(ledger, token, now_ms) is not None
    assert sessions.find(ledger, token, NOW_MS + LIFE_MS) is None


def test_use_is_written_down_now_and_then(ledger: Ledger, ada: str):
    token = sessions.begin(ledger, ada, None, NOW_MS)

    def seen_ms() -> int:
        with ledger.reading() as connection:
            return int(connection.execute(select(table.c.seen_ms)).scalar_one())

    sessions.find(ledger, token, NOW_MS + SEEN_EVERY_MS - 1)
    assert seen_ms() == NOW_MS
    sessions.find(ledger, token, NOW_MS + SEEN_EVERY_MS)
    assert seen_ms() == NOW_MS + SEEN_EVERY_MS


def test_one_replaces_another_and_ends(ledger: Ledger, ada: str):
    first = sessions.begin(ledger, ada, None, NOW_MS)
    second = sessions.begin(ledger, ada, None, NOW_MS, instead_of=first)

    assert sessions.find(ledger, first, NOW_MS) is None
    sessions.end(ledger, second)
    sessions.end(ledger, "never was")
    assert sessions.find(ledger, second, NOW_MS) is None


def test_nobody_enters_an_account_of_others(ledger: Ledger, ada: str):
    bob = people.create_user(ledger, NewUser(email="bob@example.com"), NOW_MS).id
    own = members.memberships_of(ledger, bob)[0].account_id

    for account in (own, "user_none"):
        with pytest.raises(NotFound):
            sessions.begin(ledger, ada, account, NOW_MS)
    with pytest.raises(NotFound):
        sessions.begin(ledger, "user_nobody", None, NOW_MS)


def test_a_role_is_that_of_now(ledger: Ledger, ada: str):
    org = members.create_organization(ledger, "Engines", ada, NOW_MS).id
    bob = people.create_user(ledger, NewUser(email="bob@example.com"), NOW_MS).id
    members.add_member(ledger, org, bob, "member", NOW_MS)
    token = sessions.begin(ledger, bob, org, NOW_MS)
    for role in ("member", "admin"):
        members.change_role(ledger, org, bob, role, NOW_MS)
        visit = sessions.find(ledger, token, NOW_MS)
        assert visit is not None
        assert (visit.account_name, visit.role) == ("Engines", role)


def test_a_person_has_so_many_sessions_and_old_ones_are_cleared(ledger: Ledger, ada: str):
    tokens = [sessions.begin(ledger, ada, None, NOW_MS + n) for n in range(PER_USER_MAX + 2)]

    alive = [sessions.find(ledger, token, NOW_MS + 100) is not None for token in tokens]
    assert alive == [False, False] + [True] * PER_USER_MAX
    sessions.begin(ledger, ada, None, NOW_MS + 2 * LIFE_MS)
    assert len(_rows(ledger)) == 1
