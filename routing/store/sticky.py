"""Which endpoint holds the cached prompt of a conversation."""

from __future__ import annotations

from routing.store import redis_keys as keys
from routing.store.scripts import Commands, translated

#: Providers keep an unused prompt for 5 to 10 minutes; every use begins it anew.
STICKY_MS = 600_000


class Sticky:
    """Names of conversations and the endpoints that answered them last.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def remember(self, name: str, endpoint_id: str) -> None:
        """From now on, and for `STICKY_MS`, this endpoint is asked first."""
        with translated():
            self._commands.execute_command("SET", keys.sticky(name), endpoint_id, "PX", STICKY_MS)

    def recall(self, name: str) -> str | None:
        """The endpoint to ask first; None when there is none, or no longer."""
        with translated():
            found: bytes | None = self._commands.execute_command("GET", keys.sticky(name))
        return None if found is None else found.decode()
