"""Whether GPUs reach the pods that ask for them, and no others: Docker, the cluster and two pods are asked; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.accelerators import ClusterOffer, Containers
from sandbox.accelerators.looking import listed_kinds
from sandbox.cluster.nvidia import EXTRA_MOUNTS

RESOURCE = "nvidia.com/gpu"
RUNTIME_CLASS = "nvidia"
CHECK_NAMESPACE = "kube-system"
"""Not ``models``: that room takes only reviewed engines."""


def check_pods(image: str) -> list[dict[str, Any]]:
    """Write two pods that list devices: one asks for a GPU and must see it, its twin does not ask and must see none.

    Args:
        image: an engine image with CUDA; its entry point is llama-server.
    """
    return [_check_pod("gpu-check", image, gpus=1), _check_pod("gpu-check-without", image, gpus=0)]


def _check_pod(name: str, image: str, *, gpus: int) -> dict[str, Any]:
    limits: dict[str, Any] = {"memory": "2Gi"} | ({RESOURCE: gpus} if gpus else {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": CHECK_NAMESPACE,
            "labels": {"app.kubernetes.io/part-of": "sandbox", "app.kubernetes.io/component": "gpu-check"},
        },
        "spec": {
            "runtimeClassName": RUNTIME_CLASS,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 120,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "check",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["--list-devices"],
                    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": limits},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def check_verdict(asked: str, unasked: str) -> tuple[str, ...]:
    """Read both pods' logs, and say what is wrong; empty where GPUs go where they were asked for and nowhere else.

    Args:
        asked: log of the pod that asked for a GPU.
        unasked: log of its twin, which may also have failed to start for want of the driver's library.
    """
    wrong = []
    if "cuda" not in listed_kinds(asked):
        said = asked.strip().splitlines()
        wrong.append(f"a pod that asked for a GPU sees none: {said[-1].strip()[:200] if said else 'it said nothing'}")
    if "cuda" in listed_kinds(unasked):
        wrong.append("a pod that did not ask for a GPU sees one all the same")
    return tuple(wrong)


class _Info(BaseModel):
    """The part of ``docker info`` that matters here."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    Runtimes: dict[str, Any] | None = None
    DefaultRuntime: str = ""


def containers(info: Mapping[str, Any]) -> Containers | None:
    """Read the runtimes out of what a Docker engine says of itself; nothing where it does not say."""
    try:
        told = _Info.model_validate(dict(info))
    except ValidationError:
        return None
    if told.Runtimes is None:
        return None
    return Containers(tuple(sorted(told.Runtimes)), told.DefaultRuntime)


class _NodeStatus(BaseModel):
    """The part of a Kubernetes Node's status that matters here."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    allocatable: dict[str, str | int] = Field(default_factory=dict)


def gpus_of(nodes: Sequence[Mapping[str, Any]]) -> int:
    """Add up the GPUs that nodes offer to pods; a node that says nonsense offers none."""
    total = 0
    for node in nodes:
        try:
            offered = str(_NodeStatus.model_validate(node.get("status") or {}).allocatable.get(RESOURCE, "0"))
        except ValidationError:
            continue
        total += int(offered) if offered.isascii() and offered.isdigit() else 0
    return total


def plugin_is_ready(plugin: Mapping[str, Any] | None) -> bool:
    """Say whether the device plugin's DaemonSet has all its pods, ready and of today's specification."""
    status = (plugin or {}).get("status") or {}
    wanted = status.get("desiredNumberScheduled") or 0
    is_seen = (status.get("observedGeneration") or 0) >= (((plugin or {}).get("metadata") or {}).get("generation") or 0)
    return bool(wanted) and is_seen and status.get("numberReady") == wanted == status.get("updatedNumberScheduled")


def has_devices(mounts: Sequence[Mapping[str, Any]]) -> bool:
    """Say from ``docker inspect``'s list of mounts whether the node was made with the one that asks for GPUs."""
    return any((mount.get("Source"), mount.get("Destination")) in EXTRA_MOUNTS for mount in mounts)


def offer(
    *,
    mounts: Sequence[Mapping[str, Any]],
    has_runtime: bool,
    plugin: Mapping[str, Any] | None,
    nodes: Sequence[Mapping[str, Any]],
    has_cuda_image: bool,
) -> ClusterOffer:
    """Put together what a kind cluster that is there offers."""
    return ClusterOffer(
        node_has_devices=has_devices(mounts),
        node_has_runtime=has_runtime,
        plugin_is_ready=plugin_is_ready(plugin),
        gpus=gpus_of(nodes),
        has_cuda_image=has_cuda_image,
    )
