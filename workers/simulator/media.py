"""Pictures, sounds and vectors that are real enough to be opened, and always the same."""

import math
import struct
import wave
import zlib
from hashlib import shake_256
from io import BytesIO
from typing import Final

DIMENSIONS: Final = 256
# Tiny on purpose: what is tested is the way of the bytes, not their number.
LONG_SIDE: Final = 16
SAMPLE_RATE: Final = 24_000
SAMPLES: Final = 2400

_PNG_HEAD: Final = b"\x89PNG\r\n\x1a\n"
_RATIO_MAX: Final = 100
# One frame of silence: MPEG-1 layer III, 128 kbit/s, 44,100 Hz.
_MP3_FRAME: Final = b"\xff\xfb\x90\x64" + bytes(413)
# A stream without a single frame, which is a whole FLAC file.
_FLAC_EMPTY: Final = (
    b"fLaC"
    + struct.pack(">I", 0x80000022)
    + (struct.pack(">HH", 4096, 4096) + bytes(6) + struct.pack(">Q", SAMPLE_RATE << 44 | 15 << 36))
    + bytes(16)
)


def png(aspect_ratio: str, seed: int) -> bytes:
    """Return a picture of one colour whose sides have this ratio, such as ``16:9``."""
    width, height = _sides(aspect_ratio)
    colour = seed.to_bytes(8, "big")[-3:]
    rows = (b"\x00" + colour * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return _PNG_HEAD + b"".join(_png_part(name, data) for name, data in parts)


def _png_part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _sides(aspect_ratio: str) -> tuple[int, int]:
    left, _, right = aspect_ratio.partition(":")
    if not (left.isdigit() and right.isdigit()):
        return LONG_SIDE, LONG_SIDE
    width, height = (min(max(int(side[:4]), 1), _RATIO_MAX) for side in (left, right))
    longest = max(width, height)
    return max(1, width * LONG_SIDE // longest), max(1, height * LONG_SIDE // longest)


def silence(audio_format: str) -> bytes:
    """Return a tenth of a second of silence; bare samples for a format not known here."""
    samples = bytes(2 * SAMPLES)
    match audio_format:
        case "wav":
            file = BytesIO()
            with wave.open(file, "wb") as sound:
                sound.setnchannels(1)
                sound.setsampwidth(2)
                sound.setframerate(SAMPLE_RATE)
                sound.writeframes(samples)
            return file.getvalue()
        case "mp3":
            return _MP3_FRAME * 4
        case "flac":
            return _FLAC_EMPTY
        case _:
            return samples


def vector(text: str, dimensions: int = 0) -> tuple[float, ...]:
    """Return the embedding of a text: of length one, and the same every time."""
    count = dimensions or DIMENSIONS
    values = struct.unpack(f">{count}i", shake_256(text.encode()).digest(4 * count))
    length = math.hypot(*values) or 1.0
    return tuple(value / length for value in values)
