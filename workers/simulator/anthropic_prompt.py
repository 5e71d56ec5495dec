"""Counts the tokens of an Anthropic prompt, and finds what of it is to be cached."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

from workers.simulator.anthropic_messages import blocks_of
from workers.simulator.anthropic_shapes import Invalid
from workers.simulator.dialect import CacheMark
from workers.simulator.text import estimate_tokens

TOKENS_PER_MESSAGE: Final = 4
# Pictures and documents have one price, however their bytes are written down.
TOKENS_PER_MEDIUM: Final = 85
MARKS_MAX: Final = 4
# A shorter stretch is not cached, and nobody complains.
CACHE_TOKENS_MIN: Final = 1024


class Prompt(NamedTuple):
    """How long a prompt is, and its cache marks, the shortest stretch first."""

    tokens: int
    marks: tuple[CacheMark, ...]


class _Part(NamedTuple):
    where: str
    block: dict[str, Any]
    tokens: int
    extra: int = 0


def measure(body: dict[str, Any]) -> Prompt:
    """Go through a prompt in the provider's order: tools, system, messages.

    Raises:
        Invalid: There are too many cache marks, or they are out of order.
    """
    parts = list(_parts(body))
    tokens = sum(part.tokens + part.extra for part in parts)
    marked = [part for part in parts if part.block.get("cache_control")]
    automatic = body.get("cache_control")
    if len(marked) > MARKS_MAX:
        raise Invalid(
            f"A maximum of {MARKS_MAX} blocks with cache_control may be provided. "
            f"Found {len(marked)}."
        )
    if not marked and not automatic:
        return Prompt(tokens, ())
    _check_lifetimes(marked)
    return Prompt(tokens, tuple(_marks(parts, automatic)))


def _parts(body: dict[str, Any]) -> Iterator[_Part]:
    for index, tool in enumerate(body.get("tools") or ()):
        yield _Part(f"tools.{index}", tool, estimate_tokens(orjson.dumps(tool).decode()))
    system = body.get("system") or ()
    if isinstance(system, str):
        system = ({"type": "text", "text": system},)
    for index, block in enumerate(system):
        yield _Part(f"system.{index}", block, _tokens(block))
    for index, message in enumerate(body["messages"]):
        for position, block in enumerate(blocks_of(message)):
            extra = 0 if position else TOKENS_PER_MESSAGE
            yield _Part(f"messages.{index}.content.{position}", block, _tokens(block), extra)


def _tokens(block: dict[str, Any]) -> int:
    kind, content = block["type"], block.get("content", "")
    if kind in ("image", "document"):
        return TOKENS_PER_MEDIUM
    if kind == "tool_result" and isinstance(content, list):
        return sum(_tokens(part) for part in content)
    match kind:
        case "text" | "thinking":
            text = block[kind]
        case "tool_result":
            text = content
        case "tool_use":
            text = block["name"] + orjson.dumps(block["input"]).decode()
        case _:
            text = orjson.dumps(block).decode()
    return estimate_tokens(text)


def _check_lifetimes(marked: list[_Part]) -> None:
    short = False
    for part in marked:
        control = part.block["cache_control"]
        if part.block.get("text") == "":
            raise Invalid(f"{part.where}.text: cache_control cannot be set for empty text blocks")
        if control.get("ttl") == "1h" and short:
            raise Invalid(
                f"{part.where}.cache_control.ttl: a ttl='1h' cache_control block must not come "
                "after a ttl='5m' cache_control block. Note that blocks are processed in the "
                "following order: `tools`, `system`, `messages`."
            )
        short = short or control.get("ttl") != "1h"


def _marks(parts: list[_Part], automatic: dict[str, Any] | None) -> Iterator[CacheMark]:
    """Yield a mark for every stretch long enough; the automatic one covers everything."""
    so_far = sha256()
    tokens = 0
    for index, part in enumerate(parts):
        control = part.block.get("cache_control")
        bare = {name: value for name, value in part.block.items() if name != "cache_control"}
        so_far.update(orjson.dumps(bare, option=orjson.OPT_SORT_KEYS))
        tokens += part.tokens + part.extra
        if automatic and index == len(parts) - 1:
            control = control or automatic
        if control and tokens >= CACHE_TOKENS_MIN:
            yield CacheMark(so_far.hexdigest(), tokens, control.get("ttl") == "1h")
