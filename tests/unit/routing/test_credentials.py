"""Credentials in the forms people write them, and what is said about those that are wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from routing.credentials import (
    AZURE_MAX,
    TEXT_MAX,
    ApiKey,
    AwsKeys,
    KeyProblem,
    aws_credential,
    azure_keys,
    service_account,
)

URL = "https://example.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-08"
AZURE = {"model_slug": "a/m", "endpoint_url": URL, "api_key": "azure-secret", "model_id": "gpt"}
AWS = {
    "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
    "secretAccessKey": "aws/secret+key",
    "region": "us-east-1",
}


def pem(key: Any) -> str:
    text: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return text.decode()


GOOGLE = {
    "type": "service_account",
    "project_id": "proj-1",
    "private_key_id": "k1",
    "private_key": pem(rsa.generate_private_key(public_exponent=65_537, key_size=2_048)),
    "client_email": "me@proj-1.iam.gserviceaccount.com",
    "client_id": "1",
    "auth_uri": "https://accounts.google.com/o/oauth2/auth",
    "token_uri": "https://oauth2.googleapis.com/token",
    "universe_domain": "googleapis.com",
}


def text(fields: Any) -> str:
    return orjson.dumps(fields).decode()


def problem(read: Any, given_text: str) -> str:
    with pytest.raises(KeyProblem) as caught:
        read(given_text)
    return str(caught.value)


# Amazon


def test_a_bedrock_key_is_taken_as_it_is():
    found = aws_credential("  ABSKsecret==\n")

    assert found == ApiKey("ABSKsecret==")


def test_aws_keys():
    assert aws_credential(text(AWS)) == AwsKeys(
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret_access_key="aws/secret+key",  # noqa: S106 - not a real one
        region="us-east-1",
    )
    found = aws_credential(text(AWS | {"sessionToken": "session-secret"}))
    assert isinstance(found, AwsKeys)
    assert found.session_token == "session-secret"  # noqa: S105 - not a real one


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accessKeyId": None}, "accessKeyId: is required"),
        ({"accessKeyId": "akia secret"}, "accessKeyId: must be capital letters and digits"),
        ({"secretAccessKey": ""}, "secretAccessKey: must be a string that is not empty"),
        ({"secretAccessKey": 7}, "secretAccessKey: must be a string"),
        ({"secretAccessKey": "aws secret"}, "secretAccessKey: must be one line without spaces"),
        ({"region": None}, "region: is required"),
        ({"region": "evil.test/"}, "region: must be the name of a region, such as us-east-1"),
        ({"sessionToken": "a\nb"}, "sessionToken: must be one line"),
        ({"region": "x" * 3_000}, "region: must be 2048 characters or fewer"),
    ],
)
def test_aws_keys_that_are_wrong(changes: dict[str, Any], words: str):
    assert problem(aws_credential, text(AWS | changes)).startswith(words)


# Azure


def test_azure_keys_alone_and_in_a_list():
    other = AZURE | {
        "model_slug": "b/n",
        "endpoint_url": "https://x.services.ai.azure.com/deployments/n/chat/completions"
        "?api-version=1",
    }

    (alone,) = azure_keys(text(AZURE))
    both = azure_keys(text([AZURE, other]))

    assert (alone.model_slug, alone.key.endpoint_url) == ("a/m", URL)
    assert (alone.key.value, alone.key.model_id) == ("azure-secret", "gpt")
    assert [one.model_slug for one in both] == ["a/m", "b/n"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (URL.replace("https", "http"), "must start with https://"),
        (URL.replace(".azure.com", ".evil.test"), "must be at a host that ends in .azure.com"),
        (URL.replace("example.openai.azure.com", "azure.com.evil.test"), "must be at a host"),
        (URL.replace("example.", "evil.test\\."), "must be at a host"),
        (URL.replace("example.", "me:pw@example."), "must name a host alone"),
        (URL.replace(".com/", ".com:8443/"), "must name a host alone"),
        (URL.replace(".com/", ".com:x/"), "must be a URL"),
        (URL.replace("/chat/completions", "/chat"), "must end in /chat/completions?api-version="),
        (URL.partition("?")[0], "must say which version"),
        (URL + "#x", "must not have a #fragment"),
        (URL.replace("gpt", "g pt"), "must be a URL without spaces"),
    ],
)
def test_azure_urls_that_are_wrong(url: str, words: str):
    found = problem(azure_keys, text([AZURE, AZURE | {"model_slug": "b", "endpoint_url": url}]))

    assert found.startswith(f"[1].endpoint_url: {words}")


@pytest.mark.parametrize(
    ("given_text", "words"),
    [
        ("", "must not be empty"),
        ("{", "must be JSON; it cannot be read from line 1, column 2 on"),
        ("[]", "must have one deployment or more"),
        ('"azure-secret"', "must be a JSON object"),
        (text([7]), "[0]: must be a JSON object"),
        (text({"endpoint_url": URL}), "api_key: is required"),
        (text([AZURE, AZURE]), "[1].model_slug: must name each model only once"),
        (text([AZURE] * (AZURE_MAX + 1)), f"must have {AZURE_MAX} deployments or fewer"),
        ("x" * (TEXT_MAX + 1), f"must be {TEXT_MAX} characters or fewer"),
    ],
)
def test_azure_keys_that_are_wrong(given_text: str, words: str):
    assert problem(azure_keys, given_text).startswith(words)


# Google


def test_a_service_account():
    found = service_account(text(GOOGLE))

    assert (found.project_id, found.client_email) == ("proj-1", GOOGLE["client_email"])
    assert (found.private_key, found.private_key_id) == (GOOGLE["private_key"], "k1")
    assert (found.token_uri, found.region) == (GOOGLE["token_uri"], "")
    assert service_account(text(GOOGLE | {"region": "global"})).region == "global"
    bare = {name: value for name, value in GOOGLE.items() if name != "private_key_id"}
    assert service_account(text(bare)).private_key_id == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "authorized_user"}, "type: must be 'service_account'"),
        ({"project_id": "../x"}, "project_id: must be the id"),
        ({"client_email": "me"}, "client_email: must be the e-mail address"),
        ({"private_key": "secret"}, "private_key: must be a PEM key"),
        (
            {"private_key": "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"},
            "private_key: cannot be read; paste the JSON file",
        ),
        (
            {"private_key": pem(ec.generate_private_key(ec.SECP256R1()))},
            "private_key: must be an RSA key",
        ),
        ({"token_uri": "https://evil.test/token"}, "token_uri: must be https://oauth2."),
        ({"token_uri": "https://googleapis.com.evil.test/"}, "token_uri: must be https://oauth2."),
        ({"token_uri": "http://oauth2.googleapis.com/token"}, "token_uri: must be https://oauth2."),
        ({"token_uri": "https://a.googleapis.com:x/"}, "token_uri: must be a URL"),
        ({"region": "eu/../x"}, "region: must be the name of a region, such as global"),
    ],
)
def test_service_accounts_that_are_wrong(changes: dict[str, Any], words: str):
    assert problem(service_account, text(GOOGLE | changes)).startswith(words)


# secrets stay secret


def test_nothing_secret_is_in_a_repr():
    shown = " ".join(
        repr(one)
        for one in (
            aws_credential("ABSKsecret"),
            aws_credential(text(AWS | {"sessionToken": "session-secret"})),
            azure_keys(text(AZURE)),
            service_account(text(GOOGLE)),
        )
    )

    assert "secret" not in shown.replace("secret_access_key", "")
    assert "BEGIN" not in shown


@given(
    st.sampled_from((aws_credential, azure_keys, service_account)),
    st.sampled_from((AWS, AZURE, GOOGLE)),
    st.data(),
)
def test_no_problem_repeats_what_was_written(read: Any, fields: dict[str, Any], data: Any):
    written = fields | data.draw(
        st.dictionaries(
            st.sampled_from(sorted(fields)),
            st.none()
            | st.integers(-9, 9)
            | st.text(max_size=20).map(lambda tail: f"SECRET{tail}")
            | st.lists(st.just("SECRET"), max_size=2),
            min_size=1,
        )
    )
    given_text = text(written)[: data.draw(st.integers(0, 400))]
    for one in (given_text, text(written)):
        found = problem_or_none(read, one)
        assert found is None or (found.__cause__ is None and "SECRET" not in str(found))


def problem_or_none(read: Any, given_text: str) -> KeyProblem | None:
    try:
        read(given_text)
    except KeyProblem as found:
        return found
    return None
