"""What the rules are made from: pods, namespaces, policies and the node, without anything of the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sandbox.isolation.selectors import Labels, Selector
from sandbox.isolation.spans import Address, Addresses, Network


class Protocol(StrEnum):
    """The protocols that a policy can name; the values are nft's own words."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"


class Direction(StrEnum):
    """Which way a connection is opened, as its pod sees it."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port that a container gives a name."""

    name: str
    protocol: Protocol
    number: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A running pod with addresses of its own: pods on the host's network and finished ones are none."""

    namespace: str
    name: str
    node: str
    labels: Labels
    addresses: tuple[Address, ...]
    ports: tuple[ContainerPort, ...] = field(default=())
    started_s: float = 0
    """When it, or the last of its containers, was started, in seconds since 1970; 0 where that is not told."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace's name and labels."""

    name: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from first to last, both included."""

    protocol: Protocol
    first: int = 0
    last: int = 65535


@dataclass(frozen=True, slots=True)
class PortName:
    """A port by the name that the destination's containers give it."""

    protocol: Protocol
    name: str


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods by labels; without a namespace selector those of the policy's own namespace."""

    pods: Selector
    namespaces: Selector | None


@dataclass(frozen=True, slots=True)
class BlockPeer:
    """Addresses by number, pods' among them."""

    addresses: Addresses


@dataclass(frozen=True, slots=True)
class Rule:
    """What one rule of a policy lets through: any of its peers at any of its ports."""

    peers: tuple[PodPeer | BlockPeer, ...] | None
    """None: anybody."""
    ports: tuple[PortRange | PortName, ...] | None
    """None: everything, protocols without ports too."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One NetworkPolicy: the pods it isolates and what it lets through."""

    namespace: str
    name: str
    pods: Selector
    ingress: tuple[Rule, ...] | None
    """None: does not isolate this direction; empty: isolates and lets nothing through."""
    egress: tuple[Rule, ...] | None
    fault: str | None = None
    """Why the policy was not understood; such a policy isolates and lets nothing through."""

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        """The rules of one direction; None where this policy does not isolate it."""
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True)
class Node:
    """The node that is kept, and how its pods are told from everything else."""

    name: str | None
    """None: isolate the pods of all nodes, not just this one's."""
    pod_ranges: tuple[Network, ...]
    """Ranges that the pods' addresses come from, those of other nodes too."""
    pod_interfaces: tuple[str, ...] = ("veth*",)
    """Interfaces that pods are behind, in nft's notation; what comes in by them must come from a known pod."""
    booted_s: float = 0
    """When the node was booted, in seconds since 1970, where what the API says of its pods can be older than that.

    Addresses are given out anew at a boot: until the kubelet has told, the API has those of before, which are
    others' by now.
    """
