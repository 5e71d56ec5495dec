"""Refusals that were kept back: answers for which a content filter left no word.

Another endpoint may do better. If none does, the client gets the refusal as the provider gave it,
from whichever worker finds that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from routing.usage import Usage
from routing.wire.events import EXTRAS, Answer, Choice, Delta, Event, Finish, FinishReason
from routing.wire.job import usage_from_list, usage_to_list

#: Pieces of a refusal that are kept back; a longer one is passed on.
PIECES_MAX = 2_000
#: What makes a message more than a refusal.
_SAYS_MORE = ("content", "reasoning", *(name for name in EXTRAS if name != "refusal"))


@dataclass(frozen=True, slots=True)
class Unsaid:
    """One choice of a refused answer: what the provider said instead, if anything."""

    index: int
    refusal: str
    reason: FinishReason | None
    native: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A whole refused answer.

    Attributes:
        entry: the place in the plan of the one that gave it.
    """

    choices: tuple[Unsaid, ...]
    entry: int = 0
    usage: Usage | None = None
    upstream_id: str | None = None

    @classmethod
    def of_answer(cls, answer: Answer) -> Refused:
        """Of a plain one."""
        return cls(
            choices=tuple(
                Unsaid(one.index, one.message.get("refusal") or "", *_end(one.finish))
                for one in answer.choices
            ),
            usage=answer.usage,
            upstream_id=answer.upstream_id,
        )

    @classmethod
    def of_stream(cls, events: Sequence[Event], usage: Usage | None) -> Refused:
        """Of the pieces that were kept back."""
        texts: dict[int, str] = {}
        ends: dict[int, Finish] = {}
        for event in events:
            if isinstance(event, Delta):
                texts[event.index] = texts.get(event.index, "") + _refusal_of(event)
            elif isinstance(event, Finish):
                ends[event.index] = event
        choices = tuple(
            Unsaid(index, texts.get(index, ""), *_end(ends.get(index)))
            for index in sorted(texts.keys() | ends.keys())
        )
        return cls(choices=choices, usage=usage)

    @classmethod
    def from_list(cls, data: list[Any]) -> Refused:
        """The inverse of `to_list`."""
        entry, choices, usage, upstream_id = data
        return cls(
            entry=entry,
            choices=tuple(Unsaid(*one) for one in choices),
            usage=None if usage is None else usage_from_list(usage),
            upstream_id=upstream_id,
        )

    def to_list(self) -> list[Any]:
        """For JSON."""
        return [
            self.entry,
            [[one.index, one.refusal, one.reason, one.native] for one in self.choices],
            None if self.usage is None else usage_to_list(self.usage),
            self.upstream_id,
        ]

    def answer(self) -> Answer:
        """As a plain answer."""
        return Answer(
            choices=tuple(
                Choice(
                    index=one.index,
                    message={
                        "role": "assistant",
                        "content": None if one.refusal else "",
                        "refusal": one.refusal or None,
                        "reasoning": None,
                    },
                    finish=Finish(one.index, one.reason, one.native),
                )
                for one in self.choices
            ),
            usage=self.usage,
            upstream_id=self.upstream_id,
        )

    def events(self) -> list[Delta | Finish]:
        """As a stream."""
        events: list[Delta | Finish] = []
        for one in self.choices:
            if one.refusal:
                events.append(Delta(one.index, extra={"refusal": one.refusal}))
            events.append(Finish(one.index, one.reason, one.native))
        return events


def refuses(delta: Delta) -> bool:
    """Whether a piece is nothing but a refusal."""
    return (delta.extra or {}).keys() == {"refusal"} and not (delta.content or delta.reasoning)


def says_nothing(answer: Answer) -> bool:
    """Whether every choice of an answer is refused, or filtered before its first word."""
    return bool(answer.choices) and all(
        (choice.finish.reason == "content_filter" or choice.message.get("refusal"))
        and not any(choice.message.get(name) for name in _SAYS_MORE)
        for choice in answer.choices
    )


def _refusal_of(delta: Delta) -> str:
    return str((delta.extra or {}).get("refusal") or "")


def _end(finish: Finish | None) -> tuple[FinishReason | None, str | None]:
    return (finish.reason, finish.native) if finish is not None else (None, None)
