"""The body of a generateContent request."""

from __future__ import annotations

from typing import Any

from routing.catalog.shapes import Endpoint
from routing.wire.chat import ChatRequest
from routing.wire.messages import NamedTool
from workers.dialects.common import cannot, sampling, stops, supports
from workers.dialects.gemini_contents import (
    SIGNING_GENERATION,
    Json,
    checked_name,
    conversation,
    generation,
)
from workers.dialects.reasoning import budget, nearest, thinking

#: Stop sequences Gemini takes.
STOPS_MAX = 5
TOP_K_MAX = 64
SEED_MAX = 2**31 - 1
#: The one form Gemini speaks in: bare samples, 16 bits, 24,000 a second.
AUDIO_FORMAT = "pcm16"

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
}
#: The contract's penalties end at 2, which Gemini refuses.
_PENALTY_MAX = 1.99
_LEVELS = ("minimal", "low", "medium", "high")
_MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY"}
#: Least and most tokens to think for, by a word in the model's id; the first that fits.
_BUDGETS = (("pro", 128, 32_768), ("lite", 512, 24_576), ("flash", 1, 24_576), ("", 1, 32_768))


def body(request: ChatRequest, endpoint: Endpoint) -> Json:
    """The whole body.

    Raises:
        UpstreamRejected: this provider has no way to say what is asked.
    """
    contents, system = conversation(request, endpoint)
    found: Json = {"contents": contents}
    if system:
        found["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    found |= _tools(request, endpoint)
    config = _config(request, endpoint)
    if config:
        found["generationConfig"] = config
    return found


# Tools


def _tools(request: ChatRequest, endpoint: Endpoint) -> Json:
    if not request.tools or not supports(endpoint, "tools"):
        searches = request.web_search_options is not None
        if searches and supports(endpoint, "web_search_options"):
            return {"tools": [{"googleSearch": {}}]}
        return {}
    declarations = []
    for index, tool in enumerate(request.tools):
        function = tool.function
        one: Json = {"name": checked_name(function.name, f"tools[{index}].function.name")}
        if function.description is not None:
            one["description"] = function.description
        if function.parameters is not None:
            one["parametersJsonSchema"] = function.parameters
        declarations.append(one)
    found: Json = {"tools": [{"functionDeclarations": declarations}]}
    calling = _calling(request, endpoint)
    if calling:
        found["toolConfig"] = {"functionCallingConfig": calling}
    return found


def _calling(request: ChatRequest, endpoint: Endpoint) -> Json:
    choice = request.tool_choice
    if choice is None or not supports(endpoint, "tool_choice"):
        return {}
    if isinstance(choice, NamedTool):
        name = checked_name(choice.function.name, "tool_choice.function.name")
        return {"mode": "ANY", "allowedFunctionNames": [name]}
    return {"mode": _MODES[choice]}


# How to answer


def _config(request: ChatRequest, endpoint: Endpoint) -> Json:
    config = _sampling(request, endpoint)
    limit = request.completion_limit
    if limit is not None:
        config["maxOutputTokens"] = min(limit, endpoint.completion_cap)
    stopping = stops(request, endpoint)[:STOPS_MAX]
    if stopping:
        config["stopSequences"] = stopping
    if request.logprobs and supports(endpoint, "logprobs"):
        config["responseLogprobs"] = True
        if request.top_logprobs:
            config["logprobs"] = request.top_logprobs
    thinking_config = _thinking(request, endpoint)
    if thinking_config:
        config["thinkingConfig"] = thinking_config
    return config | _form(request, endpoint) | _modalities(request)


def _sampling(request: ChatRequest, endpoint: Endpoint) -> Json:
    found: Json = dict(sampling(request, endpoint, _SAMPLING))
    if "topK" in found:
        found["topK"] = min(found["topK"], TOP_K_MAX)
        if not found["topK"]:
            del found["topK"]  # the contract's word for no limit
    if not 0 <= found.get("seed", 0) <= SEED_MAX:
        found["seed"] &= SEED_MAX
    for name in ("frequencyPenalty", "presencePenalty"):
        if name in found:
            found[name] = min(found[name], _PENALTY_MAX)
    return found


def _form(request: ChatRequest, endpoint: Endpoint) -> Json:
    form = request.response_format
    if form is None or not supports(endpoint, "response_format"):
        return {}
    if form.type == "json_object":
        return {"responseMimeType": "application/json"}
    if form.type != "json_schema":
        return {}
    found: Json = {"responseMimeType": "application/json"}
    if form.json_schema is not None and form.json_schema.schema_ is not None:
        found["responseJsonSchema"] = form.json_schema.schema_
    return found


def _modalities(request: ChatRequest) -> Json:
    wanted = request.modalities or ()
    if "audio" in wanted:
        return {"responseModalities": ["AUDIO"]} | _speech(request)
    if "image" not in wanted:
        return {}
    found: Json = {"responseModalities": [name.upper() for name in dict.fromkeys(wanted)]}
    given = request.image_config or {}
    image: dict[str, Any] = {
        theirs: given[ours]
        for ours, theirs in (("aspect_ratio", "aspectRatio"), ("image_size", "imageSize"))
        if isinstance(given.get(ours), str)
    }
    return found | ({"imageConfig": image} if image else {})


def _speech(request: ChatRequest) -> Json:
    audio = request.audio
    if audio is None:
        return {}
    if audio.format not in (None, AUDIO_FORMAT):
        raise cannot(
            "audio.format", f"this provider speaks '{AUDIO_FORMAT}' only, not '{audio.format}'"
        )
    if audio.voice is None:
        return {}
    voice = {"prebuiltVoiceConfig": {"voiceName": audio.voice}}
    return {"speechConfig": {"voiceConfig": voice}}


# Thinking


def _thinking(request: ChatRequest, endpoint: Endpoint) -> Json:
    """Thoughts are asked for wherever there are any; the worker keeps them from who wants none."""
    asked = thinking(request, endpoint)
    if not {"reasoning", "reasoning_effort"} & endpoint.supported_parameters:
        return {}
    if asked.mode == "off":
        return {"thinkingBudget": 0}
    found: Json = {"includeThoughts": True}
    if asked.mode == "default":
        return found
    if asked.effort is not None and generation(endpoint.upstream_id) >= SIGNING_GENERATION:
        level = nearest(asked.effort, endpoint.efforts or _LEVELS)
        return found | {"thinkingLevel": (level if level in _LEVELS else "high").upper()}
    least, most = next(
        (least, most) for word, least, most in _BUDGETS if word in endpoint.upstream_id
    )
    longest = request.completion_limit
    wanted = budget(asked, min(longest or most, most), most, floor=least)
    if asked.max_tokens is not None and longest is not None and wanted >= longest:
        # Thoughts are a part of the answer's length here: nothing would be left for the answer.
        raise cannot("max_tokens", f"must be more than the {wanted} tokens for reasoning")
    return found | {"thinkingBudget": wanted}
