"""Charges as a busy installation has them: members, budgets, applications, own keys, discounts."""

from __future__ import annotations

from dataclasses import replace

from billing import accounts, api_keys
from billing.accounts import Grant
from billing.api_keys import KeyTerms
from billing.db import Ledger
from billing.ledger import AMOUNT_MAX_NANO
from routing.budgets import member, organisation
from routing.usage import Usage
from routing.wire.job import Caller, Charge
from tests.fixtures.charges import NOW_MS, charge, generation_id
from tests.money.ground import DISCOUNT_PPM, FEE_PPM, bound

RICH_NANO = AMOUNT_MAX_NANO // 10**3
#: Applications, models and providers that are in use at once.
APPS, MODELS, PROVIDERS = 20, 10, 5
#: One request in so many is made with an own provider key, and one with kept prompts.
OWN_EVERY, KEPT_EVERY = 4, 5
#: One in so many is cut short, and one fails.
CUT_EVERY, FAILS_EVERY = 11, 13
_TEMPLATE = charge(account_id="", key_hash="")


def customers(ledger: Ledger, count: int) -> list[Caller]:
    """Organisations with three budgets each: the whole, one member, that member's limited key."""
    found = []
    for number in range(count):
        account = accounts.create_account(ledger, f"customer {number}", NOW_MS, "organization")
        grant = Grant(amount_nano=RICH_NANO, reference=f"grant {number}")
        accounts.grant(ledger, account.id, grant, NOW_MS)
        terms = KeyTerms(
            name="mix",
            limit_nano=RICH_NANO,
            limit_reset="monthly",
            include_byok_in_limit=number % 2 == 0,
        )
        _, key = api_keys.mint(ledger, account.id, terms, NOW_MS)
        whole, person = organisation(account.id), member(account.id, "usr_1")
        bound(ledger, account.id, whole, "monthly", RICH_NANO, NOW_MS, include_byok=True)
        bound(ledger, account.id, person, "daily", RICH_NANO, NOW_MS)
        found.append(
            Caller(account_id=account.id, key_hash=key.key_hash, request_id="req-1", member="usr_1")
        )
    return found


def charges(callers: list[Caller], first: int, count: int) -> list[Charge]:
    """Some generations, the same for the same numbers."""
    return [
        _charge(callers[number % len(callers)], number) for number in range(first, first + count)
    ]


def owed_nano(one: Charge) -> int:
    """What its customer is charged."""
    return 0 if one.insured else one.cost.charged_nano


def _charge(caller: Caller, number: int) -> Charge:
    app = f"https://app{number % APPS}.test/chat"
    own = number % OWN_EVERY == 0
    outcome = "done"
    if number % CUT_EVERY == 0:
        outcome = "cancelled"
    elif number % FAILS_EVERY == 0:
        outcome = "failed"
    model = f"acme/model-{number % MODELS}"
    provider = f"Provider {number % PROVIDERS}"
    return replace(
        _TEMPLATE,
        generation_id=generation_id(number),
        caller=replace(caller, app_url=app, app_title="App", user_agent="mix/1"),
        outcome=outcome,
        model_id=model,
        endpoint_id=f"{provider}:{model}",
        provider=provider,
        usage=Usage(prompt_tokens=100 + number % 900, completion_tokens=number % 500),
        byok="byok_1" if own else "",
        fee_ppm=FEE_PPM if own and number % (2 * OWN_EVERY) else 0,
        discount_ppm=DISCOUNT_PPM if not own and number % KEPT_EVERY == 0 else 0,
    )
