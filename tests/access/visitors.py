"""Everybody who comes to a front door, and every route they try."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.routing import Rule

from api.app import BASE_PATHS
from billing import accounts, api_keys, closing, members, people, sessions
from billing.people import NewUser
from tests.access.table import PAGES, RIGHTS, Right
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import Customer, make_customer

#: Pages need one.
SECRET = SecretStr(base64.urlsafe_b64encode(bytes(range(32))).decode())
#: Of a site that browsers reach without TLS.
COOKIE = "pointsman"

#: What stands for each part of a path: a public name, or the id of something that is not there.
FILLERS: Mapping[str, str] = {
    "author": "openai",
    "slug": "gpt-4o-mini",
    "interval": "daily",
    "key_hash": "0" * 64,
    "key_id": "00000000-0000-4000-8000-000000000000",
    "user_id": "user_0",
    "app_id": "999999",
    "account_id": "user_1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one rule, as it is asked for."""

    method: str
    rule: str
    name: str
    arguments: frozenset[str]

    @property
    def row(self) -> tuple[str, str]:
        """Its row in `RIGHTS`."""
        return self.method, self.name

    @property
    def right(self) -> Right:
        """Who may use it."""
        return RIGHTS[self.row]

    def path(self, **ids: str) -> str:
        """Its address, with ids of nothing where none are given."""
        path = self.rule
        for name in self.arguments:
            value = ids.get(name) or FILLERS[name]
            for kind in ("", "path:", "string:", "int:"):
                path = path.replace(f"<{kind}{name}>", value)
        return path


def routes(site: Any, rights: tuple[Right, ...] | None = None) -> Iterator[Route]:
    """Every route of the application and each of its methods; only those of some rights."""
    for rule in site.app.url_map.iter_rules():
        for method in sorted(methods_of(rule)):
            route = Route(
                method=method,
                rule=rule.rule,
                name=name_of(rule.rule, method),
                arguments=frozenset(rule.arguments),
            )
            if rights is None or RIGHTS.get(route.row) in rights:
                yield route


def methods_of(rule: Rule) -> set[str]:
    """What a rule serves; HEAD and OPTIONS come by themselves."""
    return set(rule.methods or ()) - {"HEAD", "OPTIONS"}


def name_of(rule: str, method: str) -> str:
    """A rule without its base path, as the table has it."""
    for base in BASE_PATHS:
        if rule.startswith(f"{base}/"):
            below = rule.removeprefix(base)
            # A page must not lend its row to a route of the API that has the same words.
            return rule if RIGHTS.get((method, below)) in PAGES else below
    return rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitors:
    """Those with keys.

    Attributes:
        strangers: headers of those who prove nothing.
        inference: a key that may spend.
        management: a key of the same account that may manage.
    """

    strangers: Mapping[str, Mapping[str, str]]
    inference: Customer
    management: Customer

    def headers(self, right: Right) -> dict[str, str]:
        """Of one who has this right."""
        return bearer((self.management if right == "management" else self.inference).text)


def client_of(site: Any) -> FlaskClient:
    """One that sends the headers it is given: with a jar, a `Cookie` among them is dropped."""
    client: FlaskClient = site.app.test_client(use_cookies=False)
    return client


def bearer(text: str) -> dict[str, str]:
    """The headers of a key."""
    return {"Authorization": f"Bearer {text}"}


def visitors(site: Any) -> Visitors:
    """Make all of them, on the site's ledger."""
    disabled, expired, closed = (
        make_customer(site.ledger, kind="management", **terms)
        for terms in ({}, {"expires_ms": NOW_MS + 1}, {})
    )
    site.clock.advance(1)
    api_keys.disable(site.ledger, disabled.key.key_hash, NOW_MS)
    closing.close(site.ledger, closed.account_id, NOW_MS)
    unknown = api_keys.PREFIX + "0" * 64
    return Visitors(
        strangers={
            "nobody": {},
            "an empty header": {"Authorization": ""},
            "no token": {"Authorization": "Bearer "},
            "basic": {"Authorization": "Basic YTpi"},
            "a token of others": bearer("sk-proj-abc"),
            "a made-up key": bearer(unknown),
            "a hash for a key": bearer(site.customer.key.key_hash),
            "a label for a key": bearer(site.customer.key.label),
            "a disabled key": bearer(disabled.text),
            "an expired key": bearer(expired.text),
            "a key of a closed account": bearer(closed.text),
            "a cookie": {"Cookie": f"{COOKIE}={site.customer.text}; session={unknown}"},
            "somebody logged in": {"Cookie": f"{COOKIE}={people_of(site).cookie('admin')}"},
        },
        inference=site.customer,
        management=with_key(site, site.customer, kind="management"),
    )


def with_key(site: Any, customer: Customer, **terms: Any) -> Customer:
    """Another key of the same account."""
    wanted = api_keys.KeyTerms(**({"name": "k"} | terms))
    text, key = api_keys.mint(site.ledger, customer.account_id, wanted, NOW_MS)
    return Customer(account_id=customer.account_id, text=text, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Those who look at pages: an admin and a member of one organisation, and the site's admin."""

    site: Any
    ids: Mapping[str, str]
    team_id: str

    def cookie(self, who: str) -> str:
        """A new log-in of the `person` (a member), the `admin` or the `site` admin."""
        place = None if who == "site" else self.team_id
        now_ms = self.site.clock.now_ms()
        return sessions.begin(self.site.ledger, self.ids[who], place, now_ms)


def people_of(site: Any) -> People:
    """Make all of them; once per site."""
    ledger, now_ms = site.ledger, site.clock.now_ms()
    ids = {
        who: people.create_user(
            ledger, NewUser(email=f"{who}@example.com", site_admin=who == "site"), now_ms
        ).id
        for who in ("person", "admin", "site")
    }
    team = members.create_organization(ledger, "Team", ids["admin"], now_ms)
    members.add_member(ledger, team.id, ids["person"], "member", now_ms)
    return People(site=site, ids=ids, team_id=team.id)


def credit_of(site: Any, customer: Customer) -> int:
    """The balance of a customer."""
    return accounts.budget_of(site.ledger, customer.account_id).available_nano
