"""`pointsman explain`: where a request would go and why, without calling anyone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import click
import orjson

from api.cli.catalog import catalog_of
from api.cli.ledger import opened, settings_of_shell
from api.cli.table import json_option, show
from billing.accounts import get
from routing.catalog.pricing import NANO_PER_USD, PICO_PER_NANO
from routing.catalog.shapes import Catalog
from routing.clock import SystemClock
from routing.errors import BadRequest, NotFound, Unavailable
from routing.explain import Explanation, Line, explain
from routing.figures import History
from routing.plan import Health, facts, worst_case
from routing.settings import Settings, environment
from routing.sticky import sticky_name, worth_recalling
from routing.store.connect import connect
from routing.store.figures import Figures, FiguresReader
from routing.store.health import Health as HealthStore
from routing.store.sticky import Sticky
from routing.wire.account import NO_POLICY, RoutingPolicy
from routing.wire.anthropic_request import parse_messages
from routing.wire.chat import parse_chat
from routing.wire.completions import parse_completions
from routing.wire.embeddings import parse_embeddings
from routing.wire.request import InferenceRequest
from routing.wire.responses_request import parse_responses

_PARSERS: dict[str, Callable[[bytes], InferenceRequest]] = {
    "chat": parse_chat,
    "completions": parse_completions,
    "responses": parse_responses,
    "messages": parse_messages,
    "embeddings": parse_embeddings,
}
#: As the front door's default: a longer file is no request.
REQUEST_MAX_BYTES = 32 * 1024 * 1024
_SEED_MAX = 2**31


@click.command("explain")
@click.argument("request_file", type=click.File("rb"), metavar="REQUEST.json")
@click.option(
    "--api", type=click.Choice(tuple(_PARSERS)), default="chat", help="Whose form it is in."
)
@click.option("--seed", type=click.IntRange(0, _SEED_MAX), help="Repeat a draw.")
@click.option("--account", metavar="ID", help="As this account: its settings, its conversations.")
@click.option("--offline", is_flag=True, help="Without the fleet's figures and breakers.")
@json_option
def explain_command(
    request_file: Any,
    api: str,
    seed: int | None,
    account: str | None,
    offline: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Print the candidates of a request, what removes them, weights, breakers, and the draw.

    REQUEST.json is the body of a request, `-` is standard input. No provider is called, nothing is
    charged or stored.
    """
    settings = _as_started(settings_of_shell())
    body = request_file.read(REQUEST_MAX_BYTES + 1)
    if len(body) > REQUEST_MAX_BYTES:
        raise BadRequest(f"The request has more than {REQUEST_MAX_BYTES} bytes")
    catalog = catalog_of(settings)
    policy = NO_POLICY if account is None else _policy(settings, account)
    request = _PARSERS[api](body)
    wanted = facts(request, settings.default_model, policy, catalog.routers)
    health, breakers = (Health(), {}) if offline else _fleet(settings, catalog)
    sticky = ""
    if account is not None and not offline and worth_recalling(request):
        sticky = _recalled(settings, sticky_name(request, wanted, account))
    drawn = random.SystemRandom().randrange(_SEED_MAX) if seed is None else seed
    found = explain(
        wanted, catalog, health, drawn, SystemClock().now_ms(), sticky=sticky, breakers=breakers
    )
    hold_nano = 0
    if found.plan is not None:
        hold_nano = worst_case(found.plan.entries, wanted, catalog).hold_nano(0, include_byok=False)
    if as_json:
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        click.echo(orjson.dumps(_document(found, drawn, hold_nano), option=options), nl=False)
        return
    _print(found, drawn, hold_nano)


def _as_started(settings: Settings) -> Settings:
    """With the simulator that the embedded start uses where a provider has no key."""
    if settings.sandbox_url or environment().get("POINTSMAN_REDIS_URL"):
        return settings
    url = f"http://127.0.0.1:{settings.simulator_port}"
    return settings.model_copy(update={"sandbox_url": url})


def _policy(settings: Settings, account: str) -> RoutingPolicy:
    with opened(settings) as ledger:
        found = get(ledger, account)
    if found is None:
        raise NotFound(f"No account {account}")
    return found.policy


def _recalled(settings: Settings, name: str) -> str:
    """The endpoint that cached this conversation, if any."""
    redis = connect(settings.redis_url, "explain")
    try:
        return (Sticky(redis).recall(name) or "") if name else ""
    except Unavailable:
        return ""  # said already
    finally:
        redis.close()


def _fleet(settings: Settings, catalog: Catalog) -> tuple[Health, dict[str, str]]:
    """What the fleet has seen; without Redis the request is explained as on the first day."""
    redis = connect(settings.redis_url, "explain")
    try:
        store = HealthStore(redis)
        history: History = FiguresReader(Figures(redis)).read()
        health = Health(
            unstable=store.unstable(SystemClock().now_ms()),
            throughput=history.throughput(),
            latency=history.latency(),
        )
        return health, store.breakers(list(catalog.endpoints))
    except Unavailable:
        click.echo("Redis does not answer: explained without figures and breakers.", err=True)
        return Health(), {}
    finally:
        redis.close()


def _print(found: Explanation, seed: int, hold_nano: int) -> None:
    for model in found.models:
        sort = f", sorted by {model.sort}" if model.sort else ""
        click.echo(f"{model.model_id}{sort}")
        click.echo("  " + " → ".join(f"{s['step']}: {s['endpoint_count']}" for s in model.funnel))
        show([_row(line) for line in model.lines], as_json=False, empty="  No endpoint.")
        click.echo("")
    if found.plan is None:
        refusal = found.refusal
        click.echo(f"Refused ({refusal.status if refusal else 0}): {refusal}")
        return
    order = ", ".join(f"{e.endpoint_id}" for e in found.plan.entries)
    click.echo(f"Order of this draw (--seed {seed}): {order}")
    click.echo(f"Held before it is let in: {hold_nano / NANO_PER_USD:.6f} USD")


def _row(line: Line) -> dict[str, object]:
    return {
        "place": line.place,
        "endpoint": line.endpoint_id,
        "USD/M in": _per_million(line.price.prompt_pico),
        "USD/M out": _per_million(line.price.completion_pico),
        "drawn first": None if line.share is None else f"{line.share:.1%}",
        "breaker": line.breaker,
        "notes": line.removed_by
        or ("outages within 30 s" if line.unstable else "")
        or ("" if line.meets else "below the preferred figures"),
    }


def _per_million(pico: int) -> str:
    return f"{pico / PICO_PER_NANO / PICO_PER_NANO:g}"


def _document(found: Explanation, seed: int, hold_nano: int) -> dict[str, object]:
    plan = found.plan
    return {
        "seed": seed,
        "strategy": None if plan is None else plan.strategy,
        "order": [] if plan is None else [e.endpoint_id for e in plan.entries],
        "hold_nano": hold_nano,
        "refusal": None if found.refusal is None else found.refusal.body()["error"],
        "models": [
            {
                "model": model.model_id,
                "sort": model.sort,
                "funnel": model.funnel,
                "candidates": [
                    {
                        "endpoint": line.endpoint_id,
                        "provider": line.provider,
                        "prompt_pico": line.price.prompt_pico,
                        "completion_pico": line.price.completion_pico,
                        "removed_by": line.removed_by or None,
                        "share": line.share,
                        "unstable": line.unstable,
                        "meets_preferred": line.meets,
                        "breaker": line.breaker,
                        "place": line.place,
                    }
                    for line in model.lines
                ],
            }
            for model in found.models
        ],
    }
