"""The token endpoint of Google: which claims it takes, and which tokens it knows again."""

from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account

from workers.simulator.dialect import Direct, Failure
from workers.simulator.google_token import (
    GRANT,
    LIFETIME_SECONDS,
    TOKEN,
    TokenDialect,
    bearer_ok,
    issue,
    now_seconds,
)
from workers.simulator.wire import Request

NOW = 1_800_000_000
DIALECT = TokenDialect(now=lambda: NOW)
CLAIMS = {
    "iss": "robot@project.iam.gserviceaccount.com",
    "aud": "https://oauth2.googleapis.com/token",
    "scope": "https://www.googleapis.com/auth/cloud-platform",
    "iat": NOW,
    "exp": NOW + 3600,
}
HEADER = {"alg": "RS256", "typ": "JWT"}


def part(value: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def signed(claims: Any, header: Any = HEADER, signature: bytes = bytes(256)) -> str:
    tail = urlsafe_b64encode(signature).decode().rstrip("=")
    return f"{part(header)}.{part(claims)}.{tail}"


def asked(
    form: dict[str, str] | bytes,
    *,
    method: str = "POST",
    kind: str = "application/x-www-form-urlencoded",
) -> Request:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    return Request(
        method=method, target=TOKEN, headers={"content-type": kind}, body=body, keep_alive=True
    )


def answered(request: Request, dialect: TokenDialect = DIALECT) -> tuple[int, dict[str, Any]]:
    direct = dialect.read("google-vertex", TOKEN, request)
    assert isinstance(direct, Direct)
    return direct.status, orjson.loads(direct.body)


def with_token(token: str) -> Request:
    headers = {"authorization": token}
    return Request(method="POST", target="/", headers=headers, body=b"", keep_alive=True)


def test_claims_only_its_path():
    assert DIALECT.claims("/token")
    assert not DIALECT.claims("/v1/token")


def test_a_token_is_handed_out_and_known_for_an_hour():
    status, body = answered(asked({"grant_type": GRANT, "assertion": signed(CLAIMS)}))

    assert status == 200
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3599)
    assert body["access_token"].startswith("ya29.")
    request = with_token(f"Bearer {body['access_token']}")
    assert bearer_ok(request, now=lambda: NOW + LIFETIME_SECONDS - 1)
    assert not bearer_ok(request, now=lambda: NOW + LIFETIME_SECONDS)


def test_google_auth_gets_a_token_here():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    info = {"client_email": CLAIMS["iss"], "private_key": pem, "token_uri": "http://x/token"}
    credentials = service_account.Credentials.from_service_account_info(
        info, scopes=[CLAIMS["scope"]]
    )
    assertion = credentials._make_authorization_grant_assertion().decode()

    status, body = answered(asked({"grant_type": GRANT, "assertion": assertion}), TokenDialect())

    assert status == 200
    assert bearer_ok(with_token(f"Bearer {body['access_token']}"))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "Bearer",
        "Bearer ya29.c.",
        "Bearer ya29.c.!!!",
        "Bearer ya29.made-up",
        f"Bearer ya29.c.{urlsafe_b64encode(bytes(40)).decode().rstrip('=')}",
        f"Basic {issue(now_seconds())}",
        f"bearer {issue(now_seconds())}",
        f"Bearer {issue(now_seconds())[:-4]}AAAA",
    ],
)
def test_other_tokens_are_not_known(token: str):
    assert not bearer_ok(with_token(token))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(asked({}, kind="application/json"), "invalid_request", id="JSON"),
        pytest.param(asked(b"\xff\xfe=1"), "invalid_request", id="no text"),
        pytest.param(asked({}), "invalid_request", id="no grant"),
        pytest.param(
            asked({"grant_type": "refresh_token"}), "unsupported_grant_type", id="other grant"
        ),
        pytest.param(asked({"grant_type": GRANT}), "invalid_request", id="no assertion"),
    ],
)
def test_wrong_forms(request_: Request, code: str):
    status, body = answered(request_)

    assert (status, body["error"]) == (400, code)


@pytest.mark.parametrize(
    ("assertion", "code"),
    [
        pytest.param("a.b", "invalid_grant", id="two parts"),
        pytest.param("a.b.c", "invalid_grant", id="no JSON"),
        pytest.param(signed([]), "invalid_grant", id="claims are a list"),
        pytest.param(signed(CLAIMS, {"alg": "HS256"}), "invalid_grant", id="algorithm"),
        pytest.param(signed(CLAIMS, {"alg": "RS256", "typ": "x"}), "invalid_grant", id="type"),
        pytest.param(signed(CLAIMS, signature=b"x"), "invalid_grant", id="signature"),
        pytest.param(signed(CLAIMS) + "!", "invalid_grant", id="signature is no base64"),
        pytest.param(signed({**CLAIMS, "iss": ""}), "invalid_grant", id="nobody"),
        pytest.param(signed({**CLAIMS, "aud": "https://x/"}), "invalid_grant", id="audience"),
        pytest.param(signed({**CLAIMS, "aud": None}), "invalid_grant", id="no audience"),
        pytest.param(signed({**CLAIMS, "iat": "now"}), "invalid_grant", id="iat is a string"),
        pytest.param(signed({**CLAIMS, "exp": NOW + 3601}), "invalid_grant", id="too long"),
        pytest.param(signed({**CLAIMS, "exp": NOW}), "invalid_grant", id="over"),
        pytest.param(
            signed({**CLAIMS, "iat": NOW - 4000, "exp": NOW - 400}), "invalid_grant", id="old"
        ),
        pytest.param(
            signed({**CLAIMS, "iat": NOW + 900, "exp": NOW + 1800}), "invalid_grant", id="future"
        ),
        pytest.param(signed({**CLAIMS, "scope": ""}), "invalid_scope", id="no scope"),
        pytest.param(signed({**CLAIMS, "scope": "all"}), "invalid_scope", id="other scope"),
    ],
)
def test_wrong_assertions(assertion: str, code: str):
    status, body = answered(asked({"grant_type": GRANT, "assertion": assertion}))

    assert (status, body["error"]) == (400, code)
    assert body["error_description"]


def test_only_post():
    assert answered(asked({}, method="GET"))[0] == 405


@pytest.mark.parametrize("failure", Failure)
def test_failures_are_in_the_words_of_oauth(failure: Failure):
    direct = DIALECT.failure("google-vertex", failure)

    assert direct.status >= 400
    assert set(orjson.loads(direct.body)) == {"error", "error_description"}
    assert orjson.loads(DIALECT.failure_event("google-vertex", failure).data)
