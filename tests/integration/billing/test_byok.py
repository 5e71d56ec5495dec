"""Provider keys of customers in the ledger: kept sealed, shared by terms, wrapped anew."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import orjson
import pytest
from sqlalchemy import insert, select, update

from billing import accounts, api_keys, byok, resealing
from billing.api_keys import KeyTerms
from billing.byok import Change, ProviderKey, UseTerms
from billing.db import Ledger
from billing.tables import accounts as account_rows
from billing.tables import byok_keys, generation_contents, members, users
from routing.errors import BadRequest, NotFound, Unavailable
from routing.own_keys import CheckedKey
from routing.sealing import Place, Sealer, SealError
from routing.wire.account import ByokKey
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import Customer, make_customer
from tests.unit.routing.test_credentials import AZURE

pytestmark = pytest.mark.integration

OLD, NEW = b"o" * 32, b"n" * 32
SEALER = Sealer(OLD)
SECRET = "sk-proj-SECRET-0123456789"  # noqa: S105 - not a real one


def checked(provider: str = "openai", **changes: Any) -> CheckedKey:
    known = {"provider": provider, "text": SECRET, "label": "sk-...6789"}
    return CheckedKey(**(known | changes))


def deployments(*models: str) -> CheckedKey:
    text = orjson.dumps([AZURE | {"model_slug": model} for model in models]).decode()
    return checked("azure", text=text, models=models)


def stored(
    ledger: Ledger, who: Customer, key: CheckedKey | None = None, **terms: Any
) -> ProviderKey:
    key = key or checked()
    return byok.create(ledger, SEALER, who.account_id, key, UseTerms(**terms), NOW_MS)


def usable(ledger: Ledger, key_hash: str) -> tuple[ByokKey, ...]:
    record = api_keys.find(ledger, key_hash, NOW_MS)
    assert record is not None
    return record.byok


def text_of(key: ByokKey, sealer: Sealer = SEALER) -> str:
    return sealer.open(key.sealed, Place.of_provider_key(key.id, key.account_id, key.provider))


def changed(ledger: Ledger, who: Customer, key_id: str, /, **terms: Any) -> ProviderKey:
    wanted = Change(terms=lambda before: replace(before, **terms))
    return byok.change(ledger, SEALER, who.account_id, key_id, wanted, NOW_MS + 1)


def rotated(ledger: Ledger, who: Customer, key_id: str, key: CheckedKey) -> ProviderKey:
    return byok.change(ledger, SEALER, who.account_id, key_id, Change(key=key), NOW_MS + 1)


def join(ledger: Ledger, who: Customer, user_id: str) -> None:
    person = {
        "id": user_id,
        "email": f"{user_id}@acme.test",
        "site_admin": False,
        "disabled": False,
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    place = {
        "account_id": who.account_id,
        "user_id": user_id,
        "role": "org:member",
        "created_ms": NOW_MS,
    }
    with ledger.writing() as connection:
        connection.execute(insert(users), person)
        connection.execute(insert(members), place)


def test_a_key_is_stored_sealed_and_handed_to_front_doors(ledger: Ledger):
    ada = make_customer(ledger)

    key = stored(ledger, ada, name="prod", always_use=True)

    assert key.label == "sk-...6789"
    assert (key.sort_order, key.created_ms, key.updated_ms) == (0, NOW_MS, NOW_MS)
    assert key.terms == UseTerms(name="prod", always_use=True)
    assert byok.get(ledger, ada.account_id, key.id) == key
    assert byok.list_keys(ledger, ada.account_id) == (key,)
    (found,) = usable(ledger, ada.key.key_hash)
    assert (found.id, found.account_id, found.provider) == (key.id, ada.account_id, "openai")
    assert found.always_use
    assert text_of(found) == SECRET
    with ledger.reading() as connection:
        row = connection.execute(select(byok_keys)).one()
    assert row.kek_id == SEALER.kek_id
    assert not any("SECRET" in str(value) for value in row)


def test_keys_are_tried_in_the_order_they_were_stored_and_fallbacks_last(ledger: Ledger):
    ada = make_customer(ledger)
    one, two = stored(ledger, ada), stored(ledger, ada, is_fallback=True)
    three, other = stored(ledger, ada), stored(ledger, ada, checked("groq"))

    assert [k.sort_order for k in (one, two, three, other)] == [0, 1, 2, 0]
    openai = byok.list_keys(ledger, ada.account_id, "openai")
    assert [k.id for k in openai] == [one.id, three.id, two.id]
    assert [k.id for k in byok.list_keys(ledger, ada.account_id)] == [
        other.id,
        *(k.id for k in openai),
    ]
    assert [k.id for k in usable(ledger, ada.key.key_hash) if k.provider == "openai"] == [
        one.id,
        three.id,
        two.id,
    ]

    found = byok.arrange(ledger, ada.account_id, "openai", [two.id], [three.id, one.id], NOW_MS + 5)

    assert [k.id for k in found] == [two.id, three.id, one.id]
    assert [k.terms.is_fallback for k in found] == [False, True, True]
    assert byok.get(ledger, ada.account_id, other.id) == other


def test_an_order_names_every_key_of_the_provider_once(ledger: Ledger):
    ada, eve = make_customer(ledger), make_customer(ledger)
    one, two, foreign = stored(ledger, ada), stored(ledger, ada), stored(ledger, eve)

    for order in ([one.id], [one.id, one.id, two.id], [one.id, foreign.id], [one.id, two.id, "x"]):
        with pytest.raises(BadRequest, match="Name every key of openai once"):
            byok.arrange(ledger, ada.account_id, "openai", order, [], NOW_MS)


def test_terms_say_who_may_use_a_key_and_for_what(ledger: Ledger):
    ada = make_customer(ledger)
    _, other = api_keys.mint(ledger, ada.account_id, KeyTerms(name="other"), NOW_MS)
    join(ledger, ada, "user_ada")
    one = stored(
        ledger, ada, allowed_key_hashes=(other.key_hash,), allowed_models=("openai/gpt-4o",)
    )

    assert usable(ledger, ada.key.key_hash) == ()
    (found,) = usable(ledger, other.key_hash)
    assert found.serves("openai/gpt-4o")
    assert found.serves("openai/gpt-4o:free")
    assert not found.serves("openai/gpt-4o-mini")

    changed(ledger, ada, one.id, allowed_key_hashes=None, allowed_user_ids=("user_ada",))
    assert usable(ledger, other.key_hash) == ()  # nobody's, or the operator's
    changed(ledger, ada, one.id, allowed_user_ids=None, disabled=True)
    assert usable(ledger, other.key_hash) == ()
    changed(ledger, ada, one.id, disabled=False)
    assert [k.id for k in usable(ledger, ada.key.key_hash)] == [one.id]


def test_a_change_leaves_the_rest_as_it_was(ledger: Ledger):
    ada = make_customer(ledger)
    key = stored(ledger, ada, name="prod", is_fallback=True)
    (before,) = usable(ledger, ada.key.key_hash)

    after = changed(ledger, ada, key.id, name="")

    assert after == replace(key, updated_ms=NOW_MS + 1, terms=UseTerms(is_fallback=True))
    assert usable(ledger, ada.key.key_hash) == (before,)


def test_another_key_takes_the_place_of_the_first(ledger: Ledger):
    ada = make_customer(ledger)
    key = stored(ledger, ada, name="prod")

    after = rotated(ledger, ada, key.id, checked(text="sk-new", label="..."))

    assert (after.id, after.label, after.terms) == (key.id, "...", key.terms)
    assert [text_of(k) for k in usable(ledger, ada.key.key_hash)] == ["sk-new"]
    with pytest.raises(BadRequest, match="This key is one of openai"):
        rotated(ledger, ada, key.id, checked("groq"))


def test_a_key_of_deployments_is_for_their_models(ledger: Ledger):
    ada = make_customer(ledger)

    key = stored(ledger, ada, deployments("a/m", "b/n"))
    assert key.terms.allowed_models == ("a/m", "b/n")
    key = rotated(ledger, ada, key.id, deployments("c/o"))
    assert key.terms.allowed_models == ("c/o",)

    chosen = stored(ledger, ada, deployments("a/m", "b/n"), allowed_models=("b/n",))
    assert chosen.terms.allowed_models == ("b/n",)
    chosen = rotated(ledger, ada, chosen.id, deployments("a/m", "b/n", "c/o"))
    assert chosen.terms.allowed_models == ("b/n",)


def test_what_a_key_stored_by_another_secret_was_for_is_kept(ledger: Ledger):
    ada = make_customer(ledger)
    key = stored(ledger, ada, deployments("a/m"))

    wanted = Change(key=deployments("a/m", "b/n"))
    after = byok.change(ledger, Sealer(NEW), ada.account_id, key.id, wanted, NOW_MS)

    assert after.terms.allowed_models == ("a/m",)
    assert len(usable(ledger, ada.key.key_hash)) == 1


def test_somebody_elses_key_is_as_unknown_as_none(ledger: Ledger):
    ada, eve = make_customer(ledger), make_customer(ledger)
    key = stored(ledger, ada)

    for key_id in (key.id, "never-was"):
        words = f"No provider key {key_id}"
        with pytest.raises(NotFound, match=words):
            byok.get(ledger, eve.account_id, key_id)
        with pytest.raises(NotFound, match=words):
            changed(ledger, eve, key_id, disabled=True)
        with pytest.raises(NotFound, match=words):
            byok.remove(ledger, eve.account_id, key_id)
    assert byok.list_keys(ledger, eve.account_id) == ()
    assert usable(ledger, eve.key.key_hash) == ()
    assert byok.list_keys(ledger, ada.account_id) == (key,)


def test_a_row_copied_to_another_account_does_not_open(ledger: Ledger):
    ada, eve = make_customer(ledger), make_customer(ledger)
    key = stored(ledger, ada)
    with ledger.writing() as connection:
        connection.execute(
            update(byok_keys).where(byok_keys.c.id == key.id).values(account_id=eve.account_id)
        )

    (found,) = usable(ledger, eve.key.key_hash)

    with pytest.raises(SealError):
        text_of(found)


def test_a_removed_key_is_gone(ledger: Ledger):
    ada = make_customer(ledger)
    key = stored(ledger, ada)

    byok.remove(ledger, ada.account_id, key.id)

    assert usable(ledger, ada.key.key_hash) == ()
    with pytest.raises(NotFound):
        byok.remove(ledger, ada.account_id, key.id)
    with ledger.reading() as connection:
        assert connection.execute(select(byok_keys)).all() == []


def test_terms_name_only_what_is_of_the_account(ledger: Ledger):
    ada, eve = make_customer(ledger), make_customer(ledger)
    join(ledger, eve, "user_eve")

    for terms in (
        {"allowed_key_hashes": (eve.key.key_hash,)},
        {"allowed_user_ids": ("user_eve",)},
        {"allowed_key_hashes": ()},
        {"allowed_models": ("",)},
        {"allowed_models": ("x" * 256,)},
        {"allowed_models": ("a\x00b",)},
        {"allowed_models": tuple(f"a/{n}" for n in range(257))},
        {"name": "x" * 256},
        {"name": "\x00"},
    ):
        with pytest.raises(BadRequest):
            stored(ledger, ada, **terms)
    assert byok.list_keys(ledger, ada.account_id) == ()


def test_a_list_may_keep_who_has_left(ledger: Ledger):
    ada = make_customer(ledger)
    join(ledger, ada, "user_ada")
    key = stored(ledger, ada, allowed_user_ids=("user_ada",))
    with ledger.writing() as connection:
        connection.execute(members.delete())

    assert changed(ledger, ada, key.id, name="still").terms.allowed_user_ids == ("user_ada",)
    with pytest.raises(BadRequest, match="allowed_user_ids: not of this account: user_eve"):
        changed(ledger, ada, key.id, allowed_user_ids=("user_ada", "user_eve"))


def test_an_account_has_only_so_many_keys_and_so_much_of_them(ledger: Ledger, monkeypatch):
    ada = make_customer(ledger)
    monkeypatch.setattr(byok, "KEYS_MAX", 2)
    monkeypatch.setattr(byok, "SEALED_MAX_BYTES", 1_000)
    one = stored(ledger, ada)
    with pytest.raises(BadRequest, match="too long together"):
        stored(ledger, ada, checked(text="x" * 1_000))
    with pytest.raises(BadRequest, match="too long together"):
        rotated(ledger, ada, one.id, checked(text="x" * 1_000))

    stored(ledger, ada)
    with pytest.raises(BadRequest, match="2 provider keys or fewer"):
        stored(ledger, ada)
    rotated(ledger, ada, one.id, checked(text="x" * 500))  # in its own place there is room
    assert len(byok.list_keys(ledger, ada.account_id)) == 2


def test_no_account_and_no_secret(ledger: Ledger):
    ada = make_customer(ledger)

    with pytest.raises(NotFound):
        byok.create(ledger, SEALER, "user_nobody", checked(), UseTerms(), NOW_MS)
    with pytest.raises(Unavailable, match="POINTSMAN_SECRET"):
        byok.create(ledger, Sealer(b""), ada.account_id, checked(), UseTerms(), NOW_MS)
    with ledger.writing() as connection:
        connection.execute(update(account_rows).values(closed_ms=NOW_MS))
    with pytest.raises(NotFound):
        stored(ledger, ada)
    assert accounts.get(ledger, ada.account_id) is not None


# a change of secret


def content(ledger: Ledger, name: str, sealed: str) -> None:
    row = {"generation_id": name, "account_id": "a", "sealed": sealed, "created_ms": NOW_MS}
    with ledger.writing() as connection:
        connection.execute(insert(generation_contents), row)


def test_everything_is_wrapped_anew_in_batches(ledger: Ledger):
    ada = make_customer(ledger)
    keys = [stored(ledger, ada) for _ in range(5)]
    place = Place("generation_contents", "gen-1", "a")
    content(ledger, "gen-1", SEALER.seal("prompt", place))
    both = Sealer(NEW, [OLD])
    byok.create(ledger, both, ada.account_id, checked(), UseTerms(), NOW_MS)

    found = resealing.reseal(ledger, both, batch=2)

    assert (found.done, found.lost) == (6, ())
    only_new = Sealer(NEW)
    assert [text_of(k, only_new) for k in usable(ledger, ada.key.key_hash)] == [SECRET] * 6
    with ledger.reading() as connection:
        sealed = connection.execute(select(generation_contents.c.sealed)).scalar_one()
    assert only_new.open(sealed, place) == "prompt"
    assert resealing.secrets_in_use(ledger) == {only_new.kek_id: 6}
    assert resealing.reseal(ledger, only_new).done == 0
    assert byok.list_keys(ledger, ada.account_id)[0].updated_ms == keys[0].updated_ms


def test_what_nobody_has_the_secret_for_is_named_and_left(ledger: Ledger):
    ada = make_customer(ledger)
    lost = [stored(ledger, ada).id for _ in range(3)]
    byok.create(ledger, Sealer(NEW), ada.account_id, checked(), UseTerms(), NOW_MS)

    assert resealing.secrets_in_use(ledger) == {SEALER.kek_id: 3, Sealer(NEW).kek_id: 1}
    found = resealing.reseal(ledger, Sealer(NEW), batch=2)

    assert found.done == 0
    assert sorted(found.lost) == sorted(f"byok_keys/{name}" for name in lost)
    assert len([k for k in usable(ledger, ada.key.key_hash) if k.id in lost]) == 3
    assert resealing.reseal(ledger, Sealer(NEW, [OLD])).done == 3


ROWS = 10_000
#: Reseals until it is killed; says how far it has come.
_RESEALS = """
import sys
from billing import resealing
from billing.db import open_ledger
from routing.sealing import Sealer

class Told(Sealer):
    def rewrap(self, sealed):
        print(flush=True)
        return super().rewrap(sealed)

resealing.reseal(open_ledger(sys.argv[1]), Told(b"n" * 32, [b"o" * 32]))
"""


def test_killed_again_and_again_nothing_is_lost(ledger: Ledger, ledger_url: str):
    ada = make_customer(ledger)
    rows = []
    for number in range(ROWS):
        key_id = f"k{number:05}"
        place = Place.of_provider_key(key_id, ada.account_id, "openai")
        rows.append(
            {
                "id": key_id,
                "account_id": ada.account_id,
                "provider": "openai",
                "name": "",
                "label": "...",
                "sealed": SEALER.seal(key_id, place),
                "kek_id": SEALER.kek_id,
                "disabled": False,
                "always_use": False,
                "is_fallback": False,
                "sort_order": number,
                "created_ms": NOW_MS,
                "updated_ms": NOW_MS,
            }
        )
    with ledger.writing() as connection:
        connection.execute(insert(byok_keys), rows)

    done = [0]
    for steps in (1, 777, 2_500, 1_234):
        with subprocess.Popen(
            [sys.executable, "-c", _RESEALS, ledger_url], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            for _ in range(steps):
                assert process.stdout.readline()
            process.kill()
        in_use = resealing.secrets_in_use(ledger)
        assert sum(in_use.values()) == ROWS
        done.append(in_use.get(Sealer(NEW).kek_id, 0))
    assert done == sorted(done)
    assert 0 < done[-1] < ROWS

    found = resealing.reseal(ledger, Sealer(NEW, [OLD]))

    assert (found.done, found.lost) == (ROWS - done[-1], ())
    only_new = Sealer(NEW)
    opened = [text_of(key, only_new) for key in usable(ledger, ada.key.key_hash)]
    assert opened == [f"k{number:05}" for number in range(ROWS)]


def test_without_a_secret_nothing_is_wrapped(ledger: Ledger):
    stored(ledger, make_customer(ledger))

    with pytest.raises(Unavailable):
        resealing.reseal(ledger, Sealer(b"", [OLD]))


@pytest.mark.parametrize("name", ["\x00", "a\x00", "x" * 300, "", "../byok"])
def test_names_that_no_key_has_are_asked_of_no_database(ledger: Ledger, name: str):
    account_id = make_customer(ledger).account_id
    for ask in (byok.get, byok.one_for_use, byok.remove):
        with pytest.raises(NotFound):
            ask(ledger, account_id, name)
    assert byok.list_keys(ledger, account_id, f"openai{name}\x00") == ()
