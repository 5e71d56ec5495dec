"""Asks cells through the front door of a running system, many at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from sqlalchemy import select

from billing.tables import generations
from tests.cluster import Cluster, ClusterError, wait_until
from tests.fixtures.cluster import new_marker
from tests.matrix import asking, hearing
from tests.matrix.asking import Question
from tests.matrix.cells import Cell
from tests.matrix.hearing import Heard, Raw

#: Calls under way at a time: two cores are busy with half of it.
AT_ONCE = 16
#: Longer than any answer takes on a busy machine; a test that waits so long has failed.
PATIENCE_S = 60.0
SETTLED_S = 30.0
PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "messages": "/messages",
    "embeddings": "/embeddings",
}
RESULT = "done: {name}"
#: Features whose request to the provider is looked at.
_LOOKS_UPSTREAM = frozenset({"thoughts", "cache"})


@dataclass(slots=True)
class Outcome:
    """What one cell gave.

    Attributes:
        answers: one for each time it was asked.
        sent: the last request's body.
        upstream: the last request the simulator got of it, if any.
        raw: the last answer, for whoever reads a failure.
        charged_nano: what the ledger says of each answer, by generation.
        unreadable: why an answer could not be read.
    """

    answers: list[Heard] = field(default_factory=list)
    marker: str = ""
    sent: dict[str, Any] = field(default_factory=dict)
    upstream: dict[str, Any] = field(default_factory=dict)
    raw: str = ""
    unreadable: str = ""
    charged_nano: dict[str, int] = field(default_factory=dict)

    @property
    def last(self) -> Heard:
        """The answer that matters."""
        assert not self.unreadable, self.told
        return self.answers[-1]

    @property
    def told(self) -> str:
        """What was asked and what came, for the message of a failed test."""
        asked = json.dumps(self.sent)
        return f"{self.unreadable}\nasked: {asked[:1500]}\ngot: {self.raw[:3000]}"


class Trial:
    """Asks; one HTTP client for all threads."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self._cluster = cluster
        self._client = httpx.Client(
            base_url=cluster.base_url,
            timeout=PATIENCE_S,
            trust_env=False,
            headers={"Authorization": f"Bearer {key}"},
            limits=httpx.Limits(max_connections=AT_ONCE),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def run(self, cells: Iterable[Cell]) -> dict[str, Outcome]:
        """All cells by their id, those with the same fault together: faults are for everybody."""
        found: dict[str, Outcome] = {}
        waiting = list(cells)
        self._cluster.knobs(gap_ms=0)
        for fault in sorted({cell.feature.fault for cell in waiting}):
            if fault:
                self._cluster.set_faults([{"provider": "*", "fault": fault}])
            these = [cell for cell in waiting if cell.feature.fault == fault]
            with ThreadPoolExecutor(AT_ONCE) as pool:
                found |= zip((cell.id for cell in these), pool.map(self._ask, these), strict=True)
            self._cluster.clear_faults()
        self._cluster.knobs()
        self._look_up_charges(found.values())
        return found

    def _look_up_charges(self, outcomes: Collection[Outcome]) -> None:
        """Once everything is settled, what the ledger says."""
        answers = [heard for outcome in outcomes for heard in outcome.answers]
        settled = {heard.generation_id for heard in answers if heard.ended}
        charges: dict[str, int] = {}

        def all_there() -> bool:
            query = select(generations.c.id, generations.c.cost_nano)
            with self._cluster.ledger.reading() as connection:
                charges.update((row.id, row.cost_nano) for row in connection.execute(query))
            return settled <= charges.keys()

        wait_until(all_there, SETTLED_S, "the settlement of all answers")
        for outcome in outcomes:
            ids = {heard.generation_id for heard in outcome.answers}
            outcome.charged_nano = {one: charges[one] for one in ids & charges.keys()}

    def _ask(self, cell: Cell) -> Outcome:
        outcome = Outcome(marker=new_marker())
        question = replace(cell.question, said=f"{cell.question.said} {outcome.marker}")
        try:
            self._converse(cell, question, outcome)
        except (KeyError, ValueError, AssertionError, TypeError, IndexError) as error:
            outcome.unreadable = f"{type(error).__name__}: {error}"
        if cell.feature.name in _LOOKS_UPSTREAM or cell.api == "completions":
            outcome.upstream = self._received(outcome.marker)
        return outcome

    def _received(self, marker: str) -> dict[str, Any]:
        """The last request of a question as the simulator got it; empty if it got none."""
        try:
            return self._cluster.received(marker)
        except ClusterError:
            return {}

    def _converse(self, cell: Cell, question: Question, outcome: Outcome) -> None:
        if cell.feature.foreign:
            question = replace(question, turns=asking.FOREIGN[cell.api])
        self._once(cell.api, question, outcome)
        if cell.feature.repeats and outcome.last.status == httpx.codes.OK:
            self._once(cell.api, question, outcome)
        if cell.feature.replies and outcome.last.calls:
            first = outcome.last
            results = [RESULT.format(name=call.name) for call in first.calls]
            turns = (*first.turn, *hearing.answered(cell.api, first.calls, results))
            self._once(cell.api, replace(question, turns=turns), outcome)

    def _once(self, api: str, question: Question, outcome: Outcome) -> None:
        body = asking.vectors(question) if api == "embeddings" else asking.body(api, question)
        outcome.sent = body
        response = self._client.post(PATHS[api], json=body)
        outcome.raw = f"{response.status_code} {response.text}"
        raw = Raw(
            status=response.status_code,
            content_type=response.headers.get("content-type", ""),
            generation_id=response.headers.get("x-generation-id", ""),
            text=response.text,
        )
        outcome.answers.append(hearing.read(api, raw))
