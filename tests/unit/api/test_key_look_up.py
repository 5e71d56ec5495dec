"""Looking a key up tells nobody how much of it was guessed."""

from __future__ import annotations

from typing import Any

import pytest

from api.auth import Authenticator
from billing import api_keys
from routing.errors import Unauthorized
from routing.store.budgets import KeyCache


class Counted(KeyCache):
    """A cache that notes what it was asked for."""

    def __init__(self, redis: Any) -> None:
        super().__init__(redis)
        self.asked: list[str] = []

    def get(self, key_hash: str) -> Any:
        self.asked.append(key_hash)
        return super().get(key_hash)


@pytest.fixture
def cache(site: Any) -> Counted:
    return Counted(site.redis)


@pytest.fixture
def authenticator(site: Any, cache: Counted) -> Authenticator:
    return Authenticator(site.ledger, cache, site.clock)


def told(authenticator: Authenticator, text: str) -> str:
    with pytest.raises(Unauthorized) as caught:
        authenticator.key(f"Bearer {text}")
    return caught.value.message


@pytest.mark.parametrize("shared", [0, 1, 32, 63])
def test_a_key_that_shares_much_takes_the_steps_of_one_that_shares_nothing(
    site: Any,
    authenticator: Authenticator,
    cache: Counted,
    monkeypatch: pytest.MonkeyPatch,
    shared: int,
):
    real = site.customer.text.removeprefix(api_keys.PREFIX)
    wrong = "0" if real[shared] != "0" else "1"
    guess = api_keys.PREFIX + real[:shared] + wrong + real[shared + 1 :]
    looked: list[str] = []
    find = api_keys.find

    def noted(ledger: Any, key_hash: str, now_ms: int) -> Any:
        looked.append(key_hash)
        return find(ledger, key_hash, now_ms)

    monkeypatch.setattr(api_keys, "find", noted)

    assert told(authenticator, guess) == "User not found."
    # Once in each place, by nothing but the digest of all of it.
    assert cache.asked == looked == [api_keys.hash_key(guess)]


def test_what_is_no_key_of_ours_is_looked_up_nowhere(authenticator: Authenticator, cache: Counted):
    for text in ("sk-proj-abc", "x", "sk-or-v2-" + "0" * 64):
        assert told(authenticator, text) == "User not found."
    assert cache.asked == []
