"""Price lists laid beside the catalog and taken into it."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.catalog.import_files import MARK, check_files, read_shelf, texts, write_files
from routing.catalog.import_formats import FORMATS, read_list
from routing.catalog.import_match import match
from routing.catalog.import_merge import merge
from routing.catalog.load import load
from routing.catalog.price_diff import differences, start_ms
from routing.errors import ConfigError
from tests.fixtures.priced import LISTS, put_models, put_shelf

DAY = date(2026, 6, 1)
JUNE_MS = start_ms(DAY)


class Import:
    """One list into one catalog directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def catalog(self):
        return load((self.directory,), environ={}, sandbox_url="http://x")

    def matched(self, form, file, providers=(), day=DAY):
        one = providers[0] if len(providers) == 1 else None
        found = read_list(form, file, day, one)
        return match(found, self.catalog(), frozenset(providers), start_ms(day))

    def run(self, form, file, providers=(), day=DAY, *, write=True):
        made = merge(
            self.matched(form, file, providers, day),
            self.catalog(),
            books := read_shelf((self.directory,)),
            day,
        )
        if write and made.touched:
            files = texts(books, made.touched, self.directory)
            check_files(files, self.directory, (self.directory,))
            write_files(files, force=True)
        return made

    def told(self, form, file, providers=()):
        matched = self.matched(form, file, providers)
        return [
            (d.model_id, d.tag, d.what, str(d.ours.normalize()), str(d.theirs.normalize()))
            for d in differences(matched, DAY)
        ]


@pytest.fixture(autouse=True)
def shipped(tmp_path_factory, monkeypatch):
    """Five models and no provider: the shipped catalog grows, what is tested here does not."""
    base = put_models(tmp_path_factory.mktemp("shipped"))
    monkeypatch.setattr("routing.catalog.load.SHIPPED", base)
    monkeypatch.setattr("routing.catalog.import_files.SHIPPED", base)


@pytest.fixture
def into(tmp_path: Path) -> Import:
    return Import(put_shelf(tmp_path / "mine"))


def reasons(made):
    return {skip.entry: skip.reason for skip in made.skips}


def write(tmp_path, value) -> Path:
    file = tmp_path / "list.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def test_a_list_of_models_becomes_endpoints_of_the_named_provider(into):
    made = into.run("openrouter-json", LISTS / "openrouter-models.json", ("openrouter",))

    catalog = into.catalog()
    rocket, endpoint = (
        catalog.models["acme/rocket-2"],
        catalog.endpoints["openrouter:acme/rocket-2"],
    )
    assert rocket.name == "Acme: Rocket 2"
    assert rocket.canonical_slug == "acme/rocket-2-20260101"
    assert rocket.created == 1_767_225_600
    assert rocket.description == "Goes up. Comes down, too."
    assert rocket.architecture.input_modalities == ("image", "text", "file")
    assert rocket.expiration_date == "2027-01-31"
    assert dict(rocket.default_parameters) == {"temperature": 0.6}
    assert endpoint.upstream_id == "acme/rocket-2"
    assert (endpoint.context_length, endpoint.max_completion_tokens) == (400_000, 128_000)
    assert endpoint.supported_parameters == {"max_tokens", "seed", "tools", "tool_choice"}
    price = endpoint.price_at(JUNE_MS)
    assert (price.prompt_pico, price.completion_pico) == (1_250_000, 10_000_000)
    assert price.cache_read_pico == 125_000
    assert price.reasoning_pico is None  # 0 beside a price means "not told apart"
    assert (price.long_over, price.long_prompt_pico) == (200_000, 2_500_000)
    assert price.long_cache_read_pico == 125_000
    assert price.source == "https://openrouter.ai/acme/rocket-2"
    assert catalog.endpoints["openrouter:acme/rocket-2:free"].price_at(JUNE_MS).free
    assert reasons(made) == {
        "openrouter/auto": "has no price of its own: it varies",
        "acme/ranker": "the modality 'rerank' is not served here",
        "acme/rocket-2": "parameters unknown here: teleport",
    }


def test_a_changed_price_stands_beside_the_old_ones(into):
    into.run("openrouter-json", LISTS / "openrouter-models.json", ("openrouter",))

    kimi = into.catalog().endpoints["openrouter:moonshotai/kimi-k2-thinking"]
    assert [(p.prompt_pico, p.completion_pico, p.cache_read_pico) for p in kimi.prices] == [
        (600_000, 2_500_000, 150_000),
        (450_000, 2_350_000, 150_000),
    ]
    assert kimi.prices[1].from_ms == JUNE_MS


def test_importing_twice_changes_nothing_more(into):
    first = into.run("openrouter-json", LISTS / "openrouter-models.json", ("openrouter",))
    before = {file: file.read_text() for file in into.directory.rglob("*.yml")}

    second = into.run("openrouter-json", LISTS / "openrouter-models.json", ("openrouter",))

    assert first.touched
    assert not second.touched
    assert second.same == 3
    assert {file: file.read_text() for file in into.directory.rglob("*.yml")} == before


def test_without_a_provider_a_list_of_models_brings_nothing(into):
    made = into.run("openrouter-json", LISTS / "openrouter-models.json")

    assert not made.changes
    assert "name a provider" in reasons(made)["acme/rocket-2"]
    assert "not our lowest price" in reasons(made)["moonshotai/kimi-k2-thinking"]


def test_endpoints_of_a_model_are_found_by_their_tag(into):
    made = into.run("openrouter-json", LISTS / "openrouter-endpoints.json")

    prices = into.catalog().endpoints["openai:openai/gpt-4o"].prices
    assert [price.prompt_pico for price in prices] == [5_000_000, 2_500_000, 2_000_000]
    assert prices[-1].cache_read_pico == 1_250_000
    assert reasons(made) == {
        "openai/gpt-4o at acme-cloud": "the provider 'acme-cloud' is not in the catalog"
    }


def test_litellm_by_the_providers_own_names(into):
    made = into.run("litellm-json", LISTS / "litellm.json")

    catalog = into.catalog()
    mini = catalog.endpoints["openai:openai/gpt-4o-mini"].price_at(JUNE_MS)
    assert (mini.prompt_pico, mini.completion_pico) == (150_000, 500_000)
    assert mini.cache_read_pico == 75_000
    assert len(catalog.endpoints["openai:openai/gpt-4o"].prices) == 2
    assert len(catalog.endpoints["anthropic:anthropic/claude-sonnet-4.5"].prices) == 1
    rocket = catalog.endpoints["openai:openai/rocket-9"]
    assert rocket.dialect == "openai-responses"
    assert rocket.supported_parameters == {
        "temperature",
        "max_tokens",
        "reasoning",
        "include_reasoning",
    }
    price = rocket.price_at(JUNE_MS)
    assert (price.long_over, price.long_completion_pico) == (200_000, 15_000_000)
    assert price.source == "https://rockets.example/prices"
    model = catalog.models["openai/rocket-9"]
    assert model.architecture.input_modalities == ("text", "image", "file")
    assert model.expiration_date == "2027-06-30"
    assert reasons(made) == {
        "gpt-4o-2024-11-20": "perhaps openai/gpt-4o by another name",
        "rocket-1": "went away on its deprecation_date",
        "1024-x-1024/dall-e-2": "the mode 'image_generation' is not served here",
        "groq/spoken": "the unit is not one of the catalog: input_cost_per_character",
        "dashscope/qwen-flash": "the price varies: tiered_pricing",
        "heroku/claude-3-5-haiku": "the provider 'heroku' is not in the catalog",
    }


def test_genai_prices_with_their_days(into):
    made = into.run("genai-prices", LISTS / "genai-prices.json")

    catalog = into.catalog()
    prices = catalog.endpoints["openai:openai/gpt-4o"].prices
    assert [(price.from_ms, price.prompt_pico) for price in prices[1:]] == [
        (start_ms(date(2024, 10, 2)), 2_500_000),
        (start_ms(date(2026, 3, 13)), 2_000_000),
        (start_ms(date(2027, 1, 1)), 1_000_000),
    ]
    rocket = catalog.endpoints["openai:openai/rocket-7"].price_at(JUNE_MS)
    assert (rocket.prompt_pico, rocket.request_pico) == (350_000, 12_000_000_000)
    # The price by the hour is not used, and the wider rule after it does not take its name.
    assert len(catalog.endpoints["openai:openai/gpt-4o-mini"].prices) == 1
    assert reasons(made) == {
        "openai/gpt-4o-mini": "the price varies with the hour",
        "openai/patterned": "match uses 'regex', which is not followed",
    }


def test_differences_are_those_of_what_is_charged(into):
    assert into.told("litellm-json", LISTS / "litellm.json") == [
        ("openai/gpt-4o-mini", "openai", "completion", "0.6", "0.5")
    ]
    assert into.told("openrouter-json", LISTS / "openrouter-endpoints.json") == [
        ("openai/gpt-4o", "openai", "prompt", "2.5", "2")
    ]


def test_a_rate_the_list_tells_and_we_do_not_is_compared_with_what_we_charge(into, tmp_path):
    entry = {
        "litellm_provider": "openai",
        "mode": "embedding",
        "max_input_tokens": 8191,
        "input_cost_per_token": 2e-8,
        "cache_read_input_token_cost": 1e-8,
        "input_cost_per_token_above_128k_tokens": 2e-8,
    }
    file = write(tmp_path, {"text-embedding-3-small": entry})

    assert into.told("litellm-json", file) == [
        ("openai/text-embedding-3-small", "openai", "cache_read", "0.02", "0.01"),
        ("openai/text-embedding-3-small", "openai", "long_cache_read", "0.02", "0.01"),
    ]


def test_a_price_of_the_same_day_is_never_replaced(into):
    into.run("openrouter-json", LISTS / "openrouter-endpoints.json")
    changed = json.loads((LISTS / "openrouter-endpoints.json").read_text())
    changed["data"]["endpoints"][0]["pricing"]["prompt"] = "0.000001"
    file = write(into.directory.parent, changed)

    made = into.run("openrouter-json", file)

    assert (
        "a price from 2026-06-01 is in the catalog already"
        in reasons(made)["openai/gpt-4o at openai"]
    )
    assert into.catalog().endpoints["openai:openai/gpt-4o"].prices[-1].prompt_pico == 2_000_000


def test_a_tag_that_ends_with_a_quantization_means_the_endpoint_so_quantized(into, tmp_path):
    (into.directory / "providers" / "lab.yml").write_text("""\
slug: lab
name: Lab
dialect: openai
base_url: http://10.0.0.5:8000/v1
endpoints:
  - model: openai/gpt-4o
    upstream_id: gpt-4o
    context_length: 8192
    quantization: fp8
    prices: [{from: 2025-01-01, prompt: 1, completion: 1, source: https://lab.example}]
""")
    row = {"tag": "lab/fp8", "context_length": 8192}
    row |= {"pricing": {"prompt": "0.000002", "completion": "0.000001"}}
    other = row | {"tag": "lab/fp4"}
    file = write(tmp_path, {"data": {"id": "openai/gpt-4o", "endpoints": [row, other]}})

    assert into.told("openrouter-json", file) == [("openai/gpt-4o", "lab", "prompt", "1", "2")]


HOSTILE = [
    ({"prompt": "-0.1", "completion": "0"}, "prompt is negative: '-0.1'"),
    ({"prompt": "NaN", "completion": "0"}, "prompt is not a plain number: 'NaN'"),
    ({"prompt": "1e99", "completion": "0"}, "prompt is larger than 1000000 US dollars"),
    ({"prompt": ["0"], "completion": "0"}, "prompt is not a plain number"),
    ({"prompt": "0"}, "has no price for prompts and completions"),
    ({"prompt": "1", "completion": "0", "discount": 0.5}, "names a discount"),
    (
        {"prompt": "0", "completion": "0", "overrides": [{"utc_start": 0, "prompt": "0"}]},
        "has several tiers, or prices that change with the time",
    ),
    ("free", "pricing is not an object"),
]


@pytest.mark.parametrize(("pricing", "reason"), HOSTILE)
def test_a_price_that_is_none_is_a_sentence(into, tmp_path, pricing, reason):
    file = write(tmp_path, {"data": [{"id": "acme/evil", "created": 1, "pricing": pricing}]})

    made = into.run("openrouter-json", file, ("openrouter",))

    assert reasons(made)["acme/evil"].startswith(reason)
    assert not made.touched


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "../../etc/passwd"}, "id is not a name the catalog can hold"),
        ({"id": "acme/\x1b[2J"}, "id holds control characters"),
        ({"id": 7}, "id is not text"),
        ({"id": "acme/x", "context_length": 1e300}, "context_length is not a whole number"),
        ({"id": "acme/x", "context_length": "wide"}, "context_length is not a whole number"),
        ({"id": "acme/x", "created": -5}, "created is not a whole number"),
        ({"id": "acme/x", "created": 10**15}, "created is not a whole number"),
        ({"id": "acme/x"}, "does not say when the model was added"),
        (
            {"id": "acme/x", "created": 1, "supported_parameters": "all"},
            "a parameter is not a list",
        ),
        ({"id": "acme/x", "created": 1}, "new here, and the list does not give a context length"),
        ({"id": "acme/x:free", "created": 1, "context_length": 9}, "a `:free` model cannot have"),
        (7, "the entry is not an object"),
    ],
)
def test_an_entry_that_is_none_is_a_sentence(into, tmp_path, row, reason):
    pricing = {"pricing": {"prompt": "0.000001", "completion": "0"}}
    file = write(tmp_path, {"data": [row if row == 7 else pricing | row]})

    made = into.run("openrouter-json", file, ("openrouter",))

    (said,) = reasons(made).items()
    assert said[1].startswith(reason)
    assert all(part.isprintable() for part in said)
    assert not made.touched


def test_duplicates_are_not_used(into, tmp_path):
    entry = '{"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1}'
    file = write(tmp_path, f'{{"gpt-4o": {entry}, "gpt-4o": {entry}}}')
    inner = write(
        tmp_path / "..",
        '{"data": [{"id": "acme/x", "pricing": {"prompt": "0", "prompt": "1"}}]}',
    )

    assert reasons(into.run("litellm-json", file))["gpt-4o"].startswith("is given twice")
    made = into.run("openrouter-json", inner, ("openrouter",))
    assert reasons(made)["acme/x"] == "pricing gives 'prompt' twice"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("content", ["7", "[7]", '"x"', "null"])
def test_another_format_is_a_sentence(into, tmp_path, form, content):
    file = write(tmp_path, content)

    with pytest.raises(ConfigError, match=r"list\.json: (not|neither)"):
        into.run(form, file)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
WORDS = """
    id pricing prompt completion created context_length architecture name tag source mode
    litellm_provider input_cost_per_token output_cost_per_token match prices input_mtok
    output_mtok tiers equals or contains default_parameters top_provider overrides
"""
KEYS = st.sampled_from(WORDS.split())
ROWS = st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON, max_size=4), max_size=8)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ROWS, max_size=4), place=st.sampled_from(FORMATS))
def test_no_list_makes_more_than_sentences(tmp_path_factory, rows, place):
    value = {
        "openrouter-json": {"data": rows},
        "litellm-json": {f"gpt-4o-{n}": row for n, row in enumerate(rows)},
        "genai-prices": [{"id": "openai", "models": rows}],
    }[place]
    file = tmp_path_factory.mktemp("hostile") / "list.json"
    file.write_text(json.dumps(value))

    found = read_list(place, file, DAY, "openrouter")

    assert len(found.offers) + len({skip.entry for skip in found.skips}) <= len(rows)
    for skip in found.skips:
        assert skip.reason
        assert (skip.entry + skip.reason).isprintable()


def test_an_entry_of_another_directory_is_copied_and_one_of_this_is_kept(into):
    made = into.run("litellm-json", LISTS / "litellm.json")

    text = (into.directory / "providers" / "openai.yml").read_text()
    assert made.touched == {"providers/openai", "models/openai/rocket-9"}
    assert text.startswith(MARK)
    assert "from: 2024-05-13, prompt: 5.00" not in text
    assert "- {from: 2026-06-01, prompt: 0.15, completion: 0.5, cache_read: 0.075" in text
    assert (into.directory / "models" / "openai.yml").read_text().count("- id:") == 1


def test_a_model_file_written_before_keeps_its_rows(into):
    into.run("litellm-json", LISTS / "litellm.json")
    entry = {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 9}
    entry |= {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}
    file = write(into.directory.parent, {"comet-1": entry})

    into.run("litellm-json", file)

    assert {"openai/rocket-9", "openai/comet-1"} <= into.catalog().models.keys()


class Interrupted(BaseException):
    """The process ends here."""


def two_files(into):
    """A new model and an endpoint of it: what is written, into which files."""
    file = LISTS / "openrouter-models.json"
    matched = into.matched("openrouter-json", file, ("openrouter",))
    books = read_shelf((into.directory,))
    made = merge(matched, into.catalog(), books, DAY)
    files = texts(books, made.touched, into.directory)
    assert {each.relative_to(into.directory).as_posix() for each in files} == {
        "models/acme.yml",
        "providers/openrouter.yml",
    }
    return files


def everything(directory):
    return {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}


@pytest.mark.parametrize("written", [0, 1, 2])
def test_an_import_that_is_interrupted_leaves_a_catalog_that_loads(into, monkeypatch, written):
    files, replace, left = two_files(into), Path.replace, [None] * written

    def ending(self, target):
        if not left:
            raise Interrupted
        left.pop()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", ending)
    with suppress(Interrupted):
        write_files(files, force=True)

    catalog = into.catalog()
    assert ("acme/rocket-2" in catalog.models) is (written > 0)
    assert ("openrouter:acme/rocket-2" in catalog.endpoints) is (written == 2)
    assert not list(into.directory.rglob(".*"))


@pytest.mark.parametrize("blocked", ["models/acme.yml", "providers/openrouter.yml"])
def test_a_file_that_cannot_be_replaced_is_a_sentence_and_the_catalog_loads(into, blocked):
    files, place, aside = two_files(into), into.directory / blocked, into.directory / "aside"
    if place.exists():
        place.rename(aside)
    place.mkdir(parents=True)

    with pytest.raises(ConfigError, match=f"{blocked}: cannot be written: Is a directory"):
        write_files(files, force=True)

    assert not list(into.directory.rglob(".*"))
    place.rmdir()
    if aside.exists():
        aside.rename(place)
    assert "openrouter:acme/rocket-2" not in into.catalog().endpoints


@pytest.mark.parametrize(("blocked", "force"), [("models", True), ("providers", False)])
def test_a_directory_that_cannot_be_written_is_a_sentence_and_nothing_is(into, blocked, force):
    """It is a file: nobody can write into that, the superuser included."""
    files, place = two_files(into), into.directory / blocked
    if place.exists():
        place.rename(into.directory / "aside")
    place.write_text("")
    before = everything(into.directory)

    with pytest.raises(ConfigError, match="cannot be written: "):
        write_files(files, force=force)

    assert everything(into.directory) == before


def test_prices_are_written_as_decimals(into, tmp_path):
    pricing = {"prompt": "0.000000000001", "completion": "0.1", "request": "0.000000000001"}
    row = {"id": "acme/x", "name": "'#: {x}", "created": 1, "context_length": 9, "pricing": pricing}
    file = write(tmp_path, {"data": [row | {"description": "- a: [b]\n# c"}]})

    into.run("openrouter-json", file, ("openrouter",))

    catalog = into.catalog()
    price = catalog.endpoints["openrouter:acme/x"].prices[0]
    assert (price.prompt_pico, price.completion_pico, price.request_pico) == (1, 10**11, 1)
    assert catalog.models["acme/x"].name == "'#: {x}"
    assert catalog.models["acme/x"].description == "- a: [b] # c"
    assert Decimal("0.000001") == Decimal(price.prompt_pico).scaleb(-6)


def genai(tmp_path, prices):
    model = {"id": "rocket-8", "match": {"equals": "rocket-8"}, "context_window": 9}
    return write(tmp_path, [{"id": "openai", "models": [model | {"prices": prices}]}])


def test_every_price_of_genai_prices_has_its_place(into, tmp_path):
    usual = {
        "input_mtok": 1,
        "output_mtok": 2,
        "output_reasoning_mtok": 3,
        "cache_write_1h_mtok": 4,
    }
    usual |= {"output_image_mtok": 5, "web_searches_kcount": 10, "input_audio_mtok": 6}
    usual |= {"output_audio_mtok": 7, "cache_read_mtok": 0.1, "cache_write_mtok": 1.25}

    into.run("genai-prices", genai(tmp_path, usual))

    price = into.catalog().endpoints["openai:openai/rocket-8"].prices[0]
    assert price.rates() == {
        "prompt_pico": 1_000_000,
        "completion_pico": 2_000_000,
        "request_pico": 0,
        "image_pico": 0,
        "cache_read_pico": 100_000,
        "cache_write_pico": 1_250_000,
        "reasoning_pico": 3_000_000,
        "cache_write_1h_pico": 4_000_000,
        "audio_pico": 6_000_000,
        "audio_output_pico": 7_000_000,
        "image_output_pico": 5_000_000,
    }


@pytest.mark.parametrize(
    ("prices", "reason"),
    [
        ({"input_mtok": 1, "audio_hours": 2}, "the unit is not one of the catalog: audio_hours"),
        ({"output_mtok": 1}, "has no price for prompts"),
        ({"input_mtok": 1}, "new here, and has no price for completions"),
        ({}, "has no price"),
        ([], "has no price"),
        ({"input_mtok": {"base": 1, "tiers": []}, "output_mtok": 1}, "has several tiers"),
        (
            {"input_audio_mtok": {"base": 1, "tiers": []}, "input_mtok": 1},
            "has tiers for what has none in the catalog",
        ),
    ],
)
def test_a_price_of_genai_prices_without_a_place_is_a_sentence(into, tmp_path, prices, reason):
    made = into.run("genai-prices", genai(tmp_path, prices))

    assert reasons(made) == {"openai/rocket-8": reason}


def litellm(provider, **more):
    entry = {"litellm_provider": provider, "mode": "chat", "max_input_tokens": 8192}
    return entry | {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6} | more


def test_the_end_of_a_model_is_told_by_who_makes_it(into, tmp_path):
    entry = litellm("openai", input_cost_per_token=2.5e-6, output_cost_per_token=1e-5)
    file = write(tmp_path, {"gpt-4o": entry | {"deprecation_date": "2027-01-31"}})

    made = into.run("litellm-json", file)

    assert [change.kind for change in made.changes] == ["expires"]
    assert into.catalog().models["openai/gpt-4o"].expiration_date == "2027-01-31"
    assert not into.run("litellm-json", file).touched


LAB = """\
slug: lab
name: Lab
dialect: openai
base_url: http://10.0.0.5:8000/v1
"""
STAR = """\
models:
  - {id: acme/star, name: Star, created: 2025-01-01, hugging_face_id: Acme/Star-7B}
  - {id: 'acme/star:free', name: Star, created: 2025-01-01, hugging_face_id: Acme/Star-7B}
"""


def test_hosts_of_open_models_are_matched_by_repository(into, tmp_path):
    (into.directory / "providers" / "lab.yml").write_text(LAB)
    (into.directory / "models").mkdir()
    (into.directory / "models" / "star.yml").write_text(STAR)
    file = write(tmp_path, {"lab/acme/star-7b": litellm("lab"), "lab/acme/moon": litellm("lab")})

    made = into.run("litellm-json", file)

    assert into.catalog().endpoints["lab:acme/star"].upstream_id == "acme/star-7b"
    assert reasons(made) == {
        "lab/acme/moon": "no model here is known by that name; describe it in a models file"
    }


def test_a_second_name_of_an_endpoint_is_not_a_second_price(into, tmp_path):
    again = litellm("openai", input_cost_per_token=9e-6)
    file = write(tmp_path, {"gpt-4o": litellm("openai"), "openai/gpt-4o": again})

    made = into.run("litellm-json", file, write=False)

    assert reasons(made)["openai/gpt-4o"] == "another entry is the same endpoint: gpt-4o"
