"""What must always be true of the ledger, as queries that name whatever breaks it.

One function per truth. Each reads whole tables in SQL: run it in the sweep and after every test,
not in a request. All see the same moment, so settling may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Select,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    union_all,
)

from billing.db import Ledger
from billing.ledger import AMOUNT_MAX_NANO, SUSPENSE
from billing.tables import (
    accounts,
    activity_days,
    entries,
    generations,
    key_usage_days,
    ledger_accounts,
    payments,
    spend_days,
    transactions,
)
from routing.budgets import MS_PER_DAY

#: Offenders named per truth: enough to look into, short enough for a log line.
OFFENDERS_MAX = 10
#: How far a machine's clock may be ahead of the one that checks.
SKEW_MAX_MS = 300_000

Query = Select[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A truth that does not hold, and some of the rows that break it."""

    name: str
    sentence: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One thing that must hold. `offenders` selects the ids that break it, given the time."""

    name: str
    sentence: str
    offenders: Callable[[int], Query]


def check(ledger: Ledger, now_ms: int) -> tuple[Violation, ...]:
    """Every truth that does not hold; empty for a sound ledger.

    Raises:
        Unavailable: the database is away.
    """
    violations = []
    with ledger.reading() as connection:
        for truth in TRUTHS:
            rows = connection.execute(truth.offenders(now_ms).limit(OFFENDERS_MAX))
            found = tuple(str(row[0]) for row in rows)
            if found:
                violations.append(
                    Violation(name=truth.name, sentence=truth.sentence, ids=tuple(sorted(found)))
                )
    return tuple(violations)


def drift_nano(ledger: Ledger) -> int:
    """By how much balances and entries disagree, summed without sign; 0 for a sound ledger.

    Raises:
        Unavailable: the database is away.
    """
    sums = _sums_by_account()
    gap = ledger_accounts.c.posted_nano - func.coalesce(sums.c.total, 0)
    by_account = select(func.coalesce(func.sum(func.abs(gap)), 0)).select_from(
        ledger_accounts.outerjoin(sums, sums.c.id == ledger_accounts.c.id)
    )
    whole = select(func.coalesce(func.sum(entries.c.amount_nano), 0))
    with ledger.reading() as connection:
        drift = int(connection.execute(by_account).scalar_one())
        return drift + abs(int(connection.execute(whole).scalar_one()))


def _transactions_balance(_now_ms: int) -> Query:
    return (
        select(entries.c.transaction_id)
        .group_by(entries.c.transaction_id)
        .having(func.sum(entries.c.amount_nano) != 0)
    )


def _transactions_have_entries(_now_ms: int) -> Query:
    return select(transactions.c.id).where(
        ~exists().where(entries.c.transaction_id == transactions.c.id)
    )


def _ledger_sums_to_zero(_now_ms: int) -> Query:
    total = select(func.coalesce(func.sum(ledger_accounts.c.posted_nano), 0)).scalar_subquery()
    return select(literal("ledger")).where(total != 0)


def _balances_are_sums(_now_ms: int) -> Query:
    sums = _sums_by_account()
    return (
        select(ledger_accounts.c.id)
        .outerjoin(sums, sums.c.id == ledger_accounts.c.id)
        .where(ledger_accounts.c.posted_nano != func.coalesce(sums.c.total, 0))
    )


def _charged_once(_now_ms: int) -> Query:
    """The payer's entry of the usage transaction is minus the cost, no more and no less."""
    paid = (
        select(
            transactions.c.reference.label("id"),
            func.sum(entries.c.amount_nano).label("total"),
        )
        .join(entries, entries.c.transaction_id == transactions.c.id)
        .where(transactions.c.kind == "usage", _payer())
        .group_by(transactions.c.reference)
        .subquery()
    )
    return (
        select(generations.c.id)
        .outerjoin(paid, paid.c.id == generations.c.id)
        .where(generations.c.cost_nano != -func.coalesce(paid.c.total, 0))
    )


def _usage_has_generation(_now_ms: int) -> Query:
    return select(transactions.c.reference).where(
        transactions.c.kind.in_(("usage", "insured")),
        ~exists().where(generations.c.id == transactions.c.reference),
    )


def _insured_is_free(_now_ms: int) -> Query:
    charged = (
        exists()
        .where(transactions.c.reference == generations.c.id)
        .where(transactions.c.id == entries.c.transaction_id)
        .where(or_(transactions.c.kind == "usage", _payer()))
    )
    return select(generations.c.id).where(
        generations.c.insured, or_(generations.c.cost_nano != 0, charged)
    )


def _providers_are_owed(_now_ms: int) -> Query:
    """What was taken upstream is owed, whoever bears it."""
    owed = (
        select(transactions.c.reference.label("id"), func.sum(entries.c.amount_nano).label("total"))
        .join(entries, entries.c.transaction_id == transactions.c.id)
        .where(
            transactions.c.kind.in_(("usage", "insured")),
            entries.c.ledger_account_id.startswith("payable:"),
        )
        .group_by(transactions.c.reference)
        .subquery()
    )
    return (
        select(generations.c.id)
        .outerjoin(owed, owed.c.id == generations.c.id)
        .where(
            case((generations.c.byok, 0), else_=generations.c.upstream_cost_nano)
            != func.coalesce(owed.c.total, 0)
        )
    )


def _costs_follow_their_terms(_now_ms: int) -> Query:
    """Which fee or discount a cost has in it is told to its customer, and on receipts."""
    table = generations
    expected = case(
        (table.c.insured, 0),
        (table.c.byok, table.c.fee_nano),
        else_=table.c.upstream_cost_nano - table.c.discount_nano,
    )
    strange = case(
        (table.c.insured, table.c.fee_nano + table.c.discount_nano),
        (table.c.byok, table.c.discount_nano),
        else_=table.c.fee_nano,
    )
    return select(table.c.id).where(or_(table.c.cost_nano != expected, strange != 0))


def _grants_are_counted(_now_ms: int) -> Query:
    granted = _moved(("grant", "purchase_refund", "expiry"))
    return (
        select(accounts.c.id)
        .outerjoin(granted, granted.c.scope == "acct:" + accounts.c.id)
        .where(accounts.c.granted_nano != func.coalesce(granted.c.total, 0))
    )


def _moved(kinds: tuple[str, ...]) -> Any:
    """By ledger account, the sum of its entries of some kinds."""
    return (
        select(
            entries.c.ledger_account_id.label("scope"),
            func.sum(entries.c.amount_nano).label("total"),
        )
        .join(transactions, transactions.c.id == entries.c.transaction_id)
        .where(transactions.c.kind.in_(kinds))
        .group_by(entries.c.ledger_account_id)
        .subquery()
    )


def _purchased_is_granted(_now_ms: int) -> Query:
    """What was bought stays bought when it expires."""
    given = _moved(("grant", "purchase_refund"))
    return (
        select(accounts.c.id)
        .outerjoin(given, given.c.scope == "acct:" + accounts.c.id)
        .where(
            or_(
                accounts.c.purchased_nano < 0,
                accounts.c.purchased_nano > func.coalesce(given.c.total, 0),
            )
        )
    )


def _payments_are_credited(_now_ms: int) -> Query:
    """Both ways: a paid payment has its grant, and what it has given back its refunds."""
    paid = transactions.c.reference == "payment:" + payments.c.id
    credited = (
        select(func.coalesce(func.sum(entries.c.amount_nano), 0))
        .join(transactions, transactions.c.id == entries.c.transaction_id)
        .where(
            transactions.c.kind == "grant",
            paid,
            entries.c.ledger_account_id == "acct:" + payments.c.account_id,
        )
        .scalar_subquery()
    )
    expected = case((payments.c.paid_ms.is_not(None), payments.c.credit_nano), else_=0)
    return select(payments.c.id).where(
        or_(
            credited != expected,
            payments.c.refunded_nano < 0,
            payments.c.refunded_nano > payments.c.credit_nano,
        )
    )


def _key_days_are_sums(_now_ms: int) -> Query:
    """Both sides in one pile, one of them negated: whatever is left over does not match."""
    counted = select(
        key_usage_days.c.key_hash,
        key_usage_days.c.day,
        key_usage_days.c.usage_nano,
        key_usage_days.c.byok_usage_nano,
        key_usage_days.c.requests,
    )
    settled = select(
        generations.c.key_hash,
        (generations.c.created_ms // MS_PER_DAY).label("day"),
        -generations.c.cost_nano,
        -_paid_by_own_key(),
        literal(-1),
    )
    pile = union_all(counted, settled).subquery()
    return _unlike(pile, pile.c.key_hash, pile.c.day)


def _owner_days_are_sums(_now_ms: int) -> Query:
    counted = select(
        spend_days.c.owner,
        spend_days.c.day,
        spend_days.c.usage_nano,
        spend_days.c.byok_usage_nano,
        spend_days.c.requests,
        spend_days.c.byok_requests,
    )
    day = (generations.c.created_ms // MS_PER_DAY).label("day")
    with_own_key = case((_is_paid_by_own_key(), -1), else_=0)
    amounts = (-generations.c.cost_nano, -_paid_by_own_key(), literal(-1), with_own_key)
    of_accounts = select((literal("org:") + generations.c.account_id).label("owner"), day, *amounts)
    of_members = select(
        (literal("member:") + generations.c.account_id + "/" + generations.c.user_id), day, *amounts
    ).where(generations.c.user_id.is_not(None))
    pile = union_all(counted, of_accounts, of_members).subquery()
    return _unlike(pile, pile.c.owner, pile.c.day)


def _activity_days_are_sums(_now_ms: int) -> Query:
    table, tokens = activity_days, ("prompt", "completion", "reasoning", "cached")
    names = ("account_id", "key_hash", "model_id", "endpoint_id")
    counted = select(
        *(table.c[name] for name in names),
        table.c.day,
        table.c.usage_nano,
        table.c.byok_usage_nano,
        table.c.requests,
        *(table.c[f"{kind}_tokens"] for kind in tokens),
    )
    settled = select(
        *(generations.c[name] for name in names),
        (generations.c.created_ms // MS_PER_DAY).label("day"),
        -generations.c.cost_nano,
        -_paid_by_own_key(),
        literal(-1),
        *(-generations.c[f"{kind}_tokens"] for kind in tokens),
    )
    pile = union_all(counted, settled).subquery()
    return _unlike(pile, *(pile.c[name] for name in names), pile.c.day)


def _is_paid_by_own_key() -> Any:
    return and_(generations.c.byok, not_(generations.c.insured))


def _paid_by_own_key() -> Any:
    return case((_is_paid_by_own_key(), generations.c.upstream_cost_nano), else_=0)


def _unlike(pile: Any, *slot: Any) -> Query:
    """The first of the columns of each slot whose sums, of all other columns, do not cancel out."""
    names = {column.name for column in slot}
    sums = (func.sum(column) for column in pile.c if column.name not in names)
    return select(slot[0]).group_by(*slot).having(or_(*(total != 0 for total in sums)))


def _amounts_are_whole(_now_ms: int) -> Query:
    """SQLite would store a float or a text in a bigint column if it were asked to."""
    amount = entries.c.amount_nano
    return select(entries.c.id).where(
        or_(
            amount != cast(amount, BigInteger),
            amount == 0,
            amount > AMOUNT_MAX_NANO,
            amount < -AMOUNT_MAX_NANO,
        )
    )


def _nothing_from_the_future(now_ms: int) -> Query:
    """A clock that runs ahead counts spend in a window that has not begun."""
    return select(generations.c.id).where(
        or_(
            generations.c.created_ms > now_ms + SKEW_MAX_MS,
            generations.c.settled_ms > now_ms + SKEW_MAX_MS,
        )
    )


def _sums_by_account() -> Any:
    return (
        select(
            entries.c.ledger_account_id.label("id"), func.sum(entries.c.amount_nano).label("total")
        )
        .group_by(entries.c.ledger_account_id)
        .subquery()
    )


def _payer() -> Any:
    account = entries.c.ledger_account_id
    return or_(account.startswith("acct:"), account == SUSPENSE)


TRUTHS = (
    Truth(
        name="transactions_balance",
        sentence="The entries of each transaction sum to zero.",
        offenders=_transactions_balance,
    ),
    Truth(
        name="transactions_have_entries",
        sentence="Each transaction has entries.",
        offenders=_transactions_have_entries,
    ),
    Truth(
        name="ledger_sums_to_zero",
        sentence="All balances together are zero.",
        offenders=_ledger_sums_to_zero,
    ),
    Truth(
        name="balances_are_sums",
        sentence="The balance of each ledger account is the sum of its entries.",
        offenders=_balances_are_sums,
    ),
    Truth(
        name="charged_once",
        sentence="Each generation took its cost from its payer, once.",
        offenders=_charged_once,
    ),
    Truth(
        name="usage_has_generation",
        sentence="Each usage or insured transaction belongs to a generation.",
        offenders=_usage_has_generation,
    ),
    Truth(
        name="insured_is_free",
        sentence="An insured generation took nothing from a customer.",
        offenders=_insured_is_free,
    ),
    Truth(
        name="providers_are_owed",
        sentence="What a generation cost upstream is owed to its provider, once.",
        offenders=_providers_are_owed,
    ),
    Truth(
        name="costs_follow_their_terms",
        sentence="A generation cost its list price less its discount, or its fee alone.",
        offenders=_costs_follow_their_terms,
    ),
    Truth(
        name="grants_are_counted",
        sentence="The granted credit of each account is that of its grants, less what went back.",
        offenders=_grants_are_counted,
    ),
    Truth(
        name="purchased_is_granted",
        sentence="Purchased credit is not negative, and no more than was ever given.",
        offenders=_purchased_is_granted,
    ),
    Truth(
        name="payments_are_credited",
        sentence="Each paid payment gave its credit once, and took back no more than that.",
        offenders=_payments_are_credited,
    ),
    Truth(
        name="key_days_are_sums",
        sentence="The daily spend of each key is the sum of its generations of that day.",
        offenders=_key_days_are_sums,
    ),
    Truth(
        name="owner_days_are_sums",
        sentence="The daily spend of each account and member is the sum of its generations.",
        offenders=_owner_days_are_sums,
    ),
    Truth(
        name="activity_days_are_sums",
        sentence="The activity of each account is the sum of its generations.",
        offenders=_activity_days_are_sums,
    ),
    Truth(
        name="amounts_are_whole",
        sentence="Each amount is an integer that a double holds exactly, and not zero.",
        offenders=_amounts_are_whole,
    ),
    Truth(
        name="nothing_from_the_future",
        sentence="Nothing was admitted or settled in the future.",
        offenders=_nothing_from_the_future,
    ),
)
