"""What a machine, its Docker engine and its cluster offer to compute with; plain values."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.facts import Accelerator

Kind = Accelerator


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU, as its driver tells it."""

    name: str
    memory_bytes: int | None
    """Memory of its own; ``None`` where it shares the machine's."""


@dataclass(frozen=True, slots=True)
class Nvidia:
    """NVIDIA hardware and its driver."""

    is_on_bus: bool = False
    """Whether the PCI bus has a GPU of theirs, driver or not."""
    driver: str | None = None
    """Version of the driver that the kernel has loaded."""
    devices: tuple[str, ...] = ()
    """Device files of the GPUs."""
    gpus: tuple[Gpu, ...] = ()
    """GPUs that the driver's own program answers for."""
    complaint: str = ""
    """Why that program does not answer, where it does not."""

    @property
    def is_there(self) -> bool:
        """Whether there is anything of theirs at all."""
        return self.is_on_bus or self.driver is not None or bool(self.devices) or bool(self.gpus)


@dataclass(frozen=True, slots=True)
class Vulkan:
    """Render devices and the library that finds drivers for them."""

    devices: tuple[str, ...] = ()
    loader: str | None = None


@dataclass(frozen=True, slots=True)
class Toolkit:
    """NVIDIA's container toolkit, which puts GPUs into containers."""

    program: str | None = None
    takes_mounts: bool = False
    """Whether a mount may ask for GPUs, which is the one way that kind has of asking."""


@dataclass(frozen=True, slots=True)
class Containers:
    """Which runtimes the Docker engine knows."""

    runtimes: tuple[str, ...]
    default_runtime: str


@dataclass(frozen=True, slots=True)
class HostEngine:
    """The engine program of this machine, and what it says that it can compute on besides the processor."""

    program: str | None = None
    lists: tuple[Kind, ...] = ()


@dataclass(frozen=True, slots=True)
class Accelerators:
    """Everything found on one machine."""

    system: str
    machine: str
    nvidia: Nvidia = Nvidia()
    vulkan: Vulkan = Vulkan()
    toolkit: Toolkit = Toolkit()
    engine: HostEngine = HostEngine()
    containers: Containers | None = None
    """``None`` where no Docker engine was asked."""

    @property
    def has_metal(self) -> bool:
        """Whether this is a Mac whose processor carries a GPU that llama.cpp computes on."""
        return self.system == "Darwin" and self.machine == "arm64"


@dataclass(frozen=True, slots=True)
class ClusterOffer:
    """What a cluster offers; ``None`` is "not asked yet", which is never held against it before it is made."""

    node_has_devices: bool | None = None
    """Whether the node was made with the mount that asks for GPUs."""
    node_has_runtime: bool | None = None
    """Whether the node's container runtime knows the handler ``nvidia``."""
    plugin_is_ready: bool | None = None
    gpus: int | None = None
    """GPUs that the node offers to pods: its allocatable ``nvidia.com/gpu``."""
    has_cuda_image: bool | None = None
