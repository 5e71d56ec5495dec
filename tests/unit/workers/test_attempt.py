"""One doorbell from claim to end: calls, fallbacks, breakers, orders. Providers are scripted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import gevent
import orjson
import pytest
from prometheus_client import CollectorRegistry

from routing.catalog.shapes import Price
from routing.clock import FixedClock
from routing.credentials import ApiKey
from routing.errors import UpstreamDown, UpstreamError, UpstreamTimeout
from routing.figures import OUTCOMES
from routing.metrics import WorkerMetrics
from routing.settings import Settings
from routing.store import redis_keys as keys
from routing.store.figures import Figures
from routing.store.health import Health
from routing.store.jobs import Jobs
from routing.store.sticky import Sticky
from routing.wire.frames import Frame, Kind
from routing.wire.job import Caller, Charge, JobSpec, PlanEntry, RouteNote
from routing.wire.request import request_from_json
from tests.fixtures.desk import ACCOUNT, Desk
from tests.fixtures.redis import FakeTime, Store
from workers import attempt
from workers.call import Bounds
from workers.emitter import Emitter
from workers.fetch import Fetcher
from workers.figures import Recorder
from workers.gates import Gates, RetryBudget
from workers.held import HeldJobs
from workers.keyring import Keyring
from workers.runtime import Runtime

JOB = "gen-1764806400-abcdefghij0123456789"
SSE = {"content-type": "text/event-stream"}
Step = bytes | UpstreamError | Callable[[], None]


def chunk(**fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"index": 0} | fields]}) + b"\n\n"


HELLO = chunk(delta={"content": "Hello"})
STOP = chunk(delta={}, finish_reason="stop")
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
PLAIN = orjson.dumps(
    {
        "id": "up-1",
        "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3},
    }
)


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


class FakeExchange:
    """Plays its steps: bytes are read, errors raised, functions called."""

    def __init__(self, status: int, headers: dict[str, str], steps: tuple[Step, ...]) -> None:
        self.status = status
        self._headers = headers
        self._steps = list(steps)
        self.closed = False

    def head(self, wait: Any) -> None:
        if self._steps and isinstance(self._steps[0], UpstreamTimeout):
            raise self._steps.pop(0)  # type: ignore[misc]

    def header(self, name: str) -> str:
        return self._headers.get(name, "")

    def headers(self) -> dict[str, str]:
        return self._headers

    def read(self, wait: Any) -> bytes:
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, UpstreamError):
                raise step
            if isinstance(step, bytes):
                return step
            step()
            if self.closed:
                raise UpstreamDown("closed by us")
        return b""

    def read_all(self, wait: Any) -> bytes:
        parts = []
        while data := self.read(wait):
            parts.append(data)
        return b"".join(parts)

    def settle(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@dataclass(slots=True)
class Bench:
    """A worker process whose providers answer as they are told, in order."""

    desk: Desk
    runtime: Runtime
    endpoints: dict[str, Any]
    answers: list[Any] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    def send(self, url: str, headers: Any, body: bytes, **_: Any) -> FakeExchange:
        self.asked.append(body)
        self.calls.append(url.split("/")[2].removesuffix(".test"))
        answer = self.answers.pop(0)
        if isinstance(answer, UpstreamError):
            raise answer
        assert isinstance(answer, FakeExchange)
        return answer

    def says(self, *steps: Step, status: int = 200, headers: dict[str, str] = SSE) -> None:
        self.answers.append(FakeExchange(status, headers, steps))

    def fails(self, status: int, **headers: str) -> None:
        self.says(b'{"error":{"message":"no"}}', status=status, headers=headers)

    def run(self, *slugs: str, stream: bool = True, **changes: Any) -> list[Frame]:
        """Admit a job with this plan, ring once, and return its frames."""
        entries = tuple(
            PlanEntry(
                endpoint_id=endpoint.id,
                model_id=endpoint.model_id,
                pool=endpoint.provider.pool,
                price=endpoint.prices[0],
            )
            for endpoint in (self.endpoints[slug] for slug in slugs)
        )
        known: dict[str, Any] = {
            "generation_id": JOB,
            "api": "chat",
            "stream": stream,
            "created_ms": self.runtime.clock.now_ms(),
            "caller": Caller(account_id="ada", key_hash="h"),
            "entries": entries,
            "prompt_tokens_max": 1_000,
            "completion_tokens_max": 100,
            "hold_nano": 10,
        }
        asked = {"model": "a/m", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
        asked |= changes.pop("asked", {})
        if changes.get("api") == "embeddings":
            asked = {"model": "a/m", "input": ["one", "two"]}
        asked_by = changes.get("api", "chat")
        request = request_from_json(asked_by, orjson.dumps(asked))
        self.desk.grant()
        self.desk.admit(JOB, spec=JobSpec(**(known | changes)).to_json(), request=request.to_json())
        return self.ring()

    def change(self, slug: str, **changes: Any) -> None:
        """Have an endpoint differ."""
        changed = replace(self.endpoints[slug], **changes)
        self.endpoints[slug] = self.runtime.catalog.current.endpoints[changed.id] = changed  # type: ignore[index]

    def bodies(self) -> list[dict[str, Any]]:
        """What providers were asked."""
        return [orjson.loads(body) for body in self.asked]

    def ring(self) -> list[Frame]:
        attempt.run(self.runtime, JOB)
        return self.desk.jobs.replay(JOB, (0, 0))

    @property
    def charge(self) -> Charge:
        (raw,) = self.desk.charges()
        return Charge.from_json(raw)


@pytest.fixture
def bench(endpoint, fake_redis: Any, fake_time: FakeTime) -> Iterator[Bench]:
    desk = Desk(Store(fake_redis, real=False))
    jobs = Jobs(fake_redis)
    endpoints = {
        slug: endpoint(slug, provider={"pool": pool, "cancellation": slug != "stubborn"})
        for slug, pool in [("a", "p"), ("b", "p"), ("far", "q"), ("stubborn", "p")]
    }
    catalog: Any = SimpleNamespace(
        current=SimpleNamespace(endpoints={one.id: one for one in endpoints.values()}, models={})
    )
    made = Bench(desk, runtime=None, endpoints=endpoints)  # type: ignore[arg-type]
    connections: Any = made
    made.runtime = Runtime(
        name="w1",
        settings=Settings(),
        clock=FixedClock(fake_time.now_ms),
        catalog=catalog,
        keyring=Keyring({"ACME_KEY": "k"}),
        redis=fake_redis,
        jobs=jobs,
        emitter=Emitter(jobs),
        gates=Gates(Health(fake_redis)),
        figures=Recorder(Figures(fake_redis)),
        sticky=Sticky(fake_redis),
        budget=RetryBudget(),
        fetcher=Fetcher(),
        connections=connections,
        metrics=WorkerMetrics(CollectorRegistry()),
        held=HeldJobs(),
    )
    emitting = gevent.spawn(made.runtime.emitter.run)
    yield made
    emitting.kill()


def text(frames: list[Frame]) -> bytes:
    return b"".join(frame.payload for frame in frames)


def trip(bench: Bench, *slugs: str) -> None:
    for slug in slugs:
        for _ in range(10):
            Health(bench.desk.store.redis).outcome(bench.endpoints[slug].id, "", "err")


# one endpoint


def test_a_stream_comes_through_and_is_charged(bench: Bench):
    bench.says(HELLO, STOP, USAGE, DONE)

    frames = bench.run("a")

    assert frames[-1].kind is Kind.END
    assert b'"content":"Hello"' in text(frames)
    assert text(frames).endswith(b"data: [DONE]\n\n")
    charge = bench.charge
    assert (charge.outcome, charge.provider, charge.finish_reason) == ("done", "A", "stop")
    assert (charge.usage.prompt_tokens, charge.usage.completion_tokens) == (9, 3)
    assert bench.desk.state(JOB) == "done"
    assert len(bench.runtime.held) == 0


def test_a_plain_answer_comes_through(bench: Bench):
    bench.says(PLAIN, headers={"content-type": "application/json"})

    (frame,) = bench.run("a", stream=False)

    assert frame.kind is Kind.BODY
    body = orjson.loads(frame.payload)
    assert (body["id"], body["provider"]) == (JOB, "A")
    assert body["choices"][0]["message"]["content"] == "Hello"
    assert bench.charge.upstream_id == "up-1"


def test_a_second_bell_does_nothing(bench: Bench):
    bench.says(HELLO, STOP, DONE)
    first = bench.run("a")

    assert bench.ring() == first
    assert bench.calls == ["a"]


def test_usage_that_was_not_reported_is_counted_and_said_so(bench: Bench):
    bench.says(HELLO, STOP, DONE)
    bench.run("a")

    usage = bench.charge.usage
    assert usage.estimated
    assert usage.completion_tokens == 1
    assert usage.flags == ("usage_estimated",)


def test_absurd_usage_is_clamped(bench: Bench):
    absurd = USAGE.replace(b":9", b":99999999").replace(b":3", b":88888888")
    bench.says(HELLO, STOP, absurd, DONE)
    bench.run("a")

    usage = bench.charge.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (2_000, 100)
    assert len(usage.flags) == 2


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        pytest.param((HELLO, STOP), "stop", id="no end mark"),
        pytest.param((HELLO, DONE), None, id="no finish reason"),
        pytest.param((HELLO, STOP, UpstreamDown("cut")), "stop", id="cut after the finish"),
        pytest.param((HELLO, STOP, UpstreamTimeout("gap", 1)), "stop", id="silent after it"),
    ],
)
def test_a_stream_with_either_end_is_complete(bench: Bench, steps: Any, reason: str | None):
    bench.says(*steps)

    assert bench.run("a")[-1].kind is Kind.END
    assert (bench.charge.outcome, bench.charge.finish_reason) == ("done", reason)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((HELLO,), id="ended without a word"),
        pytest.param((HELLO, UpstreamDown("cut")), id="cut"),
        pytest.param((HELLO, UpstreamTimeout("gap", 1)), id="stalled"),
        pytest.param((HELLO, b"data: {oops\n\n"), id="malformed"),
        pytest.param((HELLO, b'data: {"error":{"code":500}}\n\n'), id="error in band"),
    ],
)
def test_a_stream_that_breaks_after_its_first_byte_ends_in_an_error_and_is_not_charged(
    bench: Bench, steps: Any
):
    bench.says(*steps)

    frames = bench.run("a", "b")

    assert bench.calls == ["a"]
    assert b'"finish_reason":"error"' in frames[-1].payload
    assert b'"content":"Hello"' in text(frames)
    assert (bench.charge.outcome, bench.charge.insured) == ("failed", True)


# several endpoints


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_failure_before_the_first_byte_is_unseen_when_another_of_the_pool_serves(
    bench: Bench, status: int
):
    bench.fails(status)
    bench.says(HELLO, STOP, DONE)

    frames = bench.run("a", "b")

    assert bench.calls == ["a", "b"]
    assert b'"provider":"B"' in text(frames)
    assert [one.status for one in bench.charge.attempts] == [502 if status != 429 else 429, 200]


def test_an_endpoint_of_another_pool_is_handed_to_it_with_the_history(bench: Bench):
    bench.fails(500)

    assert bench.run("a", "far") == []

    assert bench.calls == ["a"]
    assert bench.desk.bells("pool.q")
    assert bench.desk.state(JOB) == "queued"
    bench.says(HELLO, STOP, DONE)
    frames = bench.ring()
    assert b'"provider":"Far"' in text(frames)
    assert [one.status for one in bench.charge.attempts] == [502, 200]


def test_when_all_fail_the_last_failure_is_a_status_with_the_others_beside_it(bench: Bench):
    bench.fails(500)
    bench.answers.append(UpstreamTimeout("first_byte", 5))

    (frame,) = bench.run("a", "b")

    assert (frame.kind, frame.status) == (Kind.ERROR, 504)
    metadata = orjson.loads(frame.payload)["error"]["metadata"]
    assert metadata["provider_name"] == "B"
    assert metadata["previous_errors"][0]["provider"] == "A"
    assert bench.charge.insured


def test_without_fallbacks_the_first_failure_is_the_answer(bench: Bench):
    bench.fails(500)

    (frame,) = bench.run("a", "b", allow_fallbacks=False)

    assert (frame.status, bench.calls) == (502, ["a"])


def test_a_refused_request_is_not_tried_at_other_endpoints_of_its_model(bench: Bench):
    bench.fails(400)

    (frame,) = bench.run("a", "b")

    assert (frame.status, bench.calls) == (400, ["a"])


# endpoints that are out of order


def test_an_endpoint_that_is_out_of_order_is_passed_over(bench: Bench):
    trip(bench, "a")
    bench.says(HELLO, STOP, DONE)

    bench.run("a", "b")

    assert bench.calls == ["b"]


def test_when_all_are_out_of_order_the_least_bad_one_gets_through(
    bench: Bench, fake_time: FakeTime
):
    trip(bench, "a")
    fake_time.advance(5_000)
    trip(bench, "b")
    bench.says(HELLO, STOP, DONE)

    bench.run("b", "a")

    assert bench.calls == ["a"]
    assert bench.charge.outcome == "done"
    assert bench.runtime.gates.in_flight(bench.endpoints["a"].id) == 0


def test_the_least_bad_one_gets_through_in_another_pool_too(bench: Bench, fake_time: FakeTime):
    trip(bench, "far")
    fake_time.advance(5_000)
    trip(bench, "a", "b")

    assert bench.run("a", "far", "b") == []
    assert bench.desk.bells("pool.q")
    bench.ring()
    assert bench.desk.bells("pool.p")
    assert bench.ring() == []
    assert len(bench.desk.bells("pool.q")) == 2
    bench.says(HELLO, STOP, DONE)
    bench.ring()

    assert bench.calls == ["far"]
    assert bench.charge.outcome == "done"


def test_waits_are_remembered_in_the_next_pool(bench: Bench):
    health = Health(bench.desk.store.redis)
    health.outcome(bench.endpoints["a"].id, "", "limited", pause_ms=4_000)
    health.outcome(bench.endpoints["far"].id, "", "limited", pause_ms=9_000)

    assert bench.run("a", "far") == []
    (frame,) = bench.ring()

    assert (frame.status, frame.retry_after_s, bench.calls) == (429, 4, [])


def test_earlier_failures_are_told_with_the_one_from_another_pool(bench: Bench):
    bench.fails(500)
    bench.fails(429, **{"retry-after": "9"})
    trip(bench, "far")

    assert bench.run("a", "b", "far") == []
    (frame,) = bench.ring()

    error = orjson.loads(frame.payload)["error"]
    assert (frame.status, error["metadata"]["provider_name"]) == (429, "B")
    assert frame.retry_after_s == 9
    assert [one["provider"] for one in error["metadata"]["previous_errors"]] == ["A"]


def test_when_all_asked_us_to_wait_the_client_is_told_for_how_long(bench: Bench):
    health = Health(bench.desk.store.redis)
    for slug, pause_ms in (("a", 4_000), ("b", 9_000)):
        health.outcome(bench.endpoints[slug].id, "", "limited", pause_ms=pause_ms)

    (frame,) = bench.run("a", "b")

    assert (frame.status, frame.retry_after_s, bench.calls) == (429, 4, [])


def test_an_endpoint_that_left_the_catalog_is_passed_over(bench: Bench):
    del bench.runtime.catalog.current.endpoints[bench.endpoints["a"].id]  # type: ignore[attr-defined]
    bench.says(HELLO, STOP, DONE)

    bench.run("a", "b")

    assert bench.calls == ["b"]


def test_a_catalog_replaced_during_a_call_changes_nothing_for_it(bench: Bench):
    endpoints: Any = bench.runtime.catalog.current.endpoints
    bench.says(HELLO, endpoints.clear, STOP, DONE)

    bench.run("a")

    assert bench.charge.outcome == "done"


# orders from outside


def test_a_client_that_leaves_closes_the_call_and_pays_for_what_came(bench: Bench):
    bench.says(HELLO, lambda: bench.runtime.held.tell(JOB, "cancel"), STOP, DONE)

    bench.run("a", "b")

    assert bench.calls == ["a"]
    assert (bench.charge.outcome, bench.charge.insured) == ("cancelled", False)
    assert bench.charge.usage.completion_tokens == 1


def test_a_picture_that_came_is_paid_for_like_text(bench: Bench):
    drawn = orjson.dumps({"choices": [{"delta": {"images": [{"image_url": {"url": "data:,x"}}]}}]})
    used = orjson.dumps({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 90}})
    pieces = b"data: " + drawn + b"\n\ndata: " + used + b"\n\n"
    bench.says(pieces, lambda: bench.runtime.held.tell(JOB, "cancel"), STOP, DONE)

    bench.run("a")

    assert (bench.charge.outcome, bench.charge.usage.completion_tokens) == ("cancelled", 90)


def test_where_the_bill_runs_on_the_call_is_read_to_its_end(bench: Bench):
    bench.says(HELLO, lambda: bench.runtime.held.tell(JOB, "cancel"), STOP, USAGE, DONE)

    bench.run("stubborn")

    assert (bench.charge.outcome, bench.charge.usage.completion_tokens) == ("cancelled", 3)


def test_work_handed_over_in_a_drain_is_queued_again_for_the_same_endpoint(bench: Bench):
    bench.says(lambda: bench.runtime.held.tell(JOB, "hand_over"))

    assert bench.run("a", "b") == []

    job = bench.desk.jobs.look(JOB)
    assert job is not None
    assert (job.state, job.attempt) == ("queued", 0)
    assert bench.desk.charges() == []


@pytest.mark.parametrize("sent", [True, False])
def test_a_hard_stop_is_an_error_in_band_or_a_status(bench: Bench, sent: bool):
    steps: tuple[Step, ...] = (HELLO,) if sent else ()
    bench.says(*steps, lambda: bench.runtime.held.tell(JOB, "stop"))

    last = bench.run("a")[-1]

    assert last.kind is (Kind.END if sent else Kind.ERROR)
    assert b"restarting" in last.payload
    assert bench.charge.insured


@pytest.mark.parametrize("order", ["cancel", "lost"])
def test_nobody_is_called_again_for_a_client_that_left_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, order: Any
):
    """Where the bill of a call runs on, closing it would not help."""
    monkeypatch.setattr(
        "workers.attempt.gevent.sleep", lambda _: bench.runtime.held.tell(JOB, order)
    )
    bench.fails(500)

    frames = bench.run("stubborn")

    assert bench.calls == ["stubborn"]
    if order == "cancel":
        assert (bench.charge.outcome, bench.charge.usage.prompt_tokens) == ("cancelled", 0)
    else:
        assert frames == []
        assert bench.desk.charges() == []


def test_a_job_that_was_taken_away_is_left_to_its_new_owner(bench: Bench):
    def take() -> None:
        job = bench.desk.jobs.look(JOB)
        assert job is not None
        bench.desk.jobs.fence(JOB, job.epoch, job.state)
        bench.runtime.held.tell(JOB, "lost")

    bench.says(take, STOP, DONE)

    assert bench.run("a") == []
    assert bench.desk.charges() == []


def test_a_probe_the_client_walked_away_from_does_not_close_the_breaker(
    bench: Bench, fake_time: FakeTime
):
    trip(bench, "a")
    fake_time.advance(15_000)
    bench.says(lambda: bench.runtime.held.tell(JOB, "cancel"))

    bench.run("a")

    assert bench.desk.store.redis.hget(keys.breaker(bench.endpoints["a"].id), "st") == b"half"
    assert bench.charge.usage.prompt_tokens == 0


def test_the_hold_stays_until_billing_gives_it_back(bench: Bench):
    bench.says(HELLO, STOP, DONE)

    bench.run("a")

    assert bench.desk.budgets.held_nano(ACCOUNT) == 10


VECTORS = (
    b'{"data":[{"index":0,"embedding":[0.5,1]},{"index":1,"embedding":[1,0.5]}],'
    b'"usage":{"prompt_tokens":2,"total_tokens":2}}'
)
JSON = {"content-type": "application/json"}


def test_vectors_come_back_in_the_order_of_their_inputs(bench: Bench):
    bench.says(VECTORS, headers=JSON)

    (frame,) = bench.run("a", stream=False, api="embeddings")

    told = orjson.loads(frame.payload)
    assert [item["embedding"] for item in told["data"]] == [[0.5, 1], [1, 0.5]]
    assert bench.charge.outcome == "done"
    assert not bench.charge.insured
    assert bench.charge.usage.prompt_tokens == 2


def test_a_vector_too_few_is_a_failure_and_nobody_pays(bench: Bench):
    bench.says(b'{"data":[{"index":0,"embedding":[0.5]}],"usage":{}}', headers=JSON)

    (frame,) = bench.run("a", stream=False, api="embeddings", allow_fallbacks=False)

    assert frame.status == 502
    assert "1 vectors for 2 inputs" in frame.payload.decode()
    assert bench.charge.outcome == "failed"


# refusals


FILTERED = chunk(delta={}, finish_reason="content_filter")


def test_a_refusal_before_the_first_word_moves_on_to_another_provider(bench: Bench):
    bench.says(chunk(delta={"role": "assistant", "content": ""}), FILTERED, DONE)
    bench.says(HELLO, STOP, DONE)

    frames = bench.run("a", "b")

    assert bench.calls == ["a", "b"]
    assert b"content_filter" not in text(frames)
    refused, answered = bench.charge.attempts
    assert (refused.status, answered.status) == (403, 200)
    assert "content filter" in refused.message


def test_a_plain_refusal_moves_on_too(bench: Bench):
    empty = b'{"choices":[{"message":{"content":null},"finish_reason":"content_filter"}]}'
    bench.says(empty, headers=JSON)
    bench.says(PLAIN, headers=JSON)

    bench.run("a", "b", stream=False)

    assert bench.calls == ["a", "b"]
    assert bench.charge.finish_reason == "stop"


@pytest.mark.parametrize("slugs", [("a",), ("a", "a")])
def test_a_refusal_nobody_else_can_help_with_is_passed_on(bench: Bench, slugs: tuple[str, ...]):
    bench.says(FILTERED, USAGE, DONE)

    frames = bench.run(*slugs)

    assert bench.calls == ["a"]
    assert b'"finish_reason":"content_filter"' in text(frames)
    assert (bench.charge.outcome, bench.charge.finish_reason) == ("done", "content_filter")


REFUSAL = (
    chunk(delta={"refusal": "I cannot "}),
    chunk(delta={"refusal": "help."}),
    chunk(delta={}, finish_reason="stop"),
    USAGE,
    DONE,
)


def refused_answer(*, stream: bool) -> tuple[bytes, ...]:
    if stream:
        return REFUSAL
    message = {"content": None, "refusal": "I cannot help."}
    return (
        orjson.dumps(
            {
                "id": "up-2",
                "choices": [{"message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 3},
            }
        ),
    )


def says_refused(bench: Bench, *, stream: bool) -> None:
    bench.says(*refused_answer(stream=stream), headers=SSE if stream else JSON)


def refusal_of(frames: list[Frame], *, stream: bool) -> tuple[str, str]:
    """What the client reads: the refusal and the reason."""
    if not stream:
        (choice,) = orjson.loads(frames[-1].payload)["choices"]
        return choice["message"]["refusal"], choice["finish_reason"]
    told = [one["choices"][0] for one in chunks(frames) if one["choices"]]
    words = "".join(one["delta"].get("refusal") or "" for one in told)
    return words, next(one["finish_reason"] for one in told if one["finish_reason"])


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_nothing_but_a_refusal_moves_on(bench: Bench, *, stream: bool):
    says_refused(bench, stream=stream)
    bench.says(*((HELLO, STOP, DONE) if stream else (PLAIN,)), headers=SSE if stream else JSON)

    frames = bench.run("a", "b", stream=stream)

    assert bench.calls == ["a", "b"]
    assert b"cannot" not in text(frames)
    assert [one.status for one in bench.charge.attempts] == [403, 200]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after", ["parked", "fails", "another pool"])
def test_a_refusal_that_nobody_else_answers_is_given_as_it_was(
    bench: Bench, after: str, *, stream: bool
):
    says_refused(bench, stream=stream)
    other = "far" if after == "another pool" else "b"
    if after == "parked":
        park(bench, "b", 30_000)
    else:
        bench.fails(429)

    frames = bench.run("a", other, stream=stream)
    if after == "another pool":
        frames = bench.ring()

    assert bench.calls == (["a"] if after == "parked" else ["a", other])
    assert frames[-1].status == 200
    assert refusal_of(frames, stream=stream) == ("I cannot help.", "content_filter")
    charge = bench.charge
    assert (charge.outcome, charge.provider, charge.insured) == ("done", "A", False)
    assert (charge.usage.prompt_tokens, charge.usage.completion_tokens) == (9, 3)
    assert [one.status for one in charge.attempts] == [403, 429][: len(bench.calls)]
    assert charge.upstream_id == (None if stream else "up-2")


def test_a_filtered_end_that_nobody_else_betters_keeps_its_usage(bench: Bench):
    bench.says(FILTERED, USAGE, DONE)
    bench.fails(400)

    frames = bench.run("a", "b")

    assert frames[-1].kind is Kind.END
    assert chunks(frames)[-1]["usage"]["prompt_tokens"] == 9
    assert bench.charge.finish_reason == "content_filter"


def test_a_refused_choice_beside_one_that_speaks_is_passed_on(bench: Bench):
    first = orjson.loads(REFUSAL[0][6:])["choices"][0]
    second = {"index": 1, "delta": {"content": "Hello"}}
    ends = [{"index": n, "delta": {}, "finish_reason": "stop"} for n in (0, 1)]
    for one in (first, second, *ends):
        one.setdefault("delta", {})
    bench.says(*(b"data: " + orjson.dumps({"choices": [one]}) + b"\n\n" for one in (
        first, second, *ends)), DONE)  # fmt: skip

    frames = bench.run("a", "b")

    assert bench.calls == ["a"]
    assert b"I cannot" in text(frames)
    assert b"Hello" in text(frames)


def test_a_refusal_that_breaks_off_is_a_failure_like_any_other(bench: Bench):
    bench.says(REFUSAL[0], UpstreamDown("cut"))
    bench.says(HELLO, STOP, DONE)

    bench.run("a", "b")

    assert [one.status for one in bench.charge.attempts] == [502, 200]


def test_a_probe_that_refuses_found_its_endpoint_well(bench: Bench, fake_time: FakeTime):
    trip(bench, "a")
    fake_time.advance(15_000)
    bench.says(FILTERED, USAGE, DONE)
    bench.says(HELLO, STOP, DONE)

    bench.run("a", "b")

    assert bench.desk.store.redis.hget(keys.breaker(bench.endpoints["a"].id), "st") is None


def test_a_filter_that_stops_an_answer_under_way_is_passed_on(bench: Bench):
    bench.says(HELLO, FILTERED, DONE)

    assert b'"finish_reason":"content_filter"' in text(bench.run("a", "b"))
    assert bench.calls == ["a"]


TOO_LONG = b'{"error":{"code":"context_length_exceeded","message":"Too long"}}'


def test_what_is_too_long_goes_to_a_longer_context_of_the_same_model(bench: Bench):
    bench.change("stubborn", context_length=100_000)
    bench.says(TOO_LONG, status=400, headers=JSON)
    bench.says(HELLO, STOP, DONE)

    bench.run("a", "b", "stubborn")

    assert bench.calls == ["a", "stubborn"]


def test_what_one_provider_flags_another_may_answer(bench: Bench):
    flagged = b'{"error":{"code":"content_filter","message":"no"}}'
    bench.says(flagged, status=400, headers=JSON)
    bench.says(HELLO, STOP, DONE)

    bench.run("a", "b")

    assert bench.calls == ["a", "b"]


# waiting


def park(bench: Bench, slug: str, pause_ms: int) -> None:
    Health(bench.desk.store.redis).outcome(
        bench.endpoints[slug].id, "", "limited", pause_ms=pause_ms
    )


def test_a_job_that_waits_sleeps_in_the_store_and_begins_anew(bench: Bench, fake_time: FakeTime):
    park(bench, "a", 4_000)
    park(bench, "far", 9_000)

    assert bench.run("a", "far", waits=True) == []
    bench.ring()

    job = bench.desk.jobs.look(JOB)
    assert job is not None
    assert (job.state, job.attempt, job.pool) == ("queued", 0, "p")
    assert bench.desk.due_in_ms(JOB) == 4_000
    assert job.waiting_since_ms == fake_time.now_ms + 4_000
    assert bench.desk.charges() == []

    fake_time.advance(4_000)
    bench.says(HELLO, STOP, DONE)
    bench.ring()
    assert bench.calls == ["a"]
    assert bench.charge.outcome == "done"


def test_calls_refused_as_busy_cost_a_job_that_waits_no_tries(bench: Bench, fake_time: FakeTime):
    bench.desk.grant()
    for _ in range(5):
        bench.fails(429, **{"retry-after": "1"})
    bench.says(HELLO, STOP, DONE)

    bench.run("a", waits=True)
    for _ in range(5):
        fake_time.advance(1_000)
        bench.runtime.clock.advance(1_000)  # type: ignore[attr-defined]
        bench.ring()

    assert [one.status for one in bench.charge.attempts] == [429] * 5 + [200]


def test_a_job_that_waits_for_too_long_is_told_what_kept_it(bench: Bench, fake_time: FakeTime):
    park(bench, "a", 500_000)
    bench.run("a", waits=True)
    woken = 0
    while not bench.desk.charges():
        woken += 1
        fake_time.advance(10_000)
        bench.runtime.clock.advance(10_000)  # type: ignore[attr-defined]
        frames = bench.ring()

    assert (frames[0].status, woken < 10) == (429, True)


def test_a_client_that_leaves_ends_the_wait(bench: Bench):
    park(bench, "a", 4_000)
    bench.run("a", waits=True)

    assert bench.desk.jobs.cancel(JOB, b"charge") == "ended"
    bench.ring()
    assert bench.desk.charges() == [b"charge"]


def test_a_fault_among_what_is_busy_ends_the_wait(bench: Bench):
    bench.fails(400)
    park(bench, "b", 4_000)
    bench.change("b", model_id="a/n")

    (frame,) = bench.run("a", "b", waits=True)

    assert frame.status == 400


# rescue


WORLD = chunk(delta={"content": ", world"})
CUT = UpstreamDown("cut")


def rescue_of(frames: list[Frame]) -> list[dict[str, Any]]:
    """The marks of a rescue in a stream of chunks."""
    return [one["rescue"] for one in chunks(frames) if "rescue" in one]


def chunks(frames: list[Frame]) -> list[dict[str, Any]]:
    lines = text(frames).decode().split("\n\n")
    return [
        orjson.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")
    ]


def content(frames: list[Frame]) -> str:
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks(frames))


def test_a_stream_that_dies_is_continued_where_the_next_one_goes_on_with_a_text(bench: Bench):
    bench.change("far", prefill=True)
    bench.says(HELLO, CUT)
    bench.says(WORLD, STOP, USAGE, DONE)

    frames = bench.run("a", "far", rescue=True, asked={"max_tokens": 50})

    assert bench.calls == ["a", "far"]
    assert content(frames) == "Hello, world"
    assert bench.bodies()[1]["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    assert bench.bodies()[1]["max_tokens"] == 49
    (mark,) = rescue_of(frames)
    assert (mark["action"], mark["from_provider"], mark["provider"]) == ("continued", "A", "Far")
    assert chunks(frames)[-1]["provider"] == "Far"
    assert text(frames).endswith(b"data: [DONE]\n\n")
    charge = bench.charge
    assert (charge.outcome, charge.endpoint_id, charge.insured) == ("done", "far:a/m", False)
    # Nine prompt tokens reported, one of them the text that was continued.
    assert (charge.usage.prompt_tokens, charge.usage.completion_tokens) == (8, 4)
    assert charge.usage.flags == ("rescued",)
    assert [one.status for one in charge.attempts] == [502, 200]


def test_a_continued_stream_without_usage_is_counted_as_one_answer(bench: Bench):
    bench.change("b", prefill=True)
    bench.says(HELLO, CUT)
    bench.says(WORLD, STOP, DONE)

    bench.run("a", "b", rescue=True)

    usage = bench.charge.usage
    assert usage.completion_tokens == 3
    assert set(usage.flags) == {"usage_estimated", "rescued"}


def test_a_stream_that_dies_twice_is_continued_twice(bench: Bench):
    bench.change("b", prefill=True)
    bench.change("far", prefill=True)
    bench.says(HELLO, CUT)
    bench.says(WORLD, CUT)
    bench.says(chunk(delta={"content": "!"}), STOP, USAGE, DONE)

    frames = bench.run("a", "b", "far", rescue=True)

    assert content(frames) == "Hello, world!"
    assert bench.bodies()[2]["messages"][-1]["content"] == "Hello, world"
    assert [mark["action"] for mark in rescue_of(frames)] == ["continued", "continued"]
    assert bench.charge.usage.completion_tokens == 3 + 3


def test_a_stream_that_cannot_be_continued_begins_anew_and_only_that_is_charged(bench: Bench):
    bench.says(HELLO, CUT)
    bench.says(WORLD, STOP, USAGE, DONE)

    frames = bench.run("a", "b", rescue=True)

    (mark,) = rescue_of(frames)
    assert (mark["action"], mark["error"]["code"]) == ("restarted", 502)
    assert bench.bodies()[0] == bench.bodies()[1]
    charge = bench.charge
    assert (charge.usage.prompt_tokens, charge.usage.completion_tokens) == (9, 3)
    assert charge.usage.flags == ("rescued",)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(
            chunk(
                delta={
                    "tool_calls": [
                        {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}
                    ]
                }
            ),
            id="a call",
        ),
        pytest.param(chunk(delta={"reasoning": "Hm"}), id="a thought"),
    ],
)
def test_what_is_not_plain_text_begins_anew_even_where_text_could_be_continued(
    bench: Bench, first: bytes
):
    bench.change("b", prefill=True)
    bench.says(first, CUT)
    bench.says(WORLD, STOP, USAGE, DONE)

    assert rescue_of(bench.run("a", "b", rescue=True))[0]["action"] == "restarted"


@pytest.mark.parametrize(
    "asked",
    [
        {"logprobs": True},
        {"reasoning": {"effort": "high"}},
        {"reasoning_effort": "low"},
        {"response_format": {"type": "json_object"}},
        {"tools": TOOLS, "tool_choice": "required"},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
    ],
)
def test_a_request_that_does_not_go_with_a_begun_answer_begins_anew(
    bench: Bench, asked: dict[str, Any]
):
    bench.change("b", prefill=True)
    bench.says(HELLO, CUT)
    bench.says(WORLD, STOP, USAGE, DONE)

    assert rescue_of(bench.run("a", "b", rescue=True, asked=asked))[0]["action"] == "restarted"


def test_a_rescue_passes_over_what_is_out_of_order(bench: Bench):
    trip(bench, "b")
    bench.says(HELLO, CUT)
    bench.says(WORLD, STOP, USAGE, DONE)

    frames = bench.run("a", "b", "far", rescue=True)

    assert bench.calls == ["a", "far"]
    assert rescue_of(frames)[0]["provider"] == "Far"


def test_a_rescue_that_fails_ends_in_the_error_that_broke_the_stream(bench: Bench):
    bench.says(HELLO, UpstreamTimeout("gap", 1))
    bench.fails(500)
    bench.fails(500)

    frames = bench.run("a", "b", "far", rescue=True)

    assert bench.calls == ["a", "b", "far"]
    assert rescue_of(frames) == []
    assert chunks(frames)[-1]["error"]["code"] == 504
    assert (bench.charge.outcome, bench.charge.insured) == ("failed", True)
    assert len(bench.charge.attempts) == 3


def test_a_single_endpoint_is_not_asked_again(bench: Bench):
    bench.says(HELLO, CUT)

    frames = bench.run("a", rescue=True)

    assert bench.calls == ["a"]
    assert chunks(frames)[-1]["error"]["code"] == 502


def test_an_answer_that_broke_off_at_its_full_length_is_whole(bench: Bench):
    bench.change("b", prefill=True)
    bench.says(HELLO, CUT)

    frames = bench.run("a", "b", rescue=True, asked={"max_tokens": 1})

    assert bench.calls == ["a"]
    assert b'"finish_reason":"length"' in text(frames)
    charge = bench.charge
    assert (charge.outcome, charge.finish_reason, charge.insured) == ("done", "length", False)
    assert charge.usage.completion_tokens == 1
    assert "rescued" in charge.usage.flags


@pytest.mark.parametrize("api", ["responses", "messages"])
def test_forms_without_a_mark_are_continued_or_end_in_the_error(bench: Bench, api: str):
    bench.says(HELLO, CUT)

    frames = bench.run("a", "b", rescue=True, api=api)

    assert bench.calls == ["a"]
    assert b"error" in frames[-1].payload
    assert bench.charge.insured


@pytest.mark.parametrize(
    "asked", [{}, {"response_format": {"type": "text"}}, {"tools": TOOLS, "tool_choice": "auto"}]
)
def test_a_request_that_leaves_the_form_open_is_continued(bench: Bench, asked: dict[str, Any]):
    bench.change("b", prefill=True)
    bench.says(HELLO, CUT)
    bench.says(WORLD, STOP, USAGE, DONE)

    assert rescue_of(bench.run("a", "b", rescue=True, asked=asked))[0]["action"] == "continued"


@pytest.mark.parametrize("api", ["responses", "messages"])
def test_forms_without_a_mark_are_continued_in_silence(bench: Bench, api: str):
    bench.change("far", prefill=True)
    bench.says(HELLO, CUT)
    bench.says(WORLD, STOP, USAGE, DONE)

    frames = bench.run("a", "b", "far", rescue=True, api=api)

    assert bench.calls == ["a", "far"]
    assert b"rescue" not in text(frames)
    assert bench.charge.outcome == "done"
    assert bench.charge.usage.completion_tokens == 4


def test_a_begun_answer_of_the_callers_is_continued_as_one(bench: Bench):
    bench.change("b", prefill=True)
    bench.says(HELLO, CUT)
    bench.says(WORLD, STOP, USAGE, DONE)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well. "}]

    bench.run("a", "b", rescue=True, asked={"messages": turns})

    assert bench.bodies()[1]["messages"][1:] == [{"role": "assistant", "content": "Well. Hello"}]


def test_a_client_that_leaves_during_a_rescue_pays_for_what_it_has(bench: Bench):
    bench.change("b", prefill=True)
    bench.says(HELLO, CUT)
    bench.says(lambda: bench.runtime.held.tell(JOB, "cancel"), WORLD)

    bench.run("a", "b", rescue=True)

    assert (bench.charge.outcome, bench.charge.usage.completion_tokens) == ("cancelled", 1)


def test_a_refused_rescue_is_no_refusal_of_the_answer(bench: Bench):
    bench.says(HELLO, CUT)
    bench.fails(400)

    frames = bench.run("a", "b", rescue=True)

    assert chunks(frames)[-1]["error"]["code"] == 502


def test_without_the_wish_for_a_rescue_the_error_stays_in_band(bench: Bench):
    bench.says(HELLO, CUT)

    bench.run("a", "b")

    assert bench.calls == ["a"]
    assert bench.charge.insured


# what is told and learnt


ROUTE = RouteNote(requested="a/m", strategy="direct", total=2)


def test_a_caller_who_asks_is_told_how_it_was_routed(bench: Bench):
    bench.fails(500)
    bench.says(HELLO, STOP, DONE)

    frames = bench.run("a", "b", route=ROUTE)

    told = chunks(frames)[-1]["openrouter_metadata"]
    assert (told["attempt"], told["strategy"]) == (2, "direct")
    assert [one["status"] for one in told["attempts"]] == [502, 200]
    assert [one["selected"] for one in told["endpoints"]["available"]] == [False, True]


def test_a_refused_caller_who_asks_is_told_too(bench: Bench):
    bench.fails(400)

    (frame,) = bench.run("a", "b", route=ROUTE)

    told = orjson.loads(frame.payload)["openrouter_metadata"]
    assert [one["status"] for one in told["attempts"]] == [400]


def test_the_answer_bears_the_name_of_the_variant_that_was_asked_for(bench: Bench):
    bench.says(HELLO, STOP, DONE)
    entry = PlanEntry(endpoint_id="a:a/m", model_id="a/m:exacto", pool="p", price=Price())

    frames = bench.run("a", entries=(entry,))

    assert {one["model"] for one in chunks(frames)} == {"a/m:exacto"}
    assert bench.charge.model_id == "a/m:exacto"


@pytest.mark.parametrize(
    ("asked", "thinks"),
    [
        ({}, True),
        ({"reasoning": {"enabled": False}}, False),
        ({"reasoning_effort": "none"}, False),
    ],
)
def test_a_thinking_variant_thinks_unless_told_otherwise(
    bench: Bench, asked: dict[str, Any], *, thinks: bool
):
    bench.runtime.catalog.current.models["a/m"] = SimpleNamespace(thinking=True)  # type: ignore[index]
    bench.says(HELLO, STOP, DONE)

    bench.run("a", asked=asked)

    assert (bench.bodies()[0].get("reasoning_effort") == "medium") is thinks


def test_every_call_is_counted_for_the_figures(bench: Bench):
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    bench.fails(500)
    bench.fails(429)
    bench.says(chunk(delta={"tool_calls": [call]}), STOP, USAGE, DONE)

    bench.run("a", "b", "far", asked={"tools": TOOLS})
    bench.ring()
    bench.runtime.figures.flush()

    (period,) = Figures(bench.desk.store.redis).hours([bench.runtime.clock.now_ms() // 3_600_000])
    assert set(period) == {"a:a/m", "b:a/m", "far:a/m"}
    assert period["far:a/m"].plain["ok"] == 1
    assert period["a:a/m"].plain["fault"] == 1
    assert period["b:a/m"].plain["limited"] == 1
    assert period["far:a/m"].tools.valid == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("finish", "outcome"),
    [("stop", "ok"), ("length", "ok"), ("error", "fault"), ("content_filter", "refused")],
)
def test_an_answer_counts_as_what_its_finish_says(
    bench: Bench, finish: str, outcome: str, *, stream: bool
):
    if stream:
        bench.says(HELLO, chunk(delta={}, finish_reason=finish), USAGE, DONE)
    else:
        bench.says(PLAIN.replace(b"stop", finish.encode()), headers=JSON)

    bench.run("a", stream=stream)
    bench.runtime.figures.flush()

    (period,) = Figures(bench.desk.store.redis).hours([bench.runtime.clock.now_ms() // 3_600_000])
    counts = period["a:a/m"].plain
    assert {name for name in OUTCOMES if counts[name]} == {outcome}


@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_no_call_stays_in_flight(bench: Bench, status: int):
    if status == 200:
        bench.says(HELLO, STOP, DONE)
    else:
        bench.fails(status)

    bench.run("a", allow_fallbacks=False)

    assert bench.runtime.gates.in_flight("a:a/m") == 0


CACHED = USAGE.replace(b"3}", b'3,"prompt_tokens_details":{"cached_tokens":5}}')
CHEAPER = Price(prompt_pico=10, completion_pico=10, cache_read_pico=1)
DEARER = Price(prompt_pico=10, completion_pico=10, cache_read_pico=10)


@pytest.mark.parametrize(
    ("price", "usage", "name", "remembered"),
    [
        pytest.param(CHEAPER, CACHED, "p:1", True, id="read from a cache"),
        pytest.param(CHEAPER, USAGE, "p:1", False, id="nothing was cached"),
        pytest.param(CHEAPER, USAGE, "s:1", True, id="a session"),
        pytest.param(DEARER, CACHED, "p:1", False, id="caching saves nothing"),
        pytest.param(CHEAPER, CACHED, "", False, id="no name"),
    ],
)
def test_who_cached_a_conversation_is_remembered(
    bench: Bench, price: Price, usage: bytes, name: str, *, remembered: bool
):
    bench.says(HELLO, STOP, usage, DONE)
    entry = PlanEntry(endpoint_id="a:a/m", model_id="a/m", pool="p", price=price)

    bench.run("a", entries=(entry,), sticky=name)

    assert bench.runtime.sticky.recall(name) == ("a:a/m" if remembered else None)


def test_an_endpoints_own_patience_comes_before_its_providers(bench: Bench):
    endpoint = bench.endpoints["a"]

    own = Bounds(replace(endpoint, first_byte_ms=700), 60_000, stream=True)

    assert own.first_ms == 700
    assert Bounds(endpoint, 60_000, stream=True).first_ms == 60_000


# own provider keys


def with_own_key(bench: Bench, *slugs: str) -> dict[str, Any]:
    """A plan whose first endpoint is called with a key of the customer's."""
    found = [bench.endpoints[slug] for slug in slugs]
    entries = tuple(
        PlanEntry(
            endpoint_id=one.id,
            model_id=one.model_id,
            pool=one.provider.pool,
            price=one.prices[0],
            byok="" if place else "own",
        )
        for place, one in enumerate(found)
    )
    keyring: Any = SimpleNamespace(credential=lambda _endpoint, _own: ApiKey("k"))
    bench.runtime = replace(bench.runtime, keyring=keyring)
    return {"entries": entries, "sealed": {"own": "sealed"}}


def test_what_an_own_key_brought_before_it_broke_off_is_not_billed_again(bench: Bench):
    bench.change("b", prefill=True)
    bench.says(HELLO, chunk(delta={"content": " there, how are you today?"}), UpstreamDown("cut"))
    bench.says(chunk(delta={"content": " Well"}), STOP, USAGE, DONE)

    bench.run(rescue=True, **with_own_key(bench, "a", "b"))

    charge = bench.charge
    assert (charge.endpoint_id, charge.byok) == (bench.endpoints["b"].id, "")
    assert charge.usage.completion_tokens == 3
    assert charge.usage.flags == ("rescued",)


def test_calls_with_own_keys_give_the_operators_key_no_more_tries(bench: Bench):
    bench.says(HELLO, STOP, USAGE, DONE)
    bench.run(**with_own_key(bench, "a"))
    budget, now_s = bench.runtime.budget, time.monotonic()

    for _ in range(int(RetryBudget.FLOOR_PER_S * RetryBudget.WINDOW_S)):
        assert budget.left("p", now_s)
        budget.spend("p", now_s)

    assert not budget.left("p", now_s)


def test_the_first_call_with_the_operators_key_counts_as_one(bench: Bench):
    bench.fails(401)
    bench.says(HELLO, STOP, USAGE, DONE)
    bench.run(**with_own_key(bench, "a", "b"))
    budget, now_s = bench.runtime.budget, time.monotonic()

    for _ in range(int(RetryBudget.FLOOR_PER_S * RetryBudget.WINDOW_S)):
        budget.spend("p", now_s)

    assert bench.calls == ["a", "b"]
    assert budget.left("p", now_s)
