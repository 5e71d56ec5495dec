"""Who belongs to which account: people's own, and organisations."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from billing.accounts import Account, AccountKind, open_account
from billing.db import Ledger
from billing.people import LIST_MAX, Role, User, user_in
from billing.tables import accounts, api_keys, members, sessions, users
from routing.errors import Conflict, NotFound

#: Members of one organisation; more need a directory, not a list.
MEMBERS_MAX = 10_000
#: Organisations one person runs: all of them are listed on their pages.
ORGANIZATIONS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person in an account."""

    user: User
    role: Role
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """An account a person is in."""

    account_id: str
    account_name: str
    account_kind: AccountKind
    role: Role


def create_organization(ledger: Ledger, name: str, admin_id: str, now_ms: int) -> Account:
    """Open an organisation's account, with its first admin.

    Raises:
        BadRequest: a blank name, or one that is too long.
        Conflict: they run too many already.
        NotFound: no such user.
        Unavailable: the database is away.
    """
    runs = (members.c.user_id == admin_id, members.c.role == "admin")
    with ledger.writing() as connection:
        _known(connection, admin_id, lock=True)
        if _count(connection, *runs) >= ORGANIZATIONS_MAX:
            raise Conflict(f"You run {ORGANIZATIONS_MAX} accounts already; leave one first")
        account = open_account(connection, name, now_ms, "organization")
        _join(connection, account.id, admin_id, "admin", now_ms)
        return account


def memberships_of(ledger: Ledger, user_id: str) -> tuple[Membership, ...]:
    """The living accounts a person is in, their own first."""
    columns = (accounts.c.id, accounts.c.name, accounts.c.kind, members.c.role)
    query = (
        select(*columns)
        .join(accounts, accounts.c.id == members.c.account_id)
        .where(members.c.user_id == user_id, accounts.c.closed_ms.is_(None))
        .order_by(accounts.c.kind.desc(), accounts.c.name, accounts.c.id)
    )
    with ledger.reading() as connection:
        return tuple(
            Membership(account_id=account_id, account_name=name, account_kind=kind, role=role)
            for account_id, name, kind, role in connection.execute(query)
        )


def role_of(ledger: Ledger, account_id: str, user_id: str) -> Role | None:
    """What a person may do in an account; None for nothing."""
    with ledger.reading() as connection:
        return _role(connection, account_id, user_id)


def members_of(
    ledger: Ledger, account_id: str, *, offset: int = 0, limit: int = LIST_MAX
) -> tuple[tuple[Member, ...], int]:
    """Some members of an account, longest first, and how many there are."""
    query = (
        select(users, members.c.role, members.c.created_ms.label("since_ms"))
        .join(members, members.c.user_id == users.c.id)
        .where(members.c.account_id == account_id)
        .order_by(members.c.created_ms, users.c.id)
        .offset(offset)
        .limit(limit)
    )
    with ledger.reading() as connection:
        found = tuple(
            Member(user=user_in(row), role=row["role"], since_ms=row["since_ms"])
            for row in connection.execute(query).mappings()
        )
        return found, _count(connection, members.c.account_id == account_id)


def member_of(ledger: Ledger, account_id: str, user_id: str) -> Member | None:
    """One member; None for whoever is not."""
    query = (
        select(users, members.c.role, members.c.created_ms.label("since_ms"))
        .join(members, members.c.user_id == users.c.id)
        .where(*_is(account_id, user_id))
    )
    with ledger.reading() as connection:
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    return Member(user=user_in(row), role=row["role"], since_ms=row["since_ms"])


def add_member(ledger: Ledger, account_id: str, user_id: str, role: Role, now_ms: int) -> None:
    """Let a person into an organisation.

    Raises:
        NotFound: no such organisation or user.
        Conflict: a member already, or the organisation is full.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        _locked(connection, account_id)
        _known(connection, user_id)
        if _role(connection, account_id, user_id) is not None:
            raise Conflict("They are a member already")
        if _count(connection, members.c.account_id == account_id) >= MEMBERS_MAX:
            raise Conflict(f"An organization has at most {MEMBERS_MAX:,} members")
        _join(connection, account_id, user_id, role, now_ms)


def adopt(ledger: Ledger, account_id: str, user_id: str, now_ms: int) -> bool:
    """Give an account that nobody is in, as operators open them, its first admin.

    It is an organisation from then on. False when it has members, or is closed.

    Raises:
        NotFound: no such user.
        Unavailable: the database is away.
    """
    open_one = (accounts.c.id == account_id, accounts.c.closed_ms.is_(None))
    with ledger.writing() as connection:
        _known(connection, user_id)
        # Locks the row, as `_locked` does.
        opened = connection.execute(update(accounts).where(*open_one).values(id=account_id))
        if opened.rowcount != 1 or _count(connection, members.c.account_id == account_id):
            return False
        connection.execute(update(accounts).where(*open_one).values(kind="organization"))
        _join(connection, account_id, user_id, "admin", now_ms)
        return True


def change_role(ledger: Ledger, account_id: str, user_id: str, role: Role, now_ms: int) -> None:
    """Make a member an admin, or an admin a member: then their keys that manage are disabled.

    The keys are cached: call it through `Office.change_keys_of`.

    Raises:
        NotFound: no such organisation or member.
        Conflict: it would be left without an admin.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        _locked(connection, account_id)
        _spare(connection, account_id, user_id, stays=role == "admin")
        connection.execute(update(members).where(*_is(account_id, user_id)).values(role=role))
        if role != "admin":
            # With one of them they could make themselves an admin again.
            manages = (*_made_by(user_id, account_id), api_keys.c.kind == "management")
            _disable(connection, manages, now_ms)


def remove_member(ledger: Ledger, account_id: str, user_id: str, now_ms: int) -> None:
    """Take a person out of an organisation: their log-ins there end, their keys of it are disabled.

    The keys are cached: call it through `Office.change_keys_of`.

    Raises:
        NotFound: no such organisation or member.
        Conflict: it would be left without an admin.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        _locked(connection, account_id)
        _spare(connection, account_id, user_id, stays=False)
        connection.execute(delete(members).where(*_is(account_id, user_id)))
        theirs = (sessions.c.user_id == user_id, sessions.c.account_id == account_id)
        connection.execute(delete(sessions).where(*theirs))
        _disable_keys(connection, user_id, now_ms, account_id)


def keys_of(ledger: Ledger, user_id: str, account_id: str | None = None) -> tuple[str, ...]:
    """Hashes of the keys a person made: in one account, or in all."""
    query = select(api_keys.c.hash).where(*_made_by(user_id, account_id))
    with ledger.reading() as connection:
        return tuple(connection.execute(query).scalars())


def disable_keys(ledger: Ledger, user_id: str, now_ms: int, account_id: str | None = None) -> int:
    """Disable the keys a person made; through `Office.change_keys`, as with `remove_member`."""
    with ledger.writing() as connection:
        return _disable_keys(connection, user_id, now_ms, account_id)


def _known(connection: Connection, user_id: str, *, lock: bool = False) -> None:
    query = select(users.c.id).where(users.c.id == user_id)
    if lock:
        query = query.with_for_update(key_share=True)
    if connection.execute(query).one_or_none() is None:
        raise NotFound("No such user")


def _locked(connection: Connection, account_id: str) -> None:
    """Changes of members come one after the other: two admins cannot remove each other."""
    found = connection.execute(
        select(accounts.c.id)
        .where(
            accounts.c.id == account_id,
            accounts.c.kind == "organization",
            accounts.c.closed_ms.is_(None),
        )
        .with_for_update()
    )
    if found.one_or_none() is None:
        raise NotFound("No such organization")


def _join(connection: Connection, account_id: str, user_id: str, role: Role, now_ms: int) -> None:
    row = {"account_id": account_id, "user_id": user_id, "role": role, "created_ms": now_ms}
    connection.execute(insert(members), row)


def _spare(connection: Connection, account_id: str, user_id: str, *, stays: bool) -> None:
    """Leave an organisation its last admin."""
    role = _role(connection, account_id, user_id)
    if role is None:
        raise NotFound("No such member")
    admins = (members.c.account_id == account_id, members.c.role == "admin")
    if role == "admin" and not stays and _count(connection, *admins) == 1:
        raise Conflict("An organization needs an admin: make somebody else one first")


def _role(connection: Connection, account_id: str, user_id: str) -> Role | None:
    query = select(members.c.role).where(*_is(account_id, user_id))
    role: Role | None = connection.execute(query).scalar_one_or_none()
    return role


def _is(account_id: str, user_id: str) -> tuple[ColumnElement[bool], ...]:
    return members.c.account_id == account_id, members.c.user_id == user_id


def _count(connection: Connection, *wanted: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(members).where(*wanted)
    return int(connection.execute(query).scalar_one())


def _made_by(user_id: str, account_id: str | None) -> tuple[ColumnElement[bool], ...]:
    theirs = (api_keys.c.creator_user_id == user_id, api_keys.c.deleted_ms.is_(None))
    return theirs if account_id is None else (*theirs, api_keys.c.account_id == account_id)


def _disable_keys(connection: Connection, user_id: str, now_ms: int, account_id: str | None) -> int:
    return _disable(connection, _made_by(user_id, account_id), now_ms)


def _disable(connection: Connection, which: tuple[ColumnElement[bool], ...], now_ms: int) -> int:
    enabled = (*which, api_keys.c.disabled.is_(False))
    changes = {"disabled": True, "updated_ms": now_ms, "version": api_keys.c.version + 1}
    return connection.execute(update(api_keys).where(*enabled).values(**changes)).rowcount
