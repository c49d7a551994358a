"""Sees the sandbox's pods in a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.resources.core_v1 import Event, Pod

from sandbox.errors import ClusterFailed
from sandbox.steward.observe import Kept, Rates, Sight
from sandbox.steward.observe_kubelet import PodName, Usage
from sandbox.steward.observe_pods import happening_of, is_ours, unit_of
from sandbox.wire.observed import UNPROVED, Happening, Unit

NAMESPACES = ("sandbox", "models", "intake")
KUBELET_CA = Path("/kubelet-ca/ca.crt")
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
REMEMBERED = 50
"""Happenings that are told."""
FORBIDDEN = 403
PROOF = Path("/isolation/how")
"""What was found when isolation was tried, from the ConfigMap that `up` writes before it lets the steward start."""
CANARIES = "canary-"
"""What the pods are called that try it; nobody needs to know how each of them came and went."""


class Nodes(Protocol):
    """Tells what pods use; `sandbox.steward.observe_kubelet.Kubelets` does."""

    async def usages(self, node: str, address: str) -> dict[PodName, Usage]:
        """Say what each pod of a node uses.

        Raises:
            ClusterFailed: it cannot be known, and why.
        """
        ...


class ClusterObserver:
    """Looks at pods and events through the API server, and at what they use through kubelets."""

    def __init__(
        self,
        client: AsyncClient,
        nodes: Nodes,
        keepers: Sequence[Kept],
        *,
        namespaces: Sequence[str] = NAMESPACES,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Look at one cluster.

        Args:
            client: speaks to the API server as the steward's ServiceAccount.
            nodes: the kubelets.
            keepers: those who look after engines; they know each engine's threads.
            namespaces: where the sandbox's pods are; one that may not be read is left out, and said.
            now: the time, seconds since the epoch.
        """
        self._client = client
        self._nodes = nodes
        self._keepers = keepers
        self._namespaces = namespaces
        self._now = now
        self._rates = Rates()

    async def look(self) -> Sight:
        """See how each pod is.

        Raises:
            ClusterFailed: the API server does not answer.
        """
        problems: list[str] = []
        pods: list[Pod] = []
        happenings: list[Happening] = []
        for namespace in self._namespaces:
            try:
                found = [pod async for pod in self._client.list(Pod, namespace=namespace)]
                events = [event async for event in self._client.list(Event, namespace=namespace)]
            except ApiError as error:
                if error.status.code != FORBIDDEN:
                    raise _unanswered(str(error.status.message)) from error
                problems.append(f"pods in {namespace} are not seen: {error.status.message}")
                continue
            except httpx2.HTTPError as error:
                raise _unanswered(str(error) or type(error).__name__) from error
            pods += [pod for pod in found if is_ours(pod)]
            told = [happening for event in events if (happening := happening_of(event))]
            happenings += [each for each in told if each.is_warning or not each.about.startswith(CANARIES)]
        used = await self._used(pods, problems)
        units = [self._with_figures(unit_of(pod), used) for pod in pods]
        self._rates.forget_all_but({_run_of(unit) for unit in units})
        newest = sorted(happenings, key=lambda each: each.at, reverse=True)[:REMEMBERED]
        return Sight(tuple(units), tuple(newest), tuple(problems))

    async def _used(self, pods: Sequence[Pod], problems: list[str]) -> dict[PodName, Usage]:
        """Ask the kubelet of every node that has a pod of ours; say once of each what it would not tell."""
        nodes = {
            pod.spec.nodeName: pod.status.hostIP
            for pod in pods
            if pod.spec and pod.spec.nodeName and pod.status and pod.status.hostIP
        }
        used: dict[PodName, Usage] = {}
        for name, address in sorted(nodes.items()):
            try:
                used |= await self._nodes.usages(name, address)
            except ClusterFailed as error:
                problems.append(error.message)
        return used

    def _with_figures(self, unit: Unit, used: dict[PodName, Usage]) -> Unit:
        usage = used.get((unit.namespace, unit.name), Usage())
        cores = None
        if usage.cpu_s is not None:
            cores = self._rates.cores(_run_of(unit), usage.cpu_s, usage.counted_at or self._now())
        figures = {"memory_bytes": usage.memory_bytes, "cpu_cores": cores, "cpu_planned": self._threads(unit)}
        return unit.model_copy(update=figures)

    def _threads(self, unit: Unit) -> float | None:
        rows = [keeper.entry().row for keeper in self._keepers] if unit.model else []
        return next((float(row.threads) for row in rows if row.id == unit.model and row.threads), None)


def isolation_on_record(proof: Path = PROOF) -> str:
    """Say who enforces network policies, by what is on record; without a record it is not proved."""
    try:
        how = proof.read_text(encoding="utf-8").strip()
    except OSError:
        how = ""
    return how or f"{UNPROVED}: nothing on record says that it was tried"


def _run_of(unit: Unit) -> str:
    return f"{unit.namespace}/{unit.name}@{unit.started_at}"


def _unanswered(why: str) -> ClusterFailed:
    return ClusterFailed(f"the cluster's API does not say how the pods are: {why}", hint="sandbox status")
