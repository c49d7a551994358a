"""All connections worth trying in a world, and what the written rules make of them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.unit.isolation.interpreter import Packet, Table
from tests.unit.isolation.reference import Connection
from tests.unit.isolation.worlds import ADDRESSES, NODE_ADDRESS, OUTSIDERS, PORTS, PROTOCOLS

NOBODY = "10.244.0.99"


def connections() -> Iterator[Connection]:
    """From every pod and outsider to every other, to themselves, to nobody and to the node."""
    for source in (*ADDRESSES, *OUTSIDERS, NOBODY):
        for protocol in PROTOCOLS:
            for port in PORTS:
                for destination in (*ADDRESSES, *OUTSIDERS, NOBODY):
                    if source not in OUTSIDERS or destination not in OUTSIDERS:
                        yield Connection(source, destination, protocol, port)
                yield Connection(source, NODE_ADDRESS, protocol, port, to_node=True)


def written_allows(table: Table, connection: Connection) -> bool:
    """What the nft text makes of a connection's first packet."""
    interface = "eth0" if connection.source in OUTSIDERS else "veth1"
    packet = Packet(connection.source, connection.destination, connection.protocol.lower(), connection.port, interface)
    return table.verdict("input" if connection.to_node else "forward", packet) == "accept"
