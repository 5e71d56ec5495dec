"""Catalog files as they were written, and writing some of them anew."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from routing.catalog.load import SHIPPED, load
from routing.catalog.yaml_text import TEXT_MAX_BYTES, read_yaml
from routing.errors import ConfigError, ConfigProblem

#: The first line of every file written here; only such files are written again.
MARK = "# Written by `pointsman catalog import`. Comments in this file do not last.\n"
_SUFFIXES = frozenset({".yml", ".yaml"})
_LINE_WIDTH = 110


class _Dumper(yaml.SafeDumper):
    """Plain YAML as the catalog reads it: exact decimals, dates unquoted, no aliases."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:timestamp"]
        for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Nothing is an alias: the catalog reads none."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - as above
        super().increase_indent(flow, indentless=False)


def _number(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    plain = format(value.normalize() if value else Decimal(0), "f")
    kind = "float" if "." in plain else "int"
    return dumper.represent_scalar(f"tag:yaml.org,2002:{kind}", plain)


_Dumper.add_representer(Decimal, _number)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an entry is written."""

    directory: Path
    file: Path


@dataclass(slots=True)
class Shelf:
    """The catalog's entries as they are written, later directories over earlier ones."""

    providers: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Of `providers/<slug>` and `models/<id>`.
    sources: dict[str, Source] = field(default_factory=dict)


def read_shelf(directories: Sequence[Path]) -> Shelf:
    """Read a catalog that `load` found good.

    Args:
        directories: the operator's own, in order; the shipped catalog comes first by itself.
    """
    shelf = Shelf()
    for directory in (SHIPPED, *directories):
        for file, value in _documents(directory, "models"):
            for row in value["models"]:
                shelf.models[row["id"]] = row
                shelf.sources[f"models/{row['id']}"] = Source(directory, file)
        for file, value in _documents(directory, "providers"):
            shelf.providers[value["slug"]] = value
            shelf.sources[f"providers/{value['slug']}"] = Source(directory, file)
    return shelf


def _documents(directory: Path, folder: str) -> Iterator[tuple[Path, Any]]:
    for file in sorted((directory / folder).glob("*.*")):
        if file.suffix in _SUFFIXES:
            with file.open("rb") as stream:
                value = read_yaml(stream.read(TEXT_MAX_BYTES + 1)).value
            if value:
                yield file, value


def texts(shelf: Shelf, changed: Iterable[str], into: Path) -> dict[Path, str]:
    """The files of a directory that hold changed entries, whole, in the order to write them.

    Models come first: a model without endpoints loads, an endpoint without its model does not.

    Args:
        shelf: with the changes in it.
        changed: names as in `Shelf.sources`.
        into: the directory; entries of other directories are copied into it.
    """
    models: dict[Path, str] = {}
    providers: dict[Path, str] = {}
    rows: dict[Path, set[str]] = {}
    for name in sorted(changed):
        folder, _, key = name.partition("/")
        file = _file(shelf, name, into)
        if folder == "providers":
            providers[file] = MARK + _yaml(shelf.providers[key])
        else:
            rows.setdefault(file, set()).add(key)
    for file, ids in rows.items():
        there = {
            name.removeprefix("models/")
            for name, source in shelf.sources.items()
            if name.startswith("models/") and source.file == file
        }
        listed = [shelf.models[model_id] for model_id in sorted(ids | there)]
        models[file] = MARK + _yaml({"models": listed})
    return models | providers


def _file(shelf: Shelf, name: str, into: Path) -> Path:
    """The file of the directory that holds an entry already, else one by its own name."""
    source = shelf.sources.get(name)
    if source is not None and source.directory == into:
        return source.file
    folder, _, key = name.partition("/")
    return into / folder / f"{key.partition('/')[0]}.yml"


def _yaml(value: Any) -> str:
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=_LINE_WIDTH,
    )
    return text


def check_files(files: Mapping[Path, str], into: Path, directories: Sequence[Path]) -> None:
    """Load the catalog as it would be.

    Raises:
        ConfigError: what is wrong with it.
    """
    with tempfile.TemporaryDirectory(prefix="pointsman-import-") as folder:
        staged = Path(folder)
        for name in ("models", "providers"):
            (staged / name).mkdir()
        for file, text in files.items():
            (staged / file.relative_to(into)).write_text(text, encoding="utf-8")
        load((*directories, staged), environ={}, sandbox_url="")


def write_files(files: Mapping[Path, str], *, force: bool) -> None:
    """Write files, each whole or not at all.

    None takes its place before all are on the disk, so a full disk or a directory that cannot be
    written changes nothing. They take their places in the order given.

    Args:
        files: their texts.
        force: also over files that were written by hand.

    Raises:
        ConfigError: a file was written by hand, or cannot be written.
    """
    others = [file for file in files if not force and not _ours(file)]
    if others:
        hint = "Move it away, import into another directory, or say --force."
        problems = (
            ConfigProblem(str(file), "was not written by an import", hint) for file in others
        )
        raise ConfigError(tuple(problems))
    staged: dict[Path, Path] = {}
    try:
        for file, text in files.items():
            with _told(file):
                staged[file] = _staged(file, text)
        for file, whole in staged.items():
            with _told(file):
                whole.replace(file)
    finally:
        for whole in staged.values():
            whole.unlink(missing_ok=True)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot be written: {error.strerror}"
        raise ConfigError((ConfigProblem(str(file), message),)) from error


def _ours(file: Path) -> bool:
    """Whether there is nothing to lose."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.readline(len(MARK)) == MARK
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def _staged(file: Path, text: str) -> Path:
    """The whole text beside the file, on the disk, under a name no catalog reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    staged = Path(name)
    with ExitStack() as undo:
        undo.callback(staged.unlink, missing_ok=True)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        staged.chmod(0o644)
        undo.pop_all()
    return staged
