"""`/console.css`: one small sheet for all pages."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flask import Blueprint, Response, request

#: It changes with releases only; a browser asks again after this.
MAX_AGE_S = 3_600
_SHEET = Path(__file__).with_name("console.css")


def blueprint() -> Blueprint:
    """The route; it belongs to the root of the site."""
    routes = Blueprint("style", __name__)
    data = _SHEET.read_bytes()
    tag = hashlib.sha256(data).hexdigest()[:16]

    @routes.get("/console.css")
    def sheet() -> Response:
        answer = Response(data, mimetype="text/css")
        answer.headers["Cache-Control"] = f"public, max-age={MAX_AGE_S}"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.set_etag(tag)
        answer.make_conditional(request)
        return answer

    return routes
