"""Which credential a call is made with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeVar

import structlog

from routing.catalog.shapes import Endpoint, Provider
from routing.clock import Clock
from routing.credentials import (
    ApiKey,
    AwsKeys,
    AzureConfig,
    AzureKey,
    Credential,
    GoogleToken,
    KeyProblem,
    ServiceAccount,
    aws_credential,
    azure_keys,
    service_account,
)
from routing.errors import UpstreamDenied
from routing.own_keys import PLAYED, own_azure_keys, own_service_account, plain_key
from routing.sealing import Place, Sealer, SealError

if TYPE_CHECKING:
    from workers.google_tokens import GoogleTokens

#: What simulated providers are shown: they check that a credential is sent, and see no real one.
SIMULATOR_KEY = "simulator"
#: The project that simulated Google models belong to.
SIMULATOR_PROJECT = "simulator"
_SIMULATED_AWS = AwsKeys(access_key_id="AKIASIMULATOR0000000", secret_access_key=SIMULATOR_KEY)
#: Customers' keys kept open; the one used longest ago is opened again when it is needed.
OWN_KEYS_MAX = 1_024
_GOOGLE = frozenset({"vertex", "vertex-anthropic"})
_RSA_BITS = 2_048
_RSA_EXPONENT = 65_537

Parsed = TypeVar("Parsed")
log = structlog.get_logger("pointsman.keyring")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKey:
    """A customer's key as a job brings it, with all that says where it may be opened.

    Attributes:
        id: of its row.
        provider: slug of the one it is for.
    """

    id: str
    account_id: str
    provider: str
    sealed: str = field(repr=False)

    @property
    def place(self) -> Place:
        """Where it was sealed for."""
        return Place.of_provider_key(self.id, self.account_id, self.provider)


class Keyring:
    """The operator's keys, by provider, and customers' own, which come sealed. One per process.

    Args:
        secrets: the environment.
        sealer: opens customers' keys; without one, no call is made with them.
    """

    def __init__(
        self, secrets: Mapping[str, str], clock: Clock | None = None, sealer: Sealer | None = None
    ) -> None:
        self._secrets = secrets
        self._clock = clock
        self._sealer = sealer or Sealer(b"")
        # What a key says does not change while the process runs.
        self._parsed: dict[tuple[str, object], object] = {}
        self._opened: OrderedDict[tuple[OwnKey, object], object] = OrderedDict()
        self._lock = threading.Lock()

    def credential(self, endpoint: Endpoint, own: OwnKey | None = None) -> Credential:
        """What to show an endpoint's provider; for Google this may fetch a token first.

        Args:
            endpoint: a simulated one is shown neither the operator's key nor a customer's, unless
                that is one to play with (`routing.own_keys.PLAYED`).
            own: the customer's key to call it with, instead of the operator's. It opens only for
                the account and the provider it was stored for.

        Raises:
            UpstreamDenied: the key is not in the form this provider needs, cannot be opened, or is
                refused. Of a customer's key the message says so, and nothing of the operator's.
            UpstreamDown: a token has to be fetched and Google does not answer.
        """
        if endpoint.provider.simulated:
            return self._played(endpoint, own) or self._simulated(endpoint)
        if endpoint.dialect in _GOOGLE:
            parse = service_account if own is None else own_service_account
            return self._tokens.token(self._read(endpoint, own, parse))
        if endpoint.dialect == "azure":
            read = azure_keys if own is None else own_azure_keys
            return _deployment(endpoint, self._read(endpoint, own, read), own)
        if endpoint.dialect == "bedrock":
            return self._read(endpoint, own, aws_credential)
        if own is not None:
            return self._read(endpoint, own, plain_key)
        return ApiKey(self._secrets.get(endpoint.provider.key_variable, ""))

    @cached_property
    def _tokens(self) -> GoogleTokens:
        # Loaded with the first call to Google: 17 MB in each of many processes.
        from workers.google_tokens import GoogleTokens  # noqa: PLC0415

        return GoogleTokens(self._clock)

    def _played(self, endpoint: Endpoint, own: OwnKey | None) -> Credential | None:
        if own is None:
            return None
        text = self._read_own(endpoint.provider, own, str)
        if not text.startswith(PLAYED):
            return None
        key = plain_key(text)
        if endpoint.dialect in _GOOGLE:
            return GoogleToken(token=key.value, project=SIMULATOR_PROJECT)
        return key

    def _simulated(self, endpoint: Endpoint) -> Credential:
        if endpoint.dialect == "bedrock":
            return _SIMULATED_AWS
        if endpoint.dialect in _GOOGLE:
            return self._tokens.token(_simulated_account(token_address(endpoint.provider)))
        return ApiKey(SIMULATOR_KEY)

    def _read(
        self, endpoint: Endpoint, own: OwnKey | None, parse: Callable[[str], Parsed]
    ) -> Parsed:
        provider = endpoint.provider
        if own is not None:
            return self._read_own(provider, own, parse)
        name = (provider.key_variable, parse)
        with self._lock:
            if name not in self._parsed:
                self._parsed[name] = _outcome(self._secrets.get(provider.key_variable, ""), parse)
            found = self._parsed[name]
        if isinstance(found, KeyProblem):
            raise UpstreamDenied(
                f"The key of {provider.name} cannot be used. {provider.key_variable}: {found}"
            )
        return found  # type: ignore[return-value]  # the parser is part of the key

    def _read_own(self, provider: Provider, own: OwnKey, parse: Callable[[str], Parsed]) -> Parsed:
        """A customer's key, opened and parsed once while it is in use."""
        if own.provider != provider.slug:
            raise UpstreamDenied(f"Your own key is not one of {provider.name}")
        name = (own, parse)
        with self._lock:
            found = self._opened.pop(name, None)
        if found is None:
            found = self._open(own, parse)
        with self._lock:
            self._opened[name] = found
            if len(self._opened) > OWN_KEYS_MAX:
                self._opened.popitem(last=False)
        if isinstance(found, KeyProblem):
            raise UpstreamDenied(f"Your own key of {provider.name} cannot be used: {found}")
        return found  # type: ignore[return-value]  # as above

    def _open(self, own: OwnKey, parse: Callable[[str], Parsed]) -> object:
        try:
            text = self._sealer.open(own.sealed, own.place)
        except SealError as error:
            log.warning("own key not opened", action="byok.not_opened", byok=own.id, why=str(error))
            return KeyProblem("", "it does not open any more; store it again")
        return _outcome(text, parse)


def token_address(provider: Provider) -> str:
    """Where the simulator hands out tokens for a simulated provider."""
    start = f"/p/{provider.slug}"
    return f"{provider.base_url.partition(start)[0]}{start}/token"


def _outcome(text: str, parse: Callable[[str], Parsed]) -> Parsed | KeyProblem:
    try:
        return parse(text)
    except KeyProblem as problem:
        return problem.with_traceback(None)


def _deployment(
    endpoint: Endpoint, configs: tuple[AzureConfig, ...], own: OwnKey | None
) -> AzureKey:
    model = endpoint.model_id
    for name in (model, model.partition(":")[0]):
        for config in configs:
            if config.model_slug == name:
                return config.key
    whose = "The key" if own is None else "Your own key"
    raise UpstreamDenied(
        f"{whose} of {endpoint.provider.name} has no deployment with model_slug '{model}'"
    )


@cache
def _simulated_account(token_uri: str) -> ServiceAccount:
    """An account of nobody: its key is made here, signing and fetching are real."""
    return ServiceAccount(
        project_id=SIMULATOR_PROJECT,
        client_email=f"pointsman@{SIMULATOR_PROJECT}.iam.gserviceaccount.com",
        private_key=_made_key(),
        token_uri=token_uri,
        private_key_id=SIMULATOR_KEY,
    )


@cache
def _made_key() -> str:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as GoogleTokens
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - as GoogleTokens

    key = rsa.generate_private_key(public_exponent=_RSA_EXPONENT, key_size=_RSA_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
