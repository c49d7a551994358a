"""Journey 6: what people do to a cluster by hand; down, which leaves nothing, and up again, which has everything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx
import pytest
from lightkube.resources.core_v1 import Namespace

from tests.e2e.cluster_sandbox import CAPITAL, Cluster
from tests.e2e.sandbox import is_open, until


def refused(cluster: Cluster, *words: str, more: dict[str, str], code: int) -> str:
    """Run a command that must fail with one error, a hint and no traceback; return what it said."""
    done = cluster.run(*words, more=more, ok=False)
    assert done.returncode == code, f"exit {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert sum(line.startswith("error:") for line in done.stderr.splitlines()) == 1
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_namespaces_deleted_by_hand_are_brought_back(cluster: Cluster) -> None:
    kube = cluster.kube
    for name in ("models", "sandbox"):
        kube.delete(Namespace, name)
    told = cluster.up()
    assert [model["state"] for model in told["models"]] == ["ready"]
    assert "Paris" in cluster.ask(CAPITAL), "the key of before still works: the state is on this machine"


def test_a_node_removed_by_hand_is_made_anew(cluster: Cluster) -> None:
    container = cluster.docker.container(cluster.node)
    assert container is not None
    container.remove(force=True, v=True)
    cluster.up()
    assert "Paris" in cluster.ask(CAPITAL)


def test_a_cluster_of_that_name_that_is_not_ours_is_left_alone(cluster: Cluster, tmp_path: Path) -> None:
    said = refused(cluster, "up", more={"SANDBOX_HOME": str(tmp_path / "other")}, code=4)
    assert f"a kind cluster named '{cluster.name}' is there" in said
    assert "SANDBOX_CLUSTER_NAME" in said
    refused_down = cluster.run("down", more={"SANDBOX_HOME": str(tmp_path / "other")})
    assert refused_down.returncode == 0
    assert "Paris" in cluster.ask(CAPITAL), "it still runs"


def test_no_docker_engine_is_said_with_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    more = {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock", "SANDBOX_HOME": str(tmp_path / "other")}
    said = refused(cluster, "up", more=more, code=4)
    assert "no Docker engine" in said
    assert "SANDBOX_BACKEND=local" in said


def test_auto_runs_locally_and_says_why_where_no_docker_engine_answers(cluster: Cluster, tmp_path: Path) -> None:
    more = {
        "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock",
        "SANDBOX_HOME": str(tmp_path / "other"),
        "SANDBOX_BACKEND": "auto",
    }
    steps = cluster.run("up", "--dry-run", more=more).stdout
    assert "Start the gateway" in steps
    assert "Make the cluster" not in steps


def test_a_registry_that_cannot_be_reached_is_said_in_seconds_with_the_command_that_builds(
    cluster: Cluster, tmp_path: Path
) -> None:
    more = {
        "SANDBOX_HOME": str(tmp_path / "other"),
        "SANDBOX_CLUSTER_NAME": "sandbox-other",
        "SANDBOX_CLUSTER_NODE_IMAGE": "127.0.0.1:9/nobody/node:v1",
    }
    said = refused(cluster, "up", more=more, code=4)
    assert "127.0.0.1:9/nobody/node:v1" in said
    assert "make node-image" in said


def test_a_node_image_that_is_none_is_an_error_with_evidence_and_nothing_stays(
    cluster: Cluster, tmp_path: Path
) -> None:
    image = "sandbox/not-a-node:test"
    tar = subprocess.run(["tar", "-C", str(tmp_path), "-cf", "-", "."], capture_output=True, check=True).stdout
    subprocess.run(["docker", "import", "-", image], input=tar, capture_output=True, check=True)
    more = {
        "SANDBOX_HOME": str(tmp_path / "other"),
        "SANDBOX_CLUSTER_NAME": "sandbox-other",
        "SANDBOX_CLUSTER_NODE_IMAGE": image,
        "SANDBOX_PAGE_PORT": "18501",
        "SANDBOX_API_PORT": "18502",
    }
    try:
        said = refused(cluster, "up", more=more, code=4)
        assert image in said
        assert not cluster.docker.client.containers.list(
            all=True, filters={"label": "io.x-k8s.kind.cluster=sandbox-other"}
        )
    finally:
        subprocess.run(["docker", "rmi", image], capture_output=True, check=True)


def test_a_user_without_rights_to_docker_is_told_so(cluster: Cluster) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody without rights")
    becoming = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    script = f"import os; from sandbox.cluster.docker import Docker; {becoming}; Docker.connect()"
    python = cluster.checkout / ".venv" / "bin" / "python"
    done = subprocess.run(
        [str(python), "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.defpath, "PYTHONPATH": str(cluster.checkout), "HOME": "/nonexistent"},
    )
    assert "this user may not ask it" in done.stderr, done.stderr


def test_down_leaves_nothing_and_up_again_has_history_keys_and_models(cluster: Cluster) -> None:
    cluster.run("chat", "Remember the lighthouse.", "--max-tokens", "8")
    kubeconfig = Path.home() / ".kube" / "config"
    before = kubeconfig.read_bytes() if kubeconfig.exists() else None
    cluster.make("down")
    client = cluster.docker.client
    assert not client.containers.list(all=True, filters={"label": f"io.x-k8s.kind.cluster={cluster.name}"})
    assert not client.networks.list(names=[f"^{cluster.name}-kind$"])
    assert not (cluster.home / "run").exists()
    assert (kubeconfig.read_bytes() if kubeconfig.exists() else None) == before
    assert not is_open(cluster.page_port)
    assert not is_open(cluster.api_port)
    assert cluster.make("down").returncode == 0, "once more is harmless"

    told = cluster.up()
    assert "key" not in told, "the first key is shown once"
    assert "Paris" in cluster.ask(CAPITAL), "the key still works"
    url = f"http://127.0.0.1:{cluster.api_port}/sandbox/v1/chats"
    reply = httpx.get(url, headers={"Authorization": f"Bearer {cluster.key}"}, trust_env=False)
    assert "Remember the lighthouse." in [row["title"] for row in reply.json()["chats"]]


def test_local_processes_take_over_from_the_cluster_with_the_same_history(cluster: Cluster) -> None:
    cluster.run("up", "--backend", "local")
    try:
        assert not cluster.docker.client.containers.list(
            all=True, filters={"label": f"io.x-k8s.kind.cluster={cluster.name}"}
        )
        assert "Paris" in cluster.ask(CAPITAL)
        until(lambda: cluster.json("status")["running"], 30, "status says that it runs")
    finally:
        cluster.run("down")
