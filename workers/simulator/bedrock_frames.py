"""Amazon's binary event stream: lengths, headers and checksums around each payload.

A message is ``total length | headers length | CRC of these | headers | payload | CRC of all``,
numbers big-endian and 32 bits wide. Only string headers are ever sent by this service.
"""

import struct
import zlib
from typing import Final

STREAM_TYPE: Final = "application/vnd.amazon.eventstream"

_STRING: Final = 7
_PRELUDE_BYTES: Final = 12
_CHECKSUM_BYTES: Final = 4


def event(name: str, payload: bytes) -> bytes:
    """Frame one event."""
    return message(
        {":event-type": name, ":content-type": "application/json", ":message-type": "event"},
        payload,
    )


def exception(name: str, payload: bytes) -> bytes:
    """Frame an error that ends a stream; the name is a member of the output, in camel case."""
    return message(
        {
            ":exception-type": name,
            ":content-type": "application/json",
            ":message-type": "exception",
        },
        payload,
    )


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """Frame one message with any headers."""
    packed = b"".join(_header(name, value) for name, value in headers.items())
    total = _PRELUDE_BYTES + len(packed) + len(payload) + _CHECKSUM_BYTES
    prelude = struct.pack("!II", total, len(packed))
    checked = b"%b%b%b%b" % (prelude, struct.pack("!I", zlib.crc32(prelude)), packed, payload)
    return checked + struct.pack("!I", zlib.crc32(checked))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return b"%c%b%c%b%b" % (len(key), key, _STRING, struct.pack("!H", len(text)), text)
