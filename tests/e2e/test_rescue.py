"""Streams that die after their first byte and go on at another provider."""

from __future__ import annotations

import pytest

from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

RESCUE = {"rescue": True}
PRICE = {"prompt": 1, "completion": 2}


def marks(stream):
    """What the stream says about its rescue."""
    return [chunk["rescue"] for chunk in stream.chunks if "rescue" in chunk]


def shown_after_mark(stream):
    """What a client shows that throws away what came before the mark."""
    chunks = stream.chunks
    (place,) = [at for at, chunk in enumerate(chunks) if "rescue" in chunk]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[place:] if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def assert_charged_once(system, stream, provider):
    found = system.settled(stream.generation_id)
    usage = stream.usage
    nano = (usage["prompt_tokens"] + 2 * usage["completion_tokens"]) * 1_000
    assert (found.outcome, found.insured, found.cost_nano) == ("done", False, nano)
    assert system.paid_nano(stream.generation_id)["customer"] == -nano
    told = system.generation(stream.generation_id)
    assert told["provider_name"] == provider
    return told


@pytest.mark.parametrize("dead", ["cut", "torn", "malformed", "error-mid", "stalled"])
def test_a_stream_is_continued_where_it_broke_off(system, dead):
    marker = new_marker()

    stream = system.stream(
        only=[dead, "carrying"], order=[dead, "carrying"], provider=RESCUE, marker=marker
    )

    assert stream.done
    assert system.providers_called(marker) == [dead, "carrying"]
    # The second provider was given the first one's words, and they are not said twice.
    (mark,) = marks(stream)
    assert (mark["action"], mark["from_provider"], mark["provider"]) == (
        "continued",
        dead.title(),
        "Carrying",
    )
    begun = system.cluster.received(marker)["body"]["messages"][-1]
    assert begun["role"] == "assistant"
    assert begun["content"]
    assert stream.content.startswith(begun["content"])
    assert stream.finish_reasons == ["stop"]
    told = assert_charged_once(system, stream, "Carrying")
    assert [one["provider_name"] for one in told["provider_responses"]] == [
        dead.title(),
        "Carrying",
    ]


def test_a_stream_begins_anew_where_it_cannot_be_continued(system):
    marker = new_marker()

    stream = system.stream(
        only=["cut-short", "good"], order=["cut-short", "good"], provider=RESCUE, marker=marker
    )

    assert stream.done
    assert system.providers_called(marker) == ["cut-short", "good"]
    assert marks(stream)[0]["action"] == "restarted"
    assert "Hello from" in shown_after_mark(stream)
    assert_charged_once(system, stream, "Good")


def test_without_the_wish_the_error_stays(system):
    marker = new_marker()

    stream = system.stream(only=["cut-short", "good"], order=["cut-short", "good"], marker=marker)

    assert system.providers_called(marker) == ["cut-short"]
    assert stream.error["code"] == 502


def test_when_nobody_can_take_over_nothing_is_charged(system):
    stream = system.stream(
        only=["cut-short", "reset"], order=["cut-short", "reset"], provider=RESCUE
    )

    assert stream.error["code"] == 502
    assert stream.done
    assert system.settled(stream.generation_id).cost_nano == 0


@pytest.mark.parametrize("path", ["/responses", "/messages"])
def test_forms_without_a_mark_are_continued_in_silence(system, path):
    marker = new_marker()
    fields = {
        "only": ["cut-silent", "carrying"],
        "order": ["cut-silent", "carrying"],
        "provider": RESCUE,
    }
    said = f"Say something {marker}"
    body = {"input": said, "messages": None} if path == "/responses" else {}
    if path == "/responses":
        body["max_tokens"] = None

    stream = system.stream(path, marker=marker, **fields, **body)

    assert stream.status == 200, stream.text
    assert system.providers_called(marker) == ["cut-silent", "carrying"]
    assert "rescue" not in stream.text.replace('"rescue":true', "")
    ending = "response.completed" if path == "/responses" else "message_stop"
    assert ending in stream.text
    assert system.settled(stream.generation_id).outcome == "done"
