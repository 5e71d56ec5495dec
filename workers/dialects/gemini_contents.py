"""Messages as Gemini's `contents`: roles, media, calls, results, and signatures of thoughts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from routing.catalog.shapes import Endpoint
from routing.wire.chat import ChatRequest
from routing.wire.messages import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from workers.dialects.common import (
    cannot,
    data_url,
    dict_or_empty,
    leading_system,
    named,
    parse_arguments,
    parts_of,
    system_texts,
    text_of,
    text_or_empty,
)
from workers.dialects.reasoning import Format, own_details
from workers.dialects.tool_names import safe_name

FORMAT: Format = "google-gemini-v1"
#: From this generation on, calls must come back with the signature of the thoughts behind them.
SIGNING_GENERATION = 3
#: What Google documents for calls that another model made: there is no signature to send.
WAIVER = "skip_thought_signature_validator"
#: The `id` of a signature that belongs to a picture: this and the picture's place.
PICTURE_ID = "image_"
#: The longest name of a function.
NAME_MAX = 64
#: Where a function's text goes: a result must be an object.
RESULT = "result"

Json = dict[str, Any]

_GENERATION = re.compile(r"gemini-(\d+)")
_AUDIO_TYPES: Mapping[str, str] = {
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "m4a": "audio/m4a",
    "pcm16": "audio/pcm",
}
_SYNONYMS = {"image/jpg": "image/jpeg"}
_YOUTUBE = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be"})


def generation(upstream_id: str) -> int:
    """The generation a model's id names; 0 for one that names none."""
    found = _GENERATION.match(upstream_id)
    if found is not None:
        return int(found[1])
    # `gemini-flash-latest` follows the newest, and those all sign.
    return SIGNING_GENERATION if re.match(r"gemini-.*latest", upstream_id) else 0


def conversation(request: ChatRequest, endpoint: Endpoint) -> tuple[list[Json], list[str]]:
    """The contents, and the texts of the system instruction.

    Raises:
        UpstreamRejected: a part this provider has no way to take.
    """
    if request.messages is None:
        return [{"role": "user", "parts": [{"text": request.prompt or ""}]}], []
    leading = len(leading_system(request.messages))
    texts = system_texts(request.messages)
    if leading == len(request.messages):
        # Gemini wants to be told something by somebody.
        leading, texts = 0, []
    writer = _Writer(endpoint)
    for index, message in enumerate(request.messages[leading:], leading):
        writer.add(message, f"messages[{index}]")
    contents = writer.finish()
    if not contents:
        raise cannot("messages", "say nothing; send one with a text that is not empty")
    return contents, texts


def media_part(part: Part, place: str, endpoint: Endpoint) -> Json:
    """One content part.

    Raises:
        UpstreamRejected: it is of a kind this provider does not take.
    """
    match part:
        case TextPart():
            return {"text": part.text}
        case RefusalPart():
            return {"text": part.refusal}
        case ImagePart():
            return _inline(part.image_url.url, f"{place}.image_url.url")
        case AudioPart():
            return _audio(part, place)
        case VideoPart():
            return _video(part.video_url.url, f"{place}.video_url.url", endpoint)
        case FilePart():
            if part.file.file_data is None:
                raise cannot(
                    f"{place}.file.file_id",
                    "this provider does not know files by id; send file_data",
                )
            return _inline(part.file.file_data, f"{place}.file.file_data")


def checked_name(name: str, place: str) -> str:
    """A function's name as Gemini takes it: as `safe_name`, and not with a digit or dash first.

    Raises:
        UpstreamRejected: it is too long for this provider.
    """
    safe = safe_name(name, NAME_MAX, place)
    if safe[:1].isalpha() or safe.startswith("_"):
        return safe
    # The rest is counted with what is put in front of it.
    escape = f"_x{ord(safe[0]):x}_"
    return escape + safe_name(name, NAME_MAX - len(escape) + 1, place)[1:]


def _inline(url: str, place: str) -> Json:
    found = data_url(url)
    if found is None:
        raise cannot(place, "this provider takes no links here; send a base64 data URL")
    kind, data = found
    return {"inlineData": {"mimeType": _SYNONYMS.get(kind, kind), "data": data}}


def _audio(part: AudioPart, place: str) -> Json:
    kind = _AUDIO_TYPES.get(part.input_audio.format)
    if kind is None:
        raise cannot(
            f"{place}.input_audio.format",
            f"this provider does not take '{part.input_audio.format}'; send one of "
            + ", ".join(_AUDIO_TYPES),
        )
    return {"inlineData": {"mimeType": kind, "data": part.input_audio.data}}


def _video(url: str, place: str, endpoint: Endpoint) -> Json:
    if data_url(url) is not None:
        return _inline(url, place)
    links = endpoint.provider.video_urls
    if "youtube" in links and urlsplit(url).hostname in _YOUTUBE:
        return {"fileData": {"fileUri": f"https:{url.partition(':')[2]}", "mimeType": "video/mp4"}}
    if "http" in links:
        return {"fileData": {"fileUri": url, "mimeType": "video/mp4"}}
    also = " or a YouTube link" if "youtube" in links else ""
    raise cannot(place, f"this provider cannot fetch this link; send a data URL{also}")


class _Writer:
    """Builds the contents, message by message."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._signs = generation(endpoint.upstream_id) >= SIGNING_GENERATION
        self._contents: list[Json] = []
        self._names: dict[str, str] = {}
        # Results of functions stand alone in their turn: nothing else is merged with them.
        self._in_results = False
        self._result_media: list[Json] = []

    def add(self, message: Message, place: str) -> None:
        match message.role:
            case "assistant":
                self._put("model", self._said(message, place))
            case "tool":
                self._put_result(message, place)
            case _:
                self._put("user", self._asked(message, place))

    def finish(self) -> list[Json]:
        self._close_results()
        return self._contents

    def _put(self, role: str, parts: list[Json]) -> None:
        self._close_results()
        if not parts:
            return
        if self._contents and self._contents[-1]["role"] == role and not self._in_results:
            self._contents[-1]["parts"] += parts
        else:
            self._contents.append({"role": role, "parts": parts})
        self._in_results = False

    def _asked(self, message: Message, place: str) -> list[Json]:
        parts = [
            media_part(part, f"{place}.content[{index}]", self._endpoint)
            for index, part in enumerate(parts_of(message.content))
            if not (isinstance(part, TextPart) and not part.text)
        ]
        for part in parts:
            if "text" in part:
                part["text"] = named(message, part["text"])
                break
        return parts

    # Results

    def _put_result(self, message: Message, place: str) -> None:
        tag = message.tool_call_id or ""
        name = self._names.get(tag) or (
            checked_name(message.name, f"{place}.name") if message.name else None
        )
        if name is None:
            raise cannot(
                f"{place}.tool_call_id",
                "names no call of an earlier assistant message; send that message too",
            )
        result: Json = self._identified(tag) | {
            "name": name,
            "response": {RESULT: text_of(message.content)},
        }
        media = [
            media_part(part, f"{place}.content[{index}]", self._endpoint)
            for index, part in enumerate(parts_of(message.content))
            if not isinstance(part, TextPart | RefusalPart)
        ]
        if media and self._signs:
            result["parts"] = media
        else:
            self._result_media += media
        if not self._in_results:
            self._contents.append({"role": "user", "parts": []})
            self._in_results = True
        self._contents[-1]["parts"].append({"functionResponse": result})

    def _close_results(self) -> None:
        """Older models take media only beside a result, in a turn of their own."""
        if self._result_media:
            self._contents.append({"role": "user", "parts": self._result_media})
            self._result_media, self._in_results = [], False

    # The model's own turns

    def _said(self, message: Message, place: str) -> list[Json]:
        calls = message.tool_calls or ()
        signatures = _Signatures(message, {call.id for call in calls})
        text = text_of(message.content) or message.refusal or ""
        text = text or text_or_empty(dict_or_empty(message.audio).get("transcript"))
        parts: list[Json] = []
        if text or (signatures.loose and not calls):
            parts.append(_signed({"text": text}, signatures.next_loose()))
            while signatures.loose:
                parts.append(_signed({"text": ""}, signatures.next_loose()))
        parts += _pictures(message, signatures)
        parts += [
            self._call(call, f"{place}.tool_calls[{index}]", signatures)
            for index, call in enumerate(calls)
        ]
        self._waive(parts)
        return parts

    def _call(self, call: ToolCall, place: str, signatures: _Signatures) -> Json:
        name = checked_name(call.function.name, f"{place}.function.name")
        self._names[call.id] = name
        arguments = parse_arguments(call.function.arguments)
        part: Json = {"functionCall": self._identified(call.id) | {"name": name, "args": arguments}}
        return _signed(part, signatures.of_call(call.id))

    def _identified(self, tag: str) -> Json:
        """The id of a call; Vertex AI refuses the field, and goes by name and order."""
        return {} if self._endpoint.dialect == "vertex" else {"id": tag}

    def _waive(self, parts: list[Json]) -> None:
        if not self._signs:
            return
        first = next((part for part in parts if "functionCall" in part), None)
        if first is not None and "thoughtSignature" not in first:
            first["thoughtSignature"] = WAIVER


class _Signatures:
    """The signatures a message brings back, and which part each belongs to.

    Attributes:
        loose: those without an id: the text's, or of calls by their order where there is no text.
    """

    def __init__(self, message: Message, calls: set[str]) -> None:
        self.loose: list[str] = []
        self._by_id: dict[str, str] = {}
        self._strayed: list[str] = []
        for item in own_details(message.reasoning_details, {FORMAT}):
            data, tag = item.get("data"), item.get("id")
            if item.get("type") != "reasoning.encrypted" or not isinstance(data, str) or not data:
                continue
            if not isinstance(tag, str):
                self.loose.append(data)
            elif tag in calls or tag.startswith(PICTURE_ID):
                self._by_id[tag] = data
            else:
                self._strayed.append(data)  # a client that gave its calls other ids

    def next_loose(self) -> str | None:
        return self.loose.pop(0) if self.loose else None

    def of(self, tag: str) -> str | None:
        return self._by_id.get(tag)

    def of_call(self, tag: str) -> str | None:
        found = self._by_id.get(tag)
        if found is None and self._strayed:
            return self._strayed.pop(0)
        return found or self.next_loose()


def _signed(part: Json, signature: str | None) -> Json:
    return part if signature is None else part | {"thoughtSignature": signature}


def _pictures(message: Message, signatures: _Signatures) -> list[Json]:
    """Pictures the model drew; only those that came inline can go back."""
    parts = []
    for index, image in enumerate(message.images or ()):
        url = dict_or_empty(image.get("image_url")).get("url")
        found = data_url(url) if isinstance(url, str) else None
        if found is not None:
            part = {"inlineData": {"mimeType": found[0], "data": found[1]}}
            parts.append(_signed(part, signatures.of(f"{PICTURE_ID}{index}")))
    return parts
