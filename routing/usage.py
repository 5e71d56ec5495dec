"""Token counts of one generation, whatever place the provider reports them in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used, in the provider's own tokens: the billing basis.

    Attributes:
        prompt_tokens: all input tokens, cached ones included.
        completion_tokens: all output tokens, reasoning included.
        cached_tokens: the part of `prompt_tokens` read from a cache.
        cache_write_tokens: the part of `prompt_tokens` written to a cache.
        cache_write_1h_tokens: the part of `cache_write_tokens` kept for an hour, which is dearer.
        audio_tokens: the part of `prompt_tokens` that was sound.
        video_tokens: the part of `prompt_tokens` that was video.
        reasoning_tokens: the part of `completion_tokens` spent on thinking.
        image_output_tokens: the part of `completion_tokens` that drew images.
        audio_output_tokens: the part of `completion_tokens` that was sound.
        images: input images, for prices per image.
        estimated: the provider reported nothing usable; counted by us from the text.
        flags: why a figure was clamped or estimated, for review; empty when nothing was odd.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_tokens: int = 0
    video_tokens: int = 0
    reasoning_tokens: int = 0
    image_output_tokens: int = 0
    audio_output_tokens: int = 0
    images: int = 0
    estimated: bool = False
    flags: tuple[str, ...] = ()


#: A count beyond this is a lie or an overflow: no context is that long.
MAX_TOKENS = 100_000_000
#: How many times its estimate a prompt may turn out to be: the estimate of a hold counts
#: lower-case letters half, and no tokenizer makes two tokens of a byte.
PROMPT_BOUND_FACTOR = 2


def count(value: object) -> int | None:
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
    inputs, outputs = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    inputs = inputs if isinstance(inputs, dict) else {}
    outputs = outputs if isinstance(outputs, dict) else {}
    cached = inputs.get("cached_tokens")
    if count(cached) is None:  # DeepSeek's own place, and Together's
        cached = raw.get("prompt_cache_hit_tokens", raw.get("cached_tokens"))
    return usage_from(
        prompt=raw.get("prompt_tokens"),
        completion=_completion(raw, outputs.get("reasoning_tokens")),
        cached=cached,
        cache_write=inputs.get("cache_write_tokens"),
        audio=inputs.get("audio_tokens"),
        video=inputs.get("video_tokens"),
        reasoning=outputs.get("reasoning_tokens"),
        image_output=outputs.get("image_tokens"),
        audio_output=outputs.get("audio_tokens"),
    )


def _completion(raw: dict[str, Any], reasoning: object) -> object:
    """All output tokens. xAI counts thoughts beside them, which only its total shows."""
    completion = raw.get("completion_tokens", 0)
    counts = [count(value) for value in (raw.get("prompt_tokens"), completion, reasoning)]
    if None in counts:
        return completion
    prompt, said, thought = (found or 0 for found in counts)
    apart = thought > 0 and count(raw.get("total_tokens")) == prompt + said + thought
    return said + thought if apart else completion


def usage_from(  # noqa: PLR0913 - the counts of one bill
    *,
    prompt: object,
    completion: object,
    cached: object = 0,
    cache_write: object = 0,
    cache_write_1h: object = 0,
    audio: object = 0,
    video: object = 0,
    reasoning: object = 0,
    image_output: object = 0,
    audio_output: object = 0,
) -> Usage | None:
    """Usage out of a provider's own fields, each as it was sent; None for unbelievable totals.

    `prompt` and `completion` are all tokens that went in and out, whatever they are made of; the
    others are parts of one of the two, and what cannot be read of them counts as 0.
    """
    inputs, outputs = count(prompt), count(completion)
    if inputs is None or outputs is None:
        return None
    read = min(count(cached) or 0, inputs)
    written = min(count(cache_write) or 0, inputs - read)
    thought = min(count(reasoning) or 0, outputs)
    drawn = min(count(image_output) or 0, outputs - thought)
    return Usage(
        prompt_tokens=inputs,
        completion_tokens=outputs,
        cached_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(count(cache_write_1h) or 0, written),
        audio_tokens=min(count(audio) or 0, inputs - read - written),
        video_tokens=min(count(video) or 0, inputs),
        reasoning_tokens=thought,
        image_output_tokens=drawn,
        audio_output_tokens=min(count(audio_output) or 0, outputs - thought - drawn),
    )


def usage_beside_caches(
    *,
    plain: object,
    read: object,
    written: object,
    written_1h: object = 0,
    completion: object,
    reasoning: object = 0,
) -> Usage | None:
    """The same for providers that count cached tokens beside the prompt's others, not among them.

    None for unbelievable totals.
    """
    others, cached, kept = count(plain), count(read) or 0, count(written) or 0
    if others is None:
        return None
    return usage_from(
        prompt=others + cached + kept,
        completion=completion,
        cached=cached,
        cache_write=kept,
        cache_write_1h=written_1h,
        reasoning=reasoning,
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
    if len(flags) == len(usage.flags):
        return usage
    return recounted(usage, prompt, completion, tuple(flags))


def recounted(usage: Usage, prompt: int, completion: int, flags: tuple[str, ...]) -> Usage:
    """A usage with other totals; its parts are kept as far as they fit into them."""
    fitting = usage_from(
        prompt=prompt,
        completion=completion,
        cached=usage.cached_tokens,
        cache_write=usage.cache_write_tokens,
        cache_write_1h=usage.cache_write_1h_tokens,
        audio=usage.audio_tokens,
        video=usage.video_tokens,
        reasoning=usage.reasoning_tokens,
        image_output=usage.image_output_tokens,
        audio_output=usage.audio_output_tokens,
    )
    return replace(fitting or Usage(), images=usage.images, estimated=usage.estimated, flags=flags)
