"""What the query of `/models` asks for: which models, in which order, which page of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Protocol, get_args
from urllib.parse import urlencode

from api.model_list import USUAL_OUTPUTS, Row
from api.models import price_rank
from routing.catalog.document import Category
from routing.catalog.shapes import Endpoint
from routing.errors import BadRequest
from routing.figures import EndpointFigures, ToolTally

PAGE_USUAL = 500
PAGE_MAX = 1_000
#: Longest value looked at; a list of all names there are is shorter.
VALUE_MAX = 2_000

_CATEGORIES: tuple[str, ...] = get_args(Category)
_INPUTS = ("text", "image", "file", "audio", "video")
_OUTPUTS = (
    "text",
    "image",
    "embeddings",
    "audio",
    "video",
    "rerank",
    "decisions",
    "speech",
    "transcription",
)
_REGIONS = ("eu", "us")
_TRUTHS = ("true", "false")
#: Regions whose names begin like Europe's and are not in the union: London and Zurich.
_NOT_EU = frozenset({"eu-west-2", "eu-central-2", "europe-west2", "europe-west6"})
#: Clients write an absent number as null.
_ABSENT = frozenset({"", "null"})
_WHOLE = re.compile(r"[0-9]{1,12}")
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_DAY_MS = 86_400_000
#: USD per million tokens in pico-dollars per token.
_PICO_PER_USD_A_MILLION = 10**6

Test = Callable[[Row], bool]
EndpointTest = Callable[[Endpoint], bool]
#: A figure to sort by; None is placed last.
Score = Callable[[Row], float | None]


class Figures(Protocol):
    """What a list asks about the recent past of endpoints."""

    def figures(self, endpoint_id: str) -> EndpointFigures:
        """The figures of one endpoint; empty ones for what was never called."""
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """What a query is answered from, beside the list."""

    figures: Figures
    now_ms: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    offset: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuery:
    """A query that was read."""

    tests: tuple[Test, ...]
    score: Score | None
    page: Page | None
    usual: bool

    def select(self, rows: Iterable[Row]) -> list[Row]:
        """All rows it asks for, in its order."""
        found = [row for row in rows if all(test(row) for test in self.tests)]
        score = self.score
        if score is None:
            return found
        ranked = [(score(row), row) for row in found]
        known = [(value, row) for value, row in ranked if value is not None]
        known.sort(key=lambda each: each[0])
        return [row for _, row in known] + [row for value, row in ranked if value is None]

    def cut(self, rows: Sequence[Row]) -> Sequence[Row]:
        """This page of them."""
        if self.page is None:
            return rows
        return rows[self.page.offset : self.page.offset + self.page.limit]

    def following(self, total: int, path: str, query: Mapping[str, str]) -> str | None:
        """The address of the next page; None after the last one."""
        if self.page is None or self.page.offset + self.page.limit >= total:
            return None
        more = dict(query.items()) | {
            "offset": str(self.page.offset + self.page.limit),
            "limit": str(self.page.limit),
        }
        return f"{path}?{urlencode(more)}"


def read(query: Mapping[str, str], scene: Scene) -> ModelQuery:
    """What a query string asks for. Names it does not know are ignored.

    Raises:
        BadRequest: a value is not allowed; says which are.
    """
    given = {name: value.strip() for name, value in query.items()}
    given = {name: value for name, value in given.items() if value not in _ABSENT}
    for name, value in given.items():
        if len(value) > VALUE_MAX:
            raise BadRequest(f"{name}: is longer than {VALUE_MAX} characters", param=name)
    outputs = _outputs(given.get("output_modalities", ""))
    tests: list[Test] = [
        maker(name, given[name], scene) for name, maker in _TESTS.items() if name in given
    ]
    served = tuple(maker(name, given[name]) for name, maker in _SERVED.items() if name in given)
    if served:
        tests.append(lambda row: any(all(test(e) for test in served) for e in row.endpoints))
    page = _page(given)
    score = _score(given["sort"], scene) if "sort" in given else None
    usual = not tests and page is None and score is None and outputs == USUAL_OUTPUTS
    tests.append(lambda row: outputs is None or row.gives(outputs))
    return ModelQuery(tests=tuple(tests), score=score, page=page, usual=usual)


def is_true(query: Mapping[str, str], name: str) -> bool:
    """Whether a switch is on.

    Raises:
        BadRequest: it is neither on nor off.
    """
    value = query.get(name, "").strip().lower()
    return value not in _ABSENT and _one_of(name, value, _TRUTHS) == "true"


# --- values ---------------------------------------------------------------------------------------


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise BadRequest(f"Unknown {name}. Use one of: {', '.join(allowed)}.", param=name)
    return value


def _names(value: str) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in value.split(",")) - {""}


def _some_of(name: str, value: str, allowed: Sequence[str]) -> frozenset[str]:
    names = _names(value)
    if not names <= frozenset(allowed):
        raise BadRequest(f"Unknown {name}. Use some of: {', '.join(allowed)}.", param=name)
    return names


def _whole(name: str, value: str, least: int, most: int | None = None) -> int:
    number = int(value) if _WHOLE.fullmatch(value) else None
    if number is None or number < least or (most is not None and number > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise BadRequest(f"{name}: must be a whole number {span}", param=name)
    return number


def _amount(name: str, value: str, most: int | None = None) -> Decimal:
    number = Decimal(value) if _DECIMAL.fullmatch(value) else None
    if number is None or (most is not None and number > most):
        span = "of at least 0" if most is None else f"from 0 to {most}"
        raise BadRequest(f"{name}: must be a plain number {span}", param=name)
    return number


def _outputs(value: str) -> frozenset[str] | None:
    """What answers may hold; None for anything."""
    names = _some_of("output_modalities", value, (*_OUTPUTS, "all"))
    return None if "all" in names else names or USUAL_OUTPUTS


def _page(given: Mapping[str, str]) -> Page | None:
    if not {"offset", "limit"} & given.keys():
        return None
    return Page(
        offset=_whole("offset", given.get("offset", "0"), 0),
        limit=_whole("limit", given.get("limit", str(PAGE_USUAL)), 1, PAGE_MAX),
    )


# --- tests of a model -----------------------------------------------------------------------------


def _category(name: str, value: str, _: Scene) -> Test:
    category = _one_of(name, value, _CATEGORIES)
    return lambda row: category in row.model.categories


def _parameters(_name: str, value: str, _: Scene) -> Test:
    names = _names(value)
    return lambda row: names <= row.parameters


def _inputs(name: str, value: str, _: Scene) -> Test:
    kinds = _some_of(name, value, _INPUTS)
    return lambda row: kinds <= frozenset(row.model.architecture.input_modalities)


def _search(_name: str, value: str, _: Scene) -> Test:
    words = value.casefold().split()

    def holds(row: Row) -> bool:
        text = f"{row.model.id} {row.model.name} {row.model.description}".casefold()
        return all(word in text for word in words)

    return holds


def _context(name: str, value: str, _: Scene) -> Test:
    least = _whole(name, value, 1)
    return lambda row: (row.context_length or 0) >= least


def _price(name: str, value: str, _: Scene) -> Test:
    """A bound on the listed price. What a router costs is not known, so it is within none."""
    pico = _amount(name, value) * _PICO_PER_USD_A_MILLION
    output, least = "output" in name, name.startswith("min_")

    def within(row: Row) -> bool:
        if row.price is None:
            return False
        listed = row.price.completion_pico if output else row.price.prompt_pico
        return listed >= pico if least else listed <= pico

    return within


def _family(_name: str, value: str, _: Scene) -> Test:
    """`Llama` means Llama2, Llama3 and Llama4 too."""
    family = value.casefold()
    return lambda row: row.model.architecture.tokenizer.casefold().startswith(family)


def _authors(_name: str, value: str, _: Scene) -> Test:
    authors = _names(value)
    return lambda row: row.model.id.partition("/")[0] in authors


def _distillable(name: str, value: str, _: Scene) -> Test:
    wanted = _one_of(name, value.lower(), _TRUTHS) == "true"
    return lambda row: row.model.distillable is wanted


def _age(name: str, value: str, scene: Scene) -> Test:
    bound_s = (scene.now_ms - _whole(name, value, 0) * _DAY_MS) / 1_000
    if name.startswith("min_"):
        return lambda row: row.model.created <= bound_s
    return lambda row: row.model.created >= bound_s


def _tool_success(name: str, value: str, scene: Scene) -> Test:
    bound, least = _amount(name, value, 1), name.startswith("min_")

    def within(row: Row) -> bool:
        tally = _tools(row, scene)
        line = bound * tally.calls
        return tally.calls > 0 and (tally.valid >= line if least else tally.valid <= line)

    return within


def _no_benchmark(name: str, value: str, _: Scene) -> Test:
    del value
    raise BadRequest(f"{name}: there are no benchmark results here to filter by", param=name)


_TESTS: Mapping[str, Callable[[str, str, Scene], Test]] = MappingProxyType(
    {
        "category": _category,
        "supported_parameters": _parameters,
        "input_modalities": _inputs,
        "q": _search,
        "context": _context,
        "min_price": _price,
        "max_price": _price,
        "min_output_price": _price,
        "max_output_price": _price,
        "arch": _family,
        "model_authors": _authors,
        "distillable": _distillable,
        "min_age_days": _age,
        "max_age_days": _age,
        "min_tool_success_rate": _tool_success,
        "max_tool_success_rate": _tool_success,
        **{
            f"{bound}_{index}_index": _no_benchmark
            for bound in ("min", "max")
            for index in ("intelligence", "coding", "agentic")
        },
    }
)


# --- tests of an endpoint: one of the model's must pass them all ----------------------------------


def _providers(_name: str, value: str) -> EndpointTest:
    names = _names(value)
    return lambda each: not names.isdisjoint({each.provider.name.lower(), each.provider.slug})


def _zero_retention(name: str, value: str) -> EndpointTest:
    wanted = _one_of(name, value.lower(), _TRUTHS) == "true"
    return lambda each: each.provider.data_policy.zero_retention or not wanted


def _region(name: str, value: str) -> EndpointTest:
    region = _one_of(name, value.lower(), _REGIONS)
    return lambda each: each.region.startswith(region) and each.region not in _NOT_EU


_SERVED: Mapping[str, Callable[[str, str], EndpointTest]] = MappingProxyType(
    {"providers": _providers, "zdr": _zero_retention, "region": _region}
)


# --- orders ---------------------------------------------------------------------------------------


def _cost(row: Row) -> float | None:
    return None if row.price is None else price_rank(row.price)


def _requests(row: Row, scene: Scene) -> float | None:
    """Requests of the last 24 hours. `top-weekly` sorts by them too: no week is kept at hand."""
    return sum(scene.figures.figures(each.id).requests_1d for each in row.endpoints)


def _throughput(row: Row, scene: Scene) -> float | None:
    found = [scene.figures.figures(each.id).throughput_30m for each in row.endpoints]
    return max((each.p50 for each in found if each is not None), default=None)


def _latency(row: Row, scene: Scene) -> float | None:
    found = [scene.figures.figures(each.id).latency_30m for each in row.endpoints]
    return min((each.p50 for each in found if each is not None), default=None)


def _tools(row: Row, scene: Scene) -> ToolTally:
    found = [scene.figures.figures(each.id).tools_1d for each in row.endpoints]
    tallies = [tally for tally in found if tally is not None]
    return ToolTally(
        calls=sum(tally.calls for tally in tallies), valid=sum(tally.valid for tally in tallies)
    )


def _down(value: float | None) -> float | None:
    return None if value is None else -value


#: The least comes first, so what is wanted high is counted negative.
_SORTS: Mapping[str, Callable[[Row, Scene], float | None]] = MappingProxyType(
    {
        "most-popular": lambda row, scene: _down(_requests(row, scene)),
        "newest": lambda row, _: -row.model.created,
        "top-weekly": lambda row, scene: _down(_requests(row, scene)),
        "pricing-low-to-high": lambda row, _: _cost(row),
        "pricing-high-to-low": lambda row, _: _down(_cost(row)),
        "context-high-to-low": lambda row, _: _down(row.context_length),
        "throughput-high-to-low": lambda row, scene: _down(_throughput(row, scene)),
        "latency-low-to-high": _latency,
    }
)


def _score(name: str, scene: Scene) -> Score:
    if name not in _SORTS:
        raise BadRequest(f"Unknown sort. Use one of: {', '.join(_SORTS)}.", param="sort")
    by = _SORTS[name]
    return lambda row: by(row, scene)
