"""What is sealed opens in its own place, with its own secret, and nowhere else."""

from __future__ import annotations

import base64
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from routing.errors import ConfigError, Unavailable
from routing.sealing import (
    EARLIER_MAX,
    TEXT_MAX_BYTES,
    Place,
    Sealer,
    SealError,
    new_secret,
    secret_of,
    subkey,
)
from routing.settings import Settings

OLD, NEW = b"o" * 32, b"n" * 32
PLACE = Place.of_provider_key("id-1", "user_1", "openai")
TEXT = "sk-proj-SECRET"


def settings(secret: str = "", before: str = "") -> Settings:
    return Settings().model_copy(
        update={"secret": SecretStr(secret), "secrets_before": SecretStr(before)}
    )


def standard(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_what_is_sealed_opens(text: str):
    sealer = Sealer(OLD)

    assert sealer.open(sealer.seal(text, PLACE), PLACE) == text


def test_a_sealed_text_tells_nothing_and_is_never_the_same():
    sealer = Sealer(OLD)
    one, other = sealer.seal(TEXT, PLACE), sealer.seal(TEXT, PLACE)

    assert TEXT not in one
    assert one.split(".")[:2] == other.split(".")[:2] == ["v1", sealer.kek_id]
    assert not set(one.split(".")[2:]) & set(other.split(".")[2:])
    assert one.isascii()


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "generation_contents"},
        {"id": "id-2"},
        {"account_id": "user_2"},
        {"purpose": "anthropic"},
        {"purpose": ""},
    ],
)
def test_moved_elsewhere_it_does_not_open(changes: dict[str, str]):
    sealer = Sealer(OLD)

    with pytest.raises(SealError, match="changed, or sealed for another place"):
        sealer.open(sealer.seal(TEXT, PLACE), replace(PLACE, **changes))


def test_no_two_places_read_alike():
    with pytest.raises(ValueError, match=r"no part of a place may have a \|"):
        Place("byok_keys", "a|b", "c")


def test_a_change_anywhere_is_noticed():
    sealer = Sealer(OLD)
    sealed = sealer.seal(TEXT, PLACE)

    for at in range(len(sealed)):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        # The last letter of a part has bits that mean nothing.
        if at + 1 == len(sealed) or sealed[at + 1] == ".":
            continue
        with pytest.raises(SealError) as caught:
            sealer.open(changed, PLACE)
        assert TEXT not in str(caught.value)


def test_parts_of_two_sealed_texts_do_not_go_together():
    sealer = Sealer(OLD)
    one, other = (sealer.seal(TEXT, PLACE).split(".") for _ in range(2))

    with pytest.raises(SealError):
        sealer.open(".".join((*one[:3], other[3])), PLACE)


@pytest.mark.parametrize(
    "sealed",
    ["", "v1", "v1...", "v2.a.b.c", "v1.a.b.c.d", "v1.a.*.c", "v1.ü.ü.ü", "plain text", "v1.a.b.c"],
)
def test_what_was_never_sealed(sealed: str):
    with pytest.raises(SealError):
        Sealer(OLD).open(sealed, PLACE)
    with pytest.raises(SealError):
        Sealer(OLD).rewrap(sealed)


def test_another_secret_does_not_open_it_and_the_missing_one_is_named():
    sealed = Sealer(OLD).seal(TEXT, PLACE)

    with pytest.raises(SealError, match=f"secret {Sealer(OLD).kek_id}, which is neither"):
        Sealer(NEW).open(sealed, PLACE)


def test_an_earlier_secret_opens_and_only_the_present_one_seals():
    sealed = Sealer(OLD).seal(TEXT, PLACE)
    both = Sealer(NEW, [OLD])

    assert both.open(sealed, PLACE) == TEXT
    assert both.seal(TEXT, PLACE).split(".")[1] == Sealer(NEW).kek_id
    with pytest.raises(SealError):
        Sealer(OLD).open(both.seal(TEXT, PLACE), PLACE)


def test_wrapped_anew_it_needs_the_earlier_secret_no_more():
    sealed = Sealer(OLD).seal(TEXT, PLACE)

    again = Sealer(NEW, [OLD]).rewrap(sealed)

    assert Sealer(NEW).open(again, PLACE) == TEXT
    assert again.split(".")[3] == sealed.split(".")[3]  # the body was not touched
    assert Sealer(NEW).rewrap(again) == again
    with pytest.raises(SealError):
        Sealer(NEW).rewrap(sealed)


def test_without_a_secret_nothing_is_sealed():
    sealed = Sealer(OLD).seal(TEXT, PLACE)

    for call in (
        lambda: Sealer(b"").seal(TEXT, PLACE),
        lambda: Sealer(b"", [OLD]).rewrap(sealed),
    ):
        with pytest.raises(Unavailable, match="POINTSMAN_SECRET"):
            call()
    assert Sealer(b"", [OLD]).open(sealed, PLACE) == TEXT
    assert Sealer(b"").kek_id == ""


def test_there_is_a_longest_text():
    with pytest.raises(ValueError, match="too long"):
        Sealer(OLD).seal("x" * (TEXT_MAX_BYTES + 1), PLACE)


# settings


def test_secrets_come_from_settings_in_either_alphabet():
    odd = bytes(range(220, 252))
    assert "+" in standard(odd) or "/" in standard(odd)

    for text in (
        standard(odd),
        standard(odd).rstrip("="),
        base64.urlsafe_b64encode(odd).decode(),
        f" {standard(odd)}\n",
    ):
        assert secret_of(settings(text)) == odd
    assert secret_of(settings()) == b""
    assert len(secret_of(settings(new_secret()))) == 32
    assert new_secret() != new_secret()


def test_earlier_secrets_are_separated_by_commas():
    sealed = Sealer(OLD).seal(TEXT, PLACE)

    found = Sealer.of(settings(standard(NEW), f"{new_secret()}, {standard(OLD)},"))

    assert found.kek_id == Sealer(NEW).kek_id
    assert len(found.kek_ids) == 3
    assert found.open(sealed, PLACE) == TEXT


@pytest.mark.parametrize(
    "text", ["short", "x" * 43 + "!", "ü" * 43, standard(b"o" * 31), "changeme"]
)
@pytest.mark.parametrize("name", ["POINTSMAN_SECRET", "POINTSMAN_SECRETS_BEFORE"])
def test_what_is_no_secret_is_named_and_not_repeated(text: str, name: str):
    given = settings(text) if name == "POINTSMAN_SECRET" else settings(standard(NEW), text)

    with pytest.raises(ConfigError) as caught:
        Sealer.of(given)

    assert caught.value.problems[0].where == name
    assert text not in str(caught.value)


def test_earlier_secrets_are_bounded():
    with pytest.raises(ConfigError, match="more than"):
        Sealer.of(settings(new_secret(), ",".join(new_secret() for _ in range(EARLIER_MAX + 1))))


def test_a_key_for_one_purpose_is_no_other():
    keys = {
        subkey(OLD, "seal"),
        subkey(OLD, "id"),
        subkey(OLD, "cookies"),
        subkey(NEW, "seal"),
        OLD,
    }

    assert len(keys) == 5
    assert all(len(key) == 32 for key in keys)


def test_a_process_that_seals_nothing_does_not_load_the_ciphers():
    code = "import sys, routing.sealing; print('cryptography' in sys.modules)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "False"
