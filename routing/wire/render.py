"""Our events as the client's bytes: chat and legacy completions, plain and streamed.

Everything a provider sent has been parsed before it comes here and is serialised anew, so no
malformed byte of theirs reaches a client's parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson

from routing.catalog.pricing import Cost, usd
from routing.errors import Failure
from routing.usage import Usage
from routing.wire.anthropic_render import messages_renderer
from routing.wire.chat import ChatRequest
from routing.wire.embeddings import EmbeddingsRequest
from routing.wire.embeddings_render import EmbeddingsRenderer
from routing.wire.events import Answer, Delta, Finish
from routing.wire.job import Api
from routing.wire.request import InferenceRequest
from routing.wire.responses_render import ResponsesRenderer
from routing.wire.router_metadata import Noted

DONE = b"data: [DONE]\n\n"
COMMENT = b": OPENROUTER PROCESSING\n\n"
_TEXT = b',"choices":[{"index":0,"delta":{"role":"assistant","content":'


def usage_json(usage: Usage, cost: Cost, *, charged: bool = True) -> dict[str, Any]:
    """The contract's `usage` object; an uncharged answer costs 0 whatever the provider took."""
    upstream = usd(cost.total_nano)
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": usd(cost.charged_nano) if charged else 0,
        "is_byok": cost.terms.byok,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": usage.audio_tokens,
            "video_tokens": usage.video_tokens,
        },
        "cost_details": {
            "upstream_inference_cost": upstream,
            "upstream_inference_prompt_cost": usd(cost.prompt_nano + cost.request_nano),
            "upstream_inference_completions_cost": usd(cost.completion_nano),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "image_tokens": usage.image_output_tokens,
            "audio_tokens": usage.audio_output_tokens,
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """A stream that died after its first token and goes on elsewhere.

    Attributes:
        action: `continued` goes on where it stopped; `restarted` begins anew, and what came before
            is to be thrown away.
    """

    action: Literal["continued", "restarted"]
    from_provider: str
    to_provider: str
    to_model: str
    failure: Failure


class Renderer(Protocol):
    """One answer's form on the wire. Stream methods return whole server-sent events."""

    def delta(self, delta: Delta) -> bytes:
        """A piece of content."""
        ...

    def finish(self, finish: Finish) -> bytes:
        """The chunk that closes a choice."""
        ...

    def end(self, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """The usage chunk and the end mark."""
        ...

    def broken(self, failure: Failure) -> bytes:
        """The in-band error that ends a stream after its first byte."""
        ...

    def body(self, answer: Answer, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """A plain answer."""
        ...

    def note(self, metadata: Mapping[str, Any]) -> None:
        """Show this as `openrouter_metadata` in what `end`, `broken` or `body` makes next."""
        ...

    def moved(self, model: str, provider: str) -> None:
        """From here on the answer comes from another endpoint (a rescued stream)."""
        ...

    def rescued(self, rescue: Rescue) -> bytes:
        """The mark of a rescue in the stream; b"" in a form that has no place for one."""
        ...


class _Head:
    """The fields every chunk repeats, serialised once: a chunk is then three concatenations."""

    def __init__(
        self, object_name: str, generation_id: str, created: int, model: str, provider: str
    ) -> None:
        self.fields: dict[str, Any] = {
            "id": generation_id,
            "object": object_name,
            "created": created,
            "model": model,
            "provider": provider,
        }
        self.prefix = b""
        self.moved(model, provider)

    def moved(self, model: str, provider: str) -> None:
        """From here on chunks name these."""
        self.fields |= {"model": model, "provider": provider}
        self.prefix = b"data: " + orjson.dumps(self.fields)[:-1]

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        """One event with these choices and top-level fields."""
        tail = orjson.dumps({"choices": choices, **more})
        return self.prefix + b"," + tail[1:] + b"\n\n"


class ChatRenderer(Noted):
    """`/chat/completions`: every delta carries `role` and `content`, as recorded on the wire."""

    def __init__(self, generation_id: str, created: int, model: str, provider: str) -> None:
        super().__init__()
        self._head = _Head("chat.completion.chunk", generation_id, created, model, provider)
        self._text = self._head.prefix + _TEXT

    def delta(self, delta: Delta) -> bytes:
        """A piece of content."""
        plain = delta.reasoning is None and delta.extra is None and delta.logprobs is None
        if plain and delta.index == 0:
            return (
                self._text
                + orjson.dumps(delta.content)
                + b'},"finish_reason":null,"native_finish_reason":null,"logprobs":null}]}\n\n'
            )
        fields: dict[str, Any] = {"role": "assistant", "content": delta.content}
        if delta.reasoning is not None:
            fields["reasoning"] = delta.reasoning
        if delta.extra:
            fields.update(delta.extra)
        return self._head.chunk([_chunk_choice(delta.index, fields, logprobs=delta.logprobs)])

    def finish(self, finish: Finish) -> bytes:
        """The chunk that closes a choice."""
        choice = _chunk_choice(finish.index, {"role": "assistant", "content": ""})
        choice["finish_reason"] = finish.reason
        choice["native_finish_reason"] = finish.native
        return self._head.chunk([choice])

    def end(self, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """One empty delta with usage, then the end mark."""
        choice = _chunk_choice(0, {"role": "assistant", "content": ""})
        used = usage_json(usage, cost, charged=charged)
        return self._head.chunk([choice], usage=used, **self._noted) + DONE

    def broken(self, failure: Failure) -> bytes:
        """Top-level `error` beside a choice that ended with `error`; nothing is charged."""
        choice = _chunk_choice(0, {"role": "assistant", "content": ""})
        choice["finish_reason"] = "error"
        error = failure.body()["error"]
        return self._head.chunk([choice], error=error, **self._noted_beside(failure)) + DONE

    def body(self, answer: Answer, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """`chat.completion`."""
        return orjson.dumps(
            {
                **self._head.fields,
                "object": "chat.completion",
                "system_fingerprint": answer.system_fingerprint,
                "choices": [
                    {
                        "index": choice.index,
                        "finish_reason": choice.finish.reason,
                        "native_finish_reason": choice.finish.native,
                        "logprobs": choice.logprobs,
                        "message": choice.message,
                    }
                    for choice in answer.choices
                ],
                "usage": usage_json(usage, cost, charged=charged),
                **self._noted,
            }
        )

    def moved(self, model: str, provider: str) -> None:
        """Later chunks name these."""
        self._head.moved(model, provider)
        self._text = self._head.prefix + _TEXT

    def rescued(self, rescue: Rescue) -> bytes:
        """An empty delta with `rescue` beside it, which clients that do not know it pass over."""
        choice = _chunk_choice(0, {"role": "assistant", "content": ""})
        return self._head.chunk([choice], rescue=_rescue(rescue))


class CompletionsRenderer(Noted):
    """Legacy `/completions`: `text` instead of messages."""

    def __init__(self, generation_id: str, created: int, model: str, provider: str) -> None:
        super().__init__()
        self._head = _Head("text_completion", generation_id, created, model, provider)

    def delta(self, delta: Delta) -> bytes:
        """A piece of text."""
        choice = _text_choice(delta.index, delta.content)
        if delta.reasoning is not None:
            choice["reasoning"] = delta.reasoning
        return self._head.chunk([choice])

    def finish(self, finish: Finish) -> bytes:
        """The chunk that closes a choice."""
        choice = _text_choice(finish.index, "")
        choice["finish_reason"] = finish.reason
        choice["native_finish_reason"] = finish.native
        return self._head.chunk([choice])

    def end(self, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """One empty choice with usage, then the end mark."""
        used = usage_json(usage, cost, charged=charged)
        return self._head.chunk([_text_choice(0, "")], usage=used, **self._noted) + DONE

    def broken(self, failure: Failure) -> bytes:
        """Top-level `error` beside a choice that ended with `error`; nothing is charged."""
        choice = _text_choice(0, "")
        choice["finish_reason"] = "error"
        error = failure.body()["error"]
        return self._head.chunk([choice], error=error, **self._noted_beside(failure)) + DONE

    def body(self, answer: Answer, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """`text_completion`."""
        choices = []
        for choice in answer.choices:
            text = _text_choice(choice.index, choice.message.get("content") or "")
            text["finish_reason"] = choice.finish.reason
            text["native_finish_reason"] = choice.finish.native
            text["logprobs"] = choice.logprobs
            text["reasoning"] = choice.message.get("reasoning")
            choices.append(text)
        return orjson.dumps(
            {
                **self._head.fields,
                "system_fingerprint": answer.system_fingerprint,
                "choices": choices,
                "usage": usage_json(usage, cost, charged=charged),
                **self._noted,
            }
        )

    def moved(self, model: str, provider: str) -> None:
        """Later chunks name these."""
        self._head.moved(model, provider)

    def rescued(self, rescue: Rescue) -> bytes:
        """As in chat."""
        return self._head.chunk([_text_choice(0, "")], rescue=_rescue(rescue))


def renderer(
    api: Api,
    generation_id: str,
    created: int,
    model: str,
    provider: str,
    request: InferenceRequest | None = None,
) -> Renderer:
    """The renderer of one answer in an inbound API's form. Keep it for the whole answer.

    `request` is what is answered, for APIs that repeat parts of it; None when only an error is
    told by somebody who does not have it.
    """
    match api:
        case "completions":
            return CompletionsRenderer(generation_id, created, model, provider)
        case "messages":
            return messages_renderer(generation_id, model, provider, request)
        case "responses":
            echo = request.responses_echo if isinstance(request, ChatRequest) else None
            return ResponsesRenderer(generation_id, created, model, provider, echo)
        case "embeddings":
            encoding = request.encoding_format if isinstance(request, EmbeddingsRequest) else None
            return EmbeddingsRenderer(generation_id, created, model, provider, encoding)
        case _:
            return ChatRenderer(generation_id, created, model, provider)


def _chunk_choice(
    index: int, delta: Mapping[str, Any], *, logprobs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "index": index,
        "delta": delta,
        "finish_reason": None,
        "native_finish_reason": None,
        "logprobs": logprobs,
    }


def _rescue(rescue: Rescue) -> dict[str, Any]:
    return {
        "action": rescue.action,
        "from_provider": rescue.from_provider,
        "provider": rescue.to_provider,
        "model": rescue.to_model,
        "error": {"code": rescue.failure.status, "message": rescue.failure.message},
    }


def _text_choice(index: int, text: str) -> dict[str, Any]:
    return {
        "index": index,
        "text": text,
        "finish_reason": None,
        "native_finish_reason": None,
        "logprobs": None,
    }
