"""Reads a request in the OpenAI dialect, as strictly as the providers do.

A router that translates wrongly must be refused here, as it would be out there: with the
provider's own status and body.
"""

from typing import Any, Final

import orjson

from workers.simulator.answers import pick_tools
from workers.simulator.dialect import Ask, CacheMark, Tool
from workers.simulator.openai_fields import (
    Invalid,
    check_fields,
    check_sampling,
    check_stream,
    read_max_tokens,
    read_stop,
)
from workers.simulator.openai_messages import (
    content_text,
    read_messages,
    said_in,
    tool_results,
)
from workers.simulator.openai_output import Output, read_output
from workers.simulator.openai_thinking import check_replay, reasons, thought_form
from workers.simulator.providers import Manner
from workers.simulator.text import digest, estimate_tokens

TOKENS_PER_MESSAGE: Final = 4
# A picture's price does not depend on how its bytes are written down.
TOKENS_PER_MEDIUM: Final = 85

CACHE_MARKS_MAX: Final = 4
_SILENT: Final = Output()
_NOTHING: Final[dict[str, Any]] = {}


def parse(body: bytes) -> dict[str, Any]:
    """Parse a body.

    Raises:
        Invalid: It is not a JSON object.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(
            "We could not parse the JSON body of your request.", "body", kind="json_invalid"
        ) from error
    if not isinstance(parsed, dict):
        raise Invalid("The request body must be a JSON object.", "body", kind="dict_type")
    return parsed


def read_chat(body: dict[str, Any], manner: Manner) -> Ask:
    """Read a chat completion request.

    Raises:
        Invalid: The provider would refuse it.
    """
    model = read_model(body)
    check_fields(body, manner)
    check_sampling(body)
    check_stream(body, manner)
    conversation = read_messages(body, manner)
    messages = conversation.messages
    tools = _tools(body)
    said = said_in(messages)
    thinks = reasons(body, model, manner)
    check_replay(messages, manner, thinks=thinks)
    output = read_output(body, manner) if "modalities" in body or "audio" in body else _SILENT
    form = thought_form(body, manner) if thinks else None
    marks = _cache_marks(messages) if manner.cache_marks else ()
    return Ask(
        model=model,
        said=said,
        stream=body.get("stream") is True,
        include_usage=(body.get("stream_options") or {}).get("include_usage") is True,
        prompt_tokens=_prompt_tokens(messages, body),
        max_tokens=read_max_tokens(body, model, manner),
        stop=read_stop(body),
        n=body.get("n") or 1,
        calls=_calls(body, tools, said, messages),
        json_schema=_json_schema(body),
        reasoning=thinks,
        media=conversation.media,
        tool_results=tool_results(messages),
        images=output.images,
        aspect_ratio=output.aspect_ratio,
        audio_format=output.audio_format,
        cache_marks=marks,
        implicit_cache=not marks,
        extras={"thoughts": form} if form else _NOTHING,
    )


def read_text(body: dict[str, Any], manner: Manner) -> Ask:
    """Read a legacy text completion request.

    Raises:
        Invalid: The provider would refuse it.
    """
    model = read_model(body)
    check_fields(body, manner)
    check_sampling(body)
    check_stream(body, manner)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and prompt and all(isinstance(part, str) for part in prompt):
        prompt = prompt[-1]
    if not isinstance(prompt, str) or not prompt:
        raise Invalid("you must provide a prompt", "prompt", kind="missing")
    return Ask(
        kind="text",
        model=model,
        said=prompt,
        stream=body.get("stream") is True,
        include_usage=(body.get("stream_options") or {}).get("include_usage") is True,
        prompt_tokens=estimate_tokens(prompt),
        max_tokens=read_max_tokens(body, model, manner),
        stop=read_stop(body),
        n=body.get("n") or 1,
        reasoning=False,
    )


def read_model(body: dict[str, Any]) -> str:
    """Return the model that is asked for.

    Raises:
        Invalid: There is none.
    """
    model = body.get("model")
    if model is None or model == "":
        raise Invalid("you must provide a model parameter", "model", kind="missing")
    if not isinstance(model, str):
        raise Invalid(
            "Invalid type for 'model': expected a string.",
            "model",
            code="invalid_type",
            kind="string_type",
        )
    return model


def _tools(body: dict[str, Any]) -> dict[str, Tool]:
    tools = body.get("tools")
    if tools is None:
        return {}
    if not isinstance(tools, list):
        raise Invalid("Invalid type for 'tools': expected an array.", "tools", code="invalid_type")
    found: dict[str, Tool] = {}
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if function is None or tool.get("type") != "function" or not isinstance(name, str):
            raise Invalid(
                f"Missing required parameter: 'tools.{index}.function'.",
                f"tools.{index}.function",
                code="missing_required_parameter",
                kind="missing",
            )
        schema = function.get("parameters")
        found[name] = Tool(name=name, schema=schema if isinstance(schema, dict) else {})
    return found


def _calls(
    body: dict[str, Any], tools: dict[str, Tool], said: str, messages: list[dict[str, Any]]
) -> tuple[Tool, ...]:
    """Return the tools to call: the named one, or the first when one is wanted."""
    choice = body.get("tool_choice")
    wanted = _wanted(choice, tools)
    if not tools or choice == "none":
        return ()
    offered = list(tools.values())
    if wanted is not None:
        offered = [wanted, *(tool for tool in offered if tool is not wanted)]
    return pick_tools(
        offered,
        said,
        must=wanted is not None or choice in ("required", "any"),
        answered=messages[-1]["role"] == "tool",
        parallel=body.get("parallel_tool_calls") is not False,
    )


def _wanted(choice: Any, tools: dict[str, Tool]) -> Tool | None:
    if choice is None:
        return None
    if not tools:
        raise Invalid("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
    if isinstance(choice, str) and choice in ("none", "auto", "required", "any"):
        return None
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in tools:
        raise Invalid(
            "Invalid value for 'tool_choice': expected 'none', 'auto', 'required' or one of the "
            "'tools'.",
            "tool_choice",
            code="invalid_value",
            kind="literal_error",
        )
    return tools[name]


def _json_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    form = body.get("response_format")
    if form is None:
        return None
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {}
    described = form.get("json_schema") if kind == "json_schema" else None
    if not isinstance(described, dict) or not isinstance(described.get("name"), str):
        raise Invalid(
            "Invalid value for 'response_format': expected 'text', 'json_object' or a named "
            "'json_schema'.",
            "response_format",
            code="invalid_value",
            kind="literal_error",
        )
    schema = described.get("schema")
    return schema if isinstance(schema, dict) else {}


def _prompt_tokens(messages: list[dict[str, Any]], body: dict[str, Any]) -> int:
    tokens = TOKENS_PER_MESSAGE * len(messages)
    for message in messages:
        tokens += _message_tokens(message)
    if tools := body.get("tools"):
        tokens += estimate_tokens(orjson.dumps(tools).decode())
    return tokens


def _message_tokens(message: dict[str, Any]) -> int:
    tokens = estimate_tokens(content_text(message))
    content = message.get("content")
    if isinstance(content, list):
        tokens += TOKENS_PER_MEDIUM * sum(part["type"] != "text" for part in content)
    if calls := message.get("tool_calls"):
        tokens += estimate_tokens(orjson.dumps(calls).decode())
    return tokens


def _cache_marks(messages: list[dict[str, Any]]) -> tuple[CacheMark, ...]:
    """Return the marked ends of the prompt, with all that comes before each as its key."""
    marks: list[CacheMark] = []
    said = ""
    tokens = 0
    for index, message in enumerate(messages):
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content or ""}]
        said += message["role"]
        for place, part in enumerate(parts):
            control = part.get("cache_control")
            plain = {name: value for name, value in part.items() if name != "cache_control"}
            said += orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()
            tokens += estimate_tokens(part["text"]) if "text" in part else TOKENS_PER_MEDIUM
            if control is not None:
                lasting = _is_lasting(control, f"messages.{index}.content.{place}.cache_control")
                marks.append(CacheMark(digest(said.encode()), tokens, lasting))
    if len(marks) > CACHE_MARKS_MAX:
        raise Invalid(
            f"A maximum of {CACHE_MARKS_MAX} blocks with cache_control may be provided. "
            f"Found {len(marks)}.",
            "messages",
        )
    return tuple(marks)


def _is_lasting(control: Any, where: str) -> bool:
    kind = control.get("type") if isinstance(control, dict) else None
    if kind != "ephemeral" or control.get("ttl") not in (None, "5m", "1h"):
        raise Invalid(
            "Invalid cache_control: expected {type: 'ephemeral'} with a ttl of '5m' or '1h'.",
            where,
            code="invalid_value",
        )
    return bool(control.get("ttl") == "1h")
