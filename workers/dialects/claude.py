"""What a Claude model takes, wherever it runs: thinking, effort, sampling, output schemas.

Generations differ, and their names say which one they are:

    up to 4.0   no schemas; temperature and top_p together
    up to 4.5   thinking with a budget
    4.6         both ways; no prefilled answers from here on
    from 4.7    decides itself how long it thinks (an effort at most), takes no sampling
    from 5      thinks unless told not to
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from routing.catalog.shapes import Endpoint
from routing.errors import UpstreamRejected
from routing.wire.chat import ChatRequest
from workers.dialects.common import sampling, supports
from workers.dialects.reasoning import (
    BUDGET_MIN,
    Thinking,
    budget,
    effort_of,
    nearest,
    thinking,
)

FORMAT = "anthropic-claude-v1"
#: Cache marks of one request.
CACHE_MARKS_MAX = 4
#: Nesting of an output schema; deeper than any schema a model can follow.
SCHEMA_DEPTH_MAX = 64

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d)(?:[-.](\d)(?!\d))?(?![\d.])")
_STRUCTURED, _HOURLY, _ADAPTIVE, _ADAPTIVE_ONLY, _ALWAYS = (
    (4, 1),
    (4, 5),
    (4, 6),
    (4, 7),
    (5, 0),
)
_CAP, _CAP_BEFORE = 128_000, 32_000
#: Effort levels of models whose endpoint lists none.
_EFFORTS = ("low", "medium", "high")
_TEMPERATURE_MAX = 1.0
#: What a schema for constrained output may not hold.
_UNENFORCED = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "minLength", "maxLength", "maxItems", "uniqueItems", "minProperties", "maxProperties",
        "patternProperties", "propertyNames", "contains", "minContains", "maxContains",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Claude:
    """The rules of one model.

    Attributes:
        adaptive: can decide itself how long it thinks.
        budgets: takes a number of tokens to think.
        samples: takes temperature, top_p and top_k.
        both: takes temperature and top_p together.
        prefill: continues a last message of the assistant.
        structured: can follow a schema.
        hourly: keeps a prompt for an hour wherever it runs.
        eager: thinks without being asked.
        budget_cap: the most tokens for thinking.
    """

    adaptive: bool
    budgets: bool
    samples: bool
    both: bool
    prefill: bool
    structured: bool
    hourly: bool
    eager: bool
    budget_cap: int


def claude(endpoint: Endpoint) -> Claude:
    """The rules of an endpoint's model.

    A name without a version is a newer model when its endpoint lists efforts, else an older one.
    """
    found = _VERSION.search(endpoint.upstream_id)
    if found is not None:
        version = (int(found[1]), int(found[2] or 0))
    else:
        version = _ALWAYS if endpoint.efforts else _HOURLY
    return Claude(
        adaptive=version >= _ADAPTIVE,
        budgets=version < _ADAPTIVE_ONLY,
        samples=version < _ADAPTIVE_ONLY,
        both=version < _STRUCTURED,
        prefill=version < _ADAPTIVE,
        structured=version >= _STRUCTURED,
        hourly=version >= _HOURLY,
        eager=version >= _ALWAYS,
        budget_cap=_CAP if version >= _ADAPTIVE else _CAP_BEFORE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mind:
    """How a request is to be thought about, in Anthropic's own fields.

    Attributes:
        thinking: the `thinking` field; None leaves it out.
        effort: for `output_config`; None leaves it out.
        eager: the model thinks where the field is left out.
    """

    thinking: dict[str, Any] | None
    effort: str | None
    eager: bool = False

    @property
    def on(self) -> bool:
        """Whether thinking is switched on by this request."""
        return self.thinking is not None and self.thinking["type"] != "disabled"

    @property
    def replays(self) -> bool:
        """Whether earlier thoughts may go back: a request without thinking may hold none."""
        return self.on or (self.eager and self.thinking is None)

    @property
    def budgeted(self) -> bool:
        """Whether it has a budget, which brings the stricter rules for what is replayed."""
        return self.thinking is not None and self.thinking["type"] == "enabled"


def mind(request: ChatRequest, endpoint: Endpoint, limit: int) -> Mind:
    """How to think about a request.

    Args:
        request: what is asked.
        endpoint: says which model it is.
        limit: tokens of the whole answer, thinking included.

    Raises:
        UpstreamRejected: the budget does not fit into the answer, or thinking cannot be left out.
    """
    rules, asked = claude(endpoint), thinking(request, endpoint)
    effort = _verbosity(request, endpoint)
    if asked.mode == "default":
        return Mind(thinking=None, effort=effort, eager=rules.eager)
    if asked.mode == "off":
        return Mind(
            thinking={"type": "disabled"} if rules.eager else None,
            effort=nearest(effort, _EFFORTS) if effort else None,
        )
    if rules.adaptive and (asked.max_tokens is None or not rules.budgets):
        field = {"type": "adaptive"}
        if not rules.budgets:
            field["display"] = "summarized"
        wanted = effort or nearest(effort_of(asked, limit), endpoint.efforts or _EFFORTS)
        return Mind(thinking=field, effort=wanted)
    return Mind(
        thinking={"type": "enabled", "budget_tokens": _budget(asked, request, limit, rules)},
        effort=effort,
    )


def _verbosity(request: ChatRequest, endpoint: Endpoint) -> str | None:
    """How much to say; Claude has one scale for this and for thinking."""
    if request.verbosity is None:
        return None
    if not endpoint.efforts and not supports(endpoint, "verbosity"):
        return None
    return nearest(request.verbosity, endpoint.efforts or _EFFORTS)


def _budget(asked: Thinking, request: ChatRequest, limit: int, rules: Claude) -> int:
    wanted = budget(asked, limit, rules.budget_cap)
    if wanted < limit:
        return wanted
    if request.completion_limit is None and limit > BUDGET_MIN:
        return limit - 1
    raise UpstreamRejected(
        f"max_tokens: must be more than the {wanted} tokens for reasoning; raise it or leave "
        "reasoning out",
        status=400,
    )


def claude_sampling(
    request: ChatRequest, endpoint: Endpoint, names: dict[str, str], *, thinks: bool
) -> dict[str, int | float]:
    """Temperature, top_p and top_k as far as the model takes them; none while it thinks."""
    rules = claude(endpoint)
    if thinks or not rules.samples:
        return {}
    found = sampling(request, endpoint, names)
    warmth, nucleus = names.get("temperature", ""), names.get("top_p", "")
    if warmth in found:
        found[warmth] = min(found[warmth], _TEMPERATURE_MAX)
        if not rules.both:
            found.pop(nucleus, None)
    return found


def output_schema(request: ChatRequest, endpoint: Endpoint) -> dict[str, Any] | None:
    """The schema the answer must follow, in the form Claude enforces; None for none."""
    form = request.response_format
    if form is None or form.type != "json_schema" or form.json_schema is None:
        return None
    listed = supports(endpoint, "response_format") or supports(endpoint, "structured_outputs")
    if not listed or not claude(endpoint).structured or form.json_schema.schema_ is None:
        return None
    return enforced(form.json_schema.schema_)


def enforced(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without what cannot be enforced, and with every object closed.

    Raises:
        UpstreamRejected: nested too deeply.
    """
    found = _enforced(schema, 0)
    return found if isinstance(found, dict) else {}


def _enforced(node: Any, depth: int) -> Any:
    if depth > SCHEMA_DEPTH_MAX:
        raise UpstreamRejected(
            "response_format.json_schema.schema: is nested too deeply", status=400
        )
    if isinstance(node, list):
        return [_enforced(item, depth + 1) for item in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for name, value in node.items():
        if name in _UNENFORCED or (name == "minItems" and value not in (0, 1)):
            continue
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            # Names in here are the caller's, not keywords.
            found[name] = {key: _enforced(item, depth + 1) for key, item in value.items()}
        elif name in ("enum", "const", "default", "examples", "required"):
            found[name] = value
        else:
            found["anyOf" if name == "oneOf" else name] = _enforced(value, depth + 1)
    an_object = found.get("type") == "object" or "properties" in found
    if an_object and not isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = False
    return found


def forced(choice: str, *, thinks: bool) -> str:
    """A `tool_choice` type; nothing can be forced while the model thinks."""
    return "auto" if thinks and choice in ("any", "tool") else choice


def trimmed(marked: Iterable[dict[str, Any]], key: str = "cache_control") -> None:
    """Take the earliest cache marks away until as many are left as Claude takes."""
    marks = list(marked)
    for block in marks[: max(len(marks) - CACHE_MARKS_MAX, 0)]:
        del block[key]
