"""Reads a request for Anthropic's Messages API as strictly as the provider does."""

import re
from typing import Any, Final

import orjson

from workers.simulator.answers import pick_tools
from workers.simulator.anthropic_messages import (
    check_messages,
    ends_with_result,
    media_in,
    results_in,
    said_in,
)
from workers.simulator.anthropic_models import Manners, manners_of
from workers.simulator.anthropic_prompt import measure
from workers.simulator.anthropic_schemas import check_schema
from workers.simulator.anthropic_shapes import Invalid
from workers.simulator.dialect import Ask, Tool

STRUCTURED: Final = "structured-outputs-2025-11-13"
INTERLEAVED: Final = "interleaved-thinking-2025-05-14"
TOP_P_THINKING_MIN: Final = 0.95

_BETA: Final = re.compile(r"[a-z0-9-]+-20\d\d-\d\d-\d\d|claude-code-20\d{6}")
_DOCS: Final = "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"


def parse(body: bytes) -> dict[str, Any]:
    """Parse a body.

    Raises:
        Invalid: It is not a JSON object.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"The request body is not valid JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise Invalid("Input should be a valid dictionary or object to extract fields from")
    return parsed


def read_betas(header: str) -> tuple[str, ...]:
    """Return the features named in the header.

    Raises:
        Invalid: One cannot be a feature's name.
    """
    names = tuple(name for part in header.split(",") if (name := part.strip()))
    unknown = [name for name in names if not _BETA.fullmatch(name)]
    if unknown:
        raise Invalid(
            f"Unexpected value(s) `{'`, `'.join(unknown)}` for the `anthropic-beta` header. "
            "Please consult our documentation at docs.claude.com or try again without the header."
        )
    return names


def read_messages(body: dict[str, Any], model: str, betas: tuple[str, ...]) -> Ask:
    """Read a request whose shape was checked.

    Raises:
        Invalid: The provider would refuse it.
    """
    manners = manners_of(model)
    messages = body["messages"]
    thinking = body.get("thinking") or {"type": "disabled"}
    thinks = thinking["type"] != "disabled"
    _check_thinking(body, thinking, model, manners, interleaved=INTERLEAVED in betas)
    _check_sampling(body, manners, thinks=thinks)
    _check_output(body, manners, betas)
    check_messages(
        messages, thinks=thinking["type"] == "enabled", prefill=manners.prefill and not thinks
    )
    tools = _tools(body)
    prompt = measure(body)
    said = said_in(messages)
    hidden = thinking.get("display", "summarized" if manners.shows else "omitted") == "omitted"
    return Ask(
        model=model,
        said=said,
        stream=body.get("stream") is True,
        prompt_tokens=prompt.tokens,
        max_tokens=body.get("max_tokens"),
        stop=_stops(body),
        calls=_calls(body, tools, said, thinking["type"]),
        json_schema=_schema(body),
        reasoning=thinks,
        media=media_in(messages),
        tool_results=results_in(messages),
        cache_marks=prompt.marks,
        implicit_cache=False,
        betas=betas,
        extras={"hidden": hidden},
    )


def _check_thinking(
    body: dict[str, Any],
    thinking: dict[str, Any],
    model: str,
    manners: Manners,
    *,
    interleaved: bool,
) -> None:
    kind = thinking["type"]
    if kind == "disabled":
        return
    if not manners.thinks:
        raise Invalid(f"'{model}' does not support thinking.")
    if kind == "adaptive" and not manners.adaptive:
        raise Invalid("adaptive thinking is not supported on this model")
    if kind == "enabled" and not manners.budgets:
        raise Invalid(
            '"thinking.type.enabled" is not supported for this model. Use '
            '"thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
        )
    limit = body.get("max_tokens")
    # Between tools, the thoughts of several turns share one budget.
    shared = interleaved and bool(body.get("tools"))
    if kind != "enabled" or limit is None or shared:
        return
    if limit <= thinking["budget_tokens"]:
        raise Invalid(
            "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our "
            f"documentation at {_DOCS}#max-tokens-and-context-window-size"
        )


def _check_sampling(body: dict[str, Any], manners: Manners, *, thinks: bool) -> None:
    temperature, top_p = body.get("temperature"), body.get("top_p")
    if not manners.samples:
        for name, usual in (("temperature", 1), ("top_p", None), ("top_k", None)):
            if body.get(name) not in (None, usual):
                raise Invalid(f"`{name}` is deprecated for this model.")
    if temperature is not None and top_p is not None and not manners.both_samplers:
        raise Invalid(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only "
            "one."
        )
    if not thinks:
        return
    if temperature not in (None, 1):
        raise Invalid(
            "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode. "
            f"Please consult our documentation at {_DOCS}"
        )
    if top_p is not None and top_p < TOP_P_THINKING_MIN:
        raise Invalid(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled. "
            f"Please consult our documentation at {_DOCS}"
        )
    if body.get("top_k") is not None:
        raise Invalid(
            "`top_k` must be unset when thinking is enabled. Please consult our documentation at "
            f"{_DOCS}"
        )


def _check_output(body: dict[str, Any], manners: Manners, betas: tuple[str, ...]) -> None:
    if "output_format" in body and STRUCTURED not in betas:
        raise Invalid("output_format: Extra inputs are not permitted")
    if (body.get("output_config") or {}).get("effort") and not manners.effort:
        raise Invalid("This model does not support the effort parameter.")
    schema = _schema(body)
    if schema is not None:
        name = "output_format" if body.get("output_format") else "output_config.format"
        check_schema(schema, f"{name}.schema")


def _tools(body: dict[str, Any]) -> dict[str, Tool]:
    """Return the tools the client itself runs."""
    found: dict[str, Tool] = {}
    for index, tool in enumerate(body.get("tools") or ()):
        if "input_schema" not in tool:
            continue
        if tool["name"] in found:
            raise Invalid("tools: Tool names must be unique.")
        if tool.get("strict"):
            check_schema(tool["input_schema"], f"tools.{index}.custom")
        found[tool["name"]] = Tool(name=tool["name"], schema=tool["input_schema"])
    return found


def _calls(
    body: dict[str, Any], tools: dict[str, Tool], said: str, thinking: str
) -> tuple[Tool, ...]:
    choice = body.get("tool_choice")
    if choice is None:
        choice = {"type": "auto"}
    elif not body.get("tools"):
        raise Invalid("tool_choice may only be specified while providing tools.")
    kind = choice["type"]
    if kind in ("any", "tool") and thinking == "enabled":
        raise Invalid("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "none":
        return ()
    preferred = list(tools.values())
    if kind == "tool":
        named = tools.get(choice["name"])
        if named is None:
            raise Invalid(f"Tool '{choice['name']}' not found in provided tools")
        preferred = [named, *(tool for tool in preferred if tool is not named)]
    return pick_tools(
        preferred,
        said,
        must=kind in ("any", "tool"),
        answered=ends_with_result(body["messages"]),
        parallel=not choice.get("disable_parallel_tool_use", False),
    )


def _stops(body: dict[str, Any]) -> tuple[str, ...]:
    stops = tuple(body.get("stop_sequences") or ())
    if not all(stop.strip() for stop in stops):
        raise Invalid("stop_sequences: each stop sequence must contain non-whitespace")
    return stops


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    return form["schema"] if form else None
