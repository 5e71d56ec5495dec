"""How the providers that speak the OpenAI dialect differ from each other, as data.

Only differences that were seen on the wire or are documented are here; a provider without a row
behaves as the lenient default.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final


class Reasoning(Enum):
    """Where the thoughts go."""

    HIDDEN = auto()  # counted, never shown
    REASONING_CONTENT = auto()
    REASONING = auto()
    PARTS = auto()  # a content part of type "thinking"
    DETAILS = auto()  # "reasoning", and signed "reasoning_details" beside it
    TAGS = auto()  # between <think> and </think>, in the content


class Errors(Enum):
    """The form of an error body."""

    NESTED = auto()  # {"error": {message, type, param, code}}
    MISTRAL = auto()  # {"object": "error", "message", "type", "param", "code"}
    FLAT = auto()  # {"code", "error"}
    OPENROUTER = auto()  # {"error": {message, code: the status}, "user_id"}
    AZURE = auto()  # {"error": {code, message}}


class Switch(Enum):
    """How a request turns thinking on or off, beside ``reasoning_effort``."""

    NONE = auto()
    REASONING = auto()  # reasoning: {effort, max_tokens, enabled, exclude}
    THINKING = auto()  # thinking: {type: enabled | disabled}
    ENABLE_THINKING = auto()  # enable_thinking: true, thinking_budget: 1024
    PROMPT_MODE = auto()  # prompt_mode: "reasoning"
    REASONING_FORMAT = auto()  # reasoning_format: parsed | raw | hidden


class Replay(Enum):
    """What must come back with a tool's result when the model thinks."""

    NOTHING = auto()
    DEEPSEEK = auto()
    MOONSHOT = auto()


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What a provider takes beside text.

    Attributes:
        parts: Kinds of content part.
        audio: Formats of ``input_audio``.
        file_urls: Whether a file may be given by URL.
        bare_urls: Whether ``image_url`` may be a string.
    """

    parts: frozenset[str]
    audio: frozenset[str] = frozenset()
    file_urls: bool = False
    bare_urls: bool = False


_ALL_AUDIO: Final = _words("wav mp3 aiff aac ogg flac m4a pcm16 pcm24")
_ANY_MEDIA: Final = Media(
    parts=_words("text image_url input_audio file video_url refusal"),
    audio=_ALL_AUDIO,
    file_urls=True,
)
_PICTURES: Final = Media(parts=_words("text image_url"))
_FILMS: Final = Media(parts=_words("text image_url video_url"))


# Without equality: it is a part of the key of what is remembered, and hashed at every call.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Manner:
    """One provider's manner of speaking.

    Attributes:
        usage_on_finish: Usage comes on the finish chunk, asked for or not, and no chunk of its
            own follows.
        usage_null: Every other chunk carries ``usage: null``, asked for or not.
        usage_always: A usage chunk of its own comes, asked for or not.
        usage_in_choice: The choice of the finish chunk carries usage too.
        whole_tool_calls: A tool call comes in one piece, not name first and arguments after.
        x_groq: The first and the last chunk carry ``x_groq``.
        text_beside_delta: Choices in a stream carry ``text`` beside ``delta``.
        cache_hit_tokens: Usage has ``prompt_cache_hit_tokens`` and its counterpart.
        thoughts_apart: ``completion_tokens`` leaves the thoughts out; the total has them.
        cache_marks: ``cache_control`` in a content part marks what is to be cached.
        service_tier: Answers carry ``service_tier``.
        priced: Usage says what the call cost, and answers name the provider behind.
        searches: Answers name the pages they were made from.
        speaks: Spoken output can be asked for.
        draws: ``modalities`` may hold ``image``.
        bare_tool_call_ids: Tool call ids are nine letters and digits, in answers and requests.
        fields: Request fields it knows; others are refused. None: others are ignored.
        message_fields: The same for fields of a message.
    """

    reasoning: Reasoning = Reasoning.REASONING_CONTENT
    errors: Errors = Errors.NESTED
    switch: Switch = Switch.NONE
    replay: Replay = Replay.NOTHING
    media: Media = _ANY_MEDIA
    usage_on_finish: bool = False
    usage_null: bool = False
    usage_always: bool = False
    usage_in_choice: bool = False
    whole_tool_calls: bool = False
    x_groq: bool = False
    text_beside_delta: bool = False
    cache_hit_tokens: bool = False
    thoughts_apart: bool = False
    cache_marks: bool = False
    service_tier: bool = False
    priced: bool = False
    searches: bool = False
    speaks: bool = False
    draws: bool = True
    bare_tool_call_ids: bool = False
    fields: frozenset[str] | None = None
    message_fields: frozenset[str] | None = None


_SHARED_FIELDS: Final = _words(
    "frequency_penalty max_tokens messages metadata model n parallel_tool_calls presence_penalty "
    "prompt reasoning_effort response_format stop stream stream_options suffix temperature "
    "tool_choice tools top_p"
)
_OPENAI_FIELDS: Final = _SHARED_FIELDS | _words(
    "audio best_of echo function_call functions logit_bias logprobs max_completion_tokens "
    "modalities prediction prompt_cache_key prompt_cache_retention safety_identifier seed "
    "service_tier store top_logprobs user verbosity web_search_options"
)
_GROQ_FIELDS: Final = _SHARED_FIELDS | _words(
    "citation_options compound_custom disable_tool_validation documents exclude_domains "
    "function_call functions include_domains include_reasoning logit_bias logprobs "
    "max_completion_tokens reasoning_format search_settings seed service_tier store "
    "top_logprobs user"
)
_MISTRAL_FIELDS: Final = _SHARED_FIELDS | _words(
    "guardrails min_tokens prediction prompt_mode random_seed safe_prompt"
)
_MESSAGE_FIELDS: Final = _words("role content name tool_calls tool_call_id")

_OPENAI: Final = Manner(
    reasoning=Reasoning.HIDDEN,
    media=Media(parts=_words("text image_url input_audio file refusal"), audio=_words("wav mp3")),
    service_tier=True,
    speaks=True,
    draws=False,
    fields=_OPENAI_FIELDS,
    message_fields=_MESSAGE_FIELDS | _words("refusal audio function_call annotations"),
)
_XAI: Final = Manner(errors=Errors.FLAT, media=_PICTURES, thoughts_apart=True)
_ZAI: Final = Manner(
    switch=Switch.THINKING, media=Media(parts=_words("text image_url video_url file_url"))
)
_QWEN: Final = Manner(
    switch=Switch.ENABLE_THINKING,
    media=Media(parts=_words("text image_url video_url input_audio"), audio=_ALL_AUDIO),
    cache_marks=True,
)
_MOONSHOT: Final = Manner(
    switch=Switch.THINKING, replay=Replay.MOONSHOT, media=_FILMS, usage_in_choice=True
)

MANNERS: Final[dict[str, Manner]] = {
    "openai": _OPENAI,
    "azure": replace(_OPENAI, errors=Errors.AZURE, service_tier=False),
    "openrouter": Manner(
        reasoning=Reasoning.DETAILS,
        errors=Errors.OPENROUTER,
        switch=Switch.REASONING,
        usage_always=True,
        cache_marks=True,
        priced=True,
        speaks=True,
    ),
    "groq": Manner(
        reasoning=Reasoning.REASONING,
        switch=Switch.REASONING_FORMAT,
        media=_PICTURES,
        whole_tool_calls=True,
        x_groq=True,
        draws=False,
        fields=_GROQ_FIELDS,
        message_fields=_MESSAGE_FIELDS | _words("reasoning function_call annotations"),
    ),
    "mistral": Manner(
        reasoning=Reasoning.PARTS,
        errors=Errors.MISTRAL,
        switch=Switch.PROMPT_MODE,
        media=Media(
            parts=_words("text image_url document_url thinking"), file_urls=True, bare_urls=True
        ),
        usage_on_finish=True,
        whole_tool_calls=True,
        bare_tool_call_ids=True,
        draws=False,
        fields=_MISTRAL_FIELDS,
        message_fields=_MESSAGE_FIELDS | _words("prefix"),
    ),
    "deepseek": Manner(
        switch=Switch.THINKING,
        replay=Replay.DEEPSEEK,
        media=Media(parts=_words("text")),
        usage_on_finish=True,
        cache_hit_tokens=True,
    ),
    "together": Manner(
        reasoning=Reasoning.REASONING,
        switch=Switch.REASONING,
        media=_PICTURES,
        usage_on_finish=True,
        usage_null=True,
        text_beside_delta=True,
    ),
    "perplexity": Manner(
        reasoning=Reasoning.TAGS,
        media=Media(parts=_words("text image_url file_url")),
        usage_on_finish=True,
        searches=True,
    ),
    "moonshot": _MOONSHOT,
    "moonshotai": _MOONSHOT,
    "zai": _ZAI,
    "z": _ZAI,
    "qwen": _QWEN,
    "alibaba": _QWEN,
    "novita": replace(_QWEN, cache_marks=False),
    "siliconflow": replace(_QWEN, cache_marks=False),
    "xiaomi": Manner(switch=Switch.THINKING),
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
