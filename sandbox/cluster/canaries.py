"""Canary pods: they try which ways through the cluster's network are open, instead of believing what is declared.

Each canary carries the labels of the one whose place it takes, so it is under the very same network
policies; Services never send anybody to it. One more, the stranger, lives where no policy is: what it
cannot reach proves nothing when the others cannot reach it either, so it is the negative control.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightkube.resources.core_v1 import Pod

from sandbox.cluster import evidence
from sandbox.cluster.api import COMPONENT, INSTANCE, PART_OF, Kube
from sandbox.errors import ClusterFailed
from sandbox.ports import Clock

STRANGERS = "sandbox-canary"
"""A namespace without any network policy."""
CANARY = "canary"
READY_S = 90.0
STAND_IN_PORT = 8503

Place = Literal["engine", "gateway", "page", "steward", "stranger"]
NAMESPACES: Mapping[Place, str] = {
    "engine": "models",
    "gateway": "sandbox",
    "page": "sandbox",
    "steward": "sandbox",
    "stranger": STRANGERS,
}


@dataclass(frozen=True, slots=True)
class Target:
    """Something that listens."""

    name: str
    """A word without spaces."""
    host: str
    port: int
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True)
class Way:
    """One way through the network, and whether it should be open."""

    place: Place
    target: Target
    is_allowed: bool

    def told(self) -> str:
        """Write it for a person."""
        return f"{self.place} → {self.target.name} ({self.target.protocol} {self.target.host}:{self.target.port})"


@dataclass(frozen=True, slots=True)
class Tried:
    """A way, and what a canary found."""

    way: Way
    is_open: bool

    @property
    def is_right(self) -> bool:
        """Whether it is as it should be."""
        return self.is_open == self.way.is_allowed


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all canaries found together."""

    tried: tuple[Tried, ...]

    @property
    def leaks(self) -> tuple[Tried, ...]:
        """Ways that should be closed and are open."""
        return tuple(each for each in self.tried if each.is_open and not each.way.is_allowed)

    @property
    def blocked(self) -> tuple[Tried, ...]:
        """Ways that should be open and are closed."""
        return tuple(each for each in self.tried if each.way.is_allowed and not each.is_open)

    @property
    def is_enforced(self) -> bool:
        """Whether every way is as it should be, and at least one was to be closed."""
        return not self.leaks and not self.blocked and any(not each.way.is_allowed for each in self.tried)

    @property
    def n_forbidden(self) -> int:
        """How many ways that should be closed were tried."""
        return sum(not each.way.is_allowed for each in self.tried)


ALLOWED: Mapping[Place, frozenset[str]] = {
    "engine": frozenset(),
    "gateway": frozenset({"steward", "engine", "dns-udp", "dns-tcp"}),
    "page": frozenset({"gateway", "node-gateway", "dns-udp", "dns-tcp"}),
    "steward": frozenset({"api", "api-node", "kubelet", "dns-udp", "dns-tcp"}),
    "stranger": frozenset({"api", "api-node", "kubelet", "etcd", "outside", "dns-udp", "dns-tcp", "dns-figures"}),
}
"""Who may reach what; everything else is forbidden. A node's port leads to the pod behind it, under its policies."""


def ways(targets: Iterable[Target], places: Sequence[Place] = ("engine", "gateway", "page", "stranger")) -> list[Way]:
    """Pair every place with every target, saying which pairs should be open; a place does not try itself."""
    return [
        Way(place, target, is_allowed=target.name in ALLOWED[place])
        for place in places
        for target in targets
        if target.name not in (place, f"node-{place}")
    ]


def pod(place: Place, targets: Sequence[Target], image: str) -> dict[str, Any]:
    """Write the pod that tries all targets from one place."""
    container = {
        "name": "engine",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/canary"],
        "args": [f"{target.name}={target.protocol}:{target.host}:{target.port}" for target in targets],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": _CLOSED,
    }
    return _pod(f"{CANARY}-{place}", place, container)


def stand_in(image: str) -> dict[str, Any]:
    """Write a pod that listens in the steward's place, so that the way to it can be tried before it runs."""
    container = {
        "name": "stand-in",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "http.server", str(STAND_IN_PORT), "--directory", "/srv"],
        "readinessProbe": {"tcpSocket": {"port": STAND_IN_PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": _CLOSED,
    }
    return _pod(f"{CANARY}-stand-in", "steward", container)


_CLOSED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _pod(name: str, place: Place, container: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACES[place],
            "labels": {**PART_OF, COMPONENT: place, INSTANCE: CANARY},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [container],
            "enableServiceLinks": False,
            "restartPolicy": "Never" if name != f"{CANARY}-stand-in" else "Always",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationGracePeriodSeconds": 1,
        },
    }


def _strangers() -> dict[str, Any]:
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STRANGERS, "labels": {**PART_OF, **level}}}


class Canaries:
    """Sends canaries into one cluster and reads what they found."""

    def __init__(self, kube: Kube, clock: Clock, *, image: str) -> None:
        """Point at a cluster.

        Args:
            image: the engine's image, which carries ``/canary`` and is on the reviewed list.
        """
        self._kube = kube
        self._clock = clock
        self._image = image

    def start_stand_in(self, image: str) -> Target:
        """Start the one who listens in the steward's place, and say where it is reached."""
        self._remove([("sandbox", f"{CANARY}-stand-in")])
        self._kube.apply([stand_in(image)])
        labels = {COMPONENT: "steward", INSTANCE: CANARY}
        evidence.wait(
            lambda: any(evidence.is_ready(each) for each in self._kube.pods("sandbox", labels)),
            clock=self._clock,
            deadline_s=READY_S,
            what="the canary in the steward's place is not ready",
            kube=self._kube,
            namespace="sandbox",
            labels=labels,
        )
        (found,) = self._kube.pods("sandbox", labels)
        return Target("steward", str(found.status and found.status.podIP), STAND_IN_PORT)

    def send(self, tries: Sequence[Way]) -> Verdict:
        """Try every way, all places at once, and come back with what was found.

        Raises:
            ClusterFailed: a canary could not be started, or did not say what it found.
        """
        self._kube.apply([_strangers()])
        places = sorted({way.place for way in tries})
        names = {place: (NAMESPACES[place], f"{CANARY}-{place}") for place in places}
        self._remove(list(names.values()))
        try:
            for place in places:
                targets = [way.target for way in tries if way.place == place]
                self._kube.apply([pod(place, targets, self._image)])
            said = {place: self._read(*names[place]) for place in places}
        finally:
            self._remove(list(names.values()))
        return Verdict(tuple(Tried(way, is_open=_found(said[way.place], way)) for way in tries))

    def clear(self) -> None:
        """Remove the stand-in."""
        self._remove([("sandbox", f"{CANARY}-stand-in")])

    def _read(self, namespace: str, name: str) -> dict[str, str]:
        """Wait for one canary's end and read its findings: target name → ``open`` or ``closed``."""
        labels = {INSTANCE: CANARY}

        def has_ended() -> bool:
            found = [each for each in self._kube.pods(namespace, labels) if evidence.name_of(each) == name]
            return bool(found) and all(each.status and each.status.phase in _ENDED for each in found)

        evidence.wait(
            has_ended,
            clock=self._clock,
            deadline_s=READY_S,
            what=f"the canary {name} in {namespace} has not ended",
            kube=self._kube,
            namespace=namespace,
            labels=labels,
        )
        lines = self._kube.log(namespace, name, lines=500)
        return dict(line.split(" ", 1) for line in lines if " " in line)

    def _remove(self, names: Sequence[tuple[str, str]]) -> None:
        """Remove pods and wait until they are gone: a name is used again."""
        for namespace, name in names:
            self._kube.delete(Pod, name, namespace=namespace, grace_s=0)
        deadline = self._clock.monotonic() + READY_S
        while any(name in map(evidence.name_of, self._kube.pods(namespace)) for namespace, name in names):
            if self._clock.monotonic() > deadline:
                raise ClusterFailed("old canaries do not go away", hint="sandbox status; kubectl get pods -A")
            self._clock.sleep(evidence.POLL_S)


_ENDED = ("Succeeded", "Failed")


def _found(said: Mapping[str, str], way: Way) -> bool:
    finding = said.get(way.target.name)
    if finding not in ("open", "closed"):
        raise ClusterFailed(
            f"the canary in the place of {way.place} did not say whether {way.target.name} is open: {dict(said)}",
            hint="try again: make up",
        )
    return finding == "open"
