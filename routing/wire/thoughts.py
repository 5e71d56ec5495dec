"""What all that handle `reasoning_details` must agree on: their text, and which pieces are one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Format of thoughts that nobody signed.
UNKNOWN = "unknown"
#: Types that can be read, and the field with their text.
READABLE: Mapping[str, str] = {"reasoning.text": "text", "reasoning.summary": "summary"}


def text_field(item: Mapping[str, Any]) -> str | None:
    """Name of the field with an item's text; None for an item nobody can read."""
    kind = item.get("type")
    return READABLE.get(kind) if isinstance(kind, str) else None


def readable(item: Mapping[str, Any]) -> str:
    """An item's text, or ""."""
    field = text_field(item)
    text = None if field is None else item.get(field)
    return text if isinstance(text, str) else ""


def continues(last: Mapping[str, Any], fragment: Mapping[str, Any]) -> bool:
    """Whether a fragment belongs to the item before it; a signature ends an item.

    What cannot be read always comes whole.
    """
    if text_field(fragment) is None or fragment.get("type") != last.get("type"):
        return False
    if fragment.get("index") != last.get("index") or last.get("signature"):
        return False
    known, given = last.get("id"), fragment.get("id")
    return known is None or given is None or given == known
