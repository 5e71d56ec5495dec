"""How the providers that speak the OpenAI dialect differ from each other, as data.

Only differences that were seen on the wire or are documented are here; a provider without a row
behaves as the lenient default.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Reasoning(Enum):
    """Where the thoughts go."""

    HIDDEN = auto()  # counted, never shown
    REASONING_CONTENT = auto()
    REASONING = auto()
    PARTS = auto()  # a content part of type "thinking"


class Errors(Enum):
    """The form of an error body."""

    NESTED = auto()  # {"error": {message, type, param, code}}
    MISTRAL = auto()  # {"object": "error", "message", "type", "param", "code"}
    FLAT = auto()  # {"code", "error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """One provider's manner of speaking.

    Attributes:
        usage_on_finish: Usage comes on the finish chunk, asked for or not, and no chunk of its
            own follows.
        usage_null: Every other chunk carries ``usage: null``, asked for or not.
        whole_tool_calls: A tool call comes in one piece, not name first and arguments after.
        x_groq: The first and the last chunk carry ``x_groq``.
        text_beside_delta: Choices in a stream carry ``text`` beside ``delta``.
        cache_hit_tokens: Usage has ``prompt_cache_hit_tokens`` and its counterpart.
        service_tier: Answers carry ``service_tier``.
        bare_tool_call_ids: Tool call ids are nine letters and digits, in answers and requests.
        fields: Request fields it knows; others are refused. None: others are ignored.
    """

    reasoning: Reasoning = Reasoning.REASONING_CONTENT
    errors: Errors = Errors.NESTED
    usage_on_finish: bool = False
    usage_null: bool = False
    whole_tool_calls: bool = False
    x_groq: bool = False
    text_beside_delta: bool = False
    cache_hit_tokens: bool = False
    service_tier: bool = False
    bare_tool_call_ids: bool = False
    fields: frozenset[str] | None = None


def _fields(names: str) -> frozenset[str]:
    return frozenset(names.split())


_SHARED_FIELDS: Final = _fields(
    "frequency_penalty max_tokens messages metadata model n parallel_tool_calls presence_penalty "
    "prompt reasoning_effort response_format stop stream stream_options suffix temperature "
    "tool_choice tools top_p"
)
_OPENAI_FIELDS: Final = _SHARED_FIELDS | _fields(
    "audio best_of echo function_call functions logit_bias logprobs max_completion_tokens "
    "modalities prediction prompt_cache_key prompt_cache_retention safety_identifier seed "
    "service_tier store top_logprobs user verbosity web_search_options"
)
_GROQ_FIELDS: Final = _SHARED_FIELDS | _fields(
    "citation_options compound_custom disable_tool_validation documents exclude_domains "
    "function_call functions include_domains include_reasoning logit_bias logprobs "
    "max_completion_tokens reasoning_format search_settings seed service_tier store "
    "top_logprobs user"
)
_MISTRAL_FIELDS: Final = _SHARED_FIELDS | _fields(
    "guardrails min_tokens prediction prompt_mode random_seed safe_prompt"
)

_XAI: Final = Manner(errors=Errors.FLAT)

MANNERS: Final[dict[str, Manner]] = {
    "openai": Manner(reasoning=Reasoning.HIDDEN, service_tier=True, fields=_OPENAI_FIELDS),
    "groq": Manner(
        reasoning=Reasoning.REASONING,
        whole_tool_calls=True,
        x_groq=True,
        fields=_GROQ_FIELDS,
    ),
    "mistral": Manner(
        reasoning=Reasoning.PARTS,
        errors=Errors.MISTRAL,
        usage_on_finish=True,
        whole_tool_calls=True,
        bare_tool_call_ids=True,
        fields=_MISTRAL_FIELDS,
    ),
    "deepseek": Manner(usage_on_finish=True, cache_hit_tokens=True),
    "together": Manner(
        reasoning=Reasoning.REASONING,
        usage_on_finish=True,
        usage_null=True,
        text_beside_delta=True,
    ),
    "cerebras": Manner(reasoning=Reasoning.REASONING),
    "xai": _XAI,
    "x-ai": _XAI,
}
DEFAULT_MANNER: Final = Manner()


def manner_of(provider: str) -> Manner:
    """Return a provider's manner; a slug with a region (``openai-eu``) counts as the provider."""
    known = MANNERS.get(provider)
    if known is None:
        known = MANNERS.get(provider.partition("-")[0], DEFAULT_MANNER)
    return known
