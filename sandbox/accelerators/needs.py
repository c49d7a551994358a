"""What each accelerator needs in each place, as a list of what is missing with the command that mends it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.accelerators.facts import Accelerators, ClusterOffer, Kind, Nvidia

NAMES: Mapping[Kind, str] = {"cpu": "CPU", "cuda": "CUDA", "vulkan": "Vulkan", "metal": "Metal"}


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that is not as it must be, and how to mend it."""

    what: str
    mend: str


DRIVER = "install NVIDIA's driver, then restart: sudo apt-get install nvidia-driver, or what your system calls it"
TOOLKIT = (
    "add NVIDIA's package source as its Container Toolkit install guide says, "
    "then: sudo apt-get install nvidia-container-toolkit"
)
DOCKER_RUNTIME = "sudo nvidia-ctk runtime configure --runtime=docker --set-as-default && sudo systemctl restart docker"
MOUNTS = "sudo nvidia-ctk config --in-place --set accept-nvidia-visible-devices-as-volume-mounts=true"
ANEW = "make the cluster anew, nothing is lost: make down && make up"
PLUGIN = "kubectl -n kube-system describe daemonset nvidia-device-plugin"
CUDA_IMAGE = "run on the processor: SANDBOX_ENGINE_ACCELERATOR=cpu make up; or bring the image into the node"
BUILD_CUDA = "python -m sandbox.engine.build llama-server-cuda, and leave SANDBOX_ENGINE_PATH unset"
OWN_ENGINE = "name a llama-server that was built with it: SANDBOX_ENGINE_PATH=…"


def is_relevant(kind: Kind, found: Accelerators, backend: str, offer: ClusterOffer | None = None) -> bool:
    """Say whether there is any hardware of that kind; what is missing for hardware nobody has interests nobody."""
    if backend.startswith("context:"):
        return kind == "cuda" and offer is not None and bool(offer.gpus)
    if kind == "cuda":
        return found.nvidia.is_there
    if kind == "metal":
        return found.has_metal
    return kind == "vulkan" and bool(found.vulkan.devices)


def on_host(kind: Kind, found: Accelerators) -> tuple[Missing, ...]:
    """List what an engine process of this machine lacks."""
    if kind == "cpu":
        return ()
    hardware = {"cuda": lambda: _nvidia(found.nvidia), "metal": lambda: _metal(found), "vulkan": lambda: _vulkan(found)}
    return hardware[kind]() or _engine(kind, found)


def in_pod(kind: Kind, found: Accelerators, offer: ClusterOffer, *, is_here: bool) -> tuple[Missing, ...]:
    """List what an engine in a pod lacks.

    Args:
        is_here: the node is a container of this machine, and gets what this machine has.
    """
    if kind == "cpu":
        return ()
    if kind != "cuda":
        return (
            Missing(
                f"{NAMES[kind]} can't be given to a {'container' if kind == 'metal' else 'pod that may mount nothing'}",
                "leave the engine on this machine (it is registered in the cluster as an endpoint), "
                "or SANDBOX_ENGINE_ACCELERATOR=cpu",
            ),
        )
    if not is_here:
        return _elsewhere(offer)
    return _nvidia(found.nvidia) or (*_containers(found), *_in_cluster(offer))


def _nvidia(nvidia: Nvidia) -> tuple[Missing, ...]:
    """Find the root of what is wrong with the hardware or its driver; what follows from it is not told."""
    if not nvidia.is_there:
        return (Missing("no NVIDIA device is in this machine", "SANDBOX_ENGINE_ACCELERATOR=auto make up"),)
    if nvidia.driver is None and not nvidia.devices:
        return (Missing("an NVIDIA device is there, its driver is not loaded", DRIVER),)
    if not nvidia.devices:
        return (
            Missing(
                f"driver {nvidia.driver} is loaded, but there is no /dev/nvidia0",
                "make the device files: sudo nvidia-modprobe -u -c=0",
            ),
        )
    if not nvidia.gpus:
        why = nvidia.complaint or "it names no GPU"
        return (Missing(f"the NVIDIA driver does not answer ({why})", "see what it says: nvidia-smi"),)
    return ()


def _metal(found: Accelerators) -> tuple[Missing, ...]:
    if found.has_metal:
        return ()
    what = f"Metal is on Macs with Apple's own processor, this is {found.system} {found.machine}"
    return (Missing(what, "SANDBOX_ENGINE_ACCELERATOR=auto make up"),)


def _vulkan(found: Accelerators) -> tuple[Missing, ...]:
    lacking = []
    if not found.vulkan.devices:
        lacking.append(
            Missing("no render device (/dev/dri/renderD…) is there", "SANDBOX_ENGINE_ACCELERATOR=auto make up")
        )
    if found.vulkan.loader is None:
        lacking.append(
            Missing("the Vulkan loader is not installed", "sudo apt-get install libvulkan1 mesa-vulkan-drivers")
        )
    return tuple(lacking)


def _engine(kind: Kind, found: Accelerators) -> tuple[Missing, ...]:
    if kind in found.engine.lists:
        return ()
    mend = BUILD_CUDA if kind == "cuda" else OWN_ENGINE
    if found.engine.program is None:
        return (Missing(f"no llama-server with {NAMES[kind]} is on this machine", mend),)
    return (Missing(f"{found.engine.program} lists no {NAMES[kind]} device", mend),)


def _containers(found: Accelerators) -> tuple[Missing, ...]:
    lacking = []
    if found.toolkit.program is None:
        lacking.append(Missing("NVIDIA's container toolkit is not installed (no nvidia-ctk on PATH)", TOOLKIT))
    if found.containers is not None and "nvidia" not in found.containers.runtimes:
        known = ", ".join(found.containers.runtimes) or "none"
        lacking.append(Missing(f"Docker knows no runtime named nvidia (it knows {known})", DOCKER_RUNTIME))
    elif found.containers is not None and found.containers.default_runtime != "nvidia":
        default = found.containers.default_runtime
        lacking.append(Missing(f"Docker's default runtime is {default}, not nvidia", DOCKER_RUNTIME))
    if not found.toolkit.takes_mounts:
        lacking.append(Missing("the container toolkit does not let a mount ask for GPUs, as kind has to", MOUNTS))
    return tuple(lacking)


def _in_cluster(offer: ClusterOffer) -> tuple[Missing, ...]:
    """List what a cluster that was asked lacks; one that was not asked yet lacks nothing."""
    lacking = []
    if offer.node_has_devices is False:
        lacking.append(Missing("the kind node was made without the device mount", ANEW))
    if offer.node_has_runtime is False:
        lacking.append(Missing("the node's container runtime has no handler named nvidia", "set it up: make up"))
    if offer.plugin_is_ready is False:
        lacking.append(Missing("the device plugin is not ready", PLUGIN))
    elif offer.gpus == 0:
        lacking.append(Missing("the node offers no nvidia.com/gpu to pods", PLUGIN))
    if offer.has_cuda_image is False:
        lacking.append(Missing("no engine image with CUDA is available", CUDA_IMAGE))
    return tuple(lacking)


def _elsewhere(offer: ClusterOffer) -> tuple[Missing, ...]:
    """List what a cluster elsewhere lacks: its nodes' drivers are its owner's affair, so it must be asked."""
    lacking = []
    if not offer.gpus:
        what = "no node offers nvidia.com/gpu" if offer.gpus == 0 else "the cluster was not asked what its nodes offer"
        lacking.append(Missing(what, "kubectl describe nodes | grep nvidia.com/gpu"))
    if not offer.has_cuda_image:
        lacking.append(Missing("no engine image with CUDA is available", CUDA_IMAGE))
    return tuple(lacking)
