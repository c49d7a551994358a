"""A node with pods and an outside, made of network namespaces, and real connections between them.

Everything lives in namespaces made here; their addresses exist nowhere else. Sockets are made inside a namespace
and then used from this process, so that hundreds of connections can be tried at once, without other programs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.unit.isolation.matrix import NOBODY
from tests.unit.isolation.reference import Connection
from tests.unit.isolation.worlds import ADDRESSES, NODE_ADDRESS, OUTSIDERS, PORTS

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
GATEWAY = "10.244.0.1"
OUTSIDE_GATEWAY = "172.18.0.1"
OPEN_DEADLINE_S = 10.0
"""How long a connection that should open may take, on a machine with better things to do."""
CLOSED_WATCH_S = 0.15
"""How long to watch for a connection that should not open, once all others have."""


def run(*words: str, text: str | None = None) -> str:
    """Run a program; what it says, or an error with what it complained of."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@dataclass
class Lab:
    """The namespaces of one node, its pods and the outside."""

    prefix: str
    spaces: dict[str, str] = field(default_factory=dict)
    """Address → the namespace that has it."""
    _listeners: dict[tuple[str, str, int], socket.socket] = field(default_factory=dict)
    _raw: dict[str, socket.socket] = field(default_factory=dict)

    @property
    def node(self) -> str:
        """The node's namespace."""
        return f"{self.prefix}-node"

    def build(self) -> None:
        """Make everything."""
        outside = f"{self.prefix}-out"
        for space in (self.node, outside):
            self._make_space(space)
        self._ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", outside)
        self._ip("addr", "add", f"{NODE_ADDRESS}/24", "dev", "eth0")
        self._ip("link", "set", "eth0", "up")
        self._ip("addr", "add", f"{OUTSIDE_GATEWAY}/24", "dev", "eth0", space=outside)
        self._ip("link", "set", "eth0", "up", space=outside)
        for address in OUTSIDERS:
            self._ip("addr", "add", f"{address}/32", "dev", "lo", space=outside)
            self.spaces[address] = outside
        self._ip("route", "add", "default", "via", OUTSIDE_GATEWAY)
        self._ip("route", "add", "10.244.0.0/16", "via", NODE_ADDRESS, space=outside)
        self.spaces[NODE_ADDRESS] = self.node
        for number, address in enumerate((*ADDRESSES, NOBODY)):
            self._make_pod(f"veth{number}", f"{self.prefix}-pod{number}", address)
        run(
            "ip", "netns", "exec", self.node, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"
        )
        for address, space in self.spaces.items():
            in_space(space, lambda address=address: self._listen(address))  # type: ignore[misc]  # bound now, not later

    def _make_space(self, space: str) -> None:
        run("ip", "netns", "add", space)
        # addresses of the link are good at once, without looking for another that has them
        run("ip", "netns", "exec", space, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        self._ip("link", "set", "lo", "up", space=space)

    def _make_pod(self, interface: str, space: str, address: str) -> None:
        """As the ptp plugin does it."""
        self._make_space(space)
        self._ip("link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", space)
        self._ip("addr", "add", f"{GATEWAY}/32", "dev", interface)
        self._ip("link", "set", interface, "up")
        self._ip("route", "add", f"{address}/32", "dev", interface, "scope", "host")
        self._ip("addr", "add", f"{address}/24", "dev", "eth0", space=space)
        self._ip("link", "set", "eth0", "up", space=space)
        self._ip("route", "del", "10.244.0.0/24", space=space)
        self._ip("route", "add", GATEWAY, "dev", "eth0", space=space)
        self._ip("route", "add", "default", "via", GATEWAY, space=space)
        self.spaces[address] = space

    def _ip(self, *words: str, space: str | None = None) -> None:
        run("ip", "-n", space or self.node, *words)

    def _listen(self, address: str) -> None:
        for port in PORTS:
            tcp = socket.create_server((address, port), backlog=1024, reuse_port=True)
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind((address, port))
            self._listeners[address, "TCP", port], self._listeners[address, "UDP", port] = tcp, udp
        self._raw[address] = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
        self._raw[address].bind((address, 0))
        for sock in (self._raw[address], *(s for (own, _, _), s in self._listeners.items() if own == address)):
            sock.setblocking(False)

    def close(self) -> None:
        """Remove everything."""
        for sock in (*self._listeners.values(), *self._raw.values()):
            sock.close()
        for space in sorted({self.node, *self.spaces.values()}):
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)

    def nft(self, text: str, *, check_only: bool = False) -> None:
        """Apply a transaction in the node."""
        run("ip", "netns", "exec", self.node, "nft", *(["-c"] if check_only else []), "-f", "-", text=text)

    def interface_of(self, address: str) -> str:
        """The node's interface to a pod."""
        return f"veth{(*ADDRESSES, NOBODY).index(address)}"

    def open_socket(self, address: str, kind: socket.SocketKind = socket.SOCK_STREAM, *more: int) -> socket.socket:
        """A new socket in the namespace that has the address, bound to it."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, kind, *more)
            made.bind((address, 0))
            return made

        return in_space(self.spaces[address], make)

    def listener(self, address: str, protocol: str, port: int) -> socket.socket:
        """The socket that answers there."""
        return self._listeners[address, protocol, port]

    def tried(self, connections: Sequence[Connection], expected: Mapping[Connection, bool]) -> dict[Connection, bool]:
        """Open all of these connections at once; which ones came to be.

        Waits until those that are expected to open have, and a little longer for those that should not.
        """
        attempts = [Attempt(self, each) for each in connections]
        try:
            end, extended = time.monotonic() + OPEN_DEADLINE_S, False
            while time.monotonic() < end:
                self._serve(attempts)
                waiting = [each for each in attempts if expected[each.connection] and not each.is_open]
                if not waiting and not extended:
                    end, extended = time.monotonic() + CLOSED_WATCH_S, True
                time.sleep(0.01)
            return {each.connection: each.is_open for each in attempts}
        finally:
            for each in attempts:
                each.sock.close()

    def _serve(self, attempts: Iterable[Attempt]) -> None:
        by_port = {each.key: each for each in attempts}
        for (_, protocol, _), listener in self._listeners.items():
            with contextlib.suppress(BlockingIOError):
                while protocol == "TCP":
                    listener.accept()[0].close()
            with contextlib.suppress(BlockingIOError, OSError):
                while protocol == "UDP":
                    listener.sendto(*listener.recvfrom(64))
        for raw in self._raw.values():
            with contextlib.suppress(BlockingIOError):
                while True:
                    header = raw.recv(2048)[20:32]
                    attempt = by_port.get(("SCTP", struct.unpack("!H", header[:2])[0]))
                    if attempt is not None:
                        attempt.is_open = True
        for each in by_port.values():
            each.look()


class Attempt:
    """One connection being opened."""

    def __init__(self, lab: Lab, connection: Connection) -> None:
        self.connection = connection
        self.is_open = False
        kind = {"TCP": (socket.SOCK_STREAM,), "UDP": (socket.SOCK_DGRAM,), "SCTP": (socket.SOCK_RAW, 132)}
        self.sock = lab.open_socket(connection.source, *kind[connection.protocol])  # type: ignore[arg-type]  # kind, number
        self.sock.setblocking(False)
        self._number = next(NUMBERS)
        own = self._number if connection.protocol == "SCTP" else self.sock.getsockname()[1]
        self.key = (connection.protocol, own if connection.protocol == "SCTP" else id(self))
        with contextlib.suppress(OSError):
            self._begin()

    def _begin(self) -> None:
        there = (self.connection.destination, self.connection.port)
        if self.connection.protocol == "TCP":
            self.sock.connect_ex(there)
        elif self.connection.protocol == "UDP":
            self.sock.connect(there)
            self.sock.send(b"?")
        else:
            self.sock.sendto(sctp_init(self._number, self.connection.port), (self.connection.destination, 0))

    def look(self) -> None:
        """See whether it has opened."""
        if self.is_open:
            return
        if self.connection.protocol == "TCP":
            self.is_open = _is_connected(self.sock)
        elif self.connection.protocol == "UDP":
            with contextlib.suppress(OSError):
                self.is_open = self.sock.recv(64) == b"?"


def _numbers() -> Iterator[int]:
    while True:
        yield from range(20_000, 60_000)


NUMBERS = _numbers()
"""Source ports of SCTP, one for each attempt."""


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def in_space(space: str, make: Callable[[], T]) -> T:
    """Do something in a network namespace: only the thread that does it goes there."""
    made: list[T] = []
    failed: list[BaseException] = []

    def there() -> None:
        try:
            handle = os.open(Path("/run/netns") / space, os.O_RDONLY)
            try:
                if LIBC.setns(handle, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns to {space}")
            finally:
                os.close(handle)
            made.append(make())
        except BaseException as error:  # noqa: BLE001 – carried to the caller
            failed.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def sctp_init(source_port: int, port: int) -> bytes:
    """An SCTP packet that asks for an association; conntrack looks at its checksum."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x01020304, 65535, 1, 1, 1)
    header = struct.pack("!HHI", source_port, port, 0)
    return header + struct.pack("<I", crc32c(header + bytes(4) + chunk)) + chunk


def crc32c(data: bytes) -> int:
    """The checksum of SCTP."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
