"""Checks the input items of a Responses request, and finds what was said in them."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from workers.simulator.openai_fields import Invalid
from workers.simulator.responses_fields import (
    FILE_TYPES,
    IMAGE_TYPES,
    NotFound,
    check_choice,
    check_known,
    check_length,
    data_type,
    invalid_type,
    invalid_value,
    missing,
    name_at,
    text_at,
)
from workers.simulator.signatures import unseal
from workers.simulator.text import estimate_tokens

Item = dict[str, Any]

TOKENS_PER_ITEM: Final = 4
TOKENS_PER_MEDIUM: Final = 85
ROLES: Final = ("assistant", "system", "developer", "user")

_STATUSES: Final = ("in_progress", "completed", "incomplete")
_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "message": ("type", "role", "content", "id", "status", "phase"),
    "function_call": ("type", "call_id", "name", "arguments", "id", "status", "namespace"),
    "function_call_output": ("type", "call_id", "output", "id", "status"),
    "reasoning": ("type", "id", "summary", "content", "encrypted_content", "status"),
    "item_reference": ("type", "id"),
}
# What an id of one of our own items begins with.
_PREFIXES: Final = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
_HEARD: Final = ("input_text", "input_image", "input_file")
_SPOKEN: Final = ("output_text", "refusal")
_PART_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "input_text": ("type", "text"),
    "input_image": ("type", "image_url", "file_id", "detail"),
    "input_file": ("type", "file_data", "file_id", "file_url", "filename", "detail"),
    "output_text": ("type", "text", "annotations", "logprobs"),
    "refusal": ("type", "refusal"),
}


def read_items(body: dict[str, Any]) -> list[Item]:
    """Return the input as items, a bare text as one message.

    Raises:
        Invalid: One of them, or their order, would be refused.
    """
    given = body.get("input")
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list):
        raise invalid_type("input", "one of a string or array of objects", given)
    items = [_typed(item, f"input[{index}]") for index, item in enumerate(given)]
    for index, item in enumerate(items):
        _check_item(item, f"input[{index}]", stored=body.get("store") is not False)
    _check_calls(items)
    _check_reasoning(items)
    return items


def _typed(item: Any, where: str) -> Item:
    if not isinstance(item, dict):
        raise invalid_type(where, "an object", item)
    kind = item.get("type", "message" if "role" in item else None)
    if kind is None:
        raise missing(f"{where}.type")
    if kind not in _FIELDS:
        raise invalid_value(f"{where}.type", kind, _FIELDS)
    return {**item, "type": kind}


def _check_item(item: Item, where: str, *, stored: bool) -> None:
    kind = item["type"]
    check_known(item, _FIELDS[kind], where)
    check_choice(item, "status", _STATUSES, where)
    _check_id(item, where)
    match kind:
        case "message":
            _check_message(item, where)
        case "function_call":
            name_at(item, where)
            check_length(text_at(item, "call_id", where), f"{where}.call_id")
            text_at(item, "arguments", where)
        case "function_call_output":
            text_at(item, "call_id", where)
            _check_output(item, where)
        case "reasoning":
            _check_thought(item, where, stored=stored)
        case _:
            raise _not_found(str(item.get("id")), stored=stored)


def _check_id(item: Item, where: str) -> None:
    tag, prefix = item.get("id"), _PREFIXES.get(item["type"])
    if tag is None or prefix is None:
        return
    if not isinstance(tag, str):
        raise invalid_type(f"{where}.id", "a string", tag)
    if not tag.startswith(prefix):
        raise Invalid(
            f"Invalid '{where}.id': '{tag}'. Expected an ID that begins with '{prefix}'.",
            f"{where}.id",
            code="invalid_value",
        )


def _check_message(item: Item, where: str) -> None:
    role = text_at(item, "role", where)
    if role not in ROLES:
        raise invalid_value(f"{where}.role", role, ROLES)
    content = item.get("content")
    if content is None:
        raise missing(f"{where}.content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise invalid_type(f"{where}.content", "one of an array of objects or string", content)
    allowed = _SPOKEN if role == "assistant" else _HEARD
    for index, part in enumerate(content):
        _check_part(part, f"{where}.content[{index}]", allowed)


def _check_part(part: Any, where: str, allowed: tuple[str, ...]) -> None:
    if not isinstance(part, dict):
        raise invalid_type(where, "an object", part)
    kind = text_at(part, "type", where)
    if kind not in allowed:
        raise invalid_value(f"{where}.type", kind, allowed)
    check_known(part, _PART_FIELDS[kind], where)
    match kind:
        case "input_image":
            _check_image(part, where)
        case "input_file":
            _check_file(part, where)
        case "refusal":
            text_at(part, "refusal", where)
        case _:
            text_at(part, "text", where)


def _check_image(part: Item, where: str) -> None:
    check_choice(part, "detail", ("low", "high", "auto", "original"), where)
    url, param = part.get("image_url"), f"{where}.image_url"
    if url is None:
        if part.get("file_id") is None:
            raise missing(param)
        return
    if not isinstance(url, str):
        raise invalid_type(param, "an image URL", url)
    if not url.startswith(("https://", "http://")):
        data_type(url, param, IMAGE_TYPES)


def _check_file(part: Item, where: str) -> None:
    data, url = part.get("file_data"), part.get("file_url")
    if data is not None:
        if not isinstance(data, str):
            raise invalid_type(f"{where}.file_data", "a string", data)
        text_at(part, "filename", where)
        data_type(data, f"{where}.file_data", FILE_TYPES)
    elif url is not None:
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise Invalid(
                f"Invalid '{where}.file_url'. Expected a valid URL.",
                f"{where}.file_url",
                code="invalid_value",
            )
    elif part.get("file_id") is None:
        raise missing(f"{where}.file_id")


def _check_output(item: Item, where: str) -> None:
    output = item.get("output")
    if output is None:
        raise missing(f"{where}.output")
    if isinstance(output, str):
        return
    if not isinstance(output, list):
        raise invalid_type(f"{where}.output", "one of a string or array of objects", output)
    for index, part in enumerate(output):
        _check_part(part, f"{where}.output[{index}]", _HEARD)


def _check_thought(item: Item, where: str, *, stored: bool) -> None:
    summary = item.get("summary")
    if not isinstance(summary, list):
        raise (
            missing(f"{where}.summary")
            if summary is None
            else invalid_type(f"{where}.summary", "an array of objects", summary)
        )
    for index, part in enumerate(summary):
        text_at(part, "text", f"{where}.summary[{index}]")
    sealed, tag = item.get("encrypted_content"), item.get("id")
    if sealed is None:
        raise _not_found(str(tag), stored=stored)
    opened = unseal(sealed)
    # What is sealed begins with the id it belongs to.
    if opened is None or (tag is not None and opened.partition("\n")[0] != tag):
        short = f"{str(sealed)[:4]}...{str(sealed)[-4:]}"
        raise Invalid(
            f"The encrypted content {short} could not be verified.",
            "",
            code="invalid_encrypted_content",
        )


def _not_found(tag: str, *, stored: bool) -> NotFound:
    words = f"Item with id '{tag}' not found."
    if not stored:
        words += (
            " Items are not persisted when `store` is set to false. Try again with `store` set to "
            "true, or remove this item from your input."
        )
    return NotFound(words, "input")


def _check_calls(items: list[Item]) -> None:
    called: set[str] = set()
    answered: set[str] = set()
    for item in items:
        if item["type"] == "function_call":
            called.add(item["call_id"])
        elif item["type"] == "function_call_output":
            if item["call_id"] not in called:
                raise Invalid(
                    f"No tool call found for function call output with call_id {item['call_id']}.",
                    "input",
                )
            answered.add(item["call_id"])
    unanswered = sorted(called - answered)
    if unanswered:
        raise Invalid(f"No tool output found for function call {unanswered[0]}.", "input")


def _check_reasoning(items: list[Item]) -> None:
    """Check that every thought stands before what came of it."""
    for index, item in enumerate(items):
        if item["type"] != "reasoning":
            continue
        following = items[index + 1] if index + 1 < len(items) else {}
        if following.get("type") in ("reasoning", "function_call"):
            continue
        if following.get("role") != "assistant":
            raise Invalid(
                f"Item '{item.get('id')}' of type 'reasoning' was provided without its required "
                "following item.",
                "input",
            )


def text_of(content: Any) -> str:
    """Return the text of a content or an output, without pictures and files."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if "text" in part)


def said_in(items: list[Item]) -> str:
    """Return the text of the last user message."""
    users = (item for item in reversed(items) if item.get("role") == "user")
    return next((text_of(item["content"]) for item in users), "")


def results_in(items: list[Item]) -> tuple[str, ...]:
    """Return the texts of the function outputs since the last user message."""
    found: list[str] = []
    for item in reversed(items):
        if item.get("role") == "user":
            break
        if item["type"] == "function_call_output":
            found.insert(0, text_of(item["output"]))
    return tuple(found)


def media_in(items: list[Item]) -> tuple[str, ...]:
    """Return the types of all media, those in function outputs included."""
    return tuple(_media(items))


def _media(items: list[Item]) -> Iterator[str]:
    for item in items:
        parts = item.get("content" if item["type"] == "message" else "output")
        for part in parts if isinstance(parts, list) else ():
            if part["type"] in ("input_image", "input_file"):
                yield _medium(part)


def _medium(part: Item) -> str:
    kind = part["type"].removeprefix("input_")
    data = part.get("image_url") or part.get("file_data") or ""
    if data.startswith("data:"):
        return data_type(data, "", (*IMAGE_TYPES, *FILE_TYPES))
    return f"{kind}/url" if data or part.get("file_url") else f"{kind}/file"


def input_tokens(items: list[Item]) -> int:
    """Estimate the tokens of the input."""
    tokens = TOKENS_PER_ITEM * len(items) + TOKENS_PER_MEDIUM * len(media_in(items))
    for item in items:
        if item["type"] == "reasoning":
            tokens += estimate_tokens(unseal(item["encrypted_content"]) or "")
        elif item["type"] == "function_call":
            tokens += estimate_tokens(orjson.dumps(item).decode())
        else:
            tokens += estimate_tokens(text_of(item.get("content", item.get("output"))))
    return tokens
