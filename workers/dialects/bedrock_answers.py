"""Bedrock's answers, whole and in pieces, as our events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
)
from routing.usage import Usage, count, usage_beside_caches
from routing.wire.events import (
    Answer,
    Broken,
    Choice,
    Delta,
    End,
    Event,
    FinishReason,
    Used,
)
from workers.dialects.common import (
    STATUS_LIMITED,
    UNKNOWN_ERROR,
    by_status,
    cut,
    dict_or_empty,
    dicts,
    dumped,
    index_or_zero,
    load_object,
    loads,
    text_or_empty,
    text_or_none,
)
from workers.dialects.pieces import (
    BLOCKS_MAX,
    Block,
    call_fragment,
    call_start,
    finish_of,
    whole_call,
    whole_message,
)
from workers.dialects.reasoning import Format, encrypted_detail, text_detail
from workers.dialects.refusals import kind_of
from workers.dialects.retry_after import retry_after_ms

FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
_LIMITED = frozenset({"throttlingexception", "modelnotreadyexception"})
_DENIED = frozenset({"servicequotaexceededexception", "accessdeniedexception"})
#: Refusals that say 400 but are about our account or catalog, not about the request.
_OURS = (
    "model identifier is invalid",
    "on-demand throughput",
    "access to the model",
    "operation not allowed",
)
_CLAUDE: Format = "anthropic-claude-v1"


def answer_of(body: bytes) -> Answer:
    """A plain answer."""
    data = load_object(body)
    message = dict_or_empty(dict_or_empty(data.get("output")).get("message"))
    if not isinstance(message.get("content"), list):
        raise UpstreamDown("Provider sent an answer without content", raw=cut(body))
    return Answer(
        choices=(
            Choice(
                index=0, message=_message(message), finish=finish_of(data.get("stopReason"), FINISH)
            ),
        ),
        usage=usage_of_bedrock(data.get("usage")),
    )


def usage_of_bedrock(usage: object) -> Usage | None:
    """Bedrock counts cached tokens beside the others; the contract counts them among them."""
    fields = dict_or_empty(usage)
    return usage_beside_caches(
        plain=fields.get("inputTokens"),
        read=fields.get("cacheReadInputTokens"),
        written=fields.get("cacheWriteInputTokens"),
        written_1h=sum(
            count(item.get("inputTokens")) or 0
            for item in dicts(fields.get("cacheDetails"))
            if item.get("ttl") == "1h"
        ),
        completion=fields.get("outputTokens"),
    )


def error_of(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> UpstreamError:
    """What a status other than 2xx means: by the exception's name, or by the status itself."""
    raw = cut(body)
    try:
        fields = dict_or_empty(loads(body))
    except UpstreamDown:
        fields = {}
    message = text_or_empty(fields.get("message")) or text_or_empty(fields.get("Message"))
    # `ThrottlingException:http://…` in the header, `com.amazon…#ThrottlingException` in the body.
    name = headers.get("x-amzn-errortype") or text_or_empty(fields.get("__type"))
    name = name.partition(":")[0].rpartition("#")[2].lower()
    if name in _LIMITED or status in STATUS_LIMITED:
        told = status if status in STATUS_LIMITED else 429
        return UpstreamLimited(raw=raw, status=told, retry_after_ms=retry_after_ms(headers, now_ms))
    if name in _DENIED or any(words in message.lower() for words in _OURS):
        return UpstreamDenied(raw=raw)
    return by_status(status, headers, raw, message, now_ms)


class BedrockStream:
    """Events of one stream to ours."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._counts = {"tool": 0, "thought": 0}
        self._stopped = False

    def decode(self, data: bytes) -> list[Event]:
        """Our events for one message; those nobody knows yet are left out."""
        events: list[Event] = []
        for name, value in load_object(data).items():
            events += self._event(name, dict_or_empty(value))
        return events

    def _event(self, name: str, fields: dict[str, Any]) -> list[Event]:
        if name.lower().endswith("exception"):
            return [Broken(_exception(name, fields))]
        match name:
            case "messageStop":
                self._stopped = True
                return [finish_of(fields.get("stopReason"), FINISH)]
            case "metadata":
                return self._metadata(fields)
            case _:
                return self._block_event(name, fields)

    def _block_event(self, name: str, fields: dict[str, Any]) -> list[Event]:
        place = index_or_zero(fields.get("contentBlockIndex"))
        match name:
            case "contentBlockStart":
                return self._start(place, dict_or_empty(fields.get("start")))
            case "contentBlockDelta":
                return self._delta(place, dict_or_empty(fields.get("delta")))
            case "contentBlockStop":
                return self._stop(place)
            case _:
                return []

    def _start(self, place: int, start: dict[str, Any]) -> list[Event]:
        use = start.get("toolUse")
        if not isinstance(use, dict):
            return []
        block = self._block(place, "tool")
        call_id, name = text_or_empty(use.get("toolUseId")), text_or_empty(use.get("name"))
        return [call_start(block.number, call_id, name)]

    def _block(self, place: int, kind: str) -> Block:
        """What is known of a block; blocks of thoughts have no start of their own."""
        block = self._blocks.get(place)
        if block is None or block.kind != kind:
            if self._counts[kind] >= BLOCKS_MAX:
                raise UpstreamDown(f"Provider sent an answer of more than {BLOCKS_MAX} blocks")
            block = self._blocks[place] = Block(kind, self._counts[kind])
            self._counts[kind] += 1
        return block

    def _delta(self, place: int, delta: dict[str, Any]) -> list[Event]:
        text = text_or_empty(delta.get("text"))
        if text:
            return [Delta(content=text)]
        fragment = text_or_empty(dict_or_empty(delta.get("toolUse")).get("input"))
        block = self._blocks.get(place)
        if fragment and block is not None and block.kind == "tool":
            block.filled = True
            return [call_fragment(block.number, fragment)]
        thought = delta.get("reasoningContent")
        if isinstance(thought, dict):
            return _thought(self._block(place, "thought").number, thought)
        return _citation(delta.get("citation"))

    def _stop(self, place: int) -> list[Event]:
        """A tool called without arguments gets an empty object: `""` is no JSON."""
        block = self._blocks.get(place)
        if block is None or block.kind != "tool" or block.filled:
            return []
        block.filled = True
        return [call_fragment(block.number, "{}")]

    def _metadata(self, fields: dict[str, Any]) -> list[Event]:
        """Usage, and nothing after it once the message has stopped."""
        found = usage_of_bedrock(fields.get("usage"))
        events: list[Event] = [] if found is None else [Used(found)]
        return [*events, End()] if self._stopped else events


def _exception(name: str, fields: dict[str, Any]) -> UpstreamError:
    raw = cut(dumped({name: fields}).encode())
    kind = name.lower()
    if kind in _LIMITED:
        return UpstreamLimited(raw=raw)
    if kind in _DENIED:
        return UpstreamDenied(raw=raw)
    if kind == "validationexception":
        message = text_or_empty(fields.get("message"))
        return UpstreamRejected(message or UNKNOWN_ERROR, raw=raw, kind=kind_of(None, message))
    return UpstreamDown(raw=raw)


def _thought(number: int, thought: dict[str, Any]) -> list[Event]:
    text = text_or_empty(thought.get("text"))
    if text:
        detail = text_detail(number, _CLAUDE, text=text)
        return [Delta(reasoning=text, extra={"reasoning_details": [detail]})]
    signature = text_or_empty(thought.get("signature"))
    if signature:
        detail = text_detail(number, _CLAUDE, signature=signature)
        return [Delta(extra={"reasoning_details": [detail]})]
    hidden = text_or_empty(thought.get("redactedContent"))
    if hidden:
        return [Delta(extra={"reasoning_details": [encrypted_detail(number, _CLAUDE, hidden)]})]
    return []


def _citation(citation: object) -> list[Event]:
    notes = _notes([citation])
    return [Delta(extra={"annotations": notes})] if notes else []


def _notes(citations: object) -> list[dict[str, Any]]:
    """Citations of pages; those of the caller's own documents have no form in the contract."""
    notes = []
    for item in dicts(citations):
        url = dict_or_empty(dict_or_empty(item.get("location")).get("web")).get("url")
        if not isinstance(url, str) or not url:
            continue
        found = {"url": url}
        if isinstance(item.get("title"), str):
            found["title"] = item["title"]
        quoted = "".join(
            text_or_empty(part.get("text")) for part in dicts(item.get("sourceContent"))
        )
        if quoted:
            found["content"] = quoted
        notes.append({"type": "url_citation", "url_citation": found})
    return notes


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for block in dicts(message.get("content")):
        texts.append(text_or_empty(block.get("text")))
        if isinstance(block.get("toolUse"), dict):
            use = block["toolUse"]
            calls.append(
                whole_call(
                    text_or_empty(use.get("toolUseId")),
                    text_or_empty(use.get("name")),
                    use.get("input"),
                )
            )
        details += _details(len(details), block.get("reasoningContent"))
        cited = dict_or_empty(block.get("citationsContent"))
        texts += [text_or_empty(part.get("text")) for part in dicts(cited.get("content"))]
        notes += _notes(cited.get("citations"))
    return whole_message(text="".join(texts), calls=calls, details=details, notes=notes)


def _details(number: int, thought: object) -> list[dict[str, Any]]:
    fields = dict_or_empty(thought)
    spoken = fields.get("reasoningText")
    if isinstance(spoken, dict):
        signature = text_or_none(spoken.get("signature"))
        form: Format = _CLAUDE if signature else "unknown"
        text = text_or_empty(spoken.get("text"))
        return [text_detail(number, form, text=text, signature=signature)]
    hidden = text_or_empty(fields.get("redactedContent"))
    return [encrypted_detail(number, _CLAUDE, hidden)] if hidden else []
