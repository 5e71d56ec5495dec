"""Reads requests as strictly as Cohere does."""

import re
from typing import Any, Final

import orjson

from workers.simulator.answers import pick_tools
from workers.simulator.cohere_fields import (
    CHAT_FIELDS,
    EMBED_FIELDS,
    Refused,
    check_fields,
    choose,
    read_model,
    read_stops,
)
from workers.simulator.cohere_messages import (
    content_text,
    image_type,
    read_messages,
    said_in,
    tool_results,
)
from workers.simulator.dialect import Ask, Tool
from workers.simulator.text import estimate_tokens

TEXTS_MAX: Final = 96
TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_MEDIUM: Final = 85
DIMENSIONS: Final = (256, 512, 1024, 1536)
EMBEDDING_TYPES: Final = ("float", "int8", "uint8", "binary", "ubinary", "base64")
INPUT_TYPES: Final = ("search_document", "search_query", "classification", "clustering", "image")

_REASONS: Final = re.compile(r"reason|think")


def parse(data: bytes) -> dict[str, Any]:
    """Parse a body.

    Raises:
        Refused: It is not a JSON object.
    """
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Refused("invalid request: the body is not valid JSON.") from error
    if not isinstance(body, dict):
        raise Refused("invalid request: the body must be a JSON object.")
    return body


def read_chat(data: bytes) -> Ask:
    """Read a chat request.

    Raises:
        Refused: Cohere would not take it.
    """
    body = parse(data)
    model = read_model(body)
    check_fields(body, CHAT_FIELDS)
    conversation = read_messages(body)
    messages = conversation.messages
    _check_words(body)
    documents = _documents(body)
    said = said_in(messages)
    results = tool_results(messages)
    return Ask(
        model=model,
        said=said,
        stream=body.get("stream") is True,
        include_usage=True,
        prompt_tokens=_prompt_tokens(messages, body),
        max_tokens=body.get("max_tokens"),
        stop=read_stops(body),
        calls=_calls(body, said, answered=messages[-1]["role"] == "tool"),
        json_schema=_json_schema(body),
        reasoning=_thinks(body, model),
        media=conversation.media,
        tool_results=tuple(text for _, text in results),
        extras={
            "logprobs": body.get("logprobs") is True,
            "sources": _sources(body, documents, results),
        },
    )


def _check_words(body: dict[str, Any]) -> None:
    choose("safety_mode", body.get("safety_mode"), "CONTEXTUAL", "STRICT", "OFF")
    if body.get("safety_mode") and (body.get("tools") or body.get("documents")):
        raise Refused("invalid request: safety_mode is not supported with tools or documents.")
    mode = (body.get("citation_options") or {}).get("mode")
    choose("citation_options.mode", mode, "ENABLED", "DISABLED", "FAST", "ACCURATE", "OFF")


def _documents(body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for index, document in enumerate(body.get("documents") or ()):
        data = document if isinstance(document, str) else None
        if isinstance(document, dict):
            data = document.get("data")
        if not isinstance(data, dict | str) or not data:
            raise Refused(f"invalid request: documents[{index}] must be a string or have data.")
        tag = document.get("id") if isinstance(document, dict) else None
        found.append({"type": "document", "id": tag or f"doc:{index}", "document": {"text": data}})
    return found


def _sources(
    body: dict[str, Any], documents: list[dict[str, Any]], results: tuple[tuple[str, str], ...]
) -> tuple[dict[str, Any], ...]:
    """Return what the answer may cite."""
    if (body.get("citation_options") or {}).get("mode") in ("OFF", "DISABLED"):
        return ()
    tools = (
        {"type": "tool", "id": f"{tag}:0", "tool_output": {"content": text}}
        for tag, text in results
    )
    return (*documents, *tools)


def _tools(body: dict[str, Any]) -> list[Tool]:
    tools: list[Tool] = []
    for index, tool in enumerate(body.get("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if function is None or tool.get("type") != "function" or not isinstance(name, str):
            raise Refused(
                f"invalid request: tools[{index}] must be of type function and have a name."
            )
        schema = function.get("parameters")
        if schema is not None and (not isinstance(schema, dict) or schema.get("type") != "object"):
            raise Refused(
                f"invalid request: tools[{index}].function.parameters must be a JSON schema of "
                "type object."
            )
        if body.get("strict_tools") and not (schema or {}).get("required"):
            raise Refused(
                "invalid request: with strict_tools every tool must have at least one required "
                "parameter."
            )
        tools.append(Tool(name=name, schema=schema or {}))
    return tools


def _calls(body: dict[str, Any], said: str, *, answered: bool) -> tuple[Tool, ...]:
    choice = body.get("tool_choice")
    choose("tool_choice", choice, "REQUIRED", "NONE")
    tools = _tools(body)
    if choice and not tools:
        raise Refused("invalid request: tool_choice requires tools to be specified.")
    if choice == "NONE":
        return ()
    return pick_tools(tools, said, must=choice == "REQUIRED", answered=answered)


def _json_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    form = body.get("response_format")
    if form is None:
        return None
    if not set(form) <= {"type", "schema", "json_schema"}:
        raise Refused("unknown field: response_format has a field that is not valid", status=422)
    kind = form.get("type")
    choose("response_format.type", kind, "text", "json_object")
    if kind is None:
        raise Refused("invalid request: response_format.type is required")
    if kind == "text":
        return None
    if body.get("tools") or body.get("documents"):
        raise Refused("invalid request: response_format is not supported with tools or documents.")
    schema = form.get("schema", form.get("json_schema"))
    if schema is not None and not isinstance(schema, dict):
        raise Refused("invalid request: response_format.schema must be a JSON schema.")
    return schema or {}


def _thinks(body: dict[str, Any], model: str) -> bool:
    thinking = body.get("thinking")
    if thinking is None:
        return _REASONS.search(model) is not None
    if not set(thinking) <= {"type", "token_budget"}:
        raise Refused("unknown field: thinking has a field that is not valid", status=422)
    kind, budget = thinking.get("type"), thinking.get("token_budget")
    choose("thinking.type", kind, "enabled", "disabled")
    if kind is None:
        raise Refused("invalid request: thinking.type is required")
    if budget is not None and (type(budget) is not int or budget < 1):
        raise Refused("invalid request: thinking.token_budget must be a positive integer.")
    return bool(kind == "enabled")


def _prompt_tokens(messages: list[dict[str, Any]], body: dict[str, Any]) -> int:
    tokens = TOKENS_PER_MESSAGE * len(messages)
    for message in messages:
        tokens += estimate_tokens(content_text(message))
        content = message.get("content")
        if isinstance(content, list):
            tokens += TOKENS_PER_MEDIUM * sum(part["type"] == "image_url" for part in content)
    for name in ("tools", "documents"):
        if body.get(name):
            tokens += estimate_tokens(orjson.dumps(body[name]).decode())
    return tokens


# Embeddings


def read_embed(data: bytes) -> Ask:
    """Read an embeddings request.

    Raises:
        Refused: Cohere would not take it.
    """
    body = parse(data)
    model = read_model(body)
    check_fields(body, EMBED_FIELDS)
    if body.get("input_type") is None:
        raise Refused("invalid request: valid input_type must be provided with the provided model")
    choose("input_type", body["input_type"], *INPUT_TYPES)
    choose("truncate", body.get("truncate"), "NONE", "START", "END")
    texts, media = _inputs(body)
    types = body.get("embedding_types") or ["float"]
    for kind in types:
        choose("embedding_types", kind, *EMBEDDING_TYPES)
    dimensions = body.get("output_dimension")
    if dimensions is not None and dimensions not in DIMENSIONS:
        raise Refused(
            f"invalid request: output_dimension must be one of {', '.join(map(str, DIMENSIONS))}."
        )
    return Ask(
        kind="embeddings",
        model=model,
        said=texts[-1],
        inputs=texts,
        media=media,
        dimensions=dimensions or 0,
        prompt_tokens=sum(map(estimate_tokens, texts)) + TOKENS_PER_MEDIUM * len(media),
        extras={"embedding_types": tuple(types), "texts": body.get("texts") or []},
    )


def _inputs(body: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return one text for every vector, and the MIME types of the pictures."""
    given = [name for name in ("texts", "images", "inputs") if body.get(name)]
    if len(given) != 1:
        raise Refused("invalid request: exactly one of texts, images or inputs must be specified.")
    values = body[given[0]]
    if len(values) > TEXTS_MAX:
        raise Refused(
            f"invalid request: total number of {given[0]} must be at most {TEXTS_MAX} - received "
            f"{len(values)}"
        )
    if given[0] == "inputs":
        return _mixed(values)
    if not all(isinstance(value, str) and value for value in values):
        raise Refused(f"invalid request: {given[0]} must be strings that are not empty.")
    if given[0] == "texts":
        return tuple(values), ()
    return tuple(values), tuple(image_type(value) for value in values)


def _mixed(values: list[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    texts: list[str] = []
    media: list[str] = []
    for index, value in enumerate(values):
        content = value.get("content") if isinstance(value, dict) else None
        if not isinstance(content, list) or not content:
            raise Refused(f"invalid request: inputs[{index}] must have content.")
        words: list[str] = []
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                words.append(part["text"])
            elif kind == "image_url" and isinstance(part.get("image_url"), dict):
                url = str(part["image_url"].get("url"))
                media.append(image_type(url))
                words.append(url)
            else:
                raise Refused(f"invalid request: inputs[{index}] holds a part that is not valid.")
        texts.append("\n".join(words))
    return tuple(texts), tuple(media)
