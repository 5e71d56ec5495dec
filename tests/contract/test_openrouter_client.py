"""The official `openrouter` client: every answer must fit its models, field by field."""

from __future__ import annotations

import pytest
from openrouter import OpenRouter, errors

from tests.e2e.catalog import STORY

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

MESSAGES = [{"role": "user", "content": "Say hello"}]
GOOD = {"only": ["good"]}


@pytest.fixture
def client(system):
    with OpenRouter(api_key=system.cluster.api_key, server_url=system.cluster.base_url) as made:
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
