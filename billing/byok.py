"""Provider keys that customers bring: stored sealed, handed to front doors as they are.

What is cached of an account's API keys holds these too: change them through `api.office`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from billing.db import Ledger
from billing.tables import accounts, api_keys, byok_keys, members
from routing.credentials import AZURE_MAX, KeyProblem, azure_keys
from routing.errors import BadRequest, NotFound
from routing.own_keys import CheckedKey
from routing.sealing import Place, Sealer, SealError
from routing.wire.account import ByokKey

#: Provider keys of one account: all of them are read with each of its API keys.
KEYS_MAX = 100
#: What they may come to together, sealed; one of Google's has some 3,500 bytes.
SEALED_MAX_BYTES = 512 * 1024
#: Names in one list of what a key is allowed for; an Azure key can have as many deployments.
ALLOWED_MAX = AZURE_MAX
#: Longest name of a key, and longest name in such a list.
NAME_MAX = 255
_ID = re.compile(r"[0-9a-f-]{36}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class UseTerms:
    """Who may use a provider key, for what, and when.

    Attributes:
        name: what its owner calls it; "" for nothing.
        always_use: requests to this provider never use the operator's key.
        is_fallback: comes after the account's other keys of the provider.
        allowed_models: None for all.
        allowed_user_ids: whose API keys may use it; None for everybody's.
        allowed_key_hashes: of API keys that may; None for all.
    """

    name: str = ""
    disabled: bool = False
    always_use: bool = False
    is_fallback: bool = False
    allowed_models: tuple[str, ...] | None = None
    allowed_user_ids: tuple[str, ...] | None = None
    allowed_key_hashes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKey:
    """A stored key as its owner sees it; what it says cannot be read again.

    Attributes:
        label: its ends, as in `sk-...AbCd`.
        sort_order: keys of one provider are tried from the least, fallbacks after all others.
    """

    id: str
    account_id: str
    provider: str
    label: str
    sort_order: int
    created_ms: int
    updated_ms: int
    terms: UseTerms


def byok_keys_of(
    connection: Connection, account_id: str, key_hash: str, user_id: str
) -> tuple[ByokKey, ...]:
    """The provider keys of an account that one of its keys may use, in the order of their use."""
    rows = connection.execute(
        select(byok_keys)
        .where(byok_keys.c.account_id == account_id, byok_keys.c.disabled.is_(False))
        .order_by(byok_keys.c.is_fallback, byok_keys.c.sort_order, byok_keys.c.id)
    )
    return tuple(
        _for_use(row)
        for row in rows
        if _allows(row.allowed_key_hashes, key_hash) and _allows(row.allowed_user_ids, user_id)
    )


def create(
    ledger: Ledger,
    sealer: Sealer,
    account_id: str,
    key: CheckedKey,
    terms: UseTerms,
    now_ms: int,
) -> ProviderKey:
    """Store a key, to be tried after the account's others of its provider.

    One that belongs to deployments is allowed for their models alone unless the terms name others.

    Raises:
        BadRequest: the account has too many, or terms name somebody else's keys or members.
        NotFound: no such account.
        Unavailable: the database is away, or this installation has no secret to seal with.
    """
    terms = _for_deployments(terms, key)
    key_id = str(uuid.uuid4())
    sealed = sealer.seal(key.text, Place.of_provider_key(key_id, account_id, key.provider))
    with ledger.writing() as connection:
        _lock(connection, account_id)
        _check(connection, account_id, terms, UseTerms())
        _check_room(connection, account_id, len(sealed))
        last = connection.execute(
            select(func.max(byok_keys.c.sort_order)).where(
                byok_keys.c.account_id == account_id, byok_keys.c.provider == key.provider
            )
        ).scalar_one()
        connection.execute(
            insert(byok_keys),
            {
                "id": key_id,
                "account_id": account_id,
                "provider": key.provider,
                "label": key.label,
                "sealed": sealed,
                "kek_id": sealer.kek_id,
                "sort_order": 0 if last is None else last + 1,
                "created_ms": now_ms,
                "updated_ms": now_ms,
                **_columns(terms),
            },
        )
        return _key(_row(connection, account_id, key_id))


def list_keys(
    ledger: Ledger, account_id: str, provider: str | None = None
) -> tuple[ProviderKey, ...]:
    """All keys of an account, or those of one provider, by provider and in the order of use.

    Raises:
        Unavailable: the database is away.
    """
    table = byok_keys
    query = select(table).where(table.c.account_id == account_id)
    if provider is not None:
        query = query.where(table.c.provider == provider.replace("\x00", ""))
    query = query.order_by(table.c.provider, table.c.is_fallback, table.c.sort_order, table.c.id)
    with ledger.reading() as connection:
        return tuple(_key(row) for row in connection.execute(query))


def get(ledger: Ledger, account_id: str, key_id: str) -> ProviderKey:
    """One key.

    Raises:
        NotFound: the account has none with this id.
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        return _key(_row(connection, account_id, key_id))


def one_for_use(ledger: Ledger, account_id: str, key_id: str) -> ByokKey:
    """One key as front doors have it, whoever may use it and though it may be disabled.

    Raises:
        NotFound: the account has none with this id.
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        return _for_use(_row(connection, account_id, key_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of a stored key.

    Attributes:
        terms: from those of before.
        key: takes the place of what was stored; None leaves it.
    """

    terms: Callable[[UseTerms], UseTerms] = lambda terms: terms
    key: CheckedKey | None = None


def change(
    ledger: Ledger, sealer: Sealer, account_id: str, key_id: str, wanted: Change, now_ms: int
) -> ProviderKey:
    """Change a key's terms, put another in its place, or both; changes made at once take turns.

    Requests that were let in before may still use what was stored before.

    Raises:
        BadRequest: terms name somebody else's keys or members, or the new key is of another
            provider.
        NotFound: the account has no key with this id.
        Unavailable: the database is away, or this installation has no secret to seal with.
    """
    with ledger.writing() as connection:
        _lock(connection, account_id)
        row = _row(connection, account_id, key_id)
        before = _key(row)
        terms = wanted.terms(before.terms)
        values: dict[str, Any] = {"updated_ms": now_ms}
        if wanted.key is not None:
            if terms.allowed_models == _deployed(sealer, row):
                terms = replace(terms, allowed_models=None)
            terms = _for_deployments(terms, wanted.key)
            values |= _resealed(connection, sealer, before, wanted.key)
        _check(connection, account_id, terms, before.terms)
        connection.execute(
            update(byok_keys).where(byok_keys.c.id == key_id).values(**values, **_columns(terms))
        )
        return _key(_row(connection, account_id, key_id))


def arrange(
    ledger: Ledger,
    account_id: str,
    provider: str,
    preferred: Sequence[str],
    fallback: Sequence[str],
    now_ms: int,
) -> tuple[ProviderKey, ...]:
    """Say in which order the keys of a provider are tried: ids, the fallbacks apart.

    Raises:
        BadRequest: a key of the provider is left out, named twice, or not there.
        Unavailable: the database is away.
    """
    order = (*preferred, *fallback)
    with ledger.writing() as connection:
        _lock(connection, account_id)
        known = connection.execute(
            select(byok_keys.c.id).where(
                byok_keys.c.account_id == account_id, byok_keys.c.provider == provider
            )
        ).scalars()
        if sorted(known) != sorted(order):
            raise BadRequest(f"Name every key of {provider} once", param="order")
        for place, key_id in enumerate(order):
            connection.execute(
                update(byok_keys)
                .where(byok_keys.c.id == key_id)
                .values(sort_order=place, is_fallback=place >= len(preferred), updated_ms=now_ms)
            )
    return list_keys(ledger, account_id, provider)


def remove(ledger: Ledger, account_id: str, key_id: str) -> None:
    """Forget a key for good. Requests that were let in before may still use it.

    Raises:
        NotFound: the account has none with this id.
        Unavailable: the database is away.
    """
    _check_id(key_id)
    with ledger.writing() as connection:
        gone = connection.execute(
            delete(byok_keys).where(byok_keys.c.id == key_id, byok_keys.c.account_id == account_id)
        )
        if gone.rowcount != 1:
            raise _unknown(key_id)


def _lock(connection: Connection, account_id: str) -> None:
    """Changes to the keys of one account come one after the other."""
    found = connection.execute(
        select(accounts.c.id)
        .where(accounts.c.id == account_id, accounts.c.closed_ms.is_(None))
        .with_for_update()
    )
    if found.one_or_none() is None:
        raise NotFound(f"No account {account_id}")


def _row(connection: Connection, account_id: str, key_id: str) -> Row[Any]:
    _check_id(key_id)
    # Of this account: somebody else's key is as unknown as one that never was.
    row = connection.execute(
        select(byok_keys).where(byok_keys.c.id == key_id, byok_keys.c.account_id == account_id)
    ).one_or_none()
    if row is None:
        raise _unknown(key_id)
    return row


def _check_id(key_id: str) -> None:
    """No database need be asked for another, and PostgreSQL takes none with a NUL."""
    if not _ID.fullmatch(key_id):
        raise _unknown(key_id)


def _unknown(key_id: str) -> NotFound:
    return NotFound(f"No provider key {key_id[:NAME_MAX]}")


def _resealed(
    connection: Connection, sealer: Sealer, before: ProviderKey, key: CheckedKey
) -> dict[str, str]:
    if key.provider != before.provider:
        raise BadRequest(f"This key is one of {before.provider}", param="provider")
    sealed = sealer.seal(key.text, _place(before))
    _check_room(connection, before.account_id, len(sealed), instead_of=before.id)
    return {"sealed": sealed, "kek_id": sealer.kek_id, "label": key.label}


def _check_room(
    connection: Connection, account_id: str, size: int, *, instead_of: str = ""
) -> None:
    others, taken = connection.execute(
        select(func.count(), func.coalesce(func.sum(func.length(byok_keys.c.sealed)), 0)).where(
            byok_keys.c.account_id == account_id, byok_keys.c.id != instead_of
        )
    ).one()
    if others >= KEYS_MAX:
        raise BadRequest(f"An account can have {KEYS_MAX} provider keys or fewer", param="key")
    if taken + size > SEALED_MAX_BYTES:
        raise BadRequest(
            "The provider keys of this account are too long together; remove one", param="key"
        )


def _check(connection: Connection, account_id: str, terms: UseTerms, before: UseTerms) -> None:
    """Only what is new is looked up: a key or a member may be gone since."""
    if len(terms.name) > NAME_MAX or "\x00" in terms.name:
        raise BadRequest(f"The name must be {NAME_MAX} characters or fewer", param="name")
    _check_names(terms.allowed_models, "allowed_models")
    if terms.allowed_key_hashes == ():
        raise BadRequest("Name one key or more, or null for all", param="allowed_api_key_hashes")
    keys = select(api_keys.c.hash).where(
        api_keys.c.account_id == account_id, api_keys.c.deleted_ms.is_(None)
    )
    people = select(members.c.user_id).where(members.c.account_id == account_id)
    for field, names, old, own in (
        ("allowed_api_key_hashes", terms.allowed_key_hashes, before.allowed_key_hashes, keys),
        ("allowed_user_ids", terms.allowed_user_ids, before.allowed_user_ids, people),
    ):
        fresh = _check_names(names, field) - set(old or ())
        if fresh:
            column = own.selected_columns[0]
            fresh -= set(connection.execute(own.where(column.in_(sorted(fresh)))).scalars())
        if fresh:
            raise BadRequest(f"{field}: not of this account: {min(fresh)}", param=field)


def _check_names(names: tuple[str, ...] | None, field: str) -> set[str]:
    if names is None:
        return set()
    if len(names) > ALLOWED_MAX or any(
        not name or len(name) > NAME_MAX or "\x00" in name for name in names
    ):
        raise BadRequest(
            f"{field} can have {ALLOWED_MAX} names of {NAME_MAX} characters or fewer", param=field
        )
    return set(names)


def _for_deployments(terms: UseTerms, key: CheckedKey) -> UseTerms:
    if terms.allowed_models is not None or key.models is None:
        return terms
    return replace(terms, allowed_models=key.models)


def _deployed(sealer: Sealer, row: Row[Any]) -> tuple[str, ...]:
    """What a stored key is allowed for because it has deployments of it; () for any other."""
    if row.allowed_models is None:
        return ()
    try:
        configs = azure_keys(sealer.open(row.sealed, _place(row)))
    except (SealError, KeyProblem):
        return ()
    return tuple(config.model_slug for config in configs)


def _place(key: ProviderKey | Row[Any]) -> Place:
    return Place.of_provider_key(key.id, key.account_id, key.provider)


def _columns(terms: UseTerms) -> dict[str, Any]:
    return {
        "name": terms.name,
        "disabled": terms.disabled,
        "always_use": terms.always_use,
        "is_fallback": terms.is_fallback,
        "allowed_models": _text(terms.allowed_models),
        "allowed_user_ids": _text(terms.allowed_user_ids),
        "allowed_key_hashes": _text(terms.allowed_key_hashes),
    }


def _key(row: Row[Any]) -> ProviderKey:
    return ProviderKey(
        id=row.id,
        account_id=row.account_id,
        provider=row.provider,
        label=row.label,
        sort_order=row.sort_order,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        terms=UseTerms(
            name=row.name,
            disabled=row.disabled,
            always_use=row.always_use,
            is_fallback=row.is_fallback,
            allowed_models=_names(row.allowed_models),
            allowed_user_ids=_names(row.allowed_user_ids),
            allowed_key_hashes=_names(row.allowed_key_hashes),
        ),
    )


def _for_use(row: Row[Any]) -> ByokKey:
    return ByokKey(
        id=row.id,
        account_id=row.account_id,
        provider=row.provider,
        sealed=row.sealed,
        always_use=row.always_use,
        is_fallback=row.is_fallback,
        allowed_models=_names(row.allowed_models),
    )


def _allows(names: str | None, name: str) -> bool:
    return names is None or name in orjson.loads(names)


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(orjson.loads(text))


def _text(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else orjson.dumps(names).decode()
