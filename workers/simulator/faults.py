"""The faults a provider can show, how one is written, and which call gets which.

A fault is written as its name, with an argument after a colon where it takes one:
``503``, ``cut_after:3``, ``absurd_usage:string``. Counts of chunks are server-sent events from
the first one on (the one with the role), the end mark not counted.
"""

from dataclasses import dataclass
from typing import Final


class UnknownFault(ValueError):
    """There is no such fault, or its argument is not one it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is fixed about a fault.

    Attributes:
        breaks: True when a client must not take the answer for a good one. A call with such a
            fault ends as ``faulted``; slow, oddly framed or strangely counted answers end as
            ``finished``.
        default: The argument when none is written; None for a fault that takes none.
        most: The largest number, for a fault that takes a number.
        words: The words it takes, for a fault that takes a word.
    """

    breaks: bool = True
    default: str | None = None
    most: int = 0
    words: frozenset[str] = frozenset()


_MS_MAX: Final = 3_600_000
_CHUNKS_MAX: Final = 100_000
_SECONDS_MAX: Final = 86_400
_MEGABYTES_MAX: Final = 64

KINDS: Final[dict[str, Kind]] = {
    # Instead of an answer.
    "429": Kind(),
    "429_retry_after": Kind(default="1", most=_SECONDS_MAX),
    "500_once": Kind(),
    "503": Kind(),
    "529": Kind(),
    "401": Kind(),
    "402": Kind(),
    "403": Kind(),
    "context_400": Kind(),
    "content_filter_400": Kind(),
    "error_200": Kind(),
    "html_200": Kind(),
    "empty_200": Kind(),
    "redirect": Kind(),
    "reset": Kind(),
    "silence": Kind(),
    # A whole answer that says something odd.
    "content_filter": Kind(breaks=False),
    "refusal": Kind(breaks=False),
    "no_usage": Kind(breaks=False),
    "absurd_usage": Kind(
        breaks=False,
        default="negative",
        words=frozenset({"negative", "huge", "string", "float"}),
    ),
    "null_finish_zero": Kind(),
    "huge_event": Kind(breaks=False, default="5", most=_MEGABYTES_MAX),
    # A stream that goes wrong on its way.
    "cut_after": Kind(default="3", most=_CHUNKS_MAX),
    "rst_after": Kind(default="3", most=_CHUNKS_MAX),
    "stall_after": Kind(default="3", most=_CHUNKS_MAX),
    "malformed_after": Kind(default="3", most=_CHUNKS_MAX),
    "error_mid": Kind(default="3", most=_CHUNKS_MAX),
    "no_done": Kind(),
    "no_finish": Kind(),
    "invalid_utf8": Kind(),
    "wrong_length": Kind(),
    # Right, but slow or in an unusual form.
    "slow_headers": Kind(breaks=False, default="1000", most=_MS_MAX),
    "slow_first": Kind(breaks=False, default="1000", most=_MS_MAX),
    "late_close": Kind(breaks=False, default="1000", most=_MS_MAX),
    "split_utf8": Kind(breaks=False),
    "crlf": Kind(breaks=False),
    "comments": Kind(breaks=False),
    "bom": Kind(breaks=False),
    "no_space": Kind(breaks=False),
    "gzip": Kind(breaks=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault with its argument; ``number`` is 0 where the argument is no number."""

    name: str
    word: str = ""
    number: int = 0

    @property
    def breaks(self) -> bool:
        """Whether the client must notice it; see ``Kind.breaks``."""
        return KINDS[self.name].breaks

    def __str__(self) -> str:
        argument = self.word or str(self.number)
        return self.name if KINDS[self.name].default is None else f"{self.name}:{argument}"


def parse_fault(spec: str) -> Fault:
    """Read a fault as it is written in a path or a rule.

    Raises:
        UnknownFault: It is none of ``KINDS``, or the argument does not fit.
    """
    name, colon, argument = spec.partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise UnknownFault(f"there is no fault {name!r}; choose from: {', '.join(KINDS)}")
    if kind.default is None:
        if colon:
            raise UnknownFault(f"{name} takes no argument")
        return Fault(name=name)
    argument = argument or kind.default
    if kind.words:
        if argument not in kind.words:
            raise UnknownFault(f"{name} takes one of: {', '.join(sorted(kind.words))}")
        return Fault(name=name, word=argument)
    if not (argument.isascii() and argument.isdigit()) or int(argument[:12]) > kind.most:
        raise UnknownFault(f"{name} takes a whole number from 0 to {kind.most}")
    return Fault(name=name, number=int(argument[:12]))


@dataclass(slots=True, kw_only=True)
class Rule:
    """Which calls get a fault.

    Attributes:
        provider: A provider slug, or ``*``.
        model: An upstream model id, or None for every model.
        fault: What happens to them.
        times: How many calls get it before the rule is spent; None for no end.
        probability: The share of matching calls that get it, spread evenly and the same in
            every run; None for all of them.
        seen: Matching calls so far.
        fired: How many of these got the fault.
    """

    provider: str
    model: str | None
    fault: Fault
    times: int | None = None
    probability: float | None = None
    seen: int = 0
    fired: int = 0

    def matches(self, provider: str, model: str) -> bool:
        """Whether the rule is about this endpoint and not spent."""
        spent = self.times is not None and self.fired >= self.times
        return not spent and self.provider in ("*", provider) and self.model in (None, model)

    def draw(self) -> bool:
        """Count one matching call and tell whether the fault falls on it."""
        before, self.seen = self.seen, self.seen + 1
        if self.probability is not None:
            hit = int(self.seen * self.probability) > int(before * self.probability)
        else:
            hit = True
        self.fired += hit
        return hit


# Rules are written by hand or by a test; this many is a mistake.
RULES_MAX: Final = 1000
ENDPOINTS_MAX: Final = 10_000


class FaultBook:
    """The rules in force, and which endpoints have had their one failure."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._failed_once: set[tuple[str, str]] = set()

    def replace(self, rules: list[Rule]) -> None:
        """Forget all rules and counts and begin with these.

        Raises:
            ValueError: There are more than ``RULES_MAX``.
        """
        if len(rules) > RULES_MAX:
            raise ValueError(f"no more than {RULES_MAX} rules")
        self.rules = rules
        self._failed_once.clear()

    def add(self, rule: Rule) -> None:
        """Add one rule after the others.

        Raises:
            ValueError: There are ``RULES_MAX`` already.
        """
        if len(self.rules) >= RULES_MAX:
            raise ValueError(f"no more than {RULES_MAX} rules")
        self.rules.append(rule)

    def choose(self, provider: str, model: str, asked: Fault | None) -> Fault | None:
        """Return the fault for one call: the path's own first, else the first rule that fires."""
        if asked is None and not self.rules:
            return None
        fault = asked or self._from_rules(provider, model)
        if fault is not None and fault.name == "500_once":
            return fault if self._first_failure(provider, model) else None
        return fault

    def _from_rules(self, provider: str, model: str) -> Fault | None:
        for rule in self.rules:
            if rule.matches(provider, model) and rule.draw():
                return rule.fault
        return None

    def _first_failure(self, provider: str, model: str) -> bool:
        endpoint = (provider, model)
        if endpoint in self._failed_once:
            return False
        if len(self._failed_once) >= ENDPOINTS_MAX:
            self._failed_once.clear()
        self._failed_once.add(endpoint)
        return True
