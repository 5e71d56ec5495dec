"""Who is asked, in which order, and who is left alone."""

from __future__ import annotations

import pytest

from tests.cluster import wait_until
from tests.e2e.catalog import OTHER, STORY
from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def served_by(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["provider"]


def test_order_is_followed(system):
    for first, second in (("good", "spare"), ("spare", "good")):
        answer = system.ask(order=[first, second], only=["good", "spare"])

        assert served_by(answer) == first.title()


def test_only_is_followed(system):
    assert {served_by(system.ask(only=["toolless"])) for _ in range(3)} == {"Toolless"}


def test_ignore_is_followed(system):
    answer = system.ask(only=["good", "spare"], provider={"ignore": ["good"]})

    assert served_by(answer) == "Spare"


def test_without_fallbacks_only_the_named_are_asked(system):
    none, marker = {"allow_fallbacks": False}, new_marker()

    failed = system.ask(order=["down-b"], provider=none, marker=marker)
    answered = system.ask(order=["reset", "good"], provider=none)

    assert failed.status_code == 502
    assert set(system.providers_called(marker)) == {"down-b"}
    assert served_by(answered) == "Good"


def test_sort_by_price_takes_the_cheapest_every_time(system):
    answers = [system.ask(only=["dear", "spare"], provider={"sort": "price"}) for _ in range(5)]

    assert {served_by(answer) for answer in answers} == {"Spare"}


def test_max_price_leaves_out_the_dear(system):
    within = system.ask(
        only=["dear", "good"],
        order=["dear", "good"],
        provider={"max_price": {"prompt": 2, "completion": 4}},
    )
    beyond = system.ask(only=["dear"], provider={"max_price": {"prompt": 2, "completion": 4}})

    assert served_by(within) == "Good"
    assert beyond.status_code == 404
    assert "max" in beyond.json()["error"]["message"].lower()


def test_tools_go_only_where_they_are_understood(system):
    marker = new_marker()
    fields = {"tools": TOOLS, "tool_choice": "required", "marker": marker}

    answer = system.ask(only=["toolless", "good"], order=["toolless", "good"], **fields)
    refused = system.ask(only=["toolless"], tools=TOOLS)

    assert served_by(answer) == "Good"
    assert answer.json()["choices"][0]["message"]["tool_calls"]
    assert system.providers_called(marker) == ["good"]
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == 404


def test_next_model_is_tried_when_no_provider_of_the_first_answers(system):
    marker = new_marker()

    answer = system.ask(
        models=[STORY, OTHER], only=["reset", "good"], order=["reset"], marker=marker,
        provider={"max_price": {"prompt": 5}},
    )  # fmt: skip

    assert served_by(answer) == "Good"
    assert system.providers_called(marker) == ["reset", "good"]


def test_attempt_moves_to_another_providers_pool_and_tells_so(system):
    marker = new_marker()

    answer = system.ask(only=["reset", "good"], order=["reset", "good"], marker=marker)

    served_by(answer)
    responses = system.generation(answer.json()["id"])["provider_responses"]
    assert [(one["provider_name"], one["status"]) for one in responses] == [
        ("Reset", 502),
        ("Good", 200),
    ]
    calls = system.calls(marker)
    assert [(call["provider"], call["outcome"]) for call in calls] == [
        ("reset", "faulted"),
        ("good", "finished"),
    ]
    assert calls[0]["ended_ms"] <= calls[1]["started_ms"]


def test_endpoint_that_keeps_failing_is_left_alone(system):
    # Given: enough failures within the window to call it an outage.
    fields = {"only": ["dead", "good"], "order": ["dead", "good"]}

    def called(marker):
        served_by(system.ask(marker=marker, **fields))
        return "dead" in system.providers_called(marker)

    asked = 0

    def left_alone():
        nonlocal asked
        asked += 1
        return not called(new_marker())

    wait_until(left_alone, 20, "the breaker of dead")
    assert asked >= 10

    # Then: nobody calls it any more, and nobody notices.
    assert not any(called(new_marker()) for _ in range(5))

    # And where it is all there is, the least bad endpoint gets through, once.
    marker = new_marker()
    answer = system.ask(only=["dead"], marker=marker)
    assert answer.status_code == 502
    assert set(system.providers_called(marker)) == {"dead"}


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ({"model": "e2e/nothing"}, 400, "e2e/nothing is not a valid model ID"),
        ({"only": ["nobody"]}, 404, "No "),
        ({"provider": {"ignore": ["good"]}, "model": OTHER}, 404, "No "),
    ],
)
def test_what_cannot_be_planned_is_refused_without_a_call(system, fields, status, word):
    marker = new_marker()

    answer = system.ask(marker=marker, **fields)

    assert answer.status_code == status
    assert word in answer.json()["error"]["message"]
    assert system.calls(marker) == []
