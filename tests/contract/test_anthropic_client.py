"""The official `anthropic` client, unchanged but for its base URL.

The client adds `/v1/messages` to its base URL itself. So its base URL is the router's address with
`/api` behind it (`http://127.0.0.1:8080/api`), or the bare address; not the one that ends in `/v1`.
It may show its key as `x-api-key` or as a bearer token.
"""

from __future__ import annotations

import anthropic
import httpx
import pytest

from tests.contract.samples import (
    ASK_WEATHER,
    PDF,
    PNG,
    SUNNY,
    WEATHER,
    WEATHER_DESCRIPTION,
    WEATHER_SCHEMA,
    Forecast,
    encoded,
)
from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

CLAUDE = "anthropic/claude-sonnet-4.5"
MODELS = [
    CLAUDE,
    "openai/gpt-4o-mini",
    "openai/gpt-5-codex",
    "google/gemini-2.5-flash",
    "amazon/nova-lite-v1",
    "cohere/command-a",
]
SEEING = [model for model in MODELS if not model.startswith("cohere/")]
READING = [CLAUDE, "google/gemini-2.5-flash", "openai/o3-pro", "amazon/nova-lite-v1"]
THINKERS = [CLAUDE, "google/gemini-3-pro-preview", "openai/gpt-5-codex"]
#: Its only provider is parked by a test here.
LONELY = "perplexity/sonar-pro"
TOOLS = [{"name": WEATHER, "description": WEATHER_DESCRIPTION, "input_schema": WEATHER_SCHEMA}]
THINKING = {"type": "enabled", "budget_tokens": 1024}
MAX_TOKENS = 2048
FINE_GRAINED = "fine-grained-tool-streaming-2025-05-14"
INTERLEAVED = "interleaved-thinking-2025-05-14"


@pytest.fixture(params=["bearer", "x-api-key"])
def client(sandbox, request, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    base_url = f"{sandbox.root_url}/api"
    if request.param == "bearer":
        shown = {"auth_token": sandbox.api_key}
    else:
        shown = {"default_headers": {"X-Api-Key": sandbox.api_key}}
    with anthropic.Anthropic(base_url=base_url, max_retries=0, **shown) as made:
        yield made


def say(text="Say hello"):
    return [{"role": "user", "content": text}]


def of_kind(message, kind):
    return [block for block in message.content if block.type == kind]


def text_of(message):
    return "".join(block.text for block in of_kind(message, "text"))


def results(message, text=SUNNY):
    """The user's turn that answers every call of a message."""
    return {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": call.id, "content": text}
            for call in of_kind(message, "tool_use")
        ],
    }


def turn(message):
    """The assistant's turn, as the guide says: whole and unmodified."""
    return {"role": "assistant", "content": message.content}


@pytest.mark.parametrize("path", ["", "/api"])
def test_base_urls_that_work(sandbox, path):
    with anthropic.Anthropic(
        base_url=sandbox.root_url + path, api_key=sandbox.api_key, max_retries=0
    ) as client:
        message = client.messages.create(model=CLAUDE, max_tokens=MAX_TOKENS, messages=say())

    assert "Hello" in text_of(message)


@pytest.mark.parametrize("model", MODELS)
def test_message_plain(client, model):
    message = client.messages.create(model=model, max_tokens=MAX_TOKENS, messages=say())

    assert message.id.startswith("gen-")
    assert message.type == "message"
    assert message.role == "assistant"
    assert message.model == model
    assert message.stop_reason == "end_turn"
    assert "Hello" in text_of(message)
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert message.usage.cost > 0


@pytest.mark.parametrize("model", MODELS)
def test_message_streamed(client, model):
    with client.messages.stream(model=model, max_tokens=MAX_TOKENS, messages=say()) as stream:
        text = "".join(stream.text_stream)
        whole = stream.get_final_message()

    assert "Hello" in text
    assert text_of(whole) == text
    assert whole.stop_reason == "end_turn"
    assert whole.usage.output_tokens > 0
    assert whole.usage.input_tokens > 0


def test_events_of_a_stream_in_order(client):
    events = [
        event.type
        for event in client.messages.create(
            model=CLAUDE, max_tokens=MAX_TOKENS, messages=say(), stream=True
        )
        if event.type != "ping"
    ]

    assert events[:2] == ["message_start", "content_block_start"]
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(events[2:-3]) == {"content_block_delta"}


def test_system_and_stop_sequences(client, sandbox):
    marker = new_marker()

    message = client.messages.create(
        model=CLAUDE,
        max_tokens=MAX_TOKENS,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        stop_sequences=["simulator"],
        messages=say(f"Hello {marker}"),
        extra_body={"provider": {"only": ["anthropic"]}},
    )

    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence == "simulator"
    assert "simulator" not in text_of(message)
    sent = sandbox.cluster.received(marker)["body"]
    assert sent["system"][0]["cache_control"]["type"] == "ephemeral"


def test_a_short_limit_is_the_stop_reason(client):
    message = client.messages.create(model=CLAUDE, max_tokens=5, messages=say())

    assert message.stop_reason == "max_tokens"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_tool_loop(client, model, stream):
    conversation = say(ASK_WEATHER)
    asked = {
        "model": model,
        "max_tokens": MAX_TOKENS,
        "tools": TOOLS,
        "messages": conversation,
    }
    if stream:
        with client.messages.stream(**asked) as events:
            first = events.get_final_message()
    else:
        first = client.messages.create(**asked)
    conversation += [turn(first), results(first)]
    last = client.messages.create(**asked)

    (call,) = of_kind(first, "tool_use")
    assert first.stop_reason == "tool_use"
    assert call.name == WEATHER
    assert "city" in call.input
    assert SUNNY in text_of(last)


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", CLAUDE])
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": WEATHER}])
def test_a_tool_can_be_demanded(client, model, choice):
    message = client.messages.create(
        model=model, max_tokens=MAX_TOKENS, tools=TOOLS, tool_choice=choice, messages=say("Hi")
    )

    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("model", THINKERS)
@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_sent_back_with_the_tools_answer(client, sandbox, model, stream):
    marker = new_marker()
    conversation = say(f"{ASK_WEATHER} {marker}")
    asked = {
        "model": model,
        "max_tokens": MAX_TOKENS,
        "thinking": THINKING,
        "tools": TOOLS,
        "messages": conversation,
    }
    if stream:
        with client.messages.stream(**asked) as events:
            first = events.get_final_message()
    else:
        first = client.messages.create(**asked)
    conversation += [turn(first), results(first)]
    last = client.messages.create(**asked)

    thoughts = of_kind(first, "thinking") + of_kind(first, "redacted_thinking")
    assert thoughts
    assert first.content[0].type in {"thinking", "redacted_thinking"}
    assert all(block.signature for block in of_kind(first, "thinking"))
    assert first.stop_reason == "tool_use"
    assert SUNNY in text_of(last)
    # The simulator checks every signature it is sent, as the providers do.
    assert [call["outcome"] for call in sandbox.upstream(marker)] == ["finished", "finished"]


@pytest.mark.parametrize("model", THINKERS)
def test_thoughts_of_one_model_do_not_break_another(client, model):
    conversation = say(ASK_WEATHER)
    asked = {
        "max_tokens": MAX_TOKENS,
        "tools": TOOLS,
        "messages": conversation,
    }
    first = client.messages.create(model=model, thinking=THINKING, **asked)
    conversation += [turn(first), results(first)]

    for other in THINKERS:
        assert SUNNY in text_of(client.messages.create(model=other, **asked))


def test_text_of_thinking_is_streamed(client):
    with client.messages.stream(
        model=CLAUDE, max_tokens=MAX_TOKENS, thinking=THINKING, messages=say()
    ) as stream:
        thoughts = "".join(event.thinking for event in stream if event.type == "thinking")
        whole = stream.get_final_message()

    assert thoughts
    assert whole.content[0].thinking == thoughts
    assert [block.type for block in whole.content] == ["thinking", "text"]


@pytest.mark.parametrize("model", SEEING)
@pytest.mark.parametrize("form", ["base64", "url"])
def test_image(client, sandbox, model, form):
    source = {"type": "base64", "media_type": "image/png", "data": encoded(PNG)}
    if form == "url":
        source = {"type": "url", "url": sandbox.files.address("picture.png")}
    content = [
        {"type": "image", "source": source},
        {"type": "text", "text": "What is this?"},
    ]

    message = client.messages.create(
        model=model,
        max_tokens=MAX_TOKENS,
        messages=[{"role": "user", "content": content}],
        # The one that takes URLs, where there are several.
        extra_body={"provider": {"order": ["anthropic"]}},
    )

    assert "I see: image/" in text_of(message)


@pytest.mark.parametrize("model", READING)
def test_document(client, model):
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded(PDF)}
    content = [
        {"type": "document", "source": source, "title": "A paper"},
        {"type": "text", "text": "What is this?"},
    ]

    message = client.messages.create(
        model=model, max_tokens=MAX_TOKENS, messages=[{"role": "user", "content": content}]
    )

    assert "I see: application/pdf" in text_of(message)


def test_image_in_the_result_of_a_tool(client):
    conversation = say(ASK_WEATHER)
    asked = {"model": CLAUDE, "max_tokens": MAX_TOKENS, "tools": TOOLS, "messages": conversation}
    first = client.messages.create(**asked)
    source = {"type": "base64", "media_type": "image/png", "data": encoded(PNG)}
    told = [{"type": "text", "text": SUNNY}, {"type": "image", "source": source}]
    conversation += [turn(first), results(first, told)]

    assert SUNNY in text_of(client.messages.create(**asked))


@pytest.mark.parametrize("model", [CLAUDE, "openai/gpt-4o-mini", "google/gemini-2.5-flash"])
def test_parse_into_a_model(client, model):
    message = client.messages.parse(
        model=model,
        max_tokens=MAX_TOKENS,
        messages=say("The weather in Kyiv"),
        output_format=Forecast,
    )

    assert isinstance(message.parsed_output, Forecast)


@pytest.mark.parametrize("model", MODELS)
def test_count_tokens_costs_nothing_and_asks_nobody(client, sandbox, model):
    marker = new_marker()
    few = client.messages.count_tokens(model=model, messages=say("Hi"))
    more = client.messages.count_tokens(
        model=model, system="Be brief.", tools=TOOLS, messages=say(f"{'word ' * 200} {marker}")
    )

    assert 0 < few.input_tokens < more.input_tokens
    assert more.input_tokens > 200
    assert sandbox.upstream(marker) == []


@pytest.mark.parametrize("header", ["anthropic-beta", "x-anthropic-beta"])
def test_beta_header_reaches_anthropic_and_nobody_else(client, sandbox, header):
    claude, other = new_marker(), new_marker()
    # Together, in the form of the guide; what is unknown is not passed on.
    betas = {header: f"{FINE_GRAINED},{INTERLEAVED},made-up-2025-01-01"}
    for model, marker in ((CLAUDE, claude), ("openai/gpt-4o-mini", other)):
        client.messages.create(
            model=model,
            max_tokens=MAX_TOKENS,
            messages=say(f"Hello {marker}"),
            extra_headers=betas,
            extra_body={"provider": {"only": [model.partition("/")[0]]}},
        )

    sent = sandbox.cluster.received(claude)["headers"]["anthropic-beta"]
    assert {word.strip() for word in sent.split(",")} >= {FINE_GRAINED, INTERLEAVED}
    assert "made-up" not in sent
    assert "anthropic-beta" not in sandbox.cluster.received(other)["headers"]


def test_betas_of_the_beta_api(client, sandbox):
    marker = new_marker()
    message = client.beta.messages.create(
        model=CLAUDE,
        max_tokens=MAX_TOKENS,
        betas=[INTERLEAVED],
        messages=say(f"Hello {marker}"),
        extra_body={"provider": {"only": ["anthropic"]}},
    )

    assert "Hello" in message.content[0].text
    assert INTERLEAVED in sandbox.cluster.received(marker)["headers"]["anthropic-beta"]


def test_prompt_cache_is_written_then_read(client):
    marker = new_marker()
    asked = {
        "model": CLAUDE,
        "max_tokens": MAX_TOKENS,
        "system": [
            {
                "type": "text",
                "text": f"{marker} " + "All that there is to know. " * 400,
                "cache_control": {"type": "ephemeral"},
            }
        ],
        "messages": say(),
        "extra_body": {"provider": {"only": ["anthropic"]}},
    }
    first, second = (client.messages.create(**asked).usage for _ in range(2))

    assert first.cache_creation_input_tokens > 0
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.input_tokens == first.input_tokens


# Failures


def refused(client, **fields):
    """What a call raises."""
    asked = {"model": CLAUDE, "max_tokens": MAX_TOKENS, "messages": say()} | fields
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**asked)
    return caught.value


def assert_anthropics_form(error, kind):
    """Anthropic's own envelope."""
    assert error.body["type"] == "error"
    assert error.body["error"]["type"] == kind
    assert error.body["error"]["message"]
    assert error.body["request_id"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "kind", "name"),
    [
        ({"messages": []}, anthropic.BadRequestError, "invalid_request_error"),
        ({"model": "no/such"}, anthropic.BadRequestError, "invalid_request_error"),
        (
            {"extra_body": {"provider": {"only": ["nobody"]}}},
            anthropic.NotFoundError,
            "not_found_error",
        ),
    ],
)
def test_failures_are_the_clients_own_exceptions(client, fields, kind, name, stream):
    error = refused(client, stream=stream, **fields)

    assert type(error) is kind
    assert_anthropics_form(error, name)


def test_max_tokens_may_be_left_out(sandbox):
    """The contract says so, although Anthropic demands it."""
    answer = sandbox.post("/messages", {"model": CLAUDE, "messages": say()})

    assert answer.status_code == httpx.codes.OK


@pytest.mark.parametrize("form", ["bearer", "x-api-key"])
def test_wrong_key_is_an_authentication_error(sandbox, form):
    shown = {"auth_token": "sk-or-v1-wrong"}
    if form == "x-api-key":
        shown = {"default_headers": {"X-Api-Key": "sk-or-v1-wrong"}}
    with anthropic.Anthropic(
        base_url=f"{sandbox.root_url}/api", max_retries=0, **shown
    ) as stranger:
        error = refused(stranger)

    assert type(error) is anthropic.AuthenticationError
    assert_anthropics_form(error, "authentication_error")


def test_management_key_is_a_permission_error(sandbox):
    with anthropic.Anthropic(
        base_url=f"{sandbox.root_url}/api",
        auth_token=sandbox.cluster.management_key,
        max_retries=0,
    ) as manager:
        error = refused(manager)

    assert type(error) is anthropic.PermissionDeniedError
    assert_anthropics_form(error, "permission_error")


def test_rate_limit_upstream_is_a_rate_limit_error(client, sandbox):
    sandbox.cluster.set_faults([{"provider": "perplexity", "fault": "429_retry_after:7"}])
    try:
        error = refused(client, model=LONELY)
    finally:
        sandbox.cluster.clear_faults()

    assert type(error) is anthropic.RateLimitError
    assert_anthropics_form(error, "rate_limit_error")
    assert int(error.response.headers["Retry-After"]) in range(1, 8)


@pytest.mark.parametrize("fault", ["error_mid:3", "cut_after:3"])
def test_a_stream_that_breaks_off_raises(client, sandbox, fault):
    sandbox.cluster.set_faults([{"provider": "deepseek", "fault": fault}])
    try:
        with (
            pytest.raises(anthropic.APIStatusError) as caught,
            client.messages.stream(
                model="deepseek/deepseek-v3.2",
                max_tokens=MAX_TOKENS,
                messages=say(),
                extra_body={"provider": {"only": ["deepseek"]}},
            ) as stream,
        ):
            stream.until_done()
    finally:
        sandbox.cluster.clear_faults()

    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["message"]
