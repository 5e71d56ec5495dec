"""The stateless `/responses` request (contract 6), translated into the one internal request.

Fields that mean the same in chat are checked there, under the same names; only what differs in
name or form is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError

from routing.errors import BadRequest
from routing.wire.chat import TOKENS_MAX, ChatRequest, checked
from routing.wire.messages import TOOLS_MAX, checked_schema
from routing.wire.responses_items import (
    PART_TYPES,
    FunctionCallItem,
    FunctionOutputItem,
    Input,
    InputFile,
    InputImage,
    MessageItem,
    refused,
)
from routing.wire.responses_turns import messages_of
from routing.wire.validate import TAG, TRUSTED, Identifier, Wire, bad_request, load_object

#: Of each repeated field: megabytes of instructions would be in every stream three times.
ECHO_MAX_BYTES = 64 * 1024
#: Same name, form and meaning as in chat.
_SHARED = (
    "model", "models", "route", "provider", "plugins", "preset", "transforms", "stream",
    "temperature", "top_p", "top_k", "min_p", "top_a", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "seed", "stop", "logit_bias", "top_logprobs", "parallel_tool_calls",
    "reasoning", "modalities", "image_config", "user", "session_id", "metadata", "trace",
    "service_tier", "cache_control", "prompt_cache_key", "prompt_cache_options", "debug",
)  # fmt: skip
#: What the answer repeats as it was sent.
_ECHOED = (
    "instructions", "metadata", "tools", "tool_choice", "parallel_tool_calls", "temperature",
    "top_p", "top_logprobs", "frequency_penalty", "presence_penalty", "max_output_tokens",
    "max_tool_calls", "reasoning", "text", "truncation", "service_tier", "prompt_cache_key",
    "safety_identifier", "user",
)  # fmt: skip
_LOGPROBS = "message.output_text.logprobs"
_INCLUDE_MAX = 16
_STATELESS = "nothing is stored here; {fix}"


def _not_true(fix: str) -> AfterValidator:
    def check(value: bool | None) -> bool | None:  # noqa: FBT001 - the field's own value
        if value:
            raise ValueError(f"must be false: {fix}")
        return value

    return AfterValidator(check)


class FunctionTool(Wire):
    """A function the model may call; here its fields are not nested.

    Type and name are demanded by `_tool_conflicts`, so that a tool of another kind gets one reason.
    """

    type: Annotated[str, Field(max_length=64)]
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    description: str | None = None
    parameters: Annotated[dict[str, Any], AfterValidator(checked_schema)] | None = None
    strict: bool | None = None


class ChosenFunction(Wire):
    """A `tool_choice` that forces one function."""

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1, max_length=64)]


class AllowedTools(Wire):
    """A `tool_choice` that narrows `tools` down."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[
        tuple[ChosenFunction, ...], Field(strict=False, max_length=TOOLS_MAX, fail_fast=True)
    ]


def _choice_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return f"{TAG}word"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"{TAG}{kind}" if kind in {"function", "allowed_tools"} else None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(f"{TAG}word")]
    | Annotated[ChosenFunction, Tag(f"{TAG}function")]
    | Annotated[AllowedTools, Tag(f"{TAG}allowed_tools")],
    Discriminator(
        _choice_tag,
        custom_error_type="tool_choice",
        custom_error_message="must be 'none', 'auto', 'required' or an object whose type is"
        " 'function' or 'allowed_tools'",
    ),
]


class TextFormat(Wire):
    """Plain text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Wire):
    """JSON that follows a schema; here its fields are not nested."""

    type: Literal["json_schema"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema_: Annotated[dict[str, Any], AfterValidator(checked_schema), Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


def _format_tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if kind == "json_schema":
        return f"{TAG}schema"
    return f"{TAG}text" if kind in {"text", "json_object"} else None


class TextOptions(Wire):
    """Form and length of the text."""

    format: (
        Annotated[
            Annotated[TextFormat, Tag(f"{TAG}text")] | Annotated[SchemaFormat, Tag(f"{TAG}schema")],
            Discriminator(
                _format_tag,
                custom_error_type="text_format",
                custom_error_message="must be an object whose type is 'text', 'json_object' or"
                " 'json_schema'",
            ),
        ]
        | None
    ) = None
    verbosity: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class ResponsesRequest(Wire):
    """What differs from chat in name or form. Null is the same as absent."""

    input: Input
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None
    tools: (
        Annotated[
            tuple[FunctionTool, ...], Field(strict=False, max_length=TOOLS_MAX, fail_fast=True)
        ]
        | None
    ) = None
    tool_choice: ToolChoice | None = None
    text: TextOptions | None = None
    modalities: (
        Annotated[
            tuple[Literal["text", "image"], ...],
            Field(strict=False, max_length=2, fail_fast=True),
        ]
        | None
    ) = None
    include: (
        Annotated[
            tuple[
                Literal[
                    "file_search_call.results",
                    "message.input_image.image_url",
                    "computer_call_output.output.image_url",
                    "reasoning.encrypted_content",
                    "code_interpreter_call.outputs",
                    "web_search_call.results",
                    "web_search_call.action.sources",
                    "message.output_text.logprobs",
                ],
                ...,
            ],
            Field(strict=False, max_length=_INCLUDE_MAX, fail_fast=True),
        ]
        | None
    ) = None
    store: Annotated[
        bool | None, _not_true(_STATELESS.format(fix="leave it out or send false"))
    ] = None
    background: Annotated[
        bool | None, _not_true(_STATELESS.format(fix="wait for the answer or stream it"))
    ] = None
    previous_response_id: Annotated[
        Any,
        refused(
            "must be null: "
            + _STATELESS.format(fix="send the whole conversation in 'input' instead")
        ),
    ] = None
    conversation: Annotated[
        Any,
        refused(
            "must be null: "
            + _STATELESS.format(fix="send the whole conversation in 'input' instead")
        ),
    ] = None
    prompt: Annotated[
        Any,
        refused("must be null: " + _STATELESS.format(fix="send the text as 'instructions'")),
    ] = None
    truncation: Literal["auto", "disabled"] | None = None
    safety_identifier: Identifier | None = None


def parse_responses(body: bytes) -> ChatRequest:
    """Read and check a `/responses` request.

    What the answer repeats is in `responses_echo` of the result.

    Raises:
        BadRequest: says which field is wrong, why, and what it should be.
    """
    data = load_object(body)
    try:
        request = ResponsesRequest.model_validate(data)
    except ValidationError as error:
        # `from None`: the cause holds the prompt, which no log may see.
        raise bad_request(error) from None
    for param, reason in _conflicts(request):
        raise BadRequest(f"{param}: {reason}", param=param)
    # Media and schemas were read once, above.
    return checked(_translated(request, data), context=TRUSTED)


def _conflicts(request: ResponsesRequest) -> Iterator[tuple[str, str]]:
    """Rules between fields; the first one broken is told."""
    if request.input == ():
        yield "input", "must have 1 or more items"
    yield from _tool_conflicts(request)
    yield from _choice_conflicts(request)
    yield from _item_conflicts(request)


def _item_conflicts(request: ResponsesRequest) -> Iterator[tuple[str, str]]:
    called: set[str] = set()
    for index, item in enumerate(request.input if isinstance(request.input, tuple) else ()):
        where = f"input[{index}]"
        match item:
            case MessageItem():
                yield from _message_conflicts(item, where)
            case FunctionCallItem():
                called.add(item.call_id)
            case FunctionOutputItem():
                if item.call_id not in called:
                    yield (
                        f"{where}.call_id",
                        "must be the call_id of a 'function_call' item before it",
                    )
                yield from _part_conflicts(item.output, "user", f"{where}.output")
            case _:
                pass  # complete by its shape


def _tool_conflicts(request: ResponsesRequest) -> Iterator[tuple[str, str]]:
    for index, tool in enumerate(request.tools or ()):
        if tool.type != "function":
            yield (
                f"tools[{index}].type",
                f"must be 'function', not '{tool.type}': the router runs no tools of its own",
            )
        if tool.name is None:
            yield f"tools[{index}].name", "is required"


def _choice_conflicts(request: ResponsesRequest) -> Iterator[tuple[str, str]]:
    choice = request.tool_choice
    if choice is None or choice in ("none", "auto"):
        return
    names = {tool.name for tool in request.tools or ()}
    if not names:
        yield "tool_choice", "needs 'tools'; send them or leave it out"
    elif isinstance(choice, ChosenFunction):
        if choice.name not in names:
            yield "tool_choice.name", "must be the name of one of 'tools'"
    elif isinstance(choice, AllowedTools):
        if not choice.tools:
            yield "tool_choice.tools", "must have 1 or more items"
        for index, tool in enumerate(choice.tools):
            if tool.name not in names:
                yield f"tool_choice.tools[{index}].name", "must be the name of one of 'tools'"


def _message_conflicts(item: MessageItem, where: str) -> Iterator[tuple[str, str]]:
    if item.content is None:
        if item.role != "assistant":
            yield f"{where}.content", f"is required with role '{item.role}'"
        return
    yield from _part_conflicts(item.content, item.role, f"{where}.content")


def _part_conflicts(
    content: str | tuple[Any, ...], role: str, where: str
) -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        return
    allowed = PART_TYPES[role]
    for index, part in enumerate(content):
        path = f"{where}[{index}]"
        if part.type not in allowed:
            names = ", ".join(f"'{name}'" for name in sorted(allowed))
            yield f"{path}.type", f"must be one of {names} with role '{role}', not '{part.type}'"
        if isinstance(part, InputFile) and (part.file_data is None) == (part.file_url is None):
            yield path, "must have either file_data or file_url"
        if isinstance(part, InputImage) and part.image_url is None:
            yield f"{path}.image_url", "is required"


def _translated(request: ResponsesRequest, data: dict[str, Any]) -> dict[str, Any]:
    chat = {name: data[name] for name in _SHARED if data.get(name) is not None}
    chat["messages"] = messages_of(request.input, request.instructions)
    chat["responses_echo"] = _echo(data)
    if request.max_output_tokens is not None:
        chat["max_tokens"] = request.max_output_tokens
    if request.safety_identifier is not None:
        chat.setdefault("user", request.safety_identifier)
    if chat.get("top_logprobs") or _LOGPROBS in (request.include or ()):
        chat["logprobs"] = True
    if request.tools:
        chat["tools"] = _tools(request)
    if request.tool_choice is not None:
        chat["tool_choice"] = _tool_choice(request.tool_choice)
    if request.text is not None:
        chat |= _text(request.text)
    return chat


def _echo(data: dict[str, Any]) -> dict[str, Any]:
    """What three events of a stream repeat; the longest of it only while it is short."""
    echo = {name: data[name] for name in _ECHOED if data.get(name) is not None}
    for name in ("instructions", "tools", "text"):
        if name in echo and len(orjson.dumps(echo[name])) > ECHO_MAX_BYTES:
            del echo[name]
    return echo


def _tools(request: ResponsesRequest) -> list[dict[str, Any]]:
    choice = request.tool_choice
    allowed = None
    if isinstance(choice, AllowedTools):
        allowed = {tool.name for tool in choice.tools}
    return [
        {
            "type": "function",
            "function": {
                name: value
                for name in ("name", "description", "parameters", "strict")
                if (value := getattr(tool, name)) is not None
            },
        }
        for tool in request.tools or ()
        if allowed is None or tool.name in allowed
    ]


def _tool_choice(choice: str | ChosenFunction | AllowedTools) -> str | dict[str, Any]:
    match choice:
        case ChosenFunction():
            return {"type": "function", "function": {"name": choice.name}}
        case AllowedTools():
            return choice.mode
        case _:
            return choice


def _text(text: TextOptions) -> dict[str, Any]:
    chat: dict[str, Any] = {}
    if text.verbosity is not None:
        chat["verbosity"] = text.verbosity
    match text.format:
        case TextFormat():
            chat["response_format"] = {"type": text.format.type}
        case SchemaFormat():
            fields = text.format.model_dump(
                by_alias=True,
                exclude_none=True,
                include={"name", "description", "schema_", "strict"},
            )
            chat["response_format"] = {"type": "json_schema", "json_schema": fields}
        case None:
            pass
    return chat
