"""The inference routes: parse, accept, stream. One way in for every inbound API."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import get_args

from flask import Blueprint, Response, g, jsonify, request

from api.accept import Acceptor, Call, idempotency_key
from api.auth import Authenticator
from api.body import hang_up, read_body
from api.stream import Streamer
from routing.counting import count_answer
from routing.errors import BadRequest, CallerError, PayloadTooLarge
from routing.plan import resolve
from routing.wire.account import KeyRecord
from routing.wire.anthropic_request import parse_count_tokens, parse_messages
from routing.wire.chat import AnthropicBeta, ChatRequest, parse_chat
from routing.wire.completions import parse_completions
from routing.wire.embeddings import parse_embeddings
from routing.wire.job import Api
from routing.wire.request import InferenceRequest
from routing.wire.responses_request import parse_responses

_BETAS = frozenset(get_args(AnthropicBeta))
#: The contract's bound on the header, as on the field.
SESSION_ID_MAX = 256


#: Path, inbound API, and how its body becomes the one internal request.
_ROUTES: tuple[tuple[str, Api, Callable[[bytes], InferenceRequest]], ...] = (
    ("/chat/completions", "chat", parse_chat),
    ("/completions", "completions", parse_completions),
    ("/responses", "responses", parse_responses),
    ("/messages", "messages", parse_messages),
    ("/embeddings", "embeddings", parse_embeddings),
)


def blueprint(authenticator: Authenticator, acceptor: Acceptor, streamer: Streamer) -> Blueprint:
    """The inference routes."""
    routes = Blueprint("inference", __name__)

    def admit(api: Api) -> tuple[KeyRecord, bytes]:
        """Who asks, and what: the key is checked before a byte of the body is read."""
        g.api = api
        key = authenticator.inference_key(_authorization(api))
        try:
            return key, read_body(request, acceptor.settings.body_max_bytes)
        except PayloadTooLarge:
            g.hang_up = hang_up(request)
            raise

    def serve(api: Api, parse: Callable[[bytes], InferenceRequest]) -> Response:
        key, body = admit(api)
        call = Call(
            api=api,
            key=key,
            request=_with_headers(parse(body)),
            body=body,
            request_id=g.request_id,
            idempotency_key=idempotency_key(request.headers.get("Idempotency-Key")),
            app_url=request.headers.get("HTTP-Referer") or request.headers.get("Referer"),
            app_title=request.headers.get("X-OpenRouter-Title") or request.headers.get("X-Title"),
            user_agent=request.headers.get("User-Agent"),
            tells_route=_asks_route(),
        )
        try:
            accepted = acceptor.accept(call)
        except CallerError:
            if call.tells_route:
                with suppress(BadRequest):  # no model to tell anything about
                    g.openrouter_metadata = acceptor.why_refused(call)
            raise
        response = streamer.respond(accepted, request.environ.get("gunicorn.socket"))
        response.headers["X-Generation-Id"] = accepted.mailbox.job_id
        if accepted.simulated:
            response.headers["X-Pointsman-Sandbox"] = "true"
        if not_applied := _not_applied(call.request):
            response.headers["X-Pointsman-Not-Applied"] = not_applied
        return response

    for path, api, parse in _ROUTES:
        routes.add_url_rule(path, api, partial(serve, api, parse), methods=["POST"])

    @routes.post("/messages/count_tokens")
    def count_tokens() -> Response:
        _, body = admit("messages")
        asked = parse_count_tokens(body)
        resolve(asked.model or acceptor.settings.default_model, acceptor.catalog.current)
        return jsonify(input_tokens=count_answer(asked))

    return routes


def _authorization(api: Api) -> str | None:
    """The caller's key. Anthropic's clients send theirs as `x-api-key`."""
    given = request.headers.get("Authorization")
    if given is None and api == "messages" and (key := request.headers.get("x-api-key")):
        return f"Bearer {key}"
    return given


def _asks_route() -> bool:
    given = request.headers.get("X-OpenRouter-Metadata") or request.headers.get(
        "X-OpenRouter-Experimental-Metadata", ""
    )
    return given.strip().lower() == "enabled"


def _not_applied(asked: InferenceRequest) -> str:
    """What the request asks for and this release accepts without doing it."""
    if not isinstance(asked, ChatRequest):
        return ""
    names = [f"plugins.{plugin.id}" for plugin in asked.plugins or ()]
    names += ["transforms"] if asked.transforms else []
    names += ["preset"] if asked.preset else []
    named = (asked.model or "", *(asked.models or ()))
    if any("online" in name.split(":")[1:] for name in named):
        names.append("plugins.web")
    return ", ".join(dict.fromkeys(names))


def _with_headers(asked: InferenceRequest) -> InferenceRequest:
    """A request with what its headers add to it; the body goes before them.

    Raises:
        BadRequest: a session id that is too long.
    """
    if not isinstance(asked, ChatRequest):
        return asked
    session = request.headers.get("x-session-id")
    if session and asked.session_id is None:
        if len(session) > SESSION_ID_MAX:
            raise BadRequest(f"x-session-id must have {SESSION_ID_MAX} characters or fewer.")
        asked = asked.model_copy(update={"session_id": session})
    return _with_betas(asked)


def _with_betas(asked: ChatRequest) -> ChatRequest:
    """Features asked for by header, several at once; those that are not passed on are dropped."""
    header = request.headers.get("x-anthropic-beta") or request.headers.get("anthropic-beta")
    if not header:
        return asked
    known = {word.strip() for word in header.split(",")} & _BETAS
    return asked.model_copy(update={"anthropic_betas": tuple(sorted(known))}) if known else asked
