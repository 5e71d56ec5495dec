"""Log-in with an identity provider: a real one over HTTP, small and sometimes bad."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from flask import Flask
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from werkzeug import Request, Response
from werkzeug.serving import make_server

from api import errors
from api.console import people as account_pages
from api.console.log_in import LogIn
from api.console.oidc import Oidc, OidcProvider
from api.console.session import Sessions
from billing import accounts, members, people
from routing.clock import SystemClock
from routing.metrics import WebMetrics
from routing.settings import Settings
from routing.store.tries import Tries
from tests.unit.api.console.conftest import SECRET, Browser, Place

pytestmark = pytest.mark.enable_socket

CLIENT = "pointsman"
ALLOWANCE = 100_000_000
KEY = RSAKey.generate_key(2048, {"kid": "k1"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "k1"})


@dataclass(slots=True)
class Issuer:
    """An identity provider; tests change what it says."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "k1"})
    key: Any = field(default_factory=lambda: KEY)
    down: bool = False
    nonce: str = ""
    challenge: str = ""
    tokens: list[dict[str, list[str]]] = field(default_factory=list)

    def __call__(self, environ: Any, start: Any) -> Any:
        request = Request(environ)
        return self._answer(request)(environ, start)

    def _answer(self, request: Request) -> Response:
        if self.down:
            return Response("<h1>sorry</h1>", 503)
        if request.path == "/.well-known/openid-configuration":
            plain = {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            }
            return _json(plain | self.document)
        if request.path == "/keys":
            return _json({"keys": [KEY.as_dict(private=False)]})
        return self._token(request)

    def _token(self, request: Request) -> Response:
        form = parse_qs(request.get_data(as_text=True))
        self.tokens.append(form)
        if create_s256_code_challenge(form["code_verifier"][0]) != self.challenge:
            return Response(orjson.dumps({"error": "invalid_grant"}), 400)
        now = SystemClock().now_ms() // 1000
        claims = {
            "iss": self.url,
            "sub": "subject-1",
            "aud": CLIENT,
            "exp": now + 60,
            "iat": now,
            "nonce": self.nonce,
            "email": "Ada@example.com",
            "email_verified": True,
            "given_name": "Ada",
            "family_name": "Lovelace",
        } | self.claims
        told = {name: value for name, value in claims.items() if value is not None}
        if self.header["alg"] == "none":
            parts = (base64.urlsafe_b64encode(orjson.dumps(one)) for one in (self.header, told))
            token = b".".join(part.rstrip(b"=") for part in parts).decode() + "."
        else:
            token = jwt.encode(self.header, told, self.key)
        return _json({"access_token": "a", "token_type": "Bearer", "id_token": token})


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), mimetype="application/json")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer()
    server = make_server("127.0.0.1", 0, found, threaded=True)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def make_browser(place: Place, issuer: Issuer) -> Any:
    """Browsers of a site that asks the issuer."""

    def make(*, open_to_all: bool = False, **terms: Any) -> Browser:
        settings = Settings(secret=SECRET)
        sessions, tries = Sessions(place.office, settings), Tries(place.redis)
        provider = OidcProvider(
            **({"issuer": issuer.url, "client_id": CLIENT} | terms),
            client_secret=SecretStr("hush"),
        )
        app = Flask("oidc", static_folder=None)
        errors.install(app, place.clock, WebMetrics(CollectorRegistry()))
        sessions.install(app)
        log_in = LogIn(
            office=place.office,
            sessions=sessions,
            tries=tries,
            oidc=Oidc(provider),
            open_to_all=open_to_all,
            allowance_nano=ALLOWANCE,
        )
        app.register_blueprint(log_in.blueprint())
        app.register_blueprint(account_pages.blueprint(place.office, sessions, tries))
        return Browser(app.test_client())

    return make


def _go(browser: Browser, issuer: Issuer, wanted: str = "/account") -> str:
    """To the provider; gives back the state it hands on."""
    answer = browser.client.get("/login/oidc", query_string={"next": wanted})
    assert answer.status_code == 303, answer.text
    asked = {name: one[0] for name, one in parse_qs(urlsplit(answer.location).query).items()}
    assert asked["redirect_uri"] == "http://localhost/login/oidc/callback"
    assert (asked["client_id"], asked["code_challenge_method"]) == (CLIENT, "S256")
    issuer.nonce, issuer.challenge = asked["nonce"], asked["code_challenge"]
    return asked["state"]


def _back(browser: Browser, state: str, **more: str) -> Any:
    query = {"code": "c", "state": state} | more
    return browser.client.get("/login/oidc/callback", query_string=query)


def _balance(place: Place, user_id: str) -> int:
    own = members.memberships_of(place.ledger, user_id)[0].account_id
    return accounts.budget_of(place.ledger, own).available_nano


def test_a_person_the_provider_vouches_for_is_let_in(
    place: Place, issuer: Issuer, make_browser: Any
):
    browser = make_browser(name="Engines SSO")
    assert "Engines SSO" in browser.get("/login").text

    answer = _back(browser, _go(browser, issuer, "/account?x=1"))

    assert (answer.status_code, answer.location) == (303, "/account?x=1")
    page = browser.get("/account").text
    assert "ada@example.com" in page
    assert "Your password" not in page  # met by address: the provider is in charge now
    assert people.password_of(place.ledger, "ada@example.com")[1] is None
    assert issuer.tokens[0]["redirect_uri"] == ["http://localhost/login/oidc/callback"]


def test_strangers_are_let_in_only_where_that_is_set(
    place: Place, issuer: Issuer, make_browser: Any
):
    issuer.claims = {"email": "eve@example.com"}
    closed, opened = make_browser(), make_browser(may_create=True)

    assert _back(closed, _go(closed, issuer)).status_code == 401
    assert people.user_by_email(place.ledger, "eve@example.com") is None
    assert _back(opened, _go(opened, issuer)).status_code == 303
    eve = people.user_by_email(place.ledger, "eve@example.com")
    assert eve is not None
    assert eve.name == "Ada Lovelace"
    assert _balance(place, eve.id) == ALLOWANCE
    assert _balance(place, place.ada.id) == 0
    assert _back(opened, _go(opened, issuer)).status_code == 303
    assert _balance(place, eve.id) == ALLOWANCE


def test_where_anybody_may_sign_up_an_address_proves_nothing(
    place: Place, issuer: Issuer, make_browser: Any
):
    browser = make_browser(open_to_all=True, may_create=True)

    assert _back(browser, _go(browser, issuer)).status_code == 401
    assert people.password_of(place.ledger, "ada@example.com")[1] is not None


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_nobody_verified_is_nobodys(
    place: Place, issuer: Issuer, make_browser: Any, verified: object
):
    issuer.claims = {"email_verified": verified}
    browser = make_browser(may_create=True)

    assert _back(browser, _go(browser, issuer)).status_code == 401
    assert people.password_of(place.ledger, "ada@example.com")[1] is not None


def test_a_directory_that_says_nothing_of_it_can_be_trusted(issuer: Issuer, make_browser: Any):
    issuer.claims = {"email_verified": None}
    browser = make_browser(trusts_email=True)

    assert _back(browser, _go(browser, issuer)).status_code == 303


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": ["another"], "azp": CLIENT},
        {"aud": None},
        {"iss": "https://evil.example.com"},
        {"iss": None},
        {"exp": 1_000},
        {"exp": None},
        {"sub": ""},
        {"sub": "x" * 300},
        {"sub": 7},
        {"sub": None},
        {"azp": "another"},
        {"at_hash": "wrong"},
    ],
)
def test_a_word_that_does_not_hold_lets_nobody_in(
    issuer: Issuer, make_browser: Any, claims: dict[str, object]
):
    issuer.claims = claims
    browser = make_browser(may_create=True)

    answer = _back(browser, _go(browser, issuer))

    assert answer.status_code == 401
    assert browser.get("/account").status_code == 303


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ({"alg": "RS256", "kid": "k1"}, OTHER_KEY),
        ({"alg": "HS256", "kid": "k1"}, OctKey.import_key(b"hush" * 8)),
        ({"alg": "RS256", "kid": "unknown"}, OTHER_KEY),
        ({"alg": "none"}, None),
    ],
)
def test_a_signature_of_others_lets_nobody_in(
    issuer: Issuer, make_browser: Any, header: dict[str, str], key: object
):
    issuer.header, issuer.key = header, key
    browser = make_browser(may_create=True)

    assert _back(browser, _go(browser, issuer)).status_code == 401


def test_an_answer_belongs_to_the_browser_that_asked_and_counts_once(
    issuer: Issuer, make_browser: Any
):
    browser, other = make_browser(), make_browser()
    state = _go(browser, issuer)

    assert _back(other, state).status_code == 401
    assert _back(browser, "x").status_code == 401
    assert _back(browser, state, error="access_denied").status_code == 401
    assert _back(browser, state).status_code == 303
    assert _back(browser, state).status_code == 401


def test_a_provider_that_is_away_is_told_and_asked_again(issuer: Issuer, make_browser: Any):
    browser = make_browser()
    issuer.down = True
    answer = browser.get("/login/oidc")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "sorry" not in answer.text

    issuer.down = False
    state = _go(browser, issuer)
    issuer.down = True
    assert _back(browser, state).status_code in {401, 503}


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example.com"},
        {"issuer": None},
        {"token_endpoint": None},
        {"jwks_uri": 7},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
    ],
)
def test_a_provider_that_is_another_is_not_used(
    issuer: Issuer, make_browser: Any, document: dict[str, object]
):
    issuer.document = document
    browser = make_browser()

    assert browser.get("/login/oidc").status_code == 503
    issuer.document = {}
    _go(browser, issuer)


def test_without_a_provider_there_is_none(browser: Browser):
    for path in ("/login/oidc", "/login/oidc/callback"):
        assert browser.get(path).status_code == 404
    assert "/login/oidc" not in browser.get("/login").text
