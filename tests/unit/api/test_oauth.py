"""Applications that ask for keys: the page where people say yes, and the exchange of its codes."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from api import apps, errors, oauth, small_body
from api.auth import Authenticator
from api.console import apps as app_pages
from api.console import consent
from api.console.session import Sessions
from api.keys import workspace_of
from api.office import Office
from billing import api_keys, members, sessions
from billing.db import Ledger, open_ledger
from billing.members import create_organization
from billing.oauth import CODE_LIFE_MS
from billing.people import NewUser, User, create_user
from billing.pkce import PkceRules, s256
from routing.budgets import MS_PER_DAY
from routing.clock import FixedClock
from routing.errors import ConfigError, Unauthorized
from routing.metrics import WebMetrics
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import KeyRecord
from tests.fixtures.customers import Customer, make_customer

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = s256(VERIFIER)
CALLBACK = "https://app.example/cb?state=s%201"
ASKED = {
    "callback_url": CALLBACK,
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}
PROOF = {"code_verifier": VERIFIER, "code_challenge_method": "S256"}


@dataclass(slots=True)
class Place:
    """The two blueprints in an application of their own."""

    app: Flask
    ledger: Ledger
    clock: FixedClock
    authenticator: Authenticator
    customer: Customer
    manager: Customer
    user: User

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def browser(self) -> FlaskClient:
        """One in which the user is logged in."""
        client = self.app.test_client()
        token = sessions.begin(self.ledger, self.user.id, None, self.clock.now_ms())
        client.set_cookie("pointsman", token)
        return client

    def exchange(self, code: str, **body: Any) -> Any:
        return self.client.post("/api/v1/auth/keys", json={"code": code, **body})

    def make_code(self, customer: Customer | None = None, **body: Any) -> Any:
        text = (customer or self.manager).text
        return self.client.post(
            "/api/v1/auth/keys/code",
            json={"callback_url": CALLBACK} | body,
            headers={"Authorization": f"Bearer {text}", "X-Title": "Notes"},
        )

    def key(self, text: str) -> KeyRecord:
        return self.authenticator.key(f"Bearer {text}")


@pytest.fixture
def make_place(fake_redis: Any, sqlite_url: str) -> Iterator[Callable[..., Place]]:
    """A place with settings of the test."""
    clock, ledger = FixedClock(), open_ledger(sqlite_url)
    yield lambda **settings: _place(fake_redis, ledger, clock, settings)
    ledger.close()


@pytest.fixture
def place(make_place: Callable[..., Place]) -> Place:
    return make_place()


def _place(fake_redis: Any, ledger: Ledger, clock: FixedClock, settings: dict[str, Any]) -> Place:
    office = Office(
        ledger=ledger, keys=KeyCache(fake_redis), budgets=Budgets(fake_redis), clock=clock
    )
    secret = base64.urlsafe_b64encode(bytes(range(32))).decode()
    chosen = Settings(secret=SecretStr(secret), **settings)
    console, rules = Sessions(office, chosen), PkceRules.of(chosen)
    authenticator = Authenticator(ledger, KeyCache(fake_redis), clock)

    def authenticate() -> KeyRecord:
        return authenticator.key(request.headers.get("Authorization"))

    def manage() -> KeyRecord:
        return authenticator.management_key(request.headers.get("Authorization"))

    app = Flask("oauth", static_folder=None)
    errors.install(app, clock, WebMetrics(CollectorRegistry()))
    console.install(app)
    app.register_blueprint(oauth.blueprint(office, authenticate, rules), url_prefix="/api/v1")
    app.register_blueprint(apps.blueprint(office, manage), url_prefix="/api/v1")
    app.register_blueprint(consent.blueprint(office, console, rules))
    app.register_blueprint(app_pages.blueprint(office, console))
    user = create_user(ledger, NewUser(email="ada@example.org"), clock.now_ms())
    manager = make_customer(ledger, kind="management")
    return Place(app, ledger, clock, authenticator, make_customer(ledger), manager, user)


def token_in(html: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', html)
    assert found is not None
    return found[1]


def say(place: Place, answer: str = "yes", **fields: str) -> Any:
    """Open the page as the application asks for it, and answer."""
    asked = {name: fields.pop(name, value) for name, value in ASKED.items()}
    asked = {name: value for name, value in asked.items() if value}
    browser = place.browser()
    shown = browser.get("/auth", query_string=asked)
    assert shown.status_code == 200
    form = asked | {"csrf_token": token_in(shown.text), "answer": answer} | fields
    return browser.post("/auth", data=form)


def code_in(response: Any) -> str:
    assert response.status_code == 303
    return parse_qs(urlsplit(response.headers["Location"]).query)["code"][0]


def test_from_the_page_to_a_key_that_works(place: Place):
    # Given a person who says yes, with a limit and an end
    answer = say(place, key_label="Notes", limit="2.50", limit_reset="monthly", days="30")
    # Then the browser goes to the application, with a code beside what was there
    assert answer.headers["Location"].startswith(f"{CALLBACK}&code=auth_code_")
    # And the application gets a key of that person
    done = place.exchange(code_in(answer), **PROOF)
    assert done.status_code == 200
    assert done.headers["Cache-Control"] == "no-store"
    assert done.get_json().keys() == {"key", "user_id"}
    assert done.get_json()["user_id"] == place.user.id
    key = place.key(done.get_json()["key"])
    assert (key.name, key.limit_nano, key.limit_reset) == ("Notes", 2_500_000_000, "monthly")
    assert key.expires_ms == place.clock.now_ms() + 30 * MS_PER_DAY
    assert (key.creator_user_id, key.kind) == (place.user.id, "inference")


def test_a_key_has_no_limit_and_no_end_unless_they_are_chosen(place: Place):
    done = place.exchange(code_in(say(place)), **PROOF)
    key = place.key(done.get_json()["key"])
    assert (key.name, key.limit_nano, key.limit_reset, key.expires_ms) == (
        "app.example",
        None,
        None,
        None,
    )


def test_the_page_says_who_asks_and_lets_its_form_go_only_there(place: Place):
    query = ASKED | {"key_label": "<script>alert(1)</script>"}
    shown = place.browser().get("/auth", query_string=query)
    assert "<h1>https://app.example</h1>" in shown.text
    assert "&lt;script&gt;" in shown.text
    assert "<script" not in shown.text
    policy = shown.headers["Content-Security-Policy"]
    assert "form-action 'self' https://app.example" in policy
    assert "frame-ancestors 'none'" in policy
    assert shown.headers["Cache-Control"] == "no-store"


def test_a_code_without_protection_is_told_of(place: Place):
    warned = "no S256 challenge"
    assert warned not in place.browser().get("/auth", query_string=ASKED).text
    bare = {"callback_url": CALLBACK}
    plain = bare | {"code_challenge": "abc", "code_challenge_method": "plain"}
    for asked in (bare, plain):
        assert warned in place.browser().get("/auth", query_string=asked).text


def test_a_no_makes_no_code(place: Place):
    answer = say(place, "no")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"{CALLBACK}&error=access_denied"
    assert say(place, "", callback_url="").headers["Location"] == "/account"


def test_without_an_address_the_code_is_shown(place: Place):
    answer = say(place, callback_url="")
    assert answer.status_code == 200
    found = re.search(r"<code>(auth_code_[\w-]{43})</code>", answer.text)
    assert found is not None
    assert place.exchange(found[1], **PROOF).status_code == 200


def test_a_stranger_logs_in_first_and_comes_back(place: Place):
    answer = place.client.get("/auth", query_string=ASKED)
    assert answer.status_code == 303
    there = urlsplit(answer.headers["Location"])
    assert there.path == "/login"
    back = urlsplit(parse_qs(there.query)["next"][0])
    assert back.path == "/auth"
    assert {name: values[0] for name, values in parse_qs(back.query).items()} == ASKED


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"callback_url": "https://good.example@evil.example/"},
        {"callback_url": "http://app.example/"},
        {"callback_url": "javascript:alert(1)"},
        {"callback_url": CALLBACK, "code_challenge_method": "S256"},
        {"callback_url": CALLBACK, "code_challenge": "x", "code_challenge_method": "S256"},
        {"callback_url": CALLBACK, "code_challenge": "x", "code_challenge_method": "S512"},
        {"callback_url": [CALLBACK, "https://evil.example/"]},
        {"code_challenge": "x", "callback_url": ["", CALLBACK]},
    ],
)
def test_what_is_not_right_is_told_here_and_never_gone_to(place: Place, asked: dict[str, Any]):
    # Given a page that was opened properly
    browser = place.browser()
    token = token_in(browser.get("/auth", query_string=ASKED).text)
    # When something else is asked for, in the address or in the form
    for answer in (
        place.client.get("/auth", query_string=asked),
        browser.post("/auth", data=asked | {"csrf_token": token, "answer": "yes"}),
        browser.post("/auth", data=asked | {"csrf_token": token, "answer": "no"}),
    ):
        assert answer.status_code == 400
        assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "wish",
    [
        {"limit": "much"},
        {"limit": "-1"},
        {"limit": "1e3"},
        {"limit": "9000001"},
        {"days": "2"},
        {"days": "-1"},
        {"key_label": "x" * 101},
    ],
)
def test_wishes_that_cannot_be(place: Place, wish: dict[str, str]):
    assert say(place, **wish).status_code == 400


def test_a_form_of_another_site_makes_no_code(place: Place):
    browser = place.browser()
    token = token_in(browser.get("/auth", query_string=ASKED).text)
    form = ASKED | {"answer": "yes"}
    refused = (
        browser.post("/auth", data=form),
        browser.post("/auth", data=form | {"csrf_token": "x"}),
        place.browser().post("/auth", data=form | {"csrf_token": token}),
        browser.post(
            "/auth", data=form | {"csrf_token": token}, headers={"Origin": "https://app.example"}
        ),
        browser.post(
            "/auth", data=form | {"csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"}
        ),
    )
    assert [answer.status_code for answer in refused] == [400, 400, 400, 403, 403]
    assert browser.post("/auth", data=form | {"csrf_token": token}).status_code == 303


def test_another_account_of_the_same_person_can_pay_and_nobody_elses(place: Place):
    now_ms = place.clock.now_ms()
    acme = create_organization(place.ledger, "Acme", place.user.id, now_ms)
    done = place.exchange(code_in(say(place, account_id=acme.id)), **PROOF)
    assert place.key(done.get_json()["key"]).account_id == acme.id
    assert say(place, account_id=place.customer.account_id).status_code == 404


def test_a_key_asks_for_a_code_and_its_terms_are_kept(place: Place):
    made = place.make_code(
        code_challenge=CHALLENGE,
        code_challenge_method="S256",
        limit=0.1,
        usage_limit_type="daily",
        expires_at="2027-12-31T23:59:59Z",
        workspace_id=workspace_of(place.manager.account_id),
        spawn_agent="other-fields-pass",
    )
    assert made.status_code == 200
    data = made.get_json()["data"]
    assert data.keys() == {"id", "app_id", "created_at"}
    assert isinstance(data["app_id"], int)
    assert data["created_at"] == "2025-12-04T00:00:00.000Z"
    done = place.exchange(data["id"], **PROOF).get_json()
    assert done["user_id"] is None
    key = place.key(done["key"])
    assert (key.name, key.limit_nano, key.limit_reset) == ("Notes", 100_000_000, "daily")
    assert key.expires_ms == 1_830_297_599_000
    assert key.account_id == place.manager.account_id


def test_the_same_application_keeps_its_number(place: Place):
    first = place.make_code(callback_url="https://app.example/one").get_json()["data"]
    second = place.make_code(callback_url="https://APP.example:443/two").get_json()["data"]
    other = place.make_code(callback_url="https://app.example:3000/").get_json()["data"]
    assert first["app_id"] == second["app_id"] != other["app_id"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"callback_url": "http://app.example"}, "callback_url"),
        ({"callback_url": None}, "callback_url"),
        ({"callback_url": 5}, "callback_url"),
        ({"code_challenge": "x", "code_challenge_method": "S512"}, "code_challenge_method"),
        ({"limit": -1}, "limit"),
        ({"limit": 1e300}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"usage_limit_type": "yearly"}, "usage_limit_type"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2027-13-31T23:59:59Z"}, "expires_at"),
        ({"expires_at": "2024-12-31T23:59:59Z"}, "expires_at"),
        ({"key_label": "x" * 101}, "key_label"),
        ({"workspace_id": "2f0f1a3e-0000-4000-8000-000000000000"}, "workspace_id"),
    ],
)
def test_a_code_that_cannot_be_made(place: Place, body: dict[str, Any], param: str):
    refused = place.make_code(**body)
    assert refused.status_code == 400
    assert refused.get_json()["error"]["metadata"]["param"] == param


def test_who_may_ask_for_codes(place: Place):
    limited = make_customer(place.ledger, limit_nano=5)
    assert place.make_code(limited).status_code == 403
    # A key that leaked would live on in those it made, after it was shut.
    assert place.make_code(place.customer).status_code == 403
    made = place.make_code(place.manager)
    assert made.status_code == 200
    # Nor does an application make keys for others.
    text = place.exchange(made.get_json()["data"]["id"]).get_json()["key"]
    assert place.make_code(replace(place.manager, text=text)).status_code == 403
    nobody = place.client.post("/api/v1/auth/keys/code", json={"callback_url": CALLBACK})
    assert nobody.status_code == 401


def test_each_error_of_the_contract(place: Place):
    def told(code: str, **body: Any) -> tuple[int, str]:
        answer = place.exchange(code, **body)
        return answer.status_code, answer.get_json()["error"]["message"]

    invalid = (403, "Invalid code or code_verifier")
    code = code_in(say(place))
    assert told("auth_code_nobody_made_this", **PROOF) == invalid
    assert told(code) == invalid
    assert told(code, code_verifier="wrong", code_challenge_method="S256") == invalid
    method = (400, "Invalid code_challenge_method")
    assert told(code, code_verifier=VERIFIER, code_challenge_method="plain") == method
    assert told(code, code_verifier=VERIFIER, code_challenge_method="S512") == method
    place.clock.advance(CODE_LIFE_MS)
    assert told(code, **PROOF) == (403, "Authorization code expired")
    assert place.client.get("/api/v1/auth/keys").status_code == 405


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"code": 5}', b'{"code": ""}', b"{}", b'{"code": null}', b"code=x"]
)
def test_bodies_that_are_no_exchange(place: Place, body: bytes):
    assert place.client.post("/api/v1/auth/keys", data=body).status_code == 400


def test_a_body_too_large_is_not_read(place: Place):
    body = b'{"code": "' + b"x" * small_body.BODY_MAX + b'"}'
    assert place.client.post("/api/v1/auth/keys", data=body).status_code == 413


def test_a_code_that_anyone_may_have_seen_shuts_its_key_when_it_comes_twice(place: Place):
    # Given a code without a challenge that was exchanged, and a key that works
    code = place.make_code().get_json()["data"]["id"]
    text = place.exchange(code).get_json()["key"]
    assert place.key(text).account_id == place.manager.account_id
    # When the code comes again
    assert place.exchange(code).status_code == 403
    # Then one of the two was a thief: the key is shut, in every cache
    place.authenticator._local.clear()
    with pytest.raises(Unauthorized, match="disabled"):
        place.key(text)


def test_an_application_that_asks_twice_keeps_its_key(place: Place):
    code = code_in(say(place))
    text = place.exchange(code, **PROOF).get_json()["key"]
    assert place.exchange(code, **PROOF).status_code == 403
    place.authenticator._local.clear()
    assert not place.key(text).disabled


def test_pages_in_other_origins_may_exchange(place: Place):
    answer = place.client.options("/api/v1/auth/keys", headers={"Origin": "https://app.example"})
    assert answer.status_code == 204
    refused = place.exchange("x")
    assert refused.headers["Access-Control-Allow-Origin"] == "*"


def test_the_hash_of_the_key_is_its_id(place: Place):
    done = place.exchange(code_in(say(place)), **PROOF).get_json()
    assert place.key(done["key"]).key_hash == api_keys.hash_key(done["key"])


@pytest.mark.parametrize(
    "asked",
    [
        {"callback_url": CALLBACK},
        {"callback_url": CALLBACK, "code_challenge": VERIFIER},
        {"callback_url": CALLBACK, "code_challenge": VERIFIER, "code_challenge_method": "plain"},
    ],
)
def test_an_operator_can_insist_on_s256(make_place: Callable[..., Place], asked: dict[str, str]):
    place = make_place(oauth_pkce="s256")
    browser = place.browser()
    token = token_in(browser.get("/auth", query_string=ASKED).text)
    for told in (
        place.client.get("/auth", query_string=asked),
        browser.post("/auth", data=asked | {"csrf_token": token, "answer": "yes"}),
        place.make_code(**asked),
    ):
        assert told.status_code == 400
        assert "code_challenge_method S256 is required" in told.text
    # And the code it does give is worth nothing without its verifier
    code = code_in(say(place))
    plain = place.exchange(code, code_verifier=VERIFIER, code_challenge_method="plain")
    assert "S256 is required" in plain.text
    bare = place.exchange(code)
    assert (plain.status_code, bare.status_code) == (400, 400)
    assert "code_verifier is required" in bare.text
    assert place.exchange(code, code_verifier=VERIFIER).status_code == 200


def test_an_operator_can_name_the_applications(make_place: Callable[..., Place]):
    place = make_place(oauth_origins="https://APP.example:443/, http://localhost:3000")
    assert code_in(say(place)).startswith("auth_code_")
    assert place.make_code(callback_url="http://localhost:3000/x").status_code == 200
    for url in (
        "https://app.example.evil.example/",
        "https://sub.app.example/",
        "https://app.example:8443/",
        "http://localhost:3001/",
        "https://evil.example/?https://app.example",
    ):
        refused = place.make_code(callback_url=url)
        assert refused.status_code == 400
        assert refused.get_json()["error"]["metadata"]["param"] == "callback_url"
        page = place.browser().get("/auth", query_string=ASKED | {"callback_url": url})
        assert page.status_code == 400
        assert "Location" not in page.headers
    # What is shown on the screen is sent nowhere
    assert say(place, callback_url="").status_code == 200


@pytest.mark.parametrize(
    "text", ["app.example", "https://app.example/cb", "https://a.example?b", "http://a.example"]
)
def test_what_is_no_origin_is_told_at_the_start(text: str):
    with pytest.raises(ConfigError, match="POINTSMAN_OAUTH_ORIGINS"):
        PkceRules.of(Settings(oauth_origins=f"https://ok.example,{text}"))


def manage(place: Place, method: str, path: str, customer: Customer | None = None) -> Any:
    headers = {"Authorization": f"Bearer {(customer or place.manager).text}"}
    return place.client.open(f"/api/v1{path}", method=method, headers=headers)


def test_applications_are_listed_and_revoked_with_a_management_key(place: Place):
    code = place.make_code().get_json()["data"]
    text = place.exchange(code["id"]).get_json()["key"]
    assert place.key(text).name == "Notes"
    listed = manage(place, "GET", "/apps")
    assert listed.get_json() == {
        "data": [
            {
                "id": code["app_id"],
                "origin": "https://app.example",
                "title": "Notes",
                "keys": 1,
                "last_used_at": None,
                "created_at": "2025-12-04T00:00:00.000Z",
            }
        ]
    }
    path = f"/apps/{code['app_id']}"
    other = make_customer(place.ledger, kind="management")
    assert manage(place, "DELETE", path, other).status_code == 404
    assert manage(place, "DELETE", path, place.customer).status_code == 403
    assert place.key(text).name == "Notes"
    done = manage(place, "DELETE", path)
    assert (done.status_code, done.get_json()) == (200, {"deleted": True, "keys": 1})
    # No front door knows it any more
    place.authenticator._local.clear()
    with pytest.raises(Unauthorized):
        place.key(text)
    assert manage(place, "GET", "/apps").get_json() == {"data": []}
    assert manage(place, "DELETE", path).status_code == 404


@pytest.mark.parametrize("app_id", ["0", "-1", "1.5", "x", "²", "2147483648", "9" * 400, "1%00"])
def test_numbers_no_application_has(place: Place, app_id: str):
    assert manage(place, "DELETE", f"/apps/{app_id}").status_code == 404


def test_a_person_takes_back_what_they_gave(place: Place):
    text = place.exchange(code_in(say(place)), **PROOF).get_json()["key"]
    browser = place.browser()
    shown = browser.get("/account/apps")
    assert "https://app.example" in shown.text
    found = re.search(r'name="app" value="(\d+)"', shown.text)
    assert found is not None
    form = {"app": found[1]}
    assert browser.post("/account/apps/revoke", data=form).status_code == 400
    assert place.key(text).name == "app.example"
    form["csrf_token"] = token_in(shown.text)
    done = browser.post("/account/apps/revoke", data=form)
    assert (done.status_code, done.headers["Location"]) == (303, "/account/apps")
    place.authenticator._local.clear()
    with pytest.raises(Unauthorized):
        place.key(text)
    assert "No application has a key" in browser.get("/account/apps").text
    for wrong in (found[1], "", "x"):
        again = browser.post("/account/apps/revoke", data=form | {"app": wrong})
        assert again.status_code == 404


def test_a_member_sees_no_application_of_others(place: Place):
    now_ms = place.clock.now_ms()
    boss = create_user(place.ledger, NewUser(email="boss@example.org"), now_ms)
    team = create_organization(place.ledger, "Acme", boss.id, now_ms).id
    members.add_member(place.ledger, team, place.user.id, "member", now_ms)

    def browser(user: User) -> FlaskClient:
        client = place.app.test_client()
        token = sessions.begin(place.ledger, user.id, team, now_ms)
        client.set_cookie("pointsman", token)
        return client

    def given(user: User) -> str:
        asked, client = ASKED | {"account_id": team}, browser(user)
        token = token_in(client.get("/auth", query_string=ASKED).text)
        form = asked | {"answer": "yes", "csrf_token": token}
        code = code_in(client.post("/auth", data=form))
        return str(place.exchange(code, **PROOF).get_json()["key"])

    def revoke(user: User, app: str) -> int:
        client = browser(user)
        token = token_in(client.get("/account/apps").text)
        form = {"app": app, "csrf_token": token}
        return client.post("/account/apps/revoke", data=form).status_code

    bosses = given(boss)
    assert "app.example" not in browser(place.user).get("/account/apps").text
    app_id = re.findall(r'name="app" value="(\d+)"', browser(boss).get("/account/apps").text)[0]
    assert revoke(place.user, app_id) == 404
    mine = given(place.user)
    assert revoke(place.user, app_id) == 303
    place.authenticator._local.clear()
    assert place.key(bosses).creator_user_id == boss.id
    with pytest.raises(Unauthorized):
        place.key(mine)
    # Who runs the account takes back everybody's
    again = given(place.user)
    assert revoke(boss, app_id) == 303
    place.authenticator._local.clear()
    for text in (bosses, again):
        with pytest.raises(Unauthorized):
            place.key(text)
