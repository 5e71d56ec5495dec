"""What an upstream answer is made of, whatever the provider's dialect: one event stream for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from routing.errors import UpstreamError
from routing.usage import Usage

#: The rarer fields of a message and of a delta, in the contract's form.
EXTRAS = ("tool_calls", "reasoning_details", "refusal", "images", "audio", "annotations")

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer.

    `extra` holds the rarer delta fields, already in the contract's form: `tool_calls`,
    `reasoning_details`, `refusal`, `images`, `audio`, `annotations`.
    """

    index: int = 0
    content: str = ""
    reasoning: str | None = None
    extra: Mapping[str, Any] | None = None
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """A choice has ended. `reason` is normalised; both are None when the provider gave none."""

    index: int
    reason: FinishReason | None
    native: str | None


@dataclass(frozen=True, slots=True)
class Used:
    """The provider's own token counts; the last one wins."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Broken:
    """The provider reported an error inside the stream."""

    error: UpstreamError


@dataclass(frozen=True, slots=True)
class End:
    """The dialect's own end mark."""


Event = Delta | Finish | Used | Broken | End


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One finished choice of a plain answer; `message` is in the contract's form."""

    index: int
    message: Mapping[str, Any]
    finish: Finish
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole plain answer.

    Attributes:
        choices: empty for embeddings.
        usage: None when the provider reported none that can be read.
        vectors: embeddings in the order of the inputs, as numbers or in base64 (little-endian
            32-bit floats); empty for anything else.
        upstream_id: the provider's id of it.
    """

    choices: tuple[Choice, ...]
    usage: Usage | None
    vectors: tuple[list[float] | str, ...] = ()
    upstream_id: str | None = None
    system_fingerprint: str | None = None
