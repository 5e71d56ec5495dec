"""Anthropic's Messages API as Google's Vertex serves it: the model is in the path."""

import re
from typing import Final

import orjson

from workers.simulator.anthropic import FAILURES, counted, error_body, refusal
from workers.simulator.anthropic_render import events, message
from workers.simulator.anthropic_request import parse, read_betas, read_messages
from workers.simulator.anthropic_shapes import VERTEX_COUNT_TOKENS, VERTEX_MESSAGES, Invalid
from workers.simulator.dialect import Answer, Ask, Dialect, Direct, Event, Failure
from workers.simulator.google_token import bearer_ok
from workers.simulator.wire import Request

REQUEST_ID: Final = "req_vrtx_011CSimulatorSimulator00"
ID_PREFIX: Final = "msg_vrtx_01"
COUNTER: Final = "count-tokens"

_PATH: Final = re.compile(
    r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/publishers/anthropic/models/"
    r"(?P<model>[^/:]+):(?:rawPredict|streamRawPredict)"
)
# What Google says before Anthropic is asked: status, its name, message
_GOOGLE: Final[dict[Failure, tuple[int, str, str]]] = {
    Failure.RATE_LIMITED: (
        429,
        "RESOURCE_EXHAUSTED",
        (
            "Quota exceeded for aiplatform.googleapis.com/"
            "online_prediction_requests_per_base_model with base model: anthropic-claude. "
            "Please submit a quota increase request."
        ),
    ),
    Failure.UNAUTHORIZED: (
        401,
        "UNAUTHENTICATED",
        (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
            "cookie or other valid authentication credential."
        ),
    ),
    Failure.FORBIDDEN: (
        403,
        "PERMISSION_DENIED",
        "Permission 'aiplatform.endpoints.predict' denied on resource (or it may not exist).",
    ),
}


class AnthropicVertexDialect(Dialect):
    """``rawPredict`` and ``streamRawPredict``; see ``Dialect`` for the methods."""

    id_header = "request-id"

    def claims(self, path: str) -> bool:
        """Whether the path names a model of Anthropic's and one of its two methods."""
        return _PATH.fullmatch(path) is not None

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check the token, then the body."""
        found = _PATH.fullmatch(path)
        if found is None or not bearer_ok(request):
            return self.failure(provider, Failure.UNAUTHORIZED)
        try:
            return _read(found["model"], request)
        except Invalid as invalid:
            return refusal(invalid, REQUEST_ID)

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render one message."""
        del provider
        return orjson.dumps(message(ask, answer, ID_PREFIX))

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render a stream."""
        del provider
        return events(ask, answer, ID_PREFIX)

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error: Google's own, or Anthropic's handed through."""
        del provider
        google = _GOOGLE.get(failure)
        if google is not None:
            status, name, words = google
            error = {"code": status, "message": words, "status": name}
            return Direct(status=status, body=orjson.dumps({"error": error}))
        status, kind, words = FAILURES[failure]
        headers = {"request-id": REQUEST_ID}
        body = error_body(kind, words, REQUEST_ID)
        return Direct(status=status, body=body, headers=headers)

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an error inside a stream."""
        del provider
        _, kind, words = FAILURES[failure]
        return Event(data=error_body(kind, words, REQUEST_ID), kind="error", name="error")


def _read(model: str, request: Request) -> Ask | Direct:
    body = parse(request.body)
    betas = read_betas(request.headers.get("anthropic-beta", ""))
    if model == COUNTER:
        VERTEX_COUNT_TOKENS(body, "")
        return counted(body, betas)
    VERTEX_MESSAGES(body, "")
    betas = (*betas, *read_betas(",".join(body.get("anthropic_beta") or ())))
    ask = read_messages(body, model, betas)
    if any(kind.endswith("/url") for kind in ask.media):
        raise Invalid("messages: URL sources are not supported")
    return ask
