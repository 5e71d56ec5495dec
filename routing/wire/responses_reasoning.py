"""Thinking in `/responses`: its reasoning items and the contract's `reasoning_details` (4.3, 6).

A client keeps no details, only items. Whatever an item cannot say in its own fields travels in
`encrypted_content`, which clients replay as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from routing.errors import BadRequest
from routing.wire.messages import REPLAYED_MAX
from routing.wire.thoughts import READABLE, UNKNOWN, continues
from routing.wire.validate import load_object

OPENAI = "openai-responses-v1"
#: Begins an `encrypted_content` that holds details of any format; any other is a provider's own.
PACKED = "details-v1."
#: Begins the ids we give where the provider gave none.
TEMPORARY = "rs_tmp_"
#: Longest id of an item, coming and going.
ID_MAX = 512


def merged(details: list[dict[str, Any]], fragment: Mapping[str, Any]) -> bool:
    """Add a stream's fragment to the details so far.

    Returns:
        True when it goes on with the last one; False when it began another.
    """
    last = details[-1] if details else None
    if last is None or not _same(last, fragment):
        details.append(dict(fragment))
        return False
    name = READABLE[last["type"]]
    text, before = fragment.get(name), last.get(name)
    if isinstance(text, str):
        last[name] = before + text if isinstance(before, str) else text
    last.update({k: value for k, value in fragment.items() if k != name and value is not None})
    return True


def _same(last: Mapping[str, Any], fragment: Mapping[str, Any]) -> bool:
    """Whether two details are pieces of one: they say their place, and differ in no format."""
    form = last.get("format")
    return (
        last.get("index") is not None
        and continues(last, fragment)
        and (form is None or fragment.get("format") in (None, form))
    )


def group(detail: Mapping[str, Any]) -> str | None:
    """The id of the provider's own reasoning item a detail belongs to; None where it has none."""
    found, form = detail.get("id"), detail.get("format")
    if not isinstance(found, str) or not 0 < len(found) <= ID_MAX:
        return None
    return found if isinstance(form, str) and form.endswith("responses-v1") else None


def sealed(item: Mapping[str, Any], before: int, details: Sequence[Mapping[str, Any]]) -> str:
    """The `encrypted_content` of a reasoning item, from which `details_of` restores the details.

    OpenAI's own is left as it is wherever that is enough, so that the item is good elsewhere too.

    Args:
        item: the item, without `encrypted_content`.
        before: how many details of the same answer come before it.
        details: whole ones.
    """
    data = [each.get("data") for each in details if each.get("type") == "reasoning.encrypted"]
    if len(data) == 1 and isinstance(data[0], str) and not data[0].startswith(PACKED):
        bare = {**item, "encrypted_content": data[0]}
        if _spelled_out(bare, before) == list(details):
            return data[0]
    return PACKED + base64.b64encode(orjson.dumps({"details": list(details)})).decode()


def details_of(item: Mapping[str, Any], before: int, where: str) -> list[dict[str, Any]]:
    """The details a replayed reasoning item stands for.

    Args:
        item: a checked reasoning item.
        before: how many details of the same turn come before it.
        where: its path, for the error.

    Raises:
        BadRequest: `encrypted_content` is one of ours and was changed on its way.
    """
    sealed_text = item.get("encrypted_content")
    if not isinstance(sealed_text, str) or not sealed_text.startswith(PACKED):
        return _spelled_out(item, before)
    try:
        opened = load_object(base64.b64decode(sealed_text[len(PACKED) :], validate=True))
    except (ValueError, BadRequest):
        opened = {}
    details = opened.get("details")
    if not isinstance(details, list) or not all(_is_detail(each) for each in details):
        path = f"{where}.encrypted_content"
        raise BadRequest(
            f"{path}: is damaged; send it back as it came, or leave the item out", param=path
        )
    return details[: REPLAYED_MAX + 1]


def _is_detail(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _spelled_out(item: Mapping[str, Any], before: int) -> list[dict[str, Any]]:
    """The details of an item that says all in its own fields."""
    data, signature = item.get("encrypted_content"), item.get("signature")
    details: list[dict[str, Any]] = [
        {"type": "reasoning.summary", "summary": part["text"]} for part in item.get("summary") or ()
    ]
    details += (
        {"type": "reasoning.text", "text": part["text"]} for part in item.get("content") or ()
    )
    if signature:
        if not details or details[-1]["type"] != "reasoning.text":
            details.append({"type": "reasoning.text"})
        details[-1]["signature"] = signature
    if data:
        details.append({"type": "reasoning.encrypted", "data": data})
    common: dict[str, Any] = {"format": item.get("format") or (OPENAI if data else UNKNOWN)}
    own_id = item.get("id")
    if isinstance(own_id, str) and not own_id.startswith(TEMPORARY):
        common["id"] = own_id
    return [
        {**detail, **common, "index": index} for index, detail in enumerate(details, start=before)
    ]
