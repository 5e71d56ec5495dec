"""What a job takes with it from one pool to the next."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from routing.catalog.shapes import Price
from routing.decide import Skipped
from routing.errors import UpstreamLimited
from routing.usage import Usage
from routing.wire.job import AttemptRecord, Caller, JobSpec, PlanEntry, attempts_to_list
from workers.refusal import Refused, Unsaid
from workers.trail import Trail

ENTRIES = tuple(
    PlanEntry(endpoint_id=f"{slug}:{model}", model_id=model, pool="p", price=Price())
    for slug, model in [("a", "m"), ("b", "m"), ("c", "n")]
)
SPEC = JobSpec(
    generation_id="gen-1",
    api="chat",
    stream=True,
    created_ms=1,
    caller=Caller(account_id="ada", key_hash="h"),
    entries=ENTRIES,
    waits=True,
)
RECORD = AttemptRecord(endpoint_id="a:m", provider="A", status=429, latency_ms=5, message="busy")
FULL = Trail(
    attempts=[RECORD],
    ruled_out=frozenset({2}),
    skipped=(Skipped(0, "limited", 7_000), Skipped(1, "open"), Skipped(2, "unfit")),
    faulted=True,
    tries=3,
    last=UpstreamLimited(raw="{}", retry_after_ms=700, kind="").failure("A"),
    forced=True,
    was_forced=True,
    refused=Refused(
        entry=1,
        choices=(Unsaid(0, "No.", "content_filter", "stop"), Unsaid(1, "", None, None)),
        usage=Usage(prompt_tokens=9, completion_tokens=2, flags=("odd",)),
        upstream_id="up-1",
    ),
)


@pytest.mark.parametrize("trail", [Trail(), FULL])
def test_it_comes_back_as_it_was(trail):
    assert Trail.read(trail.history, trail.rest, SPEC) == trail


def test_the_beginning_is_empty():
    assert Trail.read(b"", b"", SPEC) == Trail()


def test_the_release_before_reads_the_calls():
    """It unpacks lists of five and knows nothing else."""
    found = [(e, p, s, ms, text) for e, p, s, ms, text in orjson.loads(FULL.history)]

    assert found == [("a:m", "A", 429, 5, "busy")]


def test_what_the_release_before_left_alone_is_of_an_earlier_moment():
    again = replace(RECORD, endpoint_id="b:m", status=502, message="down")
    written = orjson.dumps(attempts_to_list([RECORD, again]))

    trail = Trail.read(written, FULL.rest, SPEC)

    assert trail == Trail.read(written, b"", SPEC)
    assert (trail.attempts, trail.tries, trail.forced) == ([RECORD, again], 3, False)


def test_a_failure_of_a_newer_release_can_still_be_read():
    data = orjson.loads(FULL.rest)
    data["last"] |= {"unknown": 1}

    assert Trail.read(FULL.history, orjson.dumps(data), SPEC) == FULL


def test_the_form_of_the_release_before_is_still_read():
    refused = replace(RECORD, status=400, message="no")

    trail = Trail.read(orjson.dumps(attempts_to_list([refused])), b"", SPEC)

    assert (trail.attempts, trail.tries, trail.ruled_out) == ([refused], 2, {0, 1})
    assert trail.last is not None
    assert (trail.last.status, trail.last.message) == (400, "no")


def test_the_state_is_where_the_job_stands(endpoint):
    known = {"a:m": endpoint("a", id="a:m", context_length=7)}

    state = FULL.state(SPEC, 1, known, 5)

    assert (state.index, state.tries_total, state.calls, state.max_attempts) == (1, 3, 2, 5)
    assert (state.waits, state.faulted, state.last) == (True, True, FULL.last)
    assert state.contexts == (7, 0, 0)
    assert Trail.of([RECORD], state, forced=True, refused=FULL.refused) == FULL
