"""Provider keys that customers bring: their forms, what is shown of them, who can take them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from routing.catalog.shapes import Catalog
from routing.credentials import (
    ApiKey,
    AzureConfig,
    KeyProblem,
    ServiceAccount,
    aws_credential,
    azure_keys,
    service_account,
)
from routing.errors import BadRequest

#: A plain key is some 50 to 200 characters; Google's and Azure's tokens have up to 2,000.
PLAIN_MAX = 4_096
#: Fewer characters, and what a label shows would be too much of the key.
_LABELLED_MIN = 16
_SHOWN_BEFORE, _SHOWN_AFTER = 3, 4
#: Azure's other names lead to machines of its customers.
AZURE_HOSTS = (
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
    ".models.ai.azure.com",
)
GOOGLE_TOKEN_URIS = (
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/oauth2/v4/token",
)
#: Begins keys that the bundled simulator takes for a customer's own: `sk-byok-anything` is good,
#: `sk-byok-limited` used up, `sk-byok-denied` taken back.
PLAYED = "sk-byok-"
_PRINTABLE = re.compile(r"[!-~]+")


def plain_key(text: str) -> ApiKey:
    """A key that is sent as it is, in a header.

    Raises:
        KeyProblem: says what is wrong with it, and the fix.
    """
    text = text.strip()
    if not text:
        raise KeyProblem("", "must not be empty")
    if len(text) > PLAIN_MAX:
        raise KeyProblem("", f"must be {PLAIN_MAX} characters or fewer")
    if not _PRINTABLE.fullmatch(text):
        raise KeyProblem("", "must be one line without spaces; paste the key alone")
    return ApiKey(text)


def own_azure_keys(text: str) -> tuple[AzureConfig, ...]:
    """As `azure_keys`, at hosts that Azure runs itself: anybody can name a machine of theirs there.

    Raises:
        KeyProblem: says which field is wrong, and the fix.
    """
    configs = azure_keys(text)
    for config in configs:
        host = urlsplit(config.key.endpoint_url).hostname or ""
        if not host.endswith(AZURE_HOSTS):
            raise KeyProblem("endpoint_url", f"must be at a host of {', '.join(AZURE_HOSTS)}")
    return configs


def own_service_account(text: str) -> ServiceAccount:
    """As `service_account`, with Google's one address for tokens.

    Raises:
        KeyProblem: says which field is wrong, and the fix.
    """
    account = service_account(text)
    if account.token_uri not in GOOGLE_TOKEN_URIS:
        raise KeyProblem("token_uri", f"must be {GOOGLE_TOKEN_URIS[0]}")
    return account


_FORMS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {
        "azure": own_azure_keys,
        "bedrock": aws_credential,
        "vertex": own_service_account,
        "vertex-anthropic": own_service_account,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedKey:
    """A key in the form its provider needs, fit to be stored.

    Attributes:
        provider: slug.
        label: what may be shown of it.
        models: the only ones it can serve, for a key that belongs to deployments; None for all.
    """

    provider: str
    text: str = field(repr=False)
    label: str
    models: tuple[str, ...] | None = None


def takes_keys(catalog: Catalog) -> tuple[str, ...]:
    """The providers a customer can bring a key for, sorted: all that ask for one."""
    return tuple(sorted(slug for slug, one in catalog.providers.items() if one.key_variable))


def check(catalog: Catalog, provider: str, text: str) -> CheckedKey:
    """Read what a customer gave as the key of a provider. Nobody is asked whether it works.

    A simulated provider also takes a key that is played, whatever the form of real ones.

    Raises:
        BadRequest: no such provider, one that needs no key, or a key in another form; says which
            field is wrong and how to mend it, and nothing that is in it.
    """
    known = catalog.providers.get(provider)
    if known is None or not known.key_variable:
        names = ", ".join(takes_keys(catalog))
        raise BadRequest(f"Keys can be stored for these providers: {names}", param="provider")
    dialects = {one.dialect for one in catalog.endpoints.values() if one.provider.slug == provider}
    forms = {_FORMS.get(dialect, plain_key) for dialect in dialects} or {plain_key}
    if known.simulated and text.strip().startswith(PLAYED):
        forms = {plain_key}
    models = None
    for form in forms:
        try:
            read = form(text)
        except KeyProblem as problem:
            place = f"key.{problem.field}" if problem.field else "key"
            # `from None`: what was raised first may quote the key.
            raise BadRequest(f"{known.name}: {problem}", param=place) from None
        if isinstance(read, tuple):
            models = tuple(config.model_slug for config in read)
    text = text.strip()
    return CheckedKey(provider=provider, text=text, label=label_of(text), models=models)


def label_of(text: str) -> str:
    """What may be shown of a key: `sk-...AbCd`; of JSON and of short ones nothing."""
    text = text.strip()
    if text.startswith(("{", "[", '"')):
        return "{...}"
    if len(text) < _LABELLED_MIN:
        return "..."
    return f"{text[:_SHOWN_BEFORE]}...{text[-_SHOWN_AFTER:]}"
