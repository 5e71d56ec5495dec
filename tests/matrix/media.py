"""The smallest files that are what they say: a picture, a sound, a document, a film."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_SIDE = 2


def _part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png() -> bytes:
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\x00" + b"\x80\x40\x20" * _SIDE) * _SIDE)
    return PNG_MAGIC + _part(b"IHDR", header) + _part(b"IDAT", rows) + _part(b"IEND", b"")


def _wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes(1_600))
    return file.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PNG = _base64(_png())
WAV = _base64(_wav())
PDF = _base64(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
MP4 = _base64(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + b"\x00\x00\x00\x08mdat")
