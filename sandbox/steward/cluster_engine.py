"""One engine of a cluster: a Deployment, a Service, and pods that come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Event, Pod, Service

from sandbox.cluster.evidence import name_of
from sandbox.engine.manifests import SPEC
from sandbox.engine.protocol import EngineAddress
from sandbox.plan import EnginePlan
from sandbox.steward import conditions
from sandbox.steward.asking import or_none
from sandbox.steward.conditions import Hints
from sandbox.steward.pods import EnginePods
from sandbox.steward.starter import Condition

CHECK_READY_S = 5.0
"""How often it is looked whether what was applied is still there as it was."""
CHECK_COMING_S = 1.0
"""The same while it is not ready, when there may be a reason to tell."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What was applied, to be known again."""

    model_id: str
    name: str
    namespace: str
    spec: str
    """Digest of everything that was asked for."""
    generation: int
    """The API server counts it up whenever anybody changes the specification."""
    address: str
    """The Service's own, which stays while the Service does: no name to look up at every question."""


class ClusterEngine:
    """Tells how the engine is; Kubernetes starts it again when it ends."""

    def __init__(
        self,
        address: EngineAddress,
        applied: Applied,
        *,
        client: AsyncClient,
        pods: EnginePods,
        plan: EnginePlan,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._applied = applied
        self._client = client
        self._pods = pods
        self._plan = plan
        self._clock = clock
        self._checked_at = clock()  # it has just been applied
        self._condition = Condition("starting")
        self._was_ready = False
        self._fault = ""
        self._hints = Hints()
        self._last_end = ""
        self._restarts_of_pod: dict[str, int] = {}

    @property
    def address(self) -> EngineAddress:
        """Where it is reached."""
        return self._address

    @property
    def restarts(self) -> int:
        """Containers started again, and pods put in the place of others."""
        return sum(self._restarts_of_pod.values()) + max(0, len(self._restarts_of_pod) - 1)

    @property
    def last_exit(self) -> str:
        """How it ended last; empty while it has not."""
        return self._last_end

    def is_alive(self) -> bool:
        """Say whether its objects are still what was applied."""
        return not self._fault

    def memory_bytes(self) -> int | None:
        """Nothing: only the node knows."""
        return None

    async def is_ready(self) -> bool:
        """Say whether it would take a question."""
        return (await self.condition()).state == "ready"

    async def stop(self) -> None:
        """Let go of it; it stays where it is, for the next steward."""

    def last_words(self) -> str:
        """Why it has to be applied anew, or else how it ended last."""
        return self._fault or self._last_end or "none"

    async def condition(self) -> Condition:
        """Say how it is; with the API server away, how it was."""
        await self._check()
        if self._pods.trouble:
            doubt = f"the cluster's API does not answer ({self._pods.trouble}); this is how it was last"
            return Condition(self._condition.state, doubt)
        pods = self._pods.of(self._applied.model_id, SPEC, self._applied.spec)
        for pod in pods:
            self._restarts_of_pod[_uid_of(pod)] = conditions.restarts_of([pod])
        self._last_end = conditions.last_end_of(pods, self._plan) or self._last_end
        self._condition = conditions.condition_of(pods, self._plan, was_ready=self._was_ready, hints=self._hints)
        self._was_ready = self._was_ready or self._condition.state == "ready"
        return self._condition

    async def _check(self) -> None:
        """Look at the objects themselves from time to time; what cannot be asked stays as it was."""
        wait_s = CHECK_READY_S if self._condition.state == "ready" else CHECK_COMING_S
        if self._clock() - self._checked_at < wait_s:
            return
        name, namespace = self._applied.name, self._applied.namespace
        try:
            deployment = await or_none(self._client.get(Deployment, name, namespace=namespace))
            service = await or_none(self._client.get(Service, name, namespace=namespace))
            self._fault = _fault_of(self._applied, deployment, service)
            self._hints = Hints() if self._condition.state == "ready" else await self._find_hints(deployment)
        except (ApiError, httpx2.HTTPError):
            pass  # the watch meets the same trouble, and it is told from there
        self._checked_at = self._clock()

    async def _find_hints(self, deployment: Deployment | None) -> Hints:
        for condition in (deployment and deployment.status and deployment.status.conditions) or []:
            if condition.type == "ReplicaFailure" and condition.status == "True":
                return Hints(no_pod=condition.message or "")
        pods = self._pods.of(self._applied.model_id, SPEC, self._applied.spec)
        if not pods:
            return Hints()
        events = self._client.list(
            Event,
            namespace=self._applied.namespace,
            fields={"involvedObject.name": name_of(conditions.newest(pods)), "type": "Warning"},
        )
        return Hints(warning=_last_of([event async for event in events]))


def annotation_of(deployment: Deployment) -> str:
    """Read the digest of what a deployment was applied for; empty for one of somebody else."""
    annotations = (deployment.metadata and deployment.metadata.annotations) or {}
    return str(annotations.get(SPEC, ""))


def _fault_of(applied: Applied, deployment: Deployment | None, service: Service | None) -> str:
    if deployment is None or deployment.metadata is None:
        return "its Deployment is gone"
    if service is None or service.spec is None:
        return "its Service is gone"
    if annotation_of(deployment) != applied.spec or (deployment.metadata.generation or 0) != applied.generation:
        return "somebody has changed its Deployment"
    if service.spec.clusterIP != applied.address:
        return "its Service has another address"
    return ""


def _last_of(events: Sequence[Event]) -> str:
    if not events:
        return ""
    last = max(events, key=lambda event: str(event.lastTimestamp or event.eventTime or ""))
    return f"{last.reason}: {(last.message or '').strip()}"


def _uid_of(pod: Pod) -> str:
    return str(pod.metadata and pod.metadata.uid)
