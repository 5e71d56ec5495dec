"""What Gemini answers, as our events; a plain answer is a stream of one chunk."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from routing.errors import UpstreamDown, UpstreamRejected
from routing.usage import Usage, count, usage_from
from routing.wire.events import (
    Answer,
    Broken,
    Choice,
    Delta,
    Event,
    Finish,
    FinishReason,
    Used,
)
from workers.dialects.common import (
    cut,
    dict_or_empty,
    dicts,
    dumped,
    index_or_zero,
    load_object,
    text_or_empty,
    text_or_none,
)
from workers.dialects.gemini_contents import FORMAT, PICTURE_ID
from workers.dialects.gemini_errors import in_band
from workers.dialects.reasoning import encrypted_detail, text_detail, whole_details
from workers.dialects.tool_names import own_name

#: We ask for one candidate; Gemini gives at most eight.
CANDIDATES_MAX = 8
#: Citations of one answer.
ANNOTATIONS_MAX = 1_000

_FILTERED = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "LANGUAGE",
    }
)  # fmt: skip
_FAILED = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "IMAGE_OTHER",
    }
)  # fmt: skip
_UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"


class GeminiStream:
    """Chunks of one stream to events. There is no end mark: the finish reason ends it."""

    def __init__(self) -> None:
        self._candidates: dict[int, _Candidate] = {}

    def decode(self, data: bytes) -> list[Event]:
        """Our events for one chunk."""
        return self.events(load_object(data))

    def events(self, chunk: Mapping[str, Any]) -> list[Event]:
        """Our events for a chunk that is read."""
        if chunk.get("error"):
            return [Broken(in_band(chunk["error"]))]
        events: list[Event] = []
        for place, fields in enumerate(dicts(chunk.get("candidates"))):
            index = index_or_zero(fields.get("index", place))
            if index < CANDIDATES_MAX:
                state = self._candidates.setdefault(index, _Candidate(index))
                events += state.events(fields)
        events += self._blocked(dict_or_empty(chunk.get("promptFeedback")), events)
        usage = usage_of(chunk.get("usageMetadata"))
        if usage is not None:
            events.append(Used(usage))
        return events

    def _blocked(self, feedback: Mapping[str, Any], events: list[Event]) -> Iterator[Event]:
        reason = feedback.get("blockReason")
        if not isinstance(reason, str) or not reason:
            return
        if self._candidates or events:
            if not any(state.finished for state in self._candidates.values()):
                yield Finish(0, "content_filter", reason)
            return
        why = text_or_empty(feedback.get("blockReasonMessage"))
        message = f"The prompt was blocked by the provider ({reason}). {why}".strip()
        raw = cut(dumped(feedback).encode())
        yield Broken(UpstreamRejected(message, raw=raw, status=400, kind="moderation"))


def answer(data: bytes) -> Answer:
    """A plain answer.

    Raises:
        UpstreamError: the body is an error, or cannot be read.
    """
    body = load_object(data)
    events = GeminiStream().events(body)
    choices: dict[int, list[Event]] = {}
    usage: Usage | None = None
    for event in events:
        match event:
            case Broken():
                raise event.error
            case Used():
                usage = event.usage
            case Delta() | Finish():
                choices.setdefault(event.index, []).append(event)
            case _:
                pass
    if not choices:
        raise UpstreamDown("Provider sent an answer without candidates", raw=cut(data))
    return Answer(
        choices=tuple(_choice(index, found) for index, found in sorted(choices.items())),
        usage=usage,
        upstream_id=text_or_none(body.get("responseId")),
    )


def usage_of(raw: object) -> Usage | None:
    """`usageMetadata`; thoughts and the tokens of tools are counted apart from the totals."""
    if not isinstance(raw, dict) or "promptTokenCount" not in raw:
        return None  # a chunk in the middle may have none, or only what kind of traffic it is
    inputs = _modalities(raw.get("promptTokensDetails"))
    cached = _modalities(raw.get("cacheTokensDetails"))
    outputs = _modalities(raw.get("candidatesTokensDetails"))
    return usage_from(
        prompt=_sum(raw, "promptTokenCount", "toolUsePromptTokenCount"),
        completion=_completion(raw),
        cached=raw.get("cachedContentTokenCount"),
        audio=max(inputs.get("AUDIO", 0) - cached.get("AUDIO", 0), 0),
        video=inputs.get("VIDEO"),
        reasoning=raw.get("thoughtsTokenCount"),
        image_output=outputs.get("IMAGE"),
        audio_output=outputs.get("AUDIO"),
    )


def _completion(raw: Mapping[str, Any]) -> int | None:
    """Thoughts are added to the answer, but where the total shows that they are in it already."""
    within = _sum(raw, "promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount")
    if within is not None and within == count(raw.get("totalTokenCount")):
        return _sum(raw, "candidatesTokenCount")
    return _sum(raw, "candidatesTokenCount", "thoughtsTokenCount")


def _sum(raw: Mapping[str, Any], *names: str) -> int | None:
    """What is left out is zero; what cannot be believed spoils the sum."""
    counts = [count(raw.get(name, 0)) for name in names]
    return None if None in counts else sum(found or 0 for found in counts)


def _modalities(details: object) -> dict[str, int]:
    return {
        kind: count(item.get("tokenCount")) or 0
        for item in dicts(details)
        if isinstance(kind := item.get("modality"), str)
    }


# One candidate


@dataclass(slots=True)
class _Candidate:
    """What must be remembered of one candidate.

    Attributes:
        details: place of the next item of `reasoning_details`.
        thinking: whether the last item was a thought, which the next thought continues.
        texts: what it said, to turn the byte offsets of citations into characters.
        grounding: where it was read, told when the whole text is known.
    """

    index: int
    details: int = 0
    thinking: bool = False
    calls: int = 0
    pictures: int = 0
    finished: bool = False
    texts: list[str] = field(default_factory=list)
    grounding: Mapping[str, Any] = field(default_factory=dict)

    def events(self, fields: Mapping[str, Any]) -> list[Event]:
        found: list[Delta] = []
        for part in dicts(dict_or_empty(fields.get("content")).get("parts")):
            found += self._part(part)
        found = self._with_logprobs(found, _logprobs(fields.get("logprobsResult")))
        self.grounding = dict_or_empty(fields.get("groundingMetadata")) or self.grounding
        finish = list(self._finish(fields.get("finishReason")))
        if self.finished and self.grounding:
            citations = _citations(self.grounding, "".join(self.texts))
            self.grounding = {}
            if citations:
                found.append(Delta(self.index, extra={"annotations": citations}))
        return [*found, *finish]

    def _part(self, part: Mapping[str, Any]) -> Iterator[Delta]:
        signature = text_or_empty(part.get("thoughtSignature"))
        call, blob, text = part.get("functionCall"), part.get("inlineData"), part.get("text")
        if isinstance(call, dict):
            yield from self._call(call, signature)
        elif isinstance(blob, dict):
            if not part.get("thought"):  # else a draft
                yield from self._blob(blob, signature)
        else:
            if isinstance(text, str) and text:
                yield self._thought(text) if part.get("thought") is True else self._text(text)
            if signature:
                yield self._seal(signature, None)

    def _text(self, text: str) -> Delta:
        self.texts.append(text)
        self.thinking = False
        return Delta(self.index, text)

    def _thought(self, text: str) -> Delta:
        if not self.thinking:
            self.thinking = True
            self.details += 1
        detail = text_detail(self.details - 1, FORMAT, text=text)
        return Delta(self.index, "", text, {"reasoning_details": [detail]})

    def _seal(self, signature: str, tag: str | None) -> Delta:
        detail = encrypted_detail(self.details, FORMAT, signature) | {"id": tag}
        self.details += 1
        self.thinking = False
        return Delta(self.index, extra={"reasoning_details": [detail]})

    def _call(self, call: Mapping[str, Any], signature: str) -> Iterator[Delta]:
        name = text_or_empty(call.get("name"))
        if not name:
            raise UpstreamDown("Provider sent a function call without a name")
        tag = text_or_empty(call.get("id")) or f"call_{uuid4().hex}"
        if signature:
            yield self._seal(signature, tag)
        made = {
            "index": self.calls,
            "id": tag,
            "type": "function",
            "function": {
                "name": own_name(name),
                "arguments": dumped(dict_or_empty(call.get("args"))),
            },
        }
        self.calls += 1
        yield Delta(self.index, extra={"tool_calls": [made]})

    def _blob(self, blob: Mapping[str, Any], signature: str) -> Iterator[Delta]:
        kind, data = text_or_empty(blob.get("mimeType")), text_or_empty(blob.get("data"))
        if kind.startswith("image/"):
            if signature:
                yield self._seal(signature, f"{PICTURE_ID}{self.pictures}")
            self.pictures += 1
            url = {"url": f"data:{kind};base64,{data}"}
            yield Delta(self.index, extra={"images": [{"type": "image_url", "image_url": url}]})
        elif kind.startswith("audio/"):
            yield Delta(self.index, extra={"audio": {"data": data}})

    def _finish(self, native: object) -> Iterator[Finish]:
        if self.finished or not isinstance(native, str) or native in ("", _UNSPECIFIED):
            return
        self.finished = True
        yield Finish(self.index, self._reason(native), native)

    def _reason(self, native: str) -> FinishReason:
        if native == "MAX_TOKENS":
            return "length"
        if native in _FILTERED:
            return "content_filter"
        if native in _FAILED:
            return "error"
        return "tool_calls" if self.calls else "stop"

    def _with_logprobs(self, found: list[Delta], logprobs: Mapping[str, Any] | None) -> list[Delta]:
        """They belong to the last text of the chunk, or stand alone."""
        if logprobs is None:
            return found
        for place in range(len(found) - 1, -1, -1):
            delta = found[place]
            if delta.content:
                found[place] = Delta(
                    self.index, delta.content, delta.reasoning, delta.extra, logprobs
                )
                return found
        return [*found, Delta(self.index, logprobs=logprobs)]


def _logprobs(result: object) -> dict[str, Any] | None:
    fields = dict_or_empty(result)
    tops = fields.get("topCandidates")
    tops = tops if isinstance(tops, list) else []
    content = []
    for place, chosen in enumerate(dicts(fields.get("chosenCandidates"))):
        others = dict_or_empty(tops[place]) if place < len(tops) else {}
        top = [_token(one) for one in dicts(others.get("candidates"))]
        content.append(_token(chosen) | {"top_logprobs": top})
    return {"content": content, "refusal": None} if content else None


def _token(candidate: Mapping[str, Any]) -> dict[str, Any]:
    token, logprob = text_or_empty(candidate.get("token")), candidate.get("logProbability", 0)
    known = isinstance(logprob, int | float) and not isinstance(logprob, bool)
    return {"token": token, "logprob": logprob if known else 0, "bytes": list(token.encode())}


def _citations(grounding: Mapping[str, Any], text: str) -> list[dict[str, Any]]:
    """Where each stretch of the text was read; sources no stretch names stand for the whole."""
    chunks = grounding.get("groundingChunks")
    pages = [
        dict_or_empty(dict_or_empty(chunk).get("web"))
        for chunk in (chunks if isinstance(chunks, list) else ())
    ]
    found: list[dict[str, Any]] = []
    for page, start, end, said in _supported(grounding, pages, text.encode()):
        found.append(_citation(page, start, end, said))
        if len(found) == ANNOTATIONS_MAX:
            return found
    return found or [
        _citation(page, 0, len(text)) for page in pages[:ANNOTATIONS_MAX] if _link(page)
    ]


def _supported(
    grounding: Mapping[str, Any], pages: list[dict[str, Any]], text: bytes
) -> Iterator[tuple[dict[str, Any], int, int, str]]:
    for support in dicts(grounding.get("groundingSupports")):
        segment = dict_or_empty(support.get("segment"))
        said = text_or_empty(segment.get("text"))
        start, end = (
            len(text[: index_or_zero(segment.get(name))].decode("utf-8", "ignore"))
            for name in ("startIndex", "endIndex")
        )
        numbers = support.get("groundingChunkIndices")
        for number in numbers if isinstance(numbers, list) else ():
            if isinstance(number, int) and 0 <= number < len(pages) and _link(pages[number]):
                yield pages[number], start, end, said


def _link(page: Mapping[str, Any]) -> str:
    return text_or_empty(page.get("uri"))


def _citation(page: Mapping[str, Any], start: int, end: int, said: str = "") -> dict[str, Any]:
    citation = {"url": _link(page), "title": text_or_empty(page.get("title"))}
    if said:
        citation["content"] = said
    return {
        "type": "url_citation",
        "url_citation": citation | {"start_index": start, "end_index": end},
    }


# A plain answer out of its events


def _choice(index: int, events: Iterable[Event]) -> Choice:
    content: list[str] = []
    reasoning: list[str] = []
    extras: dict[str, list[Any]] = {}
    logprobs: list[Any] = []
    finish = Finish(index, None, None)
    for event in events:
        if isinstance(event, Finish):
            finish = event
        elif isinstance(event, Delta):
            content.append(event.content)
            reasoning.append(event.reasoning or "")
            logprobs += dict_or_empty(event.logprobs).get("content", ())
            for name, value in (event.extra or {}).items():
                extras.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    text = "".join(content)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if not text and "tool_calls" in extras else text,
        "refusal": None,
        "reasoning": "".join(reasoning) or None,
    }
    return Choice(
        index=index,
        message=message | _whole(extras),
        finish=finish,
        logprobs={"content": logprobs, "refusal": None} if logprobs else None,
    )


def _whole(extras: Mapping[str, list[Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = dict(extras)
    if "reasoning_details" in extras:
        whole["reasoning_details"] = whole_details(extras["reasoning_details"])
    if "tool_calls" in extras:
        whole["tool_calls"] = [
            {name: value for name, value in call.items() if name != "index"}
            for call in extras["tool_calls"]
        ]
    if "audio" in extras:
        whole["audio"] = {"data": _joined([piece["data"] for piece in extras["audio"]])}
    return whole


def _joined(pieces: list[str]) -> str:
    """Base64 of all pieces together; each has its own padding."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return b64encode(b"".join(b64decode(piece) for piece in pieces)).decode()
    except (binascii.Error, ValueError) as error:
        raise UpstreamDown("Provider sent sound that is not base64") from error
