"""Images, documents, sound and video as Bedrock's Converse takes them: bytes and a format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from routing.wire.messages import (
    AudioPart,
    FilePart,
    ImagePart,
    Part,
    RefusalPart,
    TextPart,
    VideoPart,
)
from workers.dialects.common import cannot, data_url

#: Longest name of a document.
DOCUMENT_NAME_MAX = 200
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif",
           "image/webp": "webp"}  # fmt: skip
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_VIDEOS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/mov": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_SOUNDS = {"pcm16": "pcm", "pcm24": "pcm", "aiff": None}
_REFUSED_IN_NAMES = re.compile(r"[^A-Za-z0-9 ()\[\]-]+")
_SPACES = re.compile(r"\s{2,}")

Block = dict[str, Any]
#: Makes a document's name unlike those before it.
Naming = Callable[[str], str]


class Names:
    """Names of the documents of one request, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, filename: str) -> str:
        """A name without an ending and without what Bedrock refuses."""
        stem = filename.rsplit(".", 1)[0] if "." in filename[1:] else filename
        clean = _SPACES.sub(" ", _REFUSED_IN_NAMES.sub(" ", stem)).strip()[: DOCUMENT_NAME_MAX - 8]
        name, number = clean or "document", 1
        while name in self._taken:
            number += 1
            name = f"{clean or 'document'} {number}"
        self._taken.add(name)
        return name


def block_of(part: Part, place: str, names: Naming) -> Block | None:
    """A part as a content block; None for a text with nothing in it, which is refused.

    Raises:
        UpstreamRejected: Bedrock has no form for it.
    """
    match part:
        case TextPart() | RefusalPart():
            text = part.text if isinstance(part, TextPart) else part.refusal
            return {"text": text} if text.strip() else None
        case ImagePart():
            return {"image": _medium(part.image_url.url, f"{place}.image_url.url", _IMAGES)}
        case VideoPart():
            return {"video": _medium(part.video_url.url, f"{place}.video_url.url", _VIDEOS)}
        case AudioPart():
            return {"audio": _sound(part, place)}
        case FilePart():
            return _document(part, place, names)


def _medium(url: str, place: str, formats: Mapping[str, str]) -> Block:
    inline = data_url(url)
    if inline is None:
        raise cannot(place, "this provider takes no URLs; send the data itself in base64")
    form = formats.get(inline[0])
    if form is None:
        taken = ", ".join(sorted(set(formats.values())))
        raise cannot(place, f"this provider takes no {inline[0]}; send one of {taken}")
    return {"format": form, "source": {"bytes": inline[1]}}


def _sound(part: AudioPart, place: str) -> Block:
    form = _SOUNDS.get(part.input_audio.format, part.input_audio.format)
    if form is None:
        raise cannot(f"{place}.input_audio.format", "this provider takes no aiff; send wav or mp3")
    return {"format": form, "source": {"bytes": part.input_audio.data}}


def _document(part: FilePart, place: str, names: Naming) -> Block:
    data = part.file.file_data
    if data is None:
        raise cannot(f"{place}.file.file_id", "this provider knows no such file; send file_data")
    inline = data_url(data)
    if inline is not None and inline[0] in _IMAGES:
        return {"image": _medium(data, f"{place}.file.file_data", _IMAGES)}
    document = _medium(data, f"{place}.file.file_data", _DOCUMENTS)
    return {"document": {"name": names(part.file.filename or "document")} | document}
