"""`pointsman figures`: what our own attempts say about endpoints."""

from __future__ import annotations

import click

from api.cli.catalog import catalog_of
from api.cli.ledger import settings_of_shell
from api.cli.table import json_option, show
from routing.errors import NotFound
from routing.figures import OUT_OF_ORDER, History, Percentiles
from routing.settings import Settings
from routing.store.connect import connect
from routing.store.figures import Figures, FiguresReader
from routing.store.health import Health

_STATUS = {0: "normal", -1: "degraded", -2: "down"}


@click.command("figures")
@click.option("--model", metavar="MODEL", help="Only endpoints of this model.")
@json_option
def figures_command(model: str | None, as_json: bool) -> None:  # noqa: FBT001 - click passes options so
    """Show uptime, latency, throughput and tool calls of every endpoint called within 24 hours.

    Uptime is in percent, latency in ms to the first piece, throughput in tokens a second; p90 is
    what 90 % of the streams stay below (latency) or reach (throughput), over 30 minutes.
    """
    settings = settings_of_shell()
    served = _served_model(settings, model) if model else None
    redis = connect(settings.redis_url, "figures")
    history = FiguresReader(Figures(redis)).read()
    names = [name for name in sorted(history.endpoints) if served in {None, name.partition(":")[2]}]
    broken = Health(redis).breakers(names)
    rows = [_row(history, name, down=broken.get(name) in OUT_OF_ORDER) for name in names]
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


def _percentiles(what: str, found: Percentiles | None) -> dict[str, float | None]:
    return {
        f"{what}_{percent}": round(found.at(percent), 1) if found else None
        for percent in ("p50", "p90")
    }
