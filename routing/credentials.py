"""What a provider is shown to let us in, in the forms operators and users write it.

A credential never appears in a log, a repr or an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

#: Longest text of a credential; a service account is some 2,500 characters.
TEXT_MAX = 65_536
#: Deployments in one Azure credential.
AZURE_MAX = 256
#: Longest value that is no key: a name, a region, a URL.
VALUE_MAX = 2_048


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A bearer token or an API key; "" for a provider that asks for none."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureKey:
    """A key for one Azure deployment.

    Attributes:
        endpoint_url: the whole URL of chat completions, `api-version` included.
        model_id: the deployment's model, sent as `model`.
    """

    value: str = field(repr=False)
    endpoint_url: str
    model_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsKeys:
    """A pair of AWS keys; requests are signed with them."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str = ""
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleToken:
    """A short-lived OAuth token of a Google service account.

    Attributes:
        region: the key's own, over the endpoint's; "" for none.
    """

    token: str = field(repr=False)
    project: str
    region: str = ""


Credential = ApiKey | AzureKey | AwsKeys | GoogleToken


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureConfig:
    """One deployment of an Azure credential, and the model it serves."""

    model_slug: str
    key: AzureKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """A Google service account: what tokens are fetched with.

    Attributes:
        region: where its models run; "" for where the endpoint says.
    """

    project_id: str
    client_email: str
    private_key: str = field(repr=False)
    token_uri: str
    private_key_id: str = ""
    region: str = ""


class KeyProblem(ValueError):
    """A credential is not in the form its provider needs.

    Says which field and what to write there, and never what is written there now.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}" if name else problem)
        self.field = name


_AZURE_DOMAIN = ".azure.com"
_GOOGLE_DOMAIN = ".googleapis.com"
_CHAT_PATH = "/chat/completions"
_AWS_KEY_ID = re.compile(r"[A-Z0-9]{16,128}")
_REGION = re.compile(r"[a-z][a-z0-9-]{1,39}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}")
_PRINTABLE = re.compile(r"[!-~]+")
#: A host is read alike by everybody only when there is nothing else in it.
_HOST = re.compile(r"[a-z0-9.-]{1,253}")


def aws_credential(text: str) -> ApiKey | AwsKeys:
    """An Amazon Bedrock credential: a Bedrock API key as it is, or a pair of AWS keys in JSON.

    Raises:
        KeyProblem: says which field is wrong, and the fix.
    """
    text = _bounded(text)
    if not text.startswith(("{", "[", '"')):
        return ApiKey(_key(text, ""))
    fields = _object(_json(text), "")
    access_key_id = _text(fields, "accessKeyId")
    if not _AWS_KEY_ID.fullmatch(access_key_id):
        raise KeyProblem("accessKeyId", "must be capital letters and digits, as AWS made it")
    token = fields.get("sessionToken")
    return AwsKeys(
        access_key_id=access_key_id,
        secret_access_key=_key(_text(fields, "secretAccessKey"), "secretAccessKey"),
        region=_region(_text(fields, "region"), "region", "us-east-1"),
        session_token="" if token is None else _key(_text(fields, "sessionToken"), "sessionToken"),
    )


def azure_keys(text: str) -> tuple[AzureConfig, ...]:
    """An Azure credential: one deployment as a JSON object, or several in an array.

    Raises:
        KeyProblem: says which field is wrong, and the fix.
    """
    data = _json(_bounded(text))
    items = data if isinstance(data, list) else [data]
    if not items:
        raise KeyProblem("", "must have one deployment or more")
    if len(items) > AZURE_MAX:
        raise KeyProblem("", f"must have {AZURE_MAX} deployments or fewer")
    found: dict[str, AzureConfig] = {}
    for index, item in enumerate(items):
        place = f"[{index}]" if isinstance(data, list) else ""
        config = _azure(_object(item, place), f"{place}." if place else "")
        if config.model_slug in found:
            raise KeyProblem(f"{place}.model_slug", "must name each model only once")
        found[config.model_slug] = config
    return tuple(found.values())


def service_account(text: str) -> ServiceAccount:
    """A Google service account key, as the JSON file Google makes, with an optional `region`.

    Raises:
        KeyProblem: says which field is wrong, and the fix.
    """
    fields = _object(_json(_bounded(text)), "")
    if fields.get("type") != "service_account":
        raise KeyProblem("type", "must be 'service_account'; make a JSON key of a service account")
    project = _text(fields, "project_id")
    if not _PROJECT.fullmatch(project):
        raise KeyProblem("project_id", "must be the id of a Google Cloud project")
    email = _text(fields, "client_email")
    if "@" not in email:
        raise KeyProblem("client_email", "must be the e-mail address of the service account")
    region = fields.get("region")
    return ServiceAccount(
        project_id=project,
        client_email=email,
        private_key=_private_key(_text(fields, "private_key", TEXT_MAX)),
        token_uri=_token_uri(fields),
        private_key_id=_text(fields, "private_key_id") if fields.get("private_key_id") else "",
        region="" if region in (None, "") else _region(_text(fields, "region"), "region", "global"),
    )


# Azure


def _azure(fields: dict[str, Any], prefix: str) -> AzureConfig:
    url = _text(fields, "endpoint_url", place=prefix)
    for problem in _azure_url_problems(url):
        raise KeyProblem(f"{prefix}endpoint_url", problem)
    key = AzureKey(
        value=_key(_text(fields, "api_key", place=prefix), f"{prefix}api_key"),
        endpoint_url=url,
        model_id=_text(fields, "model_id", place=prefix),
    )
    return AzureConfig(model_slug=_text(fields, "model_slug", place=prefix), key=key)


def _azure_url_problems(url: str) -> Iterator[str]:
    if not _PRINTABLE.fullmatch(url):
        yield "must be a URL without spaces"
    try:
        address, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        yield "must be a URL"
        return
    if address.scheme != "https":
        yield "must start with https://"
    if not _host_in(address.hostname, _AZURE_DOMAIN):
        yield f"must be at a host that ends in {_AZURE_DOMAIN}, such as <resource>.openai.azure.com"
    if port not in (None, 443) or address.username is not None or address.password is not None:
        yield "must name a host alone, without user or port"
    if not address.path.endswith(_CHAT_PATH):
        yield f"must end in {_CHAT_PATH}?api-version=<version>"
    if not parse_qs(address.query).get("api-version"):
        yield "must say which version: add ?api-version=<version>"
    if address.fragment:
        yield "must not have a #fragment"


# Google


def _private_key(text: str) -> str:
    # Here and not above: 7 MB in each of many processes, for keys that few have.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    fix = 'paste the JSON file as Google made it, with its line ends as "\\n"'
    if not text.strip().startswith("-----BEGIN"):
        raise KeyProblem("private_key", f"must be a PEM key; {fix}")
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # `from None`: the cause may quote the key.
        raise KeyProblem("private_key", f"cannot be read; {fix}") from None
    if not isinstance(key, RSAPrivateKey):
        raise KeyProblem("private_key", f"must be an RSA key; {fix}")
    return text


def _token_uri(fields: dict[str, Any]) -> str:
    uri = _text(fields, "token_uri")
    try:
        address, port = urlsplit(uri), urlsplit(uri).port
    except ValueError:
        raise KeyProblem("token_uri", "must be a URL") from None
    if (
        address.scheme != "https"
        or not _host_in(address.hostname, _GOOGLE_DOMAIN)
        or port not in (None, 443)
        or address.username is not None
    ):
        raise KeyProblem("token_uri", "must be https://oauth2.googleapis.com/token")
    return uri


# Any


def _host_in(host: str | None, domain: str) -> bool:
    return host is not None and _HOST.fullmatch(host) is not None and host.endswith(domain)


def _bounded(text: str) -> str:
    text = text.strip()
    if not text:
        raise KeyProblem("", "must not be empty")
    if len(text) > TEXT_MAX:
        raise KeyProblem("", f"must be {TEXT_MAX} characters or fewer")
    return text


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        # `from None`: the cause holds the whole text.
        raise KeyProblem("", f"must be JSON; it cannot be read from {place} on") from None


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise KeyProblem(place, "must be a JSON object")
    return value


def _text(fields: dict[str, Any], name: str, most: int = VALUE_MAX, *, place: str = "") -> str:
    value = fields.get(name)
    if value is None:
        raise KeyProblem(f"{place}{name}", "is required")
    if not isinstance(value, str) or not value.strip():
        raise KeyProblem(f"{place}{name}", "must be a string that is not empty")
    if len(value) > most:
        raise KeyProblem(f"{place}{name}", f"must be {most} characters or fewer")
    return value.strip() if most == VALUE_MAX else value


def _key(value: str, name: str) -> str:
    """Keys travel in headers: a line break in one would be the end of it."""
    if not _PRINTABLE.fullmatch(value):
        raise KeyProblem(name, "must be one line without spaces; paste the key alone")
    return value


def _region(value: str, name: str, example: str) -> str:
    """Regions become part of an address, so nothing else may be in them."""
    if not _REGION.fullmatch(value):
        raise KeyProblem(name, f"must be the name of a region, such as {example}")
    return value
