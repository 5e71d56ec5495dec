"""The chat request: the one internal form of every inference request (contract 3.1 to 3.8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from routing.errors import BadRequest
from routing.wire.messages import (
    CHAT_TOOL_NAME_MAX,
    MESSAGES_MAX,
    TOOLS_MAX,
    CacheControl,
    Content,
    Message,
    NamedTool,
    Tool,
    ToolChoice,
    checked_schema,
    role_problem,
    text_or_items,
)
from routing.wire.provider import ProviderPreferences
from routing.wire.validate import (
    NO_NUL,
    PRINTABLE,
    SENTENCE,
    TAG,
    TRUSTED,
    Identifier,
    Wire,
    at_most,
    bad_request,
    load_object,
)

#: The contract's own bound on `models`.
MODELS_MAX = 3
#: Largest number a JavaScript client can send exactly.
SEED_MAX = 2**53 - 1
#: Beyond every context there is; keeps products with prices small.
TOKENS_MAX = 2**31 - 1
#: Entries of `logit_bias`; OpenAI stops at 1,024.
LOGIT_BIAS_MAX = 1_024
METADATA_MAX = 16
PLUGINS_MAX = 16


def _models(models: tuple[str, ...]) -> tuple[str, ...]:
    if len(models) > MODELS_MAX:
        # The contract's own sentence, word for word: clients look for it.
        raise PydanticCustomError(SENTENCE, "'models' array must have 3 items or fewer.")
    return models


def _one(value: int) -> int:
    if value != 1:
        raise ValueError("must be 1: several choices are not supported, send several requests")
    return value


def _no_brackets(key: str) -> str:
    if "[" in key or "]" in key:
        raise ValueError("metadata keys must not contain brackets")
    return key


_MetadataKey = Annotated[
    str, Field(min_length=1, max_length=64, pattern=NO_NUL), AfterValidator(_no_brackets)
]
_MetadataValue = Annotated[str, Field(max_length=512, pattern=NO_NUL)]
_TokenCount = Annotated[int, Field(ge=1, le=TOKENS_MAX)]
_Model = Annotated[str, Field(min_length=1, max_length=256, pattern=PRINTABLE)]
_Stop = Annotated[
    Annotated[str, Tag(f"{TAG}text")]
    | Annotated[
        tuple[str, ...], Field(strict=False, max_length=4, fail_fast=True), Tag(f"{TAG}items")
    ],
    Discriminator(
        text_or_items,
        custom_error_type="stop",
        custom_error_message="must be a string or an array of up to 4 strings",
    ),
]
#: Of `x-anthropic-beta` only these are passed on; what else a model needs, the router adds.
AnthropicBeta = Literal["fine-grained-tool-streaming-2025-05-14", "interleaved-thinking-2025-05-14"]
Effort = Literal["max", "xhigh", "high", "medium", "low", "minimal", "none"]


class JsonSchema(Wire):
    """The schema an answer must follow."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: Annotated[
        Annotated[dict[str, Any], AfterValidator(checked_schema)] | None, Field(alias="schema")
    ] = None
    strict: bool | None = None


class ResponseFormat(Wire):
    """The form an answer must have."""

    type: Literal["text", "json_object", "json_schema", "grammar", "python"]
    json_schema: JsonSchema | None = None
    grammar: str | None = None


class Reasoning(Wire):
    """How much to think, and whether to show it."""

    effort: Effort | None = None
    max_tokens: _TokenCount | None = None
    exclude: bool | None = None
    enabled: bool | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "all_turns", "current_turn"] | None = None
    mode: Literal["standard", "pro"] | None = None


class Plugin(Wire):
    """A plugin and its options, which the plugin itself reads."""

    id: Literal[
        "web",
        "file-parser",
        "response-healing",
        "moderation",
        "context-compression",
        "auto-router",
        "auto-beta-router",
        "pareto-router",
        "web-fetch",
        "fusion",
    ]
    enabled: bool | None = None
    max_results: Annotated[int, Field(ge=1, le=100)] | None = None


class StreamOptions(Wire):
    """Accepted; usage is always sent."""

    include_usage: bool | None = None


class UsageOptions(Wire):
    """Accepted; usage is always full."""

    include: bool | None = None


class WebSearchOptions(Wire):
    """For models with a search of their own."""

    search_context_size: Literal["low", "medium", "high"] | None = None


class AudioOptions(Wire):
    """Voice and format of audio output."""

    voice: Annotated[str, Field(max_length=128)] | None = None
    format: Literal["wav", "mp3", "flac", "opus", "pcm16"] | None = None


class Prediction(Wire):
    """Text the answer will mostly repeat."""

    type: Literal["content"]
    content: Content


class Debug(Wire):
    """Switches for whoever writes a client."""

    echo_upstream_body: bool | None = None


def _as_list(plugins: Any) -> Any:
    """Plugins by name, as one of the guides writes them: `{"web": {}}` for `[{"id": "web"}]`."""
    if not isinstance(plugins, dict) or not all(isinstance(o, dict) for o in plugins.values()):
        return plugins
    return [{**options, "id": name} for name, options in plugins.items()]


class ChatRequest(Wire):
    """A checked request. Null is the same as absent; unknown fields are kept and passed on.

    Exactly one of `messages` and `prompt` is set. Never changed after it was parsed.
    """

    messages: (
        Annotated[
            tuple[Message, ...],
            Field(strict=False, max_length=MESSAGES_MAX, fail_fast=True),
        ]
        | None
    ) = None
    prompt: str | None = None
    model: _Model | None = None
    models: (
        Annotated[tuple[_Model, ...], Field(strict=False, fail_fast=True), AfterValidator(_models)]
        | None
    ) = None
    route: Literal["fallback", "sort"] | None = None
    provider: ProviderPreferences | None = None
    plugins: (
        Annotated[
            tuple[Plugin, ...],
            Field(strict=False, max_length=PLUGINS_MAX, fail_fast=True),
            BeforeValidator(_as_list),
        ]
        | None
    ) = None
    preset: Identifier | None = None
    transforms: (
        Annotated[
            tuple[Literal["middle-out"], ...], Field(strict=False, max_length=4, fail_fast=True)
        ]
        | None
    ) = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    usage: UsageOptions | None = None
    max_tokens: _TokenCount | None = None
    max_completion_tokens: _TokenCount | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=TOKENS_MAX)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_a: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-SEED_MAX, le=SEED_MAX)] | None = None
    stop: _Stop | None = None
    logit_bias: (
        Annotated[
            dict[Annotated[str, Field(max_length=16)], Annotated[float, Field(ge=-100, le=100)]],
            at_most(LOGIT_BIAS_MAX),
        ]
        | None
    ) = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    n: Annotated[int, AfterValidator(_one)] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: bool | None = None
    tools: (
        Annotated[tuple[Tool, ...], Field(strict=False, max_length=TOOLS_MAX, fail_fast=True)]
        | None
    ) = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None
    verbosity: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    web_search_options: WebSearchOptions | None = None
    modalities: (
        Annotated[
            tuple[Literal["text", "image", "audio"], ...],
            Field(strict=False, max_length=3, fail_fast=True),
        ]
        | None
    ) = None
    image_config: dict[str, Any] | None = None
    audio: AudioOptions | None = None
    prediction: Prediction | None = None
    user: Identifier | None = None
    session_id: Identifier | None = None
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], at_most(METADATA_MAX)] | None = None
    trace: dict[str, Any] | None = None
    service_tier: Literal["auto", "default", "fast", "flex", "priority", "scale"] | None = None
    cache_control: CacheControl | None = None
    prompt_cache_key: Identifier | None = None
    prompt_cache_options: dict[str, Any] | None = None
    debug: Debug | None = None
    # Set at the edge, not by callers: what `/responses` repeats in its answer, and the features
    # asked for with `x-anthropic-beta`.
    responses_echo: dict[str, Any] | None = None
    anthropic_betas: (
        Annotated[tuple[AnthropicBeta, ...], Field(strict=False, max_length=8)] | None
    ) = None

    @property
    def completion_limit(self) -> int | None:
        """The longest answer the caller wants, by its new or its old name; None for no limit."""
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens
        return self.max_tokens

    @property
    def hides_reasoning(self) -> bool:
        """Whether the model's thinking is kept from the caller, by its new or its old name."""
        if self.reasoning is not None and self.reasoning.exclude is not None:
            return self.reasoning.exclude
        return self.include_reasoning is False

    def to_json(self) -> bytes:
        """What was set, as compact JSON; `from_trusted_json` is its inverse."""
        return self.__pydantic_serializer__.to_json(self, exclude_unset=True, by_alias=True)

    @classmethod
    def from_trusted_json(cls, raw: bytes) -> Self:
        """Read back what `to_json` wrote; the rules between fields were checked then."""
        return cls.model_validate(orjson.loads(raw), context=TRUSTED)


def parse_chat(body: bytes) -> ChatRequest:
    """Read and check a chat request.

    Raises:
        BadRequest: says which field is wrong, why, and what it should be.
    """
    return checked(load_object(body))


def checked(data: dict[str, Any], *, context: str | None = None) -> ChatRequest:
    """Check a request that is already read; the way in for other APIs after translation.

    Args:
        data: in the words of chat.
        context: `TRUSTED` when media and schemas were read once already.

    Raises:
        BadRequest: as `parse_chat`.
    """
    try:
        request = ChatRequest.model_validate(data, context=context)
    except ValidationError as error:
        # `from None`: the cause holds the prompt, which no log may see.
        raise bad_request(error) from None
    for param, reason in _conflicts(request):
        raise BadRequest(f"{param}: {reason}", param=param)
    return request


def _conflicts(request: ChatRequest) -> Iterator[tuple[str, str]]:
    """Rules between fields; the first one broken is told."""
    if request.messages is None:
        if request.prompt is None:
            yield "messages", "is required; send 'messages' or 'prompt'"
        elif not request.prompt:
            yield "prompt", "must not be empty"
    else:
        if not request.messages:
            yield "messages", "must have 1 or more items"
        if request.prompt is not None:
            yield "prompt", "must not be sent together with 'messages'; leave one out"
        for index, message in enumerate(request.messages):
            problem = role_problem(message)
            if problem is not None:
                yield f"messages[{index}].{problem[0]}", problem[1]
        yield from _result_conflicts(request.messages)
    yield from _tool_conflicts(request)
    yield from _option_conflicts(request)


def _result_conflicts(messages: tuple[Message, ...]) -> Iterator[tuple[str, str]]:
    """A tool's result belongs to a call that was made before it."""
    called: set[str] = set()
    for index, message in enumerate(messages):
        called.update(call.id for call in message.tool_calls or ())
        if message.role == "tool" and message.tool_call_id not in called:
            yield (
                f"messages[{index}].tool_call_id",
                "is the id of no tool call before it; send the assistant's 'tool_calls' first",
            )


def _tool_conflicts(request: ChatRequest) -> Iterator[tuple[str, str]]:
    for index, tool in enumerate(request.tools or ()):
        if len(tool.function.name) > CHAT_TOOL_NAME_MAX:
            where = f"tools[{index}].function.name"
            yield where, f"must have {CHAT_TOOL_NAME_MAX} characters or fewer"
    choice = request.tool_choice
    if choice is None or choice in ("none", "auto"):
        return
    if not request.tools:
        yield "tool_choice", "needs 'tools'; send them or leave it out"
    elif isinstance(choice, NamedTool) and all(
        tool.function.name != choice.function.name for tool in request.tools
    ):
        yield "tool_choice.function.name", "must be the name of one of 'tools'"


def _option_conflicts(request: ChatRequest) -> Iterator[tuple[str, str]]:
    if request.modalities == ():
        yield "modalities", "must have 1 or more items; leave it out for text"
    if request.top_logprobs and not request.logprobs:
        yield "top_logprobs", "needs 'logprobs': true"
    form = request.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is None:
        yield "response_format.json_schema", "is required with type 'json_schema'"
    thought = request.reasoning
    if thought is None:
        return
    if thought.effort is not None and thought.max_tokens is not None:
        yield "reasoning", "takes 'effort' or 'max_tokens', not both"
    if request.reasoning_effort is not None and thought.effort not in (
        None,
        request.reasoning_effort,
    ):
        yield "reasoning_effort", "differs from 'reasoning.effort'; leave one out"
