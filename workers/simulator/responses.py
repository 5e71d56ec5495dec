"""OpenAI's Responses API, as OpenAI and the providers that took it over serve it."""

from functools import lru_cache
from typing import Final

import orjson

from workers.simulator.dialect import Answer, Ask, Dialect, Direct, Event, Failure
from workers.simulator.openai import OpenAIDialect
from workers.simulator.openai_fields import Invalid
from workers.simulator.responses_fields import NotFound
from workers.simulator.responses_render import Stream, events, failed, response
from workers.simulator.responses_request import parse, read_response
from workers.simulator.wire import Request

PATH: Final = "/responses"
REMEMBERED_BYTES_MAX: Final = 16 * 1024
# Errors are worded as OpenAI words them, whoever serves the API.
OPENAI: Final = "openai"

_CHAT: Final = OpenAIDialect()
_LIMITS: Final = {
    "retry-after": "1",
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "1s",
}


class ResponsesDialect(Dialect):
    """Responses, stateless: nothing is stored; see ``Dialect`` for the methods."""

    def claims(self, path: str) -> bool:
        """Whether the path is that of the API, whatever stands before it."""
        return path.endswith(PATH)

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check the key, the method and the body, in that order."""
        del provider, path
        headers = request.headers
        bearer = headers.get("authorization", "").startswith("Bearer ")
        if not bearer and not headers.get("api-key"):
            return _error(401, Invalid("Missing bearer authentication in header", ""))
        if request.method != "POST":
            return _error(405, Invalid("Method not allowed.", ""))
        try:
            if len(request.body) <= REMEMBERED_BYTES_MAX:
                return _read_remembered(request.body)
            return _read(request.body)
        except NotFound as invalid:
            return _error(404, invalid)
        except Invalid as invalid:
            return _error(400, invalid)

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render one response."""
        del provider
        return orjson.dumps(response(ask, answer))

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render a stream, up to the event that holds the whole response."""
        del provider
        return events(ask, answer)

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error, with the limits where one was hit."""
        del provider
        direct = _CHAT.failure(OPENAI, failure)
        headers = _LIMITS if failure is Failure.RATE_LIMITED else {}
        return Direct(status=direct.status, body=direct.body, headers=dict(headers))

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render the error that a stream begins with."""
        stream = Stream()
        stream.add("error", "error", **self._words(provider, failure), param=None)
        return stream.events[0]

    def broken_off(self, provider: str, ask: Ask, answer: Answer, sent: int) -> list[Event]:
        """Render the error in a stream, and the response that failed of it."""
        words = self._words(provider, Failure.BROKEN)
        stream = Stream(sent)
        stream.add("error", "error", **words, param=None)
        stream.add("response.failed", "error", response=failed(ask, answer, **words))
        return stream.events

    def _words(self, provider: str, failure: Failure) -> dict[str, str]:
        error = orjson.loads(self.failure(provider, failure).body)["error"]
        return {"code": error["code"] or error["type"], "message": error["message"]}


def _read(body: bytes) -> Ask:
    return read_response(parse(body))


# A benchmark sends the same body again and again, and it always means the same.
_read_remembered = lru_cache(maxsize=512)(_read)


def _error(status: int, invalid: Invalid) -> Direct:
    error = {
        "message": str(invalid),
        "type": "invalid_request_error",
        "param": invalid.param or None,
        "code": invalid.code,
    }
    return Direct(status=status, body=orjson.dumps({"error": error}))
