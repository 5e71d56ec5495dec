"""Which conversation a request belongs to, so that its prompt cache is found again (contract 13.6).

A conversation is named by the account, the model and, in this order: the caller's `session_id`, its
`prompt_cache_key`, or the first system message together with the first other one. The endpoint that
cached it is remembered under a digest of that name for ten minutes after its last success.
"""

from __future__ import annotations

import hashlib

import orjson

from routing.catalog.shapes import Price
from routing.plan import PlanRequest
from routing.wire.chat import ChatRequest
from routing.wire.messages import Message, TextPart
from routing.wire.request import InferenceRequest

#: A name that begins so was given by the caller: any success is remembered, cached or not.
SESSION = "s:"
_DIGEST_HEX = 32
_INSTRUCTIONS = frozenset({"system", "developer"})


def sticky_name(request: InferenceRequest, facts: PlanRequest, account_id: str) -> str:
    """Under which name the endpoint is remembered; "" where nothing sticks.

    Nothing does with `order` or `sort`, which are strict.
    """
    wanted = facts.preferences
    if not isinstance(request, ChatRequest) or wanted.order or wanted.sort:
        return ""
    if request.session_id:
        return SESSION + _digest(account_id, facts.models[0], request.session_id.encode())
    if request.prompt_cache_key:
        return "k:" + _digest(account_id, facts.models[0], request.prompt_cache_key.encode())
    if not request.messages:
        return ""
    return "c:" + _digest(account_id, facts.models[0], _opening(request.messages))


def worth_recalling(request: InferenceRequest) -> bool:
    """Whether an endpoint may be remembered at all.

    A first turn has nothing to come back to, unless it says itself that its prompt is cached.
    """
    if not isinstance(request, ChatRequest):
        return False
    if request.session_id or request.prompt_cache_key or request.cache_control:
        return True
    return any(
        message.role == "assistant" or _marked(message) for message in request.messages or ()
    )


def saves(price: Price) -> bool:
    """Whether a cache makes prompts cheaper at a price: else there is no reason to come back."""
    return price.cache_read_pico is not None and price.cache_read_pico < price.prompt_pico


def _marked(message: Message) -> bool:
    return isinstance(message.content, tuple) and any(
        isinstance(part, TextPart) and part.cache_control for part in message.content
    )


def _opening(messages: tuple[Message, ...]) -> bytes:
    instruction = next((m for m in messages if m.role in _INSTRUCTIONS), None)
    first = next((m for m in messages if m.role not in _INSTRUCTIONS), None)
    return b"\n".join(
        m.__pydantic_serializer__.to_json(m, exclude_unset=True)
        for m in (instruction, first)
        if m is not None
    )


def _digest(account_id: str, model: str, conversation: bytes) -> str:
    head = orjson.dumps([account_id, model])
    return hashlib.sha256(head + conversation).hexdigest()[:_DIGEST_HEX]
