"""The Lua scripts: one atomic step per file, loaded once, run by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from redis.exceptions import NoScriptError, RedisError

from routing.errors import Unavailable

_FOLDER = Path(__file__).parent / "lua"
#: What callers are told to wait when Redis is away: long enough for a restart to finish.
RETRY_AFTER_MS = 2_000

Arg = str | bytes | int | float


@contextmanager
def translated() -> Iterator[None]:
    """Turn every Redis failure into `Unavailable`; the only place that knows Redis's exceptions."""
    try:
        yield
    except RedisError as error:
        raise Unavailable(
            "The queue is not available. Try again shortly.", retry_after_ms=RETRY_AFTER_MS
        ) from error


class Commands(Protocol):
    """What scripts are run by: a pooled client, or a `Mux` on the hot path."""

    def execute_command(self, *command: Any) -> Any:
        """Run one command and return its reply."""
        ...


class Scripts:
    """Runs the scripts of `lua/` by name.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, commands: Commands) -> None:
        self._redis = commands
        self._source = {path.stem: path.read_text() for path in sorted(_FOLDER.glob("*.lua"))}
        self._sha = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            for name, text in self._source.items()
        }

    def run(self, name: str, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """Run one script.

        After a Redis restart the digest is unknown; nothing ran then, so the source is sent and
        it runs once.
        """
        with translated():
            try:
                return self._redis.execute_command(
                    "EVALSHA", self._sha[name], len(keys), *keys, *args
                )
            except NoScriptError:
                return self._redis.execute_command(
                    "EVAL", self._source[name], len(keys), *keys, *args
                )
