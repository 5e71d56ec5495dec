"""Azure OpenAI: where a request goes, with which key, and what differs in the body."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from routing.credentials import ApiKey, AwsKeys, AzureKey, Credential
from routing.errors import UpstreamDenied, UpstreamLimited, UpstreamRejected
from routing.wire.chat import parse_chat
from routing.wire.embeddings import parse_embeddings
from workers.dialects.azure import API_VERSION, AzureDialect, AzureEmbeddings

CHAT = parse_chat(b'{"model":"a/m","messages":[{"role":"user","content":"Hi"}],"user":"ada"}')
PROMPT = parse_chat(b'{"model":"a/m","prompt":"Once"}')
EMBEDDINGS = parse_embeddings(b'{"model":"a/m","input":"Hi"}')
BASE = "https://x.openai.azure.com/openai/deployments/d"
KEY = AzureKey(
    value="secret",
    endpoint_url=f"{BASE}/chat/completions?api-version=2025-01-01-preview",
    model_id="gpt-4o",
)
QUIRKS = frozenset({"developer_role", "strict_fields", "max_completion_tokens"})


@pytest.fixture
def azure(endpoint: Any) -> Any:
    return endpoint(provider={"quirks": QUIRKS, "base_url": "https://acme.test"})


@pytest.mark.parametrize(
    ("request_", "path"),
    [(CHAT, "chat/completions"), (PROMPT, "chat/completions"), (EMBEDDINGS, "embeddings")],
)
def test_a_deployments_key_goes_to_its_own_address(azure, request_, path):
    dialect: Any = AzureEmbeddings() if request_ is EMBEDDINGS else AzureDialect()

    upstream = dialect.encode(request_, azure, KEY, stream=False)

    assert upstream.url == f"{BASE}/{path}?api-version=2025-01-01-preview"
    assert upstream.headers["api-key"] == "secret"
    assert "authorization" not in upstream.headers
    assert orjson.loads(upstream.body)["model"] == "gpt-4o"


@pytest.mark.parametrize(
    ("request_", "path"),
    [(CHAT, "chat/completions"), (PROMPT, "chat/completions"), (EMBEDDINGS, "embeddings")],
)
def test_a_plain_key_goes_to_the_deployment_of_the_catalog(azure, request_, path):
    dialect: Any = AzureEmbeddings() if request_ is EMBEDDINGS else AzureDialect()

    upstream = dialect.encode(request_, azure, ApiKey("secret"), stream=False)

    deployment = "https://acme.test/openai/deployments/m-1"
    assert upstream.url == f"{deployment}/{path}?api-version={API_VERSION}"
    assert upstream.headers["api-key"] == "secret"


def test_an_address_that_is_no_chat_address_is_left_alone(azure):
    key = AzureKey(value="k", endpoint_url="https://proxy.test/azure", model_id="m")

    assert AzureEmbeddings().encode(EMBEDDINGS, azure, key, stream=False).url == key.endpoint_url


def test_a_key_of_another_kind_is_refused(azure):
    key: Credential = AwsKeys(access_key_id="a", secret_access_key="")

    with pytest.raises(UpstreamDenied):
        AzureDialect().encode(CHAT, azure, key, stream=False)


def test_the_user_goes_by_its_older_name(azure):
    body = orjson.loads(AzureDialect().encode(CHAT, azure, KEY, stream=True).body)

    assert len(body.pop("user")) == 32
    assert body == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_filtered_prompt_is_told_in_azures_words():
    body = {
        "error": {
            "code": "content_filter",
            "message": "The response was filtered due to the prompt.",
            "param": "prompt",
            "type": None,
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation"},
        }
    }

    error = AzureDialect().error(400, {}, orjson.dumps(body), 0)

    assert isinstance(error, UpstreamRejected)
    assert error.message == "The response was filtered due to the prompt."
    with pytest.raises(UpstreamRejected, match="was filtered"):
        AzureDialect().answer(orjson.dumps(body))


def test_limits_come_as_digits():
    with pytest.raises(UpstreamLimited):
        AzureDialect().answer(b'{"error":{"code":"429","message":"slow down"}}')
    denied = AzureDialect().error(401, {}, b'{"error":{"code":"401","message":"bad key"}}', 0)
    assert isinstance(denied, UpstreamDenied)
