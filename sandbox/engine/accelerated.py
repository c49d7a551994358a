"""Settings × this machine → what engines compute on; the engine is asked only where there is something to ask about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sandbox.accelerators import Accelerators, Choice, ClusterOffer, Containers, Probe, ThisMachine, choose, look
from sandbox.config import EngineSettings
from sandbox.engine.discover import Machine, discover
from sandbox.errors import EngineNotFound


def settle(
    settings: EngineSettings,
    cache: Path,
    backend: str,
    *,
    machine: Probe | None = None,
    containers: Containers | None = None,
    offer: ClusterOffer | None = None,
) -> Choice:
    """Settle ``auto``, or see that what was asked for can be had.

    Args:
        backend: ``local``, ``kind`` or ``context:NAME``.
        containers: what the Docker engine says of its runtimes, for ``kind``.
        offer: what the cluster offers, once there is one.

    Raises:
        AcceleratorUnavailable: what was asked for cannot be had; with what is missing and what mends it.
    """
    found = look_here(settings, cache, machine=machine, containers=containers)
    return choose(settings.accelerator, found, backend, offer=offer)


def look_here(
    settings: EngineSettings,
    cache: Path,
    *,
    machine: Probe | None = None,
    containers: Containers | None = None,
    programs: Machine | None = None,
) -> Accelerators:
    """Look at this machine, its engine included where there is anything but the processor to compute on.

    Args:
        programs: stands in for this machine where the engine is searched for.
    """
    machine = machine or ThisMachine()
    found = look(machine, containers=containers)
    if not (found.nvidia.is_there or found.has_metal or found.vulkan.devices):
        return found
    program = _program(settings, cache, programs)
    return found if program is None else replace(found, engine=look(machine, engine=program).engine)


def _program(settings: EngineSettings, cache: Path, programs: Machine | None) -> str | None:
    try:
        found = discover("llama-server", cache=cache, configured=settings.path, machine=programs, accelerator="cuda")
    except EngineNotFound:
        return None
    return str(found.path)
