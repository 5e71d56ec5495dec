"""What those try who want what is not theirs: on every route there is, made from the route map."""

from __future__ import annotations

import json
import re
import secrets
from itertools import product
from typing import Any

import pytest
from sqlalchemy import insert, select
from structlog.testing import capture_logs

from billing import accounts, api_keys, byok, members, people
from billing.byok import UseTerms
from billing.ledger import AMOUNT_MAX_NANO, balances
from billing.people import NewUser
from billing.settlement import settle
from billing.tables import api_keys as api_keys_table
from billing.tables import apps, budgets, metadata, sessions
from routing.own_keys import CheckedKey
from routing.sealing import Sealer
from routing.settings import Settings
from tests.access.table import API, KEYED
from tests.access.visitors import (
    FILLERS,
    SECRET,
    Visitors,
    bearer,
    client_of,
    credit_of,
    routes,
    visitors,
    with_key,
)
from tests.fixtures.charges import NOW_MS, generation_id
from tests.fixtures.customers import Customer, make_customer

DEFECT = 500
BAD_REQUEST = 400
NOT_PROVED = 401
NOT_FOUND = 404
OK = 200
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: Bodies that nothing is wrong with, so that only the id can be refused.
WELL_MEANT: dict[tuple[str, str], dict[str, Any]] = {
    ("PATCH", "/keys/<key_hash>"): {"name": "mine", "disabled": True},
    ("PUT", "/keys/<key_hash>/budgets/<interval>"): {"limit_usd": 1},
    ("PUT", "/organization/members/<user_id>/budgets/<interval>"): {"limit_usd": 1},
    ("PATCH", "/organization/members/<user_id>"): {"role": "org:member"},
    ("PATCH", "/byok/<key_id>"): {"name": "mine"},
}
#: Parts of a path that name something public.
PUBLIC = frozenset({"author", "slug", "interval"})
GUESSES = 300

HOSTILE = [
    "'", '"', "\\", "' OR '1'='1", "'; DROP TABLE accounts; --", "1 UNION SELECT hash FROM users",
    "%", "%%%%", "_", "*", "\x00", "\r\nX-Evil: 1", "../../etc/passwd", "..%2f..", "/", "//", "?",
    "#", "<script>", "{{7*7}}", "${7*7}", "null", "-1", "0", "1e999", "9" * 400, "NaN", "[]", "{}",
    "\u202e", "\u200d", "\ud7ff\ue000", "é", "e\u0301", "🚂", "a" * 5_000,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 1.5, 1e308, 10**30, "", "x" * 2_000, "\x00", "'; --", [], [None], {"a": None},
    [{"id": "x"}],
]  # fmt: skip
NUMBERS = [
    b"0", b"-0", b"-0.0", b"-1", b"1e-12", b"4e-10", b"5e-324", b"0.1", b"0.3333333333333333",
    b"1e3", b"9000000", b"9000000.000000001", b"9000001", b"9007199254740993",
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809",
    b"1e19", b"1e308", b"1e309", b"-1e400", b"1" + b"0" * 30, b"9" * 4_400, b"1." + b"3" * 400,
    b"NaN", b"Infinity", b"-Infinity", b"0x10",
    b"1_000", b"01", b"true", b'"1"', b'"1e3"', b"[1]", b'{"$gt":0}',
]  # fmt: skip
BODIES = [
    b"", b" ", b"null", b"[]", b'""', b"0", b"{", b"}", b'{"a":', b'{"a":1}{', b'{"a":1,"a":2}',
    b'{"limit":NaN}', b'{"limit":Infinity}', b'{"limit":1e400}', b'{"limit":' + b"9" * 5_000 + b"}",
    b"\xff\xfe{}", b"\xef\xbb\xbf{}", b'{"name":"\\ud800"}', b'{"name":"\\u0000"}',
    b"[" * 5_000, b'{"a":' * 1_000 + b"1" + b"}" * 1_000, b"--x\r\n", b"a=b&c=d", b"<x/>",
]  # fmt: skip


@pytest.fixture
def api_settings() -> Settings:
    return Settings(
        body_max_bytes=10_000, first_frame_wait_ms=200, deadline_ms=60_000, secret=SECRET
    )


@pytest.fixture
def everybody(site) -> Visitors:
    return visitors(site)


@pytest.fixture
def victim(site) -> Customer:
    """Somebody else, with a generation."""
    customer = make_customer(site.ledger)
    settle(site.ledger, [customer.charge()], NOW_MS)
    return customer


@pytest.fixture
def theirs(site, victim: Customer) -> dict[str, str]:
    """The id of each thing that a path can name, of the victim. New kinds must be added here."""
    sealer = Sealer.of(site.parts.settings)
    text = f"sk-byok-{secrets.token_hex(8)}"
    key = CheckedKey(provider="openai", text=text, label="sk-...1")
    stored = byok.create(site.ledger, sealer, victim.account_id, key, UseTerms(), NOW_MS)
    user = people.create_user(site.ledger, NewUser(email="victim@example.com"), NOW_MS)
    team = members.create_organization(site.ledger, "Victims", user.id, NOW_MS)
    return {
        "key_hash": victim.key.key_hash,
        "key_id": stored.id,
        "user_id": user.id,
        "account_id": team.id,
        "app_id": str(app_of(site, victim)),
    }


def app_of(site: Any, customer: Customer) -> int:
    """An application with a key of somebody; its number is in no answer by chance."""
    row = {"id": 777_001, "origin": "https://app.example", "title": "App", "created_ms": NOW_MS}
    with site.ledger.writing() as connection:
        connection.execute(insert(apps), row)
    with_key(site, customer, app_id=row["id"])
    return 777_001


def everything(site: Any, *without: Any) -> dict[str, list[Any]]:
    """Every row of every table."""
    with site.ledger.reading() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(table)).all()))
            for table in metadata.sorted_tables
            if table not in without
        }


def of_account(site: Any, account_id: str) -> dict[str, list[str]]:
    """Every row that bears an account's id."""
    return {
        name: [row for row in rows if account_id in row] for name, rows in everything(site).items()
    }


def as_header(text: str) -> str:
    """As much of it as a header can hold."""
    return re.sub(r"[\r\n\x00]", "\t", text.encode().decode("latin-1"))


def without_ids(response: Any, *ids: str) -> tuple[int, str]:
    """What an answer tells, whatever was asked for."""
    text = response.get_data(as_text=True)
    for name in (*ids, response.headers["X-Request-Id"]):
        text = text.replace(name, "…")
    return response.status_code, text


# the ids of others


def test_another_accounts_id_is_answered_as_one_that_is_not_there(
    site, everybody: Visitors, victim: Customer, theirs: dict[str, str]
):
    """In the path of each route that takes an id, with each method."""
    before = of_account(site, victim.account_id)
    team = make_organization(site)
    for route, headers in product(
        routes(site, KEYED), (everybody.headers("management"), bearer(team.text))
    ):
        asking = everybody.headers(route.right) if route.right != "management" else headers
        for name in sorted(route.arguments - PUBLIC):
            options: dict[str, Any] = {
                "method": route.method,
                "headers": asking,
                "json": WELL_MEANT.get(route.row, {}),
            }
            known = client_of(site).open(route.path(**{name: theirs[name]}), **options)
            unknown = client_of(site).open(route.path(), **options)
            told = without_ids(known, theirs[name], FILLERS[name])
            assert told == without_ids(unknown, theirs[name], FILLERS[name]), route
            assert known.status_code == NOT_FOUND, (route, known.data)

    assert of_account(site, victim.account_id) == before


def make_organization(site: Any) -> Customer:
    """Another organisation and its management key."""
    account = accounts.create_account(site.ledger, "Nosy", NOW_MS, kind="organization")
    terms = api_keys.KeyTerms(name="k", kind="management")
    text, key = api_keys.mint(site.ledger, account.id, terms, NOW_MS)
    return Customer(account_id=account.id, text=text, key=key)


#: Fields that name something of an account, what kind of thing, and whether they are lists.
REFERENCES = [
    ("workspace_id", "account_id", False),
    ("account_id", "account_id", False),
    ("creator_user_id", "user_id", False),
    ("user_id", "user_id", False),
    ("allowed_user_ids", "user_id", True),
    ("allowed_api_key_hashes", "key_hash", True),
    ("api_key_hash", "key_hash", False),
    ("key_hash", "key_hash", False),
    ("confirm", "account_id", False),
]


def test_another_accounts_id_in_a_body_or_query_is_as_one_that_is_not_there(
    site, everybody: Visitors, victim: Customer, theirs: dict[str, str]
):
    before = of_account(site, victim.account_id)
    for route, (field, kind, many) in product(routes(site, KEYED), REFERENCES):
        ids = (theirs[kind], FILLERS[kind])
        told = []
        for name in ids:
            body = {"name": "n", "provider": "openai", "key": "sk-byok-1"}
            response = client_of(site).open(
                route.path(),
                method=route.method,
                query_string={field: name},
                json=body | {field: [name] if many else name},
                headers=everybody.headers(route.right),
            )
            told.append(without_ids(response, *ids))
        # What is made has an id of its own each time; that it was made is told by the status.
        compared = slice(None) if told[0][0] >= BAD_REQUEST else slice(1)
        assert told[0][compared] == told[1][compared], (route, field)

    assert of_account(site, victim.account_id) == before


@pytest.mark.parametrize("kind", ["inference", "management"])
def test_another_accounts_generation_is_not_found(site, victim: Customer, kind: str):
    nosy = make_customer(site.ledger, kind=kind)
    ids = (generation_id(1), generation_id(2))

    theirs, nobodys = (
        client_of(site).get(f"/api/v1/generation?id={name}", headers=bearer(nosy.text))
        for name in ids
    )

    assert without_ids(theirs, *ids) == without_ids(nobodys, *ids)
    assert theirs.status_code == NOT_FOUND
    own = client_of(site).get(f"/api/v1/generation?id={ids[0]}", headers=bearer(victim.text))
    assert own.status_code == OK


def test_nothing_of_others_is_told(site, everybody: Visitors, victim: Customer):
    secret = {
        victim.account_id,
        victim.key.key_hash,
        victim.key.label,
        victim.text,
        generation_id(1),
        everybody.inference.text,
        everybody.management.text,
    }
    for route in routes(site, KEYED):
        if route.method != "GET":
            continue
        for query in ("", f"?id={generation_id(1)}", f"?account_id={victim.account_id}"):
            answer = (
                client_of(site)
                .get(route.path() + query, headers=everybody.headers(route.right))
                .get_data(as_text=True)
            )
            assert not [name for name in secret if name in answer], route


# keys that prove nothing


@pytest.mark.parametrize("door", ["query", "cookie", "basic", "form", "own header", "lower case"])
def test_a_key_counts_in_one_header_only(site, everybody: Visitors, door: str):
    """`x-api-key` is Anthropic's, and is read on its routes alone."""
    for route in routes(site, KEYED):
        key = everybody.headers(route.right)["Authorization"].removeprefix("Bearer ")
        options: dict[str, Any] = {
            "query": {"query_string": {"api_key": key, "key": key, "access_token": key}},
            "cookie": {"headers": {"Cookie": f"key={key}; Authorization={key}; token={key}"}},
            "basic": {"auth": ("", key)},
            "form": {"data": {"api_key": key, "Authorization": f"Bearer {key}"}},
            "own header": {"headers": {"X-Auth": key, "Api-Key": key, "X-Goog-Api-Key": key}},
            "lower case": {"headers": bearer(key.upper())},
        }[door]
        if route.method == "GET" and door == "form":
            continue
        response = client_of(site).open(route.path(), method=route.method, **options)
        assert response.status_code == NOT_PROVED, route


def test_x_api_key_is_read_where_anthropic_clients_ask(site, everybody: Visitors):
    for route in routes(site, KEYED):
        key = everybody.headers(route.right)["Authorization"].removeprefix("Bearer ")
        headers = {"x-api-key": key}
        response = client_of(site).open(route.path(), method=route.method, headers=headers)
        proved = response.status_code != NOT_PROVED
        assert proved == route.name.startswith("/messages"), route


def test_hostile_keys_are_401(site):
    for text in HOSTILE:
        safe = as_header(text)
        for token in (safe, api_keys.PREFIX + safe):
            response = client_of(site).get("/api/v1/key", headers=bearer(token))
            assert response.status_code == NOT_PROVED, token


def test_guessing_finds_nothing_and_neighbours_of_a_key_are_no_keys(site):
    key = site.customer.text
    near = [key[:-1], key + "0", key[:-1] + ("0" if key[-1] != "0" else "1"), key + " ", key[:20]]
    guesses = [api_keys.PREFIX + secrets.token_hex(32) for _ in range(GUESSES)]

    statuses = {
        client_of(site).get("/api/v1/key", headers=bearer(guess)).status_code
        for guess in [*near[:3], near[4], *guesses]
    }

    assert statuses == {NOT_PROVED}


@pytest.mark.parametrize(
    "header",
    [
        {"X-HTTP-Method-Override": "GET"},
        {"X-Original-URL": "/livez"},
        {"X-Rewrite-URL": "/api/v1/models"},
        {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"},
        {"X-Forwarded-User": "root", "Remote-User": "root"},
        {"X-Forwarded-Prefix": "/livez", "X-Forwarded-Host": "localhost"},
        {"Host": "localhost/livez?"},
        {"X-User-Id": "user_1", "X-Account-Id": "user_1"},
    ],
)
def test_no_header_stands_for_a_key(site, header: dict[str, str]):
    for route in routes(site, KEYED):
        response = client_of(site).open(route.path(), method=route.method, headers=header)
        assert response.status_code == NOT_PROVED, route


def test_other_ways_to_write_a_path_open_no_door(site):
    ways = (
        lambda path: path + "/",
        lambda path: "/" + path,
        lambda path: path.replace("/v1/", "/v1//"),
        lambda path: path.replace("/v1/", "/V1/"),
        lambda path: path.replace("/v1/", "/v1/models/../"),
        lambda path: path.replace("/v1/", "/v1/%2e%2e/v1/"),
        lambda path: path.replace("/v1/", "/v1/./"),
        lambda path: path + "%00",
        lambda path: path + ";.json",
        lambda path: path + "%2f",
        lambda path: path.upper(),
    )
    for route in routes(site, KEYED):
        for way in ways:
            response = client_of(site).open(way(route.path()), method=route.method)
            assert response.status_code not in range(OK, 300), (route, way(route.path()))
            assert response.status_code < DEFECT, (route, way(route.path()))


# more than is theirs


def test_no_route_changes_a_column_it_is_not_for(site, everybody: Visitors, victim: Customer):
    """Every column of every table is sent to every route, with the ids of somebody else."""
    columns = {column.name for table in metadata.sorted_tables for column in table.columns}
    mine = everybody.management
    own = with_key(site, mine, limit_nano=5)
    values = {
        "account_id": victim.account_id,
        "id": victim.account_id,
        "hash": victim.key.key_hash,
        "kind": "management",
        "role": "admin",
        "name": "n",
    }
    body = {name: values.get(name, 9_000_000) for name in sorted(columns)}
    before, credit = of_account(site, victim.account_id), credit_of(site, mine)
    for route in routes(site, KEYED):
        if route.method not in CHANGES or route.row == ("DELETE", "/keys/<key_hash>"):
            continue
        path = route.path(key_hash=own.key.key_hash)
        sent = [body]
        if route.right != "inference" and route.rule.startswith("/api/"):
            sent += [{name: value} for name, value in body.items()]
        for one in sent:
            response = client_of(site).open(
                path, method=route.method, json=one, headers=everybody.headers(route.right)
            )
            assert response.status_code < DEFECT, (route, one)

    assert of_account(site, victim.account_id) == before
    assert credit_of(site, mine) == credit
    with site.ledger.reading() as connection:
        rows = {row.hash: row for row in connection.execute(select(api_keys_table))}
    managing = {row.hash for row in rows.values() if row.kind == "management"}
    assert managing & _of(rows, mine.account_id) == {mine.key.key_hash}
    kept = rows[own.key.key_hash]
    assert (kept.account_id, kept.kind, kept.label) == (
        mine.account_id,
        "inference",
        own.key.label,
    )


def _of(rows: dict[str, Any], account_id: str) -> set[str]:
    return {name for name, row in rows.items() if row.account_id == account_id}


def test_no_number_is_a_defect_or_leaves_its_bounds(site, everybody: Visitors):
    """Written as JSON text: some of these no program would send."""
    of_accounts = (b"limit", b"limit_usd", b"amount", b"rpm", b"tpm", b"parallel", b"expires_at",
                   b"threshold", b"sort_order")  # fmt: skip
    of_requests = (b"max_tokens", b"max_completion_tokens", b"temperature", b"top_p", b"top_k",
                   b"seed", b"n", b"dimensions")  # fmt: skip
    credit = credit_of(site, everybody.inference)
    for route in routes(site, API):
        if route.method not in CHANGES or not route.rule.startswith("/api/"):
            continue
        fields = of_requests if route.right == "inference" else of_accounts
        for field, number in product(fields, NUMBERS):
            body = b'{"name":"n","model":"no/such","%s":%s}' % (field, number)
            response = client_of(site).open(
                route.path(), method=route.method, data=body, headers=everybody.headers(route.right)
            )
            assert response.status_code < DEFECT, (route, body)

    assert credit_of(site, everybody.inference) == credit
    with site.ledger.reading() as connection:
        for table in (api_keys_table, budgets):
            for limit in connection.execute(select(table.c.limit_nano)).scalars():
                assert limit is None or 0 <= limit <= AMOUNT_MAX_NANO


def test_no_number_in_a_query_is_a_defect(site, everybody: Visitors):
    names = ("offset", "limit", "page", "date", "days", "context", "min_price", "max_price")
    for route in routes(site, API):
        if route.method == "GET" and route.rule.startswith("/api/"):
            for number in NUMBERS:
                response = client_of(site).get(
                    route.path(),
                    query_string=dict.fromkeys(names, number),
                    headers=everybody.headers(route.right),
                )
                assert response.status_code < DEFECT, (route, number)


def test_reading_writes_nothing(site, everybody: Visitors, victim: Customer):
    assert victim.account_id
    before = everything(site, sessions)

    for route in routes(site, API):
        if route.method == "GET":
            for method in ("GET", "HEAD", "OPTIONS"):
                client_of(site).open(
                    route.path(), method=method, headers=everybody.headers(route.right)
                )

    assert everything(site, sessions) == before


def test_refused_changes_change_nothing(site, everybody: Visitors):
    before = everything(site)

    for route in routes(site, KEYED):
        if route.method in CHANGES:
            for headers in everybody.strangers.values():
                client_of(site).open(
                    route.path(key_hash=everybody.inference.key.key_hash),
                    method=route.method,
                    headers=headers,
                    json={"name": "n", "disabled": True, "confirm": everybody.inference.account_id},
                )

    assert everything(site) == before


# bad input


def test_no_body_is_a_defect(site, everybody: Visitors):
    """An error of the caller is told as one, in the contract's envelope."""
    for route in routes(site, API):
        if route.method not in CHANGES:
            continue
        for body in BODIES:
            response = client_of(site).open(
                route.path(), method=route.method, data=body, headers=everybody.headers(route.right)
            )
            assert response.status_code < DEFECT, (route, body[:40])
            if response.status_code >= BAD_REQUEST:
                assert json.loads(response.data)["error"]["message"], (route, body[:40])
            else:  # what takes away may need no body, and closing an account is not such a thing
                assert (route.method, route.name != "/account") == ("DELETE", True), route


def test_no_value_of_a_field_is_a_defect(site, everybody: Visitors):
    fields = ("name", "limit", "limit_reset", "disabled", "expires_at", "workspace_id",
              "creator_user_id", "include_byok_in_limit", "allowed_providers", "enforce_zdr",
              "default_text_model", "default_provider_sort", "confirm", "code", "code_verifier",
              "callback_url", "code_challenge", "key_label", "id")  # fmt: skip
    for route in routes(site, ("management", "key", "open")):
        if route.method not in CHANGES or not route.rule.startswith("/api/"):
            continue
        for field in fields:
            for value in VALUES:
                body = {"name": "n", field: value}
                response = client_of(site).open(
                    route.path(),
                    method=route.method,
                    json=body,
                    headers=everybody.headers(route.right),
                )
                assert response.status_code < DEFECT, (route, body)


def test_no_query_and_no_path_is_a_defect(site, everybody: Visitors):
    names = ("id", "offset", "include_disabled", "workspace_id", "category", "sort", "date", "q",
             "limit", "supported_parameters", "use_rss", "order", "api_key_hash")  # fmt: skip
    for route in routes(site, API):
        if route.method != "GET" or not route.rule.startswith("/api/"):
            continue
        headers = everybody.headers(route.right)
        for text in HOSTILE:
            query = dict.fromkeys(names, text.encode("utf-8", "surrogatepass"))
            response = client_of(site).get(route.path(), query_string=query, headers=headers)
            assert response.status_code < DEFECT, (route, text)
            if route.arguments:
                ids = dict.fromkeys(route.arguments, text.replace("?", "").replace("#", ""))
                response = client_of(site).get(route.path(**ids), headers=headers)
                assert response.status_code < DEFECT, (route, text)


def test_nothing_sent_comes_back_in_a_header(site, everybody: Visitors):
    for text in HOSTILE:
        names = ("X-Request-Id", "X-Title", "HTTP-Referer", "Origin")
        headers = dict.fromkeys(names, as_header(text)) | everybody.headers("inference")
        response = client_of(site).get("/api/v1/key", headers=headers)
        assert response.status_code == OK, text
        assert "X-Evil" not in response.headers, text
        assert response.headers["Access-Control-Allow-Origin"] == "*", text
        for value in response.headers.values():
            assert value.isascii(), text
            assert value.isprintable(), text


# what others may learn


def test_keys_and_prompts_are_in_no_log_and_no_error(site, everybody: Visitors):
    canary = secrets.token_hex(16)
    for route in routes(site, API):
        with capture_logs() as logs:
            for headers in (bearer(api_keys.PREFIX + canary), everybody.headers(route.right)):
                answer = client_of(site).open(
                    route.path(),
                    method=route.method,
                    headers=headers,
                    query_string={"api_key": canary},
                    data=f'{{"messages": "{canary}", "code": "{canary}", '.encode(),
                )
                assert canary not in answer.get_data(as_text=True), route
        written = repr(logs)
        assert canary not in written, route
        for secret in (everybody.inference.text, everybody.management.text):
            assert secret not in written, route


def test_no_other_site_may_send_cookies_along(site, everybody: Visitors):
    """Any site may call with a key of its own; none with what a browser adds by itself."""
    headers = dict(everybody.headers("inference")) | {"Origin": "https://evil.example"}
    for route in routes(site, API):
        for method in (route.method, "OPTIONS"):
            response = client_of(site).open(route.path(), method=method, headers=headers)
            assert "Access-Control-Allow-Credentials" not in response.headers, route
            assert response.headers.get("Access-Control-Allow-Origin") in {None, "*"}, route


def test_the_books_balance_after_all_that(site, everybody: Visitors, victim: Customer):
    for route in routes(site, KEYED):
        if route.method in CHANGES:
            client_of(site).open(
                route.path(),
                method=route.method,
                json={"amount": -1, "limit": 1e15, "cost": -5},
                headers=everybody.headers(route.right),
            )

    assert credit_of(site, everybody.inference) > 0
    with site.ledger.reading() as connection:
        found = balances(connection, {victim.scope})
    assert found[victim.scope].posted_nano > 0
