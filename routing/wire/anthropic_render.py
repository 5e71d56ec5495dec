"""Our events in the form of Anthropic's `/messages`: content blocks, plain and streamed (7).

Generated images have no block in this API and are left out; sound is told by its transcript.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from routing.catalog.pricing import Cost, usd
from routing.errors import Failure
from routing.usage import Usage
from routing.wire import anthropic_thoughts as thoughts
from routing.wire.chat import ChatRequest
from routing.wire.envelope import shaped
from routing.wire.events import Answer, Choice, Delta, Finish, FinishReason
from routing.wire.request import InferenceRequest
from routing.wire.router_metadata import Noted
from routing.wire.thoughts import UNKNOWN, continues, readable, text_field

#: Where arguments go that are no JSON object: a block's input must be one.
INVALID_ARGUMENTS = "INVALID_JSON"

_STOP_REASONS: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
#: Providers' own words that say more than the normalised reason, in lower case.
_NATIVE = frozenset({"stop_sequence", "pause_turn", "model_context_window_exceeded"})


#: A provider that ends with an error of its own: Anthropic's form has no stop reason for it.
_BROKEN_OFF = Failure(
    status=502, message="Provider returned error", retryable=True, blame="provider"
)


def messages_renderer(
    generation_id: str, model: str, provider: str, request: InferenceRequest | None
) -> MessagesRenderer:
    """The renderer of one answer; without a request for whoever only tells an error."""
    if not isinstance(request, ChatRequest):
        return MessagesRenderer(generation_id, model, provider)
    stop = request.stop
    return MessagesRenderer(
        generation_id,
        model,
        provider,
        hidden=request.responses_echo == thoughts.HIDDEN,
        stops=(stop,) if isinstance(stop, str) else stop or (),
    )


class MessagesRenderer(Noted):
    """`/messages`.

    Args:
        generation_id: becomes the message's id.
        model: the model that answers.
        provider: display name.
        hidden: thinking blocks have a signature and no text.
        stops: the stop sequences that were asked for. Providers seldom say which one was met, so
            it is told only when there is one.
    """

    def __init__(
        self,
        generation_id: str,
        model: str,
        provider: str,
        *,
        hidden: bool = False,
        stops: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._id = generation_id
        self._head: dict[str, Any] = {
            "id": generation_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "provider": provider,
        }
        self._hidden = hidden
        self._stops = stops
        self._blocks = _Blocks(generation_id, hidden=hidden)
        self._started = False
        self._finish = Finish(0, None, None)

    def delta(self, delta: Delta) -> bytes:
        """A piece of content; several events when a block begins or ends with it."""
        head = self._start()
        return head if delta.index else head + self._blocks.delta(delta)

    def finish(self, finish: Finish) -> bytes:
        """Closes the blocks; why it stopped is told at the end, with the usage."""
        if finish.index:
            return b""
        self._finish = finish
        return self._start() + self._blocks.close()

    def end(self, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """`message_delta` with stop reason and usage, then `message_stop`."""
        blocks = self._blocks
        head = self._start() + blocks.close()
        if self._finish.reason == "error":
            return head + self.broken(_BROKEN_OFF)
        stopped = _stopped(
            self._finish, self._stops, called=blocks.called, refusal=blocks.refusal_text
        )
        told = {
            "delta": {**stopped, "container": None},
            "usage": _usage(usage, cost, charged=charged),
        }
        return head + _event("message_delta", **told) + _event("message_stop", **self._noted)

    def broken(self, failure: Failure) -> bytes:
        """The in-band error; it needs no event before it."""
        body = failure.body() | self._noted_beside(failure)
        return _frame("error", shaped("messages", failure.status, body, self._id))

    def body(self, answer: Answer, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """A plain message."""
        choice = answer.choices[0]
        content = list(self._content(choice))
        called = any(block["type"] == "tool_use" for block in content)
        refusal = choice.message.get("refusal")
        stopped = _stopped(
            choice.finish,
            self._stops,
            called=called,
            refusal=refusal if isinstance(refusal, str) else "",
        )
        return orjson.dumps(
            {
                **self._head,
                "content": content,
                **stopped,
                "container": None,
                "usage": _usage(usage, cost, charged=charged),
                **self._noted,
            }
        )

    def moved(self, model: str, provider: str) -> None:
        """A message that has not begun names these; one that has says so only at its beginning."""
        self._head |= {"model": model, "provider": provider}

    def rescued(self, rescue: object) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Nothing: this API's clients take only the events they know."""
        return b""

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        stopped = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
        message: dict[str, Any] = {
            **self._head,
            "content": [],
            **stopped,
            "container": None,
            "usage": _tokens(Usage()),
        }
        return _event("message_start", message=message)

    def _content(self, choice: Choice) -> Iterator[dict[str, Any]]:
        message = choice.message
        for item in _thoughts(message.get("reasoning"), message.get("reasoning_details")):
            yield thoughts.block(item, hidden=self._hidden)
        said = (message.get("refusal"), message.get("content"), _transcript(message.get("audio")))
        text = "".join(piece for piece in said if isinstance(piece, str))
        cited = list(_citations(message.get("annotations")))
        if text or cited:
            yield {"type": "text", "text": text, "citations": cited or None}
        for place, call in enumerate(_dicts(message.get("tool_calls"))):
            function = _dict(call.get("function"))
            yield {
                "type": "tool_use",
                "id": _text(call.get("id")) or _call_id(self._id, place),
                "name": _text(function.get("name")),
                "input": _input(_arguments(function.get("arguments"))),
            }


@dataclass(slots=True)
class _Tool:
    """A call on its way. `at` is its block, None until its name is known."""

    id: str
    name: str = ""
    at: int | None = None
    closed: bool = False
    pieces: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the arguments are all there: they are one JSON document."""
        try:
            orjson.loads("".join(self.pieces))
        except orjson.JSONDecodeError:
            return False
        return True


class _Blocks:
    """The content blocks of one stream: which are open, and what closes them.

    Usually one is open at a time. A call whose arguments are not all there when something else
    begins stays open: a few servers send the pieces of parallel calls in turns, and the index of
    each delta says what it belongs to.
    """

    def __init__(self, generation_id: str, *, hidden: bool) -> None:
        self._generation_id = generation_id
        self._hidden = hidden
        self._next = 0
        self._text: int | None = None
        self._text_prefix = b""
        self._thought: dict[str, Any] | None = None
        self._thought_at: int | None = None
        self._thought_texts: list[str] = []
        self._tools: dict[int | str, _Tool] = {}
        self._tool: _Tool | None = None
        self._last_key: int | str = 0
        self._refusals: list[str] = []

    @property
    def called(self) -> bool:
        """Whether a tool was called."""
        return any(tool.at is not None for tool in self._tools.values())

    @property
    def refusal_text(self) -> str:
        """What the model said when it refused."""
        return "".join(self._refusals)

    def delta(self, delta: Delta) -> bytes:
        """The events of a piece."""
        if delta.reasoning is None and delta.extra is None:
            return self._say(delta.content)
        extra = delta.extra or {}
        events = [
            self._think(item) for item in _thoughts(delta.reasoning, extra.get("reasoning_details"))
        ]
        refusal = _text(extra.get("refusal"))
        if refusal:
            self._refusals.append(refusal)
        events.append(self._say(refusal + delta.content + _transcript(extra.get("audio"))))
        events += [self._cite(citation) for citation in _citations(extra.get("annotations"))]
        events += [self._call(call) for call in _dicts(extra.get("tool_calls"))]
        return b"".join(events)

    def close(self) -> bytes:
        """Ends whatever is open. Harmless twice."""
        events = self._leave()
        for tool in self._tools.values():
            events += self._close_tool(tool)
        return events

    def _say(self, text: str) -> bytes:
        if not text:
            return b""
        head = self._open_text()
        return head + self._text_prefix + orjson.dumps(text) + b"}}\n\n"

    def _cite(self, citation: Mapping[str, Any]) -> bytes:
        head = self._open_text()
        return head + _delta(self._text or 0, {"type": "citations_delta", "citation": citation})

    def _open_text(self) -> bytes:
        if self._text is not None:
            return b""
        events = self._leave()
        self._text, start = self._open({"type": "text", "text": "", "citations": None})
        self._text_prefix = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"text_delta","text":' % self._text
        )
        return events + start

    def _think(self, fragment: Mapping[str, Any]) -> bytes:
        events = b""
        if self._thought is None or not continues(self._thought, fragment):
            events = self._leave()
            self._thought = {}
            if text_field(fragment) is not None:
                self._thought_at, start = self._open(
                    {"type": "thinking", "thinking": "", "signature": ""}
                )
                events += start
        text = self._remember(self._thought, fragment)
        if not text or self._hidden or self._thought_at is None:
            return events
        return events + _delta(self._thought_at, {"type": "thinking_delta", "thinking": text})

    def _remember(self, item: dict[str, Any], fragment: Mapping[str, Any]) -> str:
        """Add a fragment to its item; its text is kept aside, and given back."""
        field = text_field(fragment)
        for name, value in fragment.items():
            if name != field and (value is not None or name not in item):
                item[name] = value
        if field is None or field not in fragment:
            return ""
        text = readable(fragment)
        if text and self._hidden:
            self._thought_texts.append(text)
        # The client has the text itself; here it only matters whether there was any.
        item[field] = item.get(field) or fragment[field]
        return text

    def _leave(self) -> bytes:
        """Ends the text, the thought or the finished call that is open."""
        if self._text is not None:
            at, self._text = self._text, None
            return _stop(at)
        if self._thought is not None:
            return self._close_thought(self._thought)
        tool, self._tool = self._tool, None
        return self._close_tool(tool) if tool is not None and tool.complete else b""

    def _close_thought(self, item: dict[str, Any]) -> bytes:
        at, self._thought, self._thought_at = self._thought_at, None, None
        texts, self._thought_texts = self._thought_texts, []
        if at is None:
            at, start = self._open(thoughts.block(item, hidden=self._hidden))
            return start + _stop(at)
        field = text_field(item)
        if texts and field is not None:
            item[field] = "".join(texts)
        signed = thoughts.signature(item, hidden=self._hidden)
        return _delta(at, {"type": "signature_delta", "signature": signed}) + _stop(at)

    def _call(self, call: Mapping[str, Any]) -> bytes:
        function = _dict(call.get("function"))
        tool = self._tool_of(call)
        tool.name = tool.name or _text(function.get("name"))
        piece = _arguments(function.get("arguments"))
        if tool.closed:
            return b""
        if piece:
            tool.pieces.append(piece)
        if tool.at is not None:
            return _piece(tool.at, piece)
        if not tool.name:
            return b""
        events = self._leave()
        self._tool = tool
        tool.at, start = self._open(
            {"type": "tool_use", "id": tool.id, "name": tool.name, "input": {}}
        )
        return events + start + _piece(tool.at, "".join(tool.pieces))

    def _tool_of(self, call: Mapping[str, Any]) -> _Tool:
        """The call a fragment belongs to: by index, else by id, else the one before."""
        index, given = call.get("index"), _text(call.get("id"))
        key = index if isinstance(index, int) else given or self._last_key
        self._last_key = key
        tool = self._tools.get(key)
        if tool is None:
            made = given or _call_id(self._generation_id, len(self._tools))
            tool = self._tools[key] = _Tool(made)
        return tool

    @staticmethod
    def _close_tool(tool: _Tool) -> bytes:
        if tool.at is None or tool.closed:
            return b""
        tool.closed = True
        return _stop(tool.at)

    def _open(self, block: Mapping[str, Any]) -> tuple[int, bytes]:
        at = self._next
        self._next += 1
        return at, _event("content_block_start", index=at, content_block=block)


def _event(name: str, **fields: Any) -> bytes:
    return _frame(name, {"type": name, **fields})


def _frame(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


def _delta(at: int, delta: Mapping[str, Any]) -> bytes:
    return _event("content_block_delta", index=at, delta=delta)


def _piece(at: int, arguments: str) -> bytes:
    if not arguments:
        return b""
    return _delta(at, {"type": "input_json_delta", "partial_json": arguments})


def _stop(at: int) -> bytes:
    return _event("content_block_stop", index=at)


def _stopped(finish: Finish, stops: Sequence[str], *, called: bool, refusal: str) -> dict[str, Any]:
    """Stop reason, sequence and details; the reason is null where the provider gave none."""
    reason: str | None = None
    native = (finish.native or "").lower()
    if refusal:
        reason = "refusal"
    elif finish.reason == "stop" and called:
        reason = "tool_use"  # some servers end a turn of calls with a plain stop
    elif finish.reason in {"stop", "length"} and native in _NATIVE:
        reason = native
    elif finish.reason is not None:
        reason = _STOP_REASONS.get(finish.reason)
    met = reason == "stop_sequence" and len(stops) == 1
    refused = {"type": "refusal", "category": None, "explanation": refusal or None}
    return {
        "stop_reason": reason,
        "stop_sequence": stops[0] if met else None,
        "stop_details": refused if reason == "refusal" else None,
    }


def _tokens(usage: Usage) -> dict[str, Any]:
    """Counts in Anthropic's places: here the parts of a prompt exclude each other."""
    read, written, hour = usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    return {
        "input_tokens": max(0, usage.prompt_tokens - read - written),
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": max(0, written - hour),
            "ephemeral_1h_input_tokens": hour,
        },
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
        "service_tier": None,
        "inference_geo": None,
    }


def _usage(usage: Usage, cost: Cost, *, charged: bool) -> dict[str, Any]:
    """Tokens and money; an uncharged answer costs 0 whatever the provider took."""
    upstream = usd(cost.total_nano)
    return {
        **_tokens(usage),
        "cost": usd(cost.charged_nano) if charged else 0,
        "is_byok": cost.terms.byok,
        "cost_details": {
            "upstream_inference_cost": upstream,
            "upstream_inference_prompt_cost": usd(cost.prompt_nano + cost.request_nano),
            "upstream_inference_completions_cost": usd(cost.completion_nano),
        },
    }


def _thoughts(reasoning: object, details: object) -> list[Mapping[str, Any]]:
    """The reasoning details of a message or a delta; bare text becomes one of its own."""
    items: list[Mapping[str, Any]] = list(_dicts(details))
    bare = _text(reasoning)
    if bare and not any(readable(item) for item in items):
        items.insert(0, {"type": "reasoning.text", "text": bare, "format": UNKNOWN})
    return items


def _citations(annotations: object) -> Iterator[dict[str, Any]]:
    """Web citations; Anthropic's own index into its search results is not ours to give."""
    for annotation in _dicts(annotations):
        cited = _dict(annotation.get("url_citation"))
        if url := _text(cited.get("url")):
            yield {
                "type": "web_search_result_location",
                "url": url,
                "title": _text(cited.get("title")) or None,
                "cited_text": _text(cited.get("content")),
                "encrypted_index": "",
            }


def _transcript(audio: object) -> str:
    return _text(_dict(audio).get("transcript"))


def _arguments(value: object) -> str:
    """Arguments as JSON text; a few servers send the object itself."""
    return orjson.dumps(value).decode() if isinstance(value, dict) else _text(value)


def _input(arguments: str) -> dict[str, Any]:
    if not arguments.strip():
        return {}
    try:
        found = orjson.loads(arguments)
        # orjson reads deeper nesting than it writes.
        orjson.dumps({"content": [{"input": found}]})
    except (orjson.JSONDecodeError, TypeError):
        found = None
    return found if isinstance(found, dict) else {INVALID_ARGUMENTS: arguments}


def _call_id(generation_id: str, place: int) -> str:
    """An id for a call whose provider gave none."""
    return f"call_{generation_id}_{place}"


def _dicts(value: object) -> Iterable[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else ()


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
