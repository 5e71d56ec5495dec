"""Trying a customer's provider key: one short question, answered with that key or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson
from flask import Response

from api.accept import Acceptor, Call
from api.stream import Streamer
from routing.catalog.shapes import Catalog, Endpoint
from routing.errors import BadRequest
from routing.wire.account import ByokKey, KeyRecord
from routing.wire.chat import parse_chat

#: As short as an answer can be.
TOKENS_MAX = 1
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Asks the cheapest model a key serves. One per process.

    The call is one like any other: it is admitted, charged what such calls cost, and shown in the
    account's activity under the management key that asked for it.
    """

    acceptor: Acceptor
    streamer: Streamer

    def of(self, own: ByokKey, manager: KeyRecord, request_id: str) -> dict[str, Any]:
        """What came of it: `ok`, the model, and the provider's status and message.

        Args:
            own: the key; it may be disabled, or not allowed for the manager's own requests.
            manager: who asks, and whose account pays the fee if there is one.
            request_id: of the HTTP call.

        Raises:
            BadRequest: the key serves no model that could be asked.
            RouterError: the question was not let in.
        """
        catalog = self.acceptor.catalog.current
        found = min(_askable(own, catalog, self.acceptor.clock.now_ms()), default=None)
        if found is None:
            raise BadRequest("This key serves no text model that could be asked.")
        model_id = found[1]
        body = orjson.dumps(
            {
                "model": model_id,
                "messages": [{"role": "user", "content": "Say OK."}],
                "max_tokens": TOKENS_MAX,
                "provider": {"only": [own.provider]},
            }
        )
        call = Call(
            api="chat",
            key=replace(manager, byok=(own,)),
            request=parse_chat(body),
            body=body,
            request_id=request_id,
            only_byok=own.id,
        )
        accepted = self.acceptor.accept(call)
        answer = self.streamer.respond(accepted, None)
        return {
            "ok": answer.status_code == _OK,
            "model": model_id,
            "generation_id": accepted.mailbox.job_id,
            "status": answer.status_code,
            "message": None if answer.status_code == _OK else _message(answer),
            "simulated": accepted.simulated,
        }


def _askable(own: ByokKey, catalog: Catalog, now_ms: int) -> Iterator[tuple[int, str]]:
    """Models by what a word in and a word out cost."""
    for endpoints in (catalog.by_model, catalog.keyless):
        for model_id, each in endpoints.items():
            for endpoint in each:
                if endpoint.provider.slug == own.provider and _serves(own, model_id, catalog):
                    yield _pico(endpoint, now_ms), model_id


def _serves(own: ByokKey, model_id: str, catalog: Catalog) -> bool:
    architecture = catalog.models[model_id].architecture
    plain = "text" in architecture.input_modalities and architecture.output_modalities == ("text",)
    return plain and own.serves(model_id)


def _pico(endpoint: Endpoint, now_ms: int) -> int:
    price = endpoint.price_at(now_ms)
    return price.prompt_pico + price.completion_pico + price.request_pico


def _message(answer: Response) -> str:
    error = orjson.loads(answer.get_data())["error"]
    return str(error["message"])
