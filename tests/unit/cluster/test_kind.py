from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from sandbox.cluster.docker import Docker
from sandbox.cluster.kind import LABEL, STATE_IN_NODE, KindCluster
from sandbox.errors import ClusterFailed, ForeignCluster
from sandbox.home import Home


class FakeNode:
    def __init__(self, engine: FakeEngine, name: str, source: Path, status: str = "running") -> None:
        self.name, self.status = name, status
        self.attrs = {"Mounts": [{"Destination": STATE_IN_NODE, "Source": str(source)}]}
        self._engine = engine

    def start(self) -> None:
        self.status = "running"

    def remove(self, *, force: bool, v: bool) -> None:
        assert force
        assert v
        self._engine.nodes.remove(self)

    def logs(self, *, tail: int) -> bytes:
        return b"the node said this last"


class FakeEngine:
    """A Docker engine as far as a kind cluster is found, started and removed."""

    def __init__(self) -> None:
        self.nodes: list[FakeNode] = []
        self.networks_there: list[str] = []

    @property
    def client(self) -> Any:
        return SimpleNamespace(
            containers=SimpleNamespace(list=self._list, get=lambda name: self.nodes[0]),
            networks=SimpleNamespace(list=self._networks),
        )

    def _list(self, *, all: bool, filters: Mapping[str, str], ignore_removed: bool) -> list[FakeNode]:  # noqa: A002
        assert filters == {"label": f"{LABEL}=sandbox"}
        return list(self.nodes)

    def _networks(self, *, names: list[str]) -> list[Any]:
        found = [name for name in self.networks_there if names == [f"^{name}$"]]
        return [SimpleNamespace(remove=lambda name=name: self.networks_there.remove(name)) for name in found]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def docker(engine: FakeEngine) -> Docker:
    return Docker(cast(Any, engine.client))


@pytest.fixture
def cluster(tmp_path: Path) -> KindCluster:
    return KindCluster("sandbox", "node:1", 8501, 8502, Home(tmp_path / "home"))


def kind_program(tmp_path: Path, script: str) -> Path:
    program = tmp_path / "kind"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_ports_are_published_on_loopback_only_and_models_are_read_only(cluster: KindCluster) -> None:
    (node,) = cluster.config()["nodes"]
    assert {port["listenAddress"] for port in node["extraPortMappings"]} == {"127.0.0.1"}
    assert [(port["containerPort"], port["hostPort"]) for port in node["extraPortMappings"]] == [
        (30501, 8501),
        (30502, 8502),
    ]
    mounts = {mount["containerPath"]: mount.get("readOnly", False) for mount in node["extraMounts"]}
    assert mounts == {"/sandbox/models": True, "/sandbox/state": False}
    assert cluster.config()["networking"]["apiServerAddress"] == "127.0.0.1"


def test_a_cluster_that_is_not_there_is_absent(cluster: KindCluster, docker: Docker) -> None:
    assert cluster.state(docker) == "absent"
    assert cluster.is_removed(docker)


def test_a_cluster_of_another_data_folder_is_left_alone(
    cluster: KindCluster, docker: Docker, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.nodes.append(FakeNode(engine, "sandbox-control-plane", tmp_path / "elsewhere"))
    with pytest.raises(ForeignCluster) as told:
        cluster.state(docker)
    assert "SANDBOX_CLUSTER_NAME" in told.value.hint
    engine.networks_there.append(cluster.network)
    assert cluster.is_removed(docker)
    cluster.remove(docker)
    assert len(engine.nodes) == 1, "removing ours does not remove theirs"
    assert engine.networks_there == [cluster.network]


def made(cluster: KindCluster, docker: Docker, engine: FakeEngine, tmp_path: Path) -> None:
    keeps = "cat > $(dirname $0)/config; env > $(dirname $0)/env"
    program = kind_program(tmp_path, f"{keeps}; echo Creating cluster; echo ' ✓ Preparing nodes 📦'")
    engine.nodes.append(FakeNode(engine, cluster.node, cluster.home.path / "state"))
    engine.networks_there.append(cluster.network)
    said: list[str] = []
    cluster.create(docker, program, {"PATH": "/usr/bin:/bin", "KIND_EXPERIMENTAL_PROVIDER": "podman"}, said.append)
    assert said == ["Preparing nodes 📦"]


def test_kind_is_given_its_configuration_and_a_network_of_our_own(
    cluster: KindCluster, docker: Docker, engine: FakeEngine, tmp_path: Path
) -> None:
    made(cluster, docker, engine, tmp_path)
    assert yaml.safe_load((tmp_path / "config").read_text()) == cluster.config()
    environment = (tmp_path / "env").read_text().splitlines()
    assert f"KIND_EXPERIMENTAL_DOCKER_NETWORK={cluster.network}" in environment
    assert "KIND_EXPERIMENTAL_PROVIDER=docker" in environment
    assert cluster.state(docker) == "running"


def test_a_stopped_cluster_is_started_again(
    cluster: KindCluster, docker: Docker, engine: FakeEngine, tmp_path: Path
) -> None:
    made(cluster, docker, engine, tmp_path)
    engine.nodes[0].status = "exited"
    assert cluster.state(docker) == "stopped"
    cluster.start(docker)
    assert cluster.state(docker) == "running"


def test_other_ports_or_another_image_are_noticed(
    cluster: KindCluster, docker: Docker, engine: FakeEngine, tmp_path: Path
) -> None:
    made(cluster, docker, engine, tmp_path)
    others = [
        KindCluster("sandbox", "node:1", 9501, 8502, cluster.home),
        KindCluster("sandbox", "node:2", 8501, 8502, cluster.home),
    ]
    assert [other.state(docker) for other in others] == ["changed", "changed"]


def test_a_cluster_whose_making_was_cut_short_is_unfinished(
    cluster: KindCluster, docker: Docker, engine: FakeEngine
) -> None:
    engine.nodes.append(FakeNode(engine, cluster.node, cluster.home.path / "state"))
    assert cluster.state(docker) == "unfinished"
    cluster.home.run.mkdir(parents=True)
    cluster.home.cluster.write_text("{")
    assert cluster.state(docker) == "unfinished"


def test_a_failed_creation_tells_what_kind_said_and_leaves_nothing(
    cluster: KindCluster, docker: Docker, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.nodes.append(FakeNode(engine, cluster.node, cluster.home.path / "state"))
    engine.networks_there.append(cluster.network)
    program = kind_program(tmp_path, "cat > /dev/null; echo ERROR: failed to init node; exit 1")
    with pytest.raises(ClusterFailed) as told:
        cluster.create(docker, program, {}, lambda _: None)
    assert "failed to init node" in told.value.message
    assert "the node said this last" in told.value.message
    assert cluster.is_removed(docker)
    assert not cluster.home.cluster.exists()


def test_removing_leaves_no_node_no_network_and_no_kubeconfig(
    cluster: KindCluster, docker: Docker, engine: FakeEngine, tmp_path: Path
) -> None:
    made(cluster, docker, engine, tmp_path)
    cluster.home.kubeconfig.write_text("x")
    engine.networks_there.append("kind")
    cluster.remove(docker)
    assert cluster.state(docker) == "absent"
    assert cluster.is_removed(docker)
    assert engine.networks_there == ["kind"], "a network of other kind clusters stays"
    assert not cluster.home.kubeconfig.exists()


def test_what_was_made_is_remembered_with_its_name(
    cluster: KindCluster, docker: Docker, engine: FakeEngine, tmp_path: Path
) -> None:
    made(cluster, docker, engine, tmp_path)
    assert json.loads(cluster.home.cluster.read_text())["name"] == "sandbox"
