"""Which node an engine is planned for."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.errors import AcceleratorUnavailable, ClusterFailed
from sandbox.facts import Host
from sandbox.steward.nodes import node_host
from tests.fake_kubernetes import FakeCluster, node

pytestmark = pytest.mark.anyio

SMALL = node("small", cpu="1930m", memory="8142936Ki")
LARGE = node("large", cpu="8", memory="64Gi")
GPU = node("gpu", cpu="4", memory="16Gi", offers={"nvidia.com/gpu": "1"})


async def asked(*nodes: dict[str, Any], accelerator: Any = "cpu") -> Host:
    cluster = FakeCluster()
    cluster.nodes = list(nodes)
    client = cluster.client()
    try:
        return await node_host(client, accelerator)
    finally:
        await client.close()


async def test_the_one_node_says_what_it_can_give() -> None:
    assert await asked(SMALL) == Host(cores=1, memory_bytes=8142936 * 1024)


async def test_the_largest_node_is_taken() -> None:
    assert await asked(SMALL, LARGE, GPU) == Host(cores=8, memory_bytes=64 << 30)


@pytest.mark.parametrize(
    "closed",
    [
        node("n", cpu="64", memory="1Ti", is_ready=False),
        node("n", cpu="64", memory="1Ti", unschedulable=True),
        node("n", cpu="64", memory="1Ti", taints=[{"key": "node-role", "effect": "NoSchedule"}]),
    ],
    ids=["not ready", "cordoned", "tainted"],
)
async def test_a_node_that_takes_no_pods_does_not_count(closed: dict[str, Any]) -> None:
    assert await asked(closed, SMALL) == Host(cores=1, memory_bytes=8142936 * 1024)
    with pytest.raises(ClusterFailed, match="none of the cluster's 1 nodes"):
        await asked(closed)


async def test_an_accelerator_is_looked_for() -> None:
    assert await asked(LARGE, GPU, accelerator="cuda") == Host(cores=4, memory_bytes=16 << 30)
    with pytest.raises(AcceleratorUnavailable, match=r"nvidia\.com/gpu"):
        await asked(LARGE, accelerator="cuda")
