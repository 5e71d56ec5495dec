"""Who may do what: one reviewed row per route and method, and those who try it.

A route without a row fails `test_access_matrix.py`: decide who may use it, then add the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from werkzeug.routing import Rule

from api.app import BASE_PATHS
from billing import accounts, api_keys, closing
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import Customer, make_customer

#: `open`: anybody. `key`: any valid key. `inference` and `management`: only a key of that kind.
Right = Literal["open", "key", "inference", "management"]
KEYED: tuple[Right, ...] = ("key", "inference", "management")

#: Method and path below the base path (or the whole path where it has none).
RIGHTS: Mapping[tuple[str, str], Right] = {
    ("GET", "/livez"): "open",
    ("GET", "/readyz"): "open",
    ("GET", "/metrics"): "open",
    # The catalog.
    ("GET", "/models"): "open",
    ("GET", "/models/count"): "open",
    ("GET", "/model/<author>/<slug>"): "open",
    ("GET", "/models/<author>/<slug>/endpoints"): "open",
    ("GET", "/embeddings/models"): "open",
    ("GET", "/endpoints/zdr"): "open",
    ("GET", "/providers"): "open",
    ("GET", "/models/user"): "key",
    ("GET", "/parameters/<author>/<slug>"): "key",
    # What spends money.
    ("POST", "/chat/completions"): "inference",
    ("POST", "/completions"): "inference",
    ("POST", "/responses"): "inference",
    ("POST", "/messages"): "inference",
    ("POST", "/messages/count_tokens"): "inference",
    ("POST", "/embeddings"): "inference",
    # What a key knows of itself.
    ("GET", "/key"): "key",
    ("GET", "/auth/key"): "key",
    ("GET", "/generation"): "key",
    # What runs an account.
    ("GET", "/credits"): "management",
    ("GET", "/keys"): "management",
    ("POST", "/keys"): "management",
    ("GET", "/keys/<key_hash>"): "management",
    ("PATCH", "/keys/<key_hash>"): "management",
    ("DELETE", "/keys/<key_hash>"): "management",
    ("GET", "/preferences"): "management",
    ("PATCH", "/preferences"): "management",
    ("DELETE", "/account"): "management",
    # Codes become keys; whoever has code and verifier is meant.
    ("POST", "/auth/keys"): "open",
    ("POST", "/auth/keys/code"): "key",
}

#: What stands for each part of a path: the id of something that is not there.
FILLERS: Mapping[str, str] = {
    "author": "openai",
    "slug": "gpt-4o-mini",
    "key_hash": "0" * 64,
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
            for shape in (f"<{name}>", f"<path:{name}>", f"<string:{name}>"):
                path = path.replace(shape, value)
        return path


def routes(site: Any, right: tuple[Right, ...] | None = None) -> Iterator[Route]:
    """Every route of the application and each of its methods; only those of some rights."""
    for rule in site.app.url_map.iter_rules():
        for method in sorted(methods_of(rule)):
            route = Route(
                method=method,
                rule=rule.rule,
                name=name_of(rule.rule),
                arguments=frozenset(rule.arguments),
            )
            if right is None or RIGHTS.get(route.row) in right:
                yield route


def methods_of(rule: Rule) -> set[str]:
    """What a rule serves; HEAD and OPTIONS come by themselves."""
    return set(rule.methods or ()) - {"HEAD", "OPTIONS"}


def name_of(rule: str) -> str:
    """A rule without its base path."""
    for base in BASE_PATHS:
        if rule.startswith(f"{base}/"):
            return rule.removeprefix(base)
    return rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitors:
    """Everybody who comes to a front door.

    Attributes:
        strangers: headers of those who prove nothing.
        inference: a key that may spend.
        management: a key of the same account that may manage.
    """

    strangers: Mapping[str, Mapping[str, str]]
    inference: Customer
    management: Customer

    def headers(self, right: Right) -> Mapping[str, str]:
        """Of one who has this right."""
        return bearer((self.management if right == "management" else self.inference).text)


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
            "a cookie": {"Cookie": f"pointsman={site.customer.text}; session={unknown}"},
        },
        inference=site.customer,
        management=with_key(site, site.customer, kind="management"),
    )


def with_key(site: Any, customer: Customer, **terms: Any) -> Customer:
    """Another key of the same account."""
    wanted = api_keys.KeyTerms(**({"name": "k"} | terms))
    text, key = api_keys.mint(site.ledger, customer.account_id, wanted, NOW_MS)
    return Customer(account_id=customer.account_id, text=text, key=key)


def credit_of(site: Any, customer: Customer) -> int:
    """The balance of a customer."""
    return accounts.budget_of(site.ledger, customer.account_id).available_nano
