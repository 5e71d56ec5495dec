"""The legacy text completion request (contract 5), translated into the one internal request."""

from __future__ import annotations

from typing import Any

from routing.errors import BadRequest
from routing.wire.chat import ChatRequest, checked
from routing.wire.validate import load_object

#: The contract's own bound on `logprobs` of this API.
_LOGPROBS_MAX = 5

#: Nothing of these could be told in an answer that is text alone.
_CHAT_ONLY = ("tools", "tool_choice", "parallel_tool_calls", "modalities", "audio", "image_config")


def parse_completions(body: bytes) -> ChatRequest:
    """Read and check a text completion request; the result has `prompt` and no `messages`.

    Raises:
        BadRequest: says which field is wrong, why, and what it should be.
    """
    data = load_object(body)
    if "messages" in data:
        raise BadRequest(
            "messages: is not a field of /completions; use 'prompt', or /chat/completions",
            param="messages",
        )
    data["prompt"] = _prompt(data.get("prompt"))
    for name in ("n", "best_of"):
        if data.get(name) not in (None, 1) or isinstance(data.get(name), bool):
            raise BadRequest(
                f"{name}: must be 1: several choices are not supported, send several requests",
                param=name,
            )
        data.pop(name, None)
    if data.get("echo"):
        raise BadRequest(
            "echo: is not supported, since most providers cannot repeat a prompt; leave it out",
            param="echo",
        )
    data.pop("echo", None)
    for name in _CHAT_ONLY:
        data.pop(name, None)
    _translate_logprobs(data)
    return checked(data)


def _prompt(prompt: Any) -> str:
    match prompt:
        case str() if prompt:
            return prompt
        case [str(only)] if only:
            return only
        case None | "" | [] | [""]:
            raise BadRequest("prompt: is required and must not be empty", param="prompt")
        case [str(), *_]:
            raise BadRequest(
                "prompt: several prompts in one request are not supported, since each one is"
                " routed and charged by itself; send one request per prompt",
                param="prompt",
            )
        case [int() | list(), *_]:
            raise BadRequest(
                "prompt: token arrays are not supported, since every model has its own"
                " tokenizer; send text",
                param="prompt",
            )
        case _:
            raise BadRequest("prompt: must be a string", param="prompt")


def _translate_logprobs(data: dict[str, Any]) -> None:
    """Here `logprobs` is a count; in chat it is a switch and `top_logprobs` the count."""
    count = data.get("logprobs")
    if count is None:
        return
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _LOGPROBS_MAX:
        raise BadRequest(
            f"logprobs: must be an integer from 0 to {_LOGPROBS_MAX}", param="logprobs"
        )
    data["logprobs"] = True
    data["top_logprobs"] = count
