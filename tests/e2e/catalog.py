"""The operator's catalog the end to end tests run with: one model, many ways to be served badly.

Each provider is the simulator under another path, so that what goes wrong is decided by whom a
request is sent to (`provider.only`, `provider.order`), and tests do not disturb each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

STORY = "e2e/story"
#: Served by `good` alone: what a model fallback ends at.
OTHER = "e2e/other"
FREE = "e2e/free:free"
#: Hundreds of pieces, 20 ms apart, from a provider that stops when its caller leaves.
PACED = "e2e/paced"
PACED_PIECES = 150
#: Twenty pieces 100 ms apart: two seconds in which something can happen.
STEADY = "e2e/steady"
STEADY_PIECES = 20
KEY_VARIABLE = "E2E_PROVIDER_KEY"
PROVIDER_KEY = "sk-provider-e2e"
#: USD per million tokens.
PROMPT_USD, COMPLETION_USD = 1, 2

#: Short, so that silence is noticed while a test waits for it.
IMPATIENT = MappingProxyType(
    {"connect_ms": 1_000, "first_byte_ms": 500, "gap_ms": 500, "total_ms": 1_600}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One provider: which fault its calls get, whose queue serves it, what it costs.

    Without a name the pool is its own, as shipped ones are. Second tries are rationed by pool: what
    one test uses up is then no other test's.
    """

    fault: str = ""
    pool: str = ""
    timeouts: Mapping[str, int] | None = None
    cancellation: bool = True
    price: int = 1
    prefill: bool = False
    parameters: tuple[str, ...] = ("temperature", "max_tokens", "tools", "tool_choice", "stop")


#: A 429 parks its endpoint, so each test of one has an endpoint of its own. Ten calls with five
#: failures open a breaker, and a stream that breaks is both: no endpoint breaks four times.
ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "good": Row(),
        # The one that goes on, and bills to the end, when its caller leaves.
        "spare": Row(cancellation=False),
        "dear": Row(price=10),
        "toolless": Row(parameters=("temperature", "max_tokens")),
        "busy-a": Row(fault="429"),
        "busy-b": Row(fault="429"),
        "busy-sdk": Row(fault="429_retry_after:7"),
        "busy-sdk-2": Row(fault="429_retry_after:7"),
        "busy-hint-a": Row(fault="429_retry_after:7"),
        "busy-hint-b": Row(fault="429_retry_after:7"),
        "once": Row(fault="500_once"),
        "down-a": Row(fault="503"),
        "down-waited-for": Row(fault="503"),
        "down-b": Row(fault="503"),
        "dead": Row(fault="503"),
        "reset": Row(fault="reset"),
        "silent": Row(fault="silence", timeouts=IMPATIENT),
        # Silent for longer than any test: whoever asks holds their money until they leave.
        "endless": Row(fault="silence"),
        "slow": Row(fault="slow_first:1500"),
        "cut": Row(fault="cut_after:4"),
        "cut-short": Row(fault="cut_after:4"),
        "cut-silent": Row(fault="cut_after:4"),
        "torn": Row(fault="rst_after:4"),
        # For streams that are taken over; another pool's workers would serve it otherwise.
        "carrying": Row(prefill=True),
        # Their faults come and go by a test's own rules.
        "turnstile": Row(),
        "turnstile-2": Row(),
        "shut": Row(fault="429_retry_after:60"),
        "stalled": Row(fault="stall_after:4", timeouts=IMPATIENT),
        "malformed": Row(fault="malformed_after:4"),
        "no-done": Row(fault="no_done"),
        "no-finish": Row(fault="no_finish"),
        "blank": Row(fault="null_finish_zero"),
        "error-200": Row(fault="error_200"),
        "error-mid": Row(fault="error_mid:4"),
        "bad-utf8": Row(fault="invalid_utf8"),
        "split-utf8": Row(fault="split_utf8"),
        "huge": Row(fault="huge_event:5"),
        "too-long": Row(fault="context_400"),
        "refusing": Row(fault="content_filter_400"),
        "filtering": Row(fault="content_filter"),
        "uncounted": Row(fault="no_usage"),
        "negative": Row(fault="absurd_usage:negative"),
        "vast": Row(fault="absurd_usage:huge"),
        "wordy": Row(fault="absurd_usage:string"),
        "fractional": Row(fault="absurd_usage:float"),
        "html": Row(fault="html_200"),
        "empty": Row(fault="empty_200"),
        "denied": Row(fault="401"),
        "unbilled": Row(fault="402"),
    }
)


def write_catalog(directory: Path, simulator_url: str) -> None:
    """Write the files; `directory` is what POINTSMAN_CATALOG names."""
    write_models(directory, "e2e", (STORY, OTHER, FREE, PACED, STEADY))
    for slug, row in ROWS.items():
        endpoints = [endpoint(STORY, "story", row)]
        if slug == "good":
            endpoints += [
                endpoint(OTHER, "other", row),
                endpoint(FREE, "free", Row(price=0)),
                endpoint(PACED, f"sim-paced-{PACED_PIECES}x20", row),
                endpoint(STEADY, f"sim-paced-{STEADY_PIECES}x100", row),
            ]
        if slug == "spare":
            endpoints.append(endpoint(STEADY, f"sim-paced-{STEADY_PIECES}x100", row))
        write_provider(directory, slug, simulator_url, row, endpoints)


def write_models(directory: Path, author: str, names: Iterable[str]) -> None:
    """Describe models of one author."""
    models = [{"id": name, "name": name, "created": "2025-01-01"} for name in names]
    _write(directory / "models" / f"{author}.yml", {"models": models})


def write_provider(
    directory: Path, slug: str, simulator_url: str, row: Row, endpoints: list[dict[str, Any]]
) -> None:
    """Describe one provider."""
    fault = f"/f/{row.fault}" if row.fault else ""
    document: dict[str, Any] = {
        "slug": slug,
        "name": slug.title(),
        "dialect": "openai",
        "base_url": f"{simulator_url}/p/{slug}{fault}/v1",
        "key_variable": KEY_VARIABLE,
        "pool": row.pool or slug,
        "cancellation": row.cancellation,
        "data_policy": {"training": False, "retains_prompts": False},
        "supported_parameters": list(row.parameters),
        "endpoints": endpoints,
    }
    if row.timeouts is not None:
        document["timeouts"] = dict(row.timeouts)
    _write(directory / "providers" / f"{slug}.yml", document)


def endpoint(model: str, upstream_id: str, row: Row) -> dict[str, Any]:
    """One endpoint entry of a provider's file."""
    return {
        "model": model,
        "upstream_id": upstream_id,
        "context_length": 65_536,
        "max_completion_tokens": 8_192,
        "prefill": row.prefill,
        "prices": [
            {
                "from": "2025-01-01",
                "prompt": PROMPT_USD * row.price,
                "completion": COMPLETION_USD * row.price,
                "source": "https://example.com/prices",
            }
        ],
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # JSON is YAML, and needs no quoting rules.
    path.write_text(yaml.safe_dump(document, sort_keys=False))
