"""Journey 6: `make up` is killed at one step after the other; the next `make up` succeeds, every time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from lightkube.resources.apps_v1 import DaemonSet, Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod

from sandbox.cluster import agent, outside
from tests.e2e.cluster_sandbox import CAPITAL, Cluster

STEP_S = 120.0


@dataclass(frozen=True)
class Kill:
    """One kill: what is undone before, after which line of `make up`, and how long into the step that follows."""

    name: str
    undo: Callable[[Cluster], None]
    after: str
    into_s: float
    how: signal.Signals = signal.SIGKILL


def nothing(_: Cluster) -> None:
    pass


def whole_cluster(cluster: Cluster) -> None:
    cluster.run("down")


def deployed(cluster: Cluster) -> None:
    cluster.kube.delete(ConfigMap, "applied", namespace="sandbox")
    for name in ("gateway", "page"):
        cluster.kube.delete(Deployment, name, namespace="sandbox")


def proof(cluster: Cluster) -> None:
    cluster.kube.delete(ConfigMap, "isolation", namespace="sandbox")


def proof_and_agent(cluster: Cluster) -> None:
    proof(cluster)
    cluster.kube.delete(DaemonSet, agent.NAME, namespace=agent.NAMESPACE)


def engine(cluster: Cluster) -> None:
    cluster.kube.delete(Pod, cluster.engine_pod().metadata.name, namespace="models", grace_s=0)


def images(cluster: Cluster) -> None:
    said = cluster.in_node("ctr", "-n", "k8s.io", "images", "ls", "-q")
    names = [line for line in said.splitlines() if "sandbox/page" in line or "sandbox/agent" in line]
    assert names
    cluster.in_node("ctr", "-n", "k8s.io", "images", "rm", *names)


def stopped(cluster: Cluster) -> None:
    container = cluster.docker.container(cluster.node)
    assert container is not None
    container.stop(timeout=5)


KILLS = [
    Kill("while looking at the machine", nothing, "", 0.3),
    Kill("after the checks", nothing, "Check this machine", 0.0),
    Kill("while kind prepares the node", whole_cluster, "Build the images", 1.0),
    Kill("while kind starts the control plane", whole_cluster, "Build the images", 8.0),
    Kill("while the node gets ready", whole_cluster, "Make the cluster", 1.0),
    Kill("with Ctrl-C while kind makes the node", whole_cluster, "Build the images", 4.0, signal.SIGINT),
    Kill("while a stopped node starts", stopped, "Build the images", 0.5),
    Kill("while a started node gets ready", stopped, "Make the cluster", 1.0),
    Kill("while images are loaded, at the beginning", images, "Wait for the node", 0.2),
    Kill("while images are loaded", images, "Wait for the node", 2.0),
    Kill("while the platform is applied, at the beginning", deployed, "Load the images into the node", 0.1),
    Kill("while the platform is applied", deployed, "Load the images into the node", 0.6),
    Kill("while waiting for the gateway", deployed, "Deploy gateway, steward and page", 0.5),
    Kill("with Ctrl-C while waiting for the page", deployed, "Wait for the gateway", 0.2, signal.SIGINT),
    Kill("while canaries start", proof, "Wait for the page", 0.5),
    Kill("while canaries try", proof, "Wait for the page", 3.0),
    Kill("while the agent comes", proof_and_agent, "Wait for the page", 6.0),
    Kill("with Ctrl-C while canaries try", proof, "Wait for the page", 2.0, signal.SIGINT),
    Kill("while models are admitted", proof, "Prove the isolation", 0.2),
    Kill("while the engine starts", engine, "Admit the reviewed models", 0.3),
]


def kill_up(cluster: Cluster, kill: Kill) -> int:
    """Start `make up`, wait for a line of it, and kill all of it a little later; return its exit status."""
    up = subprocess.Popen(
        ["make", "--no-print-directory", "up"],
        cwd=cluster.checkout,
        env=cluster.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert up.stderr is not None
    deadline = time.monotonic() + STEP_S
    if kill.after:
        for line in up.stderr:
            if line.startswith(f"✓ {kill.after}"):
                break
            assert time.monotonic() < deadline, f"no line '{kill.after}' in {STEP_S} s"
    time.sleep(kill.into_s)  # a moment inside the step is what is wanted, not a condition
    os.killpg(up.pid, kill.how)
    up.stderr.close()
    return up.wait(timeout=60)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_the_next_up_succeeds_after_a_kill(cluster: Cluster, kill: Kill) -> None:
    kill.undo(cluster)
    kill_up(cluster, kill)
    told = cluster.up()
    assert [model["state"] for model in told["models"]] == ["ready"]
    assert "Paris" in cluster.ask(CAPITAL)
    left = cluster.docker.client.containers.list(all=True, filters={"label": f"{outside.LABEL}={cluster.name}"})
    assert left == [], "nothing half-done stays"
