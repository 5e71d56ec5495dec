"""Answers that broke off after their first byte: whether and how another endpoint takes them over.

An answer that is plain text so far is continued where the endpoint goes on with a last message of
the assistant's: the client sees one answer. Otherwise it begins anew, in those forms of answer that
have a place to say so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from routing.catalog.shapes import Endpoint
from routing.errors import Failure
from routing.tokens import count_tokens
from routing.usage import Usage, recounted
from routing.wire.chat import ChatRequest
from routing.wire.job import Api, PlanEntry
from routing.wire.messages import Message, NamedTool
from routing.wire.render import Renderer, Rescue
from routing.wire.request import InferenceRequest
from workers.call import Part, Tally
from workers.emitter import Stream

#: Their chunks have a place that says: throw away what came before.
_RESTARTS: frozenset[Api] = frozenset({"chat", "completions"})
FLAG = "rescued"


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """How an endpoint goes on with an answer.

    Attributes:
        request: what it is asked.
        before: what the client has of the answer.
        mark: told to the client with the first piece.
        full: the answer is as long as it may be; nobody need be asked.
    """

    request: InferenceRequest
    before: Part
    mark: Rescue
    full: bool = False

    def announce(self, render: Renderer, out: Stream) -> None:
        """Tell the client; what is rendered from now on comes from the new endpoint."""
        marked = render.rescued(self.mark)
        if marked:
            out.write(marked)
        render.moved(self.mark.to_model, self.mark.to_provider)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenOff:
    """A stream that died after its first byte, and the renderer that goes on with it."""

    entry: PlanEntry
    endpoint: Endpoint
    tally: Tally
    render: Renderer
    failure: Failure

    def onward(
        self, api: Api, request: InferenceRequest, entry: PlanEntry, endpoint: Endpoint
    ) -> Onward | None:
        """How this endpoint can go on; None if it cannot in this form of answer.

        `request` is what the endpoint would be asked from the beginning.
        """
        begun = self._begun()
        mark = Rescue(
            action="continued",
            from_provider=self.endpoint.provider.name,
            to_provider=endpoint.provider.name,
            to_model=entry.model_id,
            failure=self.failure,
        )
        if endpoint.prefill and begun.text and isinstance(request, ChatRequest):
            continued = _continued(request, begun)
            if continued is not None:
                full = _left(request, begun.tokens) == 0
                return Onward(request=continued, before=begun, mark=mark, full=full)
        if api not in _RESTARTS:
            return None
        anew = Part(first_ms=begun.first_ms)
        return Onward(request=request, before=anew, mark=replace(mark, action="restarted"))

    def whole(self) -> Tally:
        """The tally of an answer that need not go on."""
        before = self.tally.before or Part(first_ms=self.tally.first_ms)
        return replace(self.tally, usage=None, before=before)

    def _begun(self) -> Part:
        before = self.tally.before or Part(first_ms=self.tally.first_ms)
        if not self.tally.plain:
            return replace(before, text="", tokens=0, paid=())
        text = before.text + "".join(self.tally.texts)
        tokens = count_tokens(text)
        paid = (*before.paid, (self.entry.byok, tokens - before.tokens))
        return replace(before, text=text, tokens=tokens, paid=paid)


def with_part(usage: Usage, before: Part | None, payer: str = "") -> Usage:
    """The usage of a whole answer, given that of the call which finished it.

    A continued answer is billed as if one endpoint had given all of it: the text it was continued
    from counts as completion, not as prompt. Of one that began anew only the new one is billed.
    Nor is what came with another key than that of `payer`: its provider has billed it already.
    """
    if before is None:
        return usage
    flags = (*usage.flags, FLAG)
    if not before.tokens:
        return replace(usage, flags=flags)
    # Our own count of the prompt is that of the original request, without the continued text.
    prefilled = 0 if usage.estimated else before.tokens
    prompt = max(0, usage.prompt_tokens - prefilled)
    elsewhere = sum(tokens for key, tokens in before.paid if key != payer)
    begun = max(0, before.tokens - elsewhere)
    return recounted(usage, prompt, usage.completion_tokens + begun, flags)


def _continued(request: ChatRequest, begun: Part) -> ChatRequest | None:
    """The request with the answer so far as its last message; None where that does not fit."""
    if request.logprobs or _thinks(request) or _is_bound(request):
        return None
    messages = request.messages
    if messages is None:
        messages = (Message(role="user", content=request.prompt or ""),)
    text = begun.text.rstrip()
    if not text:
        return None
    if messages and messages[-1].role == "assistant":  # the caller began the answer
        opening = messages[-1]
        if not isinstance(opening.content, str) or opening.tool_calls:
            return None
        messages, text = messages[:-1], opening.content + text
    changes: dict[str, object] = {
        name: max(1, wanted - begun.tokens)
        for name in ("max_tokens", "max_completion_tokens")
        if (wanted := getattr(request, name)) is not None
    }
    if request.prompt is not None:
        changes["prompt"] = None
    messages = (*messages, Message(role="assistant", content=text))
    return request.model_copy(update={"messages": messages, **changes})


def _left(request: ChatRequest, tokens: int) -> int | None:
    """How much longer the answer may become; None for no limit."""
    limit = request.completion_limit
    return None if limit is None else max(0, limit - tokens)


def _is_bound(request: ChatRequest) -> bool:
    """Whether the whole answer must have a form, which the rest of it alone would not have."""
    form, choice = request.response_format, request.tool_choice
    formed = form is not None and form.type != "text"
    return formed or choice == "required" or isinstance(choice, NamedTool)


def _thinks(request: ChatRequest) -> bool:
    """Whether the model is to think first, which an answer under way leaves no room for."""
    asked = request.reasoning
    efforts = {request.reasoning_effort, asked.effort if asked is not None else None}
    if efforts - {None, "none"}:
        return True
    return asked is not None and bool(asked.enabled or asked.max_tokens)
