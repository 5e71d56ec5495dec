"""Content blocks, messages and tools of a `/messages` request, as Anthropic shapes them (7).

Each role has its own set of blocks, so a block in the wrong place is refused by name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo

from routing.media import HEAD_CHARS, base64_problem, same_type, shown_type
from routing.wire.messages import (
    PARTS_MAX,
    TOOL_NAME_MAX,
    URL_MAX,
    CacheControl,
    checked_schema,
    text_or_items,
)
from routing.wire.validate import TAG, Wire

_LEFT_OUT = f"{TAG}left_out"
#: Results of one web search, replayed.
SEARCH_RESULTS_MAX = 100


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("must not be empty; leave the block out")
    return text


def _raw_base64(data: str, info: ValidationInfo) -> str:
    """Base64 of what its `media_type` says it is."""
    if data[:8].lower().startswith(("data:", "http://", "https://")):
        raise ValueError("must be raw base64, without a data: prefix; a link needs type 'url'")
    problem = base64_problem(data.encode()) if data.isascii() else "must be base64"
    if problem is not None:
        raise ValueError(problem)
    declared, shown = info.data.get("media_type"), shown_type(data[:HEAD_CHARS])
    if declared is not None and shown is not None and not same_type(declared, shown):
        raise ValueError(f"is {shown}, but its media_type says {declared}; say what it is")
    return data


def _link(url: str) -> str:
    if len(url) > URL_MAX or not url[:8].lower().startswith(("http://", "https://")):
        raise ValueError(f"must be an http(s) URL of {URL_MAX} characters or fewer")
    return url


def _no_file(kind: str) -> str:
    raise ValueError(
        f"must not be '{kind}': uploaded files are not part of this release; send it inline or"
        " by URL"
    )


def _no_server_tool(kind: str) -> str:
    raise ValueError(
        f"must be 'custom' or left out, not '{kind}': tools that run on the server are not part of"
        " this release"
    )


def _by_type(wrong: str, *kinds: str, left_out: tuple[str, ...] = ()) -> Discriminator:
    """Chooses a shape by its type; the tags are ours and stay out of the paths of errors.

    Args:
        wrong: how an error begins.
        kinds: types with a shape each.
        left_out: types that share one.
    """

    def tag(value: Any) -> str | None:
        kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        if not isinstance(kind, str):
            return None
        return _LEFT_OUT if kind in left_out else f"{TAG}{kind}" if kind in kinds else None

    names = ", ".join(f"'{kind}'" for kind in (*kinds, *left_out))
    return Discriminator(
        tag, custom_error_type="type", custom_error_message=f"{wrong} whose type is one of {names}"
    )


_TEXT_OR_BLOCKS = Discriminator(
    text_or_items,
    custom_error_type="content_type",
    custom_error_message="must be a string or an array of content blocks",
)
_Base64 = Annotated[str, Field(min_length=1), AfterValidator(_raw_base64)]
_Link = Annotated[str, AfterValidator(_link)]
_Id = Annotated[str, Field(min_length=1, max_length=512)]
_ToolName = Annotated[str, Field(min_length=1, max_length=256)]


class TextBlock(Wire):
    """Plain text. Citations that come back with it are not sent on."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None


class FullTextBlock(TextBlock):
    """Text of a caller, who has no reason to say nothing."""

    text: Annotated[str, AfterValidator(_not_empty)]


_Texts = Annotated[
    tuple[FullTextBlock, ...], Field(strict=False, max_length=PARTS_MAX, fail_fast=True)
]


class Base64Image(Wire):
    """An image inline."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: _Base64


class Base64Pdf(Wire):
    """A PDF inline."""

    type: Literal["base64"]
    media_type: Literal["application/pdf"]
    data: _Base64


class UrlSource(Wire):
    """An image or a PDF by link."""

    type: Literal["url"]
    url: _Link


class FileSource(Wire):
    """An uploaded file; known only to be refused by name."""

    type: Annotated[Literal["file"], AfterValidator(_no_file)]


class ImageBlock(Wire):
    """An image."""

    type: Literal["image"]
    source: Annotated[
        Annotated[Base64Image, Tag(f"{TAG}base64")]
        | Annotated[UrlSource, Tag(f"{TAG}url")]
        | Annotated[FileSource, Tag(f"{TAG}file")],
        _by_type("must be an object", "base64", "url", "file"),
    ]
    cache_control: CacheControl | None = None


class TextSource(Wire):
    """A document that is plain text."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: str


class ContentSource(Wire):
    """A document made of blocks."""

    type: Literal["content"]
    content: Annotated[
        Annotated[str, Tag(f"{TAG}text")]
        | Annotated[
            tuple[
                Annotated[
                    Annotated[FullTextBlock, Tag(f"{TAG}text")]
                    | Annotated[ImageBlock, Tag(f"{TAG}image")],
                    _by_type("must be a block", "text", "image"),
                ],
                ...,
            ],
            Field(strict=False, max_length=PARTS_MAX, fail_fast=True),
            Tag(f"{TAG}items"),
        ],
        _TEXT_OR_BLOCKS,
    ]


class DocumentBlock(Wire):
    """A document. Citations into it cannot be asked for: no other provider makes them."""

    type: Literal["document"]
    source: Annotated[
        Annotated[Base64Pdf, Tag(f"{TAG}base64")]
        | Annotated[UrlSource, Tag(f"{TAG}url")]
        | Annotated[TextSource, Tag(f"{TAG}text")]
        | Annotated[ContentSource, Tag(f"{TAG}content")]
        | Annotated[FileSource, Tag(f"{TAG}file")],
        _by_type("must be an object", "base64", "url", "text", "content", "file"),
    ]
    title: str | None = None
    context: str | None = None
    cache_control: CacheControl | None = None


class SearchResultBlock(Wire):
    """A search result of the caller's own."""

    type: Literal["search_result"]
    source: str
    title: str
    content: _Texts
    cache_control: CacheControl | None = None


class ToolReference(Wire):
    """A tool that a tool search found."""

    type: Literal["tool_reference"]
    tool_name: _ToolName


ResultBlock = Annotated[
    Annotated[TextBlock, Tag(f"{TAG}text")]
    | Annotated[ImageBlock, Tag(f"{TAG}image")]
    | Annotated[DocumentBlock, Tag(f"{TAG}document")]
    | Annotated[SearchResultBlock, Tag(f"{TAG}search_result")]
    | Annotated[ToolReference, Tag(f"{TAG}tool_reference")],
    _by_type("must be a block", "text", "image", "document", "search_result", "tool_reference"),
]


class ToolResultBlock(Wire):
    """What a tool said."""

    type: Literal["tool_result"]
    tool_use_id: _Id
    content: (
        Annotated[
            Annotated[str, Tag(f"{TAG}text")]
            | Annotated[
                tuple[ResultBlock, ...],
                Field(strict=False, max_length=PARTS_MAX, fail_fast=True),
                Tag(f"{TAG}items"),
            ],
            _TEXT_OR_BLOCKS,
        ]
        | None
    ) = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


class ToolUseBlock(Wire):
    """A call the model made, replayed."""

    type: Literal["tool_use"]
    id: _Id
    name: _ToolName
    input: dict[str, Any] | None = None
    cache_control: CacheControl | None = None


class ThinkingBlock(Wire):
    """A thought, replayed with the signature it came with."""

    type: Literal["thinking"]
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Wire):
    """A thought nobody can read, replayed."""

    type: Literal["redacted_thinking"]
    data: Annotated[str, Field(min_length=1)]


class WebSearchResult(Wire):
    """One page that was found."""

    type: Literal["web_search_result"]
    url: str
    title: str | None = None


class SearchFailed(Wire):
    """A search without results."""

    type: Literal["web_search_tool_result_error"]


def _found_or_failed(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return f"{TAG}items"
    return f"{TAG}error" if isinstance(value, (dict, SearchFailed)) else None


class WebSearchResultBlock(Wire):
    """What a search on Anthropic's side found; goes on as text."""

    type: Literal["web_search_tool_result"]
    content: Annotated[
        Annotated[
            tuple[WebSearchResult, ...],
            Field(strict=False, max_length=SEARCH_RESULTS_MAX, fail_fast=True),
            Tag(f"{TAG}items"),
        ]
        | Annotated[SearchFailed, Tag(f"{TAG}error")],
        Discriminator(
            _found_or_failed,
            custom_error_type="search_results",
            custom_error_message="must be an array of results or an error object",
        ),
    ]


class CompactionBlock(Wire):
    """A summary of what was said before."""

    type: Literal["compaction"]
    content: str | None = None


_LeftOut = Literal[
    "server_tool_use",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
    "advisor_tool_result",
    "openrouter_shell_tool_result",
    "openrouter_bash_tool_result",
]


class LeftOutBlock(Wire):
    """What a server's own tool was asked or did: no other provider can read it."""

    type: _LeftOut


UserBlock = Annotated[
    Annotated[FullTextBlock, Tag(f"{TAG}text")]
    | Annotated[ImageBlock, Tag(f"{TAG}image")]
    | Annotated[DocumentBlock, Tag(f"{TAG}document")]
    | Annotated[SearchResultBlock, Tag(f"{TAG}search_result")]
    | Annotated[ToolResultBlock, Tag(f"{TAG}tool_result")],
    _by_type(
        "must be a block of a user", "text", "image", "document", "search_result", "tool_result"
    ),
]
AssistantBlock = Annotated[
    Annotated[TextBlock, Tag(f"{TAG}text")]
    | Annotated[ThinkingBlock, Tag(f"{TAG}thinking")]
    | Annotated[RedactedThinkingBlock, Tag(f"{TAG}redacted_thinking")]
    | Annotated[ToolUseBlock, Tag(f"{TAG}tool_use")]
    | Annotated[WebSearchResultBlock, Tag(f"{TAG}web_search_tool_result")]
    | Annotated[CompactionBlock, Tag(f"{TAG}compaction")]
    | Annotated[LeftOutBlock, Tag(_LEFT_OUT)],
    _by_type(
        "must be a block of an assistant",
        "text",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "web_search_tool_result",
        "compaction",
        left_out=get_args(_LeftOut),
    ),
]
#: A system prompt, or a system message between the others.
Texts = Annotated[
    Annotated[str, Tag(f"{TAG}text")] | Annotated[_Texts, Tag(f"{TAG}items")],
    _TEXT_OR_BLOCKS,
]


class UserMessage(Wire):
    """What the caller's user or tools said."""

    role: Literal["user"]
    content: Annotated[
        Annotated[str, Tag(f"{TAG}text")]
        | Annotated[
            tuple[UserBlock, ...],
            Field(strict=False, max_length=PARTS_MAX, fail_fast=True),
            Tag(f"{TAG}items"),
        ],
        _TEXT_OR_BLOCKS,
    ]


class AssistantMessage(Wire):
    """What the model said."""

    role: Literal["assistant"]
    content: Annotated[
        Annotated[str, Tag(f"{TAG}text")]
        | Annotated[
            tuple[AssistantBlock, ...],
            Field(strict=False, max_length=PARTS_MAX, fail_fast=True),
            Tag(f"{TAG}items"),
        ],
        _TEXT_OR_BLOCKS,
    ]


class SystemMessage(Wire):
    """Instructions in the middle of a conversation."""

    role: Literal["system"]
    content: Texts


def _role(value: Any) -> str | None:
    role = value.get("role") if isinstance(value, dict) else getattr(value, "role", None)
    known = isinstance(role, str) and role in {"user", "assistant", "system"}
    return f"{TAG}{role}" if known else None


Turn = Annotated[
    Annotated[UserMessage, Tag(f"{TAG}user")]
    | Annotated[AssistantMessage, Tag(f"{TAG}assistant")]
    | Annotated[SystemMessage, Tag(f"{TAG}system")],
    Discriminator(
        _role,
        custom_error_type="role",
        custom_error_message="must be an object whose role is 'user', 'assistant' or 'system'",
    ),
]


class CustomTool(Wire):
    """A tool the caller runs."""

    type: Literal["custom"] | None = None
    name: Annotated[str, Field(min_length=1, max_length=TOOL_NAME_MAX)]
    description: str | None = None
    input_schema: Annotated[dict[str, Any], AfterValidator(checked_schema)]
    strict: bool | None = None
    cache_control: CacheControl | None = None


class ServerTool(Wire):
    """A tool of Anthropic's or of the router's; known only to be refused by name."""

    type: Annotated[str, AfterValidator(_no_server_tool)]


def _tool(value: Any) -> str | None:
    if isinstance(value, dict):
        kind = value.get("type")
        return f"{TAG}server" if isinstance(kind, str) and kind != "custom" else f"{TAG}custom"
    return None


ToolBlock = Annotated[
    Annotated[CustomTool, Tag(f"{TAG}custom")] | Annotated[ServerTool, Tag(f"{TAG}server")],
    Discriminator(
        _tool, custom_error_type="tool", custom_error_message="must be an object with a name"
    ),
]
