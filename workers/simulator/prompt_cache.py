"""Remembers which marked prompts were seen, as a provider's prompt cache does."""

from collections import OrderedDict
from typing import Final, NamedTuple

from workers.simulator.dialect import Ask, CacheMark

# The oldest are forgotten first; nothing expires by time, as no test waits five minutes.
ENTRIES_MAX: Final = 10_000


class CacheUse(NamedTuple):
    """What one call did to the cache, in prompt tokens."""

    read: int = 0
    written: int = 0


UNCACHED: Final = CacheUse()


class PromptCache:
    """Explicit prompt caching, for all providers."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def use(self, provider: str, ask: Ask) -> CacheUse:
        """Read the longest marked prompt that is known, and write the rest."""
        marks = ask.cache_marks
        if not marks and ask.cached_tokens:
            marks = (CacheMark(str(ask.cached_tokens), ask.cached_tokens),)
        if not marks:
            return UNCACHED
        read = 0
        for mark in marks:
            key = (provider, ask.model, mark.key)
            if key in self._seen:
                read = mark.tokens
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > ENTRIES_MAX:
            self._seen.popitem(last=False)
        return CacheUse(read=read, written=marks[-1].tokens - read)
