"""Log-ins of browsers. Only the hash of a session's token is kept, as with API keys."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from billing.accounts import TEXT_MAX, AccountKind, open_account
from billing.db import Ledger
from billing.people import Role, User, user_in
from billing.tables import accounts, members, sessions, users
from routing.errors import NotFound

#: A log-in ends after this, used or not…
LIFE_MS = 14 * 86_400_000
#: …or when it was not used for so long.
IDLE_MS = 2 * 86_400_000
#: That it is in use is written down at most this often.
SEEN_EVERY_MS = 5 * 60_000
#: Log-ins of one person at once; the one not used for longest makes way.
PER_USER_MAX = 50
#: Longest token looked at: ours have 43 characters.
TOKEN_MAX = 64
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Somebody who is logged in, and the account they act for.

    Attributes:
        hash: names the session.
        role: what they may do in the account; in their own they are admins.
    """

    hash: str
    user: User
    account_id: str
    account_name: str
    account_kind: AccountKind
    role: Role


def begin(
    ledger: Ledger, user_id: str, account_id: str | None, now_ms: int, *, instead_of: str = ""
) -> str:
    """Begin a log-in and give back its token, which nobody can read again.

    Args:
        ledger: may be written.
        user_id: was proved already.
        account_id: acts for it; None for the person's own. Whoever has none any more, since it was
            closed, gets another: nobody who may log in is shut out.
        now_ms: the moment.
        instead_of: token of a log-in that ends with it.

    Raises:
        NotFound: no such user, or not a member of the account.
        Unavailable: the database is away.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with ledger.writing() as connection:
        place = _place(connection, user_id, account_id)
        if place is None and account_id is None:
            place = _new_place(connection, user_id, now_ms)
        if place is None:
            raise NotFound("No such account")
        connection.execute(delete(sessions).where(sessions.c.hash == hash_of(instead_of)))
        connection.execute(delete(sessions).where(sessions.c.expires_ms <= now_ms))
        _make_room(connection, user_id)
        row = {
            "hash": hash_of(token),
            "user_id": user_id,
            "account_id": place,
            "created_ms": now_ms,
            "seen_ms": now_ms,
            "expires_ms": now_ms + LIFE_MS,
        }
        connection.execute(insert(sessions), row)
    return token


def find(ledger: Ledger, token: str, now_ms: int) -> Visit | None:
    """Whose token it is; None for one that ended, or whose owner lost the account or log-in.

    Raises:
        Unavailable: the database is away.
    """
    if not token or len(token) > TOKEN_MAX:
        return None
    name = hash_of(token)
    columns = (
        accounts.c.name.label("account_name"),
        accounts.c.kind.label("account_kind"),
        members.c.role,
        members.c.account_id,
        sessions.c.hash,
        sessions.c.seen_ms,
    )
    query = (
        select(users, *columns)
        .join(sessions, sessions.c.user_id == users.c.id)
        .join(
            members,
            (members.c.user_id == users.c.id) & (members.c.account_id == sessions.c.account_id),
        )
        .join(accounts, accounts.c.id == members.c.account_id)
        .where(
            sessions.c.hash == name,
            sessions.c.expires_ms > now_ms,
            sessions.c.seen_ms > now_ms - IDLE_MS,
            users.c.disabled.is_(False),
            accounts.c.closed_ms.is_(None),
        )
    )
    with ledger.reading() as connection:
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    if row["seen_ms"] <= now_ms - SEEN_EVERY_MS:
        _seen(ledger, name, now_ms)
    return Visit(
        hash=name,
        user=user_in(row),
        account_id=row["account_id"],
        account_name=row["account_name"],
        account_kind=row["account_kind"],
        role=row["role"],
    )


def end(ledger: Ledger, token: str) -> None:
    """End a log-in; harmless where there is none.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        connection.execute(delete(sessions).where(sessions.c.hash == hash_of(token)))


def end_all(ledger: Ledger, user_id: str) -> None:
    """End all log-ins of a person.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        connection.execute(delete(sessions).where(sessions.c.user_id == user_id))


def hash_of(token: str) -> str:
    """What is kept of a token: 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _place(connection: Connection, user_id: str, account_id: str | None) -> str | None:
    """The account a person asks for, or their own."""
    query = (
        select(accounts.c.id)
        .join(members, members.c.account_id == accounts.c.id)
        .where(members.c.user_id == user_id, accounts.c.closed_ms.is_(None))
        .order_by(accounts.c.kind.desc(), accounts.c.created_ms, accounts.c.id)
        .limit(1)
    )
    if account_id is not None:
        query = query.where(accounts.c.id == account_id)
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def _new_place(connection: Connection, user_id: str, now_ms: int) -> str | None:
    known = (users.c.id == user_id, users.c.disabled.is_(False))
    email = connection.execute(select(users.c.email).where(*known)).scalar_one_or_none()
    if email is None:
        return None
    own = open_account(connection, email[:TEXT_MAX], now_ms)
    row = {"account_id": own.id, "user_id": user_id, "role": "admin", "created_ms": now_ms}
    connection.execute(insert(members), row)
    return own.id


def _make_room(connection: Connection, user_id: str) -> None:
    oldest = (
        select(sessions.c.hash)
        .where(sessions.c.user_id == user_id)
        .order_by(sessions.c.seen_ms.desc(), sessions.c.hash)
        .offset(PER_USER_MAX - 1)
    )
    hashes = connection.execute(oldest).scalars().all()
    if hashes:
        connection.execute(delete(sessions).where(sessions.c.hash.in_(hashes)))


def _seen(ledger: Ledger, name: str, now_ms: int) -> None:
    with ledger.writing() as connection:
        mine = update(sessions).where(sessions.c.hash == name)
        connection.execute(mine.values(seen_ms=now_ms))
