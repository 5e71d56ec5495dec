"""The providers, what they are asked with, and what they cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOT_FOUND = 404
BAD_REQUEST = 400
BAD_GATEWAY = 502
OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Cannot:
    """Why a cell is empty, and what the router does when it is asked all the same.

    Attributes:
        why: a property of the provider, or of the inbound API.
        status: of the answer; 200 where what was asked for is left out.
        says: a part of the error's message; for 200, what happens.
        kind: the word in it that differs from cell to cell; the page leaves it out.
    """

    why: str
    status: int = OK
    says: str = ""
    kind: str = ""

    @property
    def told(self) -> str:
        """The note on the page."""
        if self.status == OK:
            return f"{self.why} {self.says}"
        says = self.says.replace(self.kind, "…") if self.kind else self.says
        return f"{self.why} {self.status}: “{says}”"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One provider with one wire format.

    Attributes:
        slug: for `provider.only`.
        models: model by what is wanted of it; what is not named is asked of `chat`.
        cannot: by feature, or by what a feature wants.
        hides: thoughts are counted and not shown.
        replays: found in the request that brings thoughts back; "" where they are left out.
        marks: found in a request with cache marks; "" where they are left out.
        completes: it has text completions of its own, so a bare prompt stays one.
    """

    title: str
    slug: str
    dialect: str
    models: Mapping[str, str]
    cannot: Mapping[str, Cannot] = field(default_factory=dict)
    hides: bool = False
    replays: str = ""
    marks: str = ""
    completes: bool = False

    @property
    def name(self) -> str:
        """Short, for test ids."""
        return self.slug if self.dialect == "openai" else self.dialect

    def model(self, wants: str) -> str:
        """Who is asked for this; for what nobody can do, the usual model."""
        return self.models.get(wants, self.models["chat"])


_OUTPUTS = {"draw": "image", "speak": "audio"}


def _lacks(why: str, *wants: str) -> dict[str, Cannot]:
    """What is neither read nor made, with the router's answer to each."""
    return {name: _not_found(why, name) for name in wants}


def _not_found(why: str, name: str) -> Cannot:
    kind = ""
    match name:
        case "tools" | "thoughts":
            says = "No endpoints found that support tool use."
        case "schema":
            says = "No endpoints found that can handle the requested parameters."
        case "draw" | "speak":
            kind = f"text, {_OUTPUTS[name]}"
            says = f"No endpoints found that support the requested output modalities: {kind}"
        case "embeddings":
            says = "No endpoints found that support the requested output modalities: embeddings"
        case _:
            kind = name
            says = f"No endpoints found that support {kind} input"
    return Cannot(why=why, status=NOT_FOUND, says=says, kind=kind)


_NO_VECTORS_CHAT = "Its embeddings are not part of this wire format."
_OPEN_WEIGHTS = "Its language models read text and pictures and write text."
_SPEECH_APART = "Speech is not among the outputs of its language models."

ROWS = (
    Row(
        title="OpenAI",
        slug="openai",
        dialect="openai",
        models={
            "chat": "openai/gpt-4o-mini",
            "reasoning": "openai/gpt-5-mini",
            "thoughts": "openai/gpt-5-mini",
            "audio": "openai/gpt-4o-audio-preview",
            "speak": "openai/gpt-4o-audio-preview",
            "embeddings": "openai/text-embedding-3-small",
        },
        cannot={
            **_lacks("Chat Completions draw no pictures.", "draw"),
            **_lacks("Chat Completions take no video.", "video"),
        },
        hides=True,
    ),
    Row(
        title="OpenAI (Responses)",
        slug="openai",
        dialect="openai-responses",
        models={"chat": "openai/gpt-5-codex", "file": "openai/o3-pro"},
        cannot={
            **_lacks("The models of this API alone neither hear nor speak.", "audio", "speak"),
            **_lacks("Pictures come from a tool there, not from the model.", "draw"),
            **_lacks("The Responses API takes no video.", "video"),
            **_lacks(_NO_VECTORS_CHAT, "embeddings"),
        },
        replays='"encrypted_content"',
    ),
    Row(
        title="Azure",
        slug="azure",
        dialect="azure",
        models={
            "chat": "openai/gpt-4o-mini",
            "reasoning": "openai/gpt-5-mini",
            "thoughts": "openai/gpt-5-mini",
            "audio": "openai/gpt-4o-audio-preview",
            "speak": "openai/gpt-4o-audio-preview",
            "embeddings": "openai/text-embedding-3-small",
        },
        cannot={
            **_lacks("Chat Completions draw no pictures.", "draw"),
            **_lacks("Chat Completions take no video.", "video"),
        },
        hides=True,
    ),
    Row(
        title="Anthropic",
        slug="anthropic",
        dialect="anthropic",
        models={"chat": "anthropic/claude-sonnet-4.5"},
        cannot={
            **_lacks("Claude neither hears nor watches.", "audio", "video"),
            **_lacks("Claude writes text only.", "draw", "speak"),
            **_lacks("Anthropic has no embeddings.", "embeddings"),
        },
        replays='"signature"',
        marks='"cache_control"',
    ),
    Row(
        title="Vertex AI (Claude)",
        slug="google-vertex",
        dialect="vertex-anthropic",
        models={"chat": "anthropic/claude-sonnet-4.5"},
        cannot={
            **_lacks("Claude neither hears nor watches.", "audio", "video"),
            **_lacks("Claude writes text only.", "draw", "speak"),
            **_lacks("Claude's structured outputs are not offered on Vertex AI.", "schema"),
            **_lacks("Anthropic has no embeddings.", "embeddings"),
        },
        replays='"signature"',
        marks='"cache_control"',
    ),
    Row(
        title="Google AI Studio",
        slug="google-ai-studio",
        dialect="gemini",
        models={
            "chat": "google/gemini-2.5-flash",
            "thoughts": "google/gemini-3-pro-preview",
            "draw": "google/gemini-2.5-flash-image",
            "embeddings": "google/gemini-embedding-001",
        },
        cannot=_lacks(_SPEECH_APART, "speak"),
        replays='"thoughtSignature"',
    ),
    Row(
        title="Vertex AI (Gemini)",
        slug="google-vertex",
        dialect="vertex",
        models={
            "chat": "google/gemini-2.5-flash",
            "thoughts": "google/gemini-3-pro-preview",
            "draw": "google/gemini-2.5-flash-image",
            "embeddings": "google/gemini-embedding-001",
        },
        cannot=_lacks(_SPEECH_APART, "speak"),
        replays='"thoughtSignature"',
    ),
    Row(
        title="Amazon Bedrock",
        slug="amazon-bedrock",
        dialect="bedrock",
        models={"chat": "anthropic/claude-sonnet-4.5", "video": "amazon/nova-lite-v1"},
        cannot={
            **_lacks("Converse has no mode for JSON schemas.", "schema"),
            **_lacks("Converse has no blocks for sound.", "audio", "speak"),
            **_lacks("The models behind Converse draw no pictures.", "draw"),
            **_lacks("Converse has no embeddings.", "embeddings"),
        },
        replays='"reasoningContent"',
        marks='"cachePoint"',
    ),
    Row(
        title="Cohere",
        slug="cohere",
        dialect="cohere",
        models={
            "chat": "cohere/command-a",
            "reasoning": "cohere/command-a-reasoning",
            "thoughts": "cohere/command-a-reasoning",
            "image": "cohere/command-a-vision",
            "embeddings": "cohere/embed-v4.0",
        },
        cannot={
            **_lacks("Command reads text and pictures.", "audio", "file", "video"),
            **_lacks("Command writes text only.", "draw", "speak"),
            "refusal": Cannot(
                why="It has no word for a refusal; its finish reason is ERROR.",
                status=BAD_GATEWAY,
                says="Provider returned error",
            ),
        },
        replays='"thinking"',
    ),
    Row(
        title="Mistral",
        slug="mistral",
        dialect="openai",
        models={
            "chat": "mistralai/mistral-medium-3.1",
            "reasoning": "mistralai/magistral-medium-2509",
            "thoughts": "mistralai/magistral-medium-2509",
            "embeddings": "mistralai/mistral-embed-2312",
        },
        cannot=_lacks(
            "Its models read text, pictures and documents and write text.",
            "audio",
            "video",
            "draw",
            "speak",
        ),
    ),
    Row(
        title="Groq",
        slug="groq",
        dialect="openai",
        models={"chat": "openai/gpt-oss-120b", "image": "meta-llama/llama-4-scout"},
        cannot={
            **_lacks(_OPEN_WEIGHTS, "audio", "file", "video", "draw", "speak"),
            **_lacks("Groq has no embeddings.", "embeddings"),
        },
    ),
    Row(
        title="DeepSeek",
        slug="deepseek",
        dialect="openai",
        models={"chat": "deepseek/deepseek-v3.2"},
        cannot={
            **_lacks("It has a JSON mode and none for schemas.", "schema"),
            **_lacks("Its models read text only.", "image", "audio", "file", "video"),
            **_lacks("Its models write text only.", "draw", "speak"),
            **_lacks("DeepSeek has no embeddings.", "embeddings"),
        },
        replays='"reasoning_content"',
    ),
    Row(
        title="xAI",
        slug="xai",
        dialect="openai",
        models={"chat": "x-ai/grok-4-fast"},
        cannot={
            **_lacks("Grok reads text and pictures.", "audio", "file", "video"),
            **_lacks("Grok writes text only.", "draw", "speak"),
            **_lacks("xAI has no embeddings.", "embeddings"),
        },
        completes=True,
    ),
    Row(
        title="Together",
        slug="together",
        dialect="openai",
        models={
            "chat": "openai/gpt-oss-120b",
            "image": "meta-llama/llama-4-scout",
            "embeddings": "intfloat/multilingual-e5-large-instruct",
        },
        cannot=_lacks(_OPEN_WEIGHTS, "audio", "file", "video", "draw", "speak"),
        completes=True,
    ),
    Row(
        title="Fireworks",
        slug="fireworks",
        dialect="openai",
        models={
            "chat": "openai/gpt-oss-120b",
            "image": "meta-llama/llama-4-scout",
            "embeddings": "qwen/qwen3-embedding-8b",
        },
        cannot=_lacks(_OPEN_WEIGHTS, "audio", "file", "video", "draw", "speak"),
        completes=True,
    ),
    Row(
        title="DeepInfra",
        slug="deepinfra",
        dialect="openai",
        models={
            "chat": "openai/gpt-oss-120b",
            "image": "meta-llama/llama-4-scout",
            "embeddings": "qwen/qwen3-embedding-8b",
        },
        cannot={
            **_lacks("It documents a JSON mode and none for schemas.", "schema"),
            **_lacks(_OPEN_WEIGHTS, "audio", "file", "video", "draw", "speak"),
        },
        completes=True,
    ),
    Row(
        title="Alibaba",
        slug="alibaba",
        dialect="openai",
        models={"chat": "qwen/qwen3.5-397b-a17b"},
        cannot={
            **_lacks("Qwen reads text, pictures and films.", "audio", "file"),
            **_lacks("Qwen writes text only.", "draw", "speak"),
            **_lacks("Its embeddings are not in the catalog.", "embeddings"),
        },
    ),
    Row(
        title="Moonshot AI",
        slug="moonshotai",
        dialect="openai",
        models={"chat": "moonshotai/kimi-k2.6"},
        cannot={
            **_lacks("Kimi reads text and pictures.", "audio", "file", "video"),
            **_lacks("Kimi writes text only.", "draw", "speak"),
            **_lacks("Moonshot AI has no embeddings.", "embeddings"),
        },
        replays='"reasoning_content"',
    ),
    Row(
        title="Perplexity",
        slug="perplexity",
        dialect="openai",
        models={"chat": "perplexity/sonar"},
        cannot={
            **_lacks("Sonar calls no tools.", "tools", "thoughts"),
            "reasoning": Cannot(why="Sonar does not think.", says="The parameter is left out."),
            **_lacks("Sonar reads text and pictures.", "audio", "file", "video"),
            **_lacks("Sonar writes text only.", "draw", "speak"),
            **_lacks("Perplexity has no embeddings.", "embeddings"),
        },
    ),
    Row(
        title="OpenRouter",
        slug="openrouter",
        dialect="openai",
        models={
            "chat": "moonshotai/kimi-k2-thinking",
            "image": "google/gemini-2.5-flash-lite-preview-09-2025",
            "audio": "google/gemini-2.5-flash-lite-preview-09-2025",
            "file": "google/gemini-2.5-flash-lite-preview-09-2025",
            "video": "google/gemini-2.5-flash-lite-preview-09-2025",
            "draw": "google/gemini-3-pro-image-preview",
            "speak": "openai/gpt-audio",
            "embeddings": "qwen/qwen3-embedding-4b",
        },
        replays='"reasoning_details"',
        marks='"cache_control"',
        completes=True,
    ),
)
