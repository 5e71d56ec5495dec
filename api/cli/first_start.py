"""The account and keys a new installation starts with, so that the first curl works."""

from __future__ import annotations

from api.cli.home import Keys
from api.cli.money import NANO_PER_USD
from billing.accounts import Account, Grant, create_account, grant, list_accounts
from billing.api_keys import KeyTerms, find, hash_key, mint
from billing.db import Ledger, open_ledger
from routing.wire.account import KeyKind

ACCOUNT_NAME = "default"
#: Enough for thousands of requests to a small model; a gift, so free-tier limits stay the low ones.
_CREDIT_USD = 25


def account_keys(url: str, known: Keys | None, now_ms: int) -> Keys:
    """Keys that work: those of an earlier start if the ledger still knows them, else new ones.

    The account and its credit are made once per ledger.

    Args:
        url: of a ledger whose schema is up to date.
        known: what the env file says.
        now_ms: the moment, for what is made new.

    Raises:
        Unavailable: the database is away.
    """
    ledger = open_ledger(url)
    try:
        if known is not None and _work(ledger, known, now_ms):
            return known
        account = _default_account(ledger, now_ms)
        return Keys(
            inference=_mint(ledger, account, "inference", now_ms),
            management=_mint(ledger, account, "management", now_ms),
        )
    finally:
        ledger.close()


def _work(ledger: Ledger, keys: Keys, now_ms: int) -> bool:
    wanted: dict[str, KeyKind] = {keys.inference: "inference", keys.management: "management"}
    for text, kind in wanted.items():
        record = find(ledger, hash_key(text), now_ms)
        if record is None or record.disabled or record.kind != kind:
            return False
    return True


def _default_account(ledger: Ledger, now_ms: int) -> Account:
    found = next((a for a in list_accounts(ledger) if a.name == ACCOUNT_NAME), None)
    account = found or create_account(ledger, ACCOUNT_NAME, now_ms)
    # By reference, so a start that was cut off in between is completed by the next one.
    credit = Grant(
        amount_nano=_CREDIT_USD * NANO_PER_USD,
        reference=f"first-start:{account.id}",
        note="Credit of a new installation",
        purchased=False,
    )
    grant(ledger, account.id, credit, now_ms)
    return account


def _mint(ledger: Ledger, account: Account, kind: KeyKind, now_ms: int) -> str:
    text, _ = mint(ledger, account.id, KeyTerms(name=f"first start ({kind})", kind=kind), now_ms)
    return text
