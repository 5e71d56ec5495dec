"""The Gemini dialect: Google AI Studio and, with other paths and credentials, Vertex AI."""

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

import orjson

from workers.simulator.dialect import (
    Answer,
    Ask,
    Choice,
    Count,
    Dialect,
    Direct,
    Event,
    Failure,
    ToolCall,
    Usage,
)
from workers.simulator.gemini_contents import picture_text, read_contents, signature_of_call
from workers.simulator.gemini_embeddings import embedding_body, read_embedding
from workers.simulator.gemini_errors import (
    Invalid,
    Surface,
    bad_token,
    error,
    failed,
    no_credential,
    refusal,
)
from workers.simulator.gemini_fields import read_body
from workers.simulator.gemini_models import supports
from workers.simulator.gemini_request import prompt_tokens, read_generate
from workers.simulator.google_token import bearer_ok
from workers.simulator.signatures import sign
from workers.simulator.text import estimate_tokens
from workers.simulator.wire import Request

PCM_TYPE: Final = "audio/L16;codec=pcm;rate=24000"
LOGPROB: Final = -0.1

_METHODS: Final = (
    "generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents"
)
_STUDIO: Final = re.compile(rf"/v1(?:beta)?/models/(?P<model>[^/:]+):(?P<method>{_METHODS})")
_VERTEX: Final = re.compile(
    r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/publishers/google/models/"
    rf"(?P<model>[^/:]+):(?P<method>{_METHODS}|predict)"
)
_FINISH: Final = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
_PARAMETERS: Final = frozenset({"alt", "key", "$alt", "prettyPrint"})
_UNSAFE: Final = [
    {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
]


class _Address(NamedTuple):
    surface: Surface
    model: str
    method: str


class GeminiDialect(Dialect):
    """Google's own format; see ``Dialect`` for the methods."""

    def claims(self, path: str) -> bool:
        """Whether the path is one of a model of Google's, on either surface."""
        return _address(path) is not None

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check the credential, the method and the body, in that order."""
        del provider
        address = _address(path)
        if address is None:
            return error("NOT_FOUND", "Requested entity was not found.")
        query = parse_qs(request.target.partition("?")[2])
        array = address.method == "streamGenerateContent" and query.get("alt") != ["sse"]
        answer = _unauthorized(address.surface, request, query) or _read(address, request, query)
        if isinstance(answer, Direct) and array:
            # A stream that is not made of events is a JSON array, errors and all.
            return Direct(status=answer.status, body=b"[" + answer.body + b"\n]")
        return answer

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render one body: an answer, vectors, or a stream's chunks as an array."""
        if ask.kind == "embeddings":
            return embedding_body(ask, answer)
        del provider
        writer = _Writer(ask, answer)
        if ask.extras["mode"] == "array":
            return b"[" + b"\n,\r\n".join(event.data for event in writer.events()) + b"\n]"
        return writer.body()

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render a stream, which has no end mark: it ends with the finish reason."""
        del provider
        return _Writer(ask, answer).events()

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error the way this surface words it."""
        return failed(_surface_of(provider), failure)

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an error inside a stream: the same object as in a body, on one line."""
        body = orjson.loads(self.failure(provider, failure).body)
        return Event(data=orjson.dumps(body), kind="error")


def _address(path: str) -> _Address | None:
    for surface, pattern in ((Surface.STUDIO, _STUDIO), (Surface.VERTEX, _VERTEX)):
        if found := pattern.fullmatch(path):
            return _Address(surface, found["model"], found["method"])
    return None


def _surface_of(provider: str) -> Surface:
    """Tell the surface where there is no path to tell it."""
    return Surface.VERTEX if "vertex" in provider else Surface.STUDIO


def _unauthorized(
    surface: Surface, request: Request, query: Mapping[str, list[str]]
) -> Direct | None:
    if surface is Surface.STUDIO and (request.headers.get("x-goog-api-key") or query.get("key")):
        return None
    if not request.headers.get("authorization"):
        return no_credential(surface)
    if surface is Surface.VERTEX and bearer_ok(request):
        return None
    return bad_token(surface)


def _read(address: _Address, request: Request, query: Mapping[str, list[str]]) -> Ask | Direct:
    if request.method != "POST":
        return error("NOT_FOUND", "Requested entity was not found.")
    try:
        _check_query(query)
        return _read_body(address, request.body, streams=query.get("alt") == ["sse"])
    except Invalid as invalid:
        return refusal(invalid)


def _check_query(query: Mapping[str, list[str]]) -> None:
    if unknown := query.keys() - _PARAMETERS:
        name = min(unknown)
        text = (
            f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
            f"Field '{name}' could not be found in request message."
        )
        raise Invalid(text, violations=(("", text),))


def _read_body(address: _Address, data: bytes, *, streams: bool) -> Ask | Direct:
    surface, model, method = address
    if not supports(model, method):
        raise Invalid(
            f"models/{model} is not found for API version v1beta, or is not supported for "
            f"{method}. Call ListModels to see the list of available models and their supported "
            "methods.",
            status="NOT_FOUND",
        )
    match method:
        case "countTokens":
            return _count(surface, data)
        case "embedContent" | "batchEmbedContents" | "predict":
            return read_embedding(surface, method, model, data)
        case _:
            body = read_body(surface, "GenerateContentRequest", data)
            if method == "generateContent":
                return read_generate(surface, model, body)
            return read_generate(surface, model, body, "stream" if streams else "array")


def _count(surface: Surface, data: bytes) -> Direct:
    body = read_body(surface, "CountTokensRequest", data)
    whole = body.get("generateContentRequest")
    if whole is not None and "contents" in body:
        raise Invalid("* CountTokensRequest: only one of the two contents may be set\n")
    body = whole or body
    conversation = read_contents(surface, body.get("contents", []), demands_signatures=False)
    tokens = prompt_tokens(body, conversation)
    counted = {"totalTokens": sum(tokens.values()), "promptTokensDetails": _details(tokens)}
    return Direct(status=200, body=orjson.dumps(counted))


class _Writer:
    """Renders one answer; holds what every chunk repeats."""

    def __init__(self, ask: Ask, answer: Answer) -> None:
        self._surface: Surface = ask.extras["surface"]
        self._ask = ask
        self._answer = answer
        self._frame: dict[str, Any] = {
            "modelVersion": answer.model,
            "responseId": answer.tag[:22],
        }
        if self._surface is Surface.VERTEX:
            made = datetime.fromtimestamp(answer.created, UTC)
            self._frame["createTime"] = made.strftime("%Y-%m-%dT%H:%M:%S.000000Z")

    def body(self) -> bytes:
        candidates = [
            self._candidate(choice, index) for index, choice in enumerate(self._answer.choices)
        ]
        return self._chunk(candidates, self._usage())

    def events(self) -> list[Event]:
        events: list[Event] = []
        spoken = thought = 0
        for index, choice in enumerate(self._answer.choices):
            for parts in self._groups(choice):
                words = "".join(part.get("text", "") for part in parts)
                if parts[0].get("thought"):
                    thought += estimate_tokens(words)
                else:
                    spoken += estimate_tokens(words)
                candidate = {"content": {"parts": parts, "role": "model"}, "index": index}
                usage = self._usage_so_far(spoken, thought)
                events.append(Event(data=self._chunk([candidate], usage)))
            if self._answer.says_finish:
                last = index + 1 == len(self._answer.choices)
                usage = self._usage() if last else self._usage_so_far(spoken, thought)
                data = self._chunk([self._finish(choice, index)], usage)
                events.append(Event(data=data, kind="finish"))
        return events

    def _groups(self, choice: Choice) -> list[list[dict[str, Any]]]:
        """Return the parts as a stream has them, chunk by chunk; calls come all at once."""
        groups = [[part] for part in self._thoughts(choice.reasoning)]
        if self._speaks:
            groups.extend([{"text": piece}] for piece in choice.pieces)
        groups.extend([part] for part in self._media(choice))
        if choice.calls:
            groups.append(self._calls(choice))
        return groups

    def _candidate(self, choice: Choice, index: int) -> dict[str, Any]:
        parts = self._thoughts(("".join(choice.reasoning),) if choice.reasoning else ())
        words = "".join(choice.pieces)
        if words and self._speaks:
            part = {"text": words}
            if not choice.calls:
                part.update(self._signature(choice))
            parts.append(part)
        parts.extend(self._media(choice))
        if choice.calls:
            parts.extend(self._calls(choice))
        candidate = {**self._ending(choice), "index": index}
        if choice.refusal:
            return candidate
        content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
        candidate = {"content": content, **candidate}
        if (chosen := self._logprobs(choice.pieces)) is not None:
            candidate.update(chosen)
        return candidate

    def _finish(self, choice: Choice, index: int) -> dict[str, Any]:
        ending = {**self._ending(choice), "index": index}
        if choice.refusal or choice.finish_reason == "content_filter":
            return ending
        last = {"text": ""} if choice.calls else {"text": "", **self._signature(choice)}
        if (chosen := self._logprobs(choice.pieces)) is not None:
            ending.update(chosen)
        return {"content": {"parts": [last], "role": "model"}, **ending}

    def _ending(self, choice: Choice) -> dict[str, Any]:
        if choice.refusal or choice.finish_reason == "content_filter":
            return {"finishReason": "SAFETY", "safetyRatings": _UNSAFE}
        if choice.finish_reason is None or not self._answer.says_finish:
            return {}
        return {"finishReason": _FINISH[choice.finish_reason]}

    @property
    def _speaks(self) -> bool:
        return "TEXT" in self._ask.extras["modalities"]

    def _thoughts(self, pieces: tuple[str, ...]) -> list[dict[str, Any]]:
        if not self._ask.extras["shows_thoughts"]:
            return []
        return [{"text": piece, "thought": True} for piece in pieces]

    def _signature(self, choice: Choice) -> dict[str, str]:
        """Return the signature of an answer in words; older models give none."""
        words = "".join(choice.pieces)
        if not self._ask.extras["signs"] or not self._speaks or not words:
            return {}
        return {"thoughtSignature": sign(words)}

    def _media(self, choice: Choice) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for image in choice.images:
            blob = {"mimeType": "image/png", "data": b64encode(image).decode()}
            part: dict[str, Any] = {"inlineData": blob}
            if self._ask.extras["signs"]:
                part["thoughtSignature"] = sign(picture_text(image))
            parts.append(part)
        if choice.audio:
            blob = {"mimeType": PCM_TYPE, "data": b64encode(choice.audio).decode()}
            parts.append({"inlineData": blob})
        return parts

    def _calls(self, choice: Choice) -> list[dict[str, Any]]:
        parts = [self._call(call) for call in choice.calls]
        if self._ask.extras["signs"] or self._ask.extras["signs_calls"]:
            first = parts[0]["functionCall"]
            parts[0]["thoughtSignature"] = signature_of_call(first["name"], first["args"])
        return parts

    def _call(self, call: ToolCall) -> dict[str, Any]:
        made = {"name": call.name, "args": orjson.loads(call.arguments)}
        if self._ask.extras["has_ids"]:
            made["id"] = call.tag[:8]
        return {"functionCall": made}

    def _logprobs(self, pieces: tuple[str, ...]) -> dict[str, Any] | None:
        most = self._ask.extras["logprobs"]
        if most is None or not pieces:
            return None
        chosen = [
            {"token": piece, "tokenId": index, "logProbability": LOGPROB}
            for index, piece in enumerate(pieces)
        ]
        result: dict[str, Any] = {"chosenCandidates": chosen}
        if most:
            result["topCandidates"] = [{"candidates": [one]} for one in chosen]
        return {"avgLogprobs": LOGPROB, "logprobsResult": result}

    def _chunk(self, candidates: list[dict[str, Any]], usage: dict[str, Any] | None) -> bytes:
        body: dict[str, Any] = {"candidates": candidates}
        if usage is not None:
            body["usageMetadata"] = usage
        return orjson.dumps({**body, **self._frame})

    def _usage(self) -> dict[str, Any] | None:
        usage = self._answer.usage
        if usage is None:
            return None
        body: dict[str, Any] = {"promptTokenCount": usage.prompt}
        spoken = _less(usage.completion, usage.reasoning)
        if spoken:
            body["candidatesTokenCount"] = spoken
            body["candidatesTokensDetails"] = _output_details(usage, spoken)
        body["totalTokenCount"] = usage.total
        if usage.cached:
            body["cachedContentTokenCount"] = usage.cached
            body["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage.cached}]
        body["promptTokensDetails"] = _details(self._ask.extras["tokens"])
        if usage.reasoning:
            body["thoughtsTokenCount"] = usage.reasoning
        if self._surface is Surface.VERTEX:
            body["trafficType"] = "ON_DEMAND"
        return body

    def _usage_so_far(self, spoken: int, thought: int) -> dict[str, Any] | None:
        """Return what a chunk in the middle reports; Vertex AI counts only at the end."""
        if self._answer.usage is None:
            return None
        if self._surface is Surface.VERTEX:
            return {"trafficType": "ON_DEMAND"}
        prompt = self._ask.prompt_tokens
        body: dict[str, Any] = {"promptTokenCount": prompt}
        if spoken:
            body["candidatesTokenCount"] = spoken
        body["totalTokenCount"] = prompt + spoken + thought
        body["promptTokensDetails"] = _details(self._ask.extras["tokens"])
        if thought:
            body["thoughtsTokenCount"] = thought
        return body


def _less(whole: Count, part: Count) -> Count:
    """Take one count from another; an absurd one stays as it is."""
    if isinstance(whole, str) or isinstance(part, str):
        return whole
    return whole - part


def _details(tokens: Mapping[str, Count]) -> list[dict[str, Any]]:
    return [
        {"modality": modality, "tokenCount": count} for modality, count in tokens.items() if count
    ]


def _output_details(usage: Usage, spoken: Count) -> list[dict[str, Any]]:
    words = _less(_less(spoken, usage.image_out), usage.audio_out)
    return _details({"TEXT": words, "IMAGE": usage.image_out, "AUDIO": usage.audio_out})
