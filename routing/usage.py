"""Token counts of one generation, whatever place the provider reports them in."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used, in the provider's own tokens: the billing basis.

    Attributes:
        prompt_tokens: all input tokens, cached ones included.
        completion_tokens: all output tokens, reasoning included.
        cached_tokens: the part of `prompt_tokens` read from a cache.
        cache_write_tokens: the part of `prompt_tokens` written to a cache.
        reasoning_tokens: the part of `completion_tokens` spent on thinking.
        images: input images, for prices per image.
        estimated: the provider reported nothing usable; counted by us from the text.
        flags: why a figure was clamped or estimated, for review; empty when nothing was odd.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    estimated: bool = False
    flags: tuple[str, ...] = ()


#: A count beyond this is a lie or an overflow: no context is that long.
MAX_TOKENS = 100_000_000


def _count(value: object) -> int | None:
    """A token count as sent: a whole number within reason, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if value != value or not 0 <= value <= MAX_TOKENS or int(value) != value:  # noqa: PLR0124 - NaN
        return None
    return int(value)


def usage_of(raw: object) -> Usage | None:
    """Read an OpenAI-shaped `usage` object; None when its totals cannot be believed.

    Details that cannot be read count as 0, and none may exceed the total it is part of (reasoning
    tokens above completion tokens do occur on the wire).
    """
    if not isinstance(raw, dict):
        return None
    prompt, completion = _count(raw.get("prompt_tokens")), _count(raw.get("completion_tokens"))
    if prompt is None or (completion is None and "completion_tokens" in raw):
        return None
    completion = completion or 0
    inputs, outputs = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    inputs = inputs if isinstance(inputs, dict) else {}
    outputs = outputs if isinstance(outputs, dict) else {}
    cached = _count(inputs.get("cached_tokens"))
    if cached is None:
        cached = _count(raw.get("prompt_cache_hit_tokens"))  # DeepSeek's own place
    cached = min(cached or 0, prompt)
    written = min(_count(inputs.get("cache_write_tokens")) or 0, prompt - cached)
    reasoning = min(_count(outputs.get("reasoning_tokens")) or 0, completion)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )


def bounded(usage: Usage, prompt_max: int, completion_max: int) -> Usage:
    """A usage that can be: clamped to what the request could have used, and flagged if it was not.

    Args:
        usage: as reported.
        prompt_max: more tokens than the prompt can have.
        completion_max: the most the request allowed.
    """
    flags = list(usage.flags)
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt > prompt_max:
        prompt = prompt_max
        flags.append("prompt_tokens_clamped")
    if completion > completion_max:
        completion = completion_max
        flags.append("completion_tokens_clamped")
    cached = min(usage.cached_tokens, prompt)
    return replace(
        usage,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=min(usage.cache_write_tokens, prompt - cached),
        reasoning_tokens=min(usage.reasoning_tokens, completion),
        flags=tuple(flags),
    )
