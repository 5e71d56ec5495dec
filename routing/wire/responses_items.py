"""Input items of `/responses`: messages, calls, their outputs, thinking (contract 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError

from routing.wire.messages import (
    MESSAGES_MAX,
    PARTS_MAX,
    REPLAYED_MAX,
    TEXT_OR_PARTS,
    AudioPart,
    CacheControl,
    File,
    ImageUrl,
    VideoUrl,
    text_or_items,
)
from routing.wire.responses_reasoning import ID_MAX
from routing.wire.validate import TAG, Wire

#: One less than messages, since `instructions` become one too.
ITEMS_MAX = MESSAGES_MAX - 1

_Id = Annotated[str, Field(min_length=1, max_length=ID_MAX)]
_NOTHING_STORED = "is an id of a stored {what}, but nothing is stored here; send {instead}"


def _as(model: type[Wire], field: str) -> AfterValidator:
    """The rule of another shape's field, told at this field's own path."""

    def check(value: str) -> str:
        try:
            model.model_validate({field: value})
        except ValidationError as error:
            (found, *_) = error.errors(include_url=False, include_input=False)
            raise ValueError(str(found["ctx"]["error"])) from None
        return value

    return AfterValidator(check)


def refused(reason: str) -> AfterValidator:
    """For fields that must be left out, or null."""

    def refuse(value: Any) -> Any:
        if value is not None:
            raise ValueError(reason)
        return value

    return AfterValidator(refuse)


_NoFileId = Annotated[
    Any, refused(_NOTHING_STORED.format(what="file", instead="its data or its URL"))
]


class CacheBreakpoint(Wire):
    """Where a prompt cache may end, in this API's own form."""

    mode: Literal["explicit"]


class InputText(Wire):
    """Plain text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class InputImage(Wire):
    """An image by URL or inline."""

    type: Literal["input_image"]
    file_id: _NoFileId = None
    image_url: Annotated[str, _as(ImageUrl, "url")] | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class InputFile(Wire):
    """A document by URL or inline."""

    type: Literal["input_file"]
    file_id: _NoFileId = None
    filename: Annotated[str, Field(max_length=512)] | None = None
    file_data: Annotated[str, _as(File, "file_data")] | None = None
    file_url: Annotated[str, _as(File, "file_data")] | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class InputVideo(Wire):
    """A video by URL or inline."""

    type: Literal["input_video"]
    video_url: Annotated[str, _as(VideoUrl, "url")]


class OutputText(Wire):
    """What a model said, replayed."""

    type: Literal["output_text"]
    text: str
    annotations: (
        Annotated[
            tuple[dict[str, Any], ...],
            Field(strict=False, max_length=REPLAYED_MAX, fail_fast=True),
        ]
        | None
    ) = None


class OutputRefusal(Wire):
    """What a model said instead of an answer, replayed."""

    type: Literal["refusal"]
    refusal: str


_PARTS: Mapping[str, type[Wire]] = {
    "input_text": InputText,
    "input_image": InputImage,
    "input_file": InputFile,
    "input_audio": AudioPart,
    "input_video": InputVideo,
    "output_text": OutputText,
    "refusal": OutputRefusal,
}


def _tag_of(known: Mapping[str, object]) -> Callable[[Any], str | None]:
    def tag(value: Any) -> str | None:
        kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return f"{TAG}{kind}" if isinstance(kind, str) and kind in known else None

    return tag


InputPart = Annotated[
    Annotated[InputText, Tag(f"{TAG}input_text")]
    | Annotated[InputImage, Tag(f"{TAG}input_image")]
    | Annotated[InputFile, Tag(f"{TAG}input_file")]
    | Annotated[AudioPart, Tag(f"{TAG}input_audio")]
    | Annotated[InputVideo, Tag(f"{TAG}input_video")]
    | Annotated[OutputText, Tag(f"{TAG}output_text")]
    | Annotated[OutputRefusal, Tag(f"{TAG}refusal")],
    Discriminator(
        _tag_of(_PARTS),
        custom_error_type="part_type",
        custom_error_message="must be an object whose type is one of "
        + ", ".join(f"'{kind}'" for kind in _PARTS),
    ),
]

InputContent = Annotated[
    Annotated[str, Tag(f"{TAG}text")]
    | Annotated[
        tuple[InputPart, ...],
        Field(strict=False, max_length=PARTS_MAX, fail_fast=True),
        Tag(f"{TAG}items"),
    ],
    TEXT_OR_PARTS,
]


class MessageItem(Wire):
    """A message, written by hand or replayed."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: InputContent | None = None


class SummaryText(Wire):
    """A piece of a summary of thoughts."""

    type: Literal["summary_text"]
    text: str


class ReasoningText(Wire):
    """A piece of thoughts."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Wire):
    """Thoughts, replayed."""

    type: Literal["reasoning"]
    id: _Id | None = None
    summary: (
        Annotated[
            tuple[SummaryText, ...], Field(strict=False, max_length=REPLAYED_MAX, fail_fast=True)
        ]
        | None
    ) = None
    content: (
        Annotated[
            tuple[ReasoningText, ...], Field(strict=False, max_length=REPLAYED_MAX, fail_fast=True)
        ]
        | None
    ) = None
    encrypted_content: str | None = None
    format: Annotated[str, Field(max_length=64)] | None = None
    signature: str | None = None


class FunctionCallItem(Wire):
    """A call the model made, replayed; `arguments` is JSON in a string."""

    type: Literal["function_call"]
    call_id: _Id
    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: str = ""


class FunctionOutputItem(Wire):
    """What a called function returned."""

    type: Literal["function_call_output"]
    call_id: _Id
    output: InputContent


class ImageCallItem(Wire):
    """An image the model drew, replayed; `result` is base64 or a data URL."""

    type: Literal["image_generation_call"]
    id: _Id | None = None
    result: str | None = None
    output_format: Literal["png", "webp", "jpeg", "gif"] | None = None


def _refuse_reference(_: Any) -> NoReturn:
    raise ValueError(_NOTHING_STORED.format(what="item", instead="the item itself"))


_ITEMS: Mapping[str, type[Wire]] = {
    "message": MessageItem,
    "reasoning": ReasoningItem,
    "function_call": FunctionCallItem,
    "function_call_output": FunctionOutputItem,
    "image_generation_call": ImageCallItem,
}
_tag_of_typed = _tag_of(_ITEMS)


def _item_tag(value: Any) -> str | None:
    """By type. A message may leave its type out, and so may a reference, which is but an id."""
    if isinstance(value, dict) and value.get("type") is None:
        return f"{TAG}item_reference" if value.keys() <= {"id", "type"} else f"{TAG}message"
    if isinstance(value, MessageItem):
        return f"{TAG}message"
    if isinstance(value, dict) and value["type"] == "item_reference":
        return f"{TAG}item_reference"
    return _tag_of_typed(value)


Item = Annotated[
    Annotated[MessageItem, Tag(f"{TAG}message")]
    | Annotated[ReasoningItem, Tag(f"{TAG}reasoning")]
    | Annotated[FunctionCallItem, Tag(f"{TAG}function_call")]
    | Annotated[FunctionOutputItem, Tag(f"{TAG}function_call_output")]
    | Annotated[ImageCallItem, Tag(f"{TAG}image_generation_call")]
    | Annotated[dict[str, Any], AfterValidator(_refuse_reference), Tag(f"{TAG}item_reference")],
    Discriminator(
        _item_tag,
        custom_error_type="item_type",
        custom_error_message="must be a message, or an item whose type is one of "
        + ", ".join(f"'{kind}'" for kind in _ITEMS),
    ),
]

Input = Annotated[
    Annotated[str, Tag(f"{TAG}text")]
    | Annotated[
        tuple[Item, ...],
        Field(strict=False, max_length=ITEMS_MAX, fail_fast=True),
        Tag(f"{TAG}items"),
    ],
    Discriminator(
        text_or_items,
        custom_error_type="input_type",
        custom_error_message="must be a string or an array of input items",
    ),
]

#: The parts each role may have.
PART_TYPES: Mapping[str, frozenset[str]] = {
    "user": frozenset({"input_text", "input_image", "input_file", "input_audio", "input_video"}),
    "assistant": frozenset({"output_text", "refusal", "input_text"}),
    "system": frozenset({"input_text"}),
    "developer": frozenset({"input_text"}),
}
