"""Reads the nft text that the agent writes and says what becomes of a packet: the words it uses, and no more.

An unknown word is an error, so that a rule which this reader does not understand cannot pass for one it does.
The kernel itself judges the same texts in tests/contract/isolation.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

Verdict = Literal["accept", "drop", "reject"]
FINAL: dict[str, Verdict] = {"accept": "accept", "drop": "drop"}
BLOCK = re.compile(r"^\t(set|map|chain) (\w+) \{\n(.*?)^\t\}$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection, as a hook sees it."""

    source: str
    destination: str
    protocol: str
    port: int
    interface: str
    state: str = "new"
    direction: str = "original"
    spoofed: bool = False
    """The way back to its source does not lead over the interface that it came by."""


@dataclass
class Table:
    """A table, taken apart."""

    sets: dict[str, frozenset[str]] = field(default_factory=dict)
    maps: dict[str, dict[str, str]] = field(default_factory=dict)
    chains: dict[str, list[list[str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> Table:
        """Take a table apart."""
        table = cls()
        for kind, name, body in BLOCK.findall(text):
            lines = [line.strip() for line in body.splitlines()]
            written = next((line for line in lines if line.startswith("elements")), "")
            items = [item.strip() for item in written.partition("{")[2].rpartition("}")[0].split(",") if item.strip()]
            if kind == "set":
                table.sets[name] = frozenset(items)
            elif kind == "map":
                table.maps[name] = {key: jump for key, _, jump in (item.partition(" : ") for item in items)}
            else:
                table.chains[name] = [shlex.split(line) for line in lines if not line.startswith("type filter hook")]
        return table

    def verdict(self, hook: str, packet: Packet) -> Verdict:
        """What becomes of a packet at a hook."""
        return self._chain(hook, packet) or "accept"

    def _chain(self, name: str, packet: Packet) -> Verdict | None:
        for words in self.chains[name]:
            said = self._rule(words, packet)
            if said == "return":
                return None
            if said is not None and said.startswith("jump "):
                said = self._chain(said.split()[1], packet)
            elif said is not None and said.startswith("goto "):
                return self._chain(said.split()[1], packet)
            if said in ("accept", "drop", "reject"):
                return said  # type: ignore[return-value]  # narrowed by the line above
        return None

    def _rule(self, words: list[str], packet: Packet) -> str | None:  # noqa: C901, PLR0911, PLR0912 – a grammar
        while words:
            match words:
                case ["counter", *rest]:
                    words = rest
                case ["comment", _, *rest]:
                    words = rest
                case ["return" | "accept" | "drop", *_]:
                    return words[0]
                case ["reject", "with", *_]:
                    return "reject"
                case ["jump" | "goto", name, *_]:
                    return f"{words[0]} {name}"
                case [("ip" | "ip6") as ip, "saddr" | "daddr" as side, "vmap", name]:
                    return self.maps[name[1:]].get(packet_side(packet, side)) if is_ip(packet, ip) else None
                case [("ip" | "ip6") as ip, "saddr", ".", "ip" | "ip6", "daddr", name, *rest]:
                    if not is_ip(packet, ip) or f"{packet.source} . {packet.destination}" not in self.sets[name[1:]]:
                        return None
                    words = rest
                case [
                    ("ip" | "ip6") as ip,
                    "saddr" | "daddr" as side,
                    ".",
                    "meta",
                    "l4proto",
                    ".",
                    "th",
                    "dport",
                    name,
                    *rest,
                ]:
                    key = f"{packet_side(packet, side)} . {packet.protocol} . {packet.port}"
                    if not is_ip(packet, ip) or key not in self.sets[name[1:]]:
                        return None
                    words = rest
                case [("ip" | "ip6") as ip, "saddr" | "daddr" as side, "!=", name, *rest]:
                    if not is_ip(packet, ip) or self._has(name, packet_side(packet, side)):
                        return None
                    words = rest
                case [("ip" | "ip6") as ip, "saddr" | "daddr" as side, name, *rest]:
                    if not is_ip(packet, ip) or not self._has(name, packet_side(packet, side)):
                        return None
                    words = rest
                case ["meta", "nfproto", family, *rest]:
                    if not is_ip(packet, {"ipv4": "ip", "ipv6": "ip6"}[family]):
                        return None
                    words = rest
                case [("tcp" | "udp" | "sctp") as protocol, "dport", "{", *rest]:
                    listed, words = braces(rest)
                    if packet.protocol != protocol or not any(in_span(packet.port, span) for span in listed):
                        return None
                case ["meta", "l4proto", "{", *rest]:
                    listed, words = braces(rest)
                    if packet.protocol not in listed:
                        return None
                case ["meta", "l4proto", protocol, *rest]:
                    if packet.protocol != protocol:
                        return None
                    words = rest
                case ["ct", "direction", direction, *rest]:
                    if packet.direction != direction:
                        return None
                    words = rest
                case ["ct", "state", states, *rest]:
                    if packet.state not in states.split(","):
                        return None
                    words = rest
                case ["iif" | "iifname", name, *rest]:
                    if not fnmatchcase(packet.interface, name):
                        return None
                    words = rest
                case ["icmpv6", "type", "{", *rest]:
                    return None  # no packet here is one of these
                case ["fib", "saddr", ".", "iif", "oif", "missing", *rest]:
                    if not packet.spoofed:
                        return None
                    words = rest
                case _:
                    raise AssertionError(f"this reader does not know: {words}")
        raise AssertionError("a rule without a verdict")

    def _has(self, written: str, address: str) -> bool:
        spans = self.sets[written[1:]] if written.startswith("@") else {written}
        return address in spans or any(in_range(address, span) for span in spans)


def is_ip(packet: Packet, ip: str) -> bool:
    return (":" in packet.source) == (ip == "ip6")


def packet_side(packet: Packet, side: str) -> str:
    return packet.source if side == "saddr" else packet.destination


def braces(words: list[str]) -> tuple[list[str], list[str]]:
    end = words.index("}")
    return [word.rstrip(",") for word in words[:end]], words[end + 1 :]


def in_span(number: int, span: str) -> bool:
    first, _, last = span.partition("-")
    return int(first) <= number <= int(last or first)


@lru_cache(maxsize=100_000)
def in_range(address: str, span: str) -> bool:
    first, _, last = span.partition("-")
    low, high, it = (ipaddress.ip_address(each) for each in (first, last or first, address))
    return low.version == it.version and int(low) <= int(it) <= int(high)
