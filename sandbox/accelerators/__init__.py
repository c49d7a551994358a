"""What this machine has to compute with, and which of it an engine is given."""

from sandbox.accelerators.choice import Choice, Place, choose, missing
from sandbox.accelerators.facts import Accelerators, ClusterOffer, Containers, Gpu, HostEngine, Kind, Nvidia, Vulkan
from sandbox.accelerators.looking import look
from sandbox.accelerators.needs import Missing
from sandbox.accelerators.probing import Printed, Probe, ThisMachine

__all__ = [
    "Accelerators",
    "Choice",
    "ClusterOffer",
    "Containers",
    "Gpu",
    "HostEngine",
    "Kind",
    "Missing",
    "Nvidia",
    "Place",
    "Printed",
    "Probe",
    "ThisMachine",
    "Vulkan",
    "choose",
    "look",
    "missing",
]
