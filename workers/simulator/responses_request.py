"""Reads a request for OpenAI's Responses API as strictly as the provider does."""

import re
from typing import Any, Final

import orjson

from workers.simulator.answers import pick_tools
from workers.simulator.dialect import Ask, Tool
from workers.simulator.openai_fields import Invalid
from workers.simulator.responses_fields import (
    check_choice,
    check_flag,
    check_known,
    check_number,
    check_strict_schema,
    invalid_type,
    invalid_value,
    missing,
    name_at,
    text_at,
    whole_at,
)
from workers.simulator.responses_input import (
    Item,
    input_tokens,
    media_in,
    read_items,
    results_in,
    said_in,
)
from workers.simulator.text import estimate_tokens

OUTPUT_TOKENS_MIN: Final = 16
ENCRYPTED: Final = "reasoning.encrypted_content"
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SUMMARIES: Final = ("auto", "concise", "detailed")

_FIELDS: Final = frozenset(
    (
        "background",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    )
)
# Fields of chat completions, and what became of them.
_MOVED: Final = {
    "messages": "input",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
}
_INCLUDABLE: Final = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    ENCRYPTED,
    "message.output_text.logprobs",
)
_TIERS: Final = ("auto", "default", "flex", "scale", "priority")
_TOOL_FIELDS: Final = ("type", "name", "description", "parameters", "strict", "defer_loading")
_HOSTED: Final = re.compile(
    r"web_search\w*|file_search|code_interpreter|computer\w*|image_generation|mcp|shell|local_shell"
)
_REASONS: Final = re.compile(r"(?:^|/)(?:o\d|gpt-5(?!\S*chat))|reason|think")
_NEVER_REASONS: Final = re.compile(r"(?:^|/)(?:gpt-3|gpt-4|chatgpt)|gpt-5\S*chat")


def parse(body: bytes) -> dict[str, Any]:
    """Parse a body.

    Raises:
        Invalid: It is not a JSON object.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you "
            "aren't using your HTTP library correctly.)",
            "",
        ) from error
    if not isinstance(parsed, dict):
        raise invalid_type("body", "an object", parsed)
    return parsed


def read_response(body: dict[str, Any]) -> Ask:
    """Read a request for a response.

    Raises:
        Invalid: The provider would refuse it.
    """
    _check_names(body)
    model = text_at(body, "model")
    _check_plain(body)
    _check_sampling(body, model)
    items = read_items(body)
    tools = _tools(body)
    reasoning = _reasoning(body, model)
    said = said_in(items)
    limit = whole_at(body, "max_output_tokens", OUTPUT_TOKENS_MIN)
    return Ask(
        model=model,
        said=said,
        stream=body.get("stream") is True,
        include_usage=True,
        prompt_tokens=_prompt_tokens(items, body),
        max_tokens=limit,
        calls=_calls(body, tools, said, items),
        json_schema=_json_schema(body, items),
        reasoning=_thinks(reasoning, model),
        media=media_in(items),
        tool_results=results_in(items),
        extras={
            "echo": _echo(body, reasoning, limit),
            "summary": bool(reasoning.get("summary") or reasoning.get("generate_summary")),
            "encrypted": ENCRYPTED in (body.get("include") or ()),
        },
    )


def _check_names(body: dict[str, Any]) -> None:
    for name in body:
        if name in _MOVED:
            raise Invalid(
                f"Unsupported parameter: '{name}'. In the Responses API, this parameter has moved "
                f"to '{_MOVED[name]}'. Try again with the new parameter. See the API "
                "documentation for more information: "
                "https://platform.openai.com/docs/api-reference/responses/create.",
                name,
                code="unsupported_parameter",
            )
    check_known(body, _FIELDS)


def _check_plain(body: dict[str, Any]) -> None:
    for name in ("stream", "store", "parallel_tool_calls", "background"):
        check_flag(body, name)
    for name in ("instructions", "user", "prompt_cache_key", "safety_identifier"):
        if not isinstance(body.get(name), str | None):
            raise invalid_type(name, "a string", body[name])
    check_choice(body, "truncation", ("auto", "disabled"), "")
    check_choice(body, "service_tier", _TIERS, "")
    check_choice(body, "prompt_cache_retention", ("in_memory", "in-memory", "24h"), "")
    _check_include(body)
    metadata = body.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise invalid_type("metadata", "an object", metadata)
    if body.get("previous_response_id") is not None:
        raise Invalid(
            f"Previous response with id '{body['previous_response_id']}' not found.",
            "previous_response_id",
            code="previous_response_not_found",
        )


def _check_include(body: dict[str, Any]) -> None:
    include = body.get("include")
    if include is None:
        return
    if not isinstance(include, list):
        raise invalid_type("include", "an array of strings", include)
    for index, one in enumerate(include):
        if one not in _INCLUDABLE:
            raise invalid_value(f"include[{index}]", one, _INCLUDABLE)
    if ENCRYPTED in include and _NEVER_REASONS.search(str(body.get("model"))):
        raise Invalid("Encrypted content is not supported with this model.", "include")


def _check_sampling(body: dict[str, Any], model: str) -> None:
    check_number(body, "temperature", 0, 2)
    check_number(body, "top_p", 0, 1)
    whole_at(body, "top_logprobs", 0)
    if not _REASONS.search(model):
        return
    for name in ("temperature", "top_p"):
        if body.get(name) not in (None, 1):
            raise _unsupported(name)


def _unsupported(name: str) -> Invalid:
    return Invalid(
        f"Unsupported parameter: '{name}' is not supported with this model.",
        name,
        code="unsupported_parameter",
    )


def _reasoning(body: dict[str, Any], model: str) -> dict[str, Any]:
    reasoning = body.get("reasoning")
    if reasoning is None:
        return {}
    if not isinstance(reasoning, dict):
        raise invalid_type("reasoning", "an object", reasoning)
    check_known(
        reasoning, ("effort", "summary", "generate_summary", "context", "mode"), "reasoning"
    )
    check_choice(reasoning, "effort", EFFORTS, "reasoning")
    check_choice(reasoning, "summary", SUMMARIES, "reasoning")
    check_choice(reasoning, "generate_summary", SUMMARIES, "reasoning")
    if _NEVER_REASONS.search(model):
        for name in ("effort", "summary"):
            if reasoning.get(name) not in (None, "none"):
                raise _unsupported(f"reasoning.{name}")
    return reasoning


def _thinks(reasoning: dict[str, Any], model: str) -> bool:
    effort = reasoning.get("effort")
    return effort != "none" and bool(effort or _REASONS.search(model))


def _tools(body: dict[str, Any]) -> dict[str, Tool]:
    tools = body.get("tools")
    if tools is None:
        return {}
    if not isinstance(tools, list):
        raise invalid_type("tools", "an array of objects", tools)
    found: dict[str, Tool] = {}
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise invalid_type(where, "an object", tool)
        kind = text_at(tool, "type", where)
        if kind == "function":
            name, schema = _function(tool, where)
            found[name] = Tool(name=name, schema=schema)
        elif not _HOSTED.fullmatch(kind):
            raise invalid_value(f"{where}.type", kind, ("function", "web_search", "file_search"))
    return found


def _function(tool: dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    name = name_at(tool, where)
    check_known(tool, _TOOL_FIELDS, where)
    schema = tool.get("parameters")
    if not isinstance(schema, dict | None):
        raise invalid_type(f"{where}.parameters", "an object", schema)
    if tool.get("strict") is True:
        check_strict_schema(
            schema, f"{where}.parameters", "invalid_function_parameters", f"function '{name}'"
        )
    return name, schema or {}


def _calls(
    body: dict[str, Any], tools: dict[str, Tool], said: str, items: list[Item]
) -> tuple[Tool, ...]:
    choice = body.get("tool_choice") or "auto"
    preferred = list(tools.values())
    if isinstance(choice, dict):
        check_known(choice, ("type", "name", "mode", "tools"), "tool_choice")
        if choice.get("type") == "function":
            name = text_at(choice, "name", "tool_choice")
            if name not in tools:
                raise Invalid(
                    f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice"
                )
            preferred = [tools[name], *(tool for tool in preferred if tool.name != name)]
    elif choice not in ("none", "auto", "required"):
        raise invalid_value("tool_choice", choice, ("none", "auto", "required"))
    if choice == "required" and not body.get("tools"):
        raise Invalid(
            "Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice"
        )
    if choice == "none":
        return ()
    return pick_tools(
        preferred,
        said,
        must=choice == "required" or isinstance(choice, dict),
        answered=items[-1]["type"] == "function_call_output" if items else False,
        parallel=body.get("parallel_tool_calls") is not False,
    )


def _json_schema(body: dict[str, Any], items: list[Item]) -> dict[str, Any] | None:
    text = body.get("text")
    if text is None:
        return None
    if not isinstance(text, dict):
        raise invalid_type("text", "an object", text)
    check_known(text, ("format", "verbosity"), "text")
    check_choice(text, "verbosity", ("low", "medium", "high"), "text")
    form = text.get("format")
    if form is None:
        return None
    if not isinstance(form, dict):
        raise invalid_type("text.format", "an object", form)
    kind = text_at(form, "type", "text.format")
    match kind:
        case "text":
            return None
        case "json_object":
            _check_mentions_json(body, items)
            return {}
        case "json_schema":
            return _schema(form)
        case _:
            raise invalid_value("text.format.type", kind, ("json_object", "json_schema", "text"))


def _check_mentions_json(body: dict[str, Any], items: list[Item]) -> None:
    said = orjson.dumps([items, body.get("instructions")]).lower()
    if b"json" not in said:
        raise Invalid(
            "Response input messages must contain the word 'json' in some form to use "
            "'text.format' of type 'json_object'.",
            "input",
        )


def _schema(form: dict[str, Any]) -> dict[str, Any]:
    name = name_at(form, "text.format")
    check_known(form, ("type", "name", "schema", "strict", "description"), "text.format")
    schema = form.get("schema")
    if schema is None:
        raise missing("text.format.schema")
    if not isinstance(schema, dict):
        raise invalid_type("text.format.schema", "an object", schema)
    if form.get("strict") is True:
        check_strict_schema(
            schema, "text.format.schema", "invalid_json_schema", f"response_format '{name}'"
        )
    return schema


def _prompt_tokens(items: list[Item], body: dict[str, Any]) -> int:
    tokens = input_tokens(items) + estimate_tokens(body.get("instructions") or "")
    if tools := body.get("tools"):
        tokens += estimate_tokens(orjson.dumps(tools).decode())
    return tokens


def _echo(body: dict[str, Any], reasoning: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """Return what of the request a response repeats."""
    effort = reasoning.get("effort")
    return {
        "background": body.get("background") or False,
        "instructions": body.get("instructions"),
        "max_output_tokens": limit,
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": effort, "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
        "text": {"verbosity": "medium", "format": {"type": "text"}, **(body.get("text") or {})},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [_shown(tool) for tool in body.get("tools") or ()],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
        "truncation": body.get("truncation") or "disabled",
        "user": body.get("user"),
    }


def _shown(tool: dict[str, Any]) -> dict[str, Any]:
    if tool["type"] != "function":
        return tool
    return {"description": None, "strict": True, "parameters": None, **tool}
