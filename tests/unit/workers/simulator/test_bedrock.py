"""Amazon Bedrock: checked with Amazon's own signer, event stream parser and service model."""

import base64
from typing import Any
from urllib.parse import quote

import botocore.session
import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer
from botocore.validate import ParamValidator

from workers.simulator.answers import Stamp, answer
from workers.simulator.bedrock import BedrockDialect
from workers.simulator.bedrock_auth import ACCESS_KEY, SECRET_KEY
from workers.simulator.dialect import Ask, Direct, Failure
from workers.simulator.exchange import Simulator
from workers.simulator.faults import KINDS
from workers.simulator.knobs import Knobs
from workers.simulator.media import png
from workers.simulator.script import Ending
from workers.simulator.text import digest
from workers.simulator.wire import Request

DIALECT = BedrockDialect()
CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
PREFIX = "/p/amazon-bedrock"
HOST = "127.0.0.1:8099"
HELLO = [{"role": "user", "content": [{"text": "hello"}]}]
WEATHER = {
    "toolSpec": {
        "name": "get_weather",
        "description": "The weather",
        "inputSchema": {
            "json": {
                "type": "object",
                "properties": {"location": {"type": "string"}},
                "required": ["location"],
            }
        },
    }
}
TOOLS = {"toolConfig": {"tools": [WEATHER]}}
THINKING = {
    "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}
}
MODEL = botocore.session.get_session().get_service_model("bedrock-runtime")
PNG = base64.b64encode(png("1:1", 7)).decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()


def target(model: str = CLAUDE, *, stream: bool = False) -> str:
    return f"{PREFIX}/model/{quote(model, safe='')}/converse{'-stream' if stream else ''}"


def signed(
    data: bytes,
    path: str,
    *,
    credentials: tuple[str, str] = (ACCESS_KEY, SECRET_KEY),
    service: str = "bedrock",
) -> Request:
    request = AWSRequest(
        method="POST",
        url=f"http://{HOST}{path}",
        data=data,
        headers={"Content-Type": "application/json"},
    )
    SigV4Auth(Credentials(*credentials), service, "us-east-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Request(
        method="POST",
        target=path,
        headers={**headers, "host": HOST},
        body=data,
        keep_alive=True,
    )


def with_key(body: Any, path: str = "", *, key: str = "Bearer k") -> Request:
    headers = {"authorization": key, "content-type": "application/json"}
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Request(
        method="POST", target=path or target(), headers=headers, body=data, keep_alive=True
    )


def read(body: Any, *, stream: bool = False, model: str = CLAUDE) -> Ask | Direct:
    path = f"/model/{model}/converse{'-stream' if stream else ''}"
    return DIALECT.read("amazon-bedrock", path, with_key({"messages": HELLO, **body}))


def accepted(body: Any, **options: Any) -> Ask:
    ask = read(body, **options)
    assert isinstance(ask, Ask), ask
    return ask


def refused(body: Any, **options: Any) -> str:
    direct = read(body, **options)
    assert isinstance(direct, Direct)
    assert direct.status == 400
    assert direct.headers["x-amzn-errortype"].partition(":")[0] in (
        "ValidationException",
        "SerializationException",
    )
    message = orjson.loads(direct.body)["message"]
    assert isinstance(message, str)
    return message


def said(ask: Ask) -> Any:
    stamp = Stamp(serial=1, created=1000, body_sha256=digest(ask.said.encode()))
    return answer(ask, Knobs(), stamp)


def plain(body: Any, **options: Any) -> dict[str, Any]:
    ask = accepted(body, **options)
    rendered: dict[str, Any] = orjson.loads(DIALECT.plain("amazon-bedrock", ask, said(ask)))
    shape = MODEL.operation_model("Converse").output_shape
    report = ParamValidator().validate(rendered, shape)
    assert not report.has_errors(), report.generate_report()
    return rendered


def parsed(data: bytes) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(event.headers, orjson.loads(event.payload)) for event in buffer]


def stream(body: Any, **options: Any) -> list[tuple[str, dict[str, Any]]]:
    ask = accepted(body, stream=True, **options)
    events = DIALECT.events("amazon-bedrock", ask, said(ask))
    messages = parsed(b"".join(DIALECT.frame(event) for event in events))
    shapes = MODEL.operation_model("ConverseStream").output_shape.members["stream"].members
    for headers, payload in messages:
        assert headers[":message-type"] == "event"
        assert headers[":content-type"] == "application/json"
        assert payload.pop("p")
        report = ParamValidator().validate(payload, shapes[headers[":event-type"]])
        assert not report.has_errors(), report.generate_report()
    return [(headers[":event-type"], payload) for headers, payload in messages]


# Who may call


@pytest.mark.parametrize(
    "model",
    [
        CLAUDE,
        "us.anthropic.claude-opus-4-1-20250805-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0",
    ],
)
def test_amazons_own_signature_is_accepted(model: str):
    path = target(model)

    exchange = simulator().receive(signed(orjson.dumps({"messages": HELLO}), path), "127.0.0.1")

    assert exchange.call is not None
    assert (exchange.call.status, exchange.call.model) == (200, model)


def tampered(request: Request, **changes: str) -> Request:
    headers = {**request.headers, **{k.replace("_", "-"): v for k, v in changes.items()}}
    return Request(
        method="POST",
        target=request.target,
        headers=headers,
        body=request.body,
        keep_alive=True,
    )


DATA = orjson.dumps({"messages": HELLO})


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        pytest.param(
            signed(DATA, target(), credentials=(ACCESS_KEY, "wrong")),
            403,
            "InvalidSignatureException",
            id="wrong secret",
        ),
        pytest.param(
            signed(DATA, target(), credentials=("AKIASOMEONEELSE00000", SECRET_KEY)),
            403,
            "UnrecognizedClientException",
            id="unknown key",
        ),
        pytest.param(
            signed(DATA, target(), service="bedrock-runtime"),
            403,
            "InvalidSignatureException",
            id="wrong service",
        ),
        pytest.param(
            tampered(signed(DATA, target()), host="elsewhere"),
            403,
            "InvalidSignatureException",
            id="another host",
        ),
        pytest.param(
            tampered(signed(DATA, target()), x_amz_target="x"),
            403,
            "InvalidSignatureException",
            id="an unsigned header",
        ),
        pytest.param(
            tampered(signed(DATA, target()), x_amz_date="20200101T000000Z"),
            403,
            "InvalidSignatureException",
            id="another day",
        ),
        pytest.param(
            tampered(signed(DATA, target()), authorization="AWS4-HMAC-SHA256 Credential=x"),
            400,
            "IncompleteSignatureException",
            id="half a header",
        ),
        pytest.param(
            with_key(DATA, key=""), 403, "MissingAuthenticationTokenException", id="nothing"
        ),
        pytest.param(with_key(DATA, key="Bearer "), 403, "AccessDeniedException", id="empty key"),
    ],
)
def test_who_is_denied(request_: Request, status: int, kind: str):
    direct = DIALECT.read("amazon-bedrock", f"/model/{CLAUDE}/converse", request_)

    assert isinstance(direct, Direct)
    assert direct.status == status
    assert direct.headers["x-amzn-errortype"].startswith(f"{kind}:")
    assert orjson.loads(direct.body)["message"]


def test_a_changed_body_breaks_the_signature():
    request = signed(DATA, target())
    changed = Request(
        method="POST",
        target=request.target,
        headers=request.headers,
        body=DATA + b" ",
        keep_alive=True,
    )

    direct = DIALECT.read("amazon-bedrock", f"/model/{CLAUDE}/converse", changed)

    assert isinstance(direct, Direct)
    assert direct.status == 403


def test_the_path_is_signed_as_it_stands():
    """A client that signs the model id decoded, or encoded only once, is refused."""
    request = signed(DATA, f"{PREFIX}/model/{CLAUDE}/converse")
    moved = Request(
        method="POST", target=target(), headers=request.headers, body=DATA, keep_alive=True
    )

    direct = DIALECT.read("amazon-bedrock", f"/model/{CLAUDE}/converse", moved)

    assert isinstance(direct, Direct)
    assert direct.status == 403


# Answers


def test_plain_answer():
    body = plain({})

    assert body["output"]["message"]["role"] == "assistant"
    assert "hello" in body["output"]["message"]["content"][0]["text"]
    assert body["stopReason"] == "end_turn"
    usage = body["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]


def test_stream_says_the_same():
    events = stream({})

    names = [name for name, _ in events]
    assert names[0] == "messageStart"
    assert names[-3:] == ["contentBlockStop", "messageStop", "metadata"]
    assert "contentBlockStart" not in names
    text = "".join(
        payload["delta"]["text"] for name, payload in events if name == "contentBlockDelta"
    )
    assert text == plain({})["output"]["message"]["content"][0]["text"]
    assert events[-1][1]["usage"] == plain({})["usage"]


def test_tool_calls():
    body = {**TOOLS, "messages": [{"role": "user", "content": [{"text": "the weather?"}]}]}

    (block,) = plain(body)["output"]["message"]["content"]
    events = stream(body)

    assert plain(body)["stopReason"] == "tool_use"
    assert block["toolUse"]["input"] == {"location": "Paris, France"}
    starts = [payload for name, payload in events if name == "contentBlockStart"]
    assert [start["start"]["toolUse"]["name"] for start in starts] == ["get_weather"]
    fragments = [
        payload["delta"]["toolUse"]["input"]
        for name, payload in events
        if name == "contentBlockDelta"
    ]
    assert orjson.loads("".join(fragments)) == {"location": "Paris, France"}


@pytest.mark.parametrize(
    ("choice", "called"), [({"auto": {}}, 0), ({"any": {}}, 1), ({"tool": {"name": "b"}}, 1)]
)
def test_tool_choice(choice: dict[str, Any], called: int):
    other = {"toolSpec": {**WEATHER["toolSpec"], "name": "b"}}
    body = {"toolConfig": {"tools": [WEATHER, other], "toolChoice": choice}}

    calls = accepted(body).calls

    assert len(calls) == called
    if "tool" in choice:
        assert calls[0].name == "b"


def test_thoughts_are_signed_and_checked_when_they_come_back():
    asked = {**THINKING, **TOOLS, "messages": weather_turn()}
    content = plain(asked)["output"]["message"]["content"]
    events = stream(asked)

    thought = content[0]["reasoningContent"]["reasoningText"]
    deltas = [payload["delta"] for name, payload in events if name == "contentBlockDelta"]
    reasoning = [delta["reasoningContent"] for delta in deltas if "reasoningContent" in delta]
    assert "".join(part.get("text", "") for part in reasoning) == thought["text"]
    assert reasoning[-1] == {"signature": thought["signature"]}

    tag = content[1]["toolUse"]["toolUseId"]
    result = {"toolUseId": tag, "content": [{"text": "sunny"}], "status": "success"}
    messages = [
        *weather_turn(),
        {"role": "assistant", "content": content},
        {"role": "user", "content": [{"toolResult": result}]},
    ]
    ask = accepted({**THINKING, **TOOLS, "messages": messages})
    assert ask.tool_results == ("sunny",)
    assert "The tool returned: sunny." in said(ask).choices[0].pieces[0]
    without = [messages[0], {"role": "assistant", "content": content[1:]}, messages[2]]
    assert "Expected `thinking`" in refused({**THINKING, **TOOLS, "messages": without})
    thought["text"] += "!"
    assert "signature" in refused({**THINKING, **TOOLS, "messages": messages})
    del thought["signature"]
    assert "signature" in refused({**THINKING, **TOOLS, "messages": messages})


def weather_turn() -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": "the weather?"}]}]


def test_media_are_seen():
    content = [
        {"text": "look"},
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"document": {"format": "pdf", "name": "file-1", "source": {"bytes": PDF}}},
        {"video": {"format": "mp4", "source": {"bytes": PDF}}},
    ]

    ask = accepted({"messages": [{"role": "user", "content": content}]})

    assert ask.media == ("image/png", "application/pdf", "video/mp4")


def test_cache_points_write_first_and_read_later():
    system = [{"text": "x" * 8000}, {"cachePoint": {"type": "default"}}]
    played = simulator()

    def usage() -> dict[str, int]:
        body = {"messages": HELLO, "system": system}
        script = played.receive(with_key(body), "127.0.0.1").script
        head_and_body = b"".join(step.data for step in script.steps)
        counts: dict[str, int] = orjson.loads(head_and_body.partition(b"\r\n\r\n")[2])["usage"]
        return counts

    first, second = usage(), usage()

    assert first["cacheWriteInputTokens"] == second["cacheReadInputTokens"] == 2000
    assert first["cacheReadInputTokens"] == second["cacheWriteInputTokens"] == 0
    assert first["inputTokens"] == second["inputTokens"] < 100
    assert first["totalTokens"] == first["inputTokens"] + first["outputTokens"] + 2000


@pytest.mark.parametrize(
    ("config", "reason"),
    [({"maxTokens": 3}, "max_tokens"), ({"stopSequences": ["Pointsman"]}, "stop_sequence")],
)
def test_stop_reasons(config: dict[str, Any], reason: str):
    assert plain({"inferenceConfig": config})["stopReason"] == reason


def test_structured_output():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    form = {
        "type": "json_schema",
        "structure": {"jsonSchema": {"schema": orjson.dumps(schema).decode(), "name": "s"}},
    }

    body = plain({"outputConfig": {"textFormat": form}})

    text = body["output"]["message"]["content"][0]["text"]
    assert orjson.loads(text) == {"city": "Paris"}


# What is refused


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def document(name: str = "a", **changes: Any) -> dict[str, Any]:
    return {"document": {"format": "pdf", "name": name, "source": {"bytes": PDF}, **changes}}


CALL = {
    "role": "assistant",
    "content": [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {}}}],
}
RESULT = {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": []}}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"messages": []}, "'messages'", id="no messages"),
        pytest.param({"max_tokens": 5}, "extraneous key [max_tokens]", id="another dialect"),
        pytest.param({"inferenceConfig": {"temperature": 1.5}}, "less than or equal", id="hot"),
        pytest.param({"inferenceConfig": {"maxTokens": 0}}, "greater than", id="no tokens"),
        pytest.param({"inferenceConfig": {"maxTokens": "5"}}, "STRING_VALUE", id="text"),
        pytest.param({"inferenceConfig": {"maxTokens": 1.5}}, "DECIMAL_VALUE", id="decimal"),
        pytest.param({"messages": [HELLO[0], HELLO[0]]}, "alternate", id="two users"),
        pytest.param(
            {"messages": [{"role": "assistant", "content": [{"text": "x"}]}]},
            "start with a user",
            id="assistant first",
        ),
        pytest.param(
            {"messages": [{"role": "system", "content": [{"text": "x"}]}]},
            "enum value set: [user, assistant]",
            id="a role elsewhere",
        ),
        pytest.param(user(), "is empty", id="no content"),
        pytest.param({"messages": [{"role": "user", "content": "x"}]}, "type", id="a string"),
        pytest.param(user({"text": " "}), "blank", id="blank text"),
        pytest.param(user({"text": "a", "image": {}}), "must set one of", id="two members"),
        pytest.param(user({"type": "text"}), "must set one of", id="another dialect's block"),
        pytest.param(
            user({"image": {"format": "png", "source": {"bytes": "???"}}}),
            "base64",
            id="no base64",
        ),
        pytest.param(
            user({"image": {"format": "bmp", "source": {"bytes": PNG}}}), "enum", id="bmp"
        ),
        pytest.param(user({"image": {"source": {"bytes": PNG}}}), "format", id="no format"),
        pytest.param(user(document("my_file.pdf")), "file name", id="a file name"),
        pytest.param(user(document("a  b")), "file name", id="two spaces"),
        pytest.param(user(document(), document()), "Duplicate", id="one name twice"),
        pytest.param({**TOOLS, "messages": [*HELLO, CALL]}, "Expected toolResult", id="no result"),
        pytest.param(
            {**TOOLS, "messages": [*HELLO, CALL, *HELLO]}, "Expected toolResult", id="words instead"
        ),
        pytest.param(
            {**TOOLS, "messages": [RESULT]}, "exceeds the number", id="a result nobody asked for"
        ),
        pytest.param({"messages": [*HELLO, CALL, RESULT]}, "toolConfig field", id="no tools"),
        pytest.param({"toolConfig": {"tools": []}}, "greater than", id="empty tools"),
        pytest.param({"toolConfig": {"tools": [WEATHER, WEATHER]}}, "duplicate", id="twice"),
        pytest.param(
            {"toolConfig": {"tools": [WEATHER], "toolChoice": {"tool": {"name": "x"}}}},
            "is not in",
            id="an unknown choice",
        ),
        pytest.param(
            {"additionalModelRequestFields": {"thinking": {"type": "enabled"}}},
            "budget_tokens",
            id="no budget",
        ),
        pytest.param(
            {
                "additionalModelRequestFields": {
                    "thinking": {"type": "enabled", "budget_tokens": 1000}
                }
            },
            "1024",
            id="a small budget",
        ),
        pytest.param(
            {**THINKING, "inferenceConfig": {"maxTokens": 1024}}, "max_tokens", id="no room"
        ),
        pytest.param(
            {**THINKING, "inferenceConfig": {"temperature": 0.5}}, "temperature", id="cool thoughts"
        ),
        pytest.param(
            {**THINKING, "toolConfig": {"tools": [WEATHER], "toolChoice": {"any": {}}}},
            "forces tool use",
            id="forced tools",
        ),
        pytest.param(
            {"system": [{"cachePoint": {"type": "default"}}] * 5}, "cache points", id="five marks"
        ),
        pytest.param({"requestMetadata": {"a": "ü"}}, "pattern", id="metadata"),
        pytest.param({"performanceConfig": {"latency": "fast"}}, "enum", id="latency"),
    ],
)
def test_what_is_refused(body: dict[str, Any], words: str):
    assert words in refused(body)


@pytest.mark.parametrize("data", [b"{", b"[]"])
def test_broken_bodies(data: bytes):
    direct = DIALECT.read("amazon-bedrock", f"/model/{CLAUDE}/converse", with_key(data))

    assert isinstance(direct, Direct)
    assert direct.status == 400


def test_a_strange_model_id():
    assert "model identifier" in refused({}, model="gpt 4o")


# Faults


def simulator() -> Simulator:
    return Simulator(lambda: 0.0, lambda: 1000, dialects=(DIALECT,))


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_a_body_and_an_exception(failure: Failure):
    direct = DIALECT.failure("amazon-bedrock", failure)
    event = DIALECT.failure_event("amazon-bedrock", failure)

    (headers, payload) = parsed(DIALECT.frame(event))[0]
    members = MODEL.operation_model("ConverseStream").output_shape.members["stream"].members
    assert direct.headers["x-amzn-errortype"]
    assert payload == orjson.loads(direct.body)
    assert headers[":message-type"] == "exception"
    assert headers[":exception-type"] in members


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", KINDS)
def test_every_fault_can_be_played(fault: str, *, streamed: bool):
    path = target(stream=streamed).replace(PREFIX, f"{PREFIX}/f/{fault}")

    exchange = simulator().receive(with_key({"messages": HELLO}, path), "127.0.0.1")

    assert exchange.call is not None
    assert exchange.script.steps or exchange.script.ending is not Ending.KEEP


def body_of(fault: str) -> bytes:
    path = target(stream=True).replace(PREFIX, f"{PREFIX}/f/{fault}")
    steps = simulator().receive(with_key({"messages": HELLO}, path), "127.0.0.1").script.steps
    data = b"".join(step.data for step in steps)
    head, _, rest = data.partition(b"\r\n\r\n")
    assert b"application/vnd.amazon.eventstream" in head
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16)
        body += rest[:count]
        rest = rest[count + 2 :]
    return body


@pytest.mark.parametrize("fault", ["crlf", "comments", "bom", "no_space", "split_utf8"])
def test_faults_of_text_framing_leave_binary_alone(fault: str):
    names = [headers[":event-type"] for headers, _ in parsed(body_of(fault))]

    assert names[-1] == "metadata"


def test_an_error_in_the_middle_ends_the_stream():
    *_, (headers, payload) = parsed(body_of("error_mid:3"))

    assert headers[":exception-type"] == "internalServerException"
    assert payload["message"]


@pytest.mark.parametrize("fault", ["no_done", "no_finish"])
def test_a_stream_without_its_stop(fault: str):
    names = [headers[":event-type"] for headers, _ in parsed(body_of(fault))]

    assert "messageStop" not in names


def test_a_refusal():
    messages = parsed(body_of("refusal"))

    stops = [payload for headers, payload in messages if "stopReason" in payload]
    assert stops[0]["stopReason"] == "content_filtered"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"thinking": {"type": "on"}}, "expected tags"),
        ({"output_config": "high"}, "dictionary"),
        ({"output_config": {"effort": "extreme"}}, "effort"),
    ],
)
def test_fields_of_the_model_are_checked(extra: dict[str, Any], words: str):
    assert words in refused({"additionalModelRequestFields": extra})


def test_newer_claudes_take_one_of_two():
    body = {"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}

    accepted(body)
    assert "cannot both" in refused(body, model="us.anthropic.claude-sonnet-4-5-20250929-v1:0")


@pytest.mark.parametrize(
    ("thinking", "thinks"),
    [({"type": "disabled"}, False), ({"type": "adaptive"}, True), (None, False)],
)
def test_the_switch_for_thinking(thinking: dict[str, str] | None, *, thinks: bool):
    extra = {"additionalModelRequestFields": {"thinking": thinking}} if thinking else {}

    assert accepted(extra).reasoning is thinks


def test_other_methods_and_types_are_refused():
    got = Request(method="GET", target=target(), headers={}, body=b"", keep_alive=True)
    text = Request(
        method="POST",
        target=target(),
        headers={"authorization": "Bearer k", "content-type": "text/plain"},
        body=DATA,
        keep_alive=True,
    )

    for request_, status in ((got, 405), (text, 400)):
        direct = DIALECT.read("amazon-bedrock", f"/model/{CLAUDE}/converse", request_)
        assert isinstance(direct, Direct)
        assert direct.status == status
