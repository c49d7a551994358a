"""Sets of addresses and of ports as sorted, disjoint spans of whole numbers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Span = tuple[int, int]
"""First and last, both included."""


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Join spans that overlap or touch, so that an interval set takes them."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(joined)


def without(spans: Iterable[Span], holes: Iterable[Span]) -> tuple[Span, ...]:
    """What is left of ``spans`` where ``holes`` are cut out."""
    left = merged(spans)
    for hole_first, hole_last in merged(holes):
        kept: list[Span] = []
        for first, last in left:
            if hole_last < first or last < hole_first:
                kept.append((first, last))
                continue
            if first < hole_first:
                kept.append((first, hole_first - 1))
            if hole_last < last:
                kept.append((hole_last + 1, last))
        left = tuple(kept)
    return left


def covers(spans: Iterable[Span], number: int) -> bool:
    """Whether a number lies in one of the spans."""
    return any(first <= number <= last for first, last in spans)


def span_of(network: Network) -> Span:
    """First and last address of a network."""
    return int(network.network_address), int(network.broadcast_address)


@dataclass(frozen=True, slots=True)
class Addresses:
    """A set of addresses of both families."""

    v4: tuple[Span, ...] = field(default=())
    v6: tuple[Span, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def __contains__(self, address: Address) -> bool:
        return covers(self.v4 if address.version == 4 else self.v6, int(address))

    def __or__(self, other: Addresses) -> Addresses:
        return Addresses(merged(self.v4 + other.v4), merged(self.v6 + other.v6))

    @classmethod
    def of(cls, addresses: Iterable[Address]) -> Addresses:
        """The set of just these addresses."""
        numbers: dict[int, list[Span]] = {4: [], 6: []}
        for address in addresses:
            numbers[address.version].append((int(address), int(address)))
        return cls(merged(numbers[4]), merged(numbers[6]))

    @classmethod
    def in_network(cls, network: Network, *, excepted: Iterable[Network] = ()) -> Addresses:
        """The addresses of a network, less those of the excepted networks."""
        holes = [span_of(hole) for hole in excepted if hole.version == network.version]
        left = without([span_of(network)], holes)
        return cls(v4=left) if network.version == 4 else cls(v6=left)
