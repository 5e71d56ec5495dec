"""Decides what is said: from an ``Ask`` to an ``Answer``, with no wire format and no luck."""

from dataclasses import dataclass
from typing import Final

import orjson

from workers.simulator import text
from workers.simulator.dialect import Answer, Ask, Choice, ToolCall, Usage
from workers.simulator.knobs import Knobs
from workers.simulator.schemas import fill

REASONING_PIECES: Final = 5
# Providers cache prompts in blocks of 128 tokens, and none shorter than 1,024.
CACHE_TOKENS_MIN: Final = 1024
CACHE_BLOCK: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What two calls with the same body differ in: the number in the ids, and the time."""

    serial: int
    created: int
    body_sha256: str


def answer(ask: Ask, knobs: Knobs, stamp: Stamp) -> Answer:
    """Answer a request. The same body gets the same words."""
    seed = text.seed_of(stamp.body_sha256)
    thought, left = _reasoning(ask, seed)
    if ask.calls:
        choices = tuple(_calling(ask, thought, stamp, index) for index in range(ask.n))
    else:
        choices = tuple(
            _speaking(ask, knobs, (seed, index), thought, left) for index in range(ask.n)
        )
    return Answer(
        tag=f"{stamp.serial:08x}{stamp.body_sha256}",
        created=stamp.created,
        model=ask.model,
        choices=choices,
        usage=_usage(ask, choices, text.estimate_tokens(thought)),
    )


def _reasoning(ask: Ask, seed: int) -> tuple[str, int | None]:
    """Return the thoughts, and how many tokens they leave for the answer."""
    if not ask.reasoning:
        return "", ask.max_tokens
    thought = text.thoughts(ask.model, seed)
    if ask.max_tokens is None:
        return thought, None
    thought = text.first_tokens(thought, ask.max_tokens)
    return thought, ask.max_tokens - text.estimate_tokens(thought)


def _calling(ask: Ask, thought: str, stamp: Stamp, index: int) -> Choice:
    calls = tuple(
        ToolCall(
            tag=text.digest(f"{stamp.serial}.{index}.{position}".encode())[:24],
            name=tool.name,
            arguments=orjson.dumps(fill(tool.schema)).decode(),
        )
        for position, tool in enumerate(ask.calls)
    )
    return Choice(
        reasoning=text.pieces(thought, min(REASONING_PIECES, len(thought))),
        calls=calls,
        finish_reason="tool_calls",
    )


def _speaking(
    ask: Ask, knobs: Knobs, which: tuple[int, int], thought: str, left: int | None
) -> Choice:
    seed, index = which
    words = _words(ask, knobs, seed)
    if index:
        words += f" (choice {index + 1})"
    for mark in ask.stop:
        words = words.partition(mark)[0]
    cut = left is not None and text.estimate_tokens(words) > left
    if cut and left is not None:
        words = text.first_tokens(words, left)
    # Prose may be repeated until there is a character for every chunk; this may not.
    exact = cut or bool(ask.stop) or ask.json_schema is not None
    return Choice(
        pieces=_split(words, knobs, seed, exact=exact) if ask.stream else (words,),
        reasoning=text.pieces(thought, min(REASONING_PIECES, len(thought))),
        finish_reason="length" if cut else "stop",
    )


def _words(ask: Ask, knobs: Knobs, seed: int) -> str:
    if ask.json_schema is not None:
        schema = ask.json_schema or {"properties": {"answer": {"type": "string"}}}
        return orjson.dumps(fill(schema)).decode()
    if knobs.tokens:
        return text.filler(knobs.tokens, seed)
    return text.greeting(ask.model, ask.said, seed)


def _split(words: str, knobs: Knobs, seed: int, *, exact: bool) -> tuple[str, ...]:
    # One token to a chunk when the length is given, as real models do.
    count = knobs.chunks or knobs.tokens
    if not count:
        return text.natural_pieces(words, seed)
    return text.pieces(words, min(count, len(words)) if exact else count)


def _usage(ask: Ask, choices: tuple[Choice, ...], reasoning: int) -> Usage:
    spoken = sum(
        text.estimate_tokens("".join(choice.pieces))
        + sum(text.estimate_tokens(call.name + call.arguments) for call in choice.calls)
        for choice in choices
    )
    reasoning *= len(choices)
    prompt = ask.prompt_tokens
    cached = prompt // 2 // CACHE_BLOCK * CACHE_BLOCK if prompt >= CACHE_TOKENS_MIN else 0
    completion = spoken + reasoning
    return Usage(
        prompt=prompt,
        completion=completion,
        total=prompt + completion,
        cached=cached,
        reasoning=reasoning,
    )
