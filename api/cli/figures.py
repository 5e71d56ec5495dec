"""`pointsman figures`: what our own attempts say about endpoints."""

from __future__ import annotations

import click

from api.cli.catalog import catalog_of
from api.cli.ledger import opened, settings_of_shell
from api.cli.table import json_option, show
from billing.figures import KEPT_HOURS, totals
from routing.clock import SystemClock
from routing.errors import NotFound
from routing.figures import Counts, History, Percentiles
from routing.settings import Settings
from routing.store.connect import connect
from routing.store.figures import Figures, FiguresReader
from routing.store.health import Health

MS_PER_HOUR = 3_600_000
_STATUS = {0: "normal", -1: "degraded", -2: "down"}


@click.command("figures")
@click.option("--model", metavar="MODEL", help="Only endpoints of this model.")
@click.option(
    "--days", type=click.IntRange(1, KEPT_HOURS // 24), help="Of so many days, from the ledger."
)
@json_option
def figures_command(model: str | None, days: int | None, as_json: bool) -> None:  # noqa: FBT001 - click passes options so
    """Show uptime, latency, throughput and tool calls of every endpoint called within 24 hours.

    Uptime is in percent, latency in ms to the first piece, throughput in tokens a second; p90 is
    what 90 % of the calls stay below (latency) or reach (throughput), over 30 minutes. With --days
    all of it is of the hours kept in the ledger's database.
    """
    settings = settings_of_shell()
    served = _served_model(settings, model) if model else None
    if days is not None:
        since = SystemClock().now_ms() // MS_PER_HOUR - 24 * days
        with opened(settings) as ledger:
            kept = totals(ledger, since)
        rows = [_kept(n, kept[n]) for n in sorted(kept) if served in {None, n.partition(":")[2]}]
        show(rows, as_json=as_json, empty="No hour of these days is kept yet.")
        return
    with connect(settings.redis_url, "figures") as redis:
        history = FiguresReader(Figures(redis)).read()
        names = [n for n in sorted(history.endpoints) if served in {None, n.partition(":")[2]}]
        down = Health(redis).down(names)
    rows = [_row(history, name, down=name in down) for name in names]
    show(rows, as_json=as_json, empty="No endpoint was called within 24 hours.")


def _served_model(settings: Settings, name: str) -> str:
    """The model endpoints are of: a variant shares those of its base."""
    model = catalog_of(settings).model(name)
    if model is None:
        raise NotFound(f"No model has the id {name}.")
    return model.variant_of or model.id


def _row(history: History, endpoint_id: str, *, down: bool) -> dict[str, object]:
    found = history.figures(endpoint_id, down=down)
    tools = found.tools_1d
    return {
        "endpoint": endpoint_id,
        "status": _STATUS[found.status],
        "attempts": found.requests_1d,
        "uptime_5m": found.uptime_5m,
        "uptime_30m": found.uptime_30m,
        "uptime_1d": found.uptime_1d,
        **_percentiles("latency", found.latency_30m),
        **_percentiles("throughput", found.throughput_30m),
        "tool_calls": tools.calls if tools else None,
        "tool_success": tools.success_rate if tools else None,
    }


def _kept(endpoint_id: str, counts: Counts) -> dict[str, object]:
    tools = counts.tools
    return {
        "endpoint": endpoint_id,
        "attempts": counts.attempts,
        "uptime": counts.uptime,
        **_percentiles("latency", counts.latency.percentiles(higher_is_worse=True)),
        **_percentiles("throughput", counts.throughput.percentiles(higher_is_worse=False)),
        "tool_calls": tools.calls if tools.requests else None,
        "tool_success": tools.success_rate,
    }


def _percentiles(what: str, found: Percentiles | None) -> dict[str, float | None]:
    return {
        f"{what}_{percent}": round(found.at(percent), 1) if found else None
        for percent in ("p50", "p90")
    }
