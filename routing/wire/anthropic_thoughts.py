"""Reasoning details as Anthropic's thinking blocks and back, without losing anything (4.3, 7).

What came from Claude keeps its own signature. An item of any other format is sealed: it travels,
whole, in the block's opaque field behind `SEAL`, so that a client which replays its thinking blocks
gives every provider its own items back unmodified.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from routing.errors import BadRequest
from routing.wire.thoughts import UNKNOWN, readable, text_field
from routing.wire.validate import load_object

#: Begins what we sealed. Anthropic's own signatures are plain base64, which has no dots.
SEAL = "pointsman.1."
CLAUDE = "anthropic-claude-v1"
#: `responses_echo` of a caller who wants signatures without the thoughts themselves.
HIDDEN: Mapping[str, Any] = {"thinking_display": "omitted"}
_CLAUDE_TEXT = frozenset({"type", "text", "signature", "format", "index"})
_CLAUDE_DATA = frozenset({"type", "data", "format", "index"})


class UnsealError(ValueError):
    """A sealed item that cannot be read: cut, changed, or not ours."""


def block(item: Mapping[str, Any], *, hidden: bool) -> dict[str, Any]:
    """The content block of a whole item.

    Args:
        item: a reasoning detail, as a provider gave it.
        hidden: leave the text empty and seal it; it comes back all the same.
    """
    if text_field(item) is None:
        return {"type": "redacted_thinking", "data": redacted_data(item)}
    return {
        "type": "thinking",
        "thinking": "" if hidden else readable(item),
        "signature": signature(item, hidden=hidden),
    }


def signature(item: Mapping[str, Any], *, hidden: bool) -> str:
    """What a `thinking` block must bear so that `thinking_item` gives the item back."""
    if hidden:
        return _seal(item)
    if _of_claude(item, "signature", _CLAUDE_TEXT) and isinstance(item.get("text"), str | None):
        return str(item["signature"])
    field = text_field(item)
    shown = readable(item) != ""
    return _seal({name: value for name, value in item.items() if not (shown and name == field)})


def redacted_data(item: Mapping[str, Any]) -> str:
    """The `data` of a `redacted_thinking` block, for `redacted_item`."""
    if item.get("type") == "reasoning.encrypted" and _of_claude(item, "data", _CLAUDE_DATA):
        return str(item["data"])
    return _seal(item)


def thinking_item(thinking: str, signed: str, index: int) -> dict[str, Any]:
    """The reasoning detail of a replayed `thinking` block.

    Args:
        thinking: its text.
        signed: its signature; "" makes an item without one, which Claude will not be shown.
        index: place among the thoughts of its message; a sealed item has its own.

    Raises:
        UnsealError: the signature was not left as it was.
    """
    if signed.startswith(SEAL):
        item = _unseal(signed)
        field = text_field(item)
        if thinking and field is not None and field not in item:
            item[field] = thinking
        return item
    item = {"type": "reasoning.text", "text": thinking}
    if not signed:
        return item | {"format": UNKNOWN, "index": index}
    return item | {"signature": signed, "format": CLAUDE, "index": index}


def redacted_item(data: str, index: int) -> dict[str, Any]:
    """The reasoning detail of a replayed `redacted_thinking` block.

    Raises:
        UnsealError: the data was not left as it was.
    """
    if data.startswith(SEAL):
        return _unseal(data)
    return {"type": "reasoning.encrypted", "data": data, "format": CLAUDE, "index": index}


def _of_claude(item: Mapping[str, Any], opaque: str, fields: frozenset[str]) -> bool:
    """Whether an item holds no more than Claude's own block can."""
    token = item.get(opaque)
    return (
        item.get("format") == CLAUDE
        and isinstance(token, str)
        and token != ""
        and not token.startswith(SEAL)
        and all(value is None for name, value in item.items() if name not in fields)
    )


def _seal(item: Mapping[str, Any]) -> str:
    return SEAL + base64.urlsafe_b64encode(orjson.dumps(dict(item))).decode().rstrip("=")


def _unseal(token: str) -> dict[str, Any]:
    raw = token[len(SEAL) :]
    try:
        padded = raw + "=" * (-len(raw) % 4)
        return load_object(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, BadRequest):
        # `from None`: the cause may hold the thought itself.
        raise UnsealError("cannot be read") from None
