"""`pointsman catalog …` and `pointsman pools`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from api.cli.ledger import settings_of_shell
from api.cli.table import json_option, show
from routing.catalog.import_files import check_files, read_shelf, texts, write_files
from routing.catalog.import_formats import FORMATS, Format, read_list
from routing.catalog.import_list import Skip, chunks, number_text
from routing.catalog.import_match import Matched, match
from routing.catalog.import_merge import ROUTERS, Merge, kinds, merge
from routing.catalog.load import load
from routing.catalog.price_diff import Difference, differences, start_ms
from routing.catalog.shapes import Catalog
from routing.clock import SystemClock
from routing.errors import ConfigError, ConfigProblem
from routing.settings import Settings, environment
from routing.store.control import request_reload
from workers.pools import batch_queue, interactive_queue

#: So many entries are named for each reason unless all are asked for.
_NAMED_MAX = 5


def catalog_of(settings: Settings) -> Catalog:
    """The catalog as the processes load it.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    return load(settings.catalog_dirs, environ=environment(), sandbox_url=settings.sandbox_url)


@click.command()
@click.option("--batch", is_flag=True, help="The queues of batch work instead of interactive work.")
def pools(batch: bool) -> None:  # noqa: FBT001 - click passes options so
    """Print the queue of every provider pool, separated by commas, for a worker's -Q."""
    queue = batch_queue if batch else interactive_queue
    click.echo(",".join(queue(pool) for pool in catalog_of(Settings.from_env()).pools))


@click.group("catalog")
def catalog_group() -> None:
    """Providers, models and prices."""


class _Against(click.ParamType[tuple[Format, Path]]):
    """`FORMAT:FILE`."""

    name = "FORMAT:FILE"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Format, Path]:
        form, colon, file = str(value).partition(":")
        if form not in FORMATS or not colon or not file:
            self.fail(
                f"{value!r} is not one of {', '.join(FORMATS)} with ':' and a file", param, ctx
            )
        return form, Path(file)


@dataclass(frozen=True, slots=True)
class _Looking:
    """Through which providers' glasses a list is read."""

    providers: tuple[str, ...]
    day: date

    def matched(self, form: Format, file: Path, catalog: Catalog) -> Matched:
        """The list beside the catalog.

        Raises:
            ConfigError: the list cannot be read, or a provider is not in the catalog.
        """
        unknown = [slug for slug in self.providers if slug not in catalog.providers]
        if unknown:
            raise ConfigError((ConfigProblem("--provider", f"unknown provider {unknown[0]!r}"),))
        one = self.providers[0] if len(self.providers) == 1 else None
        found = read_list(form, file, self.day, one)
        return match(found, catalog, frozenset(self.providers), start_ms(self.day))


_provider_option: Callable[[Any], Any] = click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="SLUG",
    help="Only this provider; may be repeated. Once, it is also whose /models list is read.",
)


@catalog_group.command("check")
@click.option(
    "--against", "lists", multiple=True, type=_Against(), help="Compare prices with a list."
)
@_provider_option
@click.option(
    "--fail-over",
    type=click.FloatRange(min=0),
    metavar="PERCENT",
    help="Exit with 1 if a price differs by more.",
)
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    lists: Sequence[tuple[Format, Path]],
    providers: tuple[str, ...],
    fail_over: float | None,
    as_json: bool,  # noqa: FBT001 - click passes options so
) -> None:
    """Read the catalog and report every problem with file and line."""
    catalog = catalog_of(Settings.from_env())
    models = {model.id for model in catalog.models.values()}
    callable_ = sum(len(endpoints) for endpoints in catalog.by_model.values())
    click.echo(
        f"The catalog is valid: {len(catalog.providers)} providers, "
        f"{len(models)} models, {len(catalog.endpoints)} endpoints, "
        f"{callable_} of them with a key or simulated (digest {catalog.digest}).",
        err=as_json,
    )
    if not lists:
        return
    looking = _Looking(providers, _today())
    found: list[Difference] = []
    for form, file in lists:
        matched = looking.matched(form, file, catalog)
        compared = len(matched.pairs) + len(matched.lowest)
        click.echo(f"{file}: {compared} prices to compare.", err=as_json)
        found += differences(matched, looking.day)
    rows = [_row(difference) for difference in found]
    show(rows, as_json=as_json, empty="No price differs.")
    if fail_over is not None and any(each.over(fail_over) for each in found):
        ctx.exit(1)


def _row(difference: Difference) -> dict[str, object]:
    percent = difference.percent
    return {
        "model": difference.model_id,
        "provider": difference.tag,
        "what": difference.what,
        "ours": number_text(difference.ours),
        "theirs": number_text(difference.theirs),
        "percent": None if percent is None else f"{percent.quantize(Decimal('0.1')):+f}",
    }


@catalog_group.command("import")
@click.option(
    "--from", "form", required=True, type=click.Choice(FORMATS), help="The list's format."
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Catalog directory to write to; default: the last of POINTSMAN_CATALOG.",
)
@_provider_option
@click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="First day of new prices; default: today (UTC).",
)
@click.option("--dry-run", is_flag=True, help="Write nothing.")
@click.option("--force", is_flag=True, help="Also write over files that were written by hand.")
@click.option("--verbose", is_flag=True, help="Name every entry that is left out.")
def import_command(file: Path, form: Format, **options: Any) -> None:
    """Take new models, endpoints and prices from a public price list.

    A changed price is added with its first day, beside the old ones. What the list does not tell
    is not guessed: such entries are left out and named with the reason.
    """
    settings = Settings.from_env()
    into = _into(options["into"], settings.catalog_dirs, dry_run=options["dry_run"])
    directories = _with(settings.catalog_dirs, into)
    catalog = load(directories, environ=environment(), sandbox_url=settings.sandbox_url)
    day = options["day"].date() if options["day"] else _today()
    matched = _Looking(options["providers"], day).matched(form, file, catalog)
    shelf = read_shelf(directories)
    made = merge(matched, catalog, shelf, day)
    _tell(made, verbose=options["verbose"])
    if not made.touched or into is None:
        return
    files = texts(shelf, made.touched, into)
    check_files(files, into, directories)
    if options["dry_run"]:
        return
    write_files(files, force=options["force"])
    for written in files:
        click.echo(f"Wrote {written}.")
    if into not in settings.catalog_dirs:
        click.echo(f"Name {into} in POINTSMAN_CATALOG, then `pointsman catalog reload`.")


def _into(said: Path | None, directories: tuple[Path, ...], *, dry_run: bool) -> Path | None:
    """Where to write; a dry run needs no place.

    Raises:
        UsageError: nobody named one.
    """
    if said is not None:
        return said
    if not directories and not dry_run:
        raise click.UsageError("Say --into DIR, or name a directory in POINTSMAN_CATALOG.")
    return directories[-1] if directories else None


def _with(directories: tuple[Path, ...], into: Path | None) -> tuple[Path, ...]:
    """The catalog's directories and the one that is written to, once it is one."""
    if into is None or into in directories:
        return directories
    holds = (into / "providers").is_dir() or (into / "models").is_dir()
    return (*directories, into) if holds else directories


def _tell(made: Merge, *, verbose: bool) -> None:
    """What is new, and what was left out and why."""
    for change in made.changes:
        click.echo(f"{change.kind:8}  {change.model_id}  {change.provider}  {change.text}")
    counts = kinds(made.changes)
    click.echo(
        f"{counts['model']} new models, {counts['endpoint']} new endpoints, "
        f"{counts['price']} new prices, {made.same} as they are here; "
        f"{len(made.skips)} left out."
    )
    _tell_skips(made.skips, verbose=verbose)


def _tell_skips(skips: Iterable[Skip], *, verbose: bool) -> None:
    for reason, entries in chunks(skips):
        named = entries if verbose else entries[:_NAMED_MAX]
        rest = len(entries) - len(named)
        more = f" and {rest} more (--verbose)" if rest else ""
        click.echo(f"  {len(entries)}: {reason}: {', '.join(named)}{more}")
    if any("name a provider" in skip.reason for skip in skips):
        click.echo(f"For OpenRouter's own list of models say --provider {min(ROUTERS)}.")


def _today() -> date:
    return datetime.fromtimestamp(SystemClock().now_ms() / 1_000, tz=UTC).date()


@catalog_group.command("reload")
def reload() -> None:
    """Ask every running process to read the catalog again; one that cannot keeps the old one."""
    settings = settings_of_shell()
    catalog_of(settings)
    heard = request_reload(settings.redis_url)
    click.echo(f"{heard} {'process' if heard == 1 else 'processes'} heard the order.")
