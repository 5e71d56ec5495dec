"""The systems under comparison: started on free loopback ports with a temporary home, and ended."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.answers import KINDS
from tests.bench.client import Target
from tests.cluster import free_ports

ROOT: Final = Path(__file__).parents[2]
LITELLM_VENV: Final = ROOT / ".bench" / "litellm-venv"
START_S: Final = 120.0
STOP_S: Final = 30.0
POLL_S: Final = 0.2
#: Everything but Flower, which watches; Redis comes by itself, the simulator is everybody's.
POINTSMAN_PROCESSES: Final = "web,worker,batch,settle,sweep"
#: Any text: the simulator wants a key and takes every one.
PROVIDER_KEY: Final = "sk-bench-provider"
#: No calls out: no price list, no telemetry, no feedback box, no prompts of the CLI.
LITELLM_QUIET: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "NO_DOCS": "True",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A running system.

    Attributes:
        pid: of the process everything it consists of descends from.
        target: where its requests go.
    """

    name: str
    pid: int
    target: Target


@contextmanager
def simulator(folder: Path) -> Iterator[System]:
    """The provider, called directly."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "workers.simulator", "--port", str(port)]
    with _running(command, _environment(), folder / "simulator.log") as process:
        _wait(process, f"http://127.0.0.1:{port}/p/bench/v1/models", folder / "simulator.log")
        models = {kind.name: kind.upstream for kind in KINDS}
        target = Target(
            port=port, path="/p/bench/v1/chat/completions", key=PROVIDER_KEY, model=models
        )
        yield System(name="simulator", pid=process.pid, target=target)


@contextmanager
def given(system: System) -> Iterator[System]:
    """One that runs already and is ended by somebody else."""
    yield system


@contextmanager
def pointsman(folder: Path, simulator_port: int) -> Iterator[System]:
    """`pointsman up` without Flower, with one provider of our own in the catalog."""
    port, redis_port = free_ports(2)
    home, log = folder / "home", folder / "pointsman.log"
    _write_catalog(folder / "catalog", simulator_port)
    environment = {
        **_environment(),
        "POINTSMAN_HOME": str(home),
        "POINTSMAN_CATALOG": str(folder / "catalog"),
        "POINTSMAN_REDIS_PORT": str(redis_port),
        "PORT": str(port),
        "BENCH_API_KEY": PROVIDER_KEY,
    }
    run = "from api.cli.main import main; main()"
    command = [sys.executable, "-c", run, "up", "--only", POINTSMAN_PROCESSES, "--no-simulator"]
    with _running(command, environment, log) as process:
        _wait(process, f"http://127.0.0.1:{port}/readyz", log)
        _wait_for_text(process, log, "Ctrl-C")
        models = {kind.name: f"bench/{kind.name}" for kind in KINDS}
        path = "/api/v1/chat/completions"
        target = Target(port=port, path=path, key=_inference_key(home), model=models)
        yield System(name="pointsman", pid=process.pid, target=target)


@contextmanager
def litellm(folder: Path, simulator_port: int, venv: Path) -> Iterator[System]:
    """LiteLLM's proxy: one worker, no database, one master key (it does not start without)."""
    (port,) = free_ports(1)
    key = f"sk-{secrets.token_hex(32)}"
    config, log = folder / "litellm.yaml", folder / "litellm.log"
    config.write_text(_litellm_config(simulator_port), encoding="utf-8")
    environment = {**_environment(), **LITELLM_QUIET, "HOME": str(folder)}
    environment["LITELLM_MASTER_KEY"] = key
    command = [str(venv / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    with _running(command, environment, log) as process:
        _wait(process, f"http://127.0.0.1:{port}/health/liveliness", log)
        models = {kind.name: kind.name for kind in KINDS}
        target = Target(port=port, path="/v1/chat/completions", key=key, model=models)
        yield System(name="litellm", pid=process.pid, target=target)


def litellm_version(venv: Path) -> str | None:
    """Its version; None when it is not installed there."""
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    try:
        done = subprocess.run(
            [venv / "bin" / "python", "-c", code], capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def install_litellm(venv: Path) -> None:
    """Make an environment of its own and install the proxy from the package index."""
    print("Installing litellm[proxy] into an environment of its own ...", flush=True)
    venv.parent.mkdir(parents=True, exist_ok=True)
    (venv.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "python", "-m", "pip", "--quiet", "--quiet"]
    pip += ["--disable-pip-version-check"]
    subprocess.run([*pip, "install", "litellm[proxy]"], check=True)


def _environment() -> dict[str, str]:
    """Nothing of ours but what a program needs: no proxy, no provider key, no setting."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": str(Path.home()),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def _running(
    command: list[str], environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own; end it politely, then its group."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            print(f"{command[0]} did not stop within {STOP_S:g} s and was killed", file=sys.stderr)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until it answers 2xx or 401 (the simulator without a key)."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    missing = ""
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise SystemExit(f"ended at the start:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            direct.open(url, timeout=2).close()
        except urllib.error.HTTPError as error:
            if error.code == 401:
                return
            missing = str(error)
        except OSError as error:
            missing = str(error)
        else:
            return
        time.sleep(POLL_S)
    raise SystemExit(f"{url}: {missing}\n{log.read_text(errors='replace')[-2000:]}")


def _wait_for_text(process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    deadline_s = time.monotonic() + START_S
    while text not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise SystemExit(f"never said {text}:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(POLL_S)


def _inference_key(home: Path) -> str:
    for line in (home / "env").read_text(encoding="utf-8").splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        if name == "POINTSMAN_API_KEY":
            return value
    raise SystemExit(f"no key in {home / 'env'}")


def _write_catalog(folder: Path, simulator_port: int) -> None:
    for name in ("providers", "models"):
        (folder / name).mkdir(parents=True)
    endpoints = "".join(
        f"  - model: bench/{kind.name}\n    upstream_id: {kind.upstream}\n"
        "    context_length: 128000\n    max_completion_tokens: 4096\n"
        "    prices:\n      - {from: 2025-01-01, prompt: 0.15, completion: 0.60,"
        " source: https://example.com/prices}\n"
        for kind in KINDS
    )
    (folder / "providers" / "bench.yml").write_text(
        "slug: bench\nname: Bench\ndialect: openai\n"
        f"base_url: http://127.0.0.1:{simulator_port}/p/bench/v1\n"
        "key_variable: BENCH_API_KEY\ncancellation: true\n"
        "supported_parameters: [temperature, top_p, max_tokens, stop, seed]\n"
        f"endpoints:\n{endpoints}",
        encoding="utf-8",
    )
    models = "".join(
        f"  - id: bench/{kind.name}\n    name: Bench {kind.name}\n    created: 2025-01-01\n"
        "    context_length: 128000\n"
        for kind in KINDS
    )
    (folder / "models" / "bench.yml").write_text(f"models:\n{models}", encoding="utf-8")


def _litellm_config(simulator_port: int) -> str:
    models = "".join(
        f"  - model_name: {kind.name}\n    litellm_params:\n      model: openai/{kind.upstream}\n"
        f"      api_base: http://127.0.0.1:{simulator_port}/p/bench/v1\n"
        f"      api_key: {PROVIDER_KEY}\n"
        for kind in KINDS
    )
    return f"model_list:\n{models}litellm_settings:\n  telemetry: false\n  set_verbose: false\n"
