"""The official `openai` client, unchanged but for its base URL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2 as http
import openai
import pytest

from tests.e2e.catalog import FREE, STORY
from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

GOOD = {"provider": {"only": ["good"]}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather somewhere",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
THINKER = "deepseek/deepseek-r1"


@pytest.fixture
def client(system):
    with openai.OpenAI(
        base_url=system.cluster.base_url, api_key=system.cluster.api_key, max_retries=0
    ) as made:
        yield made


def say(text="Say hello"):
    return [{"role": "user", "content": text}]


def test_plain_chat(client):
    answer = client.chat.completions.create(model=STORY, messages=say(), extra_body=GOOD)

    assert answer.id.startswith("gen-")
    assert answer.object == "chat.completion"
    assert answer.model == STORY
    assert answer.choices[0].finish_reason == "stop"
    assert "Hello" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.cost > 0
    assert answer.provider == "Good"


def test_streamed_chat(client):
    chunks = list(
        client.chat.completions.create(
            model=STORY,
            messages=say(),
            stream=True,
            stream_options={"include_usage": True},
            extra_body=GOOD,
        )
    )

    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert "Hello" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert [reason for reason in reasons if reason] == ["stop"]
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    assert chunks[-1].usage == usage
    assert usage.completion_tokens > 0


def test_stream_helper_gathers_the_same_answer(client):
    with client.chat.completions.stream(model=STORY, messages=say(), extra_body=GOOD) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        whole = stream.get_final_completion()

    assert "".join(pieces) == whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop"


def test_tool_call_plain(client):
    answer = client.chat.completions.create(
        model=STORY, messages=say("weather?"), tools=TOOLS, tool_choice="required", extra_body=GOOD
    )

    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert "city" in call.function.arguments
    assert call.id


def test_tool_call_streamed_and_answered(client):
    messages = say("weather?")
    with client.chat.completions.stream(
        model=STORY, messages=messages, tools=TOOLS, tool_choice="required", extra_body=GOOD
    ) as stream:
        whole = stream.get_final_completion()
    (call,) = whole.choices[0].message.tool_calls

    final = client.chat.completions.create(
        model=STORY,
        messages=[
            *messages,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {
                            "name": call.function.name,
                            "arguments": call.function.arguments,
                        },
                    }
                ],
            },
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ],
        tools=TOOLS,
        extra_body=GOOD,
    )

    assert call.function.name == "get_weather"
    assert "city" in call.function.arguments
    assert whole.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].finish_reason == "stop"
    assert final.choices[0].message.content


def test_reasoning_is_shown_plain_and_streamed(client):
    answer = client.chat.completions.create(model=THINKER, messages=say())
    chunks = list(client.chat.completions.create(model=THINKER, messages=say(), stream=True))

    assert answer.choices[0].message.reasoning
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0
    thoughts = [getattr(chunk.choices[0].delta, "reasoning", None) for chunk in chunks]
    assert any(thoughts)
    assert any(chunk.choices[0].delta.content for chunk in chunks)


def test_legacy_completions_plain_and_streamed(client):
    answer = client.completions.create(model=STORY, prompt="Once", max_tokens=50, extra_body=GOOD)
    chunks = list(
        client.completions.create(
            model=STORY, prompt="Once", max_tokens=50, stream=True, extra_body=GOOD
        )
    )

    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.usage.total_tokens > 0
    assert "".join(chunk.choices[0].text for chunk in chunks)
    assert chunks[-1].usage.total_tokens > 0


def test_models_are_listed(client):
    models = {model.id for model in client.models.list()}

    assert {STORY, FREE, "openai/gpt-4o-mini"} <= models


def test_headers_of_the_answer(client):
    raw = client.chat.completions.with_raw_response.create(
        model=STORY, messages=say(), extra_body=GOOD, extra_headers={"X-Request-Id": "req-mine-1"}
    )

    assert raw.headers["X-Generation-Id"] == raw.parse().id
    assert raw.headers["X-Request-Id"] == "req-mine-1"
    assert raw.parse()._request_id == "req-mine-1"


def test_provider_preferences_in_extra_body(client):
    for slug in ("good", "spare"):
        answer = client.chat.completions.create(
            model=STORY,
            messages=say(),
            extra_body={"provider": {"order": [slug], "allow_fallbacks": False}},
        )

        assert answer.provider == slug.title()


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "no/such"}, openai.BadRequestError),
        ({"messages": []}, openai.BadRequestError),
        ({"extra_body": {"provider": {"only": ["nobody"]}}}, openai.NotFoundError),
        ({"extra_body": {"provider": {"only": ["busy-sdk"]}}}, openai.RateLimitError),
        ({"extra_body": {"provider": {"only": ["denied"]}}}, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_failures_are_the_clients_own_exceptions(client, fields, kind, stream):
    if kind is openai.RateLimitError and stream:
        fields = {"extra_body": {"provider": {"only": ["busy-sdk-2"]}}}

    with pytest.raises(kind) as caught:
        client.chat.completions.create(
            **{"model": STORY, "messages": say(), "stream": stream, **fields}
        )

    assert caught.value.body["code"] == caught.value.status_code
    assert caught.value.body["message"]


def test_wrong_key_is_an_authentication_error(system):
    with (
        openai.OpenAI(
            base_url=system.cluster.base_url, api_key="sk-or-v1-wrong", max_retries=0
        ) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model=STORY, messages=say())


def test_management_key_is_a_permission_error(system):
    with (
        openai.OpenAI(
            base_url=system.cluster.base_url,
            api_key=system.cluster.management_key,
            max_retries=0,
        ) as client,
        pytest.raises(openai.PermissionDeniedError),
    ):
        client.chat.completions.create(model=STORY, messages=say())


def test_in_band_error_of_a_stream_is_raised(client):
    with pytest.raises(openai.APIError) as caught:
        list(
            client.chat.completions.create(
                model=STORY,
                messages=say(),
                stream=True,
                extra_body={"provider": {"only": ["error-mid"]}},
            )
        )

    assert "Provider returned error" in str(caught.value)


class Forgetful(http.HTTPTransport):
    """Loses the first answer on its way back, as a broken network does."""

    lost = 0

    def handle_request(self, request):
        response = super().handle_request(request)
        if not self.lost:
            self.lost += 1
            response.read()
            raise http.ReadError("lost on the way", request=request)
        return response


def test_retry_of_the_client_with_an_idempotency_key_is_one_call_and_one_charge(system):
    marker = new_marker()
    transport = Forgetful()
    with openai.OpenAI(
        base_url=system.cluster.base_url,
        api_key=system.cluster.api_key,
        max_retries=2,
        http_client=openai.DefaultHttpxClient(transport=transport),
    ) as client:
        # The client sends none of its own accord, but repeats the one it was given.
        answer = client.chat.completions.create(
            model=STORY,
            messages=say(f"Hello {marker}"),
            extra_body=GOOD,
            extra_headers={"Idempotency-Key": marker},
        )

    assert transport.lost == 1
    assert len(system.calls(marker)) == 1
    found = system.settled(answer.id)
    assert system.paid_nano(answer.id)["customer"] == -found.cost_nano


def test_many_clients_at_once(client):
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda number: client.chat.completions.create(
                    model=STORY, messages=say(f"number {number}"), extra_body=GOOD
                ),
                range(16),
            )
        )

    for number, answer in enumerate(answers):
        assert f"number {number}”" in answer.choices[0].message.content
