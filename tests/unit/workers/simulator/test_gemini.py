"""The Gemini dialect: what Google refuses, and what its answers and streams look like."""

from base64 import b64decode, b64encode
from typing import Any

import orjson
import pytest

from workers.simulator.answers import Stamp, answer
from workers.simulator.dialect import Ask, Direct, Failure
from workers.simulator.faults import KINDS, parse_fault
from workers.simulator.gemini import GeminiDialect
from workers.simulator.google_token import issue, now_seconds
from workers.simulator.knobs import Knobs
from workers.simulator.script import Scene, Script, compose
from workers.simulator.text import digest
from workers.simulator.wire import Request

DIALECT = GeminiDialect()
STUDIO = "google-ai-studio"
VERTEX = "google-vertex"
VERTEX_MODELS = "/v1/projects/p/locations/us-central1/publishers/google/models"
OLD = "gemini-2.5-flash"
NEW = "gemini-3-pro-preview"
HELLO = [{"role": "user", "parts": [{"text": "hello"}]}]
WEATHER_SCHEMA = {
    "type": "OBJECT",
    "properties": {"location": {"type": "STRING"}},
    "required": ["location"],
}
WEATHER = {"name": "get_weather", "description": "d", "parameters": WEATHER_SCHEMA}
TIME = {"name": "get_time"}
TOOLS = [{"functionDeclarations": [WEATHER, TIME]}]
MUST = {"functionCallingConfig": {"mode": "ANY"}}
PNG = b64encode(b"\x89PNG").decode()


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def call(name: str = "get_weather", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": {}}, **more}


def result(name: str = "get_weather", **response: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": response or {"output": "sunny"}}}


def sent(body: Any, path: str, headers: dict[str, str] | None = None) -> Request:
    if headers is None:
        headers = {"x-goog-api-key": "k", "authorization": f"Bearer {issue(now_seconds())}"}
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Request(method="POST", target=path, headers=headers, body=data, keep_alive=True)


def path_of(name: str, method: str, provider: str = STUDIO) -> str:
    base = "/v1beta/models" if provider == STUDIO else VERTEX_MODELS
    return f"{base}/{name}:{method}"


def read(body: Any, name: str, method: str, provider: str = STUDIO, query: str = "") -> Any:
    path = path_of(name, method, provider)
    assert DIALECT.claims(path)
    return DIALECT.read(provider, path, sent(body, f"/p/{provider}{path}{query}"))


def asked(
    body: dict[str, Any], name: str = OLD, method: str = "generateContent", provider: str = STUDIO
) -> Ask:
    query = "?alt=sse" if method == "streamGenerateContent" else ""
    ask = read({"contents": HELLO, **body}, name, method, provider, query)
    assert isinstance(ask, Ask), ask
    return ask


def plain(body: dict[str, Any], name: str = OLD, provider: str = STUDIO) -> dict[str, Any]:
    ask = asked(body, name, provider=provider)
    return orjson.loads(DIALECT.plain(provider, ask, answer(ask, Knobs(), stamp(ask))))


def stream(body: dict[str, Any], name: str = OLD, provider: str = STUDIO) -> list[dict[str, Any]]:
    ask = asked(body, name, "streamGenerateContent", provider)
    events = DIALECT.events(provider, ask, answer(ask, Knobs(), stamp(ask)))
    return [orjson.loads(event.data) for event in events]


def stamp(ask: Ask) -> Stamp:
    return Stamp(serial=1, created=1000, body_sha256=digest(ask.said.encode()))


def refused(
    body: Any, name: str = OLD, provider: str = STUDIO, method: str = "generateContent"
) -> tuple[int, dict[str, Any]]:
    direct = read(body, name, method, provider)
    assert isinstance(direct, Direct), direct
    return direct.status, orjson.loads(direct.body)["error"]


def parts_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = body["candidates"][0]["content"]["parts"]
    return parts


# Answers


def test_plain_answer_has_the_whole_shape():
    body = plain({})

    (candidate,) = body["candidates"]
    assert candidate["finishReason"] == "STOP"
    assert (candidate["index"], candidate["content"]["role"]) == (0, "model")
    (part,) = parts_of(body)
    assert set(part) == {"text"}
    assert "hello" in part["text"]
    assert (body["modelVersion"], len(body["responseId"])) == (OLD, 22)
    assert "createTime" not in body
    usage = body["usageMetadata"]
    assert usage["totalTokenCount"] == (
        usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    )
    assert usage["promptTokensDetails"] == [
        {"modality": "TEXT", "tokenCount": usage["promptTokenCount"]}
    ]
    assert "trafficType" not in usage


def test_vertex_says_when_and_on_which_terms():
    body = plain({}, provider=VERTEX)

    assert body["createTime"] == "1970-01-01T00:16:40.000000Z"
    assert body["usageMetadata"]["trafficType"] == "ON_DEMAND"


def test_stream_ends_with_the_finish_reason():
    *chunks, last = stream({})

    assert 12 <= len(chunks) <= 20
    assert all("finishReason" not in chunk["candidates"][0] for chunk in chunks)
    text = "".join(part["text"] for chunk in chunks for part in parts_of(chunk))
    assert text == parts_of(plain({}))[0]["text"]
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"] == plain({})["usageMetadata"]
    assert {chunk["responseId"] for chunk in (*chunks, last)} == {last["responseId"]}
    counts = [chunk["usageMetadata"]["candidatesTokenCount"] for chunk in chunks]
    assert counts == sorted(counts)


def test_vertex_counts_at_the_end_of_a_stream():
    first, *_, last = stream({}, provider=VERTEX)

    assert first["usageMetadata"] == {"trafficType": "ON_DEMAND"}
    assert last["usageMetadata"]["totalTokenCount"] > 0


def test_stream_without_sse_is_an_array():
    for query in ("", "?alt=json"):
        ask = read({"contents": HELLO}, OLD, "streamGenerateContent", query=query)
        assert isinstance(ask, Ask)
        assert not ask.stream
        chunks = orjson.loads(DIALECT.plain(STUDIO, ask, answer(ask, Knobs(), stamp(ask))))
        assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
        assert len(chunks) == 2
    error = read({}, OLD, "streamGenerateContent")
    assert isinstance(error, Direct)
    assert orjson.loads(error.body)[0]["error"]["status"] == "INVALID_ARGUMENT"


def test_candidates():
    body = plain({"generationConfig": {"candidateCount": 3}})
    chunks = stream({"generationConfig": {"candidateCount": 2}})

    assert [candidate["index"] for candidate in body["candidates"]] == [0, 1, 2]
    finished = [c for chunk in chunks for c in chunk["candidates"] if "finishReason" in c]
    assert [candidate["index"] for candidate in finished] == [0, 1]


def test_limits_and_stops():
    cut = plain({"generationConfig": {"maxOutputTokens": 5}}, "gemini-2.0-flash")
    stopped = plain({"generationConfig": {"stopSequences": ["Pointsman"]}})

    assert cut["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert cut["usageMetadata"]["candidatesTokenCount"] == 5
    assert parts_of(stopped)[0]["text"] == "Hello from the "


def test_long_prompts_are_cached():
    usage = plain({"contents": [user({"text": "x" * 8192})]})["usageMetadata"]

    assert usage["cachedContentTokenCount"] % 128 == 0
    assert usage["cachedContentTokenCount"] > 0
    assert usage["cacheTokensDetails"][0]["tokenCount"] == usage["cachedContentTokenCount"]


def test_log_probabilities():
    config = {"responseLogprobs": True, "logprobs": 2}
    candidate = plain({"generationConfig": config})["candidates"][0]

    assert candidate["avgLogprobs"] < 0
    assert candidate["logprobsResult"]["chosenCandidates"][0]["token"]
    assert candidate["logprobsResult"]["topCandidates"]
    last = stream({"generationConfig": {"responseLogprobs": True}})[-1]["candidates"][0]
    assert "topCandidates" not in last["logprobsResult"]


# Thinking


def test_thoughts_are_shown_when_asked_for_and_counted_anyway():
    hidden = plain({})
    shown = plain({"generationConfig": {"thinkingConfig": {"includeThoughts": True}}})

    assert [part.get("thought") for part in parts_of(hidden)] == [None]
    assert [part.get("thought") for part in parts_of(shown)] == [True, None]
    assert hidden["usageMetadata"] == shown["usageMetadata"]
    assert hidden["usageMetadata"]["thoughtsTokenCount"] > 0
    chunks = stream({"generationConfig": {"thinkingConfig": {"includeThoughts": True}}})
    assert parts_of(chunks[0])[0]["thought"] is True
    assert "thoughtsTokenCount" in chunks[0]["usageMetadata"]
    assert "candidatesTokenCount" not in chunks[0]["usageMetadata"]


@pytest.mark.parametrize(
    ("name", "config", "thinks"),
    [
        (OLD, {}, True),
        (OLD, {"thinkingBudget": 0}, False),
        (OLD, {"thinkingBudget": -1}, True),
        ("gemini-2.5-flash-lite", {}, False),
        ("gemini-2.5-flash-lite", {"thinkingBudget": 512}, True),
        ("gemini-2.5-pro", {"thinkingBudget": 128}, True),
        ("gemini-2.0-flash", {}, False),
        ("gemini-2.0-flash", {"thinkingBudget": 0}, False),
        (NEW, {}, True),
        (NEW, {"thinkingLevel": "low"}, True),
        (NEW, {"thinkingBudget": 1024}, True),
        ("gemini-3.1-pro-preview", {"thinkingLevel": "MEDIUM"}, True),
        ("gemini-3-flash-preview", {"thinkingLevel": "MINIMAL"}, True),
        ("gemini-flash-latest", {"thinkingLevel": "HIGH"}, True),
        ("sim-plain", {}, False),
        ("sim-plain", {"thinkingLevel": "HIGH"}, True),
        ("sim-reasoning", {}, True),
        ("sim-reasoning", {"thinkingBudget": 0}, False),
    ],
)
def test_which_models_think(name: str, config: dict[str, Any], thinks: bool):
    assert asked({"generationConfig": {"thinkingConfig": config}}, name).reasoning is thinks


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        (NEW, {"thinkingLevel": "LOW", "thinkingBudget": 9}, "only one of thinking budget and"),
        (OLD, {"thinkingLevel": "LOW"}, "Thinking level is not supported for this model."),
        (NEW, {"thinkingLevel": "MINIMAL"}, "Thinking level MINIMAL is not supported"),
        (NEW, {"thinkingBudget": 0}, "This model only works in thinking mode."),
        ("gemini-2.5-pro", {"thinkingBudget": 0}, "Budget 0 is invalid."),
        ("gemini-2.5-pro", {"thinkingBudget": 64}, "between 128 and 32768"),
        (OLD, {"thinkingBudget": 30_000}, "between 1 and 24576"),
        ("gemini-2.0-flash", {"thinkingBudget": 100}, "Thinking is not enabled"),
        ("gemini-2.0-flash", {"thinkingBudget": -1}, "Thinking is not enabled"),
    ],
)
def test_thinking_that_is_refused(name: str, config: dict[str, Any], message: str):
    body = {"contents": HELLO, "generationConfig": {"thinkingConfig": config}}

    status, error = refused(body, name)

    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]
    assert refused(body, name, VERTEX)[0] == 400


# Signatures


def replayed(body: dict[str, Any], *results: dict[str, Any]) -> list[dict[str, Any]]:
    content = body["candidates"][0]["content"]
    return [user({"text": "hello"}), content, *([user(*results)] if results else [])]


@pytest.mark.parametrize("provider", [STUDIO, VERTEX])
def test_a_replayed_call_needs_its_signature(provider: str):
    body = plain({"tools": TOOLS, "toolConfig": MUST}, NEW, provider)
    contents = replayed(body, result(output="rain"))
    (part,) = contents[1]["parts"]
    if provider == STUDIO:
        contents[2]["parts"][0]["functionResponse"]["id"] = part["functionCall"]["id"]

    assert (
        "The tool returned: rain."
        in parts_of(plain({"contents": contents, "tools": TOOLS}, NEW, provider))[0]["text"]
    )

    del part["thoughtSignature"]
    status, error = refused({"contents": contents, "tools": TOOLS}, NEW, provider)
    assert status == 400
    assert "missing a" in error["message"]
    assert "default_api:get_weather" in error["message"]
    assert "2" in error["message"]
    assert asked({"contents": contents}, OLD, provider=provider)


def test_only_the_first_of_parallel_calls_is_signed():
    contents = [user({"text": "use tools in parallel"})]
    for name in (OLD, NEW):
        body = plain({"contents": contents, "tools": TOOLS}, name)
        first, second = parts_of(body)
        assert first["functionCall"]["name"] == "get_weather"
        assert second["functionCall"]["name"] == "get_time"
        assert "thoughtSignature" in first
        assert "thoughtSignature" not in second
        replay = [*contents, body["candidates"][0]["content"], user(result(), result("get_time"))]
        assert asked({"contents": replay}, name)


def test_every_step_of_the_current_turn_is_signed_and_older_turns_are_free():
    steps = [user({"text": "a"}), model(call()), user(result())]
    waived = [
        user({"text": "a"}),
        model(call(thoughtSignature="skip_thought_signature_validator")),
        user(result()),
    ]

    assert refused({"contents": [*waived, model(call()), user(result())]}, NEW)[0] == 400
    assert (
        "position 4"
        in refused({"contents": [*waived, model(call()), user(result())]}, NEW)[1]["message"]
    )
    assert asked({"contents": waived}, NEW)
    assert asked({"contents": [*steps, model({"text": "b"}), user({"text": "c"})]}, NEW)


def test_a_signature_must_be_that_of_the_words():
    signed = parts_of(plain({}, NEW))[0]
    chunks = stream({}, NEW)
    assert parts_of(chunks[-1])[0] == {"text": "", "thoughtSignature": signed["thoughtSignature"]}
    tail = {"text": "", "thoughtSignature": signed["thoughtSignature"]}
    next_turn = user({"text": "and?"})

    assert asked({"contents": [*HELLO, model(signed), next_turn]}, NEW)
    apart = model({"text": signed["text"][:9]}, {"text": signed["text"][9:]}, tail)
    assert asked({"contents": [*HELLO, apart, next_turn]}, NEW)
    assert asked({"contents": [*HELLO, model({"text": signed["text"]}), next_turn]}, NEW)
    as_streamed = [chunk["candidates"][0]["content"] for chunk in chunks]
    assert asked({"contents": [*HELLO, *as_streamed, next_turn]}, NEW)
    for wrong in ({"text": "changed"}, {"thoughtSignature": "AAAA"}):
        contents = [*HELLO, model({**signed, **wrong}), next_turn]
        assert refused({"contents": contents}, NEW)[1]["message"] == "Corrupted thought signature."
        assert "not valid" in refused({"contents": contents}, NEW, VERTEX)[1]["message"]


def test_a_streamed_call_may_come_back_chunk_by_chunk():
    config = {"thinkingConfig": {"includeThoughts": True}}
    body = {"tools": TOOLS, "toolConfig": MUST, "generationConfig": config}
    chunks = [chunk["candidates"][0]["content"] for chunk in stream(body, NEW)]

    assert asked({"contents": [*HELLO, *chunks, user(result())]}, NEW)
    for chunk in chunks:
        for part in chunk["parts"]:
            part.pop("thoughtSignature", None)
    _, error = refused({"contents": [*HELLO, *chunks, user(result())]}, NEW)
    assert f"position {len(chunks)}" in error["message"]


def test_a_signature_may_come_back_in_the_other_alphabet():
    signed = parts_of(plain({}, NEW))[0]
    other = signed["thoughtSignature"].replace("+", "-").replace("/", "_")

    assert other != signed["thoughtSignature"]
    contents = [*HELLO, model({**signed, "thoughtSignature": other}), user({"text": "and?"})]
    assert asked({"contents": contents}, NEW)


def test_older_models_sign_calls_only():
    assert set(parts_of(plain({}))[0]) == {"text"}
    assert "thoughtSignature" in parts_of(plain({"tools": TOOLS, "toolConfig": MUST}))[0]
    assert (
        "thoughtSignature"
        not in parts_of(plain({"tools": TOOLS, "toolConfig": MUST}, "gemini-2.0-flash"))[0]
    )


# Tools


def test_a_call_comes_whole_in_one_chunk():
    chunks = stream({"tools": TOOLS, "toolConfig": MUST}, "gemini-2.0-flash")

    (part,) = parts_of(chunks[0])
    assert part == {"functionCall": {"name": "get_weather", "args": {"location": "Paris, France"}}}
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert len(chunks) == 2


def test_new_models_give_calls_an_id_on_ai_studio():
    body = {"tools": TOOLS, "toolConfig": MUST}

    assert parts_of(plain(body, NEW))[0]["functionCall"]["id"]
    assert "id" not in parts_of(plain(body, NEW, VERTEX))[0]["functionCall"]


@pytest.mark.parametrize(
    ("said", "config", "names"),
    [
        pytest.param("hello", {}, [], id="nobody asked"),
        pytest.param("the weather?", {}, ["get_weather"], id="the word weather"),
        pytest.param("the weather?", {"mode": "NONE"}, [], id="forbidden"),
        pytest.param("hello", {"mode": "any"}, ["get_weather"], id="wanted"),
        pytest.param(
            "hello", {"mode": "ANY", "allowedFunctionNames": ["get_time"]}, ["get_time"], id="named"
        ),
        pytest.param("tools in parallel", {}, ["get_weather", "get_time"], id="parallel"),
    ],
)
def test_which_tools_are_called(said: str, config: dict[str, Any], names: list[str]):
    body: dict[str, Any] = {"contents": [user({"text": said})], "tools": TOOLS}
    if config:
        body["toolConfig"] = {"functionCallingConfig": config}

    calls = [part["functionCall"]["name"] for part in parts_of(plain(body)) if "text" not in part]

    assert calls == names


def test_after_the_results_the_model_speaks_and_tells_them():
    contents = [user({"text": "the weather?"}), model(call()), user(result(a=1, b=2))]

    text = parts_of(plain({"contents": contents, "tools": TOOLS}))[0]["text"]

    assert 'The tool returned: {"a":1,"b":2}.' in text


def test_json_schema_parameters_are_full_json_schema():
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "$defs": {"city": {"type": "string"}},
        "additionalProperties": False,
    }
    tools = [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}]}]

    (part,) = parts_of(plain({"tools": tools, "toolConfig": MUST}, "gemini-2.0-flash"))

    assert part["functionCall"]["args"] == {"city": "Paris"}


def tool(**declaration: Any) -> dict[str, Any]:
    return {"contents": HELLO, "tools": [{"functionDeclarations": [declaration]}]}


def with_parameters(**properties: Any) -> dict[str, Any]:
    return tool(name="f", parameters={"type": "OBJECT", "properties": properties})


WHERE = "tools[0].function_declarations[0].parameters"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            with_parameters(a={"type": "STRING"}, b={"type": "STRING", "const": "x"}),
            f"Unknown name \"const\" at '{WHERE}.properties[1].value': Cannot find field.",
            id="const",
        ),
        *(
            pytest.param(
                tool(name="f", parameters={**WEATHER_SCHEMA, keyword: value}),
                f"Unknown name \"{keyword}\" at '{WHERE}': Cannot find field.",
                id=keyword,
            )
            for keyword, value in {
                "additionalProperties": False,
                "$ref": "#/x",
                "$schema": "x",
                "$defs": {},
                "oneOf": [],
            }.items()
        ),
        pytest.param(
            with_parameters(a={"type": ["string", "null"]}),
            f"Unknown name \"type\" at '{WHERE}.properties[0].value': Proto field is not "
            "repeating, cannot start list.",
            id="several types",
        ),
        pytest.param(
            with_parameters(a={"anyOf": [{"type": "text"}]}),
            f"Invalid value at '{WHERE}.properties[0].value.any_of[0].type' "
            '(type.googleapis.com/google.ai.generativelanguage.v1beta.Type), "text"',
            id="unknown type",
        ),
        pytest.param(
            with_parameters(a={"type": "ARRAY"}),
            "parameters.properties[a].items: missing field.",
            id="array of nothing",
        ),
        pytest.param(
            with_parameters(), "parameters.properties: should be non-empty", id="empty object"
        ),
        pytest.param(
            with_parameters(a={"type": "INTEGER", "enum": ["1"]}),
            "properties[a].enum: only allowed for STRING type",
            id="enum of numbers",
        ),
        pytest.param(
            with_parameters(a={"type": "STRING", "enum": [""]}),
            "properties[a].enum: cannot be empty",
            id="empty enum",
        ),
        pytest.param(
            with_parameters(a={"type": "STRING", "format": "uri"}),
            "properties[a].format: only 'enum' and 'date-time' are supported",
            id="format",
        ),
        pytest.param(
            with_parameters(a={"description": "d"}), "properties[a].type: must be", id="no type"
        ),
        pytest.param(
            tool(name="f", parameters={**WEATHER_SCHEMA, "required": ["x"]}),
            "parameters.required[0]: property is not defined",
            id="required",
        ),
        pytest.param(tool(name="1f"), "Invalid function name.", id="name"),
        pytest.param(tool(name="f" * 65), "Invalid function name.", id="long name"),
        pytest.param(tool(description="d"), "Invalid function name.", id="no name"),
        pytest.param(
            tool(name="f", parameters=WEATHER_SCHEMA, parametersJsonSchema={}),
            "mutually exclusive",
            id="both schemas",
        ),
        pytest.param(tool(name="f", parametersJsonSchema=1), "JSON Schema object", id="no schema"),
        pytest.param(
            {"contents": HELLO, "tools": [*TOOLS, *TOOLS]}, "Duplicate function", id="twice"
        ),
        pytest.param(
            {"contents": HELLO, "tools": [{**TOOLS[0], "googleSearch": {}}]},
            "Tool use with function calling is unsupported",
            id="search beside functions",
        ),
        pytest.param(
            {"contents": HELLO, "tools": [{"type": "function", "function": {"name": "f"}}]},
            "Unknown name \"type\" at 'tools[0]'",
            id="a tool in another provider's form",
        ),
        pytest.param(
            {"contents": HELLO, "toolConfig": MUST},
            "set without function_declarations",
            id="config without tools",
        ),
        pytest.param(
            {
                "contents": HELLO,
                "tools": TOOLS,
                "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["get_time"]}},
            },
            "only be set when mode is ANY",
            id="names without ANY",
        ),
        pytest.param(
            {
                "contents": HELLO,
                "tools": TOOLS,
                "toolConfig": {
                    "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["x"]}
                },
            },
            "undeclared functions: x",
            id="unknown name",
        ),
        pytest.param(
            {
                "contents": HELLO,
                "tools": TOOLS,
                "generationConfig": {"responseMimeType": "application/json"},
            },
            "Function calling with a response mime type: 'application/json' is unsupported",
            id="JSON beside functions",
        ),
    ],
)
def test_tools_that_are_refused(body: dict[str, Any], message: str):
    status, error = refused(body)

    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]


def test_vertex_takes_more_keywords_and_wants_types():
    parameters = {**WEATHER_SCHEMA, "additionalProperties": False}
    untyped = {"type": "OBJECT", "properties": {"a": {"description": "d"}}}

    assert asked({"tools": tool(name="f", parameters=parameters)["tools"]}, provider=VERTEX)
    _, error = refused(tool(name="f", parameters=untyped), provider=VERTEX)
    assert "didn't specify the schema type field" in error["message"]
    both = tool(name="f", parameters=untyped, parametersJsonSchema={})
    for body in (tool(name=""), both, tool(name="f", parametersJsonSchema=1)):
        assert refused(body, provider=VERTEX)[0] == 400
    strict = {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["get_time"]}}
    for more in ({"toolConfig": strict, "tools": TOOLS}, {"toolConfig": MUST}):
        assert refused({"contents": HELLO, **more}, provider=VERTEX)[0] == 400


# The form of the body


@pytest.mark.parametrize(
    ("body", "message", "fields"),
    [
        (b"{", "Invalid JSON payload received.", [None]),
        (b"[]", "Root element must be a message.", [None]),
        ({"contents": HELLO, "messages": []}, 'Unknown name "messages": Cannot find', [None]),
        (
            {"contents": [{"role": "user", "content": "x", "parts": "x"}]},
            "Unknown name \"content\" at 'contents[0]': Cannot find field.\nInvalid value at 'cont",
            ["contents[0]", "contents[0].parts[0]"],
        ),
        (
            {"contents": HELLO, "generationConfig": {"temperature": "hot"}},
            "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"hot\"",
            ["generation_config.temperature"],
        ),
        (
            {"contents": HELLO, "generationConfig": {"maxOutputTokens": 1.5, "seed": 2**31}},
            "'generation_config.max_output_tokens' (TYPE_INT32), 1.5",
            ["generation_config.max_output_tokens", "generation_config.seed"],
        ),
        (
            {"contents": HELLO, "generationConfig": {"max_tokens": 5}},
            "Unknown name \"max_tokens\" at 'generation_config'",
            ["generation_config"],
        ),
        (
            {"contents": [user({"text": {"a": 1}})]},
            "Starting an object on a scalar field.",
            ["contents[0].parts[0]"],
        ),
        (
            {"contents": [user({"text": "a", "inlineData": {"mimeType": "image/png"}})]},
            "oneof field 'data' is already set. Cannot set 'inlineData'",
            ["contents[0].parts[0]"],
        ),
        (
            {"contents": [user({"inlineData": {"mimeType": "image/png", "data": "data:x,y"}})]},
            "Base64 decoding failed",
            ["contents[0].parts[0].inline_data.data"],
        ),
        (
            {"contents": [user({"functionResponse": {"name": "f", "response": "x"}})]},
            "(type.googleapis.com/google.protobuf.Struct)",
            ["contents[0].parts[0].function_response.response"],
        ),
        (
            {"contents": HELLO, "safetySettings": [{"category": "X", "threshold": "OFF"}]},
            'HarmCategory), "X"',
            ["safety_settings[0].category"],
        ),
        (
            tool(name="f", parameters={"type": "OBJECT", "properties": ["a"]}),
            "(TYPE_MESSAGE)",
            [f"{WHERE}.properties"],
        ),
        ({"contents": HELLO, "labels": {"a": "b"}}, 'Unknown name "labels"', [None]),
    ],
)
def test_forms_that_are_refused(body: Any, message: str, fields: list[str | None]):
    status, error = refused(body)

    assert (status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert message in error["message"]
    (detail,) = error["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert [violation.get("field") for violation in detail["fieldViolations"]] == fields


def test_a_deep_schema_is_refused():
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(200):
        schema = {"type": "ARRAY", "items": schema}

    for field in ("parameters", "parametersJsonSchema"):
        assert "too deep" in refused(tool(name="f", **{field: schema}))[1]["message"]


def test_names_in_snake_case_single_objects_and_nulls_are_taken():
    body = {
        "contents": {"parts": {"text": "hello"}},
        "system_instruction": {"parts": {"text": "be short"}},
        "generation_config": {"max_output_tokens": 9.0, "seed": None, "top_k": 5},
        "safety_settings": [
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
        ],
        "tools": None,
    }

    ask = asked(body, "gemini-2.0-flash")

    assert (ask.max_tokens, ask.said, ask.prompt_tokens) == (9, "hello", 4)


# Contents


def inline(mime_type: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime_type, "data": PNG}}


def file(uri: str, mime_type: str = "") -> dict[str, Any]:
    return {"fileData": {"fileUri": uri, **({"mimeType": mime_type} if mime_type else {})}}


def test_media_are_seen_and_counted():
    contents = [
        user(
            inline("image/png"),
            inline("audio/wav"),
            inline("application/pdf"),
            inline("video/mp4"),
            file("https://www.youtube.com/watch?v=x"),
            file("https://generativelanguage.googleapis.com/v1beta/files/x", "image/webp"),
            {"text": "look"},
        )
    ]

    body = plain({"contents": contents})

    assert parts_of(body)[0]["text"].endswith(
        "I see: image/png, audio/wav, application/pdf, video/mp4, video/youtube, image/webp."
    )
    usage = body["usageMetadata"]
    counts = {one["modality"]: one["tokenCount"] for one in usage["promptTokensDetails"]}
    assert set(counts) == {"TEXT", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT"}
    assert sum(counts.values()) == usage["promptTokenCount"]


def test_media_beside_and_after_results_belong_to_them():
    waived = call(thoughtSignature="skip_thought_signature_validator")
    inside = result(output="rain")
    inside["functionResponse"]["parts"] = [inline("image/png")]
    steps = [user({"text": "tool"}), model(waived)]

    for tail in ([user(inside)], [user(result(output="rain")), user(inline("image/png"))]):
        ask = asked({"contents": [*steps, *tail], "tools": TOOLS}, NEW)
        assert (ask.media, ask.tool_results, ask.calls) == (("image/png",), ("rain",), ())
    unsigned = [steps[0], model(call()), user(result()), user(inline("image/png"))]
    assert refused({"contents": unsigned}, NEW)[0] == 400
    inside["functionResponse"]["parts"] = [inline("image/gif")]
    assert refused({"contents": [*steps, user(inside)]}, NEW)[0] == 400


def test_vertex_takes_files_from_buckets_and_pictures_from_anywhere():
    contents = [
        user(
            file("gs://bucket/film.mp4", "video/mp4"),
            file("https://example.com/a.png", "image/png"),
        )
    ]

    assert asked({"contents": contents}, provider=VERTEX).media == ("video/mp4", "image/url")


@pytest.mark.parametrize(
    ("provider", "part", "message"),
    [
        (STUDIO, inline("image/gif"), "Unsupported MIME type: image/gif"),
        (VERTEX, inline("image/gif"), "mimeType parameter with value image/gif"),
        (STUDIO, {"inlineData": {"mimeType": "image/png"}}, "inline_data.data"),
        (VERTEX, {"inlineData": {"mimeType": "image/png"}}, "empty inlineData"),
        (STUDIO, file("https://example.com/a.png", "image/png"), "Unsupported file uri"),
        (STUDIO, file("http://www.youtube.com/watch?v=x"), "Unsupported file uri"),
        (STUDIO, file("gs://b/x.png", "image/png"), "Unsupported file uri"),
        (STUDIO, file(""), "file_uri must not be empty"),
        (VERTEX, file(""), "empty fileUri"),
        (VERTEX, file("gs://b/x.png"), "empty mimeType"),
        (VERTEX, file("https://www.youtube.com/watch?v=x", "video/mp4"), "Unsupported file uri"),
        (VERTEX, file("https://example.com/x.mp4", "video/mp4"), "Unsupported file uri"),
        (VERTEX, file("ftp://example.com/x.png", "image/png"), "Unsupported file uri"),
        (STUDIO, {}, "required oneof field 'data' must have one initialized field"),
        (VERTEX, {"thought": True}, "must have a text parameter"),
        (VERTEX, {"text": ""}, "empty text parameter"),
    ],
)
def test_parts_that_are_refused(provider: str, part: dict[str, Any], message: str):
    status, error = refused({"contents": [user({"text": "x"}, part)]}, OLD, provider)

    assert status == 400
    assert message in error["message"]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([], "contents is not specified"),
        ([{"role": "user", "parts": []}], "contents[0].parts: contents.parts must not be empty."),
        ([{"role": "assistant", "parts": [{"text": "x"}]}], "valid role: user, model."),
        ([{"role": "function", "parts": [result()]}], "valid role: user, model."),
        ([{"role": "system", "parts": [{"text": "x"}]}], "valid role: user, model."),
        ([user(call())], "valid role: user, model."),
        ([*HELLO, model(call()), model(result())], "valid role: user, model."),
        ([model(call()), user(result())], "comes immediately after a user turn"),
        ([*HELLO, user(result())], "comes immediately after a function call turn"),
        ([*HELLO, model(call(), call()), user(result())], "number of function response parts"),
        ([*HELLO, model(call()), *HELLO], "number of function response parts"),
        ([*HELLO, model(call(), call()), user(result()), user(result())], "number of function"),
        ([*HELLO, model(call())], "number of function response parts"),
        ([*HELLO, model(call("a")), user(result("b"))], "invalid argument"),
        (
            [
                *HELLO,
                model({"functionCall": {"name": "f", "id": "1"}}),
                user({"functionResponse": {"name": "f", "id": "2", "response": {}}}),
            ],
            "invalid argument",
        ),
        ([*HELLO, model({"functionCall": {"args": {}}})], "function_call.name: Name cannot be"),
    ],
)
def test_conversations_that_are_refused(contents: list[Any], message: str):
    status, error = refused({"contents": contents})

    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]
    assert refused({"contents": contents}, OLD, VERTEX)[0] == 400


def test_vertex_wants_roles():
    body = {"contents": [{"parts": [{"text": "x"}]}]}

    assert asked(body).said == "x"
    assert asked({"contents": [model({"text": "x"})]}).said == ""
    assert "valid role" in refused(body, OLD, VERTEX)[1]["message"]


@pytest.mark.parametrize("parts", [[], [{"inlineData": {"mimeType": "image/png", "data": PNG}}]])
@pytest.mark.parametrize("provider", [STUDIO, VERTEX])
def test_the_system_instruction_is_text(parts: list[Any], provider: str):
    body = {"contents": HELLO, "systemInstruction": {"parts": parts}}

    assert refused(body, OLD, provider)[0] == 400


# Configuration


@pytest.mark.parametrize(
    "config",
    [
        {"temperature": 2.1},
        {"temperature": -0.1},
        {"topP": 1.1},
        {"topK": 0},
        {"presencePenalty": 2.0},
        {"frequencyPenalty": -2.1},
        {"candidateCount": 9},
        {"maxOutputTokens": 0},
        {"logprobs": 5},
        {"responseLogprobs": True, "logprobs": 21},
        {"stopSequences": list("abcdef")},
        {"stopSequences": [""]},
        {"responseMimeType": "text/html"},
        {"responseSchema": WEATHER_SCHEMA},
        {"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY"}},
        {"responseMimeType": "application/json", "responseJsonSchema": "x"},
        {
            "responseMimeType": "application/json",
            "responseSchema": WEATHER_SCHEMA,
            "responseJsonSchema": {},
        },
        {"imageConfig": {"aspectRatio": "16:10"}},
        {"imageConfig": {"imageSize": "8K"}},
        {"responseModalities": ["TEXT", "IMAGE"]},
        {"responseModalities": ["AUDIO"]},
        {"responseModalities": ["VIDEO"]},
        {"speechConfig": {"voiceConfig": {}, "multiSpeakerVoiceConfig": {}}},
    ],
)
@pytest.mark.parametrize("provider", [STUDIO, VERTEX])
def test_configurations_that_are_refused(config: dict[str, Any], provider: str):
    status, error = refused({"contents": HELLO, "generationConfig": config}, OLD, provider)

    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("name", "limit", "taken"),
    [(OLD, 65_536, True), (OLD, 65_537, False), ("gemini-2.0-flash", 8193, False)],
)
def test_vertex_limits_the_output(name: str, limit: int, taken: bool):
    body = {"contents": HELLO, "generationConfig": {"maxOutputTokens": limit}}

    assert isinstance(read(body, name, "generateContent", VERTEX), Ask) is taken
    assert asked(body, name)


@pytest.mark.parametrize(
    "config",
    [
        {"responseSchema": WEATHER_SCHEMA},
        {"responseJsonSchema": {**WEATHER_SCHEMA, "additionalProperties": False}},
    ],
)
def test_structured_output(config: dict[str, Any]):
    config = {"responseMimeType": "application/json", **config}

    text = parts_of(plain({"generationConfig": config}))[0]["text"]

    assert orjson.loads(text) == {"location": "Paris, France"}
    free = plain({"generationConfig": {"responseMimeType": "application/json"}})
    assert isinstance(orjson.loads(parts_of(free)[0]["text"]), dict)


def test_new_models_give_json_beside_functions():
    config = {"responseMimeType": "application/json", "responseSchema": WEATHER_SCHEMA}

    assert asked({"tools": TOOLS, "generationConfig": config}, NEW)


def test_nobody_has_made_a_cache():
    for provider, name in (
        (STUDIO, "cachedContents/x"),
        (VERTEX, "projects/p/locations/l/cachedContents/x"),
    ):
        status, error = refused({"contents": HELLO, "cachedContent": name}, OLD, provider)
        assert (status, error["status"]) == (403, "PERMISSION_DENIED")
        assert refused({"contents": HELLO, "cachedContent": "x"}, OLD, provider)[0] == 400


# Pictures and sounds


def test_pictures():
    config = {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "16:9"}}

    body = plain({"generationConfig": config}, "gemini-2.5-flash-image")
    chunks = stream({"generationConfig": config}, "gemini-2.5-flash-image")

    text, image = parts_of(body)
    assert text["text"]
    assert image["inlineData"]["mimeType"] == "image/png"
    data = b64decode(image["inlineData"]["data"])
    assert data.startswith(b"\x89PNG")
    assert (data[19], data[23]) == (16, 9)
    assert parts_of(chunks[-2]) == [image]
    usage = body["usageMetadata"]
    assert {one["modality"] for one in usage["candidatesTokensDetails"]} == {"TEXT", "IMAGE"}


def test_a_new_picture_is_signed_and_may_be_replayed():
    name = "gemini-3-pro-image-preview"
    body = plain({"generationConfig": {"responseModalities": ["IMAGE"]}}, name)

    (part,) = parts_of(body)
    replay = [*HELLO, body["candidates"][0]["content"], user({"text": "brighter"})]
    assert asked({"contents": replay}, name).media == ("image/png",)
    part["inlineData"]["data"] = PNG
    assert refused({"contents": replay}, name)[1]["message"] == "Corrupted thought signature."


def test_sounds():
    speech = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}
    config = {"responseModalities": ["AUDIO"], "speechConfig": speech}

    body = plain({"generationConfig": config}, "gemini-2.5-flash-preview-tts")

    (part,) = parts_of(body)
    assert part["inlineData"]["mimeType"] == "audio/L16;codec=pcm;rate=24000"
    assert len(b64decode(part["inlineData"]["data"])) % 2 == 0
    details = body["usageMetadata"]["candidatesTokensDetails"]
    assert details[-1]["modality"] == "AUDIO"
    both = {"responseModalities": ["AUDIO", "TEXT"]}
    for provider in (STUDIO, VERTEX):
        asked_both = {"contents": HELLO, "generationConfig": both}
        assert refused(asked_both, "gemini-2.5-flash-preview-tts", provider)[0] == 400


# Other methods


def test_counting_tokens():
    contents = {"contents": [user({"text": "x" * 40}, inline("image/png"))]}
    whole = {"generateContentRequest": {"model": "models/m", **contents}}

    for body, provider in ((contents, STUDIO), (whole, STUDIO), (contents, VERTEX)):
        direct = read(body, OLD, "countTokens", provider)
        assert isinstance(direct, Direct)
        counted = orjson.loads(direct.body)
        assert (direct.status, counted["totalTokens"]) == (200, 268)
        assert [one["modality"] for one in counted["promptTokensDetails"]] == ["TEXT", "IMAGE"]
    assert refused({**whole, **contents}, OLD, STUDIO, "countTokens")[0] == 400


def embedded(body: Any, name: str, method: str, provider: str = STUDIO) -> dict[str, Any]:
    ask = read(body, name, method, provider)
    assert isinstance(ask, Ask), ask
    return orjson.loads(DIALECT.plain(provider, ask, answer(ask, Knobs(), stamp(ask))))


TEXT = {"parts": [{"text": "some words"}]}


def test_embeddings_on_ai_studio():
    one = embedded(
        {
            "content": TEXT,
            "taskType": "RETRIEVAL_DOCUMENT",
            "title": "t",
            "outputDimensionality": 3,
        },
        "gemini-embedding-001",
        "embedContent",
    )
    assert set(one) == {"embedding"}
    assert len(one["embedding"]["values"]) == 3

    request = {"model": "models/gemini-embedding-2", "content": TEXT}
    batch = embedded({"requests": [request]}, "gemini-embedding-2", "batchEmbedContents")
    assert len(batch["embeddings"]) == 1
    assert batch["usageMetadata"]["promptTokenCount"] == 3
    picture = {"content": {"parts": [inline("image/png")]}}
    assert embedded(picture, "gemini-embedding-2", "embedContent")["embedding"]["values"]


def test_embeddings_on_vertex():
    body = {
        "instances": [{"content": "some words", "task_type": "RETRIEVAL_QUERY"}, {"content": "b"}],
        "parameters": {"outputDimensionality": 3, "autoTruncate": True},
    }

    first, second = embedded(body, "text-embedding-005", "predict", VERTEX)["predictions"]

    assert len(first["embeddings"]["values"]) == 3
    assert first["embeddings"]["statistics"] == {"truncated": False, "token_count": 3}
    assert first["embeddings"]["values"] != second["embeddings"]["values"]
    config = {"content": TEXT, "embedContentConfig": {"outputDimensionality": 4}}
    other = embedded(config, "gemini-embedding-2", "embedContent", VERTEX)
    assert len(other["embedding"]["values"]) == 4
    assert other["usageMetadata"]["promptTokensDetails"][0]["modality"] == "TEXT"
    requests = {"requests": [config, config]}
    batch = embedded(requests, "gemini-embedding-001", "batchEmbedContents", VERTEX)
    assert [len(one["values"]) for one in batch["embeddings"]] == [4, 4]


@pytest.mark.parametrize(
    ("method", "body", "name", "provider"),
    [
        ("embedContent", {}, "gemini-embedding-001", STUDIO),
        ("embedContent", {"content": {"parts": [{"text": ""}]}}, "gemini-embedding-001", STUDIO),
        ("embedContent", {"content": {"parts": [inline("image/png")]}}, "text-embedding", STUDIO),
        ("embedContent", {"content": TEXT, "title": "t"}, "gemini-embedding-001", STUDIO),
        ("embedContent", {"content": TEXT, "taskType": "X"}, "gemini-embedding-001", STUDIO),
        ("embedContent", {"content": TEXT, "model": "x"}, "gemini-embedding-001", STUDIO),
        ("embedContent", {"content": TEXT, "input": "x"}, "gemini-embedding-001", STUDIO),
        (
            "embedContent",
            {"content": TEXT, "outputDimensionality": 4000},
            "gemini-embedding-001",
            STUDIO,
        ),
        ("batchEmbedContents", {}, "gemini-embedding-001", STUDIO),
        ("batchEmbedContents", {"requests": [{"content": TEXT}]}, "gemini-embedding-001", STUDIO),
        (
            "batchEmbedContents",
            {"requests": [{"model": "models/gemini-embedding-001", "content": TEXT}] * 101},
            "gemini-embedding-001",
            STUDIO,
        ),
        (
            "batchEmbedContents",
            {
                "requests": [
                    {"model": "models/text-embedding", "content": TEXT, "outputDimensionality": n}
                    for n in (3, 4)
                ]
            },
            "text-embedding",
            STUDIO,
        ),
        ("predict", {}, "text-embedding-005", VERTEX),
        ("predict", {"instances": ["x"]}, "text-embedding-005", VERTEX),
        ("predict", {"instances": [{"content": ""}]}, "text-embedding-005", VERTEX),
        ("predict", {"instances": [{"content": "x", "text": "y"}]}, "text-embedding-005", VERTEX),
        ("predict", {"instances": [{"content": "x"}] * 251}, "text-embedding-005", VERTEX),
        (
            "predict",
            {"instances": [{"content": "x"}], "parameters": {"dimensions": 3}},
            "text-embedding-005",
            VERTEX,
        ),
        ("predict", {"instances": [{"content": "x"}]}, "gemini-embedding-2", VERTEX),
    ],
)
def test_embeddings_that_are_refused(method: str, body: Any, name: str, provider: str):
    assert refused(body, name, provider, method)[0] == 400


@pytest.mark.parametrize(
    ("name", "method"), [(OLD, "embedContent"), ("gemini-embedding-001", "generateContent")]
)
def test_models_do_what_they_can(name: str, method: str):
    status, error = refused({}, name, STUDIO, method)

    assert (status, error["status"]) == (404, "NOT_FOUND")


# Paths and credentials


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models",
        "/v1beta/models/m:generate",
        "/v1beta/models/m:predict",
        "/v1/chat/completions",
        "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict",
        "/v1/projects/p/locations/l/publishers/google/models/m:generate",
    ],
)
def test_other_paths_are_not_claimed(path: str):
    assert not DIALECT.claims(path)


@pytest.mark.parametrize(
    ("provider", "headers", "query", "status"),
    [
        (STUDIO, {}, "", 403),
        (STUDIO, {"authorization": "Bearer k"}, "", 401),
        (STUDIO, {}, "?key=k", None),
        (STUDIO, {"x-goog-api-key": "k"}, "", None),
        (VERTEX, {}, "", 401),
        (VERTEX, {"x-goog-api-key": "k"}, "", 401),
        (VERTEX, {"authorization": "Bearer ya29.made-up"}, "", 401),
        (VERTEX, {"authorization": f"Bearer {issue(now_seconds())}"}, "", None),
    ],
)
def test_credentials(provider: str, headers: dict[str, str], query: str, status: int | None):
    path = path_of(OLD, "generateContent", provider)

    got = DIALECT.read(provider, path, sent({"contents": HELLO}, path + query, headers))

    assert (got.status if isinstance(got, Direct) else None) == status


def test_methods_and_parameters():
    path = path_of(OLD, "generateContent")
    get = Request(
        method="GET", target=path, headers={"x-goog-api-key": "k"}, body=b"", keep_alive=True
    )
    direct = DIALECT.read(STUDIO, path, get)

    assert isinstance(direct, Direct)
    assert direct.status == 404
    wrong = read({"contents": HELLO}, OLD, "generateContent", query="?stream=true")
    assert isinstance(wrong, Direct)
    assert "Cannot bind query parameter" in orjson.loads(wrong.body)["error"]["message"]
    unknown = DIALECT.read(STUDIO, "/x", get)
    assert isinstance(unknown, Direct)
    assert unknown.status == 404


# Faults


@pytest.mark.parametrize(
    ("failure", "studio", "vertex", "name"),
    [
        (Failure.RATE_LIMITED, 429, 429, "RESOURCE_EXHAUSTED"),
        (Failure.BROKEN, 500, 500, "INTERNAL"),
        (Failure.OVERLOADED, 503, 503, "UNAVAILABLE"),
        (Failure.UNAUTHORIZED, 400, 401, None),
        (Failure.UNPAID, 403, 403, "PERMISSION_DENIED"),
        (Failure.FORBIDDEN, 403, 403, "PERMISSION_DENIED"),
        (Failure.CONTEXT, 400, 400, "INVALID_ARGUMENT"),
    ],
)
def test_failures(failure: Failure, studio: int, vertex: int, name: str | None):
    for provider, status in ((STUDIO, studio), (VERTEX, vertex)):
        direct = DIALECT.failure(provider, failure)
        error = orjson.loads(direct.body)["error"]
        assert (direct.status, error["code"]) == (status, status)
        assert name is None or error["status"] == name
        event = DIALECT.failure_event(provider, failure)
        assert b"\n" not in event.data
        assert orjson.loads(event.data) == {"error": error}


def test_a_wrong_key_and_a_full_quota_are_told_by_their_details():
    key = orjson.loads(DIALECT.failure(STUDIO, Failure.UNAUTHORIZED).body)["error"]
    quota = orjson.loads(DIALECT.failure(STUDIO, Failure.RATE_LIMITED).body)["error"]

    assert key["details"][0]["reason"] == "API_KEY_INVALID"
    assert quota["details"][-1] == {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": "17s",
    }


def test_a_blocked_prompt_is_a_200_without_candidates():
    direct = DIALECT.failure(STUDIO, Failure.FILTERED)

    body = orjson.loads(direct.body)
    assert direct.status == 200
    assert "candidates" not in body
    assert body["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"


def played(fault: str, *, streams: bool, provider: str = STUDIO) -> Script:
    method = "streamGenerateContent" if streams else "generateContent"
    ask = asked({}, NEW, method, provider)
    said = answer(ask, Knobs(), stamp(ask))
    scene = Scene(
        dialect=DIALECT,
        provider=provider,
        ask=ask,
        answer=said,
        knobs=Knobs(),
        fault=parse_fault(fault),
    )
    return compose(scene)


def data_lines(script: Script) -> list[dict[str, Any]]:
    raw = b"".join(step.data for step in script.steps)
    lines = [line for line in raw.split(b"\r\n") if line.startswith(b"data: ")]
    return [orjson.loads(line.removeprefix(b"data: ").strip()) for line in lines]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("fault", list(KINDS))
def test_every_fault_can_be_played(fault: str, streams: bool):
    for provider in (STUDIO, VERTEX):
        script = played(fault, streams=streams, provider=provider)
        assert script.steps or fault in ("reset", "silence")


def plain_body(fault: str) -> dict[str, Any]:
    data = b"".join(step.data for step in played(fault, streams=False).steps)
    body: dict[str, Any] = orjson.loads(data.partition(b"\r\n\r\n")[2])
    return body


def test_refusals_have_no_content():
    candidate = plain_body("refusal")["candidates"][0]
    (chunk,) = data_lines(played("refusal", streams=True))

    assert candidate["finishReason"] == "SAFETY"
    assert "content" not in candidate
    assert candidate["safetyRatings"][0]["blocked"] is True
    assert chunk["candidates"][0] == candidate


def test_a_filter_cuts_in_with_safety():
    candidate = plain_body("content_filter")["candidates"][0]
    *chunks, last = data_lines(played("content_filter", streams=True))

    assert candidate["finishReason"] == "SAFETY"
    assert candidate["content"]["parts"][0]["text"]
    assert chunks
    assert last["candidates"][0]["finishReason"] == "SAFETY"
    assert "content" not in last["candidates"][0]


def test_no_usage_anywhere():
    assert "usageMetadata" not in plain_body("no_usage")
    assert all("usageMetadata" not in chunk for chunk in data_lines(played("no_usage", streams=1)))


@pytest.mark.parametrize("kind", ["negative", "huge", "string", "float"])
def test_absurd_usage_is_passed_on(kind: str):
    fault = f"absurd_usage:{kind}"

    usage = data_lines(played(fault, streams=True))[-1]["usageMetadata"]

    assert usage == plain_body(fault)["usageMetadata"]
    assert usage["totalTokenCount"] in (-12, 2 * 10**15, "n/a", 19.75)


def test_no_finish_and_nothing_at_all():
    chunks = data_lines(played("no_finish", streams=True))
    (blank,) = data_lines(played("null_finish_zero", streams=True))

    assert all("finishReason" not in chunk["candidates"][0] for chunk in chunks)
    assert "finishReason" not in blank["candidates"][0]
    assert "candidatesTokenCount" not in blank["usageMetadata"]
    assert "finishReason" not in plain_body("null_finish_zero")["candidates"][0]


def test_an_error_in_a_stream_is_the_last_event():
    *chunks, last = data_lines(played("error_mid:2", streams=True))

    assert len(chunks) == 2
    assert last["error"]["status"] == "INTERNAL"
    (only,) = data_lines(played("error_200", streams=True))
    assert only["error"]["code"] == 500
