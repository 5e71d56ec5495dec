"""What a generation was asked and what it answered, as it is kept for an account that wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from routing.errors import Failure
from routing.sealing import Place
from routing.wire.embeddings import EmbeddingsRequest, embedded_text
from routing.wire.job import AttemptRecord
from routing.wire.request import InferenceRequest

#: Largest content kept. Texts of larger ones are cut, then earlier messages left out.
CONTENT_MAX_BYTES = 1024 * 1024
#: Longest text in a content that would be larger.
CUT_CHARS = 16_384
#: Longest picture, sound or document: beyond it only its beginning is kept.
INLINE_MAX_CHARS = 1_024
#: Of such a one: enough to tell what it was.
_HEAD_CHARS = 64
#: Room for what is said of messages that were left out.
_SPARE_BYTES = 1_024
#: Fields with encoded data in them.
_ENCODED = frozenset({"url", "data", "file_data", "b64_json", "signature", "encrypted_content"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the client was told.

    Attributes:
        completion: None for an answer without text.
        tool_calls: as the contract has them.
    """

    completion: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()


#: Of a generation that did not come to an answer.
NOTHING = Said()


def place_of(generation_id: str, account_id: str) -> Place:
    """Where a content is sealed for: it opens for no other generation and no other account."""
    return Place("generation_contents", generation_id, account_id)


def content_json(
    request: InferenceRequest,
    said: Said,
    failure: Failure | None,
    attempts: Sequence[AttemptRecord],
) -> str:
    """`data` of GET /generation/content, of at most `CONTENT_MAX_BYTES`.

    Pictures, sounds and documents are named, not kept.
    """
    asked = _asked(request)
    content = {
        "input": asked,
        "output": _output(said),
        "error": None if failure is None else _error(failure, attempts),
    }
    raw = orjson.dumps(content)
    if len(raw) > CONTENT_MAX_BYTES:
        content = _shortened(content, _cut)
        messages = content["input"].pop("messages", ())
        if _room(content) < 0:
            content["output"].pop("tool_calls", None)
        content["input"] |= _newest(messages, _room(content))
        raw = orjson.dumps(content)
    return raw.decode()


def joined_calls(pieces: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Whole tool calls of the pieces they came in."""
    calls: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        function = piece.get("function")
        if not isinstance(function, Mapping):
            function = {}
        call = calls.setdefault(
            int(piece.get("index") or 0),
            {"id": None, "type": "function", "function": {"name": "", "arguments": ""}},
        )
        call["id"] = call["id"] or piece.get("id")
        for name in ("name", "arguments"):
            call["function"][name] += str(function.get(name) or "")
    return tuple(calls[index] for index in sorted(calls))


def with_before(said: Said, text: str) -> Said:
    """The whole of an answer that was continued from a text."""
    return replace(said, completion=text + (said.completion or "")) if text else said


def _asked(request: InferenceRequest) -> dict[str, Any]:
    if isinstance(request, EmbeddingsRequest):
        return {"prompt": embedded_text(request)}
    if request.messages is None:
        return {"prompt": request.prompt or ""}
    plain = (one.model_dump(exclude_unset=True, by_alias=True) for one in request.messages)
    return {"messages": [_shortened(message, _named) for message in plain]}


def _output(said: Said) -> dict[str, Any]:
    told: dict[str, Any] = {"completion": said.completion, "reasoning": said.reasoning}
    return told | ({"tool_calls": list(said.tool_calls)} if said.tool_calls else {})


def _error(failure: Failure, attempts: Sequence[AttemptRecord]) -> dict[str, Any]:
    return {
        "message": failure.message,
        "status": failure.status,
        "provider_name": failure.provider or None,
        "raw": None,
        "previous_errors": [
            {"message": one.message, "status": one.status, "provider_name": one.provider}
            for one in attempts[:-1]
            if one.message
        ],
    }


def _shortened(value: Any, short: Callable[[str, str], str], name: str = "") -> Any:
    """A copy with every text shortened; requests are of a bounded depth."""
    match value:
        case str():
            return short(value, name)
        case Mapping():
            return {key: _shortened(one, short, str(key)) for key, one in value.items()}
        case list() | tuple():
            return [_shortened(one, short, name) for one in value]
        case _:
            return value


def _named(text: str, name: str) -> str:
    if name not in _ENCODED or len(text) <= INLINE_MAX_CHARS or text.startswith("http"):
        return text
    return f"{text[:_HEAD_CHARS]}… ({len(text):,} characters, not kept)"


def _cut(text: str, _name: str) -> str:
    if len(text) <= CUT_CHARS:
        return text
    return f"{text[:CUT_CHARS]}… ({len(text):,} characters, cut)"


def _room(content: Mapping[str, Any]) -> int:
    return CONTENT_MAX_BYTES - len(orjson.dumps(content)) - _SPARE_BYTES


def _newest(messages: Sequence[Any], room: int) -> dict[str, Any]:
    """The last messages that there is room for, and how many there were before them."""
    if not messages:
        return {}
    kept: list[Any] = []
    for message in reversed(messages):
        room -= len(orjson.dumps(message)) + 1
        if room < 0:
            break
        kept.append(message)
    return {"messages": kept[::-1], "messages_left_out": len(messages) - len(kept)}
