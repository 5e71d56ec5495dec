"""What is asked in a cell."""

from __future__ import annotations

from dataclasses import dataclass

from tests.matrix.asking import TIME, WEATHER, Fields

#: In the simulator's words: the model refuses; the provider refuses the request; it breaks off
#: after eight events.
REFUSES = "refusal"
REJECTS = "context_400"
BREAKS = "error_mid:8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column.

    Attributes:
        title: its name on the page.
        wants: what a row's model must be able to do, for `rows.Row.models`.
        said: what the user says; the simulator calls tools where it reads `weather`.
        replies: whether the answer goes back, with the tools' results, for a second one.
        foreign: whether it goes on from a turn of another provider.
        repeats: whether it is asked twice.
        fault: what the simulator does to it.
        plain: whether it makes sense without a stream.
        streams: and with one.
    """

    name: str
    title: str
    wants: str = "chat"
    said: str = "Say hello"
    tools: tuple[Fields, ...] = ()
    media: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    reasoning: bool = False
    schema: bool = False
    cached: bool = False
    replies: bool = False
    foreign: bool = False
    repeats: bool = False
    fault: str = ""
    plain: bool = True
    streams: bool = True


FEATURES = (
    Feature(name="text", title="text"),
    Feature(name="tools", title="tools", wants="tools", said="The weather?", tools=(WEATHER,)),
    Feature(
        name="parallel",
        title="parallel tools",
        wants="tools",
        said="The weather and the time in parallel?",
        tools=(WEATHER, TIME),
    ),
    Feature(
        name="results",
        title="tool results",
        wants="tools",
        said="The weather and the time in parallel?",
        tools=(WEATHER, TIME),
        replies=True,
    ),
    Feature(name="reasoning", title="reasoning", wants="reasoning", reasoning=True),
    Feature(
        name="thoughts",
        title="thoughts sent back",
        wants="thoughts",
        said="The weather?",
        tools=(WEATHER,),
        reasoning=True,
        replies=True,
    ),
    Feature(
        name="foreign",
        title="another's turn",
        wants="thoughts",
        said="The weather?",
        tools=(WEATHER,),
        reasoning=True,
        foreign=True,
    ),
    Feature(name="schema", title="JSON schema", wants="schema", schema=True),
    Feature(name="image", title="image in", wants="image", media=("image",)),
    Feature(name="draw", title="image out", wants="draw", outputs=("image",)),
    Feature(name="audio", title="audio in", wants="audio", media=("audio",)),
    Feature(name="speak", title="audio out", wants="speak", outputs=("audio",)),
    Feature(name="file", title="file", wants="file", media=("file",)),
    Feature(name="video", title="video", wants="video", media=("video",)),
    Feature(name="cache", title="prompt cache", wants="cache", cached=True, repeats=True),
    Feature(name="refusal", title="refusal", fault=REFUSES),
    Feature(name="error", title="error", fault=REJECTS),
    Feature(name="broken", title="error mid-stream", fault=BREAKS, plain=False),
)
VECTORS = (
    Feature(name="vectors", title="vectors", wants="embeddings", streams=False),
    Feature(name="error", title="error", wants="embeddings", fault=REJECTS, streams=False),
)
