"""Reads a Converse request as strictly as Amazon Bedrock does."""

import re
from typing import Any, Final

import orjson

from workers.simulator.answers import pick_tools
from workers.simulator.bedrock_messages import (
    check_messages,
    media_blocks,
    mime_type,
    said_in,
    tool_results,
)
from workers.simulator.bedrock_model import MODEL_ID, REQUEST
from workers.simulator.bedrock_shapes import SERIALIZATION, Refused
from workers.simulator.dialect import Ask, CacheMark, Tool
from workers.simulator.text import digest, estimate_tokens

TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_MEDIUM: Final = 85
CACHE_POINTS_MAX: Final = 4
THINKING_TOKENS_MIN: Final = 1024
EFFORTS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})

# The families whose thoughts are shown without being asked for.
_REASONS: Final = re.compile(r"deepseek[.-]r1|gpt-oss|thinking")

_ONE_OF_TWO: Final = re.compile(r"claude-(?:opus-4-1|(?:opus|sonnet|haiku)-4-[5-9])")


def read_converse(model: str, data: bytes, *, stream: bool) -> Ask:
    """Read one request.

    Raises:
        Refused: The service would not take it.
    """
    if not re.fullmatch(MODEL_ID, model):
        raise Refused("The provided model identifier is invalid.")
    body = _parse(data)
    REQUEST.check(body, "")
    messages = body.get("messages")
    if not messages:
        raise Refused(
            "1 validation error detected: Value at 'messages' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1"
        )
    check_messages(messages)
    _check_sampling(body, model)
    tools = _tools(body, messages)
    thinks = _thinks(body, model)
    inference = body.get("inferenceConfig") or {}
    said = said_in(messages)
    results = tool_results(messages)
    return Ask(
        model=model,
        said=said,
        stream=stream,
        include_usage=True,
        prompt_tokens=_prompt_tokens(body),
        max_tokens=inference.get("maxTokens"),
        stop=tuple(inference.get("stopSequences") or ()),
        calls=_calls(body, tools, said, answered=bool(results)),
        json_schema=_json_schema(body),
        reasoning=thinks,
        media=tuple(mime_type(kind, value) for kind, value in media_blocks(messages)),
        tool_results=results,
        cache_marks=_cache_marks(body),
        implicit_cache=False,
        extras={"performanceConfig": body.get("performanceConfig")},
    )


def _parse(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refused(
            "Unable to parse the request: it is not valid JSON.", SERIALIZATION
        ) from error
    if not isinstance(body, dict):
        raise Refused("Unexpected field type", SERIALIZATION)
    return body


def _tools(body: dict[str, Any], messages: list[dict[str, Any]]) -> list[Tool]:
    config = body.get("toolConfig")
    if config is None:
        blocks = (block for message in messages for block in message["content"])
        if any("toolUse" in block or "toolResult" in block for block in blocks):
            raise Refused(
                "The toolConfig field must be defined when using toolUse and toolResult content "
                "blocks."
            )
        return []
    specs = [tool["toolSpec"] for tool in config["tools"] if "toolSpec" in tool]
    names = [spec["name"] for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise Refused(f"The tool name {name} is a duplicate. Tool names must be unique.")
    for place, spec in enumerate(specs):
        if spec["inputSchema"]["json"].get("type") != "object":
            raise Refused(
                f"The value at toolConfig.tools.{place}.toolSpec.inputSchema.json.type must be one "
                "of the following: object."
            )
    return [Tool(name=spec["name"], schema=spec["inputSchema"]["json"]) for spec in specs]


def _calls(
    body: dict[str, Any], tools: list[Tool], said: str, *, answered: bool
) -> tuple[Tool, ...]:
    choice = (body.get("toolConfig") or {}).get("toolChoice") or {}
    must = "any" in choice or "tool" in choice
    if "tool" in choice:
        wanted = choice["tool"]["name"]
        tools = [tool for tool in tools if tool.name == wanted]
        if not tools:
            raise Refused(
                f"The tool {wanted} at toolConfig.toolChoice.tool.name is not in "
                "toolConfig.tools. Add it and try again."
            )
    return pick_tools(tools, said, must=must, answered=answered)


def _thinks(body: dict[str, Any], model: str) -> bool:
    """Read the switches for thinking, whose names depend on the family of the model."""
    extra = body.get("additionalModelRequestFields") or {}
    _check_output_config(extra)
    thinking = extra.get("thinking") or extra.get("reasoning_config")
    if thinking is None:
        effort = extra.get("reasoning_effort") or extra.get("reasoningConfig")
        return bool(effort or _REASONS.search(model))
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("enabled", "disabled", "adaptive"):
        raise _from_model(
            "thinking: Input tag does not match any of the expected tags: 'adaptive', 'disabled', "
            "'enabled'"
        )
    if kind == "disabled":
        return False
    if kind == "enabled":
        _check_budget(thinking.get("budget_tokens"), body)
    _check_thinking_company(body)
    return True


def _check_output_config(extra: dict[str, Any]) -> None:
    config = extra.get("output_config")
    if config is None:
        return
    if not isinstance(config, dict):
        raise _from_model("output_config: Input should be a valid dictionary")
    effort = config.get("effort")
    if effort is not None and effort not in EFFORTS:
        raise _from_model("output_config.effort: Input should be 'low', 'medium', 'high' or 'max'")


def _check_budget(budget: Any, body: dict[str, Any]) -> None:
    if type(budget) is not int:
        raise _from_model("thinking.enabled.budget_tokens: Field required")
    if budget < THINKING_TOKENS_MIN:
        raise _from_model(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to "
            f"{THINKING_TOKENS_MIN}"
        )
    most = (body.get("inferenceConfig") or {}).get("maxTokens")
    if most is not None and most <= budget:
        raise _from_model("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_thinking_company(body: dict[str, Any]) -> None:
    """Check what thinking does not go together with."""
    inference = body.get("inferenceConfig") or {}
    if inference.get("temperature") not in (None, 1):
        raise _from_model("`temperature` may only be set to 1 when thinking is enabled.")
    choice = (body.get("toolConfig") or {}).get("toolChoice") or {}
    if "any" in choice or "tool" in choice:
        raise _from_model("Thinking may not be enabled when tool_choice forces tool use.")
    bare: tuple[int, str] | None = None
    for index, message in reversed(list(enumerate(body["messages"]))):
        blocks = message["content"]
        if message["role"] == "user" and not any("toolResult" in block for block in blocks):
            break
        if "reasoningContent" in blocks[0]:
            return  # one thought is enough for all calls of a loop
        if bare is None and any("toolUse" in block for block in blocks):
            bare = (index, next(iter(blocks[0])))
    if bare is not None:
        raise _from_model(
            f"messages.{bare[0]}.content.0.type: Expected `thinking` or `redacted_thinking`, "
            f"but found `{bare[1]}`. When `thinking` is enabled, a final "
            "`assistant` message must start with a thinking block."
        )


def _check_sampling(body: dict[str, Any], model: str) -> None:
    inference = body.get("inferenceConfig") or {}
    both = inference.get("temperature") is not None and inference.get("topP") is not None
    if both and _ONE_OF_TWO.search(model):
        raise _from_model(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only "
            "one."
        )


def _from_model(message: str) -> Refused:
    return Refused(f"The model returned the following errors: {message}")


def _json_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    text_format = (body.get("outputConfig") or {}).get("textFormat")
    extra = (body.get("additionalModelRequestFields") or {}).get("output_config") or {}
    if text_format is None:
        schema = (extra.get("format") or {}).get("schema")
        return schema if isinstance(schema, dict) else None
    try:
        schema = orjson.loads(text_format["structure"]["jsonSchema"]["schema"])
    except orjson.JSONDecodeError as error:
        raise Refused(
            "The value at outputConfig.textFormat.structure.jsonSchema.schema is not valid JSON."
        ) from error
    return schema if isinstance(schema, dict) else {}


def _prompt_tokens(body: dict[str, Any]) -> int:
    messages = body["messages"]
    tokens = TOKENS_PER_MESSAGE * len(messages)
    for block in (*(body.get("system") or ()), *(b for m in messages for b in m["content"])):
        tokens += _block_tokens(block)
    if config := body.get("toolConfig"):
        tokens += estimate_tokens(orjson.dumps(config["tools"]).decode())
    return tokens


def _block_tokens(block: dict[str, Any]) -> int:
    kind, value = next(iter(block.items()))
    match kind:
        case "text":
            return estimate_tokens(value)
        case "image" | "document" | "video" | "audio":
            return TOKENS_PER_MEDIUM
        case "toolResult":
            return sum(map(_block_tokens, value["content"]))
        case "cachePoint":
            return 0
        case _:
            return estimate_tokens(orjson.dumps(value).decode())


def _cache_marks(body: dict[str, Any]) -> tuple[CacheMark, ...]:
    """Return the cache points in the order the prompt is read: tools, system, messages."""
    marks: list[CacheMark] = []
    said = b""
    tokens = 0
    for block in _in_order(body):
        point = block.get("cachePoint")
        if point is None:
            said += orjson.dumps(block, option=orjson.OPT_SORT_KEYS)
            tokens += _block_tokens(block)
            continue
        lasting = point.get("ttl") == "1h"
        marks.append(CacheMark(digest(said), tokens, lasting))
    if len(marks) > CACHE_POINTS_MAX:
        raise Refused(
            f"The number of cache points exceeds the limit. A maximum of {CACHE_POINTS_MAX} blocks "
            f"with cachePoint may be provided. Found {len(marks)}."
        )
    return tuple(marks)


def _in_order(body: dict[str, Any]) -> list[dict[str, Any]]:
    blocks = list((body.get("toolConfig") or {}).get("tools") or ())
    blocks += body.get("system") or ()
    for message in body["messages"]:
        blocks += message["content"]
    return blocks
