"""One-time codes: a customer says yes to an application, which then fetches a key of its own.

code made (consent page, or `/auth/keys/code`)  →  10 minutes, once  →  key

Locks are taken in one order, the account before its codes, as when an account is closed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from billing.accounts import checked_text
from billing.api_keys import KeyTerms, mint_key
from billing.apps import app_id
from billing.bill import MS_MAX
from billing.db import Ledger
from billing.ledger import AMOUNT_MAX_NANO
from billing.pkce import (
    ANY_PKCE,
    Callback,
    Challenge,
    ChallengeMethod,
    PkceRules,
    wrong_method,
)
from billing.tables import accounts, auth_codes, members, users
from routing.budgets import LimitReset
from routing.errors import BadRequest, Conflict, Forbidden, NotFound

PREFIX = "auth_code_"
#: A code is worth nothing from this moment of its life on.
CODE_LIFE_MS = 600_000
#: Codes of an account that may wait to be used at once.
OPEN_MAX = 100
#: Codes are forgotten so long after their end; until then their users are told that they ended.
KEEP_MS = 86_400_000
#: Wrong verifiers after which a code is worth nothing.
TRIES_MAX = 5
#: Longest name an application may give its key.
LABEL_MAX = 100
_SECRET_BYTES = 32
_CODE = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)
#: What anyone is told whose code or verifier is not right.
INVALID = "Invalid code or code_verifier"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTerms:
    """Whom a code is for, and what the key that it becomes may do.

    Attributes:
        user_id: who said yes; None for the operator.
        callback: where the code goes; None when it is shown on the screen.
        challenge: who has no callback needs one.
        key_label: name of the key; the application's title by default.
        app_title: what the application calls itself.
    """

    account_id: str
    user_id: str | None = None
    callback: Callback | None = None
    challenge: Challenge | None = None
    key_label: str = ""
    app_title: str = ""
    limit_nano: int | None = None
    limit_reset: LimitReset | None = None
    key_expires_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCode:
    """A new code; its text is kept nowhere. `app_id` is None when the application is unknown."""

    text: str
    app_id: int | None
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What comes with a code when it is exchanged."""

    verifier: str | None = None
    method: ChallengeMethod | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """The key that a code became; nobody can read its text again."""

    text: str
    key_hash: str
    user_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedTwice:
    """Anyone who saw the code may have been first to use it: its key must be shut."""

    key_hash: str


def issue(ledger: Ledger, terms: CodeTerms, now_ms: int) -> IssuedCode:
    """Make a code.

    Raises:
        BadRequest: a limit, an end of life or a name beyond reason, or no challenge where the code
            would be shown on the screen.
        NotFound: no such account, or it is closed, or the user is none of its members.
        Conflict: too many codes of the account wait to be used.
        Unavailable: the database is away.
    """
    _check(terms, now_ms)
    text = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    with ledger.writing() as connection:
        _lock_account(connection, terms.account_id)
        if not _may_have_keys(connection, terms.account_id, terms.user_id):
            raise NotFound(f"No account {terms.account_id}")
        _forget_old(connection, now_ms)
        if _open_codes(connection, terms.account_id, now_ms) >= OPEN_MAX:
            raise Conflict("Too many codes of this account wait to be used. Try again later.")
        app = None
        if terms.callback is not None:
            app = app_id(connection, terms.callback.origin, terms.app_title, now_ms)
        connection.execute(insert(auth_codes), _row(text, terms, app, now_ms))
    return IssuedCode(text=text, app_id=app, created_ms=now_ms)


def exchange(
    ledger: Ledger, text: str, proof: Proof, now_ms: int, rules: PkceRules = ANY_PKCE
) -> Exchanged | UsedTwice:
    """Turn a code into a key, once. Of refusals only a wrong verifier leaves a trace: it counts.

    Raises:
        BadRequest: another method than the challenge has, or one that the rules do not allow.
        Forbidden: an unknown, ended or used code, a verifier that does not match or the
            `TRIES_MAX`th before it, or who said yes may no longer say so.
        Unavailable: the database is away, and the code is as good as before.
    """
    if not _CODE.fullmatch(text):
        raise Forbidden(INVALID)
    # Anybody may ask: what is refused anyway must not cost a turn of those who may write.
    with ledger.reading() as connection:
        code = _find(connection, text)
        _check_open(code, proof, now_ms, rules)
    done: Exchanged | UsedTwice | None = _again(code, proof)
    if code["used_ms"] is None:
        with ledger.writing() as connection:
            _lock_account(connection, code["account_id"])
            code = _find(connection, text, lock=True)
            _check_open(code, proof, now_ms, rules)
            unused = code["used_ms"] is None
            done = _use(connection, code, proof, now_ms) if unused else _again(code, proof)
    # Not before: a try is counted by what was written.
    if done is None:
        raise Forbidden(INVALID)
    return done


def _use(connection: Connection, code: RowMapping, proof: Proof, now_ms: int) -> Exchanged | None:
    """None for a wrong verifier, which is counted."""
    mine = auth_codes.c.hash == code["hash"]
    if not _proves(code, proof):
        connection.execute(update(auth_codes).where(mine).values(tries=auth_codes.c.tries + 1))
        return None
    if not _may_have_keys(connection, code["account_id"], code["user_id"]):
        return None
    key_text, key = mint_key(connection, code["account_id"], _key(code), now_ms)
    connection.execute(update(auth_codes).where(mine).values(used_ms=now_ms, key_hash=key.key_hash))
    return Exchanged(text=key_text, key_hash=key.key_hash, user_id=code["user_id"])


def _again(code: RowMapping, proof: Proof) -> UsedTwice | None:
    # Only the application itself knows the verifier of an S256 challenge: it asked twice.
    if code["used_ms"] is None or code["challenge_method"] == "S256" or not _proves(code, proof):
        return None
    return UsedTwice(key_hash=code["key_hash"])


def _lock_account(connection: Connection, account_id: str) -> None:
    """Until this transaction ends the account stays as it is; others may make keys meanwhile."""
    query = select(accounts.c.id).where(accounts.c.id == account_id)
    connection.execute(query.with_for_update(read=True, key_share=True))


def _forget_old(connection: Connection, now_ms: int) -> None:
    """Whoever finds one in use leaves it: codes of other accounts are not waited for here."""
    old = (
        select(auth_codes.c.hash)
        .where(auth_codes.c.expires_ms < now_ms - KEEP_MS)
        .with_for_update(skip_locked=True)
    )
    connection.execute(delete(auth_codes).where(auth_codes.c.hash.in_(old)))


def _check(terms: CodeTerms, now_ms: int) -> None:
    if terms.callback is None and terms.challenge is None:
        raise BadRequest(
            "Without a callback_url a code_challenge is needed", param="code_challenge"
        )
    if terms.limit_nano is not None and not 0 <= terms.limit_nano <= AMOUNT_MAX_NANO:
        raise BadRequest("The limit must be from 0 to 9,000,000 USD", param="limit")
    if terms.key_expires_ms is not None and not now_ms < terms.key_expires_ms <= MS_MAX:
        raise BadRequest("The key must expire later than now", param="expires_at")
    if len(terms.key_label) > LABEL_MAX:
        raise BadRequest(f"The label has at most {LABEL_MAX} characters", param="key_label")
    if terms.key_label:
        checked_text(terms.key_label, "key_label")


def _row(text: str, terms: CodeTerms, app: int | None, now_ms: int) -> dict[str, Any]:
    callback, challenge = terms.callback, terms.challenge
    return {
        "hash": _hash(text),
        "account_id": terms.account_id,
        "user_id": terms.user_id,
        "app_id": app,
        "callback_url": "" if callback is None else callback.url,
        "challenge": None if challenge is None else challenge.text,
        "challenge_method": None if challenge is None else challenge.method,
        "key_label": terms.key_label or _default_label(terms),
        "limit_nano": terms.limit_nano,
        "limit_reset": terms.limit_reset,
        "key_expires_ms": terms.key_expires_ms,
        "created_ms": now_ms,
        "expires_ms": now_ms + CODE_LIFE_MS,
    }


def _default_label(terms: CodeTerms) -> str:
    title = terms.app_title.replace("\x00", "").strip()[:LABEL_MAX]
    if title:
        return title
    return "App" if terms.callback is None else terms.callback.origin.partition("://")[2]


def _open_codes(connection: Connection, account_id: str, now_ms: int) -> int:
    table = auth_codes
    query = select(func.count()).where(
        table.c.account_id == account_id, table.c.used_ms.is_(None), table.c.expires_ms > now_ms
    )
    return int(connection.execute(query).scalar_one())


def _may_have_keys(connection: Connection, account_id: str, user_id: str | None) -> bool:
    """Whether the account is open, and the user still one of its members."""
    is_open = select(accounts.c.id).where(
        accounts.c.id == account_id, accounts.c.closed_ms.is_(None)
    )
    if connection.execute(is_open).one_or_none() is None:
        return False
    if user_id is None:
        return True
    belongs = (
        select(members.c.user_id)
        .join(users, users.c.id == members.c.user_id)
        .where(
            members.c.account_id == account_id,
            members.c.user_id == user_id,
            users.c.disabled.is_(False),
        )
    )
    return connection.execute(belongs).one_or_none() is not None


def _find(connection: Connection, text: str, *, lock: bool = False) -> RowMapping:
    query = select(auth_codes).where(auth_codes.c.hash == _hash(text))
    if lock:
        query = query.with_for_update()
    code = connection.execute(query).mappings().one_or_none()
    if code is None:
        raise Forbidden(INVALID)
    return code


def _check_open(code: RowMapping, proof: Proof, now_ms: int, rules: PkceRules) -> None:
    """Whether a verifier is looked at at all."""
    if now_ms >= code["expires_ms"]:
        raise Forbidden("Authorization code expired")
    if code["tries"] >= TRIES_MAX:
        raise Forbidden(INVALID)
    # The operator may have become stricter since it was made.
    rules.check_method(code["challenge_method"])
    # Who sends a verifier did set a challenge: where none is known, it was taken off on the way.
    if (code["challenge"] is None) != (proof.verifier is None):
        raise Forbidden(INVALID)
    if proof.method not in {None, code["challenge_method"]}:
        raise wrong_method()


def _proves(code: RowMapping, proof: Proof) -> bool:
    """Whether the proof fits; `_check_open` has seen it."""
    if code["challenge"] is None or proof.verifier is None:
        return code["challenge"] is None
    return Challenge(code["challenge"], code["challenge_method"]).met_by(proof.verifier)


def _key(code: RowMapping) -> KeyTerms:
    return KeyTerms(
        name=code["key_label"],
        limit_nano=code["limit_nano"],
        limit_reset=code["limit_reset"],
        expires_ms=code["key_expires_ms"],
        creator_user_id=code["user_id"] or "",
        app_id=code["app_id"],
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
