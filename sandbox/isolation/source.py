"""Asks the API server for pods, namespaces and policies, as plain data."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import anyio
import httpx2
import msgspec
from lightkube.core.async_client import AsyncClient
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource, create_api_info

from sandbox.errors import ClusterError

CHUNK = 200
ASK_TIMEOUT_S = 5.0
HINT = "kubectl -n kube-system logs daemonset/sandbox-agent"

Written = Mapping[str, Any]
"""An object as the API server writes it: whatever it says, known here or not."""


class Pods(GenericNamespacedResource):
    """Pods of all namespaces."""

    _api_info = create_api_info("", "v1", "Pod", "pods")


class Namespaces(GenericGlobalResource):
    """All namespaces."""

    _api_info = create_api_info("", "v1", "Namespace", "namespaces", verbs=["list", "watch"])


class NetworkPolicies(GenericNamespacedResource):
    """Policies of all namespaces; as plain data, so that fields that are not known are seen."""

    _api_info = create_api_info("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")


class DaemonSets(GenericNamespacedResource):
    """Where the agent itself is written down."""

    _api_info = create_api_info("apps", "v1", "DaemonSet", "daemonsets")


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one moment."""

    objects: tuple[Written, ...]
    version: str


@dataclass(frozen=True, slots=True)
class Change:
    """One object that was added, changed or deleted."""

    object: Written
    deleted: bool


class Source(Protocol):
    """The objects of one kind, now and as they change; raises ``ClusterError`` where it cannot tell."""

    kind: str

    async def list(self) -> Listing:
        """All objects there are."""
        ...

    def watch(self, version: str) -> AsyncGenerator[Change, None]:
        """What has changed since a listing, and goes on changing."""
        ...


class ApiSource:
    """One kind of objects of the API server, in all namespaces."""

    def __init__(self, client: AsyncClient, resource: type[GenericNamespacedResource | GenericGlobalResource]) -> None:
        self._client, self._resource = client, resource
        self._scope = {"namespace": "*"} if issubclass(resource, GenericNamespacedResource) else {}
        self.kind = resource._api_info.plural

    async def list(self) -> Listing:
        """All objects there are, fetched in chunks."""
        with _told(f"{self.kind} cannot be listed"):
            found = self._client.list(self._resource, chunk_size=CHUNK, **self._scope)  # type: ignore[call-overload]  # by kind
            objects = tuple([cast(Written, each) async for each in found])
            return Listing(objects, found.resourceVersion)

    async def watch(self, version: str) -> AsyncGenerator[Change, None]:
        """What has changed since a listing; lightkube asks anew when the server ends a watch in peace."""
        with _told(f"{self.kind} cannot be watched"):
            changes = self._client.watch(self._resource, resource_version=version, **self._scope)  # type: ignore[call-overload]  # by kind
            async with aclosing(changes):
                async for operation, each in changes:
                    yield Change(each, deleted=operation == "DELETED")


async def is_deleted(client: AsyncClient, namespace: str, name: str) -> bool:
    """Whether a DaemonSet is gone or going; where the API server does not tell, it is taken to stay."""
    try:
        with anyio.fail_after(ASK_TIMEOUT_S), _told(f"DaemonSet {namespace}/{name} cannot be read"):
            found = await client.get(DaemonSets, name, namespace=namespace)
    except TimeoutError:
        return False
    except ClusterError as error:
        cause = error.__cause__
        return isinstance(cause, ApiError) and cause.status.code == 404
    return bool(found["metadata"].get("deletionTimestamp"))


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, msgspec.DecodeError, ConfigError) as error:
        raise ClusterError(f"{what}: {str(error) or type(error).__name__}", hint=HINT) from error
