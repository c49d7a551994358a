"""Makes small clusters: a fixed set of addresses, everything else at random."""

from __future__ import annotations

from random import Random
from typing import Any

from sandbox.isolation.model import Node
from sandbox.isolation.nft import render
from sandbox.isolation.read_objects import read_namespace, read_pod
from sandbox.isolation.read_policy import read_policy
from sandbox.isolation.rules import Ruleset, compile_rules
from tests.unit.isolation.reference import POD_RANGE, World, Written

NODE = Node("node-1", (POD_RANGE,))
NODE_ADDRESS = "172.18.0.2"
OUTSIDERS = ("192.0.2.10", "198.51.100.20")
PORTS = (80, 81, 8080)
PROTOCOLS = ("TCP", "UDP", "SCTP")
NAMES = ("x", "y", "z")
ADDRESSES = tuple(f"10.244.0.{number}" for number in range(11, 19))
"""Of the pods that a world may have; those that it has not are addresses of nobody."""
BLOCKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("0.0.0.0/0", ()),
    ("0.0.0.0/0", ("10.244.0.0/16",)),
    ("0.0.0.0/0", ("192.0.2.0/24", "10.244.0.12/32")),
    ("10.244.0.0/16", ("10.244.0.8/29",)),
    ("10.244.0.16/28", ()),
    ("192.0.2.0/24", ("192.0.2.10/32",)),
    ("192.0.2.10/32", ()),
    ("198.51.100.0/24", ("198.51.100.0/25",)),
    ("172.18.0.2/32", ()),
)


def ruleset_of(world: World, node: Node = NODE) -> Ruleset:
    """What the agent's pure part makes of a world."""
    pods = [pod for written in world.pods if (pod := read_pod(written)) is not None]
    return compile_rules(pods, map(read_namespace, world.namespaces), map(read_policy, world.policies), node)


def rendered(world: World, node: Node = NODE) -> str:
    """The nft text for a world."""
    return render(ruleset_of(world, node))


def pod(
    namespace: str, name: str, address: str | None, labels: dict[str, str], *ports: Written, **status: object
) -> dict[str, Any]:
    """A pod as the API server writes it."""
    addresses = {"podIP": address, "podIPs": [{"ip": address}]} if address else {}
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "ports": list(ports)}]},
        "status": {"phase": "Running", **addresses, **status},
    }


def namespace(name: str, **labels: str) -> dict[str, Any]:
    """A namespace as the API server writes it."""
    return {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, **labels}}}


def policy(namespace: str, name: str, spec: Written) -> dict[str, Any]:
    """A NetworkPolicy as the API server writes it."""
    return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}


def random_world(random: Random, *, policies: int = 4) -> World:
    """A cluster of up to eight pods in three namespaces."""
    namespaces = [namespace(name, ns=name, team=random.choice("ab")) for name in NAMES]
    pods = [_random_pod(random, number, address) for number, address in enumerate(ADDRESSES)]
    count = random.randint(0, policies)
    return World(pods, namespaces, [random_policy(random, f"policy-{number}") for number in range(count)])


def random_policy(random: Random, name: str) -> dict[str, Any]:
    """A policy of any of the namespaces; often one that matters to somebody."""
    spec: dict[str, Any] = {"podSelector": _selector(random)}
    if random.random() < 0.8:
        spec["policyTypes"] = random.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"]])
    for direction, side in (("ingress", "from"), ("egress", "to")):
        if random.random() < 0.6:
            spec[direction] = [random_rule(random, side) for _ in range(random.randint(0, 2))]
    return policy(random.choice(NAMES), name, spec)


def random_rule(random: Random, side: str) -> dict[str, Any]:
    """One rule for ingress (``from``) or egress (``to``)."""
    rule: dict[str, Any] = {}
    if random.random() < 0.8:
        rule[side] = [_peer(random) for _ in range(random.randint(0, 2))]
    if random.random() < 0.6:
        rule["ports"] = [_port(random) for _ in range(random.randint(0, 2))]
    return rule


def _random_pod(random: Random, number: int, address: str) -> dict[str, Any]:
    labels = {
        "pod": random.choice("abc"),
        **({"tier": random.choice(["front", "back"])} if random.random() < 0.5 else {}),
    }
    web = {"name": "web", "containerPort": random.choice(PORTS), "protocol": random.choice(PROTOCOLS)}
    other = {"name": "other", "containerPort": random.choice(PORTS)}
    made = pod(
        random.choice(NAMES), f"pod-{number}", address, labels, *random.sample([web, other], random.randint(0, 2))
    )
    if random.random() < 0.1:
        made["status"]["phase"] = "Succeeded"
    return made


def _selector(random: Random) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if random.random() < 0.4:
        written["matchLabels"] = {"pod": random.choice("abc")}
    if random.random() < 0.3:
        claim: dict[str, Any] = {"key": random.choice(["pod", "tier"])}
        claim["operator"] = random.choice(["In", "NotIn", "Exists", "DoesNotExist"])
        if claim["operator"] in ("In", "NotIn"):
            claim["values"] = random.sample(["a", "b", "front"], random.randint(1, 2))
        written["matchExpressions"] = [claim]
    return written


def _namespaces(random: Random) -> dict[str, Any]:
    return random.choice(
        [
            {},
            {"matchLabels": {"ns": random.choice(NAMES)}},
            {"matchLabels": {"team": random.choice("ab")}},
            {"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": [random.choice(NAMES)]}]},
        ]
    )


def _peer(random: Random) -> dict[str, Any]:
    match random.randint(0, 3):
        case 0:
            return {"podSelector": _selector(random)}
        case 1:
            return {"namespaceSelector": _namespaces(random)}
        case 2:
            return {"podSelector": _selector(random), "namespaceSelector": _namespaces(random)}
        case _:
            cidr, holes = random.choice(BLOCKS)
            return {"ipBlock": {"cidr": cidr, **({"except": list(holes)} if holes else {})}}


def _port(random: Random) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if random.random() < 0.7:
        written["protocol"] = random.choice(PROTOCOLS)
    match random.randint(0, 3):
        case 0:
            written["port"] = random.choice(["web", "other", "nobody"])
        case 1:
            written["port"] = random.choice(PORTS)
        case 2:
            written["port"], written["endPort"] = random.choice([(80, 81), (81, 8080), (1, 65535), (90, 100)])
        case _:
            pass
    return written
