"""What the path of a request means: which provider, which fault, which of its own paths."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from workers.simulator.faults import Fault, parse_fault

DEFAULT_PROVIDER: Final = "default"
# Provider slugs as the catalog writes them, and nothing that could be a path.
_PATTERN: Final = re.compile(
    r"(?:/p/(?P<provider>[A-Za-z0-9][A-Za-z0-9._-]{0,63}))?(?:/f/(?P<fault>[^/]{1,64}))?(?P<path>/.*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a call goes: ``/p/<provider>/f/<fault>`` taken off, the provider's own path left."""

    provider: str
    fault: Fault | None
    path: str


@lru_cache(maxsize=4096)
def read_address(path: str) -> Address | None:
    """Take a request path apart; None when it cannot be one of ours.

    Raises:
        UnknownFault: The path asks for a fault that does not exist.
    """
    found = _PATTERN.fullmatch(unquote(path))
    if found is None:
        return None
    spec = found["fault"]
    return Address(
        provider=found["provider"] or DEFAULT_PROVIDER,
        fault=parse_fault(spec) if spec else None,
        path=found["path"],
    )
