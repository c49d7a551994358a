"""What doctor says of accelerators: what is there, what is missing, and what mends it; one line where there is none."""

from __future__ import annotations

from typing import Literal

from sandbox.accelerators import Accelerators, ClusterOffer, Kind, Missing, choose, missing
from sandbox.accelerators.choice import place_of
from sandbox.accelerators.needs import NAMES, is_relevant
from sandbox.lifecycle.doctor import Finding
from sandbox.units import show_bytes

NAME = "accelerator"
BEST_FIRST: tuple[Kind, ...] = ("cuda", "metal", "vulkan")


def examine(
    asked: Literal["auto"] | Kind, found: Accelerators, backend: str, offer: ClusterOffer | None = None
) -> list[Finding]:
    """Say what engines compute on and why, and what hardware that is there lacks to be used.

    What was asked for by name and cannot be had is a fault. With ``auto`` nothing is: it runs all the same.
    """
    if asked != "auto":
        lacking = missing(asked, place_of(asked, backend), found, backend, offer)
        if lacking:
            return [_told(asked, found, each, is_good=False) for each in lacking]
    choice = choose(asked, found, backend, offer=offer)
    findings = [Finding(NAME, is_good=True, detail=choice.why)]
    for kind in BEST_FIRST if asked == "auto" else ():
        if kind == choice.kind:
            break  # what comes after it would not be taken anyway
        if is_relevant(kind, found, backend, offer):
            lacking = missing(kind, place_of(kind, backend), found, backend, offer)
            findings += [_told(kind, found, each, is_good=True) for each in lacking]
    return findings


def _told(kind: Kind, found: Accelerators, lacks: Missing, *, is_good: bool) -> Finding:
    there = _there(kind, found)
    return Finding(
        NAMES[kind], is_good=is_good, detail=f"{there}: {lacks.what}" if there else lacks.what, hint=lacks.mend
    )


def _there(kind: Kind, found: Accelerators) -> str:
    """Say what hardware of a kind is there."""
    if kind == "vulkan":
        return ", ".join(found.vulkan.devices)
    if kind == "metal":
        return "Apple's GPU" if found.has_metal else ""
    sizes = [f" ({show_bytes(gpu.memory_bytes)})" if gpu.memory_bytes is not None else "" for gpu in found.nvidia.gpus]
    return ", ".join(gpu.name + size for gpu, size in zip(found.nvidia.gpus, sizes, strict=True))
