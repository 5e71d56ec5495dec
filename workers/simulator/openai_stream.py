"""Renders an answer as a stream in the OpenAI dialect."""

import base64
from collections.abc import Iterator
from typing import Any, Final

import orjson

from workers.simulator.dialect import Answer, Ask, Choice, Event, ToolCall
from workers.simulator.openai_answers import (
    AUDIO_SECONDS,
    answer_id,
    audio_id,
    detail,
    extras,
    fingerprint,
    form_of,
    groq_id,
    image,
    native_reason,
    tool_call,
    usage_body,
)
from workers.simulator.providers import Manner, Reasoning
from workers.simulator.signatures import sign

# Arguments come in fragments about this long.
FRAGMENT_CHARACTERS: Final = 8
# A multiple of three and of a sample's two bytes, so that every piece can be decoded alone.
AUDIO_PIECE_BYTES: Final = 1200


class Stream:
    """Renders one answer as events; holds what every chunk repeats."""

    def __init__(self, manner: Manner, ask: Ask, answer: Answer) -> None:
        self._manner = manner
        self._ask = ask
        self._answer = answer
        self._form = form_of(ask, manner)
        self._usage = None if answer.usage is None else usage_body(answer.usage, manner)
        self._wants_usage = (ask.include_usage or manner.usage_always) and self._usage is not None
        self._frame: dict[str, Any] = {
            "id": answer_id(ask, answer, manner),
            "object": "text_completion" if ask.kind == "text" else "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model,
            "system_fingerprint": fingerprint(answer),
            **extras(manner),
        }
        if manner.service_tier:
            self._frame["service_tier"] = "default"
        if manner.usage_null or (ask.include_usage and self._usage is not None):
            self._frame["usage"] = None

    def events(self) -> list[Event]:
        """Return all events, the end mark included."""
        render = self._text_choice if self._ask.kind == "text" else self._chat_choice
        events: list[Event] = []
        for index, choice in enumerate(self._answer.choices):
            render(events, choice, index)
        # Usage of its own comes once, after all choices; on the finish chunk it is already out.
        if self._wants_usage and not self._manner.usage_on_finish:
            data = orjson.dumps({**self._frame, "choices": [], "usage": self._usage})
            events.append(Event(data=data, kind="usage"))
        events.append(Event(data=b"[DONE]", kind="end"))
        return events

    def _chat_choice(self, events: list[Event], choice: Choice, index: int) -> None:
        start = {"role": "assistant", "content": None if choice.calls else ""}
        events.append(Event(data=self._chunk(index, start, first=True), kind="start"))
        if choice.reasoning:
            events.extend(Event(data=self._chunk(index, delta)) for delta in self._thoughts(choice))
        if choice.audio:
            self._add_sound(events, choice, index)
        else:
            events.extend(self._words(choice, index))
        if choice.refusal:
            events.append(Event(data=self._chunk(index, {"refusal": choice.refusal})))
        for position, data in enumerate(choice.images):
            delta = {"content": "", "images": [image(data, position)]}
            events.append(Event(data=self._chunk(index, delta)))
        for position, call in enumerate(choice.calls):
            events.extend(
                Event(data=self._chunk(index, {"tool_calls": [fragment]}))
                for fragment in _fragments(call, position, self._manner)
            )
        if self._answer.says_finish:
            events.append(Event(data=self._finish(index, choice), kind="finish"))

    def _words(self, choice: Choice, index: int) -> Iterator[Event]:
        if self._manner.text_beside_delta:
            for piece in choice.pieces:
                yield Event(data=self._chunk(index, {"content": piece}))
            return
        # Most chunks of most streams: all but the words is rendered once.
        before, _, after = self._chunk(index, {"content": ""}).rpartition(b'"content":""')
        for piece in choice.pieces:
            yield Event(data=b'%b"content":%b%b' % (before, orjson.dumps(piece), after))

    def _thoughts(self, choice: Choice) -> Iterator[dict[str, Any]]:
        match self._form:
            case Reasoning.HIDDEN:
                return
            case Reasoning.REASONING:
                yield from ({"reasoning": thought} for thought in choice.reasoning)
            case Reasoning.REASONING_CONTENT:
                yield from ({"reasoning_content": thought} for thought in choice.reasoning)
            case Reasoning.PARTS:
                for thought in choice.reasoning:
                    text = {"type": "text", "text": thought}
                    yield {"content": [{"type": "thinking", "thinking": [text]}]}
            case Reasoning.TAGS:
                yield {"content": "<think>"}
                yield from ({"content": thought} for thought in choice.reasoning)
                yield {"content": "</think>\n"}
            case Reasoning.DETAILS:
                for thought in choice.reasoning:
                    yield {
                        "content": "",
                        "reasoning": thought,
                        "reasoning_details": [detail(thought)],
                    }
                # The signature comes last, over all that was thought.
                last = {**detail(""), "signature": sign("".join(choice.reasoning))}
                yield {"content": "", "reasoning": None, "reasoning_details": [last]}

    def _add_sound(self, events: list[Event], choice: Choice, index: int) -> None:
        tag = audio_id(self._answer)
        sound = choice.audio
        starts = range(0, len(sound), AUDIO_PIECE_BYTES)
        parts: list[dict[str, Any]] = [
            *({"id": tag, "transcript": piece} for piece in choice.pieces),
            *(
                {"id": tag, "data": base64.b64encode(sound[at : at + AUDIO_PIECE_BYTES]).decode()}
                for at in starts
            ),
            {"id": tag, "expires_at": self._answer.created + AUDIO_SECONDS},
        ]
        events.extend(Event(data=self._chunk(index, {"audio": part})) for part in parts)

    def _text_choice(self, events: list[Event], choice: Choice, index: int) -> None:
        for piece in choice.pieces or ((choice.refusal,) if choice.refusal else ()):
            body = {"text": piece, "index": index, "logprobs": None, "finish_reason": None}
            events.append(Event(data=orjson.dumps({**self._frame, "choices": [body]})))
        if self._answer.says_finish:
            body = {
                "text": "",
                "index": index,
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            data = orjson.dumps({**self._frame, "choices": [body], **self._last(index)})
            events.append(Event(data=data, kind="finish"))

    def _chunk(self, index: int, delta: dict[str, Any], *, first: bool = False) -> bytes:
        body = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        if self._manner.text_beside_delta:
            body["text"] = delta.get("content") or ""
        chunk = {**self._frame, "choices": [body]}
        if first and self._manner.x_groq:
            chunk["x_groq"] = {"id": groq_id(self._answer)}
        return orjson.dumps(chunk)

    def _finish(self, index: int, choice: Choice) -> bytes:
        manner = self._manner
        body = {
            "index": index,
            "delta": {},
            "logprobs": None,
            "finish_reason": choice.finish_reason,
        }
        if manner.usage_on_finish or manner.text_beside_delta or manner.priced:
            body["delta"] = {"role": "assistant", "content": ""}
        if manner.text_beside_delta:
            body["text"] = ""
        if manner.priced:
            body["native_finish_reason"] = native_reason(choice)
        if manner.usage_in_choice and self._usage is not None:
            body["usage"] = self._usage
        return orjson.dumps({**self._frame, "choices": [body], **self._last(index)})

    def _last(self, index: int) -> dict[str, Any]:
        """Return what only the very last finish chunk carries."""
        if index + 1 < len(self._answer.choices) or self._usage is None:
            return {}
        if self._manner.x_groq:
            return {"x_groq": {"id": groq_id(self._answer), "usage": self._usage}}
        return {"usage": self._usage} if self._manner.usage_on_finish else {}


def _fragments(call: ToolCall, position: int, manner: Manner) -> list[dict[str, Any]]:
    """Return a call as a stream has it: id and name first, then the arguments bit by bit."""
    whole = {"index": position, **tool_call(call, manner)}
    if manner.whole_tool_calls:
        return [whole]
    text = call.arguments
    starts = range(0, len(text), FRAGMENT_CHARACTERS)
    return [
        {**whole, "function": {"name": call.name, "arguments": ""}},
        *(
            {
                "index": position,
                "function": {"arguments": text[start : start + FRAGMENT_CHARACTERS]},
            }
            for start in starts
        ),
    ]
