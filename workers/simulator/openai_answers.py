"""Renders an answer as one body in the OpenAI dialect, and what a stream shares with it."""

import base64
from typing import Any, Final

import orjson

from workers.simulator.dialect import Answer, Ask, Choice, ToolCall, Usage
from workers.simulator.openai_thinking import DETAIL_FORMAT
from workers.simulator.providers import Errors, Manner, Reasoning
from workers.simulator.signatures import sign

# Where the pages that a searching provider cites are.
PAGES: Final = ("https://example.com/points", "https://example.org/signals")
# How long spoken output can be referred to.
AUDIO_SECONDS: Final = 3600
# What a token costs, in dollars, whatever the model.
PROMPT_PRICE: Final = 1e-6
COMPLETION_PRICE: Final = 4e-6

_NATIVE_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def plain_body(ask: Ask, answer: Answer, manner: Manner) -> bytes:
    """Render one body."""
    form = form_of(ask, manner)
    body: dict[str, Any] = {
        "id": answer_id(ask, answer, manner),
        "object": "text_completion" if ask.kind == "text" else "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            _text_choice(choice, index)
            if ask.kind == "text"
            else _chat_choice(choice, index, manner, form, answer)
            for index, choice in enumerate(answer.choices)
        ],
        "system_fingerprint": fingerprint(answer),
    }
    if answer.usage is not None:
        body["usage"] = usage_body(answer.usage, manner)
    if manner.service_tier:
        body["service_tier"] = "default"
    if manner.x_groq:
        body["x_groq"] = {"id": groq_id(answer)}
    body.update(extras(manner))
    return orjson.dumps(body)


def form_of(ask: Ask, manner: Manner) -> Reasoning:
    """Return where the thoughts of this answer go."""
    form: Reasoning = ask.extras.get("thoughts", manner.reasoning)
    return form


def extras(manner: Manner) -> dict[str, Any]:
    """Return what some providers add to every body and every chunk."""
    if manner.priced:
        return {"provider": "Simulator"}
    if manner.searches:
        pages = [{"title": page, "url": page, "date": "2026-01-31"} for page in PAGES]
        return {"citations": PAGES, "search_results": pages}
    return {}


def _chat_choice(
    choice: Choice, index: int, manner: Manner, form: Reasoning, answer: Answer
) -> dict[str, Any]:
    content: Any = None if choice.calls or choice.refusal else "".join(choice.pieces)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content,
        "refusal": choice.refusal or None,
    }
    if choice.reasoning:
        _add_thoughts(message, "".join(choice.reasoning), form)
    if choice.calls:
        message["tool_calls"] = [tool_call(call, manner) for call in choice.calls]
    if choice.images:
        message["images"] = [image(data, place) for place, data in enumerate(choice.images)]
    if choice.audio:
        message["content"] = None
        message["audio"] = {
            "id": audio_id(answer),
            "data": base64.b64encode(choice.audio).decode(),
            "expires_at": answer.created + AUDIO_SECONDS,
            "transcript": choice.transcript,
        }
    body = {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": choice.finish_reason,
    }
    if manner.priced:
        body["native_finish_reason"] = native_reason(choice)
    return body


def _add_thoughts(message: dict[str, Any], text: str, form: Reasoning) -> None:
    content = message["content"]
    match form:
        case Reasoning.PARTS:
            part = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            message["content"] = [part]
            if content is not None:
                message["content"].append({"type": "text", "text": content})
        case Reasoning.DETAILS:
            message["reasoning"] = text
            message["reasoning_details"] = [{**detail(text), "signature": sign(text)}]
        case Reasoning.TAGS:
            message["content"] = f"<think>{text}</think>\n{content or ''}"
        case Reasoning.REASONING:
            message["reasoning"] = text
        case Reasoning.REASONING_CONTENT:
            message["reasoning_content"] = text
        case Reasoning.HIDDEN:
            pass


def detail(text: str) -> dict[str, Any]:
    """Return a thought as openrouter hands it on, not signed yet."""
    return {"type": "reasoning.text", "text": text, "format": DETAIL_FORMAT, "index": 0}


def native_reason(choice: Choice) -> str | None:
    """Return the reason in the words of the provider behind the provider."""
    reason = choice.finish_reason
    return reason if reason is None else _NATIVE_REASONS.get(reason, reason)


def _text_choice(choice: Choice, index: int) -> dict[str, Any]:
    return {
        "text": choice.refusal or "".join(choice.pieces),
        "index": index,
        "logprobs": None,
        "finish_reason": choice.finish_reason,
    }


def image(data: bytes, index: int) -> dict[str, Any]:
    """Return a picture as a part of an answer."""
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}, "index": index}


def tool_call(call: ToolCall, manner: Manner) -> dict[str, Any]:
    """Return a whole call."""
    return {
        "id": call.tag[:9] if manner.bare_tool_call_ids else f"call_{call.tag}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def answer_id(ask: Ask, answer: Answer, manner: Manner) -> str:
    """Return the id every chunk of an answer repeats."""
    if manner.errors is Errors.MISTRAL:
        return answer.tag[:32]
    if manner.priced:
        return f"gen-{answer.created}-{answer.tag[:20]}"
    return f"{'cmpl' if ask.kind == 'text' else 'chatcmpl'}-{answer.tag[:29]}"


def groq_id(answer: Answer) -> str:
    """Return the id of a request at Groq."""
    return f"req_{answer.tag[:26]}"


def audio_id(answer: Answer) -> str:
    """Return the id of spoken output."""
    return f"audio_{answer.tag[:32]}"


def fingerprint(answer: Answer) -> str:
    """Return what tells one set-up of a provider from another."""
    return f"fp_{answer.tag[-10:]}"


def usage_body(usage: Usage, manner: Manner) -> dict[str, Any]:
    """Return the counts; those of media and of explicit caching only where there are any."""
    prompt_details = {"cached_tokens": usage.cached}
    completion_details = {"reasoning_tokens": usage.reasoning}
    if usage.audio:
        prompt_details["audio_tokens"] = usage.audio
    if usage.cache_write:
        prompt_details["cache_write_tokens"] = usage.cache_write
    if usage.audio_out:
        completion_details["audio_tokens"] = usage.audio_out
    if usage.image_out:
        completion_details["image_tokens"] = usage.image_out
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }
    thoughts, said = usage.reasoning, usage.completion
    if manner.thoughts_apart and isinstance(thoughts, int) and isinstance(said, int):
        body["completion_tokens"] = max(said - thoughts, 0)
    if manner.cache_hit_tokens and isinstance(usage.prompt, int) and isinstance(usage.cached, int):
        body["prompt_cache_hit_tokens"] = usage.cached
        body["prompt_cache_miss_tokens"] = usage.prompt - usage.cached
    if manner.priced:
        body.update(_cost(usage))
    if manner.searches:
        body.update({"search_context_size": "low", "num_search_queries": 1, **_search_cost(usage)})
    return body


def _dollars(usage: Usage) -> tuple[float, float]:
    if isinstance(usage.prompt, str) or isinstance(usage.completion, str):
        return 0.0, 0.0
    return (
        round(usage.prompt * PROMPT_PRICE, 10),
        round(usage.completion * COMPLETION_PRICE, 10),
    )


def _cost(usage: Usage) -> dict[str, Any]:
    prompt, completion = _dollars(usage)
    cost = round(prompt + completion, 10)
    return {
        "cost": cost,
        "is_byok": False,
        "cost_details": {
            "upstream_inference_cost": cost,
            "upstream_inference_prompt_cost": prompt,
            "upstream_inference_completions_cost": completion,
        },
    }


def _search_cost(usage: Usage) -> dict[str, Any]:
    prompt, completion = _dollars(usage)
    request = 0.005
    return {
        "cost": {
            "input_tokens_cost": prompt,
            "output_tokens_cost": completion,
            "request_cost": request,
            "total_cost": round(prompt + completion + request, 10),
        }
    }
