"""Engines as child processes of this machine."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread

from sandbox import processes
from sandbox.engine.connect import connect
from sandbox.engine.discover import EngineProgram
from sandbox.engine.launch import launch
from sandbox.engine.protocol import Deadlines, Engine, EngineAddress
from sandbox.facts import ModelCard
from sandbox.home import Home, write_private
from sandbox.plan import EnginePlan
from sandbox.processes import Process
from sandbox.steward.starter import RunningEngine
from sandbox.store import Store

log = logging.getLogger(__name__)

LAST_WORDS_LINES = 3


@dataclass(frozen=True, slots=True)
class _Files:
    """What is kept of one running engine, so that the next steward can take it over."""

    process: Path
    address: Path
    key: Path
    log: Path

    @classmethod
    def of(cls, home: Home, model_id: str) -> _Files:
        folder = home.run / "engines"
        return cls(
            process=folder / f"{model_id}.process.json",
            address=folder / f"{model_id}.address.json",
            key=folder / f"{model_id}.key",
            log=home.log(f"engine-{model_id}"),
        )

    def remove(self) -> None:
        for path in (self.process, self.address, self.key):
            path.unlink(missing_ok=True)


class LocalEngine:
    """One engine process."""

    def __init__(self, process: Process, address: EngineAddress, files: _Files) -> None:
        self._process = process
        self._address = address
        self._files = files
        self._client: Engine = connect(address, Deadlines())

    @property
    def address(self) -> EngineAddress:
        """Where it is reached."""
        return self._address

    def is_alive(self) -> bool:
        """Say whether its process runs."""
        return self._process.is_alive

    def memory_bytes(self) -> int | None:
        """Resident memory."""
        return self._process.memory_bytes

    async def is_ready(self) -> bool:
        """Say whether it would take a question."""
        return await self._client.is_ready()

    async def stop(self) -> None:
        """End it and remove what was kept of it."""
        await self._client.close()
        await anyio.to_thread.run_sync(self._process.stop)
        self._files.remove()

    def last_words(self) -> str:
        """The end of its log."""
        return " | ".join(processes.tail(self._files.log, LAST_WORDS_LINES)) or "none"


class LocalStarter:
    """Starts one model's engine on this machine, or takes over the one that runs."""

    def __init__(
        self,
        card: ModelCard,
        *,
        home: Home,
        make_plan: Callable[[ModelCard], EnginePlan],
        find_program: Callable[[], EngineProgram],
    ) -> None:
        self._card = card
        self._home = home
        self._store = Store(home.path)
        self._make_plan = make_plan
        self._find_program = find_program
        self._files = _Files.of(home, card.id)
        self._program: EngineProgram | None = None

    def plan(self) -> EnginePlan:
        """Decide how it is run."""
        return self._make_plan(self._card)

    def describe(self) -> str:
        """Say which engine it is and how it was found."""
        if self._program is None:
            return "none yet"
        return f"{self._program.kind} {self._program.version}, found in {self._program.found_in}"

    async def adopt(self) -> RunningEngine | None:
        """Take over an engine that was started with the same plan, model and program, and answers."""
        program, plan = self._look(), self.plan()
        process = processes.read(self._files.process)
        if process is None:
            self._files.remove()
            return None
        try:
            kept = json.loads(self._files.address.read_text(encoding="utf-8"))
            key = self._files.key.read_text(encoding="utf-8").strip()
            address = EngineAddress(key=key, **kept)
        except (OSError, ValueError, TypeError):
            address = None
        if address is not None and process.fingerprint == self._fingerprint(program, plan):
            engine = LocalEngine(process, address, self._files)
            if await engine.is_ready():
                log.info("took over the engine of %s (process %d)", self._card.id, process.pid)
                return engine
        await anyio.to_thread.run_sync(process.stop)
        self._files.remove()
        return None

    async def start(self) -> RunningEngine:
        """Verify the model's file and start an engine on it."""
        program, plan = self._look(), self.plan()
        blob = await anyio.to_thread.run_sync(self._store.verify, self._card)
        key, port = secrets.token_urlsafe(32), processes.free_port()
        write_private(self._files.key, key)
        processes.rotate(self._files.log)
        self._files.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        started = launch(
            program,
            plan,
            model_path=blob.path,
            alias=self._card.id,
            port=port,
            key_file=self._files.key,
            log_file=self._files.log,
            environment={processes.MARK: processes.mark_of(self._home.path)},
        )
        process = replace(started, fingerprint=self._fingerprint(program, plan))
        process.save(self._files.process)
        kept = {
            "kind": program.kind,
            "url": f"http://127.0.0.1:{port}",
            "model_name": self._card.id,
            "context_tokens": plan.context_tokens,
        }
        write_private(self._files.address, json.dumps(kept))
        return LocalEngine(process, EngineAddress(key=key, **kept), self._files)  # type: ignore[arg-type]  # see kept

    def _look(self) -> EngineProgram:
        self._program = self._find_program()
        return self._program

    def _fingerprint(self, program: EngineProgram, plan: EnginePlan) -> str:
        return processes.fingerprint(program, plan, self._card)
