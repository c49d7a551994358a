"""Engines outside the cluster, as the steward in it sees them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import anyio.lowlevel
import pytest

from sandbox import catalogue, plan
from sandbox.cluster.host_engine import host_engine_objects
from sandbox.engine.protocol import EngineAddress
from sandbox.errors import NotRunning
from sandbox.facts import Host
from sandbox.steward.registered import RegisteredEngine, RegisteredStarter
from sandbox.steward.starter import TendedEngine
from sandbox.units import GIB
from sandbox.wire.neutral import Delta, Event, Question
from tests.fake_kubernetes import FakeCluster

pytestmark = pytest.mark.anyio

CARD = catalogue.load()["smollm2-135m-instruct"]
PLAN = plan.make(CARD, Host(cores=4, memory_bytes=16 * GIB), plan.Limits())
ADDRESS = EngineAddress("llama-server", "http://10.96.0.7:8080", CARD.id, key="a-key")


async def no_sleep(_: float) -> None:
    await anyio.lowlevel.checkpoint()


def starter(cluster: FakeCluster) -> RegisteredStarter:
    return RegisteredStarter(CARD, client=cluster.client(), read_key=lambda: "a-key", sleep=no_sleep)


def registered(cluster: FakeCluster, **change: Any) -> None:
    service = host_engine_objects(CARD, "172.18.0.1", 40001, PLAN)[0]
    service["spec"]["clusterIP"] = "10.96.0.7"
    cluster.stored["services"][service["metadata"]["name"]] = service | change


async def test_a_registered_engine_is_found_with_its_plan() -> None:
    cluster = FakeCluster()
    registered(cluster)
    found = starter(cluster)
    engine = await found.start()
    assert engine.address == EngineAddress(
        "llama-server", "http://10.96.0.7:8080", CARD.id, key="a-key", context_tokens=PLAN.context_tokens
    )
    assert found.plan() == PLAN
    assert cluster.applied == []
    await engine.stop()


async def test_without_a_service_there_is_nothing_to_serve() -> None:
    found = starter(FakeCluster())
    with pytest.raises(NotRunning, match="registered"):
        await found.start()
    with pytest.raises(NotRunning):
        found.plan()


async def test_a_service_of_pods_is_no_registered_engine() -> None:
    cluster = FakeCluster()
    registered(cluster, metadata={"name": "engine-smollm2-135m-instruct", "namespace": "models"})
    with pytest.raises(NotRunning, match="registered"):
        await starter(cluster).start()


@dataclass
class Client:
    """An engine that is well, or not."""

    is_well: bool = True
    asked: int = 0
    is_closed: bool = False

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        yield Delta(f"nobody asks here: {question}")

    async def is_ready(self) -> bool:
        self.asked += 1
        return self.is_well

    async def close(self) -> None:
        self.is_closed = True


async def test_its_health_is_what_it_says_itself() -> None:
    client, now = Client(is_well=False), [0.0]
    engine = RegisteredEngine(ADDRESS, client=lambda address: client, clock=lambda: now[0])
    assert isinstance(engine, TendedEngine)
    assert (await engine.condition()).state == "starting"
    client.is_well, now[0] = True, 2.0
    assert (await engine.condition()).state == "ready"
    client.is_well, now[0] = False, 4.0
    gone = await engine.condition()
    assert (gone.state, "make up" in gone.detail) == ("restarting", True)
    await engine.stop()
    assert client.is_closed


async def test_looking_on_often_asks_seldom() -> None:
    client, now = Client(), [0.0]
    engine = RegisteredEngine(ADDRESS, client=lambda address: client, clock=lambda: now[0])
    for _ in range(50):
        assert await engine.is_ready()
        now[0] += 0.1
    assert client.asked <= 6
