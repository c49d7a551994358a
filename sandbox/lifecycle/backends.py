"""Where the sandbox runs, and why there: local processes, a kind cluster, or a cluster of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sandbox.errors import SandboxError
from sandbox.lifecycle.context import ContextBackend
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
        """``local``, ``kind`` or ``context:NAME``."""
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
    asked = world.settings.backend
    if asked != "auto":
        return Chosen(named(world, asked), "asked for in the settings")
    running = world.running_backend()
    if running is not None:
        return Chosen(named(world, running), "it is what runs already; another: make down, then make up BACKEND=…")
    try:
        site = Site(world)
        source = site.node_image_source()
    except SandboxError as error:
        return Chosen(LocalBackend(world), f"processes of this machine: {_short(error)}")
    if source is None:
        reason = f"processes of this machine: no node image is here and no image registry answers; for a cluster: \
{BUILD_NODE_IMAGE} (about 15 minutes on 2 cores)"
        return Chosen(LocalBackend(world), reason)
    return Chosen(KindBackend(site), f"a Docker engine answers, {source}")


def current(world: World) -> Chosen:
    """Name the backend that runs, or would; for looking and stopping, which never fail for lack of Docker."""
    running = world.running_backend()
    if running is not None:
        return Chosen(named(world, running), "it is what runs")
    return choose(world)


def named(world: World, name: str) -> Backend:
    """Make the backend of a name."""
    if name == "local":
        return LocalBackend(world, before=_removal(world))
    if name == "kind":
        return KindBackend(Site(world))
    context = name.removeprefix("context:")
    return ContextBackend(Site(world, context))


def steps_down(world: World) -> list[Step]:
    """List the way to nothing running, whatever was brought up; what is in the data folder stays."""
    running = world.running_backend()
    if running is not None and running.startswith("context:"):
        return named(world, running).steps_down()
    return [*_removal(world), *LocalBackend(world).steps_down()]


def _removal(world: World) -> tuple[Step, ...]:
    """List what removes a kind cluster of ours, also a half-made one; nothing where there is none."""
    removal = RemoveCluster(Site(world))
    return () if removal.is_done() else (removal,)


def _short(error: SandboxError) -> str:
    return error.message.split(":", 1)[0]
