"""`/admin/accounts`: all accounts, and credit for them; for those who run this installation."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api.amounts import typed_nano
from api.console.session import Sessions, page, see
from api.office import Office
from billing import accounts
from billing.accounts import TEXT_MAX, Account, Grant
from billing.db import Ledger
from routing import ids
from routing.errors import BadRequest, NotFound
from routing.wire.account import Budget

ACCOUNTS = "/admin/accounts"
#: Accounts on one page.
SHOWN_MAX = 100


def blueprint(office: Office, sessions: Sessions) -> Blueprint:
    """The pages; they belong to the root of the site, not to a base path."""
    routes = sessions.pages("admin")

    @routes.get(ACCOUNTS)
    def listed() -> Response:
        sessions.site_admin()
        after = request.args.get("after", "").replace("\x00", "")
        rows = office.do(lambda ledger: _rows(ledger, after))
        return page(
            "accounts.html",
            rows=rows[:SHOWN_MAX],
            after=rows[SHOWN_MAX - 1][0].id if len(rows) > SHOWN_MAX else "",
            # Of this page's form: sent twice, it is granted once.
            reference=ids.new("grant"),
        )

    @routes.post("/admin/accounts/grant")
    def granted() -> Response:
        admin = sessions.site_admin()
        account_id, amount_nano = _wanted()
        wanted = Grant(
            amount_nano=amount_nano,
            reference=f"page:{request.form.get('reference', '')}",
            note=f"{request.form.get('note', '').strip()} (by {admin.user.email})"[:TEXT_MAX],
            purchased=request.form.get("bought") == "yes",
        )
        now_ms = office.clock.now_ms()
        if office.do(lambda ledger: accounts.get(ledger, account_id)) is None:
            raise NotFound(f"No account {account_id}")
        # Keys are cached with what their account has bought.
        budget: Budget = office.change_account(
            account_id, lambda ledger: accounts.grant(ledger, account_id, wanted, now_ms)
        )
        office.post(budget)
        return see(ACCOUNTS)

    return routes


def _rows(ledger: Ledger, after: str) -> list[tuple[Account, int]]:
    """One more than are shown, with their balances in nano-dollars."""
    found = accounts.list_accounts(ledger, after=after)[: SHOWN_MAX + 1]
    return [(one, accounts.budget_of(ledger, one.id).available_nano) for one in found]


def _wanted() -> tuple[str, int]:
    account_id = request.form.get("account_id", "").strip()
    amount_nano = typed_nano(request.form.get("amount", ""), "amount")
    if not account_id or amount_nano is None:
        raise BadRequest("Give an account and an amount.")
    if not request.form.get("reference"):
        raise BadRequest("Load the page again and repeat it.", param="reference")
    return account_id, amount_nano
