"""The members of a Converse request, as the service model has them."""

from typing import Final

from workers.simulator.bedrock_shapes import (
    Blob,
    Document,
    Flag,
    ListOf,
    MapOf,
    Number,
    Shape,
    Structure,
    Text,
    Union,
)

IMAGE_FORMATS: Final = ("png", "jpeg", "gif", "webp")
DOCUMENT_TYPES: Final = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html",
    "txt": "text/plain",
    "md": "text/markdown",
}
VIDEO_FORMATS: Final = (
    "mkv",
    "mov",
    "mp4",
    "webm",
    "flv",
    "mpeg",
    "mpg",
    "wmv",
    "three_gp",
)
AUDIO_FORMATS: Final = (
    "mp3",
    "opus",
    "wav",
    "aac",
    "flac",
    "mp4",
    "ogg",
    "mkv",
    "mka",
    "x-aac",
    "m4a",
    "mpeg",
    "mpga",
    "pcm",
    "webm",
)
STOPS_MAX: Final = 2500

_TEXT: Final = Text()
_NAME: Final = Text(least=1, most=64, pattern="[a-zA-Z0-9_-]+")
_TAG: Final = Text(least=1, most=64, pattern="[a-zA-Z0-9_.:-]+")
_METADATA: Final = r"[a-zA-Z0-9\s:_@$#=/+,-.]"


def _structure(required: str, **members: Shape) -> Structure:
    return Structure(members=members, required=frozenset(required.split()))


def _source(name: str, **others: Shape) -> Union:
    s3 = _structure(
        "uri",
        uri=Text(least=1, most=1024, pattern=r"s3://[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9](/.*)?"),
        bucketOwner=Text(pattern="[0-9]{12}"),
    )
    return Union(name=name, members={"bytes": Blob(), "s3Location": s3, **others})


_CACHE_POINT: Final = _structure(
    "type", type=Text(values=("default",)), ttl=Text(values=("5m", "1h"))
)
_CITATIONS: Final = _structure("enabled", enabled=Flag())
_IMAGE: Final = _structure(
    "format source", format=Text(values=IMAGE_FORMATS), source=_source("ImageSource")
)
_DOCUMENT: Final = _structure(
    "name source",
    format=Text(values=tuple(DOCUMENT_TYPES)),
    name=Text(least=1, most=200),
    source=_source(
        "DocumentSource",
        text=_TEXT,
        content=ListOf(item=Union(name="DocumentContentBlock", members={"text": _TEXT})),
    ),
    context=_TEXT,
    citations=_CITATIONS,
)
_VIDEO: Final = _structure(
    "format source", format=Text(values=VIDEO_FORMATS), source=_source("VideoSource")
)
_AUDIO: Final = _structure(
    "format source", format=Text(values=AUDIO_FORMATS), source=_source("AudioSource")
)
_TOOL_USE: Final = _structure(
    "toolUseId name input",
    toolUseId=_TAG,
    name=_NAME,
    input=Document(),
    type=Text(values=("server_tool_use",)),
)
_TOOL_RESULT: Final = _structure(
    "toolUseId content",
    toolUseId=_TAG,
    content=ListOf(
        item=Union(
            name="ToolResultContentBlock",
            members={
                "json": Document(),
                "text": _TEXT,
                "image": _IMAGE,
                "document": _DOCUMENT,
                "video": _VIDEO,
            },
        )
    ),
    status=Text(values=("success", "error")),
    type=_TEXT,
)
_REASONING: Final = Union(
    name="ReasoningContentBlock",
    members={
        "reasoningText": _structure("text", text=_TEXT, signature=_TEXT),
        "redactedContent": Blob(),
    },
)
_GUARD: Final = Union(
    name="GuardrailConverseContentBlock",
    members={
        "text": _structure(
            "text",
            text=_TEXT,
            qualifiers=ListOf(item=Text(values=("grounding_source", "query", "guard_content"))),
        ),
        "image": _structure(
            "format source",
            format=Text(values=("png", "jpeg")),
            source=Union(name="GuardrailConverseImageSource", members={"bytes": Blob()}),
        ),
    },
)

_CONTENT: Final = Union(
    name="ContentBlock",
    members={
        "text": _TEXT,
        "image": _IMAGE,
        "document": _DOCUMENT,
        "video": _VIDEO,
        "audio": _AUDIO,
        "toolUse": _TOOL_USE,
        "toolResult": _TOOL_RESULT,
        "guardContent": _GUARD,
        "cachePoint": _CACHE_POINT,
        "reasoningContent": _REASONING,
    },
)
_MESSAGE: Final = _structure(
    "role content", role=Text(values=("user", "assistant")), content=ListOf(item=_CONTENT)
)
_SYSTEM: Final = Union(
    name="SystemContentBlock",
    members={"text": Text(least=1), "guardContent": _GUARD, "cachePoint": _CACHE_POINT},
)
_INFERENCE: Final = _structure(
    "",
    maxTokens=Number(whole=True, least=1),
    temperature=Number(least=0, most=1),
    topP=Number(least=0, most=1),
    stopSequences=ListOf(item=Text(least=1), most=STOPS_MAX),
)
_TOOL: Final = Union(
    name="Tool",
    members={
        "toolSpec": _structure(
            "name inputSchema",
            name=_NAME,
            description=Text(least=1),
            inputSchema=Union(name="ToolInputSchema", members={"json": Document()}),
            strict=Flag(),
        ),
        "systemTool": _structure("name", name=_NAME),
        "cachePoint": _CACHE_POINT,
    },
)
_TOOL_CONFIG: Final = _structure(
    "tools",
    tools=ListOf(item=_TOOL, least=1),
    toolChoice=Union(
        name="ToolChoice",
        members={
            "auto": _structure(""),
            "any": _structure(""),
            "tool": _structure("name", name=_NAME),
        },
    ),
)
_OUTPUT: Final = _structure(
    "",
    textFormat=_structure(
        "type structure",
        type=Text(values=("json_schema",)),
        structure=Union(
            name="OutputFormatStructure",
            members={
                "jsonSchema": _structure("schema", schema=_TEXT, name=_TEXT, description=_TEXT)
            },
        ),
    ),
    effort=Text(most=16),
)

REQUEST: Final = _structure(
    "",
    messages=ListOf(item=_MESSAGE),
    system=ListOf(item=_SYSTEM),
    inferenceConfig=_INFERENCE,
    toolConfig=_TOOL_CONFIG,
    guardrailConfig=_structure(
        "",
        guardrailIdentifier=_TEXT,
        guardrailVersion=_TEXT,
        trace=Text(values=("enabled", "disabled", "enabled_full")),
        streamProcessingMode=Text(values=("sync", "async")),
    ),
    additionalModelRequestFields=Document(),
    promptVariables=MapOf(
        key=_TEXT, value=Union(name="PromptVariableValues", members={"text": _TEXT}), most=1000
    ),
    additionalModelResponseFieldPaths=ListOf(item=Text(least=1, most=256), most=10),
    requestMetadata=MapOf(
        key=Text(pattern=f"{_METADATA}{{1,256}}"),
        value=Text(pattern=f"{_METADATA}{{0,256}}"),
        most=16,
    ),
    performanceConfig=_structure("", latency=Text(values=("standard", "optimized"))),
    serviceTier=_structure("type", type=Text(values=("priority", "default", "flex", "reserved"))),
    outputConfig=_OUTPUT,
)

MODEL_ID: Final = (
    r"(?:arn:aws(?:-[^:]+)?:(?:bedrock|sagemaker):[a-z0-9-]{1,20}:(?:[0-9]{12})?:"
    r"[a-z-]+/[a-zA-Z0-9:./-]+)|[a-zA-Z0-9][a-zA-Z0-9:._-]*"
)
