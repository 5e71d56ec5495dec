"""Thinking: how much is asked for, and the contract's items it comes and goes in (3.5, 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from routing.catalog.shapes import Endpoint
from routing.errors import UpstreamRejected
from routing.wire.chat import ChatRequest
from routing.wire.thoughts import continues

#: Share of the answer's tokens an effort may think for.
RATIOS: Mapping[str, float] = {
    "max": 0.95,
    "xhigh": 0.95,
    "high": 0.8,
    "medium": 0.5,
    "low": 0.2,
    "minimal": 0.1,
}
#: The least budget Anthropic takes, and the contract's floor.
BUDGET_MIN = 1_024
_ORDER = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

Format = Literal[
    "anthropic-claude-v1", "google-gemini-v1", "openai-responses-v1", "xai-responses-v1", "unknown"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """What was asked for.

    Attributes:
        mode: `default` leaves it to the model; `on` has an effort or a budget.
        effort: never `none`.
        max_tokens: the budget, as it was asked for.
    """

    mode: Literal["default", "off", "on"]
    effort: str | None = None
    max_tokens: int | None = None


_DEFAULT, _OFF = Thinking(mode="default"), Thinking(mode="off")


def thinking(request: ChatRequest, endpoint: Endpoint) -> Thinking:
    """What was asked for, by whichever of its names; `default` where the endpoint cannot think.

    Raises:
        UpstreamRejected: it should be off and this model always thinks.
    """
    if not {"reasoning", "reasoning_effort"} & endpoint.supported_parameters:
        return _DEFAULT
    asked = _asked(request)
    if asked.mode == "off" and endpoint.efforts and "none" not in endpoint.efforts:
        raise UpstreamRejected(
            "reasoning: cannot be switched off for this model; leave it out or choose one of "
            + ", ".join(endpoint.efforts),
            status=400,
        )
    return asked


def _asked(request: ChatRequest) -> Thinking:
    effort, given = request.reasoning_effort, request.reasoning
    if given is not None:
        if given.enabled is False:
            return _OFF
        effort = given.effort or effort
        if given.max_tokens is not None:
            return Thinking(mode="on", max_tokens=given.max_tokens)
        if effort is None and given.enabled:
            effort = "medium"
    if effort is None:
        return _DEFAULT
    return _OFF if effort == "none" else Thinking(mode="on", effort=effort)


def budget(asked: Thinking, limit: int, cap: int, *, floor: int = BUDGET_MIN) -> int:
    """Tokens to think for, for models that want a number.

    Args:
        asked: with `mode` `on`.
        limit: tokens of the whole answer; an effort is a share of them.
        cap: the most the model takes.
        floor: the least.
    """
    if asked.max_tokens is not None:
        wanted = asked.max_tokens
    else:
        wanted = int(limit * RATIOS.get(asked.effort or "medium", RATIOS["medium"]))
    return max(min(wanted, cap), floor)


def nearest(effort: str, allowed: Iterable[str]) -> str:
    """The closest effort that is allowed, never `none`; the lower one of two equally close.

    Nothing allowed leaves it as it is.
    """
    known = [name for name in allowed if name in _ORDER and name != "none"]
    if not known or effort not in _ORDER:
        return effort
    place = _ORDER.index(effort)
    return min(known, key=lambda name: (abs(_ORDER.index(name) - place), _ORDER.index(name)))


def effort_of(asked: Thinking, limit: int) -> str:
    """The effort whose share of the answer is closest to what was asked for.

    Args:
        asked: with `mode` `on`.
        limit: tokens of the whole answer.
    """
    if asked.effort is not None or asked.max_tokens is None:
        return asked.effort or "medium"
    share = asked.max_tokens / max(limit, 1)
    return min(
        ("minimal", "low", "medium", "high", "xhigh"), key=lambda name: abs(RATIOS[name] - share)
    )


def text_detail(
    index: int, form: Format, *, text: str | None = None, signature: str | None = None
) -> dict[str, Any]:
    """A `reasoning.text` item, or a fragment of one; fields that are None are left out."""
    item: dict[str, Any] = {"type": "reasoning.text"}
    if text is not None:
        item["text"] = text
    if signature is not None:
        item["signature"] = signature
    return item | {"format": form, "index": index}


def summary_detail(index: int, form: Format, summary: str) -> dict[str, Any]:
    """A `reasoning.summary` item, or a fragment of one."""
    return {"type": "reasoning.summary", "summary": summary, "format": form, "index": index}


def encrypted_detail(index: int, form: Format, data: str) -> dict[str, Any]:
    """A `reasoning.encrypted` item; it always comes whole."""
    return {"type": "reasoning.encrypted", "data": data, "format": form, "index": index}


def joined(details: Iterable[Mapping[str, Any]]) -> str | None:
    """What can be read of the items, in order; None for nothing."""
    return "".join(_readable(item) for item in details) or None


def whole_details(details: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Items as a provider first gave them: neighbouring fragments of one index become one.

    A client that read a stream sends fragments back, one that read a plain answer whole items.
    A signature ends its item. Encrypted items are never cut, so never joined.
    """
    whole: list[dict[str, Any]] = []
    for item in details:
        if whole and isinstance(item.get("index"), int) and continues(whole[-1], item):
            _append(whole[-1], item)
        else:
            whole.append(dict(item))
    return whole


def own_details(
    details: Iterable[Mapping[str, Any]] | None, formats: Iterable[str | None]
) -> list[dict[str, Any]]:
    """The whole items that are in one of these formats; no format counts as None."""
    wanted = frozenset(formats)
    return [
        item
        for item in whole_details(details or ())
        if (form := item.get("format")) is None or isinstance(form, str)
        if form in wanted
    ]


def _readable(item: Mapping[str, Any]) -> str:
    text = item.get("text", item.get("summary"))
    return text if isinstance(text, str) else ""


def _append(last: dict[str, Any], item: Mapping[str, Any]) -> None:
    for name, value in item.items():
        if name in ("text", "summary") and isinstance(value, str):
            before = last.get(name)
            last[name] = before + value if isinstance(before, str) else value
        elif value is not None:
            last[name] = value
