"""What the node must let through: from pods, namespaces and policies to one ``Ruleset``, pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sandbox.isolation.model import (
    BlockPeer,
    ContainerPort,
    Direction,
    Namespace,
    Node,
    Pod,
    PodPeer,
    Policy,
    PortName,
    PortRange,
    Protocol,
    Rule,
)
from sandbox.isolation.selectors import Selector
from sandbox.isolation.spans import Address, Addresses, Span, merged

Ports = Mapping[Protocol, tuple[Span, ...]]


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One port of one pod, found by its name."""

    version: int
    address: int
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class Allow:
    """Peers at ports, or endpoints, that a rule lets through."""

    source: str
    """The policy and rule that it comes from, for people who read the node's rules."""
    peers: Addresses | None
    """None: anybody."""
    ports: Ports | None
    """None: everything, protocols without ports too."""
    endpoints: tuple[Endpoint, ...] = field(default=())
    """Ports by name, already narrowed to the peers; for egress only."""


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """All that pods under the same policies may do in one direction; shared by these pods."""

    direction: Direction
    policies: tuple[str, ...]
    allows: tuple[Allow, ...]


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Everything the node has to enforce."""

    node: Node
    pods: Addresses
    """Every address that is a pod's, on any node: others in the pods' ranges are denied."""
    chains: Mapping[Direction, Mapping[Address, Chain]]
    """The isolated pods of this node, by address, in the order of the addresses."""


def compile_rules(
    pods: Iterable[Pod], namespaces: Iterable[Namespace], policies: Iterable[Policy], node: Node
) -> Ruleset:
    """Decide what the node lets through; the order of the arguments' items does not matter."""
    known = _unambiguous(pod for pod in pods if pod.node != node.name or pod.started_s >= node.booted_s)
    compiler = _Compiler(known, tuple(namespaces), sorted(policies, key=lambda p: (p.namespace, p.name)))
    here = [pod for pod in known if node.name is None or pod.node == node.name]
    chains: dict[Direction, Mapping[Address, Chain]] = {}
    for direction in Direction:
        found = {
            address: chain for pod in here if (chain := compiler.chain(pod, direction)) for address in pod.addresses
        }
        chains[direction] = dict(sorted(found.items(), key=lambda item: (item[0].version, int(item[0]))))
    return Ruleset(node, Addresses.of(address for pod in known for address in pod.addresses), chains)


def _unambiguous(pods: Iterable[Pod]) -> list[Pod]:
    """The pods whose addresses are theirs alone.

    Two pods claim one address for moments only, when it is given away again before the API has heard of the first
    pod's end. Until then nobody can say whose packets these are, and the address counts as unknown.
    """
    found = sorted(pods, key=lambda pod: (pod.namespace, pod.name))
    claims = Counter(address for pod in found for address in pod.addresses)
    return [pod for pod in found if all(claims[address] == 1 for address in pod.addresses)]


class _Compiler:
    """Finds the chain of each pod, working out every rule and every peer once."""

    def __init__(self, pods: Sequence[Pod], namespaces: Sequence[Namespace], policies: Sequence[Policy]) -> None:
        self._pods_of: dict[str, list[Pod]] = defaultdict(list)
        for pod in pods:
            self._pods_of[pod.namespace].append(pod)
        self._namespaces = namespaces
        self._policies_of: dict[str, list[Policy]] = defaultdict(list)
        for policy in policies:
            self._policies_of[policy.namespace].append(policy)
        self._found: dict[tuple[PodPeer, str], tuple[Pod, ...]] = {}
        self._peers: dict[tuple[str, str, Direction, int], Addresses | None] = {}
        self._chains: dict[tuple[Direction, str, tuple[str, ...], tuple[ContainerPort, ...]], Chain] = {}

    def chain(self, pod: Pod, direction: Direction) -> Chain | None:
        """What the pod may do in this direction; None where no policy isolates it."""
        isolating = [
            policy
            for policy in self._policies_of[pod.namespace]
            if policy.rules(direction) is not None and policy.pods.selects(pod.labels)
        ]
        if not isolating:
            return None
        # only ingress asks for the names of the pod's own ports
        names = tuple(sorted(pod.ports, key=str)) if direction is Direction.INGRESS else ()
        key = (direction, pod.namespace, tuple(policy.name for policy in isolating), names)
        if key not in self._chains:
            allows = tuple(allow for policy in isolating for allow in self._allows(policy, direction, names))
            labels = tuple(f"{policy.namespace}/{policy.name}" for policy in isolating)
            self._chains[key] = Chain(direction, labels, allows)
        return self._chains[key]

    def _allows(self, policy: Policy, direction: Direction, names: Sequence[ContainerPort]) -> Iterable[Allow]:
        for number, rule in enumerate(policy.rules(direction) or ()):
            source = f"{policy.namespace}/{policy.name} {direction} {number}"
            key = (policy.namespace, policy.name, direction, number)
            if key not in self._peers:
                self._peers[key] = self._addresses(rule, policy.namespace)
            peers = self._peers[key]
            if peers is not None and not peers:
                continue
            if rule.ports is None:
                yield Allow(source, peers, None)
                continue
            ports = _ports(rule.ports, names)
            endpoints = self._endpoints(rule.ports, peers) if direction is Direction.EGRESS else ()
            if ports or endpoints:
                yield Allow(source, peers, ports, endpoints)

    def _addresses(self, rule: Rule, namespace: str) -> Addresses | None:
        if rule.peers is None:
            return None
        blocks = [peer.addresses for peer in rule.peers if isinstance(peer, BlockPeer)]
        pods = {id(pod): pod for peer in rule.peers if isinstance(peer, PodPeer) for pod in self._of(peer, namespace)}
        everything = Addresses.of(address for pod in pods.values() for address in pod.addresses)
        for block in blocks:
            everything |= block
        return everything

    def _of(self, peer: PodPeer, namespace: str) -> tuple[Pod, ...]:
        key = (peer, "" if peer.namespaces is not None else namespace)
        if key not in self._found:
            names = [namespace] if peer.namespaces is None else self._selected(peer.namespaces)
            self._found[key] = tuple(
                pod for name in names for pod in self._pods_of.get(name, ()) if peer.pods.selects(pod.labels)
            )
        return self._found[key]

    def _selected(self, selector: Selector) -> list[str]:
        return [namespace.name for namespace in self._namespaces if selector.selects(namespace.labels)]

    def _endpoints(self, ports: Sequence[PortRange | PortName], peers: Addresses | None) -> tuple[Endpoint, ...]:
        wanted = {(port.protocol, port.name) for port in ports if isinstance(port, PortName)}
        found = {
            Endpoint(address.version, int(address), port.protocol, port.number)
            for pods in (self._pods_of.values() if wanted else ())
            for pod in pods
            for port in pod.ports
            if (port.protocol, port.name) in wanted
            for address in pod.addresses
            if peers is None or address in peers
        }
        return tuple(sorted(found))


def _ports(ports: Sequence[PortRange | PortName], names: Sequence[ContainerPort]) -> Ports:
    spans: dict[Protocol, list[Span]] = defaultdict(list)
    for port in ports:
        if isinstance(port, PortRange):
            spans[port.protocol].append((port.first, port.last))
        else:
            own = [own.number for own in names if (own.protocol, own.name) == (port.protocol, port.name)]
            spans[port.protocol].extend((number, number) for number in own)
    return {protocol: merged(spans[protocol]) for protocol in Protocol if spans.get(protocol)}
