"""The cells: every inbound API with every row and every feature, plain and streamed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.matrix.asking import Question
from tests.matrix.features import FEATURES, VECTORS, Feature
from tests.matrix.rows import BAD_REQUEST, ROWS, Cannot, Row

#: The inbound APIs with their titles.
APIS: Mapping[str, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "messages": "/messages",
    "embeddings": "/embeddings",
}

_NO_TOOLS = Cannot(
    why="Text completions have no tools.", says="The tools are left out; the answer is text."
)
_ONE_STRING = Cannot(
    why="A prompt is one string.", status=BAD_REQUEST, says="prompt: must be a string"
)
_TEXT_OUT = Cannot(
    why="Text completions hold text only.",
    says="`modalities` is left out; the answer is text.",
)
_NO_BLOCK = Cannot(
    why="This API has no block for it.",
    status=BAD_REQUEST,
    says="must be a block of a user whose type is one of",
)
_NO_FIELD = Cannot(
    why="This API has no field that asks for it, and no block it could come in.",
    says="`modalities` is left out; the answer is text.",
)
#: What an inbound API itself has no place for.
_CANNOT: Mapping[str, Mapping[str, Cannot]] = {
    "completions": {
        **dict.fromkeys(("tools", "parallel", "results", "thoughts", "foreign"), _NO_TOOLS),
        **dict.fromkeys(("image", "audio", "file", "video"), _ONE_STRING),
        **dict.fromkeys(("draw", "speak"), _TEXT_OUT),
    },
    "responses": {
        "speak": Cannot(
            why="This API has no item for sound.",
            status=BAD_REQUEST,
            says="modalities[0]: must be 'text' or 'image', not 'audio'",
        )
    },
    "messages": {
        **dict.fromkeys(("audio", "video"), _NO_BLOCK),
        **dict.fromkeys(("draw", "speak"), _NO_FIELD),
    },
}
#: What a provider's own text completions do not take.
_BARE: Mapping[str, Cannot] = {
    "reasoning": Cannot(
        why="The provider's text completions do not think.", says="The parameter is left out."
    ),
    "schema": Cannot(
        why="The provider's text completions take no schema.", says="The parameter is left out."
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One test."""

    api: str
    row: Row
    feature: Feature
    stream: bool

    @property
    def id(self) -> str:
        """For pytest."""
        mode = "stream" if self.stream else "plain"
        return f"{self.api}-{self.row.name}-{self.feature.name}-{mode}"

    @property
    def cannot(self) -> Cannot | None:
        """Why it is empty; None for a cell that works."""
        return cannot(self.api, self.row, self.feature)

    @property
    def question(self) -> Question:
        """What is asked in it."""
        feature = self.feature
        return Question(
            model=self.row.model(feature.wants),
            provider=self.row.slug,
            said=feature.said,
            stream=self.stream,
            tools=feature.tools,
            media=feature.media,
            outputs=feature.outputs,
            reasoning=feature.reasoning,
            schema=feature.schema,
            cached=feature.cached,
        )


def cannot(api: str, row: Row, feature: Feature) -> Cannot | None:
    """Why an inbound API, a provider and a feature do not come together."""
    found = (
        _CANNOT.get(api, {}).get(feature.name)
        or row.cannot.get(feature.name)
        or row.cannot.get(feature.wants)
    )
    if found is None and api == "completions" and row.completes:
        return _BARE.get(feature.name)
    return found


def marked(api: str, row: Row) -> bool:
    """Whether cache marks reach the provider."""
    return bool(row.marks) and not (api == "completions" and row.completes)


def note(api: str, row: Row, feature: Feature) -> str:
    """What a reader should know of a cell that works; "" for nothing."""
    thinks = feature.name in {"reasoning", "thoughts"}
    if thinks and row.hides:
        return "The provider thinks in silence: its thoughts are counted, and never shown."
    if feature.name == "thoughts" and not row.replays:
        return "The provider takes no thoughts back: they are left out."
    if feature.name == "cache" and not marked(api, row):
        return "The provider has no cache marks: they are left out, and what it caches is counted."
    if feature.name == "cache" and api == "completions":
        return "A prompt has no place for a mark; `cache_control` beside it marks the whole."
    return ""


def columns(api: str) -> tuple[Feature, ...]:
    """What is asked through an inbound API."""
    return VECTORS if api == "embeddings" else FEATURES


CELLS = tuple(
    Cell(api, row, feature, stream)
    for api in APIS
    for row in ROWS
    for feature in columns(api)
    for stream in (False, True)
    if (feature.streams if stream else feature.plain)
)
