"""Which dialect serves which path, and how calls without an answer of their own are recorded."""

import pytest

from tests.unit.workers.simulator.talk import call, simulator
from workers.simulator.exchange import DIALECTS

VERTEX = "/v1/projects/p/locations/l/publishers"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "OpenAIDialect"),
        ("/openai/v1/chat/completions", "OpenAIDialect"),
        ("/v1beta/openai/chat/completions", "OpenAIDialect"),
        ("/v1/embeddings", "OpenAIDialect"),
        ("/v1/models", "OpenAIDialect"),
        ("/v1/responses", "ResponsesDialect"),
        ("/openai/v1/responses", "ResponsesDialect"),
        ("/openai/deployments/d/chat/completions", "AzureDialect"),
        ("/openai/deployments/d/embeddings", "AzureDialect"),
        ("/v1/messages", "AnthropicDialect"),
        ("/v1/messages/count_tokens", "AnthropicDialect"),
        (f"{VERTEX}/anthropic/models/m:rawPredict", "AnthropicVertexDialect"),
        (f"{VERTEX}/anthropic/models/m@1:streamRawPredict", "AnthropicVertexDialect"),
        (f"{VERTEX}/google/models/m:streamGenerateContent", "GeminiDialect"),
        ("/v1beta/models/m:generateContent", "GeminiDialect"),
        ("/token", "TokenDialect"),
        ("/model/a.b-v1:0/converse-stream", "BedrockDialect"),
        ("/v2/chat", "CohereDialect"),
        ("/v2/embed", "CohereDialect"),
    ],
)
def test_the_right_dialect_serves_the_path(path: str, name: str):
    first = next(dialect for dialect in DIALECTS if dialect.claims(path))

    assert type(first).__name__ == name


def test_nothing_serves_other_paths():
    assert call("/p/openai/v2/nothing", {}, {}).status == 404


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"model": "m", "messages": [{"role": "user", "content": "x"}]}, "finished"),
        ({"model": "m"}, "refused"),
    ],
)
def test_what_is_answered_at_once_is_not_always_refused(body: dict[str, object], outcome: str):
    to = simulator()
    headers = {
        "x-api-key": "k",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
    }
    call("/p/anthropic/v1/messages/count_tokens", body, headers, to=to, end=True)

    (record,) = to.journal.report()["calls"]
    assert record.outcome == outcome
