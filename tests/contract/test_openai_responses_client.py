"""The official `openai` client against the shipped catalog: Responses, embeddings, media, parsing.

Responses need no server-side memory here: every call sends the whole conversation, and thoughts
come back encrypted so that they can be sent again.
"""

from __future__ import annotations

import base64
import json

import openai
import pytest

from tests.contract.samples import (
    ASK_WEATHER,
    CHAT_TOOLS,
    PDF_URL,
    PNG_URL,
    SUNNY,
    WAV,
    WEATHER,
    WEATHER_DESCRIPTION,
    WEATHER_SCHEMA,
    Forecast,
    encoded,
)
from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

#: One of each way a model is reached: Chat Completions, Responses, Anthropic, Gemini, Bedrock,
#: Cohere.
MODELS = [
    "openai/gpt-4o-mini",
    "openai/gpt-5-codex",
    "anthropic/claude-sonnet-4.5",
    "google/gemini-2.5-flash",
    "amazon/nova-lite-v1",
    "cohere/command-a",
]
SEEING = [model for model in MODELS if not model.startswith("cohere/")]
STRUCTURED = [model for model in MODELS if not model.startswith("amazon/")]
#: Thinks, and takes its thoughts back signed or encrypted.
THINKERS = ["openai/gpt-5-codex", "anthropic/claude-sonnet-4.5", "google/gemini-3-pro-preview"]
EMBEDDERS = [
    "openai/text-embedding-3-small",
    "google/gemini-embedding-001",
    "cohere/embed-v4.0",
    "mistralai/mistral-embed-2312",
]
#: Served by one provider each, which a test may park.
LONELY, LONELY_STREAM = "perplexity/sonar", "x-ai/grok-3-mini"
ENCRYPTED = ["reasoning.encrypted_content"]
RESPONSES_TOOL = {
    "type": "function",
    "name": WEATHER,
    "description": WEATHER_DESCRIPTION,
    "parameters": WEATHER_SCHEMA,
    "strict": True,
}
SEVERAL_SIZES = 2


@pytest.fixture
def client(sandbox):
    with openai.OpenAI(base_url=sandbox.base_url, api_key=sandbox.api_key, max_retries=0) as made:
        yield made


def say(text="Say hello"):
    return [{"role": "user", "content": text}]


def of_kind(response, kind):
    return [item for item in response.output if item.type == kind]


# Responses


@pytest.mark.parametrize("model", MODELS)
def test_response_plain(client, model):
    answer = client.responses.create(model=model, input="Say hello")

    assert answer.id.startswith("gen-")
    assert answer.object == "response"
    assert answer.status == "completed"
    assert answer.model == model
    assert answer.error is None
    assert "Hello" in answer.output_text
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.cost > 0
    assert answer.parallel_tool_calls is True
    assert answer.tools == []


def test_response_repeats_what_was_asked(client):
    answer = client.responses.create(
        model=MODELS[0],
        instructions="Be brief.",
        input=say(),
        max_output_tokens=200,
        temperature=0.5,
        metadata={"ticket": "7"},
        store=False,
    )

    assert answer.instructions == "Be brief."
    assert answer.max_output_tokens == 200
    assert answer.temperature == 0.5
    assert answer.metadata == {"ticket": "7"}


def test_instructions_and_conversation_reach_the_model(client, sandbox):
    marker = new_marker()

    client.responses.create(
        model=MODELS[0],
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": "Two"},
            {"role": "user", "content": [{"type": "input_text", "text": f"Three {marker}"}]},
        ],
    )

    sent = sandbox.cluster.received(marker)["body"]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert sent[0]["content"] == "Be brief."


@pytest.mark.parametrize("model", MODELS)
def test_response_streamed(client, model):
    events = list(client.responses.create(model=model, input="Say hello", stream=True))

    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    whole = events[-1].response
    assert "Hello" in text
    assert whole.output_text == text
    assert whole.usage.output_tokens > 0
    assert {event.response.id for event in (events[0], events[1], events[-1])} == {whole.id}


@pytest.mark.parametrize("model", MODELS)
def test_stream_helper_gathers_the_same_answer(client, model):
    with client.responses.stream(model=model, input="Say hello") as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        whole = stream.get_final_response()

    assert whole.output_text == text
    assert whole.status == "completed"


def test_a_short_limit_makes_the_response_incomplete(client):
    answer = client.responses.create(model=MODELS[0], input="Say hello", max_output_tokens=16)

    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_tool_loop(client, model, stream):
    conversation = say(ASK_WEATHER)
    asked = {"model": model, "tools": [RESPONSES_TOOL], "input": conversation}
    if stream:
        with client.responses.stream(**asked) as events:
            pieces = [e for e in events if e.type == "response.function_call_arguments.delta"]
            first = events.get_final_response()
        assert pieces
    else:
        first = client.responses.create(**asked)
    (call,) = of_kind(first, "function_call")
    conversation += [item.model_dump(exclude_none=True) for item in first.output]
    conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": SUNNY})
    last = client.responses.create(**asked)

    assert call.name == WEATHER
    assert "city" in json.loads(call.arguments)
    assert SUNNY in last.output_text


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5"])
def test_parallel_calls_are_answered_together(client, model):
    conversation = say(f"{ASK_WEATHER} Twice, in parallel.")
    tools = [RESPONSES_TOOL, {**RESPONSES_TOOL, "name": "get_tides"}]
    first = client.responses.create(model=model, tools=tools, input=conversation)
    calls = of_kind(first, "function_call")
    conversation += first.output
    conversation += [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"it-is-{call.name}"}
        for call in calls
    ]
    last = client.responses.create(model=model, tools=tools, input=conversation)

    assert [call.name for call in calls] == [WEATHER, "get_tides"]
    assert "it-is-get_weather" in last.output_text
    assert "it-is-get_tides" in last.output_text


@pytest.mark.parametrize("model", STRUCTURED)
def test_parse_into_a_model(client, model):
    answer = client.responses.parse(model=model, input="The weather in Kyiv", text_format=Forecast)

    assert isinstance(answer.output_parsed, Forecast)


@pytest.mark.parametrize("model", THINKERS)
@pytest.mark.parametrize("stream", [False, True])
def test_encrypted_thoughts_are_sent_back_with_the_tools_answer(client, sandbox, model, stream):
    marker = new_marker()
    conversation = say(f"{ASK_WEATHER} {marker}")
    asked = {
        "model": model,
        "tools": [RESPONSES_TOOL],
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ENCRYPTED,
        "store": False,
        "input": conversation,
    }
    if stream:
        with client.responses.stream(**asked) as events:
            for _ in events:
                pass
            first = events.get_final_response()
    else:
        first = client.responses.create(**asked)
    thoughts, (call,) = of_kind(first, "reasoning"), of_kind(first, "function_call")
    conversation += [item.model_dump(exclude_none=True) for item in first.output]
    conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": SUNNY})
    last = client.responses.create(**asked)

    assert thoughts
    assert all(thought.encrypted_content for thought in thoughts)
    assert SUNNY in last.output_text
    # The simulator checks every signature it is sent, as the providers do.
    assert [call["outcome"] for call in sandbox.upstream(marker)] == ["finished", "finished"]


@pytest.mark.parametrize(
    ("model", "provider"),
    # Bedrock counts thoughts among the other tokens, and does not say how many they are.
    list(zip(THINKERS, ("openai", "anthropic", "google-ai-studio"), strict=True)),
)
def test_tokens_of_thoughts_are_told(client, model, provider):
    answer = client.responses.create(
        model=model,
        input="Say hello",
        reasoning={"effort": "high"},
        extra_body={"provider": {"only": [provider]}},
    )

    told = answer.usage
    assert 0 < told.output_tokens_details.reasoning_tokens < told.output_tokens


@pytest.mark.parametrize("model", THINKERS)
def test_thoughts_of_one_model_do_not_break_another(client, model):
    conversation = say(ASK_WEATHER)
    asked = {"tools": [RESPONSES_TOOL], "include": ENCRYPTED, "input": conversation}
    first = client.responses.create(model=model, reasoning={"effort": "high"}, **asked)
    (call,) = of_kind(first, "function_call")
    conversation += [item.model_dump(exclude_none=True) for item in first.output]
    conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": SUNNY})

    for other in THINKERS:
        assert SUNNY in client.responses.create(model=other, **asked).output_text


@pytest.mark.parametrize("model", SEEING)
def test_image_in_a_response(client, model):
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PNG_URL, "detail": "auto"},
    ]

    answer = client.responses.create(model=model, input=[{"role": "user", "content": parts}])

    assert "I see: image/png" in answer.output_text


@pytest.mark.parametrize("model", ["openai/o3-pro", "anthropic/claude-sonnet-4.5"])
def test_document_in_a_response(client, model):
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_file", "filename": "paper.pdf", "file_data": PDF_URL},
    ]

    answer = client.responses.create(model=model, input=[{"role": "user", "content": parts}])

    assert "I see: application/pdf" in answer.output_text


@pytest.mark.parametrize(
    "field",
    [
        {"store": True},
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"conversation": "conv_1"},
    ],
)
def test_what_needs_a_memory_is_refused(client, field):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODELS[0], input="x", **field)

    assert caught.value.body["code"]
    assert next(iter(field)) in caught.value.body["message"]


# Embeddings


@pytest.mark.parametrize("model", EMBEDDERS)
def test_embeddings_in_the_clients_default_encoding(client, model):
    texts = ["one", "two", "one"]

    answer = client.embeddings.create(model=model, input=texts)

    first, second, third = (item.embedding for item in answer.data)
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert all(isinstance(number, float) for number in first)
    assert first == third != second
    assert sum(number * number for number in first) == pytest.approx(1, abs=0.01)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    assert answer.usage.cost > 0


@pytest.mark.parametrize("provider", ["google-ai-studio", "google-vertex"])
def test_several_embeddings_wherever_the_model_is_served(client, provider):
    answer = client.embeddings.create(
        model="google/gemini-embedding-001",
        input=["one", "two", "three"],
        extra_body={"provider": {"only": [provider]}},
    )

    assert [item.index for item in answer.data] == [0, 1, 2]


@pytest.mark.parametrize("model", EMBEDDERS)
def test_embeddings_as_numbers_and_as_base64_agree(client, model):
    numbers = client.embeddings.create(model=model, input="one", encoding_format="float")
    packed = client.embeddings.create(model=model, input="one")

    assert packed.data[0].embedding == pytest.approx(numbers.data[0].embedding, abs=1e-6)


@pytest.mark.parametrize("model", EMBEDDERS[:-1])
def test_dimensions_of_embeddings(client, model):
    answer = client.embeddings.create(model=model, input="one", dimensions=256)

    assert len(answer.data[0].embedding) == 256


def test_embeddings_of_tokens(client):
    answer = client.embeddings.create(model=EMBEDDERS[0], input=[[1, 2, 3], [4, 5]])

    assert len(answer.data) == SEVERAL_SIZES


# Chat


@pytest.mark.parametrize("model", STRUCTURED)
def test_chat_parse_into_a_model(client, model):
    answer = client.chat.completions.parse(
        model=model, messages=say("The weather in Kyiv"), response_format=Forecast
    )

    assert isinstance(answer.choices[0].message.parsed, Forecast)


@pytest.mark.parametrize("model", MODELS)
def test_chat_tool_loop_streamed(client, model):
    messages = say(ASK_WEATHER)
    asked = {"model": model, "messages": messages, "tools": CHAT_TOOLS}
    with client.chat.completions.stream(**asked) as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        message = stream.get_final_completion().choices[0].message
    (call,) = message.tool_calls
    # The client joins the roles of all pieces, and the contract has one in each.
    said = message.model_dump(exclude_none=True, exclude={"parsed"}) | {"role": "assistant"}
    messages += [said, {"role": "tool", "tool_call_id": call.id, "content": SUNNY}]
    with client.chat.completions.stream(**asked) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")

    assert [event.name for event in done] == [WEATHER]
    assert "city" in json.loads(call.function.arguments)
    assert SUNNY in text


@pytest.mark.parametrize("model", THINKERS)
def test_chat_tool_loop_with_reasoning_details_sent_back(client, model):
    messages = say(ASK_WEATHER)
    asked = {
        "model": model,
        "messages": messages,
        "tools": CHAT_TOOLS,
        "extra_body": {"reasoning": {"effort": "high"}},
    }
    message = client.chat.completions.create(**asked).choices[0].message
    messages += [
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": SUNNY},
    ]
    last = client.chat.completions.create(**asked)

    assert message.reasoning_details
    assert SUNNY in last.choices[0].message.content


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("openai/gpt-4o-mini", "openai"),
        ("openai/gpt-4o-mini", "azure"),
        ("openai/gpt-5-codex", "openai"),
        ("anthropic/claude-sonnet-4.5", "anthropic"),
        ("anthropic/claude-sonnet-4.5", "google-vertex"),
        ("anthropic/claude-sonnet-4.5", "amazon-bedrock"),
        ("google/gemini-2.5-flash", "google-ai-studio"),
        ("google/gemini-2.5-flash", "google-vertex"),
        ("amazon/nova-lite-v1", "amazon-bedrock"),
    ],
)
@pytest.mark.parametrize("form", ["data", "link"])
def test_chat_image_in(client, sandbox, model, provider, form):
    url = PNG_URL if form == "data" else sandbox.files.address("picture.png")
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]

    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": parts}],
        extra_body={"provider": {"only": [provider]}},
    )

    assert "I see: image/" in answer.choices[0].message.content


@pytest.mark.parametrize("model", ["openai/gpt-4o-audio-preview", "google/gemini-2.5-flash"])
def test_chat_audio_in(client, model):
    parts = [
        {"type": "text", "text": "What is said?"},
        {"type": "input_audio", "input_audio": {"data": encoded(WAV), "format": "wav"}},
    ]

    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": parts}], modalities=["text"]
    )

    assert "I see: audio/wav" in answer.choices[0].message.content
    assert answer.usage.prompt_tokens_details.audio_tokens > 0


def test_chat_audio_out(client):
    answer = client.chat.completions.create(
        model="openai/gpt-4o-audio-preview",
        messages=say(),
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
    )

    audio = answer.choices[0].message.audio
    assert base64.b64decode(audio.data).startswith(b"RIFF")
    assert "Hello" in audio.transcript
    assert answer.usage.completion_tokens_details.audio_tokens > 0


def test_chat_audio_out_streamed(client):
    chunks = list(
        client.chat.completions.create(
            model="openai/gpt-4o-audio-preview",
            messages=say(),
            modalities=["text", "audio"],
            audio={"voice": "alloy", "format": "pcm16"},
            stream=True,
        )
    )

    deltas = [chunk.choices[0].delta for chunk in chunks]
    sounds = [delta.audio for delta in deltas if getattr(delta, "audio", None)]
    assert base64.b64decode("".join(sound.data or "" for sound in sounds))
    assert "Hello" in "".join(sound.transcript or "" for sound in sounds)


# Failures


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "no/such"}, openai.BadRequestError),
        ({"input": []}, openai.BadRequestError),
        ({"extra_body": {"provider": {"only": ["nobody"]}}}, openai.NotFoundError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_failures_are_the_clients_own_exceptions(client, fields, kind, stream):
    with pytest.raises(kind) as caught:
        client.responses.create(**{"model": MODELS[0], "input": "x", "stream": stream, **fields})

    assert caught.value.body["code"]
    assert caught.value.body["message"]


@pytest.mark.parametrize(("model", "stream"), [(LONELY, False), (LONELY_STREAM, True)])
def test_rate_limit_upstream_is_a_rate_limit_error(client, sandbox, model, stream):
    provider = {"perplexity": "perplexity", "x-ai": "xai"}[model.partition("/")[0]]
    sandbox.cluster.set_faults([{"provider": provider, "fault": "429_retry_after:7"}])
    try:
        with pytest.raises(openai.RateLimitError) as caught:
            client.responses.create(model=model, input="x", stream=stream)
    finally:
        sandbox.cluster.clear_faults()

    assert caught.value.body["code"] == 429
    assert int(caught.value.response.headers["Retry-After"]) in range(1, 8)


@pytest.mark.parametrize("path", ["responses", "embeddings"])
def test_wrong_key_is_an_authentication_error(sandbox, path):
    with (
        openai.OpenAI(base_url=sandbox.base_url, api_key="sk-or-v1-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        getattr(client, path).create(model=MODELS[0], input="x")


def test_embeddings_of_a_chat_model_are_a_client_error(client):
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
        client.embeddings.create(model=MODELS[0], input="x")


@pytest.mark.parametrize("fault", ["error_mid:3", "cut_after:3"])
def test_a_stream_that_breaks_off_ends_as_failed(client, sandbox, fault):
    sandbox.cluster.set_faults([{"provider": "deepseek", "fault": fault}])
    try:
        events = list(
            client.responses.create(
                model="deepseek/deepseek-v3.2",
                input="x",
                stream=True,
                extra_body={"provider": {"only": ["deepseek"]}},
            )
        )
    finally:
        sandbox.cluster.clear_faults()

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "error"
    assert events[-1].code
    assert events[-1].message
    assert "response.completed" not in {event.type for event in events}
