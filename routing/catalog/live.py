"""The catalog in use, replaced whole when a better one was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from routing.catalog.load import load
from routing.catalog.shapes import Catalog
from routing.settings import Settings


class LiveCatalog:
    """Holds the current catalog of a process.

    Readers take `current` once per request and keep it, so that a reload never changes a plan
    half-way. A reload is one assignment: no lock, any number of readers.

    Args:
        directories: the operator's, in order.
        environ: asked for provider keys at every load.
        sandbox_url: as for `load`.

    Raises:
        ConfigError: the first catalog is not valid; there is nothing to fall back on.
    """

    def __init__(
        self, directories: Sequence[Path], environ: Mapping[str, str], sandbox_url: str
    ) -> None:
        self._directories = tuple(directories)
        self._environ = environ
        self._sandbox_url = sandbox_url
        #: How a reload is run; reading takes half a second, which a process full of streams must
        #: not stand still for (`gevent` processes put a thread here).
        self.aside: Callable[[Callable[[], Catalog]], Catalog] = lambda read: read()
        #: Cheap to read; hold on to the object, not to this attribute.
        self.current: Catalog = self._load()

    @classmethod
    def from_settings(cls, settings: Settings, environ: Mapping[str, str]) -> LiveCatalog:
        """The catalog the settings describe."""
        return cls(settings.catalog_dirs, environ, settings.sandbox_url)

    def reload(self) -> Catalog:
        """Read the files again and take over what they say now.

        The same object stays when nothing changed, so that whatever was derived from it stays good.

        Raises:
            ConfigError: the files are not valid; the running catalog goes on.
        """
        fresh = self.aside(self._load)
        if fresh.digest != self.current.digest:
            self.current = fresh
        return self.current

    def _load(self) -> Catalog:
        return load(self._directories, environ=self._environ, sandbox_url=self._sandbox_url)
