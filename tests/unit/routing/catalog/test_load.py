"""From files to a catalog, or to every problem with its line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from routing.catalog import load as load_module
from routing.catalog.load import PROBLEMS_MAX, SHIPPED, check, load
from routing.catalog.shapes import Catalog, DataPolicy, LongPrice, Price
from routing.errors import ConfigError, ConfigProblem

DAY_MS = 86_400_000
JAN_2025_MS = 1_735_689_600_000

MODEL = """\
models:
  - id: acme/rocket
    name: 'Acme: Rocket'
    created: 2025-01-02
"""
PROVIDER = """\
slug: lab
name: Lab
dialect: openai
base_url: http://10.0.0.5:8000/v1
endpoints:
  - model: acme/rocket
    upstream_id: rocket-7b
    context_length: 8192
    prices:
      - from: 2025-01-01
        prompt: 0.15
        completion: 0.60
        source: https://lab.example/prices
"""


def loaded(
    *directories: Any, environ: Mapping[str, str] | None = None, sandbox_url: str = ""
) -> Catalog:
    roots = [directory.root for directory in directories]
    return load(roots, environ=environ or {}, sandbox_url=sandbox_url)


def problems(*directories: Any) -> tuple[ConfigProblem, ...]:
    return check([directory.root for directory in directories], {})


def only(found: tuple[ConfigProblem, ...]) -> ConfigProblem:
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


# --- what is read -------------------------------------------------------------------------------


def test_a_private_provider_is_ten_lines(directory):
    catalog = loaded(directory)
    (endpoint,) = catalog.endpoints_of("acme/rocket")
    assert endpoint.id == "lab:acme/rocket"
    assert endpoint.tag == "lab"
    assert endpoint.upstream_id == "rocket-7b"
    assert endpoint.provider.base_url == "http://10.0.0.5:8000/v1"
    assert endpoint.provider.pool == "lab"
    assert endpoint.provider.data_policy == DataPolicy()
    assert not endpoint.provider.simulated
    assert endpoint.prices == (
        Price(
            from_ms=JAN_2025_MS,
            prompt_pico=150_000,
            completion_pico=600_000,
            source="https://lab.example/prices",
        ),
    )
    assert catalog.models["acme/rocket"].created == JAN_2025_MS // 1_000 + 86_400
    assert catalog.endpoints["lab:acme/rocket"] is endpoint


def test_prices_are_read_exactly(directory):
    directory.provider(
        PROVIDER.replace(
            "        completion: 0.60\n",
            "        completion: 0.000001\n        request: 0.01\n        image: 0.000000000001\n"
            "        cache_read: 0.1\n        cache_write: 3\n        reasoning: 0.3\n",
        )
    )
    (endpoint,) = loaded(directory).endpoints_of("acme/rocket")
    price = endpoint.price_at(JAN_2025_MS)
    assert price.completion_pico == 1
    assert price.request_pico == 10_000_000_000
    assert price.image_pico == 1
    assert price.cache_read_pico == 100_000
    assert price.cache_write_pico == 3_000_000
    assert price.reasoning_pico == 300_000


def test_rates_of_long_prompts(directory):
    long = "        long: {over: 200000, prompt: 0.30, completion: 0.9, cache_read: 0.03}\n"
    directory.provider(PROVIDER.replace("        source", long + "        source"))
    (endpoint,) = loaded(directory).endpoints_of("acme/rocket")
    assert endpoint.price_at(JAN_2025_MS).long == LongPrice(
        over=200_000, prompt_pico=300_000, completion_pico=900_000, cache_read_pico=30_000
    )


@pytest.mark.parametrize(
    ("long", "message"),
    [
        ("{over: 0, prompt: 1, completion: 1}", "greater than or equal to 1"),
        ("{over: 1, prompt: 1}", "completion"),
        ("{over: 1, prompt: 1, completion: 1, audio: 1}", "audio"),
        ("{over: 1, prompt: -1, completion: 1}", "between 0 and"),
    ],
)
def test_problems_of_long_rates(directory, long: str, message: str):
    directory.provider(PROVIDER.replace("        source", f"        long: {long}\n        source"))
    assert message in str(only(problems(directory)))


def test_a_free_model_cannot_have_a_price_for_long_prompts(directory):
    long = "        long: {over: 9, prompt: 1, completion: 0}\n"
    free = PROVIDER.replace("acme/rocket", "acme/rocket:free").replace("prompt: 0.15", "prompt: 0")
    free = free.replace("completion: 0.60", "completion: 0")
    directory.provider(free.replace("        source", long + "        source"))
    assert "cannot have a price" in str(problems(directory)[0])


def test_dated_prices_follow_each_other(directory):
    later = (
        "      - {from: 2025-01-03, prompt: 1, completion: 2, source: https://lab.example/new}\n"
    )
    directory.provider(PROVIDER + later)
    (endpoint,) = loaded(directory).endpoints_of("acme/rocket")
    assert endpoint.price_at(JAN_2025_MS + 2 * DAY_MS - 1).prompt_pico == 150_000
    assert endpoint.price_at(JAN_2025_MS + 2 * DAY_MS).prompt_pico == 1_000_000


def test_parameters_of_the_provider_hold_for_its_endpoints(directory):
    row = PROVIDER.partition("endpoints:\n")[2]
    directory.provider(
        PROVIDER.replace("endpoints:\n", "supported_parameters: [seed, stop]\nendpoints:\n")
        + row.replace("  - model", "  - tag: lab/own\n    supported_parameters: [top_p]\n    model")
        + row.replace("  - model", "  - tag: lab/more\n    more_parameters: [tools]\n    model")
    )
    found = {each.tag: each.supported_parameters for each in loaded(directory).endpoints.values()}
    assert found["lab"] == {"seed", "stop"}
    assert found["lab/own"] == {"top_p"}
    assert found["lab/more"] == {"seed", "stop", "tools"}


def test_endpoints_of_a_model_come_in_the_order_of_their_providers(directory):
    directory.provider(PROVIDER.replace("slug: lab", "slug: zoo"), "a.yml")
    directory.provider(PROVIDER.replace("slug: lab", "slug: ant"), "z.yml")
    tags = [each.tag for each in loaded(directory).endpoints_of("acme/rocket")]
    assert tags == ["ant", "lab", "zoo"]


def test_a_model_is_found_by_its_canonical_slug_too(directory):
    directory.models(MODEL + "    canonical_slug: acme/rocket-2025-01-02\n")
    catalog = loaded(directory)
    assert catalog.model("acme/rocket-2025-01-02") is catalog.model("acme/rocket")


def test_a_variant_shares_the_slug_of_its_model_and_never_takes_its_name(directory):
    directory.models(
        MODEL
        + "  - {id: 'acme/rocket:free', name: Free, created: 2025-01-02}\n"
        + "  - {id: 'acme/glider:free', name: Glider, created: 2025-01-02}\n"
    )
    catalog = loaded(directory)
    assert catalog.models["acme/rocket:free"].canonical_slug == "acme/rocket"
    assert catalog.models["acme/rocket"].id == "acme/rocket"
    assert catalog.models["acme/glider"].id == "acme/glider:free"


def test_the_maps_cannot_be_changed(directory):
    catalog = loaded(directory)
    for mapping in (catalog.providers, catalog.models, catalog.endpoints, catalog.by_model):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index] # the point of the test


# --- overriding ---------------------------------------------------------------------------------


def test_later_directories_override_by_slug_and_id(directory, second):
    second.models(MODEL.replace("Acme: Rocket", "Rocket, ours"))
    second.provider(PROVIDER.replace("name: Lab", "name: Our lab"))
    catalog = loaded(directory, second)
    assert catalog.models["acme/rocket"].name == "Rocket, ours"
    assert catalog.providers["lab"].name == "Our lab"
    assert len(catalog.endpoints_of("acme/rocket")) == 1


def test_an_operator_overrides_what_is_shipped(second):
    second.provider(
        "slug: groq\nname: Groq here\ndialect: openai\nbase_url: https://groq.here/v1\n"
    )
    catalog = loaded(second, sandbox_url="http://127.0.0.1:8099")
    assert catalog.providers["groq"].name == "Groq here"
    assert not [each for each in catalog.endpoints.values() if each.provider.slug == "groq"]


def test_a_directory_may_hold_only_one_kind(directory, second):
    second.provider(PROVIDER.replace("slug: lab", "slug: other"))
    assert len(loaded(directory, second).endpoints_of("acme/rocket")) == 2


# --- keys and the sandbox -----------------------------------------------------------------------

KEYED = PROVIDER.replace("endpoints:\n", "key_variable: LAB_API_KEY\nendpoints:\n")


@pytest.mark.parametrize(
    ("environ", "sandbox_url", "base_url", "callable_", "simulated"),
    [
        pytest.param(
            {"LAB_API_KEY": "secret"},
            "http://sim:8099",
            "http://10.0.0.5:8000/v1",
            True,
            False,
            id="a key: real",
        ),
        pytest.param(
            {},
            "http://sim:8099/",
            "http://sim:8099/p/lab/v1",
            True,
            True,
            id="no key, sandbox: simulated",
        ),
        pytest.param(
            {"LAB_API_KEY": " "},
            "http://sim:8099",
            "http://sim:8099/p/lab/v1",
            True,
            True,
            id="an empty key is no key",
        ),
        pytest.param(
            {}, "", "http://10.0.0.5:8000/v1", False, False, id="neither: cannot be called"
        ),
    ],
)
def test_reach(directory, environ, sandbox_url, base_url, callable_, simulated):
    directory.provider(KEYED)
    catalog = loaded(directory, environ=environ, sandbox_url=sandbox_url)
    provider = catalog.providers["lab"]
    assert provider.base_url == base_url
    assert provider.simulated is simulated
    assert bool(catalog.endpoints_of("acme/rocket")) is callable_
    assert catalog.endpoints["lab:acme/rocket"].provider is provider


def test_a_provider_without_key_variable_is_real_even_in_the_sandbox(directory):
    catalog = loaded(directory, sandbox_url="http://sim:8099")
    assert not catalog.providers["lab"].simulated
    assert catalog.providers["openai"].simulated


def test_keys_stay_out(directory):
    directory.provider(KEYED)
    catalog = loaded(directory, environ={"LAB_API_KEY": "sk-very-secret"})
    assert "sk-very-secret" not in repr(catalog)


def test_the_sandbox_must_be_a_url(directory):
    with pytest.raises(ConfigError, match="POINTSMAN_SANDBOX_URL"):
        loaded(directory, sandbox_url="127.0.0.1:8099")


# --- the digest ---------------------------------------------------------------------------------


def test_the_digest_does_not_depend_on_files(directory, second):
    first = loaded(directory).digest
    (directory.root / "models" / "acme.yml").unlink()
    (directory.root / "providers" / "lab.yml").unlink()
    directory.provider(name="zzz.yaml")
    second.models("# the same, moved and commented\n" + MODEL)
    assert loaded(directory, second).digest == first
    assert len(first) == 12
    assert int(first, 16) >= 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.15", "0.16"),
        ("2025-01-01", "2025-01-02"),
        ("rocket-7b", "rocket-8b"),
        ("name: Lab", "name: LAB"),
        ("10.0.0.5", "10.0.0.6"),
    ],
)
def test_the_digest_changes_with_the_content(directory, old, new):
    before = loaded(directory).digest
    directory.provider(PROVIDER.replace(old, new))
    assert loaded(directory).digest != before


def test_the_digest_changes_when_a_key_appears(directory):
    directory.provider(KEYED)
    assert loaded(directory).digest != loaded(directory, environ={"LAB_API_KEY": "k"}).digest


# --- problems -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "hint"),
    [
        pytest.param("name: Lab", "nmae: Lab", 2, "unknown key 'nmae'", "'name'", id="a typo"),
        pytest.param("prompt:", "promt:", 11, "unknown key 'promt'", "'prompt'", id="deep typo"),
        pytest.param("model: a", "model: b", 6, "unknown model 'bcme/rocket'", "acme", id="model"),
        pytest.param("0.15", "-0.15", 11, "between 0 and", "", id="negative price"),
        pytest.param("0.15", "'0.15'", 11, "plain number", "", id="price as text"),
        pytest.param("0.15", "true", 11, "plain number", "", id="price as truth"),
        pytest.param("0.15", "0.0000001", 11, "finer than", "", id="part of a pico-dollar"),
        pytest.param("0.15", "1000001", 11, "between 0 and", "", id="absurd price"),
        pytest.param("2025-01-01", "2025-02-30", 10, "day", "", id="no such day"),
        pytest.param("2025-01-01", "20250101", 10, "date such as", "", id="number as date"),
        pytest.param("http://10", "ftp://10", 4, "http or https", "", id="other scheme"),
        pytest.param("http://10", "http://u:p@10", 4, "credentials", "", id="credentials in URL"),
        pytest.param("8000/v1", "8000/v1?key=1", 4, "query", "", id="query in base URL"),
        pytest.param("8000/v1", "99999/v1", 4, "base_url: ", "", id="no such port"),
        pytest.param("slug: lab", "slug: La b", 1, "pattern", "", id="slug"),
        pytest.param("rocket-7b", "'rocket 7b'", 7, "pattern", "", id="space in upstream id"),
        pytest.param("8192", "0", 8, "greater than or equal to 1", "", id="no context"),
        pytest.param("8192", "8192.0", 8, "valid integer", "", id="point in a count"),
        pytest.param("8192", "'8192'", 8, "valid integer", "", id="text as a count"),
        pytest.param("    prices:", "    price:", 9, "unknown key 'price'", "prices", id="no list"),
        pytest.param("https://lab", "lab", 13, "http or https", "", id="source is no link"),
    ],
)
def test_a_problem_names_file_line_reason_and_fix(directory, old, new, line, message, hint):
    file = directory.provider(PROVIDER.replace(old, new))
    found = problems(directory)
    matching = [problem for problem in found if message in problem.message]
    assert matching, [str(problem) for problem in found]
    assert matching[0].where == f"{file}:{line}"
    assert hint in matching[0].hint


def test_an_endpoint_needs_a_price(directory):
    directory.provider(PROVIDER.partition("      - from")[0].replace("prices:", "prices: []"))
    assert "needs at least one price" in only(problems(directory)).message


@pytest.mark.parametrize(
    ("day", "message"),
    [
        ("2025-01-01", "two prices begin on the same day"),
        ("2024-12-31", "must be ordered by `from`"),
    ],
)
def test_price_dates_must_ascend(directory, day, message):
    row = f"      - {{from: {day}, prompt: 1, completion: 2, source: https://lab.example}}\n"
    file = directory.provider(PROVIDER + row)
    problem = only(problems(directory))
    assert message in problem.message
    assert problem.where == f"{file}:9"


def test_a_free_model_cannot_have_a_price(directory):
    directory.models(MODEL.replace("acme/rocket", "acme/rocket:free"))
    directory.provider(PROVIDER.replace("acme/rocket", "acme/rocket:free"))
    assert "`:free` model cannot have a price" in only(problems(directory)).message


def test_a_cap_cannot_exceed_the_context(directory):
    directory.provider(PROVIDER.replace("8192", "8192\n    max_completion_tokens: 9000"))
    assert "larger than context_length" in only(problems(directory)).message


def test_an_unknown_word_comes_with_the_known_ones(directory):
    directory.provider(
        PROVIDER.replace("8192", "8192\n    more_parameters: [tool_chioce]\n    quantization: q4")
    )
    quantization, parameter = problems(directory)
    assert parameter.hint == "Did you mean 'tool_choice'?"
    assert quantization.message == "endpoints[0].quantization: unknown value 'q4'"
    assert "bf16" in quantization.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("quirks: [usage_allways]", "quirks[0]: unknown value 'usage_allways'"),
        (
            "data_policy: {retains_prompts: false, retention_days: 30}",
            "data_policy: retention_days contradicts retains_prompts: false",
        ),
        ("data_policy: none", "data_policy must be a mapping of keys to values"),
        ("timeouts: {total_ms: 0}", "timeouts.total_ms: input should be greater than or equal"),
        ("cancellation: 1", "cancellation: input should be a valid boolean"),
        ("headquarters: Bern", "headquarters: string should match pattern"),
        ("timeouts: {gap_sm: 1}", "unknown key 'gap_sm'"),
        ("data_policy: {timeout: 1}", "unknown key 'timeout'"),
        ("colour: red", "unknown key 'colour'"),
    ],
)
def test_problems_of_a_provider(directory, line: str, message: str):
    file = directory.provider(PROVIDER.replace("name: Lab", f"name: Lab\n{line}"))
    problem = only(problems(directory))
    assert message in problem.message
    assert problem.where == f"{file}:3"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("architecture: {input_modalities: []}", "needs at least one modality"),
        ("default_parameters: {temperature: hot}", "must be a number"),
        ("default_parameters: {heat: 1}", "unknown value 'heat'"),
        ("categories: [cooking]", "unknown value 'cooking'"),
        ("created_at: 2025-01-01", "unknown key 'created_at'"),
    ],
)
def test_problems_of_a_model(directory, line: str, message: str):
    file = directory.models(f"{MODEL}    {line}\n")
    problem = only(problems(directory))
    assert message in problem.message
    assert problem.where == f"{file}:5"


def test_a_tag_begins_with_the_slug(directory):
    directory.provider(PROVIDER.replace("8192", "8192\n    tag: groq/fast"))
    problem = only(problems(directory))
    assert problem.message == "the tag 'groq/fast' is not this provider's"
    assert "'lab/variant'" in problem.hint


def test_a_pasted_secret_is_not_repeated(directory):
    directory.provider(KEYED.replace("LAB_API_KEY", "sk-proj-0123456789"))
    assert "0123456789" not in str(only(problems(directory)))


def test_duplicate_endpoints_are_refused(directory):
    row = PROVIDER.partition("endpoints:\n")[2]
    file = directory.provider(PROVIDER + row)
    problem = only(problems(directory))
    assert problem.message == "duplicate endpoint 'lab:acme/rocket'"
    assert problem.where == f"{file}:14"
    assert f"{file}:6" in problem.hint


def test_two_files_of_a_directory_cannot_claim_one_slug(directory):
    twin = directory.provider(name="twin.yml")
    problem = only(problems(directory))
    assert problem.message == "slug 'lab' is given twice in this directory"
    assert problem.where == f"{twin}:1"


def test_a_model_cannot_be_given_twice(directory):
    file = directory.models(MODEL + MODEL.removeprefix("models:\n"))
    problem = only(problems(directory))
    assert problem.where == f"{file}:5"
    assert f"{file}:2" in problem.hint


def test_a_canonical_slug_cannot_take_another_models_name(directory):
    directory.models(
        MODEL
        + "  - {id: acme/plane, name: Plane, created: 2025-01-02, canonical_slug: acme/rocket}\n"
    )
    assert "already names 'acme/rocket'" in only(problems(directory)).message


def test_all_problems_come_at_once(directory):
    directory.provider(PROVIDER.replace("0.15", "-1").replace("0.60", "-2"))
    directory.provider("slug: [\n", "broken.yml")
    directory.models("models: 7\n", "number.yml")
    directory.models("- just a list\n", "list.yml")
    assert len(problems(directory)) == 5


def test_a_broken_models_file_does_not_blame_those_who_refer_to_it(directory):
    directory.models("models: [")
    assert "not valid YAML" in only(problems(directory)).message


def test_endless_problems_are_cut(directory):
    rows = "".join(f"  - {{id: x, name: n{i}, created: 2025-01-01}}\n" for i in range(300))
    directory.models("models:\n" + rows)
    assert len(problems(directory)) == PROBLEMS_MAX


def test_a_directory_that_is_none(tmp_path: Path):
    problem = only(check([tmp_path / "absent"], {}))
    assert problem.where == str(tmp_path / "absent")
    assert "providers" in problem.hint


def test_a_file_that_cannot_be_read(directory):
    (directory.root / "models" / "folder.yml").mkdir()
    assert "cannot be read" in only(problems(directory)).message


def test_an_empty_file_says_what_is_missing(directory):
    file = directory.provider("", "empty.yml")
    problem = only(problems(directory))
    assert problem.where == f"{file}:1"
    assert "must be a mapping" in problem.message


def test_other_files_are_left_alone(directory):
    (directory.root / "providers" / "README.md").write_text("not a provider")
    assert problems(directory) == ()


def test_too_many_endpoints(directory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load_module, "ENDPOINTS_MAX", 3)
    assert only(problems(directory)).message == "more than 3 endpoints"


def test_too_many_files(directory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load_module, "FILES_MAX", len(list(SHIPPED.glob("*/*.yml"))))
    assert "more than" in problems(directory)[0].message


def test_load_raises_what_check_returns(directory):
    directory.provider("slug: x\n")
    with pytest.raises(ConfigError) as caught:
        loaded(directory)
    assert caught.value.problems == problems(directory)


# --- variants and routers -----------------------------------------------------------------------

VARIANTS = """
  - id: acme/rocket:thinking
    name: 'Acme: Rocket (thinking)'
    created: 2025-01-02
    variant_of: acme/rocket
    thinking: true
  - id: acme/rocket:exacto
    name: 'Acme: Rocket (exacto)'
    created: 2025-01-02
    variant_of: acme/rocket
    curated: [lab/fast]
  - id: acme/any
    name: 'Acme: Any'
    created: 2025-01-02
    router: auto
    pool:
      - {model: acme/rocket, strength: light, good_at: [code]}
"""
FAST = PROVIDER.replace(
    "    upstream_id: rocket-7b\n", "    upstream_id: fast\n    tag: lab/fast\n"
)


def two_endpoints() -> str:
    return PROVIDER + FAST.partition("endpoints:\n")[2]


def test_a_variant_serves_the_endpoints_of_its_model_or_a_curated_part(directory):
    directory.provider(two_endpoints())
    directory.models(MODEL + VARIANTS)

    catalog = loaded(directory)

    plain = catalog.endpoints_of("acme/rocket")
    assert catalog.endpoints_of("acme/rocket:thinking") == plain
    assert catalog.models["acme/rocket:thinking"].thinking
    (curated,) = catalog.endpoints_of("acme/rocket:exacto")
    assert curated is catalog.endpoints["lab/fast:acme/rocket"]


def test_a_router_has_a_pool_and_no_endpoints(directory):
    directory.provider(two_endpoints())
    directory.models(MODEL + VARIANTS)

    catalog = loaded(directory)

    assert "acme/any" in catalog.routers
    assert catalog.endpoints_of("acme/any") == ()
    (member,) = catalog.models["acme/any"].pool
    assert (member.model_id, member.strength) == ("acme/rocket", "light")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (
            "variant_of: acme/rocket\n    thinking",
            "variant_of: acme/x\n    thinking",
            9,
            "'acme/x'",
        ),
        ("curated: [lab/fast]", "curated: [lab/slow]", 15, "no endpoint 'lab/slow' serves"),
        ("{model: acme/rocket,", "{model: acme/lost,", 21, "unknown model 'acme/lost'"),
        ("    curated: [lab/fast]", "    curated: []", 11, "at least one tag"),
        ("    router: auto\n", "", 16, "an auto router, and nothing else"),
        ("rocket:thinking\n", "rocket:free\n", 6, "free endpoints of its own"),
    ],
)
def test_what_is_wrong_with_a_variant_is_told_with_its_line(
    directory, old: str, new: str, line: int, words: str
):
    assert old in VARIANTS
    directory.provider(two_endpoints())
    file = directory.models(MODEL + VARIANTS.replace(old, new, 1))

    found = [problem for problem in problems(directory) if words in problem.message]

    assert len(found) == 1, [str(problem) for problem in problems(directory)]
    assert found[0].where == f"{file}:{line}"


def test_who_replaces_a_provider_need_not_serve_what_a_shipped_list_names(directory, tmp_path):
    directory.provider(two_endpoints())
    directory.models(MODEL + VARIANTS)
    other = type(directory)(tmp_path / "other")
    other.provider(PROVIDER)

    catalog = loaded(directory, other)

    assert catalog.endpoints_of("acme/rocket:exacto") == ()


def test_a_variant_has_what_its_row_leaves_out_from_its_model(directory):
    directory.provider(two_endpoints())
    plain = MODEL + "    distillable: true\n    context_length: 4096\n    description: Goes up.\n"
    directory.models(plain + VARIANTS)

    models = loaded(directory).models

    variant = models["acme/rocket:exacto"]
    assert (variant.distillable, variant.context_length) == (True, 4_096)
    assert (variant.id, variant.canonical_slug) == ("acme/rocket:exacto", "acme/rocket")
    assert variant.description == ""
    assert variant.name == "Acme: Rocket (exacto)"


def test_a_slug_alone_names_a_model_where_one_author_has_it(directory):
    directory.models(
        MODEL
        + "  - {id: acme/shared, name: A, created: 2025-01-02}\n"
        + "  - {id: other/shared, name: B, created: 2025-01-02}\n"
    )

    models = loaded(directory).models

    assert models["rocket"] is models["acme/rocket"]
    assert "shared" not in models
