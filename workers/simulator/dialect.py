"""What a wire format must offer, and the neutral values it speaks in.

A dialect reads a request into an ``Ask`` (or answers at once, with ``Direct``), and renders an
``Answer`` as one body or as events. Everything else, the faults above all, works on these values
and is written once for all dialects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, Protocol

from workers.simulator.wire import Request

SSE: Final = "text/event-stream; charset=utf-8"

# Counts are whole numbers, except where the absurd_usage fault has been at work.
Count = int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the answer is going to call, with the JSON schema of its parameters."""

    name: str
    schema: dict[str, Any]


class CacheMark(NamedTuple):
    """The end of a stretch of the prompt that the client wants cached.

    Attributes:
        key: What the prompt says up to here, as a digest.
        tokens: How long it is up to here.
        lasting: True for the longer of the two lifetimes.
    """

    key: str
    tokens: int
    lasting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A valid request, reduced to what decides the answer.

    Attributes:
        kind: ``chat``, ``text`` for legacy text completions, or ``embeddings``.
        said: The last user message, to echo it and to find markers in it.
        calls: The tools the answer calls; empty for an answer in words.
        json_schema: The schema the content must follow; empty for any object, None for prose.
        media: MIME types of the media received, in order; ``image/url`` for one by URL.
        tool_results: Texts of the tool results since the last user message.
        images: How many images the answer must hold.
        audio_format: The format of spoken output, empty for none.
        inputs: The texts to embed.
        dimensions: The length of their vectors; 0 for the default.
        cached_tokens: Prompt tokens under explicit cache marks, for a dialect that gives no
            ``cache_marks``.
        cache_marks: The explicit cache marks, the shortest first.
        implicit_cache: Whether the provider caches long prompts without being asked.
        betas: Features the client switched on by a header.
        extras: What only the dialect itself needs again when it renders.
    """

    model: str
    said: str
    kind: Literal["chat", "text", "embeddings"] = "chat"
    stream: bool = False
    include_usage: bool = False
    prompt_tokens: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    calls: tuple[Tool, ...] = ()
    json_schema: dict[str, Any] | None = None
    reasoning: bool = False
    media: tuple[str, ...] = ()
    tool_results: tuple[str, ...] = ()
    images: int = 0
    aspect_ratio: str = "1:1"
    audio_format: str = ""
    inputs: tuple[str, ...] = ()
    dimensions: int = 0
    cached_tokens: int = 0
    cache_marks: tuple[CacheMark, ...] = ()
    implicit_cache: bool = True
    betas: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """A whole response that needs no answer: a refusal, or a list of models."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the answer says it cost.

    Attributes:
        prompt: All prompt tokens, those of the cache included.
        cached: Those read from the cache.
        cache_write: Those written to it.
        audio: Prompt tokens of audio.
        image_out: Completion tokens of images.
        audio_out: Completion tokens of audio.
    """

    prompt: Count
    completion: Count
    total: Count
    cached: Count = 0
    reasoning: Count = 0
    cache_write: Count = 0
    audio: Count = 0
    image_out: Count = 0
    audio_out: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call in an answer; the arguments are a JSON text, as on the wire."""

    tag: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the answers; the pieces are what a stream sends one by one.

    Attributes:
        finish_reason: In OpenAI's words; None when the answer does not say.
        images: Real PNG files.
        audio: Spoken output in the format that was asked for, silent.
        transcript: What it says.
        refusal: Why the model refuses; everything else is empty then.
        stopped_by: The stop text that ended it, if one did.
    """

    pieces: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = "stop"
    images: tuple[bytes, ...] = ()
    audio: bytes = b""
    transcript: str = ""
    refusal: str = ""
    stopped_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said, before any wire format.

    Attributes:
        tag: Hexadecimal characters, at least 32, that ids are made of.
        says_finish: False when the stream lacks the event that ends a choice.
        vectors: One for every input, for embeddings.
    """

    tag: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None
    says_finish: bool = True
    vectors: tuple[tuple[float, ...], ...] = ()


class Event(NamedTuple):
    """One server-sent event.

    Attributes:
        kind: ``end`` marks the dialect's own end mark (``[DONE]``, ``message_stop``).
        name: What its ``event:`` line says; empty for none.
    """

    data: bytes
    kind: Literal["start", "piece", "finish", "usage", "end", "error"] = "piece"
    name: str = ""


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
    """A wire format; subclass it, so that what has a default need not be written.

    Attributes:
        stream_type: The content type of a stream. Anything but server-sent events counts as
            binary: the faults that are about lines of text leave it alone.
        id_header: The header that carries the id of the request.
    """

    stream_type: str = SSE
    id_header: str = "x-request-id"

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

    def broken_off(self, provider: str, ask: Ask, answer: Answer, sent: int) -> list[Event]:
        """Render how a stream ends that fails after so many events."""
        del ask, answer, sent
        return [self.failure_event(provider, Failure.BROKEN)]

    def frame(self, event: Event) -> bytes | None:
        """Return an event as it goes out; None for lines of ``event:``, if named, and ``data:``."""
        del event
        return None
