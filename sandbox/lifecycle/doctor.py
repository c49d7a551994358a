"""What must hold before the sandbox can run here, each with how to mend it."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox import hardware, processes
from sandbox.config import Settings
from sandbox.engine.discover import discover
from sandbox.errors import ConfigError, HomeUnusable, PortTaken, SandboxError
from sandbox.home import Home
from sandbox.units import MIB, show_bytes

LEAST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 512 * MIB
"""Room for the default model twice over (the package and the file out of it) and for the logs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    is_good: bool
    detail: str
    hint: str = ""


def finding(name: str, check: Callable[[], str]) -> Finding:
    """Look at one thing, and turn what is wrong with it into a finding."""
    try:
        return Finding(name, is_good=True, detail=check())
    except SandboxError as error:
        return Finding(name, is_good=False, detail=error.message, hint=error.hint)


def check_python() -> str:
    """Say which Python this is.

    Raises:
        ConfigError: it is too old.
    """
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < LEAST_PYTHON:
        wanted = ".".join(str(part) for part in LEAST_PYTHON)
        raise ConfigError(
            f"Python {found} runs this; {wanted} or newer is needed", hint=f"make up PYTHON=python{wanted}"
        )
    return found


def check_home(folder: Path) -> str:
    """Say how much room the data folder has.

    Raises:
        HomeUnusable: it cannot be made or written, or is full.
    """
    choose = "or choose another folder: SANDBOX_HOME=…"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise HomeUnusable(
            f"the data folder {folder} cannot be written: {error}", hint=f"free some space or mend its rights, {choose}"
        ) from error
    if free_bytes < LEAST_FREE_BYTES:
        raise HomeUnusable(
            f"the data folder {folder} has {show_bytes(free_bytes)} free; {show_bytes(LEAST_FREE_BYTES)} are needed",
            hint=f"free some space, {choose}",
        )
    return f"{folder}, {show_bytes(free_bytes)} free"


def check_port(port: int, variable: str, home: Home, owner: str) -> str:
    """Say that a port is free, or held by the one of ours that it is for.

    Raises:
        PortTaken: another program listens there.
    """
    if processes.read(home.process(owner)) is not None:
        return f"{port}, held by our own {owner}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(
                f"port {port} on 127.0.0.1 is taken by {processes.holder_of(port)}",
                hint=f"stop it, or choose another port: {variable}={port + 100} make up",
            ) from error
    return f"{port}, free"


def check_engine(settings: Settings) -> str:
    """Say which engine serves, and where it was found.

    Raises:
        EngineNotFound: there is none, with every place looked at.
    """
    kind = None if settings.engine.kind == "auto" else settings.engine.kind
    if kind == "ollama":
        return f"a running Ollama at {settings.engine.ollama_url}"
    found = discover(kind, cache=settings.cache, configured=settings.engine.path)
    return f"{found.kind} {found.version}, found in {found.found_in}"


def hardware_here() -> str:
    """Say what this machine offers."""
    host = hardware.look()
    return f"{host.cores} cores, {show_bytes(host.memory_bytes)} of memory"
