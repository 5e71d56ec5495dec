"""Why a generation cost what it cost: its lines, its terms and what was booked, checked again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select

from billing import generations, tables
from billing.db import Ledger
from billing.generations import Generation
from billing.ledger import SUSPENSE, Kind
from billing.tables import entries, transactions
from routing.budgets import account_scope
from routing.catalog.pricing import PICO_PER_NANO, cost
from routing.catalog.shapes import Price
from routing.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """So many of one thing at one price.

    Attributes:
        item: called as in `pricing` of the models API.
        rate_pico: for one.
    """

    item: str
    quantity: int
    rate_pico: int

    @property
    def amount_pico(self) -> int:
        """What they come to, exactly."""
        return self.quantity * self.rate_pico


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the ledger."""

    transaction_id: int
    kind: Kind
    booked_ms: int
    ledger_account_id: str
    amount_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A settled generation with its reckoning.

    Attributes:
        lines: empty where nothing was owed to anybody.
        entries: every entry of its transactions, the operator's own included.
        adds_up: what was booked is what usage, price and terms come to, worked out anew.
    """

    generation: Generation
    lines: tuple[Line, ...]
    entries: tuple[Entry, ...]
    adds_up: bool

    @property
    def list_nano(self) -> int:
        """What the provider is owed: by us, or for an own provider key by the customer."""
        return self.generation.upstream_cost_nano

    @property
    def refunded_nano(self) -> int:
        """What an operator has given back of it."""
        scope = account_scope(self.generation.account_id)
        return sum(
            one.amount_nano
            for one in self.entries
            if one.kind == "refund" and one.ledger_account_id == scope
        )

    @property
    def rounding_pico(self) -> int:
        """What rounding up added to the lines."""
        if not self.lines:
            return 0
        return self.list_nano * PICO_PER_NANO - sum(line.amount_pico for line in self.lines)

    def entries_of(self, account_id: str) -> tuple[Entry, ...]:
        """What moved in one customer's credit."""
        scope = account_scope(account_id)
        return tuple(one for one in self.entries if one.ledger_account_id == scope)


def receipt_of(ledger: Ledger, generation_id: str, account_id: str | None) -> Receipt | None:
    """The receipt of a settled generation; None when the account has no such one.

    Args:
        ledger: read only.
        generation_id: which.
        account_id: whose; None for an operator, who may see all.

    Raises:
        Unavailable: the database is away.
    """
    owner = _owner(ledger, generation_id) if account_id is None else account_id
    found = None if owner is None else generations.find(ledger, generation_id, owner)
    if found is None:
        return None
    booked = _entries(ledger, generation_id)
    return Receipt(
        generation=found,
        lines=tuple(lines_of(found)),
        entries=booked,
        adds_up=_adds_up(found, booked),
    )


def lines_of(generation: Generation) -> Iterator[Line]:
    """What was used at which price, without what was not used at all."""
    usage, price = generation.usage, generation.price
    if cost(usage, price).total_nano != generation.upstream_cost_nano:
        return  # it ended before anything was owed, or was put right; the flags say so
    for item, quantity, rate_pico in _used(usage, price.for_prompt(usage.prompt_tokens)):
        if quantity and rate_pico:
            yield Line(item=item, quantity=quantity, rate_pico=rate_pico)


def _used(usage: Usage, price: Price) -> Iterator[tuple[str, int, int]]:
    """As `routing.catalog.pricing.cost` takes it apart; a test holds the two together."""
    write_pico = _or(price.cache_write_pico, price.prompt_pico)
    kept_prompt = usage.cached_tokens + usage.cache_write_tokens + usage.audio_tokens
    special = usage.reasoning_tokens + usage.image_output_tokens + usage.audio_output_tokens
    written = max(0, usage.cache_write_tokens - usage.cache_write_1h_tokens)
    yield "prompt", max(0, usage.prompt_tokens - kept_prompt), price.prompt_pico
    yield "input_cache_read", usage.cached_tokens, _or(price.cache_read_pico, price.prompt_pico)
    yield "input_cache_write", written, write_pico
    yield (
        "input_cache_write_1h",
        usage.cache_write_1h_tokens,
        _or(price.cache_write_1h_pico, write_pico),
    )
    yield "audio", usage.audio_tokens, _or(price.audio_pico, price.prompt_pico)
    out_pico = price.completion_pico
    yield "completion", max(0, usage.completion_tokens - special), out_pico
    yield "internal_reasoning", usage.reasoning_tokens, _or(price.reasoning_pico, out_pico)
    yield "image_output", usage.image_output_tokens, _or(price.image_output_pico, out_pico)
    yield "audio_output", usage.audio_output_tokens, _or(price.audio_output_pico, out_pico)
    yield "request", 1, price.request_pico
    yield "image", usage.images, price.image_pico


def _or(rate_pico: int | None, usual_pico: int) -> int:
    return usual_pico if rate_pico is None else rate_pico


def _owner(ledger: Ledger, generation_id: str) -> str | None:
    table = tables.generations
    query = select(table.c.account_id).where(table.c.id == generation_id)
    with ledger.reading() as connection:
        return connection.execute(query).scalar_one_or_none()


def _entries(ledger: Ledger, generation_id: str) -> tuple[Entry, ...]:
    query = (
        select(
            entries.c.transaction_id,
            transactions.c.kind,
            transactions.c.created_ms.label("booked_ms"),
            entries.c.ledger_account_id,
            entries.c.amount_nano,
        )
        .join(transactions, transactions.c.id == entries.c.transaction_id)
        .where(transactions.c.reference == generation_id)
        .where(transactions.c.kind.in_(("usage", "insured", "refund")))
        .order_by(entries.c.id)
    )
    with ledger.reading() as connection:
        return tuple(Entry(**row) for row in connection.execute(query).mappings())


def _adds_up(generation: Generation, booked: tuple[Entry, ...]) -> bool:
    """The three accounts of one sum agree: the reckoning, the generation's row and the ledger."""
    payers = {account_scope(generation.account_id), SUSPENSE}
    paid_nano = -sum(
        one.amount_nano
        for one in booked
        if one.ledger_account_id in payers and one.kind != "refund"
    )
    return (
        sum(one.amount_nano for one in booked) == 0
        and paid_nano == generation.cost_nano
        and _charged_nano(generation) == generation.cost_nano
        and _reckoned(generation)
    )


def _charged_nano(generation: Generation) -> int:
    if generation.insured:
        return 0
    if generation.byok:
        return generation.fee_nano
    return generation.upstream_cost_nano - generation.discount_nano


def _reckoned(generation: Generation) -> bool:
    """Whether usage times price is what is owed; a call that came to nothing owes nothing."""
    owed_nano = generation.upstream_cost_nano
    if owed_nano == cost(generation.usage, generation.price).total_nano:
        return True
    usage = generation.usage
    unused = not (usage.prompt_tokens or usage.completion_tokens or usage.images)
    return owed_nano == 0 and (unused or "cost_out_of_range" in generation.flags)
