"""Anthropic's answers, whole and in pieces, as our events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routing.errors import UpstreamDown
from routing.usage import Usage, usage_beside_caches
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
from workers.dialects.anthropic_errors import error_in_band
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
from workers.dialects.pieces import (
    BLOCKS_MAX,
    Block,
    call_fragment,
    call_start,
    finish_of,
    whole_call,
    whole_message,
)
from workers.dialects.reasoning import encrypted_detail, text_detail

FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def answer_of(body: bytes) -> Answer:
    """A plain answer; an error object inside a 200 is the error it says."""
    data = load_object(body)
    if data.get("type") == "error" or data.get("error"):
        raise error_in_band(data.get("error"))
    if not isinstance(data.get("content"), list):
        raise UpstreamDown("Provider sent an answer without content", raw=cut(body))
    stopped = data.get("stop_reason")
    return Answer(
        choices=(
            Choice(
                index=0,
                message=_message(data),
                finish=finish_of(stopped, FINISH),
            ),
        ),
        usage=usage_of_claude(dict_or_empty(data.get("usage"))),
        upstream_id=text_or_none(data.get("id")),
    )


def usage_of_claude(usage: Mapping[str, Any]) -> Usage | None:
    """Anthropic counts cached tokens beside the others; the contract counts them among them."""
    return usage_beside_caches(
        plain=usage.get("input_tokens"),
        read=usage.get("cache_read_input_tokens"),
        written=usage.get("cache_creation_input_tokens"),
        written_1h=dict_or_empty(usage.get("cache_creation")).get("ephemeral_1h_input_tokens"),
        completion=usage.get("output_tokens"),
        reasoning=dict_or_empty(usage.get("output_tokens_details")).get("thinking_tokens"),
    )


def annotations_of(citations: object) -> list[dict[str, Any]]:
    """Citations of pages; those of the caller's own documents have no form in the contract."""
    return [found for item in dicts(citations) if (found := _annotation(item)) is not None]


class AnthropicStream:
    """Events of one stream to ours."""

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, Block] = {}
        self._tools = 0
        self._thoughts = 0

    def decode(self, data: bytes) -> list[Event]:
        """Our events for one event; those nobody knows yet are left out."""
        event = load_object(data)
        match event.get("type"):
            case "message_start":
                self._count(dict_or_empty(event.get("message")).get("usage"))
            case "message_delta":
                return self._message_delta(event)
            case "message_stop":
                return [End()]
            case "error":
                return [Broken(error_in_band(event.get("error")))]
            case _:
                return self._block_event(event)
        return []

    def _block_event(self, event: Mapping[str, Any]) -> list[Event]:
        match event.get("type"):
            case "content_block_start":
                return self._start(event)
            case "content_block_delta":
                return self._delta(event)
            case "content_block_stop":
                return self._stop(event)
            case _:
                return []

    def _start(self, event: Mapping[str, Any]) -> list[Event]:
        block = dict_or_empty(event.get("content_block"))
        kind = text_or_empty(block.get("type"))
        state = Block(kind, self._number(kind))
        if len(self._blocks) >= BLOCKS_MAX:
            raise UpstreamDown(f"Provider sent an answer of more than {BLOCKS_MAX} blocks")
        self._blocks[index_or_zero(event.get("index"))] = state
        match kind:
            case "text":
                return _text(block)
            case "thinking":
                thought = text_or_empty(block.get("thinking"))
                return [_thought(state.number, thought)] if thought else []
            case "redacted_thinking":
                return [_hidden(state.number, block)]
            case "tool_use":
                return self._call(state, block)
            case _:
                return []

    def _number(self, kind: str) -> int:
        """A block's place among its like: tool calls and thoughts are counted separately."""
        if kind == "tool_use":
            self._tools += 1
            return self._tools - 1
        if kind in ("thinking", "redacted_thinking"):
            self._thoughts += 1
            return self._thoughts - 1
        return 0

    def _call(self, state: Block, block: Mapping[str, Any]) -> list[Event]:
        call = call_start(
            state.number, text_or_empty(block.get("id")), text_or_empty(block.get("name"))
        )
        if not dict_or_empty(block.get("input")):
            return [call]
        state.filled = True
        return [call, call_fragment(state.number, dumped(block["input"]))]

    def _delta(self, event: Mapping[str, Any]) -> list[Event]:
        state = self._blocks.get(index_or_zero(event.get("index")), Block("text", 0))
        delta = dict_or_empty(event.get("delta"))
        match delta.get("type"):
            case "text_delta":
                return _text(delta)
            case "thinking_delta":
                thought = text_or_empty(delta.get("thinking"))
                return [_thought(state.number, thought)] if thought else []
            case "signature_delta":
                return _signature(state.number, delta)
            case "input_json_delta":
                return self._arguments(state, delta)
            case "citations_delta":
                found = annotations_of([delta.get("citation")])
                return [Delta(extra={"annotations": found})] if found else []
            case _:
                return []

    def _arguments(self, state: Block, delta: Mapping[str, Any]) -> list[Event]:
        fragment = text_or_empty(delta.get("partial_json"))
        if not fragment or state.kind != "tool_use":
            return []
        state.filled = True
        return [call_fragment(state.number, fragment)]

    def _stop(self, event: Mapping[str, Any]) -> list[Event]:
        """A tool called without arguments gets an empty object: `""` is no JSON."""
        state = self._blocks.get(index_or_zero(event.get("index")))
        if state is None or state.kind != "tool_use" or state.filled:
            return []
        state.filled = True
        return [call_fragment(state.number, "{}")]

    def _message_delta(self, event: Mapping[str, Any]) -> list[Event]:
        delta = dict_or_empty(event.get("delta"))
        events: list[Event] = []
        if delta.get("stop_reason"):
            refusal = _refusal(delta)
            if refusal:
                events.append(Delta(extra={"refusal": refusal}))
            events.append(finish_of(delta["stop_reason"], FINISH))
        if event.get("usage"):
            self._count(event["usage"])
            found = usage_of_claude(self._usage)
            if found is not None:
                events.append(Used(found))
        return events

    def _count(self, usage: object) -> None:
        """Counts are cumulative; what a later event leaves out stays as it was."""
        self._usage |= {
            name: value for name, value in dict_or_empty(usage).items() if value is not None
        }


def _text(fields: Mapping[str, Any]) -> list[Event]:
    text = text_or_empty(fields.get("text"))
    return [Delta(content=text)] if text else []


def _thought(number: int, text: str) -> Delta:
    detail = text_detail(number, "anthropic-claude-v1", text=text)
    return Delta(reasoning=text, extra={"reasoning_details": [detail]})


def _signature(number: int, delta: Mapping[str, Any]) -> list[Event]:
    signature = text_or_empty(delta.get("signature"))
    if not signature:
        return []
    detail = text_detail(number, "anthropic-claude-v1", signature=signature)
    return [Delta(extra={"reasoning_details": [detail]})]


def _hidden(number: int, block: Mapping[str, Any]) -> Delta:
    detail = encrypted_detail(number, "anthropic-claude-v1", text_or_empty(block.get("data")))
    return Delta(extra={"reasoning_details": [detail]})


def _refusal(fields: Mapping[str, Any]) -> str:
    """Why it refused, where it says so."""
    if fields.get("stop_reason") != "refusal":
        return ""
    return text_or_empty(dict_or_empty(fields.get("stop_details")).get("explanation"))


def _annotation(citation: Mapping[str, Any]) -> dict[str, Any] | None:
    url = citation.get("url") or citation.get("source")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    found = {"url": url}
    for ours, theirs in (("title", "title"), ("content", "cited_text")):
        if isinstance(citation.get(theirs), str):
            found[ours] = citation[theirs]
    return {"type": "url_citation", "url_citation": found}


def _message(data: Mapping[str, Any]) -> dict[str, Any]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for block in dicts(data.get("content")):
        match block.get("type"):
            case "text":
                texts.append(text_or_empty(block.get("text")))
                notes += annotations_of(block.get("citations"))
            case "tool_use":
                calls.append(
                    whole_call(
                        text_or_empty(block.get("id")),
                        text_or_empty(block.get("name")),
                        block.get("input"),
                    )
                )
            case "thinking" | "redacted_thinking":
                details.append(_detail(len(details), block))
            case _:
                pass  # results of tools the provider ran itself
    return whole_message(
        text="".join(texts), calls=calls, details=details, notes=notes, refusal=_refusal(data)
    )


def _detail(number: int, block: Mapping[str, Any]) -> dict[str, Any]:
    if block.get("type") == "redacted_thinking":
        return encrypted_detail(number, "anthropic-claude-v1", text_or_empty(block.get("data")))
    return text_detail(
        number,
        "anthropic-claude-v1",
        text=text_or_empty(block.get("thinking")),
        signature=text_or_none(block.get("signature")),
    )
