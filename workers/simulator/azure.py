"""Azure OpenAI: OpenAI's format behind deployments, with Azure's key, filters and errors."""

import re
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from workers.simulator.dialect import Answer, Ask, Direct, Event, Failure
from workers.simulator.openai import OpenAIDialect
from workers.simulator.providers import manner_of
from workers.simulator.wire import Request

# Whatever the slug: the way of speaking belongs to the path.
_AZURE: Final = "azure"
_PATH: Final = re.compile(
    r"/openai/deployments/(?P<deployment>[^/]+)(?P<operation>/(?:chat/)?completions|/embeddings)"
)
_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?|preview|latest|v1")
_SAFE: Final = {"filtered": False, "severity": "safe"}
_CATEGORIES: Final = ("hate", "self_harm", "sexual", "violence")
_PASSED: Final = dict.fromkeys(_CATEGORIES, _SAFE)
_CAUGHT: Final = {**_PASSED, "violence": {"filtered": True, "severity": "medium"}}
_JAILBREAK: Final = {"jailbreak": {"detected": False, "filtered": False}}
_PROMPT_RESULTS: Final = [{"prompt_index": 0, "content_filter_results": {**_PASSED, **_JAILBREAK}}]

_DENIED: Final = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
    "valid key for an active subscription and use a correct regional API endpoint for your "
    "resource."
)
# status, message
_FAILURES: Final[dict[Failure, tuple[int, str]]] = {
    Failure.RATE_LIMITED: (
        429,
        (
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded "
            "call rate limit of your current OpenAI S0 pricing tier. Please retry after 1 second."
        ),
    ),
    Failure.UNAUTHORIZED: (401, _DENIED),
    Failure.FORBIDDEN: (403, "Access denied due to Virtual Network/Firewall rules."),
}
_LIMITED: Final = {
    "retry-after": "1",
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "1",
}


class AzureDialect(OpenAIDialect):
    """OpenAI's dialect as Azure hosts it; see ``Dialect`` for the methods."""

    id_header = "apim-request-id"

    def claims(self, path: str) -> bool:
        """Whether the path is an operation of a deployment."""
        return _PATH.fullmatch(path) is not None

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check the key, the version and the body, in that order."""
        del provider
        if not _has_key(request):
            return _error(401, _DENIED)
        found = _PATH.fullmatch(path)
        if found is None or not _has_version(request.target):
            return _error(404, "Resource not found")
        return self.read_body(
            found["operation"], _with_model(request, found["deployment"]), manner_of(_AZURE)
        )

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render one body, with what the filters say of prompt and answer."""
        del provider
        data = super().plain(_AZURE, ask, answer)
        if ask.kind == "embeddings":
            return data
        body = orjson.loads(data)
        for choice in body["choices"]:
            choice["content_filter_results"] = _results(choice)
        return orjson.dumps({**body, "prompt_filter_results": _PROMPT_RESULTS})

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render a stream, which begins with a chunk that is about the prompt alone."""
        del provider
        first = {
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": _PROMPT_RESULTS,
        }
        events = [_annotated(event) for event in super().events(_AZURE, ask, answer)]
        return [Event(data=orjson.dumps(first), kind="start"), *events]

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error as Azure words it; the model's own errors are OpenAI's."""
        del provider
        if failure is Failure.FILTERED:
            return _filtered()
        if failure in _FAILURES:
            status, message = _FAILURES[failure]
            headers = _LIMITED if failure is Failure.RATE_LIMITED else {}
            return replace(_error(status, message), headers=headers)
        return super().failure(_AZURE, failure)

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an error inside a stream: the same object as in a body."""
        return Event(data=self.failure(provider, failure).body, kind="error")


def _has_key(request: Request) -> bool:
    bearer = request.headers.get("authorization", "")
    return bool(request.headers.get("api-key")) or bool(bearer.removeprefix("Bearer ").strip())


def _has_version(target: str) -> bool:
    versions = parse_qs(target.partition("?")[2]).get("api-version", [])
    return len(versions) == 1 and _VERSION.fullmatch(versions[0]) is not None


def _with_model(request: Request, deployment: str) -> Request:
    """Name the model in the body: the deployment decides, whatever the body says."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return request
    if not isinstance(body, dict):
        return request
    return replace(request, body=orjson.dumps({**body, "model": deployment}))


def _results(choice: dict[str, Any]) -> dict[str, Any]:
    return _CAUGHT if choice["finish_reason"] == "content_filter" else _PASSED


def _annotated(event: Event) -> Event:
    if event.kind in ("end", "usage", "error"):
        return event
    body = orjson.loads(event.data)
    for choice in body["choices"]:
        said = event.kind == "piece" or choice["finish_reason"] == "content_filter"
        choice["content_filter_results"] = _results(choice) if said else {}
    return event._replace(data=orjson.dumps(body))


def _error(status: int, message: str) -> Direct:
    error = {"code": str(status), "message": message}
    return Direct(status=status, body=orjson.dumps({"error": error}))


def _filtered() -> Direct:
    error = {
        "message": (
            "The response was filtered due to the prompt triggering Azure OpenAI's content "
            "management policy. Please modify your prompt and retry."
        ),
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {**_CAUGHT, **_JAILBREAK},
        },
    }
    return Direct(status=400, body=orjson.dumps({"error": error}))
