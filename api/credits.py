"""`/credits…`: what is left, buying more, and giving back what was not used."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import ConfigDict, Field

from api.amounts import iso, moment_ms, nano_of
from api.counter import Counter
from api.small_body import sent_as
from billing import generations, payments
from routing.catalog.pricing import usd
from routing.errors import BadRequest, CallerError
from routing.payments import Payment, Ways
from routing.wire.account import KeyRecord
from routing.wire.validate import Identifier, Wire

URL_MAX = 2_000
_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)


class Gone(CallerError):
    """What the contract has taken away."""

    status = 410


class _Purchase(Wire):
    model_config = ConfigDict(extra="forbid")

    amount: Annotated[float, Field(gt=0, le=1e9)]
    success_url: str | None = None
    cancel_url: str | None = None
    crypto: bool = False


class _Refund(Wire):
    model_config = ConfigDict(extra="forbid")

    payment: Identifier


def blueprint(counter: Counter, manage: Callable[[], KeyRecord], public_url: str) -> Blueprint:
    """Routes under `/credits`; the caller adds the base path.

    Args:
        counter: where it is done.
        manage: the management key of the current request, or raises.
        public_url: of this site: where customers go after they paid, if they say nothing else.
    """
    routes = Blueprint("credits", __name__)

    @routes.get("/credits")
    def left() -> ResponseReturnValue:
        account_id = manage().account_id
        found = counter.office.do(lambda ledger: generations.credits_of(ledger, account_id))
        total, used = usd(found.total_nano), usd(found.used_nano)
        return jsonify({"data": {"total_credits": total, "total_usage": used}})

    @routes.post("/credits/checkout")
    def checkout() -> ResponseReturnValue:
        account_id = manage().account_id
        wanted = sent_as(_Purchase)
        ways = _ways(wanted, public_url)
        payment, made = counter.buy(account_id, nano_of(wanted.amount), ways, crypto=wanted.crypto)
        return jsonify({"data": payment_body(payment) | {"url": made.url}}), 201

    @routes.get("/credits/payments")
    def listed() -> ResponseReturnValue:
        account_id = manage().account_id
        before = request.args.get("before")
        before_ms = None if before is None else moment_ms(before, "before")
        found = counter.office.do(
            lambda ledger: payments.list_payments(ledger, account_id, before_ms=before_ms)
        )
        return jsonify({"data": [payment_body(one) for one in found]})

    @routes.post("/credits/refund")
    def refund() -> ResponseReturnValue:
        account_id = manage().account_id
        wanted = sent_as(_Refund)
        return jsonify({"data": payment_body(counter.refund(account_id, wanted.payment))})

    @routes.post("/credits/coinbase")
    def coinbase() -> ResponseReturnValue:
        raise Gone("Payments by Coinbase were removed. Buy credit with POST /credits/checkout.")

    return routes


def payment_body(payment: Payment) -> dict[str, Any]:
    """A payment as it is told."""
    return {
        "id": payment.id,
        "status": payment.status,
        "processor": payment.processor,
        "automatic": payment.automatic,
        "crypto": payment.crypto,
        "amount": usd(payment.credit_nano),
        "fee": usd(payment.fee_nano),
        "total": usd(payment.total_nano),
        "refunded": usd(payment.refunded_nano),
        "created_at": iso(payment.created_ms),
        "paid_at": None if payment.paid_ms is None else iso(payment.paid_ms),
    }


def checked_way(url: str, param: str) -> str:
    """Where a browser may be sent: https, or http to the same machine.

    Raises:
        BadRequest: anywhere else.
    """
    fits = len(url) <= URL_MAX and _PRINTABLE.fullmatch(url) is not None
    if not fits or "\\" in url or not _is_way(url):
        raise BadRequest(
            f"{param}: must be an https:// address, or http:// of this machine", param=param
        )
    return url


def _is_way(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname
    if not host or port == 0 or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ways(wanted: _Purchase, public_url: str) -> Ways:
    usual = f"{public_url.rstrip('/')}/account" if public_url else None
    success_url = wanted.success_url or usual
    if success_url is None:
        raise BadRequest("success_url: is required", param="success_url")
    return Ways(
        success_url=checked_way(success_url, "success_url"),
        cancel_url=checked_way(wanted.cancel_url or success_url, "cancel_url"),
    )
