"""Which dialect a catalog entry's `dialect` names."""

from __future__ import annotations

from routing.errors import ConfigError, ConfigProblem
from workers.dialects import Dialect
from workers.dialects.openai import OpenAIDialect

_DIALECTS: dict[str, Dialect] = {"openai": OpenAIDialect()}


def dialect(name: str) -> Dialect:
    """The dialect of this name.

    Raises:
        ConfigError: there is none.
    """
    found = _DIALECTS.get(name)
    if found is None:
        known = ", ".join(sorted(_DIALECTS))
        raise ConfigError(
            (ConfigProblem("catalog", f"unknown dialect {name!r}.", f"Known: {known}."),)
        )
    return found
