"""`pointsman receipt` and `reconcile`: why something cost so much, and whether invoices agree."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import orjson

from api.amounts import iso
from api.cli.catalog import catalog_of
from api.cli.ledger import opened, settings_of_shell
from api.cli.money import dollars, usd
from api.cli.table import json_option, show
from api.usage import receipt_body
from billing.receipts import Receipt, receipt_of
from billing.reconcile import Difference, Outcome, read_invoice, reconcile, undated
from routing.catalog.pricing import PPM, usd_per_token
from routing.catalog.shapes import Catalog
from routing.errors import NotFound

_PPM_PER_PERCENT = PPM // 100


@click.command("receipt")
@click.argument("generation", metavar="GENERATION")
@json_option
def receipt_command(generation: str, as_json: bool) -> None:  # noqa: FBT001 - click passes options so
    """Show what a GENERATION (its id) cost and why, and every entry it made in the books.

    Exits with 1 when usage, price and books do not agree.
    """
    with opened(settings_of_shell()) as ledger:
        found = receipt_of(ledger, generation, None)
    if found is None:
        raise NotFound(f"No generation {generation} is settled")
    if as_json:
        body = receipt_body(found, found.entries)
        click.echo(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(found)
    if not found.adds_up:
        raise click.ClickException("It does not add up.")


@click.command("reconcile")
@click.argument("invoice", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--provider", required=True, help="Whose invoice it is: slug or name.")
@click.option("--amount", help="Column of the amount in USD.")
@click.option("--date", help="Column of the UTC day.")
@click.option("--model", help="Column of the model.")
@click.option("--request", help="Column of the provider's id of a request.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    help="Percent by which a line may differ.",
)
@click.option(
    "--floor", type=usd, default="0.01", show_default=True, help="USD by which it always may."
)
@click.option("--all", "everything", is_flag=True, help="Show lines that agree, too.")
@json_option
def reconcile_command(invoice: Path, provider: str, **options: Any) -> None:
    """Compare a provider's INVOICE (CSV) with what the books say we owe it.

    Its rows are of one request each, or of a day and a model. Exits with 1 when a line differs.
    """
    settings = settings_of_shell()
    catalog = catalog_of(settings)
    columns = ("amount", "date", "model", "request")
    given = {name: options[name] for name in columns if options[name]}
    with opened(settings) as ledger, invoice.open(encoding="utf-8-sig", newline="") as file:
        rows = read_invoice(file, given)
        found = reconcile(ledger, _name(catalog, provider), rows, _same(catalog, provider))
    ppm = int(Decimal(str(options["tolerance"])) * _PPM_PER_PERCENT)
    different = found.beyond(ppm, options["floor"])
    lines = found.lines if options["everything"] else different
    show([_row(one) for one in lines], as_json=options["as_json"], empty="Every line agrees.")
    if not options["as_json"]:
        click.echo(_summary(found))
    if different:
        raise click.ClickException(f"{len(different)} of {len(found.lines)} lines differ.")


def _print(found: Receipt) -> None:
    made = found.generation
    click.echo(f"{made.id}  {iso(made.created_ms)}  {made.model_id} at {made.provider or 'nobody'}")
    click.echo(f"account {made.account_id}  key {made.key_hash[:12]}  {made.outcome}")
    lines = [
        {
            "item": line.item,
            "quantity": f"{line.quantity:,}",
            "price": usd_per_token(line.rate_pico),
            "amount": usd_per_token(line.amount_pico),
        }
        for line in found.lines
    ]
    show(lines, as_json=False, empty="Nothing was owed.")
    for name, amount in (
        ("rounding", usd_per_token(found.rounding_pico)),
        ("list price", dollars(found.list_nano)),
        ("discount", dollars(-made.discount_nano)),
        ("fee for own provider key", dollars(made.fee_nano)),
        ("insured" if made.insured else "charged", dollars(made.cost_nano)),
    ):
        click.echo(f"{name}: {amount}")
    if made.flags:
        click.echo(f"flags: {', '.join(made.flags)}")
    booked = [
        {"transaction": one.transaction_id, "kind": one.kind, "account": one.ledger_account_id}
        | {"amount_nano": one.amount_nano}
        for one in found.entries
    ]
    show(booked, as_json=False, empty="No money moved.")


def _row(one: Difference) -> dict[str, object]:
    return {
        "what": one.what,
        "invoiced_nano": one.invoiced_nano,
        "booked_nano": one.booked_nano,
        "gap_nano": one.gap_nano,
    }


def _summary(found: Outcome) -> str:
    gap = found.invoiced_nano - found.booked_nano
    return (
        f"Invoiced {dollars(found.invoiced_nano)}, booked {dollars(found.booked_nano)}: "
        f"{dollars(gap)} more on the invoice."
    )


def _name(catalog: Catalog, provider: str) -> str:
    """As generations have it."""
    known = catalog.providers.get(provider.lower())
    return provider if known is None else known.name


def _same(catalog: Catalog, provider: str) -> Callable[[str], str]:
    """Brings our name of a model and the provider's own under one."""
    name = _name(catalog, provider)
    ours = {
        undated(endpoint.upstream_id): undated(endpoint.model_id)
        for endpoint in catalog.endpoints.values()
        if endpoint.provider.name == name
    }
    return lambda model: ours.get(undated(model), undated(model))
