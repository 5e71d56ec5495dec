"""One upstream call: encode, send, read, decode, under four separate time-outs.

Raises only the tree's `UpstreamError`s, and `Interrupted` when this process was told to let go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from routing.catalog.shapes import Endpoint
from routing.clock import Clock
from routing.errors import AnswerLost, UpstreamDown, UpstreamError, UpstreamRefused
from routing.usage import Usage
from routing.wire.embeddings import EmbeddingsRequest, inputs_of
from routing.wire.events import EXTRAS, Answer, Broken, Choice, Delta, End, Event, Finish, Used
from routing.wire.job import Api
from routing.wire.render import Renderer
from routing.wire.request import InferenceRequest
from workers.connections import ConnectionPool, Exchange, Wait
from workers.dialects import Dialect, UpstreamRequest
from workers.dialects.registry import dialect
from workers.emitter import Stream
from workers.held import Held
from workers.inline import Inliner
from workers.keyring import Keyring, OwnKey
from workers.refusal import PIECES_MAX, Refused, refuses, says_nothing
from workers.tool_quality import Judge

#: After the finish reason only usage and the end mark can follow; a provider that omits them
#: must not keep the client waiting.
LINGER_S = 2.0
#: An error body is read for its message, not for its length.
ERROR_BODY_WAIT_S = 5.0
HTTP_OK = 200


class Interrupted(Exception):
    """This process was told to let go of the job; `Held.order` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an answer had brought before it went on at another endpoint.

    Attributes:
        text: what is continued; "" when the answer begins anew and this part is thrown away.
        tokens: of that text, by our own count.
        first_ms: when the client had its first piece (wall clock).
        paid: those tokens by the own provider key they came with; "" for the operator's.
    """

    text: str = ""
    tokens: int = 0
    first_ms: int | None = None
    paid: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Tally:
    """What one stream has brought so far.

    Attributes:
        texts: content and reasoning, for counting when the provider reports no usage.
        contents: of them, the content of the first choice.
        thoughts: likewise the reasoning.
        calls: pieces of its tool calls.
        plain: it is nothing but text of one choice.
        first_ms: when the first piece came (wall clock).
        before: what came from endpoints that broke off, for a stream that was rescued.
    """

    texts: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[Mapping[str, Any]] = field(default_factory=list)
    plain: bool = True
    finish: Finish | None = None
    usage: Usage | None = None
    ended: bool = False
    first_ms: int | None = None
    before: Part | None = None

    @property
    def complete(self) -> bool:
        """Ended as a stream must: with a finish reason or the dialect's own end mark."""
        return self.ended or self.finish is not None

    @property
    def empty(self) -> bool:
        """Nothing but an end mark: no piece, no finish, no usage."""
        return self.first_ms is None and self.finish is None and self.usage is None

    def hear(self, delta: Delta) -> None:
        """Note what a piece says, for accounts that keep it."""
        if delta.index:
            return
        if delta.content:
            self.contents.append(delta.content)
        if delta.reasoning:
            self.thoughts.append(delta.reasoning)
        calls = (delta.extra or {}).get("tool_calls")
        if isinstance(calls, list):
            self.calls += [call for call in calls if isinstance(call, Mapping)]


class Bounds:
    """The four time-outs of one call, each against its own start."""

    def __init__(self, endpoint: Endpoint, remaining_ms: int, *, stream: bool) -> None:
        limits = endpoint.provider.timeouts
        first_byte_ms = endpoint.first_byte_ms or limits.first_byte_ms
        self.connect_ms = min(limits.connect_ms, remaining_ms)
        self._started = self._called = time.monotonic()
        self._total_ms = min(limits.total_ms, remaining_ms)
        # A plain answer arrives in one piece at its end: half the total leaves time for another.
        first_ms = first_byte_ms if stream else max(first_byte_ms, self._total_ms // 2)
        self.first_ms = min(first_ms, self._total_ms)
        self._gap_ms = limits.gap_ms

    def begin(self) -> None:
        """The call itself begins now: fetching what it needs is no silence of the provider's."""
        self._called = time.monotonic()

    def first_byte(self) -> Wait:
        """For anything before the first piece of the answer."""
        left = self._called + self.first_ms / 1000 - time.monotonic()
        return Wait(left, "first_byte", self.first_ms)

    def gap(self) -> Wait:
        """For anything after it."""
        left = self._started + self._total_ms / 1000 - time.monotonic()
        if left < self._gap_ms / 1000:
            return Wait(left, "total", self._total_ms)
        return Wait(self._gap_ms / 1000, "gap", self._gap_ms)


@dataclass(slots=True, kw_only=True)
class Call:
    """One call of one endpoint. `plain` or `streamed`, once.

    Attributes:
        on_first: told when the first piece of the answer came, before it is passed on: the endpoint
            is well.
        moves_on: whether a refusal leads to another endpoint; if not, it is the answer.
        judge: hears the tool calls; None for a request without tools.
        own: the customer's own provider key; None for the operator's.
        refused: the answer this call came to, when it raised `UpstreamRefused`.
    """

    connections: ConnectionPool
    clock: Clock
    keyring: Keyring
    inliner: Inliner
    api: Api
    endpoint: Endpoint
    held: Held
    request: InferenceRequest
    bounds: Bounds
    on_first: Callable[[], None]
    moves_on: Callable[[UpstreamRefused], bool] = lambda _: False
    judge: Judge | None = None
    own: OwnKey | None = None
    tally: Tally = field(default_factory=Tally)
    refused: Refused | None = None
    _kept: list[Delta | Finish] = field(default_factory=list)

    @property
    def dialect(self) -> Dialect[Any]:
        """Who translates for this endpoint."""
        return dialect(self.endpoint.dialect, self.api)

    def plain(self) -> Answer:
        """A whole answer.

        Raises:
            UpstreamError, Interrupted
        """
        exchange = self._open(stream=False)
        try:
            body = exchange.read_all(self.bounds.gap)
            answer = self.dialect.answer(body)
            self._check_vectors(answer)
            if says_nothing(answer) and self.moves_on(UpstreamRefused()):
                self.refused = Refused.of_answer(answer)
                self.tally.usage = answer.usage
                raise UpstreamRefused
            self._came()
        except UpstreamError as error:
            self._check_orders()
            _answered(error)
            raise
        finally:
            self._let_go(exchange)
        self.tally.usage = answer.usage
        self.tally.finish = answer.choices[0].finish if answer.choices else None
        if self.judge is not None:
            for choice in answer.choices:
                self.judge.whole(choice.index, choice.message.get("tool_calls"))
        return answer

    def _check_vectors(self, answer: Answer) -> None:
        """One for each input, or the client could not tell which is whose."""
        if not isinstance(self.request, EmbeddingsRequest):
            return
        asked, found = len(inputs_of(self.request)), len(answer.vectors)
        if asked != found:
            raise UpstreamDown(f"Provider sent {found} vectors for {asked} inputs")

    def streamed(self, renderer: Renderer, out: Stream) -> None:
        """Pass a stream on piece by piece; what came is in `tally`, also when this raises.

        Raises:
            UpstreamError: the stream broke, or ended without a proper end.
            Interrupted
        """
        exchange = self._open(stream=True)
        try:
            if self.dialect.streams(exchange.header("content-type")):
                self._read_events(exchange, renderer, out)
            else:
                self._read_body(exchange, renderer, out)
        except UpstreamError as error:
            self._check_orders()
            _answered(error)
            if not self._finished:
                raise
        finally:
            self._let_go(exchange)
        if self._kept and (self._finished or self.tally.ended):
            self.refused = Refused.of_stream(self._kept, self.tally.usage)
            raise UpstreamRefused
        if not self.tally.complete:
            raise UpstreamDown("Provider ended the stream without finishing it")
        if self.tally.empty:
            raise UpstreamDown("Provider sent an empty stream")

    def _open(self, *, stream: bool) -> Exchange:
        """Send the request and read the head of the answer."""
        credential = self.keyring.credential(self.endpoint, self.own)
        request = self.inliner.inlined(self.request, self.endpoint)
        self._check_orders()
        self.bounds.begin()
        upstream = self.dialect.encode(request, self.endpoint, credential, stream=stream)
        exchange = self._send(upstream)
        self.held.exchange = exchange
        self._check_orders(exchange)
        try:
            exchange.head(self.bounds.first_byte())
            if exchange.status != HTTP_OK:
                raise self._refusal(exchange)
        except UpstreamError:
            self._let_go(exchange)
            self._check_orders()
            raise
        return exchange

    def _send(self, upstream: UpstreamRequest) -> Exchange:
        return self.connections.send(
            upstream.url,
            upstream.headers,
            upstream.body,
            connect_ms=self.bounds.connect_ms,
            send_ms=self.bounds.first_ms,
        )

    def _refusal(self, exchange: Exchange) -> UpstreamError:
        """What a status other than 200 means, with as much of the body as comes soon."""
        until_s = time.monotonic() + ERROR_BODY_WAIT_S
        limit_ms = int(ERROR_BODY_WAIT_S * 1000)
        try:
            body = exchange.read_all(lambda: Wait(until_s - time.monotonic(), "gap", limit_ms))
        except UpstreamError:
            body = b""
        headers = exchange.headers()
        error = self.dialect.error(exchange.status, headers, body, self.clock.now_ms())
        error.upstream_status = exchange.status
        return error

    def _read_events(self, exchange: Exchange, renderer: Renderer, out: Stream) -> None:
        translator = self.dialect
        reader, decoder = translator.reader(), translator.decoder()
        while not self.tally.ended:
            chunk = exchange.read(self._patience())
            for data in reader.feed(chunk) if chunk else reader.close():
                for event in decoder.decode(data):
                    self._take(event, renderer, out)
            self._check_orders()
            if not chunk:
                return

    def _read_body(self, exchange: Exchange, renderer: Renderer, out: Stream) -> None:
        """Something else than a stream came: an error, a plain answer, a login page."""
        answer = self.dialect.answer(exchange.read_all(self.bounds.gap))
        for choice in answer.choices:
            whole = whole_delta(choice)
            if not says_nothing(replace(answer, choices=(choice,))) or whole.extra:
                self._take(whole, renderer, out)
            self._take(choice.finish, renderer, out)
        self.tally.usage = answer.usage
        self.tally.ended = True

    def _patience(self) -> Wait:
        if self._finished:
            return Wait(LINGER_S, "gap", int(LINGER_S * 1000))
        return self.bounds.first_byte() if self.tally.first_ms is None else self.bounds.gap()

    @property
    def _finished(self) -> bool:
        return self.tally.finish is not None or any(isinstance(one, Finish) for one in self._kept)

    def _take(self, event: Event, renderer: Renderer, out: Stream) -> None:
        match event:
            case Delta() | Finish():
                if self.tally.first_ms is not None:
                    self._say(event, renderer, out)
                elif self._keeps(event):
                    self._kept.append(event)
                else:
                    kept, self._kept = self._kept, []
                    for one in (*kept, event):
                        self._say(one, renderer, out)
            case Used():
                self.tally.usage = event.usage
            case Broken():
                raise event.error
            case End():
                self.tally.ended = True

    def _keeps(self, event: Delta | Finish) -> bool:
        """Whether this is kept back: so far the answer is but a refusal, and others may do better.

        Should it say something after all, what was kept is passed on before that.
        """
        if self.tally.texts or len(self._kept) >= PIECES_MAX:
            return False
        if isinstance(event, Delta):
            refused = refuses(event)
        else:
            refused = bool(self._kept) or event.reason == "content_filter"
        return refused and (bool(self._kept) or self.moves_on(UpstreamRefused()))

    def _say(self, event: Delta | Finish, renderer: Renderer, out: Stream) -> None:
        """Count a piece and pass it on."""
        tally = self.tally
        if isinstance(event, Delta):
            shown = self._shown(self._joined(event))
            if shown is not None:
                self._begin()
                self._pass_on(renderer.delta(shown), out)
            return
        self._begin()
        if event.index == 0 or tally.finish is None:
            tally.finish = event
        self._pass_on(renderer.finish(event), out)

    def _joined(self, delta: Delta) -> Delta:
        """A piece as it follows what the client has: white space between the two stands once.

        The answer was continued from before it, since providers refuse it at a prefill's end.
        """
        before = self.tally.before
        if before is None or self.tally.texts or not before.text[-1:].isspace():
            return delta
        return replace(delta, content=delta.content.lstrip())

    def _shown(self, delta: Delta) -> Delta | None:
        """The part of a delta the caller wants to see; all of it is counted."""
        tally = self.tally
        if delta.content:
            tally.texts.append(delta.content)
        if delta.extra:
            tally.texts += called(delta.extra)
            if self.judge is not None and "tool_calls" in delta.extra:
                self.judge.fragments(delta.index, delta.extra["tool_calls"])
        if delta.reasoning:
            tally.texts.append(delta.reasoning)
        tally.hear(delta)
        if delta.extra or delta.reasoning or delta.logprobs or delta.index:
            tally.plain = False
        return without_thoughts(delta) if self.request.hides_reasoning else delta

    def _begin(self) -> None:
        if self.tally.first_ms is None:
            self._came()

    def _pass_on(self, payload: bytes, out: Stream) -> None:
        if out.fenced:
            self.held.tell("lost")
        if out.dropped:
            raise AnswerLost
        if self.held.order in {"cancel", "lost"}:
            return  # nobody reads it; a cancelled call runs on only if its bill does
        self.held.sent = True
        out.write(payload)

    def _came(self) -> None:
        """The first piece is here."""
        self.tally.first_ms = self.clock.now_ms()
        self.on_first()

    def _check_orders(self, exchange: Exchange | None = None) -> None:
        order = self.held.order
        if order is None or (order == "cancel" and not self.held.cancellable):
            return
        if exchange is not None:
            self._let_go(exchange)
        raise Interrupted

    def _let_go(self, exchange: Exchange) -> None:
        self.held.exchange = None
        exchange.settle()


def _answered(error: UpstreamError) -> None:
    """A refusal that came inside of an answer is one all the same."""
    if error.blame == "caller" and error.upstream_status is None:
        error.upstream_status = HTTP_OK


def whole_delta(choice: Choice) -> Delta:
    """A whole message as the one delta of a stream."""
    message = choice.message
    extra = {name: message[name] for name in EXTRAS if message.get(name)}
    if "tool_calls" in extra:
        extra["tool_calls"] = [
            {"index": index, **call} for index, call in enumerate(extra["tool_calls"])
        ]
    return Delta(
        choice.index,
        message.get("content") or "",
        message.get("reasoning"),
        extra or None,
        choice.logprobs,
    )


def without_thoughts(delta: Delta) -> Delta | None:
    """What is left of a delta for a caller who wants no thinking; None for nothing."""
    extra = delta.extra
    if extra and "reasoning_details" in extra:
        extra = {name: value for name, value in extra.items() if name != "reasoning_details"}
    if not delta.content and not extra:
        return None
    return Delta(delta.index, delta.content, None, extra or None, delta.logprobs)


def called(message: Mapping[str, Any] | None) -> list[str]:
    """The names and arguments of tool calls in a message or a delta: the model wrote them too."""
    calls = (message or {}).get("tool_calls")
    functions = [
        call["function"]
        for call in (calls if isinstance(calls, list) else ())
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    ]
    texts = [function.get(name) for function in functions for name in ("name", "arguments")]
    return [text for text in texts if isinstance(text, str)]
