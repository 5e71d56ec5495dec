"""The OpenAI dialect: what is refused, and what answers and streams look like."""

import base64
import struct
from dataclasses import replace
from typing import Any

import orjson
import pytest

from workers.simulator.answers import Stamp, answer
from workers.simulator.dialect import Ask, Choice, Direct, Failure
from workers.simulator.exchange import Simulator
from workers.simulator.knobs import Knobs
from workers.simulator.openai import CHAT, EMBEDDINGS, MODELS, TEXT, OpenAIDialect
from workers.simulator.text import digest
from workers.simulator.wire import Request

DIALECT = OpenAIDialect()
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}


def request(body: Any, *, method: str = "POST", key: str | None = "Bearer k") -> Request:
    headers = {"authorization": key} if key else {}
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Request(method=method, target="/", headers=headers, body=data, keep_alive=True)


def read(body: dict[str, Any], provider: str = "openai", path: str = CHAT) -> Ask:
    ask = DIALECT.read(provider, path, request({"model": "gpt-4o", **body}))
    assert isinstance(ask, Ask), ask
    return ask


def refused(body: Any, provider: str = "openai") -> tuple[int, dict[str, Any]]:
    direct = DIALECT.read(provider, CHAT, request(body))
    assert isinstance(direct, Direct)
    return direct.status, orjson.loads(direct.body)


def stamp(ask: Ask) -> Stamp:
    return Stamp(serial=1, created=1000, body_sha256=digest(ask.said.encode()))


def plain(body: dict[str, Any], provider: str = "openai", path: str = CHAT) -> dict[str, Any]:
    ask = read(body, provider, path)
    return orjson.loads(DIALECT.plain(provider, ask, answer(ask, Knobs(), stamp(ask))))


def stream(
    body: dict[str, Any], provider: str = "openai", *, path: str = CHAT, knobs: Knobs | None = None
) -> list[dict[str, Any]]:
    ask = read({"stream": True, **body}, provider, path)
    said = answer(ask, knobs or Knobs(), stamp(ask))
    *events, done = DIALECT.events(provider, ask, said)
    assert done.data == b"[DONE]"
    return [orjson.loads(event.data) for event in events]


def test_plain_answer_has_the_whole_shape():
    body = plain({"messages": HELLO})

    assert body["id"].startswith("chatcmpl-")
    assert (body["object"], body["created"], body["model"]) == ("chat.completion", 1000, "gpt-4o")
    choice = body["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert "hello" in choice["message"]["content"]
    assert choice["message"]["refusal"] is None
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_stream_begins_with_the_role_and_ends_with_an_empty_delta():
    chunks = stream({"messages": HELLO})

    first, *middle, last = (chunk["choices"][0] for chunk in chunks)
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert 12 <= len(middle) <= 20
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")
    assert all("usage" not in chunk for chunk in chunks)
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    text = "".join(choice["delta"]["content"] for choice in middle)
    assert text == plain({"messages": HELLO})["choices"][0]["message"]["content"]


def test_usage_chunk_only_when_asked():
    *chunks, last = stream({"messages": HELLO, "stream_options": {"include_usage": True}})

    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in chunks)


@pytest.mark.parametrize(
    ("model", "pieces"),
    [pytest.param("x/sim-burst-20", 20), pytest.param("sim-paced-7x50", 7)],
    ids=["burst", "paced"],
)
def test_model_id_sets_the_number_of_pieces(model: str, pieces: int):
    chunks = stream({"messages": HELLO}, knobs=Knobs().for_model(model))

    assert len(chunks) == pieces + 2


@pytest.mark.parametrize(
    ("model", "gap_ms"),
    [("gpt-4o", 10), ("sim-plain", 0), ("sim-burst-20", 0), ("sim-paced-20x50", 50)],
)
def test_model_id_sets_the_gap(model: str, gap_ms: int):
    assert Knobs().for_model(model).gap_ms == gap_ms


def test_mistral_puts_usage_on_the_finish_chunk_and_whole_tool_calls():
    chunks = stream(
        {"messages": HELLO, "tools": [WEATHER], "tool_choice": "any"}, provider="mistral"
    )

    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    (call,) = chunks[1]["choices"][0]["delta"]["tool_calls"]
    assert len(call["id"]) == 9
    assert orjson.loads(call["function"]["arguments"]) == {"location": "Paris, France"}


def test_groq_reports_in_x_groq():
    chunks = stream({"messages": HELLO}, provider="groq")

    assert chunks[0]["x_groq"]["id"].startswith("req_")
    assert chunks[-1]["x_groq"]["usage"]["completion_tokens"] > 0
    assert "usage" not in chunks[-1]


def test_together_has_text_beside_delta():
    chunks = stream({"messages": HELLO}, provider="together")

    assert all(chunk["choices"][0]["text"] is not None for chunk in chunks)
    assert chunks[-1]["usage"]["completion_tokens"] > 0


def test_deepseek_counts_cache_hits_and_misses():
    long = [{"role": "user", "content": "x" * 8192}]

    usage = stream({"messages": long}, provider="deepseek")[-1]["usage"]

    assert usage["prompt_cache_hit_tokens"] % 128 == 0
    assert usage["prompt_cache_hit_tokens"] > 0
    assert (
        usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"]
        == usage["prompt_tokens"]
    )


def test_tool_call_is_streamed_name_first():
    chunks = stream({"messages": HELLO, "tools": [WEATHER], "tool_choice": "required"})

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": None}
    first = deltas[1]["tool_calls"][0]
    assert (first["function"], first["type"]) == (
        {"name": "get_weather", "arguments": ""},
        "function",
    )
    assert first["id"].startswith("call_")
    arguments = "".join(d["tool_calls"][0]["function"]["arguments"] for d in deltas[2:-1])
    assert orjson.loads(arguments) == {"location": "Paris, France"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("said", "extra", "names"),
    [
        pytest.param("hello", {}, [], id="nobody asked"),
        pytest.param("the weather?", {}, ["get_weather"], id="the word weather"),
        pytest.param("the weather?", {"tool_choice": "none"}, [], id="forbidden"),
        pytest.param(
            "hello",
            {"tool_choice": {"type": "function", "function": {"name": "get_time"}}},
            ["get_time"],
            id="named",
        ),
        pytest.param("use tools in parallel", {}, ["get_weather", "get_time"], id="parallel"),
        pytest.param(
            "use tools in parallel",
            {"parallel_tool_calls": False},
            ["get_weather"],
            id="parallel forbidden",
        ),
    ],
)
def test_which_tools_are_called(said: str, extra: dict[str, Any], names: list[str]):
    messages = [{"role": "user", "content": said}]
    body = plain({"messages": messages, "tools": [WEATHER, TIME], **extra})

    calls = body["choices"][0]["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == names


def test_after_the_result_of_a_tool_the_model_speaks():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "the weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]

    body = plain({"messages": messages, "tools": [WEATHER]})

    assert body["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        pytest.param("deepseek", "reasoning_content"),
        pytest.param("xai", "reasoning_content"),
        pytest.param("groq", "reasoning"),
    ],
)
def test_reasoning_comes_first_and_is_counted(provider: str, field: str):
    body = {"model": "deepseek-r1", "messages": HELLO}

    message = plain(body, provider)["choices"][0]["message"]
    fields = [list(c["choices"][0]["delta"]) for c in stream(body, provider)[1:-1]]

    assert message[field]
    assert fields[0] == [field]
    assert fields[-1] == ["content"]
    assert plain(body, provider)["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


def test_openai_counts_reasoning_and_hides_it():
    body = plain({"messages": HELLO, "reasoning_effort": "high"})

    assert set(body["choices"][0]["message"]) == {"role", "content", "refusal"}
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


def test_mistral_thinks_in_parts():
    content = plain({"messages": HELLO, "reasoning_effort": "high"}, "mistral")["choices"][0][
        "message"
    ]["content"]

    assert [part["type"] for part in content] == ["thinking", "text"]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_cuts(field: str):
    body = plain({"messages": HELLO, field: 5})

    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 5


def test_stop_n_and_response_format():
    stopped = plain({"messages": HELLO, "stop": ["Pointsman"]})
    several = plain({"messages": HELLO, "n": 3})
    described = {"name": "s", "schema": {"properties": {"city": {"type": "string"}}}}
    form = {"type": "json_schema", "json_schema": described}
    structured = plain({"messages": HELLO, "response_format": form})

    assert stopped["choices"][0]["message"]["content"] == "Hello from the "
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]
    assert orjson.loads(structured["choices"][0]["message"]["content"]) == {"city": "Paris"}


def test_text_completions():
    body = plain({"prompt": "Once"}, path=TEXT)
    chunks = stream({"prompt": "Once"}, path=TEXT)

    assert body["object"] == "text_completion"
    assert "Once" in body["choices"][0]["text"]
    assert "".join(c["choices"][0]["text"] for c in chunks) == body["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param(b"{", "body", id="no JSON"),
        pytest.param([], "body", id="no object"),
        pytest.param({"messages": HELLO}, "model", id="no model"),
        pytest.param({"model": 4, "messages": HELLO}, "model", id="model is a number"),
        pytest.param({"model": "m"}, "messages", id="no messages"),
        pytest.param({"model": "m", "messages": []}, "messages", id="empty messages"),
        pytest.param({"model": "m", "messages": ["hi"]}, "messages", id="messages of strings"),
        pytest.param(
            {"model": "m", "messages": [{"role": "model", "content": "x"}]},
            "messages.0.role",
            id="unknown role",
        ),
        pytest.param(
            {"model": "m", "messages": [{"role": "user", "content": None}]},
            "messages.0.content",
            id="user without content",
        ),
        pytest.param(
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages.0.content.0.type",
            id="unknown part",
        ),
        pytest.param(
            {"model": "m", "messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]},
            "messages.0.role",
            id="a tool's result nobody called for",
        ),
        pytest.param({"model": "m", "messages": HELLO, "stream": "yes"}, "stream", id="stream"),
        pytest.param(
            {"model": "m", "messages": HELLO, "stream_options": {}},
            "stream_options",
            id="stream options without stream",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "temperature": 3}, "temperature", id="temperature"
        ),
        pytest.param({"model": "m", "messages": HELLO, "n": 0}, "n", id="no choices"),
        pytest.param(
            {"model": "m", "messages": HELLO, "max_tokens": 1.5}, "max_tokens", id="max_tokens"
        ),
        pytest.param({"model": "m", "messages": HELLO, "stop": 1}, "stop", id="stop"),
        pytest.param(
            {"model": "m", "messages": HELLO, "tools": [{"name": "f"}]},
            "tools.0.function",
            id="a tool in another provider's form",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "tools": [TIME], "tool_choice": "sometimes"},
            "tool_choice",
            id="unknown tool choice",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "response_format": {"type": "xml"}},
            "response_format",
            id="unknown format",
        ),
        pytest.param(
            {"model": "m", "messages": HELLO, "transforms": []}, "transforms", id="unknown field"
        ),
        pytest.param(
            {"model": "o3", "messages": HELLO, "max_tokens": 9}, "max_tokens", id="o3 max_tokens"
        ),
    ],
)
def test_openai_refuses(body: Any, param: str):
    status, error = refused(body)

    assert status == 400
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert (error["error"]["type"], error["error"]["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    ("extra", "location"),
    [
        pytest.param({"max_completion_tokens": 5}, ["max_completion_tokens"], id="newer limit"),
        pytest.param({"seed": 5}, ["seed"], id="seed is called random_seed"),
        pytest.param(
            {"stream": True, "stream_options": {"include_usage": True}},
            ["stream_options", "include_usage"],
            id="usage is always there",
        ),
    ],
)
def test_mistral_refuses_extra_fields(extra: dict[str, Any], location: list[str]):
    status, error = refused({"model": "m", "messages": HELLO, **extra}, "mistral")

    assert (status, error["object"], error["type"]) == (422, "error", "invalid_request_error")
    (detail,) = error["message"]["detail"]
    assert (detail["type"], detail["loc"]) == ("extra_forbidden", ["body", *location])


def test_mistral_refuses_long_tool_call_ids():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}]

    status, error = refused({"model": "m", "messages": messages}, "mistral")

    assert (status, error["code"]) == (400, "3280")


def test_xai_errors_are_flat():
    status, error = refused({"model": "m", "messages": []}, "xai")

    assert status == 400
    assert isinstance(error["error"], str)


def test_other_providers_ignore_unknown_fields():
    assert read({"messages": HELLO, "top_k": 5, "transforms": []}, "fireworks").model == "gpt-4o"


@pytest.mark.parametrize("key", [None, "Basic abc"])
def test_a_key_is_wanted(key: str | None):
    direct = DIALECT.read("openai", CHAT, request({"model": "m", "messages": HELLO}, key=key))

    assert isinstance(direct, Direct)
    assert direct.status == 401


def test_models():
    direct = DIALECT.read("groq", MODELS, request(b"", method="GET"))

    assert isinstance(direct, Direct)
    body = orjson.loads(direct.body)
    assert body["object"] == "list"
    assert {"id", "object", "created", "owned_by"} == set(body["data"][0])


@pytest.mark.parametrize("failure", Failure)
@pytest.mark.parametrize("provider", ["openai", "mistral", "xai"])
def test_every_failure_has_a_body(provider: str, failure: Failure):
    direct = DIALECT.failure(provider, failure)

    assert str(direct.status) in failure.value
    assert orjson.loads(direct.body)


# Media


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, *parts]}]}


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def sound(form: str, data: str = "AAAA") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def file(**fields: Any) -> dict[str, Any]:
    return {"type": "file", "file": fields}


PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
MARKED = {"type": "text", "text": "x" * 8000, "cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("provider", "part", "kind"),
    [
        pytest.param("openai", picture(PNG), "image/png"),
        pytest.param("openai", picture("https://example.com/a.png"), "image/url"),
        pytest.param("openai", sound("wav"), "audio/wav"),
        pytest.param("openai", file(filename="a.pdf", file_data=PDF), "application/pdf"),
        pytest.param("openrouter", file(file_data="https://example.com/a"), "application/url"),
        pytest.param("openrouter", sound("flac"), "audio/flac"),
        pytest.param(
            "openrouter",
            {"type": "video_url", "video_url": {"url": "https://youtu.be/abc"}},
            "video/youtube",
        ),
        pytest.param("mistral", {"type": "image_url", "image_url": PNG}, "image/png"),
        pytest.param("mistral", {"type": "document_url", "document_url": PDF}, "application/pdf"),
        pytest.param("groq", picture(PNG), "image/png"),
        pytest.param("xai", picture(PNG), "image/png"),
        pytest.param("together", picture(PNG), "image/png"),
    ],
)
def test_media_are_counted_and_seen(provider: str, part: dict[str, Any], kind: str):
    body = user(part)

    assert read(body, provider).media == (kind,)
    assert f" I see: {kind}." in plain(body, provider)["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("provider", "part", "param"),
    [
        pytest.param("openai", picture("ftp://example.com/a"), "image_url.url", id="ftp"),
        pytest.param("openai", picture("data:image/png,abc"), "image_url.url", id="no base64"),
        pytest.param(
            "openai", picture("data:image/png;base64,?"), "image_url.url", id="bad base64"
        ),
        pytest.param("openai", picture("data:image/bmp;base64,AAAA"), "image_url.url", id="bmp"),
        pytest.param("openai", {"type": "image_url", "image_url": PNG}, "image_url", id="string"),
        pytest.param("openai", sound("flac"), "input_audio.format", id="flac"),
        pytest.param("openai", sound("wav", PNG), "input_audio.data", id="audio data URL"),
        pytest.param("openai", file(file_data=PDF), "file.filename", id="no file name"),
        pytest.param(
            "openai", file(filename="a", file_data="https://x.y/z"), "file.file_data", id="file URL"
        ),
        pytest.param("openai", file(filename="a", file_data=PNG), "file.file_data", id="no PDF"),
        pytest.param("openai", file(), "file.file_id", id="empty file"),
        pytest.param(
            "openai", {"type": "video_url", "video_url": {"url": "https://x.y"}}, "type", id="video"
        ),
        pytest.param("openai", MARKED, "cache_control", id="cache mark"),
        pytest.param("groq", sound("wav"), "type", id="groq audio"),
        pytest.param("xai", file(filename="a", file_data=PDF), None, id="xai file"),
        pytest.param("together", sound("wav"), "type", id="together audio"),
        pytest.param("deepseek", picture(PNG), "type", id="deepseek is blind"),
    ],
)
def test_media_that_are_refused(provider: str, part: dict[str, Any], param: str | None):
    status, error = refused({"model": "m", **user(part)}, provider)

    assert status == 400
    if param:
        assert error["error"]["param"] == f"messages.0.content.1.{param}"


def test_mistral_refuses_a_file_part():
    status, _ = refused({"model": "m", **user(file(filename="a", file_data=PDF))}, "mistral")

    assert status == 422


def test_tool_results_are_heard():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sunny"}]},
    ]

    assert read({"messages": messages}).tool_results == ("sunny",)
    content = plain({"messages": messages})["choices"][0]["message"]["content"]
    assert content.endswith("The tool returned: sunny.")


def test_images_come_out():
    body = {
        "messages": HELLO,
        "modalities": ["image", "text"],
        "image_config": {"aspect_ratio": "16:9"},
    }

    (image,) = plain(body, "openrouter")["choices"][0]["message"]["images"]
    deltas = [c["choices"][0]["delta"] for c in stream(body, "openrouter") if c["choices"]]

    url = image["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert [delta["images"][0] for delta in deltas if "images" in delta] == [image]
    assert plain(body, "openrouter")["usage"]["completion_tokens_details"]["image_tokens"] > 0


def test_openai_draws_nothing_in_a_chat():
    status, error = refused({"model": "m", "messages": HELLO, "modalities": ["image"]})

    assert (status, error["error"]["param"]) == (400, "modalities.0")


def spoken(form: str) -> dict[str, Any]:
    return {
        "messages": HELLO,
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": form},
    }


def test_sound_comes_out():
    message = plain(spoken("wav"))["choices"][0]["message"]

    assert message["content"] is None
    assert set(message["audio"]) == {"id", "data", "transcript", "expires_at"}
    assert base64.b64decode(message["audio"]["data"]).startswith(b"RIFF")
    assert "hello" in message["audio"]["transcript"]


def test_sound_streams_as_bare_samples():
    deltas = [c["choices"][0]["delta"].get("audio", {}) for c in stream(spoken("pcm16"))]

    samples = b"".join(base64.b64decode(delta.get("data", "")) for delta in deltas)
    words = "".join(delta.get("transcript", "") for delta in deltas)
    assert samples
    assert len(samples) % 2 == 0
    assert "hello" in words
    assert deltas[-2]["expires_at"] == 4600


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param({**spoken("wav"), "stream": True}, "audio.format", id="streamed wav"),
        pytest.param(spoken("ogg"), "audio.format", id="unknown format"),
        pytest.param({"messages": HELLO, "modalities": ["audio"]}, "audio", id="no audio"),
        pytest.param({**spoken("wav"), "audio": {"format": "wav"}}, "audio.voice", id="no voice"),
    ],
)
def test_sound_that_is_refused(body: dict[str, Any], param: str):
    status, error = refused({"model": "m", **body})

    assert (status, error["error"]["param"]) == (400, param)


# Embeddings


@pytest.mark.parametrize(
    ("value", "count", "tokens"),
    [
        pytest.param("hello", 1, 2, id="a text"),
        pytest.param(["hello", "you"], 2, 3, id="texts"),
        pytest.param([1, 2, 3], 1, 3, id="tokens"),
        pytest.param([[1, 2], [3]], 2, 3, id="lists of tokens"),
    ],
)
def test_embeddings(value: Any, count: int, tokens: int):
    body = plain({"input": value, "dimensions": 8}, path=EMBEDDINGS)

    assert [item["index"] for item in body["data"]] == list(range(count))
    assert all(len(item["embedding"]) == 8 for item in body["data"])
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_embeddings_in_base64_are_the_same_numbers():
    numbers = plain({"input": "a"}, path=EMBEDDINGS)["data"][0]["embedding"]
    packed = plain({"input": "a", "encoding_format": "base64"}, path=EMBEDDINGS)["data"][0][
        "embedding"
    ]

    unpacked = struct.unpack(f"<{len(numbers)}f", base64.b64decode(packed))
    assert len(numbers) == 256
    assert unpacked == pytest.approx(numbers, rel=1e-6)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param({}, "input", id="nothing"),
        pytest.param({"input": []}, "input", id="empty"),
        pytest.param({"input": ""}, "input", id="empty text"),
        pytest.param({"input": ["a", 1]}, "input", id="mixed"),
        pytest.param({"input": "a", "encoding_format": "hex"}, "encoding_format", id="hex"),
        pytest.param({"input": "a", "dimensions": 0}, "dimensions", id="no dimensions"),
        pytest.param({"input": "a", "input_type": "x"}, "input_type", id="unknown field"),
    ],
)
def test_embeddings_that_are_refused(body: dict[str, Any], param: str):
    direct = DIALECT.read("openai", EMBEDDINGS, request({"model": "m", **body}))

    assert isinstance(direct, Direct)
    assert orjson.loads(direct.body)["error"]["param"] == param


@pytest.mark.parametrize(
    "path",
    [
        "/openai/v1/chat/completions",
        "/inference/v1/completions",
        "/v1/openai/embeddings",
        "/models",
    ],
)
def test_any_prefix_is_served(path: str):
    assert DIALECT.claims(path)


# Thoughts, provider by provider


def test_openrouter_signs_its_details_and_checks_them():
    body = {"messages": HELLO, "reasoning": {"effort": "high"}}
    message = plain(body, "openrouter")["choices"][0]["message"]
    chunks = [c["choices"][0]["delta"] for c in stream(body, "openrouter") if c["choices"]]
    streamed = [d for delta in chunks for d in delta.get("reasoning_details", ())]

    (detail,) = message["reasoning_details"]
    assert detail["text"] == message["reasoning"]
    assert "".join(d["text"] for d in streamed) == detail["text"]
    assert streamed[-1]["signature"] == detail["signature"]

    turn = {"role": "assistant", "content": "x", "reasoning_details": [detail]}
    read({"messages": [*HELLO, turn, *HELLO]}, "openrouter")
    changed = {**turn, "reasoning_details": [{**detail, "text": "other"}]}
    status, error = refused({"model": "m", "messages": [*HELLO, changed]}, "openrouter")
    assert (status, error["error"]["code"]) == (400, 400)


def test_openrouter_says_what_it_costs():
    usage = plain({"messages": HELLO}, "openrouter")["usage"]
    *_, last = stream({"messages": HELLO}, "openrouter")

    assert usage["cost"] == usage["cost_details"]["upstream_inference_cost"] > 0
    assert (last["choices"], last["usage"]["cost"]) == ([], usage["cost"])


def test_excluded_thoughts_are_only_counted():
    body = plain({"messages": HELLO, "reasoning": {"effort": "low", "exclude": True}}, "openrouter")

    assert "reasoning" not in body["choices"][0]["message"]
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


@pytest.mark.parametrize(
    ("provider", "on", "off"),
    [
        ("deepseek", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}),
        ("zai", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}),
        ("moonshot", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}),
        ("qwen", {"enable_thinking": True}, {"enable_thinking": False}),
        ("mistral", {"prompt_mode": "reasoning"}, {}),
        ("openrouter", {"reasoning": {"enabled": True}}, {"reasoning": {"enabled": False}}),
        ("groq", {"reasoning_effort": "low"}, {"reasoning_effort": "none"}),
    ],
)
def test_switches_for_thinking(provider: str, on: dict[str, Any], off: dict[str, Any]):
    assert read({"messages": HELLO, **on}, provider).reasoning
    assert not read({"messages": HELLO, **off}, provider).reasoning


@pytest.mark.parametrize(
    ("provider", "extra"),
    [
        ("deepseek", {"thinking": True}),
        ("qwen", {"enable_thinking": "yes"}),
        ("qwen", {"thinking_budget": 0}),
        ("mistral", {"prompt_mode": "chat"}),
        ("mistral", {"random_seed": "x"}),
        ("groq", {"reasoning_format": "long"}),
        ("groq", {"reasoning_format": "raw", "include_reasoning": True}),
        ("openrouter", {"reasoning": {"effort": "high", "max_tokens": 5}}),
        ("openai", {"reasoning_effort": "extreme"}),
    ],
)
def test_switches_that_are_refused(provider: str, extra: dict[str, Any]):
    status, _ = refused({"model": "m", "messages": HELLO, **extra}, provider)

    assert status == (422 if provider == "mistral" else 400)


@pytest.mark.parametrize("form", ["raw", "hidden", "parsed"])
def test_groq_formats_its_thoughts(form: str):
    body = {"messages": HELLO, "reasoning_effort": "low", "reasoning_format": form}
    message = plain(body, "groq")["choices"][0]["message"]

    assert ("reasoning" in message) == (form == "parsed")
    assert message["content"].startswith("<think>") == (form == "raw")


@pytest.mark.parametrize("provider", ["deepseek", "moonshot"])
def test_thoughts_must_come_back_in_a_tool_loop(provider: str):
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = {"role": "assistant", "content": "", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    thinking = {"thinking": {"type": "enabled"}}

    status, error = refused(
        {"model": "m", "messages": [*HELLO, turn, result], **thinking}, provider
    )

    assert status == 400
    assert "reasoning_content" in error["error"]["message"]
    read({"messages": [*HELLO, turn, result]}, provider)
    read({"messages": [*HELLO, turn, result, *HELLO], **thinking}, provider)
    kept = {**turn, "reasoning_content": "hm"}
    read({"messages": [*HELLO, kept, result], **thinking}, provider)


@pytest.mark.parametrize("provider", ["openai", "groq", "mistral"])
def test_strict_providers_refuse_unknown_fields_of_a_message(provider: str):
    turn = {"role": "assistant", "content": "x", "reasoning_details": []}

    status, _ = refused({"model": "m", "messages": [*HELLO, turn, *HELLO]}, provider)

    assert status == (422 if provider == "mistral" else 400)


def test_perplexity_cites():
    body = plain({"messages": HELLO}, "perplexity")
    chunks = stream({"messages": HELLO}, "perplexity")

    assert body["citations"] == [page["url"] for page in body["search_results"]]
    assert chunks[-1]["citations"] == body["citations"]
    assert chunks[-1]["usage"]["cost"]["total_cost"] > 0
    assert refused({"model": "m", "messages": [*HELLO, *HELLO]}, "perplexity")[0] == 400


def test_moonshot_repeats_usage_in_the_choice():
    *_, last = stream({"messages": HELLO}, "moonshot")

    assert last["choices"][0]["usage"]["total_tokens"] > 0


def test_cache_marks_are_read():
    ask = read({"messages": [{"role": "user", "content": [MARKED]}, *HELLO]}, "openrouter")
    again = read({"messages": [{"role": "user", "content": [MARKED]}]}, "openrouter")

    assert [mark.tokens for mark in ask.cache_marks] == [2000]
    assert ask.cache_marks == again.cache_marks


def test_marked_prompts_are_written_once_and_read_later():
    simulator = Simulator(lambda: 0.0, lambda: 1000, dialects=(DIALECT,))
    body = {"model": "m", "messages": [{"role": "user", "content": [MARKED]}]}

    def details() -> dict[str, int]:
        asked = replace(request(body), target="/p/openrouter/api/v1/chat/completions")
        (step,) = simulator.receive(asked, "127.0.0.1").script.steps
        usage = orjson.loads(step.data.partition(b"\r\n\r\n")[2])["usage"]
        counts: dict[str, int] = usage["prompt_tokens_details"]
        return counts

    assert details() == {"cached_tokens": 0, "cache_write_tokens": 2000}
    assert details() == {"cached_tokens": 2000}


def test_openai_tells_its_limits_when_one_is_reached():
    headers = DIALECT.failure("openai", Failure.RATE_LIMITED).headers

    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert not DIALECT.failure("groq", Failure.RATE_LIMITED).headers


def test_a_refusal_has_its_own_field():
    ask = read({"messages": HELLO})
    said = replace(
        answer(ask, Knobs(), stamp(ask)), choices=(Choice(refusal="No.", finish_reason="stop"),)
    )

    message = orjson.loads(DIALECT.plain("openai", ask, said))["choices"][0]["message"]
    deltas = [
        orjson.loads(event.data)["choices"][0]["delta"]
        for event in DIALECT.events("openai", ask, said)[:-1]
    ]

    assert (message["content"], message["refusal"]) == (None, "No.")
    assert deltas[1] == {"refusal": "No."}


def test_thoughts_between_tags_are_streamed_as_content():
    body = {"model": "sonar-reasoning", "messages": HELLO}

    deltas = [chunk["choices"][0]["delta"] for chunk in stream(body, "perplexity")]
    content = "".join(delta["content"] for delta in deltas)

    assert content == plain(body, "perplexity")["choices"][0]["message"]["content"]
    assert content.startswith("<think>Someone asks")


def test_mistral_streams_its_thoughts_as_parts():
    body = {"messages": HELLO, "prompt_mode": "reasoning"}

    deltas = [chunk["choices"][0]["delta"] for chunk in stream(body, "mistral")]

    parts = [delta["content"][0] for delta in deltas if isinstance(delta["content"], list)]
    assert {part["type"] for part in parts} == {"thinking"}


@pytest.mark.parametrize("failure", Failure)
@pytest.mark.parametrize("provider", ["openai", "mistral", "xai", "openrouter"])
def test_every_failure_has_an_event(provider: str, failure: Failure):
    event = DIALECT.failure_event(provider, failure)
    body = orjson.loads(event.data)

    assert event.kind == "error"
    if provider == "openrouter":
        assert body["error"]["code"] == DIALECT.failure(provider, failure).status
        assert body["choices"][0]["finish_reason"] == "error"


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("openrouter", {"role": "assistant", "content": "x", "reasoning_details": {}}),
        ("openrouter", {"role": "assistant", "content": "x", "reasoning_details": [{"type": "x"}]}),
        (
            "openrouter",
            {
                "role": "user",
                "content": [{"type": "text", "text": "x", "cache_control": {"type": "forever"}}],
            },
        ),
        ("perplexity", {"role": "assistant", "content": "x"}),
        ("openai", {"role": "user", "content": [{"type": "text", "text": 5}]}),
        ("openai", {"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}),
        ("openai", {"role": "user", "content": [sound("wav", "?")]}),
    ],
)
def test_messages_that_are_refused(provider: str, message: dict[str, Any]):
    assert refused({"model": "m", "messages": [*HELLO, message]}, provider)[0] == 400


def test_only_post_is_allowed():
    direct = DIALECT.read("openai", CHAT, request(b"", method="GET"))

    assert isinstance(direct, Direct)
    assert direct.status == 405
