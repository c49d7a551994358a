"""What the door costs: the same questions to a bare engine and through the gateway, in one run.

    python -m benchmarks            a table
    python -m benchmarks --json     one object

Ratios travel between machines; times do not. A sandbox of its own is brought up on free ports for it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from sandbox.processes import free_port

MODEL = "smollm2-135m-instruct"
ROUNDS = 30
SPEED_ROUNDS = 5
CLIENTS = 2
PROMPT = "Write a short story about a lighthouse keeper, her dog, and a ship that came at night."


@dataclass(frozen=True, slots=True)
class Target:
    """Somewhere to ask: the bare engine, or the gateway in front of it."""

    name: str
    url: str
    key: str


@contextmanager
def running_sandbox() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Bring a sandbox up in a folder of its own, and take it down."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder) / "home"
        environment = os.environ | {
            "SANDBOX_HOME": str(home),
            "SANDBOX_PAGE_PORT": str(free_port()),
            "SANDBOX_API_PORT": str(free_port()),
        }
        command = [sys.executable, "-m", "sandbox"]
        done = subprocess.run([*command, "up", "--json"], env=environment, stdout=subprocess.PIPE, check=True)
        try:
            yield home, json.loads(done.stdout)
        finally:
            subprocess.run([*command, "down"], env=environment, stderr=subprocess.DEVNULL, check=True)


def ask(target: Target, *, max_tokens: int) -> tuple[float, float, int]:
    """Ask once; return seconds to the first piece, seconds in all, and tokens."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, tokens = time.perf_counter(), 0.0, 0
    headers = {"Authorization": f"Bearer {target.key}"}
    with httpx.stream(
        "POST", f"{target.url}/v1/chat/completions", json=body, headers=headers, timeout=120, trust_env=False
    ) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[len("data: ") :])
            if event["choices"] and event["choices"][0]["delta"].get("content") and not first:
                first = time.perf_counter() - began
            if event.get("usage"):
                tokens = event["usage"]["completion_tokens"]
    return first, time.perf_counter() - began, tokens


def first_token_ms(targets: list[Target]) -> dict[str, float]:
    """Measure the median time to a first token, taking turns between targets so that drift hits all alike."""
    seen: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(ROUNDS):
        for target in targets:
            seen[target.name].append(ask(target, max_tokens=1)[0] * 1000)
    return {name: statistics.median(values) for name, values in seen.items()}


def tokens_per_s(targets: list[Target], clients: int) -> dict[str, float]:
    """Measure the median speed over all clients together, taking turns between targets."""
    seen: dict[str, list[float]] = {target.name: [] for target in targets}
    with ThreadPoolExecutor(clients) as pool:
        for _ in range(SPEED_ROUNDS):
            for target in targets:
                began = time.perf_counter()
                answers = list(pool.map(lambda each: ask(each, max_tokens=64), [target] * clients))
                seen[target.name].append(sum(tokens for _, _, tokens in answers) / (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in seen.items()}


def memory_mib(home: Path) -> dict[str, float]:
    """Read the resident memory of each process."""
    files = {path.name.split(".")[0]: path for path in (home / "run").glob("*.process.json")}
    files["engine"] = home / "run" / "engines" / f"{MODEL}.process.json"
    found = {name: psutil.Process(json.loads(path.read_text())["pid"]) for name, path in files.items()}
    return {name: process.memory_info().rss / 2**20 for name, process in sorted(found.items())}


def measure() -> dict[str, Any]:
    """Run everything once."""
    with running_sandbox() as (home, told):
        engine = json.loads((home / "run" / "engines" / f"{MODEL}.address.json").read_text())
        engine_key = (home / "run" / "engines" / f"{MODEL}.key").read_text()
        targets = [
            Target("engine", engine["url"], engine_key),
            Target("gateway", told["api"].removesuffix("/v1"), told["key"]),
        ]
        for target in targets:
            ask(target, max_tokens=8)
        first = first_token_ms(targets)
        one, several = tokens_per_s(targets, 1), tokens_per_s(targets, CLIENTS)
        return {
            "engine": engine["kind"],
            "machine": f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores",
            "first_token_ms": first,
            "first_token_added_ms": first["gateway"] - first["engine"],
            "tokens_per_s_1_client": one,
            f"tokens_per_s_{CLIENTS}_clients": several,
            "speed_ratio_1_client": one["gateway"] / one["engine"],
            f"speed_ratio_{CLIENTS}_clients": several["gateway"] / several["engine"],
            "memory_mib": memory_mib(home),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    told = measure()
    if arguments.json:
        print(json.dumps(told))
        return
    for name, value in told.items():
        shown = {k: round(v, 2) for k, v in value.items()} if isinstance(value, dict) else value
        print(f"{name:26} {round(shown, 3) if isinstance(shown, float) else shown}")


if __name__ == "__main__":
    main()
