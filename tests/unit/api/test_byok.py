"""`/byok` over HTTP: Flask's client, a real ledger in a file, Redis in memory."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from openrouter import components
from pydantic import SecretStr
from sqlalchemy import select

from api.keys import workspace_of
from api.small_body import BODY_MAX
from billing import api_keys, byok
from billing.api_keys import KeyTerms
from billing.tables import byok_keys
from routing.sealing import Place, Sealer
from routing.settings import Settings
from routing.store import redis_keys
from routing.store.budgets import KeyCache
from routing.store.jobs import Jobs
from routing.wire.frames import Kind
from routing.wire.job import JobSpec
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import make_customer
from tests.unit.routing.test_credentials import AZURE

SECRET = "sk-proj-SECRET-0123456789AbCd"  # noqa: S105 - not a real one
SECRET_BYTES = b"s" * 32
SEALER = Sealer(SECRET_BYTES)
FIELDS = {
    "id", "provider", "label", "name", "disabled", "is_required", "is_fallback", "always_use",
    "allowed_models", "allowed_user_ids", "allowed_api_key_hashes", "workspace_id", "created_at",
    "sort_order", "is_byok_only", "declared_region", "declared_zdr",
}  # fmt: skip


class Manager:
    """An account's management key and what it asks."""

    def __init__(self, site: Any, account_id: str) -> None:
        self.site, self.account_id = site, account_id
        terms = KeyTerms(name="boss", kind="management")
        self.text, self.key = api_keys.mint(site.ledger, account_id, terms, NOW_MS)

    def __call__(self, method: str, path: str = "", status: int = 200, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.text}"}
        response = self.site.client.open(
            f"/api/v1/byok{path}", method=method, headers=headers, **options
        )
        text = response.get_data(as_text=True)
        assert response.status_code == status, text
        assert "SECRET" not in text.replace("POINTSMAN_SECRET", "")
        return response.get_json()

    def stores(self, **fields: Any) -> dict[str, Any]:
        body = {"provider": "openai", "key": SECRET} | fields
        found: dict[str, Any] = self("POST", status=201, json=body)["data"]
        return found

    def refused(self, method: str = "POST", path: str = "", status: int = 400, **body: Any) -> Any:
        return self(method, path, status=status, json=body)["error"]


@pytest.fixture
def secret() -> str:
    return base64.b64encode(SECRET_BYTES).decode()


@pytest.fixture
def api_settings(secret: str) -> Settings:
    return Settings(secret=SecretStr(secret), first_frame_wait_ms=200, deadline_ms=60_000)


@pytest.fixture
def manager(site: Any) -> Manager:
    return Manager(site, site.customer.account_id)


def usable(site: Any) -> tuple[Any, ...]:
    record = api_keys.find(site.ledger, site.customer.key.key_hash, NOW_MS)
    assert record is not None
    return record.byok


def test_a_key_is_stored_and_never_shown(site: Any, manager: Manager):
    data = manager.stores(
        name="prod",
        is_required=True,
        is_fallback=True,
        allowed_models=["openai/gpt-4o-mini"],
        allowed_api_key_hashes=[site.customer.key.key_hash],
    )

    assert data.keys() == FIELDS
    assert (data["provider"], data["label"], data["name"]) == ("openai", "sk-...AbCd", "prod")
    assert (data["disabled"], data["is_required"], data["is_fallback"]) == (False, True, True)
    assert data["allowed_models"] == ["openai/gpt-4o-mini"]
    assert data["allowed_api_key_hashes"] == [site.customer.key.key_hash]
    assert (data["allowed_user_ids"], data["sort_order"]) == (None, 0)
    assert data["workspace_id"] == workspace_of(manager.account_id)
    assert manager("GET", f"/{data['id']}") == {"data": data}
    assert manager("GET") == {"data": [data], "total_count": 1}
    (key,) = usable(site)
    place = Place.of_provider_key(key.id, manager.account_id, "openai")
    assert SEALER.open(key.sealed, place) == SECRET
    assert key.always_use


def test_answers_fit_the_models_of_the_official_client(manager: Manager):
    made = manager("POST", status=201, json={"provider": "openai", "key": SECRET})
    path = f"/{made['data']['id']}"

    components.CreateBYOKKeyResponse.model_validate(made)
    components.GetBYOKKeyResponse.model_validate(manager("GET", path))
    components.ListBYOKKeysResponse.model_validate(manager("GET"))
    components.UpdateBYOKKeyResponse.model_validate(manager("PATCH", path, json={"name": None}))
    components.DeleteBYOKKeyResponse.model_validate(manager("DELETE", path))


def test_front_doors_are_told(site: Any, manager: Manager):
    cached = redis_keys.key_record(site.customer.key.key_hash)

    def forgotten() -> bool:
        assert KeyCache(site.redis).get(site.customer.key.key_hash).record is None
        return True

    def remembered() -> None:
        known = KeyCache(site.redis).get(site.customer.key.key_hash)
        record = api_keys.find(site.ledger, site.customer.key.key_hash, NOW_MS)
        KeyCache(site.redis).put(record, known.mark)
        assert site.redis.exists(cached)

    remembered()
    path = f"/{manager.stores()['id']}"
    assert forgotten()
    remembered()
    manager("PATCH", path, json={"disabled": True})
    assert forgotten()
    remembered()
    manager("DELETE", path)
    assert forgotten()


def test_a_patch_changes_what_it_names(site: Any, manager: Manager):
    before = manager.stores(name="prod", allowed_models=["openai/gpt-4o-mini"])
    path = f"/{before['id']}"

    after = manager("PATCH", path, json={"disabled": True, "name": None})["data"]
    assert after == before | {"disabled": True, "name": None}
    assert usable(site) == ()
    after = manager("PATCH", path, json={"disabled": False, "allowed_models": None})["data"]
    assert after == before | {"name": None, "allowed_models": None}
    for name in ("always_use", "is_required"):
        after = manager("PATCH", path, json={name: True})["data"]
        assert (after["always_use"], after["is_required"]) == (True, True)
        after = manager("PATCH", path, json={name: False})["data"]
        assert (after["always_use"], after["is_required"]) == (False, False)
    after = manager("PATCH", path, json={"key": "gsk-0123456789abcdefgh"})["data"]
    assert after["label"] == "gsk...efgh"
    (key,) = usable(site)
    place = Place.of_provider_key(key.id, manager.account_id, "openai")
    assert SEALER.open(key.sealed, place) == "gsk-0123456789abcdefgh"
    assert manager("PATCH", path, json={})["data"] == after


def test_a_removed_key_is_gone(site: Any, manager: Manager):
    path = f"/{manager.stores()['id']}"

    assert manager("DELETE", path) == {"deleted": True}

    manager("GET", path, status=404)
    manager("DELETE", path, status=404)
    manager("PATCH", path, status=404, json={"name": "x"})
    with site.ledger.reading() as connection:
        assert connection.execute(select(byok_keys)).all() == []


def test_the_keys_of_a_provider_are_put_in_order(site: Any, manager: Manager):
    first, second, third = (manager.stores()["id"] for _ in range(3))
    wished = {"provider": "openai", "ids": [third, first], "fallback_ids": [second]}

    found = manager("PUT", "/order", json=wished)

    assert [key["id"] for key in found["data"]] == [third, first, second]
    assert [key["is_fallback"] for key in found["data"]] == [False, False, True]
    assert [one.id for one in usable(site)] == [third, first, second]
    refused = manager.refused("PUT", "/order", provider="openai", ids=[first])
    assert refused["metadata"]["param"] == "order"
    eve = Manager(site, make_customer(site.ledger).account_id)
    assert eve.refused("PUT", "/order", **wished)["metadata"]["param"] == "order"


def test_pages_and_one_provider(manager: Manager):
    made = [manager.stores(provider=name) for name in ("openai", "groq", "openai")]

    found = manager("GET", "?limit=2")
    assert [k["id"] for k in found["data"]] == [made[1]["id"], made[0]["id"]]
    assert found["total_count"] == 3
    assert [k["id"] for k in manager("GET", "?offset=2&limit=100")["data"]] == [made[2]["id"]]
    found = manager("GET", "?provider=openai&offset=null")
    assert [k["sort_order"] for k in found["data"]] == [0, 1]
    assert found["total_count"] == 2
    assert manager("GET", "?provider=nobody") == {"data": [], "total_count": 0}
    for query in ("?limit=0", "?limit=x", "?offset=-1", "?workspace_id=other"):
        manager("GET", query, status=400)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "provider"),
        ({"provider": "openai"}, "key"),
        ({"provider": "openai", "key": ""}, "key"),
        ({"provider": "openai", "key": {"api_key": "SECRET"}}, "key"),
        ({"provider": "openai", "key": "two SECRETS"}, "key"),
        ({"provider": "nobody", "key": SECRET}, "provider"),
        ({"provider": "google-vertex", "key": f"SECRET{SECRET}"}, "key"),
        ({"provider": "azure", "key": orjson.dumps(AZURE | {"api_key": "S S"}).decode()},
         "key.api_key"),
        ({"provider": "amazon-bedrock", "key": '{"secretAccessKey": "SECRET"}'},
         "key.accessKeyId"),
        ({"provider": "google-vertex", "key": SECRET}, "key"),
        ({"provider": "openai", "key": SECRET, "disabled": None}, "disabled"),
        ({"provider": "openai", "key": SECRET, "is_byok_only": True}, "is_byok_only"),
        ({"provider": "openai", "key": SECRET, "declared_region": "us"}, "declared_region"),
        ({"provider": "openai", "key": SECRET, "declared_zdr": False}, "declared_zdr"),
        ({"provider": "openai", "key": SECRET, "name": "x" * 256}, "name"),
        ({"provider": "openai", "key": SECRET, "allowed_models": ["no/such"]}, "allowed_models"),
        ({"provider": "openai", "key": SECRET, "allowed_models": "all"}, "allowed_models"),
        ({"provider": "openai", "key": SECRET, "allowed_user_ids": ["user_x"]},
         "allowed_user_ids"),
        ({"provider": "openai", "key": SECRET, "allowed_api_key_hashes": []},
         "allowed_api_key_hashes"),
        ({"provider": "openai", "key": SECRET, "allowed_api_key_hashes": ["0" * 64]},
         "allowed_api_key_hashes"),
        ({"provider": "openai", "key": SECRET, "workspace_id": "other"}, "workspace_id"),
        ({"provider": "openai", "key": SECRET, "sort_order": 7}, "sort_order"),
        ({"provider": "openai", "key": SECRET, "account_id": "user_1"}, "account_id"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(manager: Manager, body: dict[str, Any], param: str):
    assert manager.refused(**body)["metadata"]["param"] == param
    assert manager("GET")["total_count"] == 0


def test_patches_that_are_wrong(manager: Manager):
    path = f"/{manager.stores()['id']}"
    before = manager("GET", path)

    for body in ({"provider": "groq"}, {"key": None}, {"key": "a b"}, {"allowed_models": ["no/x"]}):
        manager.refused("PATCH", path, **body)
    assert manager("GET", path) == before


def test_an_azure_key_is_for_the_models_it_has_deployments_of(manager: Manager):
    text = orjson.dumps([AZURE | {"model_slug": "openai/gpt-4o"}]).decode()

    data = manager.stores(provider="azure", key=text)

    assert data["allowed_models"] == ["openai/gpt-4o"]
    assert data["label"] == "{...}"


def test_nobody_elses_keys(site: Any, manager: Manager):
    path = f"/{manager.stores()['id']}"
    eve = Manager(site, make_customer(site.ledger).account_id)

    assert eve("GET") == {"data": [], "total_count": 0}
    messages = [
        eve("GET", path, status=404),
        eve("PATCH", path, status=404, json={"disabled": True}),
        eve("DELETE", path, status=404),
    ]
    unknown = [eve("GET", "/never-was", status=404)]
    assert {str(m).replace(path[1:], "?") for m in messages} == {
        str(m).replace("never-was", "?") for m in unknown
    }
    assert manager("GET")["total_count"] == 1


def test_an_inference_key_stores_nothing(site: Any):
    response = site.client.post(
        "/api/v1/byok", headers=site.headers, json={"provider": "openai", "key": SECRET}
    )

    assert response.status_code == 403


def test_a_body_has_a_bound(manager: Manager):
    manager("POST", status=413, data=b" " * (BODY_MAX + 1))
    manager("POST", status=400, data=b"[]")


def test_an_account_has_only_so_many(manager: Manager, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(byok, "KEYS_MAX", 1)
    manager.stores()

    assert "1 provider keys or fewer" in manager.refused(provider="groq", key="k")["message"]


class TestWithoutASecret:
    @pytest.fixture
    def secret(self) -> str:
        return ""

    def test_nothing_is_stored(self, manager: Manager):
        error = manager.refused(status=503, provider="openai", key=SECRET)

        assert "POINTSMAN_SECRET" in error["message"]
        assert manager("GET")["total_count"] == 0


# whether a key works


def trial(manager: Manager, key_id: str, status: int = 200) -> Any:
    found = manager("POST", f"/{key_id}/test", status=status)
    return found["data"] if status == 200 else found["error"]


def asked(site: Any) -> JobSpec:
    job = Jobs(site.redis).look(site.door.opened[-1])
    assert job is not None
    return JobSpec.from_json(site.redis.hget(redis_keys.job(site.door.opened[-1]), "spec"))


def test_a_key_that_works(site: Any, manager: Manager):
    key = manager.stores(disabled=True, allowed_models=["openai/gpt-4o-mini"])
    site.door.plays(Kind.BODY, b"{}")

    found = trial(manager, key["id"])

    assert found == {
        "ok": True,
        "model": "openai/gpt-4o-mini",
        "generation_id": site.door.opened[-1],
        "status": 200,
        "message": None,
        "simulated": True,
    }
    spec = asked(site)
    assert {entry.byok for entry in spec.entries} == {key["id"]}
    assert set(spec.sealed) == {key["id"]}
    assert {entry.model_id for entry in spec.entries} == {"openai/gpt-4o-mini"}


def test_a_key_that_does_not_work(site: Any, manager: Manager):
    error = {"error": {"code": 401, "message": "Provider refused the key"}}
    site.door.plays(Kind.ERROR, orjson.dumps(error), 401)

    found = trial(manager, manager.stores(provider="groq")["id"])

    assert (found["ok"], found["status"]) == (False, 401)
    assert found["message"] == "Provider refused the key"


def test_only_the_keys_own_account_tries_it(site: Any, manager: Manager):
    key_id = manager.stores()["id"]
    eve = Manager(site, make_customer(site.ledger).account_id)

    trial(eve, key_id, status=404)
    assert site.door.opened == []


def test_a_key_for_models_that_are_gone(manager: Manager):
    text = orjson.dumps(AZURE | {"model_slug": "no/such"}).decode()
    key = manager.stores(provider="azure", key=text)

    assert "no text model" in trial(manager, key["id"], status=400)["message"]
