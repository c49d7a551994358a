"""Writes what the pods under the same policies may do, as the lines of one nft chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.isolation.model import Direction
from sandbox.isolation.rules import Allow, Chain, Endpoint, Ports
from sandbox.isolation.spans import Addresses, Span
from sandbox.isolation.text import IP, VERSIONS, Sets, address, addresses, comment, digest, ports

EVERY_ADDRESS: dict[int, Span] = {4: (0, 2**32 - 1), 6: (0, 2**128 - 1)}
EVERY_PORT: Span = (0, 65535)
PEER = {Direction.EGRESS: "daddr", Direction.INGRESS: "saddr"}
REFUSAL = {Direction.EGRESS: "refused", Direction.INGRESS: "dropped"}
"""The chains that end what is not allowed."""
REFUSALS = {
    # at once: the kernel sends no more than one ICMP error a second to a pod, but any number of resets
    "refused": ("meta l4proto tcp reject with tcp reset", "reject with icmpx admin-prohibited"),
    # outsiders learn nothing; a connection from before the policy ends instead of hanging
    "dropped": ("meta l4proto tcp ct state established reject with tcp reset", "drop"),
}


@dataclass(frozen=True, slots=True)
class WrittenChain:
    """A chain of nft: its name follows from its lines."""

    name: str
    lines: tuple[str, ...]


def write_chain(chain: Chain, sets: Sets) -> WrittenChain:
    """Write a chain that returns for what is allowed and refuses everything else."""
    lines = [line for allow in chain.allows for line in _returns(allow, PEER[chain.direction], sets)]
    lines.append(f"counter goto {REFUSAL[chain.direction]} {comment('isolated by ' + ', '.join(chain.policies))}")
    return WrittenChain(f"{chain.direction}_{digest(' '.join(lines))}", tuple(lines))


def _returns(allow: Allow, side: str, sets: Sets) -> Iterator[str]:
    said = comment(allow.source)
    for peers in _peers(allow.peers, side, sets):
        for at in _ports(allow.ports):
            yield " ".join(filter(None, [peers, at, "return", said]))
    for version in VERSIONS:
        found = [endpoint for endpoint in allow.endpoints if endpoint.version == version]
        if found:
            kind = f"type ipv{version}_addr . inet_proto . inet_service"
            name = sets.named(f"endpoints{version}", [kind], [_endpoint(endpoint) for endpoint in found])
            yield f"{IP[version]} {side} . meta l4proto . th dport @{name} return {said}"


def _peers(peers: Addresses | None, side: str, sets: Sets) -> Iterator[str]:
    if peers is None:
        yield ""
        return
    for version, spans in ((4, peers.v4), (6, peers.v6)):
        if spans == (EVERY_ADDRESS[version],):
            yield f"meta nfproto ipv{version}"
        elif len(spans) == 1:
            yield f"{IP[version]} {side} {addresses(spans[0], version)}"
        elif spans:
            name = sets.named(
                f"peers{version}",
                [f"type ipv{version}_addr", "flags interval"],
                [addresses(span, version) for span in spans],
            )
            yield f"{IP[version]} {side} @{name}"


def _ports(allowed: Ports | None) -> Iterator[str]:
    if allowed is None:
        yield ""
        return
    for protocol, spans in allowed.items():
        if spans == (EVERY_PORT,):
            yield f"meta l4proto {protocol}"
        else:
            yield f"{protocol} dport {{ {', '.join(ports(span) for span in spans)} }}"


def _endpoint(endpoint: Endpoint) -> str:
    return f"{address(endpoint.address, endpoint.version)} . {endpoint.protocol} . {endpoint.port}"
