from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisAway

from api.console.log_in import TRIES_HERE
from api.console.session import NEXT_MAX, let_form_go_to, local_path
from billing import closing, members, people
from billing.sessions import IDLE_MS, LIFE_MS
from tests.unit.api.console.conftest import PASSWORD, Browser, Place

WRONG = "wrong horse battery"


def test_the_right_password_lets_in_and_back_to_the_page_that_was_wanted(browser: Browser):
    wanted = browser.get("/account/members?page=2")
    assert (wanted.status_code, wanted.location) == (
        303,
        "/login?next=%2Faccount%2Fmembers%3Fpage%3D2",
    )

    asked = browser.get(wanted.location)
    assert 'value="/account/members?page=2"' in asked.text
    answer = browser.send(
        "/login", email="ADA@example.com", password=PASSWORD, next="/account/members?page=2"
    )

    assert (answer.status_code, answer.location) == (303, "/account/members?page=2")
    page = browser.get("/account")
    assert page.status_code == 200
    assert "ada@example.com" in page.text
    assert browser.get("/login").location == "/account"


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "wrong horse battery"},
        {"password": ""},
        {"email": "bob@example.com"},
        {"email": ""},
        {"email": "x" * 300},
        {"password": "\ud800"},
    ],
)
def test_anything_else_is_refused_in_the_same_words(browser: Browser, fields: dict[str, str]):
    answer = browser.log_in(**{k: v.encode(errors="replace").decode() for k, v in fields.items()})

    assert answer.status_code == 401
    assert "The e-mail address or the password is wrong." in answer.text
    assert browser.get("/account").status_code == 303


def test_what_no_database_takes_is_refused(browser: Browser):
    assert browser.log_in(email="ada@example.com\x00").status_code == 400


def test_a_disabled_person_is_refused_in_the_same_words(place: Place, browser: Browser):
    people.set_disabled(place.ledger, place.ada.id, place.clock.now_ms(), disabled=True)

    answer = browser.log_in()
    assert answer.status_code == 401
    assert "password is wrong" in answer.text


def test_the_cookie_is_the_servers_alone(browser: Browser):
    answer = browser.log_in()

    (cookie,) = [c for c in answer.headers.getlist("Set-Cookie") if c.startswith("pointsman=")]
    assert {"HttpOnly", "SameSite=Lax", "Path=/", f"Max-Age={LIFE_MS // 1000}"} <= set(
        cookie.split("; ")
    )
    assert "Secure" not in cookie


def test_with_tls_no_other_host_can_set_the_cookie(make_place: Callable[..., Place]):
    place = make_place(public_url="https://router.example.com")
    browser = place.browser()
    browser.headers = {"Origin": "https://router.example.com"}

    browser.client.get("/login", base_url="https://localhost")
    page = browser.client.get("/login", base_url="https://localhost")
    token = page.text.split('name="csrf_token" value="')[1].split('"')[0]
    answer = browser.client.post(
        "/login",
        base_url="https://localhost",
        data={"csrf_token": token, "email": "ada@example.com", "password": PASSWORD},
        headers=browser.headers,
    )

    names = [c.split("=")[0] for c in answer.headers.getlist("Set-Cookie")]
    assert "__Host-pointsman" in names
    assert all("; Secure" in c for c in answer.headers.getlist("Set-Cookie"))
    assert all("Domain" not in c for c in answer.headers.getlist("Set-Cookie"))


@pytest.mark.parametrize("host", ["router.example.com", "10.0.0.5:8080", "127.0.0.1.evil.com"])
def test_nothing_is_typed_into_an_unencrypted_page(make_place: Callable[..., Place], host: str):
    browser = make_place().browser()

    answer = browser.client.get("/login", base_url=f"http://{host}")

    assert answer.status_code == 403
    assert "POINTSMAN_PUBLIC_URL" in answer.text
    assert "password" not in answer.text


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:9", "[::1]:8080", "a.localhost"])
def test_on_the_machine_itself_no_tls_is_needed(place: Place, host: str):
    answer = place.browser().client.get("/login", base_url=f"http://{host}")

    assert answer.status_code == 200


def test_logging_out_ends_it_on_the_server_too(place: Place, browser: Browser):
    browser.log_in()
    cookie = browser.client.get_cookie("pointsman")
    assert cookie is not None

    answer = browser.send("/logout")

    assert (answer.status_code, answer.location) == (303, "/login")
    other = place.browser()
    other.client.set_cookie("pointsman", cookie.value)
    assert other.get("/account").status_code == 303


def test_a_log_in_gets_a_new_cookie_and_the_old_one_ends(place: Place, browser: Browser):
    browser.log_in()
    before = browser.client.get_cookie("pointsman")
    assert before is not None
    members.create_organization(place.ledger, "Engines", place.ada.id, place.clock.now_ms())
    org = members.memberships_of(place.ledger, place.ada.id)[1].account_id

    assert browser.send("/account/switch", account_id=org).location == "/account"

    after = browser.client.get_cookie("pointsman")
    assert after is not None
    assert after.value != before.value
    other = place.browser()
    other.client.set_cookie("pointsman", before.value)
    assert other.get("/account").status_code == 303
    assert "<h1>Engines</h1>" in browser.get("/account").text


def test_an_idle_browser_is_logged_out(place: Place, browser: Browser):
    browser.log_in()
    place.clock.advance(IDLE_MS)

    assert browser.get("/account").location.startswith("/login")


def test_passwords_are_not_guessed(place: Place, browser: Browser):
    browser.get("/login")
    for _ in range(TRIES_HERE):
        assert browser.send("/login", email="ada@example.com", password=WRONG).status_code == 401

    answer = browser.send("/login", email=" ADA@example.com ", password=PASSWORD)
    assert answer.status_code == 429
    assert "Too many tries" in answer.text
    place.add("bob")
    assert browser.log_in("bob@example.com").status_code == 303


def test_without_redis_nobody_guesses(
    place: Place, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    browser.get("/login")

    def away(*_: object, **__: object) -> None:
        raise RedisAway

    monkeypatch.setattr(place.redis, "pipeline", away)
    answer = browser.send("/login", email="ada@example.com", password=PASSWORD)
    assert answer.status_code == 503
    assert answer.mimetype == "text/html"


def test_a_form_without_our_token_is_refused(place: Place, browser: Browser):
    browser.log_in()
    paths = [r.rule for r in place.app.url_map.iter_rules() if "POST" in (r.methods or set())]
    assert len(paths) > 10

    for path in paths:
        for token in ("", "x", browser.token + "x"):
            answer = browser.client.post(path, data={"csrf_token": token})
            assert answer.status_code == 400, path
    assert browser.get("/account").status_code == 200


def test_a_cookie_that_others_set_is_not_logged_in(place: Place, browser: Browser):
    planted = place.browser()
    planted.client.set_cookie("pointsman", "x" * 43)
    browser.client.set_cookie("pointsman", "x" * 43)

    browser.log_in()

    cookie = browser.client.get_cookie("pointsman")
    assert cookie is not None
    assert cookie.value != "x" * 43
    assert planted.get("/account").status_code == 303


def test_a_token_of_another_browser_is_refused(place: Place, browser: Browser):
    browser.log_in()
    other = place.browser()
    other.get("/login")

    browser.token = other.token
    assert browser.send("/account/name", first_name="Eve").status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(browser: Browser, headers: dict[str, str]):
    browser.log_in()
    browser.headers = headers

    assert browser.send("/account/name", first_name="Eve").status_code == 403
    browser.headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert browser.send("/account/name", first_name="Ada").status_code == 303


def test_nothing_is_written_by_a_get(place: Place):
    for rule in place.app.url_map.iter_rules():
        reads = {"GET", "HEAD", "OPTIONS"} & (rule.methods or set())
        if {"POST", "PUT", "PATCH", "DELETE"} & (rule.methods or set()):
            assert "GET" not in reads, rule


def test_pages_are_guarded(browser: Browser):
    for path in ("/login", "/account", "/nowhere"):
        answer = browser.get(path)
        if path == "/nowhere":
            continue
        assert "script-src" not in answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Cookie" in answer.headers["Vary"]
        assert answer.headers["Referrer-Policy"] == "same-origin"


def test_a_form_is_bounded(browser: Browser):
    browser.get("/login")

    answer = browser.send("/login", email="x" * 70_000)
    assert answer.status_code == 413
    assert answer.mimetype == "text/html"


def test_without_a_secret_there_are_no_pages(make_place: Callable[..., Place]):
    browser = make_place(secret="").browser()

    for path in ("/login", "/account", "/account/members", "/auth"):
        answer = browser.get(path)
        assert answer.status_code == 503
        assert "POINTSMAN_SECRET" in answer.text
    assert browser.get("/console.css").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example.com",
        "/\\evil.example.com",
        "https://evil.example.com",
        "javascript:alert(1)",
        "evil",
        "",
        "/a\nb",
        "/\t/evil.example.com",
        "/a b",
        "/" + "x" * NEXT_MAX,
        None,
    ],
)
def test_a_log_in_leads_nowhere_else(browser: Browser, path: str | None):
    assert local_path(path) == "/account"
    if path is not None:
        assert browser.log_in(next=path).location == "/account"


@pytest.mark.parametrize("path", ["/", "/auth?callback_url=https%3A%2F%2Fa.example&x=1", "/a/b#c"])
def test_local_paths_are_kept(path: str):
    assert local_path(path) == path


def test_forms_go_to_an_origin_and_nothing_more(place: Place):
    with place.app.test_request_context("/"):
        for bad in ("", "x", "https://a.example/path", "https://a.example; script-src *", "*"):
            with pytest.raises(ValueError, match="not an origin"):
                let_form_go_to(bad)
        let_form_go_to("https://a.example:8443")
        let_form_go_to("http://[::1]:3000")


def test_the_sheet_is_cached(browser: Browser):
    first = browser.client.get("/console.css")
    again = browser.client.get("/console.css", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, first.mimetype, again.status_code) == (200, "text/css", 304)


@pytest.mark.parametrize("site_admin", [False, True])
def test_who_has_no_account_left_gets_one_of_their_own(place: Place, site_admin: bool):
    # Given somebody who closed their own account while in another, and then lost that
    bob, now_ms = place.add("bob"), place.clock.now_ms()
    people.set_site_admin(place.ledger, bob.id, now_ms, site_admin=site_admin)
    org = members.create_organization(place.ledger, "Engines", place.ada.id, now_ms).id
    members.add_member(place.ledger, org, bob.id, "member", now_ms)
    own = members.memberships_of(place.ledger, bob.id)[0].account_id
    closing.close(place.ledger, own, now_ms)
    members.remove_member(place.ledger, org, bob.id, now_ms)
    # When they log in, twice
    for _ in range(2):
        assert place.browser().log_in(bob.email).status_code == 303
    # Then they have one account, empty and theirs
    (found,) = members.memberships_of(place.ledger, bob.id)
    assert (found.account_kind, found.role) == ("personal", "admin")
    assert found.account_id != own


def _forwarded(place: Place, chain: str) -> int:
    """Log in with a wrong password, as a proxy hands it on."""
    browser = place.browser()
    browser.get("/login")
    browser.headers = {"X-Forwarded-For": chain} if chain else {}
    return browser.send("/login", email="ada@example.com", password=WRONG).status_code


def test_tries_are_counted_by_the_address_that_the_trusted_proxy_saw(
    make_place: Callable[..., Place],
):
    # Given two proxies in front, and somebody who makes up where they come from
    place = make_place(trusted_proxies=2)
    made_up = [f"9.9.9.{n}, 203.0.113.7, 10.0.0.1" for n in range(TRIES_HERE + 1)]
    told = [_forwarded(place, chain) for chain in made_up]
    # Then it does not help them, and another address is not counted with theirs
    assert told == [401] * TRIES_HERE + [429]
    assert _forwarded(place, "203.0.113.8, 10.0.0.1") == 401
    # And a chain that is too short is of nobody we know: the connection itself counts
    short = [_forwarded(place, f"9.9.9.{n}") for n in range(TRIES_HERE)]
    assert short == [401] * TRIES_HERE
    assert _forwarded(place, "") == 429


def test_without_trusted_proxies_the_header_is_not_read(place: Place):
    told = [_forwarded(place, f"9.9.9.{n}") for n in range(TRIES_HERE + 1)]

    assert told == [401] * TRIES_HERE + [429]
