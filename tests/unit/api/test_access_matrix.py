"""Every route and method with everybody who comes, compared with the reviewed table."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from billing.tables import members, users
from routing.settings import Settings
from tests.access import table
from tests.access.page import PAGE, text
from tests.access.table import API, KEYED, LOGGED_IN, PAGES, RIGHTS, Right
from tests.access.visitors import (
    COOKIE,
    SECRET,
    Route,
    Visitors,
    client_of,
    people_of,
    routes,
    visitors,
)

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
OK = 200
SEE_OTHER = 303
BAD_REQUEST = 400
NOT_PROVED = 401
NOT_ALLOWED = 403
NO_SUCH_METHOD = 405
DEFECT = 500
#: Forms that end at the log-in when all went well.
LEAVING = frozenset({("POST", "/account/logout-everywhere")})
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')

#: Which keys are refused where a key of some right is wanted.
WRONG_KIND: dict[Right, Right] = {"inference": "management", "management": "inference"}
#: Who is logged in and has too little, where some right is wanted.
TOO_LITTLE: dict[Right, tuple[str, ...]] = {"admin": ("person",), "site": ("person", "admin")}


@pytest.fixture
def api_settings() -> Settings:
    """With a secret, for pages."""
    return Settings(
        body_max_bytes=10_000, first_frame_wait_ms=200, deadline_ms=60_000, secret=SECRET
    )


@pytest.fixture
def everybody(site) -> Visitors:
    return visitors(site)


def status_of(site: Any, route: Route, headers: dict[str, str] | None = None) -> int:
    response = client_of(site).open(route.path(), method=route.method, headers=headers or {})
    status: int = response.status_code
    return status


# the table


def test_every_route_has_a_reviewed_row(site):
    without = {route.row for route in routes(site)} - RIGHTS.keys()

    assert without == set(), "decide who may use these, then add them to tests/access/table.py"


def test_every_row_has_a_route(site):
    assert RIGHTS.keys() - {route.row for route in routes(site)} == set()


def test_no_row_is_written_twice():
    """The later of two would count, and nobody who reads the first would know."""
    keys = [
        ast.unparse(key)
        for node in ast.walk(ast.parse(inspect.getsource(table)))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if key is not None
    ]

    assert len(keys) == len(RIGHTS)
    assert [key for key, count in Counter(keys).items() if count > 1] == []


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == text(), "run: python -m tests.access --write"


# keys


def test_who_proves_nothing_gets_401_wherever_a_key_is_wanted(site, everybody: Visitors):
    wrong = []
    for route in routes(site, KEYED):
        for who, headers in everybody.strangers.items():
            status = status_of(site, route, dict(headers))
            if status != NOT_PROVED:
                wrong.append((route.method, route.rule, who, status))

    assert wrong == []


def test_a_key_of_the_wrong_kind_gets_403(site, everybody: Visitors):
    wrong = []
    for route in routes(site, tuple(WRONG_KIND)):
        status = status_of(site, route, everybody.headers(WRONG_KIND[route.right]))
        if status != NOT_ALLOWED:
            wrong.append((route.method, route.rule, status))

    assert wrong == []


def test_who_has_the_right_is_let_in(site, everybody: Visitors):
    """What is asked for may be missing or wrong, but nobody is turned away at the door."""
    both: tuple[Right, ...] = ("inference", "management")
    wrong = []
    for route in routes(site, API):
        for kind in both if route.right in {"open", "key"} else (route.right,):
            status = status_of(site, route, everybody.headers(kind))
            if status in {NOT_PROVED, NOT_ALLOWED, NO_SUCH_METHOD, DEFECT}:
                wrong.append((route.method, route.rule, kind, status))

    assert wrong == []


def test_what_is_open_asks_nobody(site, everybody: Visitors):
    wrong = []
    for route in routes(site, ("open",)):
        for who, headers in everybody.strangers.items():
            status = status_of(site, route, dict(headers))
            if status in {NOT_PROVED, NOT_ALLOWED, DEFECT}:
                wrong.append((route.method, route.rule, who, status))

    assert wrong == []


def test_other_methods_are_405_for_everybody(site, everybody: Visitors):
    wrong = []
    served = site.app.url_map.bind("localhost")
    visiting = ({}, everybody.headers("inference"), everybody.headers("management"))
    for path in sorted({route.path() for route in routes(site)}):
        # Of all rules: what is no method of `/byok/order` may be one of `/byok/<key_id>`.
        for method in {*METHODS, "TRACE", "PROPFIND"} - set(served.allowed_methods(path)):
            for headers in visiting:
                status = client_of(site).open(path, method=method, headers=headers).status_code
                if status != NO_SUCH_METHOD:
                    wrong.append((method, path, status))

    assert wrong == []


def test_both_base_paths_serve_the_same(site):
    by_base = {
        base: {route.row for route in routes(site) if route.rule.startswith(base)}
        for base in ("/api/v1/", "/v1/")
    }

    assert by_base["/api/v1/"] == by_base["/v1/"] != set()


def test_these_clients_do_send_cookies(site):
    """Else the strangers with cookies would be nobodies."""
    people = people_of(site)
    response = client_of(site).get(
        "/account", headers={"Cookie": f"{COOKIE}={people.cookie('admin')}"}
    )

    assert response.status_code == OK


# pages


def browser(site: Any, cookie: str = "") -> FlaskClient:
    client: FlaskClient = site.app.test_client()
    if cookie:
        client.set_cookie(COOKIE, cookie)
    return client


def token_of(client: FlaskClient) -> str:
    """Of a form that this browser was shown."""
    for path in ("/account", "/login"):
        if found := _TOKEN.search(client.get(path).text):
            return found[1]
    pytest.fail("no page has a form")


def turned_away(response: Any) -> bool:
    """Sent to the log-in."""
    return response.status_code == SEE_OTHER and response.headers["Location"].startswith("/login")


def test_a_stranger_sees_no_page_of_anybody(site):
    people_of(site)
    wrong = []
    for route in routes(site, LOGGED_IN):
        client = browser(site)
        data = {} if route.method == "GET" else {"csrf_token": token_of(client)}
        response = client.open(route.path(), method=route.method, data=data)
        if not turned_away(response) and response.status_code != BAD_REQUEST:
            wrong.append((route.method, route.rule, response.status_code))

    assert wrong == []


def test_who_has_too_little_gets_403(site):
    people = people_of(site)
    wrong = []
    for route in routes(site, tuple(TOO_LITTLE)):
        for who in TOO_LITTLE[route.right]:
            client = browser(site, people.cookie(who))
            data = {} if route.method == "GET" else {"csrf_token": token_of(client)}
            response = client.open(route.path(), method=route.method, data=data)
            if response.status_code != NOT_ALLOWED:
                wrong.append((route.method, route.rule, who, response.status_code))

    assert wrong == []


def test_who_is_logged_in_far_enough_is_not_turned_away(site):
    people = people_of(site)
    wrong = []
    for route in routes(site, LOGGED_IN):
        client = browser(site, people.cookie(route.right))
        data = {} if route.method == "GET" else {"csrf_token": token_of(client)}
        response = client.open(route.path(), method=route.method, data=data)
        away = turned_away(response) and route.row not in LEAVING
        if away or response.status_code in {NOT_ALLOWED, DEFECT}:
            wrong.append((route.method, route.rule, response.status_code))

    assert wrong == []


@pytest.mark.parametrize("token", ["", "x", "IjEi.aaaa.bbbb"])
@pytest.mark.parametrize("origin", [None, "https://evil.example", "null"])
def test_no_form_of_others_is_heard(site, token: str, origin: str | None):
    people = people_of(site)
    everyone = [people.cookie(who) for who in LOGGED_IN]
    before = counted(site)
    headers = {} if origin is None else {"Origin": origin}
    wrong = []
    for route in routes(site, PAGES):
        for cookie in ("", *everyone) if route.method != "GET" else ():
            response = browser(site, cookie).open(
                route.path(), method=route.method, data={"csrf_token": token}, headers=headers
            )
            if response.status_code not in {BAD_REQUEST, NOT_ALLOWED}:
                wrong.append((route.method, route.rule, response.status_code))

    assert wrong == []
    assert counted(site) == before


def test_another_origin_is_refused_with_the_right_token(site):
    people = people_of(site)
    wrong = []
    for route in routes(site, PAGES):
        if route.method != "GET":
            client = browser(site, people.cookie("admin"))
            response = client.open(
                route.path(),
                method=route.method,
                data={"csrf_token": token_of(client)},
                headers={"Origin": "https://evil.example"},
            )
            if response.status_code != NOT_ALLOWED:
                wrong.append((route.method, route.rule, response.status_code))

    assert wrong == []


def test_pages_are_kept_by_nobody_and_framed_by_nobody(site):
    people = people_of(site)
    for route in routes(site, LOGGED_IN):
        for cookie in ("", people.cookie(route.right)):
            response = browser(site, cookie).open(route.path(), method=route.method)
            headers = response.headers
            assert headers["Cache-Control"] == "no-store", route
            assert "Cookie" in headers["Vary"], route
            assert "default-src 'none'" in headers["Content-Security-Policy"], route
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], route


def counted(site: Any) -> list[int]:
    """People and memberships there are."""
    with site.ledger.reading() as connection:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (users, members)
        ]
