"""The OpenAI Responses API as an upstream: what it is asked.

Stateless (`store: false`): earlier thinking travels in `reasoning_details`, encrypted, and every
turn sends the whole conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routing.catalog.shapes import Endpoint
from routing.credentials import Credential
from routing.errors import UpstreamError
from routing.wire.chat import ChatRequest
from routing.wire.events import Answer
from routing.wire.messages import Function, NamedTool
from workers.dialects import UpstreamRequest
from workers.dialects.common import hashed_user, sampling, supports
from workers.dialects.framing import ServerSentEvents
from workers.dialects.openai import (
    bearer,
    chosen_options,
    effort_for,
    posted,
    service_tier,
    takes_parallel,
)
from workers.dialects.openai_errors import by_response
from workers.dialects.openai_messages import is_openai
from workers.dialects.responses_answers import ResponsesStream, whole_response
from workers.dialects.responses_input import input_items, instructions

Fields = dict[str, Any]

#: The shortest limit this API takes; chat takes any.
OUTPUT_TOKENS_MIN = 16

_SAMPLING: Mapping[str, str] = {"temperature": "temperature", "top_p": "top_p"}


class ResponsesDialect(ServerSentEvents):
    """Chat requests as `/responses`; stateless."""

    def encode(
        self, request: ChatRequest, endpoint: Endpoint, credential: Credential, *, stream: bool
    ) -> UpstreamRequest:
        """The body of `/responses`. Fields the API does not know are left out."""
        body: Fields = {
            **_conversation(request),
            "store": False,
            **sampling(request, endpoint, _SAMPLING),
            **_tools(request, endpoint),
            **_text(request, endpoint),
            **_reasoning(request, endpoint),
            **_service(request, endpoint),
        }
        include = _include(request, endpoint)
        if include:
            body["include"] = include
        if request.completion_limit is not None:
            limit = min(request.completion_limit, endpoint.completion_cap)
            body["max_output_tokens"] = max(limit, OUTPUT_TOKENS_MIN)
        if stream:
            body["stream"] = True
        body |= chosen_options(request, endpoint)
        return posted(bearer(endpoint, credential, "/responses"), body, stream=stream)

    def answer(self, body: bytes) -> Answer:
        """A plain answer; one that failed is the error it says."""
        return whole_response(body)

    def decoder(self) -> ResponsesStream:
        """For one stream."""
        return ResponsesStream()

    def error(
        self, status: int, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> UpstreamError:
        """As for chat."""
        return by_response(status, headers, body, now_ms)


def _conversation(request: ChatRequest) -> Fields:
    if request.messages is None:
        return {"input": request.prompt or ""}
    items = input_items(request.messages)
    given = instructions(request.messages)
    if not items:  # something must be there to answer to
        return {"input": given}
    return {"input": items, **({"instructions": given} if given else {})}


def _tools(request: ChatRequest, endpoint: Endpoint) -> Fields:
    tools: list[Fields] = []
    found: Fields = {}
    if request.tools and supports(endpoint, "tools"):
        tools += (_function(tool.function) for tool in request.tools)
        if request.parallel_tool_calls is not None and takes_parallel(endpoint):
            found["parallel_tool_calls"] = request.parallel_tool_calls
        if request.tool_choice is not None and supports(endpoint, "tool_choice"):
            found["tool_choice"] = _tool_choice(request.tool_choice)
    search = request.web_search_options
    if search is not None and supports(endpoint, "web_search_options"):
        tools.append(
            {"type": "web_search", **search.model_dump(exclude_unset=True, exclude_none=True)}
        )
    return found | ({"tools": tools} if tools else {})


def _function(function: Function) -> Fields:
    """A tool, flat. `strict` is on by default there and off by default here."""
    described = {"description": function.description} if function.description else {}
    return {
        "type": "function",
        "name": function.name,
        **described,
        "parameters": function.parameters or {"type": "object", "properties": {}},
        "strict": bool(function.strict),
    }


def _tool_choice(choice: str | NamedTool) -> str | Fields:
    if isinstance(choice, NamedTool):
        return {"type": "function", "name": choice.function.name}
    return choice


def _text(request: ChatRequest, endpoint: Endpoint) -> Fields:
    """The form of the answer, and how long-winded it is."""
    text: Fields = {}
    form = request.response_format
    if form is not None and supports(endpoint, "response_format"):
        schema = form.json_schema
        if form.type == "json_schema" and schema is not None:
            text["format"] = {
                "type": "json_schema",
                **schema.model_dump(
                    by_alias=True, exclude_none=True, include={"name", "description", "strict"}
                ),
                "schema": schema.schema_ or {"type": "object"},
            }
        elif form.type == "json_object":
            text["format"] = {"type": "json_object"}
    if request.verbosity is not None and supports(endpoint, "verbosity"):
        text["verbosity"] = "high" if request.verbosity in ("xhigh", "max") else request.verbosity
    return {"text": text} if text else {}


def _reasons(endpoint: Endpoint) -> bool:
    return bool({"reasoning", "reasoning_effort"} & endpoint.supported_parameters)


def _reasoning(request: ChatRequest, endpoint: Endpoint) -> Fields:
    """Effort and summary; a summary is all of the thinking that can be read."""
    if not _reasons(endpoint):
        return {}
    found: Fields = {}
    effort = effort_for(request, endpoint)
    if effort is not None:
        found["effort"] = effort
    given = request.reasoning
    if effort != "none":
        found["summary"] = (given.summary if given is not None else None) or "auto"
    if given is not None:
        found |= given.model_dump(include={"context", "mode"}, exclude_none=True)
    return {"reasoning": found}


def _include(request: ChatRequest, endpoint: Endpoint) -> list[str]:
    """What the answer holds only when asked for."""
    include = ["reasoning.encrypted_content"] if _reasons(endpoint) else []
    if request.logprobs and supports(endpoint, "logprobs"):
        include.append("message.output_text.logprobs")
    return include


def _service(request: ChatRequest, endpoint: Endpoint) -> Fields:
    """Who asks, where the prompt is cached, and how fast it must be."""
    found: Fields = {}
    if request.user is not None:
        name = "safety_identifier" if is_openai(endpoint.provider.quirks) else "user"
        found[name] = hashed_user(request.user)
    if request.prompt_cache_key is not None:
        found["prompt_cache_key"] = request.prompt_cache_key
    if request.service_tier is not None:
        found["service_tier"] = service_tier(request.service_tier)
    if request.logprobs and request.top_logprobs and supports(endpoint, "logprobs"):
        found["top_logprobs"] = request.top_logprobs
    return found
