"""Engines as Deployments of a cluster.

A Deployment outlives the steward, and Kubernetes starts its pod again when it ends. So nothing is started anew here
but what is missing, was asked for otherwise, or was changed by somebody; and an end of the steward ends no engine.
Whatever is applied carries a digest of all that was asked for (``manifests.SPEC``), by which it is known again.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import anyio
from lightkube import AsyncClient
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Service
from lightkube.types import PatchType

from sandbox.cluster.evidence import name_of
from sandbox.engine import manifests
from sandbox.engine.manifests import ClusterAccelerator, Object
from sandbox.engine.protocol import EngineAddress
from sandbox.errors import ClusterFailed, NotRunning
from sandbox.facts import Host, ModelCard
from sandbox.plan import EnginePlan
from sandbox.steward.asking import or_none, patiently
from sandbox.steward.cluster_engine import Applied, ClusterEngine, annotation_of
from sandbox.steward.nodes import node_host
from sandbox.steward.pods import OURS, EnginePods
from sandbox.steward.starter import RunningEngine

log = logging.getLogger(__name__)

KEY_ID_CHARS = 12


class ClusterStarter:
    """Keeps one model's Deployment and Service as they should be."""

    def __init__(
        self,
        card: ModelCard,
        *,
        client: AsyncClient,
        pods: EnginePods,
        make_plan: Callable[[ModelCard, Host], EnginePlan],
        image: str,
        read_key: Callable[[], str],
        accelerator: ClusterAccelerator = "cpu",
        namespace: str = manifests.NAMESPACE,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """Look after one model.

        Args:
            pods: kept up to date by somebody else; all starters share them.
            make_plan: decides how the model is served on the node that is there.
            image: the engine's image by digest.
            read_key: reads the engines' key, which the pods have from a Secret.
        """
        self._card = card
        self._client = client
        self._pods = pods
        self._make_plan = make_plan
        self._image = image
        self._read_key = read_key
        self._accelerator = accelerator
        self._namespace = namespace
        self._patiently = functools.partial(patiently, sleep=sleep)
        self._host: Host | None = None

    def plan(self) -> EnginePlan:
        """Decide how it is run.

        Raises:
            NotRunning: the cluster has not told yet what its nodes offer.
        """
        if self._host is None:
            raise NotRunning("the cluster has not told yet what its nodes offer", hint="sandbox status")
        return self._make_plan(self._card, self._host)

    def describe(self) -> str:
        """Say which engine it is."""
        name, _, digest = self._image.partition("@sha256:")
        computes = "" if self._accelerator == "cpu" else f" on {self._accelerator}"
        return f"llama-server{computes}, a pod of the image {name}@{digest[:12]}"

    async def adopt(self) -> RunningEngine | None:
        """Take over the Deployment that was applied for the very same plan, model, image and key."""
        objects, plan, key = await self._asked_for()
        name = objects[0]["metadata"]["name"]
        existing = await self._patiently(
            f"reading the deployment {name}",
            lambda: or_none(self._client.get(Deployment, name, namespace=self._namespace)),
        )
        if existing is None or annotation_of(existing) != manifests.spec_of(objects):
            return None
        log.info("taking over the engine of %s", self._card.id)
        return await self._apply(objects, plan, key)  # changes nothing, unless somebody else did

    async def start(self) -> RunningEngine:
        """Apply its objects; the pod verifies the model's file before the engine starts.

        Raises:
            ClusterFailed: the API server refused them, or does not answer.
            SandboxError: no node is there for it, or it does not fit.
        """
        return await self._apply(*await self._asked_for())

    async def _asked_for(self) -> tuple[list[Object], EnginePlan, str]:
        self._host = await self._patiently(
            "asking for the cluster's nodes", lambda: node_host(self._client, self._accelerator)
        )
        plan, key = self.plan(), self._read_key()
        objects = manifests.engine_objects(
            self._card,
            plan,
            image=self._image,
            accelerator=self._accelerator,
            namespace=self._namespace,
            key_id=hashlib.sha256(key.encode()).hexdigest()[:KEY_ID_CHARS],
        )
        return objects, plan, key

    async def _apply(self, objects: list[Object], plan: EnginePlan, key: str) -> ClusterEngine:
        deployment = await self._patch(Deployment, objects[0])
        service = await self._patch(Service, objects[1])
        ip = (service.spec and service.spec.clusterIP) or ""
        if not ip or deployment.metadata is None:
            raise ClusterFailed(f"the Service of {self._card.id} has no address", hint="sandbox status")
        applied = Applied(
            model_id=self._card.id,
            name=str(objects[0]["metadata"]["name"]),
            namespace=self._namespace,
            spec=manifests.spec_of(objects),
            generation=deployment.metadata.generation or 0,
            address=ip,
        )
        address = EngineAddress(
            kind="llama-server",
            url=f"http://[{ip}]:{manifests.PORT}" if ":" in ip else f"http://{ip}:{manifests.PORT}",
            model_name=self._card.id,
            key=key,
            context_tokens=plan.context_tokens,
        )
        return ClusterEngine(address, applied, client=self._client, pods=self._pods, plan=plan)

    async def _patch(self, resource: Any, written: Object) -> Any:  # Any: lightkube types each resource by itself
        name = written["metadata"]["name"]
        return await self._patiently(
            f"applying {written['kind']} {name}",
            lambda: self._client.patch(
                resource,
                name,
                written,
                namespace=self._namespace,
                patch_type=PatchType.APPLY,
                field_manager=manifests.MANAGER,
                force=True,
            ),
        )


async def retire(client: AsyncClient, served: Collection[str], *, namespace: str = manifests.NAMESPACE) -> list[str]:
    """Delete the engines of models that are no longer served, and name what went.

    Raises:
        ClusterFailed: the API server refused, or does not answer.
    """
    gone: list[str] = []
    for resource in (Deployment, Service):
        name_and_model = await patiently(
            f"listing {resource.__name__}s", functools.partial(_engines, client, resource, namespace)
        )
        for name, model_id in name_and_model:
            if model_id in served:
                continue
            await patiently(
                f"deleting {resource.__name__} {name}",
                functools.partial(_delete, client, resource, name, namespace),
            )
            gone.append(f"{resource.__name__} {name}")
    return gone


async def _engines(client: AsyncClient, resource: Any, namespace: str) -> list[tuple[str, str]]:
    found = [each async for each in client.list(resource, namespace=namespace, labels=dict(OURS))]
    return [(name_of(each), str((each.metadata.labels or {}).get(manifests.INSTANCE))) for each in found]


async def _delete(client: AsyncClient, resource: Any, name: str, namespace: str) -> None:
    await or_none(client.delete(resource, name, namespace=namespace))
