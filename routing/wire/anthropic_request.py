"""Anthropic's `/messages` request, translated into the one internal request (contract 7).

What has no counterpart, and what becomes of it:

    stop_sequences          four at most, since no more than that is taken everywhere
    tool_result.is_error    "Error: " before its text
    cache_control           of a result or a call: on the nearest part before its end
    citations               of text: left out; of documents: not made
    server_tool_use         left out; pages that a web search found go on as text
    context_management, output_config.task_budget, speed, stop_server_tools_when, unknown fields:
                            accepted and without effect
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError

from routing.errors import BadRequest
from routing.wire import anthropic_translate as translate
from routing.wire.anthropic_blocks import (
    AssistantMessage,
    CustomTool,
    SystemMessage,
    Texts,
    ToolBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    UserMessage,
)
from routing.wire.anthropic_thoughts import HIDDEN
from routing.wire.chat import MODELS_MAX, PLUGINS_MAX, TOKENS_MAX, ChatRequest, Plugin
from routing.wire.messages import (
    MESSAGES_MAX,
    TOOL_NAME_MAX,
    TOOLS_MAX,
    CacheControl,
    checked_schema,
)
from routing.wire.provider import ProviderPreferences
from routing.wire.validate import (
    NO_NUL,
    PRINTABLE,
    TAG,
    TRUSTED,
    Identifier,
    Wire,
    bad_request,
    load_object,
)

#: What chat takes; Anthropic itself takes more.
STOPS_MAX = 4
#: Anthropic's floor for thinking.
BUDGET_MIN = 1_024
#: Characters of a caller's id that are repeated to it.
_ECHO_MAX = 60

_Model = Annotated[str, Field(min_length=1, max_length=256, pattern=PRINTABLE)]
_Effort = Literal["low", "medium", "high", "xhigh", "max"]
#: `updates` is a newer form of `summarized`, and answered as that.
_Display = Literal["summarized", "omitted", "updates"]
#: Fields with the same name, shape and meaning in chat.
_SAME = (
    "model", "provider", "plugins", "route", "session_id", "trace", "stream", "max_tokens",
    "temperature", "top_p", "top_k", "cache_control",
)  # fmt: skip


class ThinkingOn(Wire):
    """Think for so many tokens."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=BUDGET_MIN, le=TOKENS_MAX)]
    display: _Display | None = None


class ThinkingOff(Wire):
    """Do not think."""

    type: Literal["disabled"]


class ThinkingAdaptive(Wire):
    """Think as much as the question needs."""

    type: Literal["adaptive"]
    display: _Display | None = None


def _thinking_tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    known = isinstance(kind, str) and kind in {"enabled", "disabled", "adaptive"}
    return f"{TAG}{kind}" if known else None


Thinking = Annotated[
    Annotated[ThinkingOn, Tag(f"{TAG}enabled")]
    | Annotated[ThinkingOff, Tag(f"{TAG}disabled")]
    | Annotated[ThinkingAdaptive, Tag(f"{TAG}adaptive")],
    Discriminator(
        _thinking_tag,
        custom_error_type="thinking",
        custom_error_message="must be an object whose type is 'enabled', 'disabled' or 'adaptive'",
    ),
]


class ToolChoice(Wire):
    """Whether and which tool must be called."""

    type: Literal["auto", "any", "none", "tool"]
    name: Annotated[str, Field(min_length=1, max_length=TOOL_NAME_MAX)] | None = None
    disable_parallel_tool_use: bool | None = None


class OutputFormat(Wire):
    """A schema the answer must follow."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], AfterValidator(checked_schema), Field(alias="schema")]


class OutputConfig(Wire):
    """How thorough the answer is, and its form."""

    effort: _Effort | None = None
    format: OutputFormat | None = None


class Metadata(Wire):
    """About the caller's user."""

    user_id: Annotated[str, Field(max_length=256, pattern=NO_NUL)] | None = None


class Fallback(Wire):
    """A model to try when those before it fail; takes nothing else."""

    model: _Model


class MessagesRequest(Wire):
    """The request as it is sent. Null is the same as absent; unknown fields have no effect."""

    model: _Model
    messages: Annotated[
        tuple[Turn, ...],
        Field(strict=False, max_length=MESSAGES_MAX, fail_fast=True),
    ]
    system: Texts | None = None
    max_tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=TOKENS_MAX)] | None = None
    stop_sequences: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1)], ...],
            Field(strict=False, max_length=STOPS_MAX, fail_fast=True),
        ]
        | None
    ) = None
    tools: (
        Annotated[tuple[ToolBlock, ...], Field(strict=False, max_length=TOOLS_MAX, fail_fast=True)]
        | None
    ) = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    service_tier: (
        Literal["auto", "standard_only", "default", "fast", "flex", "priority", "scale"] | None
    ) = None
    speed: Literal["fast", "standard"] | None = None
    cache_control: CacheControl | None = None
    models: Annotated[tuple[_Model, ...], Field(strict=False, fail_fast=True)] | None = None
    fallbacks: (
        Annotated[tuple[Fallback, ...], Field(strict=False, max_length=MODELS_MAX, fail_fast=True)]
        | None
    ) = None
    route: Literal["fallback", "sort"] | None = None
    provider: ProviderPreferences | None = None
    plugins: (
        Annotated[tuple[Plugin, ...], Field(strict=False, max_length=PLUGINS_MAX, fail_fast=True)]
        | None
    ) = None
    user: Identifier | None = None
    session_id: Identifier | None = None
    trace: dict[str, Any] | None = None


def parse_messages(body: bytes) -> ChatRequest:
    """Read and check a `/messages` request.

    Raises:
        BadRequest: says which field is wrong, why, and what it should be.
    """
    data = load_object(body)
    try:
        request = MessagesRequest.model_validate(data)
        for param, reason in _conflicts(request):
            raise BadRequest(f"{param}: {reason}", param=param)
        # Media and schemas were read once, above; what remains has the same names in chat.
        return ChatRequest.model_validate(_translated(request, data), context=TRUSTED)
    except ValidationError as error:
        # `from None`: the cause holds the prompt, which no log may see.
        raise bad_request(error) from None


def parse_count_tokens(body: bytes) -> ChatRequest:
    """Read and check a `/messages/count_tokens` request: a `/messages` request not to be sent.

    Raises:
        BadRequest: as `parse_messages`.
    """
    return parse_messages(body)


def _conflicts(request: MessagesRequest) -> Iterator[tuple[str, str]]:
    """Rules between fields; the first one broken is told."""
    if not request.messages:
        yield "messages", "must have 1 or more items"
    for index, fallback in enumerate(request.fallbacks or ()):
        for name in fallback.model_extra or ():
            yield (
                f"fallbacks[{index}].{name[:_ECHO_MAX]}",
                "must not be sent; use 'model' alone",
            )
    if request.fallbacks and request.models:
        yield "fallbacks", "must not be sent together with 'models'; leave one out"
    yield from _tool_conflicts(request)
    last = len(request.messages) - 1
    for index, turn in enumerate(request.messages):
        if not turn.content and not (index == last and isinstance(turn, AssistantMessage)):
            yield f"messages[{index}].content", "must not be empty"
    yield from _unpaired(request.messages)


def _tool_conflicts(request: MessagesRequest) -> Iterator[tuple[str, str]]:
    names: set[str] = set()
    for index, tool in enumerate(request.tools or ()):
        if isinstance(tool, CustomTool):
            if tool.name in names:
                yield f"tools[{index}].name", "must be unique"
            names.add(tool.name)
    choice = request.tool_choice
    if choice is None or choice.type in {"auto", "none"}:
        return
    if not names:
        yield "tool_choice", f"of type '{choice.type}' needs 'tools'; send them or leave it out"
    elif choice.type == "tool" and choice.name not in names:
        yield "tool_choice.name", "must be the name of one of 'tools'"


def _unpaired(turns: tuple[Turn, ...]) -> Iterator[tuple[str, str]]:
    """Calls without a result in the user's turn after them, and results without a call."""
    asked: dict[str, str] = {}
    before = ""
    for index, turn in enumerate(turns):
        if isinstance(turn, SystemMessage):
            continue
        if isinstance(turn, AssistantMessage) and before == "user":
            yield from _unanswered(asked)
        before = turn.role
        yield from _pair(turn, f"messages[{index}]", asked)
    yield from _unanswered(asked)


def _pair(
    turn: UserMessage | AssistantMessage, path: str, asked: dict[str, str]
) -> Iterator[tuple[str, str]]:
    blocks = () if isinstance(turn.content, str) else turn.content
    for place, block in enumerate(blocks):
        at = f"{path}.content[{place}]"
        match block:
            case ToolUseBlock() if block.id in asked:
                yield f"{at}.id", "must be unique"
            case ToolUseBlock():
                asked[block.id] = at
            case ToolResultBlock() if asked.pop(block.tool_use_id, None) is None:
                told = f"'{block.tool_use_id[:_ECHO_MAX]}'"
                yield (
                    f"{at}.tool_use_id",
                    f"{told} is no tool_use of the assistant's message before it, or has a result",
                )
            case _:
                pass


def _unanswered(asked: dict[str, str]) -> Iterator[tuple[str, str]]:
    for at in asked.values():
        yield at, "has no tool_result in the user's message right after it; send one for each call"


def _translated(request: MessagesRequest, data: dict[str, Any]) -> dict[str, Any]:
    """The same in chat's words."""
    chat = {name: data[name] for name in _SAME if data.get(name) is not None}
    chat["messages"] = translate.conversation(request.system, request.messages)
    if request.models:
        chat["models"] = data["models"]
    elif request.fallbacks:
        chat["models"] = [fallback.model for fallback in request.fallbacks]
    if request.stop_sequences:
        chat["stop"] = list(request.stop_sequences)
    user = request.user or (request.metadata and request.metadata.user_id)
    if user:
        chat["user"] = user
    if request.service_tier is not None:
        standard = request.service_tier == "standard_only"
        chat["service_tier"] = "default" if standard else request.service_tier
    return chat | _tools(request) | _thinking(request) | _output(request)


def _tools(request: MessagesRequest) -> dict[str, Any]:
    chat: dict[str, Any] = {}
    if request.tools:
        chat["tools"] = [
            translate.tool(tool) for tool in request.tools if isinstance(tool, CustomTool)
        ]
    choice = request.tool_choice
    if choice is None:
        return chat
    match choice.type:
        case "any":
            chat["tool_choice"] = "required"
        case "tool":
            chat["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
        case word:
            chat["tool_choice"] = word
    if choice.disable_parallel_tool_use:
        chat["parallel_tool_calls"] = False
    return chat


def _thinking(request: MessagesRequest) -> dict[str, Any]:
    """An effort shapes the thinking only where the caller leaves its length to the model."""
    asked = request.thinking
    if asked is None:
        return {}
    if isinstance(asked, ThinkingOff):
        return {"reasoning": {"enabled": False}}
    chat: dict[str, Any] = {"responses_echo": dict(HIDDEN)} if asked.display == "omitted" else {}
    effort = request.output_config.effort if request.output_config is not None else None
    if isinstance(asked, ThinkingOn):
        chat["reasoning"] = {"max_tokens": asked.budget_tokens}
    elif effort is not None:
        chat["reasoning"] = {"effort": effort}
    else:
        chat["reasoning"] = {"enabled": True}
    return chat


def _output(request: MessagesRequest) -> dict[str, Any]:
    config = request.output_config
    if config is None:
        return {}
    chat: dict[str, Any] = {}
    if config.effort is not None:
        chat["verbosity"] = config.effort
    if config.format is not None:
        schema = {"name": "answer", "schema": config.format.schema_, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return chat
