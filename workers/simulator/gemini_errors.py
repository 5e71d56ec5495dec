"""How Google says no: the error body of its APIs, on AI Studio and on Vertex AI."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

import orjson

from workers.simulator.dialect import Direct, Failure

LEARN_MORE: Final = (
    "Learn more: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/gemini"
)
RETRY_SECONDS: Final = 17

_RPC: Final = "type.googleapis.com/google.rpc."
_QUOTA_DOCS: Final = "https://ai.google.dev/gemini-api/docs/rate-limits"


class Surface(Enum):
    """The two places Google serves its models at; they differ in fields, limits and words."""

    STUDIO = auto()
    VERTEX = auto()

    @property
    def service(self) -> str:
        """The name of the API in error details."""
        if self is Surface.STUDIO:
            return "generativelanguage.googleapis.com"
        return "aiplatform.googleapis.com"


class Invalid(Exception):
    """Google would not take this request.

    Attributes:
        violations: What is wrong with which field, when it is the form that is wrong; a field
            is empty for the whole body.
        status: Google's name for the kind of error.
    """

    def __init__(
        self,
        message: str,
        *,
        violations: tuple[tuple[str, str], ...] = (),
        status: str = "INVALID_ARGUMENT",
    ) -> None:
        super().__init__(message)
        self.violations = violations
        self.status = status


def studio_field(path: str, problem: str) -> Invalid:
    """Return the error AI Studio words around the path of a field."""
    return Invalid(f"* GenerateContentRequest.{path}: {problem}\n")


def vertex_unable(problem: str) -> Invalid:
    """Return the error Vertex AI words as a sentence."""
    return Invalid(f"Unable to submit request because {problem} {LEARN_MORE}")


CODES: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}


def error(status: str, message: str, details: list[dict[str, Any]] | None = None) -> Direct:
    """Return an error response."""
    code = CODES[status]
    body: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        body["details"] = details
    return Direct(status=code, body=orjson.dumps({"error": body}, option=orjson.OPT_INDENT_2))


def refusal(invalid: Invalid) -> Direct:
    """Return the response to a request that is wrong."""
    details = None
    if invalid.violations:
        violations = [
            {"field": field, "description": text} if field else {"description": text}
            for field, text in invalid.violations
        ]
        details = [{"@type": f"{_RPC}BadRequest", "fieldViolations": violations}]
    return error(invalid.status, str(invalid), details)


def error_info(surface: Surface, reason: str, **metadata: str) -> dict[str, Any]:
    """Return the detail that carries a reason for machines."""
    return {
        "@type": f"{_RPC}ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": surface.service, **metadata},
    }


def no_credential(surface: Surface) -> Direct:
    """Return what a call without any credential gets."""
    if surface is Surface.STUDIO:
        return error(
            "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API.",
        )
    return error(
        "UNAUTHENTICATED",
        "Request is missing required authentication credential. Expected OAuth 2 access token, "
        "login cookie or other valid authentication credential. See "
        "https://developers.google.com/identity/sign-in/web/devconsole-project.",
        [error_info(surface, "CREDENTIALS_MISSING")],
    )


def bad_token(surface: Surface) -> Direct:
    """Return what a call with a token that is not valid, or no longer, gets."""
    return error(
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
        "cookie or other valid authentication credential. See "
        "https://developers.google.com/identity/sign-in/web/devconsole-project.",
        [error_info(surface, "ACCESS_TOKEN_EXPIRED")],
    )


def _unpaid(surface: Surface) -> Direct:
    return error(
        "PERMISSION_DENIED",
        "This API method requires billing to be enabled. Please enable billing on project "
        "#simulator by visiting https://console.developers.google.com/billing/enable then retry.",
        [error_info(surface, "BILLING_DISABLED", consumer="projects/simulator")],
    )


def _rate_limited(surface: Surface) -> Direct:
    if surface is Surface.VERTEX:
        return error(
            "RESOURCE_EXHAUSTED",
            "Resource exhausted. Please try again later. Please refer to "
            "https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more "
            "details.",
        )
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    violation = {
        "quotaMetric": metric,
        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini"},
        "quotaValue": "10",
    }
    link = {"description": "Learn more about Gemini API quotas", "url": _QUOTA_DOCS}
    return error(
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details. For more "
        f"information on this error, head to: {_QUOTA_DOCS}.\n* Quota exceeded for metric: "
        f"{metric}, limit: 10\nPlease retry in {RETRY_SECONDS}s.",
        [
            {"@type": f"{_RPC}QuotaFailure", "violations": [violation]},
            {"@type": f"{_RPC}Help", "links": [link]},
            {"@type": f"{_RPC}RetryInfo", "retryDelay": f"{RETRY_SECONDS}s"},
        ],
    )


def _unauthorized(surface: Surface) -> Direct:
    if surface is Surface.VERTEX:
        return bad_token(surface)
    # A wrong key is a bad argument to AI Studio: the reason tells it from the others.
    message = "API key not valid. Please pass a valid API key."
    localized = {"@type": f"{_RPC}LocalizedMessage", "locale": "en-US", "message": message}
    return error("INVALID_ARGUMENT", message, [error_info(surface, "API_KEY_INVALID"), localized])


def _forbidden(surface: Surface) -> Direct:
    if surface is Surface.VERTEX:
        permission = "aiplatform.endpoints.predict"
        resource = "projects/simulator/locations/global/publishers/google/models/gemini"
        info = error_info(
            surface, "IAM_PERMISSION_DENIED", permission=permission, resource=resource
        )
        return error(
            "PERMISSION_DENIED",
            f"Permission '{permission}' denied on resource '//aiplatform.googleapis.com/"
            f"{resource}' (or it may not exist).",
            [info],
        )
    return error(
        "PERMISSION_DENIED",
        "Permission denied: Consumer 'projects/simulator' has been suspended.",
        [error_info(surface, "CONSUMER_SUSPENDED", consumer="projects/simulator")],
    )


def _too_long(surface: Surface) -> Direct:
    if surface is Surface.VERTEX:
        return error(
            "INVALID_ARGUMENT",
            "Unable to submit request because the input token count is 1200293 but model only "
            "supports up to 1048576. Reduce the input token count and try again. You can also use "
            "the CountTokens API to calculate prompt token count and billable characters. "
            f"{LEARN_MORE}",
        )
    return error(
        "INVALID_ARGUMENT",
        "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
    )


def _broken(_surface: Surface) -> Direct:
    return error(
        "INTERNAL",
        "An internal error has occurred. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting",
    )


def _overloaded(_surface: Surface) -> Direct:
    return error("UNAVAILABLE", "The model is overloaded. Please try again later.")


def _blocked(_surface: Surface) -> Direct:
    """Return a prompt that was not let in, which is no error at Google's."""
    body = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8},
        "modelVersion": "gemini",
        "responseId": "blocked",
    }
    return Direct(status=200, body=orjson.dumps(body))


_FAILURES: Final[dict[Failure, Callable[[Surface], Direct]]] = {
    Failure.RATE_LIMITED: _rate_limited,
    Failure.BROKEN: _broken,
    Failure.OVERLOADED: _overloaded,
    Failure.UNAUTHORIZED: _unauthorized,
    Failure.UNPAID: _unpaid,
    Failure.FORBIDDEN: _forbidden,
    Failure.CONTEXT: _too_long,
    Failure.FILTERED: _blocked,
}


def failed(surface: Surface, kind: Failure) -> Direct:
    """Return the response for a fault."""
    return _FAILURES[kind](surface)
