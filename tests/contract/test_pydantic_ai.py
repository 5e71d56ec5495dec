"""pydantic-ai's own OpenRouter adapter: what it sends is taken, what it reads is there."""

from __future__ import annotations

import asyncio

import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput, ToolOutput
from pydantic_ai.messages import ModelResponse, ThinkingPart, ToolCallPart
from pydantic_ai.models.openrouter import OpenRouterModel, OpenRouterModelSettings
from pydantic_ai.providers.openrouter import OpenRouterProvider

from tests.contract.samples import ASK_WEATHER, PNG, SUNNY, Forecast
from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

MODELS = [
    "openai/gpt-4o-mini",
    "openai/gpt-5-codex",
    "anthropic/claude-sonnet-4.5",
    "google/gemini-2.5-flash",
    "amazon/nova-lite-v1",
    "cohere/command-a",
]
#: The adapter itself asks no others for it.
NATIVE = [model for model in MODELS if not model.startswith(("amazon/", "cohere/"))]
THINKERS = ["openai/gpt-5-codex", "anthropic/claude-sonnet-4.5", "google/gemini-3-pro-preview"]


class Adapter:
    """Agents on this router, each run in an event loop of its own."""

    def __init__(self, sandbox):
        self.sandbox = sandbox

    def run(self, model, work, **agent):
        """Do `work` with an agent."""

        async def inside():
            async with AsyncOpenAI(
                base_url=self.sandbox.base_url, api_key=self.sandbox.api_key, max_retries=0
            ) as client:
                provider = OpenRouterProvider(openai_client=client)
                return await work(Agent(OpenRouterModel(model, provider=provider), **agent))

        return asyncio.run(inside())

    def ask(self, model, said, settings=None, **agent):
        """One run of an agent."""
        return self.run(model, lambda one: one.run(said, model_settings=settings), **agent)


@pytest.fixture
def adapter(sandbox):
    return Adapter(sandbox)


def get_weather(city: str) -> str:
    """The weather somewhere."""
    return f"{SUNNY}-{len(city) >= 0}"


@pytest.mark.parametrize("model", MODELS)
def test_plain(adapter, model):
    result = adapter.ask(model, "Say hello", instructions="Be brief.")

    assert "Hello" in result.output
    assert result.usage.input_tokens > 0
    assert result.usage.output_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_stream(adapter, model):
    async def work(agent):
        async with agent.run_stream("Say hello") as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        return pieces, result.usage

    pieces, usage = adapter.run(model, work)

    assert len(pieces) > 1
    assert "Hello" in "".join(pieces)
    assert usage.output_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_tools(adapter, model):
    result = adapter.ask(model, ASK_WEATHER, tools=[get_weather])

    calls = [part for message in result.all_messages() for part in message.parts]
    assert [c.tool_name for c in calls if isinstance(c, ToolCallPart)] == ["get_weather"]
    assert SUNNY in result.output


@pytest.mark.parametrize("model", MODELS)
def test_tools_streamed(adapter, model):
    async def work(agent):
        async with agent.run_stream(ASK_WEATHER) as result:
            return await result.get_output()

    assert SUNNY in adapter.run(model, work, tools=[get_weather])


@pytest.mark.parametrize("model", MODELS)
def test_structured_output_by_a_tool(adapter, model):
    result = adapter.ask(model, "The weather in Kyiv", output_type=ToolOutput(Forecast))

    assert isinstance(result.output, Forecast)


@pytest.mark.parametrize("model", NATIVE)
def test_structured_output_of_the_model(adapter, model):
    result = adapter.ask(model, "The weather in Kyiv", output_type=NativeOutput(Forecast))

    assert isinstance(result.output, Forecast)


@pytest.mark.parametrize("model", THINKERS)
@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_go_back_with_the_tools_answer(adapter, sandbox, model, stream):
    marker = new_marker()
    settings = OpenRouterModelSettings(openrouter_reasoning={"effort": "high"})

    async def streamed(agent):
        said = f"{ASK_WEATHER} {marker}"
        async with agent.run_stream(said, model_settings=settings) as result:
            await result.get_output()
            return result

    if stream:
        result = adapter.run(model, streamed, tools=[get_weather])
    else:
        result = adapter.ask(model, f"{ASK_WEATHER} {marker}", settings, tools=[get_weather])

    said = [message for message in result.all_messages() if isinstance(message, ModelResponse)]
    assert any(isinstance(part, ThinkingPart) for part in said[0].parts)
    assert SUNNY in said[-1].text
    # The simulator checks every signature it is sent, as the providers do.
    assert [call["outcome"] for call in sandbox.upstream(marker)] == ["finished", "finished"]


def test_image(adapter):
    said = ["What is this?", BinaryContent(data=PNG, media_type="image/png")]

    assert "I see: image/png" in adapter.ask(MODELS[0], said).output


def test_provider_and_cost_are_told(adapter):
    settings = OpenRouterModelSettings(
        openrouter_provider={"order": ["azure"], "allow_fallbacks": False},
        openrouter_usage={"include": True},
    )

    result = adapter.ask("openai/gpt-4o-mini", "Say hello", settings)

    details = result.all_messages()[-1].provider_details
    assert details["downstream_provider"] == "Azure"
    assert details["cost"] > 0


@pytest.mark.parametrize(
    ("model", "settings", "status"),
    [
        ("openai/no-such-model", None, 400),
        (MODELS[0], OpenRouterModelSettings(openrouter_provider={"only": ["nobody"]}), 404),
    ],
)
def test_failure_is_the_adapters_own(adapter, model, settings, status):
    with pytest.raises(ModelHTTPError) as caught:
        adapter.ask(model, "Say hello", settings)

    assert caught.value.status_code == status
