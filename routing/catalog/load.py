"""Reading the catalog: files -> documents -> one immutable `Catalog`, or every problem at once."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from routing.catalog import yaml_text
from routing.catalog.document import (
    EndpointDocument,
    ModelDocument,
    ModelsDocument,
    ProviderDocument,
)
from routing.catalog.explain import explain
from routing.catalog.shapes import Catalog, Endpoint, Model, Provider
from routing.catalog.yaml_text import TEXT_MAX_BYTES, YamlProblem, YamlText, read_yaml
from routing.credentials import KeyProblem, azure_keys
from routing.errors import ConfigError, ConfigProblem

#: The catalog that comes with the product; read before the operator's directories.
SHIPPED = Path(__file__).parent

FILES_MAX = 2_000
ENDPOINTS_MAX = 20_000
#: More than anybody reads; the rest shows up after these are fixed.
PROBLEMS_MAX = 200

_DIGEST_HEX = 12

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where an entry was written."""

    directory: Path
    file: Path
    text: YamlText
    at: yaml_text.Path = ()

    def where(self, *path: str | int) -> str:
        return f"{self.file}:{self.text.line_of((*self.at, *path))}"


@dataclass(slots=True)
class _Library:
    """What was read so far, later entries over earlier ones, and what is wrong with it."""

    providers: dict[str, tuple[ProviderDocument, _Origin]] = field(default_factory=dict)
    models: dict[str, tuple[ModelDocument, _Origin]] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)
    files: int = 0
    #: False once a models file could not be used: then "unknown model" would be guesswork.
    all_models: bool = True

    def put_provider(self, document: ProviderDocument, origin: _Origin) -> None:
        self._refuse_twin("slug", document.slug, self.providers.get(document.slug), origin)
        self.providers[document.slug] = (document, origin)

    def put_model(self, document: ModelDocument, origin: _Origin) -> None:
        self._refuse_twin("id", document.id, self.models.get(document.id), origin)
        self.models[document.id] = (document, origin)

    def _refuse_twin(
        self, key: str, name: str, twin: tuple[Any, _Origin] | None, origin: _Origin
    ) -> None:
        if twin is not None and twin[1].directory == origin.directory:
            self.problems.append(
                ConfigProblem(
                    origin.where(key),
                    f"{key} {name!r} is given twice in this directory",
                    f"First given in {twin[1].where(key)}.",
                )
            )


def load(directories: Sequence[Path], *, environ: Mapping[str, str], sandbox_url: str) -> Catalog:
    """Read the shipped catalog and the operator's directories over it.

    Args:
        directories: each with `providers/*.yml` and `models/*.yml`; later ones override by provider
            slug and model id.
        environ: only asked whether a provider's key variable is set; keys never enter the catalog.
        sandbox_url: the simulator that stands in for providers whose key is not set; "" for none,
            then their endpoints are in no model's list.

    Raises:
        ConfigError: everything that is wrong, each with file and line.
    """
    library = _read((SHIPPED, *directories))
    if sandbox_url and not sandbox_url.startswith(("http://", "https://")):
        library.problems.append(
            ConfigProblem("POINTSMAN_SANDBOX_URL", "must be an http or https URL")
        )
    _check_references(library)
    if library.problems:
        raise ConfigError(tuple(library.problems[:PROBLEMS_MAX]))
    return _assemble(library, environ, sandbox_url)


def check(directories: Sequence[Path], environ: Mapping[str, str]) -> tuple[ConfigProblem, ...]:
    """Everything that would keep the catalog from loading; empty when it is good."""
    try:
        load(directories, environ=environ, sandbox_url="")
    except ConfigError as error:
        return error.problems
    return ()


def _read(directories: Sequence[Path]) -> _Library:
    library = _Library()
    for directory in directories:
        if not (directory / "providers").is_dir() and not (directory / "models").is_dir():
            library.problems.append(
                ConfigProblem(
                    str(directory),
                    "not a catalog directory",
                    "It needs a folder `providers` or `models` with .yml files.",
                )
            )
        before = len(library.problems)
        for origin in _texts(directory, "models", library):
            if models := _validated(ModelsDocument, origin, library):
                for index, model in enumerate(models.models):
                    at = ("models", index)
                    library.put_model(model, _Origin(directory, origin.file, origin.text, at))
        library.all_models = library.all_models and len(library.problems) == before
        for origin in _texts(directory, "providers", library):
            if provider := _validated(ProviderDocument, origin, library):
                library.put_provider(provider, origin)
    return library


def _texts(directory: Path, folder: str, library: _Library) -> Iterator[_Origin]:
    """Every readable file of a folder, by name; what cannot be read becomes a problem."""
    for file in sorted((directory / folder).glob("*.*")):
        if file.suffix not in {".yml", ".yaml"}:
            continue
        library.files += 1
        if library.files > FILES_MAX:
            library.problems.append(
                ConfigProblem(str(directory), f"more than {FILES_MAX} catalog files")
            )
            return
        try:
            with file.open("rb") as stream:
                content = stream.read(TEXT_MAX_BYTES + 1)
            yield _Origin(directory, file, read_yaml(content))
        except YamlProblem as problem:
            library.problems.append(
                ConfigProblem(f"{file}:{problem.line}", problem.message, problem.hint)
            )
        except OSError as error:
            library.problems.append(ConfigProblem(f"{file}:1", f"cannot be read: {error.strerror}"))


def _validated(document: type[Document], origin: _Origin, library: _Library) -> Document | None:
    try:
        return document.model_validate(origin.text.value)
    except ValidationError as error:
        for item in error.errors(include_url=False)[:PROBLEMS_MAX]:
            message, hint = explain(document, item)
            library.problems.append(ConfigProblem(origin.where(*item["loc"]), message, hint))
        return None


def _check_references(library: _Library) -> None:
    """What only shows when all files are known."""
    _check_slugs(library)
    _check_variants(library)
    seen: dict[str, str] = {}
    total = 0
    for provider, origin in library.providers.values():
        for index, entry in enumerate(provider.endpoints):
            total += 1
            if len(library.problems) >= PROBLEMS_MAX:  # looking for near names is slow
                return
            where = origin.where("endpoints", index, "model")
            library.problems += _entry_problems(library, provider, entry, where, seen)
    if total > ENDPOINTS_MAX:
        library.problems.append(ConfigProblem("catalog", f"more than {ENDPOINTS_MAX} endpoints"))


def _entry_problems(
    library: _Library,
    provider: ProviderDocument,
    entry: EndpointDocument,
    where: str,
    seen: dict[str, str],
) -> Iterator[ConfigProblem]:
    """What is wrong with one endpoint beside the others; notes its id in `seen`."""
    if library.all_models and entry.model not in library.models:
        near = difflib.get_close_matches(entry.model, library.models, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Describe it in a models file."
        yield ConfigProblem(where, f"unknown model {entry.model!r}", hint)
    tag, endpoint_id = provider.tag_of(entry), provider.endpoint_id(entry)
    if tag.partition("/")[0] != provider.slug:
        hint = f"Write {provider.slug!r} or {provider.slug + '/variant'!r}."
        yield ConfigProblem(where, f"the tag {tag!r} is not this provider's", hint)
    if endpoint_id in seen:
        hint = f"First given in {seen[endpoint_id]}; give one of them another tag."
        yield ConfigProblem(where, f"duplicate endpoint {endpoint_id!r}", hint)
    seen[endpoint_id] = where


def _check_variants(library: _Library) -> None:
    """Variants and pools name models that exist, and curated lists endpoints that do.

    Not those of a provider that was replaced in another directory: who replaced it need not serve
    what it served.
    """
    tags: dict[str, set[str]] = {}
    for provider, _ in library.providers.values():
        for entry in provider.endpoints:
            tags.setdefault(entry.model, set()).add(provider.tag_of(entry))
    for document, origin in library.models.values():
        of = document.variant_of
        if of is not None and (of not in library.models or library.models[of][0].variant_of):
            library.problems.append(
                ConfigProblem(
                    origin.where("variant_of"),
                    f"{of!r} is no model, or a variant itself",
                    "Name the model whose endpoints are served.",
                )
            )
        for index, tag in enumerate(document.curated or ()):
            owner = library.providers.get(tag.partition("/")[0])
            replaced = owner is not None and owner[1].directory != origin.directory
            if tag not in tags.get(of or "", ()) and not replaced:
                library.problems.append(
                    ConfigProblem(
                        origin.where("curated", index), f"no endpoint {tag!r} serves {of!r}"
                    )
                )
        for index, each in enumerate(document.pool):
            if each.model not in library.models:
                library.problems.append(
                    ConfigProblem(origin.where("pool", index), f"unknown model {each.model!r}")
                )


def _check_slugs(library: _Library) -> None:
    """A name means one model, or variants of one."""
    owners = {name: document.base_id for name, (document, _) in library.models.items()}
    for document, origin in library.models.values():
        owner = owners.setdefault(document.slug, document.base_id)
        if owner != document.base_id:
            library.problems.append(
                ConfigProblem(
                    origin.where("canonical_slug"),
                    f"{document.slug!r} already names {owner!r}",
                    "Give this model a canonical_slug of its own.",
                )
            )


@dataclass(frozen=True, slots=True)
class _Reach:
    """How a provider is reached under the present environment."""

    base_url: str
    simulated: bool
    callable: bool
    #: What a key that belongs to single models is for; None for all.
    models: frozenset[str] | None = None


def _reach(document: ProviderDocument, environ: Mapping[str, str], sandbox_url: str) -> _Reach:
    key = environ.get(document.key_variable, "").strip() if document.key_variable else ""
    keyed = not document.key_variable or bool(key)
    if keyed or not sandbox_url:
        models = _deployed(key) if keyed and document.dialect == "azure" else None
        return _Reach(document.base_url, simulated=False, callable=keyed, models=models)
    # The provider's own path stays, so that a sandbox calls what the provider would be called with.
    path = urlsplit(document.base_url).path
    base_url = f"{sandbox_url.rstrip('/')}/p/{document.slug}{path}"
    return _Reach(base_url, simulated=True, callable=True)


def _deployed(key: str) -> frozenset[str] | None:
    """The models an Azure key has deployments for. A key that cannot be read is told at a call."""
    try:
        return frozenset(config.model_slug for config in azure_keys(key))
    except KeyProblem:
        return None


def _assemble(library: _Library, environ: Mapping[str, str], sandbox_url: str) -> Catalog:
    documents = [library.providers[slug][0] for slug in sorted(library.providers)]
    reaches = {doc.slug: _reach(doc, environ, sandbox_url) for doc in documents}
    providers: dict[str, Provider] = {}
    endpoints: dict[str, Endpoint] = {}
    by_model: dict[str, list[Endpoint]] = {}
    keyless: dict[str, list[Endpoint]] = {}
    for doc in documents:
        reach = reaches[doc.slug]
        provider = doc.provider(reach.base_url, simulated=reach.simulated)
        providers[doc.slug] = provider
        for entry in sorted(doc.endpoints, key=doc.endpoint_id):
            endpoint = doc.endpoint(entry, provider)
            endpoints[endpoint.id] = endpoint
            keyed = reach.callable and (reach.models is None or entry.model in reach.models)
            (by_model if keyed else keyless).setdefault(entry.model, []).append(endpoint)
    _lend(library, by_model)
    _lend(library, keyless)
    models = _models(library)
    return Catalog(
        digest=_digest(library, reaches),
        providers=MappingProxyType(providers),
        models=MappingProxyType(models),
        endpoints=MappingProxyType(endpoints),
        by_model=MappingProxyType({name: tuple(found) for name, found in by_model.items()}),
        keyless=MappingProxyType({name: tuple(found) for name, found in keyless.items()}),
        routers=frozenset(name for name, model in models.items() if model.router),
    )


def _lend(library: _Library, by_model: dict[str, list[Endpoint]]) -> None:
    """Give each variant the endpoints it shares with the model it is a variant of."""
    for document, _ in library.models.values():
        lent = [
            endpoint
            for endpoint in by_model.get(document.variant_of or "", ())
            if document.curated is None or endpoint.tag in document.curated
        ]
        if lent:
            by_model.setdefault(document.id, []).extend(lent)


def _models(library: _Library) -> dict[str, Model]:
    """By id; then by canonical slug and by the part after the author, where those are unambiguous.

    A canonical slug means the plain model before its variants. What a variant's row leaves out is
    its model's.
    """
    by_id = {name: _document(library, name).model() for name in sorted(library.models)}
    models = dict(by_id)
    for model in by_id.values():
        models.setdefault(model.canonical_slug, model)
    bare = Counter(name.partition("/")[2] for name in by_id)
    for name, model in by_id.items():
        if bare[name.partition("/")[2]] == 1:
            models.setdefault(name.partition("/")[2], model)
    return models


def _document(library: _Library, name: str) -> ModelDocument:
    document = library.models[name][0]
    if document.variant_of is None:
        return document
    own = {field: getattr(document, field) for field in document.model_fields_set}
    base = library.models[document.variant_of][0]
    return base.model_copy(update={"description": "", **own})


def _digest(library: _Library, reaches: Mapping[str, _Reach]) -> str:
    content = {
        "models": {name: doc.model_dump(mode="json") for name, (doc, _) in library.models.items()},
        "providers": {
            slug: [
                doc.model_dump(mode="json"),
                reaches[slug].base_url,
                reaches[slug].simulated,
                reaches[slug].callable,
                sorted(reaches[slug].models or ()),
            ]
            for slug, (doc, _) in library.providers.items()
        },
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_HEX]
