"""Where the sandbox runs, and why there: local processes, or a kind cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sandbox.cluster import nvidia_check
from sandbox.engine import accelerated
from sandbox.errors import SandboxError
from sandbox.lifecycle.kind import KindBackend, RemoveCluster
from sandbox.lifecycle.local import LocalBackend
from sandbox.lifecycle.site import Site
from sandbox.lifecycle.steps import Step
from sandbox.lifecycle.world import World

BUILD_NODE_IMAGE = "make node-image"


class Backend(Protocol):
    """One place to run."""

    @property
    def name(self) -> str:
        """``local`` or ``kind``."""
        ...

    def steps_up(self) -> list[Step]:
        """List the way to a running sandbox."""
        ...

    def steps_down(self) -> list[Step]:
        """List the way to nothing running; what is in the data folder stays."""
        ...

    def states(self) -> dict[str, bool]:
        """Say which parts run."""
        ...

    def log(self, name: str, n_lines: int) -> list[str]:
        """Read the end of what a part, or the engine of a model, has said.

        Raises:
            NotRunning: there is no such part; the message names those that are.
        """
        ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """A backend, and why it was taken, in a line."""

    backend: Backend
    reason: str


def choose(world: World) -> Chosen:
    """Decide where `up` brings the sandbox up.

    Raises:
        SandboxError: the backend asked for cannot be had here.
    """
    name, reason = _choice(world)
    return Chosen(named(_settled(world, name), name), reason)


def _choice(world: World) -> tuple[str, str]:
    """Name the backend to be taken, and say why."""
    asked, running = world.settings.backend, world.running_backend()
    if asked != "auto":
        return asked, "asked for in the settings"
    if running is not None:
        return running, "it is what runs already; another: make down, then make up BACKEND=…"
    try:
        source = Site(world).node_image_source()
    except SandboxError as error:
        return "local", f"processes of this machine: {_short(error)}"
    if source is None:
        needs = f"for a cluster: {BUILD_NODE_IMAGE} (about 15 minutes on 2 cores)"
        return "local", f"processes of this machine: no node image is here and no image registry answers; {needs}"
    return "kind", f"a Docker engine answers, {source}"


def _settled(world: World, backend: str) -> World:
    """Settle what engines compute on: what was asked for by name is had or refused.

    Raises:
        AcceleratorUnavailable: it cannot be had; with what is missing and what mends it.
    """
    engine = world.settings.engine
    containers = nvidia_check.containers(Site(world).docker.client.info()) if backend == "kind" else None
    choice = accelerated.settle(engine, world.settings.cache, backend, containers=containers)
    is_beside = choice.where == "host" and backend != "local"
    return world.with_accelerator("cpu" if is_beside and engine.accelerator == "auto" else choice.kind)


def current(world: World) -> Chosen:
    """Name the backend that runs, or would; for looking and stopping, which never fail for lack of Docker."""
    running = world.running_backend()
    if running is not None:
        return Chosen(named(world, running), "it is what runs")
    name, reason = _choice(world)
    return Chosen(named(world, name), reason)


def named(world: World, name: str) -> Backend:
    """Make the backend of a name."""
    if name == "local":
        return LocalBackend(world, before=_removal(world))
    return KindBackend(Site(world))


def steps_down(world: World) -> list[Step]:
    """List the way to nothing running, whatever was brought up; what is in the data folder stays."""
    return [*_removal(world), *LocalBackend(world).steps_down()]


def _removal(world: World) -> tuple[Step, ...]:
    """List what removes a kind cluster of ours, also a half-made one; nothing where there is none."""
    removal = RemoveCluster(Site(world))
    return () if removal.is_done() else (removal,)


def _short(error: SandboxError) -> str:
    return error.message.split(":", 1)[0]
