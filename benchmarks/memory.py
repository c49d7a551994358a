"""Fills an engine's memory to the brim and holds the plan against it: ``python -m benchmarks.memory [SLOTSxTOKENS …]``.

Every slot gets prompts of random tokens that fill its context, until the saved prompts are at their limit too;
``mixed`` after the size takes prompts of all lengths instead, which is what fragments a heap. What counts is the
kernel's own high-water mark of the process (Linux). Fetch the model first: ``make up``.
"""

from __future__ import annotations

import argparse
import math
import random
import secrets
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from sandbox import catalogue, config, plan, processes
from sandbox.engine.discover import discover
from sandbox.engine.launch import launch
from sandbox.facts import Host, ModelCard
from sandbox.processes import Process
from sandbox.store import Store
from sandbox.units import GIB, MIB, show_bytes

ANSWER_TOKENS = 16
READY_S = 60.0


def main() -> None:
    """Measure every size asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("sizes", nargs="*", default=["1x2048", "1x4096", "2x2048", "2x4096", "4x2048", "4x4096"])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--cache-ram-mib", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    settings = config.load().settings
    card = catalogue.find(catalogue.load(), asked.model)
    host = Host(cores=asked.threads, memory_bytes=1024 * GIB)
    print("| slots × context | peak | not of a file | the plan says | plan / peak |\n|---|---|---|---|---|")
    for size in asked.sizes:
        slots, _, context = size.removesuffix("mixed").partition("x")
        limits = plan.Limits(int(context), int(slots), asked.threads, asked.cache_ram_mib)
        made = plan.make(card, host, limits)
        peak_bytes, anonymous_bytes = measure(card, made, settings, is_mixed=size.endswith("mixed"))
        named = f"{slots} × {context}" + (" mixed" if size.endswith("mixed") else "")
        figures = " | ".join(show_bytes(each) for each in (peak_bytes, anonymous_bytes, made.memory_bytes))
        print(f"| {named} | {figures} | {made.memory_bytes / peak_bytes:.2f} |", flush=True)


def measure(card: ModelCard, made: plan.EnginePlan, settings: config.Settings, *, is_mixed: bool) -> tuple[int, int]:
    """Run one engine full; return its peak, and what of it no file backs at the end, bytes."""
    program = discover("llama-server", cache=settings.cache, configured=settings.engine.path)
    key, port = secrets.token_urlsafe(32), processes.free_port()
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        (scratch / "key").write_text(key)
        engine = launch(
            program,
            made,
            model_path=Store(settings.home).path_of(card.sha256),
            alias=card.id,
            port=port,
            key_file=scratch / "key",
            log_file=scratch / "log",
            environment={},
        )
        try:
            fill(f"http://127.0.0.1:{port}", key, card, made, is_mixed=is_mixed)
            return status_bytes(engine, "VmHWM"), status_bytes(engine, "RssAnon")
        finally:
            engine.stop()


def fill(url: str, key: str, card: ModelCard, made: plan.EnginePlan, *, is_mixed: bool) -> None:
    """Ask until every slot and the saved prompts are full."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=600, trust_env=False) as client:
        deadline = time.monotonic() + READY_S
        while not is_ready(client):
            assert time.monotonic() < deadline, "the engine is not ready in time"

        def ask(tokens: list[int]) -> None:
            body = {"prompt": tokens, "n_predict": ANSWER_TOKENS, "cache_prompt": True, "ignore_eos": True}
            client.post("/completion", json=body).raise_for_status()

        with ThreadPoolExecutor(made.slots) as pool:
            list(pool.map(ask, prompts(card, made, is_mixed=is_mixed)))


def is_ready(client: httpx.Client) -> bool:
    """Say whether the model is loaded."""
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def prompts(card: ModelCard, made: plan.EnginePlan, *, is_mixed: bool) -> Iterator[list[int]]:
    """Make prompts of random tokens, so that none begins like another."""
    chance = random.Random(1)  # noqa: S311  # to fill memory, not to keep a secret
    longest = made.context_tokens - ANSWER_TOKENS - 1
    saved_tokens = made.cache_ram_mib * MIB // plan.token_bytes(card.shape)
    wanted_tokens = 2 * made.total_context_tokens + saved_tokens * (3 if is_mixed else 1)
    lengths = [longest] * (made.slots + math.ceil(wanted_tokens / longest))
    if is_mixed:
        lengths = [chance.randrange(16, longest) for _ in range(2 * len(lengths))]
    for length in lengths:
        yield [chance.randrange(100, card.shape.vocabulary - 100) for _ in range(length)]


def status_bytes(engine: Process, field: str) -> int:
    """Read one line of what the kernel says of a process."""
    for line in Path(f"/proc/{engine.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"the kernel says nothing of {field}")


if __name__ == "__main__":
    main()
