"""The platform as one cluster gets it: ``clusters/platform`` with what only the running machine knows; pure.

The files are complete and can be applied by hand. What is filled in here is what they cannot know: which image by
which digest, the settings, addresses, and whether ports and volumes are those of a kind node or of any cluster.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.cluster import recipes
from sandbox.units import GIB, MIB

Object = dict[str, Any]

REPOSITORY = "sandbox/"
"""What the files write before the name of one of our images."""
SETTINGS_SHA256 = "sandbox/settings-sha256"
"""Annotation of pods that read the settings when they start: other settings, other pods."""
POD_USER = 65532
ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
KUBELET_PORT = 10250


@dataclass(frozen=True, slots=True)
class ApiServer:
    """One address behind the Service ``kubernetes``."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Filling:
    """What only the running machine knows."""

    images: Mapping[str, str]
    """``gateway``, ``page`` and ``engine`` → how pods name the image, by digest."""
    api_servers: Sequence[ApiServer]
    node_addresses: Sequence[str]
    pod_cidrs: Sequence[str]
    """Addresses of pods, from which nobody reaches the page or the gateway as if from outside."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """``SANDBOX_*`` variables of gateway and steward; those in the files stay where they are not named here."""
    reviewed_images: Sequence[str] = ()
    """Images that may run in ``models``, by digest; none unless named."""
    reviewed_models: Sequence[str] = ()
    """SHA-256 of the models that may be run there; none unless named."""
    gateway_user: int = POD_USER
    """User id that the gateway runs as: the owner of the state folder, where it is one of the host."""
    has_node_ports: bool = True
    """Whether page and gateway are published on ports of the node; else inside the cluster only."""
    has_host_folders: bool = True
    """Whether models and state are folders of the node; else claims on the cluster's default storage."""
    models_bytes: int = 32 * GIB
    """Size of the claim for models, where it is one on the cluster's default storage."""
    engines_memory_bytes: int | None = None
    """What the limits of all engines may add up to; unset leaves the figure in the files, for a laptop."""


def objects(filling: Filling) -> list[Object]:
    """Write every object of the platform, in the order in which they are applied.

    Raises:
        ValueError: an image has no digest, or an address is none.
    """
    found = copy.deepcopy(_written())
    if not filling.has_host_folders:
        found = [each for each in found if each["kind"] != "PersistentVolume"]
    digest = settings_sha256({**_settings(found), **filling.settings})
    for each in found:
        fill = _FILLED.get(each["kind"])
        if fill is not None:
            fill(each, filling)
        if each["kind"] == "Deployment" and _reads_settings(each):
            annotations = each["spec"]["template"]["metadata"].setdefault("annotations", {})
            annotations[SETTINGS_SHA256] = digest
    return found


def settings_sha256(settings: Mapping[str, str]) -> str:
    """Name a set of settings."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()


def volumes_to_forget(volumes: Iterable[Object]) -> list[str]:
    """Name the volumes that have to be deleted before the platform is applied, given those that are there.

    A volume remembers the very claim that it was bound to, and takes no other, not even one of the same name: it
    stays ``Released`` after its namespace was deleted by hand. Deleting it leaves the folder as it is.
    """
    ours = {each["metadata"]["name"] for each in _written() if each["kind"] == "PersistentVolume"}
    return [
        each["metadata"]["name"]
        for each in volumes
        if each["metadata"]["name"] in ours and (each.get("status") or {}).get("phase") in {"Released", "Failed"}
    ]


@functools.cache
def _written() -> list[Object]:
    """Read the files once: a third of a second, and `up` asks again and again."""
    return recipes.objects("platform")


def _settings(found: Iterable[Object]) -> dict[str, str]:
    return next(dict(each["data"]) for each in found if _is(each, "ConfigMap", "settings"))


def _is(given: Object, kind: str, name: str) -> bool:
    return bool(given["kind"] == kind and given["metadata"]["name"] == name)


def _reads_settings(deployment: Object) -> bool:
    """Say whether a pod takes variables from the ConfigMap ``settings``."""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        sources = container.get("envFrom", []) + [each.get("valueFrom", {}) for each in container.get("env", [])]
        references = [each.get("configMapRef") or each.get("configMapKeyRef") or {} for each in sources]
        if any(reference.get("name") == "settings" for reference in references):
            return True
    return False


def _fill_config_map(given: Object, filling: Filling) -> None:
    if given["metadata"]["name"] == "settings":
        given["data"] |= filling.settings
    if given["metadata"]["name"] == "reviewed":
        given["data"] = {
            "images": "\n".join(filling.reviewed_images),
            "models": "\n".join(filling.reviewed_models),
        }


def _fill_deployment(given: Object, filling: Filling) -> None:
    pod = given["spec"]["template"]["spec"]
    for container in pod["containers"]:
        if not container["image"].startswith(REPOSITORY):
            continue
        container["image"] = _by_digest(container["image"], filling)
        if "args" in container:
            told = container["args"]
            container["args"] = [_by_digest(each, filling) if each.startswith(REPOSITORY) else each for each in told]
    if given["metadata"]["name"] == "gateway":
        pod["securityContext"]["runAsUser"] = filling.gateway_user
        if not filling.has_host_folders:
            pod["securityContext"]["fsGroup"] = POD_USER  # new storage belongs to root


def _by_digest(written: str, filling: Filling) -> str:
    """Name an image of ours as pods do."""
    image = filling.images.get(written.removeprefix(REPOSITORY), "")
    if "@sha256:" not in image:
        raise ValueError(f"the image {written} has no digest: {image!r}")
    return image


def _fill_service(given: Object, filling: Filling) -> None:
    spec = given["spec"]
    if filling.has_node_ports or spec["type"] != "NodePort":
        return
    spec["type"] = "ClusterIP"
    spec.pop("externalTrafficPolicy", None)
    for port in spec["ports"]:
        port.pop("nodePort", None)


def _fill_network_policy(given: Object, filling: Filling) -> None:
    if given["metadata"]["name"] == "steward-to-kubernetes":
        servers = sorted({(each.address, each.port) for each in filling.api_servers})
        if not servers:
            raise ValueError("the addresses of the API servers are not known: the steward could not work")
        ports = sorted({port for _, port in servers})
        given["spec"]["egress"] = [
            *(_way_to([address for address, at in servers if at == port], port) for port in ports),
            _way_to(sorted(set(filling.node_addresses)), KUBELET_PORT),
        ]
    for rule in given["spec"].get("ingress", []):
        rule["from"] = [peer for each in rule["from"] for peer in _from_outside(each, filling)]


def _way_to(addresses: Sequence[str], port: int) -> Object:
    """Write an egress rule; one with no address would be a rule for every address."""
    if not addresses:
        raise ValueError(f"no address for port {port}: the rule would open it everywhere")
    blocks = [{"ipBlock": {"cidr": str(ipaddress.ip_network(address))}} for address in addresses]
    return {"to": blocks, "ports": [{"protocol": "TCP", "port": port}]}


def _from_outside(peer: Object, filling: Filling) -> list[Object]:
    """Write who is outside: every address that is no pod's, once for each IP version that pods have."""
    if peer.get("ipBlock", {}).get("cidr") != ANYWHERE[4]:
        return [peer]
    pods = [ipaddress.ip_network(each) for each in filling.pod_cidrs]
    if not pods:
        raise ValueError("the addresses of pods are not known: every pod would count as outside")
    versions = sorted({each.version for each in pods})
    return [
        {"ipBlock": {"cidr": ANYWHERE[version], "except": [str(each) for each in pods if each.version == version]}}
        for version in versions
    ]


def _fill_claim(given: Object, filling: Filling) -> None:
    if filling.has_host_folders:
        return
    spec = given["spec"]
    spec.pop("storageClassName")  # the cluster's default
    spec.pop("volumeName")
    spec["accessModes"] = ["ReadWriteOnce"]  # what every kind of storage has; pods still mount the models read-only
    if given["metadata"]["name"] == "models":
        spec["resources"]["requests"]["storage"] = str(filling.models_bytes)


def _fill_quota(given: Object, filling: Filling) -> None:
    if given["metadata"]["name"] == "models" and filling.engines_memory_bytes is not None:
        given["spec"]["hard"]["limits.memory"] = f"{filling.engines_memory_bytes // MIB}Mi"


_FILLED: Mapping[str, Callable[[Object, Filling], None]] = {
    "ConfigMap": _fill_config_map,
    "Deployment": _fill_deployment,
    "NetworkPolicy": _fill_network_policy,
    "PersistentVolumeClaim": _fill_claim,
    "ResourceQuota": _fill_quota,
    "Service": _fill_service,
}
