"""POST /chat/completions and /completions: parse, accept, stream."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, g, request

from api.accept import Acceptor, Call, idempotency_key
from api.auth import Authenticator
from api.body import hang_up, read_body
from api.stream import Streamer
from routing.errors import PayloadTooLarge
from routing.wire.chat import ChatRequest, parse_chat
from routing.wire.completions import parse_completions
from routing.wire.job import Api


def blueprint(authenticator: Authenticator, acceptor: Acceptor, streamer: Streamer) -> Blueprint:
    """The inference routes."""
    routes = Blueprint("chat", __name__)

    def serve(api: Api, parse: Callable[[bytes], ChatRequest]) -> Response:
        key = authenticator.inference_key(request.headers.get("Authorization"))
        try:
            body = read_body(request, acceptor.settings.body_max_bytes)
        except PayloadTooLarge:
            g.hang_up = hang_up(request)
            raise
        accepted = acceptor.accept(
            Call(
                api=api,
                key=key,
                request=parse(body),
                body=body,
                request_id=g.request_id,
                idempotency_key=idempotency_key(request.headers.get("Idempotency-Key")),
                app_url=request.headers.get("HTTP-Referer") or request.headers.get("Referer"),
                app_title=request.headers.get("X-OpenRouter-Title")
                or request.headers.get("X-Title"),
            )
        )
        response = streamer.respond(accepted, request.environ.get("gunicorn.socket"))
        response.headers["X-Generation-Id"] = accepted.mailbox.job_id
        if accepted.simulated:
            response.headers["X-Pointsman-Sandbox"] = "true"
        return response

    @routes.post("/chat/completions")
    def chat_completions() -> Response:
        return serve("chat", parse_chat)

    @routes.post("/completions")
    def completions() -> Response:
        return serve("completions", parse_completions)

    return routes
