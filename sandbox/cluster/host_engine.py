"""An engine of this machine as a cluster sees it: where it listens, and the objects that register it; pure.

Where no container can have the GPU (Metal), or where it was asked for, the engine is a process of this machine. In
the cluster it is a Service without pods: the same name and port as any engine's, its one endpoint an address of this
machine. The gateway's way to it is one address and one port, and nobody else has one. Its own way out is the one of
any process of this machine: that is what an engine in a pod has not, and why ``accelerators`` says so in its choice.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sandbox.engine.arguments import HOST, is_private
from sandbox.engine.manifests import COMPONENT, INSTANCE, NAMESPACE, PART_OF, PORT, Object, name_of
from sandbox.errors import AcceleratorUnavailable
from sandbox.facts import ModelCard
from sandbox.plan import EnginePlan

MANAGER = "sandbox-up"
PLAN = "sandbox/plan"
"""Annotation of the Service: how the engine is run, for the steward, which cannot see this machine."""
ASKERS = ("gateway", "steward")
"""Who may reach it: the one asks questions, the other whether it is well."""
ASKERS_NAMESPACE = "sandbox"
DESKTOP_NAME = "host.docker.internal"
"""How a container of Docker Desktop names the machine outside its virtual one; it leads to that machine's loopback."""


@dataclass(frozen=True, slots=True)
class HostAddress:
    """Where an engine of this machine listens, and under which address a pod reaches it."""

    listen: str
    reached_at: str


class _Pool(BaseModel):
    model_config = ConfigDict(extra="ignore")
    gateway: str = Field(default="", alias="Gateway")


class _Ipam(BaseModel):
    model_config = ConfigDict(extra="ignore")
    pools: list[_Pool] = Field(default_factory=list, alias="Config")


class _Network(BaseModel):
    """The part of ``docker network inspect`` that matters here."""

    model_config = ConfigDict(extra="ignore")
    ipam: _Ipam = Field(default_factory=_Ipam, alias="IPAM")


def gateway_of(network: Mapping[str, Any]) -> str | None:
    """Read from a Docker network's description the private IPv4 address that its host has in it."""
    try:
        pools = _Network.model_validate(dict(network)).ipam.pools
    except ValidationError:
        return None
    return next((pool.gateway for pool in pools if is_private(pool.gateway)), None)


def address_for(
    network: Mapping[str, Any], *, own_addresses: Collection[str], outside: str | None = None
) -> HostAddress:
    """Decide where an engine listens so that the pods of a kind node reach it, and as few others as can be.

    Args:
        network: the node's network, as Docker describes it.
        own_addresses: addresses of this machine's interfaces.
        outside: what ``DESKTOP_NAME`` is called in the node, where Docker runs in a virtual machine.

    Raises:
        AcceleratorUnavailable: no address of this machine leads from the node to it alone.
    """
    gateway = gateway_of(network)
    if gateway is not None and gateway in own_addresses:
        return HostAddress(listen=gateway, reached_at=gateway)
    if outside is not None and is_private(outside):
        return HostAddress(listen=HOST, reached_at=outside)
    raise AcceleratorUnavailable(
        f"the cluster's node has no way to an engine of this machine: the gateway of its network is "
        f"{gateway or 'not told'}, which no interface here has, and {DESKTOP_NAME} is "
        + (f"{outside}, no private address" if outside else "not known in it"),
        hint="run the engine in the cluster: SANDBOX_ENGINE_ACCELERATOR=cpu make up",
    )


def host_engine_objects(card: ModelCard, address: str, port: int, plan: EnginePlan | None = None) -> list[Object]:
    """Write what registers an engine of this machine: a Service, its endpoint, and the way there.

    Args:
        address: where pods reach it.
        port: where it listens.
        plan: how it is run; kept with the Service for the steward.

    Raises:
        ValueError: the address is no private IPv4 one, or the port is none.
    """
    if not is_private(address):
        raise ValueError(f"address {address!r}: an engine of this machine is reached at a private IPv4 address")
    if not 0 < port < 65536:
        raise ValueError(f"port {port} is not between 1 and 65535")
    return [_service(card, plan), _endpoint(card, address, port), _way(card, address, port)]


def object_names(card: ModelCard) -> list[tuple[Literal["Service", "EndpointSlice", "NetworkPolicy"], str, str]]:
    """Name what ``host_engine_objects`` writes (kind, namespace, name), for taking it away again.

    All of it has to go before the model's engine runs in a pod: an endpoint left behind would get half the questions.
    """
    name = name_of(card.id)
    return [
        ("NetworkPolicy", ASKERS_NAMESPACE, f"to-{name}-on-host"),
        ("EndpointSlice", NAMESPACE, f"{name}-on-host"),
        ("Service", NAMESPACE, name),
    ]


def is_of_pods(service: Mapping[str, Any]) -> bool:
    """Say whether an engine's Service stands before pods; it is deleted first then, since applying keeps a selector."""
    return bool((service.get("spec") or {}).get("selector"))


def plan_of(service: Mapping[str, Any]) -> EnginePlan | None:
    """Read back how a registered engine is run; nothing where that is not told, or not as it is written here."""
    annotations = (service.get("metadata") or {}).get("annotations") or {}
    try:
        return _PLAN.validate_json(str(annotations.get(PLAN, "")))
    except ValidationError:
        return None


_PLAN = TypeAdapter(EnginePlan)


def _labels(card: ModelCard) -> dict[str, str]:
    return {PART_OF: "sandbox", COMPONENT: "engine", INSTANCE: card.id, "app.kubernetes.io/managed-by": MANAGER}


def _service(card: ModelCard, plan: EnginePlan | None) -> Object:
    told = {"sandbox/model": card.id, "sandbox/model-sha256": card.sha256, "sandbox/where": "host"}
    if plan is not None:
        told[PLAN] = json.dumps(asdict(plan), sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name_of(card.id),
            "namespace": NAMESPACE,
            "labels": _labels(card),
            "annotations": told,
        },
        # No selector: its endpoint is written below, not found among pods.
        "spec": {
            "type": "ClusterIP",
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
        },
    }


def _endpoint(card: ModelCard, address: str, port: int) -> Object:
    name = name_of(card.id)
    kept = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": MANAGER}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-on-host", "namespace": NAMESPACE, "labels": _labels(card) | kept},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


def _way(card: ModelCard, address: str, port: int) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": f"to-{name_of(card.id)}-on-host",
            "namespace": ASKERS_NAMESPACE,
            "labels": {PART_OF: "sandbox", INSTANCE: card.id, "app.kubernetes.io/managed-by": MANAGER},
        },
        "spec": {
            "podSelector": {"matchExpressions": [{"key": COMPONENT, "operator": "In", "values": list(ASKERS)}]},
            "policyTypes": ["Egress"],
            "egress": [
                {
                    "to": [{"ipBlock": {"cidr": f"{ipaddress.IPv4Address(address)}/32"}}],
                    "ports": [{"protocol": "TCP", "port": port}],
                }
            ],
        },
    }
