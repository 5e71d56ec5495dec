"""The calls that the guides show, with nothing changed but the base URL, the key and local files.

Where a guide reads a file from the web, the file here is one the router is allowed to fetch.
"""

from __future__ import annotations

import base64
import json
import struct

import httpx
import openai
import pytest

from tests.contract.samples import MP4, PDF, PNG, SUNNY, WAV, data_url, encoded
from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

AGENT = SEER = "google/gemini-2.0-flash-001"
PAINTER = "google/gemini-2.5-flash-image-preview"
READER = "anthropic/claude-sonnet-4"
LISTENER = WATCHER = "google/gemini-2.5-flash"
CLAUDE = "anthropic/claude-sonnet-4"
LOOPS_MAX = 10
TITLE = "Ulysses"
FINE_GRAINED = "fine-grained-tool-streaming-2025-05-14"
INTERLEAVED = "interleaved-thinking-2025-05-14"
#: Width by height. The simulator's pictures have the shape asked for, in a few pixels.
RATIOS = {
    "1:1": 1.0,
    "2:3": 832 / 1248,
    "3:2": 1248 / 832,
    "3:4": 864 / 1184,
    "4:3": 1184 / 864,
    "4:5": 896 / 1152,
    "5:4": 1152 / 896,
    "9:16": 768 / 1344,
    "16:9": 1344 / 768,
    "21:9": 1536 / 672,
}
BOOK_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "search_gutenberg_books",
            "description": "Search for books",
            "parameters": {
                "type": "object",
                "properties": {
                    "search_terms": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["search_terms"],
            },
        },
    }
]
WEATHER_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather for a location",
            "parameters": {
                "type": "object",
                "properties": {"location": {"type": "string"}},
                "required": ["location"],
            },
        },
    }
]


class Api:
    """`requests` as the guides use it: one URL, two headers, a JSON body."""

    def __init__(self, sandbox):
        self.url = f"{sandbox.base_url}/chat/completions"
        self.headers = {
            "Authorization": f"Bearer {sandbox.api_key}",
            "Content-Type": "application/json",
        }

    def post(self, payload, **headers):
        answer = httpx.post(
            self.url, headers=self.headers | headers, json=payload, timeout=30, trust_env=False
        )
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    def stream(self, payload, **headers):
        """The chunks, read line by line."""
        chunks = []
        with httpx.stream(
            "POST",
            self.url,
            headers=self.headers | headers,
            json=payload,
            timeout=30,
            trust_env=False,
        ) as response:
            assert response.status_code == httpx.codes.OK, response.read()
            chunks += (
                json.loads(line[6:])
                for line in response.iter_lines()
                if line.startswith("data: ") and line != "data: [DONE]"
            )
        return chunks


@pytest.fixture
def api(sandbox):
    return Api(sandbox)


def about(text, *parts):
    return [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]


def spoken(answer):
    return answer["choices"][0]["message"]["content"]


def shape_of(image):
    """Width by height of a PNG in a data URL."""
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    width, height = struct.unpack(">II", base64.b64decode(data)[16:24])
    return width / height


# Tools


@pytest.fixture
def client(sandbox):
    with openai.OpenAI(base_url=sandbox.base_url, api_key=sandbox.api_key) as made:
        yield made


def search_gutenberg_books(search_terms):
    assert isinstance(search_terms, list)
    return [{"id": 4300, "title": TITLE, "authors": [{"name": "Joyce, James"}]}]


def test_two_explicit_calls_around_a_tool(client):
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        # "tool" makes the simulator call one, as a model would of its own accord.
        {"role": "user", "content": "What are the titles of some James Joyce books? (tool)"},
    ]
    request = {"model": AGENT, "tools": BOOK_TOOLS, "messages": messages}
    first = client.chat.completions.create(**request)
    message = first.choices[0].message
    messages.append(message)
    for call in message.tool_calls:
        told = search_gutenberg_books(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(told)})
    second = client.chat.completions.create(**request)

    assert first.choices[0].finish_reason == "tool_calls"
    assert TITLE in second.choices[0].message.content


@pytest.mark.parametrize(
    "model", [AGENT, "openai/gpt-4o", CLAUDE, "google/gemini-3-pro-preview", "openai/gpt-5-codex"]
)
def test_simple_agentic_loop(client, model):
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What are the titles of some James Joyce books? (tool)"},
    ]

    def call_llm(known):
        answer = client.chat.completions.create(model=model, tools=BOOK_TOOLS, messages=known)
        # As the guide has it: every field the client knows, also those that are null.
        known.append(answer.choices[0].message.model_dump())
        return answer

    def tool_response(answer):
        call = answer.choices[0].message.tool_calls[0]
        told = search_gutenberg_books(**json.loads(call.function.arguments))
        # As the guide has it: a list of books, not a text.
        return {"role": "tool", "tool_call_id": call.id, "content": told}

    loops = 0
    while loops < LOOPS_MAX:
        loops += 1
        answer = call_llm(messages)
        if answer.choices[0].message.tool_calls is None:
            break
        messages.append(tool_response(answer))

    assert loops == 2
    assert TITLE in messages[-1]["content"]


def test_tools_in_plain_http_in_three_steps(api):
    """The request bodies of the guide: the call is repeated, with its result behind it."""
    messages = [{"role": "user", "content": "What are the titles of some James Joyce books? tool"}]
    asked = {"model": AGENT, "tools": BOOK_TOOLS, "messages": messages}
    (call,) = api.post(asked)["choices"][0]["message"]["tool_calls"]
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": SUNNY},
    ]

    assert SUNNY in spoken(api.post(asked))


def test_stream_with_tool_calls(api):
    chunks = api.stream(
        {
            "model": AGENT,
            "tools": BOOK_TOOLS,
            "stream": True,
            "messages": [{"role": "user", "content": "Find books by Joyce with the tool"}],
        }
    )

    calls = {}
    for chunk in chunks:
        for piece in chunk["choices"][0]["delta"].get("tool_calls") or ():
            call = calls.setdefault(piece["index"], {"name": "", "arguments": ""})
            call["name"] += piece["function"].get("name") or ""
            call["arguments"] += piece["function"].get("arguments") or ""
    assert [call["name"] for call in calls.values()] == ["search_gutenberg_books"]
    assert "search_terms" in json.loads(calls[0]["arguments"])


# Images in and out


@pytest.mark.parametrize("form", ["link", "base64"])
def test_image(api, sandbox, form):
    url = sandbox.files.address("picture.png") if form == "link" else data_url("image/png", PNG)
    part = {"type": "image_url", "image_url": {"url": url}}
    before = sandbox.files.times("picture.png")

    answer = api.post({"model": SEER, "messages": about("What's in this image?", part)})

    assert "I see: image/png" in spoken(answer)
    assert sandbox.files.times("picture.png") - before == (form == "link")


def test_image_generation(api):
    answer = api.post(
        {
            "model": PAINTER,
            "messages": [{"role": "user", "content": "Generate a beautiful sunset"}],
            "modalities": ["image", "text"],
        }
    )

    (image,) = answer["choices"][0]["message"]["images"]
    assert image["type"] == "image_url"
    assert shape_of(image) == pytest.approx(1)
    assert answer["usage"]["completion_tokens_details"]["image_tokens"] > 0


@pytest.mark.parametrize("ratio", RATIOS)
def test_aspect_ratio(api, sandbox, ratio):
    marker = new_marker()
    answer = api.post(
        {
            "model": PAINTER,
            "messages": [{"role": "user", "content": f"Create a picture of a dish {marker}"}],
            "modalities": ["image", "text"],
            "image_config": {"aspect_ratio": ratio},
        }
    )

    (image,) = answer["choices"][0]["message"]["images"]
    assert shape_of(image) == pytest.approx(RATIOS[ratio], rel=0.2)
    sent = sandbox.cluster.received(marker)["body"]["generationConfig"]
    assert sent["imageConfig"]["aspectRatio"] == ratio


def test_streamed_image_generation(api):
    chunks = api.stream(
        {
            "model": PAINTER,
            "messages": [{"role": "user", "content": "Create an image of a futuristic city"}],
            "modalities": ["image", "text"],
            "stream": True,
        }
    )

    images = []
    for chunk in chunks:
        if chunk.get("choices"):
            images += chunk["choices"][0].get("delta", {}).get("images") or ()
    assert [shape_of(image) for image in images] == [1]


# Documents, sound, film


@pytest.mark.parametrize("form", ["link", "base64"])
@pytest.mark.parametrize(
    ("model", "provider"),
    [
        (READER, "anthropic"),
        (READER, "google-vertex"),
        (READER, "amazon-bedrock"),
        ("google/gemini-2.5-flash", "google-ai-studio"),
        ("openai/gpt-4o", "openai"),
    ],
)
def test_pdf_for_models_that_read_it(api, sandbox, model, provider, form):
    data = data_url("application/pdf", PDF)
    if form == "link":
        data = sandbox.files.address("paper.pdf")
    part = {"type": "file", "file": {"filename": "document.pdf", "file_data": data}}

    answer = api.post(
        {
            "model": model,
            "messages": about("What are the main points in this document?", part),
            "plugins": [{"id": "file-parser", "pdf": {"engine": "native"}}],
            "provider": {"only": [provider]},
        }
    )

    assert "I see: application/pdf" in spoken(answer)


def test_pdf_again_with_the_annotations_of_the_answer(api):
    part = {
        "type": "file",
        "file": {"filename": "document.pdf", "file_data": data_url("application/pdf", PDF)},
    }
    messages = about("What are the main points in this document?", part)
    first = api.post({"model": READER, "messages": messages})["choices"][0]["message"]
    again = [
        *messages,
        {
            "role": "assistant",
            "content": "The document contains information about...",
            "annotations": first.get("annotations")
            or [{"type": "file", "file": {"hash": "0" * 64, "name": "a.pdf", "content": []}}],
        },
        {"role": "user", "content": "Can you elaborate on the second point?"},
    ]

    assert "Hello" in spoken(api.post({"model": READER, "messages": again}))


def test_audio(api):
    part = {"type": "input_audio", "input_audio": {"data": encoded(WAV), "format": "wav"}}

    answer = api.post({"model": LISTENER, "messages": about("Please transcribe this.", part)})

    assert "I see: audio/wav" in spoken(answer)


def test_video_on_youtube(api):
    part = {
        "type": "video_url",
        "video_url": {"url": "https://www.youtube.com/watch?v=dQw4w9WgXcQ"},
    }

    answer = api.post({"model": WATCHER, "messages": about("Describe this video.", part)})

    assert answer["provider"] == "Google AI Studio"
    assert "I see: video/youtube" in spoken(answer)


@pytest.mark.parametrize("provider", ["google-ai-studio", "google-vertex"])
def test_video_as_base64(api, provider):
    part = {"type": "video_url", "video_url": {"url": data_url("video/mp4", MP4)}}

    answer = api.post(
        {
            "model": WATCHER,
            "messages": about("What's in this video?", part),
            "provider": {"only": [provider]},
        }
    )

    assert "I see: video/mp4" in spoken(answer)


# Structured outputs


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o", "anthropic/claude-sonnet-4.5", "google/gemini-2.5-flash"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_structured_output(api, model, stream):
    payload = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the weather like in London?"}],
        "stream": stream,
        "provider": {"require_parameters": True},
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "weather",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {
                        "location": {"type": "string", "description": "City or location name"},
                        "temperature": {"type": "number", "description": "In Celsius"},
                        "conditions": {"type": "string"},
                    },
                    "required": ["location", "temperature", "conditions"],
                    "additionalProperties": False,
                },
            },
        },
    }

    if stream:
        chunks = api.stream(payload)
        said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    else:
        said = spoken(api.post(payload))

    assert json.loads(said).keys() == {"location", "temperature", "conditions"}


# Anthropic's features in beta


@pytest.mark.parametrize("betas", [FINE_GRAINED, INTERLEAVED, f"{FINE_GRAINED},{INTERLEAVED}"])
def test_anthropic_beta(api, sandbox, betas):
    marker = new_marker()
    chunks = api.stream(
        {
            "model": CLAUDE,
            "messages": [{"role": "user", "content": f"What is the weather in Tokyo? {marker}"}],
            "tools": WEATHER_TOOLS,
            "stream": True,
            "provider": {"only": ["anthropic"]},
        },
        **{"x-anthropic-beta": betas},
    )

    names = [
        piece["function"].get("name")
        for chunk in chunks
        for piece in chunk["choices"][0]["delta"].get("tool_calls") or ()
    ]
    assert "get_weather" in names
    sent = sandbox.cluster.received(marker)["headers"]["anthropic-beta"]
    assert {word.strip() for word in sent.split(",")} >= set(betas.split(","))


@pytest.mark.parametrize("provider", ["anthropic", "google-vertex", "amazon-bedrock"])
def test_anthropic_beta_is_no_error_wherever_claude_is_served(api, provider):
    chunks = api.stream(
        {
            "model": CLAUDE,
            "messages": [{"role": "user", "content": "What is 15% of 240?"}],
            "stream": True,
            "provider": {"only": [provider]},
        },
        **{"x-anthropic-beta": f"{FINE_GRAINED}, {INTERLEAVED}"},
    )

    assert chunks[-1]["usage"]["completion_tokens"] > 0
