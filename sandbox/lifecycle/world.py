"""What every life cycle acts on: this machine's settings, data folder and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import filelock

from sandbox import catalogue, config, processes
from sandbox.client import Client
from sandbox.errors import Busy, HomeUnusable, NotRunning
from sandbox.facts import Accelerator, ModelCard
from sandbox.home import Home
from sandbox.lifecycle import doctor
from sandbox.ports import Clock
from sandbox.store import WheelFetcher


@dataclass(frozen=True, slots=True)
class World:
    """What the steps act on."""

    settings: config.Settings
    environment: Mapping[str, str]
    """The environment of this command, for the processes that it starts."""
    fetcher: WheelFetcher
    clock: Clock

    def with_accelerator(self, kind: Accelerator) -> World:
        """Settle what engines compute on, for every process and pod that is started from here."""
        engine = self.settings.engine.model_copy(update={"accelerator": kind})
        return replace(self, settings=self.settings.model_copy(update={"engine": engine}))

    @property
    def home(self) -> Home:
        """The data folder."""
        return Home(self.settings.home)

    @property
    def cards(self) -> list[ModelCard]:
        """The models to be served."""
        known = catalogue.load()
        return [catalogue.find(known, model_id) for model_id in self.settings.models.serve]

    def running_backend(self) -> str | None:
        """Name the backend that was brought up last and is still there, stopped or not."""
        if self.home.cluster.exists():
            return "kind"
        is_local = any(processes.read(path) for path in self.home.run.glob("*.process.json"))
        return "local" if is_local else None

    def client(self) -> Client:
        """Speak to the gateway as the one who runs this machine.

        Raises:
            NotRunning: no gateway has left its key.
        """
        try:
            key = self.home.operator_key.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise NotRunning("the sandbox is not running", hint="start it: make up") from error
        return Client(self.settings.gateway_url, key)


@contextmanager
def alone(world: World) -> Iterator[None]:
    """Hold the lock of the one command that changes things.

    Raises:
        Busy: another command holds it.
        HomeUnusable: the data folder cannot be written.
    """
    doctor.check_home(world.settings.home)
    lock = filelock.FileLock(world.home.lock, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise Busy(
            f"another command is changing the sandbox in {world.settings.home} right now",
            hint="wait for it to end, then look: sandbox status",
        ) from error
    except OSError as error:
        raise HomeUnusable(
            f"{world.home.lock} cannot be written: {error}", hint="mend its rights, or set SANDBOX_HOME"
        ) from error
    try:
        yield
    finally:
        lock.release()
