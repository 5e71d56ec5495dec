"""The OpenAI chat dialect, as OpenAI and the providers that took it over speak it."""

from functools import lru_cache
from typing import Any, Final

import orjson

from workers.simulator.dialect import Answer, Ask, Dialect, Direct, Event, Failure
from workers.simulator.openai_answers import plain_body
from workers.simulator.openai_embeddings import embeddings_body, read_embeddings
from workers.simulator.openai_fields import Invalid
from workers.simulator.openai_request import parse, read_chat, read_model, read_text
from workers.simulator.openai_stream import Stream
from workers.simulator.providers import Errors, Manner, manner_of
from workers.simulator.wire import Request

# How the paths end; every provider puts something else before.
CHAT: Final = "/chat/completions"
TEXT: Final = "/completions"
MODELS: Final = "/models"
EMBEDDINGS: Final = "/embeddings"
_OPERATIONS: Final = (CHAT, TEXT, MODELS, EMBEDDINGS)
REMEMBERED_BYTES_MAX: Final = 16 * 1024
CREATED: Final = 1_735_689_600  # 2025-01-01, when the listed models were "made"
LISTED_MODELS: Final = ("sim-plain", "sim-burst-20", "sim-paced-20x50", "sim-reasoning")

# status, message, type, code
_FAILURES: Final[dict[Failure, tuple[int, str, str, str | None]]] = {
    Failure.RATE_LIMITED: (
        429,
        "Rate limit reached. Please try again later.",
        "requests",
        "rate_limit_exceeded",
    ),
    Failure.BROKEN: (
        500,
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
        None,
    ),
    Failure.OVERLOADED: (
        503,
        "The engine is currently overloaded, please try again later.",
        "server_error",
        "service_unavailable",
    ),
    Failure.UNAUTHORIZED: (
        401,
        "Incorrect API key provided.",
        "invalid_request_error",
        "invalid_api_key",
    ),
    Failure.UNPAID: (402, "Insufficient Balance", "insufficient_quota", "insufficient_quota"),
    Failure.FORBIDDEN: (
        403,
        "Your project does not have access to this model.",
        "invalid_request_error",
        "model_not_found",
    ),
    Failure.CONTEXT: (
        400,
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted "
            "in 9001 tokens. Please reduce the length of the messages."
        ),
        "invalid_request_error",
        "context_length_exceeded",
    ),
    Failure.FILTERED: (
        400,
        (
            "The response was filtered due to the prompt triggering content management policy. "
            "Please modify your prompt and retry."
        ),
        "invalid_request_error",
        "content_filter",
    ),
}
# What OpenAI says of its limits when one is reached.
_LIMITS: Final = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-limit-tokens": "30000",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-remaining-tokens": "29000",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-reset-tokens": "2s",
}
_FAILURE_PARAMS: Final = {Failure.CONTEXT: "messages", Failure.FILTERED: "prompt"}


class OpenAIDialect(Dialect):
    """Chat, text completions and embeddings in the OpenAI format; see ``Dialect``."""

    def claims(self, path: str) -> bool:
        """Whether the path ends as one of the four this dialect serves."""
        return path.endswith(_OPERATIONS)

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check the key, the method and the body, in that order."""
        manner = manner_of(provider)
        if not request.headers.get("authorization", "").startswith("Bearer "):
            return _unauthorized(manner)
        if path.endswith(MODELS):
            return Direct(status=200, body=_models(provider))
        return self.read_body(path, request, manner)

    def read_body(self, path: str, request: Request, manner: Manner) -> Ask | Direct:
        """Check the method and the body of a caller whose key is good."""
        if request.method != "POST":
            message = f"Not allowed to {request.method} on this path."
            return Direct(status=405, body=_error(manner, 405, message, "invalid_request_error"))
        try:
            if len(request.body) <= REMEMBERED_BYTES_MAX:
                return _read_remembered(path, request.body, manner)
            return _read(path, request.body, manner)
        except Invalid as invalid:
            return _refusal(manner, invalid)

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render one body."""
        if ask.kind == "embeddings":
            return embeddings_body(ask, answer)
        return plain_body(ask, answer, manner_of(provider))

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render a stream, ``[DONE]`` included."""
        return Stream(manner_of(provider), ask, answer).events()

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error the way this provider words it."""
        status, message, kind, code = _FAILURES[failure]
        manner = manner_of(provider)
        body = _error(manner, status, message, kind, param=_FAILURE_PARAMS.get(failure), code=code)
        limited = failure is Failure.RATE_LIMITED and manner.service_tier
        return Direct(status=status, body=body, headers=_LIMITS if limited else {})

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an error inside a stream: mostly the same object as in a body."""
        body = self.failure(provider, failure).body
        if manner_of(provider).errors is Errors.OPENROUTER:
            choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
            body = orjson.dumps(
                {"object": "chat.completion.chunk", **orjson.loads(body), "choices": [choice]}
            )
        return Event(data=body, kind="error")


def _read(path: str, data: bytes, manner: Manner) -> Ask:
    body = parse(data)
    if path.endswith(CHAT):
        return read_chat(body, manner)
    if path.endswith(EMBEDDINGS):
        return read_embeddings(body, read_model(body), manner)
    return read_text(body, manner)


# A benchmark sends the same body again and again, and it always means the same.
_read_remembered = lru_cache(maxsize=512)(_read)


def _models(provider: str) -> bytes:
    return orjson.dumps(
        {
            "object": "list",
            "data": [
                {"id": model, "object": "model", "created": CREATED, "owned_by": provider}
                for model in LISTED_MODELS
            ],
        }
    )


def _unauthorized(manner: Manner) -> Direct:
    message = (
        "You didn't provide an API key. You need to provide your API key in an Authorization "
        "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    )
    if manner.errors is Errors.MISTRAL:
        return Direct(status=401, body=b'{"message":"Unauthorized","request_id":"simulator"}')
    return Direct(status=401, body=_error(manner, 401, message, "invalid_request_error"))


def _refusal(manner: Manner, invalid: Invalid) -> Direct:
    message = str(invalid)
    status = 400
    if manner.errors is not Errors.MISTRAL:
        body = _error(
            manner, status, message, "invalid_request_error", param=invalid.param, code=invalid.code
        )
        return Direct(status=status, body=body)
    if invalid.kind == "invalid_function_call":
        body = _error(manner, status, message, invalid.kind, code=invalid.code)
        return Direct(status=status, body=body)
    where = [int(part) if part.isdigit() else part for part in invalid.param.split(".")]
    detail = {"type": invalid.kind, "loc": ["body", *where], "msg": message, "input": None}
    status = 422
    body = _error(manner, status, {"detail": [detail]}, "invalid_request_error")
    return Direct(status=status, body=body)


def _error(
    manner: Manner,
    status: int,
    message: str | dict[str, Any],
    kind: str,
    *,
    param: str | None = None,
    code: str | None = None,
) -> bytes:
    match manner.errors:
        case Errors.NESTED:
            error = {"message": message, "type": kind, "param": param, "code": code}
            return orjson.dumps({"error": error})
        case Errors.MISTRAL:
            return orjson.dumps(
                {"object": "error", "message": message, "type": kind, "param": param, "code": code}
            )
        case Errors.FLAT:
            return orjson.dumps(
                {"code": code or "Client specified an invalid argument", "error": message}
            )
        case Errors.OPENROUTER:
            body = {"message": message, "code": status, "metadata": {"error_type": kind}}
            return orjson.dumps({"error": body, "user_id": "user_simulator"})
        case Errors.AZURE:
            error = {"message": message, "type": kind, "param": param, "code": code or str(status)}
            return orjson.dumps({"error": error})
