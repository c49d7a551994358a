"""Reading policies: what is understood, and that the rest isolates instead of opening."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.isolation.model import BlockPeer, Direction, PodPeer, PortName, PortRange, Protocol, Rule
from sandbox.isolation.read_policy import read_policy
from sandbox.isolation.selectors import EVERYTHING, Operator, Requirement, Selector
from tests.unit.isolation.worlds import policy


def read(**spec: Any) -> Any:
    return read_policy(policy("models", "p", spec))


@pytest.mark.parametrize(
    ("spec", "isolates"),
    [
        pytest.param({}, {"ingress"}, id="nothing said: ingress"),
        pytest.param({"egress": [{}]}, {"ingress", "egress"}, id="egress rules without types: both"),
        pytest.param({"egress": []}, {"ingress"}, id="empty egress without types: ingress"),
        pytest.param({"policyTypes": ["Egress"], "ingress": [{}]}, {"egress"}, id="types decide, not rules"),
        pytest.param({"policyTypes": ["Ingress", "Egress"]}, {"ingress", "egress"}, id="both, without rules"),
    ],
)
def test_policy_types_default_as_the_api_server_does(spec: dict[str, Any], isolates: set[str]) -> None:
    read_one = read(**spec)
    assert read_one.fault is None
    assert {each.value for each in Direction if read_one.rules(each) is not None} == isolates


def test_absent_and_empty_lists_in_a_rule_mean_no_restriction() -> None:
    assert read(ingress=[{}, {"from": [], "ports": []}, {"from": None}]).ingress == (Rule(None, None),) * 3


def test_no_rules_let_nothing_through() -> None:
    assert read(policyTypes=["Ingress", "Egress"], ingress=None, egress=[]).ingress == ()


def test_peers_are_read_as_and_within_and_or_between() -> None:
    both = {"podSelector": {"matchLabels": {"a": "1"}}, "namespaceSelector": {}}
    rule = read(ingress=[{"from": [both, {"namespaceSelector": {}}, {"podSelector": {}}]}]).ingress[0]
    one = Selector((Requirement("a", Operator.IN, frozenset({"1"})),))
    assert rule.peers == (PodPeer(one, EVERYTHING), PodPeer(EVERYTHING, EVERYTHING), PodPeer(EVERYTHING, None))


def test_ports_are_read() -> None:
    ports = [{}, {"port": 80}, {"port": 80, "endPort": 90, "protocol": "UDP"}, {"port": "web", "protocol": "SCTP"}]
    assert read(ingress=[{"ports": ports}]).ingress[0].ports == (
        PortRange(Protocol.TCP, 0, 65535),
        PortRange(Protocol.TCP, 80, 80),
        PortRange(Protocol.UDP, 80, 90),
        PortName(Protocol.SCTP, "web"),
    )


def test_a_block_is_a_network_less_its_exceptions() -> None:
    rule = read(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/29", "except": ["10.0.0.2/31"]}}]}]).egress[0]
    (block,) = rule.peers
    assert isinstance(block, BlockPeer)
    assert block.addresses.v4 == ((0x0A000000, 0x0A000001), (0x0A000004, 0x0A000007))


@pytest.mark.parametrize(
    ("spec", "directions", "said"),
    [
        pytest.param({"policyTypes": ["Ingres"]}, {"ingress", "egress"}, "policyTypes", id="unknown type"),
        pytest.param({"policyTypes": ["Egress"], "newField": 1}, {"egress"}, "newField", id="unknown field"),
        pytest.param({"ingress": [{"from": [{"serviceSelector": {}}]}]}, {"ingress"}, "serviceSelector", id="new peer"),
        pytest.param(
            {"ingress": [{"from": [{"podSelector": {}, "nodeSelector": {}}]}]},
            {"ingress"},
            "nodeSelector",
            id="narrowed",
        ),
        pytest.param({"ingress": [{"from": [{}]}]}, {"ingress"}, "selectors or an ipBlock", id="empty peer"),
        pytest.param(
            {"ingress": [{"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
            {"ingress"},
            "selectors or an ipBlock",
            id="peer of both kinds",
        ),
        pytest.param(
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0/8"}}]}]}, {"ingress", "egress"}, "10.0.0", id="bad range"
        ),
        pytest.param(
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]}, {"ingress", "egress"}, "no range", id="no prefix"
        ),
        pytest.param(
            {
                "policyTypes": ["Egress"],
                "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}],
            },
            {"egress"},
            "not within",
            id="exception outside",
        ),
        pytest.param(
            {"ingress": [{"ports": [{"port": 90, "endPort": 80}]}]}, {"ingress"}, "endPort", id="backward range"
        ),
        pytest.param(
            {"ingress": [{"ports": [{"port": "web", "endPort": 80}]}]}, {"ingress"}, "endPort", id="named range"
        ),
        pytest.param({"ingress": [{"ports": [{"port": 0}]}]}, {"ingress"}, "port", id="port 0"),
        pytest.param({"ingress": [{"ports": [{"port": True}]}]}, {"ingress"}, "port", id="port that is a boolean"),
        pytest.param({"ingress": [{"ports": [{"protocol": "ICMP"}]}]}, {"ingress"}, "protocol", id="unknown protocol"),
        pytest.param({"ingress": "all"}, {"ingress"}, "ingress", id="not a list"),
        pytest.param("nonsense", {"ingress", "egress"}, "", id="not a mapping"),
    ],
)
def test_what_is_not_understood_isolates_and_lets_nothing_through(spec: Any, directions: set[str], said: str) -> None:
    found = read_policy(policy("models", "p", spec))
    assert found.fault is not None
    assert said in found.fault
    assert {each.value for each in Direction if found.rules(each) == ()} == directions
    assert all(found.rules(each) in ((), None) for each in Direction)


@pytest.mark.parametrize(
    "selector", [{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}, {"matchFields": {}}, "x"]
)
def test_a_selector_that_is_not_understood_selects_the_whole_namespace(selector: Any) -> None:
    found = read(podSelector=selector)
    assert found.fault is not None
    assert found.pods == EVERYTHING


def test_a_selector_that_is_understood_is_kept_where_the_rest_is_not() -> None:
    found = read(podSelector={"matchLabels": {"a": "1"}}, newField=1)
    assert found.pods.selects({"a": "1"})
    assert not found.pods.selects({"a": "2"})


@pytest.mark.parametrize(
    "claim", [{"operator": "In"}, {"operator": "NotIn", "values": []}, {"operator": "Exists", "values": ["1"]}]
)
def test_an_expression_with_the_wrong_number_of_values_is_not_understood(claim: dict[str, Any]) -> None:
    assert read(podSelector={"matchExpressions": [{"key": "a", **claim}]}).fault is not None
