"""Journey 1b: the same `up` and the same question on other engines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.sandbox import Sandbox

QUESTION = ("chat", "What is the capital of France? Answer with one word.", "--temperature", "0")


def test_a_machine_without_llama_server_is_served_by_the_wheel(another: Sandbox, tmp_path: Path) -> None:
    if shutil.which("llama-server"):
        pytest.skip("needs a machine without a llama-server on PATH")
    bare = {"SANDBOX_CACHE": str(tmp_path / "empty-cache")}
    told = json.loads(another.run("up", "--json", more=bare).stdout)
    assert told["models"][0]["state"] == "ready"
    assert "xllamacpp" in another.run("status", more=bare).stdout
    assert "Paris" in another.run(*QUESTION).stdout


def test_another_engine_is_taken_up_without_a_down(another: Sandbox) -> None:
    another.up()
    first = another.pid("engine")
    another.run("up", more={"SANDBOX_ENGINE_KIND": "xllamacpp"})
    assert another.pid("engine") != first
    assert "Paris" in another.run(*QUESTION).stdout
