"""The catalog over HTTP: bodies, filters, caching."""

from pathlib import Path

import pytest
from flask import Response
from flask.testing import FlaskClient
from openrouter import components, operations

from routing.catalog.live import LiveCatalog
from routing.clock import FixedClock
from routing.figures import EndpointFigures, Percentiles, ToolTally
from tests.unit.api.acme import DAY_MS, JAN_2025_MS, Health, app_of, with_key, write

SPEED = Percentiles(p50=45.2, p75=38.5, p90=28.333333, p99=15.1)
LATENCY = Percentiles(p50=250, p75=350, p90=480, p99=850)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


@pytest.fixture
def live(directory: Path) -> LiveCatalog:
    """Without keys and sandbox only the two private providers can be called."""
    return LiveCatalog([directory], {}, "")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(JAN_2025_MS)


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def client(live: LiveCatalog, clock: FixedClock, health: Health) -> FlaskClient:
    return app_of(live, clock, health).test_client()


def ids(response: Response) -> list[str]:
    assert response.status_code == 200
    return [model["id"] for model in response.json["data"]]


def test_models_newest_first_without_those_nobody_serves(client: FlaskClient):
    response = client.get("/api/v1/models")
    assert ids(response) == ["acme/glider", "acme/glider:free", "acme/rocket"]
    assert response.content_type == "application/json"
    assert response.json["total_count"] == 3
    assert response.json["links"] == {"next": None}


def test_a_model_as_the_contract_prints_it(client: FlaskClient):
    model = client.get("/v1/models").json["data"][-1]
    assert model == {
        "id": "acme/rocket",
        "canonical_slug": "acme/rocket-2025-01-02",
        "hugging_face_id": "acme/Rocket",
        "name": "Acme: Rocket",
        "created": JAN_2025_MS // 1_000 + 86_400,
        "description": "Goes up.",
        "context_length": 8192,
        "architecture": {
            "modality": "text+image->text",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "tokenizer": "Llama3",
            "instruct_type": "llama3",
        },
        "pricing": {
            "prompt": "0.000001",
            "completion": "0.000002",
            "request": "0",
            "image": "0",
            "input_cache_read": "0.0000001",
        },
        "top_provider": {
            "context_length": 8192,
            "max_completion_tokens": 4096,
            "is_moderated": True,
        },
        "per_request_limits": None,
        "supported_parameters": ["max_tokens", "seed", "tool_choice", "tools"],
        "default_parameters": {"temperature": 0.6},
        "expiration_date": None,
        "knowledge_cutoff": None,
        "supported_voices": None,
        "links": {"details": "/api/v1/models/acme/rocket/endpoints"},
    }


def test_what_a_model_does_not_say_is_null_or_taken_from_its_endpoint(client: FlaskClient):
    glider = client.get("/v1/models").json["data"][0]
    assert glider["default_parameters"] is None
    assert glider["context_length"] == 4096
    assert glider["pricing"]["image"] == "0.01"


def test_a_free_row_costs_nothing(client: FlaskClient):
    free = client.get("/v1/models").json["data"][1]
    assert set(free["pricing"].values()) == {"0"}


def test_the_price_of_a_model_is_its_cheapest_now(client: FlaskClient, clock: FixedClock):
    assert client.get("/v1/models").json["data"][-1]["pricing"]["prompt"] == "0.000001"
    clock.advance(2 * DAY_MS)  # Lab raises its price, Workshop is cheaper now
    rocket = client.get("/v1/models").json["data"][-1]
    assert rocket["pricing"]["prompt"] == "0.000002"
    assert rocket["top_provider"]["context_length"] == 4096


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["acme/glider", "acme/glider:free", "acme/rocket"]),
        ("category=science", ["acme/glider", "acme/rocket"]),
        ("category=programming", ["acme/rocket"]),
        ("category=marketing/seo", []),
        ("supported_parameters=tools", ["acme/rocket"]),
        ("supported_parameters=tools,seed", ["acme/rocket"]),
        (
            "supported_parameters=seed, max_tokens,",
            ["acme/glider", "acme/glider:free", "acme/rocket"],
        ),
        ("supported_parameters=flying", []),
        ("category=science&supported_parameters=tools", ["acme/rocket"]),
        ("category=&supported_parameters=", ["acme/glider", "acme/glider:free", "acme/rocket"]),
        ("unknown=1", ["acme/glider", "acme/glider:free", "acme/rocket"]),
    ],
)
def test_filters(client: FlaskClient, query: str, expected: list[str]):
    response = client.get(f"/api/v1/models?{query}")
    assert ids(response) == expected
    assert response.json["total_count"] == len(expected)


def test_an_unknown_category_is_refused_with_the_known_ones(client: FlaskClient):
    response = client.get("/api/v1/models?category=cooking")
    assert response.status_code == 400
    assert "programming" in response.json["error"]["message"]
    assert response.json["error"]["metadata"] == {"param": "category"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("output_modalities=", ["acme/glider", "acme/glider:free", "acme/rocket"]),
        ("output_modalities=text", ["acme/glider", "acme/glider:free", "acme/rocket"]),
        ("output_modalities=embeddings", ["acme/vectors"]),
        ("output_modalities=image,%20embeddings", ["acme/brush", "acme/vectors"]),
        ("output_modalities=audio", []),
        (
            "output_modalities=all",
            ["acme/glider", "acme/glider:free", "acme/brush", "acme/vectors", "acme/rocket"],
        ),
        ("output_modalities=all&category=science", ["acme/glider", "acme/vectors", "acme/rocket"]),
    ],
)
def test_what_answers_hold_is_listed_on_demand(
    client: FlaskClient, query: str, expected: list[str]
):
    assert ids(client.get(f"/api/v1/models?{query}")) == expected
    if "category" not in query:
        counted = client.get(f"/api/v1/models/count?{query}").json
        assert counted == {"data": {"count": len(expected)}}


@pytest.mark.parametrize("route", ["/models", "/models/count"])
def test_an_unknown_modality_is_refused_with_the_known_ones(client: FlaskClient, route: str):
    response = client.get(f"/api/v1{route}?output_modalities=smell")
    assert response.status_code == 400
    assert "embeddings" in response.json["error"]["message"]
    assert response.json["error"]["metadata"] == {"param": "output_modalities"}


def test_count_counts_what_is_listed(client: FlaskClient):
    assert client.get("/api/v1/models/count").json == {"data": {"count": 3}}


def test_embedding_models_have_a_list_of_their_own(client: FlaskClient):
    response = client.get("/api/v1/embeddings/models")
    assert ids(response) == ["acme/vectors"]
    assert response.json["total_count"] == 1
    (model,) = response.json["data"]
    assert model["architecture"]["modality"] == "text->embeddings"
    assert model["pricing"]["prompt"] == "0.000001"


def test_endpoints_of_a_model(client: FlaskClient, health: Health):
    tally = ToolTally(requests=10, with_calls=8, calls=16, valid=12, unknown=4)
    health.known["lab:acme/rocket"] = EndpointFigures(
        uptime_5m=100.0,
        uptime_30m=99.512345,
        uptime_1d=99.8,
        latency_30m=LATENCY,
        throughput_30m=SPEED,
        tools_1d=tally,
        status=-1,
    )
    data = client.get("/api/v1/models/acme/rocket/endpoints", headers=with_key()).json["data"]
    lab, workshop = data.pop("endpoints")
    assert data["id"] == "acme/rocket"
    assert data["architecture"]["modality"] == "text+image->text"
    assert lab == {
        "name": "Lab | acme/rocket",
        "model_id": "acme/rocket",
        "model_name": "Acme: Rocket",
        "context_length": 8192,
        "pricing": {
            "prompt": "0.000001",
            "completion": "0.000002",
            "request": "0",
            "image": "0",
            "input_cache_read": "0.0000001",
        },
        "provider_name": "Lab",
        "tag": "lab",
        "quantization": "fp8",
        "max_completion_tokens": 4096,
        "max_prompt_tokens": None,
        "supported_parameters": ["max_tokens", "tool_choice", "tools"],
        "status": -1,
        "uptime_last_30m": 99.51,
        "uptime_last_5m": 100.0,
        "uptime_last_1d": 99.8,
        "latency_last_30m": {"p50": 250, "p75": 350, "p90": 480, "p99": 850},
        "throughput_last_30m": {"p50": 45.2, "p75": 38.5, "p90": 28.33, "p99": 15.1},
        "tool_calls_last_1d": {
            "requests": 10,
            "with_calls": 8,
            "calls": 16,
            "valid": 12,
            "success_rate": 0.75,
        },
        "supports_implicit_caching": True,
        "supports_tool_choice": {"none": True, "auto": True, "required": True, "function": True},
        "supports_diarization": False,
        "supports_voice_cloning": False,
        "native_tools": {},
        "service_tier": None,
    }
    assert workshop["tag"] == "workshop"
    figures = {name: value for name, value in workshop.items() if "_last_" in name}
    assert set(figures.values()) == {None}
    assert workshop["status"] == 0


@pytest.mark.parametrize("headers", [{}, with_key("sk-or-v1-unknown")])
def test_strangers_see_uptime_and_no_speed(
    client: FlaskClient, health: Health, headers: dict[str, str]
):
    health.known["lab:acme/rocket"] = EndpointFigures(
        uptime_30m=99.5, latency_30m=LATENCY, throughput_30m=SPEED, tools_1d=ToolTally(requests=1)
    )
    path = "/v1/models/acme/rocket/endpoints"
    lab = client.get(path, headers=headers).json["data"]["endpoints"][0]
    assert lab["uptime_last_30m"] == 99.5
    assert lab["latency_last_30m"] is None
    assert lab["throughput_last_30m"] is None
    assert lab["tool_calls_last_1d"] is None


def test_what_depends_on_the_key_is_not_for_shared_caches(client: FlaskClient):
    path = "/v1/models/acme/rocket/endpoints"
    stranger, known = client.get(path), client.get(path, headers=with_key())
    assert stranger.headers["Vary"] == known.headers["Vary"] == "Authorization"
    assert stranger.headers["Cache-Control"] == "public, max-age=60"
    assert known.headers["Cache-Control"] == "max-age=60, private"


@pytest.mark.parametrize(
    ("path", "model_id", "count"),
    [
        pytest.param("acme/rocket-2025-01-02", "acme/rocket", 2, id="by canonical slug"),
        pytest.param("acme/glider:free", "acme/glider:free", 1, id="a variant"),
        pytest.param("acme/rocket:nitro", "acme/rocket", 2, id="with a dynamic suffix"),
        pytest.param("acme/idle", "acme/idle", 0, id="known, served by nobody"),
    ],
)
def test_endpoints_by_any_name(client: FlaskClient, path: str, model_id: str, count: int):
    data = client.get(f"/api/v1/models/{path}/endpoints").json["data"]
    assert data["id"] == model_id
    assert len(data["endpoints"]) == count


def test_an_unknown_model_is_not_found(client: FlaskClient):
    response = client.get("/api/v1/models/acme/unknown/endpoints")
    assert response.status_code == 404
    assert response.json == {"error": {"code": 404, "message": "Model acme/unknown not found"}}


def test_providers_are_listed_with_and_without_a_key(client: FlaskClient):
    rows = {row["slug"]: row for row in client.get("/api/v1/providers").json["data"]}
    assert rows["lab"] == {
        "name": "Lab",
        "slug": "lab",
        "privacy_policy_url": "https://lab.example/privacy",
        "terms_of_service_url": None,
        "status_page_url": None,
        "headquarters": "CH",
        "datacenters": None,
    }
    assert rows["openai"]["name"] == "OpenAI"
    assert list(rows) == sorted(rows)


ROUTES = [
    "/models",
    "/models?sort=newest",
    "/models?use_rss=true",
    "/model/acme/rocket",
    "/endpoints/zdr",
    "/models/count",
    "/models/acme/rocket/endpoints",
    "/providers",
    "/embeddings/models",
]


@pytest.mark.parametrize("route", ROUTES)
def test_a_known_etag_is_answered_without_a_body(client: FlaskClient, route: str):
    first = client.get("/api/v1" + route)
    assert first.headers["Cache-Control"] == "public, max-age=60"
    again = client.get("/v1" + route, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    other = client.get("/v1" + route, headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize("route", ROUTES)
def test_the_etag_changes_with_the_catalog(
    client: FlaskClient, live: LiveCatalog, directory: Path, route: str
):
    before = client.get("/v1" + route).headers["ETag"]
    prices = directory / "providers" / "lab.yml"
    prices.write_text(prices.read_text().replace("prompt: 1,", "prompt: 5,"))
    words = directory / "models" / "acme.yml"
    words.write_text(words.read_text().replace("Goes up.", "Goes down."))
    live.reload()
    assert client.get("/v1" + route).headers["ETag"] != before


def test_the_etag_of_prices_changes_when_a_price_takes_force(
    client: FlaskClient, clock: FixedClock
):
    before = client.get("/v1/models").headers["ETag"]
    clock.advance(DAY_MS)
    assert client.get("/v1/models").headers["ETag"] == before
    clock.advance(DAY_MS)
    assert client.get("/v1/models").headers["ETag"] != before


def test_the_etag_of_endpoints_changes_with_their_health(client: FlaskClient, health: Health):
    before = client.get("/v1/models/acme/rocket/endpoints").headers["ETag"]
    health.known["lab:acme/rocket"] = EndpointFigures(uptime_30m=12.0)
    assert client.get("/v1/models/acme/rocket/endpoints").headers["ETag"] != before


def test_a_reload_shows_new_models(client: FlaskClient, live: LiveCatalog, directory: Path):
    (directory / "providers" / "lab.yml").unlink()
    (directory / "providers" / "workshop.yml").unlink()
    assert len(ids(client.get("/v1/models"))) == 3
    live.reload()
    assert ids(client.get("/v1/models")) == []


def test_head_is_answered(client: FlaskClient):
    response = client.head("/v1/models")
    assert response.status_code == 200
    assert response.data == b""


# --- the official client's models read what is shipped -------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> FlaskClient:
    live = LiveCatalog([], {}, "http://127.0.0.1:8099")
    return app_of(live, FixedClock(), Health()).test_client()


def test_the_sdk_reads_the_models(shipped: FlaskClient):
    answer = components.ModelsListResponse.model_validate_json(shipped.get("/api/v1/models").data)
    assert len(answer.data) == answer.total_count > 30
    assert {"meta-llama/llama-3.3-70b-instruct", "openai/gpt-4o"} <= {m.id for m in answer.data}


def test_the_sdk_reads_the_embedding_models(shipped: FlaskClient):
    body = shipped.get("/api/v1/embeddings/models").data
    answer = components.ModelsListResponse.model_validate_json(body)
    listed = {model.id for model in answer.data}
    assert "openai/text-embedding-3-small" in listed
    assert all(model.architecture.output_modalities == ["embeddings"] for model in answer.data)
    usual = shipped.get("/api/v1/models").json["data"]
    assert listed.isdisjoint(model["id"] for model in usual)


def test_the_sdk_reads_the_endpoints(shipped: FlaskClient):
    body = shipped.get("/api/v1/models/meta-llama/llama-3.3-70b-instruct/endpoints").data
    answer = operations.ListEndpointsResponse.model_validate_json(body)
    assert len(answer.data.endpoints) >= 5


def test_the_sdk_reads_every_model_and_its_endpoints(shipped: FlaskClient):
    listed = shipped.get("/api/v1/models?output_modalities=all").json["data"]
    for model in listed:
        one = shipped.get(f"/api/v1/model/{model['id']}")
        assert components.ModelResponse.model_validate_json(one.data).data.id == model["id"]
        found = shipped.get(f"/api/v1/models/{model['id']}/endpoints")
        answer = operations.ListEndpointsResponse.model_validate_json(found.data)
        assert bool(answer.data.endpoints) is (model["pricing"]["prompt"] != "-1")


def test_the_sdk_reads_the_endpoints_that_keep_nothing(shipped: FlaskClient):
    body = shipped.get("/api/v1/endpoints/zdr").data
    answer = operations.ListEndpointsZdrResponse.model_validate_json(body)
    assert answer.data
    assert len({(each.model_id, each.tag) for each in answer.data}) == len(answer.data)


def test_the_sdk_reads_the_providers(shipped: FlaskClient):
    body = shipped.get("/api/v1/providers").data
    answer = operations.ListProvidersResponse.model_validate_json(body)
    assert [each.slug for each in answer.data] == sorted(each.slug for each in answer.data)
