"""The Kubernetes API, as the life cycle uses it: apply, read, and wait for nothing without a deadline."""

from __future__ import annotations

import contextlib
import secrets
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from lightkube import ApiError, Client, KubeConfig, codecs
from lightkube.core.exceptions import ConfigError as KubeConfigError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import (
    ConfigMap,
    Event,
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Secret,
    Service,
)
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.types import CascadeType, PatchType

from sandbox.errors import ClusterFailed, ConfigError

Found = TypeVar("Found", ConfigMap, Secret, Service)

FIELD_MANAGER = "sandbox-up"
ANSWER_S = 30.0
"""How long the API server may take to answer one request; right after a start it is slow."""
PART_OF = {"app.kubernetes.io/part-of": "sandbox"}
COMPONENT = "app.kubernetes.io/component"
INSTANCE = "app.kubernetes.io/instance"
_OF_API_SERVER: dict[str, Any] = {"kubernetes.io/service-name": "kubernetes"}


class Kube:
    """One cluster's API, asked as the one who administers it."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @classmethod
    def from_file(cls, kubeconfig: Path, context: str | None = None) -> Kube:
        """Speak to the cluster that a kubeconfig names.

        Raises:
            ConfigError: there is no such file or context.
        """
        try:
            found = KubeConfig.from_file(kubeconfig)
            config = found.get(context)
        except (KubeConfigError, OSError, ValueError) as error:
            raise ConfigError(
                f"no context {context or '(current)'} in {kubeconfig}: {error}", hint="kubectl config get-contexts"
            ) from error
        if config is None:
            raise ConfigError(f"{kubeconfig} names no cluster", hint="kubectl config get-contexts")
        timeout = httpx2.Timeout(ANSWER_S, connect=5.0)
        return cls(Client(config=config, timeout=timeout, field_manager=FIELD_MANAGER, trust_env=False))

    def close(self) -> None:
        """Give back connections."""
        self.client.close()

    def is_up(self) -> bool:
        """Say whether the API server answers and a node is ready to take pods."""
        try:
            nodes = list(self.client.list(Node))
        except (ApiError, httpx2.HTTPError):
            return False
        return any(_is_ready(node) for node in nodes)

    def apply(self, objects: Sequence[Mapping[str, Any]], *, dry_run: bool = False) -> None:
        """Make objects as they are written, by server-side apply.

        Raises:
            ClusterFailed: the API server refused one, with what it said.
        """
        for given in objects:
            name = f"{given['kind']} {given['metadata']['name']}"
            with _translated(f"applying {name}"):
                self.client.apply(codecs.from_dict(dict(given)), force=True, dry_run=dry_run)

    def has_all(self, objects: Sequence[Mapping[str, Any]]) -> bool:
        """Say whether every object is there; what it says is not looked at."""
        for given in objects:
            meta = given["metadata"]
            kind: Any = type(codecs.from_dict(dict(given)))  # known at run time only
            with _translated(f"reading {given['kind']} {meta['name']}"):
                try:
                    self.client.get(kind, meta["name"], namespace=meta.get("namespace"))
                except ApiError as error:
                    if error.status.code != 404:
                        raise
                    return False
        return True

    def config_map(self, namespace: str, name: str) -> dict[str, str] | None:
        """Read a ConfigMap's data; nothing where there is none."""
        found = self._find(ConfigMap, name, namespace)
        return None if found is None else dict(found.data or {})

    def set_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Write a ConfigMap whole."""
        made = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, "labels": dict(PART_OF)},
            "data": dict(data),
        }
        self.apply([made])

    def secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """Read a Secret's values; nothing where there is none."""
        found = self._find(Secret, name, namespace)
        return None if found is None else {key: b64decode(value).decode() for key, value in (found.data or {}).items()}

    def keep_secret(
        self, namespaces: Sequence[str], name: str, key: str, make: Callable[[], str] = secrets.token_urlsafe
    ) -> str:
        """Make sure that a random secret is in every namespace named, the same in all, and return it."""
        held = [(self.secret(namespace, name) or {}).get(key) for namespace in namespaces]
        value = next(filter(None, held), None) or make()
        for namespace, found in zip(namespaces, held, strict=True):
            if found != value:
                with _translated(f"making Secret {namespace}/{name}"):
                    metadata = ObjectMeta(name=name, namespace=namespace, labels=dict(PART_OF))
                    self.client.apply(Secret(metadata=metadata, stringData={key: value}), force=True)
        return value

    def pods(self, namespace: str, labels: Mapping[str, str] | None = None) -> list[Pod]:
        """List pods, oldest first."""
        with _translated(f"listing pods in {namespace}"):
            found = list(self.client.list(Pod, namespace=namespace, labels=dict(labels or {})))
        return sorted(found, key=lambda pod: str((pod.metadata and pod.metadata.creationTimestamp) or ""))

    def deployments(self, namespace: str, labels: Mapping[str, str] | None = None) -> list[Deployment]:
        """List deployments."""
        with _translated(f"listing deployments in {namespace}"):
            return list(self.client.list(Deployment, namespace=namespace, labels=dict(labels or {})))

    def events(self, namespace: str) -> list[Event]:
        """List events, oldest first."""
        with _translated(f"listing events in {namespace}"):
            found = list(self.client.list(Event, namespace=namespace))
        return sorted(found, key=lambda event: str(event.lastTimestamp or event.eventTime or ""))

    def log(self, namespace: str, pod: str, container: str | None = None, *, lines: int) -> list[str]:
        """Read the end of what a container has said; empty where it has not begun."""
        try:
            return list(
                self.client.log(pod, namespace=namespace, container=container, tail_lines=lines, newlines=False)
            )
        except (ApiError, httpx2.HTTPError):
            return []

    def service_address(self, namespace: str, name: str) -> str | None:
        """Read the address that a Service has inside the cluster."""
        found = self._find(Service, name, namespace)
        return found.spec.clusterIP if found is not None and found.spec else None

    def scale(self, namespace: str, name: str, replicas: int) -> None:
        """Set how many pods a deployment has."""
        with _translated(f"scaling {namespace}/{name}"):
            change = {"spec": {"replicas": replicas}}
            self.client.patch(Deployment, name, change, namespace=namespace, patch_type=PatchType.MERGE)

    def delete(self, resource: Any, name: str, *, namespace: str | None = None, grace_s: int | None = None) -> None:
        """Delete an object, if it is there."""
        with _translated(f"deleting {resource.__name__} {name}"):
            try:
                self.client.delete(
                    resource, name, namespace=namespace, grace_period=grace_s, cascade=CascadeType.BACKGROUND
                )
            except ApiError as error:
                if error.status.code != 404:
                    raise

    def _find(self, resource: type[Found], name: str, namespace: str) -> Found | None:
        with _translated(f"reading {resource.__name__} {namespace}/{name}"):
            try:
                return self.client.get(resource, name, namespace=namespace)
            except ApiError as error:
                if error.status.code != 404:
                    raise
                return None

    def node_addresses(self) -> list[str]:
        """Read the nodes' own addresses.

        Raises:
            ClusterFailed: the API does not answer, or no node has one.
        """
        found = [
            address.address
            for node in self._nodes()
            for address in (node.status and node.status.addresses) or []
            if address.type == "InternalIP"
        ]
        if not found:
            raise ClusterFailed("no node of the cluster has an address", hint="sandbox status")
        return found

    def api_servers(self) -> list[tuple[str, int]]:
        """Read where the API server really listens, behind the Service ``kubernetes``."""
        with _translated("reading the endpoints of the API server"):
            found = self.client.list(EndpointSlice, namespace="default", labels=_OF_API_SERVER)
            slices = list(found)
        return [
            (address, port.port)
            for each in slices
            for endpoint in each.endpoints or []
            for address in endpoint.addresses or []
            for port in each.ports or []
            if port.port is not None
        ]

    def _nodes(self) -> list[Node]:
        with _translated("listing nodes"):
            return list(self.client.list(Node))

    def volumes(self) -> list[dict[str, Any]]:
        """List persistent volumes as they are written."""
        with _translated("listing volumes"):
            return [each.to_dict() for each in self.client.list(PersistentVolume)]

    def are_bound(self, namespace: str) -> bool:
        """Say whether every claim of a namespace has its volume."""
        with _translated(f"listing claims in {namespace}"):
            found = list(self.client.list(PersistentVolumeClaim, namespace=namespace))
        return all(each.status and each.status.phase == "Bound" for each in found)

    def namespaces_ending(self) -> set[str]:
        """Name the namespaces that are on their way out."""
        with _translated("listing namespaces"):
            found = list(self.client.list(Namespace))
        return {
            str(each.metadata.name)
            for each in found
            if each.metadata and each.status and each.status.phase == "Terminating"
        }


def _is_ready(node: Node) -> bool:
    conditions = (node.status and node.status.conditions) or []
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn the API's errors into ours."""
    try:
        yield
    except ApiError as error:
        raise ClusterFailed(f"{what} was refused: {error.status.message}", hint="sandbox status") from error
    except httpx2.HTTPError as error:
        raise ClusterFailed(
            f"{what}: the cluster's API does not answer: {str(error) or type(error).__name__}",
            hint="make up starts a stopped cluster; sandbox status says how it is",
        ) from error
