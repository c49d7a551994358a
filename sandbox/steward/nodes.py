"""What the cluster's nodes offer to an engine: a pod sees only its own limits, so the API is asked."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from lightkube import AsyncClient
from lightkube.resources.core_v1 import Node
from lightkube.utils.quantity import parse_quantity

from sandbox.engine.manifests import ClusterAccelerator
from sandbox.errors import AcceleratorUnavailable, ClusterFailed
from sandbox.facts import Host

GPU = "nvidia.com/gpu"
KEEPING_OUT = frozenset({"NoSchedule", "NoExecute"})


async def node_host(client: AsyncClient, accelerator: ClusterAccelerator = "cpu") -> Host:
    """Find the largest node that an engine may be placed on.

    Raises:
        ClusterFailed: no node takes pods.
        AcceleratorUnavailable: none of those that do offers the accelerator.
    """
    nodes = [node async for node in client.list(Node)]
    open_nodes = [_allocatable(node) for node in nodes if _takes_pods(node)]
    if not open_nodes:
        raise ClusterFailed(f"none of the cluster's {len(nodes)} nodes takes pods", hint="sandbox status")
    fitting = [offer for offer in open_nodes if accelerator != "cuda" or _amount(offer, GPU) > 0]
    if not fitting:
        raise AcceleratorUnavailable(
            f"no node of the cluster offers {GPU}", hint="see sandbox doctor, or set SANDBOX_ENGINE_ACCELERATOR=cpu"
        )
    largest = max(fitting, key=lambda offer: _amount(offer, "memory"))
    return Host(cores=max(1, int(_amount(largest, "cpu"))), memory_bytes=int(_amount(largest, "memory")))


def _takes_pods(node: Node) -> bool:
    spec, status = node.spec, node.status
    if spec is not None and (spec.unschedulable or any(taint.effect in KEEPING_OUT for taint in spec.taints or [])):
        return False
    conditions = (status and status.conditions) or []
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)


def _allocatable(node: Node) -> Mapping[str, str]:
    return (node.status and node.status.allocatable) or {}


def _amount(offer: Mapping[str, str], resource: str) -> Decimal:
    return parse_quantity(offer.get(resource)) or Decimal(0)
