"""Payments through Stripe: the only place that calls it, and never within a transaction.

What a webhook says is only a reason to ask: money is booked as Stripe's API tells it. Every object
we make bears the payment's id in its metadata, and every call that moves money has an idempotency
key made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
import stripe
from stripe import StripeClient, StripeError, WebhookSignature

from routing.errors import BadRequest, Unavailable
from routing.payments import (
    CENT_NANO,
    CURRENCY,
    Checkout,
    Declined,
    Message,
    News,
    NewsKind,
    Payment,
    Receipt,
    Ways,
)
from routing.settings import Settings

NAME = "stripe"
#: How old a message may be: Stripe signs the moment of each try anew.
TOLERANCE_S = 300
#: Stripe answers within seconds; a card payment may take its bank some more.
TIMEOUT_S = 15.0
RETRIES = 1
#: Charges of one customer, and refunds of one charge, that are looked through for one of ours.
LOOK_MAX = 100
#: How far Stripe's clock may be behind ours.
SKEW_S = 3_600
RETRY_AFTER_MS = 5_000
#: Under which name our id is in the metadata of their objects.
_OURS = "pointsman_payment"
_OWNER = "pointsman_account"
_REFUSALS = (stripe.CardError, stripe.InvalidRequestError, stripe.IdempotencyError)
#: A dispute in one of these states has not taken the money, or has given it back.
_HARMLESS_DISPUTES = frozenset(
    {"won", "warning_needs_response", "warning_under_review", "warning_closed", "prevented"}
)

_FAILED_REFUNDS = frozenset({"failed", "canceled"})

_Object = Mapping[str, Any]


class StripeDesk:
    """A `routing.payments.Processor`.

    Args:
        key: secret API key.
        webhook_secrets: those whose signatures are taken; () takes none.
        product: what the customer reads that they buy.
        url: of the API; None for Stripe's own.
    """

    name = NAME

    def __init__(
        self,
        key: str,
        webhook_secrets: tuple[str, ...] = (),
        product: str = "Credits",
        url: str | None = None,
    ) -> None:
        self._secrets = tuple(secret for secret in webhook_secrets if secret.strip())
        self._product = product
        self._client = StripeClient(
            key,
            base_addresses={"api": url} if url else None,
            http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
            max_network_retries=RETRIES,
        )

    @classmethod
    def of(cls, settings: Settings) -> StripeDesk | None:
        """As the operator has set it up; None without a key."""
        key = settings.stripe_secret_key.get_secret_value()
        if not key:
            return None
        secrets = settings.stripe_webhook_secret.get_secret_value().split(",")
        return cls(
            key,
            tuple(secret.strip() for secret in secrets if secret.strip()),
            url=settings.stripe_api_base or None,
        )

    @property
    def listens(self) -> bool:
        """Whether messages can be told from forgeries."""
        return bool(self._secrets)

    def checkout(self, payment: Payment, ways: Ways) -> Checkout:
        """Open a Checkout session."""
        ours = _marks(payment)
        wanted: Any = {
            "mode": "payment",
            "client_reference_id": payment.id,
            "metadata": ours,
            "payment_intent_data": {"metadata": ours, "description": payment.id},
            "success_url": ways.success_url,
            "cancel_url": ways.cancel_url,
            "line_items": [
                _line(self._product, payment.credit_nano),
                *([_line("Fee", payment.fee_nano)] if payment.fee_nano else []),
            ],
            **(_CRYPTO if payment.crypto else _CARD),
        }
        with _translated():
            made = self._client.v1.checkout.sessions.create(
                wanted, {"idempotency_key": f"checkout {payment.id}"}
            )
        if not made.url:
            raise Declined("Stripe gave no page to pay on")
        return Checkout(processor_id=made.id, url=made.url)

    def charge_again(self, payment: Payment, like: Payment) -> News:
        """Confirm a payment with the card of an earlier one, unless that was done before."""
        with _translated():
            card = self._intent_of(like)
            customer, method = _id(card.get("customer")), _id(card.get("payment_method"))
            if not customer or not method:
                raise Declined("No card is kept of an earlier payment")
            found = self._charged_before(payment, customer)
            if found is None:
                wanted: Any = {
                    "amount": payment.total_nano // CENT_NANO,
                    "currency": CURRENCY,
                    "customer": customer,
                    "payment_method": method,
                    "off_session": True,
                    "confirm": True,
                    "description": payment.id,
                    "metadata": _marks(payment) | {"automatic": "true"},
                }
                found = self._client.v1.payment_intents.create(
                    wanted, {"idempotency_key": f"charge {payment.id}"}
                ).to_dict()
        return _news_of_intent(found, payment.id)

    def _charged_before(self, payment: Payment, customer: str) -> _Object | None:
        """Stripe forgets idempotency keys after a day; what it has charged it does not."""
        since_s = payment.created_ms // 1000 - SKEW_S
        listed = self._client.v1.payment_intents.list(
            {"customer": customer, "created": {"gte": since_s}, "limit": LOOK_MAX}
        ).to_dict()
        return next((one for one in listed.get("data", ()) if _ours(one) == payment.id), None)

    def look(self, payment: Payment) -> News:
        """Ask for the session or payment intent it was asked for with."""
        if payment.processor_id is None:
            return News(kind="waiting", payment_id=payment.id)
        with _translated():
            if payment.processor_id.startswith("cs_"):
                return self._session(payment.processor_id, payment.id)
            return self._intent(payment.processor_id, payment.id)

    def refund(self, payment: Payment) -> None:
        """Give back what was taken off the balance, unless that was done before."""
        cents = payment.back_nano // CENT_NANO
        with _translated():
            intent = self._intent_of(payment)["id"]
            listed = self._client.v1.refunds.list(
                {"payment_intent": intent, "limit": LOOK_MAX}
            ).to_dict()
            before = [one for one in listed.get("data", ()) if _ours(one) == payment.id]
            if any(one.get("status") not in _FAILED_REFUNDS for one in before):
                return
            wanted: Any = {"payment_intent": intent, "amount": cents, "metadata": _marks(payment)}
            # A refund that failed is not the one that is asked for now.
            once = f"refund {payment.id} {cents} {len(before)}"
            made = self._client.v1.refunds.create(wanted, {"idempotency_key": once})
        if made.status in _FAILED_REFUNDS:
            raise Declined(f"Stripe could not refund payment {payment.id}")

    def read(self, raw: bytes, signature: str | None) -> Message | None:
        """Check a webhook's signature; nobody is asked yet."""
        self._verify(raw, signature)
        try:
            event = orjson.loads(raw)
            kind, subject = str(event["type"]), event["data"]["object"]
            event_id, object_id = str(event["id"]), str(subject["id"])
        except (KeyError, TypeError, orjson.JSONDecodeError) as error:
            raise BadRequest("Not an event of Stripe") from error
        if kind not in self._askers():
            return None
        return Message(event_id=event_id, kind=kind, object_id=object_id)

    def ask(self, message: Message) -> News | None:
        """Ask what the object of a webhook is like now."""
        with _translated():
            return self._askers()[message.kind](message.object_id, message.event_id)

    def _verify(self, raw: bytes, signature: str | None) -> None:
        for secret in self._secrets:
            try:
                WebhookSignature.verify_header(raw, signature, secret, TOLERANCE_S)
            except (stripe.SignatureVerificationError, UnicodeDecodeError):
                continue
            return
        raise BadRequest("The signature of this message is wrong, or it is too old")

    def _askers(self) -> Mapping[str, Callable[[str, str], News | None]]:
        """By event, what finds out how its object stands now."""
        session, intent = self._of_session, self._of_intent
        return {
            "checkout.session.completed": session,
            "checkout.session.async_payment_succeeded": session,
            "checkout.session.async_payment_failed": session,
            "checkout.session.expired": session,
            "payment_intent.succeeded": intent,
            "payment_intent.payment_failed": intent,
            "charge.refunded": self._of_charge,
            "charge.dispute.funds_withdrawn": self._of_dispute,
            "charge.dispute.funds_reinstated": self._of_dispute_won,
        }

    def _of_session(self, session_id: str, event_id: str) -> News | None:
        return _told_by(event_id, self._session(session_id))

    def _of_intent(self, intent_id: str, event_id: str) -> News | None:
        return _told_by(event_id, self._intent(intent_id))

    def _of_charge(self, charge_id: str, event_id: str) -> News | None:
        return _told_by(event_id, self._charge(charge_id, "returned"))

    def _of_dispute(self, dispute_id: str, event_id: str) -> News | None:
        charge_id = _id(self._client.v1.disputes.retrieve(dispute_id).to_dict().get("charge"))
        return _told_by(event_id, self._charge(charge_id, "returned"))

    def _of_dispute_won(self, dispute_id: str, event_id: str) -> News | None:
        charge_id = _id(self._client.v1.disputes.retrieve(dispute_id).to_dict().get("charge"))
        return _told_by(event_id, self._charge(charge_id, "restored"))

    def _session(self, session_id: str, payment_id: str = "") -> News:
        found = self._client.v1.checkout.sessions.retrieve(session_id).to_dict()
        ours = payment_id or _ours(found)
        if found.get("payment_status") == "paid":
            return News(
                kind="received",
                payment_id=ours,
                processor_id=session_id,
                receipt=_receipt(ours, found, found.get("amount_total")),
            )
        if found.get("status") == "expired":
            return News(kind="failed", payment_id=ours, why="not paid in time")
        if found.get("status") == "complete" and self._refused(found):
            return News(kind="failed", payment_id=ours, why="the payment failed")
        return News(kind="waiting", payment_id=ours)

    def _refused(self, session: _Object) -> bool:
        """Whether a payment that takes its time has come to nothing."""
        intent = self._client.v1.payment_intents.retrieve(_id(session.get("payment_intent")))
        return intent.status in {"requires_payment_method", "canceled"}

    def _intent(self, intent_id: str, payment_id: str = "") -> News:
        found = self._client.v1.payment_intents.retrieve(intent_id).to_dict()
        return _news_of_intent(found, payment_id or _ours(found))

    def _charge(self, charge_id: str, kind: NewsKind) -> News:
        found = self._client.v1.charges.retrieve(charge_id).to_dict()
        cents = int(found.get("amount_refunded") or 0)
        if found.get("disputed"):
            listed = self._client.v1.disputes.list({"charge": charge_id}).to_dict()
            cents += sum(
                int(one.get("amount") or 0)
                for one in listed.get("data", ())
                if one.get("status") not in _HARMLESS_DISPUTES
            )
        return News(kind=kind, payment_id=_ours(found), returned_nano=cents * CENT_NANO)

    def _intent_of(self, payment: Payment) -> _Object:
        """The payment intent behind a payment, whichever way it was asked for."""
        name = payment.processor_id or ""
        if name.startswith("cs_"):
            name = _id(self._client.v1.checkout.sessions.retrieve(name).to_dict()["payment_intent"])
        return self._client.v1.payment_intents.retrieve(name).to_dict()


#: The card is kept for automatic payments; Checkout says so to the customer.
_CARD: Mapping[str, Any] = {
    "customer_creation": "always",
    "payment_method_options": {"card": {"setup_future_usage": "off_session"}},
    "excluded_payment_method_types": ["crypto"],
}
_CRYPTO: Mapping[str, Any] = {"payment_method_types": ["crypto"]}


def _line(name: str, nano: int) -> dict[str, Any]:
    price = {
        "currency": CURRENCY,
        "unit_amount": nano // CENT_NANO,
        "product_data": {"name": name},
    }
    return {"quantity": 1, "price_data": price}


def _news_of_intent(found: _Object, payment_id: str) -> News:
    status = found.get("status")
    if not _automatic(found):  # one of a Checkout session, which tells of itself
        return News(kind="waiting", payment_id=payment_id)
    if status == "succeeded":
        return News(
            kind="received",
            payment_id=payment_id,
            processor_id=_id(found),
            receipt=_receipt(payment_id, found, found.get("amount_received")),
        )
    if status in {"requires_payment_method", "requires_action", "canceled"}:  # nobody is there
        error = found.get("last_payment_error") or {}
        why = str(error.get("message") or "the card was refused")
        return News(kind="failed", payment_id=payment_id, processor_id=_id(found), why=why)
    return News(kind="waiting", payment_id=payment_id)


def _receipt(payment_id: str, found: _Object, cents: Any) -> Receipt:
    return Receipt(
        processor=NAME,
        payment_id=payment_id,
        total_nano=int(cents or 0) * CENT_NANO,
        currency=str(found.get("currency")).lower(),
        account_id=str((found.get("metadata") or {}).get(_OWNER) or ""),
    )


def _marks(payment: Payment) -> dict[str, str]:
    """What tells our objects from those of others."""
    return {_OURS: payment.id, _OWNER: payment.account_id}


def _told_by(event_id: str, news: News) -> News | None:
    """None for objects that somebody else made in the same Stripe account."""
    if not news.payment_id:
        return None
    return replace(news, event_id=event_id)


def _ours(found: _Object) -> str:
    return str((found.get("metadata") or {}).get(_OURS) or "")


def _automatic(found: _Object) -> bool:
    return (found.get("metadata") or {}).get("automatic") == "true"


def _id(found: Any) -> str:
    """The id of an object, expanded or not."""
    return str(found.get("id") if isinstance(found, Mapping) else found or "")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _REFUSALS as error:
        raise Declined(error.user_message or "The payment processor refused") from error
    except StripeError as error:
        raise Unavailable(
            "The payment processor does not answer. Please try again.",
            retry_after_ms=RETRY_AFTER_MS,
        ) from error
