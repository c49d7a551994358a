"""Reading pods: who policies mean, and who they do not."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.isolation.model import ContainerPort, Protocol
from sandbox.isolation.read_objects import read_pod
from tests.unit.isolation.worlds import pod


def test_a_running_pod_is_read() -> None:
    written = pod(
        "models", "engine", "10.244.0.5", {"a": "1"}, {"name": "http", "containerPort": 8080}, {"containerPort": 1}
    )
    found = read_pod(written)
    assert found is not None
    assert (found.namespace, found.name, found.node, dict(found.labels)) == ("models", "engine", "node-1", {"a": "1"})
    assert [str(address) for address in found.addresses] == ["10.244.0.5"]
    assert found.ports == (ContainerPort("http", Protocol.TCP, 8080),)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"status": {"phase": "Succeeded", "podIP": "10.244.0.5"}}, id="finished"),
        pytest.param({"status": {"phase": "Failed", "podIP": "10.244.0.5"}}, id="failed"),
        pytest.param({"status": {"phase": "Pending"}}, id="without an address"),
        pytest.param({"status": {"phase": "Running", "podIP": "10.244.0"}}, id="with an address that is none"),
        pytest.param({"spec": {"hostNetwork": True, "containers": []}}, id="on the host's network"),
        pytest.param({"status": None}, id="without a status"),
    ],
)
def test_who_policies_do_not_mean_is_left_out(change: dict[str, Any]) -> None:
    assert read_pod({**pod("models", "engine", "10.244.0.5", {}), **change}) is None


def test_a_pod_that_is_being_deleted_counts_until_it_has_ended() -> None:
    written = pod("models", "engine", "10.244.0.5", {})
    written["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert read_pod(written) is not None


def test_ports_of_sidecars_count_and_those_of_other_init_containers_do_not() -> None:
    written = pod("models", "engine", "10.244.0.5", {})
    port = {"containerPort": 1, "protocol": "UDP"}
    written["spec"]["initContainers"] = [
        {"restartPolicy": "Always", "ports": [{**port, "name": "sidecar"}]},
        {"ports": [{**port, "name": "init"}]},
    ]
    found = read_pod(written)
    assert found is not None
    assert found.ports == (ContainerPort("sidecar", Protocol.UDP, 1),)


def test_both_addresses_of_a_pod_count() -> None:
    written = pod("models", "engine", "10.244.0.5", {}, podIPs=[{"ip": "10.244.0.5"}, {"ip": "fd00::5"}])
    found = read_pod(written)
    assert found is not None
    assert [address.version for address in found.addresses] == [4, 6]


def test_a_pod_was_started_when_the_last_of_its_containers_was() -> None:
    """At a boot the pod's own time stays, and its containers are started anew."""
    states = [{"running": {"startedAt": "2026-01-02T00:00:10Z"}}, {"terminated": {"startedAt": "2026-01-02T00:00:05Z"}}]
    times: list[tuple[dict[str, Any], float]] = [
        ({}, 0),
        ({"startTime": "2026-01-01T00:00:00Z"}, 1767225600),
        ({"startTime": "not a time"}, 0),
        ({"startTime": "2026-01-01T00:00:00Z", "containerStatuses": [{"state": each} for each in states]}, 1767312010),
        ({"initContainerStatuses": [{"state": {"waiting": {}}}, {"state": states[1]}]}, 1767312005),
    ]
    for status, started_s in times:
        found = read_pod(pod("models", "engine", "10.244.0.5", {}, **status))
        assert found is not None
        assert found.started_s == started_s
