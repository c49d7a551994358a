"""How engine processes are started."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from pathlib import Path

import psutil
import pytest

from sandbox.engine.arguments import EVERYWHERE, Serving
from sandbox.engine.children import spec
from sandbox.engine.discover import EngineProgram
from sandbox.engine.launch import command, launch
from sandbox.errors import EngineNotFound, StartFailed
from sandbox.processes import Process
from tests.fakes import engine_plan

PLAN = engine_plan("m", context_tokens=512, slots=2, threads=1, cache_ram_mib=7)
SERVING = Serving(Path("/m.gguf"), "m", 8080, Path("/key"))


def start(tmp_path: Path, program: Path, **environment: str) -> Process:
    return launch(
        EngineProgram("llama-server", program, "this test", "1"),
        PLAN,
        model_path=Path("/m.gguf"),
        alias="m",
        port=8080,
        key_file=tmp_path / "key",
        log_file=tmp_path / "engine.log",
        environment=environment,
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "llama-server"
    path.write_text(
        f"#!{sys.executable}\nimport os, sys, time\n"
        "print(sorted(os.environ), os.getsid(0) == os.getpid(), os.getcwd(), flush=True)\n"
        "open(os.environ['HOME'] + '/made', 'w').close()\ntime.sleep(60)\n"
    )
    path.chmod(0o700)
    return path


def test_an_engine_is_on_its_own_and_knows_little(
    tmp_path: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    started = start(tmp_path, script, EXTRA="1")
    process = psutil.Process(started.pid)
    try:
        made = tmp_path / "made"
        while not made.exists():
            assert process.status() != psutil.STATUS_ZOMBIE
            time.sleep(0.01)
        log = (tmp_path / "engine.log").read_text()
        assert "True / " in log.replace("\n", " ")
        assert "SECRET_OF_THE_CALLER" not in log
        assert all(name in log for name in ("'EXTRA'", "'HOME'", "'LANG'", "'PATH'"))
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "engine.log").stat().st_mode) == 0o600
        assert started.started_at == process.create_time()
    finally:
        os.kill(started.pid, signal.SIGTERM)
        process.wait(10)


def test_a_program_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="missing"):
        start(tmp_path, tmp_path / "missing")


@pytest.mark.parametrize(
    ("program", "module"),
    [
        (EngineProgram("xllamacpp", None, "", ""), "sandbox.engine.children.xllamacpp"),
        (EngineProgram("llama-cpp-python", None, "", ""), "sandbox.engine.children.llama_cpp"),
    ],
)
def test_python_engines_are_told_everything_on_their_command_line(program: EngineProgram, module: str) -> None:
    argv = command(program, PLAN, SERVING)
    assert argv[:4] == (sys.executable, "-P", "-m", module)
    told = spec.parse(argv[4:])
    assert told == spec.of(PLAN, SERVING)
    assert (told.context_tokens, told.slots, told.cache_ram_mib) == (512, 2, 7)


def test_an_ollama_is_not_started() -> None:
    with pytest.raises(EngineNotFound, match="ollama"):
        command(EngineProgram("ollama", Path("/bin/ollama"), "", ""), PLAN, SERVING)


def test_an_engine_does_not_start_when_its_key_is_empty(tmp_path: Path) -> None:
    empty = tmp_path / "key"
    empty.write_text("\n")
    with pytest.raises(ValueError, match="empty"):
        spec.of(PLAN, Serving(Path("/m"), "m", 1, empty)).key()


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.7", "localhost", "203.0.113.9", ""])
def test_an_engine_of_this_machine_listens_on_no_public_address(tmp_path: Path, script: Path, host: str) -> None:
    with pytest.raises(ValueError, match="does not listen"):
        launch(
            EngineProgram("llama-server", script, "this test", "1"),
            PLAN,
            model_path=Path("/m.gguf"),
            alias="m",
            port=8080,
            key_file=tmp_path / "key",
            log_file=tmp_path / "engine.log",
            environment={},
            host=host,
        )
    assert not (tmp_path / "engine.log").exists()


def test_only_llama_server_is_told_another_address(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="xllamacpp does not listen"):
        launch(
            EngineProgram("xllamacpp", None, "this test", "1"),
            PLAN,
            model_path=Path("/m.gguf"),
            alias="m",
            port=8080,
            key_file=tmp_path / "key",
            log_file=tmp_path / "engine.log",
            environment={},
            host="172.18.0.1",
        )
