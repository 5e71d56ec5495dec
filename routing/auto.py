"""Which model of a pool suits a prompt: what `openrouter/auto` does, without asking anybody.

The prompt is read for what can be told at memory speed: its size, the kind of task, how hard it
looks. That orders the pool; the same prompt always gives the same order. It is a rule of thumb and
knows no language but English words and the marks of code and mathematics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from routing.catalog.shapes import PoolEntry, Strength
from routing.wire.chat import ChatRequest
from routing.wire.messages import TextPart

#: Characters looked at, from the start and from the end of the last message of a user.
LOOK_CHARS = 4_000
#: Rough prompt sizes: below a question, above a document.
SHORT_TOKENS = 200
LONG_TOKENS = 8_000
#: Models of the pool that are planned: the choice and what it falls back on.
CHOICES_MAX = 3

_STRENGTHS: tuple[Strength, ...] = ("light", "standard", "strong")
_MARKS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "code",
        re.compile(
            r"```|\b(def|class|function|import|SELECT|const|public static|#include)\s|\b(python|"
            r"javascript|typescript|rust|golang|java|sql|regex|bash|kubernetes|refactor|debug|"
            r"stack ?trace|compile|unit tests?|algorithm|codebase|pull request)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "math",
        re.compile(
            r"\\(frac|sum|int|sqrt)|[∑∫√≤≥∀∃]|\b(prove|proof|theorem|lemma|integral|derivative|"
            r"equation|probability|eigenvalue|modulo|combinatorics|solve for)\b",
            re.IGNORECASE,
        ),
    ),
    ("translation", re.compile(r"\btranslat(e|ion|ing)\b", re.IGNORECASE)),
    (
        "extraction",
        re.compile(r"\b(extract|classify|categori[sz]e|label|parse|fill in)\b", re.IGNORECASE),
    ),
    (
        "writing",
        re.compile(
            r"\b(essay|story|poem|blog|article|novel|lyrics|screenplay|rewrite|draft|tagline)\b",
            re.IGNORECASE,
        ),
    ),
)
_HARD = re.compile(
    r"\b(prove|proof|design|architect(ure)?|derive|optimi[sz]e|step by step|in depth|thorough(ly)?|"
    r"trade-?offs?|analy[sz]e|refactor|race condition|complexity|strategy|research)\b",
    re.IGNORECASE,
)
_HARD_EFFORTS = frozenset({"high", "xhigh", "max"})


@dataclass(frozen=True, slots=True)
class Guess:
    """What a prompt looks like; holds none of it.

    Attributes:
        task: one of the catalog's kinds of task.
        strength: what answering it well should take.
    """

    task: str
    strength: Strength


def guess(request: ChatRequest, prompt_tokens: int) -> Guess:
    """Read a request."""
    text = _last_words(request)
    task = _task(request, text)
    return Guess(task, _strength(request, task, prompt_tokens, hard=bool(_HARD.search(text))))


def suited(pool: Sequence[PoolEntry], looks: Guess) -> list[PoolEntry]:
    """The pool, best suited first: by strength, then by what a model is good at, then as given.

    Too strong is better than too weak: it costs more and still answers.
    """
    wanted = _STRENGTHS.index(looks.strength)

    def distance(entry: PoolEntry) -> tuple[int, bool]:
        beside = _STRENGTHS.index(entry.strength) - wanted
        return (2 * beside if beside >= 0 else -2 * beside + 1), looks.task not in entry.good_at

    return sorted(pool, key=distance)


def _last_words(request: ChatRequest) -> str:
    for message in reversed(request.messages or ()):
        if message.role == "user":
            content = message.content
            text = content if isinstance(content, str) else " ".join(_texts(content or ()))
            return text if len(text) <= 2 * LOOK_CHARS else text[:LOOK_CHARS] + text[-LOOK_CHARS:]
    return ""


def _texts(parts: Iterable[object]) -> Iterable[str]:
    return (part.text for part in parts if isinstance(part, TextPart))


def _task(request: ChatRequest, text: str) -> str:
    for task, marks in _MARKS:
        if marks.search(text):
            return task
    form = request.response_format
    return "extraction" if form is not None and form.type != "text" else "general"


def _strength(request: ChatRequest, task: str, prompt_tokens: int, *, hard: bool) -> Strength:
    effort = request.reasoning_effort or (request.reasoning.effort if request.reasoning else None)
    if hard or effort in _HARD_EFFORTS or prompt_tokens > LONG_TOKENS:
        return "strong"
    if task == "math" or (task == "code" and request.tools):
        return "strong"
    if task in {"code", "writing"} or request.tools or prompt_tokens > SHORT_TOKENS:
        return "standard"
    return "light"
