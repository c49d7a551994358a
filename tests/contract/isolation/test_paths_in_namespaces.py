"""Ways around the rules, and the moments when rules change: tried on a real kernel."""

from __future__ import annotations

import errno
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from random import Random
from typing import Any

import pytest

from sandbox.isolation import REMOVE, deny_all
from tests.contract.isolation.netns import GATEWAY, Lab, in_space, run
from tests.unit.isolation.matrix import NOBODY
from tests.unit.isolation.reference import Connection, World
from tests.unit.isolation.worlds import (
    ADDRESSES,
    NODE_ADDRESS,
    OUTSIDERS,
    namespace,
    pod,
    policy,
    random_world,
    rendered,
)

A, B, C = ADDRESSES[:3]
PODS = [pod("x", name, address, {"pod": name}) for name, address in zip("abcdefgh", ADDRESSES, strict=True)]
NO_EGRESS = policy("x", "no-egress", {"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"]})
NO_INGRESS = policy("x", "no-ingress", {"podSelector": {"matchLabels": {"pod": "b"}}})
OPEN, CLOSED = True, False


def rules(*policies: Any, pods: list[dict[str, Any]] = PODS) -> str:
    return rendered(World(pods, [namespace("x")], list(policies)))


def is_open(lab: Lab, source: str, destination: str, port: int = 80, *, expected: bool) -> bool:
    each = Connection(source, destination, "TCP", port)
    return lab.tried([each], {each: expected})[each]


@contextmanager
def stream(lab: Lab, source: str, destination: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection, and its other end."""
    with closing(lab.open_socket(source)) as near:
        near.settimeout(3)
        near.connect((destination, 80))
        far, _ = lab.listener(destination, "TCP", 80).accept()
        with closing(far):
            far.settimeout(3)
            yield near, far


def flows(ends: tuple[socket.socket, socket.socket]) -> bool:
    """Whether a byte goes both ways."""
    try:
        for sender, receiver in (ends, ends[::-1]):
            sender.send(b"!")
            if receiver.recv(1) != b"!":
                return False
    except OSError:
        return False
    return True


def test_pods_are_closed_until_the_first_rules_and_open_when_the_table_goes(lab: Lab) -> None:
    ways = [
        Connection(A, B, "TCP", 80),
        Connection(A, OUTSIDERS[0], "UDP", 80),
        Connection(OUTSIDERS[0], A, "SCTP", 80),
    ]
    ways += [Connection(A, NODE_ADDRESS, "TCP", 80), Connection(NOBODY, A, "TCP", 80)]
    node_on = {Connection(NODE_ADDRESS, A, "TCP", 80): OPEN, Connection(OUTSIDERS[0], NODE_ADDRESS, "TCP", 80): OPEN}
    lab.nft(deny_all(["10.244.0.0/16"]))
    expected = dict.fromkeys(ways, CLOSED) | node_on
    assert lab.tried(list(expected), expected) == expected
    lab.nft(rules())
    expected = dict.fromkeys(ways[:4], OPEN) | {ways[4]: CLOSED} | node_on
    assert lab.tried(list(expected), expected) == expected
    lab.nft(rules(NO_EGRESS, NO_INGRESS))
    expected = {ways[0]: CLOSED, ways[1]: CLOSED, ways[2]: OPEN, ways[3]: CLOSED} | node_on
    assert lab.tried(list(expected), expected) == expected
    lab.nft(REMOVE)
    expected = dict.fromkeys(ways, OPEN) | node_on
    assert lab.tried(list(expected), expected) == expected, "negative control: it was the table that closed them"


def test_the_node_reaches_its_pods_under_any_policy(lab: Lab) -> None:
    lab.nft(rules(policy("x", "nothing", {"policyTypes": ["Ingress", "Egress"]})))
    for address in (NODE_ADDRESS, GATEWAY):
        with closing(in_space(lab.node, lambda: socket.socket(socket.AF_INET))) as probe:
            probe.settimeout(3)
            probe.bind((address, 0))
            probe.connect((B, 80))


def test_a_closed_way_out_is_refused_at_once_and_a_closed_way_in_is_silent(lab: Lab) -> None:
    lab.nft(rules(NO_EGRESS, NO_INGRESS))
    for source, destination, error in ((A, C, errno.ECONNREFUSED), (C, B, None)):
        with closing(lab.open_socket(source)) as near:
            near.settimeout(0.5)
            begun = time.monotonic()
            with pytest.raises(OSError) as caught:
                near.connect((destination, 80))
            took_s = time.monotonic() - begun
            assert caught.value.errno == error
            assert (took_s < 0.4) == (error is not None)


@pytest.mark.parametrize(("allowed", "opens"), [(8080, OPEN), (80, CLOSED)])
def test_policies_see_where_a_service_really_leads(lab: Lab, allowed: int, opens: bool) -> None:
    """10.96.0.1:80 leads to port 8080 of a pod, as kube-proxy would make it."""
    rule = {"to": [{"podSelector": {"matchLabels": {"pod": "b"}}}], "ports": [{"port": allowed}]}
    lab.nft(
        rules(
            policy(
                "x", "p", {"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"], "egress": [rule]}
            )
        )
    )
    with service(lab, f"{B}:8080"):
        assert is_open(lab, A, "10.96.0.1", expected=opens) == opens


def test_a_pod_reaches_itself_through_a_service_under_any_policy(lab: Lab) -> None:
    lab.nft(rules(policy("x", "nothing", {"policyTypes": ["Ingress", "Egress"]})))
    with service(lab, f"{A}:8080"):
        assert is_open(lab, A, "10.96.0.1", expected=OPEN)
        assert not is_open(lab, B, "10.96.0.1", expected=CLOSED)


SERVICES = """\
table ip services {{
    chain to {{
        type nat hook prerouting priority dstnat; policy accept
        ip daddr 10.96.0.1 tcp dport 80 dnat to {endpoint}
    }}
    chain back {{
        type nat hook postrouting priority srcnat; policy accept
        ip saddr {own} ip daddr {own} masquerade
    }}
}}
"""
"""What kube-proxy makes of a Service, in short: also for a pod that reaches itself by it."""


@contextmanager
def service(lab: Lab, endpoint: str) -> Iterator[None]:
    lab.nft(SERVICES.format(endpoint=endpoint, own=endpoint.partition(":")[0]))
    try:
        yield
    finally:
        lab.nft("delete table ip services")


def test_a_policy_that_closes_a_way_ends_the_connections_on_it_and_no_others(lab: Lab) -> None:
    lab.nft(rules())
    with stream(lab, A, B) as closing_one, stream(lab, C, B) as other:
        assert flows(closing_one)
        lab.nft(rules(NO_EGRESS))
        with pytest.raises(ConnectionResetError):
            for _ in range(100):
                closing_one[0].send(b"!")
                time.sleep(0.01)
        assert flows(other)


def test_answers_pass_where_the_pod_may_not_open_anything(lab: Lab) -> None:
    lab.nft(rules(NO_EGRESS))
    with stream(lab, C, A) as ends:
        assert flows(ends)
    assert not is_open(lab, A, C, expected=CLOSED)


def test_while_rules_are_replaced_nothing_closed_opens_and_nothing_open_breaks(lab: Lab) -> None:
    lab.nft(rules(NO_EGRESS))
    opened: list[str] = []
    tries = 0
    stop = threading.Event()

    def knock() -> None:
        nonlocal tries
        while not stop.is_set():
            with closing(lab.open_socket(A)) as near:
                near.settimeout(0.2)
                tries += 1
                if near.connect_ex((B, 80)) == 0:
                    opened.append(f"try {tries}")

    knocking = threading.Thread(target=knock)
    with stream(lab, C, B) as ends:
        knocking.start()
        try:
            for number in range(60):
                lab.nft(
                    rules(NO_EGRESS, policy("x", f"other-{number}", {"podSelector": {"matchLabels": {"pod": "e"}}}))
                )
                assert flows(ends), f"broke at replacement {number}"
        finally:
            stop.set()
            knocking.join()
    assert opened == []
    assert tries > 100


def test_a_pod_cannot_send_under_another_address(lab: Lab) -> None:
    """Its own address is closed; another pod's, and a stranger's, are open."""
    for text, arrives in ((rules(), {A}), (REMOVE, {A, C, OUTSIDERS[1]})):
        lab.nft(text)
        with closing(in_space(lab.spaces[B], lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 253))) as listening:
            listening.settimeout(0.3)
            with closing(
                in_space(lab.spaces[A], lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
            ) as raw:
                for source in (C, OUTSIDERS[1], A):
                    raw.sendto(ip_packet(source, B), (B, 0))
            found = set()
            while True:
                try:
                    found.add(socket.inet_ntoa(listening.recv(100)[12:16]))
                except TimeoutError:
                    break
        assert found == arrives


def ip_packet(source: str, destination: str) -> bytes:
    """A packet of a protocol for experiments; the kernel fills in length and checksum."""
    return (
        struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 253, 0, socket.inet_aton(source), socket.inet_aton(destination)
        )
        + b"?"
    )


def test_a_pod_cannot_reach_the_node_by_the_address_of_the_link(lab: Lab) -> None:
    """A way that needs no address of the pods' range: IPv6 between the two ends of the pod's cable."""
    links = json.loads(run("ip", "-n", lab.node, "-j", "-6", "addr", "show", "dev", lab.interface_of(A)))
    address = next(each["local"] for each in links[0]["addr_info"] if each["local"].startswith("fe80"))
    with closing(in_space(lab.node, lambda: socket.create_server(("::", 6443), family=socket.AF_INET6))):
        for text, opens in (
            (REMOVE, OPEN),
            (deny_all(["10.244.0.0/16"]), CLOSED),
            (rules(NO_EGRESS), CLOSED),
            (rules(), CLOSED),
        ):
            lab.nft(text)
            with closing(in_space(lab.spaces[A], lambda: socket.socket(socket.AF_INET6))) as near:
                near.settimeout(3 if opens else 0.5)
                scope = in_space(lab.spaces[A], lambda: socket.if_nametoindex("eth0"))
                assert (near.connect_ex((address, 6443, 0, scope)) == 0) == opens, text


def test_the_kernel_takes_whatever_policies_there_are(lab: Lab) -> None:
    """All in one transaction each, checked and not applied."""
    for seed in range(1000, 1060):
        lab.nft(rendered(random_world(Random(seed), policies=12)), check_only=True)  # noqa: S311 – nothing secret


def test_both_families_of_a_pod_are_closed(lab: Lab) -> None:
    for address, own in ((A, "fd00:10:244::11"), (B, "fd00:10:244::12")):
        run("ip", "-n", lab.spaces[address], "addr", "replace", f"{own}/128", "dev", "eth0")
        run("ip", "-n", lab.spaces[address], "route", "replace", "default", "via", "fe80::1", "dev", "eth0")
        run("ip", "-n", lab.node, "addr", "replace", "fe80::1/64", "dev", lab.interface_of(address), "nodad")
        run("ip", "-n", lab.node, "route", "replace", f"{own}/128", "dev", lab.interface_of(address))
    dual = [pod("x", "a", None, {}, podIPs=[{"ip": A}, {"ip": "fd00:10:244::11"}])]
    dual += [pod("x", "b", None, {}, podIPs=[{"ip": B}, {"ip": "fd00:10:244::12"}])]
    allowed = policy(
        "x", "p", {"ingress": [{"from": [{"ipBlock": {"cidr": "fd00:10:244::11/128"}}], "ports": [{"port": 80}]}]}
    )
    listening = in_space(lab.spaces[B], lambda: socket.create_server(("fd00:10:244::12", 80), family=socket.AF_INET6))
    with closing(listening):
        for text, opens in (
            (rules(pods=dual), OPEN),
            (rules(policy("x", "p", {}), pods=dual), CLOSED),
            (rules(allowed, pods=dual), OPEN),
        ):
            lab.nft(text)
            with closing(in_space(lab.spaces[A], lambda: socket.socket(socket.AF_INET6))) as near:
                near.settimeout(3 if opens else 0.5)
                assert (near.connect_ex(("fd00:10:244::12", 80)) == 0) == opens, text
