"""The control API: sets faults and pace, reports calls. Only for the same machine."""

from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from workers.simulator.dialect import Direct
from workers.simulator.faults import FaultBook, Rule, parse_fault
from workers.simulator.journal import CALLS_MAX, Journal
from workers.simulator.knobs import Knobs
from workers.simulator.wire import Request

PREFIX: Final = "/control/"
_RULE_FIELDS: Final = frozenset({"provider", "model", "fault", "times", "probability"})
_KNOB_FIELDS: Final = frozenset({"chunks", "gap_ms", "first_ms", "tokens"})


class Unusable(ValueError):
    """A control request that says nothing we can do; the message says why."""


class Control:
    """Holds what can be changed at run time, and answers ``/control/…``."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.faults = FaultBook()
        self.knobs = Knobs()

    def handle(self, path: str, query: str, request: Request) -> Direct:
        """Answer one control request."""
        routes = {
            "/control/faults": self._faults,
            "/control/knobs": self._knobs,
            "/control/calls": self._calls,
            "/control/requests": self._requests,
        }
        route = routes.get(path)
        if route is None:
            return _problem(404, f"choose from: {', '.join(routes)}")
        try:
            return route(request, parse_qs(query))
        except ValueError as error:
            return _problem(400, str(error))

    def _faults(self, request: Request, _query: dict[str, list[str]]) -> Direct:
        match request.method:
            case "GET":
                pass
            case "PUT":
                rules = _object(request.body).get("rules")
                if not isinstance(rules, list):
                    raise Unusable("the body must be an object with a list of rules")
                self.faults.replace([read_rule(rule) for rule in rules])
            case "POST":
                self.faults.add(read_rule(_object(request.body)))
            case "DELETE":
                self.faults.replace([])
            case _:
                return _problem(405, "use GET, PUT, POST or DELETE")
        return _json({"rules": [_shown(rule) for rule in self.faults.rules]})

    def _knobs(self, request: Request, _query: dict[str, list[str]]) -> Direct:
        match request.method:
            case "GET":
                pass
            case "PUT":
                self.knobs = Knobs(**_known(_object(request.body), _KNOB_FIELDS))
            case "DELETE":
                self.knobs = Knobs()
            case _:
                return _problem(405, "use GET, PUT or DELETE")
        return _json(self.knobs)

    def _calls(self, request: Request, query: dict[str, list[str]]) -> Direct:
        match request.method:
            case "GET":
                limit = int(query.get("limit", [str(CALLS_MAX)])[0])
                marker = query.get("marker", [None])[0]
                return _json(self.journal.report(marker, max(0, limit)))
            case "DELETE":
                self.journal.reset()
                return _json(self.journal.report())
            case _:
                return _problem(405, "use GET or DELETE")

    def _requests(self, request: Request, query: dict[str, list[str]]) -> Direct:
        if request.method != "GET" or "marker" not in query:
            return _problem(400, "use GET with ?marker=")
        received = self.journal.received(query["marker"][0])
        if received is None:
            return _problem(404, "no request with this marker")
        return _json(
            {
                "provider": received.provider,
                "path": received.path,
                "headers": received.headers,
                "body": orjson.loads(received.body),
            }
        )


def read_rule(value: Any) -> Rule:
    """Read one rule.

    Raises:
        Unusable: It is not a rule; the message says why.
        UnknownFault: It names a fault that does not exist.
    """
    if not isinstance(value, dict):
        raise Unusable("a rule is an object")
    rule = _known(value, _RULE_FIELDS)
    provider, model = rule.get("provider", "*"), rule.get("model")
    if not isinstance(provider, str) or not isinstance(model, str | None):
        raise Unusable("provider must be a string, model a string or null")
    if not isinstance(rule.get("fault"), str):
        raise Unusable("fault must be a string such as cut_after:3")
    times, probability = rule.get("times"), rule.get("probability")
    if times is not None and (type(times) is not int or times < 0):
        raise Unusable("times must be null or a whole number")
    if probability is not None and (
        isinstance(probability, bool)
        or not isinstance(probability, int | float)
        or not 0 <= probability <= 1
    ):
        raise Unusable("probability must be null or a number from 0 to 1")
    return Rule(
        provider=provider,
        model=model,
        fault=parse_fault(rule["fault"]),
        times=times,
        probability=probability,
    )


def _shown(rule: Rule) -> dict[str, Any]:
    return {
        "provider": rule.provider,
        "model": rule.model,
        "fault": str(rule.fault),
        "times": rule.times,
        "probability": rule.probability,
        "seen": rule.seen,
        "fired": rule.fired,
    }


def _object(body: bytes) -> dict[str, Any]:
    parsed = orjson.loads(body)
    if not isinstance(parsed, dict):
        raise Unusable("the body must be a JSON object")
    return parsed


def _known(value: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    if unknown := value.keys() - names:
        raise Unusable(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(names))}")
    return value


def _json(value: object) -> Direct:
    return Direct(status=200, body=orjson.dumps(value))


def _problem(status: int, message: str) -> Direct:
    return Direct(status=status, body=orjson.dumps({"error": message}))
