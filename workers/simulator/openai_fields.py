"""Checks the plain fields of a request in the OpenAI dialect: numbers, flags, names."""

import re
from typing import Any, Final

from workers.simulator.providers import Errors, Manner

N_MAX: Final = 128
STOPS_MAX: Final = 4

_NO_MAX_TOKENS: Final = re.compile(r"(?:^|/)(?:o\d|gpt-5)")


class Invalid(Exception):
    """The provider would not take this request.

    Attributes:
        param: The field it complains about, as a path like ``messages.0.role``.
        code: The provider's code for it, where it has one.
        kind: The type of a pydantic-style complaint.
    """

    def __init__(
        self, message: str, param: str, *, code: str | None = None, kind: str = "value_error"
    ) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.kind = kind


def check_fields(body: dict[str, Any], manner: Manner) -> None:
    """Refuse a field the provider does not know, if it is one that refuses.

    Raises:
        Invalid: There is one.
    """
    if manner.fields is None:
        return
    for name in body:
        if name not in manner.fields:
            raise Invalid(
                "Extra inputs are not permitted"
                if manner.errors is Errors.MISTRAL
                else f"property '{name}' is unsupported"
                if manner.x_groq
                else f"Unrecognized request argument supplied: {name}",
                name,
                kind="extra_forbidden",
            )


_RANGES: Final[dict[str, tuple[float, float]]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}


def check_sampling(body: dict[str, Any]) -> None:
    """Check the sampling parameters and ``n``.

    Raises:
        Invalid: One has the wrong type or is out of range.
    """
    for name, (least, most) in _RANGES.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Invalid(
                f"Invalid type for '{name}': expected a decimal.",
                name,
                code="invalid_type",
                kind="float_type",
            )
        if not least <= value <= most:
            raise Invalid(
                f"Invalid '{name}': expected a value from {least} to {most}.",
                name,
                code="decimal_above_max_value" if value > most else "decimal_below_min_value",
                kind="less_than_equal" if value > most else "greater_than_equal",
            )
    _whole_number(body, "n", N_MAX)


def check_stream(body: dict[str, Any], manner: Manner) -> None:
    """Check ``stream`` and ``stream_options``.

    Raises:
        Invalid: The provider does not take them so.
    """
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise Invalid(
            "Invalid type for 'stream': expected a boolean.",
            "stream",
            code="invalid_type",
            kind="bool_type",
        )
    options = body.get("stream_options")
    if options is None:
        return
    if not isinstance(options, dict):
        raise Invalid(
            "Invalid type for 'stream_options': expected an object.",
            "stream_options",
            code="invalid_type",
            kind="model_type",
        )
    if manner.errors is Errors.MISTRAL and "include_usage" in options:
        raise Invalid(
            "Extra inputs are not permitted", "stream_options.include_usage", kind="extra_forbidden"
        )
    if not stream:
        raise Invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )


def _whole_number(body: dict[str, Any], name: str, most: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise Invalid(
            f"Invalid type for '{name}': expected an integer.",
            name,
            code="invalid_type",
            kind="int_type",
        )
    if value < 1 or (most is not None and value > most):
        raise Invalid(
            f"Invalid '{name}': integer out of range.",
            name,
            code="integer_below_min_value" if value < 1 else "integer_above_max_value",
            kind="greater_than_equal" if value < 1 else "less_than_equal",
        )
    return value


def read_max_tokens(body: dict[str, Any], model: str, manner: Manner) -> int | None:
    """Return the limit on tokens, under whichever of its two names it came.

    Raises:
        Invalid: It is no positive whole number, or has the wrong name for the model.
    """
    older = _whole_number(body, "max_tokens")
    newer = _whole_number(body, "max_completion_tokens")
    # Only OpenAI itself has a tier and a ban on max_tokens for its reasoning models.
    if older is not None and manner.service_tier and _NO_MAX_TOKENS.search(model):
        raise Invalid(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "max_tokens",
            code="unsupported_parameter",
        )
    return newer if newer is not None else older


def read_stop(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the texts to stop at.

    Raises:
        Invalid: They are no strings, or too many.
    """
    stop = body.get("stop")
    if stop is None:
        return ()
    marks = [stop] if isinstance(stop, str) else stop
    if (
        not isinstance(marks, list)
        or len(marks) > STOPS_MAX
        or not all(isinstance(mark, str) for mark in marks)
    ):
        raise Invalid(
            f"Invalid 'stop': expected a string or up to {STOPS_MAX} strings.",
            "stop",
            code="invalid_type",
            kind="string_type",
        )
    return tuple(mark for mark in marks if mark)
