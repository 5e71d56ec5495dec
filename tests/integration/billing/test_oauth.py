from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, update

from billing import accounts, api_keys, closing
from billing.api_keys import KeyTerms
from billing.db import Ledger
from billing.ledger import AMOUNT_MAX_NANO
from billing.oauth import (
    CODE_LIFE_MS,
    KEEP_MS,
    OPEN_MAX,
    PREFIX,
    TRIES_MAX,
    CodeTerms,
    Exchanged,
    IssuedCode,
    Proof,
    UsedTwice,
    exchange,
    issue,
)
from billing.people import NewUser, create_user
from billing.pkce import Callback, Challenge, PkceRules, s256
from billing.tables import accounts as accounts_table
from billing.tables import api_keys as keys_table
from billing.tables import apps, auth_codes, members, metadata, users
from routing.errors import BadRequest, Conflict, Forbidden, NotFound
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

CALLBACK = Callback("https://app.example/cb", "https://app.example")
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
S256 = Challenge(s256(VERIFIER), "S256")
PROOF = Proof(verifier=VERIFIER, method="S256")


def account_of(ledger: Ledger) -> str:
    return accounts.create_account(ledger, "Ada", NOW_MS).id


def code_for(ledger: Ledger, account_id: str, now_ms: int = NOW_MS, **terms: Any) -> IssuedCode:
    given = {"callback": CALLBACK, "challenge": S256} | terms
    return issue(ledger, CodeTerms(account_id=account_id, **given), now_ms)


def keys_of(ledger: Ledger, account_id: str) -> int:
    return len(api_keys.hashes_of(ledger, account_id))


def test_a_code_becomes_a_key_with_the_terms_that_were_chosen(ledger: Ledger):
    # Given a person, and a code for an application
    user = create_user(ledger, NewUser(email="ada@example.org"), NOW_MS)
    with ledger.reading() as connection:
        of_user = select(members.c.account_id).where(members.c.user_id == user.id)
        account_id = connection.execute(of_user).scalar_one()
    code = code_for(
        ledger,
        account_id,
        user_id=user.id,
        key_label="Notes",
        limit_nano=5,
        limit_reset="weekly",
        key_expires_ms=NOW_MS + 1_000_000,
    )
    assert code.text.startswith(PREFIX)
    assert code.created_ms == NOW_MS
    # When it is exchanged
    done = exchange(ledger, code.text, PROOF, NOW_MS + 1)
    # Then there is one key, of that person and that application, as it was asked for
    assert isinstance(done, Exchanged)
    assert done.user_id == user.id
    key = api_keys.find(ledger, done.key_hash, NOW_MS)
    assert key is not None
    assert api_keys.hash_key(done.text) == done.key_hash
    assert (key.account_id, key.name, key.kind) == (account_id, "Notes", "inference")
    assert (key.limit_nano, key.limit_reset, key.expires_ms) == (5, "weekly", NOW_MS + 1_000_000)
    assert (key.creator_user_id, key.disabled) == (user.id, False)
    with ledger.reading() as connection:
        row = connection.execute(
            select(apps.c.origin, apps.c.id).join(keys_table, keys_table.c.app_id == apps.c.id)
        ).one()
    assert row == ("https://app.example", code.app_id)


def test_neither_codes_nor_verifiers_are_kept(ledger: Ledger):
    code = code_for(ledger, account_of(ledger))
    done = exchange(ledger, code.text, PROOF, NOW_MS)
    assert isinstance(done, Exchanged)
    secrets = (code.text.removeprefix(PREFIX), VERIFIER, done.text.removeprefix(api_keys.PREFIX))
    with ledger.reading() as connection:
        for table in metadata.tables.values():
            kept = repr(connection.execute(select(table)).all())
            assert not any(secret in kept for secret in secrets)


def test_a_crowd_with_one_code_gets_one_key(ledger: Ledger):
    # Given a code, and forty that exchange it at once
    account_id = account_of(ledger)
    code = code_for(ledger, account_id)

    def ask(_: int) -> str:
        try:
            done = exchange(ledger, code.text, PROOF, NOW_MS)
        except Forbidden as error:
            return error.message
        assert isinstance(done, Exchanged)
        return "key"

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(ask, range(40)))
    # Then one of them has a key, and it works
    assert told.count("key") == 1
    assert set(told) == {"key", "Invalid code or code_verifier"}
    assert keys_of(ledger, account_id) == 1


def test_a_code_is_worth_nothing_from_the_end_of_its_life_on(ledger: Ledger):
    account_id = account_of(ledger)
    early, late = code_for(ledger, account_id), code_for(ledger, account_id)
    end_ms = NOW_MS + CODE_LIFE_MS
    assert isinstance(exchange(ledger, early.text, PROOF, end_ms - 1), Exchanged)
    with pytest.raises(Forbidden, match="Authorization code expired"):
        exchange(ledger, late.text, PROOF, end_ms)


@pytest.mark.parametrize(
    ("challenge", "proof", "error"),
    [
        (S256, Proof(), Forbidden),
        (S256, Proof(verifier="x"), Forbidden),
        (S256, Proof(verifier=S256.text, method="S256"), Forbidden),
        (S256, Proof(verifier=VERIFIER, method="plain"), BadRequest),
        (S256, Proof(verifier=S256.text, method="plain"), BadRequest),
        (Challenge("p", "plain"), Proof(verifier="q", method="plain"), Forbidden),
        (Challenge("p", "plain"), Proof(verifier="p", method="S256"), BadRequest),
        (None, Proof(verifier=VERIFIER), Forbidden),
        (None, Proof(verifier=VERIFIER, method="S256"), Forbidden),
        (None, Proof(method="plain"), BadRequest),
    ],
)
def test_a_wrong_proof_gets_nothing_and_spoils_nothing(
    ledger: Ledger, challenge: Challenge | None, proof: Proof, error: type[Exception]
):
    account_id = account_of(ledger)
    code = code_for(ledger, account_id, challenge=challenge)
    with pytest.raises(error):
        exchange(ledger, code.text, proof, NOW_MS)
    assert keys_of(ledger, account_id) == 0
    right = {S256: PROOF, None: Proof()}.get(challenge, Proof(verifier="p"))
    assert isinstance(exchange(ledger, code.text, right, NOW_MS), Exchanged)


@pytest.mark.parametrize("method", [None, "S256"])
def test_the_method_need_not_be_repeated(ledger: Ledger, method: Any):
    code = code_for(ledger, account_of(ledger))
    done = exchange(ledger, code.text, Proof(verifier=VERIFIER, method=method), NOW_MS)
    assert isinstance(done, Exchanged)


@pytest.mark.parametrize(
    "text", ["", "x", PREFIX, PREFIX + "A" * 43, PREFIX + "A" * 42 + "\x00", "A" * 10_000]
)
def test_codes_nobody_made(ledger: Ledger, text: str):
    with pytest.raises(Forbidden, match="Invalid code or code_verifier"):
        exchange(ledger, text, PROOF, NOW_MS)


@pytest.mark.parametrize("challenge", [None, Challenge("seen-in-the-address", "plain")])
def test_a_code_anyone_could_use_names_its_key_when_it_comes_twice(
    ledger: Ledger, challenge: Challenge | None
):
    code = code_for(ledger, account_of(ledger), challenge=challenge)
    proof = Proof(verifier=challenge.text if challenge else None)
    first = exchange(ledger, code.text, proof, NOW_MS)
    assert isinstance(first, Exchanged)
    assert exchange(ledger, code.text, proof, NOW_MS) == UsedTwice(key_hash=first.key_hash)


def test_who_lost_the_account_or_the_log_in_cannot_fetch_a_key(ledger: Ledger):
    # Given codes of three people
    codes = []
    for number in range(3):
        user = create_user(ledger, NewUser(email=f"u{number}@example.org"), NOW_MS)
        with ledger.reading() as connection:
            of_user = select(members.c.account_id).where(members.c.user_id == user.id)
            account_id = connection.execute(of_user).scalar_one()
        codes.append((user.id, account_id, code_for(ledger, account_id, user_id=user.id)))
    # When one is disabled, one is no member any more, one closed the account
    with ledger.writing() as connection:
        one, two, three = codes
        connection.execute(update(users).where(users.c.id == one[0]).values(disabled=True))
        connection.execute(members.delete().where(members.c.user_id == two[0]))
        closed = update(accounts_table).where(accounts_table.c.id == three[1])
        connection.execute(closed.values(closed_ms=NOW_MS))
    # Then none of the codes is worth a key, and none gets another code
    for user_id, account_id, code in codes:
        with pytest.raises(Forbidden, match="Invalid code or code_verifier"):
            exchange(ledger, code.text, PROOF, NOW_MS)
        with pytest.raises(NotFound):
            code_for(ledger, account_id, user_id=user_id)


def test_nobody_gets_a_code_for_the_account_of_somebody_else(ledger: Ledger):
    user = create_user(ledger, NewUser(email="eve@example.org"), NOW_MS)
    with pytest.raises(NotFound):
        code_for(ledger, account_of(ledger), user_id=user.id)
    with pytest.raises(NotFound):
        code_for(ledger, "user_x")


def test_a_code_without_an_address_needs_a_challenge_and_has_no_application(ledger: Ledger):
    account_id = account_of(ledger)
    with pytest.raises(BadRequest):
        code_for(ledger, account_id, callback=None, challenge=None)
    code = code_for(ledger, account_id, callback=None)
    assert code.app_id is None
    done = exchange(ledger, code.text, PROOF, NOW_MS)
    assert isinstance(done, Exchanged)
    key = api_keys.find(ledger, done.key_hash, NOW_MS)
    assert key is not None
    assert key.name == "App"


@pytest.mark.parametrize(
    ("title", "label", "name"),
    [
        ("", "", "app.example"),
        ("Notes\x00", "", "Notes"),
        ("Notes", "Mine", "Mine"),
        ("é" * 300, "", "é" * 100),
    ],
)
def test_what_the_key_is_called(ledger: Ledger, title: str, label: str, name: str):
    code = code_for(ledger, account_of(ledger), app_title=title, key_label=label)
    done = exchange(ledger, code.text, PROOF, NOW_MS)
    assert isinstance(done, Exchanged)
    key = api_keys.find(ledger, done.key_hash, NOW_MS)
    assert key is not None
    assert key.name == name


@pytest.mark.parametrize(
    ("terms", "param"),
    [
        ({"limit_nano": -1}, "limit"),
        ({"limit_nano": AMOUNT_MAX_NANO + 1}, "limit"),
        ({"key_expires_ms": NOW_MS}, "expires_at"),
        ({"key_expires_ms": 2**60}, "expires_at"),
        ({"key_label": "x" * 101}, "key_label"),
        ({"key_label": "a\x00"}, "key_label"),
    ],
)
def test_terms_beyond_reason(ledger: Ledger, terms: dict[str, Any], param: str):
    with pytest.raises(BadRequest) as caught:
        code_for(ledger, account_of(ledger), **terms)
    assert caught.value.param == param


def test_codes_that_wait_are_bounded_and_old_ones_are_forgotten(ledger: Ledger):
    # Given an account with as many open codes as it may have
    account_id = account_of(ledger)
    first = code_for(ledger, account_id)
    for _ in range(OPEN_MAX - 1):
        code_for(ledger, account_id)
    with pytest.raises(Conflict):
        code_for(ledger, account_id)
    # When one is used there is room for one
    exchange(ledger, first.text, PROOF, NOW_MS)
    code_for(ledger, account_id)
    # And a day after their end they are gone
    later_ms = NOW_MS + CODE_LIFE_MS + KEEP_MS + 1
    code_for(ledger, account_id, later_ms)
    with ledger.reading() as connection:
        assert connection.execute(select(func.count()).select_from(auth_codes)).scalar_one() == 1


@pytest.mark.parametrize("challenge", [S256, Challenge(VERIFIER, "plain")])
def test_a_code_is_burnt_by_wrong_verifiers(ledger: Ledger, challenge: Challenge):
    account_id = account_of(ledger)
    spared, burnt = (code_for(ledger, account_id, challenge=challenge) for _ in range(2))
    right = Proof(verifier=VERIFIER)
    for code, tries in ((spared, TRIES_MAX - 1), (burnt, TRIES_MAX)):
        for number in range(tries):
            with pytest.raises(Forbidden, match="Invalid code or code_verifier"):
                exchange(ledger, code.text, Proof(verifier=f"guess-{number}"), NOW_MS)
        # What shows no verifier guesses nothing
        with pytest.raises(Forbidden):
            exchange(ledger, code.text, Proof(), NOW_MS)
    assert isinstance(exchange(ledger, spared.text, right, NOW_MS), Exchanged)
    with pytest.raises(Forbidden, match="Invalid code or code_verifier"):
        exchange(ledger, burnt.text, right, NOW_MS)
    assert keys_of(ledger, account_id) == 1


def test_a_crowd_that_guesses_has_no_more_tries(ledger: Ledger):
    code = code_for(ledger, account_of(ledger))

    def guess(number: int) -> None:
        with pytest.raises(Forbidden):
            exchange(ledger, code.text, Proof(verifier=f"guess-{number}"), NOW_MS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(guess, range(20)))
    with ledger.reading() as connection:
        assert connection.execute(select(auth_codes.c.tries)).scalar_one() == TRIES_MAX


def test_guesses_at_a_used_code_hide_no_replay(ledger: Ledger):
    code = code_for(ledger, account_of(ledger), challenge=Challenge("p", "plain"))
    first = exchange(ledger, code.text, Proof(verifier="p"), NOW_MS)
    assert isinstance(first, Exchanged)
    for _ in range(TRIES_MAX):
        with pytest.raises(Forbidden):
            exchange(ledger, code.text, Proof(verifier="q"), NOW_MS)
    again = exchange(ledger, code.text, Proof(verifier="p"), NOW_MS)
    assert again == UsedTwice(key_hash=first.key_hash)


@pytest.mark.parametrize("challenge", [None, Challenge("p", "plain")])
def test_an_operator_who_became_stricter_is_obeyed(ledger: Ledger, challenge: Challenge | None):
    account_id = account_of(ledger)
    code = code_for(ledger, account_id, challenge=challenge)
    proof = Proof(verifier="p" if challenge else None)
    with pytest.raises(BadRequest, match="S256 is required"):
        exchange(ledger, code.text, proof, NOW_MS, PkceRules(s256_only=True))
    assert keys_of(ledger, account_id) == 0


def test_accounts_can_be_closed_while_their_codes_are_made_and_used(ledger: Ledger):
    # Given accounts with codes, old ones too, and people who do everything at once
    ids = [account_of(ledger) for _ in range(8)]
    later_ms = NOW_MS + CODE_LIFE_MS + KEEP_MS + 1
    for account_id in ids:
        code_for(ledger, account_id)
    codes = [code_for(ledger, account_id, later_ms - 1).text for account_id in ids]

    def act(number: int) -> None:
        account_id, code = ids[number // 4], codes[number // 4]
        try:
            if number % 4 == 0:
                closing.close(ledger, account_id, later_ms)
            elif number % 4 == 1:
                code_for(ledger, account_id, later_ms)
            else:
                exchange(ledger, code, PROOF, later_ms)
        except (Forbidden, NotFound):
            pass

    # Then nobody waits for another in a circle, and no closed account has a code
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(act, range(4 * len(ids))))
    with ledger.reading() as connection:
        count = select(func.count()).select_from(auth_codes)
        assert connection.execute(count).scalar_one() == 0


def test_keys_of_other_accounts_are_as_they_were(ledger: Ledger):
    other = make_customer(ledger)
    api_keys.mint(ledger, other.account_id, KeyTerms(name="second"), NOW_MS)
    exchange(ledger, code_for(ledger, account_of(ledger)).text, PROOF, NOW_MS)
    assert keys_of(ledger, other.account_id) == 2
