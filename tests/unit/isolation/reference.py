"""What Kubernetes says of one connection, worked out from the objects as written, one question at a time.

Written apart from ``sandbox.isolation`` and in another way: nothing is compiled, nothing is shared with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Written = Mapping[str, Any]
POD_RANGE = ipaddress.ip_network("10.244.0.0/16")


@dataclass(frozen=True)
class World:
    """A cluster's objects."""

    pods: Sequence[Written]
    namespaces: Sequence[Written]
    policies: Sequence[Written]


@dataclass(frozen=True)
class Connection:
    """Somebody opens a connection; addresses are pods', the node's or outsiders'."""

    source: str
    destination: str
    protocol: str
    port: int
    to_node: bool = False
    """The destination is the node itself: nobody's ingress."""


def allows(world: World, connection: Connection) -> bool:
    """Whether the connection should come to be."""
    source = pod_at(world, connection.source)
    destination = None if connection.to_node else pod_at(world, connection.destination)
    if source is None and ipaddress.ip_address(connection.source) in POD_RANGE:
        return False
    if destination is None and not connection.to_node and ipaddress.ip_address(connection.destination) in POD_RANGE:
        return False
    if source is not None and source is destination:
        return True
    return _side(world, "Egress", source, connection) and _side(world, "Ingress", destination, connection)


def pod_at(world: World, address: str) -> Written | None:
    """The pod that has this address, if policies mean it."""
    found = [
        pod
        for pod in world.pods
        if any(each["ip"] == address for each in pod["status"].get("podIPs", []))
        and not pod["spec"].get("hostNetwork", False)
        and pod["status"]["phase"] not in ("Succeeded", "Failed")
    ]
    return found[0] if len(found) == 1 else None


def _side(world: World, kind: str, pod: Written | None, connection: Connection) -> bool:
    if pod is None:
        return True
    isolating = [
        policy
        for policy in world.policies
        if policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and kind in _types(policy["spec"])
        and matches(policy["spec"].get("podSelector") or {}, pod["metadata"].get("labels", {}))
    ]
    if not isolating:
        return True
    other = connection.source if kind == "Ingress" else connection.destination
    for policy in isolating:
        for rule in policy["spec"].get(kind.lower()) or []:
            peers = rule.get("from" if kind == "Ingress" else "to")
            peer_fits = not peers or any(_is_peer(world, each, policy, other) for each in peers)
            ports = rule.get("ports")
            port_fits = not ports or any(_is_port(world, each, connection) for each in ports)
            if peer_fits and port_fits:
                return True
    return False


def _types(spec: Written) -> list[str]:
    if spec.get("policyTypes"):
        return list(spec["policyTypes"])
    return ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def matches(selector: Written, labels: Mapping[str, str]) -> bool:
    """Whether a label selector, as written, selects these labels."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if key not in labels or labels[key] != value:
            return False
    for claim in selector.get("matchExpressions") or []:
        has = claim["key"] in labels
        listed = has and labels[claim["key"]] in claim.get("values", [])
        verdicts: dict[str, bool] = {"In": listed, "NotIn": not listed, "Exists": has, "DoesNotExist": not has}
        if not verdicts[claim["operator"]]:
            return False
    return True


def _is_peer(world: World, peer: Written, policy: Written, address: str) -> bool:
    if "ipBlock" in peer:
        ip = ipaddress.ip_address(address)
        return ip in ipaddress.ip_network(peer["ipBlock"]["cidr"]) and not any(
            ip in ipaddress.ip_network(hole) for hole in peer["ipBlock"].get("except", [])
        )
    pod = pod_at(world, address)
    if pod is None:
        return False
    namespace = pod["metadata"]["namespace"]
    if "namespaceSelector" in peer:
        labels = [
            each["metadata"].get("labels", {}) for each in world.namespaces if each["metadata"]["name"] == namespace
        ]
        if not labels or not matches(peer["namespaceSelector"], labels[0]):
            return False
    elif namespace != policy["metadata"]["namespace"]:
        return False
    return "podSelector" not in peer or matches(peer["podSelector"], pod["metadata"].get("labels", {}))


def _is_port(world: World, port: Written, connection: Connection) -> bool:
    if port.get("protocol", "TCP") != connection.protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return connection.port in range(wanted, port.get("endPort", wanted) + 1)
    destination = None if connection.to_node else pod_at(world, connection.destination)
    if destination is None:
        return False
    return any(
        own.get("name") == wanted
        and own.get("protocol", "TCP") == connection.protocol
        and own["containerPort"] == connection.port
        for container in destination["spec"]["containers"]
        for own in container.get("ports", [])
    )
