"""Failure → the contract's envelope: the one error handler, and the headers every answer bears."""

from __future__ import annotations

import time
from collections.abc import Mapping

import orjson
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from routing import ids
from routing.clock import Clock
from routing.errors import Internal, RouterError, error_type
from routing.metrics import WebMetrics
from routing.wire.envelope import shaped

log = structlog.get_logger("pointsman.http")

SERVER_ERROR = 500
CLIENT_ERROR = 400
#: Of werkzeug's own errors: what the status requires.
KEPT_HEADERS = frozenset({"Allow", "Location"})
PAGE = "text/html"
#: Asked every few seconds by supervisors; their answer is their log.
QUIET_ROUTES = frozenset({"/livez", "/readyz"})
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "X-Generation-Id,X-Request-Id,Retry-After",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Max-Age": "86400",
}


def install(app: Flask, clock: Clock, metrics: WebMetrics) -> None:
    """Add request ids, headers, error handling and counting to an application."""

    @app.before_request
    def begin() -> Response | None:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if ids.is_request_id(given) else ids.request_id(clock.now_ms())
        g.started_s = time.monotonic()
        if request.method == "OPTIONS":
            return Response(status=204, headers=_PREFLIGHT, mimetype="text/plain")
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        if response.mimetype != PAGE:  # those are for our own origin alone
            response.headers.update(_CORS)
        route = request.url_rule.rule if request.url_rule else "unknown"
        metrics.answered(route, response.status_code)
        if response.status_code >= CLIENT_ERROR and route not in QUIET_ROUTES:
            log.info(
                "request refused",
                action="http.refused",
                request_id=g.request_id,
                route=route,
                method=request.method,
                status=response.status_code,
                ms=int((time.monotonic() - g.started_s) * 1000),
            )
        hang_up = g.pop("hang_up", None)
        return response if hang_up is None else hang_up(response)

    @app.errorhandler(RouterError)
    def refuse(error: RouterError) -> Response:
        return render(error)

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> Response:
        return render_http(error)

    # A process edge: what was not foreseen becomes a 500 without details; the log has them.
    @app.errorhandler(Exception)
    def fail(error: Exception) -> Response:
        log.error(
            "unforeseen failure",
            action="http.failed",
            request_id=g.get("request_id", ""),
            exc_info=error,
        )
        return render(Internal())


def render(error: RouterError) -> Response:
    """One error as an HTTP answer."""
    response = _json(error.body(), error.status)
    response.headers.update(error.headers)
    if error.retry_after_ms is not None:
        response.headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    return response


def render_http(error: HTTPException) -> Response:
    """One of werkzeug's own errors (no such route, wrong method) as an HTTP answer."""
    status = error.code or SERVER_ERROR
    message = error.description or error.name
    metadata = {"error_type": error_type(status)}
    response = _json({"error": {"code": status, "message": message, "metadata": metadata}}, status)
    for name, value in error.get_headers():
        if name in KEPT_HEADERS:
            response.headers[name] = value
    return response


def _json(body: Mapping[str, object], status: int) -> Response:
    """In the form of the inbound API that was called; `g.api` is set by its route."""
    told = g.get("openrouter_metadata")
    if told is not None:
        body = {**body, "openrouter_metadata": told}
    shape = shaped(g.get("api", "chat"), status, body, g.get("request_id"))
    return Response(orjson.dumps(shape), status=status, mimetype="application/json")
