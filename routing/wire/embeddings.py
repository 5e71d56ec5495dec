"""The embeddings request (contract 8.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError

from routing.errors import BadRequest
from routing.wire.messages import FilePart, Part, TextPart
from routing.wire.provider import ProviderPreferences
from routing.wire.validate import (
    PRINTABLE,
    TAG,
    TRUSTED,
    Identifier,
    Wire,
    bad_request,
    load_object,
)

#: Inputs of one request; OpenAI stops at 2,048.
INPUTS_MAX = 2_048
#: Tokens of one input given as numbers; no embedding model takes more.
INPUT_TOKENS_MAX = 131_072
#: Parts of one input.
INPUT_PARTS_MAX = 64

_KINDS = (
    "must be a string or an array of strings, of token numbers, of arrays of token numbers or"
    " of objects with 'content'"
)


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("must not be empty; leave it out")
    return text


def _some(items: tuple[Any, ...]) -> tuple[Any, ...]:
    # Not `min_length`: after a bad item, which is left out, it would complain as well.
    if not items:
        raise ValueError("must have 1 or more items")
    return items


_Text = Annotated[str, AfterValidator(_not_empty)]
_Token = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Tokens = Annotated[
    tuple[_Token, ...],
    Field(strict=False, max_length=INPUT_TOKENS_MAX, fail_fast=True),
    AfterValidator(_some),
]


class EmbeddingContent(Wire):
    """One input of several parts, for models that embed images too."""

    content: Annotated[
        tuple[Part, ...],
        Field(strict=False, max_length=INPUT_PARTS_MAX, fail_fast=True),
        AfterValidator(_some),
    ]


def _kind(value: Any) -> str | None:
    """Tag of an input: what its first item is, all others must be."""
    if isinstance(value, str):
        return f"{TAG}text"
    if not isinstance(value, list | tuple):
        return None
    return _KIND_OF.get(type(value[0])) if value else f"{TAG}texts"


_KIND_OF: Mapping[type, str] = {
    str: f"{TAG}texts",
    int: f"{TAG}tokens",
    list: f"{TAG}token_lists",
    tuple: f"{TAG}token_lists",
    dict: f"{TAG}contents",
    EmbeddingContent: f"{TAG}contents",
}


class EmbeddingsRequest(Wire):
    """A checked request; `input` is as it was sent."""

    model: Annotated[str, Field(min_length=1, max_length=256, pattern=PRINTABLE)]
    input: Annotated[
        Annotated[_Text, Tag(f"{TAG}text")]
        | Annotated[
            tuple[_Text, ...],
            Field(strict=False, max_length=INPUTS_MAX, fail_fast=True),
            AfterValidator(_some),
            Tag(f"{TAG}texts"),
        ]
        | Annotated[_Tokens, Tag(f"{TAG}tokens")]
        | Annotated[
            tuple[_Tokens, ...],
            Field(strict=False, max_length=INPUTS_MAX, fail_fast=True),
            Tag(f"{TAG}token_lists"),
        ]
        | Annotated[
            tuple[EmbeddingContent, ...],
            Field(strict=False, max_length=INPUTS_MAX, fail_fast=True),
            Tag(f"{TAG}contents"),
        ],
        Discriminator(_kind, custom_error_type="input_kind", custom_error_message=_KINDS),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None
    input_type: Annotated[str, Field(max_length=64)] | None = None
    provider: ProviderPreferences | None = None
    user: Identifier | None = None

    @property
    def stream(self) -> bool:
        """Never: vectors come in one piece."""
        return False

    @property
    def hides_reasoning(self) -> bool:
        """There is none."""
        return False

    def to_json(self) -> bytes:
        """What was set, as compact JSON; `from_trusted_json` is its inverse."""
        return self.__pydantic_serializer__.to_json(self, exclude_unset=True, by_alias=True)

    @classmethod
    def from_trusted_json(cls, raw: bytes) -> Self:
        """Read back what `to_json` wrote."""
        return cls.model_validate(orjson.loads(raw), context=TRUSTED)


def inputs_of(
    request: EmbeddingsRequest,
) -> tuple[str | EmbeddingContent | tuple[int, ...], ...]:
    """One entry per vector: a bare list of numbers is one input."""
    given = request.input
    if isinstance(given, str):
        return (given,)
    numbers = tuple(one for one in given if isinstance(one, int))
    return (numbers,) if numbers else tuple(one for one in given if not isinstance(one, int))


def embedded_text(request: EmbeddingsRequest) -> str:
    """All text of the inputs; token numbers are counted, not read."""
    texts: list[str] = []
    for one in inputs_of(request):
        match one:
            case str():
                texts.append(one)
            case EmbeddingContent():
                texts += (part.text for part in one.content if isinstance(part, TextPart))
            case _:
                pass
    return "\n".join(texts)


def numbered_tokens(request: EmbeddingsRequest) -> int:
    """Tokens of inputs that were sent as numbers."""
    return sum(len(one) for one in inputs_of(request) if isinstance(one, tuple))


def parse_embeddings(body: bytes) -> EmbeddingsRequest:
    """Read and check an embeddings request.

    Raises:
        BadRequest: says which field is wrong, why, and what it should be.
    """
    data: dict[str, Any] = load_object(body)
    if data.pop("stream", None):
        raise BadRequest("stream: must be false: vectors come in one piece", param="stream")
    try:
        request = EmbeddingsRequest.model_validate(data)
    except ValidationError as error:
        # `from None`: the cause holds the input, which no log may see.
        raise bad_request(error) from None
    _check_files(request)
    return request


def _check_files(request: EmbeddingsRequest) -> None:
    for place, one in enumerate(request.input):
        for index, part in enumerate(one.content if isinstance(one, EmbeddingContent) else ()):
            if isinstance(part, FilePart) and not (part.file.file_data or part.file.file_id):
                param = f"input[{place}].content[{index}].file"
                raise BadRequest(f"{param}: must have file_data or file_id", param=param)
