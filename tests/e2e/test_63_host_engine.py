"""Journey 6: an engine on this machine, behind the cluster's gateway and under the cluster's policies."""

from __future__ import annotations

from pathlib import Path

from sandbox import catalogue, config
from sandbox.cluster.api import COMPONENT, INSTANCE
from sandbox.engine.discover import discover
from sandbox.store import Store
from tests.e2e.cluster_sandbox import Cluster
from tests.e2e.host_engine import ALLOWED, CLOSED, try_host_engine
from tests.e2e.sandbox import MODEL


def test_an_engine_of_this_machine_answers_the_gateway_and_nobody_else(cluster: Cluster, tmp_path: Path) -> None:
    (gateway,) = cluster.kube.pods("sandbox", {COMPONENT: "gateway", INSTANCE: "main"})
    assert gateway.spec is not None
    seen = try_host_engine(
        cluster.docker,
        cluster.kube,
        network=f"{cluster.name}-kind",
        node=cluster.node,
        image=str(gateway.spec.containers[0].image),
        program=discover("llama-server", cache=config.load().settings.cache),
        model_path=Store(cluster.home).path_of(catalogue.load()[MODEL].sha256),
        home=tmp_path / "home",
    )
    assert seen["gateway"] == ALLOWED
    assert seen["page"] == dict.fromkeys(ALLOWED, CLOSED)
