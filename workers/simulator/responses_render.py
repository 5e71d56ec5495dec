"""Renders answers in the form of OpenAI's Responses API, whole or as events."""

from typing import Any, Final

import orjson

from workers.simulator.dialect import Answer, Ask, Choice, Event, ToolCall, Usage
from workers.simulator.signatures import seal

# Arguments come in fragments about this long.
FRAGMENT_CHARACTERS: Final = 8

_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}

Item = dict[str, Any]


def response(ask: Ask, answer: Answer) -> dict[str, Any]:
    """Return a finished response."""
    (choice,) = answer.choices
    return {
        **_opening(ask, answer),
        **_ending(choice, answer),
        "output": output(ask, answer, choice),
        "usage": _usage(answer.usage),
    }


def failed(ask: Ask, answer: Answer, code: str, message: str) -> dict[str, Any]:
    """Return a response that broke off."""
    error = {"code": code, "message": message}
    return {**_opening(ask, answer), "status": "failed", "error": error}


def output(ask: Ask, answer: Answer, choice: Choice) -> list[Item]:
    """Return the items of an answer: thoughts first, then words or calls."""
    items: list[Item] = []
    if choice.reasoning:
        items.append(_thought(ask, answer, choice))
    if parts := _parts(choice):
        status = "completed" if choice.finish_reason == "stop" else "incomplete"
        items.append(
            {
                "id": f"msg_{answer.tag[:48]}",
                "type": "message",
                "status": status,
                "content": parts,
                "role": "assistant",
            }
        )
    items.extend(_call(call) for call in choice.calls)
    return items


def events(ask: Ask, answer: Answer) -> list[Event]:
    """Return a response as a stream."""
    (choice,) = answer.choices
    stream = Stream()
    begun = _opening(ask, answer)
    stream.add("response.created", "start", response=begun)
    stream.add("response.in_progress", "start", response=begun)
    for index, item in enumerate(output(ask, answer, choice)):
        match item["type"]:
            case "reasoning":
                stream.thought(index, item, choice)
            case "message":
                stream.message(index, item, choice)
            case _:
                stream.call(index, item)
    if answer.says_finish:
        whole = response(ask, answer)
        stream.add(f"response.{whole['status']}", "end", response=whole)
    return stream.events


class Stream:
    """Collects events and numbers them."""

    def __init__(self, number: int = 0) -> None:
        self.events: list[Event] = []
        self._number = number

    def add(self, name: str, kind: Any, **fields: Any) -> None:
        """Add an event."""
        data = {"type": name, "sequence_number": self._number, **fields}
        self._number += 1
        self.events.append(Event(orjson.dumps(data), kind, name))

    def thought(self, index: int, item: Item, choice: Choice) -> None:
        """Add a reasoning item, with its summary if one was asked for."""
        started = {**item, "summary": []}
        self.add("response.output_item.added", "start", output_index=index, item=started)
        if item["summary"]:
            where = {"item_id": item["id"], "output_index": index, "summary_index": 0}
            empty = {"type": "summary_text", "text": ""}
            self.add("response.reasoning_summary_part.added", "start", **where, part=empty)
            for piece in choice.reasoning:
                self.add("response.reasoning_summary_text.delta", "piece", **where, delta=piece)
            part = item["summary"][0]
            text = part["text"]
            self.add("response.reasoning_summary_text.done", "start", **where, text=text)
            self.add("response.reasoning_summary_part.done", "start", **where, part=part)
        self.add("response.output_item.done", "start", output_index=index, item=item)

    def message(self, index: int, item: Item, choice: Choice) -> None:
        """Add a message with one part: words, or a refusal."""
        started = {**item, "status": "in_progress", "content": []}
        self.add("response.output_item.added", "start", output_index=index, item=started)
        (part,) = item["content"]
        where = {"item_id": item["id"], "output_index": index, "content_index": 0}
        if part["type"] == "refusal":
            self._refusal(where, part)
        else:
            self._text(where, part, choice.pieces)
        self.add("response.content_part.done", "start", **where, part=part)
        self.add("response.output_item.done", "start", output_index=index, item=item)

    def _text(self, where: Item, part: Item, pieces: tuple[str, ...]) -> None:
        self.add("response.content_part.added", "start", **where, part={**part, "text": ""})
        for piece in pieces:
            self.add("response.output_text.delta", "piece", **where, delta=piece, logprobs=[])
        self.add("response.output_text.done", "start", **where, text=part["text"], logprobs=[])

    def _refusal(self, where: Item, part: Item) -> None:
        words = part["refusal"]
        self.add("response.content_part.added", "start", **where, part={**part, "refusal": ""})
        for start in range(0, len(words), FRAGMENT_CHARACTERS):
            delta = words[start : start + FRAGMENT_CHARACTERS]
            self.add("response.refusal.delta", "piece", **where, delta=delta)
        self.add("response.refusal.done", "start", **where, refusal=words)

    def call(self, index: int, item: Item) -> None:
        """Add a function call."""
        text = item["arguments"]
        started = {**item, "status": "in_progress", "arguments": ""}
        self.add("response.output_item.added", "start", output_index=index, item=started)
        where = {"item_id": item["id"], "output_index": index}
        for start in range(0, len(text), FRAGMENT_CHARACTERS):
            delta = text[start : start + FRAGMENT_CHARACTERS]
            self.add("response.function_call_arguments.delta", "piece", **where, delta=delta)
        self.add("response.function_call_arguments.done", "start", **where, arguments=text)
        self.add("response.output_item.done", "start", output_index=index, item=item)


def _opening(ask: Ask, answer: Answer) -> dict[str, Any]:
    return {
        "id": f"resp_{answer.tag[:48]}",
        "object": "response",
        "created_at": answer.created,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": answer.model,
        "output": [],
        **ask.extras["echo"],
        "usage": None,
    }


def _ending(choice: Choice, answer: Answer) -> dict[str, Any]:
    reason = _REASONS.get(choice.finish_reason or "")
    if reason is not None:
        return {"status": "incomplete", "incomplete_details": {"reason": reason}}
    if choice.finish_reason is None:
        return {"status": "incomplete"}
    return {"status": "completed", "completed_at": answer.created}


def _thought(ask: Ask, answer: Answer, choice: Choice) -> Item:
    tag, text = f"rs_{answer.tag[:48]}", "".join(choice.reasoning)
    summary = [{"type": "summary_text", "text": text}] if ask.extras["summary"] else []
    item: Item = {"id": tag, "type": "reasoning", "summary": summary}
    if ask.extras["encrypted"]:
        item["encrypted_content"] = seal(f"{tag}\n{text}")
    return item


def _parts(choice: Choice) -> list[Item]:
    if choice.refusal:
        return [{"type": "refusal", "refusal": choice.refusal}]
    text = "".join(choice.pieces)
    return (
        [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}] if text else []
    )


def _call(call: ToolCall) -> Item:
    return {
        "id": f"fc_{call.tag}",
        "type": "function_call",
        "status": "completed",
        "arguments": call.arguments,
        "call_id": f"call_{call.tag}",
        "name": call.name,
    }


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
