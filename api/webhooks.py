"""`/webhooks/stripe`: what a payment processor tells. Without a secret there is no such address."""

from __future__ import annotations

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue

from api.body import hang_up, read_body
from api.counter import Counter
from routing.errors import NotFound, PayloadTooLarge

#: Events are some tens of KiB.
BODY_MAX = 256 * 1024


def blueprint(counter: Counter) -> Blueprint:
    """The routes, at the root. Nobody is asked for a key: the signature is the proof."""
    routes = Blueprint("webhooks", __name__)

    @routes.post("/webhooks/stripe")
    def stripe() -> ResponseReturnValue:
        if not counter.listens:
            raise NotFound("Not Found")
        try:
            raw = read_body(request, BODY_MAX)
        except PayloadTooLarge:
            g.hang_up = hang_up(request)
            raise
        counter.hear(raw, request.headers.get("Stripe-Signature"))
        return jsonify({"received": True})

    return routes
