"""POINTSMAN_HOME: the folder that holds all data of the embedded start."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from routing.errors import ConfigError, ConfigProblem
from routing.sealing import new_secret

PRIVATE_DIR = 0o700
PRIVATE_FILE = 0o600
_EXPORT = re.compile(r"export (POINTSMAN_[A-Z_]+)=(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The two keys of the default account, in full."""

    inference: str
    management: str


@dataclass(frozen=True, slots=True)
class Home:
    """Names everything in the folder. `path` is absolute, so that children may run anywhere."""

    path: Path

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.path / "logs"

    @property
    def metrics(self) -> Path:
        """Where the processes share their counters; worth nothing after a stop."""
        return self.path / "metrics"

    @property
    def redis(self) -> Path:
        """Data of the embedded Redis."""
        return self.path / "redis"

    @property
    def env(self) -> Path:
        """Shell exports with the base URL and both keys, for scripts to source."""
        return self.path / "env"

    @property
    def secret_file(self) -> Path:
        """The secret of the embedded start; whoever has it opens what is sealed in the ledger."""
        return self.path / "secret"

    def prepare(self) -> None:
        """Make the folders, readable by their owner only, and empty the counters.

        Raises:
            ConfigError: the folder cannot be made or belongs to somebody else.
        """
        try:
            for folder in (self.path, self.logs, self.redis):
                folder.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
            self.path.chmod(PRIVATE_DIR)
        except OSError as error:
            message = f"{self.path} cannot be used ({error.strerror})."
            hint = "Choose another folder with POINTSMAN_HOME."
            raise ConfigError((ConfigProblem("POINTSMAN_HOME", message, hint),)) from error

    def empty_metrics(self) -> None:
        """Counters of dead processes must not be added to those of new ones."""
        shutil.rmtree(self.metrics, ignore_errors=True)
        self.metrics.mkdir(mode=PRIVATE_DIR)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one `pointsman up`; the kernel lets go when the process ends.

        Raises:
            ConfigError: another one holds it.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
                message = f"{self.path} is in use by a running Pointsman (process {holder})."
                hint = "Stop that one first, or choose another folder with POINTSMAN_HOME."
                raise ConfigError((ConfigProblem("POINTSMAN_HOME", message, hint),)) from error
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(descriptor)

    def read_secret(self) -> str:
        """The secret of an earlier start; "" when there was none."""
        try:
            return self.secret_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    def secret(self) -> str:
        """The same; the first time it is made. Call it under `lock`."""
        known = self.read_secret()
        if known:
            return known
        made = new_secret()
        self._write(self.secret_file, made + "\n")
        return made

    def read_keys(self) -> Keys | None:
        """The keys of an earlier start; None when there are none to be read."""
        try:
            text = self.env.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        found = dict(_EXPORT.findall(text))
        inference = found.get("POINTSMAN_API_KEY")
        management = found.get("POINTSMAN_MANAGEMENT_KEY")
        if not inference or not management:
            return None
        return Keys(inference=inference, management=management)

    def write_env(self, base_url: str, keys: Keys) -> None:
        """Write the exports; a script that sources the file meanwhile sees a whole one."""
        text = (
            f"export POINTSMAN_BASE_URL={base_url}\n"
            f"export POINTSMAN_API_KEY={keys.inference}\n"
            f"export POINTSMAN_MANAGEMENT_KEY={keys.management}\n"
        )
        self._write(self.env, text)

    def _write(self, path: Path, text: str) -> None:
        """A whole file or none, for its owner's eyes only from the first byte on."""
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
