"""The sandbox in a kind cluster of its own."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from sandbox import processes
from sandbox.cluster import kind_binary, outside
from sandbox.cluster.docker import Docker
from sandbox.cluster.images import apps, load
from sandbox.cluster.platform import POD_USER
from sandbox.errors import ConfigError, ImageUnavailable, SandboxError
from sandbox.lifecycle import cluster, doctor, local
from sandbox.lifecycle.isolation import HaveIsolation
from sandbox.lifecycle.site import Site
from sandbox.lifecycle.steps import Step
from sandbox.ports import Told
from sandbox.units import GIB, show_bytes

LEAST_MEMORY_BYTES = 3 * GIB
"""The node at rest takes about 1 GiB, gateway, steward and page 0.3, an engine of the smallest model 0.7."""
LEAST_FREE_BYTES = 4 * GIB
"""The node image twice (as an image and as a container's layers) and our own images in it."""


@dataclass(frozen=True, slots=True)
class StopLocal:
    """Nothing of ours runs as a process of this machine: the cluster takes its ports."""

    site: Site
    title: str = "Stop the local processes"

    def is_done(self) -> bool:
        """No process carries our mark."""
        return not processes.marked(self.site.world.home.path)

    def do(self, told: Told) -> None:
        """Stop them; chats, keys and the record stay."""
        for step in local.steps_down(self.site.world):
            if not step.is_done():
                step.do(told)


@dataclass(frozen=True, slots=True)
class CheckHost:
    """Python, Docker, the data folder, the ports, memory and disk."""

    site: Site
    title: str = "Check this machine"

    def is_done(self) -> bool:
        """Never: looking costs nothing."""
        return False

    def do(self, told: Told) -> None:
        """Look, and raise what is wrong."""
        settings, docker = self.site.world.settings, self.site.docker
        doctor.check_python()
        state = self.site.cluster.state(docker)
        if state == "unfinished":  # it holds the ports that are looked at next
            told.note("an earlier try to make the cluster was cut short: removing what it left")
            self.site.cluster.remove(docker)
        if state in ("absent", "unfinished"):
            home = self.site.world.home
            doctor.check_port(settings.page.port, "SANDBOX_PAGE_PORT", home, "page")
            doctor.check_port(settings.api.port, "SANDBOX_API_PORT", home, "gateway")
            check_room(docker)
        told.note(f"Docker {docker.client.version()['Version']}")


def check_room(docker: Docker) -> str:
    """Say how much memory and disk there is for a cluster.

    Raises:
        ConfigError: there is too little of either, with both figures.
    """
    instead = "run without a cluster: SANDBOX_BACKEND=local make up"
    memory_bytes = psutil.virtual_memory().available
    if memory_bytes < LEAST_MEMORY_BYTES:
        raise ConfigError(
            f"{show_bytes(memory_bytes)} of memory are free; a cluster needs {show_bytes(LEAST_MEMORY_BYTES)}",
            hint=f"close something, or {instead}",
        )
    docker_folder = str(docker.client.info().get("DockerRootDir", "/"))
    if not Path(docker_folder).is_dir():  # it may lie in a virtual machine of Docker's own
        return f"{show_bytes(memory_bytes)} of memory free"
    free_bytes = shutil.disk_usage(docker_folder).free
    if free_bytes < LEAST_FREE_BYTES:
        raise ConfigError(
            f"Docker's folder has {show_bytes(free_bytes)} free; a cluster needs {show_bytes(LEAST_FREE_BYTES)}",
            hint=f"free some space: docker system prune; or {instead}",
        )
    return f"{show_bytes(memory_bytes)} of memory and {show_bytes(free_bytes)} of disk free"


@dataclass(frozen=True, slots=True)
class HaveNodeImage:
    """The node image is on this machine."""

    site: Site
    title: str = "Find the node image"

    def is_done(self) -> bool:
        """It is here."""
        return self.site.docker.image_id(self.site.node_image) is not None

    def do(self, told: Told) -> None:
        """Pull it.

        Raises:
            ImageUnavailable: it cannot be pulled after all.
        """
        ref = self.site.node_image
        told.note(f"pulling {ref}")
        try:
            self.site.docker.client.images.pull(ref)
        except Exception as error:
            raise ImageUnavailable(
                f"the node image {ref} could not be pulled: {error}", hint="build it: make node-image"
            ) from error


@dataclass(frozen=True, slots=True)
class HaveAppImages:
    """Our own images are built from what is in this checkout."""

    site: Site
    title: str = "Build the images"

    def is_done(self) -> bool:
        """Every image of today's inputs is here."""
        return all(self.site.docker.image_id(ref) is not None for ref in self.site.refs.values())

    def do(self, told: Told) -> None:
        """Build what is missing."""
        apps.ensure(self.site.docker, self.site.world.settings.cache, told.note)


@dataclass(frozen=True, slots=True)
class HaveCluster:
    """The kind cluster runs, with today's ports, folders and node image."""

    site: Site
    title: str = "Make the cluster"

    def is_done(self) -> bool:
        """It runs."""
        return self.site.cluster.state(self.site.docker) == "running"

    def do(self, told: Told) -> None:
        """Start a stopped one, make one anew where it is unfinished or was made with other settings."""
        site, world = self.site, self.site.world
        found, docker = site.cluster, site.docker
        state = found.state(docker)
        site.forget_kube()
        if state == "stopped":
            told.note("it was stopped: starting it")
            found.start(docker)
            return
        if state in ("unfinished", "changed"):
            why = (
                "an earlier try was cut short" if state == "unfinished" else "ports, folders or node image have changed"
            )
            told.note(f"{why}: making it anew; chats, keys, models and the record stay")
            found.remove(docker)
        prepare_folders(site)
        program = kind_binary.provide(world.settings.cache, world.settings.cluster.kind, told.note)
        found.create(docker, program, world.environment, told.note)


def prepare_folders(site: Site) -> None:
    """Let the pods' user read the models, and own the state where this command runs as root."""
    home = site.world.home.path
    for name, mode in (("blobs", 0o755), ("state", 0o700)):
        (home / name).mkdir(mode=mode, parents=True, exist_ok=True)
        (home / name).chmod(mode)
    if os.getuid() == 0:
        for path in (home / "state", *(home / "state").iterdir()):
            os.chown(path, POD_USER, POD_USER)


@dataclass(frozen=True, slots=True)
class HaveImagesInNode:
    """The node has our images, by content."""

    site: Site
    title: str = "Load the images into the node"

    def is_done(self) -> bool:
        """All of them are there, by today's content; noted by their digests for the steps that follow."""
        site = self.site
        if site.cluster.state(site.docker) != "running":
            return False
        found = load.present(site.docker, site.cluster.node, site.refs)
        site.digests.update(found or {})
        return found is not None

    def do(self, told: Told) -> None:
        """Load those that differ."""
        site = self.site
        site.digests.update(load.load(site.docker, site.cluster.node, site.refs, told.note))


@dataclass(frozen=True, slots=True)
class RemoveCluster:
    """No container, network or kubeconfig of ours is left."""

    site: Site
    title: str = "Remove the cluster"

    def is_done(self) -> bool:
        """Nothing of it is there; without a Docker engine nothing can be."""
        try:
            return self.site.stub().is_removed(self.site.docker)
        except SandboxError:
            return not self.site.world.home.cluster.exists()

    def do(self, told: Told) -> None:
        """Remove it."""
        self.site.forget_kube()
        outside.remove(self.site.docker, self.site.stub().name)
        self.site.stub().remove(self.site.docker)


@dataclass(frozen=True, slots=True)
class KindBackend:
    """A kind cluster of this data folder's own."""

    site: Site
    name: str = "kind"

    def steps_up(self) -> list[Step]:
        """List the way to a running sandbox."""
        site, world = self.site, self.site.world
        return [
            StopLocal(site),
            CheckHost(site),
            *(local.HaveModel(world, card) for card in world.cards),
            HaveNodeImage(site),
            HaveAppImages(site),
            HaveCluster(site),
            cluster.HaveNode(site),
            HaveImagesInNode(site),
            cluster.HavePlatform(site),
            cluster.HaveReady(site, "gateway"),
            cluster.HaveReady(site, "page"),
            HaveIsolation(site),
            cluster.HaveEngineRoom(site),
            local.HaveEngines(world),
        ]

    def steps_down(self) -> list[Step]:
        """List the way to nothing running; what is in the data folder stays."""
        return [RemoveCluster(self.site), *local.steps_down(self.site.world)]

    def states(self) -> dict[str, bool]:
        """Say which parts run."""
        return cluster.states(self.site)

    def log(self, name: str, n_lines: int) -> list[str]:
        """Read the end of a pod's log."""
        return cluster.log(self.site, name, n_lines)
