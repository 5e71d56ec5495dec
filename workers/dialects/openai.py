"""The OpenAI chat dialect, as most providers and any vLLM or Ollama speak it.

Their differences are quirks in the catalog (`routing/catalog/document.py` lists them). Three more
are read here:

    short_call_ids   tool call ids are nine letters and digits (Mistral)
    prefix           continues a last assistant message only if it bears `prefix: true` (Mistral)
    alternating      wants users and assistants to take turns (Perplexity)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from routing.catalog.shapes import Endpoint
from routing.credentials import ApiKey, Credential
from routing.errors import UpstreamDenied, UpstreamError
from routing.wire.chat import ChatRequest
from routing.wire.embeddings import EmbeddingsRequest
from routing.wire.events import Answer
from routing.wire.messages import Message
from workers.dialects import UpstreamRequest
from workers.dialects.common import hashed_user, supports
from workers.dialects.framing import ServerSentEvents
from workers.dialects.openai_answers import OpenAIStream, whole_answer
from workers.dialects.openai_errors import by_response
from workers.dialects.openai_messages import (
    encode_messages,
    encode_tools,
    fill_thoughts,
    is_openai,
    mark_last,
)
from workers.dialects.reasoning import Thinking, effort_of, nearest, thinking

Fields = dict[str, Any]

#: Ours alone, or translated below: never copied upstream.
ROUTER_FIELDS = {
    "model", "models", "route", "provider", "plugins", "preset", "transforms", "usage", "stream",
    "stream_options", "include_reasoning", "reasoning", "reasoning_effort", "max_tokens",
    "max_completion_tokens", "trace", "debug", "session_id", "metadata", "structured_outputs",
    "cache_control", "prompt_cache_options", "user", "n", "best_of", "responses_echo",
    "anthropic_betas",
}  # fmt: skip
#: Sent only where the endpoint lists them; the contract drops the others silently.
OPTIONAL_PARAMETERS = frozenset(
    {
        "temperature", "top_p", "top_k", "min_p", "top_a", "frequency_penalty", "presence_penalty",
        "repetition_penalty", "seed", "stop", "logit_bias", "logprobs", "top_logprobs",
        "response_format", "tools", "tool_choice", "parallel_tool_calls", "verbosity",
        "web_search_options", "prediction",
    }
)  # fmt: skip
#: What every server of this dialect knows, listed or not.
_COMMON = frozenset({"messages", "prompt", "modalities", "audio", "suffix", "echo"})
#: What OpenAI itself knows beyond that; a strict provider elsewhere may not.
_OPENAI = frozenset({"service_tier", "prompt_cache_key"})
#: What options for a provider may not change: what is asked of which model, and what it may cost.
PROTECTED = frozenset({
    "model", "messages", "prompt", "input", "instructions", "stream", "stream_options", "n",
    "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens", "service_tier", "store",
    "background",
})  # fmt: skip
_REASONING = frozenset({"reasoning", "reasoning_effort"})
#: Models whose thoughts come apart by themselves; Groq refuses `reasoning_format` with them.
_PARSED_ANYWAY = "gpt-oss"
#: Models at Groq that think or do not, and know no degrees: `default` or `none`.
_THINKS_OR_NOT = "qwen3"
#: The highest seed Mistral takes; the lowest is 0.
RANDOM_SEED_MAX = 2**31 - 1
#: The highest temperature of those that stop short of 2.
MILD_TEMPERATURE_MAX = 1.5


@dataclass(slots=True)
class Target:
    """Where a request goes: address, the headers that let us in, and the provider's model name."""

    url: str
    headers: Mapping[str, str]
    model: str


def bearer(endpoint: Endpoint, credential: Credential, path: str) -> Target:
    """The address of an operation, and the key as a bearer token.

    Raises:
        UpstreamDenied: the credential is not a plain key.
    """
    if not isinstance(credential, ApiKey):
        raise UpstreamDenied("This provider takes a plain API key")
    headers = {"authorization": f"Bearer {credential.value}"} if credential.value else {}
    return Target(endpoint.provider.base_url + path, headers, endpoint.upstream_id)


def posted(target: Target, body: Fields, *, stream: bool) -> UpstreamRequest:
    """The request with this body, which gets the model's name."""
    body["model"] = target.model
    return UpstreamRequest(
        url=target.url,
        headers={
            "content-type": "application/json",
            "accept": "text/event-stream" if stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "pointsman",
            **target.headers,
        },
        body=orjson.dumps(body),
    )


class OpenAIDialect(ServerSentEvents):
    """See the module; stateless."""

    #: Field for the hashed user at OpenAI itself; `user` is its name anywhere else.
    user_field = "safety_identifier"

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, credential: Credential, *, stream: bool
    ) -> UpstreamRequest:
        """The body of `/chat/completions`, or of `/completions` for a bare prompt where served."""
        quirks = endpoint.provider.quirks
        if request.messages is None and "text_completions" not in quirks:
            request = _as_chat(request)
        path = "/chat/completions" if request.messages is not None else "/completions"
        target = self.target(endpoint, credential, path)
        body = _fields(request, endpoint)
        if request.messages is not None:
            _messages(request, body, endpoint)
        _limits(request, body, endpoint)
        if not _REASONING.isdisjoint(endpoint.supported_parameters):
            body |= _thinking(request, endpoint)
        if "replays_reasoning" in quirks and body.get("thinking") == {"type": "enabled"}:
            fill_thoughts(body.get("messages", ()))
        if request.user is not None:
            _user(body, request.user, self.user_field, endpoint)
        if stream:
            body["stream"] = True
            if "usage_always" not in quirks:
                body["stream_options"] = {"include_usage": True}
        if request.provider is not None and request.provider.options:
            body |= chosen_options(request, endpoint)
        return posted(target, body, stream=stream)

    def target(self, endpoint: Endpoint, credential: Credential, path: str) -> Target:
        """Where an operation is."""
        return bearer(endpoint, credential, path)

    def answer(self, body: bytes) -> Answer:
        """A plain answer; an error object inside a 200 is the error it says."""
        return whole_answer(body)

    def decoder(self) -> OpenAIStream:
        """For one stream."""
        return OpenAIStream()

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """By status, and by code where providers put several meanings behind one status."""
        return by_response(status, headers, body, now_ms)


def _as_chat(request: ChatRequest) -> ChatRequest:
    """A bare prompt as a user's message, for the many that serve chat only."""
    asked = Message(role="user", content=request.prompt or "")
    return request.model_copy(update={"messages": (asked,), "prompt": None})


def chosen_options(request: ChatRequest | EmbeddingsRequest, endpoint: Endpoint) -> Fields:
    """What the caller set for this very provider, by its slug or its tag."""
    options = (request.provider.options if request.provider is not None else None) or {}
    found: Fields = {}
    for name in dict.fromkeys((endpoint.provider.slug, endpoint.tag)):
        found |= options.get(name, {})
    return {name: value for name, value in found.items() if name not in PROTECTED}


def service_tier(tier: str) -> str:
    """A tier by the name providers know it."""
    return "priority" if tier == "fast" else tier


def takes_parallel(endpoint: Endpoint) -> bool:
    """Whether `parallel_tool_calls` may be sent: OpenAI's o-series has tools and refuses it."""
    if is_openai(endpoint.provider.quirks):
        return "parallel_tool_calls" in endpoint.supported_parameters
    return supports(endpoint, "parallel_tool_calls")


def _fields(request: ChatRequest, endpoint: Endpoint) -> Fields:
    """The fields that are sent as they are, or under another name."""
    quirks = endpoint.provider.quirks
    body: Fields = {}
    for name, value in request.model_dump(
        exclude_unset=True, exclude_none=True, by_alias=True, exclude=ROUTER_FIELDS
    ).items():
        if name == "parallel_tool_calls":
            wanted = takes_parallel(endpoint)
        elif name in OPTIONAL_PARAMETERS:
            wanted = supports(endpoint, name)
        else:
            wanted = (
                name in _COMMON
                or "strict_fields" not in quirks
                or (name in _OPENAI and is_openai(quirks))
            )
        if wanted:
            body[name] = value
    return body


def _messages(request: ChatRequest, body: Fields, endpoint: Endpoint) -> None:
    quirks = endpoint.provider.quirks
    messages = body["messages"] = encode_messages(body["messages"], quirks)
    if "tools" in body:
        body["tools"] = encode_tools(body["tools"], quirks)
    if "prefix" in quirks and messages[-1]["role"] == "assistant":
        messages[-1] |= {"prefix": True}
    if request.cache_control is not None and "cache_control" in quirks:
        mark = request.cache_control.model_dump(exclude_none=True)
        if "reasoning_object" in quirks:
            body["cache_control"] = mark
        else:
            mark_last(messages, mark)


def _limits(request: ChatRequest, body: Fields, endpoint: Endpoint) -> None:
    """The parameters that differ by name or by value."""
    quirks = endpoint.provider.quirks
    limit = request.completion_limit
    if limit is not None:
        name = "max_completion_tokens" if "max_completion_tokens" in quirks else "max_tokens"
        body[name] = min(limit, endpoint.completion_cap)
    _mistrals_own(body, quirks)
    if "no_stop_with_reasoning" in quirks and "reasoning" in endpoint.supported_parameters:
        body.pop("stop", None)
    if "service_tier" in body:
        body["service_tier"] = service_tier(body["service_tier"])
    if body.get("verbosity") in ("xhigh", "max") and "reasoning_object" not in quirks:
        body["verbosity"] = "high"
    if body.get("modalities") == ("text",):
        del body["modalities"]  # what everybody does, and some do not know the field


def _mistrals_own(body: Fields, quirks: frozenset[str]) -> None:
    """Mistral refuses what is out of its own bounds."""
    if "random_seed" in quirks and "seed" in body:
        seed = body.pop("seed")
        body["random_seed"] = seed if 0 <= seed <= RANDOM_SEED_MAX else seed & RANDOM_SEED_MAX
    if "mild_temperature" in quirks and "temperature" in body:
        body["temperature"] = min(body["temperature"], MILD_TEMPERATURE_MAX)


def _user(body: Fields, user: str, field: str, endpoint: Endpoint) -> None:
    quirks = endpoint.provider.quirks
    if is_openai(quirks):
        body[field] = hashed_user(user)
    elif "strict_fields" not in quirks:
        body["user"] = hashed_user(user)


def _thinking(request: ChatRequest, endpoint: Endpoint) -> Fields:
    """How much to think, in the provider's own fields; nothing where the model may decide.

    Raises:
        UpstreamRejected: it should not think, and cannot but think.
    """
    quirks = endpoint.provider.quirks
    found: Fields = {}
    if "reasoning_parsed" in quirks and _PARSED_ANYWAY not in endpoint.upstream_id:
        found["reasoning_format"] = "parsed"
    asked = thinking(request, endpoint)
    if asked.mode == "default":
        return found
    on = asked.mode == "on"
    if "reasoning_object" in quirks:
        return found | {"reasoning": _reasoning_object(request, endpoint, on=on)}
    found |= _switches(asked, quirks, on=on)
    effort = _effort_word(request, endpoint, on=on)
    if effort is None and "reasoning_switch" in quirks:
        found["reasoning"] = {"enabled": on}
    if effort is not None and (on or not {"thinking", "enable_thinking"} & found.keys()):
        found["reasoning_effort"] = effort
    return found


def _switches(asked: Thinking, quirks: frozenset[str], *, on: bool) -> Fields:
    """Thinking on or off, by each provider's own name for it."""
    found: Fields = {}
    if "thinking_switch" in quirks:
        found["thinking"] = {"type": "enabled" if on else "disabled"}
    if "enable_thinking" in quirks:
        found["enable_thinking"] = on
        if on and asked.max_tokens is not None:
            found["thinking_budget"] = asked.max_tokens
    if "prompt_mode" in quirks:
        found["prompt_mode"] = "reasoning" if on else None
    return found


def _effort_word(request: ChatRequest, endpoint: Endpoint, *, on: bool) -> str | None:
    """The value of `reasoning_effort`; None where the model does not take one."""
    quirks, listed = endpoint.provider.quirks, endpoint.supported_parameters
    if "no_reasoning_effort" in quirks and "reasoning_effort" not in listed:
        return None
    if "reasoning_parsed" in quirks and _THINKS_OR_NOT in endpoint.upstream_id:
        return "default" if on else "none"
    return effort_for(request, endpoint)


def effort_for(request: ChatRequest, endpoint: Endpoint) -> str | None:
    """The effort to name: the closest one the endpoint knows; None for none.

    Raises:
        UpstreamRejected: it should not think, and cannot but think.
    """
    asked = thinking(request, endpoint)
    if asked.mode == "off":
        return "none"
    if asked.mode == "default" or endpoint.efforts == ("none",):
        return None
    limit = min(request.completion_limit or endpoint.completion_cap, endpoint.completion_cap)
    return nearest(effort_of(asked, limit), endpoint.efforts)


def _reasoning_object(request: ChatRequest, endpoint: Endpoint, *, on: bool) -> Fields:
    given = request.reasoning
    found = given.model_dump(exclude_unset=True, exclude_none=True) if given is not None else {}
    found.pop("exclude", None)  # thoughts are counted here, and kept back here
    if found.get("max_tokens") is None:
        found.pop("enabled", None)
        found["effort"] = effort_for(request, endpoint) if on else "none"
    return found
