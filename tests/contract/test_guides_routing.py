"""The calls that the guides on routing show, as written: each one lands where its guide says.

Only the base URL and the key differ from the guides. Whom the router called is read from the
simulator, which stands in for every provider.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

import httpx
import openai
import pytest
from openrouter import OpenRouter

from routing.catalog.load import load
from tests.cluster import Cluster, wait_until
from tests.contract.samples import PNG_URL
from tests.fixtures.cluster import FIRST_FRAME_WAIT_MS, System, new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

SONNET = "anthropic/claude-3.5-sonnet"
MYTHOMAX = "gryphe/mythomax-l2-13b"
MIXTRAL = "mistralai/mixtral-8x7b-instruct"
LLAMA_3B = "meta-llama/llama-3.2-3b-instruct"
LLAMA_8B = "meta-llama/llama-3.1-8b-instruct"
LLAMA_70B = "meta-llama/llama-3.1-70b-instruct"
LLAMA_33 = "meta-llama/llama-3.3-70b-instruct"
LLAMA_FREE = f"{LLAMA_3B}:free"
#: Asked for by one test only, so that its figures are that test's own.
SCOUT = "meta-llama/llama-4-scout"
R1 = "deepseek/deepseek-r1"
GPT_4 = "openai/gpt-4"
GPT_4O = "openai/gpt-4o"
CLAUDE = "anthropic/claude-sonnet-4"
KIMI = "moonshotai/kimi-k2-0905:exacto"
AUTO = "openrouter/auto"
#: For the examples that name no model. Not all of its providers know `response_format`.
DEFAULT_MODEL = LLAMA_70B
DEFAULT_SERVED = frozenset({"amazon-bedrock", "deepinfra", "fireworks", "together"})
HELLO = [{"role": "user", "content": "Hello"}]
MEANING = [{"role": "user", "content": "What is the meaning of life?"}]
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a location",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}
PRICES = frozenset({
    "prompt", "completion", "request", "image", "web_search", "internal_reasoning",
    "input_cache_read", "input_cache_write",
})  # fmt: skip
#: As the guides print them.
SITE = {"HTTP-Referer": "<YOUR_SITE_URL>", "X-Title": "<YOUR_SITE_NAME>"}
TELL = {"X-OpenRouter-Metadata": "enabled"}
#: Where there is a choice, one answer proves little.
TIMES = 6
#: Five answers make a figure.
FIGURE_CALLS = 6
FIGURES_SEEN_S = 20
#: More than MythoMax's 4,096 tokens.
LONG = [{"role": "user", "content": "word " * 9_000}]


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    """A Pointsman of this file's own: on the shipped catalog, with a default model."""
    home = tmp_path_factory.mktemp("guides-routing")
    extra = {
        "POINTSMAN_DEFAULT_MODEL": DEFAULT_MODEL,
        "POINTSMAN_FIRST_FRAME_WAIT_MS": str(FIRST_FRAME_WAIT_MS),
    }
    with Cluster(home / "home", extra_env=extra) as cluster:
        system = System(cluster, home / "catalog")
        with system.client:
            yield system
            system.assert_books_are_sound()


@pytest.fixture(scope="module")
def names(router):
    """Display names of providers by slug."""
    listed = router.client.get("/providers").json()["data"]
    return {provider["slug"]: provider["name"] for provider in listed}


@pytest.fixture(scope="module")
def over_http(router):
    """`requests` as most of the guides use it, with their headers."""

    def send(body):
        return post(router, body, SITE).json()

    return send


@pytest.fixture(scope="module")
def over_openai(router):
    """The OpenAI SDK: what it has no argument for goes into `extra_body`."""
    with openai.OpenAI(
        base_url=router.cluster.base_url, api_key=router.cluster.api_key, max_retries=0
    ) as client:

        def send(body):
            known = {name: body[name] for name in ("messages", "response_format") if name in body}
            extra = {name: value for name, value in body.items() if name not in known}
            # The SDK insists on a model; the examples without one are for other clients.
            model = extra.pop("model", None) or body.get("models", (DEFAULT_MODEL,))[0]
            answer = client.chat.completions.create(model=model, extra_body=extra, **known)
            return answer.model_dump()

        yield send


@pytest.fixture(scope="module")
def over_openrouter(router):
    """The guides' own SDK, in its Python form."""
    with OpenRouter(api_key=router.cluster.api_key, server_url=router.cluster.base_url) as client:

        def send(body):
            return client.chat.send(**body).model_dump(by_alias=True)

        yield send


@pytest.fixture(params=["over_http", "over_openai", "over_openrouter"])
def send(request):
    """A client of each kind."""
    return request.getfixturevalue(request.param)


def post(router, body, headers=None, status=httpx.codes.OK):
    answer = router.client.post("/chat/completions", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer


def streamed(router, body, headers=None):
    """The chunks of a stream, read line by line."""
    request = {**body, "stream": True}
    with router.client.stream(
        "POST", "/chat/completions", json=request, headers=headers
    ) as response:
        assert response.status_code == httpx.codes.OK, response.read()
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def called(router):
    """Whom the last call went to."""
    return router.cluster.calls()[-1]["provider"]


def spoken(answer):
    return answer["choices"][0]["message"]["content"]


def endpoint_ids(router, generation_id):
    responses = router.generation(generation_id)["provider_responses"]
    return [one["endpoint_id"] for one in responses]


def attempts(metadata):
    """What `openrouter_metadata` tells of the calls made."""
    return [(one["provider"], one["model"], one["status"]) for one in metadata["attempts"]]


def cost_of(router, model, provider_name, usage):
    """What the models API says that an answer costs."""
    listed = router.client.get(f"/models/{model}/endpoints").json()["data"]["endpoints"]
    (pricing,) = [one["pricing"] for one in listed if one["provider_name"] == provider_name]
    prompt, completion = Decimal(pricing["prompt"]), Decimal(pricing["completion"])
    return float(prompt * usage["prompt_tokens"] + completion * usage["completion_tokens"])


@contextmanager
def failing(router, fault, *providers):
    """These providers fail in one way."""
    router.cluster.set_faults([{"provider": slug, "fault": fault} for slug in providers])
    try:
        yield
    finally:
        router.cluster.clear_faults()
        # The next test is to find providers that are well, not parked or out of order by this one.
        redis = router.cluster.redis
        for pattern in ("cb:*", "aimd:*", "health:unstable"):
            for key in redis.scan_iter(pattern):
                redis.delete(key)


# The examples


@dataclass(frozen=True)
class Example:
    """A request body of the guides, whose providers may get it, and which model answers."""

    body: dict
    lands: frozenset
    model: str


def example(name, body, lands, model=None):
    spoken = {"messages": HELLO, **body}
    answering = model or body.get("model", DEFAULT_MODEL)
    return pytest.param(Example(spoken, frozenset(lands), answering), id=name)


EXAMPLES = [
    example(
        "model fallbacks",
        {"models": [SONNET, MYTHOMAX], "messages": MEANING},
        {"amazon-bedrock"},
        SONNET,
    ),
    example(
        "model fallbacks of the OpenAI SDK",
        {"model": GPT_4O, "models": [SONNET, MYTHOMAX], "messages": MEANING},
        {"openai", "azure"},
    ),
    example(
        "sort by throughput",
        {"model": LLAMA_70B, "provider": {"sort": "throughput"}},
        DEFAULT_SERVED,
    ),
    example("nitro", {"model": f"{LLAMA_70B}:nitro"}, DEFAULT_SERVED, LLAMA_70B),
    example("sort by price", {"model": LLAMA_70B, "provider": {"sort": "price"}}, {"deepinfra"}),
    example("floor", {"model": f"{LLAMA_70B}:floor"}, {"deepinfra"}, LLAMA_70B),
    example(
        "order with fallbacks",
        {"model": MIXTRAL, "provider": {"order": ["openai", "together"]}},
        {"together"},
    ),
    example(
        "order without fallbacks",
        {
            "model": MIXTRAL,
            "provider": {"order": ["openai", "together"], "allow_fallbacks": False},
        },
        {"together"},
    ),
    example(
        "one endpoint of a provider",
        {"model": R1, "provider": {"order": ["deepinfra/turbo"], "allow_fallbacks": False}},
        {"deepinfra"},
    ),
    example(
        "require parameters",
        {
            "provider": {"require_parameters": True},
            "response_format": {"type": "json_object"},
        },
        DEFAULT_SERVED - {"amazon-bedrock"},
    ),
    example("data collection", {"provider": {"data_collection": "deny"}}, DEFAULT_SERVED),
    example(
        "distillable text",
        {"model": LLAMA_70B, "provider": {"enforce_distillable_text": True}},
        DEFAULT_SERVED,
    ),
    example("no fallbacks", {"provider": {"allow_fallbacks": False}}, DEFAULT_SERVED),
    example("only", {"model": GPT_4O, "provider": {"only": ["azure"]}}, {"azure"}),
    example(
        "ignore",
        {"model": LLAMA_33, "provider": {"ignore": ["deepinfra"]}},
        {
            "amazon-bedrock", "cerebras", "fireworks", "groq", "novita", "ovhcloud", "sambanova",
            "together", "wandb",
        },
    ),
    example(
        "quantizations",
        {"model": LLAMA_8B, "provider": {"quantizations": ["fp8"]}},
        {"deepinfra", "together"},
    ),
    example("free", {"model": LLAMA_FREE}, {"nvidia"}),
    example("extended", {"model": f"{SONNET}:extended"}, {"amazon-bedrock"}),
    example(
        "exacto",
        {
            "model": KIMI,
            "messages": [
                {
                    "role": "user",
                    "content": "Draft a concise changelog entry for the Exacto launch.",
                }
            ],
        },
        {"fireworks", "together"},
    ),
    example(
        "exacto, deepseek",
        {"model": "deepseek/deepseek-v3.1-terminus:exacto"},
        {"novita", "siliconflow"},
    ),
    example("exacto, glm", {"model": "z-ai/glm-4.6:exacto"}, {"fireworks", "together", "z-ai"}),
    example(
        "exacto, gpt-oss",
        {"model": "openai/gpt-oss-120b:exacto"},
        {"baseten", "cerebras", "fireworks", "together"},
    ),
    example("exacto, qwen", {"model": "qwen/qwen3-coder:exacto"}, {"fireworks", "together"}),
    example(
        "thinking",
        {"model": f"{R1}:thinking"},
        {"deepinfra", "fireworks", "novita", "sambanova", "siliconflow"},
    ),
    example("online", {"model": f"{GPT_4O}:online"}, {"openai", "azure"}, GPT_4O),
    example("nitro variant", {"model": f"{GPT_4O}:nitro"}, {"openai", "azure"}, GPT_4O),
]  # fmt: skip


@pytest.mark.parametrize("shown", EXAMPLES)
def test_example_lands_where_its_guide_says(router, names, send, shown):
    answer = send(shown.body)

    provider = called(router)
    assert provider in shown.lands
    assert answer["model"] == shown.model
    # The guides' own SDK drops the name.
    assert answer.get("provider", names[provider]) == names[provider]
    assert spoken(answer)


@pytest.mark.parametrize("shown", EXAMPLES)
def test_example_streamed(router, names, shown):
    chunks = streamed(router, shown.body)

    provider = called(router)
    assert provider in shown.lands
    assert {(chunk["model"], chunk["provider"]) for chunk in chunks} == {
        (shown.model, names[provider])
    }
    assert any(chunk["choices"][0]["delta"].get("content") for chunk in chunks)


# The Auto Router


@pytest.mark.parametrize(
    "said", ["What is the meaning of life?", "Explain quantum entanglement in simple terms"]
)
def test_auto_tells_which_model_it_chose(router, send, said):
    answer = send({"model": AUTO, "messages": [{"role": "user", "content": said}]})

    listed = {model["id"] for model in router.client.get("/models").json()["data"]}
    assert answer["model"] in listed - {AUTO}


def test_auto_streamed(router):
    chunks = streamed(router, {"model": AUTO, "messages": MEANING})

    (model,) = {chunk["model"] for chunk in chunks}
    assert model != AUTO


def test_auto_takes_a_stronger_model_for_a_harder_task(router):
    hard = [
        {
            "role": "user",
            "content": "Prove step by step that there are infinitely many primes, in depth.",
        }
    ]

    simple, complex_ = (
        post(router, {"model": AUTO, "messages": messages}).json() for messages in (MEANING, hard)
    )

    assert complex_["usage"]["cost"] > simple["usage"]["cost"]
    assert complex_["model"] in {
        "anthropic/claude-sonnet-4.5",
        "anthropic/claude-opus-4.5",
        "openai/gpt-5.1",
        "google/gemini-3-pro-preview",
        "deepseek/deepseek-v3.2",
    }


def test_auto_costs_what_the_chosen_model_costs(router):
    answer = post(router, {"model": AUTO, "messages": MEANING}).json()

    cost = cost_of(router, answer["model"], answer["provider"], answer["usage"])
    assert answer["usage"]["cost"] == pytest.approx(cost, abs=1e-9)
    assert router.settled(answer["id"]).cost_nano == round(cost * 10**9)


def test_auto_needs_messages(router):
    answer = router.client.post("/completions", json={"model": AUTO, "prompt": "Hello"})

    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert "messages" in answer.json()["error"]["message"]


def test_auto_is_told_in_the_metadata(router):
    answer = post(router, {"model": AUTO, "messages": MEANING}, TELL).json()

    told = answer["openrouter_metadata"]
    assert (told["requested"], told["strategy"]) == (AUTO, "auto")
    (selected,) = [one for one in told["endpoints"]["available"] if one["selected"]]
    assert (selected["model"], selected["provider"]) == (answer["model"], answer["provider"])


def test_models_named_by_the_guide_of_the_auto_router_are_served(router):
    for model in (
        "anthropic/claude-sonnet-4.5",
        "anthropic/claude-opus-4.5",
        "openai/gpt-5.1",
        "google/gemini-3-pro-preview",
        "deepseek/deepseek-v3.2",
    ):
        assert post(router, {"model": model, "messages": MEANING}).json()["model"] == model


@pytest.mark.parametrize("named", [{"model": AUTO}, {"models": [SONNET, MYTHOMAX]}])
def test_body_without_a_content_type(router, named):
    """As `requests` sends it with `data=json.dumps(…)`."""
    content = json.dumps({**named, "messages": MEANING}).encode()

    answer = router.client.post("/chat/completions", content=content)

    assert "Content-Type" not in answer.request.headers
    assert answer.status_code == httpx.codes.OK, answer.text
    assert spoken(answer.json())


# Fallback models


FAULTS = [
    pytest.param("503", 502, id="down"),
    pytest.param("reset", 502, id="gone"),
    pytest.param("refusal", 403, id="refuses"),
    pytest.param("content_filter_400", 400, id="moderates"),
    pytest.param("context_400", 400, id="finds it too long"),
]


@pytest.mark.parametrize(("fault", "status"), FAULTS)
@pytest.mark.parametrize("stream", [False, True])
def test_next_model_answers_when_the_first_one(router, fault, status, stream):
    with failing(router, fault, "amazon-bedrock"):
        answers = told_answers(router, [SONNET, MYTHOMAX], stream=stream)

    assert_answered_by_the_second(router, answers, [SONNET, MYTHOMAX], status)


# An endpoint that is rate-limited is left alone for a while, so each test has one of its own.
@pytest.mark.parametrize(("first", "stream"), [(GPT_4, False), ("openai/gpt-5.4", True)])
def test_next_model_answers_when_the_first_one_is_rate_limited(router, first, stream):
    with failing(router, "429", "openai"):
        answers = told_answers(router, [first, MYTHOMAX], stream=stream)

    assert_answered_by_the_second(router, answers, [first, MYTHOMAX], 429)


def told_answers(router, models, *, stream):
    """The answer, or the chunks of it, with the metadata."""
    body = {"models": models, "messages": MEANING}
    return streamed(router, body, TELL) if stream else [post(router, body, TELL).json()]


def assert_answered_by_the_second(router, answers, models, status):
    first, second = models
    ((model, provider),) = {(a["model"], a["provider"]) for a in answers}
    assert model == second
    last = answers[-1]
    cost = cost_of(router, second, provider, last["usage"])
    assert last["usage"]["cost"] == pytest.approx(cost, abs=1e-9)
    told = last["openrouter_metadata"]
    assert (told["requested"], told["strategy"], told["attempt"]) == (first, "fallback", 2)
    (failed, answered) = attempts(told)
    assert failed[1:] == (first, status)
    assert answered == (provider, second, 200)
    record = router.generation(last["id"])
    assert (record["model"], record["provider_name"]) == (second, provider)
    assert [(r["model_permaslug"], r["status"]) for r in record["provider_responses"]] == [
        (first, status),
        (second, 200),
    ]


REFUSING = [
    ("amazon-bedrock", "amazon/nova-lite-v1"),
    ("google-ai-studio", "google/gemini-2.5-flash"),
    ("google-vertex", "google/gemini-2.5-flash"),
    ("openai", GPT_4),
    ("anthropic", CLAUDE),
]


@pytest.mark.parametrize(
    ("provider", "first"),
    [pytest.param(slug, model, id=slug) for slug, model in REFUSING],
)
@pytest.mark.parametrize("stream", [False, True])
def test_next_model_answers_when_the_first_refuses(router, provider, first, stream):
    body = {
        "models": [first, MYTHOMAX],
        "messages": MEANING,
        "provider": {"only": [provider, "novita"]},
    }

    with failing(router, "refusal", provider):
        answers = streamed(router, body) if stream else [post(router, body).json()]

    assert {answer["model"] for answer in answers} == {MYTHOMAX}


@pytest.mark.parametrize("provider", ["amazon-bedrock", "openai"])
def test_refusal_is_the_answer_when_there_is_no_other_model(router, provider):
    model = {"amazon-bedrock": SONNET, "openai": GPT_4}[provider]

    with failing(router, "refusal", provider):
        answer = post(router, {"model": model, "messages": MEANING}).json()

    assert answer["choices"][0]["finish_reason"] == "content_filter"
    assert answer["model"] == model


def test_next_model_answers_when_every_provider_of_the_first_is_down(router):
    """However many they are."""
    served = ("deepinfra", "fireworks", "novita", "sambanova", "siliconflow")

    with failing(router, "503", *served):
        answer = post(router, {"models": [R1, SONNET], "messages": MEANING}).json()

    assert answer["model"] == SONNET


def test_next_model_answers_when_the_prompt_is_too_long_for_the_first(router, send):
    answer = send({"models": [MYTHOMAX, SONNET], "messages": LONG})

    assert answer["model"] == SONNET
    assert called(router) == "amazon-bedrock"


def test_exacto_keeps_to_its_providers_as_a_fallback(router):
    with failing(router, "503", "amazon-bedrock"):
        answers = [
            post(router, {"models": [SONNET, KIMI], "messages": HELLO}).json() for _ in range(2)
        ]

    assert {answer["model"] for answer in answers} == {KIMI}
    assert {answer["provider"] for answer in answers} <= {"Fireworks", "Together"}
    (_, endpoint) = endpoint_ids(router, answers[0]["id"])
    assert endpoint.endswith(":moonshotai/kimi-k2-0905")


def test_when_all_fail_the_last_error_is_told(router):
    body = {"models": [SONNET, MYTHOMAX], "messages": MEANING}

    with failing(router, "503", "amazon-bedrock", "deepinfra", "novita"):
        answer = post(router, body, TELL, status=httpx.codes.BAD_GATEWAY)

    error = answer.json()["error"]
    assert (error["code"], error["message"]) == (502, "Provider returned error")
    before = error["metadata"]["previous_errors"]
    failed = [*(one["provider"] for one in before), error["metadata"]["provider_name"]]
    assert failed[0] == "Amazon Bedrock"
    assert set(failed[1:]) == {"DeepInfra", "NovitaAI"}
    told = answer.json()["openrouter_metadata"]
    assert [one[0] for one in attempts(told)] == failed
    assert [one[1] for one in attempts(told)] == [SONNET, MYTHOMAX, MYTHOMAX]
    assert not any(one["selected"] for one in told["endpoints"]["available"])
    record = router.generation(answer.headers["X-Generation-Id"])
    assert [one["provider_name"] for one in record["provider_responses"]] == failed
    assert record["total_cost"] == 0


# Providers


@pytest.mark.parametrize("name", [f"{LLAMA_70B}:floor", LLAMA_70B])
def test_lowest_price_every_time(router, name):
    body = {"model": name, "messages": HELLO}
    if name == LLAMA_70B:
        body["provider"] = {"sort": "price"}

    assert {post(router, body).json()["provider"] for _ in range(TIMES)} == {"DeepInfra"}


def test_highest_throughput_and_lowest_latency_once_they_are_known(router):
    slow = ("deepinfra", "groq", "novita", "together")
    asked = [
        {"model": SCOUT, "messages": HELLO, "provider": {"only": [provider]}}
        for provider in (*slow, "fireworks")
    ]
    with failing(router, "slow_first:300", *slow), ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda body: streamed(router, body), asked * FIGURE_CALLS))

    def lands(model, **fields):
        # Streams too: the simulator gives plain answers faster than any stream.
        return streamed(router, {"model": model, "messages": HELLO, **fields})[0]["provider"]

    def measured():
        listed = router.client.get(f"/models/{SCOUT}/endpoints").json()["data"]["endpoints"]
        return {one["tag"] for one in listed if one["throughput_last_30m"]}

    wait_until(lambda: {*slow, "fireworks"} <= measured(), FIGURES_SEEN_S, "the figures")
    assert {lands(f"{SCOUT}:nitro") for _ in range(3)} == {"Fireworks"}
    assert lands(SCOUT, provider={"sort": "throughput"}) == "Fireworks"
    assert lands(SCOUT, provider={"sort": "latency"}) == "Fireworks"


def test_order_goes_on_to_the_other_providers(router):
    body = {
        "model": MIXTRAL,
        "messages": HELLO,
        "provider": {"order": ["openai", "together"]},
    }

    with failing(router, "503", "together"):
        answer = post(router, body).json()

    assert answer["provider"] in {"DeepInfra", "Fireworks"}


def test_order_without_fallbacks_fails_with_its_provider(router):
    body = {
        "model": MIXTRAL,
        "messages": HELLO,
        "provider": {"order": ["openai", "together"], "allow_fallbacks": False},
    }

    with failing(router, "503", "together"):
        answer = post(router, body, TELL, status=httpx.codes.BAD_GATEWAY)

    assert answer.json()["error"]["metadata"]["provider_name"] == "Together"
    told = answer.json()["openrouter_metadata"]
    assert {provider for provider, _, _ in attempts(told)} == {"Together"}
    assert told["endpoints"]["total"] == 3


def test_no_fallbacks_ask_one_provider_once(router):
    body = {"messages": HELLO, "provider": {"allow_fallbacks": False}}

    with failing(router, "503", *DEFAULT_SERVED):
        answer = post(router, body, TELL, status=httpx.codes.BAD_GATEWAY)

    assert len(answer.json()["openrouter_metadata"]["attempts"]) == 1


def test_zero_data_retention(router):
    """The guide's model, under its bare name, is at providers only that keep prompts a while."""
    body = {"messages": HELLO, "provider": {"zdr": True}}

    refused = post(router, {**body, "model": "gpt-4"}, status=httpx.codes.NOT_FOUND)
    assert "Zero data retention" in refused.json()["error"]["message"]

    kept = post(router, {**body, "model": "gpt-4", "provider": {"zdr": False}}).json()
    assert kept["model"] == GPT_4
    nowhere = {post(router, {**body, "model": LLAMA_70B}).json()["provider"] for _ in range(TIMES)}
    assert nowhere
    providers = load((), environ={}, sandbox_url="http://127.0.0.1:9").providers.values()
    keeping = {each.name for each in providers if each.data_policy.retains_prompts}
    assert keeping
    assert not nowhere & keeping


def test_no_fallbacks_mean_the_lowest_cost(router):
    body = {"messages": HELLO, "provider": {"allow_fallbacks": False}}

    assert {post(router, body).json()["provider"] for _ in range(4 * TIMES)} == {"DeepInfra"}


def test_one_endpoint_of_several_of_a_provider(router):
    body = {
        "model": R1,
        "messages": HELLO,
        "provider": {"order": ["deepinfra/turbo"], "allow_fallbacks": False},
    }

    answer = post(router, body).json()

    assert endpoint_ids(router, answer["id"]) == [f"deepinfra/turbo:{R1}"]
    usage = answer["usage"]
    nano = 1_000 * usage["prompt_tokens"] + 3_000 * usage["completion_tokens"]
    assert router.settled(answer["id"]).cost_nano == nano


def test_quantization_is_that_of_the_endpoint(router):
    body = {"model": LLAMA_8B, "messages": HELLO, "provider": {"quantizations": ["fp8"]}}

    answers = [post(router, body).json() for _ in range(2)]

    for answer in answers:
        (endpoint,) = endpoint_ids(router, answer["id"])
        assert endpoint in {f"deepinfra/turbo:{LLAMA_8B}", f"together:{LLAMA_8B}"}


def test_ignored_provider_gets_nothing(router):
    body = {"model": LLAMA_33, "messages": HELLO, "provider": {"ignore": ["deepinfra"]}}

    assert "DeepInfra" not in {post(router, body).json()["provider"] for _ in range(2 * TIMES)}


def test_providers_that_train_get_nothing(router):
    body = {
        "model": "openai/gpt-oss-120b",
        "messages": HELLO,
        "provider": {"data_collection": "deny", "only": ["chutes", "nebius", "deepinfra"]},
    }

    assert {post(router, body).json()["provider"] for _ in range(TIMES)} == {"DeepInfra"}


def test_max_price_with_a_sort(router):
    body = {
        "model": R1,
        "messages": HELLO,
        "provider": {"sort": "throughput", "max_price": {"prompt": 1, "completion": 2.5}},
    }

    served = {post(router, body).json()["provider"] for _ in range(TIMES)}

    assert served <= {"DeepInfra", "SiliconFlow"}


def test_tools_go_only_where_they_are_understood(router):
    body = {"model": LLAMA_3B, "messages": HELLO, "tools": [WEATHER_TOOL]}

    assert {post(router, body).json()["provider"] for _ in range(2 * TIMES)} <= {
        "DeepInfra",
        "Together",
    }


def test_long_answers_are_asked_only_of_those_who_give_them(router):
    body = {"model": LLAMA_70B, "messages": HELLO, "max_tokens": 20_000}

    assert {post(router, body).json()["provider"] for _ in range(TIMES)} == {"Together"}


def test_parameter_is_left_out_where_it_is_not_known_unless_required(router):
    marker = new_marker()
    body = {
        "model": LLAMA_70B,
        "messages": [{"role": "user", "content": f"Hello {marker}"}],
        "frequency_penalty": 0.5,
        "provider": {"only": ["amazon-bedrock"]},
    }

    assert post(router, body).json()["provider"] == "Amazon Bedrock"
    assert "enalty" not in json.dumps(router.cluster.received(marker)["body"])

    body["provider"] = {"require_parameters": True}
    assert "Amazon Bedrock" not in {post(router, body).json()["provider"] for _ in range(TIMES)}


@pytest.mark.parametrize("slug", ["together", "Together", "TOGETHER"])
def test_order_takes_display_names_too(router, slug):
    body = {"model": MIXTRAL, "messages": HELLO, "provider": {"order": [slug]}}

    assert post(router, body).json()["provider"] == "Together"


def test_slug_of_a_provider_means_its_default_endpoint_first(router):
    body = {"model": R1, "messages": HELLO, "provider": {"order": ["deepinfra"]}}

    answer = post(router, body).json()

    assert endpoint_ids(router, answer["id"]) == [f"deepinfra:{R1}"]


def test_completions_take_the_same_preferences(router):
    body = {"model": MIXTRAL, "prompt": "Hello", "provider": {"order": ["openai", "together"]}}

    answer = router.client.post("/completions", json=body, headers=TELL)

    assert answer.status_code == httpx.codes.OK, answer.text
    assert answer.json()["provider"] == "Together"
    told = answer.json()["openrouter_metadata"]
    assert attempts(told) == [("Together", MIXTRAL, 200)]


def test_account_wide_settings_narrow_every_request(router, names):
    key = router.cluster.new_key(credit_usd=Decimal(5))
    done = router.run("accounts", "policy", key.account_id, "--ignore", "deepinfra", "--zdr")
    assert done.returncode == 0, done.stderr

    def ask(**provider):
        body = {"model": LLAMA_33, "messages": HELLO, "provider": provider}
        return router.client.post("/chat/completions", json=body, headers=key.headers)

    # One that keeps prompts for a while, one the account ignores, one the request ignores.
    served = {ask(ignore=["groq"], zdr=False).json()["provider"] for _ in range(2 * TIMES)}
    assert not served & {names[slug] for slug in ("wandb", "deepinfra", "groq")}
    refused = ask(only=["deepinfra"])
    assert refused.status_code == httpx.codes.NOT_FOUND
    assert refused.json()["error"]["message"].startswith("No allowed providers are available")


@pytest.mark.parametrize(
    ("body", "message", "step"),
    [
        pytest.param(
            {"model": GPT_4O, "provider": {"only": ["together"]}},
            "No allowed providers are available for the selected model.",
            "Filter by Allowed Providers",
            id="only",
        ),
        pytest.param(
            {"model": GPT_4O, "provider": {"ignore": ["openai", "azure"]}},
            "No allowed providers are available for the selected model.",
            "Filter by Allowed Providers",
            id="ignore",
        ),
        pytest.param(
            {"model": GPT_4O, "provider": {"order": ["together"], "allow_fallbacks": False}},
            "No allowed providers are available for the selected model.",
            "Filter by Allowed Providers",
            id="order",
        ),
        pytest.param(
            {"model": LLAMA_FREE, "provider": {"data_collection": "deny"}},
            "No endpoints found matching your data policy (Free model training).",
            "Filter by Data Policy",
            id="data collection",
        ),
        pytest.param(
            {"model": GPT_4O, "provider": {"zdr": True}},
            "No endpoints found matching your data policy (Zero data retention).",
            "Filter by Data Policy",
            id="zdr",
        ),
        pytest.param(
            {"model": GPT_4O, "provider": {"enforce_distillable_text": True}},
            "No endpoints found for models that allow text distillation",
            "Filter by Distillable Text",
            id="distillable",
        ),
        pytest.param(
            {"model": GPT_4O, "provider": {"quantizations": ["int4"]}},
            "No endpoints found with the requested quantizations",
            "Filter by Quantization",
            id="quantizations",
        ),
        pytest.param(
            {"model": CLAUDE, "provider": {"max_price": {"prompt": 1, "completion": 2}}},
            "No endpoints found that satisfy the max price for this request",
            "Filter by Max Price",
            id="max price",
        ),
        pytest.param(
            {"model": SONNET, "logprobs": True, "provider": {"require_parameters": True}},
            "No endpoints found that can handle the requested parameters.",
            "Filter by Parameters",
            id="require parameters",
        ),
        pytest.param(
            {"model": MYTHOMAX, "tools": [WEATHER_TOOL]},
            "No endpoints found that support tool use.",
            "Filter by Tool Compatibility",
            id="tools",
        ),
        pytest.param(
            {"model": GPT_4O, "max_tokens": 20_000},
            "No endpoints found that support 20000 max_tokens",
            None,
            id="max tokens",
        ),
        pytest.param(
            {
                "model": MYTHOMAX,
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": PNG_URL}}],
                    }
                ],
            },
            "No endpoints found that support image input",
            None,
            id="image",
        ),
    ],
)
def test_filter_that_leaves_nobody_says_so(router, body, message, step):
    before = len(router.cluster.calls())

    answer = post(router, {"messages": HELLO, **body}, TELL, status=httpx.codes.NOT_FOUND)

    error, told = answer.json()["error"], answer.json()["openrouter_metadata"]
    assert error["code"] == 404
    assert error["message"].startswith(message)
    assert error["metadata"]["routing_funnel"][-1]["endpoint_count"] == 0
    assert step in {None, error["metadata"]["failed_routing_step"]}
    assert (told["requested"], told["attempt"], told["attempts"]) == (body["model"], 0, [])
    assert len(router.cluster.calls()) == before


def test_prompt_longer_than_any_context_is_the_callers_fault(router):
    answer = post(router, {"model": MYTHOMAX, "messages": LONG}, status=httpx.codes.BAD_REQUEST)

    assert "maximum context length is 4096 tokens" in answer.json()["error"]["message"]


# Variants


def test_free_costs_nothing(router):
    answer = post(router, {"model": LLAMA_FREE, "messages": HELLO}).json()

    assert answer["usage"]["cost"] == 0
    assert router.settled(answer["id"]).cost_nano == 0


def test_exacto_in_shell_never_leaves_its_providers(router):
    said = "Summarize the latest release notes for me."
    body = {"model": KIMI, "messages": [{"role": "user", "content": said}]}

    answers = [post(router, body).json() for _ in range(TIMES)]

    assert {answer["provider"] for answer in answers} <= {"Fireworks", "Together"}
    record = router.generation(answers[0]["id"])
    assert record["model"] == KIMI
    assert record["provider_responses"][0]["endpoint_id"].endswith(":moonshotai/kimi-k2-0905")


def test_exacto_is_kept_even_against_the_callers_order(router):
    body = {
        "model": KIMI,
        "messages": HELLO,
        "provider": {"order": ["groq", "deepinfra", "together"]},
    }

    assert post(router, body).json()["provider"] == "Together"


@pytest.mark.parametrize("model", [f"{R1}:thinking", "anthropic/claude-3.7-sonnet:thinking"])
def test_thinking_thinks_unasked(router, model):
    answer = post(router, {"model": model, "messages": MEANING}).json()

    assert answer["choices"][0]["message"]["reasoning"]


def test_thinking_is_off_where_the_request_says_so(router):
    body = {
        "model": "anthropic/claude-3.7-sonnet:thinking",
        "messages": MEANING,
        "reasoning": {"enabled": False},
    }

    assert not post(router, body).json()["choices"][0]["message"].get("reasoning")


@pytest.mark.parametrize(
    "plugins",
    [
        [{"id": "web"}],
        {"web": {}},
    ],
)
def test_online_as_a_plugin(router, plugins):
    answer = post(router, {"model": AUTO, "messages": MEANING, "plugins": plugins})

    assert answer.json()["model"] != AUTO
    # There is no web search yet, and the caller is told.
    assert answer.headers["X-Pointsman-Not-Applied"] == "plugins.web"


def test_variants_stack(router):
    answer = post(router, {"model": f"{KIMI}:floor", "messages": HELLO}).json()

    assert (answer["model"], answer["provider"]) == (KIMI, "Fireworks")


# Anthropic's features in beta


@pytest.mark.parametrize(
    ("beta", "said", "tools"),
    [
        (
            "fine-grained-tool-streaming-2025-05-14",
            "What is the weather in Tokyo?",
            {"tools": [WEATHER_TOOL]},
        ),
        (
            "interleaved-thinking-2025-05-14",
            "Solve this step by step: What is 15% of 240?",
            {},
        ),
        (
            "fine-grained-tool-streaming-2025-05-14,interleaved-thinking-2025-05-14",
            "What is the weather in Tokyo?",
            {"tools": [WEATHER_TOOL]},
        ),
    ],
)
def test_anthropic_beta_wherever_it_lands(router, beta, said, tools):
    body = {"model": CLAUDE, "messages": [{"role": "user", "content": said}], **tools}

    chunks = streamed(router, body, {"x-anthropic-beta": beta})

    assert called(router) in {"anthropic", "amazon-bedrock", "google-vertex"}
    reasons = {chunk["choices"][0]["finish_reason"] for chunk in chunks}
    assert ("tool_calls" if tools else "stop") in reasons


# The models API


def test_fields_of_the_models_api(router):
    listed = router.client.get("/models").json()["data"]

    for model in listed:
        assert {
            "id", "canonical_slug", "name", "created", "description", "context_length",
            "architecture", "pricing", "top_provider", "per_request_limits",
            "supported_parameters",
        } <= model.keys()  # fmt: skip
        architecture, top, pricing = (
            model["architecture"],
            model["top_provider"],
            model["pricing"],
        )
        assert {
            "input_modalities",
            "output_modalities",
            "tokenizer",
            "instruct_type",
        } <= architecture.keys()
        assert {"context_length", "max_completion_tokens", "is_moderated"} <= top.keys()
        assert {"prompt", "completion"} <= pricing.keys()
        assert all(isinstance(pricing[name], str) for name in PRICES & pricing.keys())
        assert model["created"] > 0


def test_feed_of_new_models(router):
    answer = router.client.get("/models", params={"use_rss": "true"})

    assert "xml" in answer.headers["Content-Type"]
    channel = ET.fromstring(answer.text).find("channel")  # noqa: S314 - our own answer
    titles = [item.findtext("title") for item in channel.findall("item")]
    assert any("(openai/gpt-4o)" in title for title in titles)


# What a caller who asks is told


def test_metadata_is_only_for_those_who_ask(router):
    body = {"model": SONNET, "messages": HELLO}

    assert "openrouter_metadata" not in post(router, body).json()
    assert not any("openrouter_metadata" in chunk for chunk in streamed(router, body))


@pytest.mark.parametrize("stream", [False, True])
def test_metadata_of_an_answer(router, stream):
    body = {"model": GPT_4O, "messages": HELLO, "provider": {"only": ["azure"]}}

    if stream:
        chunks = streamed(router, body, TELL)
        (told,) = [c["openrouter_metadata"] for c in chunks if "openrouter_metadata" in c]
        assert "openrouter_metadata" in chunks[-1]
    else:
        told = post(router, body, TELL).json()["openrouter_metadata"]

    assert (told["requested"], told["strategy"], told["attempt"]) == (GPT_4O, "direct", 1)
    assert told["endpoints"] == {
        "total": 2,
        "available": [{"provider": "Azure", "model": GPT_4O, "selected": True}],
    }
    assert attempts(told) == [("Azure", GPT_4O, 200)]
    assert told["is_byok"] is False


def test_metadata_of_a_stream_that_breaks(router):
    body = {"model": GPT_4O, "messages": HELLO, "provider": {"only": ["azure"]}}

    with failing(router, "cut_after:3", "azure"):
        chunks = streamed(router, body, TELL)

    assert chunks[-1]["error"]["code"] == 502
    told = chunks[-1]["openrouter_metadata"]
    assert attempts(told) == [("Azure", GPT_4O, 502)]
    assert not any(one["selected"] for one in told["endpoints"]["available"])


def test_metadata_of_a_stream_that_never_began(router):
    body = {"models": [SONNET, MYTHOMAX], "messages": MEANING, "stream": True}

    with failing(router, "503", "amazon-bedrock", "deepinfra", "novita"):
        answer = post(router, body, TELL, status=httpx.codes.BAD_GATEWAY)

    told = answer.json()["openrouter_metadata"]
    assert [model for _, model, _ in attempts(told)] == [SONNET, MYTHOMAX, MYTHOMAX]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/responses", {"input": "Hello"}),
        ("/messages", {"messages": HELLO, "max_tokens": 100}),
    ],
)
def test_metadata_in_the_other_forms_of_answer(router, path, body):
    asked = {"model": GPT_4O, "provider": {"only": ["azure"]}, **body}

    answer = router.client.post(path, json=asked, headers=TELL)
    refused = router.client.post(
        path, json={**asked, "provider": {"only": ["together"]}}, headers=TELL
    )

    assert attempts(answer.json()["openrouter_metadata"]) == [("Azure", GPT_4O, 200)]
    assert refused.status_code == httpx.codes.NOT_FOUND
    assert refused.json()["openrouter_metadata"]["attempt"] == 0


@pytest.mark.parametrize("value", ["enabled", "Enabled", "disabled", "yes"])
def test_metadata_header_has_one_word(router, value):
    body = {"model": GPT_4O, "messages": HELLO}

    answer = post(router, body, {"X-OpenRouter-Metadata": value}).json()

    assert ("openrouter_metadata" in answer) is (value.lower() == "enabled")


@pytest.mark.parametrize("stream", [False, True])
def test_metadata_fits_the_guides_own_sdk(router, stream):
    body = {"models": [SONNET, MYTHOMAX], "messages": MEANING}

    with (
        OpenRouter(api_key=router.cluster.api_key, server_url=router.cluster.base_url) as client,
        failing(router, "503", "amazon-bedrock"),
    ):
        answer = client.chat.send(**body, stream=stream, x_open_router_metadata="enabled")
        if stream:
            with answer as chunks:
                answer = list(chunks)[-1]

    told = answer.openrouter_metadata
    assert (told.requested, told.strategy, told.attempt) == (SONNET, "fallback", 2)
    assert [(one.model, one.status) for one in told.attempts] == [(SONNET, 502), (MYTHOMAX, 200)]


def test_summary_tells_the_first_model_from_a_fallback(router):
    answer = post(router, {"models": [SONNET, MYTHOMAX], "messages": MEANING}, TELL).json()

    assert answer["model"] == SONNET
    assert "as a fallback" not in answer["openrouter_metadata"]["summary"]
