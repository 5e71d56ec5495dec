"""Decides what is said: from an ``Ask`` to an ``Answer``, with no wire format and no luck."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from workers.simulator import text
from workers.simulator.dialect import Answer, Ask, Choice, Tool, ToolCall, Usage
from workers.simulator.knobs import Knobs
from workers.simulator.media import png, silence, vector
from workers.simulator.prompt_cache import UNCACHED, CacheUse
from workers.simulator.schemas import fill

REASONING_PIECES: Final = 5
# Providers cache prompts in blocks of 128 tokens, and none shorter than 1,024.
CACHE_TOKENS_MIN: Final = 1024
CACHE_BLOCK: Final = 128
# What one picture or sound costs, whatever its size.
IMAGE_TOKENS: Final = 1290
SOUND_TOKENS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What two calls with the same body differ in: the number in the ids, and the time."""

    serial: int
    created: int
    body_sha256: str
    cache: CacheUse = UNCACHED


def pick_tools(
    tools: Sequence[Tool], said: str, *, must: bool = False, answered: bool, parallel: bool = True
) -> tuple[Tool, ...]:
    """Return the tools a model calls that may choose among these, the preferred one first.

    Args:
        tools: What it may call.
        said: The last user message; ``tool`` or ``weather`` in it asks for a call, ``parallel``
            for two.
        must: Whether it has to call one, said or not.
        answered: Whether the prompt ends with the result of a tool. The model speaks then, or an
            agent would never come to an end.
        parallel: Whether more than one call is allowed.
    """
    words = said.lower()
    asked = not answered and ("tool" in words or "weather" in words)
    if not tools or not (must or asked):
        return ()
    if parallel and "parallel" in words:
        return (tools[0], tools[1] if len(tools) > 1 else tools[0])
    return (tools[0],)


def answer(ask: Ask, knobs: Knobs, stamp: Stamp) -> Answer:
    """Answer a request. The same body gets the same words."""
    if ask.kind == "embeddings":
        return _embedding(ask, stamp)
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
        usage=_usage(ask, choices, text.estimate_tokens(thought), stamp.cache),
    )


def _embedding(ask: Ask, stamp: Stamp) -> Answer:
    return Answer(
        tag=f"{stamp.serial:08x}{stamp.body_sha256}",
        created=stamp.created,
        model=ask.model,
        choices=(),
        usage=Usage(prompt=ask.prompt_tokens, completion=0, total=ask.prompt_tokens),
        vectors=tuple(vector(one, ask.dimensions) for one in ask.inputs),
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


def _thoughts(thought: str) -> tuple[str, ...]:
    return text.pieces(thought, min(REASONING_PIECES, len(thought))) if thought else ()


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
        reasoning=_thoughts(thought),
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
    stopped_by = ""
    for mark in ask.stop:
        words, found, _ = words.partition(mark)
        stopped_by = found or stopped_by
    cut = left is not None and text.estimate_tokens(words) > left
    if cut and left is not None:
        words = text.first_tokens(words, left)
    # Prose may be repeated until there is a character for every chunk; this may not.
    exact = cut or bool(ask.stop) or ask.json_schema is not None
    choice = Choice(
        pieces=_split(words, knobs, seed, exact=exact) if ask.stream else (words,),
        reasoning=_thoughts(thought),
        finish_reason="length" if cut else "stop",
        stopped_by="" if cut else stopped_by,
    )
    return _with_media(choice, ask, seed, words) if ask.images or ask.audio_format else choice


def _with_media(choice: Choice, ask: Ask, seed: int, words: str) -> Choice:
    audio = silence(ask.audio_format) if ask.audio_format else b""
    return replace(
        choice,
        images=tuple(png(ask.aspect_ratio, seed + index) for index in range(ask.images)),
        audio=audio,
        transcript=words if audio else "",
    )


def _words(ask: Ask, knobs: Knobs, seed: int) -> str:
    if ask.json_schema is not None:
        schema = ask.json_schema or {"properties": {"answer": {"type": "string"}}}
        return orjson.dumps(fill(schema)).decode()
    if knobs.tokens:
        return text.filler(knobs.tokens, seed)
    greeting = text.greeting(ask.model, ask.said, seed)
    if ask.media or ask.tool_results:
        greeting += text.noticed(ask.media, ask.tool_results)
    return greeting


def _split(words: str, knobs: Knobs, seed: int, *, exact: bool) -> tuple[str, ...]:
    # One token to a chunk when the length is given, as real models do.
    count = knobs.chunks or knobs.tokens
    if not count:
        return text.natural_pieces(words, seed)
    return text.pieces(words, min(count, len(words)) if exact else count)


def _usage(ask: Ask, choices: tuple[Choice, ...], reasoning: int, cache: CacheUse) -> Usage:
    spoken = 0
    for choice in choices:
        spoken += text.estimate_tokens("".join(choice.pieces))
        for call in choice.calls:
            spoken += text.estimate_tokens(call.name + call.arguments)
    reasoning *= len(choices)
    prompt = ask.prompt_tokens
    cached = cache.read
    if not cached and ask.implicit_cache and prompt >= CACHE_TOKENS_MIN:
        cached = prompt // 2 // CACHE_BLOCK * CACHE_BLOCK
    completion = spoken + reasoning
    usage = Usage(
        prompt=prompt,
        completion=completion,
        total=prompt + completion,
        cached=cached,
        reasoning=reasoning,
        cache_write=cache.written,
    )
    if ask.media or ask.images or ask.audio_format:
        return _with_media_tokens(usage, ask, completion)
    return usage


def _with_media_tokens(usage: Usage, ask: Ask, completion: int) -> Usage:
    sounds = sum(kind.startswith("audio/") for kind in ask.media)
    image_out = IMAGE_TOKENS * ask.images * ask.n
    audio_out = SOUND_TOKENS * ask.n if ask.audio_format else 0
    completion += image_out + audio_out
    return replace(
        usage,
        completion=completion,
        total=ask.prompt_tokens + completion,
        audio=SOUND_TOKENS * sounds,
        image_out=image_out,
        audio_out=audio_out,
    )
