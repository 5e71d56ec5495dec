"""What about a request a provider refused, in its own words: its length, its content, or neither.

Statuses do not tell: all of it is 400 nearly everywhere. A wrong guess costs one call that is
refused again, or one that is not made; what the caller is told stays the same.
"""

from __future__ import annotations

from routing.errors import RefusalKind

_CODES_CONTEXT = frozenset({"context_length_exceeded"})
_CODES_MODERATION = frozenset({
    "content_filter", "content_policy_violation", "invalid_prompt", "bio_policy",
    "responsibleaipolicyviolation",
})  # fmt: skip
#: OpenAI and vLLM, Anthropic, Gemini, Cohere, xAI, Groq, Together, Bedrock; in lower case.
_WORDS_CONTEXT = (
    "context length", "context window", "context limit", "prompt is too long", "input is too long",
    "input token count", "too many tokens", "maximum prompt length", "reduce the length",
    "max_new_tokens",
)  # fmt: skip
#: Azure, Anthropic, Cohere, xAI, OpenRouter, Gemini, and OpenAI's own sentence.
_WORDS_MODERATION = (
    "content management policy", "content filtering policy", "blocked input",
    "violates usage guidelines", "was flagged", "content policy", "usage policy",
    "rejected as a result of our safety system", "prompt was blocked",
)  # fmt: skip


def kind_of(code: object, message: str) -> RefusalKind:
    """Why a request was refused, by the provider's code or its sentence."""
    name = code.lower() if isinstance(code, str) else ""
    said = message.lower()
    if name in _CODES_CONTEXT or any(words in said for words in _WORDS_CONTEXT):
        return "context"
    if name in _CODES_MODERATION or any(words in said for words in _WORDS_MODERATION):
        return "moderation"
    return ""
