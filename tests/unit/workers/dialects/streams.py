"""Reading a stream as a worker does, in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from routing.wire.events import Delta, Event
from workers.dialects import Dialect


def events_of(dialect: Dialect[Any], pieces: Iterable[bytes]) -> list[Event]:
    """The events of a whole stream that comes in these pieces."""
    reader, decoder = dialect.reader(), dialect.decoder()
    datas = (data for piece in pieces for data in reader.feed(piece))
    events = [event for data in datas for event in decoder.decode(data)]
    return events + [event for data in reader.close() for event in decoder.decode(data)]


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """A stream cut at these places, in any order."""
    return [stream[one:two] for one, two in pairwise([0, *sorted(places), len(stream)])]


def call_piece(index: int, **fields: Any) -> Delta:
    """A delta with a piece of one tool call."""
    return Delta(extra={"tool_calls": [{"index": index} | fields]})
