"""How a request in the OpenAI dialect asks for thoughts, and what must come back of them.

Every provider has its own switch for it, and its own rule about thoughts in a tool loop.
"""

import re
from typing import Any, Final

from workers.simulator.openai_fields import Invalid
from workers.simulator.providers import Errors, Manner, Reasoning, Replay, Switch
from workers.simulator.signatures import is_signed

EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max", "default"})
# What openrouter calls the form of the thoughts it hands on.
DETAIL_FORMAT: Final = "anthropic-claude-v1"

_REASONS: Final = re.compile(r"reason|think|(?:^|[^a-z0-9])r1(?:[^a-z0-9]|$)")
_DETAIL_FIELDS: Final = {
    "reasoning.text": "text",
    "reasoning.summary": "summary",
    "reasoning.encrypted": "data",
}
_RAW: Final = {"raw": Reasoning.TAGS, "hidden": Reasoning.HIDDEN}


def reasons(body: dict[str, Any], model: str, manner: Manner) -> bool:
    """Whether the model thinks before it answers.

    Raises:
        Invalid: The switch is no value the provider knows.
    """
    effort = body.get("reasoning_effort")
    if effort is not None and (not isinstance(effort, str) or effort not in EFFORTS):
        raise _invalid("reasoning_effort", f"Invalid value: {effort!r}.")
    switched = _SWITCHES[manner.switch](body) if manner.switch is not Switch.NONE else None
    if switched is not None:
        return switched
    if effort == "none":
        return False
    # Not for the providers that have their own name for it: they do not know this one.
    asked = manner.switch is Switch.NONE and bool(body.get("reasoning"))
    return bool(effort or asked or _REASONS.search(model.lower()))


def thought_form(body: dict[str, Any], manner: Manner) -> Reasoning | None:
    """Return where the thoughts go when the request says so; None for the usual place."""
    if manner.switch is not Switch.REASONING_FORMAT:
        if manner.switch is Switch.REASONING and _excluded(body):
            return Reasoning.HIDDEN
        return None
    if body.get("include_reasoning") is False:
        return Reasoning.HIDDEN
    form = body.get("reasoning_format")
    return _RAW.get(form) if isinstance(form, str) else None


def _excluded(body: dict[str, Any]) -> bool:
    reasoning = body.get("reasoning") or {}
    return reasoning.get("exclude") is True or body.get("include_reasoning") is False


def _by_reasoning(body: dict[str, Any]) -> bool | None:
    reasoning = body.get("reasoning")
    if reasoning is None:
        return None
    if not isinstance(reasoning, dict):
        raise _invalid("reasoning", "Expected an object.")
    effort, most = reasoning.get("effort"), reasoning.get("max_tokens")
    if effort is not None and effort not in EFFORTS:
        raise _invalid("reasoning.effort", f"Invalid value: {effort!r}.")
    if most is not None and (type(most) is not int or most < 0):
        raise _invalid("reasoning.max_tokens", "Expected a whole number.")
    if effort is not None and most is not None:
        raise _invalid(
            "reasoning", 'Only one of "reasoning.effort" and "reasoning.max_tokens" can be set.'
        )
    if reasoning.get("enabled") is False or effort == "none":
        return False
    return bool(effort or most or reasoning.get("enabled")) or None


def _by_thinking(body: dict[str, Any]) -> bool | None:
    thinking = body.get("thinking")
    if thinking is None:
        return None
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("enabled", "disabled"):
        raise _invalid("thinking.type", "Expected 'enabled' or 'disabled'.")
    return bool(kind == "enabled")


def _by_flag(body: dict[str, Any]) -> bool | None:
    flag, budget = body.get("enable_thinking"), body.get("thinking_budget")
    if flag is not None and not isinstance(flag, bool):
        raise _invalid("enable_thinking", "Expected a boolean.")
    if budget is not None and (type(budget) is not int or budget < 1):
        raise _invalid("thinking_budget", "Expected a positive whole number.")
    return flag


def _by_prompt_mode(body: dict[str, Any]) -> bool | None:
    mode = body.get("prompt_mode")
    if mode not in (None, "reasoning"):
        raise Invalid("Input should be 'reasoning'", "prompt_mode", kind="enum")
    seed = body.get("random_seed")
    if seed is not None and (type(seed) is not int or seed < 0):
        raise Invalid("Input should be a valid integer", "random_seed", kind="int_type")
    return True if mode else None


def _by_format(body: dict[str, Any]) -> bool | None:
    form = body.get("reasoning_format")
    if form is None:
        return None
    if form not in ("parsed", "raw", "hidden"):
        raise _invalid("reasoning_format", "must be one of `hidden`, `raw`, `parsed`")
    if body.get("include_reasoning") is not None:
        raise _invalid(
            "reasoning_format",
            "cannot specify both `include_reasoning` and `reasoning_format`; they are exclusive",
        )
    if form == "raw" and (body.get("tools") or body.get("response_format")):
        raise _invalid(
            "reasoning_format", "`raw` is not supported together with tools or JSON mode"
        )
    return None


_SWITCHES: Final = {
    Switch.REASONING: _by_reasoning,
    Switch.THINKING: _by_thinking,
    Switch.ENABLE_THINKING: _by_flag,
    Switch.PROMPT_MODE: _by_prompt_mode,
    Switch.REASONING_FORMAT: _by_format,
}


def check_replay(messages: list[dict[str, Any]], manner: Manner, *, thinks: bool) -> None:
    """Check the thoughts in the turns of the assistant.

    Raises:
        Invalid: They were changed, or are missing where the provider wants them back.
    """
    if manner.reasoning is Reasoning.DETAILS:
        for index, message in enumerate(messages):
            _check_details(message.get("reasoning_details"), f"messages.{index}")
    if manner.searches:
        _check_turns(messages)
    if not thinks or manner.replay is Replay.NOTHING:
        return
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message["role"] == "user":
            return
        if message.get("tool_calls") and not isinstance(message.get("reasoning_content"), str):
            raise _missing(index, manner)


def _missing(index: int, manner: Manner) -> Invalid:
    words = (
        "The `reasoning_content` in the thinking mode must be passed back to the API."
        if manner.replay is Replay.DEEPSEEK
        else "thinking is enabled but reasoning_content is missing in assistant tool call message "
        f"at index {index}"
    )
    return Invalid(words, f"messages.{index}.reasoning_content", code="invalid_request_error")


def _check_details(details: Any, where: str) -> None:
    if details is None:
        return
    where = f"{where}.reasoning_details"
    if not isinstance(details, list):
        raise _invalid(where, "Expected an array.")
    for index, detail in enumerate(details):
        kind = detail.get("type") if isinstance(detail, dict) else None
        field = _DETAIL_FIELDS.get(kind) if isinstance(kind, str) else None
        if field is None:
            raise _invalid(f"{where}.{index}.type", "Invalid discriminator value.")
        own = detail.get("format") == DETAIL_FORMAT
        if (
            own
            and kind == "reasoning.text"
            and not is_signed(detail.get("text") or "", detail.get("signature"))
        ):
            raise _invalid(f"{where}.{index}.signature", "Invalid `signature` in `thinking` block.")


def _check_turns(messages: list[dict[str, Any]]) -> None:
    """Users and assistants take turns, after the system has spoken."""
    before = "assistant"
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "system" and index == 0:
            continue
        if role == before or role not in ("user", "assistant"):
            raise Invalid(
                "After the (optional) system message(s), user or tool message(s) should alternate "
                "with assistant message(s).",
                f"messages.{index}.role",
                kind="invalid_message",
            )
        before = role
    if before != "user":
        raise Invalid("Last message must have role `user`.", "messages", kind="invalid_message")


def _invalid(param: str, message: str) -> Invalid:
    return Invalid(message, param, code="invalid_value", kind="literal_error")


def check_message_fields(message: dict[str, Any], where: str, manner: Manner) -> None:
    """Refuse a field of a message the provider does not know, if it is one that refuses.

    Raises:
        Invalid: There is one.
    """
    known = manner.message_fields
    if known is None or known.issuperset(message):
        return
    name = next(name for name in message if name not in known)
    role = message.get("role")
    if manner.errors is Errors.MISTRAL:
        words, param = "Extra inputs are not permitted", f"{where}.{role}.{name}"
    elif manner.x_groq:
        words = (
            f"'{where}' : for 'role:{role}' the following must be satisfied[('{where}' : property "
            f"'{name}' is unsupported)]"
        )
        param = f"{where}.{name}"
    else:
        words, param = f"Unknown parameter: '{where}.{name}'.", f"{where}.{name}"
    raise Invalid(words, param, code="unknown_parameter", kind="extra_forbidden")
