"""What is told of the routing, and the places each API has for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import openai
import orjson
import pytest
from openrouter import components

from routing.catalog.pricing import Cost
from routing.catalog.shapes import Endpoint, Price, Provider
from routing.errors import Failure
from routing.usage import Usage
from routing.wire.envelope import shaped
from routing.wire.events import Answer, Choice, Delta, Finish
from routing.wire.job import Api, AttemptRecord, Caller, JobSpec, PlanEntry, RouteNote
from routing.wire.render import DONE, Renderer, Rescue, renderer
from routing.wire.router_metadata import router_metadata

USAGE, COST = Usage(prompt_tokens=9, completion_tokens=3), Cost(prompt_nano=9_000)
FAILURE = Failure(
    status=502, message="cut", retryable=True, blame="provider", provider="Acme", raw="boom"
)
INTERNAL = replace(FAILURE, status=500, blame="router")
RESCUE = Rescue(
    action="restarted",
    from_provider="Acme",
    to_provider="Better",
    to_model="b/n",
    failure=FAILURE,
)


def endpoint(tag: str, name: str, model: str) -> Endpoint:
    provider = Provider(slug=tag, name=name, base_url="http://x", key_variable="", pool="own")
    return Endpoint(
        id=f"{tag}:{model}",
        model_id=model,
        provider=provider,
        tag=tag,
        dialect="openai",
        upstream_id=model,
        context_length=8_192,
        prices=(Price(),),
    )


ENDPOINTS = {
    each.id: each for each in (endpoint("acme", "Acme", "a/m"), endpoint("better", "Better", "a/m"))
}


def entry(endpoint_id: str, model_id: str = "a/m:exacto") -> PlanEntry:
    return PlanEntry(endpoint_id=endpoint_id, model_id=model_id, pool="own", price=Price())


ACME, BETTER, GONE = entry("acme:a/m"), entry("better:a/m"), entry("gone/fast:b/n", "b/n")
SPEC = JobSpec(
    generation_id="gen-1",
    api="chat",
    stream=True,
    created_ms=5,
    caller=Caller(account_id="ada", key_hash="h"),
    entries=(ACME, BETTER, GONE),
    route=RouteNote(requested="a/m:exacto", strategy="direct", total=4),
)
TRIED = AttemptRecord(endpoint_id="acme:a/m", provider="Acme", status=503, latency_ms=12)
ANSWERED = AttemptRecord(endpoint_id="better:a/m", provider="Better", status=200, latency_ms=34)


def test_the_attempt_that_answered_among_all_that_could_have():
    told = router_metadata(SPEC, ENDPOINTS, (TRIED, ANSWERED), BETTER)

    assert told == {
        "requested": "a/m:exacto",
        "strategy": "direct",
        "region": None,
        "summary": "Better answered with a/m:exacto, as requested, at attempt 2.",
        "attempt": 2,
        "is_byok": False,
        "endpoints": {
            "total": 4,
            "available": [
                {"provider": "Acme", "model": "a/m:exacto", "selected": False},
                {"provider": "Better", "model": "a/m:exacto", "selected": True},
                {"provider": "gone", "model": "b/n", "selected": False},
            ],
        },
        "attempts": [
            {"provider": "Acme", "model": "a/m:exacto", "status": 503, "latency": 12},
            {"provider": "Better", "model": "a/m:exacto", "status": 200, "latency": 34},
        ],
    }
    assert components.OpenRouterMetadata.model_validate(told).attempts


def test_nobody_was_called():
    told = router_metadata(SPEC, ENDPOINTS, (), None)

    assert (told["attempt"], told["attempts"]) == (0, [])
    assert told["summary"] == "No provider was called, of 3 endpoints."
    assert not any(each["selected"] for each in told["endpoints"]["available"])


def test_nobody_answered():
    told = router_metadata(SPEC, ENDPOINTS, (TRIED,), None)

    assert told["attempt"] == 1
    assert told["summary"] == "No answer after 1 attempt; Acme was last, with status 503."


def test_an_attempt_outside_the_plan_is_named_by_its_endpoint():
    other = replace(TRIED, endpoint_id="other/eu:c/o:free")
    told = router_metadata(SPEC, ENDPOINTS, (other,), None)
    assert told["attempts"][0]["model"] == "c/o:free"


def test_one_endpoint_in_two_models_of_a_plan():
    plain = entry("acme:a/m", "a/m")
    told = router_metadata(
        replace(SPEC, entries=(ACME, plain)), ENDPOINTS, (replace(TRIED, status=200),), plain
    )
    assert [each["selected"] for each in told["endpoints"]["available"]] == [False, True]
    assert told["attempts"][0]["model"] == "a/m"


def test_an_answer_after_a_later_attempt_of_the_same_endpoint():
    told = router_metadata(SPEC, ENDPOINTS, (ANSWERED, TRIED, ANSWERED), BETTER)
    assert told["attempt"] == 3


@pytest.mark.parametrize(
    ("strategy", "selected", "words"),
    [
        ("fallback", GONE, "as a fallback"),
        ("fallback", BETTER, "as requested"),
        ("auto", BETTER, "chosen by the prompt"),
        ("latest", BETTER, "latest"),
    ],
)
def test_the_summary_says_why_this_model(strategy: str, selected: PlanEntry, words: str):
    route = RouteNote(requested="x", strategy=strategy, total=0)

    told = router_metadata(replace(SPEC, route=route), ENDPOINTS, (ANSWERED,), selected)

    assert words in told["summary"]
    assert told["endpoints"]["total"] == 3  # never fewer than could be called


def test_who_did_not_ask_is_told_nothing():
    assert router_metadata(replace(SPEC, route=None), ENDPOINTS, (ANSWERED,), BETTER) == {}


# --- where it stands ----------------------------------------------------------------------------

NOTE = router_metadata(SPEC, ENDPOINTS, (TRIED, ANSWERED), BETTER)
STREAMED: list[Api] = ["chat", "completions", "responses", "messages"]


def render(api: Api, note: Mapping[str, Any] | None = NOTE) -> Renderer:
    made = renderer(api, "gen-1", 1_764_806_400, "a/m", "Acme")
    if note is not None:
        made.note(note)
    return made


def events(data: bytes) -> list[dict[str, Any]]:
    """What the frames hold, without the end mark."""
    frames = data.removesuffix(DONE).split(b"\n\n")[:-1]
    return [orjson.loads(frame[frame.index(b"data: ") + 6 :]) for frame in frames]


def streamed(made: Renderer) -> list[dict[str, Any]]:
    told = made.delta(Delta(0, "Hi")) + made.finish(Finish(0, "stop", "stop"))
    return events(told + made.end(USAGE, COST, charged=True))


def place(api: Api, event: dict[str, Any]) -> dict[str, Any]:
    """Where an API's event shows the note."""
    held: dict[str, Any] = event.get("response", {}) if api == "responses" else event
    return held


@pytest.mark.parametrize("api", STREAMED)
def test_the_last_event_of_a_stream_has_it_and_no_other(api: Api):
    *before, last = streamed(render(api))

    assert place(api, last)["openrouter_metadata"] == NOTE
    assert not any("openrouter_metadata" in place(api, each) for each in before)


@pytest.mark.parametrize("api", STREAMED)
@pytest.mark.parametrize("note", [None, {}], ids=["not told", "told nothing"])
def test_a_stream_without_a_note(api: Api, note: Mapping[str, Any] | None):
    assert b"openrouter_metadata" not in orjson.dumps(streamed(render(api, note)))


@pytest.mark.parametrize("api", STREAMED)
def test_a_broken_stream_has_it_beside_its_error(api: Api):
    made = render(api)
    told = events(made.delta(Delta(0, "Hi")) + made.broken(FAILURE))

    (found,) = (each for each in told if "openrouter_metadata" in place(api, each))
    assert place(api, found)["openrouter_metadata"] == NOTE
    assert "error" in place(api, found)


@pytest.mark.parametrize("api", STREAMED)
def test_an_internal_error_tells_nothing_of_the_routing(api: Api):
    made = render(api)
    told = made.delta(Delta(0, "Hi")) + made.broken(INTERNAL)
    assert b"openrouter_metadata" not in told


def test_an_error_by_itself_has_it_in_responses_too():
    (error,) = events(render("responses").broken(FAILURE))
    assert (error["type"], error["openrouter_metadata"]) == ("error", NOTE)


@pytest.mark.parametrize("api", [*STREAMED, "embeddings"])
def test_a_plain_answer_has_it_at_the_top(api: Api):
    message = {"role": "assistant", "content": "Hi"}
    choice = Choice(index=0, message=message, finish=Finish(0, "stop", "stop"))
    vectors: tuple[list[float] | str, ...] = ([0.5],) if api == "embeddings" else ()
    answer = Answer(choices=() if vectors else (choice,), usage=USAGE, vectors=vectors)

    noted = orjson.loads(render(api).body(answer, USAGE, COST, charged=True))
    bare = orjson.loads(render(api, None).body(answer, USAGE, COST, charged=True))

    assert noted["openrouter_metadata"] == NOTE
    assert "openrouter_metadata" not in bare


@pytest.mark.parametrize("api", [*STREAMED, "embeddings"])
def test_an_error_before_the_first_byte_keeps_it_at_the_top(api: Api):
    body = FAILURE.body() | {"openrouter_metadata": NOTE}

    told = shaped(api, 502, body, "gen-1")

    assert told["openrouter_metadata"] == NOTE
    assert "openrouter_metadata" not in shaped(api, 502, FAILURE.body(), "gen-1")
    assert "openrouter_metadata" not in shaped(api, 500, body, "gen-1")
    if api != "messages":
        assert told["error"] == FAILURE.body()["error"]


# --- a stream that goes on elsewhere ------------------------------------------------------------


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_rescue_is_marked_in_a_chunk_of_nothing(api: Api):
    (chunk,) = events(render(api, None).rescued(RESCUE))

    assert chunk["rescue"] == {
        "action": "restarted",
        "from_provider": "Acme",
        "provider": "Better",
        "model": "b/n",
        "error": {"code": 502, "message": "cut"},
    }
    (choice,) = chunk["choices"]
    assert choice["finish_reason"] is None
    assert choice.get("text", choice.get("delta", {}).get("content")) == ""


@pytest.mark.parametrize("api", ["responses", "messages", "embeddings"])
def test_forms_without_a_place_for_a_rescue(api: Api):
    assert render(api, None).rescued(RESCUE) == b""


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_later_chunks_name_who_goes_on(api: Api):
    made = render(api, None)
    before = made.delta(Delta(0, "Hi"))
    made.moved("b/n", "Better")
    after = made.delta(Delta(0, "Hi")) + made.delta(Delta(0, "", "hm"))
    after += made.finish(Finish(0, "stop", None)) + made.end(USAGE, COST, charged=True)

    assert {(each["model"], each["provider"]) for each in events(before)} == {("a/m", "Acme")}
    assert {(each["model"], each["provider"]) for each in events(after)} == {("b/n", "Better")}
    assert len({each["id"] for each in events(before + after)}) == 1


def test_the_final_response_names_who_ended_it():
    made = render("responses", None)
    first = events(made.delta(Delta(0, "Hi")))[0]["response"]
    made.moved("b/n", "Better")
    last = events(made.end(USAGE, COST, charged=True))[-1]["response"]

    assert (first["model"], first["provider"]) == ("a/m", "Acme")
    assert (last["model"], last["provider"]) == ("b/n", "Better")
    assert first["id"] == last["id"]


@pytest.mark.parametrize("api", ["messages", "embeddings"])
def test_an_answer_that_has_not_begun_names_who_makes_it(api: Api):
    made = render(api, None)
    made.moved("b/n", "Better")
    if api == "messages":
        told = events(made.delta(Delta(0, "Hi")))[0]["message"]
    else:
        answer = Answer(choices=(), usage=USAGE, vectors=([0.5],))
        told = orjson.loads(made.body(answer, USAGE, COST, charged=True))
    assert (told["model"], told["provider"]) == ("b/n", "Better")


# --- what clients make of it --------------------------------------------------------------------


def transport(raw: bytes) -> httpx2.Client:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=raw)

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def rescued_stream(api: Api) -> bytes:
    made = render(api)
    told = made.delta(Delta(0, "Good ")) + made.rescued(RESCUE)
    made.moved("b/n", "Better")
    told += made.delta(Delta(0, "day")) + made.finish(Finish(0, "stop", "stop"))
    return told + made.end(USAGE, COST, charged=True)


def test_the_openai_client_reads_a_rescued_chat():
    client = openai.OpenAI(
        api_key="k", base_url="http://x.test", http_client=transport(rescued_stream("chat"))
    )
    asked: Any = [{"role": "user", "content": "x"}]
    with client.chat.completions.create(model="a/m", messages=asked, stream=True) as stream:
        chunks = list(stream)

    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Good day"
    marks = [each.model_extra["rescue"] for each in chunks if "rescue" in (each.model_extra or {})]
    assert [mark["action"] for mark in marks] == ["restarted"]
    assert (chunks[-1].model_extra or {})["openrouter_metadata"] == NOTE


def test_the_openai_client_reads_a_rescued_text():
    client = openai.OpenAI(
        api_key="k", base_url="http://x.test", http_client=transport(rescued_stream("completions"))
    )
    with client.completions.create(model="a/m", prompt="x", stream=True) as stream:
        chunks = list(stream)

    assert "".join(each.choices[0].text for each in chunks) == "Good day"


def test_the_openrouter_client_reads_every_chunk():
    chunks = [
        components.ChatStreamChunk.model_validate(each) for each in events(rescued_stream("chat"))
    ]
    metadata = chunks[-1].openrouter_metadata
    assert metadata is not None
    assert [attempt.status for attempt in metadata.attempts or ()] == [503, 200]


def test_the_anthropic_client_reads_a_message_with_a_note():
    raw = rescued_stream("messages")
    client = anthropic.Anthropic(api_key="k", base_url="http://x.test", http_client=transport(raw))
    asked: Any = [{"role": "user", "content": "x"}]
    with client.messages.stream(model="a/m", max_tokens=9, messages=asked) as stream:
        assert stream.get_final_text() == "Good day"
    with client.messages.create(model="a/m", max_tokens=9, messages=asked, stream=True) as plain:
        *_, last = plain
    assert last.type == "message_stop"
    assert (last.model_extra or {})["openrouter_metadata"] == NOTE


def test_the_openai_client_reads_a_response_with_a_note():
    client = openai.OpenAI(
        api_key="k", base_url="http://x.test", http_client=transport(rescued_stream("responses"))
    )
    with client.responses.create(model="a/m", input="x", stream=True) as stream:
        *_, last = stream
    assert last.type == "response.completed"
    assert last.response.output_text == "Good day"
    assert (last.response.model_extra or {})["openrouter_metadata"] == NOTE
