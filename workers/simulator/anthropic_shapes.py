"""Shapes of an Anthropic request, and the complaints about what does not fit them."""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from typing import Any, Final

Check = Callable[[Any, str], None]

IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
BUDGET_MIN: Final = 1024

_TOOL_NAME: Final = "^[a-zA-Z0-9_-]{1,128}$"
_TOOL_ID: Final = "^[a-zA-Z0-9_-]+$"
_USER_ID_MAX: Final = 256


class Invalid(Exception):
    """The provider would not take this request.

    Attributes:
        kind: The type of the error.
        status: Its status.
    """

    def __init__(
        self, message: str, *, kind: str = "invalid_request_error", status: int = 400
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise Invalid(f"{where}: Input should be a valid string")


def _flag(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise Invalid(f"{where}: Input should be a valid boolean")


def _object(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise Invalid(f"{where}: Input should be a valid dictionary")


def _anything(_value: Any, _where: str) -> None:
    pass


def _whole(least: int) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not int:
            raise Invalid(f"{where}: Input should be a valid integer")
        if value < least:
            raise Invalid(f"{where}: Input should be greater than or equal to {least}")

    return check


def _number(least: float, most: float) -> Check:
    def check(value: Any, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Invalid(f"{where}: Input should be a valid number")
        if not least <= value <= most:
            raise Invalid(f"{where}: range: {least}..{most}")

    return check


def _one_of(*values: str) -> Check:
    quoted = [f"'{value}'" for value in values]
    words = " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)

    def check(value: Any, where: str) -> None:
        if value not in values:
            raise Invalid(f"{where}: Input should be {words}")

    return check


def _matching(pattern: str) -> Check:
    compiled = re.compile(pattern)

    def check(value: Any, where: str) -> None:
        _text(value, where)
        if not compiled.match(value):
            raise Invalid(f"{where}: String should match pattern '{pattern}'")

    return check


def _at_most(characters: int) -> Check:
    def check(value: Any, where: str) -> None:
        _text(value, where)
        if len(value) > characters:
            raise Invalid(f"{where}: String should have at most {characters} characters")

    return check


def _or_none(check: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        if value is not None:
            check(value, where)

    return checked


def _listed(check: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise Invalid(f"{where}: Input should be a valid list")
        for index, item in enumerate(value):
            check(item, f"{where}.{index}")

    return checked


def _text_or(check: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, str):
            check(value, where)

    return checked


def _record(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Check:
    known = {**required, **optional}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(
                f"{where}: Input should be a valid dictionary or object to extract fields from"
            )
        prefix = f"{where}." if where else ""
        for name in required:
            if name not in value:
                raise Invalid(f"{prefix}{name}: Field required")
        for name, field in value.items():
            if name not in known:
                raise Invalid(f"{prefix}{name}: Extra inputs are not permitted")
            known[name](field, f"{prefix}{name}")

    return check


def _tagged(variants: Mapping[str, Check], default: str = "") -> Check:
    """Choose by ``type``; the tag becomes a part of the path, as the provider has it."""
    expected = ", ".join(f"'{tag}'" for tag in variants)

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(
                f"{where}: Input should be a valid dictionary or object to extract fields from"
            )
        tag = value.get("type") or default
        if not tag:
            raise Invalid(f"{where}.type: Field required")
        chosen = variants.get(tag) if isinstance(tag, str) else None
        if chosen is None:
            raise Invalid(
                f"{where}: Input tag '{tag}' found using 'type' does not match any of the "
                f"expected tags: {expected}"
            )
        chosen(value, f"{where}.{tag}")

    return check


def _base64(value: Any, where: str) -> None:
    _text(value, where)
    try:
        b64decode(value, validate=True)
    except (NotBase64, ValueError) as error:
        raise Invalid(f"{where}: Invalid base64 data") from error


def _image_data(value: Any, where: str) -> None:
    if not value:
        raise Invalid(f"{where}: image cannot be empty")
    _base64(value, where)


def _https(value: Any, where: str) -> None:
    _text(value, where)
    if not value.startswith("https://"):
        raise Invalid(f"{where}: Only HTTPS URLs are supported.")


_TYPE: Final[dict[str, Check]] = {"type": _anything}
CACHE_CONTROL: Final = _or_none(
    _record({"type": _one_of("ephemeral")}, {"ttl": _one_of("5m", "1h")})
)
_CACHED: Final[dict[str, Check]] = {"cache_control": CACHE_CONTROL}

_TEXT_BLOCK: Final = _record(
    {**_TYPE, "text": _text}, {**_CACHED, "citations": _or_none(_listed(_object))}
)
_URL_SOURCE: Final = _record({**_TYPE, "url": _https}, {})
_FILE_SOURCE: Final = _record({**_TYPE, "file_id": _text}, {})
_IMAGE_BLOCK: Final = _record(
    {
        **_TYPE,
        "source": _tagged(
            {
                "base64": _record(
                    {**_TYPE, "media_type": _one_of(*IMAGE_TYPES), "data": _image_data}, {}
                ),
                "url": _URL_SOURCE,
                "file": _FILE_SOURCE,
            }
        ),
    },
    _CACHED,
)
_DOCUMENT_BLOCK: Final = _record(
    {
        **_TYPE,
        "source": _tagged(
            {
                "base64": _record(
                    {**_TYPE, "media_type": _one_of("application/pdf"), "data": _base64}, {}
                ),
                "text": _record({**_TYPE, "media_type": _one_of("text/plain"), "data": _text}, {}),
                "content": _record(
                    {
                        **_TYPE,
                        "content": _text_or(
                            _listed(_tagged({"text": _TEXT_BLOCK, "image": _IMAGE_BLOCK}))
                        ),
                    },
                    {},
                ),
                "url": _URL_SOURCE,
                "file": _FILE_SOURCE,
            }
        ),
    },
    {
        **_CACHED,
        "citations": _or_none(_record({}, {"enabled": _flag})),
        "context": _or_none(_text),
        "title": _or_none(_text),
    },
)
_SEARCH_RESULT: Final = _record(
    {**_TYPE, "content": _listed(_TEXT_BLOCK), "source": _text, "title": _text},
    {**_CACHED, "citations": _object},
)
_TOOL_RESULT: Final = _record(
    {**_TYPE, "tool_use_id": _matching(_TOOL_ID)},
    {
        **_CACHED,
        "content": _text_or(
            _listed(
                _tagged(
                    {
                        "text": _TEXT_BLOCK,
                        "image": _IMAGE_BLOCK,
                        "document": _DOCUMENT_BLOCK,
                        "search_result": _SEARCH_RESULT,
                    }
                )
            )
        ),
        "is_error": _or_none(_flag),
    },
)
_TOOL_USE: Final = _record(
    {**_TYPE, "id": _matching(_TOOL_ID), "name": _matching("^.{1,200}$"), "input": _object},
    {**_CACHED, "caller": _object},
)
_BLOCK: Final = _tagged(
    {
        "text": _TEXT_BLOCK,
        "image": _IMAGE_BLOCK,
        "document": _DOCUMENT_BLOCK,
        "search_result": _SEARCH_RESULT,
        "thinking": _record({**_TYPE, "thinking": _text, "signature": _text}, {}),
        "redacted_thinking": _record({**_TYPE, "data": _text}, {}),
        "tool_use": _TOOL_USE,
        "tool_result": _TOOL_RESULT,
        "server_tool_use": _object,
        "web_search_tool_result": _object,
    }
)


def _role(value: Any, where: str) -> None:
    if value == "system":
        raise Invalid(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
            'parameter, not "system" as an input message role.'
        )
    _one_of("user", "assistant")(value, where)


_MESSAGE: Final = _record({"role": _role, "content": _text_or(_listed(_BLOCK))}, {})
_SCHEMA: Final = _record({"type": _one_of("object")}, {})


def _input_schema(value: Any, where: str) -> None:
    if not isinstance(value, dict) or value.get("type") != "object":
        # Everything else in it is JSON schema, and not checked here.
        _SCHEMA(value if not isinstance(value, dict) else {"type": value.get("type")}, where)


_CUSTOM_TOOL: Final = _record(
    {"name": _matching(_TOOL_NAME), "input_schema": _input_schema},
    {
        **_CACHED,
        **_TYPE,
        "description": _text,
        "strict": _flag,
        "allowed_callers": _listed(_text),
        "defer_loading": _flag,
        "eager_input_streaming": _or_none(_flag),
        "input_examples": _listed(_object),
    },
)
_SERVER_TOOL: Final = re.compile(r"^[a-z_]+_20\d{6}$")


def _tool(value: Any, where: str) -> None:
    kind = value.get("type") if isinstance(value, dict) else None
    if not (isinstance(kind, str) and _SERVER_TOOL.match(kind)):
        _tagged({"custom": _CUSTOM_TOOL}, default="custom")(value, where)


_DISPLAY: Final[dict[str, Check]] = {"display": _or_none(_one_of("summarized", "omitted"))}
_PARALLEL: Final[dict[str, Check]] = {"disable_parallel_tool_use": _flag}
_FORMAT: Final = _or_none(_record({"type": _one_of("json_schema"), "schema": _object}, {}))

_COUNTED: Final[dict[str, Check]] = {
    "cache_control": CACHE_CONTROL,
    "output_config": _record({}, {"effort": _or_none(_one_of(*EFFORTS)), "format": _FORMAT}),
    "output_format": _FORMAT,
    "system": _text_or(_listed(_tagged({"text": _TEXT_BLOCK}))),
    "thinking": _tagged(
        {
            "adaptive": _record(_TYPE, _DISPLAY),
            "disabled": _record(_TYPE, {}),
            "enabled": _record({**_TYPE, "budget_tokens": _whole(BUDGET_MIN)}, _DISPLAY),
        }
    ),
    "tool_choice": _tagged(
        {
            "auto": _record(_TYPE, _PARALLEL),
            "any": _record(_TYPE, _PARALLEL),
            "tool": _record({**_TYPE, "name": _text}, _PARALLEL),
            "none": _record(_TYPE, {}),
        }
    ),
    "tools": _listed(_tool),
}
_SAMPLED: Final[dict[str, Check]] = {
    "container": _or_none(_anything),
    "context_management": _or_none(_object),
    "inference_geo": _or_none(_text),
    "mcp_servers": _listed(_object),
    "metadata": _record({}, {"user_id": _or_none(_at_most(_USER_ID_MAX))}),
    "service_tier": _one_of("auto", "standard_only"),
    "speed": _or_none(_one_of("standard", "fast")),
    "stop_sequences": _listed(_text),
    "stream": _flag,
    "temperature": _number(0, 1),
    "top_k": _whole(0),
    "top_p": _number(0, 1),
}
_MODEL: Final[dict[str, Check]] = {"model": _text}
_CONVERSATION: Final[dict[str, Check]] = {"messages": _listed(_MESSAGE)}
_MAX_TOKENS: Final[dict[str, Check]] = {"max_tokens": _whole(1)}

MESSAGES: Final = _record({**_MODEL, **_MAX_TOKENS, **_CONVERSATION}, {**_COUNTED, **_SAMPLED})
COUNT_TOKENS: Final = _record({**_MODEL, **_CONVERSATION}, {**_COUNTED, **_SAMPLED})
VERTEX_MESSAGES: Final = _record(
    {"anthropic_version": _one_of("vertex-2023-10-16"), **_MAX_TOKENS, **_CONVERSATION},
    {**_COUNTED, **_SAMPLED, "anthropic_beta": _listed(_text)},
)
VERTEX_COUNT_TOKENS: Final = _record(
    {**_MODEL, **_CONVERSATION},
    {**_COUNTED, "anthropic_version": _text, "anthropic_beta": _listed(_text)},
)
