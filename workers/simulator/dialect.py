"""What a wire format must offer, and the neutral values it speaks in.

A dialect reads a request into an ``Ask`` (or answers at once, with ``Direct``), and renders an
``Answer`` as one body or as events. Everything else, the faults above all, works on these values
and is written once for all dialects.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

from workers.simulator.wire import Request

# Counts are whole numbers, except where the absurd_usage fault has been at work.
Count = int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the answer is going to call, with the JSON schema of its parameters."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A valid request, reduced to what decides the answer.

    Attributes:
        kind: ``chat``, or ``text`` for legacy text completions.
        said: The last user message, to echo it and to find markers in it.
        calls: The tools the answer calls; empty for an answer in words.
        json_schema: The schema the content must follow; empty for any object, None for prose.
    """

    model: str
    said: str
    kind: Literal["chat", "text"] = "chat"
    stream: bool = False
    include_usage: bool = False
    prompt_tokens: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    calls: tuple[Tool, ...] = ()
    json_schema: dict[str, Any] | None = None
    reasoning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """A whole response that needs no answer: a refusal, or a list of models."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the answer says it cost."""

    prompt: Count
    completion: Count
    total: Count
    cached: Count = 0
    reasoning: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call in an answer; the arguments are a JSON text, as on the wire."""

    tag: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the answers; the pieces are what a stream sends one by one."""

    pieces: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said, before any wire format.

    Attributes:
        tag: Hexadecimal characters, at least 32, that ids are made of.
        says_finish: False when the stream lacks the event that ends a choice.
    """

    tag: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None
    says_finish: bool = True


class Event(NamedTuple):
    """One server-sent event; ``end`` marks the dialect's own end mark (``[DONE]``)."""

    data: bytes
    kind: Literal["start", "piece", "finish", "usage", "end", "error"] = "piece"


class Failure(StrEnum):
    """Ways a provider says no; the dialect knows the status and the words."""

    RATE_LIMITED = "429"
    BROKEN = "500"
    OVERLOADED = "503"
    UNAUTHORIZED = "401"
    UNPAID = "402"
    FORBIDDEN = "403"
    CONTEXT = "context_400"
    FILTERED = "content_filter_400"


class Dialect(Protocol):
    """A wire format."""

    def claims(self, path: str) -> bool:
        """Whether this path (provider taken off) belongs to this dialect."""
        ...

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Read a request as strictly as the provider would."""
        ...

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render an answer as one body."""
        ...

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render an answer as a stream."""
        ...

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error in the provider's own form."""
        ...

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an error inside a stream."""
        ...
