"""Checks the conversation in a request to Gemini: roles, parts, calls, media and signatures."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from workers.simulator.answers import SOUND_TOKENS
from workers.simulator.gemini_errors import Invalid, Surface, studio_field, vertex_unable
from workers.simulator.gemini_fields import decoded
from workers.simulator.signatures import is_signed, sign
from workers.simulator.text import estimate_tokens

IMAGE_TOKENS: Final = 258
VIDEO_TOKENS: Final = 263
# What Google documents for histories that come from another model.
WAIVERS: Final = frozenset(
    {"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"}
)

_MEDIA_TOKENS: Final = {
    "audio": ("AUDIO", SOUND_TOKENS),
    "image": ("IMAGE", IMAGE_TOKENS),
    "video": ("VIDEO", VIDEO_TOKENS),
}
_DOCUMENT_TOKENS: Final = ("DOCUMENT", IMAGE_TOKENS)
_WAIVED: Final = frozenset(decoded(waiver) for waiver in WAIVERS)
_SIGNATURE_DOCS: Final = "https://ai.google.dev/gemini-api/docs/thought-signatures"
_MIME_TYPES: Final = frozenset(
    {
        *(f"image/{kind}" for kind in ("png", "jpeg", "webp", "heic", "heif")),
        *(
            f"audio/{kind}"
            for kind in (
                *("wav", "x-wav", "mp3", "mpeg", "aiff", "aac", "ogg", "flac", "m4a", "mp4"),
                *("pcm", "opus", "webm"),
            )
        ),
        *(
            f"video/{kind}"
            for kind in (
                *("mp4", "mpeg", "mov", "quicktime", "avi", "x-flv", "mpg", "mpegps", "webm"),
                *("wmv", "3gpp"),
            )
        ),
        "application/pdf",
        *(f"text/{kind}" for kind in ("plain", "html", "css", "csv", "xml", "markdown", "rtf")),
    }
)
_YOUTUBE: Final = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be"})
_FILES: Final = "https://generativelanguage.googleapis.com/"
_RESULT_KEYS: Final = frozenset({"output", "result", "content", "error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What the contents come to.

    Attributes:
        tokens: Prompt tokens by modality.
        answered: Whether it ends with the results of functions.
    """

    said: str = ""
    media: tuple[str, ...] = ()
    tool_results: tuple[str, ...] = ()
    tokens: dict[str, int] = field(default_factory=dict)
    answered: bool = False


def read_contents(
    surface: Surface, contents: list[dict[str, Any]], *, demands_signatures: bool
) -> Conversation:
    """Check the contents of a request.

    Raises:
        Invalid: Gemini would refuse them.
    """
    if not contents:
        if surface is Surface.STUDIO:
            raise studio_field("contents", "contents is not specified")
        raise Invalid("at least one contents field is required")
    for index, content in enumerate(contents):
        _check_content(surface, content, f"contents[{index}]")
    turns = _turns(contents)
    _check_turns(turns)
    start = _turn_start(contents)
    _check_signatures(surface, turns, start if demands_signatures else None)
    tokens: Counter[str] = Counter()
    for content in contents:
        tokens.update(content_tokens(content))
    turn = contents[start:]
    return Conversation(
        said=_said(contents),
        media=tuple(
            kind for content in contents for part in content["parts"] for kind in _media(part)
        ),
        tool_results=tuple(
            _result(part["functionResponse"])
            for content in turn
            for part in content["parts"]
            if "functionResponse" in part
        ),
        tokens=dict(tokens),
        answered=contents[-1]["role"] == "user" and start < len(contents) - 1,
    )


def signature_of_call(name: str, arguments: dict[str, Any]) -> str:
    """Return the signature of the thoughts behind a call."""
    return sign(_call_text(name, arguments))


def content_tokens(content: dict[str, Any]) -> dict[str, int]:
    """Estimate the tokens of a turn, by modality."""
    tokens: Counter[str] = Counter()
    for part in content.get("parts", []):
        call = {**(part.get("functionCall") or part.get("functionResponse") or {}), "parts": None}
        words = part.get("text") or (orjson.dumps(call).decode() if len(call) > 1 else "")
        tokens["TEXT"] += estimate_tokens(words)
        for kind in _media(part):
            modality, count = _MEDIA_TOKENS.get(kind.partition("/")[0], _DOCUMENT_TOKENS)
            tokens[modality] += count
    return dict(tokens)


def check_system(surface: Surface, content: dict[str, Any]) -> None:
    """Check the system instruction, which is words and nothing else.

    Raises:
        Invalid: It is not.
    """
    parts = content.get("parts", [])
    if not parts:
        if surface is Surface.STUDIO:
            raise studio_field("system_instruction.parts", "contents.parts must not be empty.")
        raise vertex_unable("the system instruction must include at least one parts field.")
    if any("text" not in part for part in parts):
        raise Invalid("Developer instruction is only supported as text.")


# One turn


def _check_content(surface: Surface, content: dict[str, Any], path: str) -> None:
    role = content.get("role")
    # Without a role it is the user's; Vertex AI wants to be told.
    if role not in ("user", "model") and (role or surface is Surface.VERTEX):
        raise Invalid("Please use a valid role: user, model.")
    content["role"] = role or "user"
    if not content.get("parts"):
        if surface is Surface.STUDIO:
            raise studio_field(f"{path}.parts", "contents.parts must not be empty.")
        raise vertex_unable(
            "it must include at least one parts field, which describes the prompt input."
        )
    for index, part in enumerate(content["parts"]):
        _check_part(surface, part, content["role"], f"{path}.parts[{index}]")


def _check_part(surface: Surface, part: dict[str, Any], role: str, path: str) -> None:
    if "text" in part:
        if surface is Surface.VERTEX and not part["text"] and "thoughtSignature" not in part:
            raise vertex_unable(
                "it has an empty text parameter. Add a value to the parameter and try again."
            )
    elif "inlineData" in part:
        _check_blob(surface, part["inlineData"], path)
    elif "fileData" in part:
        _check_file(surface, part["fileData"], path)
    elif "functionCall" in part or "functionResponse" in part:
        _check_function(surface, part, role, path)
    elif not part.keys() & {"executableCode", "codeExecutionResult"}:
        if surface is Surface.STUDIO:
            raise studio_field(
                f"{path}.data", "required oneof field 'data' must have one initialized field"
            )
        raise vertex_unable("it must have a text parameter. Add a text parameter and try again.")


def _check_blob(surface: Surface, blob: dict[str, Any], path: str) -> None:
    _check_mime_type(surface, blob.get("mimeType", ""))
    if not blob.get("data"):
        if surface is Surface.STUDIO:
            raise studio_field(f"{path}.inline_data.data", "inline_data.data must not be empty")
        raise vertex_unable("it has an empty inlineData parameter. Add a value and try again.")


def _check_mime_type(surface: Surface, mime_type: str) -> None:
    if mime_type.partition(";")[0].lower() in _MIME_TYPES:
        return
    if surface is Surface.STUDIO:
        raise Invalid(f"Unsupported MIME type: {mime_type}")
    raise vertex_unable(
        f"it has a mimeType parameter with value {mime_type}, which is not supported. Update the "
        "mimeType and try again."
    )


def _check_file(surface: Surface, file: dict[str, Any], path: str) -> None:
    uri, mime_type = file.get("fileUri", ""), file.get("mimeType", "")
    if not uri:
        if surface is Surface.STUDIO:
            raise studio_field(f"{path}.file_data.file_uri", "file_uri must not be empty")
        raise vertex_unable("it has an empty fileUri parameter. Add a value and try again.")
    if surface is Surface.STUDIO:
        if not is_youtube(uri) and not uri.startswith(_FILES):
            raise Invalid(f"Unsupported file uri: {uri}")
        return
    if not mime_type:
        raise vertex_unable("it has an empty mimeType parameter. Add a value and try again.")
    _check_mime_type(surface, mime_type)
    # Videos come from a bucket or in the request; images and documents from anywhere.
    from_bucket = uri.startswith("gs://")
    if not from_bucket and (mime_type.startswith("video/") or not uri.startswith("https://")):
        raise Invalid(f"Unsupported file uri: {uri}")


def is_youtube(uri: str) -> bool:
    """Whether a URI is that of a YouTube video."""
    address = urlsplit(uri)
    return address.scheme == "https" and address.hostname in _YOUTUBE


def _check_function(surface: Surface, part: dict[str, Any], role: str, path: str) -> None:
    kind = "functionCall" if "functionCall" in part else "functionResponse"
    if role != ("model" if kind == "functionCall" else "user"):
        raise Invalid("Please use a valid role: user, model.")
    for index, below in enumerate(part[kind].get("parts", [])):
        _check_part(surface, below, role, f"{path}.function_response.parts[{index}]")
    if part[kind].get("name"):
        return
    if surface is Surface.STUDIO:
        field_name = "function_call" if kind == "functionCall" else "function_response"
        raise studio_field(f"{path}.{field_name}.name", "Name cannot be empty.")
    raise vertex_unable(f"{kind} must have a name.")


# Turns, one after the other


@dataclass(slots=True)
class _Turn:
    """What one side says at a time; a client may send an answer chunk by chunk, as it came.

    Attributes:
        places: For each part, the place of its content.
    """

    role: str
    parts: list[dict[str, Any]]
    places: list[int]

    @property
    def text(self) -> str:
        """What is said aloud."""
        return "".join(
            part["text"] for part in self.parts if "text" in part and not part.get("thought")
        )


def _turns(contents: list[dict[str, Any]]) -> list[_Turn]:
    turns: list[_Turn] = []
    for index, content in enumerate(contents):
        if not turns or content["role"] == "user" or turns[-1].role == "user":
            turns.append(_Turn(content["role"], [], []))
        turns[-1].parts.extend(content["parts"])
        turns[-1].places.extend([index] * len(content["parts"]))
    return turns


def _check_turns(turns: list[_Turn]) -> None:
    calls: list[dict[str, Any]] = []
    for index, turn in enumerate(turns):
        responses = _of_kind(turn.parts, "functionResponse")
        if responses and not calls:
            raise Invalid(
                "Please ensure that function response turn comes immediately after a function "
                "call turn."
            )
        _check_responses(calls, responses)
        calls = _of_kind(turn.parts, "functionCall")
        if calls and not index:
            raise Invalid(
                "Please ensure that function call turn comes immediately after a user turn or "
                "after a function response turn."
            )
    _check_responses(calls, [])


def _check_responses(calls: list[dict[str, Any]], responses: list[dict[str, Any]]) -> None:
    if len(calls) != len(responses):
        raise Invalid(
            "Please ensure that the number of function response parts is equal to the number of "
            "function call parts of the function call turn."
        )
    names = Counter(call["name"] for call in calls)
    tags = {call["id"] for call in calls if call.get("id")}
    strangers = {response["id"] for response in responses if response.get("id")} - tags
    if names != Counter(response["name"] for response in responses) or (tags and strangers):
        raise Invalid("Request contains an invalid argument.")


def _of_kind(parts: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [part[kind] for part in parts if kind in part]


def _turn_start(contents: list[dict[str, Any]]) -> int:
    """Return the place of the last user message that is more than results of functions.

    Media that follow results without a word belong to them: older models take them no other way.
    """
    for index in range(len(contents) - 1, -1, -1):
        content = contents[index]
        if content["role"] != "user" or _is_results(content):
            continue
        after_results = index > 0 and _is_results(contents[index - 1])
        if not after_results or any("text" in part for part in content["parts"]):
            return index
    return 0


def _is_results(content: dict[str, Any]) -> bool:
    return bool(_of_kind(content["parts"], "functionResponse"))


# Signatures


def _check_signatures(surface: Surface, turns: list[_Turn], current: int | None) -> None:
    """Check all signatures, and that those of the turn that starts at ``current`` are there."""
    for turn in turns:
        for part in turn.parts:
            if "thoughtSignature" in part and not _is_genuine(part, turn):
                if surface is Surface.STUDIO:
                    raise Invalid("Corrupted thought signature.")
                raise vertex_unable("Thought signature is not valid..")
        if current is not None and turn.places[0] > current:
            _check_first_call(surface, turn)


def _check_first_call(surface: Surface, turn: _Turn) -> None:
    places = zip(turn.parts, turn.places, strict=True)
    first = next(((part, place) for part, place in places if "functionCall" in part), None)
    if first is None or "thoughtSignature" in first[0]:
        return
    name, position = f"default_api:{first[0]['functionCall']['name']}", first[1] + 1
    if surface is Surface.VERTEX:
        raise Invalid(
            f"Unable to submit request because function call `{name}` in the {position}. content "
            "block is missing a `thought_signature`. Learn more: "
            "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures"
        )
    raise Invalid(
        "Function call is missing a thought_signature in functionCall parts. This is required for "
        "tools to work correctly, and missing thought_signature may lead to degraded model "
        f"performance. Additional data, function call `{name}` , position {position}. Please "
        f"refer to {_SIGNATURE_DOCS} for more details."
    )


def _is_genuine(part: dict[str, Any], turn: _Turn) -> bool:
    # Clients that keep the bytes may write them down in the other alphabet.
    data = decoded(part["thoughtSignature"])
    if data in _WAIVED:
        return True
    signature = b64encode(data or b"").decode()
    if "functionCall" in part:
        call = part["functionCall"]
        return is_signed(_call_text(call["name"], call.get("args") or {}), signature)
    if "inlineData" in part:
        return is_signed(picture_text(decoded(part["inlineData"]["data"]) or b""), signature)
    return is_signed(turn.text, signature)


def picture_text(data: bytes) -> str:
    """Return what is signed for a picture."""
    return data.hex()


def _call_text(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}\n{orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS).decode()}"


# What it comes to


def _said(contents: list[dict[str, Any]]) -> str:
    for content in reversed(contents):
        words = [part["text"] for part in content["parts"] if "text" in part]
        if content["role"] == "user" and words:
            return "\n".join(words)
    return ""


def _media(part: dict[str, Any]) -> Iterator[str]:
    if "inlineData" in part:
        yield part["inlineData"]["mimeType"]
    if "fileData" in part:
        file = part["fileData"]
        if is_youtube(file["fileUri"]):
            yield "video/youtube"
        elif file["fileUri"].startswith((_FILES, "gs://")):
            yield file.get("mimeType") or "application/octet-stream"
        else:
            yield f"{file['mimeType'].partition('/')[0]}/url"
    if "functionResponse" in part:
        for below in part["functionResponse"].get("parts", []):
            yield from _media(below)


def _result(response: dict[str, Any]) -> str:
    value = response.get("response") or {}
    if len(value) == 1:
        ((key, text),) = value.items()
        if key in _RESULT_KEYS and isinstance(text, str):
            return text
    return orjson.dumps(value).decode()
