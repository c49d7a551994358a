"""Writes the node's table as nft text: one transaction that replaces it whole.

What a packet meets, in ``forward`` (to pods and the outside) and ``input`` (to the node itself), after kube-proxy
has put the real destination in; what the node itself sends to pods meets nothing::

    by a pod's interface, from another's address   drop
    answer in a connection that was let through    accept
    by a pod's interface, from no known pod        drop
    from or to the pods' range, but no known pod   drop
    pod to itself                                  accept
    source isolated for egress                     its chain: return for what is allowed, reject the rest
    destination isolated for ingress               its chain: return for what is allowed, drop the rest

Every packet that goes in its connection's own direction is judged, not just the first: a policy that closes a path
cuts the connections on it. Deterministic: no clock, nothing random, everything sorted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from sandbox.isolation.chains import REFUSALS, write_chain
from sandbox.isolation.model import Direction, Node
from sandbox.isolation.rules import Chain, Ruleset
from sandbox.isolation.spans import Address, Addresses, Network, merged, span_of
from sandbox.isolation.text import IP, VERSIONS, Sets, address, addresses, block, comment, digest, elements

TABLE = "inet sandbox_isolation"
MARKER = "ruleset_"
BOOTED = "booted"
FRESH_S = 600
"""How long after a boot the API can still have the pods' addresses of before."""
REMOVE = f"table {TABLE}\ndelete table {TABLE}\n"
"""Removes the table: makes it first, so that there is one to delete."""

INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}\*?")
# before kube-proxy's filter chains, after all translation of destinations
HOOK = "type filter hook {} priority filter - 10; policy accept;"
NEIGHBOURS = "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept"
ANSWERS = (
    "ct direction reply ct state established accept",
    "ct state related meta l4proto { icmp, ipv6-icmp } accept",
)
UNKNOWN = comment("not a known pod")


def render(ruleset: Ruleset) -> str:
    """Write the transaction that makes the node enforce exactly this ruleset."""
    sets = Sets()
    unique = {id(chain): chain for found in ruleset.chains.values() for chain in found.values()}
    written = {key: write_chain(chain, sets) for key, chain in unique.items()}
    body = [*_ranges(ruleset.node.pod_ranges), *_known(ruleset.pods), *sets.written()]
    for name, lines in [*REFUSALS.items(), *sorted({chain.name: chain.lines for chain in written.values()}.items())]:
        body += block(f"chain {name}", lines)
    for direction in Direction:
        body += _map(direction, ruleset.chains[direction], {key: chain.name for key, chain in written.items()})
    body += block("chain sources", _sources(ruleset.node))
    body += block("chain input", [HOOK.format("input"), 'iif "lo" accept', "jump sources", *_judged("egress", "saddr")])
    body += block("chain forward", _forward())
    return _transaction(body)


def deny_all(
    pod_cidrs: Iterable[Network | str], pod_interfaces: Sequence[str] = ("veth*",), *, at_boot: bool = True
) -> str:
    """Write the transaction that denies pods everything, to hold until the first ruleset replaces it.

    What the node sends to pods (the kubelet's probes) and connections that are there already go on.

    Args:
        at_boot: the text is applied as the node boots, which the agent wants to know: an element that the kernel
            forgets after ``FRESH_S`` tells it.
    """
    why = comment("before the policies are known")
    sources = [
        "ct state established,related accept",
        NEIGHBOURS,
        *(f"{_arriving(name)} counter drop {why}" for name in pod_interfaces),
        *(f"{IP[version]} saddr @pod_ranges{version} counter drop {why}" for version in VERSIONS),
    ]
    to_pods = [f"{IP[version]} daddr @pod_ranges{version} counter drop {why}" for version in VERSIONS]
    booted = block(f"set {BOOTED}", ["type mark", "flags timeout", *elements([f"0x1 timeout {FRESH_S}s"])])
    return _transaction(
        [
            *_ranges([ipaddress.ip_network(cidr) for cidr in pod_cidrs]),
            *(booted if at_boot else []),
            *block("chain sources", sources),
            *block("chain input", [HOOK.format("input"), 'iif "lo" accept', "jump sources"]),
            *block("chain forward", [HOOK.format("forward"), "jump sources", *to_pods]),
        ]
    )


def marker(text: str) -> str:
    """The name of the empty chain by which the kernel tells that it holds this text."""
    return MARKER + text.rpartition(MARKER)[2].partition(" ")[0]


def _transaction(body: Sequence[str]) -> str:
    marked = [*body, *block(f"chain {MARKER}{digest(' '.join(body))}", [])]
    return REMOVE + "\n".join(block(f"table {TABLE}", marked)) + "\n"


def _ranges(ranges: Sequence[Network]) -> list[str]:
    body: list[str] = []
    for version in VERSIONS:
        spans = merged(span_of(network) for network in ranges if network.version == version)
        kind = [f"type ipv{version}_addr", "flags interval"]
        body += block(f"set pod_ranges{version}", [*kind, *elements([addresses(span, version) for span in spans])])
    return body


def _known(pods: Addresses) -> list[str]:
    body: list[str] = []
    for version, spans in ((4, pods.v4), (6, pods.v6)):
        known = [address(number, version) for first, last in spans for number in range(first, last + 1)]
        kind = f"type ipv{version}_addr"
        body += block(f"set pods{version}", [kind, *elements(known)])
        selves = elements([f"{own} . {own}" for own in known])
        body += block(f"set selves{version}", [f"{kind} . ipv{version}_addr", *selves])
    return body


def _map(direction: Direction, chains: Mapping[Address, Chain], names: Mapping[int, str]) -> list[str]:
    body: list[str] = []
    for version in VERSIONS:
        jumps = [f"{pod} : jump {names[id(chain)]}" for pod, chain in chains.items() if pod.version == version]
        body += block(f"map {direction}{version}", [f"type ipv{version}_addr : verdict", *elements(jumps)])
    return body


def _arriving(name: str) -> str:
    if not INTERFACE.fullmatch(name):
        raise ValueError(f"no name of an interface: {name!r}")
    return f'iifname "{name}"'


def _sources(node: Node) -> list[str]:
    arriving = [_arriving(name) for name in node.pod_interfaces]
    known = [
        NEIGHBOURS,
        f"meta nfproto ipv4 ip saddr != @pods4 counter drop {UNKNOWN}",
        f"meta nfproto ipv6 ip6 saddr != @pods6 counter drop {UNKNOWN}",
    ]
    return [
        *(f"{pod} fib saddr . iif oif missing counter drop {comment('not its own address')}" for pod in arriving),
        *ANSWERS,
        *(f"{pod} {check}" for pod in arriving for check in known),
        *(_unknown(version, "saddr") for version in VERSIONS),
    ]


def _forward() -> list[str]:
    return [
        HOOK.format("forward"),
        "jump sources",
        *(_unknown(version, "daddr") for version in VERSIONS),
        *(f"{IP[v]} saddr . {IP[v]} daddr @selves{v} accept" for v in VERSIONS),
        *_judged("egress", "saddr"),
        *_judged("ingress", "daddr"),
    ]


def _unknown(version: int, side: str) -> str:
    ip = IP[version]
    return f"{ip} {side} @pod_ranges{version} {ip} {side} != @pods{version} counter drop {UNKNOWN}"


def _judged(direction: str, side: str) -> list[str]:
    return [f"{IP[version]} {side} vmap @{direction}{version}" for version in VERSIONS]
