"""`pointsman doctor`: is everything as it must be? One line per check, with what to do about it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions

import click

from api.cli.catalog import catalog_of
from api.cli.home import Home
from api.cli.ledger import opened, settings_of_shell
from api.cli.redis_server import LEAST_VERSION
from api.cli.table import json_option, show
from billing import invariants
from billing.resealing import secrets_in_use
from routing.clock import SystemClock
from routing.errors import RouterError, Unavailable
from routing.sealing import Sealer
from routing.settings import Settings, insecure
from routing.store.facts import RedisFacts, hold_drift, redis_facts

#: Our four packages have generic names; another distribution that brings one overwrites ours.
_OUR_PACKAGES = ("api", "billing", "routing", "workers")
_DISTRIBUTION = "pointsman"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OFFENDERS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, as a sentence."""

    ok: bool
    sentence: str


#: A check reads and never changes anything. A `RouterError` it raises counts as a bad finding.
Check = Callable[[Settings], Finding]


def examine(checks: Mapping[str, Check], settings: Settings) -> dict[str, Finding]:
    """Run every check, whatever the others say."""
    return {name: _run(check, settings) for name, check in checks.items()}


def _run(check: Check, settings: Settings) -> Finding:
    try:
        return check(settings)
    except RouterError as error:
        return Finding(ok=False, sentence=error.message)


def exposure(settings: Settings) -> Finding:
    """Nobody but us can write into Redis."""
    if (problem := insecure(settings)) is not None:
        return Finding(ok=False, sentence=str(problem))
    return Finding(ok=True, sentence="Redis is local, has a password, or the risk is accepted.")


def home(settings: Settings) -> Finding:
    """The folder with ledger and keys is closed to other users."""
    here = Home(settings.home.resolve())
    if not here.path.exists():
        return Finding(ok=True, sentence=f"{here.path} does not exist yet.")
    for path in (here.path, here.env):
        if path.exists() and path.stat().st_mode & _OTHERS:
            return Finding(ok=False, sentence=f"Others may read {path}; run chmod go-rwx on it.")
    return Finding(ok=True, sentence=f"{here.path} is readable by its owner only.")


def redis(settings: Settings) -> Finding:
    """Redis answers and is new enough."""
    version = _facts(settings).version
    text = ".".join(str(part) for part in version)
    if version < LEAST_VERSION:
        return Finding(ok=False, sentence=f"Redis {text} is too old; 6.2 is the least.")
    return Finding(ok=True, sentence=f"Redis {text} answers.")


def durability(settings: Settings) -> Finding:
    """Redis keeps holds, jobs and charges through a restart and a full memory."""
    facts = _facts(settings)
    wrong = []
    if facts.maxmemory_policy != "noeviction":
        wrong.append(f"maxmemory-policy is {facts.maxmemory_policy}, must be noeviction")
    if not facts.appendonly:
        wrong.append("appendonly is off: a restart would lose jobs and unsettled charges")
    if wrong:
        return Finding(ok=False, sentence=f"In Redis, {'; '.join(wrong)}.")
    return Finding(ok=True, sentence="Redis appends to disk and never evicts.")


def broker(settings: Settings) -> Finding:
    """No worker keeps unacknowledged messages; ours never do."""
    if _facts(settings).unacked:
        sentence = "The key `unacked` exists: workers of another project use this Redis."
        return Finding(ok=False, sentence=sentence)
    return Finding(ok=True, sentence="No message waits for an acknowledgement.")


def _facts(settings: Settings) -> RedisFacts:
    try:
        return redis_facts(settings.redis_url)
    except Unavailable as error:
        address = settings.redis_url.rpartition("@")[2]  # without the password
        raise Unavailable(f"No Redis answers at {address}; is it running?") from error


def holds(settings: Settings) -> Finding:
    """What budgets say is held is what jobs hold."""
    drift = hold_drift(settings.redis_url)
    if not drift:
        return Finding(ok=True, sentence="Every hold belongs to a job.")
    scopes = ", ".join(f"{scope} ({nano} nano)" for scope, nano in list(drift.items())[:3])
    return Finding(
        ok=False,
        sentence=f"Holds and budgets differ for {scopes}; delete `bud:<scope>` in Redis while "
        "nothing runs, it is rebuilt from the ledger.",
    )


def ledger(settings: Settings) -> Finding:
    """SQL answers and its schema is this release's."""
    with opened(settings):
        return Finding(ok=True, sentence="The ledger answers, its schema is up to date.")


def books(settings: Settings) -> Finding:
    """The ledger adds up."""
    with opened(settings) as open_ledger:
        violations = invariants.check(open_ledger, SystemClock().now_ms())
    if not violations:
        return Finding(ok=True, sentence="The ledger adds up.")
    sentences = (
        f"{violation.name}: not true that {violation.sentence.rstrip('.')!r} "
        f"for {', '.join(violation.ids[:_OFFENDERS_SHOWN])}"
        for violation in violations
    )
    return Finding(ok=False, sentence=f"{'; '.join(sentences)}.")


def catalog(settings: Settings) -> Finding:
    """Providers and models can be read."""
    loaded = catalog_of(settings)
    count = sum(len(endpoints) for endpoints in loaded.by_model.values())
    if not count:
        sentence = "The catalog is valid; no provider has a key, so only a simulator can answer."
        return Finding(ok=True, sentence=sentence)
    return Finding(ok=True, sentence=f"The catalog is valid; {count} endpoints can be called.")


def secrets(settings: Settings) -> Finding:
    """What is stored sealed can be opened, and needs no earlier secret."""
    sealer = Sealer.of(settings)
    with opened(settings) as open_ledger:
        in_use = secrets_in_use(open_ledger)
    return sealed_by_whom(in_use, sealer)


def sealed_by_whom(in_use: Mapping[str, int], sealer: Sealer) -> Finding:
    """As `secrets`, from the number of provider keys by the secret that sealed them."""
    told = ", ".join(f"{count} with {kek_id}" for kek_id, count in in_use.items())
    missing = sorted(in_use.keys() - set(sealer.kek_ids))
    if missing:
        sentence = (
            f"Provider keys are sealed: {told}. POINTSMAN_SECRET and POINTSMAN_SECRETS_BEFORE lack "
            f"{', '.join(missing)}."
        )
        return Finding(ok=False, sentence=sentence)
    if in_use.keys() - {sealer.kek_id}:
        sentence = f"Provider keys are sealed: {told}; run `pointsman secrets reseal`."
        return Finding(ok=True, sentence=sentence)
    if in_use:
        return Finding(ok=True, sentence=f"Provider keys are sealed: {told}, the present secret.")
    state = "is set" if sealer.kek_id else "is not set: none can be stored"
    return Finding(ok=True, sentence=f"No provider key is stored; POINTSMAN_SECRET {state}.")


def packages(_settings: Settings) -> Finding:
    """No other distribution brings a package of one of our names."""
    return package_clash(packages_distributions())


def package_clash(owners: Mapping[str, Iterable[str]]) -> Finding:
    """As `packages`, from the names of distributions by package."""
    for package in _OUR_PACKAGES:
        others = sorted(set(owners.get(package, ())) - {_DISTRIBUTION})
        if others:
            return Finding(
                ok=False,
                sentence=f"{', '.join(others)} also installs a package `{package}`; remove it "
                "and install Pointsman again.",
            )
    return Finding(ok=True, sentence="No other distribution uses our package names.")


CHECKS: Mapping[str, Check] = {
    "exposure": exposure,
    "home": home,
    "packages": packages,
    "catalog": catalog,
    "redis": redis,
    "durability": durability,
    "broker": broker,
    "holds": holds,
    "ledger": ledger,
    "books": books,
    "secrets": secrets,
}


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:  # noqa: FBT001 - click passes options so
    """Check settings, stores, catalog and books. Exits with 1 when anything is wrong."""
    findings = {
        "settings": Finding(ok=True, sentence="The settings are valid."),
        **examine(CHECKS, settings_of_shell()),
    }
    if as_json:
        rows = [{"check": n, "ok": f.ok, "sentence": f.sentence} for n, f in findings.items()]
        show(rows, as_json=True, empty="")
    else:
        width = max(len(name) for name in findings)
        for name, finding in findings.items():
            mark = "ok  " if finding.ok else "FAIL"
            click.echo(f"{mark}  {name:<{width}}  {finding.sentence}")
    if not all(finding.ok for finding in findings.values()):
        context.exit(1)
