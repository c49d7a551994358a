"""Starts each kind of engine for the contract suite, and says how to reach, miss and kill it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio

from sandbox.engine.connect import connect
from sandbox.engine.discover import discover
from sandbox.engine.launch import launch
from sandbox.engine.ollama import register
from sandbox.engine.protocol import Deadlines, Engine, EngineAddress, EngineKind
from sandbox.processes import free_port
from tests.contract.conftest import CARD
from tests.fakes import FakeEngine, engine_plan

REAL_KINDS: tuple[EngineKind, ...] = ("xllamacpp", "llama-server", "llama-cpp-python", "ollama")
CONTEXT_TOKENS = 1024
STORY = tuple(f"word{n} " for n in range(900))
START_S = 60.0


@dataclass(frozen=True)
class Running:
    """One running engine."""

    kind: str
    connect: Callable[[], Engine]
    connect_for_story: Callable[[], Engine]
    """A client whose engine answers at length; the same but for the fake, which is scripted."""
    connect_to_nobody: Callable[[], Engine]
    address: EngineAddress | None = None
    pid: int | None = None


def fake() -> Running:
    slow = FakeEngine(STORY, delay_s=0.02)
    return Running(
        kind="fake",
        connect=FakeEngine,
        connect_for_story=lambda: slow,
        connect_to_nobody=lambda: FakeEngine(is_down=True),
    )


def start(kind: EngineKind, *, cache: Path, model_path: Path, folder: Path, cleanup: ExitStack) -> Running:
    """Start a real engine with one slot and wait until it is ready.

    Raises:
        EngineNotFound: there is none of that kind on this machine.
    """
    key = "" if kind == "ollama" else secrets.token_urlsafe(32)
    port = free_port()
    begin = _start_ollama if kind == "ollama" else _launch
    pid = begin(kind, cache=cache, model_path=model_path, folder=folder, port=port, key=key, cleanup=cleanup)
    address = EngineAddress(kind, f"http://127.0.0.1:{port}", "smollm2", key, CONTEXT_TOKENS)
    nobody = EngineAddress(kind, f"http://127.0.0.1:{free_port()}", "smollm2", key, CONTEXT_TOKENS)
    deadlines = Deadlines(connect_s=2.0, first_event_s=60.0, between_events_s=20.0)
    return Running(
        kind=kind,
        connect=lambda: connect(address, deadlines),
        connect_for_story=lambda: connect(address, deadlines),
        connect_to_nobody=lambda: connect(nobody, deadlines),
        address=address,
        pid=pid,
    )


def _launch(
    kind: EngineKind, *, cache: Path, model_path: Path, folder: Path, port: int, key: str, cleanup: ExitStack
) -> int:
    program = discover(kind, cache=cache)
    key_file = folder / "key"
    key_file.touch(mode=0o600)
    key_file.write_text(key + "\n")
    # One thread: a second one waits busily for the first, and the tests do not have the machine to themselves.
    plan = engine_plan("smollm2", CONTEXT_TOKENS, slots=1, threads=1, cache_ram_mib=0)
    process = launch(
        program,
        plan,
        model_path=model_path,
        alias="smollm2",
        port=port,
        key_file=key_file,
        log_file=folder / "engine.log",
        environment={},
    )
    cleanup.callback(process.stop, 5.0)
    wait_until_healthy(f"http://127.0.0.1:{port}/health", lambda: process.is_alive, folder / "engine.log")
    return process.pid


def _start_ollama(
    kind: EngineKind, *, cache: Path, model_path: Path, folder: Path, port: int, key: str, cleanup: ExitStack
) -> int:
    del key
    program = discover(kind, cache=cache)
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_NUM_PARALLEL": "1",
    }
    log = cleanup.enter_context((folder / "engine.log").open("wb"))
    server = subprocess.Popen(
        [str(program.path), "serve"], env=environment, stdout=log, stderr=log, start_new_session=True
    )
    cleanup.callback(server.wait)
    cleanup.callback(kill_group, server.pid)
    url = f"http://127.0.0.1:{port}"
    wait_until_healthy(url, lambda: server.poll() is None, folder / "engine.log")
    anyio.run(register, url, model_path, CARD.sha256, "smollm2")
    return server.pid


def kill_group(pid: int) -> None:
    """Kill a process and what it started, without a chance to say good-bye."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_until_healthy(url: str, is_alive: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and is_alive():
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # loopback, written above
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} is not healthy; its log ends:\n{log.read_text(errors='replace')[-2000:]}")
