"""Where a starter can be tried: on this machine with a program that answers like an engine, and on a fake cluster."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread

from sandbox import catalogue, plan, processes
from sandbox.engine.discover import EngineProgram
from sandbox.facts import Host, ModelCard
from sandbox.home import Home
from sandbox.steward.cluster import ClusterStarter
from sandbox.steward.local import LocalStarter
from sandbox.steward.pods import EnginePods
from sandbox.steward.starter import Starter
from sandbox.store import Store
from sandbox.units import GIB
from tests.fake_kubernetes import FakeCluster, ended, unready_status

CONTENT = b"GGUF a model of eleven words, for nobody to ask anything"
CARD = replace(
    catalogue.load()["smollm2-135m-instruct"],
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
)
HOST = Host(cores=4, memory_bytes=16 * GIB)

PROGRAM = """\
import http.server, sys

port = int(sys.argv[sys.argv.index("--port") + 1])


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words):
        pass


print("the model is loaded", flush=True)
http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""


class Ground(Protocol):
    """Somewhere an engine can be started, and can end."""

    leaves_running: bool
    """Whether an engine goes on when it is let go of."""

    def starter(self, *, slots: int = 2) -> Starter:
        """Make a starter, as a steward that has just begun does."""
        ...

    async def kill(self) -> None:
        """End the engine as a crash does."""
        ...

    def started(self) -> int:
        """Count the engines that were ever started."""
        ...


def make_plan(card: ModelCard, slots: int) -> plan.EnginePlan:
    """Plan for a machine of plain numbers."""
    return plan.make(card, HOST, plan.Limits(slots=slots, context_tokens=512))


class LocalGround:
    """Child processes."""

    leaves_running = False

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder)
        file = Store(folder).path_of(CARD.sha256)
        file.parent.mkdir(parents=True)
        file.write_bytes(CONTENT)
        self._program = folder / "llama-server"
        self._program.write_text(f"#!{sys.executable}\n{PROGRAM}")
        self._program.chmod(0o700)
        self._seen: set[int] = set()

    def starter(self, *, slots: int = 2) -> Starter:
        program = EngineProgram("llama-server", self._program, "this test", "1")
        return LocalStarter(
            CARD,
            home=self._home,
            make_plan=lambda card: make_plan(card, slots),
            find_program=lambda: program,
        )

    async def kill(self) -> None:
        found = self._process()
        assert found is not None
        await anyio.to_thread.run_sync(found.stop)

    def started(self) -> int:
        if (found := self._process()) is not None:
            self._seen.add(found.pid)
        return len(self._seen)

    def end(self) -> None:
        """Leave nothing running."""
        if (found := self._process()) is not None:
            found.stop()

    def _process(self) -> processes.Process | None:
        return processes.read(self._home.run / "engines" / f"{CARD.id}.process.json")


class ClusterGround:
    """A fake cluster."""

    leaves_running = True

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.client = self.cluster.client()
        self.pods = EnginePods(self.client, "models")

    def starter(self, *, slots: int = 2) -> Starter:
        return ClusterStarter(
            CARD,
            client=self.client,
            pods=self.pods,
            make_plan=lambda card, _host: make_plan(card, slots),
            image="docker.io/sandbox/engine@sha256:" + "0" * 64,
            read_key=lambda: "the-key-of-all-engines",
        )

    async def kill(self) -> None:
        end = ended(1, message="the model is loaded\nsegmentation fault")
        self.cluster.change_pod(self.cluster.pods()[-1]["metadata"]["name"], unready_status(end))

    def started(self) -> int:
        return len({pod["metadata"]["uid"] for pod in self.cluster.pods()})


@asynccontextmanager
async def local(folder: Path) -> AsyncIterator[Ground]:
    """Try starters on this machine."""
    ground = LocalGround(folder)
    try:
        yield ground
    finally:
        await anyio.to_thread.run_sync(ground.end)


@asynccontextmanager
async def cluster() -> AsyncIterator[Ground]:
    """Try starters on a fake cluster, its pods followed as the steward does."""
    ground = ClusterGround()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ground.pods.follow)
        yield ground
        tasks.cancel_scope.cancel()
    await ground.client.close()
