"""NVIDIA GPUs in a kind cluster: what the node is made with, what is set up in it, and how it is checked.

Three layers of containers, three ways of asking for a GPU, all of them NVIDIA's own:

1. The node is a Docker container. kind knows no ``--gpus``, so the node *mounts* ``/dev/null`` where the host's
   container toolkit looks for requests; Docker's default runtime has to be ``nvidia`` and to take such mounts.
2. In the node the same toolkit adds the handler ``nvidia`` to containerd, which the RuntimeClass names.
3. The device plugin counts the GPUs for the scheduler and puts the same kind of mount into pods that asked for one.

Everything here is data, or takes the node as a small port. Run so far: the toolkit's commands, by the toolkit; nothing
of it with a GPU (docs/accelerators.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sandbox.cluster import recipes
from sandbox.errors import AcceleratorUnavailable

Say = Callable[[str], None]
PLUGIN = "nvidia-device-plugin"
"""The DaemonSet of the manifests, in ``kube-system``."""
EXTRA_MOUNTS = (("/dev/null", "/var/run/nvidia-container-devices/all"),)
"""(here, in the node): asks the host's toolkit to give the node every GPU."""
PACKAGE_SOURCE = (
    "/etc/apt/sources.list.d/nvidia-container-toolkit.list",
    "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg",
)
"""Where NVIDIA's install guide has the host keep its package source and the key to it; the node takes both over."""
OUTPUT_LINES = 15
"""Lines of a failed command that go into the error."""


class Node(Protocol):
    """The kind node, as far as it is set up here."""

    def run(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a command in the node as root; return its status and both outputs."""
        ...

    def put(self, path: str, content: bytes) -> None:
        """Write a file in the node."""
        ...


@dataclass(frozen=True, slots=True)
class NodeStep:
    """One thing to do in the node."""

    title: str
    argv: tuple[str, ...]
    unless: tuple[str, ...] = ()
    """A command that succeeds where it is done already."""
    files: tuple[str, ...] = ()
    """Files of this machine that the node needs first, under the same names."""
    mend: str = "nvidia-smi; docker info | grep -i runtime"


def node_steps() -> tuple[NodeStep, ...]:
    """List how a node is set up; after each start of it, because a mount does not outlive one."""
    ctk = "nvidia-ctk"
    return (
        NodeStep(
            "see the GPUs in the node",
            ("nvidia-smi", "--list-gpus"),
            mend="see that a container gets them: "
            "docker run --rm -v /dev/null:/var/run/nvidia-container-devices/all debian nvidia-smi",
        ),
        NodeStep(
            "install the container toolkit in the node",
            ("sh", "-c", "apt-get update && apt-get install --yes --no-install-recommends nvidia-container-toolkit"),
            unless=(ctk, "--version"),
            files=PACKAGE_SOURCE,
            mend="use a node image that has nvidia-container-toolkit in it: SANDBOX_CLUSTER_NODE_IMAGE=…",
        ),
        NodeStep(
            "let mounts ask for GPUs, and environment variables not",
            (
                *(ctk, "config", "--in-place"),
                *("--set", "accept-nvidia-visible-devices-as-volume-mounts=true"),
                *("--set", "accept-nvidia-visible-devices-envvar-when-unprivileged=false"),
            ),
        ),
        NodeStep(
            "add the runtime to containerd, beside the one that stays the default",
            ("sh", "-c", f"{ctk} runtime configure --runtime=containerd && systemctl restart containerd"),
            unless=HAS_RUNTIME,
        ),
        NodeStep(
            # Older toolkits cover the driver's own folder; the toolkit in the node has to see it to hand it on.
            "uncover what the driver says of itself",
            ("umount", "--recursive", "/proc/driver/nvidia"),
            unless=("sh", "-c", "! mountpoint --quiet /proc/driver/nvidia"),
        ),
    )


HAS_RUNTIME = ("sh", "-c", "containerd config dump | grep --quiet 'runtimes.nvidia]'")
"""Succeeds in a node whose containerd has the handler."""


def set_up(node: Node, read: Callable[[str], bytes | None], say: Say) -> None:
    """Do in the node what is not done yet.

    Args:
        read: reads a file of this machine; nothing where there is none.

    Raises:
        AcceleratorUnavailable: a step failed; with what it said.
    """
    for step in node_steps():
        if step.unless and node.run(step.unless)[0] == 0:
            continue
        say(step.title)
        for path in step.files:
            content = read(path)
            if content is None:
                raise AcceleratorUnavailable(
                    f"could not {step.title}: {path} is not on this machine, so the node knows no source of it",
                    hint=step.mend,
                )
            node.put(path, content)
        status, said = node.run(step.argv)
        if status != 0:
            tail = "\n".join(said.splitlines()[-OUTPUT_LINES:])
            raise AcceleratorUnavailable(
                f"could not {step.title}: {' '.join(step.argv)} ended with status {status}:\n{tail}", hint=step.mend
            )


def manifests() -> list[dict[str, Any]]:
    """Read the RuntimeClass and the device plugin."""
    return recipes.objects("nvidia")


def image_of(objects: Sequence[Mapping[str, Any]]) -> str:
    """Name the one image that the manifests need in the node."""
    (plugin,) = (each for each in objects if each["kind"] == "DaemonSet")
    return str(plugin["spec"]["template"]["spec"]["containers"][0]["image"])
