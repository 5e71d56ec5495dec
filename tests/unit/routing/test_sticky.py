from typing import Any

import pytest

from routing.catalog.shapes import Price
from routing.plan import facts
from routing.sticky import saves, sticky_name, worth_recalling
from routing.wire.chat import checked

SYSTEM = {"role": "system", "content": "Be brief."}
FIRST = {"role": "user", "content": "Hello"}
TALK = [SYSTEM, FIRST, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And?"}]


def name(account: str = "acct", **fields: Any) -> str:
    request = checked({"model": "a/m", "messages": TALK} | fields)
    return sticky_name(request, facts(request, ""), account)


def test_a_conversation_keeps_its_name_from_turn_to_turn():
    longer = [*TALK, {"role": "assistant", "content": "So"}, {"role": "user", "content": "Why?"}]

    assert name() == name(messages=longer) == name(messages=[SYSTEM, FIRST])
    assert name().startswith("c:")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"account": "other"}, id="account"),
        pytest.param({"model": "a/n"}, id="model"),
        pytest.param({"messages": [SYSTEM, {"role": "user", "content": "Bye"}]}, id="first words"),
        pytest.param({"messages": [FIRST]}, id="instructions"),
        pytest.param({"session_id": "s1"}, id="session"),
        pytest.param({"prompt_cache_key": "k1"}, id="cache key"),
    ],
)
def test_another_conversation_has_another_name(fields: dict[str, Any]):
    assert name(**fields) != name()


def test_a_session_goes_before_a_cache_key_before_the_messages():
    session = name(session_id="x", prompt_cache_key="k")

    assert session == name(session_id="x", messages=[FIRST])
    assert session.startswith("s:")
    assert name(prompt_cache_key="k") == name(prompt_cache_key="k", messages=[FIRST])


@pytest.mark.parametrize(
    "provider",
    [{"order": ["openai"]}, {"sort": "price"}, {"sort": {"by": "latency"}}],
)
def test_strict_orders_do_not_stick(provider: dict[str, Any]):
    assert name(provider=provider) == ""


def test_a_name_holds_nothing_of_the_prompt():
    assert "Hello" not in name()
    assert len(name()) == 2 + 32


def test_only_later_turns_are_worth_a_look():
    first = checked({"messages": [SYSTEM, FIRST]})
    assert not worth_recalling(first)
    assert worth_recalling(checked({"messages": TALK}))
    assert worth_recalling(checked({"messages": [FIRST], "session_id": "s"}))
    mark = {"cache_control": {"type": "ephemeral"}}
    assert worth_recalling(checked({"messages": [FIRST], **mark}))
    marked = {"role": "user", "content": [{"type": "text", "text": "long", **mark}]}
    assert worth_recalling(checked({"messages": [marked]}))


def test_a_cache_that_saves_nothing_is_no_reason_to_come_back():
    assert saves(Price(prompt_pico=10, cache_read_pico=1))
    assert not saves(Price(prompt_pico=10))
    assert not saves(Price(prompt_pico=10, cache_read_pico=10))
