"""What is decided, by hand-written cases that a random cluster seldom has; nothing here knows nft."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from sandbox.isolation.model import Direction, Node, Protocol
from sandbox.isolation.rules import Chain, Endpoint
from tests.unit.isolation.reference import POD_RANGE, World
from tests.unit.isolation.worlds import NODE, namespace, pod, policy, ruleset_of

WEB = {"name": "web", "containerPort": 80}


def world(*pods: dict[str, Any], policies: list[dict[str, Any]]) -> World:
    return World(pods, [namespace("x", team="a"), namespace("y", team="b")], policies)


def chain(of: World, direction: Direction, address: str, node: Node = NODE) -> Chain | None:
    return ruleset_of(of, node).chains[direction].get(ip_address(address))


def test_pods_under_the_same_policies_share_a_chain() -> None:
    pods = [pod("x", f"p{number}", f"10.244.0.{number}", {}) for number in range(2, 6)]
    found = ruleset_of(world(*pods, policies=[policy("x", "p", {})]))
    assert len(found.chains[Direction.INGRESS]) == 4
    assert len({id(each) for each in found.chains[Direction.INGRESS].values()}) == 1


def test_a_port_name_is_the_destinations_own_for_ingress() -> None:
    pods = pod("x", "a", "10.244.0.2", {}, WEB), pod("x", "b", "10.244.0.3", {}, {**WEB, "containerPort": 8080})
    of = world(
        *pods, pod("x", "c", "10.244.0.4", {}), policies=[policy("x", "p", {"ingress": [{"ports": [{"port": "web"}]}]})]
    )
    ports = []
    for address in ("10.244.0.2", "10.244.0.3", "10.244.0.4"):
        found = chain(of, Direction.INGRESS, address)
        assert found is not None
        ports.append([allow.ports for allow in found.allows])
    assert ports == [[{Protocol.TCP: ((80, 80),)}], [{Protocol.TCP: ((8080, 8080),)}], []]


def test_a_port_name_is_looked_up_in_every_peer_for_egress() -> None:
    pods = pod("x", "a", "10.244.0.2", {}, WEB), pod("y", "b", "10.244.0.3", {}, {**WEB, "containerPort": 8080})
    rule = {"to": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}], "ports": [{"port": "web"}]}
    found = chain(world(*pods, policies=[policy("x", "p", {"egress": [rule]})]), Direction.EGRESS, "10.244.0.2")
    assert found is not None
    (allow,) = found.allows
    assert allow.endpoints == (Endpoint(4, int(ip_address("10.244.0.3")), Protocol.TCP, 8080),)
    assert allow.ports == {}


def test_a_rule_that_means_nobody_is_left_out_instead_of_meaning_anybody() -> None:
    rule = {"from": [{"podSelector": {"matchLabels": {"a": "nobody"}}}]}
    found = chain(
        world(pod("x", "a", "10.244.0.2", {}), policies=[policy("x", "p", {"ingress": [rule]})]),
        Direction.INGRESS,
        "10.244.0.2",
    )
    assert found is not None
    assert found.allows == ()


def test_only_this_nodes_pods_are_isolated_here_and_all_are_known() -> None:
    there = pod("x", "b", "10.244.1.3", {})
    there["spec"]["nodeName"] = "node-2"
    of = world(pod("x", "a", "10.244.0.2", {}), there, policies=[policy("x", "p", {})])
    assert chain(of, Direction.INGRESS, "10.244.0.2") is not None
    assert chain(of, Direction.INGRESS, "10.244.1.3") is None
    assert ip_address("10.244.1.3") in ruleset_of(of).pods
    assert chain(of, Direction.INGRESS, "10.244.1.3", Node(None, (POD_RANGE,))) is not None


def test_an_address_that_two_pods_claim_is_nobodys() -> None:
    found = ruleset_of(world(pod("x", "old", "10.244.0.2", {}), pod("y", "new", "10.244.0.2", {}), policies=[]))
    assert ip_address("10.244.0.2") not in found.pods


def test_after_a_boot_what_the_api_says_of_this_nodes_pods_can_be_too_old() -> None:
    old, new = ({"startTime": f"2026-01-0{day}T00:00:00Z"} for day in (1, 3))
    there = pod("x", "c", "10.244.1.2", {}, **old)
    there["spec"]["nodeName"] = "node-2"
    pods = pod("x", "a", "10.244.0.2", {}, **old), pod("x", "b", "10.244.0.2", {}, **new), there
    booted_s = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    of = world(*pods, policies=[policy("x", "p", {})])
    found = ruleset_of(of, replace(NODE, booted_s=booted_s))
    assert ip_address("10.244.0.2") in found.pods, "the new pod's, no longer claimed by the old one"
    assert ip_address("10.244.1.2") in found.pods, "another node was not booted"
    assert ip_address("10.244.0.2") not in ruleset_of(of).pods
    only_old = world(pods[0], policies=[])
    assert ip_address("10.244.0.2") not in ruleset_of(only_old, replace(NODE, booted_s=booted_s)).pods


def test_a_finished_pod_gives_its_address_away() -> None:
    done = pod("x", "old", "10.244.0.2", {}, phase="Succeeded")
    assert ip_address("10.244.0.2") in ruleset_of(world(done, pod("y", "new", "10.244.0.2", {}), policies=[])).pods


def test_a_pod_in_a_namespace_not_heard_of_matches_no_namespace_selector() -> None:
    policies = [policy("x", "p", {"ingress": [{"from": [{"namespaceSelector": {}}]}]})]
    of = world(pod("x", "a", "10.244.0.2", {}), pod("new", "b", "10.244.0.3", {}), policies=policies)
    found = chain(of, Direction.INGRESS, "10.244.0.2")
    assert found is not None
    assert found.allows[0].peers is not None
    assert ip_address("10.244.0.2") in found.allows[0].peers
    assert ip_address("10.244.0.3") not in found.allows[0].peers


def test_the_same_selector_means_each_policys_own_namespace() -> None:
    rule: dict[str, Any] = {"from": [{"podSelector": {}}]}
    of = world(
        pod("x", "a", "10.244.0.2", {}),
        pod("y", "b", "10.244.0.3", {}),
        policies=[policy(name, "p", {"ingress": [rule]}) for name in "xy"],
    )
    for own, other in (("10.244.0.2", "10.244.0.3"), ("10.244.0.3", "10.244.0.2")):
        found = chain(of, Direction.INGRESS, own)
        assert found is not None
        assert found.allows[0].peers is not None
        assert ip_address(own) in found.allows[0].peers
        assert ip_address(other) not in found.allows[0].peers


def test_a_policy_says_nothing_of_other_namespaces() -> None:
    of = world(pod("x", "a", "10.244.0.2", {}), pod("y", "b", "10.244.0.3", {}), policies=[policy("x", "p", {})])
    assert chain(of, Direction.INGRESS, "10.244.0.3") is None
