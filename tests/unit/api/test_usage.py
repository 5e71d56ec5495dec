"""`/activity`, `/generations`, receipts and contents over HTTP."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest
from openrouter import components

from api.keys import workspace_of
from billing import api_keys, contents
from billing.api_keys import KeyTerms
from billing.contents import Kept
from billing.settlement import settle
from routing.budgets import MS_PER_DAY
from routing.contents import place_of
from routing.sealing import Sealer, new_secret
from routing.settings import Settings
from tests.fixtures.charges import COST_NANO, NOW_MS, generation_id
from tests.fixtures.customers import make_customer

SECRET = new_secret()
YESTERDAY = "2025-12-03"
COST_USD = COST_NANO / 10**9
#: A model of the shipped catalog that has a dated name.
DATED = "openai/gpt-4o-mini"


@pytest.fixture
def api_settings() -> Settings:
    return Settings(secret=SECRET)


class Asker:
    """A customer with a key of each kind."""

    def __init__(self, site: Any, customer: Any) -> None:
        self.site, self.customer = site, customer
        terms = KeyTerms(name="boss", kind="management")
        self.manager, _ = api_keys.mint(site.ledger, customer.account_id, terms, NOW_MS)

    def response(self, path: str, *, key: str | None = None, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {key or self.manager}"} | options.pop("headers", {})
        return self.site.client.get(f"/api/v1{path}", headers=headers, **options)

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        response = self.response(path, **options)
        assert response.status_code == status, response.get_data(as_text=True)
        return response.get_json()

    def settles(self, *charges: Any) -> None:
        settle(self.site.ledger, charges, NOW_MS)

    def keeps(self, number: int, text: str = '{"input":{}}') -> None:
        name, account_id = generation_id(number), self.customer.account_id
        sealed = Sealer.of(Settings(secret=SECRET)).seal(text, place_of(name, account_id))
        kept = Kept(generation_id=name, account_id=account_id, sealed=sealed, created_ms=NOW_MS)
        contents.store(self.site.ledger, [kept])


@pytest.fixture
def ada(site) -> Asker:
    return Asker(site, site.customer)


@pytest.fixture
def eve(site) -> Asker:
    return Asker(site, make_customer(site.ledger))


def before(days: int) -> int:
    return NOW_MS - days * MS_PER_DAY


# days


def test_activity_tells_the_last_thirty_days_that_are_over(ada):
    own = ada.customer.charge
    ada.settles(
        *(own(n, created_ms=before(n), model_id=DATED) for n in (0, 1, 30, 31)),
        own(40, created_ms=before(1), model_id=DATED, byok="b", fee_ppm=50_000),
    )
    told = ada.get("/activity")
    assert told["data"][0] == {
        "date": YESTERDAY,
        "model": DATED,
        "model_permaslug": ada.site.parts.catalog.current.models[DATED].canonical_slug,
        "endpoint_id": "acme:acme/large",
        "provider_name": "Acme",
        "usage": COST_USD * 1.05,
        "byok_usage_inference": COST_USD,
        "requests": 2,
        "prompt_tokens": 200,
        "completion_tokens": 100,
        "reasoning_tokens": 0,
        "cached_tokens": 0,
    }
    assert [row["date"] for row in told["data"]] == [YESTERDAY, "2025-11-04"]
    components.ActivityResponse.model_validate(told)


def test_activity_of_one_day_key_or_person(ada):
    own = ada.customer.charge
    ada.settles(*(own(n, created_ms=before(n)) for n in (1, 2)))
    assert len(ada.get(f"/activity?date={YESTERDAY}")["data"]) == 1
    assert len(ada.get(f"/activity?api_key_hash={ada.customer.key.key_hash}")["data"]) == 2
    assert ada.get(f"/activity?api_key_hash={'0' * 64}")["data"] == []
    assert ada.get("/activity?user_id=usr_x")["data"] == []
    assert len(ada.get("/activity?date=&user_id=null")["data"]) == 2


def test_activity_by_workspace_names_the_only_one(ada):
    ada.settles(ada.customer.charge(1, created_ms=before(1)))
    own = workspace_of(ada.customer.account_id)
    (row,) = ada.get(f"/activity?group_by=workspace&workspace_id={own.upper()}")["data"]
    assert row["workspace_id"] == own
    ada.get(f"/activity?workspace_id={workspace_of('user_x')}", 400)


@pytest.mark.parametrize(
    "query",
    [
        "date=2025-12-04", "date=2025-11-03", "date=2025-02-30", "date=yesterday",
        "date=2025-12-03T00:00:00Z", "date=%D9%A2025-12-03", "api_key_hash=x",
        "api_key_hash=" + "A" * 64, "group_by=key", "format=xml", "user_id=" + "u" * 300,
        "user_id=%00", "date=2025-12-03&date=2025-12-02",
    ],
)  # fmt: skip
def test_what_activity_cannot_tell_is_refused(ada, query):
    answer = ada.get(f"/activity?{query}", 400)
    assert answer["error"]["metadata"]["param"] == query.partition("=")[0]


def test_activity_as_a_sheet(ada):
    ada.settles(ada.customer.charge(1, created_ms=before(1), model_id="=cmd", provider="@x"))
    for options in ({"path": "/activity?format=csv"}, {"path": "/activity"}):
        headers = {} if "csv" in options["path"] else {"Accept": "text/csv"}
        response = ada.response(options["path"], headers=headers)
        assert response.content_type == "text/csv; charset=utf-8"
        assert "attachment" in response.headers["Content-Disposition"]
        assert response.headers["Cache-Control"] == "no-store"
        (row,) = csv.DictReader(io.StringIO(response.get_data(as_text=True), newline=""))
        assert (row["model"], row["provider_name"], row["usage"]) == ("'=cmd", "'@x", "0.0002")
    assert ada.response("/activity", headers={"Accept": "*/*"}).is_json
    empty = ada.response(f"/activity?format=csv&api_key_hash={'0' * 64}").get_data(as_text=True)
    assert empty.startswith('"date","model",')


@pytest.mark.parametrize("path", ["/activity", "/generations"])
def test_lists_are_for_management_keys_and_of_their_own_account(ada, eve, path):
    ada.settles(ada.customer.charge(1, created_ms=before(1)))
    assert ada.get(path, 403, key=ada.customer.text)["error"]["code"] == 403
    assert eve.get(path)["data"] == []
    assert eve.get(f"{path}?api_key_hash={ada.customer.key.key_hash}")["data"] == []
    assert ada.site.client.get(f"/api/v1{path}").status_code == 401


# generations


def test_generations_are_paged_by_links(ada):
    own = ada.customer.charge
    ada.settles(*(own(n, created_ms=NOW_MS + n) for n in range(5)))
    path: str | None = "/api/v1/generations?limit=2&model=acme/large"
    seen, links = [], []
    while path is not None:
        response = ada.response(path.removeprefix("/api/v1"))
        told = response.get_json()
        seen += [row["id"] for row in told["data"]]
        path = told["links"]["next"]
        links.append(response.headers.get("Link"))
    assert seen == [generation_id(n) for n in (4, 3, 2, 1, 0)]
    assert links[-1] is None
    assert links[0].endswith('>; rel="next"')


def test_a_generation_in_the_list_is_told_as_by_itself(ada):
    caller = replace(ada.customer.charge().caller, user="u-1", session_id="s", app_title="App")
    ada.settles(ada.customer.charge(1, caller=caller, byok="b", fee_ppm=50_000))
    (row,) = ada.get("/generations")["data"]
    alone = ada.get(f"/generation?id={generation_id(1)}")["data"]
    shared = row.keys() & alone.keys()
    assert {name: row[name] for name in shared} == {name: alone[name] for name in shared}
    assert len(shared) >= 20
    assert row["upstream_inference_cost"] == COST_USD
    assert row["usage"] == COST_USD / 20
    assert alone["workspace_id"] == workspace_of(ada.customer.account_id)


def test_generations_between_two_moments(ada):
    own = ada.customer.charge
    ada.settles(*(own(n, created_ms=before(n)) for n in range(4)))

    def ids(query: str) -> list[int]:
        return [int(row["id"][-1]) for row in ada.get(f"/generations?{query}")["data"]]

    assert ids("from=2025-12-02") == [0, 1, 2]
    assert ids("from=2025-12-02&before=2025-12-04") == [1, 2]
    assert ids("before=2025-12-02T00:00:00.001Z") == [2, 3]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=101", "limit=x", "limit=-1", "after=x", f"after={generation_id(7)}",
        "from=soon", "before=2025-13-01", "from=0", "api_key_hash='", "format=pdf",
        "limit=10001&format=csv", "model=" + "m" * 257,
    ],
)  # fmt: skip
def test_what_cannot_be_listed_is_refused(ada, query):
    ada.get(f"/generations?{query}", 400)


def test_generations_as_a_sheet(ada):
    caller = replace(ada.customer.charge().caller, user="=1+1", session_id="-2", app_title="+x")
    own = ada.customer.charge
    ada.settles(own(1, caller=caller), own(2, created_ms=NOW_MS - 1))
    response = ada.response("/generations?format=csv&limit=1")
    (row,) = csv.DictReader(io.StringIO(response.get_data(as_text=True), newline=""))
    assert (row["external_user"], row["session_id"], row["app_title"]) == ("'=1+1", "'-2", "'+x")
    assert row["usage"] == "0.0002"
    assert f"after={generation_id(1)}" in response.headers["Link"]


# receipts


def test_a_receipt_is_told_line_by_line_in_exact_digits(ada):
    ada.settles(ada.customer.charge(1, discount_ppm=10_000))
    told = ada.get(f"/generation/receipt?id={generation_id(1)}", key=ada.customer.text)["data"]
    entry = told.pop("ledger")[0]
    assert (entry["amount"], entry["kind"]) == ("-0.000198", "usage")
    assert entry["account"] == ada.customer.scope
    assert told == {
        "id": generation_id(1),
        "account_id": ada.customer.account_id,
        "currency": "USD",
        "created_at": "2025-12-04T00:00:00.000Z",
        "settled_at": "2025-12-04T00:00:00.000Z",
        "model": "acme/large",
        "provider_name": "Acme",
        "endpoint_id": "acme:acme/large",
        "outcome": "done",
        "is_byok": False,
        "insured": False,
        "estimated": False,
        "flags": [],
        "price_since": None,
        "lines": [
            {"item": "prompt", "quantity": 100, "price": "0.000001", "amount": "0.0001"},
            {"item": "completion", "quantity": 50, "price": "0.000002", "amount": "0.0001"},
        ],
        "rounding": "0",
        "list_price": "0.0002",
        "discount": "0.000002",
        "byok_fee": "0",
        "total": "0.000198",
        "refunded": "0",
        "adds_up": True,
    }


def test_a_receipt_shows_nothing_of_the_operators_books(ada):
    ada.settles(ada.customer.charge(1))
    text = ada.response(f"/generation/receipt?id={generation_id(1)}").get_data(as_text=True)
    assert not any(name in text for name in ("payable", "revenue", "inference_cost"))


# contents


def test_kept_content_is_shown_to_its_key_and_to_managers(ada):
    ada.settles(ada.customer.charge(1))
    ada.keeps(
        1, '{"input":{"prompt":"Hi"},"output":{"completion":"Yo","reasoning":null},"error":null}'
    )
    for key in (ada.customer.text, ada.manager):
        response = ada.response(f"/generation/content?id={generation_id(1)}", key=key)
        assert response.headers["Cache-Control"] == "no-store"
        told = response.get_json()
        assert told["data"]["input"] == {"prompt": "Hi"}
        components.GenerationContentResponse.model_validate(told)


def test_another_key_of_the_account_does_not_see_prompts(ada):
    ada.settles(ada.customer.charge(1))
    ada.keeps(1)
    other, _ = api_keys.mint(
        ada.site.ledger, ada.customer.account_id, KeyTerms(name="other"), NOW_MS
    )
    ada.get(f"/generation/content?id={generation_id(1)}", 404, key=other)


def test_what_was_not_kept_or_does_not_open_is_not_there(ada):
    ada.settles(ada.customer.charge(1), ada.customer.charge(2))
    missing = ada.get(f"/generation/content?id={generation_id(1)}", 404)
    assert "Nothing is kept" in missing["error"]["message"]
    name, account_id = generation_id(2), ada.customer.account_id
    strange = Sealer.of(Settings(secret=new_secret())).seal("{}", place_of(name, account_id))
    kept = Kept(generation_id=name, account_id=account_id, sealed=strange, created_ms=NOW_MS)
    contents.store(ada.site.ledger, [kept])
    closed = ada.get(f"/generation/content?id={name}", 404)
    assert "does not open" in closed["error"]["message"]


@pytest.mark.parametrize("what", ["receipt", "content"])
def test_those_of_others_are_as_unknown_as_none(ada, eve, what):
    ada.settles(ada.customer.charge(1))
    ada.keeps(1)
    wanted = [generation_id(1), generation_id(2), "gen-x' OR 1=1 --", "%00"]
    bodies = {eve.response(f"/generation/{what}?id={name}").get_data() for name in wanted}
    assert len(bodies) == 1
    for name in wanted:
        eve.get(f"/generation/{what}?id={name}", 404)
    assert eve.get(f"/generation/{what}", 400)["error"]["metadata"] == {"param": "id"}
