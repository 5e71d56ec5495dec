"""People who log in: with a password, or with an identity provider that vouches for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select, update

from billing.accounts import TEXT_MAX, open_account
from billing.db import Ledger, insert_rows
from billing.tables import members, sessions, users
from routing import ids
from routing.errors import BadRequest, Conflict, NotFound, Unauthorized

#: `admin` runs an account; `member` makes keys of its own and sees its own use.
Role = Literal["admin", "member"]
#: Rows listed at once.
LIST_MAX = 100
#: Of an e-mail address, as mail servers have it.
EMAIL_MAX = 254
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person. Holds no secret.

    Attributes:
        email: in lower case; nobody else has it.
        site_admin: runs this installation.
        disabled: cannot log in.
        has_password: else logs in with the identity provider, or not at all.
    """

    id: str
    email: str
    first_name: str
    last_name: str
    site_admin: bool
    disabled: bool
    has_password: bool
    created_ms: int

    @property
    def name(self) -> str:
        """As shown: the full name, else the address."""
        return f"{self.first_name} {self.last_name}".strip() or self.email


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A person to be; meanings as in `User`."""

    email: str
    first_name: str = ""
    last_name: str = ""
    password_hash: str | None = None
    site_admin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an identity provider says of a person, after its word was checked.

    Attributes:
        issuer: who says it; with `subject` it names the person for ever.
        email: "" where it says none that it has verified.
    """

    issuer: str
    subject: str
    email: str = ""
    first_name: str = ""
    last_name: str = ""


def create_user(ledger: Ledger, wanted: NewUser, now_ms: int) -> User:
    """Add a person, with an account of their own.

    Raises:
        BadRequest: an e-mail address or name that cannot be.
        Conflict: somebody has this address.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        return _create(connection, wanted, now_ms)


def user_of(ledger: Ledger, user_id: str) -> User | None:
    """One person; None when there is none with this id."""
    with ledger.reading() as connection:
        return _one(connection, users.c.id == user_id)


def user_by_email(ledger: Ledger, email: str) -> User | None:
    """One person by their address, in upper or lower case."""
    with ledger.reading() as connection:
        return _one(connection, users.c.email == email.strip().lower())


def list_users(ledger: Ledger, *, after: str = "") -> tuple[User, ...]:
    """At most `LIST_MAX` people by address, from the one that follows `after`."""
    query = select(users).where(users.c.email > after).order_by(users.c.email).limit(LIST_MAX)
    with ledger.reading() as connection:
        return tuple(user_in(row) for row in connection.execute(query).mappings())


def password_of(ledger: Ledger, email: str) -> tuple[User | None, str | None]:
    """A person who may log in with a password, and what is kept of it.

    Raises:
        Unavailable: the database is away.
    """
    wanted = (users.c.email == email.strip().lower(), users.c.disabled.is_(False))
    with ledger.reading() as connection:
        row = connection.execute(select(users).where(*wanted)).mappings().one_or_none()
    return (None, None) if row is None else (user_in(row), row["password_hash"])


def set_password(
    ledger: Ledger, user_id: str, password_hash: str | None, now_ms: int, *, keep: str = ""
) -> None:
    """Change or take away a password; every browser but that of session `keep` is logged out.

    Raises:
        NotFound: no such user.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        _change(connection, user_id, {"password_hash": password_hash}, now_ms)
        connection.execute(
            delete(sessions).where(sessions.c.user_id == user_id, sessions.c.hash != keep)
        )


def refresh_hash(ledger: Ledger, user_id: str, old: str, new: str) -> None:
    """The same password under stronger settings, unless it was changed meanwhile."""
    known = (users.c.id == user_id, users.c.password_hash == old)
    with ledger.writing() as connection:
        connection.execute(update(users).where(*known).values(password_hash=new))


def set_name(ledger: Ledger, user_id: str, first: str, last: str, now_ms: int) -> None:
    """Change how a person is called.

    Raises:
        BadRequest: too long.
        NotFound: no such user.
        Unavailable: the database is away.
    """
    changes = {"first_name": _name(first), "last_name": _name(last)}
    with ledger.writing() as connection:
        _change(connection, user_id, changes, now_ms)


def set_site_admin(ledger: Ledger, user_id: str, now_ms: int, *, site_admin: bool) -> None:
    """Let a person run this installation, or no more.

    Raises:
        NotFound: no such user.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        _change(connection, user_id, {"site_admin": site_admin}, now_ms)


def set_disabled(ledger: Ledger, user_id: str, now_ms: int, *, disabled: bool) -> None:
    """Lock a person out, at once, or let them in again. Their keys stay: see `keys_of`.

    Raises:
        NotFound: no such user.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        _change(connection, user_id, {"disabled": disabled}, now_ms)
        if disabled:
            connection.execute(delete(sessions).where(sessions.c.user_id == user_id))


def signed_in(
    ledger: Ledger, said: Identity, now_ms: int, *, may_create: bool, may_meet: bool = True
) -> User:
    """The person an identity provider vouches for: known, met by address, or new.

    Whoever is met by address belongs to the identity provider from then on: the password ends, and
    so do the log-ins with it.

    Args:
        ledger: may be written.
        said: what was checked.
        now_ms: the moment; a new person's `created_ms`.
        may_create: whether strangers are let in.
        may_meet: whether an address stands for its owner. Not where anybody may sign up: who did
            it first may have been another, and holds keys of the account.

    Raises:
        Unauthorized: disabled, or unknown where none are created.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        known = _one(
            connection,
            users.c.oidc_issuer == said.issuer,
            users.c.oidc_subject == said.subject,
        )
        user = known
        if user is None and may_meet:
            user = _met(connection, said, now_ms)
        if user is None and may_create:
            user = _new(connection, said, now_ms)
    if user is None or user.disabled:
        raise Unauthorized("There is no account for you here. Ask whoever runs this installation.")
    return user


def user_in(row: RowMapping) -> User:
    """A person from a row that has all columns of `users`."""
    return User(
        id=row["id"],
        email=row["email"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        site_admin=row["site_admin"],
        disabled=row["disabled"],
        has_password=row["password_hash"] is not None,
        created_ms=row["created_ms"],
    )


def _one(connection: Connection, *wanted: ColumnElement[bool]) -> User | None:
    row = connection.execute(select(users).where(*wanted)).mappings().one_or_none()
    return None if row is None else user_in(row)


def _create(
    connection: Connection, wanted: NewUser, now_ms: int, said: Identity | None = None
) -> User:
    user_id = ids.account_id()
    row = {
        "id": user_id,
        "email": checked_email(wanted.email),
        "first_name": _name(wanted.first_name),
        "last_name": _name(wanted.last_name),
        "password_hash": wanted.password_hash,
        "oidc_issuer": None if said is None else said.issuer,
        "oidc_subject": None if said is None else said.subject,
        "site_admin": wanted.site_admin,
        "disabled": False,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    if not insert_rows(connection, users, [row], unique=("email",), returning=("id",)):
        raise Conflict(f"Somebody has the address {row['email']} already")
    own = open_account(connection, str(row["email"])[:TEXT_MAX], now_ms)
    membership = {"account_id": own.id, "user_id": user_id, "role": "admin", "created_ms": now_ms}
    connection.execute(insert(members), membership)
    user = _one(connection, users.c.id == user_id)
    if user is None:
        raise RuntimeError("a user was not there right after they were added")
    return user


def _met(connection: Connection, said: Identity, now_ms: int) -> User | None:
    """Whoever has the verified address, and no other identity."""
    if not said.email:
        return None
    email = checked_email(said.email)
    free = (users.c.email == email, users.c.oidc_subject.is_(None), users.c.disabled.is_(False))
    user = _one(connection, *free)
    if user is None:
        return None
    changes = {"oidc_issuer": said.issuer, "oidc_subject": said.subject, "password_hash": None}
    _change(connection, user.id, changes, now_ms)
    connection.execute(delete(sessions).where(sessions.c.user_id == user.id))
    return user


def _new(connection: Connection, said: Identity, now_ms: int) -> User | None:
    """Somebody whose verified address nobody has."""
    if not said.email or _one(connection, users.c.email == checked_email(said.email)) is not None:
        return None
    names = NewUser(email=said.email, first_name=said.first_name, last_name=said.last_name)
    return _create(connection, names, now_ms, said)


def _change(connection: Connection, user_id: str, changes: Mapping[str, Any], now_ms: int) -> None:
    known = update(users).where(users.c.id == user_id)
    if connection.execute(known.values(**changes, updated_ms=now_ms)).rowcount != 1:
        raise NotFound("No such user")


def _name(text: str) -> str:
    text = text.strip()
    if len(text) > TEXT_MAX or "\x00" in text:
        raise BadRequest(f"A name has at most {TEXT_MAX} characters", param="name")
    return text


def checked_email(text: str) -> str:
    """An address as it is kept.

    Raises:
        BadRequest: it is none.
    """
    email = text.strip().lower()
    if len(email) > EMAIL_MAX or _EMAIL.fullmatch(email) is None:
        raise BadRequest("That is no e-mail address", param="email")
    return email
