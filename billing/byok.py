"""Provider keys that customers bring: stored sealed, handed to front doors as they are."""

from __future__ import annotations

import orjson
from sqlalchemy import Connection, select

from billing.tables import byok_keys
from routing.wire.account import ByokKey


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
        ByokKey(
            id=row.id,
            account_id=row.account_id,
            provider=row.provider,
            sealed=row.sealed,
            always_use=row.always_use,
            is_fallback=row.is_fallback,
            allowed_models=_names(row.allowed_models),
        )
        for row in rows
        if _allows(row.allowed_key_hashes, key_hash) and _allows(row.allowed_user_ids, user_id)
    )


def _allows(names: str | None, name: str) -> bool:
    return names is None or name in orjson.loads(names)


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(orjson.loads(text))
