"""What providers do to us, and what the caller, the provider and the ledger see of it."""

from __future__ import annotations

import pytest

from tests.e2e.catalog import COMPLETION_USD, OTHER, PROMPT_USD, PROVIDER_KEY, STORY
from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

TRAIN = "🚂"


def cost_nano(usage):
    """List price of a token count; USD per million tokens is 1,000 nano-dollars a token."""
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    return (prompt * PROMPT_USD + completion * COMPLETION_USD) * 1_000


def assert_charged(system, generation_id, usage):
    """The client was told what the customer paid, and the books say the same, once."""
    expected = cost_nano(usage)
    found = system.settled(generation_id)
    assert usage["cost"] == expected / 10**9
    assert (found.outcome, found.insured, found.cost_nano) == ("done", False, expected)
    assert system.paid_nano(generation_id) == {
        "customer": -expected,
        "revenue": expected,
        "inference_cost": -expected,
        "payable": expected,
    }
    return found


def assert_not_charged(system, generation_id, *, provider_took):
    """The customer paid nothing; what the provider takes all the same is our loss."""
    found = system.settled(generation_id)
    assert found.cost_nano == 0
    assert found.insured
    loss = found.upstream_cost_nano
    assert (loss > 0) is provider_took
    expected = {"insured_loss": -loss, "payable": loss} if provider_took else {}
    assert system.paid_nano(generation_id) == expected
    return found


def assert_refused(answer, status, provider):
    error = answer.json()["error"]
    assert answer.status_code == status, answer.text
    assert error["code"] == status
    assert error["metadata"]["provider_name"] == provider
    return error


# Nothing goes wrong.


def test_plain_answer_is_the_providers_and_is_charged_once(system):
    marker = new_marker()

    answer = system.ask(only=["good"], marker=marker)

    body = answer.json()
    assert answer.status_code == 200
    assert body["provider"] == "Good"
    assert body["model"] == STORY
    assert body["id"] == answer.headers["X-Generation-Id"]
    assert TRAIN in body["choices"][0]["message"]["content"]
    assert system.providers_called(marker) == ["good"]
    assert_charged(system, body["id"], body["usage"])


def test_provider_gets_the_operators_key_and_not_the_callers(system):
    marker = new_marker()

    system.ask(only=["good"], marker=marker)

    received = str(system.cluster.received(marker))
    assert system.cluster.api_key not in received
    assert PROVIDER_KEY not in received  # the journal shows its hash
    assert system.calls(marker)[0]["outcome"] == "finished"


def test_stream_is_chunks_then_usage_then_the_end_mark(system):
    marker = new_marker()

    stream = system.stream(only=["good"], marker=marker)

    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert {chunk["id"] for chunk in stream.chunks} == {stream.generation_id}
    assert stream.content.endswith(TRAIN)
    assert stream.finish_reasons == ["stop"]
    assert stream.done
    assert "usage" in stream.chunks[-1]
    assert_charged(system, stream.generation_id, stream.usage)
    assert [call["outcome"] for call in system.calls(marker)] == ["finished"]


# Instead of an answer: invisible where another provider is left.


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        ("busy-a", 429),
        ("busy-hint-a", 429),
        ("down-a", 502),
        ("reset", 502),
        ("silent", 504),
        ("error-200", 502),
        ("html", 502),
        ("empty", 502),
        ("denied", 502),
        ("unbilled", 502),
    ],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
def test_failure_before_the_first_byte_falls_back_to_another_pool(system, broken, status, streamed):
    marker = new_marker()
    fields = {"only": [broken, "good"], "order": [broken, "good"], "marker": marker}
    # A 429 parks its endpoint for the whole fleet: then it is passed over without a call.
    calls, responses = [[broken, "good"]], [[status, 200]]
    if status == 429:
        calls.append(["good"])
        responses.append([200])

    if streamed:
        stream = system.stream(**fields)
        assert (stream.status, stream.finish_reasons, stream.done) == (200, ["stop"], True)
        assert stream.content.endswith(TRAIN)
        generation_id, usage = stream.generation_id, stream.usage
    else:
        answer = system.ask(**fields)
        assert answer.status_code == 200, answer.text
        generation_id, usage = answer.json()["id"], answer.json()["usage"]

    assert system.providers_called(marker) in calls
    assert_charged(system, generation_id, usage)
    attempts = system.generation(generation_id)["provider_responses"]
    assert [attempt["status"] for attempt in attempts] in responses
    assert attempts[-1]["provider_name"] == "Good"


def test_429_of_the_only_provider_is_told_with_its_retry_after(system):
    marker = new_marker()

    answer = system.ask(only=["busy-hint-b"], marker=marker)

    error = assert_refused(answer, 429, "Busy-Hint-B")
    assert answer.headers["Retry-After"] == "7"
    assert error["metadata"]["error_type"] == "rate_limit_exceeded"
    assert "Rate limit reached" in error["metadata"]["raw"]
    assert len(system.calls(marker)) == 1
    assert_not_charged(system, answer.headers["X-Generation-Id"], provider_took=False)


def test_429_without_a_hint_is_told_without_one_and_not_hammered(system):
    marker = new_marker()

    answer = system.ask(only=["busy-b"], marker=marker)

    assert_refused(answer, 429, "Busy-B")
    assert "Retry-After" not in answer.headers
    assert len(system.calls(marker)) == 1


def test_500_once_is_tried_again_at_the_only_provider(system):
    marker = new_marker()

    answer = system.ask(only=["once"], marker=marker)

    assert answer.status_code == 200
    assert [call["status"] for call in system.calls(marker)] == [500, 200]
    assert_charged(system, answer.json()["id"], answer.json()["usage"])


def test_all_providers_down_is_502_with_the_history(system):
    marker = new_marker()

    answer = system.ask(only=["down-a", "down-b"], order=["down-a", "down-b"], marker=marker)

    error = assert_refused(answer, 502, "Down-B")
    previous = error["metadata"]["previous_errors"]
    assert [(one["code"], one["provider"]) for one in previous] == [
        (502, "Down-A"),
        (502, "Down-B"),
    ]
    assert system.providers_called(marker) == ["down-a", "down-b", "down-b"]
    found = assert_not_charged(system, answer.headers["X-Generation-Id"], provider_took=False)
    assert (found.outcome, found.finish_reason) == ("failed", "error")


def test_stream_that_never_begins_is_a_real_status_while_headers_wait(system):
    marker = new_marker()

    stream = system.stream(only=["denied"], marker=marker)

    assert stream.status == 502
    assert stream.headers["content-type"] == "application/json"
    assert len(system.calls(marker)) == 1


def test_stream_that_never_begins_is_told_in_band_once_headers_are_out(system):
    marker = new_marker()

    stream = system.stream(only=["silent"], marker=marker)

    assert stream.status == 200
    assert stream.comments
    assert stream.error["code"] == 504
    assert stream.finish_reasons == ["error"]
    assert stream.done
    # Silence is not asked again: the next one would be, and there is none.
    assert len(system.calls(marker)) == 1
    assert_not_charged(system, stream.generation_id, provider_took=False)


def test_silence_of_the_only_provider_is_504(system):
    marker = new_marker()

    answer = system.ask(only=["silent"], marker=marker)

    error = assert_refused(answer, 504, "Silent")
    assert error["metadata"]["error_type"] == "timeout"
    assert [call["outcome"] for call in system.calls(marker)] == ["closed_by_client"]


def test_slow_first_token_is_bridged_by_comments(system):
    marker = new_marker()

    stream = system.stream(only=["slow"], marker=marker)

    assert stream.status == 200
    assert stream.comments == [": OPENROUTER PROCESSING"] * len(stream.comments)
    assert len(stream.comments) >= 2
    assert stream.finish_reasons == ["stop"]
    assert stream.done
    assert len(system.calls(marker)) == 1
    assert_charged(system, stream.generation_id, stream.usage)


# After the first byte: in band, never retried, never charged.


@pytest.mark.parametrize(
    ("broken", "status"),
    [("cut", 502), ("torn", 502), ("stalled", 504), ("malformed", 502), ("error-mid", 502)],
)
def test_stream_that_breaks_ends_in_an_in_band_error_and_costs_nothing(system, broken, status):
    marker = new_marker()

    stream = system.stream(only=[broken, "good"], order=[broken, "good"], marker=marker)

    assert stream.status == 200
    assert stream.content.startswith("Hello")
    assert stream.error["code"] == status
    assert stream.finish_reasons == ["error"]
    if broken == "cut":
        assert "closed the connection" in stream.error["message"]
    assert stream.done
    assert all("usage" not in chunk for chunk in stream.chunks)
    assert system.providers_called(marker) == [broken]
    found = assert_not_charged(system, stream.generation_id, provider_took=True)
    assert (found.outcome, found.finish_reason) == ("failed", "error")
    assert found.flags == ("usage_estimated",)


@pytest.mark.parametrize("broken", ["cut", "torn", "malformed", "error-mid"])
def test_broken_plain_answer_is_fetched_elsewhere(system, broken):
    marker = new_marker()

    answer = system.ask(only=[broken, "good"], order=[broken, "good"], marker=marker)

    assert answer.status_code == 200
    assert answer.json()["provider"] == "Good"
    assert system.providers_called(marker) == [broken, "good"]
    assert_charged(system, answer.json()["id"], answer.json()["usage"])


# Odd, but whole.


def test_missing_end_mark_after_a_finish_reason_is_a_success(system):
    stream = system.stream(only=["no-done"])

    assert stream.finish_reasons == ["stop"]
    assert stream.done  # ours
    assert_charged(system, stream.generation_id, stream.usage)


def test_missing_finish_reason_before_the_end_mark_stays_null(system):
    stream = system.stream(only=["no-finish"])

    assert stream.finish_reasons == []
    assert stream.done
    found = assert_charged(system, stream.generation_id, stream.usage)
    assert found.finish_reason is None


def test_nothing_said_and_no_finish_reason_is_insured(system):
    stream = system.stream(only=["blank"])
    answer = system.ask(only=["blank"])

    assert stream.content == ""
    assert stream.finish_reasons == []
    assert stream.done
    assert stream.usage["cost"] == 0
    assert answer.json()["choices"][0]["finish_reason"] is None
    assert answer.json()["usage"]["cost"] == 0
    for generation_id in (stream.generation_id, answer.json()["id"]):
        assert_not_charged(system, generation_id, provider_took=True)


def test_invalid_utf8_becomes_a_replacement_character(system):
    stream = system.stream(only=["bad-utf8"])
    answer = system.ask(only=["bad-utf8"])

    assert "\ufffd" in stream.content
    assert "\ufffd" in answer.json()["choices"][0]["message"]["content"]
    assert stream.done
    assert_charged(system, stream.generation_id, stream.usage)


def test_characters_split_over_reads_arrive_whole(system):
    stream = system.stream(only=["split-utf8"])

    assert "é" in stream.content
    assert stream.content.endswith(TRAIN)
    assert "\ufffd" not in stream.content
    assert_charged(system, stream.generation_id, stream.usage)


def test_event_of_five_megabytes_passes(system):
    stream = system.stream(only=["huge"])

    assert "x" * (5 * 1024 * 1024) in stream.content
    assert stream.finish_reasons == ["stop"]
    assert stream.done
    assert_charged(system, stream.generation_id, stream.usage)


def test_content_filter_is_a_finish_reason_and_is_paid_for(system):
    stream = system.stream(only=["filtering"])

    assert stream.finish_reasons == ["content_filter"]
    assert_charged(system, stream.generation_id, stream.usage)


# The request is refused.


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("broken", "others", "word"),
    [
        # Nobody else has a longer context.
        ("too-long", ["good"], "maximum context length"),
        ("refusing", [], "filtered"),
    ],
)
def test_refusal_is_told_in_the_providers_words_and_asked_of_nobody_else(
    system, broken, others, word, streamed
):
    marker = new_marker()
    asked = [broken, *others]

    answer = system.ask(stream=streamed, only=asked, order=asked, marker=marker)

    error = assert_refused(answer, 400, broken.title())
    assert word in error["message"]
    assert system.providers_called(marker) == [broken]
    assert_not_charged(system, answer.headers["X-Generation-Id"], provider_took=False)


def test_what_one_provider_filters_another_may_answer(system):
    marker, asked = new_marker(), ["refusing", "good"]

    stream = system.stream(only=asked, order=asked, marker=marker)

    assert stream.finish_reasons == ["stop"]
    assert system.providers_called(marker) == asked
    assert_charged(system, stream.generation_id, stream.usage)


def test_context_too_long_falls_back_to_the_next_model(system):
    marker = new_marker()

    answer = system.ask(only=["too-long", "good"], order=["too-long"], models=[STORY, OTHER],
                        marker=marker)  # fmt: skip

    assert answer.status_code == 200
    assert answer.json()["model"] == OTHER
    calls = system.calls(marker)
    assert [(call["provider"], call["model"]) for call in calls] == [
        ("too-long", "story"),
        ("good", "other"),
    ]
    found = assert_charged(system, answer.json()["id"], answer.json()["usage"])
    assert found.model_id == OTHER


# Usage that is missing or cannot be.


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("slug", ["uncounted", "negative", "vast", "wordy", "fractional"])
def test_usage_that_cannot_be_is_counted_by_us_and_flagged(system, slug, streamed):
    if streamed:
        stream = system.stream(only=[slug])
        generation_id, usage = stream.generation_id, stream.usage
        assert stream.done
    else:
        body = system.ask(only=[slug]).json()
        generation_id, usage = body["id"], body["usage"]

    assert 0 < usage["prompt_tokens"] < 100
    assert 0 < usage["completion_tokens"] <= 100
    found = assert_charged(system, generation_id, usage)
    assert found.flags
    assert found.cost_nano <= found.hold_nano


def test_tool_calls_are_counted_too_where_the_provider_counts_nothing(system):
    tool = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    fields = {
        "only": ["uncounted"],
        "tools": [{"type": "function", "function": tool}],
        "tool_choice": "required",
    }

    stream = system.stream(**fields)
    answer = system.ask(**fields)

    assert stream.finish_reasons == ["tool_calls"]
    for usage in (stream.usage, answer.json()["usage"]):
        assert usage["completion_tokens"] > 0
    assert_charged(system, stream.generation_id, stream.usage)
