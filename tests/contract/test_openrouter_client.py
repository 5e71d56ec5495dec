"""The official `openrouter` client: every answer must fit its models, field by field."""

from __future__ import annotations

import base64
import json

import pytest
from openrouter import OpenRouter, errors

from tests.contract.samples import (
    ASK_WEATHER,
    CHAT_TOOLS,
    PDF_URL,
    PNG_URL,
    SUNNY,
    WEATHER,
    WEATHER_DESCRIPTION,
    WEATHER_SCHEMA,
)
from tests.e2e.catalog import STORY

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

MESSAGES = [{"role": "user", "content": "Say hello"}]
GOOD = {"only": ["good"]}
MODELS = [
    "openai/gpt-4o-mini",
    "openai/gpt-5-codex",
    "anthropic/claude-sonnet-4.5",
    "google/gemini-2.5-flash",
    "amazon/nova-lite-v1",
    "cohere/command-a",
]
SEEING = [model for model in MODELS if not model.startswith("cohere/")]
THINKERS = ["openai/gpt-5-codex", "anthropic/claude-sonnet-4.5", "google/gemini-3-pro-preview"]
PAINTER = "google/gemini-2.5-flash-image"
EMBEDDERS = [
    "openai/text-embedding-3-small",
    "google/gemini-embedding-001",
    "cohere/embed-v4.0",
    "mistralai/mistral-embed-2312",
]
RESPONSES_TOOL = {
    "type": "function",
    "name": WEATHER,
    "description": WEATHER_DESCRIPTION,
    "parameters": WEATHER_SCHEMA,
    "strict": True,
}


@pytest.fixture
def client(system):
    with OpenRouter(api_key=system.cluster.api_key, server_url=system.cluster.base_url) as made:
        yield made


@pytest.fixture
def boxed(sandbox):
    """A client of the shipped catalog."""
    with OpenRouter(api_key=sandbox.api_key, server_url=sandbox.base_url) as made:
        yield made


@pytest.fixture
def manager(system):
    with OpenRouter(
        api_key=system.cluster.management_key, server_url=system.cluster.base_url
    ) as made:
        yield made


def test_chat_plain(client):
    answer = client.chat.send(model=STORY, messages=MESSAGES, provider=GOOD)

    assert answer.id.startswith("gen-")
    assert answer.choices[0].finish_reason == "stop"
    assert "Hello" in answer.choices[0].message.content
    assert answer.usage.total_tokens > 0


def test_chat_streamed(client):
    with client.chat.send(model=STORY, messages=MESSAGES, provider=GOOD, stream=True) as stream:
        chunks = list(stream)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "Hello" in text
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].usage.total_tokens > 0


def test_models(client):
    listed = client.models.list().result

    assert STORY in {model.id for model in listed.data}
    assert client.models.count().data.count == len(listed.data)


def test_models_asked_for_page_by_page(boxed):
    asked = {"q": "gpt", "sort": "pricing-low-to-high", "input_modalities": "text", "max_price": 5}
    page = boxed.models.list(**asked, limit=2)
    found = [model.id for model in page.result.data]
    while (page := page.next()) is not None:
        found += [model.id for model in page.result.data]

    whole = boxed.models.list(**asked).result
    assert found == [model.id for model in whole.data]
    assert len(found) == whole.total_count > 4


def test_models_with_a_bad_order_are_the_clients_own_error(boxed):
    with pytest.raises(errors.BadRequestResponseError) as caught:
        boxed.models.list(sort="best-first")

    assert "most-popular" in str(caught.value)


def test_one_model(boxed):
    found = boxed.models.get(author="openai", slug="gpt-4o-mini:nitro").data

    assert found.id == "openai/gpt-4o-mini"
    assert float(found.pricing.prompt) > 0


def test_models_of_the_user(boxed, sandbox):
    listed = boxed.models.list_for_user(security={"bearer": sandbox.api_key}).result

    assert set(MODELS) <= {model.id for model in listed.data}


def test_models_of_nobody(boxed):
    with pytest.raises(errors.UnauthorizedResponseError):
        boxed.models.list_for_user(security={"bearer": "sk-or-v1-nobody"})


def test_endpoints_that_keep_nothing(boxed):
    found = boxed.endpoints.list_zdr_endpoints().data

    listed = {
        model.id for model in boxed.models.list(zdr="true", output_modalities="all").result.data
    }
    assert found
    assert {endpoint.model_id for endpoint in found} <= listed


def test_endpoints_of_a_model(client):
    author, slug = STORY.split("/")

    found = client.endpoints.list(author=author, slug=slug).data

    assert found.id == STORY
    assert "Good" in {endpoint.provider_name for endpoint in found.endpoints}


def test_providers(client):
    assert {"openai", "good"} <= {provider.slug for provider in client.providers.list().data}


def test_generation(client, system):
    answer = client.chat.send(model=STORY, messages=MESSAGES, provider=GOOD)
    found = system.settled(answer.id)

    told = client.generations.get_generation(id=answer.id).data

    assert told.id == answer.id
    assert told.total_cost == found.cost_nano / 10**9
    assert told.provider_name == "Good"
    assert told.tokens_completion == found.usage.completion_tokens


def test_credits(manager):
    left = manager.credits.get_credits().data

    assert left.total_credits >= left.total_usage >= 0


def test_credits_are_for_management_keys(client):
    with pytest.raises(errors.ForbiddenResponseError):
        client.credits.get_credits()


# The client warns of a deprecated field of its own model.
@pytest.mark.filterwarnings("ignore:warning.*DEPRECATED:DeprecationWarning")
def test_current_key(client, system):
    key = client.api_keys.get_current_key_metadata().data

    assert key.label.startswith("sk-or-v1-")
    assert system.cluster.api_key not in key.label
    assert key.is_management_key is False


def test_unknown_model_is_the_clients_own_error(client):
    with pytest.raises(errors.BadRequestResponseError) as caught:
        client.chat.send(model="no/such", messages=MESSAGES)

    assert "no/such is not a valid model ID" in str(caught.value)


# The shipped catalog


def parts(*more):
    return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, *more]}]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_chat_of_every_dialect(boxed, model, stream):
    if stream:
        with boxed.chat.send(model=model, messages=MESSAGES, stream=True) as events:
            chunks = list(events)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        usage = chunks[-1].usage
    else:
        answer = boxed.chat.send(model=model, messages=MESSAGES)
        text, usage = answer.choices[0].message.content, answer.usage

    assert "Hello" in text
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


@pytest.mark.parametrize("model", SEEING)
def test_chat_with_an_image(boxed, model):
    image = {"type": "image_url", "image_url": {"url": PNG_URL}}

    answer = boxed.chat.send(model=model, messages=parts(image))

    assert "I see: image/png" in answer.choices[0].message.content


def test_chat_with_a_document(boxed):
    paper = {"type": "file", "file": {"filename": "paper.pdf", "file_data": PDF_URL}}

    answer = boxed.chat.send(model="anthropic/claude-sonnet-4.5", messages=parts(paper))

    assert "I see: application/pdf" in answer.choices[0].message.content


def test_chat_that_paints(boxed):
    answer = boxed.chat.send(
        model=PAINTER,
        messages=MESSAGES,
        modalities=["image", "text"],
        image_config={"aspect_ratio": "16:9"},
    )

    (image,) = answer.choices[0].message.images
    head, _, data = image.image_url.url.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_chat_that_paints_streamed(boxed):
    with boxed.chat.send(
        model=PAINTER, messages=MESSAGES, modalities=["image", "text"], stream=True
    ) as stream:
        chunks = list(stream)

    assert chunks[-1].usage.total_tokens > 0


@pytest.mark.parametrize("model", THINKERS)
def test_chat_that_thinks_and_calls_a_tool(boxed, model):
    messages = [{"role": "user", "content": ASK_WEATHER}]
    asked = {
        "model": model,
        "messages": messages,
        "tools": CHAT_TOOLS,
        "reasoning": {"effort": "high"},
    }
    message = boxed.chat.send(**asked).choices[0].message
    (call,) = message.tool_calls
    # As it came, so that signatures stay whole.
    messages += [
        message.model_dump(by_alias=True),
        {"role": "tool", "tool_call_id": call.id, "content": SUNNY},
    ]
    last = boxed.chat.send(**asked)

    assert message.reasoning_details
    assert "city" in json.loads(call.function.arguments)
    assert SUNNY in last.choices[0].message.content


@pytest.mark.parametrize("model", THINKERS)
def test_chat_that_thinks_streamed(boxed, model):
    with boxed.chat.send(
        model=model, messages=MESSAGES, reasoning={"effort": "high"}, stream=True
    ) as stream:
        chunks = list(stream)

    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert any(delta.reasoning_details for delta in deltas)
    assert any(delta.content for delta in deltas)


@pytest.mark.parametrize("model", EMBEDDERS)
def test_embeddings(boxed, model):
    answer = boxed.embeddings.generate(model=model, input=["one", "two"])

    assert [item.index for item in answer.data] == [0, 1]
    assert all(isinstance(item.embedding, list) for item in answer.data)
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.cost > 0


def test_embeddings_as_base64(boxed):
    answer = boxed.embeddings.generate(model=EMBEDDERS[0], input="one", encoding_format="base64")

    assert base64.b64decode(answer.data[0].embedding)


def test_embedding_models(boxed):
    listed = boxed.embeddings.list_models().result.data

    assert set(EMBEDDERS) <= {model.id for model in listed}


@pytest.mark.parametrize("model", MODELS)
def test_responses(boxed, model):
    answer = boxed.responses.send(model=model, input="Say hello")

    assert answer.id.startswith("gen-")
    assert answer.status == "completed"
    assert "Hello" in answer.output[-1].content[0].text
    assert answer.usage.total_tokens > 0


@pytest.mark.parametrize("model", [*MODELS, "google/gemini-3-pro-preview"])
def test_responses_streamed(boxed, model):
    with boxed.responses.send(
        model=model, input="Say hello", reasoning={"effort": "high"}, stream=True
    ) as stream:
        events = list(stream)

    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert "Hello" in text


@pytest.mark.parametrize("model", MODELS)
def test_responses_in_beta_with_a_tool(boxed, model):
    asked = {"model": model, "tools": [RESPONSES_TOOL]}
    conversation = [{"role": "user", "content": ASK_WEATHER}]
    first = boxed.beta.responses.send(input=conversation, **asked)
    (call,) = (item for item in first.output if item.type == "function_call")
    conversation += [
        {
            "type": "function_call",
            "id": call.id,
            "call_id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
        },
        {"type": "function_call_output", "call_id": call.call_id, "output": SUNNY},
    ]
    last = boxed.beta.responses.send(input=conversation, **asked)

    assert call.name == WEATHER
    assert SUNNY in last.output[-1].content[0].text


@pytest.mark.parametrize(
    ("provider", "kind"),
    [("nobody", errors.NotFoundResponseError)],
)
def test_failure_of_responses_is_the_clients_own_error(boxed, provider, kind):
    with pytest.raises(kind):
        boxed.responses.send(model=MODELS[0], input="x", provider={"only": [provider]})


def test_unknown_model_of_responses_is_the_clients_own_error(boxed):
    with pytest.raises(errors.BadRequestResponseError) as caught:
        boxed.responses.send(model="no/such", input="x")

    assert "no/such" in str(caught.value)


def test_failure_of_embeddings_is_the_clients_own_error(boxed):
    with pytest.raises(errors.BadRequestResponseError):
        boxed.embeddings.generate(model=EMBEDDERS[0], input=[])
