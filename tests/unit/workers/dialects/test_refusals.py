"""Why a request was refused, as each provider says it."""

from __future__ import annotations

import orjson
import pytest

from routing.errors import UpstreamRejected
from workers.dialects import anthropic_errors, bedrock_answers, cohere_answers, gemini_errors
from workers.dialects.openai_errors import by_response, in_band
from workers.dialects.refusals import kind_of

LONG = "context"
FLAGGED = "moderation"


def openai(message, code=None, status=400):
    body = orjson.dumps({"error": {"message": message, "code": code}})
    return by_response(status, {}, body, 0)


def anthropic(message):
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    return anthropic_errors.error_of(400, {}, orjson.dumps(body), 0)


def gemini(message):
    body = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": message}}
    return gemini_errors.by_body(400, {}, orjson.dumps(body), 0)


def bare(error_of, message):
    return error_of(400, {}, orjson.dumps({"message": message}), 0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (openai("no", "context_length_exceeded"), LONG),
        (openai("This model's maximum context length is 8192 tokens. However, …"), LONG),
        (openai("inputs tokens + max_new_tokens must be <= 4097", status=403), LONG),
        (openai("This model's maximum prompt length is 131072 but …"), LONG),
        (openai("no", "content_filter"), FLAGGED),
        (openai("Content violates usage guidelines.", status=403), FLAGGED),
        (openai("openai/gpt-4o requires moderation. Your input was flagged", status=403), FLAGGED),
        (openai("temperature: must be at most 2"), ""),
        (in_band({"code": "context_length_exceeded", "message": "no"}), LONG),
        (in_band({"code": 400, "message": "content management policy"}), FLAGGED),
        (anthropic("prompt is too long: 210381 tokens > 200000 maximum"), LONG),
        (anthropic("input length and `max_tokens` exceed context limit: 1 + 2 > 2"), LONG),
        (anthropic("Output blocked by content filtering policy"), FLAGGED),
        (anthropic("messages: roles must alternate"), ""),
        (gemini("The input token count (1048577) exceeds the maximum number of tokens"), LONG),
        (gemini("Unable to process input image"), ""),
        (bare(bedrock_answers.error_of, "Input is too long for requested model."), LONG),
        (bare(cohere_answers.error_of, "too many tokens: size limit exceeded"), LONG),
        (bare(cohere_answers.error_of, "blocked input: please adjust your prompt"), FLAGGED),
    ],
)
def test_a_refusal_says_of_what_kind_it_is(error, kind):
    assert isinstance(error, UpstreamRejected)
    assert error.failure("P").kind == kind


@pytest.mark.parametrize("code", [None, 400, ["content_filter"], ""])
def test_a_code_that_is_no_word_says_nothing(code):
    assert kind_of(code, "") == ""
