"""The text: what it must not be talked into, and that it stands for itself."""

from __future__ import annotations

import ipaddress
import re

import pytest

from sandbox.isolation import REMOVE, deny_all
from sandbox.isolation.model import Node
from sandbox.isolation.nft import marker
from sandbox.isolation.text import comment
from tests.unit.isolation.interpreter import Packet, Table
from tests.unit.isolation.reference import POD_RANGE, World
from tests.unit.isolation.worlds import namespace, pod, policy, rendered

PODS = World([pod("x", "a", "10.244.0.2", {}), pod("x", "b", "10.244.0.3", {})], [namespace("x")], [])
OPEN = Table.of(rendered(PODS))


def test_every_text_replaces_the_table_in_its_own_transaction() -> None:
    for text in (rendered(PODS), deny_all(["10.244.0.0/16"])):
        assert text.startswith(REMOVE + "table inet sandbox_isolation {\n")
        assert text.count("flush") == 0


def test_the_marker_tells_texts_apart_and_is_in_them() -> None:
    one, other = rendered(PODS), rendered(World(PODS.pods, PODS.namespaces, [policy("x", "p", {})]))
    assert marker(one) != marker(other)
    assert f"chain {marker(one)} {{" in one


@pytest.mark.parametrize(
    ("packet", "hook"),
    [
        pytest.param(Packet("10.244.0.2", "192.0.2.1", "tcp", 80, "veth1"), "forward", id="pod to outside"),
        pytest.param(Packet("192.0.2.1", "10.244.0.2", "tcp", 80, "eth0"), "forward", id="outside to pod"),
        pytest.param(Packet("10.244.0.2", "10.244.0.3", "tcp", 80, "veth1"), "forward", id="pod to pod"),
        pytest.param(Packet("10.244.0.2", "172.18.0.2", "tcp", 80, "veth1"), "input", id="pod to node"),
        pytest.param(Packet("fe80::2", "fe80::1", "tcp", 80, "veth1"), "input", id="pod to node by link-local address"),
        pytest.param(
            Packet("192.0.2.7", "192.0.2.1", "tcp", 80, "veth1"), "forward", id="pod under a stranger's address"
        ),
    ],
)
def test_before_the_policies_are_known_pods_are_denied_everything(packet: Packet, hook: str) -> None:
    assert Table.of(deny_all(["10.244.0.0/16"])).verdict(hook, packet) == "drop"


@pytest.mark.parametrize(
    ("packet", "hook"),
    [
        pytest.param(Packet("192.0.2.1", "172.18.0.2", "tcp", 22, "eth0"), "input", id="outside to node"),
        pytest.param(Packet("10.244.0.1", "10.244.0.1", "tcp", 80, "lo"), "input", id="node to itself"),
        pytest.param(
            Packet("10.244.0.2", "10.244.0.1", "tcp", 9, "veth1", "established", "reply"), "input", id="answer"
        ),
    ],
)
def test_before_the_policies_are_known_the_node_goes_on(packet: Packet, hook: str) -> None:
    assert Table.of(deny_all(["10.244.0.0/16"])).verdict(hook, packet) == "accept"
    assert OPEN.verdict(hook, packet) == "accept"


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(Packet("10.244.0.3", "192.0.2.1", "tcp", 80, "veth1", spoofed=True), id="another pod's address"),
        pytest.param(Packet("192.0.2.9", "192.0.2.1", "tcp", 80, "veth1"), id="a stranger's address"),
        pytest.param(Packet("10.244.0.9", "192.0.2.1", "tcp", 80, "veth1"), id="nobody's address"),
        pytest.param(
            Packet("10.244.0.3", "10.244.0.2", "tcp", 80, "veth1", "established", "reply", spoofed=True), id="an answer"
        ),
        pytest.param(Packet("fd00::2", "fd00::3", "tcp", 80, "veth1"), id="a family that pods do not have"),
    ],
)
def test_a_pod_sends_from_its_own_address_only(packet: Packet) -> None:
    assert OPEN.verdict("forward", packet) == "drop"


def test_a_pod_outside_the_ranges_is_under_its_policies_all_the_same() -> None:
    world = World([pod("x", "a", "10.9.0.2", {})], [namespace("x")], [policy("x", "p", {})])
    assert Table.of(rendered(world)).verdict("forward", Packet("192.0.2.1", "10.9.0.2", "tcp", 80, "eth0")) == "drop"


def test_pods_of_both_families_are_isolated_in_both() -> None:
    dual = pod("x", "a", None, {}, podIPs=[{"ip": "10.244.0.2"}, {"ip": "fd00::2"}])
    spec = {"ingress": [{"from": [{"ipBlock": {"cidr": "fd00:1::/64", "except": ["fd00:1::8/125"]}}]}]}
    table = Table.of(rendered(World([dual], [namespace("x")], [policy("x", "p", spec)])))
    found = {
        source: table.verdict(
            "forward", Packet(source, "fd00::2" if ":" in source else "10.244.0.2", "tcp", 80, "eth0")
        )
        for source in ("fd00:1::1", "fd00:1::9", "fd00:2::1", "192.0.2.1")
    }
    assert found == {"fd00:1::1": "accept", "fd00:1::9": "drop", "fd00:2::1": "drop", "192.0.2.1": "drop"}


def test_a_connections_own_direction_is_judged_however_old_it_is() -> None:
    closed = Table.of(rendered(World(PODS.pods, PODS.namespaces, [policy("x", "p", {"policyTypes": ["Egress"]})])))
    old = Packet("10.244.0.2", "192.0.2.1", "tcp", 80, "veth1", "established", "original")
    assert OPEN.verdict("forward", old) == "accept"
    assert closed.verdict("forward", old) == "reject"


@pytest.mark.parametrize("name", ['x" accept', "a{b", "ein\nzeiler", "ü", "x" * 300])
def test_a_name_cannot_end_its_comment(name: str) -> None:
    assert re.fullmatch(r'comment "[^"\n{}]{1,120}"', comment(name))


@pytest.mark.parametrize("name", ['veth" accept', "", "veth *", "a" * 16])
def test_an_interface_must_have_the_name_of_one(name: str) -> None:
    with pytest.raises(ValueError, match="no name of an interface"):
        deny_all(["10.244.0.0/16"], [name])
    with pytest.raises(ValueError, match="no name of an interface"):
        rendered(PODS, Node("node-1", (POD_RANGE,), (name,)))


def test_ranges_may_overlap() -> None:
    text = deny_all(["10.244.0.0/16", ipaddress.ip_network("10.244.3.0/24"), "fd00::/56"])
    assert "elements = { 10.244.0.0-10.244.255.255 }" in text
    assert "elements = { fd00::-fd00::ff:ffff:ffff:ffff:ffff }" in text
