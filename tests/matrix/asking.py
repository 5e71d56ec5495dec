"""One question in the form of each inbound API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.matrix import media

Fields = dict[str, Any]

#: Enough for thoughts and an answer; the smallest cap in the catalog is 4,000.
MAX_TOKENS = 4_000
#: Above Anthropic's floor, below the limit.
BUDGET = 2_000
#: What fills a prompt until it is worth caching: every provider's floor is 4,096 tokens or less.
LONG = "The timetable of the northern line, one departure after the other. " * 400

WEATHER: Fields = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}
TIME: Fields = {
    "name": "get_time",
    "description": "The time in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
SCHEMA: Fields = {
    "type": "object",
    "properties": {
        "station": {"type": "string"},
        "platform": {"type": "integer"},
        "late": {"type": "boolean"},
    },
    "required": ["station", "platform", "late"],
    "additionalProperties": False,
}
#: A turn as yet another provider made it: its id of the call, its thoughts with its signature.
FOREIGN_ID = "call_0123456789abcdef01234567"
FOREIGN_THOUGHT = "Better ask the weather."
FOREIGN_RESULT = "done: elsewhere"
_ARGUMENTS = '{"city":"Bern","days":1}'
_DETAIL: Fields = {
    "type": "reasoning.text",
    "text": FOREIGN_THOUGHT,
    "signature": "c2lnbmVk",
    "format": "xai-responses-v1",
    "index": 0,
}
FOREIGN: Mapping[str, tuple[Fields, ...]] = {
    "chat": (
        {
            "role": "assistant",
            "content": "",
            "reasoning": FOREIGN_THOUGHT,
            "reasoning_details": [_DETAIL],
            "tool_calls": [
                {
                    "id": FOREIGN_ID,
                    "type": "function",
                    "function": {"name": WEATHER["name"], "arguments": _ARGUMENTS},
                }
            ],
        },
        {"role": "tool", "tool_call_id": FOREIGN_ID, "content": FOREIGN_RESULT},
    ),
    "responses": (
        {
            "type": "reasoning",
            "id": "rs_elsewhere",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": FOREIGN_THOUGHT}],
            "signature": "c2lnbmVk",
            "format": "xai-responses-v1",
        },
        {
            "type": "function_call",
            "call_id": FOREIGN_ID,
            "name": WEATHER["name"],
            "arguments": _ARGUMENTS,
        },
        {"type": "function_call_output", "call_id": FOREIGN_ID, "output": FOREIGN_RESULT},
    ),
    "messages": (
        {
            "role": "assistant",
            "content": [
                # What a client keeps of a provider that does not sign.
                {"type": "thinking", "thinking": FOREIGN_THOUGHT, "signature": ""},
                {
                    "type": "tool_use",
                    "id": FOREIGN_ID,
                    "name": WEATHER["name"],
                    "input": {"city": "Bern", "days": 1},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": FOREIGN_ID, "content": FOREIGN_RESULT}
            ],
        },
    ),
    "completions": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, before any API's form.

    Attributes:
        provider: the slug it must go to.
        media: kinds of file beside the words: `image`, `audio`, `file`, `video`.
        outputs: what the answer must hold beside text: `image`, `audio`.
        turns: what the model and then the tools said, in the API's own form.
        cached: the prompt is long and marked for a cache.
    """

    model: str
    provider: str
    said: str
    stream: bool = False
    tools: tuple[Fields, ...] = ()
    media: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    turns: tuple[Fields, ...] = ()
    reasoning: bool = False
    schema: bool = False
    cached: bool = False


def body(api: str, question: Question) -> Fields:
    """The request's JSON."""
    provider: Fields = {"only": [question.provider], "allow_fallbacks": False}
    if question.cached:
        # A provider's regions cache apart: without a draw it is the same one both times.
        provider["sort"] = "price"
    shared: Fields = {"model": question.model, "provider": provider}
    if question.stream:
        shared["stream"] = True
    return shared | _BODIES[api](question)


def _chat(question: Question) -> Fields:
    user: Fields = {"role": "user", "content": _content(question, _CHAT_PARTS, "text")}
    found: Fields = {"max_tokens": MAX_TOKENS, "messages": [user, *question.turns]}
    return found | _chat_options(question)


def _chat_options(question: Question) -> Fields:
    found: Fields = {}
    if question.tools:
        found["tools"] = [{"type": "function", "function": tool} for tool in question.tools]
    if question.reasoning:
        found["reasoning"] = {"effort": "high"}
    if question.schema:
        schema = {"name": "departure", "strict": True, "schema": SCHEMA}
        found["response_format"] = {"type": "json_schema", "json_schema": schema}
    if question.outputs:
        found["modalities"] = [*question.outputs, "text"]
    if "audio" in question.outputs:
        form = "pcm16" if question.stream else "wav"
        found["audio"] = {"voice": "alloy", "format": form}
    return found


def _completions(question: Question) -> Fields:
    # Only words fit into a prompt; anything else is sent where a client would try to put it.
    said: Any = _long(question) + question.said if question.cached else question.said
    if question.media:
        said = _content(question, _CHAT_PARTS, "text")
    found: Fields = {"max_tokens": MAX_TOKENS, "prompt": said}
    if question.cached:
        found["cache_control"] = {"type": "ephemeral"}
    return found | _chat_options(question)


def _responses(question: Question) -> Fields:
    parts = _content(question, _RESPONSES_PARTS, "input_text")
    found: Fields = {
        "max_output_tokens": MAX_TOKENS,
        "input": [{"type": "message", "role": "user", "content": parts}, *question.turns],
    }
    if question.tools:
        found["tools"] = [{"type": "function", **tool} for tool in question.tools]
    if question.reasoning:
        found["reasoning"] = {"effort": "high"}
    if question.schema:
        form = {"type": "json_schema", "name": "departure", "strict": True, "schema": SCHEMA}
        found["text"] = {"format": form}
    if question.outputs:
        found["modalities"] = [*question.outputs, "text"]
    return found


def _messages(question: Question) -> Fields:
    user: Fields = {"role": "user", "content": _content(question, _MESSAGES_PARTS, "text")}
    found: Fields = {"max_tokens": MAX_TOKENS, "messages": [user, *question.turns]}
    if question.tools:
        found["tools"] = [
            {
                "name": tool["name"],
                "description": tool["description"],
                "input_schema": tool["parameters"],
            }
            for tool in question.tools
        ]
    if question.reasoning:
        found["thinking"] = {"type": "enabled", "budget_tokens": BUDGET}
    if question.schema:
        found["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    if question.outputs:
        found["modalities"] = [*question.outputs, "text"]
    return found


_BODIES: Mapping[str, Callable[[Question], Fields]] = {
    "chat": _chat,
    "completions": _completions,
    "responses": _responses,
    "messages": _messages,
}


def _long(question: Question) -> str:
    """What is cached: long, and of this question alone."""
    return f"{question.said}. {LONG}"


def _content(question: Question, parts: Mapping[str, Fields], text: str) -> str | list[Fields]:
    if not question.media and not question.cached:
        return question.said
    found: list[Fields] = []
    if question.cached:
        found.append(
            {"type": text, "text": _long(question), "cache_control": {"type": "ephemeral"}}
        )
    found += (parts[kind] for kind in question.media)
    return [*found, {"type": text, "text": question.said}]


_CHAT_PARTS: Mapping[str, Fields] = {
    "image": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{media.PNG}"}},
    "audio": {"type": "input_audio", "input_audio": {"data": media.WAV, "format": "wav"}},
    "file": {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{media.PDF}"},
    },
    "video": {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{media.MP4}"}},
}
_RESPONSES_PARTS: Mapping[str, Fields] = {
    "image": {"type": "input_image", "image_url": f"data:image/png;base64,{media.PNG}"},
    "audio": _CHAT_PARTS["audio"],
    "file": {
        "type": "input_file",
        "filename": "a.pdf",
        "file_data": f"data:application/pdf;base64,{media.PDF}",
    },
    "video": {"type": "input_video", "video_url": f"data:video/mp4;base64,{media.MP4}"},
}
_MESSAGES_PARTS: Mapping[str, Fields] = {
    "image": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": media.PNG},
    },
    "file": {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": media.PDF},
    },
    # This API has no such blocks; they are sent as chat has them, to see how they are refused.
    "audio": _CHAT_PARTS["audio"],
    "video": _CHAT_PARTS["video"],
}


def vectors(question: Question) -> Fields:
    """An embeddings request for two texts."""
    return {
        "model": question.model,
        "provider": {"only": [question.provider], "allow_fallbacks": False},
        "input": [question.said, "another text"],
    }
