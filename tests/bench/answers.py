"""What a right answer is: every byte of every answer is checked, after the clock has stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from workers.simulator.text import ECHO_CHARACTERS, greeting

#: The simulator repeats the beginning of what was said; what makes a request unique comes later.
OPENING: Final = "How are the points set for the night train to Innsbruck, and "
TICKET: Final = "who has the key to the signal box? Ticket "
#: One more than the pairs of sentences the simulator's greeting chooses from.
SEEDS: Final = 42
END: Final = b"[DONE]"

if len(" ".join(OPENING.split())) < ECHO_CHARACTERS:
    raise ValueError("the opening must fill the simulator's echo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of traffic.

    Attributes:
        upstream: the simulator's model; it chooses the pace.
        chunks: pieces of content the simulator sends.
        span_s: what the simulator itself takes for one answer.
    """

    name: str
    upstream: str
    stream: bool
    chunks: int = 0
    span_s: float = 0.0

    def body(self, model: str, ticket: int) -> bytes:
        """One request; no two are the same."""
        said = f"{OPENING}{TICKET}{ticket:09d}."
        messages = [{"role": "user", "content": said}]
        return orjson.dumps({"model": model, "stream": self.stream, "messages": messages})

    def texts(self) -> frozenset[str]:
        """All texts the simulator may answer with."""
        return frozenset(greeting(self.upstream, OPENING, seed) for seed in range(SEEDS))


KINDS: Final = (
    Kind(name="plain", upstream="sim-plain", stream=False),
    Kind(name="burst", upstream="sim-burst-20", stream=True, chunks=20),
    Kind(name="paced", upstream="sim-paced-20x50", stream=True, chunks=20, span_s=1.0),
)


def fault(kind: Kind, texts: frozenset[str], status: int, body: bytes) -> str | None:
    """What is wrong with an answer; None when nothing is."""
    if status != 200:
        return f"status {status}: {body[:160].decode(errors='replace')}"
    try:
        return _stream_fault(body, texts) if kind.stream else _plain_fault(body, texts)
    except (ValueError, LookupError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


def _plain_fault(body: bytes, texts: frozenset[str]) -> str | None:
    choice = orjson.loads(body)["choices"][0]
    if choice["finish_reason"] != "stop":
        return f"finish reason {choice['finish_reason']}"
    return None if choice["message"]["content"] in texts else "the text is not the provider's"


def _stream_fault(body: bytes, texts: frozenset[str]) -> str | None:
    events = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    if not events or events[-1] != END:
        return "the stream does not end with [DONE]"
    text, reasons = "", []
    for event in events[:-1]:
        chunk: dict[str, Any] = orjson.loads(event)
        if "error" in chunk:
            return f"error in the stream: {str(chunk['error'])[:160]}"
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            if choice.get("finish_reason"):
                reasons.append(choice["finish_reason"])
    if reasons != ["stop"]:
        return f"finish reasons {reasons}"
    return None if text in texts else "the text is not the provider's"
