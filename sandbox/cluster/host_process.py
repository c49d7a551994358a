"""The engine process of this machine that serves a cluster: started, known again, and ended.

It outlives the command that started it. It carries a mark of its own, not the one of the local backend's processes,
so that what clears those away before a cluster comes up leaves it alone; ``stop_all`` finds every one by that mark.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import httpx
import psutil

from sandbox import processes
from sandbox.cluster.host_engine import HostAddress
from sandbox.engine.discover import EngineProgram
from sandbox.engine.launch import launch
from sandbox.errors import StartFailed
from sandbox.facts import ModelCard
from sandbox.home import Home, write_private
from sandbox.plan import EnginePlan
from sandbox.ports import Clock
from sandbox.processes import Process

START_S = 120.0
POLL_S = 0.1
ANSWER_S = 2.0
LAST_LINES = 8
LOCKED = (401, 403)
OK = 200


class Launch(Protocol):
    """Starts an engine process; ``sandbox.engine.launch.launch`` outside tests."""

    def __call__(
        self,
        program: EngineProgram,
        plan: EnginePlan,
        *,
        model_path: Path,
        alias: str,
        port: int,
        key_file: Path,
        log_file: Path,
        environment: dict[str, str],
        host: str,
    ) -> Process:
        """Start it."""
        ...


Ask = Callable[[str, str], int | None]
"""(address, key) → the status of the answer; nothing where nobody answers. An empty key asks without one."""


def ask(url: str, key: str) -> int | None:
    """Ask over HTTP, past any proxy of this machine."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        return httpx.get(url, headers=headers, timeout=ANSWER_S, trust_env=False).status_code
    except httpx.HTTPError:
        return None


def own_addresses() -> frozenset[str]:
    """List the IPv4 addresses of this machine's interfaces."""
    return frozenset(
        each.address for found in psutil.net_if_addrs().values() for each in found if each.family == socket.AF_INET
    )


def free_port(address: str) -> int:
    """Find a port that nobody listens on at this moment, on one address of this machine.

    Raises:
        StartFailed: this machine has no such address.
    """
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise StartFailed(f"this machine cannot listen on {address}: {error}", hint="sandbox doctor") from error
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class _Files:
    process: Path
    port: Path
    key: Path
    log: Path

    @classmethod
    def of(cls, home: Home, model_id: str) -> _Files:
        folder = _folder(home)
        return cls(
            process=folder / f"{model_id}.process.json",
            port=folder / f"{model_id}.port.json",
            key=folder / f"{model_id}.key",
            log=home.log(f"engine-{model_id}"),
        )


def _folder(home: Home) -> Path:
    return home.run / "host-engines"


class HostEngine:
    """The engine of one model."""

    def __init__(
        self,
        card: ModelCard,
        *,
        home: Home,
        clock: Clock,
        start: Launch = launch,
        ask: Ask = ask,
        find_port: Callable[[str], int] = free_port,
    ) -> None:
        self._card = card
        self._home = home
        self._files = _Files.of(home, card.id)
        self._clock = clock
        self._start = start
        self._ask = ask
        self._find_port = find_port

    def ensure(
        self,
        program: EngineProgram,
        plan: EnginePlan,
        *,
        model_path: Path,
        address: HostAddress,
        key: str,
        deadline_s: float = START_S,
    ) -> int:
        """Have it run and answer as asked for, and return its port; one that does already is left as it is.

        Args:
            model_path: the model's verified file.
            key: what it demands of everybody; the engines' key of the cluster.

        Raises:
            StartFailed: it ended, did not answer in time, or answered somebody without the key.
            ValueError: the key is empty, or the address is not one for an engine.
        """
        if not key:
            raise ValueError("an engine beyond loopback needs a key")
        asked_for = processes.fingerprint(program, plan, self._card, address, hashlib.sha256(key.encode()).hexdigest())
        port = self._port()
        running = self.process()
        if running and port and running.fingerprint == asked_for and self._is_locked(address, port, key):
            return port
        self.stop()
        clear_strays(self._home)
        port = self._find_port(address.listen)
        self._launch(program, plan, model_path, address, key, port, asked_for)
        try:
            self._wait(address, port, key, deadline_s)
        except BaseException:
            self.stop()
            raise
        return port

    def process(self) -> Process | None:
        """Find its process, if it runs."""
        return processes.read(self._files.process)

    def is_ready(self, address: HostAddress) -> bool:
        """Say whether it runs and has its model loaded."""
        port = self._port()
        return self.process() is not None and port is not None and self._health(address, port) == OK

    def stop(self) -> None:
        """End it and forget it; nothing where it does not run."""
        process = self.process()
        if process is not None:
            process.stop()
        for path in (self._files.process, self._files.port, self._files.key):
            path.unlink(missing_ok=True)

    def last_words(self) -> str:
        """Read the end of its log."""
        return " | ".join(processes.tail(self._files.log, LAST_LINES)) or "none"

    def _launch(
        self,
        program: EngineProgram,
        plan: EnginePlan,
        model_path: Path,
        address: HostAddress,
        key: str,
        port: int,
        asked_for: str,
    ) -> None:
        write_private(self._files.key, key)
        self._files.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        processes.rotate(self._files.log)
        started = self._start(
            program,
            plan,
            model_path=model_path,
            alias=self._card.id,
            port=port,
            key_file=self._files.key,
            log_file=self._files.log,
            environment={processes.MARK: processes.mark_of(_folder(self._home))},
            host=address.listen,
        )
        replace(started, fingerprint=asked_for).save(self._files.process)
        write_private(self._files.port, json.dumps(port))

    def _wait(self, address: HostAddress, port: int, key: str, deadline_s: float) -> None:
        until = self._clock.monotonic() + deadline_s
        hint = f"see its log: {self._files.log}"
        while self._health(address, port) != OK:
            if self.process() is None:
                raise StartFailed(f"the engine of {self._card.id} ended while starting: {self.last_words()}", hint=hint)
            if self._clock.monotonic() > until:
                raise StartFailed(
                    f"the engine of {self._card.id} is not ready after {deadline_s:.0f} s: {self.last_words()}",
                    hint=hint,
                )
            self._clock.sleep(POLL_S)
        if not self._is_locked(address, port, key):
            raise StartFailed(
                f"the engine of {self._card.id} at {address.listen}:{port} does not keep to its key; it was ended",
                hint="use the engine that the sandbox builds: python -m sandbox.engine.build llama-server",
            )

    def _health(self, address: HostAddress, port: int) -> int | None:
        return self._ask(f"http://{address.listen}:{port}/health", "")

    def _is_locked(self, address: HostAddress, port: int, key: str) -> bool:
        """Say whether it answers with the key and nobody without: beyond loopback the key is all that guards it."""
        url = f"http://{address.listen}:{port}/v1/models"
        return self._ask(url, "") in LOCKED and self._ask(url, key) == OK

    def _port(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            port = json.loads(self._files.port.read_text(encoding="utf-8"))
            return port if isinstance(port, int) else None
        return None


def running(home: Home) -> list[Process]:
    """Find every engine process that serves a cluster of this data folder, known or not."""
    return processes.marked(_folder(home))


def clear_strays(home: Home) -> None:
    """End those whose files were lost: nobody would find them again."""
    known = {found.pid for path in _folder(home).glob("*.process.json") if (found := processes.read(path))}
    processes.stop_all(found for found in running(home) if found.pid not in known)


def stop_all(home: Home) -> None:
    """End every one of them, and forget them."""
    processes.stop_all(running(home))
    folder = _folder(home)
    for path in sorted(folder.glob("*")):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
