"""One doorbell from claim to end: calls, fallbacks, breakers, orders. Providers are scripted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import gevent
import orjson
import pytest
from prometheus_client import CollectorRegistry

from routing.clock import FixedClock
from routing.errors import UpstreamDown, UpstreamError, UpstreamTimeout
from routing.metrics import WorkerMetrics
from routing.settings import Settings
from routing.store import redis_keys as keys
from routing.store.health import Health
from routing.store.jobs import Jobs
from routing.wire.frames import Frame, Kind
from routing.wire.job import Caller, Charge, JobSpec, PlanEntry
from routing.wire.request import request_from_json
from tests.fixtures.desk import ACCOUNT, Desk
from tests.fixtures.redis import FakeTime, Store
from workers import attempt
from workers.emitter import Emitter
from workers.fetch import Fetcher
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

    def send(self, url: str, headers: Any, body: bytes, **_: Any) -> FakeExchange:
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
        if changes.get("api") == "embeddings":
            asked = {"model": "a/m", "input": ["one", "two"]}
        request = request_from_json(changes.get("api", "chat"), orjson.dumps(asked))
        self.desk.grant()
        self.desk.admit(JOB, spec=JobSpec(**(known | changes)).to_json(), request=request.to_json())
        return self.ring()

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
        current=SimpleNamespace(endpoints={one.id: one for one in endpoints.values()})
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


def test_when_all_are_out_of_order_the_last_one_gets_through(bench: Bench):
    trip(bench, "a", "b")
    bench.says(HELLO, STOP, DONE)

    bench.run("a", "b")

    assert bench.calls == ["b"]
    assert bench.charge.outcome == "done"


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
