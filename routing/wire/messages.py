"""Messages, content parts and tools of a chat request (contract 3.2 and 3.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, model_validator

from routing.media import HEAD_CHARS, base64_problem, same_type, shown_type, split_data_url
from routing.wire.schema import schema_problem
from routing.wire.validate import TAG, TRUSTED, Wire

#: Far beyond any real conversation; Anthropic stops at 1,000. Keeps one request's work bounded.
MESSAGES_MAX = 10_000
#: Parts of one message; a body of tiny parts would cost more than its bytes.
PARTS_MAX = 2_000
#: Tools of one request and tool calls of one message; OpenAI stops at 128.
TOOLS_MAX = 512
#: Anthropic's bound, for clients of `/messages`; chat's own is `CHAT_TOOL_NAME_MAX`.
TOOL_NAME_MAX = 128
#: OpenAI's bound (contract 3.6).
CHAT_TOOL_NAME_MAX = 64
#: Opaque items a client replays: reasoning details, annotations, images.
REPLAYED_MAX = 1_000
#: Longest http(s) URL; data URLs are bounded by the body.
URL_MAX = 8_192

Replayed = Annotated[
    tuple[dict[str, Any], ...], Field(strict=False, max_length=REPLAYED_MAX, fail_fast=True)
]


class CacheControl(Wire):
    """Where a prompt cache may end."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


def _url(data_form: str, *data_prefixes: str) -> Callable[[str, ValidationInfo], str]:
    def check(url: str, info: ValidationInfo) -> str:
        if info.context == TRUSTED:
            return url
        if url[:8].lower().startswith(("http://", "https://")):
            if len(url) > URL_MAX:
                raise ValueError(f"must be a URL of {URL_MAX} characters or fewer")
        elif not url.startswith(data_prefixes):
            raise ValueError(f"must be an http(s) URL or {data_form}")
        else:
            _check_data_url(url, data_form)
        return url

    return check


def _check_data_url(url: str, data_form: str) -> None:
    """The data is base64, and it is what it says it is: providers refuse it otherwise."""
    split = split_data_url(url)
    if split is None:
        raise ValueError(f"must be an http(s) URL or {data_form}")
    declared, start = split
    _check_base64(url[start:])
    shown = shown_type(url[start : start + HEAD_CHARS])
    if shown is not None and not same_type(declared, shown):
        raise ValueError(
            f"says {declared}, but its content is {shown}; begin it with data:{shown};base64,"
        )


def _check_base64(text: str) -> None:
    problem = base64_problem(text.encode()) if text.isascii() else "must be base64"
    if problem is not None:
        raise ValueError(problem)


def _raw_base64(data: str, info: ValidationInfo) -> str:
    if info.context == TRUSTED:
        return data
    if data[:8].lower().startswith(("data:", "http://", "https://")):
        raise ValueError("must be raw base64, without a data: prefix; URLs are not accepted")
    _check_base64(data)
    return data


_IMAGE_URL = _url(
    "data:image/(png|jpeg|webp|gif);base64,…",
    *(f"data:image/{kind};base64," for kind in ("png", "jpeg", "jpg", "webp", "gif")),
)


class ImageUrl(Wire):
    """An image by URL or inline."""

    url: Annotated[str, AfterValidator(_IMAGE_URL)]
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputAudio(Wire):
    """Inline audio."""

    data: Annotated[str, Field(min_length=1), AfterValidator(_raw_base64)]
    format: Literal["wav", "mp3", "aiff", "aac", "ogg", "flac", "m4a", "pcm16", "pcm24"]


class VideoUrl(Wire):
    """A video by URL or inline."""

    url: Annotated[str, AfterValidator(_url("data:video/…;base64,…", "data:video/"))]


class File(Wire):
    """A document; at least one of `file_data` and `file_id` is there (see `check_messages`)."""

    filename: Annotated[str, Field(max_length=512)] | None = None
    file_data: (
        Annotated[str, AfterValidator(_url("data:application/pdf;base64,…", "data:"))] | None
    ) = None
    file_id: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class TextPart(Wire):
    """Plain text."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None


class RefusalPart(Wire):
    """An assistant's refusal, replayed."""

    type: Literal["refusal"]
    refusal: str


class ImagePart(Wire):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl
    cache_control: CacheControl | None = None


class AudioPart(Wire):
    """Audio."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class VideoPart(Wire):
    """A video; `input_video` is the older name of the same part."""

    type: Literal["video_url", "input_video"]
    video_url: VideoUrl


class FilePart(Wire):
    """A document."""

    type: Literal["file"]
    file: File
    cache_control: CacheControl | None = None


_PART_TAGS: Mapping[str, str] = {
    "text": f"{TAG}text",
    "refusal": f"{TAG}refusal",
    "image_url": f"{TAG}image",
    "input_audio": f"{TAG}audio",
    "video_url": f"{TAG}video",
    "input_video": f"{TAG}video",
    "file": f"{TAG}file",
}


def _part_tag(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return _PART_TAGS.get(kind) if isinstance(kind, str) else None


Part = Annotated[
    Annotated[TextPart, Tag(f"{TAG}text")]
    | Annotated[RefusalPart, Tag(f"{TAG}refusal")]
    | Annotated[ImagePart, Tag(f"{TAG}image")]
    | Annotated[AudioPart, Tag(f"{TAG}audio")]
    | Annotated[VideoPart, Tag(f"{TAG}video")]
    | Annotated[FilePart, Tag(f"{TAG}file")],
    Discriminator(
        _part_tag,
        custom_error_type="part_type",
        custom_error_message="must be an object whose type is one of "
        + ", ".join(f"'{kind}'" for kind in _PART_TAGS),
    ),
]


def text_or_items(value: Any) -> str | None:
    """Tag of a union of a string and an array; None for anything else."""
    if isinstance(value, str):
        return f"{TAG}text"
    return f"{TAG}items" if isinstance(value, (list, tuple)) else None


#: Chooses between a string (tag `text`) and an array of parts (tag `items`).
TEXT_OR_PARTS = Discriminator(
    text_or_items,
    custom_error_type="content_type",
    custom_error_message="must be a string or an array of content parts",
)
Content = Annotated[
    Annotated[str, Tag(f"{TAG}text")]
    | Annotated[
        tuple[Part, ...],
        Field(strict=False, max_length=PARTS_MAX, fail_fast=True),
        Tag(f"{TAG}items"),
    ],
    TEXT_OR_PARTS,
]


class CalledFunction(Wire):
    """What a model wanted called; `arguments` is JSON in a string."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: str = ""


class ToolCall(Wire):
    """One call an assistant made, replayed."""

    id: Annotated[str, Field(min_length=1, max_length=512)]
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Wire):
    """One message of any role; what a role demands is checked by `check_messages`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: (
        Annotated[tuple[ToolCall, ...], Field(strict=False, max_length=TOOLS_MAX, fail_fast=True)]
        | None
    ) = None
    tool_call_id: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: Replayed | None = None
    images: Replayed | None = None
    annotations: Replayed | None = None
    audio: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _results_as_text(cls, data: Any) -> Any:
        """A tool's result that is plain JSON is what the model should read: its text."""
        if isinstance(data, dict) and data.get("role") == "tool":
            content = data.get("content")
            if isinstance(content, dict) or (isinstance(content, list) and not _are_parts(content)):
                return {**data, "content": orjson.dumps(content).decode()}
        return data


def _are_parts(content: list[Any]) -> bool:
    return not content or any(
        isinstance(item, dict) and item.get("type") in _PART_TAGS for item in content
    )


def checked_schema(schema: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """A schema as it is; refused with a pointer to what is wrong with it."""
    problem = None if info.context == TRUSTED else schema_problem(schema)
    if problem is not None:
        raise ValueError(f"is not a valid JSON schema: {problem}")
    return schema


class Function(Wire):
    """A function the model may call; `parameters` is a JSON schema."""

    name: Annotated[str, Field(min_length=1, max_length=TOOL_NAME_MAX)]
    description: str | None = None
    parameters: Annotated[dict[str, Any], AfterValidator(checked_schema)] | None = None
    strict: bool | None = None


class Tool(Wire):
    """A tool; server tools are not part of this release."""

    type: Literal["function"]
    function: Function
    cache_control: CacheControl | None = None


class NamedFunction(Wire):
    """The name in a `tool_choice`."""

    name: Annotated[str, Field(min_length=1, max_length=TOOL_NAME_MAX)]


class NamedTool(Wire):
    """A `tool_choice` that forces one function."""

    type: Literal["function"]
    function: NamedFunction


def _choice_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return f"{TAG}word"
    return f"{TAG}named" if isinstance(value, (dict, NamedTool)) else None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(f"{TAG}word")]
    | Annotated[NamedTool, Tag(f"{TAG}named")],
    Discriminator(
        _choice_tag,
        custom_error_type="tool_choice",
        custom_error_message="must be 'none', 'auto', 'required' or an object naming a function",
    ),
]


def role_problem(message: Message) -> tuple[str, str] | None:
    """What a role demands and a message lacks: field and reason; None when all is there."""
    content = message.content
    match message.role:
        case "tool" if message.tool_call_id is None:
            return "tool_call_id", "is required with role 'tool'"
        case "assistant":
            return None
        case _ if content is None:
            return "content", f"is required with role '{message.role}'"
        case "system" | "developer" if not isinstance(content, str):
            for index, part in enumerate(content or ()):
                if part.type != "text":
                    return f"content[{index}].type", (
                        f"must be 'text' with role '{message.role}', not '{part.type}'"
                    )
    if isinstance(content, tuple):
        for index, part in enumerate(content):
            if isinstance(part, FilePart) and not (part.file.file_data or part.file.file_id):
                return f"content[{index}].file", "must have file_data or file_id"
    return None
