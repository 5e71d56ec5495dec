"""Vectors as `/embeddings` returns them (contract 8.1)."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Any, Literal

import orjson

from routing.catalog.pricing import Cost, usd
from routing.errors import Failure
from routing.usage import Usage
from routing.wire.events import Answer, Delta, Finish
from routing.wire.router_metadata import Noted

EncodingFormat = Literal["float", "base64"]


class EmbeddingsRenderer(Noted):
    """`/embeddings`: vectors in the encoding that was asked for, whatever the provider sent."""

    def __init__(
        self,
        generation_id: str,
        created: int,
        model: str,
        provider: str,
        encoding: EncodingFormat | None = None,
    ) -> None:
        super().__init__()
        self._fixed: dict[str, Any] = {
            "id": generation_id,
            "object": "list",
            "created": created,
            "model": model,
            "provider": provider,
        }
        self._encoding = encoding or "float"

    def body(self, answer: Answer, usage: Usage, cost: Cost, *, charged: bool) -> bytes:
        """The list of vectors, in the order of the inputs."""
        encode = as_base64 if self._encoding == "base64" else as_numbers
        return orjson.dumps(
            {
                **self._fixed,
                "data": [
                    {"object": "embedding", "embedding": encode(vector), "index": index}
                    for index, vector in enumerate(answer.vectors)
                ],
                "usage": _usage(usage, cost, charged=charged),
                **self._noted,
            }
        )

    def delta(self, delta: Delta) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Nothing: vectors come in one piece, and `EmbeddingsRequest` never streams."""
        return b""

    def finish(self, finish: Finish) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Nothing, as `delta`."""
        return b""

    def end(self, usage: Usage, cost: Cost, *, charged: bool) -> bytes:  # noqa: ARG002 - likewise
        """Nothing, as `delta`."""
        return b""

    def broken(self, failure: Failure) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Nothing: a plain answer that fails is an HTTP status."""
        return b""

    def moved(self, model: str, provider: str) -> None:
        """The answer names these."""
        self._fixed |= {"model": model, "provider": provider}

    def rescued(self, rescue: object) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Nothing, as `delta`."""
        return b""


def as_base64(vector: list[float] | str) -> str:
    """Little-endian 32-bit floats in base64."""
    if isinstance(vector, str):
        return vector
    return base64.b64encode(_little_endian(array("f", vector)).tobytes()).decode()


def as_numbers(vector: list[float] | str) -> list[float]:
    """The inverse of `as_base64`."""
    if not isinstance(vector, str):
        return vector
    return _little_endian(array("f", base64.b64decode(vector))).tolist()


def _little_endian(numbers: array[float]) -> array[float]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _usage(usage: Usage, cost: Cost, *, charged: bool) -> dict[str, Any]:
    upstream = usd(cost.total_nano)
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": usd(cost.charged_nano) if charged else 0,
        "is_byok": cost.terms.byok,
        "cost_details": {"upstream_inference_cost": upstream},
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "audio_tokens": usage.audio_tokens,
        },
    }
