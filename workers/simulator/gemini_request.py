"""Reads a generateContent request as strictly as Google does, on either surface."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson

from workers.simulator.answers import pick_tools
from workers.simulator.dialect import Ask, Tool
from workers.simulator.gemini_contents import (
    Conversation,
    check_system,
    content_tokens,
    read_contents,
)
from workers.simulator.gemini_errors import Invalid, Surface, studio_field, vertex_unable
from workers.simulator.gemini_models import (
    GENERATION_OF_LEVELS,
    Abilities,
    abilities,
    check_modalities,
    check_thinking,
)
from workers.simulator.gemini_schemas import check_schema
from workers.simulator.text import estimate_tokens

STOPS_MAX: Final = 5
CANDIDATES_MAX: Final = 8
LOGPROBS_MAX: Final = 20
TOP_K_MAX: Final = 64
JSON: Final = "application/json"
ENUM: Final = "text/x.enum"
ASPECT_RATIOS: Final = frozenset(
    {"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"}
    | {"1:4", "4:1", "1:8", "8:1"}
)
IMAGE_SIZES: Final = frozenset({"512", "1K", "2K", "4K"})
# What Ask.audio_format is for Gemini's voices: bare samples, 16 bits, 24,000 a second.
PCM: Final = "pcm16"

_FUNCTION_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_CACHE_NAME: Final = {
    Surface.STUDIO: re.compile(r"cachedContents/[^/]+"),
    Surface.VERTEX: re.compile(r"projects/[^/]+/locations/[^/]+/cachedContents/[^/]+"),
}
# name, least, most, whether the most is allowed itself
_RANGES: Final = (
    ("temperature", 0.0, 2.0, True),
    ("topP", 0.0, 1.0, True),
    ("presencePenalty", -2.0, 2.0, False),
    ("frequencyPenalty", -2.0, 2.0, False),
    ("candidateCount", 1, CANDIDATES_MAX, True),
    ("topK", 1, TOP_K_MAX, True),
    ("logprobs", 0, LOGPROBS_MAX, True),
)


def read_generate(
    surface: Surface,
    model: str,
    body: dict[str, Any],
    mode: Literal["plain", "array", "stream"] = "plain",
) -> Ask:
    """Read a request whose form is right already.

    Args:
        surface: Where it came in.
        model: The model in the path.
        body: The request, from ``read_body``.
        mode: How the answer goes out; an array is a stream in one JSON text.

    Raises:
        Invalid: Google would refuse it.
    """
    able = abilities(model)
    conversation = read_contents(
        surface, body.get("contents", []), demands_signatures=able.demands_signatures
    )
    if "systemInstruction" in body:
        check_system(surface, body["systemInstruction"])
    _check_cache(surface, body.get("cachedContent"))
    config = body.get("generationConfig") or {}
    tools = _read_tools(surface, able, body.get("tools", []))
    modalities = config.get("responseModalities") or ["TEXT"]
    check_modalities(surface, able, modalities)
    thinking = config.get("thinkingConfig") or {}
    reasons = check_thinking(
        surface, able, thinking.get("thinkingBudget"), thinking.get("thinkingLevel", "")
    )
    _check_sampling(surface, able, config)
    tokens = prompt_tokens(body, conversation)
    return Ask(
        model=model,
        said=conversation.said,
        stream=mode == "stream",
        include_usage=True,
        prompt_tokens=sum(tokens.values()),
        max_tokens=config.get("maxOutputTokens"),
        stop=tuple(config.get("stopSequences", [])),
        n=config.get("candidateCount", 1),
        calls=_calls(surface, body.get("toolConfig") or {}, tools, conversation),
        json_schema=_output_schema(surface, able, config, has_tools=bool(tools)),
        reasoning=reasons,
        media=conversation.media,
        tool_results=conversation.tool_results,
        images=int("IMAGE" in modalities),
        aspect_ratio=_aspect_ratio(surface, config),
        audio_format=PCM if "AUDIO" in modalities else "",
        extras={
            "surface": surface,
            "mode": mode,
            "modalities": frozenset(modalities),
            "shows_thoughts": bool(thinking.get("includeThoughts")),
            "signs": able.demands_signatures,
            "signs_calls": reasons,
            "has_ids": able.demands_signatures and surface is Surface.STUDIO,
            "logprobs": config.get("logprobs", 0) if config.get("responseLogprobs") else None,
            "tokens": tokens,
        },
    )


def prompt_tokens(body: Mapping[str, Any], conversation: Conversation) -> dict[str, int]:
    """Estimate the tokens of a whole prompt, by modality."""
    tokens = dict(conversation.tokens)
    system = content_tokens(body.get("systemInstruction") or {})
    tools = body.get("tools")
    rest = estimate_tokens(orjson.dumps(tools).decode()) if tools else 0
    tokens["TEXT"] = tokens.get("TEXT", 0) + system.get("TEXT", 0) + rest
    return tokens


def _check_cache(surface: Surface, name: str | None) -> None:
    if name is None:
        return
    if not _CACHE_NAME[surface].fullmatch(name):
        raise Invalid("Request contains an invalid argument.")
    # Nobody can have made one: there is no endpoint for it here.
    raise Invalid("CachedContent not found (or permission denied)", status="PERMISSION_DENIED")


# Sampling


def _wrong(surface: Surface, name: str, studio: str, vertex: str) -> Invalid:
    if surface is Surface.VERTEX:
        return vertex_unable(vertex)
    return studio_field(f"generation_config.{name}", studio)


def _check_sampling(surface: Surface, able: Abilities, config: dict[str, Any]) -> None:
    for name, least, most, included in _RANGES:
        value = config.get(name)
        if value is None:
            continue
        if not least <= value <= most or (value == most and not included):
            raise _out_of_range(surface, name, value, (least, most, included))
    limit = config.get("maxOutputTokens")
    too_long = surface is Surface.VERTEX and (limit or 1) > able.output_tokens_max
    if limit is not None and (limit < 1 or too_long):
        raise _out_of_range(
            surface, "maxOutputTokens", limit, (1, able.output_tokens_max + 1, False)
        )
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        problem = "only valid if response_logprobs=True"
        raise _wrong(surface, "logprobs", problem, f"logprobs is {problem}.")
    stops = config.get("stopSequences", [])
    if len(stops) > STOPS_MAX:
        raise _wrong(
            surface,
            "stop_sequences",
            f"at most {STOPS_MAX} stop sequences can be specified",
            f"it has {len(stops)} stop sequences but the maximum is {STOPS_MAX}.",
        )
    if "" in stops:
        raise _wrong(
            surface, "stop_sequences", "must not be empty", "a stop sequence must not be empty."
        )


def _out_of_range(
    surface: Surface, name: str, value: float, limits: tuple[float, float, bool]
) -> Invalid:
    least, most, included = limits
    bracket, word = ("]", "inclusive") if included else (")", "exclusive")
    path = re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", name)
    return _wrong(
        surface,
        path,
        f"{path} must be in the range [{least}, {most}{bracket}.",
        f"it has a {name} value of {value} but the supported range is from {least} (inclusive) to "
        f"{most} ({word}). Update the value and try again.",
    )


def _aspect_ratio(surface: Surface, config: dict[str, Any]) -> str:
    image = config.get("imageConfig") or {}
    ratio, size = image.get("aspectRatio", "1:1"), image.get("imageSize", "1K")
    if ratio not in ASPECT_RATIOS:
        choices = ", ".join(sorted(ASPECT_RATIOS))
        raise _wrong(
            surface,
            "image_config.aspect_ratio",
            f"aspect_ratio must be one of {choices}",
            f"aspectRatio must be one of {choices}.",
        )
    if size not in IMAGE_SIZES:
        choices = ", ".join(sorted(IMAGE_SIZES))
        raise _wrong(
            surface,
            "image_config.image_size",
            f"image_size must be one of {choices}",
            f"imageSize must be one of {choices}.",
        )
    return str(ratio)


# The form of the answer


def _output_schema(
    surface: Surface, able: Abilities, config: dict[str, Any], *, has_tools: bool
) -> dict[str, Any] | None:
    kind = config.get("responseMimeType", "") or "text/plain"
    if kind not in ("text/plain", JSON, ENUM):
        raise _wrong(
            surface,
            "response_mime_type",
            f"allowed mimetypes are `text/plain`, `{JSON}`, `application/xml`, `application/yaml` "
            f"and `{ENUM}`.",
            f"it has a responseMimeType value of {kind}, which is not supported.",
        )
    schema, json_schema = config.get("responseSchema"), config.get("responseJsonSchema")
    if schema is not None and json_schema is not None:
        problem = "only one of response_schema and response_json_schema may be set"
        raise _wrong(surface, "response_schema", problem, f"{problem}.")
    given = schema if schema is not None else json_schema
    if kind == "text/plain":
        if given is not None:
            problem = f"response schema is only supported when response_mime_type is `{JSON}`"
            raise _wrong(surface, "response_schema", problem, f"{problem}.")
        return None
    if has_tools and able.known and able.version < GENERATION_OF_LEVELS:
        raise Invalid(f"Function calling with a response mime type: '{kind}' is unsupported")
    if schema is not None:
        check_schema(surface, schema, "generation_config.response_schema", "response_schema")
    elif json_schema is not None:
        _check_json_schema(surface, json_schema, "generation_config.response_json_schema")
    return None if kind == ENUM else given or {}


def _check_json_schema(surface: Surface, schema: Any, path: str) -> None:
    if isinstance(schema, dict):
        return
    problem = "must be a JSON Schema object"
    if surface is Surface.STUDIO:
        raise studio_field(path, problem)
    raise vertex_unable(f"{path} {problem}.")


# Tools


def _read_tools(surface: Surface, able: Abilities, tools: list[dict[str, Any]]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for place, tool in enumerate(tools):
        for index, declaration in enumerate(tool.get("functionDeclarations", [])):
            path = f"tools[{place}].function_declarations[{index}]"
            one = _read_function(surface, declaration, path)
            if one.name in found:
                raise Invalid(f"Duplicate function declaration found: {one.name}")
            found[one.name] = one
    others = [name for tool in tools for name in tool if name != "functionDeclarations"]
    if found and others and able.known and able.version < GENERATION_OF_LEVELS:
        if surface is Surface.VERTEX:
            raise Invalid("Multiple tools are supported only when they are all search tools.")
        raise Invalid("Tool use with function calling is unsupported")
    return found


def _read_function(surface: Surface, declaration: dict[str, Any], path: str) -> Tool:
    name = declaration.get("name", "")
    if not _FUNCTION_NAME.fullmatch(name):
        problem = (
            "Invalid function name. Must start with a letter or an underscore. Must be "
            "alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), "
            "with a maximum length of 64."
        )
        if surface is Surface.STUDIO:
            raise studio_field(f"{path}.name", problem)
        raise vertex_unable(f"function name `{name}` is invalid. {problem}")
    schema, json_schema = declaration.get("parameters"), declaration.get("parametersJsonSchema")
    if schema is not None and json_schema is not None:
        problem = "parameters and parameters_json_schema are mutually exclusive"
        raise (
            studio_field(path, problem)
            if surface is Surface.STUDIO
            else vertex_unable(f"`{name}` functionDeclaration {problem}.")
        )
    if schema is not None:
        check_schema(surface, schema, f"{path}.parameters", name)
    elif json_schema is not None:
        _check_json_schema(surface, json_schema, f"{path}.parameters_json_schema")
    return Tool(name=name, schema=schema or json_schema or {"type": "object", "properties": {}})


def _calls(
    surface: Surface,
    config: dict[str, Any],
    tools: dict[str, Tool],
    conversation: Conversation,
) -> tuple[Tool, ...]:
    calling = config.get("functionCallingConfig")
    if calling is None:
        calling = {}
    elif not tools:
        problem = "Function calling config is set without function_declarations."
        if surface is Surface.STUDIO:
            raise studio_field("tool_config.function_calling_config", problem)
        raise Invalid(f"Unable to submit request because {problem}")
    mode = calling.get("mode", "AUTO")
    allowed = _allowed(surface, calling.get("allowedFunctionNames", []), mode, tools)
    if mode == "NONE":
        return ()
    return pick_tools(
        allowed, conversation.said, must=mode == "ANY", answered=conversation.answered
    )


def _allowed(
    surface: Surface, names: list[str], mode: str, tools: dict[str, Tool]
) -> tuple[Tool, ...]:
    problem = ""
    if names and mode not in ("ANY", "VALIDATED"):
        problem = "allowed_function_names should only be set when mode is ANY."
    elif unknown := [name for name in names if name not in tools]:
        problem = f"allowed_function_names contains undeclared functions: {', '.join(unknown)}."
    if problem:
        if surface is Surface.STUDIO:
            path = "tool_config.function_calling_config.allowed_function_names"
            raise studio_field(path, problem)
        raise vertex_unable(problem)
    return tuple(tools[name] for name in names) or tuple(tools.values())
