"""What a file is by its first bytes, and how a `data:` URL is read."""

from __future__ import annotations

import binascii
import re

#: Base64 of enough bytes for every signature below.
HEAD_CHARS = 88
_DATA_URL = re.compile(
    r"data:([a-z]+/[a-z0-9.+-]+)?((?:;[a-z0-9-]+=[^;,]*)*);base64,", re.IGNORECASE
)
#: Names of one type: the first is how it is written.
_SAME = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "video/mov": "video/quicktime"}
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
)
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PADDING_MAX = 2
_QUARTET = 4


def sniffed(head: bytes) -> str | None:
    """The media type that the first bytes show; None when they show none that is known here."""
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:10] == b"qt" else "video/mp4"
    return None


def shown_type(head: str) -> str | None:
    """The same for the first `HEAD_CHARS` characters of base64."""
    whole = head[: len(head) - len(head) % _QUARTET]
    try:
        return sniffed(binascii.a2b_base64(whole))
    except binascii.Error:
        return None


def same_type(one: str, other: str) -> bool:
    """Whether two names mean one media type; containers of video are not told apart."""
    one, other = _SAME.get(one, one), _SAME.get(other, other)
    return one == other or (one.startswith("video/") and other.startswith("video/"))


def split_data_url(url: str) -> tuple[str, int] | None:
    """The media type of a base64 `data:` URL and where its data begins; None for anything else."""
    found = _DATA_URL.match(url)
    if found is None:
        return None
    return (found[1] or "text/plain").lower(), found.end()


def base64_problem(data: bytes) -> str | None:
    """Why this is not base64 (RFC 4648, with or without padding); None when it is.

    At memory speed: a picture of 20 MB is no reason to stop a front door.
    """
    if not data:
        return "must not be empty"
    rest = data.translate(None, _BASE64)
    if rest.strip(b"="):
        return "must be base64 (letters, digits, '+', '/' and '='), without spaces or line breaks"
    if rest and (len(rest) > _PADDING_MAX or not data.endswith(rest) or len(data) % _QUARTET):
        return "must be base64 with correct padding"
    if not rest and len(data) % _QUARTET == 1:
        return "must be whole base64; it is cut off"
    return None
