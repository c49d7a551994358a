"""Journey 6: forbidden ways are closed, allowed ones open, and without the policies the canaries get out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Pod
from lightkube.resources.networking_v1 import NetworkPolicy

from sandbox import config
from sandbox.cluster import agent
from sandbox.cluster.canaries import Canaries, Target, Verdict, ways
from sandbox.cluster.images import conformance
from sandbox.lifecycle.isolation import fixed_targets
from sandbox.lifecycle.site import Site
from sandbox.wiring import host
from tests.e2e.cluster_sandbox import Cluster
from tests.e2e.sandbox import MODEL, until

GETS_OUT = {"api", "api-node", "kubelet", "etcd", "outside", "dns-udp", "dns-tcp", "dns-figures"}
"""What listens for whoever may get out: a canary without a policy reaches all of it."""
CYCLONUS_TAGS = "conflict"
CYCLONUS_S = 900


@pytest.fixture
def site(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name, value in cluster.environment.items():
        if name.startswith("SANDBOX_"):
            monkeypatch.setenv(name, value)
    found = Site(host().world)
    yield found
    found.forget_kube()
    found.docker.client.close()


def send(site: Site, cluster: Cluster) -> Verdict:
    """Try every way between all places and everything that listens, the real engine and steward included."""
    pod = cluster.engine_pod().spec.containers[0]
    canaries = Canaries(site.kube, site.world.clock, image=pod.image)
    more = [
        Target("engine", str(site.kube.service_address("models", f"engine-{MODEL}")), 8080),
        Target("steward", str(site.kube.service_address("sandbox", "steward")), 8503),
    ]
    with site.outside() as beside:
        targets = [*fixed_targets(site), *beside, *more]
        return canaries.send(ways(targets, ("engine", "gateway", "page", "steward", "stranger")))


@contextmanager
def without_policies(cluster: Cluster) -> Iterator[None]:
    """Delete every network policy, and let the next `up` bring them back."""
    kube = cluster.kube
    for namespace in ("sandbox", "models", "intake"):
        for policy in list(kube.client.list(NetworkPolicy, namespace=namespace)):
            kube.delete(NetworkPolicy, str(policy.metadata.name if policy.metadata else ""), namespace=namespace)
    try:
        yield
    finally:
        cluster.up()


def test_no_forbidden_way_is_open_and_every_allowed_one_is(
    site: Site, cluster: Cluster, figure: Callable[[str], None]
) -> None:
    verdict = send(site, cluster)
    figure(
        f"canaries: {len(verdict.leaks)} of {verdict.n_forbidden} forbidden ways open, "
        f"{len(verdict.blocked)} of {len(verdict.tried) - verdict.n_forbidden} allowed ones closed"
    )
    assert verdict.n_forbidden >= 20
    assert [each.way.told() for each in verdict.leaks] == []
    assert [each.way.told() for each in verdict.blocked] == []
    strangers = [each for each in verdict.tried if each.way.place == "stranger" and each.way.target.name == "engine"]
    assert [each.is_open for each in strangers] == [False], "another namespace's pod does not reach an engine"


def test_with_the_policies_deleted_the_canaries_get_out(
    site: Site, cluster: Cluster, figure: Callable[[str], None]
) -> None:
    with without_policies(cluster):
        verdict = send(site, cluster)
    leaks = {(each.way.place, each.way.target.name) for each in verdict.leaks}
    figure(f"canaries without policies: {len(leaks)} of {verdict.n_forbidden} forbidden ways open")
    for place in ("engine", "gateway", "page"):
        assert {name for at, name in leaks if at == place} >= GETS_OUT - {"dns-udp", "dns-tcp"}, place
    assert ("engine", "dns-udp") in leaks
    assert ("stranger", "engine") in leaks
    assert not verdict.is_enforced


def test_policies_deleted_by_hand_are_brought_back_by_up_and_hold(site: Site, cluster: Cluster) -> None:
    assert send(site, cluster).is_enforced


def test_a_killed_agent_leaves_the_rules_and_comes_back(site: Site, cluster: Cluster) -> None:
    kube = cluster.kube
    if not agent.is_ready(kube):
        pytest.skip("this cluster's own network enforces policies: there is no agent to kill")
    (before,) = kube.pods(agent.NAMESPACE, agent.LABELS)
    kube.delete(Pod, str(before.metadata.name if before.metadata else ""), namespace=agent.NAMESPACE, grace_s=0)
    verdict = send(site, cluster)
    assert [each.way.told() for each in verdict.leaks] == []
    until(lambda: agent.is_ready(kube), 60, "the agent is back")


def test_the_agent_cleans_up_after_itself_and_up_brings_it_back(site: Site, cluster: Cluster) -> None:
    kube = cluster.kube
    if not agent.is_ready(kube):
        pytest.skip("this cluster's own network enforces policies: there is no agent to remove")
    assert "sandbox_isolation" in cluster.in_node("nft", "list", "tables")
    kube.delete(DaemonSet, agent.NAME, namespace=agent.NAMESPACE)
    until(lambda: "sandbox_isolation" not in cluster.in_node("nft", "list", "tables"), 60, "its table is gone")
    assert not send(site, cluster).is_enforced, "without the agent nothing enforces: the negative control"
    cluster.up()
    assert agent.is_ready(kube)
    assert send(site, cluster).is_enforced


@pytest.mark.timeout(1200)
def test_somebody_elses_conformance_tool_agrees(
    cluster: Cluster, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    cache = config.load().settings.cache
    program = conformance.cyclonus(cache, lambda _: None)
    ref = conformance.agnhost(cluster.docker, cache, lambda _: None)
    load_image(cluster, ref)
    passed, failed, said = run_cyclonus(cluster, program, tmp_path, "--include", CYCLONUS_TAGS)
    figure(f"cyclonus ({CYCLONUS_TAGS}): {passed} of {passed + failed} cases pass")
    assert passed >= 16, said[-4000:]
    assert failed == 0, said[-4000:]


def load_image(cluster: Cluster, ref: str) -> None:
    """Put a test's image into the node."""
    saving = subprocess.Popen(["docker", "save", ref], stdout=subprocess.PIPE)
    command = ["docker", "exec", "-i", cluster.node, "ctr", "-n", "k8s.io", "images", "import", "-"]
    assert saving.stdout is not None
    with saving.stdout:
        subprocess.run(command, stdin=saving.stdout, capture_output=True, check=True, timeout=120)
    assert saving.wait() == 0


def run_cyclonus(cluster: Cluster, program: Path, folder: Path, *words: str) -> tuple[int, int, str]:
    """Run generated cases, and count those that pass and fail."""
    command = [str(program), "generate", *words, "--perturbation-wait-seconds", "2", "--job-timeout-seconds", "2"]
    command += ["--server-port", "80", "--server-protocol", "TCP", "--cleanup-namespaces", "--ignore-loopback"]
    results = folder / "results.xml"
    command += ["--junit-results-file", str(results)]
    environment = os.environ | {"KUBECONFIG": str(cluster.home / "run" / "kubeconfig")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=CYCLONUS_S, check=False
    )
    said = done.stdout + done.stderr
    (folder / "cyclonus.log").write_text(said)
    cases = results.read_text() if results.exists() else ""
    failed = cases.count("<failure")
    return cases.count("<testcase") - failed, failed, said
