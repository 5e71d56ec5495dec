"""What is left of one budget, whatever it is of: for a cache that has lost it."""

from __future__ import annotations

from billing.db import Ledger
from billing.ledger import balances
from billing.spend import (
    free_byok_budgets,
    key_limits,
    owners_of,
    rule_budgets,
    rules_of,
    window_budgets,
)
from routing.budgets import account_scope, free_byok_scope, key_scope
from routing.wire.account import Budget, KeyRecord


def of_scope(
    ledger: Ledger, scope: str, key: KeyRecord, now_ms: int, byok_free_requests: int
) -> Budget | None:
    """The balance behind a scope that a request with this key draws on.

    None when there is no such limit (any more): the key was changed since it was cached.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        if scope == account_scope(key.account_id):
            posted = balances(connection, {scope}).get(scope)
            if posted is None:
                return None
            return Budget(scope=scope, available_nano=posted.posted_nano, version=posted.version)
        if scope == free_byok_scope(key.account_id, now_ms):
            moments = [(key.account_id, now_ms)]
            return free_byok_budgets(connection, moments, byok_free_requests)[0]
        if scope == key_scope(key.key_hash, key.limit_reset, now_ms):
            limit = key_limits(connection, {key.key_hash}).get(key.key_hash)
            found = () if limit is None else window_budgets(connection, [(limit, now_ms)])
        else:
            owners = owners_of(key.account_id, key.key_hash, key.creator_user_id)
            rules = rules_of(connection, owners)
            found = rule_budgets(
                connection, [(rule, now_ms) for each in rules.values() for rule in each]
            )
        return next((budget for budget in found if budget.scope == scope), None)
