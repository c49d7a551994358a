"""The steps that every cluster shares: its node, what is deployed, and the engines' room."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

from lightkube.resources.core_v1 import PersistentVolume

from sandbox.cluster import evidence, platform
from sandbox.cluster.api import COMPONENT, INSTANCE, Kube
from sandbox.errors import ClusterFailed, NotRunning
from sandbox.home import write_private
from sandbox.lifecycle.site import Site
from sandbox.ports import Told

COMPONENTS = ("steward", "gateway", "page")
APPLIED = "applied"
"""ConfigMap that says what was applied last, so that an `up` without a change applies nothing."""
MAIN = "main"


@dataclass(frozen=True, slots=True)
class HaveNode:
    """The cluster's API answers, and its node takes pods."""

    site: Site
    title: str = "Wait for the node"

    def is_done(self) -> bool:
        """It does."""
        try:
            return self.site.kube.is_up()
        except NotRunning:
            return False

    def do(self, told: Told) -> None:
        """Wait.

        Raises:
            ClusterFailed: not in time; with what the node's own pods say.
        """
        world = self.site.world
        evidence.wait(
            self.site.kube.is_up,
            clock=world.clock,
            deadline_s=world.settings.cluster.ready_timeout_s,
            what="the cluster's node is not ready",
            kube=self.site.kube,
            namespace="kube-system",
        )


@dataclass(frozen=True, slots=True)
class HavePlatform:
    """Namespaces, policies, gateway, steward and page are deployed as this checkout has them."""

    site: Site
    title: str = "Deploy gateway, steward and page"

    def is_done(self) -> bool:
        """What is there was applied from the very same objects, and all of it still is."""
        site = self.site
        if not site.digests:
            return False
        try:
            applied = site.kube.config_map("sandbox", APPLIED)
            if applied is None or applied.get("digest") != self._digest():
                return False
            return site.kube.has_all(self._objects()) and site.world.home.operator_key.exists()
        except (NotRunning, ClusterFailed):
            return False

    def do(self, told: Told) -> None:
        """Apply everything: namespaces and secrets first, what runs last."""
        site, kube = self.site, self.site.kube
        objects = self._objects()
        namespaces = [each for each in objects if each["kind"] == "Namespace"]
        running = [each for each in objects if each["kind"] == "Deployment"]
        self._wait_for_ending({each["metadata"]["name"] for each in namespaces})
        for name in platform.volumes_to_forget(kube.volumes()):
            kube.delete(PersistentVolume, name)
        kube.apply(namespaces)
        kube.keep_secret(("models", "sandbox"), "engine-key", "key")
        kube.keep_secret(("sandbox",), "steward-token", "token")
        operator_key = kube.keep_secret(("sandbox",), "operator-key", "key", new_operator_key)
        kube.apply([each for each in objects if each not in namespaces and each not in running])
        site.tell_kubelet_authorities()
        for namespace in ("sandbox", "models"):
            self._wait_for_volumes(namespace)
        kube.apply(running)
        told.note(f"{len(objects)} objects")
        write_private(site.world.home.operator_key, operator_key)
        kube.set_config_map("sandbox", APPLIED, {"digest": self._digest()})

    def _wait_for_volumes(self, namespace: str) -> None:
        """Let claims get their volumes before a pod asks for them: the scheduler looks again only after a while."""
        kube, world = self.site.kube, self.site.world
        evidence.wait(
            lambda: kube.are_bound(namespace),
            clock=world.clock,
            deadline_s=world.settings.cluster.ready_timeout_s,
            what=f"the volumes of {namespace} are not bound",
            kube=kube,
            namespace=namespace,
        )

    def _wait_for_ending(self, names: set[str]) -> None:
        """Let namespaces that were deleted by hand go first; nothing can be put into one that is going."""
        kube, world = self.site.kube, self.site.world
        evidence.wait(
            lambda: not names & kube.namespaces_ending(),
            clock=world.clock,
            deadline_s=world.settings.cluster.ready_timeout_s,
            what=f"namespaces deleted by hand are not gone ({', '.join(sorted(names & kube.namespaces_ending()))})",
            kube=kube,
            namespace="sandbox",
        )

    def _objects(self) -> list[dict[str, Any]]:
        return [_waiting(each) for each in platform.objects(self.site.filling())]

    def _digest(self) -> str:
        return hashlib.sha256(json.dumps(self._objects(), sort_keys=True).encode()).hexdigest()


def new_operator_key() -> str:
    """Make a key of the form that the gateway knows keys by."""
    return f"sb_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def _waiting(given: dict[str, Any]) -> dict[str, Any]:
    """Keep the steward from running: it starts engines, and none may run before isolation is proved."""
    if given["kind"] == "Deployment" and given["metadata"]["name"] == "steward":
        return given | {"spec": given["spec"] | {"replicas": 0}}
    return given


@dataclass(frozen=True, slots=True)
class HaveReady:
    """One part of the platform runs and answers."""

    site: Site
    component: str

    @property
    def title(self) -> str:
        """What it brings about."""
        return f"Wait for the {self.component}"

    def is_done(self) -> bool:
        """It is ready, with today's specification."""
        try:
            return is_ready(self.site.kube, self.component)
        except (NotRunning, ClusterFailed):
            return False

    def do(self, told: Told) -> None:
        """Wait.

        Raises:
            ClusterFailed: not in time, with container states, events and the end of its log.
        """
        wait_until_ready(self.site, self.component)


def wait_until_ready(site: Site, component: str) -> None:
    """Wait for a deployment of the platform, and fail with evidence."""
    evidence.wait(
        lambda: is_ready(site.kube, component),
        clock=site.world.clock,
        deadline_s=site.world.settings.cluster.ready_timeout_s,
        what=f"the {component} is not ready",
        kube=site.kube,
        namespace="sandbox",
        labels={COMPONENT: component, INSTANCE: MAIN},
    )


def is_ready(kube: Kube, component: str) -> bool:
    """Say whether a deployment has its pods, all of today's specification, all ready."""
    for deployment in kube.deployments("sandbox", {COMPONENT: component}):
        status, meta = deployment.status, deployment.metadata
        wanted = getattr(deployment.spec, "replicas", None) or 0
        return bool(
            status
            and meta
            and wanted > 0
            and (status.observedGeneration or 0) >= (meta.generation or 0)
            and (status.updatedReplicas or 0) == wanted
            and (status.readyReplicas or 0) == wanted
            and (status.replicas or 0) == wanted
        )
    return False


@dataclass(frozen=True, slots=True)
class HaveEngineRoom:
    """The steward runs, and what it may start is on the reviewed list; not before isolation is proved."""

    site: Site
    title: str = "Admit the reviewed models"

    def is_done(self) -> bool:
        """The lists are today's and the steward is ready."""
        try:
            if not self.site.digests:
                return False
            listed = self.site.kube.config_map("models", "reviewed")
            return listed == self._lists() and is_ready(self.site.kube, "steward")
        except (NotRunning, ClusterFailed):
            return False

    def do(self, told: Told) -> None:
        """List the models and images, and start the steward."""
        kube = self.site.kube
        kube.set_config_map("models", "reviewed", self._lists())
        kube.scale("sandbox", "steward", 1)
        wait_until_ready(self.site, "steward")

    def _lists(self) -> dict[str, str]:
        return lists(self.site)


def lists(site: Site, *, with_models: bool = True) -> dict[str, str]:
    """Write the admission policy's lists: images by digest, models by digest."""
    models = [card.sha256 for card in site.world.cards] if with_models else []
    return {"images": site.digests["engine"], "models": "\n".join(models)}


def states(site: Site) -> dict[str, bool]:
    """Say which parts of the platform run."""
    try:
        return {name: is_ready(site.kube, name) for name in COMPONENTS}
    except (NotRunning, ClusterFailed):
        return dict.fromkeys(COMPONENTS, False)


def log(site: Site, name: str, n_lines: int) -> list[str]:
    """Read the end of the log of a part of the platform, or of a model's engine.

    Raises:
        NotRunning: there is no such pod; the message names those that are.
    """
    known = {}
    for namespace in ("sandbox", "models", "kube-system"):
        for pod in site.kube.pods(namespace):
            labels = (pod.metadata and pod.metadata.labels) or {}
            component, instance = labels.get(COMPONENT, ""), labels.get(INSTANCE, "")
            known[instance if component == "engine" else component or evidence.name_of(pod)] = pod
    if name not in known:
        there = ", ".join(sorted(filter(None, known))) or "none yet"
        raise NotRunning(f"there is no pod of {name!r}; there are: {there}", hint="sandbox logs gateway")
    pod = known[name]
    lines: list[str] = []
    for status in evidence.statuses(pod):
        lines += site.kube.log(evidence.namespace_of(pod), evidence.name_of(pod), status.name, lines=n_lines)
    return lines[-n_lines:] or [f"{line}" for line in evidence.about(pod)]
