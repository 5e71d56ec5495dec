"""Checks the content parts of a message in the OpenAI dialect, as each provider takes them."""

import base64
import binascii
import re
from typing import Any, Final

from workers.simulator.openai_fields import Invalid
from workers.simulator.providers import Errors, Manner, Media

BY_URL: Final = "image/url"

_IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
_VIDEO_TYPES: Final = frozenset({"video/mp4", "video/mpeg", "video/mov", "video/webm"})
_DETAILS: Final = frozenset({"auto", "low", "high", "original"})
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_WEB_URL: Final = re.compile(r"https?://[^\s/]+\S*")
_YOUTUBE: Final = re.compile(r"https?://(?:www\.|m\.)?(?:youtube\.com|youtu\.be)/")
_AUDIO_TYPES: Final = {"mp3": "audio/mpeg", "m4a": "audio/mp4"}
# Part kinds that are no media; what a part of text is made of.
_MORE_KEYS: Final = {"thinking": ("closed",), "document_url": ("document_name",)}
_WORDS: Final = {"text": "text", "refusal": "refusal", "thinking": "thinking"}


def read_part(part: Any, where: str, manner: Manner) -> str | None:
    """Check one part, and return its MIME type; None for words.

    Raises:
        Invalid: The provider would refuse it.
    """
    media = manner.media
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in media.parts or kind not in part:
        raise _unknown(kind, where, media)
    _check_keys(part, kind, where, manner)
    if kind in _WORDS:
        if kind == "text" and not isinstance(part["text"], str):
            raise _wrong_type(f"{where}.text", "a string")
        return None
    if kind == "input_audio":
        return _audio(part[kind], f"{where}.input_audio", media)
    if kind == "file":
        return _file(part[kind], f"{where}.file", media)
    return _linked(kind, part[kind], f"{where}.{kind}", media)


def _unknown(kind: Any, where: str, media: Media) -> Invalid:
    known = ", ".join(f"'{name}'" for name in sorted(media.parts))
    return Invalid(
        f"Invalid value: {kind!r}. Supported values are: {known}.",
        f"{where}.type",
        code="invalid_value",
        kind="union_tag_invalid",
    )


def _check_keys(part: dict[str, Any], kind: str, where: str, manner: Manner) -> None:
    """A provider that knows its fields knows those of a part, too."""
    if manner.message_fields is None:
        return
    for name in part:
        if name not in ("type", kind) and name not in _MORE_KEYS.get(kind, ()):
            raise Invalid(
                "Extra inputs are not permitted"
                if manner.errors is Errors.MISTRAL
                else f"Unknown parameter: '{where}.{name}'.",
                f"{where}.{name}",
                code="unknown_parameter",
                kind="extra_forbidden",
            )


def _linked(kind: str, value: Any, where: str, media: Media) -> str:
    """Check a picture, a film or a document, by URL or as a data URL."""
    url = value
    if isinstance(value, dict):
        url = value.get("url")
        detail = value.get("detail")
        if detail is not None and detail not in _DETAILS:
            raise Invalid(
                f"Invalid value: {detail!r}. Supported values are: 'low', 'high', and 'auto'.",
                f"{where}.detail",
                code="invalid_value",
                kind="literal_error",
            )
    elif not media.bare_urls:
        raise _wrong_type(where, "an object")
    if not isinstance(url, str):
        raise _wrong_type(f"{where}.url", "a string")
    if not url.startswith("data:"):
        return _by_url(kind, url, f"{where}.url")
    found = data_type(url, f"{where}.url")
    if kind == "image_url" and found not in _IMAGE_TYPES:
        raise Invalid(
            "You uploaded an unsupported image. Please make sure your image has of one the "
            "following formats: ['png', 'jpeg', 'gif', 'webp'].",
            f"{where}.url",
            code="invalid_image_format",
        )
    if kind == "video_url" and found not in _VIDEO_TYPES:
        raise Invalid(f"Unsupported video type {found}.", f"{where}.url")
    if kind in ("document_url", "file_url") and found != "application/pdf":
        raise Invalid(f"Unsupported document type {found}.", f"{where}.url")
    return found


def _by_url(kind: str, url: str, where: str) -> str:
    if not _WEB_URL.fullmatch(url):
        raise Invalid(
            f"Invalid '{where}'. Expected a valid URL, but got a value with an invalid format.",
            where,
            code="invalid_value",
            kind="url_parsing",
        )
    if kind == "video_url":
        return "video/youtube" if _YOUTUBE.match(url) else "video/url"
    return BY_URL if kind == "image_url" else "application/url"


def data_type(url: str, where: str) -> str:
    """Return the MIME type of a data URL whose base64 is good.

    Raises:
        Invalid: It is no such URL.
    """
    found = _DATA_URL.match(url)
    if found is None:
        raise Invalid(
            f"Invalid '{where}'. Expected a base64-encoded data URL with a MIME type "
            "(e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value without it.",
            where,
            code="invalid_value",
        )
    check_base64(url[found.end() :], where)
    return found[1]


def check_base64(text: str, where: str) -> None:
    """Refuse what is no base64, or nothing.

    Raises:
        Invalid: It is.
    """
    try:
        empty = not base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        empty = True
    if empty:
        raise Invalid(
            f"Invalid '{where}'. Expected base64-encoded data, but got a value that cannot be "
            "decoded.",
            where,
            code="invalid_base64",
        )


def _audio(value: Any, where: str, media: Media) -> str:
    if not isinstance(value, dict):
        raise _wrong_type(where, "an object")
    form, data = value.get("format"), value.get("data")
    if not isinstance(form, str) or form not in media.audio:
        known = ", ".join(f"'{name}'" for name in sorted(media.audio))
        raise Invalid(
            f"Invalid value: {form!r}. Supported values are: {known}.",
            f"{where}.format",
            code="invalid_value",
        )
    if not isinstance(data, str):
        raise _wrong_type(f"{where}.data", "a string")
    check_base64(data, f"{where}.data")
    return _AUDIO_TYPES.get(form, f"audio/{form}")


def _file(value: Any, where: str, media: Media) -> str:
    if not isinstance(value, dict):
        raise _wrong_type(where, "an object")
    if isinstance(value.get("file_id"), str):
        return "application/pdf"
    data = value.get("file_data")
    if not isinstance(data, str):
        raise Invalid(
            f"Missing required parameter: '{where}.file_id'.",
            f"{where}.file_id",
            code="missing_required_parameter",
        )
    if media.file_urls and not data.startswith("data:"):
        return _by_url("file", data, f"{where}.file_data")
    if not media.file_urls and not isinstance(value.get("filename"), str):
        raise Invalid(
            f"Missing required parameter: '{where}.filename'.",
            f"{where}.filename",
            code="missing_required_parameter",
        )
    found = data_type(data, f"{where}.file_data")
    if found != "application/pdf":
        raise Invalid(
            f"Invalid file data: '{where}.file_data'. Expected a base64-encoded data URL with an "
            "application/pdf MIME type (e.g. 'data:application/pdf;base64,'), but got unsupported "
            f"MIME type '{found}'.",
            f"{where}.file_data",
            code="invalid_value",
        )
    return found


def _wrong_type(where: str, expected: str) -> Invalid:
    return Invalid(
        f"Invalid type for '{where}': expected {expected}.",
        where,
        code="invalid_type",
        kind="string_type",
    )
