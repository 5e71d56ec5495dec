"""What an account prefers: where its requests may go, and whether prompts are kept.

`GET /preferences` shows all of it, `PATCH /preferences` changes what it names; null takes a choice
back. Fields are called as in the contract's workspaces and guardrails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import ConfigDict, Field, ValidationError

from api.amounts import nano_of
from api.office import Office
from api.small_body import sent
from billing import choices
from billing.choices import Choices
from routing.catalog.live import LiveCatalog
from routing.catalog.pricing import usd
from routing.catalog.shapes import Catalog
from routing.errors import BadRequest
from routing.plan import resolve
from routing.wire.account import NO_POLICY, AutoTopUp, KeyRecord, PluginDefault, RoutingPolicy
from routing.wire.chat import Plugin
from routing.wire.validate import Identifier, Wire, bad_request, load_object

#: Providers on one list: more than there are.
PROVIDERS_MAX = 200
#: What is bought by itself at once; a card that is used in vain costs more than a large purchase.
TOP_UP_MAX_USD = 25_000
#: Default plugins: more than there are.
PLUGINS_MAX = 20

_Providers = Annotated[tuple[Identifier, ...], Field(max_length=PROVIDERS_MAX, strict=False)]


class PluginWanted(Plugin):
    """A plugin as requests are to use it, with the options it has in a request.

    With `prevent_overrides` a request can neither switch it off nor change it.
    """

    prevent_overrides: bool = False


class TopUpWanted(Wire):
    """Credit that is bought by itself, in USD: so much, when less than the threshold is left."""

    model_config = ConfigDict(extra="forbid")

    threshold: Annotated[float, Field(ge=0, le=TOP_UP_MAX_USD)]
    amount: Annotated[float, Field(ge=1, le=TOP_UP_MAX_USD)]


class Wanted(Wire):
    """Body of PATCH /preferences. Only what it names is changed.

    Unlike a request to a model it passes nothing on: a field nobody knows is an error, so that no
    misspelt demand for privacy is taken for one that was heard.
    """

    model_config = ConfigDict(extra="forbid")

    allowed_providers: _Providers | None = None
    ignored_providers: _Providers | None = None
    enforce_zdr: bool | None = None
    enable_paid_model_training: bool | None = None
    enable_free_model_training: bool | None = None
    enable_free_model_publication: bool | None = None
    default_provider_sort: Literal["price", "throughput", "latency"] | None = None
    default_text_model: Identifier | None = None
    is_data_discount_logging_enabled: bool | None = None
    auto_top_up: TopUpWanted | None = None
    default_plugins: (
        Annotated[tuple[PluginWanted, ...], Field(max_length=PLUGINS_MAX, strict=False)] | None
    ) = None


def blueprint(
    office: Office, catalog: LiveCatalog, authenticate: Callable[[], KeyRecord]
) -> Blueprint:
    """Routes `/preferences`; the caller adds the base path.

    Args:
        office: where changes are made.
        catalog: which providers and models there are.
        authenticate: the management key of the current request, or raises.
    """
    routes = Blueprint("preferences", __name__)

    @routes.get("/preferences")
    def show() -> ResponseReturnValue:
        account_id = authenticate().account_id
        return jsonify({"data": body(office.do(lambda ledger: choices.read(ledger, account_id)))})

    @routes.patch("/preferences")
    def choose() -> ResponseReturnValue:
        account_id = authenticate().account_id
        wanted = parse(sent())
        check_names(applied(NO_POLICY, wanted), catalog.current)
        chosen = office.change_account(
            account_id,
            lambda ledger: choices.change(ledger, account_id, lambda found: merged(found, wanted)),
        )
        return jsonify({"data": body(chosen)})

    return routes


def parse(raw: bytes) -> Wanted:
    """A checked body.

    Raises:
        BadRequest: not JSON, an unknown field or a value that cannot be.
    """
    try:
        wanted = Wanted.model_validate(load_object(raw))
    except ValidationError as error:
        raise bad_request(error) from None
    names = [plugin.id for plugin in wanted.default_plugins or ()]
    if len(set(names)) != len(names):
        raise BadRequest("default_plugins: names a plugin twice", param="default_plugins")
    return wanted


def merged(found: Choices, wanted: Wanted) -> Choices:
    """What was chosen before, with what is wanted now."""
    settings = found.settings
    if "is_data_discount_logging_enabled" in wanted.model_fields_set:
        settings = replace(settings, logs=bool(wanted.is_data_discount_logging_enabled))
    if "auto_top_up" in wanted.model_fields_set:
        settings = replace(settings, auto_top_up=_top_up(wanted.auto_top_up))
    if "default_plugins" in wanted.model_fields_set:
        plugins = tuple(_plugin(one) for one in wanted.default_plugins or ())
        settings = replace(settings, plugins=plugins)
    return Choices(policy=applied(found.policy, wanted), settings=settings)


def _top_up(wanted: TopUpWanted | None) -> AutoTopUp | None:
    if wanted is None:
        return None
    return AutoTopUp(threshold_nano=nano_of(wanted.threshold), amount_nano=nano_of(wanted.amount))


def _plugin(wanted: PluginWanted) -> PluginDefault:
    given = wanted.model_dump(mode="json", exclude_unset=True)
    for name in ("id", "enabled", "prevent_overrides"):
        given.pop(name, None)
    return PluginDefault(
        id=wanted.id,
        enabled=wanted.enabled is not False,
        prevent_overrides=wanted.prevent_overrides,
        config=given,
    )


def applied(policy: RoutingPolicy, wanted: Wanted) -> RoutingPolicy:
    """The policy with what is wanted of it."""
    # By the name of the policy's own field; permission is given there by not denying it.
    values: dict[str, tuple[str, Any]] = {
        "allowed_providers": ("only", _slugs(wanted.allowed_providers)),
        "ignored_providers": ("ignore", _slugs(wanted.ignored_providers)),
        "enforce_zdr": ("zdr", wanted.enforce_zdr is True),
        "enable_paid_model_training": (
            "deny_paid_training",
            wanted.enable_paid_model_training is False,
        ),
        "enable_free_model_training": (
            "deny_free_training",
            wanted.enable_free_model_training is False,
        ),
        "enable_free_model_publication": (
            "deny_free_publication",
            wanted.enable_free_model_publication is False,
        ),
        "default_provider_sort": ("sort", wanted.default_provider_sort),
        "default_text_model": ("default_model", wanted.default_text_model or ""),
    }
    given = wanted.model_fields_set & values.keys()
    changes: dict[str, Any] = dict(values[name] for name in given)
    return replace(policy, **changes)


def check_names(policy: RoutingPolicy, catalog: Catalog) -> None:
    """A slug nobody has would shut out every provider, or none.

    Raises:
        BadRequest: a provider, endpoint or model that is not in the catalog.
    """
    known = {each.tag.lower() for each in catalog.endpoints.values()}
    for provider in catalog.providers.values():
        known |= {provider.slug.lower(), provider.name.lower()}
    for slug in (*policy.only, *policy.ignore):
        if slug not in known:
            raise BadRequest(f"No provider or endpoint is called {slug!r}")
    if policy.default_model:
        resolve(policy.default_model, catalog)


def body(chosen: Choices) -> dict[str, Any]:
    """`data` of both routes. Rates are the operator's: shown, not changed here."""
    policy, rates = chosen.policy, chosen.settings.rates
    return {
        "allowed_providers": list(policy.only) or None,
        "ignored_providers": list(policy.ignore) or None,
        "enforce_zdr": policy.zdr,
        "enable_paid_model_training": not policy.deny_paid_training,
        "enable_free_model_training": not policy.deny_free_training,
        "enable_free_model_publication": not policy.deny_free_publication,
        "default_provider_sort": policy.sort,
        "default_text_model": policy.default_model or None,
        "is_data_discount_logging_enabled": chosen.settings.logs,
        "auto_top_up": None
        if (top_up := chosen.settings.auto_top_up) is None
        else {"threshold": usd(top_up.threshold_nano), "amount": usd(top_up.amount_nano)},
        "default_plugins": [
            {
                "id": plugin.id,
                "enabled": plugin.enabled,
                "prevent_overrides": plugin.prevent_overrides,
                **plugin.config,
            }
            for plugin in chosen.settings.plugins
        ],
        "rate_limits": {"rpm": rates.rpm, "tpm": rates.tpm, "parallel": rates.parallel},
    }


def _slugs(names: tuple[str, ...] | None) -> tuple[str, ...]:
    slugs = (name.strip().lower() for name in names or ())
    return tuple(dict.fromkeys(slug for slug in slugs if slug))
