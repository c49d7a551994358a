"""Our own processes: which they are, whether they live, and how they are ended.

A process is known by its id and its start time together, so that a number given to a stranger after a
reboot is never mistaken for ours. Each carries a mark in its environment that names its data folder, so
that one whose file was lost is found again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from sandbox.home import write_private

MARK = "SANDBOX_INSTANCE"
TERM_GRACE_S = 10.0
POLL_S = 0.05
MAX_LOG_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Process:
    """One process of ours."""

    pid: int
    started_at: float
    """Start time as the system tells it, seconds since the epoch."""
    fingerprint: str = ""
    """Digest of what it was started with."""

    @property
    def is_alive(self) -> bool:
        """Say whether this very process runs."""
        return self._find() is not None

    @property
    def memory_bytes(self) -> int | None:
        """Resident memory, bytes."""
        found = self._find()
        if found is None:
            return None
        try:
            return int(found.memory_info().rss)
        except psutil.Error:
            return None

    def _find(self) -> psutil.Process | None:
        try:
            found = psutil.Process(self.pid)
            is_same = abs(found.create_time() - self.started_at) < 0.01 and found.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return found if is_same else None

    def stop(self, grace_s: float = TERM_GRACE_S) -> None:
        """End it: asked first, then made to."""
        found = self._find()
        if found is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            found.terminate()
            if not self._ends_within(found, grace_s):
                found.kill()
                self._ends_within(found, grace_s)

    def _ends_within(self, found: psutil.Process, grace_s: float) -> bool:
        """Wait for its end; one that has ended but whose parent has not asked yet has ended, too."""
        deadline = time.monotonic() + grace_s
        while self.is_alive:
            if time.monotonic() > deadline:
                return False
            with contextlib.suppress(psutil.TimeoutExpired):
                found.wait(POLL_S)
        return True

    def save(self, path: Path) -> None:
        """Remember it."""
        write_private(path, json.dumps(asdict(self)))


def of_pid(pid: int, fingerprint: str = "") -> Process:
    """Name a process that has just been started."""
    return Process(pid, psutil.Process(pid).create_time(), fingerprint)


def read(path: Path) -> Process | None:
    """Recall a process; nothing where the file is missing, damaged, or names one that is gone."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = Process(int(values["pid"]), float(values["started_at"]), str(values["fingerprint"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.is_alive else None


def mark_of(home: Path) -> str:
    """Name a data folder, in a way that does not tell it."""
    return hashlib.sha256(str(home).encode()).hexdigest()[:16]


def marked(home: Path) -> list[Process]:
    """Find every process of this user that belongs to a data folder, this one excepted."""
    wanted = mark_of(home)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == wanted:
                found.append(Process(process.pid, process.create_time()))
    return [process for process in found if process.is_alive]


def stop_all(processes: Iterable[Process]) -> None:
    """End several, asking all before waiting for any."""
    waiting = list(processes)
    for process in waiting:
        with contextlib.suppress(psutil.Error):
            if process.is_alive:
                psutil.Process(process.pid).terminate()
    for process in waiting:
        process.stop()


def spawn(module: str, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path) -> int:
    """Start ``python -m module`` on its own, saying what it says into a log; return its id."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    rotate(log)
    with log.open("ab") as out:
        child = subprocess.Popen(  # it outlives this command, and is known by its file
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            close_fds=True,
        )
    return child.pid


def rotate(log: Path) -> None:
    """Keep a log and the one before it from growing without end."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))


def tail(log: Path, n_lines: int) -> list[str]:
    """Read the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - n_lines * 400))
            return file.read().decode("utf-8", "replace").splitlines()[-n_lines:]
    except OSError:
        return []


def holder_of(port: int) -> str:
    """Say in words which process listens on a loopback port, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return "another program"
    for connection in connections:
        is_there = getattr(connection.laddr, "port", None) == port
        if connection.status == psutil.CONN_LISTEN and is_there and connection.pid:
            with contextlib.suppress(psutil.Error):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another program"


def fingerprint(*values: object) -> str:
    """Name what a process is started with, so that a change of it is noticed."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def free_port() -> int:
    """Find a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
