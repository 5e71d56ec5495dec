"""Which credential a call is made with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeVar

from routing.catalog.shapes import Endpoint, Provider
from routing.clock import Clock
from routing.credentials import (
    ApiKey,
    AwsKeys,
    AzureConfig,
    AzureKey,
    Credential,
    KeyProblem,
    ServiceAccount,
    aws_credential,
    azure_keys,
    service_account,
)
from routing.errors import UpstreamDenied

if TYPE_CHECKING:
    from workers.google_tokens import GoogleTokens

#: What simulated providers are shown: they check that a credential is sent, and see no real one.
SIMULATOR_KEY = "simulator"
#: The project that simulated Google models belong to.
SIMULATOR_PROJECT = "simulator"
_SIMULATED_AWS = AwsKeys(access_key_id="AKIASIMULATOR0000000", secret_access_key=SIMULATOR_KEY)
_GOOGLE = frozenset({"vertex", "vertex-anthropic"})
_RSA_BITS = 2_048
_RSA_EXPONENT = 65_537

Parsed = TypeVar("Parsed")


class Keyring:
    """The operator's keys, by provider. One per process."""

    def __init__(self, secrets: Mapping[str, str], clock: Clock | None = None) -> None:
        self._secrets = secrets
        self._clock = clock
        # What an operator's key says does not change while the process runs.
        self._parsed: dict[tuple[str, object], object] = {}
        self._lock = threading.Lock()

    def credential(self, endpoint: Endpoint) -> Credential:
        """What to show an endpoint's provider; for Google this may fetch a token first.

        Raises:
            UpstreamDenied: the operator's key is not in the form this provider needs, or refused.
            UpstreamDown: a token has to be fetched and Google does not answer.
        """
        provider = endpoint.provider
        if provider.simulated:
            return self._simulated(endpoint)
        if endpoint.dialect in _GOOGLE:
            return self._tokens.token(self._read(provider, service_account))
        if endpoint.dialect == "azure":
            return _deployment(endpoint, self._read(provider, azure_keys))
        if endpoint.dialect == "bedrock":
            return self._read(provider, aws_credential)
        return ApiKey(self._secrets.get(provider.key_variable, ""))

    @cached_property
    def _tokens(self) -> GoogleTokens:
        # Loaded with the first call to Google: 17 MB in each of many processes.
        from workers.google_tokens import GoogleTokens  # noqa: PLC0415

        return GoogleTokens(self._clock)

    def _simulated(self, endpoint: Endpoint) -> Credential:
        if endpoint.dialect == "bedrock":
            return _SIMULATED_AWS
        if endpoint.dialect in _GOOGLE:
            return self._tokens.token(_simulated_account(token_address(endpoint.provider)))
        return ApiKey(SIMULATOR_KEY)

    def _read(self, provider: Provider, parse: Callable[[str], Parsed]) -> Parsed:
        """The operator's key, parsed once."""
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


def token_address(provider: Provider) -> str:
    """Where the simulator hands out tokens for a simulated provider."""
    start = f"/p/{provider.slug}"
    return f"{provider.base_url.partition(start)[0]}{start}/token"


def _outcome(text: str, parse: Callable[[str], Parsed]) -> Parsed | KeyProblem:
    try:
        return parse(text)
    except KeyProblem as problem:
        return problem.with_traceback(None)


def _deployment(endpoint: Endpoint, configs: tuple[AzureConfig, ...]) -> AzureKey:
    model = endpoint.model_id
    for name in (model, model.partition(":")[0]):
        for config in configs:
            if config.model_slug == name:
                return config.key
    raise UpstreamDenied(
        f"The key of {endpoint.provider.name} has no deployment with model_slug '{model}'"
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
