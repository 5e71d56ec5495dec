"""Files small enough to send in every test, each what its name says it is, and a tool."""

from __future__ import annotations

import base64
import struct
import zlib

from pydantic import BaseModel


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png() -> bytes:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\x00\x00")
    ends = (_chunk(b"IHDR", header), _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(ends)


def _wav() -> bytes:
    sound = b"\x00\x00" * 160
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(sound)) + sound
    return struct.pack("<4sI", b"RIFF", len(body)) + body


PNG = _png()
WAV = _wav()
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
MP4 = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom") + struct.pack(">I4s", 8, b"mdat")


def encoded(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode()


def data_url(media_type: str, data: bytes) -> str:
    """A `data:` URL."""
    return f"data:{media_type};base64,{encoded(data)}"


PNG_URL = data_url("image/png", PNG)
PDF_URL = data_url("application/pdf", PDF)

WEATHER = "get_weather"
WEATHER_DESCRIPTION = "The weather somewhere"
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
#: Makes the simulator call a tool it has; see `workers.simulator.answers`.
ASK_WEATHER = "What is the weather? Use a tool."
SUNNY = "sunny-and-21-degrees"

CHAT_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": WEATHER,
            "description": WEATHER_DESCRIPTION,
            "parameters": WEATHER_SCHEMA,
        },
    }
]


class Forecast(BaseModel):
    """What structured answers are read into."""

    city: str
    degrees: int
