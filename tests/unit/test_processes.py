from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import processes
from sandbox.processes import Process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def test_a_process_is_remembered_and_recalled(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    found = processes.of_pid(sleeper.pid, "abc")
    found.save(tmp_path / "run" / "x.json")
    assert processes.read(tmp_path / "run" / "x.json") == found
    assert (tmp_path / "run" / "x.json").stat().st_mode & 0o077 == 0


def test_a_stranger_with_the_same_id_is_not_ours(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    Process(sleeper.pid, started_at=1.0).save(tmp_path / "x.json")
    assert processes.read(tmp_path / "x.json") is None
    Process(sleeper.pid, started_at=1.0).stop()
    assert sleeper.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}', json.dumps({"pid": 2**40})])
def test_a_damaged_file_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert processes.read(tmp_path / "x.json") is None


def test_stop_ends_a_process_and_is_harmless_afterwards(sleeper: subprocess.Popen[bytes]) -> None:
    found = processes.of_pid(sleeper.pid)
    found.stop()
    assert not found.is_alive
    found.stop()


def test_stop_makes_one_that_does_not_listen() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"on\n"
        found = processes.of_pid(child.pid)
        found.stop(grace_s=0.2)
        assert not found.is_alive


def test_marked_finds_a_process_whose_file_was_lost(tmp_path: Path) -> None:
    environment = {**os.environ, processes.MARK: processes.mark_of(tmp_path)}
    code = "print('on', flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"on\n"
        assert [found.pid for found in processes.marked(tmp_path)] == [child.pid]
        assert processes.marked(tmp_path / "other") == []
        processes.stop_all(processes.marked(tmp_path))
        assert processes.marked(tmp_path) == []


def test_tail_reads_the_end_and_nothing_of_a_missing_log(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("".join(f"line {number}\n" for number in range(1000)))
    assert processes.tail(tmp_path / "x.log", 2) == ["line 998", "line 999"]
    assert processes.tail(tmp_path / "none.log", 2) == []


def test_a_long_log_makes_room(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("wb") as file:
        file.truncate(processes.MAX_LOG_BYTES + 1)
    processes.rotate(log)
    assert not log.exists()
    assert (tmp_path / "x.log.1").exists()
