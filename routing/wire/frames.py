r"""Frames: what a worker sends to a front door. Socket-ready bytes behind a short header.

    <job> <epoch> <seq> <kind> <status> <retry after s> <length>\n<payload>

One message may hold many frames. The front door forwards payloads without reading them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a payload is."""

    #: Server-sent events; more frames follow.
    DATA = "d"
    #: Server-sent events up to the end of the stream, however it ended.
    END = "z"
    #: A whole JSON answer.
    BODY = "b"
    #: A JSON error envelope; nothing was sent before it. `status` is its HTTP status.
    ERROR = "e"


@dataclass(frozen=True, slots=True)
class Frame:
    """One numbered piece of an answer.

    Attributes:
        seq: 1, 2, 3 … within the epoch.
        status: HTTP status for BODY and ERROR, 200 for streams.
        retry_after_s: for ERROR; 0 for none.
    """

    job_id: str
    epoch: int
    seq: int
    kind: Kind
    status: int
    payload: bytes
    retry_after_s: int = 0

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self.kind is not Kind.DATA

    def encoded(self) -> bytes:
        """Header and payload."""
        head = (
            f"{self.job_id} {self.epoch} {self.seq} {self.kind.value} {self.status} "
            f"{self.retry_after_s} {len(self.payload)}\n"
        )
        return head.encode() + self.payload

    @classmethod
    def decode_all(cls, message: bytes) -> list[Frame]:
        """All frames of one message.

        Raises:
            ValueError: not frames; our own processes never send such.
        """
        frames = []
        start, total = 0, len(message)
        while start < total:
            newline = message.index(b"\n", start)
            job, epoch, seq, kind, status, retry, length = message[start:newline].split(b" ")
            start = newline + 1
            end = start + int(length)
            if end > total:
                raise ValueError("a frame is longer than its message")
            frames.append(
                cls(
                    job.decode(),
                    int(epoch),
                    int(seq),
                    Kind(kind.decode()),
                    int(status),
                    message[start:end],
                    int(retry),
                )
            )
            start = end
        return frames
