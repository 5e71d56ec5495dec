"""What answers are put together from, whatever provider they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routing.wire.events import Delta, Finish, FinishReason
from workers.dialects.common import dict_or_empty, dumped
from workers.dialects.reasoning import joined
from workers.dialects.tool_names import own_name

#: Blocks of one answer; beyond this a provider is broken or hostile.
BLOCKS_MAX = 10_000


@dataclass(slots=True)
class Block:
    """What must be known of a block of a stream until it ends.

    Attributes:
        kind: `tool`, `thought` or the provider's own word.
        number: its place among its like.
        filled: whether a tool call has arguments.
    """

    kind: str
    number: int
    filled: bool = False


def finish_of(native: object, known: Mapping[str, FinishReason]) -> Finish:
    """An unknown reason still is an end: `stop`, with the provider's word beside it."""
    if not isinstance(native, str) or not native:
        return Finish(0, None, None)
    return Finish(0, known.get(native, "stop"), native)


def call_start(number: int, call_id: str, name: str) -> Delta:
    """The first piece of a tool call."""
    function = {"name": own_name(name), "arguments": ""}
    call = {"index": number, "id": call_id, "type": "function", "function": function}
    return Delta(extra={"tool_calls": [call]})


def call_fragment(number: int, arguments: str) -> Delta:
    """A later piece of it."""
    return Delta(extra={"tool_calls": [{"index": number, "function": {"arguments": arguments}}]})


def whole_call(call_id: str, name: str, arguments: object) -> dict[str, Any]:
    """A tool call of a plain answer."""
    function = {"name": own_name(name), "arguments": dumped(dict_or_empty(arguments))}
    return {"id": call_id, "type": "function", "function": function}


def whole_message(
    *,
    text: str,
    calls: list[dict[str, Any]],
    details: list[dict[str, Any]],
    notes: list[dict[str, Any]],
    refusal: str = "",
) -> dict[str, Any]:
    """A message of a plain answer in the contract's form; what is empty is left out."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls and not text else text,
        "refusal": refusal or None,
        "reasoning": joined(details),
    }
    extras = {"tool_calls": calls, "reasoning_details": details, "annotations": notes}
    return message | {name: found for name, found in extras.items() if found}
