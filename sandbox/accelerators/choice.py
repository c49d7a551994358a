"""What was asked for × what was found × where engines run → what computes, with the reason; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sandbox.accelerators import needs
from sandbox.accelerators.facts import Accelerators, ClusterOffer, Kind
from sandbox.accelerators.needs import NAMES, Missing
from sandbox.errors import AcceleratorUnavailable
from sandbox.units import show_bytes

Place = Literal["pod", "host"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What an engine computes on, and where it runs for that."""

    kind: Kind
    why: str
    """One line for a person."""
    where: Place


def choose(
    asked: Literal["auto"] | Kind,
    found: Accelerators,
    backend: str,
    *,
    where: Place | None = None,
    offer: ClusterOffer | None = None,
) -> Choice:
    """Choose what computes.

    ``auto`` takes the best that works from end to end and says why it takes no better one; what is asked
    for by name is given or refused, never replaced.

    Args:
        asked: the setting ``engine.accelerator``.
        backend: ``local``, ``kind`` or ``context:NAME``, already decided.
        where: run engines there, instead of where the accelerator can be reached.
        offer: what the cluster offers; leave it out before there is one.

    Raises:
        AcceleratorUnavailable: naming everything that is missing, with the command that mends the first of it.
    """
    if asked == "auto":
        return _best(found, backend, where, offer)
    place = where or place_of(asked, backend)
    lacking = missing(asked, place, found, backend, offer)
    if lacking:
        raise AcceleratorUnavailable(
            f"{NAMES[asked]} was asked for and cannot be used: " + "; ".join(each.what for each in lacking),
            hint=lacking[0].mend,
        )
    return Choice(asked, f"{_described(asked, found, backend, place)}: asked for in the settings", place)


def missing(
    kind: Kind, place: Place, found: Accelerators, backend: str, offer: ClusterOffer | None = None
) -> tuple[Missing, ...]:
    """List what an engine in that place lacks to compute on one kind, the first to mend first; empty when it works."""
    if place == "pod" and backend == "local":
        return (Missing("the local backend has no pods", "run in a cluster: SANDBOX_BACKEND=kind make up"),)
    if place == "host" and backend.startswith("context:"):
        return (
            Missing(
                "a cluster elsewhere cannot reach an engine on this machine", "run here: SANDBOX_BACKEND=kind make up"
            ),
        )
    if place == "pod":
        return needs.in_pod(kind, found, offer or ClusterOffer(), is_here=backend == "kind")
    return needs.on_host(kind, found)


def place_of(kind: Kind, backend: str) -> Place:
    """Say where an engine has to run to reach an accelerator: in a pod where that can be."""
    if backend == "local":
        return "host"
    if backend == "kind" and kind in ("metal", "vulkan"):
        return "host"
    return "pod"


def _best(found: Accelerators, backend: str, where: Place | None, offer: ClusterOffer | None) -> Choice:
    reasons = []
    for kind in _candidates(backend):
        place = where or place_of(kind, backend)
        lacking = missing(kind, place, found, backend, offer)
        if not lacking:
            return Choice(kind, _described(kind, found, backend, place), place)
        if needs.is_relevant(kind, found, backend, offer):
            reasons.append(f"{NAMES[kind]} is not used: {lacking[0].what}")
    place = where or place_of("cpu", backend)
    why = _described("cpu", found, backend, place) + "; " + ("; ".join(reasons) or _nothing_found(backend))
    return Choice("cpu", why, place)


def _candidates(backend: str) -> Sequence[Kind]:
    """Name what ``auto`` tries, the fastest first.

    Vulkan is left out in a cluster: it would take an engine out of its pod for less than CUDA gives in one.
    Metal is kept, because a Mac has nothing better and no container there can have it.
    """
    if backend == "local":
        return ("cuda", "metal", "vulkan")
    return ("cuda", "metal") if backend == "kind" else ("cuda",)


def _nothing_found(backend: str) -> str:
    if backend.startswith("context:"):
        return "no node is known to offer nvidia.com/gpu"
    return "no NVIDIA device, no Metal" + ("" if backend == "kind" else ", no Vulkan device")


def _described(kind: Kind, found: Accelerators, backend: str, place: Place) -> str:
    name = NAMES[kind]
    if kind == "cuda" and found.nvidia.gpus and not backend.startswith("context:"):
        first = found.nvidia.gpus[0]
        memory = f", {show_bytes(first.memory_bytes)}" if first.memory_bytes is not None else ""
        name = f"{name} on {first.name}{memory}"
    # Said whenever it is so: outside, the network policies hold the way in, and nothing holds the way out.
    return f"{name}, engine outside the cluster" if place == "host" and backend != "local" else name
