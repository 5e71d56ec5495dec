"""The list of models asked in every way: filters, orders, pages, feeds, one model, one's own."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Response
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from openrouter import components

from api.model_list import VIEWS_MAX, Listings
from api.model_query import PAGE_MAX, Scene, read
from billing.accounts import change_policy
from routing.catalog.live import LiveCatalog
from routing.clock import FixedClock
from routing.errors import BadRequest
from routing.figures import EndpointFigures, Percentiles, ToolTally
from routing.wire.account import RoutingPolicy
from tests.unit.api.acme import DAY_MS, JAN_2025_MS, Ceiling, Health, app_of, with_key, write

MORE_MODELS = """\
models:
  - id: zeta/thinker
    name: 'Zeta: Thinker'
    created: 2025-02-10
    description: Solves <hard> riddles & puzzles ]]> slowly.
    knowledge_cutoff: 2024-06-30
    distillable: true
    architecture: {tokenizer: Qwen3}
  - {id: 'zeta/thinker:exacto', name: Curated, created: 2025-02-10, variant_of: zeta/thinker,
     curated: [far/eu]}
  - {id: 'zeta/thinker:thinking', name: Thinking, created: 2025-02-10, variant_of: zeta/thinker,
     thinking: true}
  - {id: zeta/auto, name: Auto, created: 2024-01-01, router: auto,
     pool: [{model: zeta/thinker, strength: strong}, {model: acme/rocket, strength: light}]}
  - {id: zeta/free, name: Free, created: 2024-01-02, router: free}
"""
FAR = """\
slug: far
name: Far Away
dialect: anthropic
base_url: http://10.0.0.7:8000/v1
supported_parameters: [reasoning, tools, max_tokens]
endpoints:
  - model: zeta/thinker
    upstream_id: thinker
    tag: far/eu
    region: europe-west1
    context_length: 1000000
    efforts: [low, high]
    prices:
      - {from: 2025-01-01, prompt: 3, completion: 15, cache_write_1h: 6, source: https://far.example,
         long: {over: 200000, prompt: 6, completion: 22.5}}
  - model: zeta/thinker
    upstream_id: thinker
    tag: far/priority
    region: europe-west2
    context_length: 200000
    efforts: [low, medium]
    prices: [{from: 2025-01-01, prompt: 9, completion: 30, source: https://far.example}]
"""
NEWEST = [
    "acme/glider",
    "acme/glider:free",
    "zeta/thinker",
    "zeta/thinker:exacto",
    "zeta/thinker:thinking",
    "acme/rocket",
    "zeta/free",
    "zeta/auto",
]
THINKERS = [name for name in NEWEST if "thinker" in name]
GLIDERS = ["acme/glider", "acme/glider:free"]
NOW_MS = JAN_2025_MS + 60 * DAY_MS  # 2025-03-02

#: The fields of the contract's schemas (2026-08), required and optional.
MODEL_REQUIRED = {
    "architecture",
    "canonical_slug",
    "context_length",
    "created",
    "default_parameters",
    "id",
    "links",
    "name",
    "per_request_limits",
    "pricing",
    "supported_parameters",
    "supported_voices",
    "top_provider",
}
MODEL_OPTIONAL = {
    "alias_target",
    "benchmarks",
    "description",
    "expiration_date",
    "hugging_face_id",
    "knowledge_cutoff",
    "reasoning",
}
PRICES = {
    "audio",
    "audio_output",
    "completion",
    "discount",
    "image",
    "image_output",
    "image_token",
    "input_audio_cache",
    "input_cache_read",
    "input_cache_write",
    "input_cache_write_1h",
    "internal_reasoning",
    "overrides",
    "prompt",
    "request",
    "web_search",
}
ENDPOINT_REQUIRED = {
    "context_length",
    "latency_last_30m",
    "max_completion_tokens",
    "max_prompt_tokens",
    "model_id",
    "model_name",
    "name",
    "pricing",
    "provider_name",
    "quantization",
    "supported_parameters",
    "supports_implicit_caching",
    "tag",
    "throughput_last_30m",
    "uptime_last_1d",
    "uptime_last_30m",
    "uptime_last_5m",
}
ENDPOINT_OPTIONAL = {"status", "supports_voice_cloning"}
#: Later than that file, but in the official clients; and our own.
ENDPOINT_LATER = {"native_tools", "service_tier", "supports_diarization", "supports_tool_choice"}
ENDPOINT_OURS = {"tool_calls_last_1d"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveCatalog:
    directory = tmp_path_factory.mktemp("catalog")
    write(directory)
    (directory / "models" / "zeta.yml").write_text(MORE_MODELS)
    (directory / "providers" / "far.yml").write_text(FAR)
    return LiveCatalog([directory], {}, "")


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def client(live: LiveCatalog, health: Health) -> FlaskClient:
    return app_of(live, FixedClock(NOW_MS), health).test_client()


def ids(response: Response) -> list[str]:
    assert response.status_code == 200, response.json
    return [model["id"] for model in response.json["data"]]


def row(client: FlaskClient, name: str) -> dict:
    return client.get(f"/v1/model/{name}").json["data"]


def speed(p50: float) -> Percentiles:
    return Percentiles(p50=p50, p75=p50, p90=p50, p99=p50)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", NEWEST),
        ("q=THINK%20zeta", THINKERS),
        ("q=riddles", ["zeta/thinker"]),
        ("q=acme/gl", GLIDERS),
        ("q=nothing", []),
        ("input_modalities=text,image", ["acme/rocket"]),
        ("context=8193", [*THINKERS, "zeta/auto"]),
        ("min_price=3", THINKERS),
        ("max_price=2.9", [*GLIDERS, "acme/rocket"]),
        ("min_price=0.5&max_price=2", ["acme/glider", "acme/rocket"]),
        ("max_price=0", ["acme/glider:free"]),
        ("min_output_price=15", THINKERS),
        ("max_output_price=14.999999", [*GLIDERS, "acme/rocket"]),
        ("max_price=null&q=", NEWEST),
        ("arch=llama", ["acme/rocket"]),
        ("arch=Qwen3", THINKERS),
        ("model_authors=zeta,nobody", [name for name in NEWEST if name.startswith("zeta/")]),
        ("providers=far%20away", THINKERS),
        ("providers=lab,far", [*THINKERS, "acme/rocket"]),
        ("distillable=true", THINKERS),
        ("distillable=false&model_authors=acme", [*GLIDERS, "acme/rocket"]),
        ("zdr=true", ["acme/rocket"]),
        ("zdr=true&providers=workshop", []),
        ("region=eu", THINKERS),
        ("region=us", []),
        ("min_age_days=20&model_authors=acme", ["acme/rocket"]),
        ("max_age_days=1", GLIDERS),
        ("max_age_days=0", []),
        ("supported_parameters=reasoning", [*THINKERS, "zeta/auto"]),
    ],
)
def test_filters(client: FlaskClient, query: str, expected: list[str]):
    assert ids(client.get(f"/v1/models?{query}")) == expected
    assert client.get(f"/v1/models/count?{query}").json == {"data": {"count": len(expected)}}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("newest", NEWEST),
        (
            "pricing-low-to-high",
            ["acme/glider:free", "acme/glider", "acme/rocket", *THINKERS, "zeta/free", "zeta/auto"],
        ),
        (
            "pricing-high-to-low",
            [*THINKERS, "acme/glider", "acme/rocket", "acme/glider:free", "zeta/free", "zeta/auto"],
        ),
        (
            "context-high-to-low",
            [*THINKERS, "zeta/auto", "acme/rocket", *GLIDERS, "zeta/free"],
        ),
    ],
)
def test_orders(client: FlaskClient, query: str, expected: list[str]):
    assert ids(client.get(f"/v1/models?sort={query}")) == expected


def test_orders_by_figures_put_the_unknown_last(client: FlaskClient, health: Health):
    health.known = {
        "lab:acme/rocket": EndpointFigures(
            throughput_30m=speed(10), latency_30m=speed(900), requests_1d=5
        ),
        "workshop:acme/rocket": EndpointFigures(
            throughput_30m=speed(90), latency_30m=speed(300), requests_1d=6
        ),
        "workshop:acme/glider": EndpointFigures(
            throughput_30m=speed(50), latency_30m=speed(100), requests_1d=20
        ),
    }
    fast = ids(client.get("/v1/models?sort=throughput-high-to-low"))
    assert fast[:3] == ["acme/rocket", "acme/glider", "acme/glider:free"]
    assert fast[2:] == [name for name in NEWEST if name not in fast[:2]]
    quick = ids(client.get("/v1/models?sort=latency-low-to-high"))
    assert quick[:2] == ["acme/glider", "acme/rocket"]
    for sort in ("most-popular", "top-weekly"):
        popular = ids(client.get(f"/v1/models?sort={sort}"))
        assert popular[:2] == ["acme/glider", "acme/rocket"]


def test_tool_success_is_of_all_endpoints_and_unknown_is_within_no_bound(
    client: FlaskClient, health: Health
):
    health.known = {
        "lab:acme/rocket": EndpointFigures(tools_1d=ToolTally(calls=10, valid=10)),
        "workshop:acme/rocket": EndpointFigures(tools_1d=ToolTally(calls=10, valid=6)),
        "workshop:acme/glider": EndpointFigures(tools_1d=ToolTally(requests=3)),
    }
    assert ids(client.get("/v1/models?min_tool_success_rate=0.8")) == ["acme/rocket"]
    assert ids(client.get("/v1/models?max_tool_success_rate=0.8")) == ["acme/rocket"]
    assert ids(client.get("/v1/models?min_tool_success_rate=0.81")) == []
    assert ids(client.get("/v1/models?max_tool_success_rate=0")) == []


@pytest.mark.parametrize(
    ("query", "param", "named"),
    [
        ("category=cooking", "category", "marketing/seo"),
        ("output_modalities=text,smell", "output_modalities", "embeddings"),
        ("input_modalities=smell", "input_modalities", "video"),
        ("sort=design-arena-elo-high-to-low", "sort", "latency-low-to-high"),
        ("sort=intelligence-high-to-low", "sort", "most-popular"),
        ("min_intelligence_index=3", "min_intelligence_index", "no benchmark"),
        ("max_coding_index=3", "max_coding_index", "no benchmark"),
        ("max_agentic_index=3", "max_agentic_index", "no benchmark"),
        ("context=0", "context", "at least 1"),
        ("context=1.5", "context", "whole number"),
        ("min_price=-1", "min_price", "at least 0"),
        ("max_price=NaN", "max_price", "plain number"),
        ("max_price=1e9", "max_price", "plain number"),
        ("max_output_price=%D9%A1", "max_output_price", "plain number"),
        ("distillable=maybe", "distillable", "true, false"),
        ("zdr=maybe", "zdr", "true, false"),
        ("region=mars", "region", "eu, us"),
        ("min_age_days=x", "min_age_days", "whole number"),
        ("max_tool_success_rate=1.1", "max_tool_success_rate", "from 0 to 1"),
        ("limit=0", "limit", "from 1 to 1000"),
        ("limit=1001", "limit", "from 1 to 1000"),
        ("offset=-1", "offset", "at least 0"),
        ("use_rss=perhaps", "use_rss", "true, false"),
        ("q=" + "x" * 2_001, "q", "longer than 2000"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(
    client: FlaskClient, query: str, param: str, named: str
):
    response = client.get(f"/v1/models?{query}")
    assert response.status_code == 400
    assert response.json["error"]["metadata"] == {"param": param}
    assert param in response.json["error"]["message"]
    assert named in response.json["error"]["message"]


NAMES = st.sampled_from(
    ["q", "sort", "limit", "offset", "context", "max_price", "region", "zdr", "arch", "providers"]
)


@given(st.dictionaries(NAMES, st.text(max_size=40), max_size=4))
def test_any_query_is_read_or_refused(query: dict[str, str]):
    refused = None
    try:
        read(query, Scene(Health(), NOW_MS)).select([])
    except BadRequest as error:
        refused = error
    assert refused is None or refused.param in query


# --- pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", range(1, 10))
def test_pages_hold_every_model_once(client: FlaskClient, limit: int):
    address: str | None = f"/v1/models?sort=newest&q=e&limit={limit}"
    found: list[str] = []
    while address is not None:
        response = client.get(address)
        assert len(ids(response)) <= limit
        assert response.json["total_count"] == 8
        found += ids(response)
        address = response.json["links"]["next"]
    assert found == NEWEST


def test_the_next_page_keeps_the_question(client: FlaskClient):
    following = client.get("/api/v1/models?q=zeta%20thinker&limit=1").json["links"]["next"]
    parts = urlsplit(following)
    assert parts.path == "/api/v1/models"
    assert parse_qs(parts.query) == {"q": ["zeta thinker"], "limit": ["1"], "offset": ["1"]}


def test_without_offset_and_limit_everything_is_listed(client: FlaskClient):
    everything = client.get("/v1/models").data
    assert client.get(f"/v1/models?offset=0&limit={PAGE_MAX}").data == everything
    beyond = client.get("/v1/models?offset=100")
    assert ids(beyond) == []
    assert beyond.json["total_count"] == len(NEWEST)
    assert beyond.json["links"]["next"] is None


def test_embedding_models_have_pages_too(client: FlaskClient):
    response = client.get("/v1/embeddings/models?offset=0&limit=500")
    assert ids(response) == ["acme/vectors"]


# --- rows -----------------------------------------------------------------------------------------


def test_rows_have_the_contracts_fields(client: FlaskClient):
    for model in client.get("/v1/models?output_modalities=all").json["data"]:
        assert MODEL_REQUIRED <= set(model) <= MODEL_REQUIRED | MODEL_OPTIONAL
        assert {"prompt", "completion"} <= set(model["pricing"]) <= PRICES


def test_endpoints_have_the_contracts_fields(client: FlaskClient):
    found = client.get("/v1/models/zeta/thinker/endpoints").json["data"]
    assert set(found) == {"architecture", "created", "description", "endpoints", "id", "name"}
    known = ENDPOINT_REQUIRED | ENDPOINT_OPTIONAL | ENDPOINT_LATER | ENDPOINT_OURS
    for endpoint in found["endpoints"]:
        assert set(endpoint) == known
    assert [each["service_tier"] for each in found["endpoints"]] == [None, "priority"]


def test_the_sdk_reads_every_row(client: FlaskClient):
    body = client.get("/v1/models?output_modalities=all").data
    components.ModelsListResponse.model_validate_json(body)
    body = client.get("/v1/model/zeta/thinker").data
    read_back = components.ModelResponse.model_validate_json(body).data
    assert read_back.reasoning is not None
    assert read_back.pricing.overrides is not None
    assert read_back.pricing.overrides[0].min_prompt_tokens == 200_000


def test_a_price_for_long_prompts_is_an_override(client: FlaskClient):
    pricing = row(client, "zeta/thinker")["pricing"]
    assert pricing["input_cache_write_1h"] == "0.000006"
    (override,) = pricing["overrides"]
    assert override["min_prompt_tokens"] == 200_000
    assert override["prompt"] == "0.000006"
    assert override["completion"] == "0.0000225"
    assert set(override) <= PRICES | {"min_prompt_tokens"}


def test_what_may_be_asked_of_reasoning(client: FlaskClient):
    assert row(client, "zeta/thinker")["knowledge_cutoff"] == "2024-06-30"
    assert row(client, "zeta/thinker")["reasoning"] == {
        "mandatory": True,
        "supported_efforts": ["high", "medium", "low"],
        "default_enabled": True,
        "supports_max_tokens": True,
    }
    assert "reasoning" not in row(client, "acme/rocket")
    assert "reasoning" not in row(client, "zeta/auto")


def test_a_variant_is_a_row_with_its_own_name_on_shared_endpoints(
    client: FlaskClient, health: Health
):
    health.known["far/eu:zeta/thinker"] = EndpointFigures(uptime_30m=97.0)
    (endpoint,) = client.get("/v1/models/zeta/thinker:exacto/endpoints").json["data"]["endpoints"]
    assert endpoint["model_id"] == "zeta/thinker:exacto"
    assert endpoint["name"] == "Far Away | zeta/thinker:exacto"
    assert endpoint["uptime_last_30m"] == 97.0


def test_a_router_costs_what_it_chooses(client: FlaskClient):
    auto = row(client, "zeta/auto")
    assert auto["pricing"] == {"prompt": "-1", "completion": "-1"}
    assert auto["context_length"] == 1_000_000
    assert auto["top_provider"] == {
        "context_length": None,
        "max_completion_tokens": None,
        "is_moderated": False,
    }
    assert {"reasoning", "seed"} <= set(auto["supported_parameters"])
    assert row(client, "zeta/free")["supported_parameters"] == ["max_tokens", "seed"]
    assert client.get("/v1/models/zeta/auto/endpoints").json["data"]["endpoints"] == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("acme/rocket", "acme/rocket"),
        ("acme/rocket-2025-01-02", "acme/rocket"),
        ("acme/glider:free", "acme/glider:free"),
        ("acme/glider:floor", "acme/glider"),
        ("acme/glider:free:nitro", "acme/glider:free"),
    ],
)
def test_one_model_by_any_name(client: FlaskClient, name: str, found: str):
    listed = client.get("/v1/models").json["data"]
    assert row(client, name) == next(model for model in listed if model["id"] == found)


@pytest.mark.parametrize("name", ["acme/unknown", "acme/rocket:unknown", "acme/idle"])
@pytest.mark.parametrize("route", ["model", "parameters"])
def test_one_model_nobody_serves_is_not_found(client: FlaskClient, route: str, name: str):
    response = client.get(f"/v1/{route}/{name}", headers=with_key())
    assert response.status_code == 404
    assert name in response.json["error"]["message"]


# --- with a key -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["max_tokens", "seed", "tool_choice", "tools"]),
        ("?provider=Lab", ["max_tokens", "tool_choice", "tools"]),
        ("?provider=workshop", ["max_tokens", "seed"]),
    ],
)
def test_parameters_of_a_model(client: FlaskClient, query: str, names: list[str]):
    response = client.get(f"/v1/parameters/acme/rocket{query}", headers=with_key())
    assert response.json == {"data": {"model": "acme/rocket", "supported_parameters": names}}
    assert response.headers["Cache-Control"] == "max-age=60, private"


def test_parameters_at_a_provider_that_does_not_serve_it(client: FlaskClient):
    response = client.get("/v1/parameters/acme/rocket?provider=Far", headers=with_key())
    assert response.status_code == 404
    assert "Lab, Workshop" in response.json["error"]["message"]


@pytest.mark.parametrize("route", ["/models/user", "/parameters/acme/rocket"])
def test_a_key_is_needed(client: FlaskClient, route: str):
    assert client.get(f"/v1{route}").status_code == 401
    assert client.get(f"/v1{route}", headers=with_key("sk-or-v1-x")).status_code == 401


def test_a_users_models_are_all_without_a_policy(client: FlaskClient):
    response = client.get("/v1/models/user", headers=with_key())
    assert ids(response) == NEWEST
    assert response.data == client.get("/v1/models").data
    assert response.headers["Cache-Control"] == "max-age=60, private"
    assert response.headers["Vary"] == "Authorization"
    etag = {"If-None-Match": response.headers["ETag"]}
    assert client.get("/v1/models/user", headers=with_key() | etag).status_code == 304


def test_a_users_models_are_those_some_visible_endpoint_serves(live: LiveCatalog, health: Health):
    client = app_of(live, FixedClock(NOW_MS), health, Ceiling("lab", "far")).test_client()
    response = client.get("/v1/models/user?offset=0&limit=2", headers=with_key())
    assert ids(response) == THINKERS[:2]
    assert response.json["total_count"] == 5
    assert response.json["links"]["next"] == "/v1/models/user?offset=2&limit=2"
    rest = client.get("/v1/models/user?offset=2", headers=with_key()).json["data"]
    rocket = next(model for model in rest if model["id"] == "acme/rocket")
    assert rocket["supported_parameters"] == ["max_tokens", "tool_choice", "tools"]
    assert rocket["pricing"]["prompt"] == "0.000003"  # Workshop's is lower, and not for this key
    assert "zeta/free" not in {model["id"] for model in rest}
    assert "zeta/auto" in {model["id"] for model in rest}
    assert ids(client.get("/v1/models")) == NEWEST


def test_a_users_models_are_looked_for_once_per_policy_and_listing(tmp_path: Path, health: Health):
    write(tmp_path)
    live, clock = LiveCatalog([tmp_path], {}, ""), FixedClock(JAN_2025_MS)
    ceiling = Ceiling("lab")
    client = app_of(live, clock, health, ceiling).test_client()

    def asked() -> int:
        """How many endpoints had to be looked at for an answer."""
        ceiling.asked = 0
        assert client.get("/v1/models/user", headers=with_key()).status_code == 200
        return ceiling.asked

    assert asked() > 0
    assert asked() == 0
    ceiling.policy = RoutingPolicy(only=("workshop",))
    assert asked() > 0
    ceiling.policy = RoutingPolicy(only=("lab",))
    assert asked() == 0
    (model,) = client.get("/v1/models/user", headers=with_key()).json["data"]
    assert model["pricing"]["prompt"] == "0.000001"
    clock.advance(2 * DAY_MS)  # Lab's second price
    assert asked() > 0
    (model,) = client.get("/v1/models/user", headers=with_key()).json["data"]
    assert model["pricing"]["prompt"] == "0.000003"
    words = tmp_path / "models" / "acme.yml"
    words.write_text(words.read_text().replace("Goes up.", "Goes down."))
    live.reload()
    assert asked() > 0
    (model,) = client.get("/v1/models/user", headers=with_key()).json["data"]
    assert model["description"] == "Goes down."


def test_the_lists_of_few_policies_are_kept(live: LiveCatalog):
    ceiling = Ceiling()
    listings = Listings(live, FixedClock(NOW_MS), ceiling.visible)
    policies = [RoutingPolicy(only=("lab", str(number))) for number in range(VIEWS_MAX + 1)]
    for policy in policies:
        listings.visible(policy)
    ceiling.asked = 0
    listings.visible(policies[-1])
    listings.visible(policies[1])
    assert ceiling.asked == 0
    listings.visible(policies[0])
    assert ceiling.asked > 0


@pytest.mark.parametrize(
    ("only", "query", "names"),
    [
        (("lab",), "acme/rocket", ["max_tokens", "tool_choice", "tools"]),
        (("workshop", "far"), "acme/rocket", ["max_tokens", "seed"]),
        (("workshop", "far"), "acme/rocket?provider=workshop", ["max_tokens", "seed"]),
        (("far",), "zeta/auto", ["max_tokens", "reasoning", "tools"]),
        (("lab",), "zeta/auto", ["max_tokens", "tool_choice", "tools"]),
    ],
)
def test_parameters_are_those_the_account_may_use(
    live: LiveCatalog, health: Health, only: tuple[str, ...], query: str, names: list[str]
):
    client = app_of(live, FixedClock(NOW_MS), health, Ceiling(*only)).test_client()
    response = client.get(f"/v1/parameters/{query}", headers=with_key())
    assert response.json["data"]["supported_parameters"] == names


@pytest.mark.parametrize(
    ("only", "query", "message"),
    [
        (
            "far",
            "acme/rocket",
            "This account's settings allow no provider of acme/rocket.",
        ),
        (
            "lab",
            "zeta/free",
            "This account's settings allow no provider of zeta/free.",
        ),
        (
            "lab",
            "acme/rocket?provider=Workshop",
            "This account's settings do not allow Workshop for acme/rocket. It may use: Lab.",
        ),
        (
            "far",
            "acme/rocket?provider=Workshop",
            "This account's settings allow no provider of acme/rocket.",
        ),
        (
            "lab",
            "acme/rocket?provider=far",
            "far does not serve acme/rocket. This account may use: Lab.",
        ),
    ],
)
def test_where_an_account_may_use_nothing_parameters_say_so(
    live: LiveCatalog, health: Health, only: str, query: str, message: str
):
    client = app_of(live, FixedClock(NOW_MS), health, Ceiling(only)).test_client()
    response = client.get(f"/v1/parameters/{query}", headers=with_key())
    assert response.status_code == 404
    assert response.json["error"]["message"] == message


def test_an_accounts_own_settings_decide_what_its_lists_show(site: Any):
    """The same ones that decide where its requests go."""

    def asked(path: str) -> Response:
        return site.client.get(f"/api/v1{path}", headers=site.headers)

    wanted = RoutingPolicy(zdr=True, ignore=("far",))
    change_policy(site.ledger, site.customer.account_id, lambda _: wanted)
    assert ids(asked("/models/user")) == ["acme/rocket", "zeta/auto"]
    told = asked("/parameters/acme/rocket").json["data"]
    assert told["supported_parameters"] == ["max_tokens", "tool_choice", "tools"]
    for path in ("acme/rocket?provider=workshop", "acme/glider", "zeta/thinker", "zeta/free"):
        refused = asked(f"/parameters/{path}")
        assert refused.status_code == 404
        assert "This account's settings" in refused.json["error"]["message"]


@pytest.mark.parametrize("name", ["zeta/auto", "zeta/free"])
def test_a_router_has_no_provider_to_ask_for(client: FlaskClient, name: str):
    response = client.get(f"/v1/parameters/{name}?provider=Lab", headers=with_key())
    assert response.status_code == 404
    assert response.json["error"]["message"] == (
        f"{name} chooses among other models and has no providers of its own. "
        "Leave 'provider' out, or ask about one of those models."
    )


def test_endpoints_that_keep_nothing(client: FlaskClient):
    found = client.get("/v1/endpoints/zdr").json["data"]
    assert [(each["model_id"], each["tag"]) for each in found] == [("acme/rocket", "lab")]


# --- feeds ----------------------------------------------------------------------------------------


def channel_of(response: Response) -> ET.Element:
    (channel,) = ET.fromstring(response.data)  # noqa: S314 - our own answer
    return channel


def test_the_feed(client: FlaskClient):
    response = client.get("/api/v1/models?use_rss=true&model_authors=zeta&limit=1")
    assert response.content_type.startswith("application/rss+xml")
    assert b"<title><![CDATA[Zeta: Thinker (zeta/thinker)]]></title>" in response.data
    channel = channel_of(response)
    (item,) = channel.findall("item")
    assert {child.tag: child.text for child in item} == {
        "title": "Zeta: Thinker (zeta/thinker)",
        "link": "http://localhost/api/v1/model/zeta/thinker",
        "guid": "zeta/thinker",
        "pubDate": "Mon, 10 Feb 2025 00:00:00 GMT",
        "description": "Solves <hard> riddles & puzzles ]]> slowly.",
    }


def test_the_feed_may_lead_to_chats(client: FlaskClient):
    query = "use_rss=true&use_rss_chat_links=true&q=exacto"
    channel = channel_of(client.get(f"/v1/models?{query}"))
    assert channel.findtext("item/link") == "http://localhost/chat?models=zeta/thinker%3Aexacto"


def test_the_feed_lists_what_the_list_does(client: FlaskClient):
    channel = channel_of(client.get("/v1/models?use_rss=true"))
    assert [item.text for item in channel.findall("item/guid")] == NEWEST
    assert client.get("/v1/models?use_rss=false").content_type == "application/json"


def test_characters_xml_does_not_know_are_left_out(tmp_path: Path, health: Health):
    write(tmp_path)
    words = tmp_path / "models" / "acme.yml"
    words.write_text(words.read_text().replace("Goes up.", r'"a\x01b\uFFFEc]]]>>\U0001F680"'))
    live = LiveCatalog([tmp_path], {}, "")
    client = app_of(live, FixedClock(NOW_MS), health).test_client()
    channel = channel_of(client.get("/v1/models?use_rss=true&q=rocket"))
    assert channel.findtext("item/description") == "abc]]]>>\U0001f680"
