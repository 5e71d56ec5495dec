"""Renders answers in the form of Anthropic's Messages API, whole or as events."""

from typing import Any, Final

import orjson

from workers.simulator.dialect import Answer, Ask, Choice, Event, ToolCall, Usage
from workers.simulator.signatures import sign

# Arguments come in fragments about this long.
FRAGMENT_CHARACTERS: Final = 8

_STOP_REASONS: Final[dict[str | None, str | None]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    None: None,
}


def message(ask: Ask, answer: Answer, prefix: str) -> dict[str, Any]:
    """Return a whole message; the prefix is what its id begins with."""
    (choice,) = answer.choices
    return {
        **_opening(ask, answer, prefix),
        "content": _blocks(ask, choice),
        **_ending(choice),
        **_with_usage(_usage(ask, answer.usage)),
    }


def events(ask: Ask, answer: Answer, prefix: str) -> list[Event]:
    """Return a message as a stream."""
    (choice,) = answer.choices
    stream = _Stream()
    start = {
        **_opening(ask, answer, prefix),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        **_with_usage(_usage_so_far(ask, answer.usage)),
    }
    stream.add("message_start", "start", message=start)
    if choice.reasoning:
        stream.thought(choice.reasoning, hidden=ask.extras.get("hidden", False))
    if choice.pieces:
        stream.text(choice.pieces)
    for call in choice.calls:
        stream.call(call)
    if answer.says_finish:
        usage = _usage(ask, answer.usage)
        if usage is not None:
            # The last counts come without the parts that cannot change any more.
            usage = {
                name: count
                for name, count in usage.items()
                if name not in ("cache_creation", "service_tier")
            }
        stream.add("message_delta", "finish", delta=_ending(choice), **_with_usage(usage))
    stream.add("message_stop", "end")
    return stream.events


class _Stream:
    """Collects events and numbers the blocks."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._blocks = 0

    def add(self, name: str, kind: Any, **fields: Any) -> None:
        self.events.append(Event(orjson.dumps({"type": name, **fields}), kind, name))

    def thought(self, pieces: tuple[str, ...], *, hidden: bool) -> None:
        shown = () if hidden else pieces
        self._open({"type": "thinking", "thinking": "", "signature": ""})
        for piece in shown:
            self._delta({"type": "thinking_delta", "thinking": piece})
        self._delta({"type": "signature_delta", "signature": sign("".join(shown))})
        self._close()

    def text(self, pieces: tuple[str, ...]) -> None:
        self._open({"type": "text", "text": ""})
        for piece in pieces:
            self._delta({"type": "text_delta", "text": piece})
        self._close()

    def call(self, call: ToolCall) -> None:
        self._open({"type": "tool_use", "id": _tool_id(call), "name": call.name, "input": {}})
        text = "" if call.arguments == "{}" else call.arguments
        self._delta({"type": "input_json_delta", "partial_json": ""})
        for start in range(0, len(text), FRAGMENT_CHARACTERS):
            fragment = text[start : start + FRAGMENT_CHARACTERS]
            self._delta({"type": "input_json_delta", "partial_json": fragment})
        self._close()

    def _open(self, block: dict[str, Any]) -> None:
        self.add("content_block_start", "start", index=self._blocks, content_block=block)
        if not self._blocks:
            self.add("ping", "start")

    def _delta(self, delta: dict[str, Any]) -> None:
        self.add("content_block_delta", "piece", index=self._blocks, delta=delta)

    def _close(self) -> None:
        self.add("content_block_stop", "start", index=self._blocks)
        self._blocks += 1


def _opening(ask: Ask, answer: Answer, prefix: str) -> dict[str, Any]:
    return {
        "id": f"{prefix}{answer.tag[:24]}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
    }


def _blocks(ask: Ask, choice: Choice) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if choice.reasoning:
        thought = "" if ask.extras.get("hidden") else "".join(choice.reasoning)
        blocks.append({"type": "thinking", "thinking": thought, "signature": sign(thought)})
    if text := "".join(choice.pieces):
        blocks.append({"type": "text", "text": text})
    blocks.extend(
        {
            "type": "tool_use",
            "id": _tool_id(call),
            "name": call.name,
            "input": orjson.loads(call.arguments),
        }
        for call in choice.calls
    )
    return blocks


def _tool_id(call: ToolCall) -> str:
    return f"toolu_01{call.tag[:22]}"


def _ending(choice: Choice) -> dict[str, Any]:
    if choice.refusal:
        details = {"type": "refusal", "category": None, "explanation": choice.refusal}
        return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
    if choice.stopped_by and choice.finish_reason == "stop":
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stopped_by}
    return {"stop_reason": _STOP_REASONS[choice.finish_reason], "stop_sequence": None}


def _with_usage(usage: dict[str, Any] | None) -> dict[str, Any]:
    return {} if usage is None else {"usage": usage}


def _usage_so_far(ask: Ask, usage: Usage | None) -> dict[str, Any] | None:
    """Return the usage a stream begins with: one token is out, as in real streams."""
    whole = _usage(ask, usage)
    if whole is None:
        return None
    whole.pop("output_tokens_details", None)
    return {**whole, "output_tokens": 1}


def _usage(ask: Ask, usage: Usage | None) -> dict[str, Any] | None:
    """Return the counts; the input is what neither came from the cache nor went into it."""
    if usage is None:
        return None
    prompt, read, written = usage.prompt, usage.cached, usage.cache_write
    # Absurd counts are given out as they are.
    if isinstance(prompt, int) and isinstance(read, int) and isinstance(written, int):
        prompt -= read + written
    else:
        written = 0
    lasting = _lasting(ask, read, written)
    body: dict[str, Any] = {
        "input_tokens": prompt,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written - lasting,
            "ephemeral_1h_input_tokens": lasting,
        },
        "output_tokens": usage.completion,
        "service_tier": "standard",
    }
    if usage.reasoning:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return body


def _lasting(ask: Ask, read: Any, written: int) -> int:
    """Return how many of the tokens written are kept for an hour."""
    longest = max((mark.tokens for mark in ask.cache_marks if mark.lasting), default=0)
    return min(written, max(0, longest - read)) if isinstance(read, int) else 0
