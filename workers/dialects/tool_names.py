"""Names and ids of tools, for providers that take fewer characters than the contract does.

A name is escaped so that it can be read back without knowing the request: `a.b` is `a_x2e_b`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from routing.wire.messages import Message
from workers.dialects.common import cannot

#: Hex characters of an id that had to be replaced.
_ID_CHARS = 24
# A name that looks escaped, or would after its neighbour was, has its underscore escaped.
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]|_(?=x[0-9a-f]{1,6}[^A-Za-z0-9-])")
_ESCAPED = re.compile(r"_x([0-9a-f]{1,6})_")
_SURROGATES = range(0xD800, 0xE000)
_CODE_MAX = 0x10FFFF


def safe_name(name: str, limit: int, place: str) -> str:
    """A name of letters, digits, `_` and `-`; `own_name` is the inverse.

    Raises:
        UpstreamRejected: it would be longer than the limit.
    """
    safe = _UNSAFE.sub(lambda found: f"_x{ord(found[0]):x}_", name)
    if len(safe) > limit:
        raise cannot(
            place, f"is too long for this provider; use up to {limit} letters, digits, '_' and '-'"
        )
    return safe


def own_name(name: str) -> str:
    """The caller's own name out of what a provider sent."""
    return _ESCAPED.sub(_character, name)


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return found[0] if code > _CODE_MAX or code in _SURROGATES else chr(code)


def safe_id(call_id: str, allowed: re.Pattern[str]) -> str:
    """An id a provider takes: as it is, or one made from it that is the same every time."""
    if allowed.fullmatch(call_id):
        return call_id
    return "call_" + hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:_ID_CHARS]


def called_names(messages: Iterable[Message]) -> list[str]:
    """Names of the tools that were called before, each once.

    Some providers refuse a history of calls without a list of tools.
    """
    found: dict[str, None] = {}
    for message in messages:
        for call in message.tool_calls or ():
            found[call.function.name] = None
    return list(found)
