"""Media, tool results and schemas that are wrong: each inbound API says so in its own terms.

A refusal is a 400 in the form of the API that was called, its message begins with the path of the
field as that API has it and says what to send instead, and no provider is called.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import httpx
import pytest

from tests.contract.samples import MP4, PDF, PNG, PNG_URL, WAV, data_url, encoded
from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

MODEL = "google/gemini-2.5-flash"
#: Far longer than reading any of these takes; a refusal must not cost a front door its time.
REFUSED_WITHIN_S = 5
SCHEMA_BYTES = 5 * 1024 * 1024
TOOLS_MANY = 10_000
BROKEN = "iVBORw0KGgo*"
CUT = encoded(PNG)[:-3]


@dataclass(frozen=True)
class Api:
    """An inbound API: how it is asked, and how it says no."""

    path: str

    def body(self, marker, items=(), **fields):
        """A request whose conversation is one sentence and these items."""
        if self.path == "/responses":
            said = [{"role": "user", "content": f"Hello {marker}"}, *items]
            return {"model": MODEL, "input": said, **fields}
        said = [{"role": "user", "content": f"Hello {marker}"}, *items]
        return {"model": MODEL, "messages": said, "max_tokens": 2048, **fields}

    def assert_form(self, answer):
        """The envelope of this API; its message."""
        assert answer.status_code == httpx.codes.BAD_REQUEST, answer.text[:500]
        found = answer.json()
        if self.path == "/messages":
            assert found["type"] == "error"
            assert found["error"]["type"] == "invalid_request_error"
            assert found["request_id"]
        elif self.path == "/responses":
            assert "metadata" in found or "code" in found["error"]
        else:
            assert found["error"]["code"] == httpx.codes.BAD_REQUEST
        return found["error"]["message"]


CHAT, RESPONSES, MESSAGES = Api("/chat/completions"), Api("/responses"), Api("/messages")
APIS = (CHAT, RESPONSES, MESSAGES)


@pytest.fixture
def refused(sandbox):
    """Asks, and checks that the answer is a refusal that begins with `path` and tells the `fix`."""

    def ask(api, body, path, fix="must"):
        marker = body.pop("marker")
        started = time.monotonic()
        message = api.assert_form(sandbox.post(api.path, body))

        assert time.monotonic() - started < REFUSED_WITHIN_S
        assert message.startswith(path), message
        # Not a longer path, which would name another field.
        assert message[len(path) :][:1] in {":", " ", "."}, message
        assert fix in message, message
        assert len(message) < 2_000
        assert sandbox.upstream(marker) == []
        return message

    return ask


def asked(api, items=(), **fields):
    """A body, with the marker its upstream calls would have."""
    marker = new_marker()
    return api.body(marker, items, **fields) | {"marker": marker}


def user(*parts):
    return {"role": "user", "content": list(parts)}


def image_url(url):
    return {"type": "image_url", "image_url": {"url": url}}


def input_image(url):
    return {"type": "input_image", "image_url": url}


def base64_block(kind, media_type, data):
    source = {"type": "base64", "media_type": media_type, "data": data}
    return {"type": kind, "source": source}


# Parts


@pytest.mark.parametrize(
    ("api", "part", "path"),
    [
        (CHAT, {"type": "picture", "url": "x"}, "messages[1].content[0]"),
        (CHAT, {"type": "input_image", "image_url": PNG_URL}, "messages[1].content[0]"),
        (CHAT, {"text": "no type"}, "messages[1].content[0]"),
        (CHAT, "bare text", "messages[1].content[0]"),
        (RESPONSES, {"type": "picture", "url": "x"}, "input[1].content[0]"),
        (RESPONSES, image_url(PNG_URL), "input[1].content[0]"),
        (RESPONSES, {"text": "no type"}, "input[1].content[0]"),
        (MESSAGES, {"type": "picture", "url": "x"}, "messages[1].content[0]"),
        (MESSAGES, image_url(PNG_URL), "messages[1].content[0]"),
        (MESSAGES, {"text": "no type"}, "messages[1].content[0]"),
    ],
)
def test_wrong_part_type(refused, api, part, path):
    message = refused(api, asked(api, [user(part)]), path, "type")

    assert "text" in message


@pytest.mark.parametrize(
    ("api", "part", "path"),
    [
        (CHAT, {"type": "image_url"}, "messages[1].content[0].image_url"),
        (CHAT, {"type": "image_url", "image_url": "x"}, "messages[1].content[0].image_url"),
        (CHAT, {"type": "file", "file": {}}, "messages[1].content[0].file"),
        (
            CHAT,
            {"type": "input_audio", "input_audio": {"data": encoded(WAV)}},
            "messages[1].content[0].input_audio.format",
        ),
        (RESPONSES, {"type": "input_image"}, "input[1].content[0].image_url"),
        (RESPONSES, {"type": "input_file"}, "input[1].content[0]"),
        (MESSAGES, {"type": "image"}, "messages[1].content[0].source"),
        (
            MESSAGES,
            {"type": "image", "source": {"type": "base64", "data": encoded(PNG)}},
            "messages[1].content[0].source.media_type",
        ),
    ],
)
def test_incomplete_part(refused, api, part, path):
    refused(api, asked(api, [user(part)]), path, "")


@pytest.mark.parametrize("data", [BROKEN, CUT, "", "not base64 at all", "ünïcode"])
@pytest.mark.parametrize(
    ("api", "part", "path"),
    [
        (
            CHAT,
            lambda data: image_url(f"data:image/png;base64,{data}"),
            "messages[1].content[1].image_url.url",
        ),
        (
            CHAT,
            lambda data: {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
            "messages[1].content[1].input_audio.data",
        ),
        (
            CHAT,
            lambda data: {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"},
            },
            "messages[1].content[1].file.file_data",
        ),
        (
            CHAT,
            lambda data: {
                "type": "video_url",
                "video_url": {"url": f"data:video/mp4;base64,{data}"},
            },
            "messages[1].content[1].video_url.url",
        ),
        (
            RESPONSES,
            lambda data: input_image(f"data:image/png;base64,{data}"),
            "input[1].content[1].image_url",
        ),
        (
            RESPONSES,
            lambda data: {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": f"data:application/pdf;base64,{data}",
            },
            "input[1].content[1].file_data",
        ),
        (
            MESSAGES,
            lambda data: base64_block("image", "image/png", data),
            "messages[1].content[1].source.data",
        ),
        (
            MESSAGES,
            lambda data: base64_block("document", "application/pdf", data),
            "messages[1].content[1].source.data",
        ),
    ],
)
def test_broken_base64(refused, api, part, path, data):
    kind = "input_text" if api is RESPONSES else "text"
    text = {"type": kind, "text": "What is this?"}

    refused(api, asked(api, [user(text, part(data))]), path)


@pytest.mark.parametrize(
    ("api", "part", "path", "fix"),
    [
        (
            CHAT,
            image_url(data_url("image/jpeg", PNG)),
            "messages[1].content[0].image_url.url",
            "image/png",
        ),
        (
            CHAT,
            image_url(data_url("image/png", PDF)),
            "messages[1].content[0].image_url.url",
            "application/pdf",
        ),
        (
            CHAT,
            image_url(data_url("text/html", b"<script>")),
            "messages[1].content[0].image_url.url",
            "data:image/(png|jpeg|webp|gif);base64,",
        ),
        (
            CHAT,
            image_url("ftp://example.com/a.png"),
            "messages[1].content[0].image_url.url",
            "http(s)",
        ),
        (
            CHAT,
            image_url("file:///etc/passwd"),
            "messages[1].content[0].image_url.url",
            "http(s)",
        ),
        (
            CHAT,
            {"type": "file", "file": {"file_data": data_url("application/pdf", PNG)}},
            "messages[1].content[0].file.file_data",
            "image/png",
        ),
        (
            CHAT,
            {"type": "video_url", "video_url": {"url": data_url("video/mp4", PNG)}},
            "messages[1].content[0].video_url.url",
            "image/png",
        ),
        (
            CHAT,
            {
                "type": "input_audio",
                "input_audio": {"data": data_url("audio/wav", WAV), "format": "wav"},
            },
            "messages[1].content[0].input_audio.data",
            "without a data: prefix",
        ),
        (
            CHAT,
            {"type": "input_audio", "input_audio": {"data": encoded(WAV), "format": "midi"}},
            "messages[1].content[0].input_audio.format",
            "'wav'",
        ),
        (
            RESPONSES,
            input_image(data_url("image/jpeg", PNG)),
            "input[1].content[0].image_url",
            "image/png",
        ),
        (
            RESPONSES,
            input_image("file:///etc/passwd"),
            "input[1].content[0].image_url",
            "http(s)",
        ),
        (
            RESPONSES,
            {"type": "input_file", "file_data": data_url("application/pdf", MP4)},
            "input[1].content[0].file_data",
            "video/mp4",
        ),
        (
            MESSAGES,
            base64_block("image", "image/jpeg", encoded(PNG)),
            "messages[1].content[0].source.data",
            "image/png",
        ),
        (
            MESSAGES,
            base64_block("image", "image/tiff", encoded(PNG)),
            "messages[1].content[0].source.media_type",
            "'image/png'",
        ),
        (
            MESSAGES,
            base64_block("document", "application/pdf", encoded(PNG)),
            "messages[1].content[0].source.data",
            "image/png",
        ),
        (
            MESSAGES,
            base64_block("image", "image/png", PNG_URL),
            "messages[1].content[0].source.data",
            "without a data: prefix",
        ),
        (
            MESSAGES,
            {"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}},
            "messages[1].content[0].source.url",
            "http(s)",
        ),
    ],
)
def test_media_that_is_not_what_it_says(refused, api, part, path, fix):
    refused(api, asked(api, [user(part)]), path, fix)


@pytest.mark.parametrize(
    ("api", "role"),
    # An assistant of Chat Completions may have shown pictures.
    [(CHAT, "system"), *((api, role) for api in APIS[1:] for role in ("assistant", "system"))],
)
def test_media_in_the_wrong_role(refused, api, role):
    part = {
        CHAT: image_url(PNG_URL),
        RESPONSES: input_image(PNG_URL),
        MESSAGES: base64_block("image", "image/png", encoded(PNG)),
    }[api]
    where = "input" if api is RESPONSES else "messages"

    refused(api, asked(api, [{"role": role, "content": [part]}]), f"{where}[1].content[0]", "")


#: What the router refuses to fetch, or cannot; what has no scheme is on the test's own server.
LINKS = {
    "nothing": "could not be fetched",
    "schema.json": "could not be fetched",
    "http://127.0.0.1:9/a.png": "could not be fetched",
    "http://10.0.0.1/a.png": "public internet",
    "http://169.254.169.254/latest/meta-data": "public internet",
    "http://[::1]/a.png": "public internet",
    "http://user:secret@127.0.0.1/a.png": "credentials",
}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(
    ("api", "part", "path"),
    [
        (CHAT, image_url, "messages[1].content[0].image_url.url"),
        (
            CHAT,
            lambda url: {"type": "file", "file": {"filename": "a.pdf", "file_data": url}},
            "messages[1].content[0].file.file_data",
        ),
        (RESPONSES, input_image, "input[1].content[0].image_url"),
        (
            RESPONSES,
            lambda url: {"type": "input_file", "filename": "a.pdf", "file_url": url},
            "input[1].content[0].file_url",
        ),
        (
            MESSAGES,
            lambda url: {"type": "image", "source": {"type": "url", "url": url}},
            "messages[1].content[0].source.url",
        ),
        (
            MESSAGES,
            lambda url: {"type": "document", "source": {"type": "url", "url": url}},
            "messages[1].content[0].source.url",
        ),
    ],
)
def test_a_link_that_cannot_be_fetched(refused, sandbox, api, part, path, link):
    url = link if "://" in link else sandbox.files.address(link)
    # Gets every picture and document inline, so the router has to fetch it.
    body = asked(api, [user(part(url))], provider={"only": ["google-ai-studio"]})
    # Instructions of their own become a message inside; the path must not count it.
    body |= {RESPONSES: {"instructions": "Be brief."}, MESSAGES: {"system": "Be brief."}}.get(
        api, {}
    )

    # Workers know chat's paths only; a client of another API is told which link it was.
    named = path if api is CHAT else f"'{url.replace('user:secret@', '')}'"
    message = refused(api, body, named, LINKS[link])

    assert "secret" not in message
    assert url.replace("user:secret@", "") in message


# Tool results


@pytest.mark.parametrize(
    ("api", "items", "path"),
    [
        (
            CHAT,
            [{"role": "tool", "tool_call_id": "call_nowhere", "content": "sunny"}],
            "messages[1].tool_call_id",
        ),
        (CHAT, [{"role": "tool", "content": "sunny"}], "messages[1].tool_call_id"),
        (
            RESPONSES,
            [{"type": "function_call_output", "call_id": "call_nowhere", "output": "sunny"}],
            "input[1].call_id",
        ),
        (
            RESPONSES,
            [{"type": "function_call_output", "output": "sunny"}],
            "input[1].call_id",
        ),
        (
            MESSAGES,
            [
                {"role": "assistant", "content": "Hm"},
                user({"type": "tool_result", "tool_use_id": "toolu_nowhere", "content": "sunny"}),
            ],
            "messages[2].content[0].tool_use_id",
        ),
        (
            MESSAGES,
            [
                {"role": "assistant", "content": "Hm"},
                user({"type": "tool_result", "content": "sunny"}),
            ],
            "messages[2].content[0].tool_use_id",
        ),
    ],
)
def test_tool_result_without_its_call(refused, api, items, path):
    refused(api, asked(api, items), path, "")


# Schemas


def wordy():
    """Few values, much text."""
    return {"type": "object", "description": "word " * (SCHEMA_BYTES // 5)}


def manifold():
    """Much of everything."""
    names = {f"name{number:06}": {"type": "string"} for number in range(SCHEMA_BYTES // 30)}
    return {"type": "object", "properties": names}


SCHEMAS = {
    "a reference to itself": {"$ref": "#"},
    "two references in a circle": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
    "a circle below": {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"$ref": "#/$defs/a"}},
    },
    "a reference to nothing": {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}},
    "a file": {"$ref": "file:///etc/passwd"},
    "a relative reference": {"type": "object", "properties": {"x": {"$ref": "other.json"}}},
    "an unknown type": {"type": "objekt"},
    "a bad keyword": {"type": "object", "required": "all"},
    "a bad pattern of numbers": {"type": "string", "maxLength": -1},
}
PLACES = [
    (CHAT, "tools[0].function.parameters"),
    (CHAT, "response_format.json_schema.schema"),
    (RESPONSES, "tools[0].parameters"),
    (RESPONSES, "text.format.schema"),
    (MESSAGES, "tools[0].input_schema"),
    (MESSAGES, "output_config.format.schema"),
]


def placed(api, path, schema):
    """A body with the schema at a path."""
    named = {"name": "answer", "schema": schema}
    flat = {"type": "json_schema", **named}
    match path.partition(".")[0], api:
        case "tools[0]", Api("/messages"):
            return asked(api, tools=[{"name": "act", "input_schema": schema}])
        case "tools[0]", Api("/responses"):
            return asked(api, tools=[{"type": "function", "name": "act", "parameters": schema}])
        case "tools[0]", _:
            act = {"name": "act", "parameters": schema}
            return asked(api, tools=[{"type": "function", "function": act}])
        case "text", _:
            return asked(api, text={"format": flat})
        case "output_config", _:
            form = {"type": "json_schema", "schema": schema}
            return asked(api, output_config={"format": form})
        case _:
            return asked(api, response_format={"type": "json_schema", "json_schema": named})


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize(("api", "path"), PLACES)
def test_bad_schema(refused, api, path, name):
    # A JSON pointer says where in the schema.
    refused(api, placed(api, path, SCHEMAS[name]), path, "/")


@pytest.mark.parametrize(("api", "path"), PLACES)
def test_heavy_schema(refused, api, path):
    message = refused(api, placed(api, path, wordy()), path, "at most")

    assert "bytes" in message


@pytest.mark.parametrize(("api", "path"), PLACES)
def test_schema_of_too_many_values(refused, api, path):
    # Counted before anything is read, so it is the body that is refused.
    refused(api, placed(api, path, manifold()), "The request body", "values; split it")


@pytest.mark.parametrize("levels", [300, 5_000])
@pytest.mark.parametrize(("api", "path"), PLACES)
def test_deep_schema(sandbox, api, path, levels):
    marker = (body := placed(api, path, {"here": "here"})).pop("marker")
    # By hand: a writer of JSON would not go so deep.
    schema = '{"items":' * levels + "{}" + "}" * levels
    raw = json.dumps(body).replace('{"here": "here"}', schema)

    answer = sandbox.system.client.post(api.path, content=raw)

    assert "levels deep; flatten it" in api.assert_form(answer)
    assert sandbox.upstream(marker) == []


#: How a schema may ask for a document elsewhere.
REMOTE = {
    "reference": lambda url: {"$ref": url},
    "pointer": lambda url: {"properties": {"x": {"$ref": f"{url}#/$defs/a"}}},
    "relative to an id": lambda url: {"$id": url, "$ref": "schema.json"},
    "dialect": lambda url: {"$schema": url, "type": "object"},
    "part": lambda url: {"allOf": [{"$ref": url}]},
    "definition": lambda url: {"$defs": {"a": {"$ref": url}}, "type": "object"},
}


@pytest.mark.parametrize("form", REMOTE)
@pytest.mark.parametrize(("api", "path"), PLACES)
def test_nothing_is_fetched_for_a_schema(refused, sandbox, api, path, form):
    # A server the router may fetch media from: not being called is the router's own decision.
    url = sandbox.files.address("schema.json")
    before = list(sandbox.files.asked)

    refused(api, placed(api, path, REMOTE[form](url)), path, "/")

    assert sandbox.files.asked == before


@pytest.mark.parametrize("keyword", ["$dynamicRef", "$recursiveRef", "$schema", "$id", "$ref"])
@pytest.mark.parametrize("base", ["http://{}/schema.json", "//{}/schema.json", "\\\\{}\\x"])
def test_no_keyword_makes_the_router_call_out(sandbox, keyword, base):
    address = sandbox.files.url.removeprefix("http://")
    before = list(sandbox.files.asked)
    schema = {"type": "object", keyword: base.format(address)}
    body = placed(CHAT, "tools[0]", schema)
    body.pop("marker")

    answer = sandbox.post(CHAT.path, body)

    assert answer.status_code in {httpx.codes.OK, httpx.codes.BAD_REQUEST}
    assert sandbox.files.asked == before


RECURSIVE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
    "required": ["name"],
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"$ref": "#/$defs/node"}, "name": {"type": "string"}},
        }
    },
}
#: Ten references to ten references to …: small as text, endless when written out.
LAUGHS = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/d0"}},
    "$defs": {
        **{
            f"d{level}": {
                "type": "object",
                "properties": {
                    f"p{number}": {"$ref": f"#/$defs/d{level + 1}"} for number in range(10)
                },
                "required": [f"p{number}" for number in range(10)],
            }
            for level in range(12)
        },
        "d12": {"type": "string"},
    },
}


#: Words that only look like references: a value, a name, a pattern.
LOOKALIKES = {
    "const": {"type": "object", "properties": {"x": {"const": {"$ref": "http://x"}}}},
    "enum": {"type": "object", "properties": {"x": {"enum": [{"$ref": "http://x"}]}}},
    "default": {"type": "object", "properties": {}, "default": {"$ref": "http://x"}},
    "examples": {"type": "object", "properties": {}, "examples": [{"$ref": "http://x"}]},
    "property": {"type": "object", "properties": {"$ref": {"type": "string"}}},
    "pattern": {"type": "object", "patternProperties": {"$ref": {"type": "string"}}},
    "definition": {"type": "object", "properties": {}, "$defs": {"$ref": {"type": "string"}}},
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_like_a_reference_is_taken(sandbox, name):
    body = placed(CHAT, "tools[0]", LOOKALIKES[name]) | {"model": "openai/gpt-4o-mini"}
    marker = body.pop("marker")

    answer = sandbox.post(CHAT.path, body)

    assert answer.status_code == httpx.codes.OK, answer.text
    assert len(sandbox.upstream(marker)) == 1


@pytest.mark.parametrize(("api", "path"), PLACES)
def test_an_honest_recursive_schema_is_taken(sandbox, api, path):
    body = placed(api, path, RECURSIVE) | {"model": "openai/gpt-4o-mini"}
    marker = body.pop("marker")

    answer = sandbox.post(api.path, body)

    assert answer.status_code == httpx.codes.OK, answer.text
    assert len(sandbox.upstream(marker)) == 1


@pytest.mark.parametrize(("api", "path"), PLACES)
def test_a_schema_that_multiplies_costs_no_time(sandbox, api, path):
    body = placed(api, path, LAUGHS)
    body.pop("marker")
    started = time.monotonic()

    answer = sandbox.post(api.path, body)

    assert time.monotonic() - started < REFUSED_WITHIN_S
    assert answer.status_code in {httpx.codes.OK, httpx.codes.BAD_REQUEST}


# Too many


@pytest.mark.parametrize("api", APIS)
def test_ten_thousand_tools(refused, api):
    if api is CHAT:
        tools = [
            {"type": "function", "function": {"name": f"tool_{number}", "parameters": {}}}
            for number in range(TOOLS_MANY)
        ]
    elif api is RESPONSES:
        tools = [
            {"type": "function", "name": f"tool_{number}", "parameters": {}}
            for number in range(TOOLS_MANY)
        ]
    else:
        tools = [
            {"name": f"tool_{number}", "input_schema": {"type": "object"}}
            for number in range(TOOLS_MANY)
        ]

    refused(api, asked(api, tools=tools), "tools", "or fewer")


@pytest.mark.parametrize("api", APIS)
def test_ten_thousand_parts(refused, api):
    part = {"type": "input_text" if api is RESPONSES else "text", "text": "x"}
    where = "input" if api is RESPONSES else "messages"

    refused(api, asked(api, [user(*[part] * 10_000)]), f"{where}[1].content", "or fewer")


def test_other_media_of_embeddings(sandbox):
    """Embeddings take parts too, and name them in their own words."""
    for part, path in (
        (image_url("data:image/png;base64,*"), "input[0].content[0].image_url.url"),
        ({"type": "picture"}, "input[0].content[0]"),
    ):
        answer = sandbox.post(
            "/embeddings", {"model": "cohere/embed-v4.0", "input": [{"content": [part]}]}
        )

        assert CHAT.assert_form(answer).startswith(path)
