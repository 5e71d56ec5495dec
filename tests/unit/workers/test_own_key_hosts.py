"""Wherever a customer's key says it belongs, nobody is connected to but its provider."""

from __future__ import annotations

import socket
from typing import Any

import orjson
import pytest

from routing.credentials import AwsKeys, AzureKey, KeyProblem, aws_credential
from routing.errors import UpstreamDenied
from routing.own_keys import AZURE_HOSTS, own_azure_keys, own_service_account
from routing.sealing import Sealer
from tests.unit.routing.test_credentials import AWS, AZURE, GOOGLE
from workers.keyring import Keyring, OwnKey

SEALER = Sealer(b"s" * 32)
PATH = "/openai/deployments/d/chat/completions?api-version=1"
HOSTS = (
    "127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "0", "0.0.0.1", "[::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fe80::1%25lo]", "localhost", "localhost.localdomain",
    "169.254.169.254", "metadata.google.internal", "10.0.0.1", "192.168.0.1", "100.64.0.1",
    "①②⑦.0.0.1", "127。0。0。1", "evil.test", "openai.azure.com", "azure.com", "openai.azure.com.",
    "x.openai.azure.com.evil.test", "x.openai.azure.com.", "xopenai.azure.com", "x.azure.com",
    "vm.westeurope.cloudapp.azure.com", "app.azurewebsites.net", "x.openai.azure.com@evil.test",
    "evil.test@x.openai.azure.com", "me:pw@x.openai.azure.com", "x.openai.azure.com:8443",
    "x.openai.azure.com:22", "x.openai.azure.com\\.evil.test", "evil.test#x.openai.azure.com",
    "evil.test?x.openai.azure.com", "evil.test/x.openai.azure.com", "x_y.openai.azure.com",
    "x%2eopenai.azure.com", "x.openai.azur\u0435.com", "x..openai.azure.com@h", "", ".",
)  # fmt: skip
SCHEMES = ("http", "ftp", "file", "gopher", "//", "HTTPS://x.test/", "javascript", "unix")
TOKEN_URIS = (
    *(f"https://{host}/token" for host in HOSTS[:24]),
    "http://oauth2.googleapis.com/token", "https://oauth2.googleapis.com:8443/token",
    "https://oauth2.googleapis.com.evil.test/token", "https://oauth2.googleapis.com@evil.test/token",
    "https://evil.test#oauth2.googleapis.com", "https://storage.googleapis.com/bucket/token",
    "https://oauth2.googleapis.com/other", "https://xoauth2.googleapis.com/token",
    "https://oauth2.googleapis.com/token?next=https://evil.test", "file:///etc/passwd",
    "//evil.test",
)  # fmt: skip
REGIONS = (
    "evil.test/", "us-east-1.evil.test/x?", "us-east-1@evil.test", "127.0.0.1", "..", "us east 1",
    "us-east-1#", "us-east-1\r\nHost: evil.test", "US-EAST-1", "/", "a" * 41, "us-east-1:80", "①",
    "us-east-1%2f", "evil\\",
)  # fmt: skip


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everybody somebody tried to reach, by name or address."""
    tried: list[Any] = []

    def refuse(*given: Any, **_: Any) -> Any:
        tried.append(given)
        raise OSError("nobody may be reached")

    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse, raising=False)
    return tried


def stored(text: str) -> OwnKey:
    """As if it had been stored unread."""
    known = OwnKey(id="k1", account_id="user_1", provider="acme", sealed="")
    sealed = SEALER.seal(text, known.place)
    return OwnKey(id="k1", account_id="user_1", provider="acme", sealed=sealed)


def refused(endpoint: Any, dialect: str, fields: dict[str, Any]) -> None:
    text = orjson.dumps(fields).decode()
    with pytest.raises(UpstreamDenied, match="Your own key of Acme cannot be used"):
        Keyring({}, sealer=SEALER).credential(endpoint(dialect=dialect), stored(text))


@pytest.mark.parametrize("host", HOSTS)
def test_azure_hosts(endpoint: Any, reached: list[Any], host: str):
    fields = AZURE | {"endpoint_url": f"https://{host}{PATH}"}

    with pytest.raises(KeyProblem):
        own_azure_keys(orjson.dumps(fields).decode())
    refused(endpoint, "azure", fields)
    assert reached == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_azure_schemes(endpoint: Any, reached: list[Any], scheme: str):
    refused(endpoint, "azure", AZURE | {"endpoint_url": f"{scheme}://x.openai.azure.com{PATH}"})
    assert reached == []


@pytest.mark.parametrize("uri", TOKEN_URIS)
@pytest.mark.parametrize("dialect", ["vertex", "vertex-anthropic"])
def test_google_token_addresses(endpoint: Any, reached: list[Any], dialect: str, uri: str):
    fields = GOOGLE | {"token_uri": uri}

    with pytest.raises(KeyProblem):
        own_service_account(orjson.dumps(fields).decode())
    refused(endpoint, dialect, fields)
    assert reached == []


@pytest.mark.parametrize("region", REGIONS)
def test_regions(endpoint: Any, reached: list[Any], region: str):
    with pytest.raises(KeyProblem, match="region"):
        aws_credential(orjson.dumps(AWS | {"region": region}).decode())
    refused(endpoint, "bedrock", AWS | {"region": region})
    refused(endpoint, "vertex", GOOGLE | {"region": region})
    assert reached == []


def test_where_keys_belong(endpoint: Any):
    ring = Keyring({}, sealer=SEALER)

    for domain in AZURE_HOSTS:
        fields = AZURE | {"endpoint_url": f"https://x{domain}{PATH}"}
        own = stored(orjson.dumps(fields).decode())
        assert isinstance(ring.credential(endpoint(dialect="azure"), own), AzureKey)
    own = stored(orjson.dumps(AWS).decode())
    assert isinstance(ring.credential(endpoint(dialect="bedrock"), own), AwsKeys)
    assert own_service_account(orjson.dumps(GOOGLE).decode()).project_id == "proj-1"
