"""What `pointsman up` prints once it serves."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.cli.home import Keys

#: A model of the shipped catalog that is cheap and known to everybody.
EXAMPLE_MODEL = "openai/gpt-4o-mini"
_NAMED_PROVIDERS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """Which providers are real. `simulated` says whether any other is played by the simulator."""

    real: tuple[str, ...]
    simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """The facts shown; `flower_url` is None when Flower was not started."""

    base_url: str
    keys: Keys
    sandbox: Sandbox
    flower_url: str | None
    home: Path
    logs: Path


def render(banner: Banner) -> str:
    """The text, with a curl that works as pasted."""
    rows = [
        ("API", banner.base_url),
        ("Key", banner.keys.inference),
        ("Management key", banner.keys.management),
        *([("Flower", banner.flower_url)] if banner.flower_url else []),
        ("Logs", str(banner.logs)),
        ("Mode", sandbox_line(banner.sandbox)),
    ]
    table = "\n".join(f"  {label:<15} {value}" for label, value in rows)
    return (
        f"\nPointsman is ready.\n\n{table}\n\n"
        f"Try it:\n\n{curl(banner.base_url, banner.keys.inference)}\n\n"
        f"In scripts: . {shlex.quote(str(banner.home / 'env'))}\nCtrl-C stops everything.\n"
    )


def curl(base_url: str, key: str) -> str:
    """A chat completion as a shell command, ready to be pasted."""
    body = f'{{"model":"{EXAMPLE_MODEL}","messages":[{{"role":"user","content":"Say hello"}}]}}'
    return (
        f"curl {base_url}/chat/completions \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        f'  -H "Content-Type: application/json" \\\n'
        f"  -d '{body}'"
    )


def sandbox_line(sandbox: Sandbox) -> str:
    """Who answers, in one line."""
    if sandbox.simulated and not sandbox.real:
        return "sandbox: answers come from the bundled simulator, no provider key is set"
    if not sandbox.real:
        return "no provider key is set and no simulator runs: inference requests will fail"
    names = _names(sandbox.real)
    if sandbox.simulated:
        return f"mixed: {names} for real, the bundled simulator plays the others"
    return f"real providers: {names}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED_PROVIDERS_MAX])
    more = len(names) - _NAMED_PROVIDERS_MAX
    return f"{shown} and {more} more" if more > 0 else shown
