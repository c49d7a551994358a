"""The engine's command line, read as a whole: a changed flag is a changed promise."""

from __future__ import annotations

from pathlib import Path

from sandbox.engine.arguments import Serving, llama_server
from tests.fakes import engine_plan

STORED = Path(__file__).with_name("engine_arguments.txt")


def test_llama_server_is_started_with_these_arguments() -> None:
    plan = engine_plan("smollm2", context_tokens=4096, slots=2, threads=3, cache_ram_mib=256)
    serving = Serving(Path("/data/blobs/sha256-00"), "smollm2", 41234, Path("/data/run/smollm2.key"))
    written = "".join(
        f" {word}" if not word.startswith("--") else f"\n{word}" for word in llama_server(plan, serving)
    ).lstrip()
    assert written + "\n" == STORED.read_text()
