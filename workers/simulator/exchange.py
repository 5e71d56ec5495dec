"""From one request to the script of its answer: the story of a call, in one place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

import orjson

from workers.simulator.address import Address, read_address
from workers.simulator.answers import Stamp, answer
from workers.simulator.anthropic import AnthropicDialect
from workers.simulator.anthropic_vertex import AnthropicVertexDialect
from workers.simulator.azure import AzureDialect
from workers.simulator.bedrock import BedrockDialect
from workers.simulator.cohere import CohereDialect
from workers.simulator.control import PREFIX, Control
from workers.simulator.dialect import Ask, Dialect, Direct
from workers.simulator.faults import UnknownFault
from workers.simulator.gemini import GeminiDialect
from workers.simulator.google_token import TokenDialect
from workers.simulator.journal import Call, Journal, Outcome, marker_in
from workers.simulator.openai import OpenAIDialect
from workers.simulator.own_keys import fault_of
from workers.simulator.prompt_cache import UNCACHED, PromptCache
from workers.simulator.responses import ResponsesDialect
from workers.simulator.script import Scene, Script, compose, say
from workers.simulator.text import digest
from workers.simulator.wire import Request

# The first one that claims a path serves it: the special paths come before the usual ones.
DIALECTS: Final[tuple[Dialect, ...]] = (
    AnthropicVertexDialect(),
    AnthropicDialect(),
    TokenDialect(),
    GeminiDialect(),
    BedrockDialect(),
    CohereDialect(),
    AzureDialect(),
    ResponsesDialect(),
    OpenAIDialect(),
)
PATHS_REMEMBERED_MAX: Final = 4096
BAD_REQUEST: Final = 400


@dataclass(frozen=True, slots=True)
class Exchange:
    """What to play for a request, and which record it belongs to; control has no record."""

    script: Script
    call: Call | None = None
    outcome: Outcome = "finished"


class Simulator:
    """Everything but the sockets."""

    def __init__(
        self,
        now_ms: Callable[[], float],
        now_seconds: Callable[[], int],
        dialects: Sequence[Dialect] = DIALECTS,
    ) -> None:
        self.journal = Journal(now_ms)
        self.control = Control(self.journal)
        self._now_seconds = now_seconds
        self._dialects = dialects
        self._cache = PromptCache()
        self._dialect_of = lru_cache(maxsize=PATHS_REMEMBERED_MAX)(self._claimed)

    def receive(self, request: Request, peer: str) -> Exchange:
        """Decide what one request gets."""
        path, _, query = request.target.partition("?")
        if path == "/livez":
            return _reply(200, {"status": "ok"})
        if path.startswith(PREFIX):
            if not ip_address(peer).is_loopback:
                return _reply(403, {"error": "control is for the same machine only"})
            return Exchange(say(self.control.handle(path, query, request)))
        try:
            address = read_address(path)
        except UnknownFault as error:
            return _reply(404, {"error": str(error)})
        if address is not None:
            dialect = self._dialect_of(address.path)
            if dialect is not None:
                return self._call(dialect, address, request)
        return _reply(404, {"error": f"nothing is served at {path}"})

    def _claimed(self, path: str) -> Dialect | None:
        return next((dialect for dialect in self._dialects if dialect.claims(path)), None)

    def _call(self, dialect: Dialect, address: Address, request: Request) -> Exchange:
        ask = dialect.read(address.provider, address.path, request)
        if isinstance(ask, Ask):
            return self._answered(dialect, address, request, ask)
        if request.method == "GET":
            return Exchange(say(ask))
        return self._at_once(address, request, ask)

    def _answered(self, dialect: Dialect, address: Address, request: Request, ask: Ask) -> Exchange:
        control = self.control
        provider = address.provider
        chosen = control.faults.choose(provider, ask.model, address.fault)
        fault = fault_of(request) or chosen
        body_sha256 = digest(request.body)
        serial = self.journal.serial()
        stamp = Stamp(
            serial=serial,
            created=self._now_seconds(),
            body_sha256=body_sha256,
            cache=self._cache.use(provider, ask)
            if ask.cache_marks or ask.cached_tokens
            else UNCACHED,
        )
        knobs = control.knobs.for_model(ask.model)
        scene = Scene(
            dialect=dialect,
            provider=provider,
            ask=ask,
            answer=answer(ask, knobs, stamp),
            knobs=knobs,
            fault=fault,
        )
        script = compose(scene)
        marker = marker_in(ask.said)
        if marker is not None:
            self.journal.keep(marker, provider, address.path, request)
        call = Call(
            n=serial,
            provider=provider,
            model=ask.model,
            path=address.path,
            stream=ask.stream,
            status=script.status,
            fault=str(fault) if fault else None,
            body_sha256=body_sha256,
            marker=marker,
            started_ms=self.journal.now_ms(),
        )
        self.journal.begin(call)
        return Exchange(script, call, "faulted" if fault and fault.breaks else "finished")

    def _at_once(self, address: Address, request: Request, direct: Direct) -> Exchange:
        call = Call(
            n=self.journal.serial(),
            provider=address.provider,
            model="",
            path=address.path,
            stream=False,
            status=direct.status,
            fault=None,
            body_sha256=digest(request.body),
            marker=None,
            started_ms=self.journal.now_ms(),
        )
        self.journal.begin(call)
        # Not everything that is answered at once is refused: counting tokens is not.
        refused = direct.status >= BAD_REQUEST
        return Exchange(say(direct), call, "refused" if refused else "finished")


def _reply(status: int, value: dict[str, str]) -> Exchange:
    return Exchange(say(Direct(status=status, body=orjson.dumps(value))))
