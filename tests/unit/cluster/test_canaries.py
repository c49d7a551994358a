from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.cluster import canaries
from sandbox.cluster.canaries import Target, Tried, Verdict, Way, pod, stand_in, ways

TARGETS = [
    Target("api", "10.96.0.1", 443),
    Target("api-node", "172.18.0.2", 6443),
    Target("kubelet", "172.18.0.2", 10250),
    Target("etcd", "172.18.0.2", 2379),
    Target("gateway", "10.96.1.1", 8502),
    Target("page", "10.96.1.2", 8501),
    Target("steward", "10.244.0.9", 8503),
    Target("engine", "10.96.1.3", 8080),
    Target("outside", "172.18.0.9", 8099),
    Target("dns-udp", "10.96.0.10", 53, "udp"),
    Target("dns-tcp", "10.96.0.10", 53),
    Target("dns-figures", "10.96.0.10", 9153),
]


def verdict(leak: str = "", block: str = "") -> Verdict:
    tried = []
    for way in ways(TARGETS):
        name = f"{way.place}>{way.target.name}"
        tried.append(Tried(way, is_open=(way.is_allowed or name == leak) and name != block))
    return Verdict(tuple(tried))


def test_at_least_twenty_ways_are_forbidden() -> None:
    assert sum(not way.is_allowed for way in ways(TARGETS)) >= 20


def test_an_engine_may_reach_nothing() -> None:
    assert not any(way.is_allowed for way in ways(TARGETS) if way.place == "engine")


def test_all_as_it_should_be_is_enforced() -> None:
    assert verdict().is_enforced


@pytest.mark.parametrize(
    "name", [f"{way.place}>{way.target.name}" for way in ways(TARGETS) if not way.is_allowed], ids=str
)
def test_any_single_leak_turns_the_verdict(name: str) -> None:
    assert not verdict(leak=name).is_enforced


@pytest.mark.parametrize("name", [f"{way.place}>{way.target.name}" for way in ways(TARGETS) if way.is_allowed], ids=str)
def test_any_single_blocked_way_turns_the_verdict(name: str) -> None:
    assert not verdict(block=name).is_enforced


def test_nothing_tried_proves_nothing() -> None:
    assert not Verdict(()).is_enforced


def test_only_allowed_ways_prove_nothing() -> None:
    assert not Verdict((Tried(Way("stranger", TARGETS[0], is_allowed=True), is_open=True),)).is_enforced


@given(st.lists(st.booleans(), min_size=len(ways(TARGETS)), max_size=len(ways(TARGETS))))
def test_the_verdict_is_good_only_when_every_way_is_right(found: list[bool]) -> None:
    tried = tuple(Tried(way, is_open) for way, is_open in zip(ways(TARGETS), found, strict=True))
    assert Verdict(tried).is_enforced == all(each.is_right for each in tried)


@pytest.mark.parametrize("place", ["engine", "gateway", "page", "stranger"])
def test_a_canary_stands_under_the_policies_of_its_place_and_behind_no_service(place: canaries.Place) -> None:
    made = pod(place, TARGETS, "sandbox/engine@sha256:x")
    assert made["metadata"]["namespace"] == canaries.NAMESPACES[place]
    assert made["metadata"]["labels"]["app.kubernetes.io/component"] == place
    assert made["metadata"]["labels"]["app.kubernetes.io/instance"] == "canary"
    (container,) = made["spec"]["containers"]
    assert container["command"] == ["/canary"]
    assert container["args"][0] == "api=tcp:10.96.0.1:443"
    assert "dns-udp=udp:10.96.0.10:53" in container["args"]


def test_the_stand_in_fits_into_a_restricted_namespace() -> None:
    (container,) = stand_in("sandbox/gateway@sha256:x")["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["runAsNonRoot"] is True
