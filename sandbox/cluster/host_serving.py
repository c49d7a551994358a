"""Brings a model's engine out of the cluster and onto this machine, and back: process first, then what registers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2
from docker.errors import DockerException
from lightkube import ApiError
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.networking_v1 import NetworkPolicy

from sandbox.cluster import host_engine, host_process
from sandbox.cluster.api import Kube
from sandbox.cluster.docker import Docker
from sandbox.cluster.host_engine import DESKTOP_NAME, HostAddress
from sandbox.cluster.host_process import HostEngine
from sandbox.engine.discover import EngineProgram
from sandbox.engine.manifests import NAMESPACE, Object, name_of
from sandbox.errors import ClusterFailed
from sandbox.facts import ModelCard
from sandbox.plan import EnginePlan

_RESOURCES: Mapping[str, Any] = {
    "Deployment": Deployment,
    "Service": Service,
    "EndpointSlice": EndpointSlice,
    "NetworkPolicy": NetworkPolicy,
}


class Registry(Protocol):
    """The cluster, as far as engines are registered in it."""

    def service(self, namespace: str, name: str) -> Object | None:
        """Read a Service; nothing where there is none."""
        ...

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Make objects as they are written."""
        ...

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, if it is there."""
        ...


@dataclass(frozen=True, slots=True)
class KubeRegistry:
    """A real cluster."""

    kube: Kube

    def service(self, namespace: str, name: str) -> Object | None:
        """Read a Service.

        Raises:
            ClusterFailed: the API server refused, or does not answer.
        """
        try:
            return dict(self.kube.client.get(Service, name, namespace=namespace).to_dict())
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise ClusterFailed(f"reading Service {name}: {error.status.message}", hint="sandbox status") from error
        except httpx2.HTTPError as error:
            raise ClusterFailed(f"reading Service {name}: {error}", hint="make up starts a stopped cluster") from error

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Make objects as they are written."""
        self.kube.apply(objects)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, if it is there."""
        self.kube.delete(_RESOURCES[kind], name, namespace=namespace)


def find_address(docker: Docker, *, network: str, node: str) -> HostAddress:
    """Find where an engine of this machine listens so that a kind node's pods reach it.

    Args:
        network: name of the node's Docker network.
        node: name of the node's container.

    Raises:
        AcceleratorUnavailable: there is no such address.
        ClusterFailed: the network or the node is not there.
    """
    try:
        described = docker.client.networks.get(network).attrs
        found = docker.client.containers.get(node).exec_run(["getent", "ahostsv4", DESKTOP_NAME])
    except DockerException as error:
        raise ClusterFailed(f"the network {network} of the node {node}: {error}", hint="make up") from error
    said = found.output if found.exit_code == 0 and isinstance(found.output, bytes) else b""
    words = said.decode("utf-8", "replace").split()
    return host_engine.address_for(
        described, own_addresses=host_process.own_addresses(), outside=words[0] if words else None
    )


def serve(
    engine: HostEngine,
    card: ModelCard,
    plan: EnginePlan,
    registry: Registry,
    *,
    program: EngineProgram,
    model_path: Path,
    address: HostAddress,
    key: str,
) -> int:
    """Have a model served by an engine of this machine, and return its port; nothing changes where it is so already.

    Args:
        model_path: the model's verified file.
        key: the engines' key of the cluster.

    Raises:
        StartFailed: the engine did not come to answer as it must.
        ClusterFailed: the API server refused, or does not answer.
    """
    port = engine.ensure(program, plan, model_path=model_path, address=address, key=key)
    name = name_of(card.id)
    registry.delete("Deployment", NAMESPACE, name)
    found = registry.service(NAMESPACE, name)
    if found is not None and host_engine.is_of_pods(found):
        registry.delete("Service", NAMESPACE, name)
    registry.apply(host_engine.host_engine_objects(card, address.reached_at, port, plan))
    return port


def withdraw(engine: HostEngine, card: ModelCard, registry: Registry) -> None:
    """Take an engine of this machine out of the cluster and end it; a Service of pods is left alone."""
    for kind, namespace, name in host_engine.object_names(card):
        if kind == "Service":
            found = registry.service(namespace, name)
            if found is None or host_engine.is_of_pods(found):
                continue
        registry.delete(kind, namespace, name)
    engine.stop()
