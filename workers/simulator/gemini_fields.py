"""The form of a request to Gemini: the messages of Google's API and their fields, as data.

Google reads JSON into protocol buffers, and so does this: a name it does not know, a value of
the wrong type or a second member of a oneof is refused, with all complaints at once. Names are
taken in camel case and in snake case, and a single object stands for a list of one.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from workers.simulator.gemini_errors import Invalid, Surface

# What Google's JSON reader allows; a deeper schema is refused before we recurse into it.
DEPTH_MAX: Final = 100
INT32_MAX: Final = 2**31 - 1


class Field(NamedTuple):
    """One field: a scalar, an enum or a message, once, as a list, or as the values of a map."""

    kind: str
    repeated: bool = False
    mapped: bool = False


def _message(fields: str) -> dict[str, Field]:
    """Read ``name:kind``, with ``[]`` for a list and ``{}`` for a map."""
    message: dict[str, Field] = {}
    for field in fields.split():
        name, _, kind = field.partition(":")
        repeated, mapped = kind.endswith("[]"), kind.endswith("{}")
        message[name] = Field(kind.rstrip("[]{}"), repeated, mapped)
    return message


_MESSAGES: Final = {
    "GenerateContentRequest": _message(
        "model:string contents:Content[] systemInstruction:Content tools:Tool[] "
        "toolConfig:ToolConfig safetySettings:SafetySetting[] generationConfig:GenerationConfig "
        "cachedContent:string"
    ),
    "Content": _message("parts:Part[] role:string"),
    "Part": _message(
        "text:string inlineData:Blob fileData:FileData functionCall:FunctionCall "
        "functionResponse:FunctionResponse executableCode:ExecutableCode "
        "codeExecutionResult:CodeExecutionResult thought:bool thoughtSignature:bytes "
        "videoMetadata:VideoMetadata mediaResolution:PartMediaResolution"
    ),
    "Blob": _message("mimeType:string data:bytes displayName:string"),
    "FileData": _message("mimeType:string fileUri:string displayName:string"),
    "VideoMetadata": _message("startOffset:string endOffset:string fps:float"),
    "PartMediaResolution": _message("level:PartMediaResolution.Level numTokens:int32"),
    "FunctionCall": _message("name:string args:struct"),
    "FunctionResponse": _message("name:string response:struct parts:FunctionResponsePart[]"),
    "FunctionResponsePart": _message("inlineData:Blob fileData:FileData"),
    "ExecutableCode": _message("id:string language:string code:string"),
    "CodeExecutionResult": _message("id:string outcome:string output:string"),
    "Tool": _message(
        "functionDeclarations:FunctionDeclaration[] googleSearch:struct "
        "googleSearchRetrieval:struct codeExecution:struct urlContext:struct googleMaps:struct "
        "computerUse:struct"
    ),
    "FunctionDeclaration": _message(
        "name:string description:string parameters:Schema parametersJsonSchema:value "
        "response:Schema responseJsonSchema:value"
    ),
    "Schema": _message(
        "type:Type format:string title:string description:string nullable:bool enum:string[] "
        "items:Schema maxItems:int64 minItems:int64 properties:Schema{} required:string[] "
        "minProperties:int64 maxProperties:int64 minLength:int64 maxLength:int64 pattern:string "
        "example:value anyOf:Schema[] propertyOrdering:string[] default:value minimum:float "
        "maximum:float"
    ),
    "ToolConfig": _message("functionCallingConfig:FunctionCallingConfig retrievalConfig:struct"),
    "FunctionCallingConfig": _message(
        "mode:FunctionCallingConfig.Mode allowedFunctionNames:string[]"
    ),
    "SafetySetting": _message("category:HarmCategory threshold:SafetySetting.HarmBlockThreshold"),
    "GenerationConfig": _message(
        "candidateCount:int32 stopSequences:string[] maxOutputTokens:int32 temperature:float "
        "topP:float topK:int32 seed:int32 responseMimeType:string responseSchema:Schema "
        "responseJsonSchema:value presencePenalty:float frequencyPenalty:float "
        "responseLogprobs:bool logprobs:int32 responseModalities:GenerationConfig.Modality[] "
        "speechConfig:SpeechConfig thinkingConfig:ThinkingConfig imageConfig:ImageConfig "
        "mediaResolution:GenerationConfig.MediaResolution"
    ),
    "ThinkingConfig": _message(
        "includeThoughts:bool thinkingBudget:int32 thinkingLevel:ThinkingConfig.ThinkingLevel"
    ),
    "ImageConfig": _message("aspectRatio:string imageSize:string"),
    "SpeechConfig": _message(
        "voiceConfig:VoiceConfig languageCode:string "
        "multiSpeakerVoiceConfig:MultiSpeakerVoiceConfig"
    ),
    "VoiceConfig": _message("prebuiltVoiceConfig:PrebuiltVoiceConfig"),
    "PrebuiltVoiceConfig": _message("voiceName:string"),
    "MultiSpeakerVoiceConfig": _message("speakerVoiceConfigs:SpeakerVoiceConfig[]"),
    "SpeakerVoiceConfig": _message("speaker:string voiceConfig:VoiceConfig"),
    "CountTokensRequest": _message("model:string contents:Content[]"),
    "BatchEmbedContentsRequest": _message("requests:EmbedContentRequest[]"),
}
# What only one of the two knows.
_EXTRA: Final[dict[Surface, dict[str, dict[str, Field]]]] = {
    Surface.STUDIO: {
        "GenerateContentRequest": _message("serviceTier:string store:bool"),
        "GenerationConfig": _message("enableEnhancedCivicAnswers:bool"),
        "Part": _message("partMetadata:struct"),
        "FunctionCall": _message("id:string"),
        "FunctionResponse": _message("id:string willContinue:bool scheduling:string"),
        "FunctionDeclaration": _message("behavior:string"),
        "Tool": _message("fileSearch:struct"),
        "CountTokensRequest": _message("generateContentRequest:GenerateContentRequest"),
        "EmbedContentRequest": _message(
            "model:string content:Content taskType:TaskType title:string outputDimensionality:int32"
        ),
    },
    Surface.VERTEX: {
        "GenerateContentRequest": _message("labels:string{} modelArmorConfig:struct"),
        "GenerationConfig": _message("topK:float audioTimestamp:bool routingConfig:struct"),
        "SafetySetting": _message("method:SafetySetting.HarmBlockMethod"),
        "Schema": _message("additionalProperties:value ref:string defs:Schema{}"),
        "ImageConfig": _message("personGeneration:string imageOutputOptions:struct"),
        "Tool": _message("retrieval:struct enterpriseWebSearch:struct"),
        "CountTokensRequest": _message(
            "systemInstruction:Content tools:Tool[] generationConfig:GenerationConfig"
        ),
        "EmbedContentRequest": _message(
            "model:string content:Content taskType:TaskType title:string "
            "outputDimensionality:int32 autoTruncate:bool embedContentConfig:EmbedContentConfig"
        ),
        "EmbedContentConfig": _message(
            "taskType:TaskType title:string outputDimensionality:int32 autoTruncate:bool"
        ),
        "PredictRequest": _message("instances:value[] parameters:value labels:string{}"),
    },
}
# At most one of these at a time.
_ONEOFS: Final = {
    "Part": (
        "data",
        frozenset(
            {
                "text",
                "inlineData",
                "fileData",
                "functionCall",
                "functionResponse",
                "executableCode",
                "codeExecutionResult",
            }
        ),
    ),
    "SpeechConfig": ("speaker_config", frozenset({"voiceConfig", "multiSpeakerVoiceConfig"})),
}


def _names(names: str, prefix: str = "") -> frozenset[str]:
    return frozenset(prefix + name for name in names.split())


_ENUMS: Final = {
    "Type": _names("TYPE_UNSPECIFIED STRING NUMBER INTEGER BOOLEAN ARRAY OBJECT NULL"),
    "FunctionCallingConfig.Mode": _names("MODE_UNSPECIFIED AUTO ANY NONE VALIDATED"),
    "HarmCategory": _names(
        "UNSPECIFIED HARASSMENT HATE_SPEECH SEXUALLY_EXPLICIT DANGEROUS_CONTENT CIVIC_INTEGRITY "
        "JAILBREAK IMAGE_HATE IMAGE_DANGEROUS_CONTENT IMAGE_HARASSMENT IMAGE_SEXUALLY_EXPLICIT",
        "HARM_CATEGORY_",
    ),
    "SafetySetting.HarmBlockThreshold": _names(
        "HARM_BLOCK_THRESHOLD_UNSPECIFIED BLOCK_LOW_AND_ABOVE BLOCK_MEDIUM_AND_ABOVE "
        "BLOCK_ONLY_HIGH BLOCK_NONE OFF"
    ),
    "SafetySetting.HarmBlockMethod": _names("UNSPECIFIED SEVERITY PROBABILITY"),
    "GenerationConfig.Modality": _names("MODALITY_UNSPECIFIED TEXT IMAGE AUDIO"),
    "GenerationConfig.MediaResolution": _names("UNSPECIFIED LOW MEDIUM HIGH", "MEDIA_RESOLUTION_"),
    "PartMediaResolution.Level": _names(
        "UNSPECIFIED LOW MEDIUM HIGH ULTRA_HIGH", "MEDIA_RESOLUTION_"
    ),
    "ThinkingConfig.ThinkingLevel": _names("THINKING_LEVEL_UNSPECIFIED MINIMAL LOW MEDIUM HIGH"),
    "TaskType": _names(
        "TASK_TYPE_UNSPECIFIED RETRIEVAL_QUERY RETRIEVAL_DOCUMENT SEMANTIC_SIMILARITY "
        "CLASSIFICATION CLUSTERING QUESTION_ANSWERING FACT_VERIFICATION CODE_RETRIEVAL_QUERY"
    ),
}
_PACKAGES: Final = {
    Surface.STUDIO: "google.ai.generativelanguage.v1beta.",
    Surface.VERTEX: "google.cloud.aiplatform.v1.",
}
_SCALARS: Final = {
    "string": "TYPE_STRING",
    "bool": "TYPE_BOOL",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float": "TYPE_FLOAT",
    "bytes": "TYPE_BYTES",
    "struct": "type.googleapis.com/google.protobuf.Struct",
}
_PYTHON: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "bool": (bool,),
    "float": (int, float),
    "bytes": (),
    "struct": (dict,),
}
_INT64_DIGITS: Final = 19
_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_UNDERSCORE: Final = re.compile(r"_([a-z])")


def read_body(surface: Surface, message: str, body: bytes) -> dict[str, Any]:
    """Return a body with its names in camel case and its enums in capitals.

    Raises:
        Invalid: It is no JSON, or not of the form of this message.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        text = f"Invalid JSON payload received. Unexpected token.\n{body[:20].decode('latin-1')}\n^"
        raise Invalid(text, violations=(("", text),)) from problem
    if not isinstance(parsed, dict):
        text = 'Invalid JSON payload received. Unknown name "": Root element must be a message.'
        raise Invalid(text, violations=(("", text),))
    if _is_deep(parsed):
        text = "Message too deep. Max recursion depth reached."
        raise Invalid(text, violations=(("", text),))
    reader = _Reader(surface)
    value = reader.message(parsed, message, "")
    if reader.violations:
        text = "\n".join(description for _, description in reader.violations)
        raise Invalid(text, violations=tuple(reader.violations))
    return value


def _is_deep(body: dict[str, Any]) -> bool:
    level: list[Any] = [body]
    for _ in range(DEPTH_MAX):
        below = [value.values() if isinstance(value, dict) else value for value in level]
        level = [item for values in below for item in values if isinstance(item, dict | list)]
        if not level:
            return False
    return True


@lru_cache(maxsize=1024)
def camel(name: str) -> str:
    """Return a name as JSON has it."""
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)


@lru_cache(maxsize=1024)
def snake(name: str) -> str:
    """Return a name as errors have it."""
    return _CAPITAL.sub(lambda found: f"_{found[1].lower()}", name)


class _Reader:
    """Walks through a body and collects what is wrong with it."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self.violations: list[tuple[str, str]] = []

    def message(self, value: dict[str, Any], kind: str, path: str) -> dict[str, Any]:
        fields = _fields_of(self._surface, kind)
        known: dict[str, Any] = {}
        for key, item in value.items():
            name = camel(key)
            field = fields.get(name)
            if field is None:
                self._complain(key, path, "Cannot find field.")
            elif item is not None:
                known[name] = self._field(key, item, field, path)
        self._check_oneof(known, kind, path)
        return known

    def _field(self, key: str, value: Any, field: Field, parent: str) -> Any:
        path = f"{parent}.{snake(key)}" if parent else snake(key)
        if field.repeated:
            items = value if isinstance(value, list) else [value]
            return [
                self._single(key, item, field.kind, f"{path}[{index}]")
                for index, item in enumerate(items)
            ]
        if field.mapped:
            if not isinstance(value, dict):
                return self._mismatch(path, "TYPE_MESSAGE", value)
            return {
                name: self._single(name, item, field.kind, f"{path}[{index}].value")
                for index, (name, item) in enumerate(value.items())
            }
        if isinstance(value, list) and field.kind != "value":
            return self._complain(key, parent, "Proto field is not repeating, cannot start list.")
        return self._single(key, value, field.kind, path)

    def _single(self, key: str, value: Any, kind: str, path: str) -> Any:
        if kind == "value":
            return value
        if kind in _ENUMS:
            name = value.upper() if isinstance(value, str) else ""
            return name if name in _ENUMS[kind] else self._mismatch(path, self._type(kind), value)
        if kind in _SCALARS:
            return self._scalar(key, value, kind, path)
        if isinstance(value, dict):
            return self.message(value, kind, path)
        return self._mismatch(path, self._type(kind), value)

    def _scalar(self, key: str, value: Any, kind: str, path: str) -> Any:
        if isinstance(value, dict) and kind != "struct":
            parent = path.rpartition(".")[0]
            return self._complain(key, parent, "Starting an object on a scalar field.")
        if kind == "bytes" and isinstance(value, str):
            return value if decoded(value) is not None else self._not_base64(path, value)
        if kind.startswith("int"):
            whole = _whole(value, kind)
            return self._mismatch(path, _SCALARS[kind], value) if whole is None else whole
        if not isinstance(value, _PYTHON[kind]) or (kind == "float" and isinstance(value, bool)):
            return self._mismatch(path, _SCALARS[kind], value)
        return value

    def _check_oneof(self, known: dict[str, Any], kind: str, path: str) -> None:
        oneof, members = _ONEOFS.get(kind, ("", frozenset()))
        given = [name for name in known if name in members]
        for name in given[1:]:
            text = (
                f"Invalid value at '{path}' (oneof), oneof field '{oneof}' is already set. "
                f"Cannot set '{name}'"
            )
            self.violations.append((path, text))

    def _complain(self, key: str, parent: str, problem: str) -> None:
        where = f" at '{parent}'" if parent else ""
        text = f'Invalid JSON payload received. Unknown name "{key}"{where}: {problem}'
        self.violations.append((parent, text))

    def _mismatch(self, path: str, kind: str, value: Any) -> None:
        shown = orjson.dumps(value).decode()
        self.violations.append((path, f"Invalid value at '{path}' ({kind}), {shown}"))

    def _not_base64(self, path: str, value: str) -> None:
        text = (
            f"Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for \"{value[:64]}\""
        )
        self.violations.append((path, text))

    def _type(self, kind: str) -> str:
        return f"type.googleapis.com/{_PACKAGES[self._surface]}{kind}"


@lru_cache(maxsize=256)
def _fields_of(surface: Surface, kind: str) -> dict[str, Field]:
    return {**_MESSAGES.get(kind, {}), **_EXTRA[surface].get(kind, {})}


def _whole(value: Any, kind: str) -> int | None:
    # The canonical form of a long number in JSON is a string.
    if kind == "int64" and isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:_INT64_DIGITS])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return None
    return None if kind == "int32" and abs(value) > INT32_MAX else int(value)


def decoded(data: str) -> bytes | None:
    """Decode base64 in either alphabet, padded or not; None when it is none."""
    text = data.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (NotBase64, ValueError):
        return None
