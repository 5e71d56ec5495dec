"""How faults are written, and which call gets which."""

import pytest

from workers.simulator.address import read_address
from workers.simulator.control import Unusable, read_rule
from workers.simulator.faults import KINDS, FaultBook, Rule, UnknownFault, parse_fault


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        pytest.param("503", "503", id="a name alone"),
        pytest.param("cut_after:3", "cut_after:3", id="a number"),
        pytest.param("cut_after:0", "cut_after:0", id="zero is a number"),
        pytest.param("slow_first", "slow_first:1000", id="the default number"),
        pytest.param("absurd_usage", "absurd_usage:negative", id="the default word"),
        pytest.param("absurd_usage:float", "absurd_usage:float", id="a word"),
    ],
)
def test_parse(spec: str, shown: str):
    assert str(parse_fault(spec)) == shown


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("nonsense", id="no such fault"),
        pytest.param("503:1", id="takes no argument"),
        pytest.param("cut_after:x", id="not a number"),
        pytest.param("cut_after:-1", id="negative"),
        pytest.param("huge_event:65", id="above the limit"),
        pytest.param("huge_event:" + "9" * 5000, id="far above the limit"),
        pytest.param("absurd_usage:odd", id="no such word"),
    ],
)
def test_parse_refuses(spec: str):
    with pytest.raises(UnknownFault):
        parse_fault(spec)


@pytest.mark.parametrize("name", KINDS)
def test_every_fault_can_be_written_by_name(name: str):
    assert parse_fault(name).name == name
    assert parse_fault(str(parse_fault(name))) == parse_fault(name)


def test_first_rule_that_matches_wins():
    book = FaultBook()
    book.replace(
        [
            Rule(provider="openai", model="gpt-4o", fault=parse_fault("503")),
            Rule(provider="*", model=None, fault=parse_fault("429")),
        ]
    )

    assert str(book.choose("openai", "gpt-4o", None)) == "503"
    assert str(book.choose("openai", "gpt-4.1", None)) == "429"
    assert str(book.choose("groq", "gpt-4o", None)) == "429"


def test_the_fault_in_the_path_goes_first():
    book = FaultBook()
    book.replace([Rule(provider="*", model=None, fault=parse_fault("503"))])

    assert str(book.choose("openai", "m", parse_fault("silence"))) == "silence"


def test_a_spent_rule_lets_the_next_one_through():
    book = FaultBook()
    book.replace([Rule(provider="*", model=None, fault=parse_fault("503"), times=2)])

    assert [book.choose("p", "m", None) is not None for _ in range(4)] == [True, True, False, False]


def test_probability_is_exact_and_evenly_spread():
    rule = Rule(provider="*", model=None, fault=parse_fault("503"), probability=0.25)

    drawn = [rule.draw() for _ in range(100)]

    assert sum(drawn) == 25
    assert drawn[:8] == [False, False, False, True] * 2


def test_500_once_fails_once_per_endpoint_until_the_rules_are_replaced():
    book = FaultBook()
    once = parse_fault("500_once")

    assert book.choose("p", "m", once) == once
    assert book.choose("p", "m", once) is None
    assert book.choose("p", "other", once) == once
    book.replace([])
    assert book.choose("p", "m", once) == once


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param([], id="not an object"),
        pytest.param({"provider": "openai"}, id="no fault"),
        pytest.param({"fault": "503", "often": 1}, id="unknown field"),
        pytest.param({"fault": "503", "times": -1}, id="negative times"),
        pytest.param({"fault": "503", "times": True}, id="times is no boolean"),
        pytest.param({"fault": "503", "probability": 2}, id="more than always"),
        pytest.param({"fault": "503", "model": 4}, id="model is no number"),
    ],
)
def test_read_rule_refuses(rule: object):
    with pytest.raises(Unusable):
        read_rule(rule)


@pytest.mark.parametrize(
    ("path", "provider", "fault", "rest"),
    [
        pytest.param("/v1/models", "default", None, "/v1/models", id="no provider"),
        pytest.param("/p/groq/v1/models", "groq", None, "/v1/models", id="provider"),
        pytest.param("/p/x/f/cut_after:3/v1/m", "x", "cut_after:3", "/v1/m", id="fault"),
        pytest.param("/p/x/f/cut_after%3A3/v1/m", "x", "cut_after:3", "/v1/m", id="escaped"),
        pytest.param("/f/503/v1/m", "default", "503", "/v1/m", id="fault without provider"),
    ],
)
def test_address(path: str, provider: str, fault: str | None, rest: str):
    address = read_address(path)

    assert address is not None
    assert (address.provider, address.path) == (provider, rest)
    assert address.fault == (parse_fault(fault) if fault else None)


def test_address_with_an_unknown_fault():
    with pytest.raises(UnknownFault):
        read_address("/p/openai/f/nonsense/v1/models")
