"""Keys for playing a customer's own: good ones, one that is used up, one that was taken back."""

from typing import Final

from workers.simulator.faults import Fault
from workers.simulator.wire import Request

#: Every provider takes a key that begins so.
PREFIX: Final = "sk-byok-"
_LIMITED: Final = f"{PREFIX}limited"
_DENIED: Final = f"{PREFIX}denied"
_HEADERS: Final = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


def fault_of(request: Request) -> Fault | None:
    """Return what a call gets for its key, whatever else is set for it; None for nothing."""
    for name in _HEADERS:
        key = request.headers.get(name, "").removeprefix("Bearer ")
        if key.startswith(_LIMITED):
            return Fault(name="429")
        if key.startswith(_DENIED):
            return Fault(name="401")
    return None
